"""The constraints of columns and tables, each with its span.

A DEFERRABLE that does not stand right behind its REFERENCES is refused, though SQLite accepts it: it applies to the
last foreign key, even one of another column, and no span could hold that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from driftengine.dialects.sqlite.ddl import Clause, Reference, Span
from driftengine.dialects.sqlite.parse_key import column_names, key_columns
from driftengine.dialects.sqlite.tokens import unquote

if TYPE_CHECKING:
    from collections.abc import Callable

    from driftengine.dialects.sqlite.cursor import Cursor

_PLAIN_DEFAULTS = frozenset({"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "NULL"})
_CONFLICTS = frozenset({"ROLLBACK", "ABORT", "FAIL", "IGNORE", "REPLACE"})
_ACTIONS = (("SET", "NULL"), ("SET", "DEFAULT"), ("CASCADE",), ("RESTRICT",), ("NO", "ACTION"))


def column_clause(cursor: Cursor) -> Clause:
    """The column constraint that stands here, with the cursor behind it. Raises UnreadableSQL."""
    return _clause(cursor, _COLUMN_CLAUSES, "a column constraint")


def table_clause(cursor: Cursor) -> Clause:
    """The table constraint that stands here, with the cursor behind it. Raises UnreadableSQL."""
    return _clause(cursor, _TABLE_CLAUSES, "a table constraint")


class _Opening(NamedTuple):
    """Where a clause begins, and the name that CONSTRAINT gave it."""

    start: int
    name: str


def _clause(
    cursor: Cursor, parsers: dict[str, Callable[[Cursor, _Opening], Clause]], expected: str
) -> Clause:
    start = cursor.start
    name = ""
    if cursor.accept("CONSTRAINT"):
        name = unquote(cursor.name().text)
        if cursor.word in {",", ")", "CONSTRAINT"}:
            return Clause("name only", start, cursor.previous_end, name)
    parser = parsers.get(cursor.word)
    if parser is None:
        cursor.fail(expected)
    cursor.at += 1
    return parser(cursor, _Opening(start, name))


def _column_primary_key(cursor: Cursor, opening: _Opening) -> Clause:
    cursor.expect("KEY")
    descending = not cursor.accept("ASC") and cursor.accept("DESC")
    conflict = _conflict(cursor)
    autoincrement = cursor.accept("AUTOINCREMENT")
    return Clause(
        "primary key",
        opening.start,
        cursor.previous_end,
        opening.name,
        conflict=conflict,
        descending=descending,
        autoincrement=autoincrement,
    )


def _not_null(cursor: Cursor, opening: _Opening) -> Clause:
    cursor.expect("NULL")
    conflict = _conflict(cursor)
    return Clause("not null", opening.start, cursor.previous_end, opening.name, conflict=conflict)


def _null(cursor: Cursor, opening: _Opening) -> Clause:
    conflict = _conflict(cursor)
    return Clause("null", opening.start, cursor.previous_end, opening.name, conflict=conflict)


def _column_unique(cursor: Cursor, opening: _Opening) -> Clause:
    conflict = _conflict(cursor)
    return Clause("unique", opening.start, cursor.previous_end, opening.name, conflict=conflict)


def _column_check(cursor: Cursor, opening: _Opening) -> Clause:
    expression, span = _inside(cursor)
    return Clause("check", opening.start, cursor.previous_end, opening.name, expression, span)


def _table_check(cursor: Cursor, opening: _Opening) -> Clause:
    expression, span = _inside(cursor)
    conflict = _conflict(cursor)
    return Clause(
        "check", opening.start, cursor.previous_end, opening.name, expression, span, conflict=conflict
    )


def _default(cursor: Cursor, opening: _Opening) -> Clause:
    start = cursor.start
    if cursor.word == "(":
        cursor.parenthesised()
    else:
        signed = cursor.accept("+") or cursor.accept("-")
        word, token = cursor.word, cursor.take()
        if token.kind not in {"number", "string", "blob"} and word not in _PLAIN_DEFAULTS:
            cursor.at -= 1
            if signed or not cursor.is_name(cursor.at):
                cursor.fail("a default")
            cursor.at += 1
    span = Span(start, cursor.previous_end)
    return Clause("default", opening.start, span.end, opening.name, cursor.sql[start : span.end], span)


def _collate(cursor: Cursor, opening: _Opening) -> Clause:
    collation = unquote(cursor.name().text)
    return Clause("collate", opening.start, cursor.previous_end, opening.name, collation=collation)


def _generated_always(cursor: Cursor, opening: _Opening) -> Clause:
    cursor.expect("ALWAYS", "AS")
    return _generated(cursor, opening)


def _generated(cursor: Cursor, opening: _Opening) -> Clause:
    expression, span = _inside(cursor)
    stored = cursor.accept("STORED")
    if not stored:
        cursor.accept("VIRTUAL")
    return Clause(
        "generated", opening.start, cursor.previous_end, opening.name, expression, span, stored=stored
    )


def _column_references(cursor: Cursor, opening: _Opening) -> Clause:
    reference = _reference(cursor)
    return Clause("references", opening.start, cursor.previous_end, opening.name, reference=reference)


def _table_primary_key(cursor: Cursor, opening: _Opening) -> Clause:
    cursor.expect("KEY")
    closing = cursor.closing(cursor.at) if cursor.word == "(" else cursor.fail("(")
    autoincrement = cursor.words[closing - 1] == "AUTOINCREMENT"
    columns = key_columns(cursor)
    conflict = _conflict(cursor)
    return Clause(
        "primary key",
        opening.start,
        cursor.previous_end,
        opening.name,
        columns=columns,
        conflict=conflict,
        autoincrement=autoincrement,
    )


def _table_unique(cursor: Cursor, opening: _Opening) -> Clause:
    columns = key_columns(cursor)
    conflict = _conflict(cursor)
    return Clause(
        "unique", opening.start, cursor.previous_end, opening.name, columns=columns, conflict=conflict
    )


def _foreign_key(cursor: Cursor, opening: _Opening) -> Clause:
    cursor.expect("KEY")
    local_columns = column_names(cursor)
    cursor.expect("REFERENCES")
    reference = _reference(cursor)
    return Clause(
        "foreign key",
        opening.start,
        cursor.previous_end,
        opening.name,
        local_columns=local_columns,
        reference=reference,
    )


def _reference(cursor: Cursor) -> Reference:
    """What stands behind REFERENCES, a DEFERRABLE right behind it included."""
    table = cursor.name()
    columns = column_names(cursor) if cursor.word == "(" else ()
    actions = {"UPDATE": "NO ACTION", "DELETE": "NO ACTION", "INSERT": "NO ACTION"}
    while cursor.word in {"ON", "MATCH"}:
        if cursor.take().text.upper() == "MATCH":
            cursor.name()
            continue
        event = cursor.word
        if event not in actions:
            cursor.fail("UPDATE or DELETE")
        cursor.at += 1
        actions[event] = _action(cursor)
    negated = cursor.accept("NOT", "DEFERRABLE")
    deferred = False
    if negated or cursor.accept("DEFERRABLE"):
        deferred = cursor.accept("INITIALLY", "DEFERRED") and not negated
        cursor.accept("INITIALLY", "IMMEDIATE")
    return Reference(
        table=unquote(table.text),
        columns=columns,
        on_update=actions["UPDATE"],
        on_delete=actions["DELETE"],
        deferred=deferred,
        table_span=Span(table.start, table.end),
    )


def _action(cursor: Cursor) -> str:
    for words in _ACTIONS:
        if cursor.accept(*words):
            return " ".join(words)
    return cursor.fail("SET NULL, SET DEFAULT, CASCADE, RESTRICT or NO ACTION")


def _conflict(cursor: Cursor) -> str:
    if not cursor.accept("ON", "CONFLICT"):
        return ""
    resolution = cursor.word
    if resolution not in _CONFLICTS:
        cursor.fail("a conflict resolution")
    cursor.at += 1
    return resolution


def _inside(cursor: Cursor) -> tuple[str, Span]:
    """The expression inside parentheses, from its first token to its last: comments beside it stay outside."""
    first, last = cursor.parenthesised()
    span = Span(cursor.tokens[first].start, cursor.tokens[last - 1].end)
    return cursor.sql[span.start : span.end], span


_TABLE_CLAUSES: dict[str, Callable[[Cursor, _Opening], Clause]] = {
    "PRIMARY": _table_primary_key,
    "UNIQUE": _table_unique,
    "CHECK": _table_check,
    "FOREIGN": _foreign_key,
}
_COLUMN_CLAUSES: dict[str, Callable[[Cursor, _Opening], Clause]] = {
    "PRIMARY": _column_primary_key,
    "NOT": _not_null,
    "NULL": _null,
    "UNIQUE": _column_unique,
    "CHECK": _column_check,
    "DEFAULT": _default,
    "COLLATE": _collate,
    "REFERENCES": _column_references,
    "GENERATED": _generated_always,
    "AS": _generated,
}
