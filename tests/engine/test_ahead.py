"""Staging ahead: made while nobody waits, used once where it is exact, and made anew where it is not."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import ahead, api
from driftengine import backup as backups
from driftengine.apply import Applier
from driftengine.backup_files import folder_for
from driftengine.desired import read_desired
from driftengine.dialects.sqlite.database import LiveTransaction
from driftengine.errors import BusyError, ProofError
from driftengine.stage import discard, make_stage
from support.migrations import House, kinds
from support.processes import HOLDER, beside
from support.stages import prepared, reasons, session_of, staged

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine.ahead import Prepared
    from driftengine.stage import Stage

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


def never(*_: object, **__: object) -> None:
    raise AssertionError("it was staged a second time")


# --- used


def test_a_prepared_stage_is_used_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is backed up or rehearsed again: only the transaction is left, and the backup becomes the migration's."""
    with session_of(house) as session:
        told = staged(session)
        assert (told["outcome"], told["stage"]["freshness"]) == ("ready", "exact")
        assert reasons(house) == [(told["stage"]["backup"]["id"], "stage")]
        with monkeypatch.context() as patch:
            patch.setattr(Applier, "_stage", never)
            done = session.apply(allowed_by="a test")
        assert (done["outcome"], done["held"], done["blocked"], done["warnings"]) == ("migrated", [], [], [])
        assert done["backup"]["id"] == told["stage"]["backup"]["id"]
        assert reasons(house) == [(done["backup"]["id"], "migration")]
        assert session.stage_document() is None
        assert session.look()["in_sync"]
        assert session.apply(allowed_by="a test")["outcome"] == "up_to_date"
    (entry,) = api.history(house.target(), done["migration_id"])["migrations"]
    assert (entry["allowed_by"], entry["backup"]["id"]) == ("a test", done["backup"]["id"])
    assert entry["at"] > told["stage"]["made_at"]
    assert api.history_verify(house.target())["ok"]
    assert api.backup_verify(house.target())["ok"]
    assert house.ask("SELECT a FROM t ORDER BY id") == [(10,), (20,)]


def test_the_live_database_is_only_read_while_it_is_prepared(house: House) -> None:
    """Not a byte of its content moves, and nothing is left beside it."""
    before = house.database.read_bytes()
    with session_of(house) as session:
        staged(session)
    assert house.database.read_bytes() == before
    assert house.stored("driftd_history") == ""


def test_a_commit_in_between_makes_it_anew(house: House) -> None:
    """A row came after the backup: the stage is discarded, its backup too, and the row is migrated with the others."""
    with session_of(house) as session:
        old = staged(session)["stage"]["backup"]["id"]
        house.run("INSERT INTO t VALUES (3, '30')")
        document = session.stage_document()
        assert document is not None
        assert document["freshness"] == "stale"
        done = session.apply(allowed_by="a test")
        assert done["outcome"] == "migrated"
        assert session.stage_document() is None
    assert house.ask("SELECT a FROM t ORDER BY id") == [(10,), (20,), (30,)]
    assert [reason for _, reason in reasons(house)] == ["migration"]
    assert done["backup"]["id"] != old


def test_a_row_that_the_guard_would_stop_is_not_passed_over(house: House) -> None:
    """NULL is committed behind the guards' answer: NOT NULL is not put over it."""
    with session_of(house) as session:
        staged(session)
        house.run("INSERT INTO log (n) VALUES (NULL)")
        done = session.apply(allowed_by="a test")
    assert "set_not_null" in kinds(done, "held") + kinds(done, "blocked")
    assert "NOT NULL" not in house.stored("log")


def test_a_pruned_backup_is_missed(house: House) -> None:
    """Somebody removed the stage's backup: it is made anew, so that no migration is without one."""
    with session_of(house) as session:
        path = staged(session)["stage"]["backup"]["path"]
        os.unlink(path)  # noqa: PTH108  # what people type
        done = session.apply(allowed_by="a test")
    assert done["outcome"] == "migrated"
    assert api.backup_verify(house.target(), done["backup"]["id"])["ok"]


def test_other_models_and_other_approvals_do_not_fit(house: House) -> None:
    """What is applied is what is asked for now, not what was asked for then."""
    with session_of(house) as session:
        staged(session)
        house.models(AFTER.replace("b TEXT", "b TEXT, c TEXT"))
        assert session.models_moved()
        assert session.apply(allowed_by="a test")["outcome"] == "migrated"
    assert "c TEXT" in house.stored("t")
    house.models(BEFORE)
    with session_of(house) as session:
        first = staged(session)
        assert {one["code"] for one in first["held"]} == {"drop-column"}
        done = session.apply(approve=("drop-column",), allowed_by="a test")
    assert (done["outcome"], done["held"]) == ("migrated", [])


