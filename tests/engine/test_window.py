"""A service starts: what was staged is applied, what does not fit is put off, and the database is old or new."""

from __future__ import annotations

import sqlite3
import sys
import textwrap
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.apply import Applier
from driftengine.desired import ModelSource
from driftengine.errors import ModelsError
from settled import settle
from support.migrations import House, kinds
from support.stages import reasons, session_of, staged
from support.windows import AFTER, BEFORE, COPIED, freshness, never, put_off, slow_to_stage, window, windowed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """Once with each kind of journal."""
    return windowed(tmp_path, request.param)


def evidence(house: House, migration: str) -> dict[str, Any]:
    (entry,) = api.history(house.target(), migration)["migrations"]
    found: dict[str, Any] = entry["evidence"]
    return found


# --- what there is to do


def test_nothing_has_moved(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """In sync at the last look, and the same since: no survey and no transaction, but the answer at once."""
    with session_of(house) as session:
        assert session.start(window(), allowed_by="a test")["outcome"] == "migrated"
        settle(house.folder)
        assert session.look()["in_sync"]
        session.rest()
        monkeypatch.setattr("driftengine.session.survey", never)
        monkeypatch.setattr("driftengine.session.Applier", never)
        monkeypatch.setattr("sqlite3.connect", never)
        done = session.start(window(name="w2"), allowed_by="a test")
    assert (done["outcome"], done["stage"], done["error"]) == ("up_to_date", None, None)


def test_what_waits_for_a_person_is_told_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held at the last look, with its rows, and the same since: nothing is counted a second time."""
    house.apply()
    house.models(AFTER.replace(", a TEXT", "").replace("CREATE INDEX i ON t (a);", ""))
    with session_of(house) as session:
        session.start(window(), allowed_by="a test")  # the index goes
        looked = session.look()
        monkeypatch.setattr("driftengine.session.Applier", never)
        done = session.start(window(name="w2"), allowed_by="a test")
    assert (done["outcome"], kinds(done, "held"), done["held"][0]["count"]) == ("held", ["drop_column"], 2)
    assert done["plan_id"] == looked["plan_id"]


def test_the_first_meeting_is_recorded_in_a_window(house: House) -> None:
    """In sync and never met: base is written down, so that the next change can be told apart; then never again."""
    house.models(BEFORE)
    with session_of(house) as session:
        session.look()
        assert session.start(window(), allowed_by="a test")["outcome"] == "up_to_date"
        assert session.start(window(name="w2"), allowed_by="a test")["outcome"] == "up_to_date"
    assert [one["kind"] for one in api.history(house.target())["migrations"]] == ["meeting"]


def test_an_exact_stage_needs_its_transaction_alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """No backup, no rehearsal, no older backups to let go of; the history names the window and the stage."""
    with session_of(house) as session:
        backup = staged(session)["stage"]["backup"]["id"]
        monkeypatch.setattr(Applier, "_stage", never)
        monkeypatch.setattr("driftengine.recording.backups.prune", never)
        done = session.start(window(name="w7"), allowed_by="a test")
    assert (done["outcome"], done["stage"], done["backup"]["id"]) == ("migrated", "exact", backup)
    told = evidence(house, done["migration_id"])
    assert (told["window"], told["stage"]) == ("w7", "exact")
    assert reasons(house) == [(backup, "migration")]
    assert house.check()["in_sync"]


def test_older_backups_go_behind_the_window(house: House) -> None:
    """The window leaves them to the next look: the file that goes may be as large as the database."""
    target = house.target()
    settings = api.BackupSettings(target.backup.directory, keep=1, keep_for=0)
    house.settings["mode"] = "window"
    api.backup_create(target)
    session = session_of(house)
    with session as one:
        one.target = api.Target("app", target.url, target.models, settings)
        staged(one)
        done = one.start(window(), allowed_by="a test")
        assert len(reasons(house)) == 2
        one.look()
    assert reasons(house) == [(done["backup"]["id"], "migration")]


def test_rows_have_come_and_there_is_time(house: House) -> None:
    """It is staged anew, with a backup that holds the new rows; the former one goes."""
    with session_of(house) as session:
        former = staged(session)["stage"]["backup"]["id"]
        house.run("INSERT INTO t VALUES (3, '30')")
        done = session.start(window(), allowed_by="a test")
        assert freshness(session) == "none"
    assert (done["outcome"], done["stage"]) == ("migrated", "new")
    assert reasons(house) == [(done["backup"]["id"], "migration")]
    assert done["backup"]["id"] != former


def test_without_a_stage_it_is_tried(house: House) -> None:
    """Nothing was staged: staged and applied within the window."""
    with session_of(house) as session:
        done = session.start(window(), allowed_by="a test")
    assert (done["outcome"], done["stage"]) == ("migrated", "new")


# --- a usable stage


def test_a_usable_stage_stands_in_where_staging_takes_too_long(house: House) -> None:
    """Rows came, and the database is large: what was staged is applied over them, and its guard is asked again."""
    with session_of(house) as session:
        backup = staged(session)["stage"]["backup"]["id"]
        slow_to_stage(session)
        house.run("INSERT INTO t VALUES (3, '30'); INSERT INTO log VALUES (2, 2);")
        done = session.start(window(), allowed_by="a test")
    assert (done["outcome"], done["stage"], done["backup"]["id"]) == ("migrated", "usable", backup)
    assert evidence(house, done["migration_id"])["stage"] == "usable"
    assert house.ask("SELECT a, b FROM t ORDER BY id") == [("10", None), ("20", None), ("30", None)]
    assert house.check()["in_sync"]
    assert api.history_verify(house.target())["ok"]


def test_a_guard_that_turned_false_stops_a_usable_stage(house: House) -> None:
    """NULL came behind the rehearsal: ROLLBACK, put off, and not a thing is applied."""
    with session_of(house) as session:
        staged(session)
        slow_to_stage(session)
        house.run("INSERT INTO log VALUES (2, NULL)")
        before = house.everything()
        done = session.start(window(), allowed_by="a test")
    assert put_off(done)
    assert house.everything() == before


def test_a_usable_stage_that_cannot_be_used_is_made_anew_where_there_is_time(house: House) -> None:
    """The same NULL, and a window that is long enough: the rest goes ahead, and the row is shown."""
    with session_of(house) as session:
        staged(session)
        slow_to_stage(session, 1.0)
        house.run("INSERT INTO log VALUES (2, NULL)")
        done = session.start(window(), allowed_by="a test")
    assert (done["outcome"], done["stage"]) == ("migrated", "new")
    assert [one["name"] for one in (*done["held"], *done["blocked"])] == ["n"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("CREATE TABLE other (id INT)", id="a table"),
        pytest.param("ALTER TABLE t ADD COLUMN other", id="a column"),
    ],
)
def test_another_schema_is_not_usable(house: House, change: str) -> None:
    """Somebody changed the schema: what was rehearsed says nothing of it."""
    with session_of(house) as session:
        staged(session)
        slow_to_stage(session)
        house.run(change)
        done = session.start(window(), allowed_by="a test")
    assert put_off(done)
    assert "100" in done["error"]["why"]


def test_another_migration_is_not_passed_over(house: House) -> None:
    """The history has grown: a usable stage does not know what that migration did."""
    with session_of(house) as session:
        staged(session)
        slow_to_stage(session)
        with session_of(house) as other:
            other.apply(allowed_by="another")
        assert session.start(window(), allowed_by="a test")["outcome"] in {"deferred", "up_to_date"}
    assert len(api.history(house.target())["migrations"]) == 1


def test_a_copy_is_put_off_and_stays(house: House) -> None:
    """A copied table holds the rows of the backup: with newer rows it is staged anew or not at all."""
    house.models(COPIED)
    with session_of(house) as session:
        staged(session)
        slow_to_stage(session)
        house.run("INSERT INTO t VALUES (3, '30')")
        done = session.start(window(), allowed_by="a test")
        assert put_off(done)
        assert freshness(session) == "stale"
        slow_to_stage(session, 0.1)
        done = session.start(window(name="w2"), allowed_by="a test")
    assert (done["outcome"], done["stage"]) == ("migrated", "new")
    assert house.ask("SELECT a FROM t ORDER BY id") == [(10,), (20,), (30,)]


def test_an_old_backup_makes_no_usable_stage(house: House) -> None:
    """Older than `reuse_max_age`: too many rows would be in no backup."""
    with session_of(house) as session:
        session.target = house.target()
        session.target = api.Target(
            "app",
            session.target.url,
            session.target.models,
            api.BackupSettings(session.target.backup.directory, reuse_max_age=0),
        )
        staged(session)
        slow_to_stage(session)
        house.run("INSERT INTO t VALUES (3, '30')")
        assert put_off(session.start(window(), allowed_by="a test"))


def test_the_database_is_left_to_the_service(house: House) -> None:
    """When the answer is there nobody holds it: the service may change its journal mode, or lock it for itself."""
    with session_of(house) as session:
        for name in ("w1", "w2"):
            session.start(window(name=name), allowed_by="a test")
            other = "delete" if house.journal == "wal" else "wal"
            with closing(sqlite3.connect(house.database, isolation_level=None, timeout=0)) as service:
                assert service.execute(f"PRAGMA journal_mode = {other}").fetchone()[0] == other
                service.execute(f"PRAGMA journal_mode = {house.journal}")
            session.look()
            with closing(sqlite3.connect(house.database, isolation_level=None)) as service:
                service.execute("INSERT INTO t VALUES (?, 'x', NULL)", (time.monotonic_ns(),))


# --- models


def project(house: House, code: str) -> ModelSource:
    (house.folder / "app_models.py").write_text(textwrap.dedent(code), encoding="utf-8")
    return ModelSource(("app_models:metadata",), sys.executable, directory=str(house.folder))


def test_models_that_load_too_long_are_given_up(house: House) -> None:
    """They had changed: put off at the deadline, which says nothing against the models."""
    models = project(house, "import time\ntime.sleep(60)")
    with session_of(house, models=models) as session:
        done = session.start(window(0.5), allowed_by="a test")
        assert put_off(done)
        assert "models" in done["error"]["why"]
    assert put_off(api.start(house.target(models=models), window(0.5)))


def test_models_that_do_not_load_are_an_error(house: House) -> None:
    """No window hides that: the caller tells it as a failure."""
    models = project(house, "import no_such_module")
    with session_of(house, models=models) as session, pytest.raises(ModelsError):
        session.start(window(), allowed_by="a test")
    with pytest.raises(ModelsError):
        api.start(house.target(models=models), window())


def test_models_that_were_saved_since_are_what_is_applied(house: House) -> None:
    """A stage for the former models is not used, and leaves nothing behind."""
    with session_of(house) as session:
        staged(session)
        house.models(AFTER.replace("b TEXT", "b TEXT, c TEXT"))
        done = session.start(window(), allowed_by="a test")
        assert freshness(session) == "none"
    assert (done["outcome"], done["stage"]) == ("migrated", "new")
    assert "c TEXT" in house.stored("t")
    assert reasons(house) == [(done["backup"]["id"], "migration")]


def test_values_that_are_drawn_too_long_are_given_up(house: House) -> None:
    """A callable of the models hangs: put off at the deadline, and the models have not failed."""
    models = project(
        house,
        """
        import time
        import sqlalchemy as sa
        metadata = sa.MetaData()
        def slow():
            time.sleep(60)
        sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Text),
                 sa.Column("k", sa.Text, nullable=False, default=slow))
        sa.Table("log", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))
        """,
    )
    with session_of(house, models=models) as session:
        session.look()
        done = session.start(window(1.0), allowed_by="a test")
    assert put_off(done)
    assert "callables" in done["error"]["why"]
