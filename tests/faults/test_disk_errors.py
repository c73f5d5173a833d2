"""A disk that fails at one call, or from one call on, in every command: told as what it is, and nothing is half done.

`DRIFTD_FAULTS=all` tries every point of every story with every fault; the sum of the tries stands at the end of the run.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest

from support.crash_points import ALL
from support.disk_faults import FAULTS, STORIES, Fault, Scene, Story

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.faultline.runs import Runs

    Recorded = Callable[[str, object], None]

pytestmark = pytest.mark.timeout(7200 if ALL else 400)
JOURNALS = ("delete", "wal")


def chosen(points: list[int], *names: str) -> list[int]:
    """One point, another one for each story and fault; all of them where all are wanted."""
    if ALL or not points:
        return points
    place = zlib.crc32("/".join(names).encode()) % len(points)
    return points[place : place + 1]


@pytest.mark.parametrize("journal", JOURNALS if ALL else [""])
@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_failing_disk(
    runs: Runs, tmp_path: Path, story: Story, journal: str, record_property: Recorded
) -> None:
    """Documented exit codes and errors, the old or the new database as was said, and the next run heals and leaves nothing."""
    number = STORIES.index(story)
    scene = Scene(tmp_path, runs, story, journal or JOURNALS[number // 2 % 2])
    wrong, tries = [], 0
    for fault in FAULTS if ALL else FAULTS[number % 5 :: 5]:
        for at in chosen(scene.points(fault.kinds), story.name, fault.name):
            tries += 1
            wrong += [f"{fault.name} at {at}: {what}" for what in scene.tried(fault, at)]
    record_property("tries", tries)
    assert wrong == []
    assert tries >= 1  # what only reads gives few of them a point


@pytest.mark.parametrize("fault", [one for one in FAULTS if one.name in {"bad disk", "forbidden"}], ids=str)
def test_a_log_that_sqlite_cannot_remove(runs: Runs, tmp_path: Path, fault: Fault) -> None:
    """It says nothing when what stands beside a finished copy stays: the backup is whole, and nothing is left of its making."""
    scene = Scene(tmp_path, runs, next(one for one in STORIES if one.name == "backup"), "wal")
    scene.reset()
    names = scene.run(kinds=fault.kinds, told=True).names
    removals = [at for at, name in enumerate(names, 1) if "unlink" in name and ".partial-" in name]
    assert removals
    assert [what for at in removals for what in scene.tried(fault, at)] == []
