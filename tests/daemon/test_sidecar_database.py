"""What others do to the database while the daemon looks on, and what it says where it cannot look."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

import unprivileged
from support.processes import HOLDER, beside
from support.sidecars import CONFIGURATION, MODELS, WIDER, Sidecar, changes, execute, house, make, running
from support.sockets import socket_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_another_file_in_its_place_is_looked_at(tmp_path: Path) -> None:
    """A restore by rename: the database has another schema now, and what is missing in it is staged."""
    make(tmp_path / "app.db", WIDER, journal="wal")
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("in_sync")
        make(tmp_path / "older.db")
        (tmp_path / "older.db").replace(tmp_path / "app.db")
        assert changes(sidecar.state("ready")) == [("add_column", "state")]
        with closing(sqlite3.connect(sidecar.state("ready")["stage"]["backup"]["path"])) as copy:
            assert copy.execute("SELECT * FROM task").fetchall() == [(1, None)]


def test_a_database_that_goes_and_comes_back_is_followed(tmp_path: Path) -> None:
    """Deleted: it would be made; made by the service itself: in sync."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        (tmp_path / "app.db").unlink()
        assert changes(sidecar.state("ready")) == [("create_table", "task")]
        make(tmp_path / "app.db")
        entry = sidecar.state("in_sync")
        assert entry["stage"] is None
        assert entry["database"] == str(tmp_path / "app.db")


def test_a_folder_that_is_missing_at_first_is_waited_for(tmp_path: Path) -> None:
    """Neither the database nor its folder is there when the daemon begins; the service makes both."""
    configuration = CONFIGURATION.replace("app.db", "var/data/app.db")
    with running(house(tmp_path, configuration=configuration)) as sidecar:
        assert changes(sidecar.state("ready")) == [("create_table", "task")]
        assert not (tmp_path / "var").exists(), "nothing is made before it is applied"
        (tmp_path / "var" / "data").mkdir(parents=True)
        make(tmp_path / "var" / "data" / "app.db")
        sidecar.state("in_sync")
        execute(tmp_path / "var" / "data" / "app.db", "ALTER TABLE task DROP COLUMN title")
        assert changes(sidecar.state("ready")) == [("add_column", "title")]


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_what_somebody_alters_by_hand_is_held_and_told_whose_it_is(tmp_path: Path, journal: str) -> None:
    """Base is known from an apply; a column that another connection adds is a difference of the database's."""
    make(tmp_path / "app.db", journal=journal)
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        assert sidecar.command("apply", "--json").document["outcome"] == "migrated"
        entry = sidecar.state("in_sync")
        assert entry["last_migration"]["operations"] == 1
        execute(tmp_path / "app.db", "ALTER TABLE task ADD COLUMN mine TEXT")
        assert [one["name"] for one in sidecar.state("held")["held"]] == ["mine"]
        differences = sidecar.result("check")["differences"]
        assert [(one["name"], one["origin"]) for one in differences] == [("mine", "database")]
        execute(tmp_path / "app.db", "ALTER TABLE task DROP COLUMN mine")
        sidecar.state("in_sync")


def test_a_lock_is_told_with_its_holder_and_waited_out(tmp_path: Path) -> None:
    """Somebody has locked the database for good: busy, `status -v` names the process; freed, the look succeeds."""
    make(tmp_path / "app.db")
    with (
        beside(HOLDER, tmp_path / "app.db", "BEGIN EXCLUSIVE") as holder,
        running(house(tmp_path)) as sidecar,
    ):
        problem = sidecar.state("database_busy")["problem"]
        assert problem["code"].startswith("database-")
        told = sidecar.command("status", "-v")
        assert told.code == 1
        assert f"pid {holder.pid}" in told.out
        assert holder.stdin is not None
        holder.stdin.close()
        assert sidecar.state("in_sync")["problem"] is None
        assert sidecar.command("status").code == 0


def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    """It says so and leaves the bytes alone; when a real one takes its place, that is looked at."""
    (tmp_path / "app.db").write_bytes(b"this is a letter to my mother. " * 200)
    with running(house(tmp_path)) as sidecar:
        problem = sidecar.state("database_unreadable")["problem"]
        assert problem["what"]
        assert problem["fix"]
        assert sidecar.command("status").code == 1
        assert (tmp_path / "app.db").read_bytes() == b"this is a letter to my mother. " * 200
        make(tmp_path / "good.db")
        (tmp_path / "good.db").replace(tmp_path / "app.db")
        assert sidecar.state("in_sync")["problem"] is None


