"""apply beside others: other driftd, services that write and read meanwhile, and locks that nobody frees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.apply import Applier
from driftengine.dialects.sqlite.database import LiveTransaction
from support.migrations import House, kinds
from support.processes import HOLDER, WRITER, beside, ended, last_word, start_apply

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE log (id INTEGER PRIMARY KEY, n INT);"
AFTER = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT);"
    "CREATE TABLE log (id INTEGER PRIMARY KEY, n INT NOT NULL, x TEXT DEFAULT 'y');"
)
ROWS = "INSERT INTO t VALUES (1, '10'), (2, '20');"


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    house = House(tmp_path, journal=request.param)
    house.run(BEFORE + ROWS)
    house.models(AFTER)
    return house


def history_rows(house: House) -> list[tuple[str]]:
    return house.ask("SELECT kind FROM driftd_history")


def untouched(house: House, before: str) -> bool:
    """True when nothing was written and nothing is left over: no history, no backup, no folder of a rehearsal."""
    left = [path for path in (house.folder / "backups").rglob("*") if path.is_file()]
    return house.everything() == before and not house.stored("driftd_history") and not left


def test_of_several_at_once_one_migrates(house: House) -> None:
    """Real processes started together: one migrates, the others wait and find nothing to do; one history row."""
    number = {"delete": 8, "wal": 2}[house.journal]
    processes = [start_apply(house) for _ in range(number)]
    results = [ended(process) for process in processes]
    assert [code for code, _ in results] == [0] * number, [document["error"] for _, document in results]
    outcomes = sorted(document["outcome"] for _, document in results)
    assert outcomes == ["migrated"] + ["up_to_date"] * (number - 1)
    assert history_rows(house) == [("migration",)]
    assert len(house.backups()) == 1
    assert api.history_verify(house.target())["ok"]


def test_several_first_meetings_at_once_are_one(house: House) -> None:
    """A database in step is met once, whoever comes first, so that it has one id."""
    house.models(BEFORE)
    processes = [start_apply(house) for _ in range(4)]
    assert {ended(process)[1]["outcome"] for process in processes} == {"up_to_date"}
    house.apply()  # where all but one were locked out, or each saw another one's
    assert history_rows(house) == [("meeting",)]
    assert api.history_verify(house.target())["ok"]


def test_a_service_that_writes_all_the_time_loses_no_row(house: House) -> None:
    """Commits come before, during and after the migration: every one of them is there, and the schema is the new one."""
    with beside(WRITER, house.database) as writer:
        code, document = ended(start_apply(house))
        committed = int(last_word(writer))
    assert (code, document["outcome"]) == (0, "migrated"), document["error"]
    assert house.ask("SELECT count(*), count(DISTINCT n), count(x) FROM log") == [(committed,) * 3]
    assert house.check()["in_sync"]
    assert history_rows(house) == [("migration",)]


def committing(sql: str, house: House, monkeypatch: pytest.MonkeyPatch, method: str) -> list[str]:
    """Somebody commits once, right before the first call of a step of apply."""
    real = getattr(Applier, method)
    calls: list[str] = []

    def step(self: Applier, *arguments: object, **named: object) -> object:
        calls.append(method)
        if len(calls) == 1:
            house.run(sql)
        return real(self, *arguments, **named)

    monkeypatch.setattr(Applier, method, step)
    return calls


@pytest.mark.parametrize("method", ["_survey", "_require_access", "_stage"])
def test_a_commit_between_two_looks_leads_to_a_second_try(
    house: House, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """What was found before the commit is not relied on: the second try holds the lock, and sees the new row."""
    committing("INSERT INTO log (n) VALUES (7); INSERT INTO t VALUES (3, '30')", house, monkeypatch, method)
    done = house.apply()
    assert (done["outcome"], done["held"], done["blocked"]) == ("migrated", [], [])
    assert house.ask("SELECT a FROM t ORDER BY id") == [(10,), (20,), (30,)]
    assert (len(house.backups()), history_rows(house)) == (1, [("migration",)])
    assert done["backup"]["path"] == str(house.backups()[0])


def test_a_row_that_comes_behind_the_guards_is_judged(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """NULL is committed after the guard had found none: NOT NULL is not put over it."""
    committing("INSERT INTO log (n) VALUES (NULL)", house, monkeypatch, "_stage")
    done = house.apply()
    assert kinds(done, "held") + kinds(done, "blocked") == ["set_not_null"]
    assert "NOT NULL" not in house.stored("log")
    assert done["outcome"] == "migrated"


def test_a_file_that_is_replaced_meanwhile_is_looked_at_anew(
    house: House, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another database is renamed into its place before the lock: its rows are migrated, not those that were read."""
    other = House(tmp_path_factory.mktemp("other"), journal="delete")
    other.run(f"{BEFORE} INSERT INTO t VALUES (9, '90')")
    real = Applier._locked
    calls: list[int] = []

    def locked(self: Applier, *arguments: Any) -> object:
        calls.append(1)
        if len(calls) == 2:
            other.database.rename(house.database)
        return real(self, *arguments)

    monkeypatch.setattr(Applier, "_locked", locked)
    done = house.apply()
    assert (done["outcome"], len(calls)) == ("migrated", 3)
    assert house.ask("SELECT id, a FROM t") == [(9, 90)]