def test_a_lock_that_nobody_frees_keeps_the_stage(house: House) -> None:
    """Deferred: nothing has happened, so the same stage, still exact, serves the next try."""
    with session_of(house, window_timeout=0.2) as session:
        backup = staged(session)["stage"]["backup"]["id"]
        with beside(HOLDER, house.database, "BEGIN IMMEDIATE"):
            assert session.apply(allowed_by="a test")["outcome"] == "deferred"
        document = session.stage_document()
        assert document is not None
        assert document["freshness"] == "exact"
        assert session.apply(allowed_by="a test")["backup"]["id"] == backup
    assert reasons(house) == [(backup, "migration")]


def test_a_proof_that_fails_uses_it_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rolled back, told, and what was proved wrong is not tried a second time."""

    def fails(*_: object) -> None:
        raise ProofError("no", code="proof-schema")

    before = house.everything()
    with session_of(house) as session:
        staged(session)
        with monkeypatch.context() as patch:
            patch.setattr(LiveTransaction, "prove", fails)
            with pytest.raises(ProofError):
                session.apply(allowed_by="a test")
        assert (session.stage_document(), house.backups(), house.everything()) == (None, [], before)
        assert session.apply(allowed_by="a test")["outcome"] == "migrated"


def test_what_waits_is_prepared_without_a_backup(house: House) -> None:
    """All held or all blocked: told with the rows, no stage, nothing on disk."""
    house.models(BEFORE + "CREATE UNIQUE INDEX i ON t (a);")
    house.run("INSERT INTO t VALUES (3, '10')")
    with session_of(house) as session:
        told = staged(session)
        assert (told["outcome"], told["stage"]) == ("blocked", None)
        assert (told["blocked"][0]["kind"], told["blocked"][0]["count"]) == ("create_index", 1)
        house.models(BEFORE.replace(", a TEXT", ""))
        told = staged(session)
        assert (told["outcome"], told["stage"], told["held"][0]["count"]) == ("held", None, 3)
        assert session.apply(allowed_by="a test")["outcome"] == "held"
    assert reasons(house) == []


def test_a_missing_database_is_prepared_too(tmp_path: Path) -> None:
    """No backup of nothing; the file that somebody made meanwhile is not overwritten but looked at."""
    house = House(tmp_path)
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with session_of(house) as session:
        told = staged(session)
        assert (told["outcome"], told["stage"]["backup"]) == ("ready", None)
        assert not house.database.exists()
        house.run("CREATE TABLE other (id INT)")
        assert session.apply(allowed_by="a test")["outcome"] == "migrated"
    assert house.stored("other")
    with session_of(House(tmp_path / "new", settings={"models": house.target().models})) as session:
        staged(session)
        assert session.apply(allowed_by="a test")["outcome"] == "migrated"


def test_writing_meanwhile_is_no_failure(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema moves between the look and the rehearsal: it has yielded to a writer, and says so."""
    desired = read_desired(house.target().models)

    def late(*arguments: Any, **named: Any) -> Stage:
        house.run("DROP TABLE log")
        return make_stage(*arguments, **named)

    monkeypatch.setattr("driftengine.ahead.make_stage", late)
    with pytest.raises(BusyError) as caught:
        api.prepare(house.target(), desired)
    assert caught.value.code == "stage-yielded"
    assert reasons(house) == []


# --- how fresh it is (pure)


def made(house: House, models: str, rows: str = "") -> Prepared:
    house.run(rows)
    house.models(models)
    return api.prepare(house.target(), read_desired(house.target().models), approve=("drop-column",))


MORE = BEFORE.replace("n INT", "n INT, x TEXT")


@pytest.mark.parametrize(
    ("models", "usable"),
    [
        pytest.param(MORE, True, id="a column more"),
        pytest.param(BEFORE + "CREATE INDEX i ON t (a);", True, id="an index"),
        pytest.param(BEFORE + "CREATE TABLE u (id INT);", True, id="a table"),
        pytest.param(BEFORE.replace("n INT", "n INT NOT NULL"), True, id="a guard that is asked again"),
        pytest.param(BEFORE.replace("a TEXT", "a INTEGER"), False, id="a copy"),
        pytest.param(BEFORE.replace(", a TEXT", ""), False, id="a drop that was approved"),
        pytest.param(MORE + "CREATE UNIQUE INDEX i ON t (a);", True, id="several"),
    ],
)
def test_what_may_be_usable(tmp_path: Path, models: str, usable: bool) -> None:
    """Only what loses nothing, copies nothing and has an exact inverse survives rows that came later."""
    house = House(tmp_path, journal="wal")
    found = made(house, models, BEFORE + ROWS)
    assert found.outcome == "ready"
    later: dict[str, Any] = {"exact": False, "same_schema": True, "age_s": 5.0, "reuse_max_age": 10.0}
    assert ahead.freshness(found, **later) == ("usable" if usable else "stale")
    assert ahead.freshness(found, **(later | {"exact": True})) == "exact"
    assert ahead.freshness(found, **(later | {"same_schema": False})) == "stale"
    assert ahead.freshness(found, **(later | {"age_s": 10.1})) == "stale"