def test_a_database_that_is_damaged_while_it_is_watched_is_told(tmp_path: Path) -> None:
    """Somebody writes over its first page: unreadable, and the daemon goes on and finds the repaired one."""
    make(tmp_path / "app.db")
    good = (tmp_path / "app.db").read_bytes()
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        (tmp_path / "damaged").write_bytes(good[:100] + b"\xff" * 400 + good[500:])
        (tmp_path / "damaged").replace(tmp_path / "app.db")
        assert sidecar.state("database_unreadable")["problem"]["code"].startswith("database-")
        (tmp_path / "repaired").write_bytes(good)
        (tmp_path / "repaired").replace(tmp_path / "app.db")
        sidecar.state("in_sync")


def test_observe_leaves_every_byte_and_every_name_as_it_is(tmp_path: Path) -> None:
    """Drift, commits, a rest: the database and its folder are what they were, but for the lock file."""
    data = tmp_path / "data"
    data.mkdir()
    make(data / "app.db")
    configuration = CONFIGURATION.replace("app.db", "data/app.db")
    with running(house(tmp_path, mode="observe", models=WIDER, configuration=configuration)) as sidecar:
        sidecar.state("drifted")
        execute(data / "app.db", "INSERT INTO task (title) VALUES ('new')")
        before = (data / "app.db").read_bytes()
        (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")
        sidecar.state("in_sync")
        execute(data / "app.db", "ALTER TABLE task ADD COLUMN mine TEXT")
        after = (data / "app.db").read_bytes()
        assert after != before
        sidecar.state("held")
        assert sidecar.error("approve", operations=["drop-column"])["code"] == "mode-observe"
        assert sidecar.stop() == 0
    assert (data / "app.db").read_bytes() == after
    assert sorted(path.name for path in data.iterdir()) == ["app.db", "app.db.daemon.lock"]
    assert not (tmp_path / "backups").exists()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder of a user who is not root: root may read and write everywhere, and would see nothing of what follows."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a daemon as another user")
    with socket_folder() as folder:
        yield folder


def somebody(sidecar: Sidecar) -> Sidecar:
    """The daemon as that user, in an interpreter that this user may run."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    sidecar.user = unprivileged.NOBODY
    sidecar.python = (unprivileged._interpreter(), "-B")
    daemon = Path(__file__).resolve().parents[2] / "daemon"
    sidecar.environment = {"PYTHONPATH": os.pathsep.join([str(daemon), str(unprivileged.ENGINE), packages])}
    for path in (sidecar.folder, *sidecar.folder.rglob("*")):
        os.chown(path, unprivileged.NOBODY, unprivileged.NOBODY)
    return sidecar


def test_a_database_that_may_not_be_read_is_told(shared: Path) -> None:
    """Another user's database: unreadable, with the reason; opened to the daemon, it is looked at."""
    make(shared / "app.db")
    sidecar = somebody(house(shared))
    os.chown(shared / "app.db", 0, 0)
    (shared / "app.db").chmod(0o600)
    with running(sidecar):
        assert sidecar.state("database_unreadable")["problem"]["why"]
        (shared / "app.db").chmod(0o644)
        sidecar.state("in_sync")


def test_a_folder_that_may_not_be_written_is_told_before_an_apply(shared: Path) -> None:
    """The database can be read, and nothing can be made beside it: the daemon serves it from its state folder."""
    (shared / "data").mkdir()
    make(shared / "data" / "app.db")
    sidecar = somebody(
        house(shared, models=WIDER, configuration=CONFIGURATION.replace("app.db", "data/app.db"))
    )
    os.chown(shared / "data", 0, 0)
    os.chown(shared / "data" / "app.db", 0, 0)
    (shared / "data" / "app.db").chmod(0o644)
    with running(sidecar):
        entry = sidecar.state("ready", "database_unreadable")
        assert entry["plan"]["operations"]
        assert [path.name for path in (shared / "data").iterdir()] == ["app.db"]
        assert sidecar.process is not None
        assert psutil.Process(sidecar.process.pid).uids().real == unprivileged.NOBODY
        assert any("lock" in warning for warning in entry["warnings"]), entry["warnings"]


def test_a_database_that_vanishes_with_its_history_is_told(tmp_path: Path) -> None:
    """Its tables would be made anew; that the file with its history is gone is said, until there is one again."""
    with running(house(tmp_path)) as sidecar:
        sidecar.state("ready")
        assert sidecar.command("apply").code == 0
        sidecar.until(lambda one: one["last_migration"] is not None and not one["busy"])
        (tmp_path / "app.db").rename(tmp_path / "aside.db")
        (warning,) = sidecar.until(lambda one: one["state"] == "ready" and one["last_migration"] is None)[
            "warnings"
        ]
        assert "is gone" in warning
        (tmp_path / "aside.db").rename(tmp_path / "app.db")
        assert sidecar.state("in_sync")["warnings"] == []
