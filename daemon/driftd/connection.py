"""One client's connection: lines in, lines out, each with a limit of size and time. It knows nothing of commands."""

from __future__ import annotations

import asyncio
import select
import sys
from typing import TYPE_CHECKING

from driftengine.errors import DriftError

if TYPE_CHECKING:
    from driftd.protocol import Limits

_CHUNK = 64 * 1024
# How often a client that has shut its sending side, and follows events, is looked at: nothing tells when it leaves.
_GONE_CHECK_S = 30.0


class ClientGone(Exception):  # noqa: N818 - it is no error: clients come and go
    """The client has left, or does not take what it asked for; nothing more can be said to it."""


class Connection:
    """Lines from and to one client.

    `reading` is true while it waits for a request, so that closing may interrupt it; `greeted`, once a reply has introduced
    the daemon.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: Limits) -> None:
        self.reading = False
        self.greeted = False
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._buffer = bytearray()
        self._ended = False
        # drain() then waits until the kernel has everything, so that the time limit is one for each reply.
        writer.transport.set_write_buffer_limits(high=0)

    async def next_line(self) -> bytes | None:
        """The next request, without its newline; None when nothing more will come.

        What stands before the end of the stream without a newline counts as a line. Before the first byte of a line a client
        may be silent for as long as it likes. Raises DriftError `request-too-long` (the line has been skipped) or
        `request-timeout` (the client's sending side is then taken for closed).
        """
        self.reading = True
        try:
            if self._buffer:
                # The rest of a pipeline is read without waiting: the others get their turn in between.
                await asyncio.sleep(0)
            while not self._buffer and not self._ended:
                await self._fill()
            if not self._buffer:
                return None
            return await self._line()
        finally:
            self.reading = False

    async def send(self, line: bytes) -> None:
        """Hand a line to the kernel; raises ClientGone when the client has left or does not take it in time."""
        transport = self._writer.transport
        if transport.is_closing():
            raise ClientGone
        try:
            self._writer.write(line)
            async with asyncio.timeout(self._limits.write_s):
                await self._writer.drain()
        except (OSError, TimeoutError):
            transport.abort()
            raise ClientGone from None

    async def gone(self) -> None:
        """Return when the client has closed, throwing away what it still sends."""
        while not self._ended:
            self._buffer.clear()
            await self._fill()
        while not self._hung_up():  # noqa: ASYNC110 - nothing notifies of it
            await asyncio.sleep(_GONE_CHECK_S)

    async def close(self) -> None:
        """Close, after at most the time that a reply may take."""
        self._writer.close()
        try:
            async with asyncio.timeout(self._limits.write_s):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self.abort()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self._writer.transport.abort()

    async def _line(self) -> bytes:
        try:
            async with asyncio.timeout(self._limits.read_s):
                return await self._rest_of_line()
        except TimeoutError:
            self._buffer.clear()
            self._ended = True
            raise DriftError(
                "the rest of the request did not come",
                code="request-timeout",
                why=f"a request begun must be complete after {self._limits.read_s:g} s",
                fix="end each request with a newline, and send it at once",
            ) from None

    async def _rest_of_line(self) -> bytes:
        limit, skipped = self._limits.request_bytes, 0
        while (end := self._buffer.find(b"\n")) < 0 and not self._ended:
            if len(self._buffer) > limit:
                # Nothing of it is kept, only its end is looked for, and not for ever.
                skipped += len(self._buffer)
                self._buffer.clear()
                self._ended = skipped > self._limits.discard_bytes
            else:
                await self._fill()
        stop = len(self._buffer) if end < 0 else end
        line = bytes(self._buffer[:stop])
        del self._buffer[: stop + 1]
        if skipped or len(line) > limit:
            raise DriftError(
                "the request is too long",
                code="request-too-long",
                why=f"a request has at most {limit} bytes",
                fix="name fewer operations at a time",
            )
        return line

    async def _fill(self) -> None:
        try:
            data = await self._reader.read(_CHUNK)
        except OSError:
            data = b""
        self._buffer += data
        self._ended = self._ended or not data

    def _hung_up(self) -> bool:
        """True when the client has closed both ways; one that has only shut its sending side still listens."""
        if self._writer.transport.is_closing():
            return True
        if not sys.platform.startswith("linux"):
            return False  # elsewhere the next event finds out; poll() reports both alike
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket").fileno(), 0)
        return any(event & select.POLLHUP for _, event in poll.poll(0))