def test_a_migration_that_comes_between_is_found_done(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one has migrated since our first look: that is no failure and no conflict, but up to date."""
    real = Applier._stage
    calls: list[int] = []

    def stage(self: Applier, *arguments: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            assert house.apply()["outcome"] == "migrated"
        return real(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Applier, "_stage", stage)
    done = house.apply()
    assert (done["outcome"], done["error"], done["backup"]) == ("up_to_date", None, None)
    assert history_rows(house) == [("migration",)]
    assert len(house.backups()) == 1


def test_a_lock_that_nobody_frees_defers(house: House) -> None:
    """A writer holds its transaction: exit 1, the reason, no backup, nothing written; freed, it migrates."""
    before = house.everything()
    with beside(HOLDER, house.database, "BEGIN IMMEDIATE"):
        done = house.apply(window_timeout=0.2)
    assert (done["outcome"], done["error"]["code"]) == ("deferred", "database-busy")
    assert (done["applied"], done["backup"], done["migration_id"]) == ([], None, None)
    assert untouched(house, before)
    assert house.apply()["outcome"] == "migrated"


def test_an_exclusive_lock_defers_with_a_whole_answer(tmp_path: Path) -> None:
    """Where not even reading is possible the answer is the same document, from the real command: exit 1."""
    house = House(tmp_path, journal="delete")
    house.run(BEFORE + ROWS)
    house.models(AFTER)
    before = house.everything()
    with beside(HOLDER, house.database, "BEGIN EXCLUSIVE"):
        code, document = ended(start_apply(house, timeout=0.3))
        inside = house.apply(window_timeout=0.2)
    assert (code, document["outcome"], document["error"]["code"]) == (1, "deferred", "database-busy")
    assert (document["target"], document["database"]) == ("app", str(house.database))
    assert inside["outcome"] == "deferred"
    assert untouched(house, before)


def test_a_reader_in_rollback_journal_mode_defers(tmp_path: Path) -> None:
    """A reader that does not end keeps COMMIT from happening: everything is rolled back, and no backup stays."""
    house = House(tmp_path, journal="delete")
    house.run(BEFORE + ROWS)
    house.models(AFTER)
    before = house.everything()
    with beside(HOLDER, house.database, "BEGIN", "SELECT * FROM t"):
        done = house.apply(window_timeout=0.3)
        assert done["outcome"] == "deferred"
    assert house.backups() == []
    assert (house.everything(), house.stored("driftd_history")) == (before, "")
    assert house.apply()["outcome"] == "migrated"


def test_a_reader_in_wal_mode_is_in_nobodys_way(tmp_path: Path) -> None:
    """It goes on reading what was, and the migration is done."""
    house = House(tmp_path, journal="wal")
    house.run(BEFORE + ROWS)
    house.models(AFTER)
    with beside(HOLDER, house.database, "BEGIN", "SELECT * FROM t"):
        assert house.apply()["outcome"] == "migrated"
    assert house.check()["in_sync"]


def test_an_interrupt_behind_commit_keeps_the_backup(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C right after COMMIT: the migration has happened, so its backup stays and the next apply tidies up."""
    real = LiveTransaction.commit

    def interrupted(self: LiveTransaction, **how: Any) -> None:
        real(self, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveTransaction, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        house.apply()
    monkeypatch.undo()
    assert history_rows(house) == [("migration",)]
    assert len(house.backups()) == 1
    assert house.apply()["outcome"] == "up_to_date"
    assert api.history_verify(house.target())["ok"]


def test_an_interrupt_before_commit_leaves_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C inside the transaction: rolled back, and no backup of what did not happen."""

    def interrupted(self: LiveTransaction, expected: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveTransaction, "prove", interrupted)
    before = house.everything()
    with pytest.raises(KeyboardInterrupt):
        house.apply()
    assert (house.everything(), house.backups(), house.stored("driftd_history")) == (before, [], "")
