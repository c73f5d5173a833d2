"""kill -9 at the system calls of an apply: the database is the old or the new one, and the next start heals alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.crash_cases import (
    BACKFILL,
    BACKFILLED,
    CATALOG,
    NATIVE,
    REBUILD,
    cut_off,
    idle,
    many,
    missing,
    reading,
    towards,
)
from support.crash_points import ALL, Scene, attack, chosen, running, writes
from support.faultline import Strike

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.faultline.runs import Runs

    Recorded = Callable[[str, object], None]

CASES = {
    "native": towards(NATIVE),
    "catalog": towards(CATALOG),
    "rebuild": towards(REBUILD),
    "backfill": towards(BACKFILL, BACKFILLED),
}
pytestmark = pytest.mark.timeout(3600 if ALL else 400)
BOTH_MODES = pytest.mark.parametrize("journal", ["delete", "wal"])


@BOTH_MODES
@pytest.mark.parametrize("case", CASES)
def test_an_apply_killed_anywhere(
    runs: Runs, tmp_path: Path, case: str, journal: str, record_property: Recorded
) -> None:
    """Backup, rehearsal, statements, COMMIT and behind: nothing between old and new, and the next start comes to new."""
    scene = Scene(runs, tmp_path, running("apply"), CASES[case], journal)
    ends = attack(scene, chosen(scene.names, 10))
    record_property("tries", scene.tries)
    assert set(ends) == {"old", "new"}


def test_a_database_that_is_being_made(runs: Runs, tmp_path: Path, record_property: Recorded) -> None:
    """It is missing, empty or whole, with the rights that it is to have; nothing stays among the temporary files."""
    scene = Scene(runs, tmp_path, running("apply"), missing)
    ends = attack(scene, chosen(scene.names, 18))
    record_property("tries", scene.tries)
    assert set(ends) == {"old", "new"}


def test_more_rows_than_sqlite_holds_in_memory(runs: Runs, tmp_path: Path, record_property: Recorded) -> None:
    """Pages of a copied table are in the file before COMMIT: the rollback journal brings the old ones back."""
    scene = Scene(runs, tmp_path, running("apply"), many)
    live = [number for number, name in enumerate(scene.names, 1) if "/app.db" in name]
    ends = attack(scene, {*live[:: len(live) // (300 if ALL else 6)], *live[-6:], len(scene.names)})
    record_property("tries", scene.tries)
    assert set(ends) == {"old", "new"}


@pytest.mark.parametrize(("journal", "beside"), [("delete", idle), ("wal", idle), ("wal", reading)])
def test_beside_a_service_that_has_its_database_open(
    runs: Runs, tmp_path: Path, journal: str, beside: Callable[[Path], object], record_property: Recorded
) -> None:
    """The dead leave nothing that the living stumble over; an old snapshot stays as it is."""
    scene = Scene(runs, tmp_path, running("apply"), CASES["rebuild"], journal, beside=beside)  # type: ignore[arg-type]
    ends = attack(scene, chosen(scene.names, 8))
    record_property("tries", scene.tries)
    assert set(ends) == {"old", "new"}


@BOTH_MODES
def test_over_what_a_dead_service_has_left(
    runs: Runs, tmp_path: Path, journal: str, record_property: Recorded
) -> None:
    """A hot journal, or a WAL without its owner, is recovered by whoever comes first, also when that one is killed too."""
    scene = Scene(runs, tmp_path, running("apply"), cut_off, journal)
    ends = attack(scene, chosen(scene.names, 10))
    record_property("tries", scene.tries)
    assert set(ends) == {"old", "new"}


@BOTH_MODES
def test_killed_and_killed_again_while_healing(
    runs: Runs, tmp_path: Path, journal: str, record_property: Recorded
) -> None:
    """The next start dies too, at a point of its own; the one behind it finds no more than the first would have."""
    scene = Scene(runs, tmp_path, running("apply"), CASES["rebuild"], journal)
    # Of the killed one: in the backup, in the rehearsal, in the transaction, behind COMMIT.
    first = chosen(scene.names, 4)
    first = first[:: 4 if ALL else max(1, len(first) // 3)]
    second = range(1, len(scene.names), len(scene.names) // (24 if ALL else 3))
    for at in first:
        for again in second:
            scene.strike(at, again=again)
    record_property("tries", scene.tries)
    assert scene.tries >= 9


@BOTH_MODES
def test_half_of_a_write(runs: Runs, tmp_path: Path, journal: str, record_property: Recorded) -> None:
    """Half a page, half a frame of the log, half a line of the journal, half a manifest: as if nothing of it were there."""
    scene = Scene(runs, tmp_path, running("apply"), CASES["rebuild"], journal)
    points = writes(scene.names, "/app.db", "/journal.jsonl", ".json.partial")
    points = [at for at in points if not scene.names[at - 1].endswith("-shm")]
    ends = attack(scene, points if ALL else points[:: max(1, len(points) // 8)], Strike.TEAR)
    told = [at for at in points if "/journal.jsonl" in scene.names[at - 1]]
    ends += attack(scene, told, Strike.TEAR)
    record_property("tries", scene.tries)
    assert set(ends) == {"old", "new"}
