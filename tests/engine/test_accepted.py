"""What the history remembers of differences beside base: who had moved, and what is accepted. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from driftengine import accepted
from driftengine.changes import BOTH, DATABASE, MODELS
from support.schemas import drift_between

if TYPE_CHECKING:
    from driftengine.diff import Drift

T = "CREATE TABLE t (id INTEGER PRIMARY KEY, a {}, b INT)"


def drift(actual: str = "TEXT", models: str = "VARCHAR(9)", base: str | None = None) -> Drift:
    return drift_between(T.format(actual), T.format(models), None if base is None else T.format(base))


# who had moved when base was written, who moved since, whether the models want something else than then; who moved, all in all
JOINED = [
    (MODELS, MODELS, False, MODELS),
    (MODELS, MODELS, True, MODELS),
    (MODELS, DATABASE, False, BOTH),
    (DATABASE, MODELS, False, DATABASE),
    (DATABASE, MODELS, True, BOTH),
    (DATABASE, DATABASE, False, DATABASE),
    (DATABASE, BOTH, False, BOTH),
    (BOTH, MODELS, False, BOTH),
    (BOTH, DATABASE, False, BOTH),
]


@pytest.mark.parametrize(("before", "since", "wanted_otherwise", "expected"), JOINED)
def test_who_moved_before_and_since_both_count(
    before: str, since: str, wanted_otherwise: bool, expected: str
) -> None:
    """Base tells of the time since it was written, the note beside it of the time before."""
    found = drift()
    (d,) = found.differences
    wanted, _ = accepted.digests_of(d)
    note = [before, "another" if wanted_otherwise else wanted, "BLOB"]
    moved = replace(found, differences=(replace(d, origin=since),))
    (told,) = accepted.recalled(moved, {"moved": {d.identity: note}}).differences
    assert (told.origin, told.versions) == (expected, ("VARCHAR(9)", "TEXT", "BLOB"))


def test_a_note_of_an_earlier_release_is_understood() -> None:
    """It said who moved, and nothing else."""
    found = drift()
    (d,) = found.differences
    (told,) = accepted.recalled(found, {"moved": {d.identity: DATABASE}}).differences
    assert told.origin == DATABASE


def test_what_is_left_is_remembered_as_it_was_told() -> None:
    """Written with a row and read with the next one: the same differences, with base where both sides are now."""
    (d,) = drift(base="BLOB").differences
    assert (d.origin, d.versions) == (BOTH, ("VARCHAR(9)", "TEXT", "BLOB"))
    notes = accepted.remembered([d], drift(base="BLOB"))
    later = drift_between(
        T.format("TEXT"), T.format("VARCHAR(9)"), (T.format("TEXT"), T.format("VARCHAR(9)"))
    )
    assert later.differences[0].origin == MODELS
    (told,) = accepted.recalled(later, notes).differences
    assert (told.origin, told.versions) == (d.origin, d.versions)


def test_what_is_accepted_is_so_as_it_stood() -> None:
    """While both sides are the same; another aspect of the column does not matter, another version of this one does."""
    found = drift()
    notes = accepted.remembered([], found, found.differences)
    assert (notes["moved"], list(notes["accepted"])) == ({}, ["column|t|a|change|type"])
    again = accepted.recalled(found, notes)
    assert (again.differences, len(again.accepted)) == ((), 1)
    beside = accepted.recalled(drift(models="VARCHAR(9) DEFAULT 'x'"), notes)
    assert ([d.aspect for d in beside.differences], [d.aspect for d in beside.accepted]) == (
        ["default"],
        ["type"],
    )
    for moved in (drift(models="VARCHAR(10)"), drift(actual="BLOB")):
        assert accepted.recalled(moved, notes).accepted == ()
    disputed = accepted.recalled(found, notes, {accepted.key_of(found.differences[0])})
    assert (len(disputed.differences), disputed.accepted) == (1, ())
    # Passed on by the next row, though nothing new is agreed to.
    assert accepted.remembered([], again)["accepted"] == notes["accepted"]


def test_two_of_one_name_are_agreed_to_each_by_itself() -> None:
    """Two unnamed CHECKs over one column are called alike, and one of them stays a difference."""
    checks = T.format("INT CHECK (a > 0) CHECK (a < 9)")
    found = drift_between(checks, T.format("INT"))
    one, other = found.differences
    assert one.identity == other.identity
    notes = accepted.remembered([other], found, [one])
    again = accepted.recalled(found, notes)
    assert (again.accepted, again.differences) == ((one,), (other,))
    both = accepted.remembered([], again, [other])
    assert accepted.recalled(found, both).differences == ()
