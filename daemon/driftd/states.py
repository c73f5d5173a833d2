"""What a target does next: one pure function from where it stands and what happened to where it stands then.

Nothing here waits, reads a clock or touches a file. The keeper carries the actions out and reports what came of them as
further events. docs/architecture.md shows the whole function as a table; a test holds the two against each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# States, as `status` shows them.
STARTING = "starting"
IN_SYNC = "in_sync"
DRIFTED = "drifted"
STAGING = "staging"
READY = "ready"
HELD = "held"
BLOCKED = "blocked"
APPLYING = "applying"
FAILED = "failed"
MODELS_UNREADABLE = "models_unreadable"
DATABASE_UNREADABLE = "database_unreadable"
DATABASE_BUSY = "database_busy"
PAUSED = "paused"
STATES = (
    STARTING, IN_SYNC, DRIFTED, STAGING, READY, HELD, BLOCKED, APPLYING, FAILED, MODELS_UNREADABLE,
    DATABASE_UNREADABLE, DATABASE_BUSY, PAUSED,
)  # fmt: skip

# What is under way. Never two of them at once.
IDLE = ""
LOOK = "look"
STAGE = "stage"
APPLY = "apply"
WINDOW = "window"
ORDER = "order"
WORKS = (IDLE, LOOK, STAGE, APPLY, WINDOW, ORDER)

# Actions. LOOK, STAGE, APPLY, WINDOW and ORDER begin that work; each of them ends in exactly one event of `ENDINGS`.
CANCEL = "cancel"  # end the work that is under way early; it then ends in `cancelled`, or as it would have
DISCARD = "discard"  # the stage is of no use any more
RETRY = "retry"  # a `due` later, each time a little later
REFRESH = "refresh"  # a `due` later, as soon as the rate limit allows
SETTLE = "settle"  # a `due` when a service that starts has had the database to itself for a moment

# Events.
CHANGED = "changed"  # models, schema, settings or approvals are others than at the last look
ROWS_CHANGED = "rows_changed"  # somebody committed, and the schema is the same
DUE = "due"  # a timer
OPENED = "opened"  # a service starts and waits for its answer
ORDERED = (
    "ordered"  # a person wants something changed in the database now: a rollback, an adoption, a way back
)
PAUSE = "pause"
RESUME = "resume"
LOOKED_IN_SYNC = "looked_in_sync"
LOOKED_DRIFTED = "looked_drifted"  # something may go ahead
LOOKED_READY = "looked_ready"  # as before, and its stage still fits
LOOKED_HELD = "looked_held"  # all that is left waits for a person
STAGED_READY = "staged_ready"
STAGED_HELD = "staged_held"
STAGED_BLOCKED = "staged_blocked"
STAGED_STALE = "staged_stale"  # models or schema moved on meanwhile
YIELDED = "yielded"  # a writer came, and copying would have kept it waiting
APPLIED = "applied"  # something was applied, or there was nothing to do
APPLIED_HELD = "applied_held"
APPLIED_BLOCKED = "applied_blocked"
CARRIED_OUT = "carried_out"  # what a person ordered is done, or was refused
WINDOW_SAME = "window_same"  # there was nothing to do, as was known before
WINDOW_IN_SYNC = "window_in_sync"
WINDOW_HELD = "window_held"
WINDOW_BLOCKED = "window_blocked"
WINDOW_LEFT = "window_left"  # put off: what there is to do is still there
MODELS_FAILED = "models_failed"
DATABASE_FAILED = "database_failed"
DATABASE_LOCKED = "database_locked"
BROKEN = "broken"  # anything else that went wrong
CANCELLED = "cancelled"

# Where an ended work leaves the target, when nothing else is to follow at once.
_AFTER: dict[str, tuple[str, tuple[str, ...]]] = {
    LOOKED_IN_SYNC: (IN_SYNC, (DISCARD,)),
    LOOKED_DRIFTED: (DRIFTED, ()),
    LOOKED_READY: (READY, ()),
    LOOKED_HELD: (HELD, (DISCARD,)),
    STAGED_READY: (READY, ()),
    STAGED_HELD: (HELD, ()),
    STAGED_BLOCKED: (BLOCKED, ()),
    STAGED_STALE: (DRIFTED, (RETRY,)),
    YIELDED: (DRIFTED, (RETRY,)),
    APPLIED_HELD: (HELD, ()),
    APPLIED_BLOCKED: (BLOCKED, ()),
    WINDOW_IN_SYNC: (IN_SYNC, (DISCARD,)),
    WINDOW_HELD: (HELD, ()),
    WINDOW_BLOCKED: (BLOCKED, ()),
    MODELS_FAILED: (MODELS_UNREADABLE, (RETRY,)),
    DATABASE_FAILED: (DATABASE_UNREADABLE, (RETRY,)),
    DATABASE_LOCKED: (DATABASE_BUSY, (RETRY,)),
    BROKEN: (FAILED, (RETRY,)),
    CANCELLED: (DRIFTED, (RETRY,)),
}
ENDINGS = (*_AFTER, APPLIED, CARRIED_OUT, WINDOW_SAME, WINDOW_LEFT)
_ONLY_OF = {
    "looked": LOOK,
    "staged": STAGE,
    "yielded": STAGE,
    "applied": APPLY,
    "window": WINDOW,
    "carried": ORDER,
}
EVENTS = (CHANGED, ROWS_CHANGED, DUE, OPENED, ORDERED, PAUSE, RESUME, *ENDINGS)
# What a plan says of the rows may be otherwise after a commit; where there is no plan, rows do not matter.
_CONCERNED_BY_ROWS = frozenset({DRIFTED, READY, HELD, BLOCKED})


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a target stands.

    Args:
        mode: `observe` (never writes), `window` (stages ahead) or `dev` (applies on save).
        state: one of `STATES`.
        work: one of `WORKS`.
        again: something changed while the work was under way, so a look follows it.
        opened: a service starts, and its window comes before anything else when the work has ended.
        ordered: somebody waits for a change that is made when the work has ended, behind a window.
    """

    mode: str
    state: str = STARTING
    work: str = IDLE
    again: bool = False
    opened: bool = False
    ordered: bool = False


