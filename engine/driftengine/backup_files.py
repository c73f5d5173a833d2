"""The folder that holds one database's backups: its name, the names in it, and who may be writing there.

The unfinished manifest (`.json.partial`) is `flock`ed by its writer, and the lock dies with the writer. What stands
beside an unlocked one is left over from a crash, and is swept; a finished copy that has lost its manifest is not.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from driftengine import journal, plain_file
from driftengine.errors import BackupError, DeadlineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

PARTIAL = ".partial"
NEW = ".new"  # a manifest that is to replace another
STEM = re.compile(r"backup_\d{8}_\d{6}_\d{3}(-\d+)?")
HASHED_AT_ONCE = 4_000_000  # bytes between two looks at the clock
MARGIN = 1 << 20  # bytes for the manifest, the journal and the folder itself


def folder_for(directory: Path, database: str | Path) -> Path:
    """The folder for the backups of the database at that real path: two databases never share one."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(database).stem)[:40].strip("_") or "database"
    return directory / f"{stem}-{hashlib.sha256(os.fsencode(database)).hexdigest()[:10]}"


def journal_of(folder: Path) -> Path:
    """Where the journal of the folder's database is."""
    return folder / journal.NAME


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Tells what the file system refuses while a backup is made, read or removed: BackupError `disk-full`, `backup-folder`."""
    try:
        yield
    except OSError as error:
        raise refused(f"the backups in {folder} cannot be read or written", error) from error


def refused(what: str, error: OSError) -> BackupError:
    """What a refusal of the file system means to a person."""
    why = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        fix = "free space there, or set another backup directory"
        return BackupError(what, code="disk-full", why=why, fix=fix)
    fix = "give this user the right to write there, or set another backup directory"
    if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
        fix = "look at that folder and into the system's log, or set another backup directory"
    return BackupError(what, code="backup-folder", why=why, fix=fix)


def abandon(folder: Path, stem: str, failure: BaseException) -> None:
    """Removes what a failure has left of a backup; that this fails too must not hide why."""
    try:
        remove(folder, stem)
    except OSError as error:
        failure.add_note(f"what there is of {stem} stays in {folder}: {error}")


def stranger_in(folder: Path) -> str:
    """Who could have written what stands in the folder, as a sentence; "" where only its owner, root and this user could.

    That somebody may delete nothing of others (as in /tmp) makes what is ours there trustworthy.
    """
    root, us = 0, os.geteuid()
    owners = {root, us}
    for path in (folder.parent, folder, journal_of(folder)):
        try:
            found = path.lstat()
        except OSError:
            return ""  # nothing can be read there
        if found.st_mode & stat.S_IWOTH and not (
            stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
        ):
            return f"everybody may write {path}"
        # As root we work in the folders of others, which then hold what is theirs.
        if path != folder.parent and found.st_uid not in owners:
            return f"{path} belongs to user {found.st_uid}"
        if us == root:
            owners.add(found.st_uid)
    return ""


def check_space(folder: Path, needed: int) -> None:
    """Raises BackupError (`disk-full`) where a copy of `needed` bytes would not fit."""
    available = shutil.disk_usage(folder).free
    if available < needed + MARGIN:
        raise BackupError(
            f"there is no space for a backup in {folder}",
            code="disk-full",
            why=f"it needs {needed + MARGIN:,} bytes, {available:,} are free",
            fix="free space there, prune old backups (driftd backup prune), or set another backup directory",
        )


def make_folder(folder: Path, like: os.stat_result) -> None:
    """Makes the folder and its parents, mode 0700, for the owner of the database (`like`)."""
    try:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        for place in reversed(missing):
            place.mkdir(mode=0o700, exist_ok=True)
            own(place, like)
            sync_folder(place.parent)  # without its name the backups in it would be lost with the power
        if folder.is_symlink():  # what is above it may lie elsewhere; this one is ours alone
            raise NotADirectoryError(errno.ENOTDIR, "a symbolic link lies there, and is not followed")
    except OSError as error:
        raise refused(f"the backup folder {folder} cannot be made", error) from error


def own(path: Path, like: os.stat_result) -> None:
    """As root, what is made belongs to the database's owner, who must be able to read and prune it."""
    if os.geteuid() == 0:
        # Not through a link: whose folder it is could put one there, and be given any file of this machine.
        os.chown(path, like.st_uid, like.st_gid, follow_symlinks=False)


@contextmanager
def reserved(folder: Path, moment: datetime, like: os.stat_result) -> Iterator[tuple[str, int]]:
    """A free name and the locked, still unfinished manifest that keeps it; the lock dies with the process."""
    base = f"backup_{moment:%Y%m%d_%H%M%S}_{moment.microsecond // 1000:03d}"
    number = 1
    while True:
        stem = base if number == 1 else f"{base}-{number}"
        number += 1
        if _taken(folder, stem):
            continue
        descriptor = _lock_new(manifest_partial(folder, stem), like.st_mode & 0o777)
        if descriptor is not None:
            break
    try:
        own(manifest_partial(folder, stem), like)
        yield stem, descriptor
    finally:
        os.close(descriptor)


