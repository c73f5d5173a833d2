"""The engine where no daemon serves, seen from the starter: a child process that can be killed. docs/window-protocol.md.

A hang, a crash, an import of models that prints: none of it can stop or break the service. The child reads and writes
lines of JSON; the standard library alone is imported here, because the service waits for it.

    parent   {"request": {...}}                       {"go": {...}}
    child             {"where": {...}} or {"error": {...}}      {"committing": true} {"answer": {...}}
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

from driftd.startup.answers import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Any, Self

    from driftd.startup.starter import Starter

# The child ends by itself first, then it is asked to, then it is killed: each with the time to clean up after it.
CHILD_BEFORE, CHILD_SHARE = (
    0.5,
    0.25,
)  # seconds before the starter's deadline, and share of what is left of it
ASKED_BEFORE, ASKED_SHARE = 0.25, 0.125
CLEANING = 0.5  # seconds for a child that is no longer wanted to roll back and to remove what is half made
_CHUNK = 64 * 1024


class AloneError(Exception):
    """The child could not say where; `error` is a document `{code, what, why, fix}`."""

    def __init__(self, error: dict[str, str]) -> None:
        super().__init__(error["what"])
        self.error = error


class _EndedError(Exception):
    """The child's answers have ended."""


class Alone:
    """One child process, from its start to `close`; a context manager. Used from one thread, but for `give_up`.

    Args:
        request: what `driftd.config.Request` takes, all of it optional: `config`, `target`, `directory`, `flags`,
            `everywhere`; and `allowed_by`, which the history will name. The environment is inherited.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        # Imported here: where a daemon answers, no process is started.
        import subprocess

        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()
        self._found: dict[str, Any] | None = None
        self._running = self._committing = self._asked = False
        self._why = ""
        try:
            self._process = subprocess.Popen(  # noqa: S603  # this interpreter, and a module of ours
                [interpreter(), "-P", "-m", "driftd.startup.child"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Control-C is the starter's; the child ends when its stdin does
            )
        except OSError as error:
            self._why = error.strerror or str(error)
        else:
            self._say({"request": {"directory": os.getcwd(), **request}})  # noqa: PTH109  # pathlib is slow to import

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def where(self, until: float) -> dict[str, Any]:
        """`{"target", "database", "timeout_s"}` as the configuration says; `until` is on `time.monotonic()`.

        Raises AloneError: what is wrong with the configuration, `window-deadline`, or `engine-process`.
        """
        if self._found is None:
            try:
                self._found = self._heard(until)
            except _EndedError:
                self._found = {"error": _no_process(self._ending())}
            if self._found is None:
                self._found = {"error": _too_late("its configuration was not read in time")}
        if "where" not in self._found:
            raise AloneError(self._found["error"])
        found: dict[str, Any] = self._found["where"]
        return found

    def run(self, starter: Starter) -> dict[str, Any]:
        """The answer for the window that this starter holds, at its `until` at the latest; no child is left then."""
        try:
            where = self.where(starter.until)
            if where["database"] != starter.database:
                # A window gives no right to change another database than its own.
                raise AloneError(_elsewhere(starter.database, where["database"]))  # noqa: TRY301  # as what it raises
            return self._answer(starter, where)
        except AloneError as error:
            return whole({"outcome": "skipped", "error": error.error}, starter.id, starter.database, None)
        finally:
            self.close()

    def close(self) -> None:
        """No child is left. One that is at work is first asked to end, so that it can clean up."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if self._running:
            _wait(process, CLEANING)
        _kill(process)
        if process.stdout is not None:
            process.stdout.close()

    def give_up(self) -> None:
        """From another thread: the child is asked to end, and `run` answers as soon as it has."""
        process = self._process
        if process is not None:
            process.terminate()

    def _answer(self, starter: Starter, where: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        left = max(0.0, starter.until - began)
        self._say(
            {
                "go": {
                    "id": starter.id,
                    "database": where["database"],
                    "deadline_at": starter.until - min(CHILD_BEFORE, CHILD_SHARE * left),
                }
            }
        )
        self._running = True
        try:
            found = self._answered(starter.until - min(ASKED_BEFORE, ASKED_SHARE * left))
            if found is None:
                self._ask_to_end()
                found = self._answered(starter.until)
            if found is None and self._process is not None:
                _kill(self._process)
                # What it had written until then tells whether a COMMIT had begun.
                found = self._answered(time.monotonic())
        except _EndedError:
            found = None
        if found is not None:
            self._running = False
            return found
        return self._unanswered(starter.id, where, time.monotonic() - began)

    def _answered(self, until: float) -> dict[str, Any] | None:
        """The child's answer; None when the time is up. Raises _EndedError."""
        while (heard := self._heard(until)) is not None:
            if "answer" in heard:
                found: dict[str, Any] = heard["answer"]
                return found
            self._committing = self._committing or "committing" in heard
        return None

    def _unanswered(self, window: str, where: dict[str, Any], waited: float) -> dict[str, Any]:
        """What is known where the child has ended, or was ended, without an answer."""
        by: str | None = "alone"
        if self._committing:
            outcome, by, error = "unknown", None, _unknown(waited, "" if self._asked else self._ending())
        elif self._asked:
            outcome, error = "deferred", _too_late(f"it was not done within {waited:.1f} s")
        else:
            outcome, error = "failed", _no_process(self._ending())
        told = {"outcome": outcome, "error": error, "target": where["target"]}
        return whole(told, window, where["database"], by)

    def _ask_to_end(self) -> None:
        self._asked = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _say(self, document: dict[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        line = json.dumps(document).encode() + b"\n"
        try:
            while line:
                line = line[self._process.stdin.write(line) or 0 :]
        except OSError:
            return  # it has ended: reading tells so, and how

    def _heard(self, until: float) -> dict[str, Any] | None:
        """The child's next line; None when the time is up. Raises _EndedError."""
        if self._process is None or self._process.stdout is None:
            raise _EndedError
        descriptor = self._process.stdout.fileno()
        # poll, because select cannot take the descriptors of a service that has a thousand of them.
        ready = select.poll()
        ready.register(descriptor, select.POLLIN)
        while (end := self._buffer.find(b"\n")) < 0:
            if not ready.poll(max(0.0, until - time.monotonic()) * 1000):
                return None
            data = os.read(descriptor, _CHUNK)
            if not data:
                raise _EndedError
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        document: dict[str, Any] = json.loads(line)
        return document

    def _ending(self) -> str:
        """How the child ended, for a sentence."""
        if self._process is None:
            return f"it could not be started: {self._why}"
        # Its end of the pipe is closed, and it holds it until it ends.
        _wait(self._process, CLEANING)
        status = self._process.poll()
        if status is None:
            return "it closed its answers"
        return f"it was ended by signal {-status}" if status < 0 else f"it ended with exit status {status}"


def interpreter() -> str:
    """The interpreter that runs the child: this one. Where Python is a part of another program, that of its folder."""
    name = os.path.basename(sys.executable or "")  # noqa: PTH119  # pathlib is slow to import
    if name.startswith(("python", "pypy")):
        return sys.executable
    beside = f"{sys.exec_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    return beside if os.access(beside, os.X_OK) else sys.executable or "python3"


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    import subprocess

    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends it with all that it started in its session, and reaps it.

    Not for ever: one that waits for a disk that is stuck cannot be ended, and does nothing more when it wakes up.
    """
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
    _wait(process, CLEANING)


def _elsewhere(opened: str, meant: str) -> dict[str, str]:
    return {
        "code": "window-elsewhere",
        "what": f"the window was opened on {opened}, and this service's configuration names {meant}",
        "why": "the configuration that the daemon had read is another one, or was changed meanwhile",
        "fix": "`driftd config show --origin` tells where the url comes from; reload the daemon: driftd reload",
    }


def _no_process(how: str) -> dict[str, str]:
    return {
        "code": "engine-process",
        "what": "the process that was to look at the database gave no answer",
        "why": how,
        "fix": "nothing was changed: see what `driftd check` says",
    }


def _too_late(why: str) -> dict[str, str]:
    return {
        "code": "window-deadline",
        "what": "the window's time was up before the migration was done",
        "why": why,
        "fix": "nothing was changed: run `driftd apply` while the service is stopped, or give window.timeout more time",
    }


def _unknown(waited: float, how: str) -> dict[str, str]:
    return {
        "code": "window-unknown",
        "what": "whether the migration was done is not known",
        "why": f"its COMMIT had begun, and then {how or f'there was no answer after {waited:.1f} s'}",
        "fix": "it is done whole or not at all: `driftd check` tells, and `driftd history`",
    }
