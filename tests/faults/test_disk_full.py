"""A disk that fills up during backup, rehearsal or apply: told as that, everything as before, nothing left over."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api, history, journal
from driftengine.dialects.sqlite import database as live
from driftengine.dialects.sqlite import rehearsal
from driftengine.errors import DriftError, HistoryError
from support.migrations import House

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

BEFORE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, filler TEXT);"
AFTER = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, filler TEXT);"  # the table is copied
ROWS = (
    "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 1000)"
    "INSERT INTO t SELECT n, n, hex(zeroblob(500)) FROM r;"
)
MEGABYTE = 1 << 20


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """A database of one megabyte whose table is to be copied."""
    return filled(House(tmp_path / "house", journal=request.param))


def filled(house: House) -> House:
    house.folder.mkdir(exist_ok=True)
    house.run(BEFORE + ROWS)
    house.models(AFTER)
    return house


def leftovers(house: House) -> list[str]:
    """What is in the backups' folders beside the journal."""
    files = [path for path in (house.folder / "backups").rglob("*") if path.is_file()]
    return sorted(path.name for path in files if path.name != journal.NAME)


def refused(house: House) -> DriftError:
    """The error of an apply that finds no space; nothing has changed, and the next one can do it all."""
    before = house.everything()
    with pytest.raises(DriftError) as caught:
        house.apply()
    assert caught.value.code == "disk-full"
    assert house.everything() == before
    assert house.stored("driftd_history") == ""
    assert house.ask("PRAGMA integrity_check") == [("ok",)]
    assert leftovers(house) == []
    return caught.value


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """A disk of so many bytes, mounted there; the test is skipped where that is not permitted."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "driftd-test", str(place)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"mounting is not permitted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_no_space_for_the_backup(house: House) -> None:
    """The backups' disk is smaller than the database: refused before a byte is copied."""
    with small_disk(house.folder / "backups", MEGABYTE // 2):
        assert "backup" in refused(house).what
    assert house.apply()["outcome"] == "migrated"


def test_no_space_for_the_rehearsal(house: House) -> None:
    """The backup fits and the copy does not: the backup is taken away again."""
    with small_disk(house.folder / "backups", 3 * MEGABYTE):
        assert "rehearsal" in refused(house).what
    assert house.apply()["outcome"] == "migrated"


def test_no_space_for_the_database_itself(tmp_path: Path) -> None:
    """The copied table does not fit beside the old one: rolled back by SQLite, the backup elsewhere is taken away."""
    folder = tmp_path / "small"
    backups = tmp_path / "backups"
    with small_disk(folder, 5 * MEGABYTE // 2):
        house = filled(House(folder, journal="delete"))
        target = house.target()
        target = api.Target("app", target.url, target.models, api.BackupSettings(backups))
        before = house.everything()
        with pytest.raises(DriftError) as caught:
            api.apply(target)
        assert caught.value.code in {"disk-full", "database-io"}
        assert house.everything() == before
        assert [path.name for path in backups.rglob("*") if path.is_file()] == [journal.NAME]


def test_the_disk_fills_up_while_the_rehearsal_is_copied(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC in the middle of the copy is an answer, not a crash."""
    real = shutil.copyfile

    def full(source: Path, destination: Path) -> None:
        real(source, destination)
        os.truncate(destination, 4096)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(destination))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        assert "copied" in refused(house).what
    assert house.apply()["outcome"] == "migrated"


@pytest.mark.parametrize("module", [live, rehearsal], ids=["apply", "rehearsal"])
def test_sqlite_finds_the_disk_full(house: House, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """SQLITE_FULL inside a statement, on the copy or in the live transaction: rolled back, and told as that."""
    real = module.connect

    def bounded(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*arguments, **named)
        if named.get("write"):
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages + 20}")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(module, "connect", bounded)
        refused(house)
    assert house.apply()["outcome"] == "migrated"


def test_a_journal_that_cannot_be_written_is_no_failure(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full behind COMMIT: migrated, with a warning, and the next apply completes the journal."""

    def full(*_: object, **__: object) -> int:
        raise HistoryError("the journal cannot be written", code="journal-unwritable", why="no space")

    with monkeypatch.context() as patch:
        patch.setattr(history, "write_journal", full)
        done = house.apply()
    assert (done["outcome"], len(done["warnings"])) == ("migrated", 1)
    assert len(house.backups()) == 1
    assert house.apply()["warnings"] == []
    assert api.history_verify(house.target())["ok"]
    (folder,) = (house.folder / "backups").iterdir()
    events = [record.event for record in journal.read(folder / journal.NAME).records]
    assert events.count("migrated") == 1


def test_a_dry_run_without_space_says_that_it_was_not_rehearsed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is the plan, with a warning; nothing is written."""
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    told = api.apply(house.target(), dry_run=True)
    assert told["outcome"] == "migrated"
    assert "not rehearsed" in told["warnings"][0]
    assert not (house.folder / "backups").exists()
