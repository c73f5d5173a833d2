"""The daemon, or the process that stages for it, is killed at system calls all through its life: everything heals by itself."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from support.crash_points import ALL
from support.daemon_crashes import everything, heals, is_clean, orders, play, prepared, scene
from support.faultline import Control, Strike
from support.sidecars import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from support.faultline.runs import Runs

    Record = Callable[[str, object], None]


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    """What strikes the daemon."""
    with Control(tmp_path / "control", ()) as made:
        yield made


def picked(names: Sequence[str], wanted: int) -> list[int]:
    """Points, evenly over the run, each kind of call on each kind of file first; all of them with DRIFTD_FAULTS=all."""
    if ALL:
        return list(range(1, len(names) + 1))
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name.endswith("-shm") and not name.endswith("driftd.log"):
            first.setdefault(re.sub(r"[0-9a-f_]{8,}|rehearsal-\w+", "", name), number)
    several = sorted(first.values())
    return [several[each * len(several) // wanted] for each in range(min(wanted, len(several)))]


@pytest.mark.timeout(7200 if ALL else 300)
@pytest.mark.parametrize(
    ("story", "journal", "wanted"),
    [
        ("window", "wal", 4),
        ("window", "delete", 2),
        ("files", "wal", 3),
        ("dev", "delete", 2),
        ("reload", "wal", 2),
    ],
)
def test_killed_anywhere_the_daemon_leaves_nothing_to_mend(
    tmp_path: Path,
    runs: Runs,
    control: Control,
    record_property: Record,
    story: str,
    journal: str,
    wanted: int,
) -> None:
    """The service starts migrated with whoever is left; the next daemon finds an in-step database, and sweeps."""
    start = prepared(tmp_path / "start", journal)
    whole = tmp_path / "whole"
    _, _, names = play(story, start, whole, runs, control, 0)
    new = everything(whole / "app.db")
    heals(whole, runs, control, new)
    points, hit = picked(names, wanted), 0
    for number in points:
        folder = tmp_path / f"at{number}"
        _, struck, _ = play(story, start, folder, runs, control, number)
        hit += struck
        heals(folder, runs, control, new)
        shutil.rmtree(folder)
    record_property("tries", hit)
    assert hit >= len(points) * 3 // 4, "a run is never quite like the last one, but nearly"


@pytest.mark.timeout(7200 if ALL else 300)
def test_killed_in_a_rollback_that_was_ordered(
    tmp_path: Path, runs: Runs, control: Control, record_property: Record
) -> None:
    """The database is as before or as after it, the history says which, and the next order comes to the same end."""
    start = prepared(tmp_path / "start", "wal")
    whole = tmp_path / "whole"
    old = everything(start / "app.db")
    _, _, names = play("rollback", start, whole, runs, control, 0)
    assert everything(whole / "app.db") == old
    seen, points = set(), [*picked(names, 3), len(names) - 1]
    for number in points:
        folder = tmp_path / f"at{number}"
        play("rollback", start, folder, runs, control, number)
        undone = everything(folder / "app.db") == old
        seen.add(undone)
        with scene(folder, runs, control) as at:
            shown = at.driftd("history", "--json", "--target", "app").json()
            assert (shown["migrations"][-1]["kind"] == "rollback") == undone
            at.sidecar.launch()
            assert at.until("held" if undone else "in_sync")
            if not undone:
                assert orders(at.sidecar)
                assert at.until("held")
            assert everything(folder / "app.db") == old
            at.end()
        is_clean(folder, runs, "app")
        shutil.rmtree(folder)
    assert seen == {True, False}
    record_property("tries", len(points))


@pytest.mark.timeout(7200 if ALL else 300)
def test_torn_writes_of_the_daemon(
    tmp_path: Path, runs: Runs, control: Control, record_property: Record
) -> None:
    """Killed with half of a line or a page written: as for any other moment."""
    start = prepared(tmp_path / "start", "delete")
    whole = tmp_path / "whole"
    _, _, names = play("window", start, whole, runs, control, 0)
    new = everything(whole / "app.db")
    writes = [number for number, name in enumerate(names, 1) if name.startswith(("write ", "pwrite "))]
    points = picked([names[number - 1] for number in writes], 3)
    for number in points:
        folder = tmp_path / f"at{number}"
        play("window", start, folder, runs, control, writes[number - 1], Strike.TEAR)
        heals(folder, runs, control, new)
        shutil.rmtree(folder)
    record_property("tries", len(points))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("socket", ["d.sock", "nobody.sock"])
def test_a_starter_that_is_killed_beside_the_daemon(
    tmp_path: Path, runs: Runs, control: Control, record_property: Record, socket: str
) -> None:
    """At each, or each other, of its system calls, over the socket and by files alone: the next one is answered by the daemon at once."""
    start = prepared(tmp_path / "start", "wal")
    number, tries, killed = 0, 0, True
    while killed:
        number, tries = number + (1 if ALL else 2), tries + 1
        folder = tmp_path / f"at{number}"
        shutil.copytree(start, folder)
        with scene(folder, runs, control) as at:
            at.sidecar.launch()
            assert at.until("ready")
            words = ("gate", "--strict", "--json", "--target", "app", "--timeout", "40")
            environment = {"DRIFTD_CONFIG": "driftd.toml", "DRIFTD_SOCKET": socket}
            killed = runs.driftd(folder, *words, at=number, env=environment).killed
            again = runs.driftd(folder, *words, env=environment)
            assert (again.code, again.json()["by"]) == (0, "daemon"), (again.out, again.err)
            assert at.until("in_sync")
            assert columns(folder / "app.db") == ["id", "title", "state"]
            at.end()
        is_clean(folder, runs, "app")
        shutil.rmtree(folder)
    record_property("tries", tries - 1)
    assert number > 3
