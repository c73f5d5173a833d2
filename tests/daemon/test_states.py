"""The state machine: every (standing, event), its table in the documentation, and what must hold over any story."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd import states
from driftd.states import Standing, step

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"
MODES = ("observe", "window", "dev")
EVERYTHING = [
    Standing(mode, state, work, *flags)
    for mode, state, work, *flags in itertools.product(
        MODES, states.STATES, states.WORKS, (False, True), (False, True), (False, True)
    )
]
# The columns of the documentation's table: what is under way decides, and being paused.
COLUMNS = {
    "idle": Standing("window", states.READY, states.IDLE),
    "look (observe)": Standing("observe", states.STARTING, states.LOOK),
    "look (window)": Standing("window", states.STARTING, states.LOOK),
    "look (dev)": Standing("dev", states.STARTING, states.LOOK),
    "stage": Standing("window", states.STAGING, states.STAGE),
    "apply": Standing("dev", states.APPLYING, states.APPLY),
    "window": Standing("window", states.READY, states.WINDOW),
    "order": Standing("window", states.APPLYING, states.ORDER),
    "paused": Standing("window", states.PAUSED, states.IDLE),
}


def cell(now: Standing, event: str) -> str:
    """What `step` does, as it stands in the table."""
    then, actions = step(now, event)
    parts = [] if then.state == now.state else [f"`{then.state}`"]
    parts += [action.upper() for action in actions]
    if then.again and not now.again:
        parts.append("then look")
    if then.opened and not now.opened:
        parts.append("then window")
    if then.ordered and not now.ordered:
        parts.append("then order")
    return ", ".join(parts) or "-"


def table() -> list[str]:
    """The whole table as the documentation must have it."""
    lines = [f"| event | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [
        f"| `{event}` | {' | '.join(cell(now, event) for now in COLUMNS.values())} |"
        for event in states.EVENTS
    ]
    return lines


def test_the_documentation_shows_the_state_machine_as_it_is() -> None:
    """The table in docs/architecture.md is what the function does, cell by cell."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    assert "\n".join(table()) in text, "docs/architecture.md should have:\n" + "\n".join(table())


@pytest.mark.parametrize("event", states.EVENTS)
def test_every_event_is_answered_everywhere(event: str) -> None:
    """No standing and event leave the machine in a state or work that there is not, or ask for an unknown action."""
    known = {
        states.LOOK,
        states.STAGE,
        states.APPLY,
        states.CANCEL,
        states.DISCARD,
        states.RETRY,
        states.REFRESH,
        states.WINDOW,
        states.SETTLE,
        states.ORDER,
    }
    for now in EVERYTHING:
        then, actions = step(now, event)
        assert then.state in states.STATES
        assert then.work in states.WORKS
        assert then.mode == now.mode
        assert set(actions) <= known


@pytest.mark.parametrize("event", states.EVENTS)
def test_a_work_begins_only_with_its_action_and_never_beside_another(event: str) -> None:
    """LOOK, STAGE, APPLY, WINDOW and ORDER are asked for exactly when that work begins, and only when none was under way."""
    for now in EVERYTHING:
        then, actions = step(now, event)
        begun = [action for action in actions if action in states.WORKS]
        assert len(begun) <= 1
        if begun:
            assert then.work == begun[0]
            assert now.work == states.IDLE or event in states.ENDINGS
        elif then.work != now.work:
            assert then.work == states.IDLE


@pytest.mark.parametrize("event", states.EVENTS)
def test_observe_never_writes(event: str) -> None:
    """In mode observe nothing is staged or applied, whatever happens."""
    for now in EVERYTHING:
        if now.mode == "observe" and not now.ordered:  # nothing is ever ordered there
            assert not {states.STAGE, states.APPLY, states.ORDER} & set(step(now, event)[1])
            assert not step(now, event)[0].ordered


@pytest.mark.parametrize("event", states.EVENTS)
def test_window_never_applies_by_itself(event: str) -> None:
    """In mode window the daemon stages, and leaves applying to a window."""
    for now in EVERYTHING:
        if now.mode == "window":
            assert states.APPLY not in step(now, event)[1]


@pytest.mark.parametrize("event", sorted(set(states.EVENTS) - {states.RESUME}))
def test_a_paused_target_does_nothing(event: str) -> None:
    """Only resuming ends a pause; nothing begins before it."""
    for now in EVERYTHING:
        if now.state == states.PAUSED:
            then, actions = step(now, event)
            assert then.state == states.PAUSED
            assert actions == ()
            assert then.work in {now.work, states.IDLE}


def test_an_apply_is_never_cut_off() -> None:
    """Whatever happens while a plan is applied, by itself or in a window, it is not cancelled."""
    for now, event in itertools.product(EVERYTHING, states.EVENTS):
        if now.work in {states.APPLY, states.WINDOW, states.ORDER}:
            assert states.CANCEL not in step(now, event)[1]


