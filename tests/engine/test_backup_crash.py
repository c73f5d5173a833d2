"""Backups whose writer dies: at each sync, rename and removal, by kill -9."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import unprivileged
from driftengine import backup
from driftengine.backup import Backup, create, folder_for, list_backups, verify
from small_database import make, names

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine.dialects.sqlite.copy import DatabaseFiles

NOW = datetime(2026, 1, 31, 12, 0, 0, 7000, UTC)


@pytest.fixture
def database(tmp_path: Path) -> DatabaseFiles:
    return make(tmp_path / "service" / "app.db")


@pytest.fixture
def folder(tmp_path: Path, database: DatabaseFiles) -> Path:
    return folder_for(tmp_path / "backups", database.path)


CRASH = """
import os, sys
from pathlib import Path
from driftengine.backup import create, prune
from driftengine.dialects.sqlite.connect import parse_url
from driftengine.dialects.sqlite.copy import DatabaseFiles
path, folder, what, left = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def killing(real):
    def call(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return real(*arguments, **named)
    return call

os.fsync, os.unlink = killing(os.fsync), killing(os.unlink)
Path.rename, Path.unlink = killing(Path.rename), killing(Path.unlink)
if what == "create":
    create(DatabaseFiles(parse_url(path)), folder)
else:
    prune(folder, keep=1, keep_for=1e9, max_total_size=10**12, database=os.path.realpath(path))
print("alive")
"""


def crash(database: DatabaseFiles, folder: Path, what: str, at: int) -> bool:
    """True when the process was killed, False when it got through to its end."""
    done = subprocess.run(
        [sys.executable, "-c", CRASH, str(database.path), str(folder), what, str(at)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(unprivileged.ENGINE)},
    )
    assert done.returncode in {0, -9}, done.stderr
    return done.returncode == -9


def test_a_crash_at_any_moment_leaves_a_whole_backup_or_none(database: DatabaseFiles, folder: Path) -> None:
    """Kill -9 at each sync, rename and removal of `create`: what is listed verifies, the rest is swept by the next."""
    killed = 0
    while crash(database, folder, "create", killed + 1):
        killed += 1
        found = list_backups(folder)
        assert all(verify(one, database) == () for one in found)
        backup.sweep(folder)
        assert backup.strays(folder) == ()
        kept = {f"{one.id}{end}" for one in found for end in (".db", ".json")}
        assert set(names(folder)) - {"journal.jsonl"} == kept
        shutil.rmtree(folder)
    assert killed >= 7


def test_a_crash_in_the_middle_of_pruning_leaves_no_stray(database: DatabaseFiles, folder: Path) -> None:
    """Kill -9 at each step of `prune`: a backup is whole or gone, and what is left over is swept."""
    for hours in range(3):
        create(database, folder, now=NOW + timedelta(hours=hours))
    three = folder.with_name("three")
    shutil.copytree(folder, three)
    killed = 0
    going_on = True
    while going_on:
        shutil.rmtree(folder)
        shutil.copytree(three, folder)
        going_on = crash(database, folder, "prune", killed + 1)
        killed += going_on
        found = list_backups(folder)
        assert all(verify(one, database) == () for one in found)
        backup.sweep(folder)
        assert backup.strays(folder) == ()
        assert len(names(folder)) == 2 * len(found) + 1
    assert killed >= 6


def test_a_writer_that_lives_is_left_alone(database: DatabaseFiles, folder: Path) -> None:
    """While a backup is being made, another one may be made and the sweep takes nothing of the first."""
    inner: list[Backup] = []
    swept: list[str] = []

    def meanwhile(phase: str, done: int, total: int) -> None:
        assert phase == "backup"
        if not inner and done <= total:
            inner.append(create(database, folder, now=NOW))
            swept.extend(backup.sweep(folder))

    outer = create(database, folder, now=NOW, progress=meanwhile)
    assert swept == []
    assert [found.id for found in list_backups(folder)] == [outer.id, inner[0].id]
    assert verify(outer, database) == verify(inner[0], database) == ()
