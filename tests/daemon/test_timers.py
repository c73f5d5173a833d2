"""When a target is looked at again: the delays, as pure functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from driftd import states
from driftd.timers import (
    GLANCE_EVERY,
    GLANCE_SELDOM,
    REFRESH_EVERY,
    REFRESH_SHARE,
    RETRY_LATEST,
    glance_delay,
    refresh_delay,
    retry_delay,
)


@given(st.sampled_from(states.STATES), st.integers(0, 10_000))
def test_a_retry_comes_later_each_time_up_to_a_limit(state: str, tries: int) -> None:
    """Never sooner than the time before, never later than the limit, and never at once."""
    assert 0 < retry_delay(state, tries) <= retry_delay(state, tries + 1) <= RETRY_LATEST


@given(st.floats(0, 1e6), st.floats(0, 1e5))
def test_staging_takes_a_small_share_of_the_time(since: float, took: float) -> None:
    """However fast rows change, a stage is not made again before a fixed time and a multiple of what it took."""
    pause = since + refresh_delay(since, took)
    assert pause >= REFRESH_EVERY - 1e-6
    assert pause >= REFRESH_SHARE * took * (1 - 1e-9)


def test_a_stage_that_is_old_is_made_again_at_once() -> None:
    """The rate limit is no delay where nothing was staged for long."""
    assert refresh_delay(10_000, 1.0) == 0


def test_a_quiet_database_is_glanced_at_seldom() -> None:
    """A second while somebody writes, a few when nobody has for a minute."""
    assert [glance_delay(quiet) for quiet in (0, 30, 61)] == [GLANCE_EVERY, GLANCE_EVERY, GLANCE_SELDOM]
