"""A stage: a plan with its verified backup and its rehearsal report, made while nobody waits."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftengine import backup as backups
from driftengine.backup_files import folder_for, told
from driftengine.changes import ADD, Questions
from driftengine.desired import draw_values
from driftengine.errors import BackupError, DeadlineError, DriftError, ModelsError
from driftengine.operations import closed
from driftengine.rehearse import Blocked, Rehearsal, rehearse
from driftengine.renames import facts_of
from driftengine.risk import values_needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from driftengine.changes import Difference, Offending, SqlValue
    from driftengine.dialects.base import Database, Dialect
    from driftengine.history import Entry
    from driftengine.manifest import Backup
    from driftengine.operations import Operation
    from driftengine.survey import Survey
    from driftengine.target import Target

Progress = Callable[[str, int, int], None]

WORKSPACE = "rehearsal-"
TEMPORARY = "driftd-rehearsal-"  # among the files of others
TRIES = 20  # to lock a new folder before a sweep takes it
SURPLUS = 100  # values drawn beyond the rows that are there, for rows that come in between
# A person may approve this over a guard that found rows; a broken CHECK or key cannot be approved.
_APPROVABLE = frozenset({"convert-column"})


@dataclass(frozen=True, slots=True)
class Stage:
    """What is ready to be applied. `durations` are milliseconds by phase."""

    rehearsal: Rehearsal
    backup: Backup | None
    entry: Entry
    values: Mapping[str, Sequence[SqlValue]] = field(default_factory=dict)
    durations: Mapping[str, float] = field(default_factory=dict)


def judged(
    database: Database, chosen: Sequence[Operation], approved: frozenset[int]
) -> tuple[tuple[Operation, ...], tuple[Blocked, ...], dict[str, int]]:
    """Asks the guards: what may go ahead, what the rows stand in the way of, and what each guard found."""
    blocked: list[Blocked] = []
    found: dict[str, int] = {}
    for operation in chosen:
        if operation.guard is None:
            continue
        agreed = operation.number in approved or operation.judgement.allowed
        if agreed and operation.judgement.code in _APPROVABLE:
            continue
        offending = database.offending(operation.guard)
        found[operation.guard] = offending.count
        if offending.count:
            blocked.append(Blocked(operation, _sentence(operation, offending), offending))
    stopped = {one.operation.number for one in blocked}
    kept = closed(chosen, {o.number for o in chosen} - stopped)
    return tuple(o for o in chosen if o.number in kept), tuple(blocked), found


_FOUND = {
    "set-not-null": ("holds NULL", "hold NULL"),
    "convert-column": (
        "holds a value that the new type would change",
        "hold values that the new type would change",
    ),
    "add-unique": ("is not unique", "are not unique"),
    "create-index": ("is not unique", "are not unique"),
    "change-index": ("is not unique", "are not unique"),
    "add-check": ("does not satisfy the CHECK", "do not satisfy the CHECK"),
    "change-check": ("does not satisfy the CHECK", "do not satisfy the CHECK"),
    "add-foreign-key": ("points at no parent", "point at no parent"),
    "change-foreign-key": ("points at no parent", "point at no parent"),
    "change-primary-key": ("cannot be told apart by the new key", "cannot be told apart by the new key"),
    "change-storage": ("has no key that can be stored so", "have no key that can be stored so"),
    "change-strict": (
        "holds a value of another type than its column's",
        "hold values of other types than their columns'",
    ),
}


def _sentence(operation: Operation, offending: Offending) -> str:
    one, many = _FOUND.get(
        operation.judgement.rule or operation.judgement.code, ("stands in the way", "stand in the way")
    )
    unit = "value" if one == "is not unique" else "row"
    count = f"1 {unit}" if offending.count == 1 else f"{offending.count} {unit}s"
    return f"{count} of {operation.difference.table} {one if offending.count == 1 else many}"


@contextlib.contextmanager
def workspace(folder: Path | None) -> Iterator[Path]:
    """A folder of our own for the rehearsal's copy, on the disk of the backups; gone afterwards. Raises BackupError.

    Where nothing may be written there, or nothing is there yet (None), in the folder for temporary files.
    """
    with _writable(folder):
        if folder is not None:
            sweep_workspaces(folder)
        _sweep_temporary()
        place, lock = _locked_place(folder)
    try:
        yield place
    finally:
        lock.close()
        shutil.rmtree(place, ignore_errors=True)


def _locked_place(folder: Path | None) -> tuple[Path, sqlite3.Connection]:
    """A new folder and the open lock in it.

    SQLite's own lock says that the folder's maker is alive; it dies with the process.
    """
    for _ in range(TRIES):
        place = Path(tempfile.mkdtemp(prefix=TEMPORARY if folder is None else WORKSPACE, dir=folder))
        try:
            if (lock := _lock(place)) is not None:
                return place, lock
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        shutil.rmtree(place, ignore_errors=True)  # a sweep's already, or nothing can be locked here
    raise OSError(errno.ENOLCK, "no new file could be locked")


def _lock(place: Path) -> sqlite3.Connection | None:
    """The lock of a folder; None where its maker is alive, or where somebody has taken it for a dead one's."""
    path = place / "lock.db"
    if path.is_symlink():  # none of ours is: SQLite would follow it, and lock or make some other file
        return None
    try:
        lock = sqlite3.connect(path, timeout=0, isolation_level=None)
    except sqlite3.OperationalError:
        if place.exists():
            raise
        return None
    try:
        lock.execute("BEGIN EXCLUSIVE")
        if path.exists():  # a sweep may have removed it between its making and our lock
            return lock
    except sqlite3.DatabaseError as error:
        # Somebody may have put another file there, by its second name: that is no folder of ours.
        known = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB}
        # A file that a sweep removes while it is opened is an error of the disk to SQLite.
        if error.sqlite_errorcode & 0xFF not in known and path.exists():
            lock.close()
            raise
    lock.close()
    return None


