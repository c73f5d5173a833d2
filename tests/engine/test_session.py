"""A session looks again and again: what has not moved is not asked again, and nothing that has moved is missed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from driftengine.desired import ModelSource
from driftengine.errors import BusyError, DatabaseError, ModelsError, PlanError
from driftengine.session import Session
from support.migrations import House
from support.processes import HOLDER, beside
from support.stages import session_of, staged

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine import api

BEFORE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT);"
AFTER = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT);"
ROWS = "INSERT INTO t VALUES (1, 'x'), (2, 'y');"


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    house = House(tmp_path, journal=request.param)
    house.run(BEFORE + ROWS)
    house.models(AFTER)
    return house


@dataclass
class Project(House):
    """Its models are Python, and tell in a file beside them how often they were loaded."""

    def models(self, sql: str) -> None:
        """Columns of the table `t` beside `id`, as code."""
        code = f"""
            import os, pathlib
            import sqlalchemy as sa
            runs = os.open(str(pathlib.Path(__file__).with_name("runs")), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(runs, b"x")
            os.close(runs)
            metadata = sa.MetaData()
            sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True), {sql})
        """
        (self.folder / "app_models.py").write_text(textwrap.dedent(code), encoding="utf-8")

    def target(self, **settings: Any) -> api.Target:
        """As before, with these models."""
        models = ModelSource(("app_models:metadata",), sys.executable, directory=str(self.folder))
        return super().target(models=models, **settings)

    @property
    def runs(self) -> int:
        """How often the models were loaded."""
        return (self.folder / "runs").stat().st_size


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.run("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, a TEXT);" + ROWS)
    made.models("sa.Column('a', sa.Text)")
    settled(tmp_path / "app_models.py")
    return made


def settled(path: Path) -> None:
    """Returns when the file is so old that a change of it since then would show."""
    while time.time_ns() - path.stat().st_ctime_ns < 100_000_000:
        time.sleep(0.01)  # nothing tells that time has passed


def never(*_: object, **__: object) -> None:
    raise AssertionError("nothing has moved")


# --- the models


def test_models_are_loaded_when_their_bytes_move(project: Project) -> None:
    """Touched, or written again as they were: not loaded again; another column: loaded and told."""
    source = project.folder / "app_models.py"
    with session_of(project) as session:
        assert session.look()["in_sync"]
        assert (project.runs, str(source) in session.inputs.files) == (1, True)
        os.utime(source)
        source.write_bytes(source.read_bytes())
        assert not session.models_moved()
        assert session.look()["in_sync"]
        assert project.runs == 1
        project.models("sa.Column('a', sa.Text), sa.Column('b', sa.Text)")
        assert session.models_moved()
        assert session.look()["state"] == "drifted"
        assert project.runs == 2
        session.look(fresh=True)
        assert project.runs == 3


def test_models_that_fail_are_watched_until_they_work(project: Project) -> None:
    """Broken at the very first look, mended, broken again: each time told, each time seen."""
    good = (project.folder / "app_models.py").read_text("utf-8")
    project.models("1 / 0")
    with session_of(project) as session:
        assert session.models_moved()
        for _ in range(2):
            with pytest.raises(ModelsError):
                session.look()
            assert str(project.folder / "app_models.py") in session.inputs.files
            (project.folder / "app_models.py").write_text(good, encoding="utf-8")
            assert session.models_moved()
            assert session.look()["in_sync"]
            project.models("1 / 0")
            assert session.models_moved()


def test_a_look_can_be_given_up(project: Project) -> None:
    """Cancelled while the models load: told as that, and the next look begins anew."""
    with session_of(project) as session:
        with pytest.raises(ModelsError) as caught:
            session.look(cancelled=lambda: True)
        assert caught.value.code == "models-cancelled"
        assert session.models_moved()
        assert session.look()["in_sync"]


def test_what_is_remembered_need_not_be_loaded(project: Project, tmp_path: Path) -> None:
    """A daemon that starts again with the same models loads nothing; `fresh` does."""
    memory = tmp_path / "memory"
    first = Session(project.target(), memory=memory)
    assert first.look()["models"] == "probed"
    first.close()
    again = Session(project.target(), memory=memory)
    assert again.look()["models"] == "remembered"
    assert not again.models_moved()
    assert project.runs == 1
    assert again.look(fresh=True)["models"] == "probed"
    again.close()


def test_models_that_read_the_database_move_with_its_schema(project: Project) -> None:
    """Reflection: a column that the service adds is in the models too, so they are loaded again and nothing drifts."""
    code = f"""
        import sqlalchemy as sa
        metadata = sa.MetaData()
        metadata.reflect(sa.create_engine("sqlite:///{project.database}"), only=["t"])
    """
    (project.folder / "app_models.py").write_text(textwrap.dedent(code), encoding="utf-8")
    with session_of(project) as session:
        assert session.look()["in_sync"]
        project.run("ALTER TABLE t ADD COLUMN later TEXT")
        assert session.look()["in_sync"]
        assert "later" in "".join(row.sql or "" for row in session.desired.stored)


# --- the database


def test_nothing_moved_nothing_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answer, without a survey and without a loading, awake and resting."""
    settled(house.database)
    settled(house.folder / "models.sql")
    with session_of(house) as session:
        first = session.look()
        assert (first["state"], first["runnable"], first["held"]) == ("drifted", 1, [])
        assert first["inputs"]["files"] == [str(house.folder / "models.sql")]
        assert session.glance().kind == "same"
        monkeypatch.setattr("driftengine.session.survey", never)
        monkeypatch.setattr("driftengine.loaded.read_desired", never)
        assert not session.models_moved()
        assert session.look() == first
        session.rest()
        assert session.look() == first
        assert not session.glance().open


