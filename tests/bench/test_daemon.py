"""The daemon in figures: from a save to a known state, and what it costs while nothing happens.

Nothing passes or fails by the clock; what is asserted is that the work was done. `DRIFTD_BENCH_IDLE` (seconds, 120 by default)
makes it shorter.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from support.bench_record import record
from support.figures import CALLS, IDLE, MB
from support.sampling import woken
from support.sidecars import house, running

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

SAVES = min(15, CALLS)
SETTLING = min(70, 2 * IDLE)  # seconds until it glances seldom
TABLES = 50
# docs/daemon.md, "Timers": a glance every 2 s once nobody has written for a minute, a rescan every 30 s.
GLANCES, RESCANS = 1 / 2, 1 / 30
SAMPLED = 0.02  # seconds between two looks at whether any thread has woken meanwhile


def models(extra: str = "") -> str:
    """A file of models with many tables; `extra` is one more column of the first."""
    tables = [
        f"class T{n}(Base):\n    __tablename__ = 't{n}'\n    id = Column(Integer, primary_key=True)\n"
        f"    name = Column(String(40))\n    at = Column(DateTime)\n" + (extra if n == 0 else "")
        for n in range(TABLES)
    ]
    head = "from sqlalchemy import Column, DateTime, Integer, String\nfrom sqlalchemy.orm import declarative_base\n"
    return head + "Base = declarative_base()\n" + "\n".join(tables)


PYTHON = ("models:Base", f"{TABLES} tables in Python", models(), models("    more = Column(String(9))\n"))
SQL = ("models.sql", "one table in a .sql file", "CREATE TABLE t (a);", "CREATE TABLE t (a, b);")


@pytest.mark.parametrize(("spec", "about", "first", "second"), [PYTHON, SQL])
def test_from_a_save_to_a_known_state(tmp_path: Path, spec: str, about: str, first: str, second: str) -> None:
    """Each save adds or takes a column: how long until an event says that it is drifted, and until the stage is ready."""
    sidecar = house(tmp_path)
    path = tmp_path / ("models.py" if ":" in spec else "models.sql")
    text = (tmp_path / "driftd.toml").read_text(encoding="utf-8").replace("models.sql", spec)
    (tmp_path / "driftd.toml").write_text(text, encoding="utf-8")
    path.write_text(first, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "driftd", "apply"], cwd=tmp_path, check=True, capture_output=True)
    known: list[float] = []
    ready: list[float] = []
    with running(sidecar):
        sidecar.state("in_sync")
        for _ in range(SAVES):
            with sidecar.followed() as follower:
                path.write_text(second, encoding="utf-8")
                began = time.perf_counter()
                follower.until(lambda one: one["state"] != "in_sync")
                known.append(time.perf_counter() - began)
                follower.state("ready")
                ready.append(time.perf_counter() - began)
                path.write_text(first, encoding="utf-8")
                follower.state("in_sync")
    note = "300 ms of it is waiting for quiet"
    record("From a save of the models", "until the drift is known", about, known, note=note)
    record("From a save of the models", "until the stage is ready", about, ready)


def test_idling(tmp_path: Path) -> None:
    """What a daemon with one target costs while nothing happens: memory, processor, wake-ups."""
    sidecar = house(tmp_path)
    (tmp_path / "models.py").write_text(models(), encoding="utf-8")
    text = (tmp_path / "driftd.toml").read_text(encoding="utf-8").replace("models.sql", "models:Base")
    (tmp_path / "driftd.toml").write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "driftd", "apply"], cwd=tmp_path, check=True, capture_output=True)
    with running(sidecar):
        sidecar.state("in_sync")
        assert sidecar.process is not None
        process = psutil.Process(sidecar.process.pid)
        time.sleep(SETTLING)
        used, began = _processor_seconds(process), time.monotonic()
        moments, switches = _moments(process.pid, IDLE)
        spent = time.monotonic() - began
        used = _processor_seconds(process) - used
        memory = process.memory_full_info()
        children = [one.memory_full_info().pss for one in process.children(recursive=True)]
    size = f"{TABLES} tables in Python"
    heading = "The daemon while nothing happens"
    record(heading, "resident memory", size, [memory.rss], unit="MB", times=MB, budget="idle-memory")
    record(heading, "its own share (PSS)", size, [memory.pss], unit="MB", times=MB)
    if children:
        record(
            heading,
            "processes that it keeps warm (PSS), counted apart",
            size,
            [sum(children)],
            unit="MB",
            times=MB,
        )
    record(heading, "processor", size, [100 * used / spent], unit="%", times=1, budget="idle-processor")
    record(
        heading,
        "moments at which it wakes up",
        size,
        [moments / spent],
        unit="/s",
        times=1,
        rivals={"the documented timers": [GLANCES + RESCANS]},
        budget="idle-wake-ups",
        rates=False,
        note=f"over {IDLE} s; its threads hand each other what there is to do, so that a moment is several of their switches: "
        f"{switches / spent:.2f} a second in all",
    )


def _moments(pid: int, seconds: float) -> tuple[int, int]:
    """How often it has woken up, whatever its threads did then, and how often one of them has slept."""
    moments, awake = 0, False
    first = before = woken(pid)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(SAMPLED)
        now = woken(pid)
        moments += now != before and not awake
        awake, before = now != before, now
    return moments, before - first


def _processor_seconds(process: psutil.Process) -> float:
    """What all its threads have used, to the nanosecond where the kernel tells."""
    try:
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9
    except FileNotFoundError:
        return sum(process.cpu_times()[:2])
