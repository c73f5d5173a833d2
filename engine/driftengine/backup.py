"""Backups: a proved copy of the database and a JSON manifest beside it, in a folder that belongs to one database.

A backup without its manifest is no backup: the manifest takes its final name last, so a crash at any moment leaves
either nothing that is listed, or a whole backup.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import shlex
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from driftengine import backup_files as files
from driftengine import journal
from driftengine.backup_files import comes_or_goes, folder_for, journal_of, sweep
from driftengine.errors import BackupError, BusyError, DriftError, HistoryError
from driftengine.manifest import Backup, choose_prunable, manifest_text, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from driftengine.dialects.sqlite.copy import CopyProgress
    from driftengine.dialects.sqlite.verify import Verification

    Progress = Callable[[str, int, int], None]  # phase, done, total

__all__ = [
    "MIGRATION", "STAGE", "Backup", "Database", "Pruned", "Restored", "choose_prunable", "comes_or_goes", "create", "find", "folder_for",
    "is_there", "journal_of", "list_backups", "pin", "prune", "relabel", "restore", "strays", "sweep", "verify",
]  # fmt: skip

# Reasons. The backup of a stage comes and goes with it, and becomes a migration's when that uses it.
MIGRATION, STAGE = "migration", "stage"


class Database(Protocol):
    """What a dialect offers of one database (`driftengine.dialects.sqlite.database_files.DatabaseFiles`)."""

    @property
    def path(self) -> Path:
        """The database's real path."""

    def present(self) -> bool:
        """False when there is nothing to copy."""

    def size(self, *, deadline_at: float | None) -> int:
        """The size of a copy made now, in bytes."""

    def copy(
        self,
        destination: Path,
        *,
        mode: int,
        progress: CopyProgress | None,
        deadline_at: float | None,
        yielding: bool,
    ) -> Verification:
        """Copies to a new file and proves the copy; `yielding` gives up where a writer would wait for its end."""

    def verify(self, path: Path, *, deadline_at: float | None) -> Verification:
        """Proves a copy."""

    def restore(
        self,
        copy: Path,
        *,
        save: Callable[[], None],
        progress: CopyProgress | None,
        deadline_at: float | None,
    ) -> None:
        """Writes a copy into the live database: all of it, or nothing.

        `save` puts by what is there, if there is anything: nothing can be committed between that and the writing.
        """


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` removed, and what is left."""

    removed: tuple[Backup, ...]
    kept: tuple[Backup, ...]


@dataclass(frozen=True, slots=True)
class Restored:
    """What `restore` brought back, and the backup of what was there before (None: there was nothing)."""

    backup: Backup
    safety_backup: Backup | None


# --- making


def create(
    database: Database,
    folder: Path,
    *,
    reason: str = "requested",
    database_id: str = "",
    migration_id: str | None = None,
    pinned: bool = False,
    versions: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    deadline_at: float | None = None,
    yielding: bool = False,
    now: datetime | None = None,
) -> Backup:
    """Makes a proved backup in `folder` (made with mode 0700, parents too) and notes it in the journal there.

    The files have the database's mode. That of a stage is noted only when a migration has used it. Raises BackupError
    (`backup-nothing`, `disk-full`, `backup-not-verified`, `backup-folder`), BusyError (`stage-yielded`, only where it is
    `yielding` to writers), DeadlineError, DatabaseError; then nothing of it is left.
    """
    if not database.present():
        raise BackupError(
            f"there is nothing to back up at {database.path}",
            code="backup-nothing",
            why="the database does not exist, or is empty",
            fix="check the path; driftd apply creates a new database",
        )
    moment = datetime.now(UTC) if now is None else now
    like = database.path.stat()
    with files.told(folder):
        files.make_folder(folder, like)
        sweep(folder)
        files.check_space(folder, database.size(deadline_at=deadline_at))
        with files.reserved(folder, moment, like) as (stem, descriptor):
            partial = files.copy_partial(folder, stem)
            try:
                found = _proved_copy(database, partial, like, progress, deadline_at, yielding=yielding)
                files.settle_copy(partial)
                backup = Backup(
                    id=stem,
                    path=folder / f"{stem}.db",
                    database=str(database.path),
                    database_id=database_id,
                    created_at=journal.timestamp(moment),
                    size_bytes=partial.stat().st_size,
                    sha256=files.file_sha256(partial, deadline_at=deadline_at),
                    page_size=found.snapshot.page_size,
                    row_counts=dict(found.row_counts),
                    schema_sha256=found.snapshot.schema_sha256,
                    reason=reason,
                    migration_id=migration_id,
                    pinned=pinned,
                    verified=True,
                    foreign_key_violations=dict(found.foreign_key_violations),
                    notes=(*found.row_findings, *(f"not checked: {text}" for text in found.left_out)),
                    versions=dict(versions or {}),
                )
                _finish(backup, partial, descriptor, moment)
            except BaseException as error:
                files.abandon(folder, stem, error)
                raise
    return backup


def _proved_copy(
    database: Database,
    partial: Path,
    like: os.stat_result,
    progress: Progress | None,
    deadline_at: float | None,
    *,
    yielding: bool,
) -> Verification:
    """The copy under its temporary name, as readable as the database and no more."""
    found = database.copy(
        partial,
        mode=like.st_mode & 0o777,
        progress=_phase(progress, "backup"),
        deadline_at=deadline_at,
        yielding=yielding,
    )
    files.own(partial, like)
    if not found.ok:
        raise BackupError(
            f"the copy of {database.path} is not sound",
            code="backup-not-verified",
            why="; ".join(found.problems[:3]),
            fix=f"look at the database itself: sqlite3 {shlex.quote(str(database.path))} 'PRAGMA integrity_check'",
        )
    return found


def _finish(backup: Backup, partial: Path, descriptor: int, moment: datetime) -> None:
    """Gives copy and manifest their names. From the last rename on it is a backup; one that nobody hears of is none."""
    folder = backup.path.parent
    files.write_all(descriptor, manifest_text(backup))
    partial.rename(backup.path)
    files.sync_folder(folder)  # the copy's name reaches the disk before that of the manifest
    if backup.reason != STAGE:
        _note(folder, "backup", backup, moment)
    files.manifest_partial(folder, backup.id).rename(backup.manifest)
    files.sync_folder(folder)


# --- finding and proving


def _read_manifest(path: Path) -> Backup:
    """The backup of the copy at `path`."""
    try:
        text = files.read_text(path.with_suffix(".json"))
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(
            f"{path} has no manifest that can be read",
            code="backup-manifest",
            why=getattr(error, "strerror", None) or str(error),
            fix="use another backup; driftd backup list shows them",
        ) from error
    return parse_manifest(text, path)


def list_backups(folder: Path) -> tuple[Backup, ...]:
    """The backups in the folder, oldest first; `strays` tells of what cannot be listed. Raises BackupError."""
    return _scan(folder)[0]


def strays(folder: Path) -> tuple[str, ...]:
    """One sentence for each manifest that cannot be trusted, and for each copy without one."""
    return _scan(folder)[1]


def _scan(folder: Path) -> tuple[tuple[Backup, ...], tuple[str, ...]]:
    backups: list[Backup] = []
    problems: list[str] = []
    with files.told(folder):
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    stems = {name.rpartition(".")[0] for name in names if name.endswith((".db", ".json"))}
    for stem in sorted(stem for stem in stems if files.STEM.fullmatch(stem)):
        try:
            backups.append(_read_manifest(folder / f"{stem}.db"))
        except BackupError:
            if comes_or_goes(folder, stem):
                continue
            try:  # it may have become one just now
                backups.append(_read_manifest(folder / f"{stem}.db"))
            except BackupError as error:
                problems.append(str(error))
    return tuple(sorted(backups, key=lambda backup: backup.age_key)), tuple(problems)


def find(folder: Path, backup_id: str) -> Backup:
    """The backup of that id. Raises BackupError: `backup-unknown` with the nearest ids, `backup-manifest`."""
    there = any((folder / f"{backup_id}{end}").exists() for end in (".db", ".json"))
    if there and files.STEM.fullmatch(backup_id):
        return _read_manifest(folder / f"{backup_id}.db")
    ids = [backup.id for backup in list_backups(folder)]
    near = difflib.get_close_matches(backup_id, ids, n=3, cutoff=0.3) or ids[-3:][::-1]
    raise BackupError(
        f"there is no backup {backup_id}",
        code="backup-unknown",
        why=f"the nearest in {folder} are {', '.join(near)}" if near else f"{folder} holds no backups",
        fix="driftd backup list shows all of them",
    )


def verify(
    backup: Backup, database: Database, *, database_id: str = "", deadline_at: float | None = None
) -> tuple[str, ...]:
    """What is wrong with a backup of the database: nothing, or one sentence each.

    With the same `database_id` a backup of another path is that of the original or of the former place.
    """
    problems: list[str] = []
    if backup.database != str(database.path) and (
        not backup.database_id or backup.database_id != database_id
    ):
        problems.append(f"it is a backup of {backup.database}, not of {database.path}")
    try:
        if replace(_read_manifest(backup.path), pinned=backup.pinned) != backup:
            problems.append("its manifest has changed since it was read")
    except BackupError as error:
        problems.append(str(error))
    if not backup.path.is_file():
        return (*problems, f"{backup.path} is missing")
    with files.told(backup.path.parent):
        size = backup.path.stat().st_size
        if size != backup.size_bytes:
            problems.append(f"the file has {size} bytes, the manifest says {backup.size_bytes}")
        elif files.file_sha256(backup.path) != backup.sha256:
            problems.append("the file's SHA-256 is not the one in the manifest: a bit has changed")
    if not problems:
        found = database.verify(backup.path, deadline_at=deadline_at)
        problems.extend(found.problems)
        if found.snapshot.schema_sha256 != backup.schema_sha256 or found.row_counts != backup.row_counts:
            problems.append("its schema or its row counts are not those in the manifest")
    return tuple(problems)


# --- keeping and letting go


def pin(backup: Backup, *, pinned: bool) -> Backup:
    """Keeps a backup from being pruned, or lets it go. Raises BackupError."""
    return _rewritten(replace(backup, pinned=pinned))


def relabel(backup: Backup, reason: str, now: datetime | None = None) -> Backup:
    """Gives a backup another reason, and notes it in the journal under that."""
    changed = _rewritten(replace(backup, reason=reason))
    _note(backup.path.parent, "backup", changed, datetime.now(UTC) if now is None else now)
    return changed


def _rewritten(changed: Backup) -> Backup:
    """Replaces the manifest as a whole."""
    with files.told(changed.path.parent):
        found = changed.manifest.stat()
        new = changed.manifest.with_name(f"{changed.manifest.name}{files.NEW}")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, found.st_mode & 0o777)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # dies with us, so that `sweep` knows
            files.own(new, found)
            os.fchmod(descriptor, found.st_mode & 0o777)  # the umask has taken bits of it away
            files.write_all(descriptor, manifest_text(changed))
            new.rename(changed.manifest)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        files.sync_folder(changed.path.parent)
    return changed


def is_there(backup: Backup) -> bool:
    """True when copy and manifest are where they were, and nobody has touched the copy since, as far as `stat` tells."""
    try:
        manifest, copy = backup.manifest.stat(), backup.path.stat()
    except OSError:
        return False
    # The manifest got its name last: a copy that was written or exchanged since has a later change.
    return copy.st_size == backup.size_bytes and copy.st_ctime_ns <= manifest.st_ctime_ns


def remove(backup: Backup) -> None:
    """Removes one backup that nobody needs: its stage came to nothing. Raises BackupError."""
    with files.told(backup.path.parent):
        files.remove(backup.path.parent, backup.id)


def prune(
    folder: Path,
    *,
    keep: int,
    keep_for: float,
    max_total_size: int,
    database: str,
    database_id: str = "",
    pinned: Collection[str] = (),
    now: datetime | None = None,
) -> Pruned:
    """Removes what `choose_prunable` chooses, and what dead writers have left; notes each in the journal."""
    moment = datetime.now(UTC) if now is None else now
    with files.told(folder):
        sweep(folder)
    backups = list_backups(folder)
    chosen = choose_prunable(
        backups,
        keep=keep,
        keep_for=keep_for,
        max_total_size=max_total_size,
        now=moment,
        database=database,
        database_id=database_id,
        pinned=pinned,
        happened=journal.migrations(journal.read(journal_of(folder)).records),
    )
    for backup in chosen:
        remove(backup)
        _note(folder, "pruned", backup, moment)
    return Pruned(chosen, tuple(backup for backup in backups if backup not in chosen))


# --- bringing back


def restore(
    database: Database,
    folder: Path,
    backup: Backup,
    *,
    database_id: str = "",
    allowed_by: str = "",
    takes_back: str = "",
    versions: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    deadline_at: float | None = None,
    now: datetime | None = None,
) -> Restored:
    """Proves the backup, backs up what is there, writes the backup into the live database, notes it in the journal.

    `takes_back` is the migration that is rolled back by that: what it had done is then not done again by itself.
    Raises BackupError (`backup-not-verified`, `backup-page-size`, `restore-over-damaged`), BusyError, DeadlineError,
    DatabaseError, and the database is as it was. A HistoryError `restore-not-noted` comes behind the restore.
    """
    moment = datetime.now(UTC) if now is None else now
    problems = verify(backup, database, database_id=database_id, deadline_at=deadline_at)
    if problems:
        raise BackupError(
            f"{backup.id} cannot be restored",
            code="backup-not-verified",
            why="; ".join(problems[:3]),
            fix="choose another backup: driftd backup list shows them",
        )
    safety: Backup | None = None

    def note(event: str) -> None:
        more = {"safety_backup": None if safety is None else safety.id, "allowed_by": allowed_by}
        more |= {"takes_back": takes_back} if takes_back else {}
        _note(folder, event, backup, moment, **more)

    def save() -> None:
        nonlocal safety
        if safety is not None:  # somebody has written since
            remove(safety)
            _note(folder, "pruned", safety, moment)
        safety = create(
            database,
            folder,
            reason="restore",
            database_id=database_id,
            versions=versions,
            progress=progress,
            deadline_at=deadline_at,
            now=moment,
        )
        # Noted before and behind: a crash between must not look like rows removed from the history.
        note("restoring")

    there = database.present()
    if not there:
        files.make_folder(folder, backup.path.stat())
        note("restoring")
    with _told_of_damage(database) if there else nullcontext():
        database.restore(backup.path, save=save, progress=_phase(progress, "backup"), deadline_at=deadline_at)
    try:
        note("restored")
    except (HistoryError, BusyError) as error:
        raise HistoryError(
            f"{backup.id} was restored, but the journal does not say so",
            code="restore-not-noted",
            why=str(error),
            fix=error.fix,
        ) from error
    return Restored(backup, safety)


@contextmanager
def _told_of_damage(database: Database) -> Iterator[None]:
    """A damaged database has no safety backup; only a person may set it aside."""
    try:
        yield
    except DriftError as error:
        if error.code not in {"backup-not-verified", "database-corrupt", "database-not-sqlite"}:
            raise
        raise BackupError(
            f"{database.path} is damaged, and is not overwritten",
            code="restore-over-damaged",
            why=f"no backup of what is there now can be made ({error})",
            fix=(
                f"stop the programs that use it, move {database.path} and its -wal and -shm files aside together, "
                "then restore again: a missing database is made anew"
            ),
        ) from error


# --- small things


def _note(folder: Path, event: str, backup: Backup, moment: datetime, **more: Any) -> None:
    names = ("id", "database", "sha256", "size_bytes", "reason", "migration_id")
    detail = {name: getattr(backup, name) for name in names}
    journal.append(
        journal_of(folder),
        journal.Record(event, journal.timestamp(moment), backup.database_id, {**detail, **more}),
    )


def _phase(progress: Progress | None, name: str) -> CopyProgress | None:
    return None if progress is None else lambda done, total: progress(name, done, total)
