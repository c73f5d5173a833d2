"""The other end of the daemon's socket, for programs that must start fast. docs/socket.md is the contract.

It imports socket, json and os alone: dataclasses, typing, pathlib or logging would each cost more than all of it.
`do_x` here is answered by `cmd_x` there.
"""

from __future__ import annotations

# The half in C: `socket` adds files, selectors and enumerations, and a starting service would pay as much again for them.
import _socket as socket
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self

PROTOCOL = 1
_LONGEST_REPLY = 64 * 1024 * 1024
_CHUNK = 64 * 1024


class ClientError(Exception):
    """The daemon could not be asked, or did not do it; `error` is a document `{code, what, why, fix}`."""

    def __init__(self, error: dict[str, str]) -> None:
        what, why = error["what"], error.get("why")
        super().__init__(f"{what}: {why}" if why else what)
        self.error = error


class NoDaemon(ClientError):  # noqa: N818 - the names say what is the case
    """Nobody listens there."""


class NoAnswer(NoDaemon):
    """Somebody listened, and went away, kept silent for too long, or does not speak this protocol."""


class NotAllowed(ClientError):  # noqa: N818
    """This user may not connect, or not do that."""


class Refused(ClientError):  # noqa: N818
    """The daemon's own error."""


class Client:
    """One connection, made at the first call and again after it broke; a context manager.

    Args:
        path: of the socket.
        timeout: seconds for each call, connecting included; None waits for ever. May be set between calls.

    `hello` is what the daemon's first reply says of it: version, protocol, capabilities; empty until then.
    """

    def __init__(self, path: str | os.PathLike[str], timeout: float | None = 5.0) -> None:
        self.path = os.fspath(path)
        self.timeout = timeout
        self.hello: dict[str, Any] = {}
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._last_id = 0
        self._give_up: float | None = None  # time.monotonic(), of the call that is under way

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; the next call connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer.clear()

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The result of a command; arguments that are None are left out.

        Raises NoDaemon, NoAnswer, NotAllowed or Refused.
        """
        self._last_id += 1
        # One end for the whole call: who sends a byte now and then would be waited for without one.
        self._give_up = None if self.timeout is None else time.monotonic() + self.timeout
        request = {"command": command, "id": self._last_id}
        request.update({name: value for name, value in arguments.items() if value is not None})
        try:
            self._send(json.dumps(request).encode() + b"\n")
            return self._result(self._read(), self._last_id)
        except (NotAllowed, Refused):
            raise
        except BaseException:
            # What is left of this conversation would answer the next question.
            self.close()
            raise

    def do_status(self, target: str | None = None, holders: bool = False) -> dict[str, Any]:
        """The status document; with `holders` also who has each database open, for those who may write."""
        return self.call("status", target=target, holders=holders or None)

    def do_check(self, target: str | None = None, fresh: bool = False) -> dict[str, Any]:
        """The document of `check --json`; `fresh` loads the models anew, and needs the right to write."""
        return self.call("check", target=target, fresh=fresh or None)

    def do_plan(self, target: str | None = None) -> dict[str, Any]:
        """The document of `plan --json`."""
        return self.call("plan", target=target)

    def do_history(self, target: str | None = None, migration: str | None = None) -> dict[str, Any]:
        """The document of `history --json`."""
        return self.call("history", target=target, migration=migration)

    def do_stage(self, target: str | None = None) -> dict[str, Any]:
        """Have a target staged now, or all; the result is `{"targets": [entry of each]}`."""
        return self.call("stage", target=target)

    def do_approve(
        self, operations: list[str], target: str | None = None, plan: str | None = None
    ) -> dict[str, Any]:
        """Approve held operations by id or code, of this plan where one is named; the result is as of `do_stage`."""
        return self.call("approve", operations=list(operations), target=target, plan=plan)

    def do_rollback(
        self,
        migration: str | None = None,
        operations: list[str] | None = None,
        approve: list[str] | None = None,
        dry_run: bool = False,
        target: str | None = None,
    ) -> dict[str, Any]:
        """Have a migration taken back, or some of its operations by number or id; the document of `rollback --json`."""
        return self.call(
            "rollback",
            migration=migration,
            operations=operations or None,
            approve=approve or None,
            dry_run=dry_run or None,
            target=target,
        )

    def do_revert(
        self,
        words: list[str] | None = None,
        approve: list[str] | None = None,
        dry_run: bool = False,
        target: str | None = None,
    ) -> dict[str, Any]:
        """Have undone what was changed in the database by hand; the document of `revert --json`."""
        return self.call(
            "revert", words=words or None, approve=approve or None, dry_run=dry_run or None, target=target
        )

    def do_adopt(self, words: list[str] | None = None, target: str | None = None) -> dict[str, Any]:
        """Agree to what was changed in the database by hand; the document of `adopt --json`."""
        return self.call("adopt", words=words or None, target=target)

    def do_pause(self, target: str | None = None) -> dict[str, Any]:
        """Have a target left alone, or all; the result is as of `do_stage`."""
        return self.call("pause", target=target)

    def do_resume(self, target: str | None = None) -> dict[str, Any]:
        """End a pause; the result is as of `do_stage`."""
        return self.call("resume", target=target)

    def do_reload(self) -> dict[str, Any]:
        """Have the configuration read again; the result is `{"added", "removed", "changed", "kept"}`, names of targets."""
        return self.call("reload")

    def do_where(self, target: str | None = None, config: str | None = None) -> dict[str, Any]:
        """Which database a starting service is to open a window for, and what that depends on."""
        return self.call("where", target=target, config=config)

    def do_window(
        self, window: str, database: str | None = None, target: str | None = None
    ) -> dict[str, Any]:
        """The answer to the startup window of that id, when it is there: set `timeout` to what is left of it."""
        return self.call("window", window=window, database=database, target=target)

    def do_version(self) -> dict[str, Any]:
        """What the daemon is: `{"version", "protocol", "capabilities", "python", "sqlite", "pid"}`."""
        return self.call("version")

    def do_events(self, target: str | None = None) -> Iterator[dict[str, Any]]:
        """What happens from this call on, `{"event", "at", ...}` each; the connection is then good for nothing else.

        The iterator ends after a `stopping` event, and raises NoAnswer when the daemon goes away without one.
        """
        self.call("events", target=target)
        return self._events()

    def _events(self) -> Iterator[dict[str, Any]]:
        stopping = False
        self._give_up = None
        try:
            while True:
                try:
                    event = self._read()
                except NoAnswer:
                    if stopping:
                        return
                    raise
                if "event" not in event:
                    self._result(event, self._last_id)
                    raise self._garbage("it sent something that is no event")
                stopping = stopping or event["event"] == "stopping"
                yield event
        finally:
            self.close()

    def _send(self, line: bytes) -> None:
        connection = self._connect()
        try:
            connection.settimeout(self._left())
            connection.sendall(line)
        except TimeoutError:
            raise self._silent() from None
        except OSError:
            # A daemon that refuses a connection says why and closes: the reason may be there to be read.
            return

    def _connect(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._left())
            connection.connect(self.path)
        except PermissionError as error:
            connection.close()
            raise NotAllowed(_shut_out(self.path, error)) from None
        except TimeoutError:
            connection.close()
            raise self._silent() from None
        except BlockingIOError:
            connection.close()
            raise self._no_answer("too many clients are waiting for it", "ask again") from None
        except (OSError, ValueError) as error:
            connection.close()
            raise NoDaemon(_no_daemon(self.path, error)) from None
        except BaseException:
            connection.close()
            raise
        self._socket = connection
        self.hello = {}
        return connection

    def _read(self) -> dict[str, Any]:
        """The next line's object."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LONGEST_REPLY:
                raise self._garbage("its reply does not end")
            try:
                data = b""
                if self._socket is not None:
                    self._socket.settimeout(self._left())
                    data = self._socket.recv(_CHUNK)
            except TimeoutError:
                raise self._silent() from None
            except OSError:
                data = b""
            if not data:
                raise self._lost()
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise self._garbage("its reply is no JSON object")
        return document

    def _left(self) -> float | None:
        """Seconds that the call may still take. Raises TimeoutError at its end."""
        if self._give_up is None:
            return None
        left = self._give_up - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _result(self, reply: dict[str, Any], asked: int) -> dict[str, Any]:
        if not self.hello:
            self._greet(reply.get("driftd"))
        error = reply.get("error")
        if reply.get("ok") is False and isinstance(error, dict):
            document = {name: str(error.get(name, "")) for name in ("code", "what", "why", "fix")}
            if reply.get("id") != asked:
                # It is about the connection, and not about this request: nothing more is answered on it.
                self.close()
            raise (NotAllowed if document["code"] == "not-allowed" else Refused)(document)
        result = reply.get("result")
        if reply.get("ok") is not True or reply.get("id") != asked or not isinstance(result, dict):
            raise self._garbage("its reply does not answer the question")
        return result

    def _greet(self, hello: object) -> None:
        if not isinstance(hello, dict) or not isinstance(hello.get("protocol"), int):
            raise self._garbage("its first reply does not introduce a driftd")
        if hello["protocol"] != PROTOCOL:
            raise NoAnswer(
                _error(
                    f"the daemon at {self.path} speaks another protocol",
                    code="other-protocol",
                    why=f"it speaks {hello['protocol']}, this client speaks {PROTOCOL}",
                    fix="restart the daemon, so that both are of the same release",
                )
            )
        self.hello = hello

    def _silent(self) -> NoAnswer:
        return self._no_answer(f"it kept silent for {self.timeout:g} s", "ask again, or look at its log")

    def _lost(self) -> NoAnswer:
        return self._no_answer("the connection was closed", "see whether it is still running: driftd status")

    def _garbage(self, why: str) -> NoAnswer:
        return self._no_answer(why, "see what listens there: driftd doctor")

    def _no_answer(self, why: str, fix: str) -> NoAnswer:
        return NoAnswer(
            _error(f"the daemon at {self.path} did not answer", code="no-answer", why=why, fix=fix)
        )


def _error(what: str, *, code: str, why: str, fix: str) -> dict[str, str]:
    return {"code": code, "what": what, "why": why, "fix": fix}


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _no_daemon(path: str, error: Exception) -> dict[str, str]:
    return _error(
        f"no daemon listens at {path}",
        code="no-daemon",
        why=_reason(error),
        fix="start one with `driftd run`, or name the socket of the one that runs in DRIFTD_SOCKET",
    )


def _shut_out(path: str, error: Exception) -> dict[str, str]:
    return _error(
        f"this user may not connect to {path}",
        code="not-allowed",
        why=_reason(error),
        fix="ask as the user that runs driftd or as root, or have `group` set under [daemon] to a group of yours",
    )
