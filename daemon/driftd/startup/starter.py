"""The side of a service that starts: opens a window, gets its answer, says that it runs. docs/window-protocol.md.

One clock counts from the first call, waiting in the queue included; whatever comes of it, the service starts by then. This
needs little of the standard library, and the socket only where a daemon answers on one: a starting service pays for it.
"""
# ruff: noqa: PTH103, PTH108, PTH120, SIM105 - pathlib and contextlib.suppress would cost more than all of this

from __future__ import annotations

import errno
import os
import time

from driftd import lock_file
from driftd.startup import answers, registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    Document = dict[str, Any]

SHORTEST, LONGEST = 0.005, 0.05  # seconds between two looks at a lock that somebody holds
LONGEST_WINDOW = 3600.0  # seconds; the daemon waits no longer either
_LARGEST_ANSWER = 16 * 1024 * 1024


class NoWindow(Exception):  # noqa: N818 - the name says what is the case
    """No window could be opened; `error` is a document `{code, what, why, fix}`."""

    def __init__(self, error: dict[str, str]) -> None:
        super().__init__(f"{error['what']}: {error['why']}")
        self.error = error


class Starter:
    """One window of one database; a context manager.

    Args:
        database: the path of the file.
        timeout: seconds from `began` until the service starts whatever has come of it; an hour at most.
        began: time.monotonic(); None for now.

    `id` is the window's, `until` its end on time.monotonic(), `database` the real path, `answered` the answer once it is there.
    To be used by one thread at a time.
    """

    def __init__(
        self, database: str | os.PathLike[str], *, timeout: float = 15.0, began: float | None = None
    ) -> None:
        self.began = time.monotonic() if began is None else began
        self.until = self.began + min(timeout, LONGEST_WINDOW)
        self.id = os.urandom(12).hex()
        self._given = os.fspath(database)
        try:
            self.database = lock_file.real_path(self._given)
        except ValueError:
            self.database = self._given  # no path at all: `open` says so
        self.lock_path, self.result_path = self.database + lock_file.STARTUP, self.database + lock_file.RESULT
        self.inuse_path = self.database + lock_file.INUSE
        self._daemon_path = self.database + lock_file.DAEMON
        self._descriptor: int | None = None
        self._key: tuple[str, int] | None = None
        self._outer: registry.Window | None = None
        self._body: Document = {}
        self._untold = ""  # why the body could not be written
        self._refused: dict[str, str] | None = None
        self.answered: Document | None = None
        self._asked = self._stepped_aside = False
        self._stays = 0

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def open(self) -> None:
        """Waits for its turn and opens the window; a missing folder is made, as the service would.

        Raises NoWindow: `window-deadline` when the others took too long, else `window-unavailable`; `answer` then says the
        same as a document.
        """
        if self._descriptor is not None or self._outer is not None:
            return
        self._outer = registry.window_of_this_thread(self.database)
        if self._outer is not None:
            return
        try:
            self._descriptor = self._take()
        except NoWindow as refused:
            self._refused = refused.error
            raise
        self._key = registry.enter(self.database, self)
        self._stepped_aside = registry.step_aside(self.database)
        self._body = _body(self.id, self.began, self.until)
        self._write(via_socket=True)

    def answer(self, alone: Callable[[Starter], Document] | None = None) -> Document:
        """What came of it, an ANSWER of docs/window-protocol.md, by `until`. The window is opened if it was not.

        Where no daemon serves the database, or it goes away meanwhile, `alone` is called, which keeps to `until` itself.
        """
        if self.answered is None:
            try:
                self.open()
                self.answered = self._nested() if self._outer is not None else self._ask(alone)
            except NoWindow as refused:
                late = refused.error["code"] == "window-deadline"
                self.answered = self._own("deferred" if late else "skipped", refused.error)
        return self.answered

    def stay(self, *, inheritable: bool = False) -> int | None:
        """Says that this process runs on the schema, until `leave` or its end; to be called before `close`.

        The descriptor of the lock, which stays open; None where it cannot be had.
        """
        if self._outer is not None:
            return self._outer.stay(inheritable=inheritable)
        if self._descriptor is None:
            return None
        descriptor = registry.stay(self.database, inheritable=inheritable)
        self._stays += descriptor is not None
        return descriptor

    def leave(self) -> None:
        """Takes every `stay` of this starter back, on any thread."""
        while self._stays:
            self._stays -= 1
            registry.end(self.database)

    def close(self) -> None:
        """Closes the window: the next starter's turn. Once is enough, and more does no harm."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if self._key is not None:
            registry.leave(self._key)
        if self._stepped_aside and not self._stays:
            registry.stay_again(self.database)
        # Cleared first: with the next starter's lock and this body, a daemon that is late would take it for this window.
        lock_file.clear_body(descriptor)
        lock_file.unlock(descriptor)

    def disown(self) -> None:
        """In a forked child: the window is the parent's, and its lock is not to be freed here."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    # --- the lock

    def _take(self) -> int:
        try:
            _require_file(self._given, self.database)
            os.makedirs(os.path.dirname(self.database), exist_ok=True)
            while True:
                descriptor = lock_file.open_lock(self.lock_path, self.database)
                try:
                    if self._locked(descriptor):
                        return descriptor
                except BaseException:
                    os.close(descriptor)
                    raise
                os.close(descriptor)
        except (OSError, ValueError) as error:
            raise NoWindow(answers.unavailable(self.database, _reason(error), self.lock_path)) from None

    def _locked(self, descriptor: int) -> bool:
        """Waits for the lock; False when that file has gone meanwhile. Raises NoWindow at the deadline."""
        while True:
            held = lock_file.try_lock(descriptor)
            there = lock_file.still_there(descriptor, self.lock_path)
            if held and there:
                return True
            now = time.monotonic()
            if now >= self.until:
                raise NoWindow(answers.queued(self.database, lock_file.read_body(descriptor)))
            if not there:
                return False
            time.sleep(pause(now - self.began, self.until - now))

    def _write(self, *, via_socket: bool) -> None:
        self._body["socket"] = via_socket
        if self._descriptor is None:
            return
        try:
            lock_file.write_body(self._descriptor, self._body)
        except OSError as error:
            read_only = error.errno == errno.EBADF  # who may not write it has opened it for reading
            self._untold = "the lock file may only be read" if read_only else _reason(error)

    # --- the answer

    def _ask(self, alone: Callable[[Starter], Document] | None) -> Document:
        if self._untold:
            return self._own("skipped", answers.unavailable(self.database, self._untold, self.lock_path))
        while True:
            served = lock_file.holder_of(self._daemon_path)
            if time.monotonic() >= self.until:
                return self._late()
            if served is None:
                return self._alone(alone)
            answer = self._over_socket(served) or self._through_files()
            if answer is not None:
                return self._whole(answer, "daemon")

    def _over_socket(self, served: Document) -> Document | None:
        """None where that does not lead to an answer, for whatever reason: then files may."""
        path = served.get("socket")
        if not isinstance(path, str) or not path:
            return None
        from driftd.client import Client, ClientError

        self._asked = True
        try:
            with Client(path, timeout=max(0.001, self.until - time.monotonic())) as client:
                answer = client.do_window(self.id, database=self.database)
        except ClientError:
            return None
        return answer if answers.is_answer(answer) else None

    def _through_files(self) -> Document | None:
        """None at the deadline, and as soon as no daemon serves the database any more."""
        if time.monotonic() >= self.until:
            return None
        self._asked = True
        # In this order: an answer to the body is not taken for one of an earlier window, and not removed either.
        try:
            os.unlink(self.result_path)
        except OSError:
            pass
        self._write(via_socket=False)
        self._knock()
        while True:
            # Before the result is read: a daemon that has answered and ended has answered before it ended.
            served = lock_file.holder_of(self._daemon_path) is not None
            answer = self._written()
            left = self.until - time.monotonic()
            if answer is not None or not served or left <= 0:
                return answer
            time.sleep(min(SHORTEST, left))

    def _knock(self) -> None:
        # That a file appears wakes the daemon at once; where none can be made, it looks from time to time.
        try:
            os.close(lock_file.make_file(self.result_path, lock_file.owner_of(self.database)))
        except OSError:
            pass

    def _written(self) -> Document | None:
        """The answer in the file: None for that of another window, and for what is none."""
        import json

        try:
            descriptor = lock_file.open_existing(self.result_path, os.O_RDONLY)
        except OSError:
            return None
        try:
            with open(descriptor, "rb") as file:  # noqa: PTH123 - it is a descriptor
                answer = json.loads(file.read(_LARGEST_ANSWER))
        except (OSError, ValueError, RecursionError):
            return None
        fits = isinstance(answer, dict) and answer.get("id") == self.id
        return answer if fits and answers.is_answer(answer) else None

    def _alone(self, alone: Callable[[Starter], Document] | None) -> Document:
        if self._body["socket"] is not True:
            self._write(via_socket=True)  # a daemon that begins to serve now leaves this window alone
        if alone is None:
            return self._own("skipped", answers.nobody(self.database))
        try:
            return self._whole(alone(self), "alone")
        except Exception as error:  # noqa: BLE001 - whatever went wrong in there, the service starts
            return self._own("unknown", answers.broken(error))

    def _nested(self) -> Document:
        outer = self._outer
        if outer is None or outer.answered is None:
            why = "this thread has a window of it open, and waits for that answer itself"
            return self._own("skipped", answers.unavailable(self.database, why, self.lock_path))
        return outer.answered

    def _late(self) -> Document:
        if self._asked:
            daemon = lock_file.holder_of(self._daemon_path) or {}
            pid = daemon["pid"] if isinstance(daemon.get("pid"), int) else None
            # Elsewhere that number is another process's.
            state = _state(pid) if pid and daemon.get("host") == os.uname().nodename else ""
            return self._own("unknown", answers.unknown(self.database, self.until - self.began, pid, state))
        return self._own("deferred", answers.queued(self.database, {}))

    def _own(self, outcome: str, error: dict[str, str]) -> Document:
        return self._whole({"outcome": outcome, "error": error}, None)

    def _whole(self, answer: Document, by: str | None) -> Document:
        return answers.whole(answer, self.id, self.database, by)