def test_a_drawn_value_is_never_usable(tmp_path: Path) -> None:
    """A backfill holds the rows of the backup, even where nothing is copied."""
    house = House(tmp_path, settings={"backfill": {"log.x": "'old'"}})
    found = made(house, MORE.replace("x TEXT", "x TEXT NOT NULL"), BEFORE + "INSERT INTO log VALUES (1, 1)")
    assert ahead.freshness(found, exact=False, same_schema=True, age_s=0, reuse_max_age=10) == "stale"


def test_whether_it_fits_the_window(house: House) -> None:
    """Three times the statements and 100 ms, half a second before the end; staging counts where it is to be done again."""
    found = made(house, MORE)
    stage = found.stage
    assert stage is not None
    outcome = replace(stage.rehearsal.outcome, durations=(0.4, 0.1))
    slow = replace(
        found, took_ms=3000.0, stage=replace(stage, rehearsal=replace(stage.rehearsal, outcome=outcome))
    )
    assert slow.apply_ms == 500.0
    assert ahead.fits_window(slow, fresh=True, window_s=2.1)
    assert not ahead.fits_window(slow, fresh=True, window_s=2.0)
    assert ahead.fits_window(slow, fresh=False, window_s=5.1)
    assert not ahead.fits_window(slow, fresh=False, window_s=5.0)


def test_its_age_is_never_negative(house: House) -> None:
    """Clocks are set back."""
    found = made(house, MORE)
    now = datetime.now(UTC)
    assert 0 <= ahead.aged(replace(found, made_at=now + timedelta(hours=1)), now) < 3600
    assert ahead.aged(replace(found, made_at=now - timedelta(hours=1)), now) == 3600


def test_a_big_one_passes_through_pickle(tmp_path: Path) -> None:
    """Two hundred tables: whole, equal, and as good as before at the other end."""
    house = House(tmp_path)
    tables = [
        f"CREATE TABLE t{n} (id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT 'x', at DATETIME, "
        f"other INT REFERENCES t{n // 2} (id), UNIQUE (name), CHECK (length(name) < 50));"
        f"CREATE INDEX i{n} ON t{n} (at, other);"
        for n in range(200)
    ]
    house.run("".join(tables))
    house.models("".join(tables).replace("at DATETIME", "at DATETIME, more VARCHAR(20)"))
    with session_of(house) as session:
        session.look()
        taken = session.begin_stage()
        found = api.prepare(session.target, session.desired)
        text = pickle.dumps(found)
        again: Prepared = pickle.loads(text)  # noqa: S301  # we wrote it
        assert again == found
        assert len(again.choice.operations) == 200
        assert len(text) < 3_000_000
        assert session.keep(again, taken)["stage"]["operations"] == 200
        assert session.apply(allowed_by="a test")["outcome"] == "migrated"


