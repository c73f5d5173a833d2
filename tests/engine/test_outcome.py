"""What a script would leave of a schema, tried in memory without rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from driftengine.changes import Script, Step
from driftengine.dialects.sqlite.introspect import read_catalogue, read_schema, understand
from driftengine.dialects.sqlite.outcome import after
from driftengine.diff import compare
from driftengine.errors import RehearsalError
from driftengine.schema import StoredObject
from support.schemas import schema_of
from support.taking_back import DIALECT, Taken, _changes, _removals

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = """
CREATE TABLE p (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT, b TEXT, UNIQUE (a));
CREATE TABLE gone (x);
CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p (id), CHECK (p > 0));
CREATE INDEX ia ON p (b) WHERE a IS NOT NULL;
CREATE VIEW v AS SELECT a FROM p;
CREATE TRIGGER z AFTER INSERT ON p BEGIN SELECT 1; END;
CREATE TRIGGER y AFTER INSERT ON p BEGIN SELECT 2; END;
CREATE VIRTUAL TABLE f USING fts5 (body);
INSERT INTO p (id, a, b) VALUES (7, 'a', 'b');
ANALYZE;
"""
LATER = BEFORE.replace("b TEXT,", "b INTEGER, n TEXT DEFAULT 'q',").replace(
    "CREATE TABLE gone (x);", "CREATE TABLE made (y PRIMARY KEY);"
)


def test_it_is_what_the_live_database_would_be(tmp_path: Path) -> None:
    """Rebuilds, catalogue edits, new and dropped tables, and all that hangs on them: byte for byte what SQLite makes of it."""
    taken = Taken(tmp_path)
    taken.run(BEFORE)
    wanted = schema_of(LATER)
    with closing(taken.open()) as database:
        actual = database.read()
        changes = _changes([*compare(wanted, actual).differences, *_removals(wanted, actual)], actual, {})
        script = DIALECT.script(wanted, actual, changes)
        found = after(actual, script)
        assert taken.carry_out(database, script).ok
        assert found.stored == database.read().stored
        assert found == database.read()


def test_without_statements_nothing_changes(tmp_path: Path) -> None:
    """Statistics, sequences, virtual tables and their shadows included."""
    taken = Taken(tmp_path)
    taken.run(BEFORE)
    with closing(taken.open()) as database:
        actual = database.read()
    assert after(actual, Script()).stored == actual.stored


def test_what_this_sqlite_cannot_compile_passes_through() -> None:
    """A module, a function or a collation of the application's is left as it is, and can be dropped."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.create_function("app", 1, lambda x: x, deterministic=True)
        connection.executescript(
            "CREATE TABLE t (a, CHECK (app(a))); CREATE INDEX i ON t (app(a)); CREATE TABLE u (a)"
        )
        stored = read_catalogue(connection)
    module = StoredObject("table", "m", "m", "CREATE VIRTUAL TABLE m USING nowhere(x)")
    actual = understand((*stored, module))
    drop = Script((Step("DROP TABLE u"), Step("DROP INDEX i"), Step('DROP TABLE "m"')))
    assert {row.name for row in after(actual, Script()).stored} == {"t", "i", "u", "m"}
    assert {row.name for row in after(actual, drop).stored} == {"t"}


def test_what_is_known_of_an_unreadable_table_stays_known(tmp_path: Path) -> None:
    """A problem that only the live database tells is not forgotten."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.create_function("app", 1, lambda x: x, deterministic=True)
        connection.executescript("CREATE TABLE t (a, CHECK (app(a)))")
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        actual = read_schema(connection)
    assert after(actual, Script()).tables["t"].problem == actual.tables["t"].problem != ""


def test_a_statement_that_is_refused_is_told() -> None:
    """The error names the statement and SQLite's reason."""
    with pytest.raises(RehearsalError, match="tried on an empty database") as caught:
        after(schema_of("CREATE TABLE t (a)"), Script((Step("ALTER TABLE t DROP COLUMN b"),)))
    assert "no such column" in caught.value.why
