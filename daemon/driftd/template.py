"""One template: a process of a service's interpreter that has SQLAlchemy imported, and forks a process for each probe.

The other end of `driftengine.probe_template`, which says what is spoken over the socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftengine import footprint as footprints
from driftengine.footprint import Inputs
from driftengine.probe_process import TEMPLATE_PARTS, TICK, UnfitError, given_up, launched

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping
    from typing import IO

    from driftengine.footprint import Footprint

STARTS = 20.0  # seconds that the imports may take, where the probe itself has as much
ANSWERS = 5.0  # seconds for what takes it a millisecond
RECENT = 2_000_000_000  # nanoseconds: two changes of a file in that time may have one and the same stamp


def never() -> bool:
    """Nobody cancels."""
    return False


class Template:
    """One process. Used by one thread at a time; `kill` and what `document` tells by any.

    `sound` is False from the first odd thing on: it is of no use any more.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], control: socket.socket, place: tuple[str, str]
    ) -> None:
        self.sound = True
        self.used_at = time.monotonic()
        self.child = 0
        self._process, self._control, self._place = process, control, place
        self._probes = 0
        self._footprint: Footprint
        self._heard = b""

    @classmethod
    def start(
        cls,
        executable: str,
        request: Mapping[str, Any],
        preload: tuple[str, ...],
        cancelled: Callable[[], bool],
    ) -> Template:
        """One that is ready. Raises UnfitError; ModelsError once `cancelled` says so."""
        since = time.time_ns()
        ours, theirs = socket.socketpair()
        try:
            process = launched(executable, TEMPLATE_PARTS, theirs.fileno(), request["directory"])
        except OSError as error:
            ours.close()
            raise UnfitError(str(error)) from error
        finally:
            theirs.close()
        made = cls(process, ours, (executable, request["directory"]))
        try:
            made._begin(request, preload, cancelled, since)
        except BaseException:
            made.end()
            raise
        return made

    def _begin(
        self,
        request: Mapping[str, Any],
        preload: tuple[str, ...],
        cancelled: Callable[[], bool],
        since: int,
    ) -> None:
        order = {name: request[name] for name in ("directory", "pythonpath")}
        self._send(json.dumps({**order, "preload": preload}).encode() + b"\n")
        ready = self._wait(min(STARTS, float(request["timeout"])), cancelled)
        if "unfit" in ready:
            raise UnfitError(ready["unfit"])
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        os.set_blocking(self._process.stdout.fileno(), False)
        if self._process.stdout.read(1):
            raise UnfitError("the interpreter prints something before any probe")
        reads: dict[str, Any] = {name: tuple(paths) for name, paths in ready["reads"].items()}
        inputs = Inputs(python=self._place[0], **reads)
        self._footprint = footprints.measure(inputs)
        if ready["newest"] > since - RECENT or not footprints.settled(self._footprint, since):
            raise UnfitError("something that it imports has just changed")

    @property
    def pid(self) -> int:
        """Of the template."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has died by itself."""
        return self._process.poll() is not None

    def document(self) -> dict[str, Any]:
        """For people."""
        return {
            "pid": self.pid,
            "python": self._place[0],
            "directory": self._place[1],
            "rss_bytes": resident(self.pid),
            "probes": self._probes,
            "idle_s": round(time.monotonic() - self.used_at, 1),
        }

    def moved(self) -> bool:
        """True where it might have imported something else if it had begun now."""
        if self.ended or not self.sound:
            return True
        if not footprints.moved(self._footprint):
            return False
        now = footprints.measure(self._footprint.inputs, self._footprint)
        if now.key != self._footprint.key:
            return True
        self._footprint = now
        return False

    # --- a probe

    @contextlib.contextmanager
    def probe(self, _executable: str, _request: Mapping[str, Any]) -> Iterator[tuple[Child, int]]:
        """A child as the probe's process, and the pipe of its answer; on leaving, its whole group is gone and pipes closed."""
        pipes: list[int] = []
        try:
            for _ in range(3):
                pipes += os.pipe()
            stdin, request, answer, theirs, stdout, output = pipes
            child = self._fork(stdin, output, theirs)
        except BaseException:
            _close(pipes)
            raise
        _close([stdin, output, theirs])
        process = Child(self, child, os.fdopen(request, "wb", 0), os.fdopen(stdout, "rb", 0))
        try:
            yield process, answer
        finally:
            os.close(answer)
            process.end()

    def _fork(self, *given: int) -> int:
        self._probes += 1
        self.used_at = time.monotonic()
        found = self._asked(b"f", given)
        if not isinstance(found, int):
            self.sound = False
            raise UnfitError(str(found))
        self.child = found
        return found

    def status(self) -> int | None:
        """How the child has ended; None while it runs. Raises UnfitError."""
        found: int | None = self._asked(b"p")
        return found

    def reap(self) -> None:
        """Kills the child with all that it started in its session, and waits for it."""
        self.kill_child()
        with contextlib.suppress(UnfitError):  # then it is dropped
            self._asked(b"r")
        self.child = 0
        self.used_at = time.monotonic()

    def _asked(self, word: bytes, given: tuple[int, ...] = ()) -> Any:
        self._send(word, given)
        return self._wait(ANSWERS, never)

    def _send(self, message: bytes, given: tuple[int, ...] = ()) -> None:
        try:
            self._control.settimeout(ANSWERS)
            socket.send_fds(self._control, [message], given)
        except OSError as error:
            raise self._odd(str(error)) from error

    def _wait(self, patience: float, cancelled: Callable[[], bool]) -> Any:
        """The next line. Raises UnfitError; ModelsError once `cancelled` says so."""
        deadline = time.monotonic() + patience
        self._control.settimeout(TICK)
        while b"\n" not in self._heard:
            if cancelled():
                raise given_up()
            try:
                piece = self._control.recv(1 << 16)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise self._odd("it does not answer") from None
                continue
            except OSError as error:
                raise self._odd(str(error)) from error
            if not piece:
                raise self._odd("it has ended")
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError:
            raise self._odd("it speaks otherwise") from None

    def _odd(self, why: str) -> UnfitError:
        self.sound = False
        return UnfitError(f"the template is given up: {why}")

    # --- its end

    def kill_child(self) -> None:
        """The child and all that it has started in its session."""
        if self.child:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child, signal.SIGKILL)

    def kill(self) -> None:
        """For one that is in use: whoever uses it does the rest."""
        self.sound = False
        self.kill_child()
        with contextlib.suppress(OSError):
            self._process.kill()

    def end(self) -> None:
        """It is gone, and its child too."""
        self.sound = False
        self.kill_child()
        self._control.close()
        self._process.kill()  # itself alone, and nothing where it has been reaped: all else has sessions of its own
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()


@dataclass(slots=True)
class Child:
    """A probe's process that a template has forked, as `probe_process.Process`."""

    template: Template
    pid: int
    stdin: IO[bytes]
    stdout: IO[bytes]
    _status: int | None = field(default=None, init=False)

    def poll(self) -> int | None:
        """How it has ended; None while it runs. Raises UnfitError where the template cannot tell."""
        if self._status is None:
            self._status = self.template.status()
        return self._status

    def send_signal(self, sig: int, /) -> None:
        """To the process alone: until it is reaped, the pid is its own."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sig)

    def end(self) -> None:
        """Gone with its group, and its pipes closed."""
        self.template.reap()
        self.stdin.close()
        self.stdout.close()


def resident(pid: int) -> int:
    """The memory of a process in bytes, what it shares with others too; 0 where nobody can tell."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    return 0


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
