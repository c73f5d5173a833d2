"""What attacks on windows and on rollbacks have found: no row falls between two copies, and no statement of old code."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api, backup
from driftengine.dialects.sqlite import bring_back
from driftengine.errors import BusyError
from support.migrations import House, kinds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BEFORE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INT DEFAULT 1 CHECK (n < 5));"
CHILD = "CREATE TABLE c (id INTEGER PRIMARY KEY, a TEXT REFERENCES t (a));"
OLD_CODE = (
    "INSERT INTO t (a) VALUES ('new')",
    "UPDATE t SET a = 'other' WHERE id = 1",
    "DELETE FROM t WHERE id = 2",
)


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    house = House(tmp_path, journal=request.param)
    house.run(BEFORE + "INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2);")
    house.models(BEFORE)
    house.apply()
    return house


def migrated(house: House) -> None:
    house.models(BEFORE.replace("a TEXT", "a TEXT, b TEXT"))
    assert house.apply()["outcome"] == "migrated"


def saved(house: House, done: dict[str, Any]) -> set[str]:
    """The texts that the safety backup holds."""
    assert api.backup_verify(house.target(), done["safety_backup"]["id"])["ok"]
    with closing(sqlite3.connect(done["safety_backup"]["path"])) as connection:
        return {text for (text,) in connection.execute("SELECT a FROM t")}


def old_code(house: House) -> list[str]:
    """What a service that enforces foreign keys, and knows the old models, fails at."""
    failed = []
    with closing(sqlite3.connect(house.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        for statement in OLD_CODE:
            try:
                connection.execute(statement)
            except sqlite3.Error as error:
                failed.append(f"{statement}: {error}")
    return failed


# --- a rollback beside a service that writes


def test_nobody_writes_between_the_safety_backup_and_the_rollback(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the safety backup is made, and behind it, a writer is refused: what it wrote would be in neither state."""
    migrated(house)
    refused: list[str] = []
    create = backup.create

    def and_write(*given: Any, **more: Any) -> backup.Backup:
        made = create(*given, **more)
        with closing(sqlite3.connect(house.database, timeout=0)) as connection:
            try:
                connection.execute("INSERT INTO t (a) VALUES ('late')")
            except sqlite3.OperationalError as error:
                refused.append(str(error))
        return made

    monkeypatch.setattr(backup, "create", and_write)
    done = api.rollback_to_backup(house.target())
    assert refused == ["database is locked"]
    assert (done["rows_lost"], saved(house, done)) == (0, {"x", "y"})
    house.run("INSERT INTO t (a) VALUES ('later')")  # the lock is free again
    assert not house.database.with_name("app.db-journal").exists()


def running(action: Callable[[], None], monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Runs the action right before each of the first writings of a copy into the live database."""
    run, left = bring_back.copy_pages, [times]

    def first(source: sqlite3.Connection, target: sqlite3.Connection, pace: Any, pages: Any = None) -> None:
        if pages is not None and left[0]:
            left[0] -= 1
            action()
        run(source, target, pace, pages)

    monkeypatch.setattr(bring_back, "copy_pages", first)


def test_who_is_faster_than_the_rollback_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In WAL mode a row that comes behind the safety backup is seen under the lock, and another one is made."""
    house = House(tmp_path)
    house.run(BEFORE + "INSERT INTO t VALUES (1, 'x', 1);")
    house.models(BEFORE)
    house.apply()
    migrated(house)
    running(lambda: house.run("INSERT INTO t (a) VALUES ('late')"), monkeypatch, times=1)
    done = api.rollback_to_backup(house.target())
    assert (done["rows_lost"], saved(house, done)) == (1, {"x", "late"})
    reasons = [one["reason"] for one in api.backup_list(house.target())["backups"]]
    assert reasons.count("restore") == 1
    assert house.ask("SELECT a FROM t") == [("x",)]
    assert api.history_verify(house.target())["ok"]


def test_who_is_always_faster_keeps_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback that loses each race is refused, and nothing was changed."""
    house = House(tmp_path)
    house.run(BEFORE)
    house.models(BEFORE)
    house.apply()
    migrated(house)
    running(lambda: house.run("INSERT INTO t (a) VALUES ('late')"), monkeypatch, times=bring_back.TRIES)
    with pytest.raises(BusyError, match="in use"):
        api.rollback_to_backup(house.target())
    assert house.ask("SELECT count(*), count(b) FROM t") == [(bring_back.TRIES, 0)]


# --- what others survive


@pytest.mark.parametrize("key", ["UNIQUE", "INDEX"])
def test_a_child_waits_for_the_key_of_its_parent(house: House, key: str) -> None:
    """Made alone it would have SQLite refuse what old code does to the parent: foreign key mismatch."""
    unique = BEFORE.replace("a TEXT", "a TEXT UNIQUE")
    house.models(unique + CHILD if key == "UNIQUE" else f"{BEFORE}{CHILD}CREATE UNIQUE INDEX i ON t (a);")
    done = api.apply(house.target(), in_use=True)
    assert (done["outcome"], done["error"]["code"], len(done["held"])) == ("deferred", "in-use", 2)
    assert old_code(house) == []
    done = house.apply()
    assert (len(done["applied"]), done["held"]) == (2, [])
    assert house.check()["in_sync"]


def test_a_child_waits_for_a_key_that_rows_stand_in_the_way_of(house: House) -> None:
    """Also where nobody else runs: the service that starts deletes from the parent, too."""
    house.run("INSERT INTO t (a) VALUES ('x')")
    house.models(BEFORE.replace("a TEXT", "a TEXT UNIQUE") + CHILD)
    done = house.apply()
    assert (done["outcome"], kinds(done), kinds(done, "held")) == ("blocked", [], ["create_table"])
    assert old_code(house) == []


def test_a_default_waits_for_the_check_that_allows_it(house: House) -> None:
    """Old code leaves the column out, and its rows would be refused by the CHECK that still stands."""
    house.models(BEFORE.replace("DEFAULT 1 CHECK (n < 5)", "DEFAULT 9 CHECK (n < 10)"))
    done = api.apply(house.target(), in_use=True)
    assert (done["outcome"], kinds(done)) == ("deferred", [])
    assert old_code(house) == []


def test_what_belongs_to_a_new_table_comes_with_it(house: House) -> None:
    """Nobody has met it: its unique index and its trigger stand in nobody's way."""
    new = "CREATE TABLE u (a INT); CREATE UNIQUE INDEX i ON u (a);"
    house.models(f"{BEFORE}{new}CREATE TRIGGER g BEFORE DELETE ON u BEGIN SELECT RAISE(ABORT, 'no'); END;")
    done = api.apply(house.target(), in_use=True)
    assert (done["outcome"], done["held"]) == ("migrated", [])
    assert house.check()["in_sync"]
