"""What is written down beside a migration: the first meeting, the journal, and which backups are let go.

What fails here is told as a warning, and changes nothing of what has happened.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from driftengine import ahead, history, journal
from driftengine import backup as backups
from driftengine.backup_files import folder_for, journal_of, make_folder
from driftengine.choice import database_id_of, remembered
from driftengine.errors import BusyError, DatabaseError, DriftError
from driftengine.packed import Base
from driftengine.stage import discard, sweep_workspaces

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from driftengine.desired import Desired
    from driftengine.dialects.base import Database, Dialect
    from driftengine.manifest import Backup
    from driftengine.stage import Stage
    from driftengine.survey import Survey
    from driftengine.target import Target
    from driftengine.window import Window


@dataclass(slots=True)
class Records:
    """The records of one target. `warnings` are sentences for people."""

    dialect: Dialect
    target: Target
    desired: Desired
    allowed_by: str = ""
    window: Window | None = None
    warnings: list[str] = field(default_factory=list)

    def folder(self, database: Database) -> Path:
        """The folder of the database's backups and of its journal."""
        return folder_for(self.target.backup.directory, database.name)

    def meet(self, database: Database, found: Survey) -> None:
        """Records base, so that later changes can be told apart. A service may also have followed its models itself."""
        entry = history.Entry(
            "meeting",
            journal.timestamp(datetime.now(UTC)),
            database_id_of(found),
            allowed_by=self.allowed_by,
            evidence=remembered(found, found.plan.operations),
            versions=ahead.versions_of(self.dialect, self.desired),
            base=Base(found.actual.stored, found.desired.stored),
        )
        window = self.window
        deadline_at = None if window is None else window.deadline_at
        try:
            with database.transaction(deadline_at=deadline_at, lock_wait=1.0, values={}) as transaction:
                writer = transaction.writer()
                # Another driftd may have been faster; a database has one first meeting.
                if history.read(writer) != found.entries or database.read().stored != found.actual.stored:
                    return
                entry = history.append(writer, entry)
                transaction.commit(before=None if window is None else window.require_open)
        except DatabaseError as error:
            # In step but read-only, or in use: that is no failure of the check that was asked for.
            self.warnings.append(f"the first meeting could not be recorded: {error}")
        else:
            self.write_journal(database, (*found.entries, entry))

    def heal(self, database: Database, found: Survey) -> None:
        """Puts right what a killed run has left: a journal without the last row, and files that nobody needs."""
        if found.entries:
            self.write_journal(database, found.entries)
        folder = self.folder(database)
        try:
            backups.sweep(folder)
            sweep_workspaces(folder)
            with suppress(BusyError):  # then the next one does it
                ahead.sweep_unused(database, self.target)
        except (DriftError, OSError) as error:
            self.warnings.append(f"what a killed run has left in {folder} could not be removed: {error}")

    def write_journal(self, database: Database, entries: Sequence[history.Entry]) -> None:
        """What the history holds and the journal lacks; a crash right before this is mended by the next call."""
        folder = self.folder(database)
        try:
            if history.unrecorded(entries, journal.read(journal_of(folder)).records):
                make_folder(folder, Path(database.name).stat())
                history.write_journal(journal_of(folder), entries, database=database.name)
        except (DriftError, OSError) as error:
            self.warnings.append(f"the journal beside the backups could not be written: {error}")

    def adopt(self, stage: Stage) -> Backup | None:
        """The stage's backup, from now on the migration's, if it is to be kept."""
        backup = stage.backup
        if backup is None:
            return None
        try:
            if not self.target.backup.before_every_migration:
                discard(backup)
                return None
            if not backups.is_there(backup):
                self.warnings.append(f"the migration's backup {backup.path} is gone, or was altered")
            return ahead.adopted(backup)
        except (DriftError, OSError) as error:
            self.warnings.append(f"after the migration: {error}")
            return backup

    def prune(self, database: Database, database_id: str, pinned: Collection[str]) -> None:
        """Lets go of no more of the older backups than the settings say."""
        settings = self.target.backup
        try:
            with suppress(BusyError):  # then the next one does it
                ahead.sweep_unused(database, self.target)
            backups.prune(
                self.folder(database),
                keep=settings.keep,
                keep_for=settings.keep_for,
                max_total_size=settings.max_total_size,
                database=database.name,
                database_id=database_id,
                pinned=pinned,
            )
        except (DriftError, OSError) as error:
            self.warnings.append(f"after the migration: {error}")
