"""Published packages from release to release: exact, or held where a person agrees, with every row kept; and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from real.filling import fill
from real.journeys import EXACT, HELD, Journey, codes, journeys, make, travel
from real.lineages import LINEAGES
from real.reading import content, problems

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

# Those that ask the most; `make real-table` runs all of them, in both journal modes.
CHOSEN = {
    ("optuna", "2.10.1"): HELD,
    ("mlflow", "1.20.2"): HELD,
    ("mlflow", "1.30.1"): EXACT,
    ("mlflow", "3.6.0"): HELD,
    ("mlflow", "3.9.0"): HELD,
    ("jupyterhub", "0.8.1"): EXACT,
    ("jupyterhub", "4.1.6"): EXACT,
    ("buildbot", "1.8.2"): HELD,
    ("buildbot", "3.8.0"): EXACT,
    ("buildbot", "3.11.9"): HELD,
}


def journey_of(package: str, older: str) -> Journey:
    """The journey that begins with that release."""
    return next(one for one in journeys(LINEAGES[package]) if one.older.version == older)


@pytest.mark.parametrize(("package", "older"), CHOSEN, ids=map("-".join, CHOSEN))
def test_a_release_becomes_the_next(package: str, older: str, tmp_path: Path) -> None:
    """Schema, rows, rowids and sequences are right, the newer code runs, what waits is agreed to, and all of it goes back."""
    arrival = travel(journey_of(package, older), tmp_path)
    assert arrival.problems == ()
    assert arrival.outcome == CHOSEN[package, older]
    if arrival.left is not None:
        # What no answer can mend: mlflow's models refer to a column that no key covers.
        assert codes(arrival.left) in ([], [("no-parent-key", "input_tags.input_uuid")])


@pytest.mark.parametrize("package", LINEAGES)
def test_generated_rows_are_the_same_each_time_and_sound(package: str, tmp_path: Path) -> None:
    """Every table has rows, most of them about fifty; a second filling adds none, and another database gets the same."""
    journey = journeys(LINEAGES[package])[-1]
    first, second = tmp_path / "first" / "data.db", tmp_path / "second" / "data.db"
    rows = make(journey, first)
    assert make(journey, second) == rows
    found = content(first)
    assert content(second) == found
    assert problems(first) == []
    assert rows >= 30 * len(found)
    assert fill(first, {}) == rows
