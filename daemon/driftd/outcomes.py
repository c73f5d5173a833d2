"""What came of a work, as the event that the state machine knows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftd import states
from driftengine.errors import (
    BusyError,
    ConfigurationError,
    DatabaseError,
    DriftError,
    HistoryError,
    ModelsError,
)
from driftengine.window import IN_USE

if TYPE_CHECKING:
    from collections.abc import Mapping

_STAGED = {
    "ready": states.STAGED_READY,
    "held": states.STAGED_HELD,
    "blocked": states.STAGED_BLOCKED,
    "in_sync": states.STAGED_STALE,
    "stale": states.STAGED_STALE,
}
_APPLIED = {
    "migrated": states.APPLIED,
    "up_to_date": states.APPLIED,
    "held": states.APPLIED_HELD,
    "blocked": states.APPLIED_BLOCKED,
    "deferred": states.DATABASE_LOCKED,
}
_OF_WINDOW = {"held": states.WINDOW_HELD, "blocked": states.WINDOW_BLOCKED, "deferred": states.WINDOW_LEFT}
# After these the problem stays what it is.
TROUBLED = frozenset({states.BROKEN, states.DATABASE_LOCKED, states.CANCELLED, states.WINDOW_LEFT})
_CODES = {"models-cancelled": states.CANCELLED, "stage-yielded": states.YIELDED}
_KINDS: tuple[tuple[type[DriftError], str], ...] = (
    (ModelsError, states.MODELS_FAILED),
    (BusyError, states.DATABASE_LOCKED),
    (DatabaseError, states.DATABASE_FAILED),
    (ConfigurationError, states.DATABASE_FAILED),
    (HistoryError, states.DATABASE_FAILED),
)


def event_of_look(document: Mapping[str, Any], *, records: bool = False) -> str:
    """Of a look that succeeded: a check's document with `stage` and `unrecorded`.

    With `records`, being in step for the first time is something to apply: it is written down as base, so that what the
    models drop later is known to have been theirs.
    """
    if document["state"] == "in_sync":
        return states.LOOKED_DRIFTED if records and document["unrecorded"] else states.LOOKED_IN_SYNC
    if document["state"] == "held":
        return states.LOOKED_HELD
    stage = document.get("stage")
    fits = stage is not None and stage["freshness"] == "exact" and stage["plan_id"] == document["plan"]["id"]
    return states.LOOKED_READY if fits else states.LOOKED_DRIFTED


def event_of_staged(document: Mapping[str, Any]) -> str:
    """Of a stage that was kept, or was not."""
    return _STAGED[document["outcome"]]


def event_of_applied(document: Mapping[str, Any]) -> str:
    """Of an apply's document. What waits for running services to end is held: nobody has locked anything."""
    if (document.get("error") or {}).get("code") == IN_USE:
        return states.APPLIED_HELD
    return _APPLIED.get(document["outcome"], states.BROKEN)


def event_of_window(document: Mapping[str, Any], before: str, *, known: bool) -> str:
    """Of a window's answer, for a target that stood in the state `before`; `known`: the last look still holds."""
    outcome = document["outcome"]
    if outcome == "up_to_date":
        return states.WINDOW_SAME if known and before == states.IN_SYNC else states.WINDOW_IN_SYNC
    if outcome == "migrated":
        left = states.WINDOW_HELD if document["held"] else states.WINDOW_IN_SYNC
        return states.WINDOW_BLOCKED if document["blocked"] else left
    return _OF_WINDOW.get(outcome, states.BROKEN)


def event_of_error(error: BaseException) -> str:
    """Of a work that raised."""
    if isinstance(error, DriftError):
        if error.code in _CODES:
            return _CODES[error.code]
        for kind, event in _KINDS:
            if isinstance(error, kind):
                return event
    return states.BROKEN


def hanging(database: str) -> DatabaseError:
    """What is told while a call does not come back."""
    return DatabaseError(
        f"{database or 'the database'} does not answer",
        code="database-hangs",
        why="a read has not come back for a long time; a disk or a network file system may be stuck",
        fix="look at that file system; driftd goes on when it answers, and other targets are not affected",
    )


def refusal(problem: Mapping[str, str] | None, target: str) -> DriftError:
    """Why there is no answer: what the last look came upon."""
    if problem is None:
        return BusyError(
            f"{target} has not been looked at",
            code="target-paused",
            why="it is paused, or its first look was given up",
            fix=f"driftd resume --target {target}",
        )
    return DriftError(problem["what"], code=problem["code"], why=problem["why"], fix=problem["fix"])


def leaving(target: str) -> DriftError:
    """Why there is no answer of a target that is being given up; the configuration may have another one of that name."""
    return BusyError(
        f"{target} is being let go of",
        code="target-leaving",
        why="the configuration was read again and says something else of it, or the daemon ends",
        fix="ask again in a moment",
    )


def as_error(error: BaseException) -> dict[str, str]:
    """The error as it stands in JSON; what is none of ours is told as a fault of driftd."""
    if isinstance(error, DriftError):
        return error.as_document()
    return {
        "code": "internal",
        "what": f"{type(error).__name__}: {error}",
        "why": "this is a fault of driftd, and its log has the traceback",
        "fix": "please report it; it is tried again later",
    }
