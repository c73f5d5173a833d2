"""Where starting services are received: each gets one answer, in time, whatever the target is busy with.

A service asks over the socket, or in the files beside the database alone (docs/window-protocol.md). Everything here runs on
the loop's thread; the files are read and written on a thread of their own, because the target's worker may be busy.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from driftd import states, told, windows
from driftd.entry import without_rows
from driftd.locks import write_answer
from driftd.outcomes import leaving
from driftd.windows import Opening
from driftd.worker import Worker
from driftd.works import Kept, not_applied
from driftengine.apply import DEFERRED
from driftengine.errors import DriftError
from driftengine.window import Window, late

if TYPE_CHECKING:
    from collections.abc import Callable

    from driftd.locks import Locks
    from driftd.startup.opened import Opened
    from driftd.works import Works

    Document = dict[str, Any]


T = TypeVar("T")
AT_ONCE = 1.0  # seconds for an answer that needs no work; then it is a work like any other


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
        self._ended = False
        self._written = ""  # the window that was answered in a file last

    @cached_property
    def _door(self) -> Worker:
        """The thread for the window's files; most daemons never need one."""
        return Worker(f"{self._keeper.target.name}-window")

    def end(self) -> None:
        """Nobody is received any more."""
        self._ended = True
        if "_door" in self.__dict__:
            self._door.end()

    async def attend(self, window: str) -> Document:
        """The answer to a service that says over the socket that it starts. Raises BusyError (`window-closed`)."""
        at_once = await self._at_once(window)
        if at_once is not None:
            return at_once
        seen = await self._starting()
        if seen is None or seen.id != window:
            raise windows.closed()
        return await self._answer(self._opening_of(seen))

    async def _at_once(self, window: str) -> Document | None:
        """The answer where nothing is to be done, as nearly every start: one question to the worker, and no work."""
        keeper, began = self._keeper, self._loop.time()
        known = self._opening is not None and self._opening.id == window
        if known or keeper.leaving or keeper.standing.work != states.IDLE or keeper.target.mode == "observe":
            return None
        if keeper.standing.state != states.IN_SYNC or keeper.worker.busy_since is not None:
            return None
        document = None
        keeper.timers.leave()  # already now: a glance that waits behind this one question comes after its answer
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AT_ONCE):
                document = await keeper.worker.run(partial(self._known, window))
        if document is None:
            return None
        keeper.timers.leave()
        answer = {**document, "id": window, "by": "daemon"}
        self._tell(answer, began)
        return answer

    def _known(self, window: str) -> Document | None:
        """On the worker: the answer that no work is needed for; None where there is some, or nobody starts."""
        seen = self._locks.starting(self._database)
        if seen is None or seen.id != window:
            return None
        try:
            return self._keeper.session.at_once(Window(window, seen.deadline_at, lambda: None))
        except (DriftError, OSError) as error:
            self._keeper.log.debug("%s", error)
            return None  # the window's own work says what it is

    def knocked(self) -> None:
        """A service may have opened a window in the files alone."""
        if not self._keeper.leaving:
            self._works.spawn(self._attend_files())

    async def _attend_files(self) -> None:
        log = self._keeper.log
        try:
            seen = await self._starting()
            if seen is None or seen.via_socket or seen.id == self._written:
                return
            self._written = seen.id
            answer = await self._answer(self._opening_of(seen))
            await self._at_the_door(partial(write_answer, self._database, without_rows(answer)))
        except OSError as error:
            log.warning("a starting service cannot be answered in its file: %s", error)
        except DriftError as error:
            log.debug("a starting service gets no answer here: %s", error)

    @property
    def _database(self) -> Path:
        return Path(self._keeper.database)

    async def _starting(self) -> Opened | None:
        if self._keeper.leaving:
            raise leaving(self._keeper.target.name)
        return await self._at_the_door(partial(self._locks.starting, self._database))

    async def _at_the_door(self, job: Callable[[], T]) -> T:
        """Raises what the job raises, and BusyError (`target-leaving`) where nobody is received any more."""
        if self._ended:
            raise leaving(self._keeper.target.name)
        return await self._door.run(job)

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
                known.give_up(windows.closed())  # another starter has its lock: nobody waits for this one
            self._opening = opening
            self._works.spawn(self._open(opening))
        return await asyncio.shield(opening.answered)

    async def _open(self, opening: Opening) -> None:
        keeper = self._keeper
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(opening.deadline_at):
                if keeper.standing.state == states.PAUSED:
                    await keeper.idle()  # an apply is not cut off, and the service must not start beside it
                self._works.opening = opening
                self._works.hurry()
                await self._answered(opening)
        if not opening.answered.done():
            await self._end(opening)
        if opening.answered.exception() is not None:
            return  # somebody else answers, or nobody waits
        keeper.timers.leave()
        self._tell(opening.answered.result(), opening.began_at)

    def _tell(self, answer: Document, began_at: float) -> None:
        found = self._keeper.found
        found.answered(answer, self._loop.time() - began_at)
        self._keeper.log.info("%s", told.window(found.last_window), extra={"event": "window"})
        self._keeper.publish()

    async def _answered(self, opening: Opening) -> None:
        """Returns when it is answered; where the target is paused before its turn has come, that is the answer."""
        keeper = self._keeper
        while not opening.answered.done():
            if keeper.standing.work != states.WINDOW:
                if keeper.leaving:
                    # The keeper that follows may answer, or the service does without: its lock is free then.
                    opening.give_up(leaving(keeper.target.name))
                    return
                if keeper.standing.state == states.PAUSED:
                    opening.close()
                    opening.answer(not_applied(keeper, DEFERRED, windows.resting(keeper.target.name)))
                    return
                if not keeper.standing.opened:
                    keeper.happen(states.OPENED)  # again, where a pause in between has swallowed it
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
