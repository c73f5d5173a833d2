"""Many services start at once on one database, some are killed on the way: one migration, and everybody starts in time.

`DRIFTD_FAULTS=all` runs every combination with more seeds; each test prints how many starts and kills there were.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from command_line import driftd
from driftd.explain import explain
from driftengine import api
from support.crash_points import ALL
from support.crowd import BANK, NEW_BANK, audited, make_bank, noted
from support.crowd_starters import at_work_in, held_locks, holder_of, starting_at_once, unfinished
from support.migrations import House
from support.processes import HOLDER, beside
from support.sidecars import CONFIGURATION, Sidecar, house, running, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.crowd_starters import Killer, Start

pytestmark = pytest.mark.timeout(600)

SETTLED = {"up_to_date", "migrated"}
WINDOW = 60.0  # seconds: long enough for fifty on a machine that does other things too
SLACK = 10.0  # seconds past a deadline that a loaded machine may take to run a process again
FATES = ("lives", "lives", "holds", "soon", "child")
FILLED = 2000  # rows of half a kilobyte
KINDS = [(True, "wal"), (False, "delete"), *([(True, "delete"), (False, "wal")] if ALL else [])]


def opened(folder: Path, journal: str, window: float = WINDOW) -> Sidecar:
    """A service's folder with a bank that its models have moved on from; the daemon is not started."""
    make_bank(folder / "app.db", journal, FILLED)
    return house(
        folder, models=BANK, configuration=f"{CONFIGURATION}\n[targets.app.window]\ntimeout = {window}\n"
    )


def moved_on(sidecar: Sidecar, *, served: bool) -> None:
    """The models move on; a daemon has staged by then."""
    if served:
        sidecar.state("in_sync")
    (sidecar.folder / "models.sql").write_text(NEW_BANK, encoding="utf-8")
    if served:
        sidecar.state("ready")


def wanted(folder: Path, journal: str, aside: Path) -> str:
    """What the database must come to: that of one quiet `driftd apply` on a copy."""
    aside.mkdir()
    shutil.copy(folder / "app.db", aside / "app.db")
    quiet = House(aside, journal)
    quiet.models(NEW_BANK)
    assert quiet.apply()["outcome"] == "migrated"
    return quiet.everything()


def explained(error: dict[str, Any] | None) -> bool:
    """True for an error that says what, why and what to do, under a code that `driftd explain` knows."""
    if error is None or not all(error.get(name) for name in ("what", "why", "fix")):
        return False
    return error["code"] != "internal" and bool(explain(error["code"]).text)


def started_well(one: Start, window: float) -> None:
    """A service that nobody killed has started by its deadline, with its command's code, and was told what came of it."""
    assert one.process.returncode == 0, (one.told, one.err)
    assert one.took < window + SLACK, (one.took, one.told)
    assert "Traceback" not in one.err, one.err
    assert "bug" not in one.err, one.err
    if one.way == "gate":
        waits = one.told["held"] or one.told["blocked"]
        assert one.told["outcome"] in SETTLED or waits or explained(one.told["error"]), one.told
    if one.way == "exec":
        assert all(line.startswith("driftd: ") for line in one.err.splitlines()), one.err
    if one.way == "python":
        assert one.told["success"] or "(" in one.told["error_message"], one.told


def migrated_once(folder: Path, expected: str) -> None:
    """The next start finds or does what is left; then the database is exactly new, and nothing is left over."""
    healed = driftd("gate", "--json", folder=folder).document
    assert healed["outcome"] in SETTLED, healed
    assert not healed["held"], healed
    assert driftd("apply", folder=folder).code == 0  # it sweeps what a killed process has left
    assert audited(folder / "app.db") == []
    assert House(folder).everything() == expected
    target = House(folder).target()
    assert api.check(target)["in_sync"]
    done = [one for one in api.history(target)["migrations"] if one["kind"] == "migration"]
    assert sum(one["operations"] for one in done) == 4, done
    assert len(done) == 1, done
    assert api.history_verify(target)["problems"] == []
    assert api.backup_verify(target)["ok"]


def nothing_left(folder: Path) -> None:
    """No lock is held, no file is half made, and nobody is at work any more."""
    give_up = time.monotonic() + 60
    while left := at_work_in(folder):  # an orphan needs a moment to find out that nobody wants it
        assert time.monotonic() < give_up, left
        time.sleep(0.05)
    assert held_locks(folder / "app.db") == []
    assert unfinished(folder) == []


def answers(sidecar: Sidecar) -> bool:
    """True when the daemon can be asked."""
    try:
        sidecar.ask("version")
    except OSError:
        return False
    return True


def told(killer: Killer, kind: str) -> str:
    """A line of figures."""
    lived = [one for one in killer.starts if one.lives]
    return (
        f"{kind}: {len(killer.starts)} starts, {len(killer.killed)} kills, "
        f"the longest start {max(one.took for one in lived):.2f} s of {WINDOW:.0f}"
    )


