"""Copies of a whole SQLite database, made while others write.

Everything goes through SQLite's online backup interface (https://www.sqlite.org/backup.html). A plain copy of the file
lacks what is still in the WAL, and replacing the file under an open WAL connection changes nothing or corrupts it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.connect import (
    Location,
    deadline,
    file_uri,
    translated,
)
from driftengine.dialects.sqlite.rollback_journal import abandoned, writer_has_begun
from driftengine.dialects.sqlite.verify import (
    Snapshot,
    snapshot_of,
)
from driftengine.errors import BackupError, BusyError, DeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    CopyProgress = Callable[[int, int], None]  # pages done, pages in all


PAGES_A_STEP = 2_000  # 8 MB of 4 kB pages: some milliseconds between two looks at the clock
LOCK_TIMEOUT = 5.0  # seconds that opening a source waits for a lock, where the deadline is not nearer
PATIENCE = 10.0  # seconds of nothing but "busy" before a copy without a deadline gives up
CHECKPOINT_FILES = ("-journal", "-wal", "-shm")


# --- copying


def copy_database(
    source: sqlite3.Connection,
    destination: Path,
    *,
    mode: int = 0o600,
    progress: CopyProgress | None = None,
    deadline_at: float | None = None,
    yielding: bool = False,
) -> Snapshot:
    """Copies the whole database to a new file, in rollback journal mode, on disk when this returns.

    A read transaction is held on `source` from the first page to the last: in WAL mode a writer would otherwise make
    the copy begin again for ever; with a rollback journal writers wait for its end, as they would for a copy in one
    step, but the deadline is kept between steps, and a `yielding` copy is given up as soon as a writer's journal is seen
    there, so that it waits for one step at most. `source` may be inside a read transaction of the caller's, not
    inside a write transaction. `deadline_at` is on the clock of `time.monotonic()`. On any failure the destination is
    gone again. Raises DatabaseError, BusyError (`stage-yielded` too), DeadlineError, BackupError (`backup-exists`).
    """
    _create_file(destination, mode)
    origin = Location("", _path_of(source))
    try:
        with translated(origin), reading(source, deadline_at):
            snapshot = snapshot_of(source)
            with _told_of_the_copy(destination), contextlib.closing(_open(destination)) as target:
                # The file is synced as a whole at the end, and nobody reads it before.
                target.execute("PRAGMA synchronous = OFF")
                left = abandoned(origin) if yielding else b""
                copy_pages(
                    source, target, Pace(origin.path, progress, deadline_at, yielding=yielding, left=left)
                )
                _leave_wal(target, destination)
        _sync(destination)
    except BaseException:
        remove_database(destination)
        raise
    return snapshot


_OF_THE_COPY = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
_WRITING = frozenset(
    getattr(sqlite3, f"SQLITE_IOERR_{what}")
    for what in ("WRITE", "FSYNC", "DIR_FSYNC", "TRUNCATE", "DELETE", "CLOSE")
)


@contextlib.contextmanager
def _told_of_the_copy(path: Path) -> Iterator[None]:
    """What can only have befallen the new file is not told of the database, whose disk may be another."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = error.sqlite_errorcode
        if code & 0xFF not in _OF_THE_COPY and code not in _WRITING:
            raise
        raise _unwritable(path, str(error), full=code == sqlite3.SQLITE_FULL) from error


def _unwritable(path: Path, why: str, *, full: bool) -> BackupError:
    code, fix = (
        "disk-full" if full else "backup-folder",
        f"see that {path.parent} has space and may be written to",
    )
    return BackupError(f"{path} cannot be written", code=code, why=why, fix=fix)


def remove_database(path: Path) -> None:
    """Removes a database file of ours and what SQLite keeps beside it."""
    for suffix in ("", *CHECKPOINT_FILES):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _path_of(connection: sqlite3.Connection) -> Path:
    # The plain pragma: its table-valued form loads the schema first, and would wait for a lock.
    return Path(connection.execute("PRAGMA database_list").fetchone()[2])


