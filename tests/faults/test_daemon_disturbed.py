"""What is pulled away from under a daemon that has a stage ready, right before a service starts."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.faultline import Control
from support.sidecars import WIDER, columns, execute, house, make, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from command_line import Finished
    from support.sidecars import Sidecar

NEW = ["id", "title", "state"]
OLD = ["id", "title"]
TEN_YEARS = 10 * 365 * 86400


@pytest.fixture(params=["wal", "delete"])
def ready(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Sidecar]:
    """A daemon with a plan staged for a database of one row."""
    folder = tmp_path / "house"
    folder.mkdir()
    make(folder / "app.db", journal=request.param)
    with running(house(folder, models=WIDER)) as sidecar:
        sidecar.state("ready")
        yield sidecar


def starts(sidecar: Sidecar) -> Finished:
    """A service starts: it must, whatever was pulled away."""
    done = sidecar.command("gate", "--json", "--timeout", "20")
    assert done.code == 0, done.err
    assert "Traceback" not in done.err + sidecar.log
    return done


def rows(database: Path) -> int:
    """How many tasks there are."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(connection.execute("SELECT count(*) FROM task").fetchone()[0])


def test_the_folder_of_backups_is_gone(ready: Sidecar) -> None:
    """No stage, no backup any more: the start makes a new one, and nothing is applied without."""
    shutil.rmtree(ready.folder / "backups")
    answer = starts(ready).document
    assert (answer["outcome"], columns(ready.folder / "app.db")) == ("migrated", NEW)
    assert answer["backup"] is not None
    listed = ready.command("backup", "verify", "--json").document
    assert [one["id"] for one in listed["backups"]] == [answer["backup"]["id"]]
    assert listed["ok"]


def test_a_file_stands_where_the_backups_were(ready: Sidecar) -> None:
    """No backup can be made: the service starts on what is there, told why, and the next start goes ahead."""
    backups = ready.folder / "backups"
    shutil.rmtree(backups)
    backups.write_text("mine", encoding="utf-8")
    answer = starts(ready).document
    assert (answer["outcome"], columns(ready.folder / "app.db")) == ("failed", OLD)
    assert answer["error"]["fix"]
    assert backups.read_text(encoding="utf-8") == "mine"
    backups.unlink()
    assert starts(ready).document["outcome"] == "migrated"
    assert (columns(ready.folder / "app.db"), rows(ready.folder / "app.db")) == (NEW, 1)


def test_the_copy_that_the_stage_made_was_exchanged(ready: Sidecar) -> None:
    """Another database of the same size lies where the stage's backup was: it is never taken for the way back."""
    (copy,) = (ready.folder / "backups").glob("*/backup_*.db")
    content = bytearray(copy.read_bytes())
    content[-200:-100] = bytes(100)
    copy.chmod(0o600)
    copy.write_bytes(content)
    answer = starts(ready).document
    assert (answer["outcome"], columns(ready.folder / "app.db")) == ("migrated", NEW)
    verified = ready.command("backup", "verify", answer["backup"]["id"], "--json").document
    assert verified["ok"], "what the answer names as its backup is whole"


def test_another_database_takes_its_place(ready: Sidecar) -> None:
    """Renamed over, and at once a start: what was staged for the other one is not used; this one is migrated with its rows."""
    other = ready.folder / "other.db"
    make(other)
    execute(other, *("INSERT INTO task (title) VALUES ('theirs')",) * 4)
    other.rename(ready.folder / "app.db")
    for ending in ("-wal", "-shm"):
        (ready.folder / f"app.db{ending}").unlink(missing_ok=True)
    answer = starts(ready).document
    assert (answer["outcome"], columns(ready.folder / "app.db")) == ("migrated", NEW)
    assert rows(ready.folder / "app.db") == 5
    with closing(sqlite3.connect(answer["backup"]["path"])) as copy:
        assert copy.execute("SELECT count(*) FROM task").fetchone() == (5,)


@pytest.mark.parametrize("left", [0, 100, 4096, 5000])
def test_the_database_is_cut(ready: Sidecar, left: int) -> None:
    """Nothing is written into what is no database any more; an empty file is one, and is made whole."""
    database = ready.folder / "app.db"
    for ending in ("-wal", "-shm"):
        (ready.folder / f"app.db{ending}").unlink(missing_ok=True)
    os.truncate(database, left)
    cut = database.read_bytes()
    answer = starts(ready).document
    if left:
        assert answer["outcome"] in {"failed", "skipped"}
        assert answer["error"]["code"]
        assert database.read_bytes()[: len(cut)] == cut
        return
    if answer["outcome"] == "failed":
        # A connection that was open when the file was cut finds its pages gone; the next look is through a new one.
        assert answer["error"]["code"] == "database-corrupt"
        answer = starts(ready).document
    assert (answer["outcome"], columns(database)) == ("migrated", NEW)


