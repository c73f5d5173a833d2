"""What stands in a database, read by SQLite's own PRAGMAs and SELECTs: the tests' eyes, independent of driftd."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A table in effect: what decides which rows it takes. Order of columns and names of constraints are left out."""

    columns: frozenset[Row]  # (name, declared type, NOT NULL, default, place in the primary key)
    foreign_keys: frozenset[
        frozenset[Row]
    ]  # each a set of (parent, column, parent column, on update, on delete)
    uniques: frozenset[frozenset[str]]  # column sets, by constraint or by unique index
    checks: frozenset[str]  # the CHECK clauses of the stored text, in lower case and without white space
    autoincrement: bool


@contextmanager
def reading(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection that does not write.

    Not one opened with mode=ro: as the last user of a database in WAL mode that would leave its -wal and -shm behind.
    """
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA query_only=ON")
        yield connection


def stored(database: Path) -> dict[tuple[str, str], str | None]:
    """(type, name) to SQL text, of everything but SQLite's own objects."""
    with reading(database) as connection:
        rows = connection.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'"
        )
        return {(kind, name): sql for kind, name, sql in rows}


def tables(database: Path) -> list[str]:
    """The names of all tables but SQLite's own."""
    return sorted(name for kind, name in stored(database) if kind == "table")


def shape(database: Path, table: str) -> Shape:
    """That table in effect."""
    with reading(database) as connection:
        return Shape(
            columns=_columns(connection, table),
            foreign_keys=_foreign_keys(connection, table),
            uniques=_uniques(connection, table),
            checks=frozenset(_checks(_text(connection, table))),
            autoincrement="AUTOINCREMENT" in _text(connection, table).upper(),
        )


def _text(connection: sqlite3.Connection, table: str) -> str:
    row = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    return str(row[0])


def _checks(sql: str) -> Iterator[str]:
    """What stands in the parentheses of each CHECK. Texts with parentheses in quotes do not occur here."""
    for found in re.finditer(r"\bCHECK\s*\(", sql, re.IGNORECASE):
        depth, end = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(sql[end], 0)
            end += 1
        yield re.sub(r"[\s\"]", "", sql[found.end() : end - 1]).lower()


def _columns(connection: sqlite3.Connection, table: str) -> frozenset[Row]:
    rows = connection.execute(
        'SELECT name, upper(type), "notnull", dflt_value, pk FROM pragma_table_xinfo(?)', (table,)
    )
    return frozenset(rows.fetchall())


def _foreign_keys(connection: sqlite3.Connection, table: str) -> frozenset[frozenset[Row]]:
    found: dict[int, set[Row]] = {}
    rows = connection.execute(
        'SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?)', (table,)
    )
    for number, *pair in rows:
        found.setdefault(number, set()).add(tuple(pair))
    return frozenset(map(frozenset, found.values()))


def _uniques(connection: sqlite3.Connection, table: str) -> frozenset[frozenset[str]]:
    names = connection.execute(
        "SELECT name FROM pragma_index_list(?) WHERE \"unique\" AND origin <> 'pk' AND NOT partial", (table,)
    ).fetchall()
    return frozenset(
        frozenset(column for (column,) in connection.execute("SELECT name FROM pragma_index_info(?)", name))
        for name in names
    )


def rows(database: Path, table: str, columns: list[str]) -> list[Row]:
    """Every row in the order of its rowid, which stands first, each value beside its storage class."""
    listed = ", ".join(f'typeof("{column}"), "{column}"' for column in columns)
    with reading(database) as connection:
        return connection.execute(f'SELECT rowid, {listed} FROM "{table}" ORDER BY rowid').fetchall()


def column_names(database: Path, table: str) -> list[str]:
    """The table's columns in stored order."""
    with reading(database) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM pragma_table_xinfo(?)", (table,))]


def content(database: Path) -> dict[str, tuple[list[str], list[Row]]]:
    """Table to its columns and all its rows."""
    found = {}
    for table in tables(database):
        columns = column_names(database, table)
        found[table] = (columns, rows(database, table, columns))
    return found


def problems(database: Path) -> list[Row]:
    """What integrity_check and foreign_key_check report; empty when the database is sound."""
    with reading(database) as connection:
        integrity = [row for row in connection.execute("PRAGMA integrity_check") if row != ("ok",)]
        return integrity + [row for table in tables(database) for row in _violations(connection, table)]


def _violations(connection: sqlite3.Connection, table: str) -> list[Row]:
    """Table by table: where one refers to what is no key, the check of the whole database raises."""
    try:
        return connection.execute("SELECT * FROM pragma_foreign_key_check(?)", (table,)).fetchall()
    except sqlite3.OperationalError as error:
        return [(str(error),)]


def journal_mode(database: Path) -> str:
    """`wal`, `delete` and so on."""
    with reading(database) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def sha256(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copied(source: Path, target: Path) -> Path:
    """A copy through SQLite's backup, with the source's journal mode; the target's folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = journal_mode(source)
    with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
        origin.backup(copy)
        copy.execute(f"PRAGMA journal_mode={mode}")
    return target


def sequences(database: Path) -> dict[str, int]:
    """Where the AUTOINCREMENT tables stand."""
    with reading(database) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'").fetchone():
            return {}
        return dict(connection.execute("SELECT name, seq FROM sqlite_sequence"))


def indexes(database: Path, table: str) -> list[Row]:
    """What each index made by CREATE INDEX does: unique, its predicate's presence, and its parts in order."""
    with reading(database) as connection:
        listed = connection.execute(
            "SELECT name, \"unique\", partial FROM pragma_index_list(?) WHERE origin = 'c'", (table,)
        ).fetchall()
        return [(unique, partial, _parts_of(connection, name)) for name, unique, partial in listed]


def _parts_of(connection: sqlite3.Connection, index: str) -> Row:
    rows = connection.execute('SELECT name, "desc", coll FROM pragma_index_xinfo(?) WHERE key', (index,))
    return tuple(rows.fetchall())
