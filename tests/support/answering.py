"""A socket that answers as told, line by line as docs/socket.md says: the other end for tests of the command line."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any, Self

from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Document = dict[str, Any]


class Answering:
    """Answers each command with what `answers` holds for it: a document, or a DriftError to refuse with.

    `asked` lists the requests so far, `events` aside, as (command, arguments). `push` sends an event to everybody who
    follows; `vanish` closes every connection without a word, as a daemon does that is killed.
    """

    def __init__(self, path: Path, answers: Mapping[str, Document | DriftError]) -> None:
        self.path = path
        self.answers = dict(answers)
        self.asked: list[tuple[str, Document]] = []
        self._connections: list[socket.socket] = []
        self._following: list[socket.socket] = []
        self._server = _Server(str(path), _Connection)
        self._server.answering = self
        # Looks for its end often: that is what leaving the context waits for.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.vanish()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def push(self, **event: Any) -> None:
        """Send an event to whoever follows by now."""
        for connection in self._following:
            connection.sendall(_line(event))

    def vanish(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()
        self._following.clear()

    def connected(self, connection: socket.socket) -> None:
        """Called for each client."""
        self._connections.append(connection)

    def left(self, connection: socket.socket) -> None:
        """Called when a client has hung up."""
        for known in (self._connections, self._following):
            if connection in known:
                known.remove(connection)

    def answer(self, request: Document, connection: socket.socket) -> Document:
        """The reply to one request."""
        echo = {"id": request.pop("id")} if "id" in request else {}
        command = request.pop("command")
        if command == "events":
            self._following.append(connection)
            return {"ok": True, **echo, "result": {"targets": []}}
        self.asked.append((command, request))
        found = self.answers[command]
        if isinstance(found, DriftError):
            return {"ok": False, **echo, "error": found.as_document()}
        return {"ok": True, **echo, "result": found}


class _Server(socketserver.ThreadingUnixStreamServer):
    """A thread for each client."""

    answering: Answering


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Answer until the client leaves; the first reply introduces the daemon."""
        assert isinstance(self.server, _Server)
        answering = self.server.answering
        answering.connected(self.connection)
        hello: Document = {"driftd": {"version": "0.1.0", "protocol": 1, "capabilities": []}}
        try:
            for line in self.rfile:
                reply = answering.answer(json.loads(line), self.connection)
                self.connection.sendall(_line({**reply, **hello}))
                hello = {}
        except ConnectionError:
            pass  # a client may leave whenever it likes
        finally:
            answering.left(self.connection)


def _line(document: Document) -> bytes:
    return json.dumps(document).encode() + b"\n"