def pause(waited: float, left: float) -> float:
    """Seconds until the lock is tried again, after so many seconds and with so many left.

    Short at first, when it is a matter of milliseconds; longer while somebody is at work; and short again towards the end, so
    that who has waited longest is the likeliest to be next.
    """
    seconds = SHORTEST if left < waited / 2 else min(max(SHORTEST, waited / 10), LONGEST)
    return max(0.0, min(seconds, left))


def _require_file(given: str, database: str) -> None:
    """Raises OSError or ValueError where there is no file to open a window for."""
    if not given or given.startswith((":memory:", "file:")):
        raise ValueError("it is no file" if given else "no file is named")
    if os.path.lexists(database) and not os.path.isfile(database):  # noqa: PTH113 - see above
        raise ValueError("it is no plain file")


def _body(window: str, began: float, until: float) -> Document:
    now = time.time() - (time.monotonic() - began)
    return {
        "id": window,
        "pid": os.getpid(),
        "started": _started(),
        "boot_id": _read("/proc/sys/kernel/random/boot_id").strip(),
        "host": os.uname().nodename,
        "since": _moment(now),
        "until": _moment(now + until - began),
        "until_monotonic": until,
    }


def _moment(seconds: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds * 1000) % 1000:03d}Z"


def _started() -> float | None:
    """As `processes.started_at` of this process where /proc tells it."""
    try:
        return int(_read("/proc/self/stat").rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    except (ValueError, IndexError):
        return None


def _state(pid: int) -> str:
    """`is stopped` of a process that is; "" otherwise, and where /proc does not tell."""
    return "is stopped" if _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1] in (["T"], ["t"]) else ""


def _read(path: str) -> str:
    """What stands there, "" where nothing can be read: not every system has /proc."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - see above
            return file.read()
    except OSError:
        return ""


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