@pytest.mark.parametrize(("served", "journal"), KINDS)
def test_fifty_at_once_are_one_migration(tmp_path: Path, served: bool, journal: str) -> None:
    """Fifty starters of all three ways: one migration, everybody hears of it, nobody is past its deadline."""
    folder = tmp_path / "house"
    folder.mkdir()
    sidecar = opened(folder, journal)
    expected = wanted(folder, journal, tmp_path / "aside")
    with running(sidecar) if served else nullcontext():
        moved_on(sidecar, served=served)
        with starting_at_once(folder, 50) as killer:
            pass
    for one in killer.starts:
        started_well(one, WINDOW)
        assert one.told.get("outcome", "up_to_date") in SETTLED, one.told
        assert one.told.get("success", True), one.told
    migrated_once(folder, expected)
    nothing_left(folder)
    noted([told(killer, f"served={served} {journal}")])


@pytest.mark.parametrize("seed", range(20 if ALL else 1))
@pytest.mark.parametrize(("served", "journal"), KINDS)
def test_some_die_and_the_rest_start(tmp_path: Path, served: bool, journal: str, seed: int) -> None:
    """Starters, and what works for them, are killed at random; the daemon twice, and started again: still one migration."""
    folder = tmp_path / "house"
    folder.mkdir()
    sidecar = opened(folder, journal)
    expected = wanted(folder, journal, tmp_path / "aside")
    moments = random.Random(seed)  # noqa: S311 - no secret: the same seed kills at the same moments
    with running(sidecar) if served else nullcontext():
        moved_on(sidecar, served=served)
        # Who has ended without a migration may run on the old schema for a moment, which a window minds: none of them stays.
        with starting_at_once(folder, 50 if ALL else 25, seed=seed, fates=FATES, ways=("gate",)) as killer:
            for _ in range(2 * served):
                wait_until(lambda: holder_of(folder / "app.db") > 0 or killer.everybody_has_ended(), sidecar)
                time.sleep(moments.uniform(0, 0.4))
                sidecar.stop(signal.SIGKILL)
                sidecar.launch()
        if served:
            wait_until(lambda: answers(sidecar), sidecar)
    for one in killer.starts:
        if one.fate in {"lives", "child"}:
            started_well(one, WINDOW)
    migrated_once(folder, expected)
    nothing_left(folder)
    assert killer.killed
    noted([told(killer, f"served={served} {journal} seed={seed}")])


@pytest.mark.parametrize("served", [True, False])
def test_where_nobody_can_be_served_everybody_starts_in_time(tmp_path: Path, served: bool) -> None:
    """Somebody keeps the write lock for good: each starter goes on by its own deadline, told why, and nothing is changed."""
    window = 3.0
    sidecar = opened(tmp_path, "delete", window)
    before = House(tmp_path).everything()
    with running(sidecar) if served else nullcontext():
        moved_on(sidecar, served=served)
        with (
            beside(HOLDER, tmp_path / "app.db", "BEGIN IMMEDIATE"),
            starting_at_once(tmp_path, 20 if ALL else 8) as killer,
        ):
            pass
    for one in killer.starts:
        started_well(one, window)
        assert one.told.get("outcome") in {None, "deferred", "unknown", "failed"}, one.told
    assert House(tmp_path).everything() == before
    nothing_left(tmp_path)
    assert driftd("gate", "--strict", folder=tmp_path).code == 0


@pytest.mark.parametrize("one_socket", [True, False])
def test_of_several_daemons_at_once_one_serves(tmp_path: Path, one_socket: bool) -> None:
    """Started together on one database: one serves and answers, the others end with exit code 2 and say who it is."""
    first = opened(tmp_path, "wal")
    sockets = ["d.sock" if one_socket else f"d{number}.sock" for number in range(4)]
    daemons = [replace(first, options=("--socket", name)) for name in sockets]
    try:
        processes = [one.launch() for one in daemons]
        wait_until(lambda: sum(process.poll() is None for process in processes) == 1, first)
        codes = sorted(process.poll() or 0 for process in processes)
        assert codes == [0, 2, 2, 2], first.log
        assert first.log.count("error[socket-taken]" if one_socket else "error[target-served]") == 3
        gate = driftd("gate", "--json", folder=tmp_path).document
        assert (gate["outcome"], gate["by"]) == ("up_to_date", "daemon"), gate
        (serving,) = (one for one in daemons if one.process is not None and one.process.poll() is None)
        assert serving.stop() == 0
    finally:
        for one in daemons:
            if one.process is not None and one.process.poll() is None:
                one.process.kill()
                one.process.wait()
    nothing_left(tmp_path)
