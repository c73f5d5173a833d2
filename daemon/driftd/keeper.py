"""Keeps one target: carries out what `states.step` decides, and answers what people and starting services ask of it.

Everything here runs on the loop's thread, so nothing needs a lock. What is under way is `works`' business.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftd import states, told
from driftd.entry import Found, entry_of, freshness, now_text
from driftd.log import target_logger
from driftd.orders import Order, not_begun
from driftd.outcomes import hanging, leaving, refusal
from driftd.reception import Reception
from driftd.timers import Timers
from driftd.watch.wishes import KNOCK, knocks_for, wishes_for
from driftd.worker import Worker
from driftd.works import Works
from driftengine.dialects.chosen import named
from driftengine.errors import DriftError
from driftengine.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from driftd.locks import DaemonLock, Locks
    from driftd.orders import Job
    from driftd.turns import Turns
    from driftd.watch.watcher import Watcher
    from driftengine.desired import Ask
    from driftengine.session import Glance
    from driftengine.target import Target

    Document = dict[str, Any]

_UNREADABLE = frozenset(
    {states.MODELS_UNREADABLE, states.DATABASE_UNREADABLE, states.DATABASE_BUSY, states.FAILED}
)
REST_AFTER = 5.0  # seconds without a commit of anybody, then the database is left alone
HANGING_AFTER = 20.0  # seconds without an answer of a database, where the models have not to be loaded
STOP_PATIENCE = 60.0  # seconds that an apply gets to end by itself
STOP_AGAIN = 0.5  # seconds for one that did not, whenever it is asked again
SETTLES = 2.0  # seconds that `resume` waits for the look that it sets off


@dataclass(frozen=True, slots=True)
class Around:
    """What the keepers of a daemon share."""

    watcher: Watcher
    watching: Worker  # the watcher may wait for file systems and locks: on a thread where nobody waits for it
    turns: Turns
    locks: Locks
    publish: Callable[[Document], None]
    followed: Callable[[], bool]
    elsewhere: Callable[[str], None]  # the database of the target of that name is another file now
    memory: Path | None
    warm: Ask | None = None  # takes the place of `probe_process.ask`


class Keeper:
    """One target of the daemon. `lock` is what makes this daemon the only one that serves its database."""

    def __init__(self, target: Target, lock: DaemonLock | None, around: Around) -> None:
        self.target = target
        self.lock = lock
        self.standing = states.Standing(target.mode)
        # What the lock is for. Behind a symbolic link the path may lead elsewhere at any moment, so it is not asked again.
        self.database = str(lock.database) if lock else named(target.url, target.models.directory)
        self.misled = False  # the session came too late, and has opened another file
        self.paused = False  # by somebody; a keeper that is stopped rests in that state too
        self.found = Found(since=now_text(), database=self.database)
        self.log = target_logger(target.name)
        self.session = Session(target, memory=around.memory, warm=around.warm)
        self.worker = Worker(target.name)
        self.timers = Timers(self._due, self._confirm)
        self._around = around
        self.works = Works(self, around.turns, around.locks)
        self.reception = Reception(self, self.works, around.locks)
        self._stopping: asyncio.Future[bool] | None = None
        self._stop_until: float | None = None
        self._loop = asyncio.get_running_loop()
        self._turned = asyncio.Event()
        self._ordering = asyncio.Lock()
        self._glancing = self._confirm_waits = self._stopped = self._led_away = False
        self._watched: tuple[object, ...] = ()

    # --- what happens to a target

    def start(self, *, paused: bool = False) -> None:
        """The first look; where it is `paused`, when somebody resumes it."""
        # Whoever starts from now on is heard, also before the first look has ended.
        knocks = partial(self._around.watcher.watch, self.target.name + KNOCK, knocks_for(self.database))
        self.works.spawn(self._around.watching.run(knocks))
        self.happen(states.PAUSE if paused else states.CHANGED)

    def happen(self, event: str) -> None:
        """One step of the state machine; what it asks for is begun."""
        if self._stopped and event not in states.ENDINGS:
            return  # nothing begins any more: nobody would see its end
        self.paused = event == states.PAUSE or (self.paused and event != states.RESUME)
        self._step(event)

    def _step(self, event: str) -> None:
        before = self.standing
        self.standing, actions = states.step(before, event)
        if self.standing.state != before.state:
            self.found.since = now_text()
            self._log_state(before.state)
        self.timers.stands(self.standing.state)
        if event == states.PAUSE:
            self.works.give_up_order(not_begun(self.target.name, observe=False))
        for action in actions:
            self._carry_out(action)
        self._turned.set()
        if self.standing != before or event in states.ENDINGS:
            self.publish()

    def _carry_out(self, action: str) -> None:
        timed = {
            states.RETRY: self.timers.retry,
            states.REFRESH: self.timers.refresh,
            states.SETTLE: self.timers.settle,
            states.CANCEL: self.works.cancel,
        }
        if action in timed:
            timed[action]()
        else:
            self.works.begin(action)

    def ended(self, event: str) -> None:
        """A work has ended: what the models were loaded from is followed from now on, also where that failed."""
        self.works.spawn(self._watch())
        self.happen(event)

    def led_astray(self) -> None:
        """The session has opened another file than the one that the lock is for."""
        self.misled = True
        self._around.elsewhere(self.target.name)

    def hinted(self) -> None:
        """Something may have happened to a file: looked at when it has been quiet for a moment."""
        if not self._stopped:
            self.timers.hint()

    def tick(self) -> None:
        """Once a second: has anybody committed? Slower while nobody writes."""
        self._see_hanging()
        if self.standing.work != states.IDLE:
            self.reception.knocked()  # the glance that finds who does not knock waits behind what is under way
        idle = self.standing.work == states.IDLE and not self._glancing and not self._stopped
        if idle and self.timers.until_glance() <= 0:
            self.timers.glances()
            self.works.spawn(self._confirming(models=False))

    def until_glance(self) -> float:
        """Seconds until the database is due for a glance."""
        return self.timers.until_glance()

    def rescan(self) -> None:
        """Events are hints; this is the truth."""
        self._confirm()

    def publish(self) -> None:
        """Tells whoever follows the events."""
        if not self._around.followed():
            return
        self._around.publish({"event": "target", "at": now_text(), "target": self.entry()})

    def entry(self) -> Document:
        """The target as `status` shows it; never waits."""
        polled = self._around.watcher.polled(self.target.name)
        entry = entry_of(self.target, self.standing, self.found, self.session.inputs, polled)
        if self.lock is not None and self.lock.elsewhere:
            entry["warnings"] = [self.lock.elsewhere, *entry["warnings"]]
        return entry

    # --- what people ask for

    async def looked(self, *, fresh: bool) -> Document:
        """The check's document as of now: from memory where nothing has moved. Raises DriftError."""
        self._require_serving()
        if self.standing.state == states.PAUSED:
            raise refusal(None, self.target.name)
        if fresh or self.standing.state == states.STARTING or self.found.look is None:
            self.works.fresh = self.works.fresh or fresh
            self.happen(states.CHANGED)
        else:
            # A look that is under way may have read the models before they were saved.
            await self._looked_at()
            self._require_serving()
            if self.standing.work not in {states.APPLY, states.ORDER}:
                await self._confirming(models=True, asked=True)
        await self._looked_at()
        self._require_serving()
        # Paused meanwhile: the look that was to answer was given up, and the one before it is out of date.
        if self.found.look is None or self.standing.state in {*_UNREADABLE, states.PAUSED}:
            raise refusal(self.found.problem, self.target.name)
        return self.found.look

    async def idle(self) -> None:
        """Returns when nothing is under way."""
        while self.standing.work != states.IDLE:
            await self.turn()

    async def _looked_at(self) -> None:
        """Returns when the last look is of now: none is under way, and none is to follow what is."""
        while self.standing.work == states.LOOK or (
            self.standing.work != states.IDLE and self.standing.again
        ):
            await self.turn()

    async def turn(self) -> None:
        """Returns at the next step of the state machine."""
        self._turned.clear()
        await self._turned.wait()

    async def settled(self, patience: float | None = None) -> Document:
        """The entry, as soon as what was set off is done; after `patience` seconds as it is then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.idle()
        return self.entry()

    async def restage(self) -> None:
        """Stages anew, whatever there is."""
        self._require_serving()
        self.works.restages = True
        self.happen(states.CHANGED)

    async def approve(self, words: Sequence[str], by: str, plan_id: str | None) -> None:
        """Approves operations of the plan by id or code, all or none. Raises PlanError, BackupError.

        With `plan_id` only of that plan: what counts is the plan at that moment, not the one that was shown last.
        """
        self._require_serving()
        before = self.found.approved
        self.found.approved = await self.worker.run(
            partial(self.session.approve, words, by=by, plan_id=plan_id)
        )
        new = [one for one in self.found.approved if one not in before]
        self.log.info("approved by %s: %s", by, ", ".join(new) or "nothing new", extra={"event": "approved"})
        self.happen(states.CHANGED)

    async def order(self, job: Job) -> Document:
        """Has something changed now that a person wants: its document. It goes on to its end if nobody waits any more.

        Raises DriftError: `mode-observe`, `target-paused`, `target-leaving`, and all that the job raises.
        """
        answer: asyncio.Future[Document] = self._loop.create_future()
        # In a task of its own: whoever hangs up while it is under way must not let the next order take its place.
        self.works.spawn(self._ordered(Order(job, answer), answer))
        return await asyncio.shield(answer)

    async def _ordered(self, order: Order, answer: asyncio.Future[Document]) -> None:
        """Carries one order out when its turn has come; the outcome is in `answer`."""
        async with self._ordering:  # one at a time; the others wait here
            try:
                self._require_serving()
            except DriftError as error:
                order.refuse(error)
                return
            self.works.order = order
            self.happen(states.ORDERED)
            if self.standing.work != states.ORDER and not self.standing.ordered:
                self.works.give_up_order(not_begun(self.target.name, observe=self.standing.mode == "observe"))
            await asyncio.wait([answer])

    # --- leaving

    @property
    def leaving(self) -> bool:
        """True from the first `stop` on: nothing begins here any more."""
        return self._stopped

    def _require_serving(self) -> None:
        if self._stopped:
            raise leaving(self.target.name)

    async def stop(self) -> bool:
        """Ends what is under way: staging at once, an apply by itself. False where it does not end.

        The lock stays: whoever stops a keeper gives it up, or to the next one. May be called more than once, also behind a
        False, to see whether it has ended since.
        """
        self._stopped = True
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop())
        return await asyncio.shield(self._stopping)

    async def _stop(self) -> bool:
        self._step(states.PAUSE)
        self.timers.end()
        for owner in (self.target.name, self.target.name + KNOCK):
            self.works.spawn(self._around.watching.run(partial(self._around.watcher.forget, owner)))
        first, now = self._stop_until is None, self._loop.time()
        self._stop_until = self._stop_until or now + STOP_PATIENCE
        # The lock is not given up here: nobody else may serve what is still being changed.
        try:
            async with asyncio.timeout_at(max(self._stop_until, now + STOP_AGAIN)):
                await self.idle()
                await self.worker.run(self.session.close)
        except TimeoutError:
            if first:
                self.log.warning(
                    "it does not end within %.0f s; what is never committed changes nothing", STOP_PATIENCE
                )
            self._stopping = None  # the next call looks again
            return False
        except (DriftError, OSError) as error:
            self.log.warning("%s", error)
        self.worker.end()
        self.reception.end()
        return True

    # --- looking

    def _confirm(self) -> None:
        # One that has begun may have passed the file already that is hinted at now: another one waits behind it.
        if self.standing.work == states.WINDOW:
            # Queued behind the window, it would open the database that the service has to itself by then.
            self.happen(states.CHANGED)
        elif self.timers.settling:
            self.timers.hint()  # a service has just started: it has its database to itself
        elif self.standing.state != states.PAUSED and not self._confirm_waits and not self._stopped:
            self._confirm_waits = True
            self.works.spawn(self._confirming(models=True))

    async def _confirming(self, *, models: bool, asked: bool = False) -> None:
        """Whether what a hint or a timer supposes is so; also while a service settles, where a person has `asked`."""
        self._glancing = True
        try:
            closer = await self.worker.run(partial(self._look_closer, models=models, asked=asked))
        finally:
            self._glancing = False
        self._see_answer()
        if closer is None:
            if models:
                self.timers.hint()
            return
        moved, seen = closer
        if seen is None:
            # The look that follows finds the same, and says what state that is; where one has, a retry is armed.
            if moved or self.standing.state not in _UNREADABLE:
                self.happen(states.CHANGED)
            return
        glance, stage = seen
        self.timers.glanced(glance.quiet_s)
        if freshness(stage) != freshness(self.found.stage):
            self.found.stage = stage
            self.publish()
        if moved or glance.schema:
            self.happen(states.CHANGED)
        elif glance.rows:
            self.happen(states.ROWS_CHANGED)

    def _look_closer(
        self, *, models: bool, asked: bool
    ) -> tuple[bool, tuple[Glance, Document | None] | None] | None:
        """On the worker: whether the models have moved, and what there is to see of the database, if anything.

        None where a service that was answered while this waited for its turn has its database to itself.
        """
        if models:
            self._confirm_waits = False
        if self.timers.settling and not asked:
            return None
        moved = models and self.session.models_moved()
        if self._around.locks.starting(Path(self.database)) is not None:
            self._loop.call_soon_threadsafe(
                self.reception.knocked
            )  # in the files alone, and it did not knock
        try:
            if models:
                self._follow_path()
            glance, stage = self.session.glance(), self.session.stage_document()
        except (DriftError, OSError) as error:
            self.log.debug("%s", error)
            return moved, None
        if glance.open and glance.quiet_s >= REST_AFTER and not moved and not glance.schema:
            self.session.rest()
        return moved, (glance, stage)

    def _follow_path(self) -> None:
        """On the worker: tells when a link on the way points elsewhere, or here again. Lock and history are of one file."""
        away = named(self.target.url, self.target.models.directory) != self.database
        if away or self._led_away:
            self._loop.call_soon_threadsafe(self._around.elsewhere, self.target.name)
        self._led_away = away

    async def _watch(self) -> None:
        """Follows the files that the models were loaded from, also where loading them failed."""
        if await self._around.watching.run(self._follow_inputs):
            self.hinted()  # what was saved between its loading and its being watched was heard by nobody

    def _follow_inputs(self) -> bool:
        """On the watcher's thread. True when something is newly watched."""
        inputs = self.session.inputs
        wishes = wishes_for((*inputs.files, *inputs.missing), inputs.folders, database=self.found.database)
        if wishes == self._watched or self._stopped:
            return False
        self._watched = wishes
        return self._around.watcher.watch(self.target.name, wishes)

    def _log_state(self, before: str) -> None:
        if self._stopped:
            return  # that it rests for good is no news of the target
        state = self.standing.state
        self.log.info("%s → %s", before, state, extra={"event": "state"})
        if state in {states.HELD, states.BLOCKED, states.READY}:
            for sentence in told.waiting(self.found.held, self.found.blocked):
                self.log.warning("%s", sentence, extra={"event": "waiting"})

    def _due(self) -> None:
        self.happen(states.DUE)

    def _see_hanging(self) -> None:
        since = self.worker.busy_since
        if since is None or self.standing.work in {states.APPLY, states.WINDOW, states.ORDER}:
            return
        allowed = HANGING_AFTER + (self.target.models.timeout if self.standing.work == states.LOOK else 0.0)
        if self._loop.time() - since > allowed and self.found.problem is None:
            self.found.problem = hanging(self.found.database).as_document()
            self.publish()

    def _see_answer(self) -> None:
        """It does not hang any more; what else there is to say, the next look says."""
        if self.found.problem is not None and self.found.problem["code"] == "database-hangs":
            self.found.problem = None
            self.publish()
