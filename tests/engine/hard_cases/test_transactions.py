"""One transaction, whole or not at all: also where a statement ends it, where two start at once, and where others look on."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.dialects.sqlite.database import LiveTransaction
from driftengine.dialects.sqlite.transaction import Transaction
from driftengine.errors import ProofError
from support.identical import assert_identical, image
from support.processes import ended, start_apply

if TYPE_CHECKING:
    from driftengine.changes import Step
    from support.hard_cases import Rig

BEFORE = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, q INT CHECK (q IN (1, 2)));"
# ALTER, an edit of the text, a copy and a new table: every strategy in one plan.
AFTER = """CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, q INT CHECK (q IN (1, 2, 3)), z INT DEFAULT 5);
CREATE TABLE "new one"(id INTEGER PRIMARY KEY, t INT REFERENCES t(id)); CREATE INDEX i ON t(z);"""
COPIED = AFTER.replace("a TEXT", "a INTEGER")
ROWS = "INSERT INTO t VALUES (1, '1', 1), (2, '2', 2);"


@pytest.mark.parametrize("models", [AFTER, COPIED], ids=["edited", "copied"])
@pytest.mark.parametrize("stop", range(7))
def test_a_crash_between_two_statements_leaves_nothing_and_the_next_start_migrates(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, models: str, stop: int
) -> None:
    """DDL is inside the transaction, and so is the history's row: no column that is there already stops the next start."""
    rig.begin(BEFORE, ROWS)
    before = image(rig.database)
    rig.models(models)
    real = Transaction._run_step
    calls: list[str] = []

    def crashing(self: Transaction, step: Step) -> None:
        if self.location.path == rig.database:
            calls.append(step.sql)
            if len(calls) > stop:
                raise KeyboardInterrupt
        real(self, step)

    monkeypatch.setattr(Transaction, "_run_step", crashing)
    try:
        rig.apply()
    except KeyboardInterrupt:
        assert_identical(before, image(rig.database))
        assert rig.stored("driftd_history") == ""
    monkeypatch.undo()
    document = rig.apply()
    assert document["outcome"] == ("migrated" if len(calls) > stop else "up_to_date")
    assert document["error"] is None
    assert rig.ask("SELECT kind FROM driftd_history") == [("migration",)]
    rig.assert_settled()


def test_the_history_is_written_with_the_change_or_not_at_all(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever dies right before COMMIT has neither; right behind it both."""
    rig.begin(BEFORE, ROWS)
    before = image(rig.database)
    rig.models(COPIED)
    real = LiveTransaction.commit

    def killed(self: LiveTransaction, **how: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveTransaction, "commit", killed)
    with pytest.raises(KeyboardInterrupt):
        rig.apply()
    assert_identical(before, image(rig.database))
    assert rig.stored("driftd_history") == ""

    def killed_later(self: LiveTransaction, **how: Any) -> None:
        real(self, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveTransaction, "commit", killed_later)
    with pytest.raises(KeyboardInterrupt):
        rig.apply()
    monkeypatch.undo()
    assert rig.ask("SELECT kind FROM driftd_history") == [("migration",)]
    assert rig.apply()["outcome"] == "up_to_date"
    rig.assert_settled()


@pytest.mark.parametrize("stop", range(1, 4))
def test_a_statement_that_ends_the_transaction_ends_the_migration(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """An interrupted statement has rolled back; the next would commit by itself, so it is not begun."""
    rig.begin(BEFORE, ROWS)
    before = image(rig.database)
    rig.models(COPIED)
    real = Transaction._run_step
    ran: list[str] = []

    def ending(self: Transaction, step: Step) -> None:
        real(self, step)
        if self.location.path == rig.database:
            ran.append(step.sql)
            if len(ran) == stop:
                self.connection.execute("ROLLBACK")

    monkeypatch.setattr(Transaction, "_run_step", ending)
    with pytest.raises(ProofError) as raised:
        rig.apply()
    monkeypatch.undo()
    assert raised.value.code == "transaction-ended"
    assert len(ran) == stop
    assert_identical(before, image(rig.database))
    assert rig.backups() == []


@pytest.mark.parametrize("number", [2, 5])
def test_of_several_starters_one_migrates(rig: Rig, number: int) -> None:
    """The others wait and find nothing to do: no duplicate column, one row of history, one backup."""
    rig.begin(BEFORE, ROWS)
    rig.models(COPIED)
    results = [ended(process) for process in [start_apply(rig) for _ in range(number)]]
    assert sorted(document["outcome"] for _, document in results) == ["migrated"] + ["up_to_date"] * (
        number - 1
    )
    assert {code for code, _ in results} == {0}
    assert rig.ask("SELECT kind FROM driftd_history") == [("migration",)]
    assert len(rig.backups()) == 1
    assert api.history_verify(rig.target())["ok"]
    rig.assert_settled()


@pytest.mark.parametrize(
    ("models", "strategy"),
    [
        (BEFORE.replace("(1, 2)", "(1, 2, 3)"), "catalog"),
        (BEFORE.replace("a TEXT", "a TEXT NOT NULL"), "catalog"),
        (BEFORE.replace("a TEXT", "a VARCHAR(7) DEFAULT 'n'"), "catalog"),
        (BEFORE.replace("a TEXT", "a INTEGER"), "rebuild"),
    ],
)
def test_a_connection_that_was_open_obeys_the_new_schema_at_once(
    rig: Rig, models: str, strategy: str
) -> None:
    """Its prepared statements are compiled anew: the version of the schema has moved, also where only text was edited."""
    rig.met(BEFORE, ROWS)  # from here on nothing but the change itself moves the version
    connection = rig.connections[-1]
    (version,) = connection.execute("PRAGMA schema_version").fetchone()
    insert = "INSERT INTO t(a, q) VALUES (?, ?)"
    connection.execute(insert, ("7", 1))
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(insert, ("7", 3))
    rig.models(models)
    document = rig.apply()
    assert {one["strategy"] for one in document["applied"]} == {strategy}
    fresh = sqlite3.connect(rig.database, isolation_level=None)
    try:
        for values in (("7", 3), (None, 1), ("9", 1)):
            came = [_told(one, insert, values) for one in (connection, fresh)]
            assert came[0] == came[1], values
        assert connection.execute("PRAGMA schema_version").fetchone()[0] > version
        assert (
            connection.execute("SELECT typeof(a) FROM t WHERE a = '9'").fetchall()
            == fresh.execute("SELECT typeof(a) FROM t WHERE a = '9'").fetchall()
        )
    finally:
        fresh.close()


def _told(connection: sqlite3.Connection, sql: str, values: tuple[object, ...]) -> str:
    try:
        connection.execute(sql, values)
    except sqlite3.IntegrityError as error:
        return str(error)
    return ""


def test_a_service_in_the_middle_of_a_transaction_is_waited_for(rig: Rig) -> None:
    """While it writes, nothing is begun and nothing is left behind; when it has committed, its row is migrated too."""
    rig.begin(BEFORE, ROWS)
    rig.models(COPIED)
    rig.service("BEGIN IMMEDIATE")
    rig.service("INSERT INTO t VALUES (3, '3', 1)")
    document = rig.apply(window_timeout=0.1)
    assert (document["outcome"], document["error"]["code"]) == ("deferred", "database-busy")
    assert rig.backups() == []
    rig.service("COMMIT")
    assert rig.apply()["outcome"] == "migrated"
    assert rig.service("SELECT typeof(a) FROM t") == [("integer",)] * 3
