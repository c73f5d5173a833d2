"""Where starting services are received: each gets one answer, in time, whatever the target is busy with.

A service asks over the socket, or in the files beside the database alone (docs/window-protocol.md). Everything here runs on
the loop's thread; the files are read and written on a thread of their own, because the target's worker may be busy.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from driftd import states, told, windows
from driftd.locks import write_answer
from driftd.outcomes import leaving
from driftd.windows import Opening
from driftd.worker import Worker
from driftd.works import Kept, not_applied
from driftengine.apply import DEFERRED
from driftengine.errors import DriftError
from driftengine.window import late

if TYPE_CHECKING:
    from driftd.locks import Locks
    from driftd.startup.opened import Opened
    from driftd.works import Works

    Document = dict[str, Any]


class Receiving(Kept, Protocol):
    """What the reception needs of its keeper."""

    @property
    def leaving(self) -> bool:
        """True when nothing begins here any more."""

    def happen(self, event: str) -> None:
        """One step of the state machine."""

    async def idle(self) -> None:
        """Returns when nothing is under way."""

    async def turn(self) -> None:
        """Returns at the next step of the state machine."""


class Reception:
    """The starting services of one target."""

    def __init__(self, keeper: Receiving, works: Works, locks: Locks) -> None:
        self._keeper, self._works, self._locks = keeper, works, locks
        self._loop = asyncio.get_running_loop()
        self._opening: Opening | None = None
        self._written = ""  # the window that was answered in a file last

    @cached_property
    def _door(self) -> Worker:
        """The thread for the window's files; most daemons never need one."""
        return Worker(f"{self._keeper.target.name}-window")

    def end(self) -> None:
        """Nobody is received any more."""
        if "_door" in self.__dict__:
            self._door.end()

    async def attend(self, window: str) -> Document:
        """The answer to a service that says over the socket that it starts. Raises BusyError (`window-closed`)."""
        seen = await self._starting()
        if seen is None or seen.id != window:
            raise windows.closed()
        return await self._answer(self._opening_of(seen))

    def knocked(self) -> None:
        """A service may have opened a window in the files alone."""
        if not self._keeper.leaving:
            self._works.spawn(self._attend_files())

    async def _attend_files(self) -> None:
        seen = await self._starting()
        if seen is None or seen.via_socket or seen.id == self._written:
            return
        self._written = seen.id
        answer = await self._answer(self._opening_of(seen))
        try:
            await self._door.run(partial(write_answer, self._database, answer))
        except (DriftError, OSError) as error:
            self._keeper.log.warning("a starting service cannot be answered in its file: %s", error)

    @property
    def _database(self) -> Path:
        return Path(self._keeper.database)

    async def _starting(self) -> Opened | None:
        if self._keeper.leaving:
            raise leaving(self._keeper.target.name)
        return await self._door.run(partial(self._locks.starting, self._database))

    def _opening_of(self, seen: Opened) -> Opening:
        still_open = partial(self._locks.still_open, self._database, seen.id)
        return Opening(seen.id, now=self._loop.time(), until=seen.deadline_at, still_open=still_open)

    async def _answer(self, opening: Opening) -> Document:
        """At its deadline at the latest; asked again for one window, the same."""
        known = self._opening
        if known is not None and known.id == opening.id:
            opening = known
        else:
            if known is not None:
                known.close()  # another starter has its lock: nobody waits for this one any more
            self._opening = opening
            self._works.spawn(self._open(opening))
        return await asyncio.shield(opening.answered)

    async def _open(self, opening: Opening) -> None:
        keeper = self._keeper
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(opening.deadline_at):
                if keeper.standing.state == states.PAUSED:
                    await keeper.idle()  # an apply is not cut off, and the service must not start beside it
                if keeper.standing.state == states.PAUSED or keeper.leaving:
                    self._put_off(opening)
                else:
                    self._works.opening = opening
                    self._works.hurry()
                    keeper.happen(states.OPENED)
                await self._answered(opening)
        if not opening.answered.done():
            await self._end(opening)
        keeper.timers.leave()
        keeper.found.answered(opening.answered.result(), self._loop.time() - opening.began_at)
        keeper.log.info("%s", told.window(keeper.found.last_window), extra={"event": "window"})
        keeper.publish()

    async def _answered(self, opening: Opening) -> None:
        """Returns when it is answered; where the target is paused before its turn has come, that is the answer."""
        while not opening.answered.done():
            if self._keeper.standing.state == states.PAUSED and self._keeper.standing.work != states.WINDOW:
                self._put_off(opening)
                return
            turned = asyncio.ensure_future(self._keeper.turn())
            either: set[asyncio.Future[Any]] = {turned, opening.answered}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                turned.cancel()

    async def _end(self, opening: Opening) -> None:
        """The time is up. Unless its COMMIT has begun, nothing is changed any more."""
        waited = self._loop.time() - opening.began_at
        if opening.close():
            opening.answer(
                not_applied(self._keeper, DEFERRED, late(f"it was not done within {waited:.1f} s"))
            )
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(opening.until):
                await asyncio.shield(opening.answered)
        waited = self._loop.time() - opening.began_at
        opening.answer(not_applied(self._keeper, "unknown", windows.unknown(waited)))

    def _put_off(self, opening: Opening) -> None:
        opening.close()
        name = self._keeper.target.name
        why = leaving(name) if self._keeper.leaving else windows.resting(name)
        opening.answer(not_applied(self._keeper, DEFERRED, why))
