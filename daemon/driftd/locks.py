"""The lock files beside a database, as the daemon and the command line use them: who serves it, who starts, who runs.

`lock_file` has the rules that hold for each of them, docs/window-protocol.md the table.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from driftd import lock_file, processes
from driftd.startup import startup_locks
from driftd.startup.startup_locks import StartupLocks, write_answer
from driftengine.errors import BusyError, ConfigurationError, DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from driftd.startup.opened import Opened
    from driftd.startup.startup_locks import Use

__all__ = ["DaemonLock", "Locks", "is_served", "lock_paths", "state_folder", "write_answer"]

Body: TypeAlias = dict[str, Any]

# `is_served` holds a shared lock for microseconds: a daemon that meets one tries again. flock has no time limit of its
# own, so this is polled.
PATIENCE = 0.3  # seconds
POLL = 0.01
_NO_PLAIN_FILE = {errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO, errno.ENODEV}
# The folder is missing, may not be written, is full, or its file system does not lock.
_NO_PLACE = {
    *lock_file.READ_ONLY,
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
        self._startup = StartupLocks()

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
            lock_file.clear_body(lock.descriptor)
            lock_file.unlock(lock.descriptor)
        self._startup.forget(os.fspath(lock.database))

    def release_all(self) -> None:
        """Gives up every lock."""
        for lock in list(self._held.values()):
            lock.release()
        self._startup.forget_all()

    def starting(self, database: str | os.PathLike[str]) -> Opened | None:
        """The window that is open now; None while nobody starts, or its starter has not written yet. Never waits."""
        return self._startup.starting(os.path.realpath(database))

    def still_open(self, database: str | os.PathLike[str], window: str) -> bool:
        """Is the window of that id still open? Right before COMMIT, on any thread; `starting` must have found it.

        `database` is the real path.
        """
        return self._startup.still_open(os.fspath(database), window)

    def keep_out(self, database: str | os.PathLike[str]) -> AbstractContextManager[bool]:
        """No service begins to start while the block runs: True; False where one is starting. See `startup_locks.keep_out`."""
        return startup_locks.keep_out(os.path.realpath(database))

    def use_alone(self, database: str | os.PathLike[str]) -> AbstractContextManager[Use]:
        """True (as a bool) while nobody else runs on this schema. See `startup_locks.use_alone`."""
        return startup_locks.use_alone(os.path.realpath(database))

    def _take(self, real: Path, state_folder: Path) -> DaemonLock:
        beside, apart = lock_paths(real, state_folder)
        elsewhere = ""
        try:
            path, rival, descriptor = (
                beside,
                apart,
                _exclusive(real, beside, owner=lock_file.owner_of(str(real))),
            )
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
    return Path(real + lock_file.DAEMON), state_folder / "locks" / (name + lock_file.DAEMON)


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


def _in_state_folder(database: Path, path: Path, why: str) -> int:
    try:
        for folder in (
            path.parent.parent,
            path.parent,
        ):  # parents are made with the umask's mode, not with this one
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _exclusive(database, path, owner=(0o600, None, None))
    except (OSError, _NoPlaceError) as error:
        told = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise DatabaseError(
            f"no lock can be taken for {database}",
            code="lock-unusable",
            why=f"{why}; and there: {told}",
            fix=f"give this user the right to write {database.parent} or {path.parent}",
        ) from error


def _exclusive(database: Path, path: Path, *, owner: tuple[int, int | None, int | None]) -> int:
    """The descriptor of the locked file; raises BusyError, DatabaseError, _NoPlaceError."""
    until = time.monotonic() + PATIENCE
    while True:
        with _told(path):
            descriptor = lock_file.open_or_make(str(path), owner)
        try:
            with _told(path):
                held = _flock_until(descriptor, until)
            if not held:
                _refuse(database, path, _of_daemon(lock_file.read_body(descriptor)))
            if lock_file.still_there(descriptor, str(path)):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # somebody deleted the file meanwhile: the lock on it keeps nobody out


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns what the system refuses into _NoPlaceError, or DatabaseError where a file in the way is to blame."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        # One that is there and may not be opened may be locked: to go elsewhere would let two daemons serve.
        in_the_way = error.errno in _NO_PLAIN_FILE or (
            error.errno in lock_file.READ_ONLY and os.path.lexists(path)
        )
        if error.errno in _NO_PLACE and not in_the_way:
            raise _NoPlaceError(reason) from error
        raise DatabaseError(
            f"the lock file {path} cannot be used",
            code="lock-unusable",
            why=reason,
            fix=f"look at {path}: run driftd as its owner, or, when it is no lock of driftd, move it away",
        ) from error


def _flock_until(descriptor: int, until: float) -> bool:
    while not lock_file.try_lock(descriptor):
        if time.monotonic() >= until:
            return False
        time.sleep(POLL)
    return True


def _holder_of(path: Path) -> Body | None:
    """What the daemon that holds that lock wrote, {} when it did not; None when nobody holds it."""
    body = lock_file.holder_of(str(path))
    return body if body is None else _of_daemon(body)


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
    # On a full disk, or where it was opened for reading only: the lock is what counts.
    with suppress(OSError):
        lock_file.write_body(descriptor, body)


def _of_daemon(body: Body) -> Body:
    """{} for what no daemon wrote."""
    return body if isinstance(body.get("pid"), int) else {}


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
