"""The lock files beside a database: who serves it. The kernel frees a lock with its process, so none is ever stale.

A lock is an exclusive `flock` on `<database>.daemon.lock`, named after the database's real path, and the file is never
deleted: two processes would otherwise lock two files of one name. What is written in it only tells people who holds it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import pwd
import stat
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from driftd import processes
from driftengine.errors import BusyError, ConfigurationError, DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Body: TypeAlias = dict[str, Any]

SUFFIX = ".daemon.lock"
# `is_served` holds a shared lock for microseconds: a daemon that meets one tries again. flock has no time limit of its
# own, so this is polled.
PATIENCE = 0.3  # seconds
POLL = 0.01
LONGEST_BODY = 4096  # bytes; a write of that size is not seen half done
# O_NONBLOCK: opening a pipe that somebody put there must not wait for its other end.
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_PLAIN_FILE = {errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO, errno.ENODEV}
# The folder is missing, may not be written, is full, or its file system does not lock.
_NO_PLACE = {
    *_READ_ONLY,
    *(errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EBADF),
}


@dataclass(frozen=True, slots=True, eq=False)
class DaemonLock:
    """The right to serve a database, until `release` or the end of the process.

    `database` is its real path, `path` the lock file. `elsewhere` is "" for a file beside the database, else a sentence
    that says where it is and why.
    """

    database: Path
    path: Path
    elsewhere: str
    descriptor: int = field(repr=False)
    _registry: Locks = field(repr=False)

    def release(self) -> None:
        """Gives the right up; once is enough, and more does no harm."""
        self._registry.release(self)


class Locks:
    """The locks of this process: one registry owns their descriptors. May be used from any thread."""

    def __init__(self) -> None:
        self._held: dict[Path, DaemonLock] = {}
        self._guard = threading.Lock()

    def serve(self, database: Path, *, state_folder: Path, version: str = "", socket: str = "") -> DaemonLock:
        """Takes the lock of that database, for as long as this process lives.

        `version` and `socket` are written into the lock file, so that others learn whom to ask. Where the folder of the
        database has no place for the file, it stands in `state_folder`, which is made.

        Raises BusyError (`target-served`: by another daemon; `target-served-here`: by this process), DatabaseError
        (`lock-unusable`).
        """
        real = Path(os.path.realpath(database))
        with self._guard:
            if real in self._held:
                raise _served_here(real)
            lock = self._held[real] = self._take(real, state_folder)
            _write(lock.descriptor, _body(version, socket))
        return lock

    def release(self, lock: DaemonLock) -> None:
        """See `DaemonLock.release`."""
        with self._guard:
            if self._held.get(lock.database) is not lock:
                return
            del self._held[lock.database]
            with suppress(OSError):  # it was opened for reading only, and then nothing was written either
                os.ftruncate(lock.descriptor, 0)
            # Before it is closed: a child that inherited the descriptor would keep the lock otherwise.
            fcntl.flock(lock.descriptor, fcntl.LOCK_UN)
            os.close(lock.descriptor)

    def release_all(self) -> None:
        """Gives up every lock."""
        for lock in list(self._held.values()):
            lock.release()

    def _take(self, real: Path, state_folder: Path) -> DaemonLock:
        beside, apart = lock_paths(real, state_folder)
        elsewhere = ""
        try:
            path, rival, descriptor = beside, apart, _exclusive(real, beside, owner=_owner(real))
        except _NoPlaceError as error:
            elsewhere = f"the daemon's lock is kept in {apart}, because {beside} cannot be used ({error})"
            path, rival, descriptor = apart, beside, _in_state_folder(real, apart, elsewhere)
        try:
            # Another daemon may have found the other place to be the right one: before the folder was made, or with
            # other rights. Each takes its own first and looks then, so that two at once cannot both pass.
            body = _holder_of(rival)
            if body is not None:
                _refuse(real, rival, body)
        except BaseException:
            os.close(descriptor)
            raise
        return DaemonLock(real, path, elsewhere, descriptor, self)


def lock_paths(database: Path, state_folder: Path) -> tuple[Path, Path]:
    """Where the lock of a database may stand: beside it, or in the state folder under a hash of its real path."""
    real = os.path.realpath(database)
    name = hashlib.sha256(os.fsencode(real)).hexdigest()[:32]
    return Path(real + SUFFIX), state_folder / "locks" / (name + SUFFIX)


def is_served(database: Path, state_folder: Path) -> Body | None:
    """Who serves that database now, None for nobody; never waits and never makes a file.

    What the daemon wrote: `{pid, started, boot_id, host, since, version, socket}`, and `path`, the lock file. A daemon
    that could not write there gives `path` alone. A lock file that this user may not open counts as free.
    """
    for path in lock_paths(database, state_folder):
        body = _holder_of(path)
        if body is not None:
            return {**body, "path": str(path)}
    return None


def state_folder(environment: Mapping[str, str]) -> Path:
    """Where this user's daemon keeps what it must not lose; not made here.

    `$STATE_DIRECTORY` (the first of several: https://www.freedesktop.org/software/systemd/man/systemd.exec.html), else
    `$XDG_STATE_HOME/driftd`, else `~/.local/state/driftd`, else `/var/lib/driftd` for root. Raises ConfigurationError
    (`state-folder-unknown`).
    """
    first = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if first:
        return Path(first)
    base = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):  # noqa: PTH117 - the base directory specification: a relative one is to be ignored
        return Path(base) / "driftd"
    home = environment.get("HOME", "") or ("" if os.geteuid() == 0 else _home())
    if home:
        return Path(home) / ".local" / "state" / "driftd"
    if os.geteuid() == 0:
        return Path("/var/lib/driftd")
    raise ConfigurationError(
        "there is no folder for the daemon's state",
        code="state-folder-unknown",
        why=f"user {os.geteuid()} has no home directory, and neither HOME nor XDG_STATE_HOME is set",
        fix="set XDG_STATE_HOME to a folder that this user may write",
    )


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return ""


# --- one lock file


class _NoPlaceError(Exception):
    """No lock file can stand there; the text says why."""


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose a new lock file is to be: `user` and `group` are None for whoever makes it."""

    mode: int
    user: int | None = None
    group: int | None = None


def _owner(database: Path) -> _Owner:
    """Who may use the database may use its lock: as the database, else as its folder without the x bits."""
    for path in (database, database.parent):
        try:
            found = path.stat()
        except OSError:
            continue
        mode = stat.S_IMODE(found.st_mode) & 0o666
        return _Owner(mode, found.st_uid, found.st_gid) if os.geteuid() == 0 else _Owner(mode)
    return _Owner(0o600)


def _in_state_folder(database: Path, path: Path, why: str) -> int:
    try:
        for folder in (
            path.parent.parent,
            path.parent,
        ):  # parents are made with the umask's mode, not with this one
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _exclusive(database, path, owner=_Owner(0o600))
    except (OSError, _NoPlaceError) as error:
        told = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise DatabaseError(
            f"no lock can be taken for {database}",
            code="lock-unusable",
            why=f"{why}; and there: {told}",
            fix=f"give this user the right to write {database.parent} or {path.parent}",
        ) from error


def _exclusive(database: Path, path: Path, *, owner: _Owner) -> int:
    """The descriptor of the locked file; raises BusyError, DatabaseError, _NoPlaceError."""
    until = time.monotonic() + PATIENCE
    while True:
        with _told(path):
            descriptor = _open_or_make(path, owner)
        try:
            with _told(path):
                held = _flock_until(descriptor, until)
            if not held:
                _refuse(database, path, _read(descriptor))
            if _still_there(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # somebody deleted the file meanwhile: the lock on it keeps nobody out


def _open_or_make(path: Path, owner: _Owner) -> int:
    while True:
        with suppress(FileNotFoundError):
            return _open(path, os.O_RDWR)
        # Exclusively: a link that somebody has just put there is not followed, and the rights are set once, by its maker.
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, owner.mode)
            _settle(descriptor, owner)
            return descriptor


def _open(path: Path, access: int) -> int:
    """Opens the file that is there, for reading only where it may not be written: `flock` needs no more."""
    try:
        descriptor = os.open(path, access | _FLAGS)
    except OSError as error:
        if access == os.O_RDONLY or error.errno not in _READ_ONLY:
            raise
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    found = os.fstat(descriptor)
    # With another name it may be any file of this machine, put there to be overwritten by root.
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.ENXIO, "it is no plain file, or one with several names")
    return descriptor


