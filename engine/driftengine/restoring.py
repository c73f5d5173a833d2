"""Taking the last migration back as a whole: its own backup is restored, after a safety backup of what is there now.

What was written since is in the safety backup only, so the answer says how much that is. Undoing single operations with
the later rows kept is another thing, and not done here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftengine import backup as backups
from driftengine import history
from driftengine.backup_files import folder_for
from driftengine.errors import BackupError, DriftError, HistoryError
from driftengine.taken_back import last_to_take_back

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from driftengine.backup import Backup
    from driftengine.dialects.base import Database
    from driftengine.dialects.sqlite.losses import TableLoss
    from driftengine.history import Entry
    from driftengine.journal import Document
    from driftengine.stage import Progress
    from driftengine.target import Target

COMPARING_S = (
    10.0  # how long the rows of both states are compared: what is lost is told, and nobody waits for ever
)


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What came of it. `safety_backup` holds what was there before; None for a dry run, and where nothing was there.

    `losses` are the tables whose rows are not the same; None where they could not be compared at all.
    """

    migration: Entry
    backup: Backup
    safety_backup: Backup | None
    losses: tuple[TableLoss, ...] | None
    warnings: tuple[str, ...] = ()

    @property
    def rows_lost(self) -> int | None:
        """How many rows were written or changed since the migration; None where that is not known of every table."""
        return self._sum("lost")

    @property
    def rows_back(self) -> int | None:
        """How many rows come back in a form that they do not have now; None as for `rows_lost`."""
        return self._sum("back")

    def _sum(self, name: str) -> int | None:
        counts = None if self.losses is None else [getattr(one, name) for one in self.losses]
        return None if counts is None or None in counts else sum(counts)


def last_migration(database: Database) -> Entry:
    """The last migration that has not been taken back whole. Raises HistoryError (`nothing-to-roll-back`)."""
    reader = database.reader()
    entries = history.read(reader) if reader is not None else ()
    entry = last_to_take_back(entries)
    if entry is None:
        raise HistoryError(
            f"there is no migration to roll back in {database.name}",
            code="nothing-to-roll-back",
            why="its history names none",
            fix="`driftd history` lists what driftd has done; `driftd backup list` what can be restored",
        )
    return entry


def backup_of(entry: Entry, folder: Path) -> Backup:
    """The migration's own backup. Raises BackupError (`migration-without-backup`, `backup-unknown`, `backup-not-verified`)."""
    if entry.backup is None:
        raise BackupError(
            f"the migration {entry.migration_id} has no backup",
            code="migration-without-backup",
            why="the database was new, or before_every_migration was off",
            fix="`driftd backup list` shows what else can be restored",
        )
    found = backups.find(folder, str(entry.backup["id"]))
    if found.sha256 != entry.backup["sha256"]:
        raise BackupError(
            f"{found.id} cannot be restored",
            code="backup-not-verified",
            why=f"it is not the backup that the history of {entry.migration_id} names: its SHA-256 is another",
            fix="choose another backup: driftd backup list shows them",
        )
    return found


def roll_back(
    database: Database,
    target: Target,
    *,
    allowed_by: str,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> RolledBack:
    """Restores the last migration's own backup; with `dry_run` only says what would be lost.

    The history goes back with the rest; the journal keeps the migration, and notes who restored. Raises all that
    `last_migration`, `backup_of` and `backup.restore` raise, and the database is then as it was, but for `restore-not-noted`.
    """
    entry = last_migration(database)
    folder = folder_for(target.backup.directory, database.name)
    backup = backup_of(entry, folder)
    altered = altered_columns(entry.planned() or {}, frozenset(entry.evidence.get("applied", ())))
    if dry_run:
        found, warnings = _compared(database, None, backup, altered)
        return RolledBack(entry, backup, None, found, warnings)
    restored = backups.restore(
        database.files(),
        folder,
        backup,
        database_id=entry.database_id,
        allowed_by=allowed_by,
        takes_back=str(entry.migration_id),
        progress=progress,
        deadline_at=time.monotonic() + target.window_timeout,
    )
    safety = restored.safety_backup
    if safety is None:
        return RolledBack(entry, backup, None, ())
    # Two files of ours are compared: the service is not kept from its database for that.
    found, warnings = _compared(database, safety.path, backup, altered)
    return RolledBack(entry, backup, safety, found, warnings)


def altered_columns(plan: Document, applied: frozenset[int]) -> Mapping[str, frozenset[str]]:
    """The columns, by table, that a migration's own operations may have written. Pure."""
    altered: dict[str, frozenset[str]] = {}
    for number, operation in enumerate(plan.get("operations", ()), 1):
        table, name = operation["table"], operation["name"]
        if number in applied and table:
            altered[table] = altered.get(table, frozenset()) | {name}
    return altered


def _compared(
    database: Database, now: Path | None, backup: Backup, altered: Mapping[str, frozenset[str]]
) -> tuple[tuple[TableLoss, ...] | None, tuple[str, ...]]:
    """The losses of the live database, or of a copy `now`, and a warning where they are not all known."""
    until = time.monotonic() + COMPARING_S
    try:
        found = database.files().losses(
            backup.path, now=now, altered=altered, left_out=(history.TABLE,), deadline_at=until
        )
    except DriftError as error:
        return None, (f"the rows written since could not be counted: {error}",)
    unknown = [one.table for one in found if one.lost is None]
    if unknown:
        return found, (f"the rows written since could not be counted in {', '.join(unknown)}",)
    return found, ()
