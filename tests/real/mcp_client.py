"""A client of the Model Context Protocol over a server's stdin and stdout, standard library alone.

One JSON-RPC message a line each way, as https://modelcontextprotocol.io/specification/2025-03-26/basic/transports has it. A server
whose log goes to stdout breaks that rule, and clients overlook it: so does this one, but it keeps those lines.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

PATIENCE = 60.0  # seconds until an answer that must come counts as not coming
PROTOCOL = "2025-03-26"
CHUNK = 1 << 16

Document = dict[str, Any]


class ServerError(AssertionError):
    """The server did not answer, or with an error; the message has what it said on stderr."""


class Client:
    """Speaks to a server that runs.

    `others` are the lines of stdout that are no messages of the protocol, without their ends.
    """

    def __init__(self, process: subprocess.Popen[bytes], stderr: Path) -> None:
        self.process, self._stderr = process, stderr
        self.others: list[str] = []
        self._buffer = b""
        self._number = 0

    @property
    def said(self) -> str:
        """What it has written to stderr so far."""
        return self._stderr.read_text(encoding="utf-8")

    def initialize(self) -> Document:
        """The handshake; what the server says of itself."""
        told = self.request(
            "initialize",
            {
                "protocolVersion": PROTOCOL,
                "capabilities": {},
                "clientInfo": {"name": "tests", "version": "1"},
            },
        )
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return told

    def tools(self) -> set[str]:
        """The names of its tools."""
        return {tool["name"] for tool in self.request("tools/list", {})["tools"]}

    def call(self, tool: str, **arguments: Any) -> Document:
        """What a tool answers, which must be a JSON object in one text. Raises ServerError."""
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        texts = [part["text"] for part in result["content"]]
        if result.get("isError") or len(texts) != 1:
            raise ServerError(f"{tool}: {texts}\n{self.said}")
        found: Document = json.loads(texts[0])
        return found

    def request(self, method: str, parameters: Document) -> Document:
        """The result of one request. Raises ServerError."""
        self._number += 1
        self._send({"jsonrpc": "2.0", "id": self._number, "method": method, "params": parameters})
        give_up = time.monotonic() + PATIENCE
        while True:
            message = self._message(give_up)
            if message.get("id") != self._number:
                continue
            if "error" in message:
                raise ServerError(f"{method}: {message['error']}\n{self.said}")
            result: Document = message["result"]
            return result

    def end(self) -> int:
        """Closes its stdin, reads what it still says, and gives its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        give_up = time.monotonic() + PATIENCE
        while (line := self._line(give_up)) is not None:
            if _message(line) is None:
                self.others.append(line)
        return self.process.wait(PATIENCE)

    def _send(self, message: Document) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ServerError(f"the server has ended:\n{self.said}") from None

    def _message(self, give_up: float) -> Document:
        while (line := self._line(give_up)) is not None:
            message = _message(line)
            if message is not None:
                return message
            self.others.append(line)
        raise ServerError(f"the server has closed its stdout:\n{self.said}")

    def _line(self, give_up: float) -> str | None:
        """The next line; None at the end. Raises ServerError when the time is up."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, give_up - time.monotonic()))
            if not ready:
                raise ServerError(f"no answer within {PATIENCE:.0f} s:\n{self.said}")
            data = os.read(descriptor, CHUNK)
            if not data:
                assert not self._buffer, self._buffer
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()


@contextmanager
def connected(
    command: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str], stderr: Path
) -> Iterator[Client]:
    """A server in that folder while the block runs. Whatever happens in it, no process stays.

    It is not spoken to yet: it may be about to start. `stderr` is the file that its stderr goes to.
    """
    with (
        stderr.open("ab") as errors,
        subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        try:
            yield Client(process, stderr)
        finally:
            process.kill()


def _message(line: str) -> Document | None:
    """The line as a message of the protocol, or None."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("jsonrpc") == "2.0" else None
