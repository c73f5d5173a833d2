"""CREATE TABLE: its columns with their types, its constraints and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.ddl import Clause, ColumnDefinition, CreateTable, Span
from driftengine.dialects.sqlite.parse_clause import column_clause, table_clause
from driftengine.dialects.sqlite.tokens import unquote

if TYPE_CHECKING:
    from driftengine.dialects.sqlite.cursor import Cursor

_TABLE_CLAUSES = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"})


def create_table(cursor: Cursor) -> CreateTable:
    """The tree of CREATE TABLE, with the cursor behind that. Raises UnreadableSQL."""
    name = cursor.name()
    body_start = cursor.at
    cursor.expect("(")
    columns = [_column(cursor)]
    constraints: list[Clause] = []
    while not cursor.accept(")"):
        comma = cursor.accept(",")
        if cursor.word in _TABLE_CLAUSES and (comma or constraints):
            constraints.append(table_clause(cursor))
        elif comma and not constraints:
            columns.append(_column(cursor))
        else:
            cursor.fail("a table constraint")
    body = Span(cursor.tokens[body_start].end, cursor.tokens[cursor.at - 1].start)
    options = Span(cursor.previous_end, len(cursor.sql))
    without_rowid, strict = _options(cursor)
    return CreateTable(
        name=unquote(name.text),
        name_span=Span(name.start, name.end),
        columns=tuple(columns),
        constraints=tuple(constraints),
        without_rowid=without_rowid,
        strict=strict,
        body=body,
        options=options,
        sql=cursor.sql,
    )


def _options(cursor: Cursor) -> tuple[bool, bool]:
    """(WITHOUT ROWID, STRICT), which stand behind the body in any order."""
    without_rowid = strict = False
    more = not cursor.ended
    while more:
        if cursor.accept("WITHOUT", "ROWID"):
            without_rowid = True
        elif cursor.accept("STRICT"):
            strict = True
        else:
            cursor.fail("WITHOUT ROWID or STRICT")
        more = cursor.accept(",")
    if not cursor.ended:
        cursor.fail("a comma")
    return without_rowid, strict


def _column(cursor: Cursor) -> ColumnDefinition:
    name = cursor.name()
    type_span = _type(cursor)
    clauses = []
    while cursor.word not in {",", ")"}:
        clauses.append(column_clause(cursor))
    return ColumnDefinition(
        name=unquote(name.text),
        type=cursor.sql[type_span.start : type_span.end] if type_span else "",
        name_span=Span(name.start, name.end),
        type_span=type_span,
        clauses=tuple(clauses),
        start=name.start,
        end=cursor.previous_end,
    )


def _type(cursor: Cursor) -> Span | None:
    """The declared type: any number of names, then one or two numbers in parentheses."""
    first = cursor.at
    while cursor.is_name(cursor.at):
        cursor.at += 1
    if cursor.word != "(":
        cursor.at -= _generated_always(cursor, first)
    if cursor.at == first:
        return None
    if cursor.accept("("):
        _signed_number(cursor)
        if cursor.accept(","):
            _signed_number(cursor)
        cursor.expect(")")
    return Span(cursor.tokens[first].start, cursor.previous_end)


def _generated_always(cursor: Cursor, first: int) -> int:
    """How many tokens before the cursor are GENERATED ALWAYS: 2 or 0.

    SQLite takes these words for a part of the type and cuts them off its text again (sqlite3AddColumn in build.c): six
    characters that spell ALWAYS at the end of sixteen or more, then GENERATED if white space alone stands between. Of
    anything else that ends so it makes a type that nobody wrote; such a text is refused.
    """
    last = cursor.at
    text = cursor.text(first, last)
    if len(text) < len("GENERATED ALWAYS") or not text.upper().endswith("ALWAYS"):
        return 0
    if last - first > 1 and cursor.words[last - 2 : last] == ["GENERATED", "ALWAYS"]:
        generated, always = cursor.tokens[last - 2 : last]
        if cursor.sql[generated.end : always.start].isspace():
            return 2
    cursor.at = last - 1
    return cursor.fail("GENERATED ALWAYS, with nothing inside, or another type")


def _signed_number(cursor: Cursor) -> None:
    if cursor.word in {"+", "-"}:
        cursor.at += 1
    if cursor.take().kind != "number":
        cursor.at -= 1
        cursor.fail("a number")
