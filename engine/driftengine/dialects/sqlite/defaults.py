"""What a DEFAULT clause stores. Two defaults are the same when a new row ends up with the same value.

SQLite itself is asked: a one-column table with that type and that default, one row, one look.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import lru_cache

from driftengine.dialects.sqlite.canonical_tokens import canonical_string
from driftengine.dialects.sqlite.expressions import canonical
from driftengine.dialects.sqlite.tokens import UnreadableSQL, tokenize, unquote
from driftengine.schema import Default

# Functions whose value depends on their arguments alone, so that a default made of them is a constant.
_DETERMINISTIC = frozenset(
    """
    abs char coalesce concat concat_ws format hex ifnull iif instr json json_array json_object json_quote length lower
    ltrim max min nullif printf quote replace round rtrim sign substr substring trim typeof unhex unicode upper zeroblob
    """.split()  # noqa: SIM905  # a table of names
)
_CONSTANT_WORDS = frozenset(
    """
    NULL TRUE FALSE NOT AND OR IS ISNULL NOTNULL BETWEEN IN LIKE GLOB ESCAPE CAST AS COLLATE CASE WHEN THEN ELSE END
    """.split()  # noqa: SIM905  # a table of words
)
_MOMENT_WORDS = frozenset({"CURRENT_TIME", "CURRENT_DATE", "CURRENT_TIMESTAMP"})
#: What stands behind one of these is a type or a collation, and no value.
_NAMES_FOLLOW = frozenset({"AS", "COLLATE"})
#: Bare words that are values of their own; every other one is a string: https://www.sqlite.org/lang_createtable.html#dfltval.
_KEYWORDS = _MOMENT_WORDS | {"NULL", "TRUE", "FALSE"}

LONGEST_VALUE = 4_000_000  # bytes, of the statement too


def default_of(sql: str, declared_type: str, *, strict: bool = False) -> Default | None:
    """The record of a DEFAULT, or None for `DEFAULT NULL`, which is the same as none at all."""
    value = stored_value(sql, declared_type, strict=strict) if is_constant(sql) else None
    if value == "null:NULL":
        return None
    return Default(_effect(sql), value, sql)


def _effect(sql: str) -> str:
    """The canonical expression. A bare word is a string here, and keeps its case: no column can be meant."""
    tokens = tokenize(sql)
    if len(tokens) == 1 and tokens[0].kind in {"word", "quoted"} and tokens[0].text.upper() not in _KEYWORDS:
        return canonical_string(unquote(tokens[0].text))
    return canonical(sql, columns=frozenset())


@lru_cache(maxsize=4096)
def is_constant(sql: str) -> bool:
    """True when the expression has one value, whenever it is evaluated."""
    try:
        tokens = [token for token in tokenize(sql) if token.text not in {"(", ")"}]
        whole = tokenize(sql)
    except UnreadableSQL:
        return False
    if len(tokens) == 1 and tokens[0].kind == "word":
        return tokens[0].text.upper() not in _MOMENT_WORDS
    for position, token in enumerate(whole):
        if token.kind != "word":
            continue
        called = position + 1 < len(whole) and whole[position + 1].text == "("
        named = position > 0 and whole[position - 1].text.upper() in _NAMES_FOLLOW
        known = token.text.lower() in _DETERMINISTIC if called else named
        if not known and token.text.upper() not in _CONSTANT_WORDS:
            return False
    return True


def _scratch() -> sqlite3.Connection:
    """A database in memory in which no value is long: `zeroblob(1e9)` in a strange database must not cost a gigabyte."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    return connection


@lru_cache(maxsize=4096)
def stored_value(sql: str, declared_type: str, *, strict: bool = False) -> str | None:
    """What a column of that type stores by that default, as `typeof:literal`, or None where SQLite refuses it."""
    options = " STRICT" if strict else ""
    with closing(_scratch()) as scratch:
        try:
            scratch.execute(f"CREATE TABLE scratch(filler ANY, value {declared_type} DEFAULT {sql}){options}")
            scratch.execute("INSERT INTO scratch(filler) VALUES (NULL)")
            row = scratch.execute("SELECT typeof(value) || ':' || quote(value) FROM scratch").fetchone()
        except sqlite3.Error:
            return None
    return str(row[0])


@lru_cache(maxsize=4096)
def addable(sql: str, declared_type: str) -> bool:
    """True when ALTER TABLE ADD COLUMN takes this default, and old rows then read what new rows would store.

    It refuses expressions (https://www.sqlite.org/lang_altertable.html#altertabaddcol), and old rows read some literals
    without the column's affinity: `TEXT DEFAULT TRUE` as the integer 1, about which integrity_check complains.
    """
    with closing(_scratch()) as scratch:
        scratch.execute("CREATE TABLE scratch AS SELECT 1 AS filler")
        try:
            scratch.execute(f"ALTER TABLE scratch ADD COLUMN value {declared_type} DEFAULT {sql}")
            row = scratch.execute("SELECT typeof(value) || ':' || quote(value) FROM scratch").fetchone()
        except sqlite3.Error:
            return False
    return str(row[0]) == stored_value(sql, declared_type)