def test_what_changes_during_a_work_is_looked_at_behind_it() -> None:
    """A change while something is under way leads to a look as soon as that has ended, whatever came of it.

    Behind a window the look comes when the service has settled, and where another service starts, behind that one's.
    """
    for now, ending in itertools.product(EVERYTHING, states.ENDINGS):
        if now.state == states.PAUSED or states.step(now, ending) == (now, ()):
            continue
        changed, _ = step(now, states.CHANGED)
        then, actions = step(changed, ending)
        if now.opened:
            assert (then.work, then.again) == (states.WINDOW, True)
        elif now.ordered:
            assert (then.work, then.again) == (states.ORDER, True)
        elif now.work == states.WINDOW:
            assert actions[-1] == states.SETTLE
        else:
            assert then.work == states.LOOK
            assert actions[-1] == states.LOOK


def test_a_service_that_starts_comes_before_anything_else() -> None:
    """Where nothing is under way its window begins at once, else as soon as that has ended; staging is given up for it."""
    for now in EVERYTHING:
        if now.state == states.PAUSED:
            continue
        then, actions = step(now, states.OPENED)
        if now.work == states.IDLE:
            assert (then.work, actions) == (states.WINDOW, (states.WINDOW,))
            continue
        assert then.opened
        untouched = not (now.again or now.opened or now.ordered)
        assert (states.CANCEL in actions) == (now.work == states.STAGE and untouched)
        behind, begun = step(then, states.BROKEN)
        assert (behind.work, behind.opened) == (states.WINDOW, False)
        assert begun[-1] == states.WINDOW


def test_what_a_person_orders_comes_behind_a_window_and_before_all_else() -> None:
    """At once where nothing is under way, else when that has ended; a look follows, and an order is never repeated."""
    for now in EVERYTHING:
        if now.state == states.PAUSED or now.mode == "observe":
            assert now.ordered or not step(now, states.ORDERED)[0].ordered
            continue
        then, actions = step(now, states.ORDERED)
        if now.work == states.IDLE:
            assert (then.state, then.work, actions) == (states.APPLYING, states.ORDER, (states.ORDER,))
        else:
            assert then.ordered
            behind, begun = step(then, states.BROKEN)
            assert behind.work == (states.WINDOW if now.opened else states.ORDER)
            assert begun[-1] == behind.work
            assert behind.ordered == now.opened
            then = behind
        if then.work == states.ORDER:
            after, _ = step(then, states.CARRIED_OUT)
            assert after.work == (states.WINDOW if then.opened else states.LOOK)
            assert not after.ordered


def test_the_database_is_left_alone_when_a_window_has_been_answered() -> None:
    """Whatever a window came to, no look, stage or apply begins with its end."""
    for now, ending in itertools.product(EVERYTHING, states.ENDINGS):
        if now.work == states.WINDOW and not (now.opened or now.ordered):
            assert not {states.LOOK, states.STAGE, states.APPLY} & set(step(now, ending)[1])


def test_dev_applies_what_may_go_ahead_and_stops_when_it_cannot() -> None:
    """In mode dev a drift is applied at once; what came to nothing waits for a change instead of being tried for ever."""
    looking = Standing("dev", states.IN_SYNC, states.LOOK)
    applying, actions = step(looking, states.LOOKED_DRIFTED)
    assert (applying.state, actions) == (states.APPLYING, (states.APPLY,))
    for ending, state in (
        (states.APPLIED_HELD, states.HELD),
        (states.APPLIED_BLOCKED, states.BLOCKED),
        (states.BROKEN, states.FAILED),
    ):
        then, actions = step(applying, ending)
        assert (then.state, then.work) == (state, states.IDLE)
        assert states.LOOK not in actions


def test_an_ending_of_a_work_that_was_given_up_changes_nothing() -> None:
    """A late answer does not move a target on which nothing is under way."""
    for now, ending in itertools.product(EVERYTHING, states.ENDINGS):
        if now.work == states.IDLE:
            assert step(now, ending) == (now, ())


@given(st.sampled_from(MODES), st.lists(st.sampled_from(states.EVENTS), max_size=60))
def test_any_story_keeps_the_target_alive(mode: str, story: list[str]) -> None:
    """After any story a resume and a change lead to a look, once what is under way has ended: nothing gets stuck."""
    now = Standing(mode)
    for event in story:
        now, _ = step(now, event)
    now, _ = step(now, states.RESUME)
    now, _ = step(now, states.CHANGED)
    for _ in range(
        5
    ):  # a work, a window that waits behind it, an order behind that, another one, and the timer
        if now.work == states.LOOK:
            break
        now, actions = step(now, states.BROKEN if now.work != states.IDLE else states.DUE)
        assert now.work != states.IDLE or states.SETTLE in actions
    assert now.work == states.LOOK
