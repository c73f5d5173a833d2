"""SQLite is the oracle of what is drift: what its pragmas tell apart, a comparison tells apart, and spelling it does not."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ddl_texts import MadeTable, create_tables
from driftengine.dialects.sqlite.introspect import read_schema
from driftengine.dialects.sqlite.tables import declared_type
from driftengine.dialects.sqlite.tokens import fold, tokenize
from driftengine.diff import compare
from probes.respelling import respelled
from support.random_depth import depth

if TYPE_CHECKING:
    from driftengine.schema import Schema

Photograph = dict[str, Any]
_COMMENTS = re.compile(r"/\*.*?\*/|--[^\n]*")  # SQLite keeps those that stand in a type

# Words that turn one table into a neighbour of it; each may stand where it means nothing, and then SQLite refuses it.
_WORDS = [
    *("NOT NULL", "NULL", "UNIQUE", "PRIMARY KEY", "DESC", "ASC", "AUTOINCREMENT", "STRICT", "WITHOUT ROWID", "STORED"),
    *("DEFAULT 1", "DEFAULT '1'", "DEFAULT NULL", "DEFAULT x", "DEFAULT X", "COLLATE NOCASE", "COLLATE BINARY", "INT"),
    *("ON CONFLICT IGNORE", "ON CONFLICT ABORT", "ON DELETE CASCADE", "ON UPDATE RESTRICT", "REFERENCES o", "INTEGER"),
    *("DEFERRABLE INITIALLY DEFERRED", ", z AS (1)", ", UNIQUE (a)", ", PRIMARY KEY (a)", "CHECK (1)", "TEXT", ",", "("),
]  # fmt: skip


def looked_at(sql: str) -> tuple[Schema, Photograph] | None:
    """What driftd and what SQLite's pragmas make of one table, or None where SQLite refuses the text."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        try:
            connection.execute(sql)
        except sqlite3.Error:
            return None
        schema = read_schema(connection)
        name = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'sqlite_sequence'"
        ).fetchone()[0]
        return schema, photographed(connection, name)


def photographed(connection: sqlite3.Connection, table: str) -> Photograph:
    """All that the pragmas tell, without what has no effect: order of columns and constraints, names, case."""
    columns = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (table,)).fetchall()
    keys: dict[int, list[tuple[Any, ...]]] = {}
    for number, _, parent, here, there, update, delete, _ in connection.execute(
        "SELECT * FROM pragma_foreign_key_list(?)", (table,)
    ):
        keys.setdefault(number, []).append((fold(parent), fold(here), there and fold(there), update, delete))
    indexes = set()
    for name, unique, origin, partial in connection.execute(
        'SELECT name, "unique", origin, partial FROM pragma_index_list(?)', (table,)
    ).fetchall():
        parts = connection.execute(
            "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key", (name,)
        ).fetchall()
        members = frozenset((fold(column or ""), fold(collation)) for column, collation in parts)
        indexes.add((unique, partial, members if origin == "u" else (origin, tuple(map(str, parts)))))
    key = [fold(row[1]) for row in sorted(columns, key=lambda row: row[5]) if row[5]]
    return {
        "columns": {
            # What the pragma says of NOT NULL in a key depends on how the key is written, and a default's text on more.
            (
                fold(row[1]),
                "".join(_COMMENTS.sub("", row[2]).upper().split()),
                bool(row[3]) and not row[5],
                row[6],
            )
            for row in columns
        },
        "key": key,
        "foreign keys": {frozenset(rows) for rows in keys.values()},
        # One over the columns of the primary key says nothing new.
        "unique": {
            members
            for unique, _, members in indexes
            if isinstance(members, frozenset) and unique and {column for column, _ in members} != set(key)
        },
        "options": connection.execute(
            'SELECT wr, "strict" FROM pragma_table_list WHERE name = ?', (table,)
        ).fetchone(),
        "sequence": connection.execute(
            "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_sequence'"
        ).fetchone(),
        "row": _a_row(connection, table, [row[1] for row in columns if not row[6]]),
    }


def _a_row(connection: sqlite3.Connection, table: str, names: list[str]) -> set[tuple[str, Any]] | None:
    """What a row of defaults holds, where a table lets one in. Moments and chance are left out by their length."""
    quoted = '"' + table.replace('"', '""') + '"'
    try:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(f"INSERT INTO {quoted} DEFAULT VALUES")
    except sqlite3.Error:
        return None
    held = set()
    for name in names:
        column = '"' + name.replace('"', '""') + '"'
        row = connection.execute(f"SELECT typeof({column}) || quote({column}) FROM {quoted}").fetchone()
        if row is None:
            return None  # ON CONFLICT IGNORE has kept it out
        held.add((fold(name), row[0] if len(row[0]) < 15 else "long"))
    return held


@given(made=create_tables(), data=st.data())
@depth(150)
def test_what_the_pragmas_tell_apart_is_drift(made: MadeTable, data: st.DataObject) -> None:
    """A table and its neighbour, one token or clause apart: where SQLite knows a difference, so does a comparison."""
    tokens = [token.text for token in tokenize(made.sql)]
    at = data.draw(st.integers(3, len(tokens) - 1))
    replacement = data.draw(st.sampled_from([[], [tokens[at]] * 2, *([tokens[at], word] for word in _WORDS)]))
    changed = [*tokens[:at], *replacement, *tokens[at + 1 :]]
    one, other = looked_at(made.sql), looked_at(" ".join(changed))
    assume(one is not None and other is not None)
    assert one is not None
    assert other is not None
    assume(one[0].tables.keys() == other[0].tables.keys())
    if any(table.problem for schema in (one[0], other[0]) for table in schema.tables.values()):
        return  # reported as such, and never altered
    if not compare(one[0], other[0]).differences:
        assert one[1] == other[1], (made.sql, " ".join(changed))


@given(made=create_tables(), turn=st.integers(0, 6))
@depth(150)
def test_another_spelling_of_any_table_is_no_drift(made: MadeTable, turn: int) -> None:
    """Whatever a table says, the same in other quotes, case, gaps and parentheses compares equal, both ways."""
    one = looked_at(made.sql)
    assume(one is not None)
    assert one is not None
    schema, _ = one
    assume(not any(table.problem for table in schema.tables.values()))
    (stored,) = (row.sql for row in schema.stored if row.sql and not row.name.startswith("sqlite_"))
    names = frozenset({*schema.tables, *(c.key for table in schema.tables.values() for c in table.columns)})
    other = looked_at(respelled(stored or "", names, turn))
    assume(other is not None)
    assert other is not None
    assert compare(schema, other[0]).differences == (), (stored, other[0].stored)
    assert compare(other[0], schema).differences == (), (stored, other[0].stored)


@pytest.mark.parametrize(
    "written", ['[say "hi"] INTEGER', "[int] TEXT", '"int" TEXT', "[a] [b]", "[a'b]", '"a""b" INT']
)
def test_a_quoted_type_is_what_sqlite_makes_of_it(written: str) -> None:
    """SQLite takes quotes away by rules of its own, and with them what stands behind."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE t (a {written})")
        (shown,) = connection.execute("SELECT type FROM pragma_table_xinfo('t')").fetchone()
    assert declared_type(written).upper() == shown.upper()