def test_what_is_told_does_not_grow_with_the_history(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows stay behind, and those of the look take their place: a daemon holds each once."""
    sizes = []
    with session_of(house) as session:
        for number in range(1, 7):
            session.look()
            assert session.apply(allowed_by="a test")["outcome"] == "migrated"
            house.models(AFTER.replace("'y'", f"'{number}'"))
            session.look()
            made = api.prepare(session.target, session.desired)
            assert len(made.found.entries) == number
            discard(made.backup)
            sizes.append(len(pickle.dumps(ahead.without_rows(made))))
        assert max(sizes[1:]) - min(sizes[1:]) < 5 * 100  # a hash each; a row is some thousands
        taken = session.begin_stage()
        assert session.keep(prepared(session), taken)["stage"]["freshness"] == "exact"
        with monkeypatch.context() as patch:
            patch.setattr(Applier, "_stage", never)
            assert session.apply(allowed_by="a test")["outcome"] == "migrated"
    assert api.history_verify(house.target())["ok"]


def test_what_was_prepared_over_another_history_is_not_kept(house: House) -> None:
    """A row that came between the look and the stage: `stale`, and its backup goes."""
    with session_of(house) as session:
        session.look()
        taken = session.begin_stage()
        late = replace(prepared(session), rows=("0" * 64,))
        assert session.keep(late, taken)["outcome"] == "stale"
        assert session.stage_document() is None
    assert reasons(house) == []


# --- what is left behind


STAGER = """
import os, pickle, signal, sys
from driftengine import api
from driftengine.desired import read_desired
target, phase = pickle.loads(sys.stdin.buffer.read())
def progress(name, done, total):
    if name == phase:
        os.kill(os.getpid(), signal.SIGKILL)
prepared = api.prepare(target, read_desired(target.models), progress=progress)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("phase", ["backup", "rehearsal", "behind everything"])
def test_what_a_killed_stager_leaves_is_swept(house: House, phase: str) -> None:
    """Kill -9 at any moment: half a backup, a workspace, or a whole backup that nobody waits for; a look clears up."""
    job = pickle.dumps((house.target(), phase))
    ended = subprocess.run([sys.executable, "-B", "-c", STAGER], input=job, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    folder = folder_for(house.folder / "backups", house.database)
    assert list(folder.iterdir())
    with session_of(house) as session:
        assert session.look()["warnings"] == []
        assert [path.name for path in folder.iterdir()] == []
        assert staged(session)["outcome"] == "ready"


def test_a_crash_behind_commit_is_put_right(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The migration has happened and its backup still says `stage`: the next look relabels it and never removes it."""
    real = LiveTransaction.commit

    def interrupted(self: LiveTransaction, **how: Any) -> None:
        real(self, **how)
        raise KeyboardInterrupt

    with session_of(house) as session:
        staged(session)
        with monkeypatch.context() as patch:
            patch.setattr(LiveTransaction, "commit", interrupted)
            with pytest.raises(KeyboardInterrupt):
                session.apply(allowed_by="a test")
    ((backup, reason),) = reasons(house)
    assert reason == "stage"
    with session_of(house) as session:
        session.look()
    assert reasons(house) == [(backup, "migration")]
    assert api.backup_verify(house.target())["ok"]


def test_one_that_only_the_journal_knows_stays(house: House) -> None:
    """Restored to before the migration: the history has forgotten it, the journal has not, so its backup stays."""
    first = api.backup_create(house.target())["backup"]["id"]
    with session_of(house) as session:
        staged(session)
        done = session.apply(allowed_by="a test")
    folder = folder_for(house.folder / "backups", house.database)
    backups.relabel(backups.find(folder, done["backup"]["id"]), backups.STAGE)
    api.backup_restore(house.target(), first)
    with session_of(house) as session:
        session.look()
    assert (done["backup"]["id"], "migration") in reasons(house)


def test_a_superseded_stage_takes_its_backup_along(house: House) -> None:
    """One stage, one backup, also when the session ends; the journal does not grow with it."""
    with session_of(house) as session:
        first = staged(session)["stage"]["backup"]["id"]
        second = staged(session)["stage"]["backup"]["id"]
        assert first != second
        assert reasons(house) == [(second, "stage")]
    assert reasons(house) == []
    assert not list((house.folder / "backups").rglob("journal.jsonl"))


def test_the_backup_of_a_stage_is_not_pruned(house: House) -> None:
    """`driftd backup prune` beside a daemon that holds a stage: that backup stays, however tight the limits are."""
    with session_of(house) as session:
        api.backup_create(house.target())
        stage = staged(session)["stage"]["backup"]["id"]
        newest = api.backup_create(house.target())["backup"]["id"]
        target = house.target()
        pruned = api.backup_prune(replace(target, backup=replace(target.backup, keep=1)))
        assert [one["id"] for one in pruned["kept"]] == [stage, newest]
        assert session.apply(allowed_by="a test")["backup"]["id"] == stage


def test_what_another_look_would_plan_is_not_kept(house: House) -> None:
    """The models moved while it was made: `stale`, and its backup goes."""
    with session_of(house) as session:
        session.look()
        taken = session.begin_stage()
        late = prepared(session)
        house.models(MORE)
        session.look()
        assert session.keep(late, taken)["outcome"] == "stale"
        assert session.stage_document() is None
    assert reasons(house) == []


def test_a_stage_is_not_exact_for_a_commit_while_it_was_made(house: House) -> None:
    """The mark is taken before the stager begins: a row that comes after its backup is seen."""
    with session_of(house) as session:
        session.look()
        taken = session.begin_stage()
        late = prepared(session)
        house.run("INSERT INTO t VALUES (3, '30')")
        assert session.keep(late, taken)["stage"]["freshness"] == "stale"
        with closing(session):
            assert session.apply(allowed_by="a test")["outcome"] == "migrated"
    assert house.ask("SELECT count(*) FROM t WHERE typeof(a) = 'integer'") == [(3,)]
