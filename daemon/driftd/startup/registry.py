"""What this process holds of the startup protocol: two descriptors of one process block each other like two processes.

A nested window of the same thread would wait for itself, and a process that has said that it runs on a schema would keep its
own next window from changing it. Windows of other threads wait for their turn as those of other processes do.
"""

from __future__ import annotations

import _thread  # threading is that much slower to import, and a starting service pays for it
import os
import time

from driftd import lock_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Window(Protocol):
        """A window that this process has open."""

        answered: dict[str, Any] | None

        def stay(self, *, inheritable: bool = False) -> int | None:
            """As `Starter.stay`."""

        def disown(self) -> None:
            """In a forked child: it is the parent's."""


PATIENCE = 0.3  # seconds; what holds this lock exclusively has either asked a question or hangs
POLL = 0.005


class _Running:
    """The lock by which this process says that it runs on a schema: `users` of them have not ended."""

    __slots__ = ("descriptor", "held", "users")

    def __init__(self) -> None:
        self.descriptor = -1
        self.held = False
        self.users = 0


_guard = _thread.allocate_lock()
_windows: dict[tuple[str, int], Window] = {}
_running: dict[str, _Running] = {}


def window_of_this_thread(database: str) -> Window | None:
    """The window that this thread has open for that database (a real path)."""
    with _guard:
        return _windows.get((database, _thread.get_ident()))


def enter(database: str, window: Window) -> tuple[str, int]:
    """Notes a window of this thread; what is returned is for `leave`."""
    key = (database, _thread.get_ident())
    with _guard:
        _windows[key] = window
    return key


def leave(key: tuple[str, int]) -> None:
    """Forgets a window, on any thread."""
    with _guard:
        _windows.pop(key, None)


def step_aside(database: str) -> bool:
    """Frees this process's own lock on the schema while it has a window open; True when it held one.

    Only the holder of the startup lock may, and takes it again (`stay`) before that is released: so nobody misses it.
    """
    with _guard:
        running = _running.get(database)
        if running is None or not running.held:
            return False
        running.held = False
        _let_go(running.descriptor, database)
        return True


def _let_go(descriptor: int, database: str) -> None:
    """Holds the lock no longer, under the same number: it may have been given out.

    A child that was forked shares what is open, and runs on the schema all the same: to free the lock would free it for both.
    """
    try:
        anew = lock_file.open_lock(database + lock_file.INUSE, database)
    except OSError:
        lock_file.free(descriptor)
        return
    os.dup2(anew, descriptor, inheritable=os.get_inheritable(descriptor))
    os.close(anew)


def stay(database: str, *, inheritable: bool = False) -> int | None:
    """Says that this process runs on the schema; the descriptor of the lock, None where it cannot be had.

    Only the holder of the startup lock may. Each call that succeeds wants one of `end`.
    """
    with _guard:
        running = _running.setdefault(database, _Running())
        running.users += 1  # before it is waited for: another thread's `end` does not close it meanwhile
    if not running.held and not _lock(running, database):
        end(database)
        return None
    if inheritable:
        os.set_inheritable(running.descriptor, True)  # noqa: FBT003 - it has no name
    return running.descriptor


def stay_again(database: str) -> None:
    """Takes `step_aside` back, as far as somebody still wants it."""
    if stay(database) is not None:
        end(database)


def end(database: str) -> None:
    """Takes one `stay` back, on any thread; the lock goes with the last."""
    with _guard:
        running = _running.get(database)
        if running is None:
            return
        running.users -= 1
        if running.users > 0:
            return
        del _running[database]
        if running.descriptor >= 0:
            os.close(running.descriptor)  # and not freed: children that were forked still run on the schema


def _lock(running: _Running, database: str) -> bool:
    path = database + lock_file.INUSE
    try:
        for _ in range(3):
            if running.descriptor < 0:
                running.descriptor = lock_file.open_lock(path, database)
            if not _until_locked(running.descriptor):
                return False
            if lock_file.still_there(running.descriptor, path):
                running.held = True
                return True
            # Somebody deleted it: a lock on it tells nobody. The number stays good, for it may have been given out.
            anew = lock_file.open_lock(path, database)
            os.dup2(anew, running.descriptor, inheritable=os.get_inheritable(running.descriptor))
            os.close(anew)
    except OSError:
        pass
    return False


def _until_locked(descriptor: int) -> bool:
    give_up = time.monotonic() + PATIENCE
    while not lock_file.try_lock(descriptor, shared=True):
        if time.monotonic() >= give_up:
            return False
        time.sleep(POLL)
    return True


def _forked() -> None:
    """In a child: what was inherited is the parent's to free, for the lock is one for both."""
    global _guard  # noqa: PLW0603 - another thread may have held it when the process was forked
    _guard = _thread.allocate_lock()
    for window in _windows.values():
        window.disown()
    _windows.clear()
    _running.clear()  # the descriptors stay open: this child runs on the schema until it ends, as its parent does


os.register_at_fork(after_in_child=_forked)
