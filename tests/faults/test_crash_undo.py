"""kill -9 at the system calls of what takes something back: old or new, and given again it comes to the same end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.crash_cases import NATIVE, REBUILD, backed_up, by_hand, migrated
from support.crash_points import (
    ALL,
    Scene,
    attack,
    calling,
    chosen,
    restore_first,
    restore_last,
    running,
    writes,
)
from support.faultline import Strike

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.faultline.runs import Runs
    from support.migrations import House

    Recorded = Callable[[str, object], None]

pytestmark = pytest.mark.timeout(3600 if ALL else 400)
DROPPED = ("--approve", "drop-column", "--approve", "drop-table")
CASES = {
    "whole": (running("rollback", *DROPPED), migrated(NATIVE), 0),
    "copied": (running("rollback"), migrated(REBUILD), 0),
    "operation": (running("rollback", "--operation", "1", "--approve", "drop-table"), migrated(NATIVE), 0),
    "to-backup": (calling(restore_last), migrated(NATIVE), 1),
    "adopt": (running("adopt"), by_hand, 0),
    "revert": (running("revert", "--approve", "drop-column"), by_hand, 0),
}


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("case", CASES)
def test_taking_back_killed_anywhere(
    runs: Runs, tmp_path: Path, case: str, journal: str, record_property: Recorded
) -> None:
    """The next start does not undo it, nor finish it: it is whole or not there, and the command can be given again."""
    command, begin, spare = CASES[case]
    scene = Scene(runs, tmp_path, command, begin, journal, forward=False, spare=spare)
    ends = attack(scene, chosen(scene.names, 9))
    record_property("tries", scene.tries)
    assert set(ends) == {"old", "new"}


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_restore_killed_anywhere(
    runs: Runs, tmp_path: Path, journal: str, record_property: Recorded
) -> None:
    """Behind the safety backup the database is what it was or what the backup holds, and the safety backup stays."""
    scene = Scene(runs, tmp_path, calling(restore_first), backed_up(2), journal, forward=False, spare=1)
    ends = attack(scene, chosen(scene.names, 9))
    torn = [
        at for at in writes(scene.names, "/app.db", "/journal") if not scene.names[at - 1].endswith("-shm")
    ]
    ends += attack(scene, torn if ALL else torn[:: max(1, len(torn) // 4)], Strike.TEAR)
    record_property("tries", scene.tries)
    assert set(ends) == {"old", "new"}


def without_database(house: House) -> None:
    """Backups of a database that somebody has deleted since."""
    backed_up(2)(house)
    for end in ("", "-wal", "-shm"):
        house.database.with_name(f"app.db{end}").unlink(missing_ok=True)


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_restore_where_nothing_was_killed_anywhere(
    runs: Runs, tmp_path: Path, journal: str, record_property: Recorded
) -> None:
    """There is nothing, or what the backup holds; a service that starts in between has a new database, and the order still stands."""
    command = calling(restore_first)
    scene = Scene(runs, tmp_path, command, without_database, journal, forward=False, followed=True, spare=1)
    ends = attack(scene, chosen(scene.names, 9))
    ends += attack(scene, writes(scene.names, "/app.db")[:: 1 if ALL else 5], Strike.TEAR)
    record_property("tries", scene.tries)
    assert set(ends) == {"old", "new"}