def _settle(descriptor: int, owner: _Owner) -> None:
    # The umask has taken bits away. Where root may not give a file away (a network file system), the lock holds anyway.
    if owner.user is not None and owner.group is not None:
        with suppress(OSError):
            os.fchown(descriptor, owner.user, owner.group)
    with suppress(OSError):
        os.fchmod(descriptor, owner.mode)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns what the system refuses into _NoPlaceError, or DatabaseError where a file in the way is to blame."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        # One that is there and may not be opened may be locked: to go elsewhere would let two daemons serve.
        in_the_way = error.errno in _NO_PLAIN_FILE or (error.errno in _READ_ONLY and os.path.lexists(path))
        if error.errno in _NO_PLACE and not in_the_way:
            raise _NoPlaceError(reason) from error
        raise DatabaseError(
            f"the lock file {path} cannot be used",
            code="lock-unusable",
            why=reason,
            fix=f"look at {path}: run driftd as its owner, or, when it is no lock of driftd, move it away",
        ) from error


def _flock_until(descriptor: int, until: float) -> bool:
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(POLL)


def _still_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _holder_of(path: Path) -> Body | None:
    """What the holder of that lock wrote, {} when it did not; None when nobody holds it."""
    try:
        descriptor = _open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        # Shared: several may ask at once, and each other's question is no answer.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    except OSError:
        return None  # a file system that does not lock
    finally:
        os.close(descriptor)
    return None


