"""What a keeper has under way: looking, staging, applying, a window, an order. Each work ends in one event for the state machine.

All of it runs on the loop's thread; what blocks (the models, the database) runs on the target's worker, what takes long
(staging) in a process of its own. One work at a time: the state machine sees to that.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from driftd import states, told, windows
from driftd.entry import BY_WINDOW
from driftd.exclusive import starting
from driftd.outcomes import (
    TROUBLED,
    as_error,
    event_of_applied,
    event_of_error,
    event_of_look,
    event_of_staged,
    event_of_window,
    leaving,
)
from driftd.stager import stage_apart
from driftengine import documents
from driftengine.apply import DEFERRED, FAILED
from driftengine.errors import DriftError
from driftengine.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from driftd.entry import Found
    from driftd.locks import Locks
    from driftd.log import Log
    from driftd.orders import Job, Order
    from driftd.timers import Timers
    from driftd.turns import Turns
    from driftd.windows import Opening
    from driftd.worker import Worker
    from driftengine.session import Session
    from driftengine.target import Target

    Document = dict[str, Any]


class Kept(Protocol):
    """What a work needs of its keeper."""

    target: Target
    standing: states.Standing
    database: str
    misled: bool
    found: Found
    log: Log
    session: Session
    worker: Worker
    timers: Timers

    def publish(self) -> None:
        """Tells whoever follows."""

    def ended(self, event: str) -> None:
        """A work has ended."""

    def led_astray(self) -> None:
        """The session has opened another file than the one that the lock is for."""


class Works:
    """The works of one target.

    `fresh` and `restages` are wishes for the next look; `opening` is the window to answer, `order` what to carry out next.
    """

    def __init__(self, keeper: Kept, turns: Turns, locks: Locks) -> None:
        self.fresh = self.restages = False
        self.opening: Opening | None = None
        self.order: Order | None = None
        self._keeper = keeper
        self._turns, self._locks = turns, locks
        self._loop = asyncio.get_running_loop()
        self._cancelled = threading.Event()
        self._hurried = asyncio.Event()
        self._recorded = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stager: asyncio.Task[Any] | None = None

    def begin(self, action: str) -> None:
        """Begins a work, or lets go of a stage."""
        if action == states.DISCARD:
            self._keeper.found.stage = None
            self.spawn(self._discarding())
            return
        self._cancelled.clear()
        if not self._keeper.standing.opened:
            self._hurried.clear()
        works: dict[str, Callable[[], Coroutine[Any, Any, str]]] = {
            states.LOOK: self._looking,
            states.STAGE: self._staging,
            states.APPLY: self._applying,
            states.WINDOW: self._answering,
            states.ORDER: self._carrying_out,
        }
        if action == states.LOOK:
            self._keeper.timers.looks()
        self.spawn(self._ending(works[action]))

    def cancel(self) -> None:
        """What is under way ends early, if it can."""
        self._cancelled.set()
        if self._stager is not None:
            self._stager.cancel()

    def give_up_order(self, why: DriftError) -> None:
        """What was ordered and has not begun will not begin."""
        order, self.order = self.order, None
        if order is not None:
            order.refuse(why)

    def hurry(self) -> None:
        """A service waits: what is under way goes past every queue."""
        self._hurried.set()

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Runs something beside, to its end."""
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)

    async def _ending(self, work: Callable[[], Coroutine[Any, Any, str]]) -> None:
        """Every work ends in one event, whatever happens."""
        keeper = self._keeper
        try:
            event = await work()
            if event not in TROUBLED:
                keeper.found.problem = None
        except Exception as error:  # noqa: BLE001  # a fault of ours stops this target's step, not the daemon
            event = event_of_error(error)
            if keeper.standing.work == states.APPLY:
                keeper.found.stage = None  # used up, or given up with its backup
            if event != states.CANCELLED:
                keeper.found.problem = as_error(error)
                self._log_problem(error)
        finally:
            keeper.found.progress = None
        keeper.ended(event)

    async def _looking(self) -> str:
        keeper, session = self._keeper, self._keeper.session
        fresh, self.fresh = self.fresh, False
        restages, self.restages = self.restages, False
        async with self._turns.turn(self._hurried):
            if restages:
                await keeper.worker.run(session.discard)
            document = await keeper.worker.run(
                partial(session.look, fresh=fresh, cancelled=self._cancelled.is_set)
            )
        if document["database"] != keeper.database:
            # A link was turned between the taking of the lock and the opening: nothing is done without the lock.
            keeper.led_astray()
            return states.CANCELLED
        lost = keeper.found.lost
        keeper.found.looked(document)
        if keeper.found.lost and not lost:
            keeper.log.warning("%s", keeper.found.lost, extra={"event": "lost"})
        # Once: where it cannot be written down (a database that may only be read), a second try would follow for ever.
        records = keeper.target.mode == "dev" and not self._recorded
        self._recorded = bool(document["unrecorded"])
        return event_of_look(document, records=records)

    async def _staging(self) -> str:
        keeper, session = self._keeper, self._keeper.session
        async with self._turns.turn(self._hurried):
            if self._cancelled.is_set():
                return states.CANCELLED
            mark = await keeper.worker.run(session.begin_stage)
            desired, approved = session.desired, session.approved
            try:
                if self._cancelled.is_set():  # while begin_stage waited for somebody's lock
                    return states.CANCELLED
                self._stager = asyncio.create_task(
                    stage_apart(keeper.target, desired, approved, self._progress, keeper.worker)
                )
                prepared = await self._stager
            except asyncio.CancelledError:
                if not self._cancelled.is_set():
                    raise
                return states.CANCELLED
            finally:
                self._stager = None
                await keeper.worker.run(session.end_stage)
        document = await keeper.worker.run(partial(session.keep, prepared, mark))
        keeper.found.staged(document)
        keeper.timers.staged(prepared.took_ms / 1000)
        if document["stage"] is not None and document["stage"]["freshness"] != "exact":
            keeper.timers.refresh()  # somebody wrote meanwhile, and a glance may have used that news up
        return event_of_staged(document)

    async def _applying(self) -> str:
        keeper = self._keeper
        if keeper.misled:
            return states.CANCELLED
        document = await keeper.worker.run(self._applied)
        if document is None:
            return states.CANCELLED  # a service starts at this moment: its window does it
        keeper.found.applied(document)
        self._log_migrated(document)
        return event_of_applied(document)

    def _applied(self) -> Document | None:
        """On the worker, in mode dev; None where a service starts at this moment."""
        keeper = self._keeper
        with self._locks.keep_out(Path(keeper.database)) as kept_out:
            if not kept_out:
                return None
            with self._locks.use_alone(Path(keeper.database)) as use:
                document = keeper.session.apply(
                    allowed_by="driftd run, mode dev", progress=self._from_worker, in_use=not use
                )
            return warned(document, use.warning)

    async def _carrying_out(self) -> str:
        """What a person ordered. Whatever comes of it is the person's answer, and then there is a look."""
        keeper, order, self.order = self._keeper, self.order, None
        assert order is not None  # noqa: S101  # the keeper sets it before it tells the state machine
        try:
            if keeper.misled:
                raise leaving(keeper.target.name)  # noqa: TRY301  # the keeper that follows has the right file
            order.done(await keeper.worker.run(partial(self._ordered, order.job)))
        except Exception as error:  # noqa: BLE001  # it is told to whoever asked, and the server logs what is no DriftError
            order.refuse(error)
        return states.CARRIED_OUT

    def _ordered(self, job: Job) -> Document:
        """On the worker. Raises BusyError (`service-starting`), and all that the job raises."""
        keeper = self._keeper
        with self._locks.keep_out(Path(keeper.database)) as kept_out:
            if not kept_out:
                raise starting(keeper.database)
            keeper.session.rest()  # the job opens the database itself
            with self._locks.use_alone(Path(keeper.database)) as use:
                document = job(in_use=not use, progress=self._from_worker)
            return warned(document, use.warning)

    async def _discarding(self) -> None:
        try:
            await self._keeper.worker.run(self._keeper.session.discard)
        except (DriftError, OSError) as error:
            self._log_problem(error)

    # --- a service starts

    async def _answering(self) -> str:
        keeper, opening, before = self._keeper, self.opening, self._keeper.standing.state
        assert opening is not None  # noqa: S101  # the keeper sets it before it tells the state machine
        if keeper.misled:
            opening.give_up(leaving(keeper.target.name))  # the keeper that follows has the right file
            return states.CANCELLED
        try:
            document, known = await keeper.worker.run(partial(self._answered, opening))
        except Exception as error:
            keeper.timers.leave()
            opening.answer(not_applied(keeper, FAILED, error))
            raise
        keeper.timers.leave()
        event = event_of_window(document, before, known=known)
        if event not in {states.WINDOW_SAME, states.WINDOW_LEFT}:
            keeper.found.applied(document)
        opening.answer(document)
        self._log_migrated(document)
        return event

    def _answered(self, opening: Opening) -> tuple[Document, bool]:
        """On the worker: the answer, and whether the last look still holds. The database is left to the service before that."""
        keeper = self._keeper
        if keeper.target.mode == "observe":
            return self._observed(), keeper.session.knows

        def progress(phase: str, done: int, total: int) -> None:
            if opening.closed:  # its starter has gone, and the next one waits behind this work
                raise windows.closed()
            self._from_worker(phase, done, total)

        with self._locks.use_alone(Path(keeper.database)) as use:
            window = Window(opening.id, opening.deadline_at, opening.require_open, in_use=not use)
            document = keeper.session.start(window, allowed_by=BY_WINDOW, progress=progress)
        return warned(document, use.warning), keeper.session.knows

    def _observed(self) -> Document:
        keeper = self._keeper
        try:
            look = keeper.session.look()
        finally:
            keeper.session.rest()
        if look["in_sync"]:
            return not_applied(keeper, "up_to_date", None)
        return not_applied(keeper, DEFERRED, windows.observed(keeper.target.name))

    # --- what is told meanwhile

    def _from_worker(self, phase: str, done: int, total: int) -> None:
        self._loop.call_soon_threadsafe(self._progress, phase, done, total)

    def _progress(self, phase: str, done: int, total: int) -> None:
        self._keeper.found.progress = {"phase": phase, "done": done, "total": total}
        self._keeper.publish()

    def _log_migrated(self, document: Document) -> None:
        if document["migration_id"]:
            self._keeper.log.info("%s", told.migrated(document), extra={"event": "migrated"})

    def _log_problem(self, error: Exception) -> None:
        known = isinstance(error, (DriftError, OSError))
        self._keeper.log.warning(
            "%s",
            error,
            exc_info=None if known else error,
            extra={"event": "problem", "error": as_error(error)},
        )


def warned(document: Document, warning: str) -> Document:
    """The document, with a further warning where there is one."""
    return {**document, "warnings": [*document.get("warnings", ()), warning]} if warning else document


def not_applied(keeper: Kept, outcome: str, error: Exception | None) -> Document:
    """The answer of a window in which nothing was done."""
    document = documents.nothing_applied(keeper.target, keeper.database, outcome, 0.0)
    return {**document, "error": None if error is None else as_error(error)}
