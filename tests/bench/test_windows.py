"""Windows in which a plan is applied: with a fresh stage on databases of every size, with an old one, and fifty at once.

Nothing passes or fails by the clock; what is asserted is that the work was done.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from support.bench_record import record
from support.bench_windows import filled, plain_environment, window
from support.figures import MEGABYTES
from support.sidecars import columns, execute, house, make, running

if TYPE_CHECKING:
    from pathlib import Path

    from support.sidecars import Sidecar

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

HEADING = "A window with a plan of constant time"
STARTERS = 50
ROUNDS = {1: 15, 100: 9, 1000: 5, 5000: 2}
ROOM = 5  # times the database's size: itself, a backup of now and of last time, the rehearsal's copy, and one to spare


def sizes() -> list[int]:
    """Megabytes: the usual ones up to the bound, and the bound."""
    return [*[one for one in ROUNDS if one < MEGABYTES], MEGABYTES]


def shape(number: int) -> str:
    """The models of one round: each has one nullable column, one with a constant default and one table more."""
    more = "".join(f", a{n} TEXT, b{n} INTEGER NOT NULL DEFAULT 3" for n in range(number))
    tables = "".join(f"CREATE TABLE extra{n} (id INTEGER PRIMARY KEY);\n" for n in range(number))
    return f"CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT{more});\n{tables}"


def staged(sidecar: Sidecar, number: int) -> float:
    """Seconds from the models' being saved until the stage is ready and exact."""
    began = time.perf_counter()
    (sidecar.folder / "models.sql").write_text(shape(number), encoding="utf-8")
    sidecar.until(
        lambda one: (
            one["state"] == "ready"
            and not one["busy"]
            and one["stage"]["freshness"] == "exact"
            and f"extra{number - 1}" in {o["table"] for o in one["plan"]["operations"]}
        )
    )
    return time.perf_counter() - began


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_plan_of_constant_time(tmp_path: Path, journal: str) -> None:
    """A table, a nullable column and one with a default each time; with an exact stage, and after a commit that made it old."""
    smallest: list[float] = []
    for megabytes in sizes():
        folder = tmp_path / str(megabytes)
        if shutil.disk_usage(tmp_path).free < ROOM * megabytes * 1_000_000:
            record(HEADING, "left out: the disk has no room", f"{megabytes:,} MB, {journal}", [0.0])
            continue
        folder.mkdir()
        fresh, old, stages = measured(folder, megabytes, journal)
        shutil.rmtree(folder)
        size = f"{megabytes:,} MB, {journal}"
        record(HEADING, "exact stage", size, fresh, budget="window")
        if smallest:
            record(
                "How it grows",
                "exact stage",
                size,
                fresh,
                rivals={f"at {sizes()[0]} MB": smallest},
                budget="window-growth",
                rates=False,
            )
        smallest = smallest or fresh
        record(HEADING, "rows written since the stage", size, old)
        record("Staging ahead, while nobody waits", "from a save to a stage that is ready", size, stages, unit="s", times=1)  # fmt: skip


def measured(folder: Path, megabytes: int, journal: str) -> tuple[list[float], list[float], list[float]]:
    """Seconds of windows with an exact stage, of windows behind somebody's commit, and of the staging."""
    database, rounds = folder / "app.db", ROUNDS.get(megabytes, 3)
    filled(database, megabytes, journal)
    fresh: list[float] = []
    old: list[float] = []
    stages: list[float] = []
    sidecar = house(folder, models=shape(0))
    sidecar.patience = 1800.0
    with running(sidecar):
        sidecar.state("in_sync")
        for number in range(1, rounds + 1):
            stages.append(staged(sidecar, number))
            answer, took = window(database)
            assert (answer["outcome"], answer["stage"]) == ("migrated", "exact"), answer
            assert f"a{number - 1}" in columns(database)
            fresh.append(took)
        for number in range(rounds + 1, rounds + 2 + (rounds > 2)):
            stages.append(staged(sidecar, number))
            execute(database, "INSERT INTO task (title) VALUES ('new')")
            answer, took = window(database)
            assert answer["outcome"] == "migrated", answer
            old.append(took)
    return fresh, old, stages


@pytest.mark.parametrize("served", [True, False])
def test_fifty_starters_at_once(tmp_path: Path, served: bool) -> None:
    """One migrates, the others find nothing to do: from the first one's start until each of them has ended."""
    database = tmp_path / "app.db"
    make(database, journal="wal")
    sidecar = house(tmp_path, models=shape(0))
    environment = plain_environment(tmp_path)

    def starters() -> tuple[list[str], float]:
        began = time.perf_counter()
        command = [sys.executable, "-m", "driftd", "gate", "--json"]
        processes = [
            subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
            for _ in range(STARTERS)
        ]
        answers = [json.loads(process.communicate()[0]) for process in processes]
        return sorted(one["outcome"] for one in answers), time.perf_counter() - began

    if served:
        with running(sidecar):
            sidecar.state("in_sync")
            staged(sidecar, 1)
            outcomes, took = starters()
    else:
        (tmp_path / "models.sql").write_text(shape(1), encoding="utf-8")
        outcomes, took = starters()
    assert outcomes == ["migrated", *["up_to_date"] * (STARTERS - 1)], outcomes
    where = "with a daemon" if served else "without one"
    record("A crowd", f"{STARTERS} services start at once, until all are through", where, [took], unit="s", times=1)  # fmt: skip