def test_the_database_is_a_folder(ready: Sidecar) -> None:
    """Told with a code; the service starts, the folder stays, and the file that comes back is served."""
    database = ready.folder / "app.db"
    database.rename(ready.folder / "kept.db")
    for ending in ("-wal", "-shm"):
        kept = ready.folder / f"app.db{ending}"
        if kept.exists():
            kept.rename(ready.folder / f"kept.db{ending}")
    database.mkdir()
    answer = starts(ready).document
    assert answer["outcome"] in {"failed", "skipped"}
    assert answer["error"]["code"]
    assert list(database.iterdir()) == []
    database.rmdir()
    for kept in ready.folder.glob("kept.db*"):
        kept.rename(ready.folder / kept.name.replace("kept", "app"))
    assert starts(ready).document["outcome"] == "migrated"
    assert (columns(database), rows(database)) == (NEW, 1)


def test_its_folder_has_moved(tmp_path: Path) -> None:
    """Nothing is made at the old place behind the daemon's own doing; moved back, all goes on."""
    folder, data = tmp_path / "house", tmp_path / "house" / "data"
    data.mkdir(parents=True)
    make(data / "app.db")
    sidecar = house(folder, models=WIDER)
    text = (folder / "driftd.toml").read_text("utf-8")
    (folder / "driftd.toml").write_text(text.replace("app.db", "data/app.db"), encoding="utf-8")
    with running(sidecar):
        sidecar.state("ready")
        data.rename(folder / "elsewhere")
        wait_until(lambda: sidecar.entry()["state"] != "ready", sidecar)
        answer = starts(sidecar).document
        assert rows(folder / "elsewhere" / "app.db") == 1
        assert columns(folder / "elsewhere" / "app.db") == OLD
        assert answer["outcome"] in {"failed", "skipped", "migrated"}
        assert data.exists() == (answer["outcome"] == "migrated")
        if data.exists():
            shutil.rmtree(data)
        (folder / "elsewhere").rename(data)
        wait_until(lambda: sidecar.entry()["state"] == "ready", sidecar)
        assert starts(sidecar).document["outcome"] == "migrated"
        assert (columns(data / "app.db"), rows(data / "app.db")) == (NEW, 1)


@pytest.mark.parametrize("jump", [TEN_YEARS, -TEN_YEARS])
def test_the_clock_jumps(tmp_path: Path, jump: int) -> None:
    """Ten years, both ways, while a stage is ready: the start is answered in time, by the daemon, and all is recorded."""
    folder = tmp_path / "house"
    folder.mkdir()
    make(folder / "app.db")
    with Control(tmp_path / "control", ()) as control:
        sidecar = house(folder, models=WIDER)
        sidecar.environment.update(control.environment())
        with running(sidecar):
            sidecar.state("ready")
            control.set_clock(jump)
            began = time.monotonic()
            answer = starts(sidecar).document
            assert (answer["outcome"], answer["by"], columns(folder / "app.db")) == (
                "migrated",
                "daemon",
                NEW,
            )
            assert time.monotonic() - began < 20
            sidecar.state("in_sync")
            (folder / "models.sql").write_text(WIDER.replace("state TEXT", "more TEXT, state TEXT"), "utf-8")
            sidecar.state("ready")
            control.set_clock(0)
            assert starts(sidecar).document["outcome"] == "migrated"
            sidecar.state("in_sync")
            assert sidecar.command("history", "verify").code == 0
            assert sidecar.command("backup", "verify").code == 0
            assert len(sidecar.command("backup", "list", "--json").document["backups"]) == 2
            assert sidecar.stop() == 0


def test_nobody_reads_its_log(tmp_path: Path) -> None:
    """Its output goes into a pipe that is full: services are answered all the same, and it ends when it is told to."""
    sidecar = house(tmp_path, models=WIDER)
    make(tmp_path / "app.db")
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * 4096)
    command = [sys.executable, "-m", "driftd", "run", "--config", "driftd.toml"]
    sidecar.process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}, stdout=writing, stderr=writing
    )
    (tmp_path / "driftd.log").write_text("not to be read", encoding="utf-8")
    try:
        wait_until(sidecar.socket.exists, sidecar)
        sidecar.state("ready")
        answers = [starts(sidecar).document for _ in range(3)]
        assert [(one["outcome"], one["by"]) for one in answers] == [
            ("migrated", "daemon"), ("up_to_date", "daemon"), ("up_to_date", "daemon"),
        ]  # fmt: skip
        assert sidecar.stop() == 0
    finally:
        sidecar.process.kill()
        sidecar.process.wait()
        os.close(reading)
        os.close(writing)
