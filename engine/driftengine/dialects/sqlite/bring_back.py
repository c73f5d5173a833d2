"""A copy's content brought back into the live file of a database, in one transaction."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.connect import (
    Location,
    connect,
    data_version,
    identity,
    state_of,
    translated,
)
from driftengine.dialects.sqlite.copy import PAGES_A_STEP, MovedError, Pace, copy_pages, give_up_at, reading
from driftengine.dialects.sqlite.same_file import replaced, require_same_file
from driftengine.dialects.sqlite.transaction import patiently
from driftengine.dialects.sqlite.verify import number, snapshot_of
from driftengine.errors import BackupError, BusyError, DatabaseError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from driftengine.dialects.sqlite.copy import CopyProgress

TRIES = 5  # to be faster than those who write, between the saving of what is there and its replacement


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
    BusyError. Raises also DeadlineError, DatabaseError (`database-replaced`: what has the name now is untouched), BackupError
    (`backup-page-size`, `backup-restore`). What fails behind COMMIT is a DatabaseError `commit-in-doubt`.
    """
    before = state_of(target)
    fresh = before != "present"
    file = None if before == "missing" else identity(target)
    with _in_doubt_behind_commit(target) as committed, contextlib.ExitStack() as stack:
        source = stack.enter_context(contextlib.closing(connect(Location("", copy), write=False)))
        # No waiting inside SQLite: the progress callback decides how long a lock is worth.
        live = patiently(
            lambda: connect(target, write=True, create=fresh, timeout=0.05), give_up_at(deadline_at)
        )
        stack.enter_context(contextlib.closing(live))
        stack.enter_context(translated(target))
        if before == "missing":
            file = identity(target)
            _give_rights(target.path, copy.stat())
        journal_mode = live.execute("PRAGMA journal_mode").fetchone()[0]
        _same_page_size(source, live, copy, target, fresh=fresh)
        log = journal_mode == "wal"
        stack.enter_context(reading(source))
        if log and save is not None:
            _replace_in_wal(source, live, target, file, save, progress, deadline_at)
        else:
            if fresh or save is not None:
                with _writers_kept_out(live, target, file, deadline_at):
                    if fresh and state_of(target) == "present":  # a service has made it meanwhile
                        raise replaced(target)
                    stack.enter_context(_keeping_its_lock(live))
                    if save is not None and not fresh:
                        save()
            copy_pages(source, live, Pace(target.path, progress, deadline_at))
        committed.append(True)
        require_same_file(target, file)
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


@contextlib.contextmanager
def _in_doubt_behind_commit(target: Location) -> Iterator[list[bool]]:
    """Once something stands in the list, a lock or a disk that fails is not told as if nothing had been written."""
    committed: list[bool] = []
    try:
        yield committed
    except (BusyError, DatabaseError) as error:
        if not committed or error.code == "database-replaced":
            raise
        raise DatabaseError(
            f"whether {target} holds the backup now is not sure",
            code="commit-in-doubt",
            why=f"it was written, and could not be looked at behind that ({error})",
            fix="look into the system's log for errors of that disk, then see `driftd history`, or restore again",
        ) from error


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
    file: tuple[int, int] | None,
    save: Callable[[], None],
    progress: CopyProgress | None,
    deadline_at: float | None,
) -> None:
    """Saves under the write lock, and writes under another one, if nobody has committed in between; else once more."""
    # Never all pages in one step: the first one brings the lock under which it is seen whether anybody has committed.
    pages = max(1, min(PAGES_A_STEP, number(source, "PRAGMA page_count") - 1))
    with contextlib.closing(connect(target, write=False)) as watching:
        for _ in range(TRIES):
            with _writers_kept_out(live, target, file, deadline_at):
                save()
                version = data_version(watching)
            unmoved = partial(_is_at, watching, version)
            pace = Pace(target.path, progress, deadline_at, unmoved=unmoved)
            with contextlib.suppress(MovedError):
                copy_pages(source, live, pace, pages)
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
def _writers_kept_out(
    live: sqlite3.Connection, target: Location, file: tuple[int, int] | None, deadline_at: float | None
) -> Iterator[None]:
    """Holds the write lock. Raises BusyError where somebody holds it until the deadline, DatabaseError (`database-replaced`)."""

    def begin() -> None:
        with translated(target):
            live.execute("BEGIN IMMEDIATE")

    patiently(begin, give_up_at(deadline_at))
    try:
        # Also in WAL mode the log that is written to has been opened by now.
        require_same_file(target, file)
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
