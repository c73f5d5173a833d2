"""The daemon in figures: from a save to a known state, answers over the socket, idling, staging a large database.

Nothing passes or fails by the clock; what is asserted is that the work was done. `DRIFTD_BENCH_IDLE` (seconds, 600 by
default) and `DRIFTD_BENCH_MB` (1000) make it shorter.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil
import pytest

from driftd.client import Client
from support.figures import MEGABYTES, quantiles, show
from support.sidecars import house, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.sidecars import Sidecar

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

IDLE = float(os.environ.get("DRIFTD_BENCH_IDLE", "600"))
CALLS = 1000
SAVES = 15
TABLES = 50


def models(extra: str = "") -> str:
    """A file of models with many tables; `extra` is one more column of the first."""
    tables = [
        f"class T{n}(Base):\n    __tablename__ = 't{n}'\n    id = Column(Integer, primary_key=True)\n"
        f"    name = Column(String(40))\n    at = Column(DateTime)\n" + (extra if n == 0 else "")
        for n in range(TABLES)
    ]
    head = "from sqlalchemy import Column, DateTime, Integer, String\nfrom sqlalchemy.orm import declarative_base\n"
    return head + "Base = declarative_base()\n" + "\n".join(tables)


def test_from_a_save_to_a_known_state(tmp_path: Path) -> None:
    """Each save adds or takes a column: how long until an event says that it is drifted, and until the stage is ready."""
    for kind, first, second, configured in (
        ("50 tables in Python", models(), models("    more = Column(String(9))\n"), "models:Base"),
        ("one table in a .sql file", "CREATE TABLE t (a);", "CREATE TABLE t (a, b);", "models.sql"),
    ):
        folder = tmp_path / configured.partition(":")[0]
        folder.mkdir()
        sidecar = house(folder)
        path = folder / ("models.py" if ":" in configured else "models.sql")
        text = (folder / "driftd.toml").read_text(encoding="utf-8").replace("models.sql", configured)
        (folder / "driftd.toml").write_text(text, encoding="utf-8")
        path.write_text(first, encoding="utf-8")
        subprocess.run([sys.executable, "-m", "driftd", "apply"], cwd=folder, check=True, capture_output=True)
        known, ready = [], []
        with running(sidecar):
            sidecar.state("in_sync")
            for _ in range(SAVES):
                with sidecar.followed() as follower:
                    path.write_text(second, encoding="utf-8")
                    started = time.perf_counter()
                    follower.until(lambda one: one["state"] != "in_sync")
                    known.append(time.perf_counter() - started)
                    follower.state("ready")
                    ready.append(time.perf_counter() - started)
                    path.write_text(first, encoding="utf-8")
                    follower.state("in_sync")
        show(
            f"{kind}: save → drift known {median(known) * 1000:.0f} ms, most {max(known) * 1000:.0f} ms; "
            f"save → stage ready {median(ready) * 1000:.0f} ms (medians of {SAVES}; 300 ms of it is waiting for quiet)"
        )


def make(database: Path, megabytes: int, journal: str = "wal") -> None:
    """A database of about that size."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT)")
        connection.execute(
            "INSERT INTO task (title) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "SELECT hex(randomblob(500)) FROM n",
            (megabytes * 980,),
        )


def test_status_over_the_socket(tmp_path: Path) -> None:
    """A thousand calls, each with a connection of its own, and a thousand on one connection."""
    make(tmp_path / "app.db", 1)
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        single, fresh = [], []
        with Client(sidecar.socket) as client:
            for _ in range(CALLS):
                started = time.perf_counter()
                client.do_status()
                single.append(time.perf_counter() - started)
        for _ in range(CALLS):
            started = time.perf_counter()
            with Client(sidecar.socket) as client:
                client.do_status()
            fresh.append(time.perf_counter() - started)
        checks = []
        with Client(sidecar.socket) as client:
            for _ in range(CALLS):
                started = time.perf_counter()
                assert client.do_check()["in_sync"]
                checks.append(time.perf_counter() - started)
    show(
        f"status, one connection: {quantiles(single)}",
        f"status, a connection each: {quantiles(fresh)}",
        f"check, nothing changed: {quantiles(checks)}",
    )


def test_idling(tmp_path: Path) -> None:
    """What a daemon with one target costs while nothing happens: memory, processor, wake-ups."""
    sidecar = house(tmp_path)
    (tmp_path / "models.py").write_text(models(), encoding="utf-8")
    text = (tmp_path / "driftd.toml").read_text(encoding="utf-8").replace("models.sql", "models:Base")
    (tmp_path / "driftd.toml").write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "driftd", "apply"], cwd=tmp_path, check=True, capture_output=True)
    with running(sidecar):
        sidecar.state("in_sync")
        assert sidecar.process is not None
        process = psutil.Process(sidecar.process.pid)
        time.sleep(70)  # until it glances seldom: what is measured is time itself
        used, woken = sum(process.cpu_times()[:2]), process.num_ctx_switches().voluntary
        woken += _threads_woken(process.pid) - woken
        started = time.monotonic()
        time.sleep(IDLE)
        spent = time.monotonic() - started
        used, woken = sum(process.cpu_times()[:2]) - used, _threads_woken(process.pid) - woken
        show(
            f"idle for {spent:.0f} s: RSS {process.memory_info().rss / 1e6:.1f} MB, "
            f"CPU {100 * used / spent:.3f} %, {woken / spent:.2f} voluntary switches a second over all "
            f"{process.num_threads()} threads"
        )


