"""What a hostile or broken neighbour can do to a starting service: nothing that lasts longer than its window."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from driftd import lock_file
from driftd.client import Client, NoAnswer
from driftd.startup.answers import is_answer
from driftd.startup.arguments import Options, seconds
from driftd.startup.finding import ask
from driftd.startup.starter import LONGEST_WINDOW, Starter
from support.answering import Answering
from support.sidecars import PATIENCE, WIDER, columns, house, make, running
from support.sockets import socket_folder
from support.starters import beside

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = Path("/dev/full")  # of Linux: every write to it fails
CLOSE_TO = 2.0  # seconds; what must end by a deadline has ended by then, on a machine that is busy too
NO_ANSWERS: list[dict[str, Any]] = [
    {},
    {"outcome": 1},
    {"outcome": "held", "held": 5},
    {"outcome": "held", "held": ["drop"]},
    {"outcome": "held", "held": [{"kind": "drop_column"}]},
    {"outcome": "migrated", "duration_ms": None},
    {"outcome": "migrated", "warnings": 7},
    {"outcome": "failed", "error": "boo"},
    {"outcome": "failed", "error": {"code": "x"}},
]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """One that configures nothing, and finds no daemon."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTD_", "XDG_", "MCP_"))}
    return {**kept, "HOME": str(folder), "DRIFTD_SOCKET": str(folder / "d.sock"), **more}


def gate(folder: Path, *words: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """`driftd gate WORDS` in a folder."""
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(
        [sys.executable, "-m", "driftd", "gate", *words],
        cwd=folder,
        env=environment(folder),
        text=True,
        timeout=PATIENCE,
        check=False,
        **told,
    )


@contextmanager
def dripping(path: Path) -> Iterator[None]:
    """A socket that sends a blank now and then, and never a whole line."""
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection:
            while not ended.wait(0.05):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    def accept(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            drips.append(threading.Thread(target=drip, args=(connection,)))
            drips[-1].start()

    drips: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        accepts = threading.Thread(target=accept, args=(listening,))
        accepts.start()
        try:
            yield
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)
            for thread in (accepts, *drips):
                thread.join()


@contextmanager
def serving(database: Path, path: Path) -> Iterator[None]:
    """A daemon's lock that names that socket."""
    with beside(database, ".daemon.lock").open("w+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps({"pid": os.getpid(), "socket": str(path)}).encode() + b"\n")
        file.flush()
        yield


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A service's database."""
    make(tmp_path / "app.db")
    return tmp_path / "app.db"


# --- a daemon that is none


def test_a_call_ends_however_slowly_the_reply_drips(tmp_path: Path) -> None:
    """A socket that sends a byte now and then is waited for no longer than one that is silent."""
    with socket_folder() as folder, dripping(folder / "d.sock"):
        began = time.monotonic()
        with Client(folder / "d.sock", timeout=0.3) as client, pytest.raises(NoAnswer):
            client.do_version()
        assert time.monotonic() - began < 0.3 + CLOSE_TO


def test_a_dripping_daemon_does_not_keep_a_service(database: Path) -> None:
    """The service has its answer at the deadline: that the outcome is not known."""
    with socket_folder() as folder, dripping(folder / "d.sock"), serving(database, folder / "d.sock"):
        with Starter(database, timeout=0.5) as starter:
            assert starter.answer()["outcome"] == "unknown"
        assert time.monotonic() - starter.until < CLOSE_TO


@pytest.mark.parametrize("document", NO_ANSWERS, ids=str)
def test_what_has_another_shape_is_no_answer(document: dict[str, Any]) -> None:
    """Nobody down the line comes upon a list that is a number."""
    assert not is_answer(document)


def test_an_answer_may_leave_members_out() -> None:
    """One of another release or language is understood as far as it goes."""
    operation = {"kind": "drop_column", "name": "a", "table": "t"}
    assert is_answer({"outcome": "up_to_date"})
    assert is_answer({"outcome": "held", "held": [operation], "error": {"code": "c", "what": "w"}})


def test_an_answer_of_another_shape_ends_in_unknown(database: Path) -> None:
    """It is neither believed nor an error in whoever asked."""
    with socket_folder() as folder:
        broken = {"outcome": "migrated", "held": 5}
        sockets = Answering(folder / "d.sock", {"window": broken}), serving(database, folder / "d.sock")
        with sockets[0], sockets[1], Starter(database, timeout=0.5) as starter:
            answer = starter.answer()
    assert (answer["outcome"], answer["held"], answer["error"]["code"]) == ("unknown", [], "window-unknown")


@pytest.mark.parametrize(
    "change", [{"timeout_s": float("nan")}, {"timeout_s": -1}, {"variables": [1]}, {"directory": 5}], ids=str
)
def test_a_place_that_makes_no_sense_is_not_believed(tmp_path: Path, change: dict[str, Any]) -> None:
    """A daemon that says something odd of the database is as none: the configuration is read here."""
    house(tmp_path)
    options = Options(config=str(tmp_path / "driftd.toml"))
    with socket_folder() as folder:
        good = {"target": "app", "database": "/a.db", "timeout_s": 15.0, "variables": {}, "directory": None}
        told = {"DRIFTD_SOCKET": str(folder / "d.sock")}
        for answer, believed in ((good, True), ({**good, **change}, False)):
            with Answering(folder / "d.sock", {"where": answer}):
                found = ask(options, told, str(tmp_path), time.monotonic() + PATIENCE)
            assert (found is not None) is believed
            (folder / "d.sock").unlink(missing_ok=True)


def test_no_window_lasts_longer_than_an_hour(database: Path) -> None:
    """However much somebody asks for: an endless number breaks no clock."""
    assert seconds("99999999999999999999") == LONGEST_WINDOW
    starter = Starter(database, timeout=float("inf"))
    assert starter.until == starter.began + LONGEST_WINDOW


# --- files in the way


@pytest.mark.parametrize("ending", [".startup.lock", ".daemon.lock", ".inuse.lock"])
def test_a_database_of_a_locks_name_is_left_untouched(database: Path, ending: str) -> None:
    """A database that somebody called `app.db.startup.lock` is no lock file, and nothing is written over its first page."""
    make(beside(database, ending))
    with pytest.raises(OSError, match="it is a database"):
        lock_file.open_lock(str(beside(database, ending)), str(database))
    with closing(sqlite3.connect(beside(database, ending))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- the gate


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_behind_the_gates_answer(tmp_path: Path) -> None:
    """A script goes on to start its service: the window was what counted, and it is done."""
    house(tmp_path, models=WIDER)
    make(tmp_path / "app.db")
    with FULL.open("w", encoding="utf-8") as full:
        done = gate(tmp_path, stdout=full)
    assert done.returncode == 0
    assert "the answer cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert columns(tmp_path / "app.db") == ["id", "title", "state"]


# --- a link that is turned


def test_a_link_that_was_turned_a_moment_ago(tmp_path: Path) -> None:
    """The service's own database is migrated, also while the daemon still serves the one where the link led before."""
    for name in ("a.db", "b.db"):
        make(tmp_path / name)
    (tmp_path / "app.db").symlink_to("a.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        (tmp_path / "link").symlink_to("b.db")
        (tmp_path / "link").rename(tmp_path / "app.db")
        done = gate(tmp_path)
    assert (done.returncode, columns(tmp_path / "b.db")) == (0, ["id", "title", "state"]), done
