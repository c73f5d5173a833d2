"""One opening of a window: who may still COMMIT, and when it is answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd import states
from driftd.outcomes import event_of_window
from driftd.windows import Opening, answer_at
from driftengine.ahead import ANSWER_BEFORE_S
from driftengine.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable


def opened(work: Callable[[Opening], None], *, still_open: bool = True) -> None:
    """An opening of fifteen seconds, on a loop of its own."""

    async def story() -> None:
        work(Opening("w", now=100.0, until=115.0, still_open=lambda: still_open))

    asyncio.run(story())


@given(st.floats(0, 1e6), st.floats(-10, 1e4))
def test_the_answer_comes_before_the_starter_gives_up(now: float, patience: float) -> None:
    """Half a second before its end, and in a short window in its last quarter; of one that is over, at once."""
    at = answer_at(now, now + patience)
    assert at <= now + patience
    assert at >= now or patience < 0
    assert now + patience - at <= ANSWER_BEFORE_S + 1e-6


def test_what_has_begun_to_commit_is_not_closed() -> None:
    """Behind `require_open` nobody may be told that nothing was changed."""

    def work(opening: Opening) -> None:
        opening.require_open()
        assert not opening.close()

    opened(work)


def test_what_is_closed_does_not_commit() -> None:
    """Behind `close` the worker's COMMIT is refused, however late it comes."""

    def work(opening: Opening) -> None:
        assert opening.close()
        with pytest.raises(BusyError) as caught:
            opening.require_open()
        assert caught.value.code == "window-closed"

    opened(work)


def test_a_starter_that_has_gone_closes_its_window() -> None:
    """The lock is no longer held with its id: no COMMIT, and whoever asks is told that nothing will change."""

    def work(opening: Opening) -> None:
        with pytest.raises(BusyError):
            opening.require_open()
        assert opening.close()

    opened(work, still_open=False)


def test_the_first_answer_counts() -> None:
    """What comes behind it (the work's end behind the deadline) changes nothing."""

    def work(opening: Opening) -> None:
        opening.answer({"outcome": "deferred"})
        opening.answer({"outcome": "migrated"})
        assert opening.answered.result() == {"outcome": "deferred", "id": "w", "by": "daemon"}

    opened(work)


@pytest.mark.parametrize(
    ("outcome", "held", "blocked", "before", "event"),
    [
        ("up_to_date", 0, 0, states.IN_SYNC, states.WINDOW_SAME),
        ("up_to_date", 0, 0, states.DRIFTED, states.WINDOW_IN_SYNC),
        ("migrated", 0, 0, states.READY, states.WINDOW_IN_SYNC),
        ("migrated", 1, 0, states.READY, states.WINDOW_HELD),
        ("migrated", 1, 1, states.READY, states.WINDOW_BLOCKED),
        ("held", 1, 0, states.HELD, states.WINDOW_HELD),
        ("blocked", 0, 1, states.BLOCKED, states.WINDOW_BLOCKED),
        ("deferred", 0, 0, states.READY, states.WINDOW_LEFT),
        ("failed", 0, 0, states.READY, states.BROKEN),
    ],
)
def test_every_answer_is_an_event(outcome: str, held: int, blocked: int, before: str, event: str) -> None:
    """What a window came to decides where the target stands; a look that no longer holds is made again."""
    document = {"outcome": outcome, "held": [{}] * held, "blocked": [{}] * blocked}
    assert event_of_window(document, before, known=True) == event
    if event == states.WINDOW_SAME:
        assert event_of_window(document, before, known=False) == states.WINDOW_IN_SYNC
