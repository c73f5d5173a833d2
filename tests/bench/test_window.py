"""The startup window in figures: with a fresh stage, with an old one, in sync; `driftd exec`; fifty starters at once.

Nothing passes or fails by the clock; what is asserted is that the work was done. `DRIFTD_BENCH_MB` (1000) is the size of the
large database.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from driftd.startup.starter import Starter
from support.figures import MEGABYTES, quantiles, show
from support.sidecars import columns, execute, house, make, running

if TYPE_CHECKING:
    from support.sidecars import Sidecar

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

CALLS = 300
STARTS = 30
STARTERS = 50
ROUNDS = {1: 9, MEGABYTES: 5}
FILLER = "x" * 1000


def shape(number: int) -> str:
    """The models of one round: each has one nullable column, one with a constant default and one table more."""
    more = "".join(f", a{n} TEXT, b{n} INTEGER NOT NULL DEFAULT 3" for n in range(number))
    tables = "".join(f"CREATE TABLE extra{n} (id INTEGER PRIMARY KEY);\n" for n in range(number))
    return f"CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT{more});\n{tables}"


def filled(database: Path, megabytes: int, journal: str) -> None:
    """A database of that size."""
    make(database, journal=journal)
    with closing(sqlite3.connect(database)) as connection, connection:
        rows = ((FILLER,) for _ in range(megabytes * 960))
        connection.executemany("INSERT INTO task (title) VALUES (?)", rows)


def window(database: Path) -> tuple[dict[str, Any], float]:
    """One start: its answer, and the milliseconds from its first call to the lock's release."""
    began = time.perf_counter()
    with Starter(str(database)) as starter:
        answer = starter.answer()
    return answer, (time.perf_counter() - began) * 1000


def staged(sidecar: Sidecar, number: int) -> None:
    """The models move on, and the stage is ready and exact."""
    (sidecar.folder / "models.sql").write_text(shape(number), encoding="utf-8")
    sidecar.until(
        lambda one: (
            one["state"] == "ready"
            and not one["busy"]
            and one["stage"]["freshness"] == "exact"
            and f"extra{number - 1}" in {o["table"] for o in one["plan"]["operations"]}
        )
    )


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("megabytes", [1, MEGABYTES])
def test_a_window_with_a_plan_of_constant_time(tmp_path: Path, megabytes: int, journal: str) -> None:
    """A table, a nullable column and one with a default each time; with an exact stage, and after a commit that made it old."""
    database = tmp_path / "app.db"
    filled(database, megabytes, journal)
    fresh, old = [], []
    sidecar = house(tmp_path, models=shape(0))
    sidecar.patience = 300.0
    with running(sidecar):
        sidecar.state("in_sync")
        for number in range(1, ROUNDS[megabytes] + 1):
            staged(sidecar, number)
            answer, took = window(database)
            assert (answer["outcome"], answer["stage"]) == ("migrated", "exact"), answer
            assert f"a{number - 1}" in columns(database)
            fresh.append(took)
        for number in range(ROUNDS[megabytes] + 1, ROUNDS[megabytes] + 4):
            staged(sidecar, number)
            execute(database, "INSERT INTO task (title) VALUES ('new')")
            answer, took = window(database)
            assert answer["outcome"] == "migrated", answer
            old.append((took, answer["stage"]))
    shutil.rmtree(tmp_path / "backups")
    show(
        f"a window over {megabytes} MB, journal_mode={journal}, {len(fresh)} with an exact stage: "
        f"median {median(fresh):.1f} ms, least {min(fresh):.1f}, most {max(fresh):.1f}",
        "after a commit of somebody else: " + ", ".join(f"{took:.0f} ms ({stage})" for took, stage in old),
    )


def test_a_window_in_sync(tmp_path: Path) -> None:
    """Nothing to do: from the first call to the release of the lock, over the socket, one service after another."""
    database = tmp_path / "app.db"
    make(database, journal="wal")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        window(database)  # writes the first meeting down
        seen = sidecar.entry()["looked_at"]
        sidecar.until(lambda one: one["looked_at"] > seen)
        took, asked = [], []
        for _ in range(CALLS):
            began = time.perf_counter()
            with Starter(str(database)) as starter:
                starter.open()
                opened = time.perf_counter()
                assert starter.answer()["outcome"] == "up_to_date"
                asked.append(time.perf_counter() - opened)
            took.append(time.perf_counter() - began)
    show(
        f"{CALLS} windows in sync, over the socket: {quantiles(asked)}",
        f"with taking and leaving the lock: {quantiles(took)}",
    )


def test_exec_over_bare_python(tmp_path: Path) -> None:
    """`driftd exec -- true` beside `python -c pass` and `true`, in turns: with a daemon, in sync, and without one."""
    database = tmp_path / "app.db"
    make(database, journal="wal")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTD_", "PYTHONDONT"))}
    environment["HOME"] = str(tmp_path)
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "true": ["/bin/true"],
        "driftd exec -- true": [str(Path(sys.executable).with_name("driftd")), "exec", "--", "/bin/true"],
    }

    def measure() -> dict[str, list[float]]:
        took: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(STARTS + 2):
            for name, command in commands.items():
                began = time.perf_counter()
                subprocess.run(command, cwd=tmp_path, env=environment, check=True)
                took[name].append((time.perf_counter() - began) * 1000)
        return {name: times[2:] for name, times in took.items()}

    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        window(database)
        seen = sidecar.entry()["looked_at"]
        sidecar.until(lambda one: one["looked_at"] > seen)
        with_daemon = measure()
    without = measure()
    show(
        *(
            f"{where}: "
            + ", ".join(f"{n} median {median(t):.1f} least {min(t):.1f}" for n, t in told.items())
            + " ms"
            for where, told in (("with a daemon", with_daemon), ("without one", without))
        )
    )


@pytest.mark.parametrize("served", [True, False])
def test_fifty_starters_at_once(tmp_path: Path, served: bool) -> None:
    """One migrates, the others find nothing to do: from the first one's start until each of them has ended."""
    database = tmp_path / "app.db"
    make(database, journal="wal")
    sidecar = house(tmp_path, models=shape(0))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTD_", "PYTHONDONT"))}
    environment["HOME"] = str(tmp_path)

    def starters() -> tuple[list[str], float, list[float]]:
        began = time.perf_counter()
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "driftd", "gate", "--json"],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
            )
            for _ in range(STARTERS)
        ]
        answers = [json.loads(process.communicate()[0]) for process in processes]
        outcomes = sorted(one["outcome"] for one in answers)
        return outcomes, time.perf_counter() - began, [one["duration_ms"] for one in answers]

    if served:
        with running(sidecar):
            sidecar.state("in_sync")
            staged(sidecar, 1)
            outcomes, took, _ = starters()
    else:
        (tmp_path / "models.sql").write_text(shape(1), encoding="utf-8")
        outcomes, took, _ = starters()
    assert outcomes == ["migrated", *["up_to_date"] * (STARTERS - 1)], outcomes
    show(
        f"{STARTERS} starters at once, {'with' if served else 'without'} a daemon: all through after {took:.2f} s"
    )