def sweep_workspaces(folder: Path, prefix: str = WORKSPACE) -> None:
    """Removes the folders of makers that are provably dead: nobody holds their lock."""
    for place in folder.glob(f"{prefix}*"):
        if not place.is_dir() or place.is_symlink():
            continue
        if prefix == TEMPORARY and not _ours(place):
            continue  # another user's, who sweeps it; what we opened there might be anything
        lock = _lock(place)
        if lock is not None:
            shutil.rmtree(place, ignore_errors=True)
            lock.close()


def _sweep_temporary() -> None:
    with contextlib.suppress(OSError):  # there may be no folder for temporary files, and none may be needed
        sweep_workspaces(Path(tempfile.gettempdir()), TEMPORARY)


def _ours(place: Path) -> bool:
    try:
        return place.lstat().st_uid == os.geteuid()
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _writable(folder: Path | None) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}
        raise BackupError(
            f"the rehearsal has no place in {folder or tempfile.gettempdir()}",
            code="disk-full" if full else "backup-folder",
            why=str(error),
            fix="free some space, or point backup.directory at another disk",
        ) from error


def make_stage(
    dialect: Dialect,
    database: Database,
    target: Target,
    survey: Survey,
    chosen: Sequence[Operation],
    *,
    finish: Callable[[Any], Entry],
    entry: Entry,
    reason: str,
    progress: Progress | None = None,
    deadline_at: float | None = None,
) -> Stage:
    """Backs up, draws values, and rehearses; `entry` is the history's row as far as it is known by now.

    `reason` is the backup's: one that is made ahead, for a stage, gives way to whoever writes. What is half made at
    `deadline_at` (`time.monotonic()`) is removed. Raises BackupError, BusyError, DeadlineError, RehearsalError,
    ModelsError, DatabaseError.
    """
    started = time.monotonic()
    values = _drawn(target, database, survey, chosen, deadline_at)
    backup: Backup | None = None
    folder: Path | None = None
    if database.state() == "present":
        folder = folder_for(target.backup.directory, database.name)
        backup = backups.create(
            database.files(),
            folder,
            reason=reason,
            database_id=entry.database_id,
            migration_id=entry.migration_id,
            versions=survey.desired.versions,
            progress=progress,
            deadline_at=deadline_at,
            yielding=reason == backups.STAGE,
        )
    backed_up = time.monotonic()
    try:
        # The folder may be taken away meanwhile, with the backup and the copies in it.
        with workspace(folder) as place, told(place.parent):
            needed = database.space_needed(
                dialect.script(survey.wanted, survey.actual, [o.change for o in chosen])
            )
            _require_space(place, needed)
            rehearsal = rehearse(
                dialect,
                database,
                survey,
                chosen,
                backup.path if backup else None,
                place,
                finish=finish,
                values=values,
                progress=None if progress is None else lambda done, total: progress("rehearsal", done, total),
                deadline_at=deadline_at,
            )
    except BaseException as error:
        abandon(backup, error)
        raise
    durations = {
        "backup": round((backed_up - started) * 1000, 3),
        "rehearsal": round((time.monotonic() - backed_up) * 1000, 3),
    }
    return Stage(rehearsal, backup, entry, values, durations)


def discard(backup: Backup | None) -> None:
    """Removes the backup of a stage that came to nothing: what waits leaves no backup behind. Raises BackupError."""
    if backup is not None:
        backups.remove(backup)


def abandon(backup: Backup | None, failure: BaseException) -> None:
    """`discard` behind a failure, which is what is told, whether or not this succeeds."""
    try:
        discard(backup)
    except DriftError as error:
        failure.add_note(f"the backup stays: {error}")


def _require_space(place: Path, needed: int) -> None:
    free = shutil.disk_usage(place).free
    if free < needed:
        raise BackupError(
            f"there is no space for the rehearsal in {place.parent}",
            code="disk-full",
            why=f"it may take {needed:,} bytes, and {free:,} are free",
            fix="free some space, or point backup.directory at another disk",
        )


def _drawn(
    target: Target,
    database: Database,
    survey: Survey,
    chosen: Sequence[Operation],
    deadline_at: float | None,
) -> dict[str, tuple[SqlValue, ...]]:
    """One value for each row that needs one, from the models' own callables."""
    drawn: dict[str, tuple[SqlValue, ...]] = {}
    for operation in chosen:
        fill = operation.change.backfill
        if fill is None or not fill.callable:
            continue
        with database.until(deadline_at):
            asked = _asked(operation.difference)
            facts = facts_of(database, asked, survey.drift.renames)
            needed = values_needed(operation.difference, facts)
        name, _, column = fill.callable.rpartition(".")
        with _in_time():
            drawn[fill.expression.removesuffix("()")] = draw_values(
                target.models,
                name,
                column,
                needed + SURPLUS,
                cancelled=None if deadline_at is None else lambda: time.monotonic() >= deadline_at,
            )
    return drawn


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """Models that were given up because the time was over have not failed."""
    try:
        yield
    except ModelsError as error:
        if error.code != "models-cancelled":
            raise
        raise DeadlineError(
            "the values for old rows were not drawn in time",
            code="deadline",
            why="the models' callables were still being called at the deadline; nothing was changed",
            fix="run `driftd apply` while nothing waits for it",
        ) from error


def _asked(d: Difference) -> Questions:
    if d.change == ADD:
        return Questions(frozenset({d.table}))
    return Questions(columns=frozenset({(d.table, d.actual.key)}))
