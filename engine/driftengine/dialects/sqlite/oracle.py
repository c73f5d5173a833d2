"""SQLite's own view of a schema, held against what was parsed: where the two disagree, the table is left alone."""

from __future__ import annotations

import functools
import itertools
import sqlite3
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.tables import type_key
from driftengine.dialects.sqlite.tokens import UnreadableSQL, fold, quote, tokenize

if TYPE_CHECKING:
    from driftengine.schema import Column, Index, Schema, Table

# A word in front of a parenthesis that is no function.
_NO_FUNCTION = frozenset(
    [
        "ALL",
        "AND",
        "AS",
        "BETWEEN",
        "BY",
        "CASE",
        "CHECK",
        "COLLATE",
        "DISTINCT",
        "ELSE",
        "ESCAPE",
        "EXISTS",
        "FILTER",
        "FROM",
        "GLOB",
        "IN",
        "INDEXED",
        "IS",
        "LIKE",
        "LIMIT",
        "MATCH",
        "NOT",
        "ON",
        "OR",
        "OVER",
        "PARTITION",
        "REGEXP",
        "SELECT",
        "THEN",
        "USING",
        "VALUES",
        "WHEN",
        "WHERE",
    ]
)
_BUILT_IN = frozenset({"BINARY", "NOCASE", "RTRIM"})
_ALWAYS_THERE = frozenset({"cast", "raise"})

_COLUMNS = "SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?, 'main') ORDER BY cid"
_FOREIGN_KEYS = """
SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?, 'main') ORDER BY id, seq
"""
_JUDGED = 4096  # texts


class _Judged:
    """What was found of a table by its name and its text: the pragmas read nothing else."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], str] = {}

    def problem(self, connection: sqlite3.Connection, table: Table) -> str:
        """What the pragmas say otherwise, or ""."""
        place = table.name, table.sql
        if place not in self._found:
            columns = tuple(connection.execute(_COLUMNS, (table.name,)))
            keys = tuple(connection.execute(_FOREIGN_KEYS, (table.name,)))
            if len(self._found) >= _JUDGED:
                self._found.clear()
            self._found[place] = _disagreement(table, columns, keys)
        return self._found[place]


_judged = _Judged()


def pragma_problems(connection: sqlite3.Connection, schema: Schema) -> dict[str, str]:
    """By table key: what PRAGMA table_xinfo or foreign_key_list says otherwise than the parsed DDL."""
    found = {key: _judged.problem(connection, t) for key, t in schema.tables.items() if not t.problem}
    return {key: problem for key, problem in found.items() if problem}


def _disagreement(
    table: Table, columns: tuple[tuple[object, ...], ...], keys: tuple[tuple[object, ...], ...]
) -> str:
    parsed = [_as_pragma(table, column) for column in table.columns]
    actual = [_told(table, *row) for row in columns]  # type: ignore[arg-type]  # rows of table_xinfo
    if parsed != actual:
        odd = next((b for a, b in zip(parsed, actual, strict=False) if a != b), None)
        return f"its stored DDL reads otherwise than PRAGMA table_xinfo says ({odd or 'number of columns'})"
    told = {(fold(str(row[1])), fold(str(row[2])), row[4], row[5]) for row in keys}
    read = {
        (key.parent, column, key.on_update, key.on_delete)
        for key in table.foreign_keys
        for column in key.columns
    }
    if told != read:
        return "its foreign keys read otherwise than PRAGMA foreign_key_list says"
    return ""


def _as_pragma(table: Table, column: Column) -> tuple[str, str, bool, int, int]:
    """(name, type, NOT NULL, position in the primary key, hidden) as table_xinfo would say it."""
    members = table.primary_key.columns if table.primary_key else ()
    position = members.index(column.key) + 1 if column.key in members else 0
    hidden = 0 if column.generated is None else 3 if column.generated.stored else 2
    # NOT NULL is only compared outside the primary key, where the pragma's flag depends on how the key was written.
    return column.key, column.type_key, column.not_null and not position, position, hidden


def _told(
    table: Table, name: str, declared: str, not_null: int, position: int, hidden: int
) -> tuple[str, str, bool, int, int]:
    column = table.column(fold(name))
    told_type = column.type_key if column and _same_type(column.type_key, declared) else declared
    return fold(name), told_type, bool(not_null) and not position, position, hidden


def _same_type(parsed: str, declared: str) -> bool:
    """The pragma keeps comments and quotes that stand inside a type; tokens compare without them."""
    if type_key(declared) == parsed:
        return True
    try:
        return [t.text.strip('"').upper() for t in tokenize(declared)] == [
            t.text.strip('"').upper() for t in tokenize(parsed)
        ]
    except UnreadableSQL:
        return False


def compile_problems(connection: sqlite3.Connection, schema: Schema) -> dict[str, str]:
    """By table key: a collation or a function that the table needs and this SQLite does not have."""
    functions: frozenset[str] | None = None  # asked for where a table calls any
    problems: dict[str, str] = {}
    for key, table in schema.tables.items():
        indexes = schema.indexes_of(key)
        unknown = sorted(c for c in _collations(table, indexes) - _BUILT_IN if not _known(connection, c))
        if unknown:
            problems[key] = f"it needs the collation {unknown[0]}, which only the application has"
            continue
        called = _functions(table, indexes) - _ALWAYS_THERE
        if called and functions is None:
            rows = connection.execute("SELECT DISTINCT name FROM pragma_function_list")
            functions = frozenset(str(name) for (name,) in rows)
        missing = sorted(called - (functions or frozenset()))
        if missing:
            problems[key] = f"it needs the function {missing[0]}(), which only the application has"
    return problems


def _known(connection: sqlite3.Connection, collation: str) -> bool:
    """PRAGMA collation_list also names collations that the schema only mentions; comparing tells."""
    try:
        connection.execute(f"SELECT 'a' < 'b' COLLATE {quote(collation)}")
    except sqlite3.OperationalError:
        return False
    return True


def _collations(table: Table, indexes: tuple[Index, ...]) -> set[str]:
    found = {column.collation for column in table.columns}
    found |= {part.collation for index in indexes for part in index.parts}
    found |= {part.collation for unique in table.uniques for part in unique.parts}
    found |= {part.collation for part in table.primary_key.parts} if table.primary_key else set()
    return found - {""}


def _functions(table: Table, indexes: tuple[Index, ...]) -> set[str]:
    texts = [check.expression.sql for check in table.checks]
    for column in table.columns:
        texts += [column.default.sql] if column.default else []
        texts += [column.generated.expression.sql] if column.generated else []
    for index in indexes:
        texts += [part.effect for part in index.parts if part.is_expression]
        texts += [index.where.sql] if index.where else []
    return {name for text in texts for name in functions_called(text)}


@functools.lru_cache(maxsize=4096)
def functions_called(sql: str) -> frozenset[str]:
    """The names of the functions that an expression calls, in lower case."""
    return frozenset(
        token.text.lower()
        for token, following in itertools.pairwise(tokenize(sql))
        if token.kind == "word" and following.text == "(" and token.text.upper() not in _NO_FUNCTION
    )
