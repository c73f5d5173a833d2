"""The file system that holds a database: does it lock, does it tell of changes, is there room?"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from driftd.cli.text import shell_word, size
from driftd.doctor.findings import Finding, note, problem, warning
from driftd.watch.mounts import read_mounts, remote_folders
from driftengine.backup_files import folder_for

if TYPE_CHECKING:
    from driftd.doctor.subject import Subject

REBUILD_SHARE = 3  # a rebuild, its log and what grows take about three times the largest table
FUTURE_S = 120.0  # how far ahead of the clock a file's time may be: clocks of other machines are never quite the same


def check_file_system(subject: Subject) -> list[Finding]:
    """Its kind, and whether locks hold there."""
    folder = subject.database.parent
    if not folder.is_dir():
        return []
    found = []
    if remote_folders([str(folder)], read_mounts()):
        found.append(
            warning(
                f"{folder} lies on a network file system",
                code="file-system-remote",
                why="what other machines write there is noticed by looking from time to time only, and SQLite's locks "
                "depend on that file system (https://www.sqlite.org/howtocorrupt.html, section 2.1)",
                fix="keep the database on a local disk, and let one machine alone open it",
            )
        )
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        found.append(
            problem(
                f"{folder} lies on a file system that is mounted read-only",
                code="file-system-read-only",
                why="nothing can be migrated there",
                fix=f"mount it for writing: mount -o remount,rw {shell_word(str(folder))}",
            )
        )
        return found
    return found + _case(subject.database) + _locks(folder)


def _case(database: Path) -> list[Finding]:
    other = database.with_name(database.name.swapcase())
    if other.name == database.name or not database.exists() or not other.exists():
        return []
    if not other.samefile(database):
        return []
    return [
        note(
            f"{database.parent} does not tell upper from lower case",
            code="file-system-case",
            why="two spellings of the path are one database there, but have lock files of two names",
            fix="spell the path alike in the service and in driftd's configuration",
        )
    ]


def _locks(folder: Path) -> list[Finding]:
    """Tries a lock on a file of its own, which is gone at the end."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return []  # who may write there is told elsewhere
    with (
        tempfile.NamedTemporaryFile(dir=folder, prefix=".driftd-doctor-") as first,
        Path(first.name).open("rb") as second,
    ):
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return [_no_locks(folder, error.strerror or str(error))]
        try:
            fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                return []
            return [_no_locks(folder, error.strerror or str(error))]
    return [_no_locks(folder, "a second lock was given while the first was held")]


def _no_locks(folder: Path, why: str) -> Finding:
    return problem(
        f"locks do not hold in {folder}",
        code="locks-do-not-hold",
        why=why,
        fix="keep the database on a file system with working locks: a local disk",
    )


def check_space(subject: Subject) -> list[Finding]:
    """Is there room for a backup, and for a rebuild beside the database?"""
    if not subject.database.exists():
        return []
    logged = subject.beside("-wal")
    held = subject.database.stat().st_size + (logged.stat().st_size if logged.exists() else 0)
    backups = folder_for(subject.target.backup.directory, subject.database)
    backups = next(one for one in (backups, *backups.parents) if one.exists())
    beside = subject.database.parent
    found = []
    same = backups.stat().st_dev == beside.stat().st_dev
    for folder, needed in ((beside, held * (REBUILD_SHARE + same)), (backups, 0 if same else held)):
        finding = judge_space(folder, shutil.disk_usage(folder).free, held, needed)
        if finding is not None:
            found.append(finding)
    return found


def judge_space(folder: Path, free: int, held: int, needed: int) -> Finding | None:
    """Is there room there? `held` bytes are in the database, the largest migration may need `needed`."""
    if free >= needed:
        return None
    told = {
        "code": "space-low",
        "why": f"the database has {size(held)}; its backup and the rebuild of a table may need {size(needed)}",
        "fix": "free space there, or prune old backups: driftd backup prune",
    }
    what = f"{size(free)} are free in {folder}"
    return problem(what, **told) if free < held else warning(what, **told)


def check_clock(subject: Subject) -> list[Finding]:
    """Files of the future: a clock that was set back makes ages of backups and of stages mean little."""
    paths = [subject.database, subject.beside("-wal")]
    ahead = {path: path.stat().st_mtime - time.time() for path in paths if path.exists()}
    return [
        warning(
            f"{path} was changed in the future",
            code="clock-odd",
            why=f"its time is {seconds:.0f} s ahead of this machine's clock",
            fix="see whether the clock is right: date; timedatectl",
        )
        for path, seconds in ahead.items()
        if seconds > FUTURE_S
    ]
