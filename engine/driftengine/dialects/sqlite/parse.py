"""Parses what SQLite stores in sqlite_schema.sql into the tree of `ddl.py`.

SQLite normalises the head of what it stores (`CREATE TABLE name ...`, without TEMP, IF NOT EXISTS and a schema's name)
and keeps the rest as it was typed. The grammar is that of https://sqlite.org/lang_createtable.html and its neighbours.
What is not understood raises UnreadableSQL; there is no half-right tree.
"""

from __future__ import annotations

from functools import lru_cache

from driftengine.dialects.sqlite.cursor import Cursor
from driftengine.dialects.sqlite.ddl import (
    CreateIndex,
    CreateTrigger,
    CreateView,
    CreateVirtualTable,
    Span,
    Statement,
)
from driftengine.dialects.sqlite.parse_key import indexed_columns
from driftengine.dialects.sqlite.parse_table import create_table
from driftengine.dialects.sqlite.tokens import unquote


@lru_cache(maxsize=8192)
def parse(sql: str) -> Statement:
    """The parse tree of a stored statement. Raises UnreadableSQL."""
    cursor = Cursor(sql)
    cursor.expect("CREATE")
    if cursor.accept("TABLE"):
        return create_table(cursor)
    if cursor.accept("UNIQUE", "INDEX"):
        return _create_index(cursor, unique=True)
    if cursor.accept("INDEX"):
        return _create_index(cursor, unique=False)
    if cursor.accept("VIEW"):
        return _create_view(cursor)
    if cursor.accept("TRIGGER"):
        return _create_trigger(cursor)
    cursor.expect("VIRTUAL", "TABLE")
    return _create_virtual_table(cursor)


def _create_index(cursor: Cursor, *, unique: bool) -> CreateIndex:
    name = cursor.name()
    cursor.expect("ON")
    table = cursor.name()
    columns = indexed_columns(cursor)
    where = ""
    if cursor.accept("WHERE"):
        if cursor.ended:
            cursor.fail("an expression")
        _balanced(cursor, cursor.at)
        where = cursor.text(cursor.at, len(cursor.tokens))
    elif not cursor.ended:
        cursor.fail("WHERE or the end")
    return CreateIndex(
        name=unquote(name.text),
        table=unquote(table.text),
        unique=unique,
        columns=columns,
        where=where,
        table_span=Span(table.start, table.end),
        sql=cursor.sql,
    )


def _create_view(cursor: Cursor) -> CreateView:
    name = cursor.name()
    definition = _rest(cursor)
    if cursor.word == "(":
        cursor.parenthesised()
    cursor.expect("AS")
    if cursor.word not in {"SELECT", "WITH", "VALUES"}:
        cursor.fail("a query")
    _balanced(cursor, cursor.at)
    return CreateView(unquote(name.text), definition, cursor.sql)


def _create_trigger(cursor: Cursor) -> CreateTrigger:
    name = cursor.name()
    # BEFORE is the default: https://www.sqlite.org/lang_createtrigger.html.
    time = cursor.word if cursor.word in {"BEFORE", "AFTER"} else "BEFORE"
    if not (cursor.accept("BEFORE") or cursor.accept("AFTER")) and cursor.accept("INSTEAD", "OF"):
        time = "INSTEAD OF"
    event = cursor.word
    columns: list[str] = []
    if not (cursor.accept("DELETE") or cursor.accept("INSERT")):
        cursor.expect("UPDATE")
        if cursor.accept("OF"):
            columns.append(unquote(cursor.name().text))
            while cursor.accept(","):
                columns.append(unquote(cursor.name().text))
    cursor.expect("ON")
    table = cursor.name()
    if cursor.accept("."):
        table = cursor.name()
    cursor.accept("FOR", "EACH", "ROW")
    when = _condition(cursor)
    # The body is kept as text. That it has one, with its END, is all that the tree promises.
    if cursor.word != "BEGIN" or cursor.words[-2] != "END":
        cursor.fail("BEGIN ... END")
    _balanced(cursor, cursor.at)
    return CreateTrigger(
        name=unquote(name.text),
        table=unquote(table.text),
        time=time,
        event=event,
        columns=tuple(columns),
        when=when,
        body=_rest(cursor),
        sql=cursor.sql,
    )


def _condition(cursor: Cursor) -> str:
    """What stands behind WHEN, up to the BEGIN that is neither in parentheses nor the name of a column."""
    if not cursor.accept("WHEN"):
        return ""
    first = cursor.at
    while not cursor.ended and (cursor.word != "BEGIN" or cursor.words[cursor.at - 1] == "."):
        cursor.at = cursor.closing(cursor.at) + 1 if cursor.word == "(" else cursor.at + 1
    if cursor.at == first:
        cursor.fail("an expression")
    return cursor.text(first, cursor.at)


def _create_virtual_table(cursor: Cursor) -> CreateVirtualTable:
    name = cursor.name()
    definition = _rest(cursor)
    cursor.expect("USING")
    module = cursor.name()
    if cursor.word == "(":
        cursor.at = cursor.closing(cursor.at) + 1
    if not cursor.ended:
        cursor.fail("the end")
    return CreateVirtualTable(unquote(name.text), unquote(module.text), definition, cursor.sql)


def _rest(cursor: Cursor) -> str:
    """The text from here to the last token."""
    return cursor.text(cursor.at, len(cursor.tokens))


def _balanced(cursor: Cursor, first: int) -> None:
    """Fail unless every parenthesis from there on has its partner."""
    depth = 0
    for at in range(first, len(cursor.tokens)):
        word = cursor.words[at]
        depth += (word == "(") - (word == ")")
        if depth < 0:
            cursor.at = at
            cursor.fail("no closing parenthesis")
    if depth:
        cursor.at = len(cursor.tokens)
        cursor.fail("a closing parenthesis")
