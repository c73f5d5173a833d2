"""What stands in a database and in no models is no drift, is listed, and is byte for byte as it was after a migration."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from support.migrations import House
from support.witness import assert_kept, assert_settled, photograph

if TYPE_CHECKING:
    from pathlib import Path

MODELS = "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a INT, b TEXT);"
STRANGERS = """
CREATE TABLE alembic_version(version_num VARCHAR(32) NOT NULL PRIMARY KEY);
CREATE TABLE "left over"(x "odd type", y AS (x || 'y'), CHECK (x <> 'z') ON CONFLICT IGNORE);
CREATE VIRTUAL TABLE search USING fts5(b, content='t', content_rowid='id');
CREATE VIRTUAL TABLE words USING fts4(b);
CREATE VIRTUAL TABLE places USING rtree(id, minx, maxx);
CREATE VIEW every_t AS SELECT * FROM t;
CREATE TRIGGER searched AFTER INSERT ON t BEGIN INSERT INTO search(rowid, b) VALUES (new.id, new.b); END;
CREATE TRIGGER on_view INSTEAD OF DELETE ON every_t BEGIN DELETE FROM t WHERE id = old.id; END;
CREATE INDEX by_b ON t(b COLLATE NOCASE DESC) WHERE b <> '';
"""
ROWS = """
INSERT INTO t(a, b) VALUES (1, 'one'), (2, 'two'), (3, 'three'); DELETE FROM t WHERE a = 3;
INSERT INTO alembic_version VALUES ('abc'); INSERT INTO "left over" VALUES (1);
INSERT INTO words VALUES ('some words'); INSERT INTO places VALUES (1, 0, 1);
ANALYZE;
"""
NAMES = {
    "alembic_version",
    "left over",
    "search",
    "words",
    "places",
    "every_t",
    "searched",
    "on_view",
    "by_b",
}


@pytest.fixture(params=["wal", "delete"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """A database with one table of the models and much that is nobody's."""
    made = House(tmp_path, journal=str(request.param))
    made.run(MODELS + STRANGERS + ROWS)
    made.models(MODELS)
    return made


def shadows(house: House) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that stands behind a virtual one, and of SQLite's own."""
    with closing(sqlite3.connect(house.database)) as connection:
        names = connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND (type = 'shadow'"
            " OR name IN ('sqlite_sequence', 'sqlite_stat1', 'sqlite_stat4'))"
        ).fetchall()
        return {
            name: connection.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall() for (name,) in names
        }


def test_strangers_are_listed_and_are_no_drift(house: House) -> None:
    """Tables, indexes, views, triggers and virtual tables by name; neither shadow tables' rows nor SQLite's own tables."""
    seen = house.check()
    assert seen["in_sync"]
    listed = {one["name"] for one in seen["unmanaged"]}
    own = {"sqlite_sequence", "sqlite_stat1", "sqlite_stat4"}
    assert listed >= NAMES
    assert not listed & own
    assert listed - NAMES <= set(shadows(house))
    assert_settled(house)


@pytest.mark.parametrize(
    "models",
    [
        MODELS.replace("b TEXT", "b TEXT, c INT"),
        MODELS.replace("a INT", "a INT NOT NULL CHECK (a > 0)"),
        MODELS.replace("a INT", "a TEXT"),
    ],
    ids=["native", "catalog", "rebuild"],
)
def test_strangers_survive_every_way_of_migrating(house: House, models: str) -> None:
    """The table under them is altered, edited and copied: each stays as it is, with its rows and statistics, and works."""
    before, behind = photograph(house), shadows(house)
    house.models(models)
    assert house.apply()["outcome"] == "migrated"
    assert_kept(before, photograph(house), changed=["t.a"] if "a TEXT" in models else [], touched=["t"])
    assert shadows(house) == behind
    assert {one["name"] for one in house.check()["unmanaged"]} >= NAMES
    assert_settled(house)
    house.run("INSERT INTO t(a, b) VALUES (4, 'four')")
    assert house.ask("SELECT id FROM t WHERE a = 4") == [(4,)], "the id of a deleted row is not given again"
    assert house.ask("SELECT rowid FROM search WHERE search MATCH 'four'") == [(4,)]
