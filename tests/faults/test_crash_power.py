"""The power is lost: what was not synced may be gone, and the database is old or new all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.crash_cases import NATIVE, REBUILD, backed_up, migrated, towards
from support.crash_points import ALL, Scene, calling, restore_first, restore_last, running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from support.faultline.runs import Runs
    from support.migrations import House

    Recorded = Callable[[str, object], None]

pytestmark = pytest.mark.timeout(3600 if ALL else 400)
CASES: Mapping[str, tuple[Mapping[str, Any], Callable[[House], None], Mapping[str, Any]]] = {
    "apply": (running("apply"), towards(REBUILD), {}),
    "rollback": (
        running("rollback", "--approve", "drop-column", "--approve", "drop-table"),
        migrated(NATIVE),
        {"forward": False},
    ),
    "restore": (calling(restore_first), backed_up(2), {"forward": False, "spare": 1}),
    "to-backup": (calling(restore_last), migrated(NATIVE), {"forward": False, "spare": 1}),
    "backup": (running("backup", "create"), backed_up(1), {"forward": False, "spare": 1}),
}


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("case", CASES)
def test_without_power(
    runs: Runs, tmp_path: Path, case: str, journal: str, record_property: Recorded
) -> None:
    """In four kinds of file systems: a whole database, whole backups, a history that tells the same, and a start that heals."""
    command, begin, how = CASES[case]
    scene = Scene(runs, tmp_path, command, begin, journal, **how)
    ends = scene.without_power(3)
    record_property("tries", scene.tries)
    assert sum(ends.values()) == scene.tries
