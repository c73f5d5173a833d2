"""The backups of a target: made, listed, proved, restored and let go. What `api` passes on.

Each answers with a document that is ready for JSON.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from driftengine import documents
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from driftengine.dialects.sqlite.database import SqliteDatabase
    from driftengine.documents import Document
    from driftengine.manifest import Backup
    from driftengine.stage import Progress
    from driftengine.target import Target


def open_target(target: Target, *, tidy: bool = False, lock_wait: float | None = None) -> SqliteDatabase:
    """The target's database, to be closed by the caller. Raises ConfigurationError, DatabaseError."""
    from driftengine.dialects.chosen import opened
    from driftengine.dialects.sqlite.database import LOCK_WAIT

    wait = LOCK_WAIT if lock_wait is None else lock_wait
    return opened(target.url, target.models.directory, tidy=tidy, lock_wait=wait)


def head(target: Target, database: SqliteDatabase) -> Document:
    """What every document begins with."""
    return documents.head(target, database.name)


def folder_of(target: Target, database: SqliteDatabase) -> Path:
    """The folder of the target's backups and of its journal."""
    from driftengine.backup_files import folder_for

    return folder_for(target.backup.directory, database.name)


def _database_id(database: SqliteDatabase) -> str:
    from driftengine import history as histories

    reader = database.reader()
    entries = histories.read(reader) if reader is not None else ()
    return entries[-1].database_id if entries else ""


def _pinned(database: SqliteDatabase, folder: Path) -> tuple[str, ...]:
    """The backups that a rollback needs, and that of the last stage, which a daemon may hold."""
    from driftengine import backup as backups
    from driftengine import history as histories
    from driftengine.taken_back import needed_backups

    reader = database.reader()
    entries = histories.read(reader) if reader is not None else ()
    staged = [one.id for one in backups.list_backups(folder) if one.reason == backups.STAGE]
    return (*needed_backups(entries), *staged[-1:])


def _shown(backup: Backup, needed: Collection[str]) -> Document:
    """A backup as its folder and the history know it: pinned by a person, or needed."""
    return {**backup.as_document(), "pinned": backup.pinned or backup.id in needed}


def backup_create(target: Target, *, reason: str = "requested", progress: Progress | None = None) -> Document:
    """Makes a verified backup now. Raises BackupError, DatabaseError."""
    from driftengine import backup as backups

    with closing(open_target(target)) as database:
        made = backups.create(
            database.files(),
            folder_of(target, database),
            reason=reason,
            database_id=_database_id(database),
            progress=progress,
        )
        return {**head(target, database), "backup": made.as_document()}


def backup_list(target: Target) -> Document:
    """The backups of the target, oldest first, and what lies beside them that cannot be listed."""
    from driftengine import backup as backups

    with closing(open_target(target)) as database:
        folder = folder_of(target, database)
        needed = _pinned(database, folder)
        return {
            **head(target, database),
            "folder": str(folder),
            "backups": [_shown(one, needed) for one in backups.list_backups(folder)],
            "problems": list(backups.strays(folder)),
        }


def backup_verify(target: Target, backup_id: str | None = None) -> Document:
    """Proves one backup, or all of them. Raises BackupError (`backup-unknown`)."""
    from driftengine import backup as backups

    with closing(open_target(target)) as database:
        folder = folder_of(target, database)
        chosen = backups.list_backups(folder) if backup_id is None else (backups.find(folder, backup_id),)
        strays = () if backup_id is not None else backups.strays(folder)
        own_id, needed = _database_id(database), _pinned(database, folder)
        found = []
        for one in chosen:
            try:
                problems = backups.verify(one, database.files(), database_id=own_id)
            except DriftError:
                if not backups.comes_or_goes(folder, one.id):
                    raise
                problems = ("it is gone",)
            if problems and backup_id is None and backups.comes_or_goes(folder, one.id):
                continue  # another driftd has pruned it since it was listed
            found.append({**_shown(one, needed), "problems": list(problems)})
        ok = not strays and not any(document["problems"] for document in found)
        return {**head(target, database), "backups": found, "problems": list(strays), "ok": ok}


def backup_restore(target: Target, backup_id: str, *, progress: Progress | None = None) -> Document:
    """Brings a backup back into the live database, after a safety backup. Raises BackupError, BusyError."""
    from driftengine import backup as backups

    with closing(open_target(target)) as database:
        folder = folder_of(target, database)
        restored = backups.restore(
            database.files(),
            folder,
            backups.find(folder, backup_id),
            database_id=_database_id(database),
            progress=progress,
            deadline_at=time.monotonic() + target.window_timeout,
        )
        safety = restored.safety_backup
        return {
            **head(target, database),
            "restored": restored.backup.as_document(),
            "safety_backup": safety.as_document() if safety else None,
        }


def backup_prune(target: Target) -> Document:
    """Removes what the retention no longer keeps. Raises BackupError."""
    from driftengine import backup as backups

    with closing(open_target(target)) as database:
        settings, folder = target.backup, folder_of(target, database)
        needed = _pinned(database, folder)
        pruned = backups.prune(
            folder,
            keep=settings.keep,
            keep_for=settings.keep_for,
            max_total_size=settings.max_total_size,
            database=database.name,
            database_id=_database_id(database),
            pinned=needed,
        )
        return {
            **head(target, database),
            "removed": [one.as_document() for one in pruned.removed],
            "kept": [_shown(one, needed) for one in pruned.kept],
        }
