"""A stage: a plan with its verified backup and its rehearsal report, made while nobody waits."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftengine import backup as backups
from driftengine.backup_files import folder_for
from driftengine.changes import Questions
from driftengine.desired import draw_values
from driftengine.errors import BackupError
from driftengine.plan import closed
from driftengine.rehearse import Blocked, Rehearsal, rehearse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from driftengine.changes import Offending, SqlValue
    from driftengine.dialects.base import Database, Dialect
    from driftengine.history import Entry
    from driftengine.manifest import Backup
    from driftengine.plan import Operation
    from driftengine.survey import Survey
    from driftengine.target import Target

Progress = Callable[[str, int, int], None]

SURPLUS = 100  # values drawn beyond the rows that are there, for rows that come in between
# A person may approve these over a guard that found rows; a broken CHECK or key cannot be approved.
_APPROVABLE = frozenset({"convert-column", "change-primary-key", "change-storage"})


@dataclass(frozen=True, slots=True)
class Stage:
    """What is ready to be applied. `mark` tells later whether anything was committed since the backup began."""

    rehearsal: Rehearsal
    backup: Backup | None
    mark: object
    entry: Entry
    values: Mapping[str, Sequence[SqlValue]] = field(default_factory=dict)


def judged(
    database: Database, chosen: Sequence[Operation], approved: frozenset[int]
) -> tuple[tuple[Operation, ...], tuple[Blocked, ...], dict[str, int]]:
    """Asks the guards: what may go ahead, what the rows stand in the way of, and what each guard found."""
    blocked: list[Blocked] = []
    found: dict[str, int] = {}
    for operation in chosen:
        if operation.guard is None:
            continue
        if operation.number in approved and operation.judgement.code in _APPROVABLE:
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
    "change-strict": (
        "holds a value of another type than its column's",
        "hold values of other types than their columns'",
    ),
}


def _sentence(operation: Operation, offending: Offending) -> str:
    one, many = _FOUND.get(operation.judgement.code, ("stands in the way", "stand in the way"))
    unit = "value" if one == "is not unique" else "row"
    count = f"1 {unit}" if offending.count == 1 else f"{offending.count} {unit}s"
    return f"{count} of {operation.difference.table} {one if offending.count == 1 else many}"


@contextlib.contextmanager
def workspace(folder: Path | None) -> Iterator[Path]:
    """A folder of our own for the rehearsal's copy, on the disk of the backups; gone afterwards."""
    if folder is not None:
        _sweep(folder)
    place = Path(tempfile.mkdtemp(prefix="rehearsal-", dir=folder))
    lock = sqlite3.connect(place / "lock.db", isolation_level=None)
    try:
        # SQLite's own lock says that the folder's maker is alive; it dies with the process.
        lock.execute("BEGIN EXCLUSIVE")
        yield place
    finally:
        lock.close()
        shutil.rmtree(place, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes the folders of makers that are provably dead: nobody holds their lock."""
    for place in folder.glob("rehearsal-*"):
        if not place.is_dir() or place.is_symlink():
            continue
        with contextlib.closing(sqlite3.connect(place / "lock.db", timeout=0, isolation_level=None)) as lock:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                continue
            shutil.rmtree(place, ignore_errors=True)


def make_stage(
    dialect: Dialect,
    database: Database,
    target: Target,
    survey: Survey,
    chosen: Sequence[Operation],
    *,
    finish: Callable[[Any], Entry],
    entry: Entry,
    progress: Progress | None = None,
    deadline_at: float | None = None,
) -> Stage:
    """Backs up, draws values, and rehearses; `entry` is the history's row as far as it is known by now.

    Raises BackupError, RehearsalError, ModelsError, DatabaseError.
    """
    mark = database.mark()
    values = _drawn(target, database, chosen)
    backup: Backup | None = None
    folder: Path | None = None
    if database.state() == "present":
        folder = folder_for(target.backup.directory, database.name)
        backup = backups.create(
            database.files(),
            folder,
            reason="migration",
            database_id=entry.database_id,
            migration_id=entry.migration_id,
            versions=survey.desired.versions,
            progress=progress,
            deadline_at=deadline_at,
        )
    try:
        with workspace(folder) as place:
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
            )
    except BaseException:
        discard(backup)
        raise
    return Stage(rehearsal, backup, mark, entry, values)


def discard(backup: Backup | None) -> None:
    """Removes the backup of a stage that came to nothing: what waits leaves no backup behind."""
    if backup is not None:
        backups.remove(backup)


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
    target: Target, database: Database, chosen: Sequence[Operation]
) -> dict[str, tuple[SqlValue, ...]]:
    """One value for each row that needs one, from the models' own callables."""
    drawn: dict[str, tuple[SqlValue, ...]] = {}
    for operation in chosen:
        fill = operation.change.backfill
        if fill is None or not fill.callable:
            continue
        table = operation.difference.table
        rows = database.facts(Questions(frozenset({table}))).rows.get(table, 0)
        name, _, column = fill.callable.rpartition(".")
        drawn[fill.expression.removesuffix("()")] = draw_values(target.models, name, column, rows + SURPLUS)
    return drawn
