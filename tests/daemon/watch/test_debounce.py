"""When hints are acted on, and when listening is given up."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd.watch.debounce import Debounce
from driftd.watch.flood import Flood

MOMENTS = st.lists(st.integers(0, 100), min_size=1, max_size=40).map(sorted)
SPANS = st.tuples(st.integers(0, 20), st.integers(0, 60)).map(sorted)


def test_nothing_is_due_without_a_hint() -> None:
    """Nothing happened, nothing is due; also after everything was acted on."""
    debounce = Debounce()
    assert debounce.due() is None
    debounce.hint(1.0)
    debounce.done()
    assert debounce.due() is None


def test_the_shipped_times() -> None:
    """A single hint is acted on after 0.3 s, hints without an end after 2 s."""
    debounce = Debounce()
    debounce.hint(100.0)
    assert debounce.due() == pytest.approx(100.3)
    for tenth in range(1, 40):
        debounce.hint(100.0 + tenth / 10)
    assert debounce.due() == pytest.approx(102.0)


@pytest.mark.parametrize("moments", list(itertools.combinations_with_replacement(range(5), 3)))
def test_every_short_story(moments: tuple[int, int, int]) -> None:
    """Over all stories of three hints: quiet time after the last one, never later than cap after the first."""
    debounce = Debounce(quiet=1, cap=3)
    for moment in moments:
        debounce.hint(moment)
    assert debounce.due() == min(moments[-1] + 1, moments[0] + 3)


@given(SPANS, MOMENTS)
def test_due_lies_between_the_last_hint_and_the_cap(spans: list[int], moments: list[int]) -> None:
    """While hints come, the moment never moves backwards, and stands where the two spans say."""
    quiet, cap = spans
    debounce, earlier = Debounce(quiet, cap), 0.0
    for moment in moments:
        debounce.hint(moment)
        due = debounce.due()
        assert due is not None
        assert moments[0] + quiet <= due <= moments[0] + cap
        assert due >= earlier
        assert due == min(moment + quiet, moments[0] + cap)
        earlier = due


@given(SPANS, MOMENTS)
def test_acting_when_due_leaves_no_hint_behind(spans: list[int], moments: list[int]) -> None:
    """Acted on when due, each hint is followed by an act within the cap."""
    debounce = Debounce(*spans)
    acts: list[float] = []
    for moment in moments:
        while (due := debounce.due()) is not None and due < moment:
            acts.append(due)
            debounce.done()
        debounce.hint(moment)
    if (due := debounce.due()) is not None:
        acts.append(due)
    assert all(any(moment <= act <= moment + spans[1] for act in acts) for moment in moments)


def test_a_hint_out_of_order_moves_nothing_back() -> None:
    """Two threads may bring their times in the wrong order; the later one counts."""
    debounce = Debounce(1, 10)
    debounce.hint(5)
    debounce.hint(4)
    assert debounce.due() == 6


@pytest.mark.parametrize(("quiet", "cap"), [(2.0, 1.0), (-1.0, 1.0)])
def test_spans_that_make_no_sense_are_refused(quiet: float, cap: float) -> None:
    """A cap before the end of the quiet time is a mistake of the caller's."""
    with pytest.raises(ValueError, match="quiet time"):
        Debounce(quiet, cap)


def test_a_flood_is_more_than_the_limit_in_one_span() -> None:
    """The limit itself is no flood; one more is, until the next span."""
    flood = Flood(limit=3, span=1.0)
    assert [flood.hit(10.0 + tenth / 10) for tenth in range(5)] == [False, False, False, True, True]
    assert not flood.hit(11.0)
    flood.reset()
    assert [flood.hit(11.0) for _ in range(4)] == [False, False, False, True]


def test_few_events_over_a_long_time_are_no_flood() -> None:
    """The count begins anew with each span."""
    flood = Flood(limit=2, span=1.0)
    assert not any(flood.hit(float(second)) for second in range(100))
