"""The files of the startup window, from the side that serves: who starts, who is kept out, who runs, and the answer.

A `database` is its real path here. None of this waits for a service that starts: at most it asks again a few
milliseconds later, because whoever asks whether a lock is held holds it for that moment.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from driftd import lock_file, processes
from driftd.startup.opened import id_of, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from driftd.startup.opened import Opened

PROBES = 3  # so often is a lock tried that somebody may hold for the moment of a question
PROBE = 0.002  # seconds between them


class _Watched:
    """The startup lock of one database: its open file, and the id that was seen there last, and when."""

    def __init__(self, database: str) -> None:
        self.guard = threading.Lock()  # one for each: a file system that hangs must not hang another target
        self._path = database + lock_file.STARTUP
        self._descriptor: int | None = None
        self._seen = ("", 0.0, 0.0)  # with time.monotonic() and time.time()

    def starting(self) -> Opened | None:
        descriptor = self._file()
        try:
            if descriptor is None or not lock_file.is_held(descriptor):
                return None
            body = lock_file.read_body(descriptor)
        except OSError:
            return None  # a file system that does not lock: then no starter could open a window either
        name = id_of(body)
        if name is None:
            return None
        if self._seen[0] != name:
            self._seen = (name, time.monotonic(), time.time())
        _, seen, wall = self._seen
        return opened(body, seen=seen, wall=wall, boot_id=processes.boot_id())

    def still_open(self, window: str) -> bool:
        if self._descriptor is None:
            return False
        try:
            # The lock first: who has taken it since has cleared or replaced what stood there.
            held = lock_file.is_held(self._descriptor)
            return held and lock_file.read_body(self._descriptor).get("id") == window
        except OSError:
            return False

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _file(self) -> int | None:
        if self._descriptor is not None:
            if lock_file.still_there(self._descriptor, self._path):
                return self._descriptor
            self.close()
        try:
            self._descriptor = lock_file.open_existing(self._path, os.O_RDONLY)
        except (OSError, ValueError):
            return None  # nobody has ever started there, or it is no lock
        return self._descriptor


class StartupLocks:
    """Looks at the startup locks of databases, through one open file each. May be used from any thread."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}
        self._guard = threading.Lock()  # of the dictionary: never held while a file is asked

    def starting(self, database: str) -> Opened | None:
        """The window that is open now; None while nobody starts, or its starter has not written yet."""
        with self._guard:
            watched = self._watched.setdefault(database, _Watched(database))
        with watched.guard:
            return watched.starting()

    def still_open(self, database: str, window: str) -> bool:
        """Is the window of that id still open? A few microseconds; `starting` has found it before."""
        with self._guard:
            watched = self._watched.get(database)
        if watched is None:
            return False
        with watched.guard:
            return watched.still_open(window)

    def forget(self, database: str) -> None:
        """Closes the file of a database that is served no longer; not while it hangs, for this is called on a loop."""
        with self._guard:
            watched = self._watched.pop(database, None)
        if watched is not None and watched.guard.acquire(blocking=False):
            try:
                watched.close()
            finally:
                watched.guard.release()

    def forget_all(self) -> None:
        """Closes every file."""
        for database in list(self._watched):
            self.forget(database)


@contextmanager
def keep_out(database: str) -> Iterator[bool]:
    """No service opens a window while the block runs: True; False where one is open, and then nothing was taken.

    True as well where the file can neither be opened nor made: what cannot be locked here can hardly be by a service, and
    SQLite's own lock stands between the two.
    """
    path = database + lock_file.STARTUP
    descriptor = _locked(path, lock_file.owner_of(database))
    if descriptor is None:
        yield False
        return
    try:
        if descriptor >= 0:
            lock_file.clear_body(descriptor)  # nobody takes what an earlier starter left there for a window
        yield True
    finally:
        if descriptor >= 0:
            lock_file.unlock(descriptor)


@dataclass(frozen=True, slots=True)
class Use:
    """As a bool: nobody else runs on this schema, as far as can be told. `warning` says why it cannot, "" where it can."""

    alone: bool
    warning: str = ""

    def __bool__(self) -> bool:
        return self.alone


@contextmanager
def use_alone(database: str) -> Iterator[Use]:
    """Whether nobody runs on this schema; while the block runs, nobody begins to.

    Whoever holds the startup lock as well has that for sure: a service takes its own lock only while it holds that one. So a
    missing file is not made: nobody has ever held it.
    """
    path = database + lock_file.INUSE
    try:
        descriptor = lock_file.open_existing(path)
    except FileNotFoundError:
        yield Use(alone=True)
        return
    except (OSError, ValueError) as error:
        # Somebody may hold what this user may not open: what cannot be told is no proof.
        yield Use(alone=False, warning=_untold(path, error))
        return
    try:
        alone, warning = _tried(descriptor), ""
    except OSError as error:
        alone, warning = True, _untold(path, error)  # where nothing can be locked, no service has
    try:
        yield Use(alone=alone, warning=warning)
    finally:
        os.close(descriptor) if warning or not alone else lock_file.unlock(descriptor)


def write_answer(database: str | os.PathLike[str], answer: Mapping[str, Any]) -> None:
    """Puts the answer where a starter without the socket looks for it: whole, or not at all. Raises OSError.

    Only who serves the database writes it, so that a name for the unfinished file is enough.
    """
    real = os.path.realpath(database)
    path = real + lock_file.RESULT
    unfinished = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(unfinished)  # noqa: PTH108 - paths are text here, as in lock_file. A killed daemon may have left one
    descriptor = lock_file.make_file(unfinished, lock_file.owner_of(real))
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(answer).encode() + b"\n")
        os.replace(unfinished, path)  # noqa: PTH105 - as above
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)  # noqa: PTH108 - as above
        raise


def _locked(path: str, owner: tuple[int, int | None, int | None]) -> int | None:
    """The descriptor of the locked file; None where somebody holds it, -1 where it cannot be locked at all."""
    while True:
        try:
            descriptor = lock_file.open_or_make(path, owner)
        except (OSError, ValueError):
            return -1
        try:
            held = _tried(descriptor)
        except OSError:
            os.close(descriptor)
            return -1
        if not held:
            os.close(descriptor)
            return None
        if lock_file.still_there(descriptor, path):
            return descriptor
        lock_file.unlock(descriptor)  # somebody deleted the file meanwhile: the lock on it keeps nobody out


def _tried(descriptor: int) -> bool:
    for left in range(PROBES - 1, -1, -1):
        if lock_file.try_lock(descriptor):
            return True
        if left:
            time.sleep(PROBE)
    return False


def _untold(path: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"whether a service runs on this schema cannot be told: {path} cannot be used ({reason})"