Step = tuple[Standing, tuple[str, ...]]


def step(now: Standing, event: str) -> Step:
    """The standing after the event, and the actions to carry out, in order."""
    if event == PAUSE:
        return _paused(now)
    if now.state == PAUSED:
        return _while_paused(now, event)
    if event in ENDINGS:
        return _ended(now, event) if _ends(event, now.work) else (now, ())
    if event == OPENED:
        return _opened(now)
    if event == ORDERED:
        return _ordered(now)
    if event == RESUME:
        return now, ()
    if event == ROWS_CHANGED:
        return now, (REFRESH,) if now.work == IDLE and now.state in _CONCERNED_BY_ROWS else ()
    if now.work == IDLE:
        return replace(now, work=LOOK), (LOOK,)
    if event == DUE:
        return now, ()
    return replace(now, again=True), _cut(now)


def _cut(now: Standing) -> tuple[str, ...]:
    """Staging is given up for whatever comes, once: the stage would be out of date, or somebody would wait for it."""
    return (CANCEL,) if now.work == STAGE and not (now.again or now.opened or now.ordered) else ()


def _opened(now: Standing) -> Step:
    """Nobody waits for staging, which is given up; a look, an apply and a window end by themselves first."""
    if now.work == IDLE:
        return replace(now, work=WINDOW), (WINDOW,)
    return replace(now, opened=True), _cut(now)


def _ordered(now: Standing) -> Step:
    """As a window, but for a service's start, which goes first. In mode observe nothing is written for anybody."""
    if now.mode == "observe":
        return now, ()
    if now.work == IDLE:
        return replace(now, state=APPLYING, work=ORDER, ordered=False), (ORDER,)
    return replace(now, ordered=True), _cut(now)


def _ends(event: str, work: str) -> bool:
    """Whether this can be the end of that work. What went wrong can be the end of any."""
    return work != IDLE and _ONLY_OF.get(event.partition("_")[0], work) == work


def _paused(now: Standing) -> Step:
    """What changes the database is never cut off: it ends, and the target rests then."""
    cancelled = now.state != PAUSED and now.work in {LOOK, STAGE}
    resting = replace(now, state=PAUSED, again=False, opened=False, ordered=False)
    return resting, (CANCEL,) if cancelled else ()


def _while_paused(now: Standing, event: str) -> Step:
    if event == RESUME:
        if now.work != IDLE:
            return replace(now, state=STARTING, again=True), ()
        return replace(now, state=STARTING, work=LOOK), (LOOK,)
    return (replace(now, work=IDLE), ()) if event in ENDINGS and _ends(event, now.work) else (now, ())


def _ended(now: Standing, event: str) -> Step:
    state, actions = _AFTER.get(event, (now.state, ()))
    if now.opened:
        return replace(now, state=state, work=WINDOW, opened=False), (*_without_timers(actions), WINDOW)
    if now.ordered:
        return replace(now, state=APPLYING, work=ORDER, ordered=False), (*_without_timers(actions), ORDER)
    if now.work == WINDOW:
        # The service has the database to itself now: what there is to see is looked at when it has settled.
        settles = now.again or event != WINDOW_SAME
        actions = (*_without_timers(actions), SETTLE) if settles else ()
        return replace(now, state=state, work=IDLE, again=False), actions
    if now.again or event in {APPLIED, CARRIED_OUT}:
        # What was found is shown, but not acted upon: it is out of date already.
        return replace(now, state=state, work=LOOK, again=False), (*_without_timers(actions), LOOK)
    if event in {LOOKED_DRIFTED, LOOKED_READY} and now.mode == "dev":
        return replace(now, state=APPLYING, work=APPLY), (APPLY,)
    if event == LOOKED_DRIFTED and now.mode == "window":
        return replace(now, state=STAGING, work=STAGE), (STAGE,)
    return replace(now, state=state, work=IDLE), actions


def _without_timers(actions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(action for action in actions if action not in {RETRY, REFRESH})