@pytest.mark.parametrize("resting", [False, True])
def test_rows_and_schema_are_looked_at_when_they_move(house: House, resting: bool) -> None:
    """A commit of anybody is told by the next glance, and what it did by the next look."""
    with session_of(house) as session:
        session.look()
        if resting:
            session.rest()
        house.run("INSERT INTO t VALUES (3, 'z')")
        glance = session.glance()
        assert (glance.rows, glance.schema, glance.open) == (True, resting, not resting)
        house.run("ALTER TABLE t ADD COLUMN b TEXT")
        assert session.glance().schema
        assert session.look()["in_sync"]
        assert not session.glance().rows


def test_a_missing_database_that_is_made(tmp_path: Path) -> None:
    """Missing: everything is to be made; made by somebody: seen, and looked at."""
    house = House(tmp_path)
    house.models(BEFORE)
    with session_of(house) as session:
        assert (session.glance().rows, session.glance().open) == (False, False)
        assert session.look()["state"] == "drifted"
        house.run(BEFORE)
        assert session.glance().kind == "created"
        assert session.look()["in_sync"]


def test_a_database_that_is_replaced(house: House, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Renamed over: the look is at the file that has the name now."""
    other = House(tmp_path_factory.mktemp("other"), journal="delete")
    other.run(AFTER)
    with session_of(house) as session:
        assert session.look()["state"] == "drifted"
        other.database.rename(house.database)
        assert session.glance().kind == "replaced"
        assert session.look()["in_sync"]


def test_what_is_no_database(house: House) -> None:
    """Overwritten with something else: told at each look, no reason to look again at each glance, and over when mended."""
    whole = house.database.read_bytes()
    with session_of(house) as session:
        for path in house.folder.glob("app.db*"):
            path.unlink()
        house.database.write_bytes(b"no database at all, " * 100)
        with pytest.raises(DatabaseError) as caught:
            session.look()
        assert caught.value.code == "database-not-sqlite"
        settled(house.database)
        session.glance()
        assert not session.glance().rows
        house.database.write_bytes(whole)
        assert session.glance().rows
        assert session.look()["state"] == "drifted"


def test_a_locked_database_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exclusive lock: BusyError from a look, nothing from a glance; free again, it is looked at."""
    monkeypatch.setattr("driftengine.dialects.chosen.LOCK_WAIT", 0.1)
    house = House(tmp_path, journal="delete")
    house.run(BEFORE)
    house.models(BEFORE)
    with session_of(house) as session:
        with beside(HOLDER, house.database, "BEGIN EXCLUSIVE"):
            with pytest.raises(BusyError):
                session.look()
            session.glance()
        assert session.look()["in_sync"]


def test_before_the_first_look_nothing_is_known(house: House) -> None:
    """Nothing is opened, nothing is staged by guess, and closing is harmless."""
    with session_of(house) as session:
        assert session.approved == ()
        with pytest.raises(PlanError) as caught:
            _ = session.desired
        assert caught.value.code == "not-looked"
        session.rest()
        assert session.stage_document() is None


# --- stages that are kept


def test_a_stage_through_a_rest(house: House) -> None:
    """Exact behind an untouched rest; usable when the service wrote rows; used up by an apply."""
    settled(house.database)
    with session_of(house) as session:
        assert staged(session)["stage"]["freshness"] == "exact"
        session.rest()
        assert freshness(session) == "exact"
        house.run("INSERT INTO t VALUES (3, 'z')")
        assert freshness(session) == "stale"  # until somebody looks, it may have been the schema
        assert session.look()["stage"]["freshness"] == "usable"
        assert session.apply(allowed_by="a test")["outcome"] == "migrated"
        assert session.stage_document() is None
    assert house.ask("SELECT count(*) FROM t") == [(3,)]


def freshness(session: Session) -> str:
    document = session.stage_document()
    assert document is not None
    return str(document["freshness"])


def test_a_log_is_emptied_before_a_stage(tmp_path: Path) -> None:
    """What stood in the log would be moved by our own leaving, and look like a commit: it is moved before the mark."""
    house = House(tmp_path, journal="wal")
    house.run(BEFORE + ROWS)
    house.models(AFTER)
    with session_of(house) as session:
        session.look()
        house.run("INSERT INTO t VALUES (3, 'z')")
        assert (tmp_path / "app.db-wal").stat().st_size > 0
        assert staged(session)["stage"]["freshness"] == "exact"
        settled(house.database)
        session.rest()
        assert freshness(session) == "exact"
        assert not (tmp_path / "app.db-wal").exists()


def test_no_rest_while_a_stage_is_made(house: House) -> None:
    """The stager is a reader like any other: left alone with the log it would empty it, and the mark would move."""
    with session_of(house) as session:
        session.look()
        session.begin_stage()
        session.rest()
        assert session.glance().open
        session.end_stage()
        session.rest()
        assert not session.glance().open


# --- databases that models read


CATALOGUED = """
    import pathlib, sqlite3
    from contextlib import closing
    import sqlalchemy as sa
    metadata = sa.MetaData()
    with closing(sqlite3.connect(pathlib.Path(__file__).with_name("catalogue.db"))) as found:
        names = [name for (name,) in found.execute("SELECT name FROM fields")]
    columns = [sa.Column(name, sa.Text) for name in names]
    sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True), *columns)
"""


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_models_that_read_another_database_move_with_its_rows(project: Project, mode: str) -> None:
    """A row more is a column more, also while it stands in the log alone; the file is only ever asked for its stat."""
    (project.folder / "app_models.py").write_text(textwrap.dedent(CATALOGUED), encoding="utf-8")
    catalogue = project.folder / "catalogue.db"
    with closing(sqlite3.connect(catalogue, isolation_level=None)) as service:
        service.execute(f"PRAGMA journal_mode = {mode}")
        service.executescript("CREATE TABLE fields (name TEXT); INSERT INTO fields VALUES ('a');")
        settled(catalogue)
        with session_of(project) as session:
            assert session.look()["in_sync"]
            assert not session.models_moved()
            service.execute("INSERT INTO fields VALUES ('more')")
            assert session.models_moved()
            assert [one["name"] for one in session.look()["differences"]] == ["more"]
            service.execute("DELETE FROM fields WHERE name = 'more'")
            assert session.look()["in_sync"]


def test_models_that_read_their_own_database_move_with_its_rows(project: Project) -> None:
    """Any commit counts, as what they read there need not be the schema."""
    code = CATALOGUED.replace("catalogue.db", "app.db").replace("name FROM fields", "a FROM t WHERE id = 1")
    (project.folder / "app_models.py").write_text(textwrap.dedent(code), encoding="utf-8")
    project.run("UPDATE t SET a = 'a'")
    settled(project.database)
    with session_of(project) as session:
        assert session.look()["in_sync"]
        assert not session.models_moved()
        project.run("UPDATE t SET a = 'b' WHERE id = 1")
        assert session.models_moved()
        assert {one["name"] for one in session.look()["differences"]} == {"a", "b"}


def test_models_that_write_as_they_load_are_loaded_twice_and_no_more(project: Project) -> None:
    """What somebody wrote meanwhile may not have been read yet, so once more; what they write each time is no reason."""
    catalogue = project.folder / "catalogue.db"
    with closing(sqlite3.connect(catalogue)) as service:
        service.executescript("CREATE TABLE loads (number INTEGER); INSERT INTO loads VALUES (0);")
    writing = """
        import sqlite3
        from contextlib import closing
        with closing(sqlite3.connect(pathlib.Path(__file__).with_name("catalogue.db"))) as loads, loads:
            loads.execute("UPDATE loads SET number = number + 1")
    """
    project.models("sa.Column('a', sa.Text)")
    source = project.folder / "app_models.py"
    source.write_text(source.read_text("utf-8") + textwrap.dedent(writing), encoding="utf-8")
    settled(source)
    with session_of(project) as session:
        for _ in range(4):
            assert session.look()["in_sync"]
        assert project.runs == 2
        with closing(sqlite3.connect(catalogue)) as service, service:
            service.execute("INSERT INTO loads VALUES (7)")
        assert session.models_moved()


# --- mode observe


CRASHED = """
import os, sqlite3, sys
service = sqlite3.connect(sys.argv[1], isolation_level=None)
service.execute("INSERT INTO t VALUES (3, 'z')")
os._exit(1)
"""


@pytest.mark.parametrize(("mode", "left"), [("observe", True), ("window", False)])
def test_mode_observe_leaves_a_crashed_services_log_alone(tmp_path: Path, mode: str, left: bool) -> None:
    """Its commits are seen, and stay in the log when the session rests and ends; in the others it is tidied up."""
    house = House(tmp_path, journal="wal")
    house.run(BEFORE + ROWS)
    house.models(BEFORE)
    before = house.database.read_bytes()
    subprocess.run([sys.executable, "-c", CRASHED, house.database], check=False, timeout=60)
    log = tmp_path / "app.db-wal"
    size = log.stat().st_size
    assert size > 0
    with session_of(house, mode=mode) as session:
        assert session.look()["in_sync"]
        session.rest()
        assert session.look(fresh=True)["in_sync"]
    assert (log.exists() and log.stat().st_size == size, house.database.read_bytes() == before) == (
        left,
        left,
    )
    assert house.ask("SELECT count(*) FROM t") == [(3,)]