def _lock_new(path: Path, mode: int) -> int | None:
    """The descriptor of a new file, locked; None where another writer was faster."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError:
        return None
    except OSError as error:
        raise refused(f"{path.parent} cannot be written to", error) from error
    os.fchmod(descriptor, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between open and flock a sweep may have taken the file for a dead writer's.
        ours = _is_at(descriptor, path)
    except BlockingIOError:
        ours = False
    if not ours:
        os.close(descriptor)
        return None
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def manifest_partial(folder: Path, stem: str) -> Path:
    """The manifest while the backup is being made: the mark of an unfinished one, locked by its writer."""
    return folder / f"{stem}.json{PARTIAL}"


def copy_partial(folder: Path, stem: str) -> Path:
    """The copy while it is being made."""
    return folder / f"{stem}.db{PARTIAL}"


def _taken(folder: Path, stem: str) -> bool:
    ends = (".json", ".db", f".json{PARTIAL}", f".db{PARTIAL}")
    return any((folder / (stem + end)).exists() for end in ends)


def remove(folder: Path, stem: str) -> None:
    """Removes a backup, or what there is of one.

    First it ceases to be a backup, last goes the mark of an unfinished one: a crash in between leaves what `sweep`
    removes.
    """
    mark = manifest_partial(folder, stem)
    with suppress(FileNotFoundError):  # it is none yet, or another driftd is removing it too
        (folder / f"{stem}.json").rename(mark)
    _remove_copy(folder, stem)
    if mark.exists():
        (folder / f"{stem}.db").unlink(missing_ok=True)
        mark.unlink(missing_ok=True)


def _remove_copy(folder: Path, stem: str) -> None:
    partial = copy_partial(folder, stem)
    for path in (partial, *_beside(partial)):
        path.unlink(missing_ok=True)


def _beside(copy: Path) -> tuple[Path, ...]:
    """What SQLite may have beside a copy; the last is its index of the log, which it makes anew."""
    return tuple(copy.with_name(copy.name + suffix) for suffix in ("-journal", "-wal", "-shm"))


def settle_copy(copy: Path) -> None:
    """Removes what SQLite has left beside a copy that nobody has open; it is silent where the disk refused to remove it.

    Raises OSError where something stands in it that belongs into the copy.
    """
    for path in _beside(copy):
        with suppress(FileNotFoundError):
            if path.stat().st_size and path != _beside(copy)[-1]:
                raise OSError(errno.EIO, f"SQLite could not bring {path.name} to its end")
            path.unlink()


def comes_or_goes(folder: Path, stem: str) -> bool:
    """True for a backup that is being made or removed at this moment, and for one that is gone: neither is a fault."""
    there = any((folder / f"{stem}{end}").exists() for end in (".db", ".json"))
    return not there or manifest_partial(folder, stem).exists()


def sweep(folder: Path) -> tuple[str, ...]:
    """Removes what writers that are provably dead have left in the folder; returns the ids that it would have had."""
    if not folder.is_dir():
        return ()
    for path in folder.glob(f"backup_*.json{NEW}"):
        _swept_new(path)
    unfinished = (path.name for path in folder.iterdir() if PARTIAL in path.name)
    stems = {match[0] for name in unfinished if (match := STEM.match(name))}
    return tuple(stem for stem in sorted(stems) if _swept(folder, stem))


def _swept_new(path: Path) -> None:
    """Removes a manifest that was to replace another, and whose writer is dead."""
    with suppress(FileNotFoundError, PermissionError, BlockingIOError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                path.unlink()
        finally:
            os.close(descriptor)


def _swept(folder: Path, stem: str) -> bool:
    mark = manifest_partial(folder, stem)
    try:
        descriptor = os.open(mark, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        # Without its mark nobody writes a copy: it is made first and goes last.
        if (folder / f"{stem}.json").exists():
            _remove_copy(folder, stem)
            return False
        remove(folder, stem)
        return True
    except PermissionError:
        return False  # another user's: that user's driftd removes it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = _is_at(descriptor, mark)  # otherwise it has just become a backup
        if ours:
            remove(folder, stem)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return ours


def file_sha256(path: Path, *, deadline_at: float | None = None) -> str:
    """SHA-256 of a file of ours, as hexadecimal digits. Never of a live database: see `connect`.

    Raises DeadlineError once `time.monotonic()` has reached `deadline_at`.
    """
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(HASHED_AT_ONCE):
            if deadline_at is not None and time.monotonic() >= deadline_at:
                raise DeadlineError(
                    f"the time for {path} was over",
                    code="deadline",
                    why="it was still being hashed at the deadline; nothing was changed",
                    fix="give more time",
                )
            found.update(chunk)
    return found.hexdigest()


def read_text(path: Path) -> str:
    """The text of a plain file in UTF-8. Raises OSError, also for a pipe: it would make us wait for ever."""
    return plain_file.content(path).decode("utf-8")


def write_all(descriptor: int, text: str) -> None:
    """Writes the text to its last byte and to the disk."""
    rest = text.encode()
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """What was renamed in the folder reaches the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
