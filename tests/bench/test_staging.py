"""A stage of a large database, part by part, beside what the disk and SQLite themselves can do, and beside a writer.

Nothing passes or fails by the clock; what is asserted is that the work was done.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from driftengine import ahead, api
from driftengine.backup_files import file_sha256
from driftengine.dialects.chosen import DIALECT, opened
from driftengine.dialects.sqlite.connect import Location, connect
from driftengine.dialects.sqlite.copy import copy_database
from driftengine.dialects.sqlite.verify import verify_copy
from driftengine.session import Session
from support.bench_record import record
from support.bench_windows import filled
from support.figures import IDLE, LARGE, TURNS
from support.migrations import House
from support.sidecars import MODELS, WIDER, house, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.sidecars import Sidecar

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

HEADING = "A stage, part by part"
SIZE = f"{LARGE:,} MB"
WRITING = min(5.0, IDLE)  # seconds in which a writer is measured alone
TRYING = min(30.0, IDLE)  # seconds in which a stage is tried beside one that never pauses


def timed(work: Callable[[], object]) -> float:
    """Seconds of it."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def synced(path: Path) -> None:
    """The file reaches the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def copied_file(source: Path, path: Path) -> None:
    """As `cp`, and then on disk."""
    shutil.copyfile(source, path)
    synced(path)


def backed_up(source: Path, path: Path) -> None:
    """As the shell's `.backup`, and then on disk."""
    with closing(sqlite3.connect(source)) as database, closing(sqlite3.connect(path)) as copy:
        database.backup(copy)
    synced(path)


def vacuumed(source: Path, path: Path) -> None:
    """VACUUM INTO, and then on disk."""
    with closing(sqlite3.connect(source)) as database:
        database.execute("VACUUM INTO ?", (str(path),))
    synced(path)


def copied_by_driftd(source: Path, path: Path) -> None:
    """The copy of a backup, which is on disk when it returns."""
    with closing(connect(Location("", source), write=False)) as database:
        copy_database(database, path)


def checked(path: Path) -> None:
    """SQLite's own check alone."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def digested(path: Path) -> None:
    """The standard library's digest."""
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")


def recorded(what: str, ours: str, took: dict[str, list[float]], *rivals: str, note: str = "") -> None:
    """One part, in seconds."""
    beside = {name: took[name] for name in rivals}
    record(HEADING, what, SIZE, took[ours], unit="s", times=1, rivals=beside, rates=False, note=note)


def test_the_parts_of_a_stage(tmp_path: Path) -> None:
    """The copy, its check, its digest, and the whole of backup and rehearsal, each beside what does the same alone."""
    database, copy = tmp_path / "app.db", tmp_path / "copy.db"
    filled(database, LARGE, "wal")
    copying: dict[str, Callable[[Path, Path], None]] = {
        "copy": copied_by_driftd,
        "cp and fsync": copied_file,
        "sqlite3 .backup": backed_up,
        "VACUUM INTO": vacuumed,
    }
    reading: dict[str, Callable[[Path], object]] = {
        "verify": verify_copy,
        "PRAGMA integrity_check": checked,
        "digest": file_sha256,
        "hashlib.file_digest": digested,
    }
    took: dict[str, list[float]] = {}
    for _ in range(TURNS):
        for name, work in copying.items():
            copy.unlink(missing_ok=True)
            took.setdefault(name, []).append(timed(partial(work, database, copy)))
        for name, look in reading.items():
            took.setdefault(name, []).append(timed(partial(look, copy)))
        for name, seconds in staged(tmp_path).items():
            took.setdefault(name, []).append(seconds)
    recorded("the copy", "copy", took, "cp and fsync", "sqlite3 .backup", "VACUUM INTO")
    recorded(
        "its check", "verify", took, "PRAGMA integrity_check", note="foreign keys and rows counted as well"
    )
    recorded("its digest", "digest", took, "hashlib.file_digest")
    recorded("the backup as a whole", "backup", took, "cp and fsync")
    recorded("the rehearsal, with another copy and its proof", "rehearsal", took, "cp and fsync")
    recorded("the stage as a whole", "stage", took, "cp and fsync")


def staged(folder: Path) -> dict[str, float]:
    """Seconds of a stage by its phases; the backup is gone afterwards."""
    at = House(folder)
    at.models(WIDER)
    target = at.target()
    session = Session(target)
    try:
        session.look()
        with closing(opened(target.url, target.models.directory)) as database:
            prepared = ahead.prepare(DIALECT, database, target, session.desired)
    finally:
        session.close()
    assert prepared.stage is not None
    phases = {name: took / 1000 for name, took in prepared.stage.durations.items()}
    shutil.rmtree(folder / "backups")
    return {**phases, "stage": prepared.took_ms / 1000}


@contextmanager
def writer(database: Path) -> Iterator[list[float]]:
    """Somebody who commits a row every few milliseconds; how long each commit took, in seconds."""
    waited: list[float] = []
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as connection:
            while not stop.wait(0.005):
                began = time.perf_counter()
                connection.execute("INSERT INTO task (title) VALUES ('written meanwhile')")
                waited.append(time.perf_counter() - began)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield waited
    finally:
        stop.set()
        thread.join()


@contextmanager
def large(folder: Path, journal: str) -> Iterator[Sidecar]:
    """A daemon beside a large database that is in sync."""
    filled(folder / "app.db", LARGE, journal)
    sidecar = house(folder, models=MODELS)
    sidecar.patience = 1800.0
    with running(sidecar):
        sidecar.state("in_sync")
        yield sidecar


def tell(what: str, journal: str, waited: list[float], alone: list[float]) -> None:
    """The commits of the writer: the longest is what a service feels."""
    beside = {"alone": alone}
    record("A writer beside a stage", f"{what}: each commit", f"{SIZE}, {journal}", waited, rivals=beside, rates=False)  # fmt: skip
    record("A writer beside a stage", f"{what}: the longest commit", f"{SIZE}, {journal}", [max(waited)], rivals={"alone": [max(alone)]}, rates=False)  # fmt: skip


def test_a_writer_beside_a_stage(tmp_path: Path) -> None:
    """With a write-ahead log: how long a writer waited while a stage was made."""
    with large(tmp_path, "wal") as sidecar:
        with writer(tmp_path / "app.db") as alone:
            time.sleep(WRITING)
        with writer(tmp_path / "app.db") as meanwhile:
            (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
            sidecar.until(lambda one: one["state"] == "ready")
    tell("while it is made", "wal", meanwhile, alone)


def test_a_stage_gives_way_to_a_writer(tmp_path: Path) -> None:
    """With a rollback journal: how long a writer waits that never pauses, while staging is tried."""
    with large(tmp_path, "delete"):
        with writer(tmp_path / "app.db") as alone:
            time.sleep(WRITING)
        with writer(tmp_path / "app.db") as meanwhile:
            (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
            time.sleep(TRYING)
    tell("while it is tried", "delete", meanwhile, alone)


def test_a_whole_apply(tmp_path: Path) -> None:
    """`driftd apply` without any stage: all of it one after the other, in process."""
    took: list[float] = []
    for turn in range(TURNS):
        folder = tmp_path / str(turn)
        folder.mkdir()
        at = House(folder)
        filled(at.database, LARGE, "wal")
        at.models(WIDER)
        took.append(timed(partial(api.apply, at.target(), allowed_by="the benchmark")))
        assert any("state" in row[1] for row in at.ask("PRAGMA table_info(task)"))
        shutil.rmtree(folder)
    record(HEADING, "driftd apply with nothing prepared", SIZE, took, unit="s", times=1)
