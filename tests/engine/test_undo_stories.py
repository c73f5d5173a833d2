"""Undoing through the engine's own door: what comes back meets constraints, renames, and what was written since."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from support.migrations import House, kinds

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["wal", "delete"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> House:
    """An empty house in both journal modes."""
    return House(tmp_path, request.param)


def begun(house: House, ddl: str, rows: str) -> None:
    """The service made its database, and the models agree."""
    house.run(f"{ddl}; {rows}")
    house.models(ddl)
    assert house.apply()["outcome"] == "up_to_date"


def migrated(house: House, models: str, **settings: Any) -> dict[str, Any]:
    """The models move on, whatever is held is approved, and the database follows."""
    house.models(models)
    waiting = api.apply(house.target(**settings), dry_run=True)["held"]
    document = house.apply(*{one["code"] for one in waiting}, **settings)
    assert document["outcome"] == "migrated", document
    assert not document["held"], document
    assert house.check(**settings)["in_sync"]
    return document


def rolled_back(house: House, **how: Any) -> dict[str, Any]:
    """`driftd rollback`."""
    return api.rollback(house.target(), allowed_by="a test", **how)


def plain(house: House) -> str:
    """The database as text, without what SQLite writes by itself."""
    return "\n".join(sorted(house.everything().splitlines()))


def test_a_unique_column_with_a_default_comes_back_whole(house: House) -> None:
    """The constraint is judged by the values of the backup, not by the default that all rows would have."""
    ddl = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, v TEXT DEFAULT 'none', UNIQUE (v))"
    begun(house, ddl, "INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'none')")
    before = plain(house)
    migrated(house, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
    document = rolled_back(house)
    assert document["outcome"] == "migrated", document
    assert not document["held"]
    assert not document["blocked"]
    assert house.ask("SELECT * FROM t") == [(1, "a", "x"), (2, "b", "y"), (3, "c", "none")]
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        house.run("INSERT INTO t VALUES (9, 'z', 'x')")
    assert "none" in before


def test_a_constraint_that_later_rows_offend_waits_alone(house: House) -> None:
    """The column comes back with its values; the constraint over it is blocked, and the rows are shown."""
    ddl = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, v TEXT DEFAULT 'none', UNIQUE (v))"
    begun(house, ddl, "INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'none')")
    migrated(house, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
    house.run("INSERT INTO t VALUES (5, 'later')")
    document = rolled_back(house)
    assert document["outcome"] == "migrated", document
    (blocked,) = document["blocked"]
    assert blocked["rows"] == [{"key": "2, 5", "value": "none"}]
    assert house.ask("SELECT id, v FROM t") == [(1, "x"), (2, "none"), (5, "none")]


def test_a_migration_that_did_everything_at_once_is_taken_back(house: House) -> None:
    """Dropped, converted, filled, computed and renamed in one migration, and back as it was, byte for byte."""
    ddl = (
        "CREATE TABLE kind (code TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, label TEXT) WITHOUT ROWID;"
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, number TEXT, size INTEGER, kind TEXT"
        " REFERENCES kind (code), note BLOB, total INTEGER);"
        "CREATE TABLE old (a TEXT, b BLOB);"
        "CREATE INDEX by_note ON t (note) WHERE note IS NOT NULL"
    )
    rows = (
        "INSERT INTO kind VALUES ('A', 'first'), ('b', NULL);"
        "INSERT INTO t VALUES (1, 'Ann', '1', NULL, 'A', x'00', 5), (2, NULL, '20', 2, 'B', '007', NULL),"
        " (9, 'Cid', NULL, NULL, NULL, 1e3, 7);"
        "INSERT INTO old (rowid, a, b) VALUES (5, 'five', x'05'), (77, NULL, 7)"
    )
    begun(house, ddl, rows)
    before = plain(house)
    rowids = house.ask("SELECT rowid, quote(a), quote(b) FROM old")
    migrated(
        house,
        "CREATE TABLE kind (code TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, label TEXT) WITHOUT ROWID;"
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, number INTEGER, size INTEGER NOT NULL,"
        " kind TEXT REFERENCES kind (code), total INTEGER AS (size * 2) STORED, extra TEXT DEFAULT 'e')",
        backfill={"t.size": "-1"},
        renames={"t.title": "name"},
    )
    assert house.ask("SELECT title, number, size, total FROM t WHERE id = 1") == [("Ann", 1, -1, -2)]
    document = rolled_back(house)
    assert document["outcome"] == "migrated", document
    assert (document["held"], document["blocked"]) == ([], [])
    assert house.ask("SELECT rowid, quote(a), quote(b) FROM old") == rowids
    assert house.ask("SELECT id, name, quote(number), size, quote(note), total FROM t") == [
        (1, "Ann", "'1'", None, "X'00'", 5),
        (2, None, "'20'", 2, "'007'", None),
        (9, "Cid", "NULL", None, "1000.0", 7),
    ]
    others = {line for line in before.splitlines() if line.startswith("INSERT") and '"t"' not in line}
    assert others <= set(plain(house).splitlines())
    assert house.ask("SELECT seq FROM sqlite_sequence WHERE name = 't'") == [(9,)]
    again = rolled_back(house, migration=document["migration_id"], approve=_held_of(house, document))
    assert again["outcome"] == "migrated", again
    assert house.ask("SELECT title, number, size, total FROM t WHERE id = 1") == [("Ann", 1, -1, -2)]


def _held_of(house: House, document: dict[str, Any]) -> list[str]:
    """The codes that taking a rollback back is held for."""
    tried = rolled_back(house, migration=document["migration_id"], dry_run=True)
    return sorted({one["code"] for one in tried["held"]})


def test_later_renames_lie_between(house: House) -> None:
    """Table, key and column have other names now: the values of the backup are found under the names of then."""
    ddl = "CREATE TABLE person (pid INTEGER PRIMARY KEY, name TEXT, phone TEXT)"
    begun(house, ddl, "INSERT INTO person VALUES (1, 'Ann', '11'), (2, 'Bob', NULL), (3, 'Cid', '33')")
    first = migrated(house, "CREATE TABLE person (pid INTEGER PRIMARY KEY, name TEXT)")
    migrated(
        house,
        "CREATE TABLE human (id INTEGER PRIMARY KEY, title TEXT)",
        renames={"human": "person", "human.id": "pid", "human.title": "name"},
    )
    house.run("INSERT INTO human VALUES (10, 'Dan'); UPDATE human SET title = 'Anna' WHERE id = 1")
    document = rolled_back(house, migration=first["migration_id"])
    assert document["outcome"] == "migrated", document
    assert house.ask("SELECT id, title, phone FROM human") == [
        (1, "Anna", "11"),
        (2, "Bob", None),
        (3, "Cid", "33"),
        (10, "Dan", None),
    ]


def test_without_a_key_and_under_another_name(house: House) -> None:
    """The same plan renames table and column back: its queries run while they still have their new names."""
    ddl = "CREATE TABLE log (a TEXT, v TEXT, w INTEGER NOT NULL)"
    begun(house, ddl, "INSERT INTO log VALUES ('a', '1', 1), ('b', '2', 2)")
    migrated(
        house,
        "CREATE TABLE diary (b TEXT, extra BLOB)",
        renames={"diary": "log", "diary.b": "a"},
    )
    house.run("INSERT INTO diary (b, extra) VALUES ('new', 'own')")
    document = rolled_back(house)
    assert document["outcome"] == "migrated", document
    assert {(one["name"], one["code"], one["count"]) for one in document["held"]} == {
        ("w", "value-needed", 1),
        ("extra", "drop-column", 1),
    }
    assert house.ask("SELECT a, v, extra FROM log") == [
        ("a", "1", None),
        ("b", "2", None),
        ("new", None, "own"),
    ]
    house.settings["backfill"] = {"log.w": "length(a)"}
    last = rolled_back(house, approve=["drop-column"], migration=_first(house))
    assert last["outcome"] == "migrated", last
    assert house.ask("SELECT * FROM log") == [("a", "1", 1), ("b", "2", 2), ("new", None, 3)]


def _first(house: House) -> str:
    """The id of the first migration."""
    rows = house.ask("SELECT migration_id FROM driftd_history WHERE migration_id IS NOT NULL ORDER BY id")
    return str(rows[0][0])


def test_rows_of_which_nobody_can_tell_are_shown_and_kept(house: House) -> None:
    """Held: nothing happens. Approved: they keep what they have, and all others get their values."""
    begun(house, "CREATE TABLE log (a TEXT, v TEXT)", "INSERT INTO log VALUES ('a', '1'), ('b', '2')")
    migrated(house, "CREATE TABLE log (a TEXT)")
    house.run("UPDATE log SET a = 'other' WHERE a = 'b'")
    before = house.everything()
    document = rolled_back(house)
    assert document["outcome"] == "held"
    (held,) = document["held"]
    assert (held["code"], held["count"], held["rows"]) == ("undo-undecided", 1, [{"key": 2, "value": None}])
    assert house.everything() == before
    assert rolled_back(house, approve=["undo-undecided"])["outcome"] == "migrated"
    assert house.ask("SELECT * FROM log") == [("a", "1"), ("other", None)]


def test_a_fill_of_the_migration_counts_as_nobodys_writing(house: House) -> None:
    """An added column that holds only what it was filled with goes again without a question."""
    begun(house, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)", "INSERT INTO t VALUES (1, 'x'), (2, 'y')")
    migrated(
        house,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, v TEXT NOT NULL)",
        backfill={"t.v": "upper(a)"},
    )
    assert house.ask("SELECT v FROM t") == [("X",), ("Y",)]
    document = rolled_back(house)
    assert kinds(document) == ["drop_column"], document
    assert document["outcome"] == "migrated"