def give_up_at(deadline_at: float | None) -> float:
    """When to stop waiting for a lock, on the clock of `time.monotonic()`."""
    return time.monotonic() + PATIENCE if deadline_at is None else deadline_at


@contextlib.contextmanager
def reading(connection: sqlite3.Connection, deadline_at: float | None = None) -> Iterator[None]:
    """Holds a read transaction; one that the caller has begun is used and left open."""
    ours = not connection.in_transaction
    if ours:
        connection.execute("BEGIN")
    try:
        with deadline(connection, deadline_at):
            # BEGIN alone takes no snapshot. With a rollback journal this waits for a writer's COMMIT.
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        yield
    finally:
        if ours and connection.in_transaction:
            connection.execute("ROLLBACK")


@dataclass(slots=True)
class Pace:
    """The progress callback of one copy: it ends what SQLite's own loop would repeat for ever."""

    path: Path
    progress: CopyProgress | None
    deadline_at: float | None
    yielding: bool = False
    left: bytes = b""  # what `abandoned` has found
    unmoved: Callable[[], bool] = lambda: True
    left_before: int | None = None
    stuck_since: float = field(default_factory=time.monotonic)

    def __call__(self, status: int, remaining: int, total: int) -> None:
        """Between two steps. Raises BusyError (`stage-yielded` too), DeadlineError, MovedError."""
        if self.yielding and status != sqlite3.SQLITE_DONE and writer_has_begun(self.path, self.left):
            raise BusyError(
                f"{self.path} is being written to",
                code="stage-yielded",
                why="a writer has begun, and with a rollback journal it would wait for the end of the copy",
                fix="it is staged again when the database is quiet; nothing was changed",
            )
        now = time.monotonic()
        busy = status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
        if not busy or remaining != self.left_before:
            self.left_before, self.stuck_since = remaining, now
        if busy and now >= (self.stuck_since + PATIENCE if self.deadline_at is None else self.deadline_at):
            raise BusyError(
                f"{self.path} is in use",
                code="database-busy",
                why="another transaction was open all the time, so no page could be copied; nothing was changed",
                fix="end the other program's transaction, then try again",
            )
        if self.deadline_at is not None and now >= self.deadline_at and status != sqlite3.SQLITE_DONE:
            raise DeadlineError(
                f"the time for copying was over at {self.path}",
                code="deadline",
                why=f"{total - remaining} of {total} pages were copied; nothing was changed",
                fix="give more time",
            )
        # The first page that is copied has brought the write lock; behind the last one it is committed.
        if not busy and status != sqlite3.SQLITE_DONE and not self.unmoved():
            raise MovedError
        if self.progress is not None and not busy:
            self.progress(total - remaining, total)


class MovedError(Exception):
    """Somebody has committed since what was there was saved."""


def copy_pages(source: sqlite3.Connection, target: sqlite3.Connection, pace: Pace, pages: int = 0) -> None:
    """All pages of a database, so many (0: PAGES_A_STEP) at a time; `pace` says when to give up."""
    source.backup(target, pages=pages or PAGES_A_STEP, progress=pace, sleep=0.01)


def _create_file(path: Path, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise BackupError(
            f"{path} exists already",
            code="backup-exists",
            why="a copy never overwrites a file",
            fix="choose another name, or remove that file",
        ) from error
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise _unwritable(path, error.strerror or str(error), full=full) from error
    try:
        os.fchmod(descriptor, mode)  # the umask may have taken bits that the database has
    finally:
        os.close(descriptor)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(file_uri(path, "rw"), isolation_level=None, uri=True, timeout=0.1)


def _leave_wal(target: sqlite3.Connection, path: Path) -> None:
    """A copy of a WAL database says WAL in its header; as a rollback-journal file it can be read and hashed alone."""
    if target.execute("PRAGMA journal_mode = DELETE").fetchone()[0] != "delete":
        raise BackupError(
            f"{path} stays in WAL mode",
            code="backup-not-verified",
            why="PRAGMA journal_mode = DELETE had no effect on the copy",
            fix="see whether another program has opened the new file",
        )


def _sync(path: Path) -> None:
    """The file and its name reach the disk."""
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
