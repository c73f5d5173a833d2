"""The daemon's socket: connections in, handlers called, replies out. docs/socket.md is the contract.

Everything runs on the loop that called `Server.start`. A handler that waits keeps its own connection waiting and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, cast

from driftd import protocol
from driftd.connection import ClientGone, Connection
from driftd.peers import UNKNOWN, Peer, Rules, may_read, may_write, peer_of
from driftd.protocol import LIMITS, Command, Document, Limits
from driftd.socket_file import SocketFile, take_socket
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger("driftd.socket")


class Request(NamedTuple):
    """What a handler is given: arguments of the declared names and types, who asks, and whether that one may write."""

    arguments: Document
    peer: Peer
    writer: bool = True


class Handler(NamedTuple):
    """What answers one command; what it takes stands in `protocol.COMMANDS`.

    Args:
        function: takes a Request and returns the result. With `stream` it is an async generator of events instead: what it
            does before it first waits is done before the reply goes out. A DriftError becomes the reply's error.
        writes: only who may write may ask.
        stream: the reply is followed by events.
        declared: for a command that the protocol does not know.
    """

    function: Callable[[Request], Awaitable[Document] | AsyncIterator[Document]]
    writes: bool = False
    stream: bool = False
    declared: Command | None = None


class Server:
    """Serves the handlers at a socket path.

    Args:
        path: where the socket lies.
        handlers: by command name.
        hello: what the first reply of a connection carries under `driftd`; the server adds `capabilities`, the names.
        group: a group, by name or gid, whose members may connect and write; empty for none.
        readable: everybody may connect, and read.
        limits: what one client may ask.
    """

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        *,
        hello: Document,
        group: str = "",
        readable: bool = False,
        limits: Limits = LIMITS,
    ) -> None:
        self._path = path
        self._handlers = handlers
        self._commands = {name: _command(name, handler) for name, handler in handlers.items()}
        self._hello = {**hello, "capabilities": sorted(handlers)}
        self._group = group
        self._rules = Rules(os.geteuid(), None, readable)
        self._limits = limits
        self._file: SocketFile | None = None
        self._server: asyncio.Server | None = None
        self._served: dict[asyncio.Task[None], Connection] = {}
        self._counts: Counter[int] = Counter()
        self._strangers = 0
        self._closing = False

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._served)

    def take(self) -> None:
        """Make the path ours: who connects from now on waits until `start`.

        Raises DriftError `socket-taken`, `socket-path-too-long` or `socket-unusable`.
        """
        self._file = take_socket(self._path, group=self._group, readable=self._rules.readable)
        self._rules = self._rules._replace(group=self._file.group)

    async def start(self) -> None:
        """Answer. Raises what `take` raises, where that has not been called."""
        if self._file is None:
            self.take()
        assert self._file is not None  # noqa: S101  # it is ours by now
        try:
            self._server = await asyncio.start_unix_server(self._accept, sock=self._file.listening)
        except BaseException:
            self._file.release()
            raise

    async def close(self, grace: float = 1.0) -> None:
        """Stop listening, let requests that are being answered end within `grace` seconds, close every connection."""
        self._closing = True
        if self._server:
            self._server.close()
        for task, connection in self._served.items():
            if connection.reading:
                task.cancel()
        if self._served:
            await asyncio.wait(self._served, timeout=grace)
        left = dict(self._served)
        for task, connection in left.items():
            connection.abort()
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._file:
            self._file.release()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client has connected: refuse it or give it a task of its own."""
        connection = Connection(reader, writer, self._limits)
        raw = writer.get_extra_info("socket")
        peer = peer_of(raw) if raw is not None else UNKNOWN
        refusal = self._refusal(peer)
        task = asyncio.create_task(
            self._refuse(connection, refusal) if refusal else self._serve(connection, peer)
        )
        self._served[task] = connection
        task.add_done_callback(lambda done: self._served.pop(done, None))
        if refusal is None:
            self._count(peer, 1)
            task.add_done_callback(lambda _: self._count(peer, -1))

    def _count(self, peer: Peer, change: int) -> None:
        self._counts[peer.uid] += change
        if not self._counts[peer.uid]:
            del self._counts[peer.uid]
        if not may_write(peer, self._rules):
            self._strangers += change

    def _refusal(self, peer: Peer) -> DriftError | None:
        """Why this client may not be served now, or None.

        Who may only read, all users together, never get the places that the writers need.
        """
        per_user, in_all = self._limits.per_user, self._limits.in_all
        for_strangers = max(in_all - per_user, 1)
        if self._counts[peer.uid] >= per_user:
            why = f"this user has {per_user} already"
        elif self._counts.total() >= in_all:
            why = f"there are {in_all} already"
        elif not may_write(peer, self._rules) and self._strangers >= for_strangers:
            why = f"users who may only read have {for_strangers} already"
        else:
            return None
        return DriftError(
            "there are too many connections",
            code="too-many-connections",
            why=why,
            fix="close connections that are not needed, and try again",
        )

    async def _refuse(self, connection: Connection, error: DriftError) -> None:
        with contextlib.suppress(ClientGone):
            await self._fail(connection, error)
        await connection.close()

    async def _fail(self, connection: Connection, error: DriftError) -> None:
        await connection.send(self._line(connection, protocol.failure(error.as_document(), {})))

    async def _serve(self, connection: Connection, peer: Peer) -> None:
        """Answer a client's requests in their order, until it leaves."""
        try:
            while not self._closing:
                try:
                    line = await connection.next_line()
                except DriftError as error:
                    await self._fail(connection, error)
                    continue
                if line is None:
                    break
                if line.strip() and not await self._answer(connection, peer, line):
                    break
        except ClientGone:
            pass
        except BaseException:
            connection.abort()
            raise
        await connection.close()

    async def _answer(self, connection: Connection, peer: Peer, line: bytes) -> bool:
        """Answer one request; False when nothing can follow, because it was a stream."""
        echo: Document = {}
        try:
            document = protocol.decode(line)
            echo = protocol.id_of(document)
            handler, request = self._request(document, peer)
            if handler.stream:
                await self._stream(connection, handler, request, echo)
                return False
            result = await cast("Awaitable[Document]", handler.function(request))
            reply = self._line(connection, protocol.success(result, echo))
        except DriftError as error:
            reply = self._line(connection, protocol.failure(error.as_document(), echo))
        except ClientGone:
            raise
        except Exception:  # a fault in one handler is told to its client and logged; the daemon lives on
            log.exception("the request %s failed", protocol.shown(line.decode("utf-8", "replace")))
            reply = self._line(connection, protocol.failure(_internal().as_document(), echo))
        await connection.send(reply)
        return True

    def _request(self, document: Document, peer: Peer) -> tuple[Handler, Request]:
        """Who may ask what: the handler and what it is given; raises the DriftError that refuses it."""
        if not may_read(peer, self._rules):
            raise _not_allowed("only the user that runs driftd, root and its group may use this socket")
        name = protocol.command_of(document, self._handlers)
        command = self._commands[name]
        arguments = protocol.arguments_of(document, name, command.arguments)
        writer = may_write(peer, self._rules)
        if command.needs_writing(arguments) and not writer:
            raise _not_allowed(f"{name} changes something, and uid {peer.uid} may only read")
        return self._handlers[name], Request(arguments, peer, writer)

    async def _stream(
        self, connection: Connection, handler: Handler, request: Request, echo: Document
    ) -> None:
        """One reply, then events, until there are no more or the client leaves."""
        events = aiter(cast("AsyncIterator[Document]", handler.function(request)))
        first = asyncio.ensure_future(_next(events))
        # One turn of the loop takes it to where it first waits: it follows from before the reply, and what it refuses is
        # known by then.
        await asyncio.sleep(0)
        if first.done() and first.exception():
            first.result()
        pump = asyncio.create_task(self._pump(connection, first, events, echo))
        gone = asyncio.create_task(connection.gone())
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, gone, first):
                task.cancel()
            ended, _, _ = await asyncio.gather(pump, gone, first, return_exceptions=True)
            if isinstance(events, AsyncGenerator):
                await events.aclose()
        if isinstance(ended, Exception):
            raise ended

    async def _pump(
        self,
        connection: Connection,
        first: asyncio.Future[Document | None],
        events: AsyncIterator[Document],
        echo: Document,
    ) -> None:
        await connection.send(self._line(connection, protocol.success({}, echo)))
        event = await first
        while event is not None:
            await connection.send(protocol.encode(event))
            event = await _next(events)

    def _line(self, connection: Connection, reply: Document) -> bytes:
        """The reply's line; the first one of a connection introduces the daemon."""
        if connection.greeted:
            return protocol.encode(reply)
        line = protocol.encode({**reply, "driftd": self._hello})
        connection.greeted = True
        return line


async def _next(events: AsyncIterator[Document]) -> Document | None:
    """The next event, None when there are no more."""
    return await anext(events, None)


def _command(name: str, handler: Handler) -> Command:
    """What a command takes and whom it needs: writing, where the protocol or its handler says so."""
    declared = handler.declared or protocol.COMMANDS[name]
    return declared._replace(writes=declared.writes or handler.writes)


def _not_allowed(why: str) -> DriftError:
    return DriftError(
        "this is not allowed",
        code="not-allowed",
        why=why,
        fix="ask as the user that runs driftd or as root, or have `group` set under [daemon] to a group of yours",
    )


def _internal() -> DriftError:
    return DriftError(
        "driftd came upon something that it did not foresee",
        code="internal",
        why="it is a bug in driftd; its log has the traceback",
        fix="report the traceback; the daemon goes on, and changes are whole or not made at all",
    )
