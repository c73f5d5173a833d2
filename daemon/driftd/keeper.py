"""Keeps one target: carries out what `states.step` decides, and tells what came of it.

Everything here runs on the loop's thread, so nothing needs a lock. What blocks (the models, the database) runs on the
target's own worker, what takes long (staging) in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from driftd import states, told
from driftd.entry import Found, entry_of, freshness, now_text
from driftd.log import target_logger
from driftd.outcomes import (
    TROUBLED,
    as_error,
    event_of_applied,
    event_of_error,
    event_of_look,
    event_of_staged,
    hanging,
    leaving,
    refusal,
)
from driftd.stager import stage_apart
from driftd.timers import Timers
from driftd.watch.wishes import wishes_for
from driftd.worker import Worker
from driftengine.dialects.chosen import named
from driftengine.errors import DriftError
from driftengine.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from driftd.locks import DaemonLock
    from driftd.turns import Turns
    from driftd.watch.watcher import Watcher
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
    publish: Callable[[Document], None]
    followed: Callable[[], bool]
    elsewhere: Callable[[str], None]  # the database of the target of that name is another file now
    memory: Path | None


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
        self._around = around
        self._log = target_logger(target.name)
        self._session = Session(target, memory=around.memory)
        self._worker = Worker(target.name)
        self._timers = Timers(self._due, self._confirm)
        self._cancelled = threading.Event()
        self._fresh = self._restages = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stager: asyncio.Task[Any] | None = None
        self._stopping: asyncio.Future[bool] | None = None
        self._stop_until: float | None = None
        self._loop = asyncio.get_running_loop()
        self._turned = asyncio.Event()
        self._glancing = self._confirm_waits = self._recorded = self._stopped = self._led_away = False
        self._watched: tuple[object, ...] = ()

    # --- what happens to a target

    def start(self, *, paused: bool = False) -> None:
        """The first look; where it is `paused`, when somebody resumes it."""
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
        self._timers.stands(self.standing.state)
        for action in actions:
            self._begin[action](self)
        self._turned.set()
        if self.standing != before or event in states.ENDINGS:
            self.publish()

    def hinted(self) -> None:
        """Something may have happened to a file: looked at when it has been quiet for a moment."""
        if not self._stopped:
            self._timers.hint()

    def tick(self) -> None:
        """Once a second: has anybody committed? Slower while nobody writes."""
        self._see_hanging()
        idle = self.standing.work == states.IDLE and not self._glancing and not self._stopped
        if idle and self._timers.until_glance() <= 0:
            self._timers.glances()
            self._spawn(self._confirming(models=False))

    def until_glance(self) -> float:
        """Seconds until the database is due for a glance."""
        return self._timers.until_glance()

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
        entry = entry_of(self.target, self.standing, self.found, self._session.inputs, polled)
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
            self._fresh = self._fresh or fresh
            self.happen(states.CHANGED)
        else:
            # A look that is under way may have read the models before they were saved.
            await self._looked_at()
            self._require_serving()
            if self.standing.work != states.APPLY:
                await self._confirming(models=True)
        await self._looked_at()
        self._require_serving()
        # Paused meanwhile: the look that was to answer was given up, and the one before it is out of date.
        if self.found.look is None or self.standing.state in {*_UNREADABLE, states.PAUSED}:
            raise refusal(self.found.problem, self.target.name)
        return self.found.look

    async def idle(self) -> None:
        """Returns when nothing is under way."""
        while self.standing.work != states.IDLE:
            await self._turn()

    async def _looked_at(self) -> None:
        """Returns when the last look is of now: none is under way, and none is to follow what is."""
        while self.standing.work == states.LOOK or (
            self.standing.work != states.IDLE and self.standing.again
        ):
            await self._turn()

    async def _turn(self) -> None:
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
        self._restages = True
        self.happen(states.CHANGED)

    async def approve(self, words: Sequence[str], by: str, plan_id: str | None) -> None:
        """Approves operations of the plan by id or code, all or none. Raises PlanError, BackupError.

        With `plan_id` only of that plan: what counts is the plan at that moment, not the one that was shown last.
        """
        self._require_serving()
        self.found.approved = await self._worker.run(
            partial(self._session.approve, words, by=by, plan_id=plan_id)
        )
        self.happen(states.CHANGED)

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
        self._timers.end()
        self._spawn(self._around.watching.run(partial(self._around.watcher.forget, self.target.name)))
        first, now = self._stop_until is None, self._loop.time()
        self._stop_until = self._stop_until or now + STOP_PATIENCE
        # The lock is not given up here: nobody else may serve what is still being changed.
        try:
            async with asyncio.timeout_at(max(self._stop_until, now + STOP_AGAIN)):
                await self.idle()
                await self._worker.run(self._session.close)
        except TimeoutError:
            if first:
                self._log.warning(
                    "it does not end within %.0f s; what is never committed changes nothing", STOP_PATIENCE
                )
            self._stopping = None  # the next call looks again
            return False
        except (DriftError, OSError) as error:
            self._log.warning("%s", error)
        self._worker.end()
        return True

    # --- looking

    def _confirm(self) -> None:
        # One that has begun may have passed the file already that is hinted at now: another one waits behind it.
        if self.standing.state != states.PAUSED and not self._confirm_waits and not self._stopped:
            self._confirm_waits = True
            self._spawn(self._confirming(models=True))

    async def _confirming(self, *, models: bool) -> None:
        """Whether what a hint or a timer supposes is so."""
        self._glancing = True
        try:
            moved, seen = await self._worker.run(partial(self._look_closer, models=models))
        finally:
            self._glancing = False
        self._see_answer()
        if seen is None:
            # The look that follows finds the same, and says what state that is; where one has, a retry is armed.
            if moved or self.standing.state not in _UNREADABLE:
                self.happen(states.CHANGED)
            return
        glance, stage = seen
        self._timers.glanced(glance.quiet_s)
        if freshness(stage) != freshness(self.found.stage):
            self.found.stage = stage
            self.publish()
        if moved or glance.schema:
            self.happen(states.CHANGED)
        elif glance.rows:
            self.happen(states.ROWS_CHANGED)

    def _look_closer(self, *, models: bool) -> tuple[bool, tuple[Glance, Document | None] | None]:
        """On the worker: whether the models have moved, and what there is to see of the database, if anything."""
        if models:
            self._confirm_waits = False
        moved = models and self._session.models_moved()
        try:
            if models:
                self._follow_path()
            glance, stage = self._session.glance(), self._session.stage_document()
        except (DriftError, OSError) as error:
            self._log.debug("%s", error)
            return moved, None
        if glance.open and glance.quiet_s >= REST_AFTER and not moved and not glance.schema:
            self._session.rest()
        return moved, (glance, stage)

    def _follow_path(self) -> None:
        """On the worker: tells when a link on the way points elsewhere, or here again. Lock and history are of one file."""
        away = named(self.target.url, self.target.models.directory) != self.database
        if away or self._led_away:
            self._loop.call_soon_threadsafe(self._around.elsewhere, self.target.name)
        self._led_away = away

    def _look(self) -> None:
        self._timers.looks()
        self._cancelled.clear()
        self._spawn(self._ending(self._looking))

    async def _looking(self) -> str:
        fresh, self._fresh = self._fresh, False
        restages, self._restages = self._restages, False
        async with self._around.turns:
            if restages:
                await self._worker.run(self._session.discard)
            document = await self._worker.run(
                partial(self._session.look, fresh=fresh, cancelled=self._cancelled.is_set)
            )
        if document["database"] != self.database:
            # A link was turned between the taking of the lock and the opening: nothing is done without the lock.
            self.misled = True
            self._around.elsewhere(self.target.name)
            return states.CANCELLED
        self.found.looked(document)
        # Once: where it cannot be written down (a database that may only be read), a second try would follow for ever.
        records = self.target.mode == "dev" and not self._recorded
        self._recorded = bool(document["unrecorded"])
        return event_of_look(document, records=records)

    async def _watch(self) -> None:
        """Follows the files that the models were loaded from, also where loading them failed."""
        if await self._around.watching.run(self._follow_inputs):
            self.hinted()  # what was saved between its loading and its being watched was heard by nobody

    def _follow_inputs(self) -> bool:
        """On the watcher's thread. True when something is newly watched."""
        inputs = self._session.inputs
        wishes = wishes_for((*inputs.files, *inputs.missing), inputs.folders, database=self.found.database)
        if wishes == self._watched or self._stopped:
            return False
        self._watched = wishes
        return self._around.watcher.watch(self.target.name, wishes)

    # --- staging and applying

    def _stage(self) -> None:
        self._cancelled.clear()
        self._spawn(self._ending(self._staging))

    async def _staging(self) -> str:
        async with self._around.turns:
            if self._cancelled.is_set():
                return states.CANCELLED
            mark = await self._worker.run(self._session.begin_stage)
            desired, approved = self._session.desired, self._session.approved
            try:
                if self._cancelled.is_set():  # while begin_stage waited for somebody's lock
                    return states.CANCELLED
                self._stager = asyncio.create_task(
                    stage_apart(self.target, desired, approved, self._progress, self._worker)
                )
                prepared = await self._stager
            except asyncio.CancelledError:
                if not self._cancelled.is_set():
                    raise
                return states.CANCELLED
            finally:
                self._stager = None
                await self._worker.run(self._session.end_stage)
        document = await self._worker.run(partial(self._session.keep, prepared, mark))
        self.found.staged(document)
        self._timers.staged(prepared.took_ms / 1000)
        if document["stage"] is not None and document["stage"]["freshness"] != "exact":
            self._timers.refresh()  # somebody wrote meanwhile, and a glance may have used that news up
        return event_of_staged(document)

    def _apply(self) -> None:
        self._spawn(self._ending(self._applying))

    async def _applying(self) -> str:
        def progress(phase: str, done: int, total: int) -> None:
            self._loop.call_soon_threadsafe(self._progress, phase, done, total)

        document = await self._worker.run(
            partial(self._session.apply, allowed_by="driftd run, mode dev", progress=progress)
        )
        self.found.applied(document)
        if document["migration_id"]:
            self._log.info("%s", told.migrated(document), extra={"event": "migrated"})
        return event_of_applied(document)

    async def _ending(self, work: Callable[[], Coroutine[Any, Any, str]]) -> None:
        """Every work ends in one event, whatever happens."""
        try:
            event = await work()
            if event not in TROUBLED:
                self.found.problem = None
        except Exception as error:  # noqa: BLE001  # a fault of ours stops this target's step, not the daemon
            event = event_of_error(error)
            if self.standing.work == states.APPLY:
                self.found.stage = None  # used up, or given up with its backup
            if event != states.CANCELLED:
                self.found.problem = as_error(error)
                self._log_problem(error)
        finally:
            self.found.progress = None
        self._spawn(self._watch())
        self.happen(event)

    def _log_state(self, before: str) -> None:
        if self._stopped:
            return  # that it rests for good is no news of the target
        state = self.standing.state
        self._log.info("%s → %s", before, state, extra={"event": "state"})
        if state in {states.HELD, states.BLOCKED, states.READY}:
            for sentence in told.waiting(self.found.held, self.found.blocked):
                self._log.warning("%s", sentence, extra={"event": "waiting"})

    def _log_problem(self, error: Exception) -> None:
        known = isinstance(error, (DriftError, OSError))
        self._log.warning(
            "%s",
            error,
            exc_info=None if known else error,
            extra={"event": "problem", "error": as_error(error)},
        )

    def _progress(self, phase: str, done: int, total: int) -> None:
        self.found.progress = {"phase": phase, "done": done, "total": total}
        self.publish()

    # --- the other actions

    def _cancel(self) -> None:
        self._cancelled.set()
        if self._stager is not None:
            self._stager.cancel()

    def _discard(self) -> None:
        self.found.stage = None
        self._spawn(self._discarding())

    async def _discarding(self) -> None:
        try:
            await self._worker.run(self._session.discard)
        except (DriftError, OSError) as error:
            self._log_problem(error)

    def _due(self) -> None:
        self.happen(states.DUE)

    _begin: ClassVar[dict[str, Callable[[Keeper], None]]] = {
        states.LOOK: _look,
        states.STAGE: _stage,
        states.APPLY: _apply,
        states.CANCEL: _cancel,
        states.DISCARD: _discard,
        states.RETRY: lambda self: self._timers.retry(),
        states.REFRESH: lambda self: self._timers.refresh(),
    }

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)

    def _see_hanging(self) -> None:
        since = self._worker.busy_since
        if since is None or self.standing.work == states.APPLY:
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