def _body(version: str, socket: str) -> Body:
    pid = os.getpid()
    return {
        "pid": pid,
        "started": processes.started_at(pid),
        "boot_id": processes.boot_id(),
        "host": processes.host(),
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": version,
        "socket": socket,
    }


def _write(descriptor: int, body: Body) -> None:
    line = json.dumps(body).encode() + b"\n"
    # On a full disk, or where it was opened for reading only: the lock is what counts.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, line, 0)


def _read(descriptor: int) -> Body:
    """The body; {} when it is not written yet (its newline comes last), torn, or none of ours."""
    line = os.pread(descriptor, LONGEST_BODY, 0)
    try:
        body = json.loads(line) if line.endswith(b"\n") else {}
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) and isinstance(body.get("pid"), int) else {}


# --- who else


def _refuse(database: Path, path: Path, body: Body) -> NoReturn:
    if body.get("pid") == os.getpid() and _is_local(body) and _is_alive(body):
        raise _served_here(database)
    raise BusyError(
        f"{database} is served by another daemon",
        code="target-served",
        why=f"{_who(path, body)} holds {path}",
        fix="stop that daemon, or leave the target out of one of the two configurations",
    )


def _served_here(database: Path) -> BusyError:
    return BusyError(
        f"{database} is already served by this daemon",
        code="target-served-here",
        why="two targets of the configuration name the same file",
        fix="leave one of the two targets out",
    )


def _who(path: Path, body: Body) -> str:
    """The holder, for a sentence. The body may be that of an earlier holder, when this one could not write."""
    if body and not _is_local(body):
        return f"pid {body['pid']} on {body['host']}"
    if body and _is_alive(body):
        return processes.describe(processes.identify(body["pid"]))
    found = [one for one in processes.holders([path])["holders"] if one["how"] == "lock"]
    return " and ".join(map(processes.describe, found)) or "a process that cannot be seen from here"


def _is_local(body: Body) -> bool:
    return str(body.get("host") or "") in {"", processes.host()}


def _is_alive(body: Body) -> bool:
    started = body.get("started")
    return processes.alive(
        body["pid"],
        started if isinstance(started, int | float) else None,
        boot=str(body.get("boot_id") or ""),
        host_name=str(body.get("host") or ""),
    )