def _threads_woken(pid: int) -> int:
    """How often its threads have slept and been woken."""
    return sum(
        int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir()
        for line in (task / "status").read_text(encoding="ascii").splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


def test_starting(tmp_path: Path) -> None:
    """Whole processes: bare Python, the client's import, and a cold check with nothing changed."""
    (tmp_path / "models.py").write_text(models(), encoding="utf-8")
    target = ["--url", "sqlite:///app.db", "--models", "models:Base"]
    driftd = [str(Path(sys.executable).with_name("driftd"))]
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run(
        [*driftd, "apply", *target], cwd=tmp_path, check=True, capture_output=True, env=environment
    )
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import socket, json'": [sys.executable, "-c", "import socket, json"],
        "python -c 'import driftd.client'": [sys.executable, "-c", "import driftd.client"],
        f"driftd check --fresh ({TABLES} tables, Python models)": [*driftd, "check", "--fresh", *target],
        f"driftd check, nothing changed ({TABLES} tables)": [*driftd, "check", *target],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(21):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env=environment)
            if turn:  # the first one fills caches
                seconds[name].append(time.perf_counter() - started)
    show(
        *(
            f"{name}: median {median(one) * 1000:.1f} ms, least {min(one) * 1000:.1f} ms"
            for name, one in seconds.items()
        )
    )


@contextmanager
def writer(database: Path) -> Iterator[list[float]]:
    """Somebody who commits a row every few milliseconds; how long each commit took."""
    waited: list[float] = []
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as connection:
            while not stop.wait(0.005):
                started = time.perf_counter()
                connection.execute("INSERT INTO task (title) VALUES ('written meanwhile')")
                waited.append(time.perf_counter() - started)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield waited
    finally:
        stop.set()
        thread.join()


NARROW = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT);\n"
WIDE = NARROW.replace("title TEXT", "title TEXT, state TEXT DEFAULT 'open'")


def staged(sidecar: Sidecar, folder: Path) -> float:
    """Seconds from the save of a new column to a stage that is ready."""
    with sidecar.followed() as follower:
        started = time.perf_counter()
        (folder / "models.sql").write_text(WIDE, encoding="utf-8")
        while True:
            event = follower.next()
            if event["event"] == "target" and event["target"]["state"] == "ready":
                return time.perf_counter() - started


@contextmanager
def large(folder: Path, journal: str) -> Iterator[tuple[Sidecar, str]]:
    """A daemon beside a large database that is in sync, and a line that says how large, and how fast the disk is."""
    database = folder / "app.db"
    make(database, MEGABYTES, journal)
    started = time.perf_counter()
    subprocess.run(["cp", str(database), str(folder / "copy")], check=True)
    copying = time.perf_counter() - started
    (folder / "copy").unlink()
    sidecar = house(folder, models=NARROW)
    sidecar.patience = 1800.0
    with running(sidecar):
        sidecar.state("in_sync")
        yield sidecar, f"{database.stat().st_size / 1e6:.0f} MB, {journal} (cp takes {copying:.1f} s)"


def test_staging_a_large_database_beside_a_writer(tmp_path: Path) -> None:
    """With a write-ahead log: how long a stage takes, and how long a writer ever waited meanwhile."""
    with large(tmp_path, "wal") as (sidecar, about):
        with writer(tmp_path / "app.db") as alone:
            time.sleep(5)
        with writer(tmp_path / "app.db") as meanwhile:
            seconds = staged(sidecar, tmp_path)
    show(
        f"{about}: stage ready {seconds:.1f} s after the save, a writer beside it",
        f"  its commits alone: {quantiles(alone)}; while staging: {quantiles(meanwhile)}",
    )


def test_staging_a_large_database_gives_way_to_a_writer(tmp_path: Path) -> None:
    """With a rollback journal: how long a stage takes when nobody writes, and how long a writer waits that never pauses."""
    with large(tmp_path, "delete") as (sidecar, about):
        seconds = staged(sidecar, tmp_path)
        (tmp_path / "models.sql").write_text(NARROW, encoding="utf-8")
        sidecar.state("in_sync")
        with writer(tmp_path / "app.db") as alone:
            time.sleep(5)
        with writer(tmp_path / "app.db") as meanwhile:
            (tmp_path / "models.sql").write_text(WIDE, encoding="utf-8")
            time.sleep(30)
    show(
        f"{about}: stage ready {seconds:.1f} s after the save, nobody writing",
        f"  a writer's commits alone: {quantiles(alone)}; while staging is tried: {quantiles(meanwhile)}",
    )
