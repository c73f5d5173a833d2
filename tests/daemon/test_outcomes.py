"""What came of a work, as an event."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from driftd import states
from driftd.outcomes import as_error, event_of_applied, event_of_error, event_of_look, event_of_staged
from driftengine.errors import (
    BusyError,
    ConfigurationError,
    DatabaseError,
    DeadlineError,
    HistoryError,
    ModelsError,
    PlanError,
)

if TYPE_CHECKING:
    from driftengine.errors import DriftError


def look(state: str, stage: dict[str, str] | None = None) -> dict[str, object]:
    """As much of a look's document as the outcome depends on."""
    return {"state": state, "plan": {"id": "aaa"}, "stage": stage, "unrecorded": True}


@pytest.mark.parametrize(
    ("document", "event"),
    [
        (look("in_sync"), states.LOOKED_IN_SYNC),
        (look("held"), states.LOOKED_HELD),
        (look("drifted"), states.LOOKED_DRIFTED),
        (look("drifted", {"plan_id": "aaa", "freshness": "exact"}), states.LOOKED_READY),
        (look("drifted", {"plan_id": "aaa", "freshness": "usable"}), states.LOOKED_DRIFTED),
        (look("drifted", {"plan_id": "bbb", "freshness": "exact"}), states.LOOKED_DRIFTED),
    ],
)
def test_a_look_is_ready_only_with_an_exact_stage_of_its_own_plan(
    document: dict[str, object], event: str
) -> None:
    """What was staged for another plan, or before somebody wrote, does not count."""
    assert event_of_look(document) == event


def test_being_in_step_is_applied_only_where_that_records_it() -> None:
    """In mode dev the first meeting is written down; a recorded one, or another mode, leaves the database alone."""
    assert event_of_look(look("in_sync"), records=True) == states.LOOKED_DRIFTED
    assert event_of_look(look("in_sync") | {"unrecorded": False}, records=True) == states.LOOKED_IN_SYNC


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (ModelsError("x", code="models-import-failed"), states.MODELS_FAILED),
        (ModelsError("x", code="models-cancelled"), states.CANCELLED),
        (BusyError("x", code="database-busy"), states.DATABASE_LOCKED),
        (BusyError("x", code="stage-yielded"), states.YIELDED),
        (DeadlineError("x", code="deadline"), states.DATABASE_LOCKED),
        (DatabaseError("x", code="database-corrupt"), states.DATABASE_FAILED),
        (ConfigurationError("x", code="database-memory"), states.DATABASE_FAILED),
        (HistoryError("x", code="history-broken"), states.DATABASE_FAILED),
        (PlanError("x", code="backfill-unknown"), states.BROKEN),
        (ValueError("x"), states.BROKEN),
    ],
)
def test_an_error_says_what_could_not_be_used(error: Exception, event: str) -> None:
    """Models, database, a lock or a fault of ours: each is another state."""
    assert event_of_error(error) == event


def test_every_outcome_of_staging_and_applying_is_an_event() -> None:
    """No word that the engine may answer with is unknown here."""
    staged = {event_of_staged({"outcome": o}) for o in ("ready", "held", "blocked", "in_sync", "stale")}
    applied = {
        event_of_applied({"outcome": o})
        for o in ("migrated", "up_to_date", "held", "blocked", "deferred", "failed")
    }
    assert staged | applied <= set(states.EVENTS)


@pytest.mark.parametrize("error", [BusyError("a", code="b", why="c", fix="d"), ModelsError("a", code="b")])
def test_an_error_survives_the_way_from_a_child_process(error: DriftError) -> None:
    """Pickled and back it is the same kind with the same words."""
    found = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(found) is type(error)
    assert (found.as_document(), str(found)) == (error.as_document(), str(error))


def test_a_fault_of_ours_is_told_as_one() -> None:
    """What is no DriftError carries the code `internal`."""
    assert as_error(ValueError("boom"))["code"] == "internal"
