"""Copies of a whole SQLite database: made while others write, proved on their own, and brought back into a live file.

Everything goes through SQLite's online backup interface (https://www.sqlite.org/backup.html). A plain copy of the file
lacks what is still in the WAL, and replacing the file under an open WAL connection changes nothing or corrupts it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.connect import (
    Location,
    connect,
    data_version,
    deadline,
    file_uri,
    state_of,
    translated,
)
from driftengine.dialects.sqlite.rollback_journal import abandoned, writer_has_begun
from driftengine.dialects.sqlite.transaction import patiently
from driftengine.dialects.sqlite.verify import (
    Snapshot,
    Verification,
    differences,
    number,
    snapshot_of,
    verify_copy,
)
from driftengine.errors import BackupError, BusyError, DeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from driftengine.dialects.sqlite.losses import TableLoss

    CopyProgress = Callable[[int, int], None]  # pages done, pages in all


PAGES_A_STEP = 2_000  # 8 MB of 4 kB pages: some milliseconds between two looks at the clock
LOCK_TIMEOUT = 5.0  # seconds that opening a source waits for a lock, where the deadline is not nearer
PATIENCE = 10.0  # seconds of nothing but "busy" before a copy without a deadline gives up
CHECKPOINT_FILES = ("-journal", "-wal", "-shm")
TRIES = 5  # to be faster than those who write, between the saving of what is there and its replacement


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
        with translated(origin), _reading(source, deadline_at):
            snapshot = snapshot_of(source)
            with _told_of_the_copy(destination), contextlib.closing(_open(destination)) as target:
                # The file is synced as a whole at the end, and nobody reads it before.
                target.execute("PRAGMA synchronous = OFF")
                left = abandoned(origin) if yielding else b""
                _run(source, target, _Pace(origin.path, progress, deadline_at, yielding=yielding, left=left))
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


@contextlib.contextmanager
def _reading(connection: sqlite3.Connection, deadline_at: float | None = None) -> Iterator[None]:
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
class _Pace:
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
            raise _MovedError
        if self.progress is not None and not busy:
            self.progress(total - remaining, total)


class _MovedError(Exception):
    """Somebody has committed since what was there was saved."""


def _run(source: sqlite3.Connection, target: sqlite3.Connection, pace: _Pace, pages: int = 0) -> None:
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


# --- bringing back


def restore_into(
    copy: Path,
    target: Location,
    *,
    save: Callable[[], None] | None = None,
    progress: CopyProgress | None = None,
    deadline_at: float | None = None,
) -> None:
    """Writes the copy's content into the live file, in one transaction: all of it, or nothing.

    `save` is called before, where there is a content: it puts that by, and nothing can be committed between it and the
    writing. In WAL mode it may be called again, where somebody was faster.

    Connections of others may stay open, and see the old content until the end. The journal mode stays what it was. A
    missing or empty target is made. A writer that does not end stops it at the deadline (without one: after 10 s) with
    BusyError. Raises also DeadlineError, DatabaseError, BackupError (`backup-page-size`, `backup-restore`).
    """
    before = state_of(target)
    fresh = before != "present"
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(contextlib.closing(connect(Location("", copy), write=False)))
        # No waiting inside SQLite: the progress callback decides how long a lock is worth.
        live = patiently(
            lambda: connect(target, write=True, create=fresh, timeout=0.05), _give_up_at(deadline_at)
        )
        stack.enter_context(contextlib.closing(live))
        stack.enter_context(translated(target))
        if before == "missing":
            _give_rights(target.path, copy.stat())
        journal_mode = live.execute("PRAGMA journal_mode").fetchone()[0]
        _same_page_size(source, live, copy, target, fresh=fresh)
        log = journal_mode == "wal"
        stack.enter_context(_reading(source))
        if fresh or save is None:
            _run(source, live, _Pace(target.path, progress, deadline_at))
        elif log:
            _replace_in_wal(source, live, target, save, progress, deadline_at)
        else:
            with _writers_kept_out(live, target.path, deadline_at):
                stack.enter_context(_keeping_its_lock(live))
                save()
            _run(source, live, _Pace(target.path, progress, deadline_at))
        if live.execute("PRAGMA journal_mode").fetchone()[0] != journal_mode:
            live.execute(f"PRAGMA journal_mode = {journal_mode}")
        expected, found = snapshot_of(source), snapshot_of(live)
        if log:  # somebody who waited may have written since, and the pages with it
            found = replace(found, page_count=expected.page_count)
        if found != expected:
            raise BackupError(
                f"{target} is not what the backup holds",
                code="backup-restore",
                why="its pages or its schema differ from those of the copy; another program may have written since",
                fix=f"stop the programs that use {target}, then restore again",
            )


def _give_up_at(deadline_at: float | None) -> float:
    return time.monotonic() + PATIENCE if deadline_at is None else deadline_at


@contextlib.contextmanager
def _keeping_its_lock(live: sqlite3.Connection) -> Iterator[None]:
    """With a rollback journal: what is locked stays locked to the end of the block, through several transactions.

    A copy is not written to a connection that has a transaction open, but its lock can outlast one:
    https://www.sqlite.org/pragma.html#pragma_locking_mode. Not before the write lock is there: who keeps a read lock while
    it waits for that one keeps the writer from its COMMIT.
    """
    live.execute("PRAGMA locking_mode = EXCLUSIVE")
    try:
        yield
    finally:
        # This lets go of the lock, and of the journal, which a connection that locks exclusively keeps.
        for setting in ("locking_mode = NORMAL", "journal_mode = PERSIST", "journal_mode = DELETE"):
            live.execute(f"PRAGMA {setting}").fetchall()


def _replace_in_wal(
    source: sqlite3.Connection,
    live: sqlite3.Connection,
    target: Location,
    save: Callable[[], None],
    progress: CopyProgress | None,
    deadline_at: float | None,
) -> None:
    """Saves under the write lock, and writes under another one, if nobody has committed in between; else once more."""
    # Never all pages in one step: the first one brings the lock under which it is seen whether anybody has committed.
    pages = max(1, min(PAGES_A_STEP, number(source, "PRAGMA page_count") - 1))
    with contextlib.closing(connect(target, write=False)) as watching:
        for _ in range(TRIES):
            with _writers_kept_out(live, target.path, deadline_at):
                save()
                version = data_version(watching)
            unmoved = partial(_is_at, watching, version)
            pace = _Pace(target.path, progress, deadline_at, unmoved=unmoved)
            with contextlib.suppress(_MovedError):
                _run(source, live, pace, pages)
                return
    raise BusyError(
        f"{target} is in use",
        code="database-busy",
        why="another program wrote to it each time when its content had been saved; nothing was changed",
        fix="stop the programs that write to it, then try again",
    )


def _is_at(watching: sqlite3.Connection, version: int) -> bool:
    return data_version(watching) == version


@contextlib.contextmanager
def _writers_kept_out(live: sqlite3.Connection, path: Path, deadline_at: float | None) -> Iterator[None]:
    """Holds the write lock. Raises BusyError where somebody holds it until the deadline."""

    def begin() -> None:
        with translated(Location("", path)):
            live.execute("BEGIN IMMEDIATE")

    patiently(begin, _give_up_at(deadline_at))
    try:
        yield
    finally:
        live.execute("ROLLBACK")


def _give_rights(path: Path, like: os.stat_result) -> None:
    """A database that was missing is as readable as its backup, which has the rights that it had."""
    path.chmod(like.st_mode & 0o777)
    if os.geteuid() == 0:
        os.chown(path, like.st_uid, like.st_gid, follow_symlinks=False)


def _same_page_size(
    source: sqlite3.Connection, live: sqlite3.Connection, copy: Path, target: Location, *, fresh: bool
) -> None:
    sizes = (number(source, "PRAGMA page_size"), number(live, "PRAGMA page_size"))
    if sizes[0] != sizes[1] and not fresh:
        raise BackupError(
            f"{copy} does not fit into {target}",
            code="backup-page-size",
            why=f"the backup has pages of {sizes[0]} bytes, the database of {sizes[1]}",
            fix=f"stop the programs that use {target}, put the copy in its place, and remove {target}-wal and -shm",
        )


# --- one database, as backups see it


@dataclass(frozen=True, slots=True)
class DatabaseFiles:
    """The live database at `location`, with what a backup needs of it: copying, proving, bringing back.

    `source` is a connection to copy from (its snapshot, if it is inside a read transaction); without one, a read-only
    connection is opened for the copy.
    """

    location: Location
    source: sqlite3.Connection | None = None

    @property
    def path(self) -> Path:
        """The database's real path."""
        return self.location.path

    def present(self) -> bool:
        """False when there is nothing to copy: no file, or one of 0 bytes."""
        return state_of(self.location) == "present"

    def size(self, *, deadline_at: float | None = None) -> int:
        """The size of a copy made now, in bytes."""
        with self._connection(deadline_at) as connection, deadline(connection, deadline_at):
            return number(connection, "PRAGMA page_size") * number(connection, "PRAGMA page_count")

    def copy(
        self,
        destination: Path,
        *,
        mode: int,
        progress: CopyProgress | None = None,
        deadline_at: float | None = None,
        yielding: bool = False,
    ) -> Verification:
        """Copies and proves; what the copy has otherwise than its source stands among the problems."""
        with self._connection(deadline_at) as connection:
            taken = copy_database(
                connection,
                destination,
                mode=mode,
                progress=progress,
                deadline_at=deadline_at,
                yielding=yielding,
            )
        found = self.verify(destination, deadline_at=deadline_at)
        return replace(found, problems=found.problems + differences(taken, found.snapshot))

    def verify(self, path: Path, *, deadline_at: float | None = None) -> Verification:
        """As `verify_copy`."""
        return verify_copy(path, deadline_at=deadline_at)

    def restore(
        self,
        copy: Path,
        *,
        save: Callable[[], None] | None = None,
        progress: CopyProgress | None = None,
        deadline_at: float | None = None,
    ) -> None:
        """As `restore_into`."""
        restore_into(copy, self.location, save=save, progress=progress, deadline_at=deadline_at)

    def losses(
        self,
        then: Path,
        *,
        now: Path | None = None,
        altered: Mapping[str, Collection[str]],
        left_out: Collection[str] = (),
        deadline_at: float | None = None,
    ) -> tuple[TableLoss, ...]:
        """As `losses.losses`, of the live database or of a copy `now`."""
        from driftengine.dialects.sqlite.losses import losses

        state = self.location if now is None else Location("", now, read_only=True)
        return losses(state, then, altered=altered, left_out=left_out, deadline_at=deadline_at)

    @contextlib.contextmanager
    def _connection(self, deadline_at: float | None) -> Iterator[sqlite3.Connection]:
        with translated(self.location):
            if self.source is not None:
                yield self.source
                return
            left = LOCK_TIMEOUT if deadline_at is None else max(0.0, deadline_at - time.monotonic())
            with contextlib.closing(
                connect(self.location, write=False, timeout=min(left, LOCK_TIMEOUT))
            ) as connection:
                yield connection
