"""The members of a key or an index: `(a, b COLLATE x DESC, lower(c))`.

NULLS FIRST/LAST is refused: SQLite allows it in no key, and the tree has no place for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.ddl import IndexedColumn
from driftengine.dialects.sqlite.tokens import RESERVED, UnreadableSQL, unquote

if TYPE_CHECKING:
    from driftengine.dialects.sqlite.cursor import Cursor

_CURRENT = frozenset({"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP"})

#: What binds less tightly than COLLATE: behind one of these, COLLATE belongs to the last operand alone.
_LOOSER = frozenset(
    """
    OR AND NOT IS ISNULL NOTNULL MATCH LIKE GLOB REGEXP BETWEEN IN ESCAPE
    = == <> != < <= > >= & | << >> + - * / % || -> ->>
    """.split()  # noqa: SIM905  # a table of words
)


def indexed_columns(cursor: Cursor) -> tuple[IndexedColumn, ...]:
    """The members of `( ... )`, with the cursor behind it."""
    return tuple(_indexed_column(cursor, first, last) for first, last in cursor.listed())


def column_names(cursor: Cursor) -> tuple[str, ...]:
    """The names in `( ... )`; COLLATE and an order, which old files may hold there, have no effect."""
    cursor.expect("(")
    names = [_column_name(cursor)]
    while cursor.accept(","):
        names.append(_column_name(cursor))
    cursor.expect(")")
    return tuple(names)


def _column_name(cursor: Cursor) -> str:
    name = unquote(cursor.name().text)
    if cursor.accept("COLLATE"):
        cursor.name()
    if not cursor.accept("ASC"):
        cursor.accept("DESC")
    return name


def key_columns(cursor: Cursor) -> tuple[IndexedColumn, ...]:
    """The members of a key: each is a plain column."""
    start = cursor.start
    columns = indexed_columns(cursor)
    if any(column.column is None for column in columns):
        raise UnreadableSQL("an expression stands in a key", start)
    return columns


def _indexed_column(cursor: Cursor, first: int, last: int) -> IndexedColumn:
    words = cursor.words
    # AUTOINCREMENT is legal in a primary key only, and reserved: SQLite has refused it everywhere else.
    if words[last - 1] == "AUTOINCREMENT":
        last -= 1
    if last - first > 2 and words[last - 2] == "NULLS" and words[last - 1] in {"FIRST", "LAST"}:
        raise UnreadableSQL("NULLS FIRST or LAST stands in a key", cursor.tokens[last - 2].start)
    descending = last - first > 1 and words[last - 1] == "DESC"
    if descending or (last - first > 1 and words[last - 1] == "ASC"):
        last -= 1
    if first >= last:
        cursor.at = first
        cursor.fail("a column or an expression")
    return _member(cursor, first, last, descending=descending)


def _member(cursor: Cursor, first: int, last: int, *, descending: bool) -> IndexedColumn:
    """Peel parentheses and COLLATE off, as SQLite's own tree has neither around a column."""
    words = cursor.words
    collation = ""
    peeled = False
    while last - first > 2:
        if words[first] == "(" and cursor.closing(first) == last - 1:
            first, last, peeled = first + 1, last - 1, True
        elif words[last - 2] == "COLLATE" and _binds_tighter(words, first, last - 2):
            collation = collation or unquote(cursor.tokens[last - 1].text)
            last, peeled = last - 2, False
        else:
            break
    if last - first == 1 and cursor.is_name(first) and words[first] not in _CURRENT:
        token = cursor.tokens[first]
        return IndexedColumn(token.text, unquote(token.text), collation, descending)
    # An expression keeps one pair of its parentheses, so that a COLLATE put behind it binds to the whole.
    if peeled:
        first, last = first - 1, last + 1
    return IndexedColumn(cursor.text(first, last), None, collation, descending)


def _binds_tighter(words: list[str], first: int, last: int) -> bool:
    """True when a COLLATE behind these tokens belongs to all of them, not to the last operand alone."""
    while words[first] in {"+", "-", "~"}:
        first += 1
    depth = 0
    for at in range(first, last):
        word = words[at]
        if word in {"(", "CASE"}:
            depth += 1
        elif word == ")" or (word == "END" and depth > 0):
            depth -= 1
        elif depth == 0 and word in _LOOSER and (at > first or word in RESERVED):
            return False
    return True
