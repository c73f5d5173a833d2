"""Fifty targets in one daemon, each with a database and models of its own: what they cost, and that none disturbs another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pytest

from support.figures import show
from support.sampling import descriptors_of, watches
from support.sidecars import MODELS, WIDER, Sidecar, columns, execute, house, make, running

if TYPE_CHECKING:
    from pathlib import Path

    from support.sidecars import Document

MANY = 50
ONCE = 4  # threads that a process has for a moment, however many targets: a mender, one that ends
PATIENCE = 240.0  # seconds; fifty stages on a busy machine, one after the other
TARGET = """
[targets.t{number}]
url = "sqlite:///data{number}/app.db"
models = ["models{number}.sql"]
[targets.t{number}.backup]
directory = "backups"
"""

pytestmark = pytest.mark.timeout(600)


def many(folder: Path, count: int) -> Sidecar:
    """A daemon for so many targets; databases in folders of their own."""
    for number in range(count):
        (folder / f"data{number}").mkdir()
        make(folder / f"data{number}" / "app.db", journal="wal" if number % 2 else "delete")
        (folder / f"models{number}.sql").write_text(MODELS, encoding="utf-8")
    targets = "".join(TARGET.format(number=number) for number in range(count))
    return house(folder, configuration='[daemon]\nsocket = "d.sock"\n' + targets)


def entries(sidecar: Sidecar) -> dict[str, Document]:
    """Every target as `status` shows it."""
    return {one["target"]: one for one in sidecar.result("status")["targets"]}


def until(sidecar: Sidecar, states: dict[str, str]) -> float:
    """Seconds until these targets are in these states, with nothing under way."""
    began = time.monotonic()
    while True:
        found = entries(sidecar)
        left = [n for n, state in states.items() if found[n]["state"] != state or found[n]["busy"]]
        if not left:
            return time.monotonic() - began
        assert time.monotonic() < began + PATIENCE, [
            (n, found[n]["state"], found[n]["problem"]) for n in left
        ]
        time.sleep(0.1)  # fifty followers' worth of events would be more work than asking


def cost(sidecar: Sidecar) -> dict[str, int]:
    """Memory in kilobytes, descriptors, threads and inotify watches."""
    assert sidecar.process is not None
    process = psutil.Process(sidecar.process.pid)
    return {
        "rss": process.memory_info().rss // 1024,
        "descriptors": descriptors_of(process.pid),
        "threads": process.num_threads(),
        "watches": watches(process.pid),
    }


def test_fifty_targets_of_their_own(tmp_path: Path) -> None:
    """All are known; two that are broken stay alone in it; one is seen while the others stage; the end comes in time."""
    (tmp_path / "one").mkdir()
    (tmp_path / "fifty").mkdir()
    with running(many(tmp_path / "one", 1)) as single:
        until(single, {"t0": "in_sync"})
        alone = cost(single)
    folder = tmp_path / "fifty"
    sidecar = many(folder, MANY)
    with running(sidecar):
        known = until(sidecar, {f"t{n}": "in_sync" for n in range(MANY)})
        each = {name: (value - alone[name]) / (MANY - 1) for name, value in cost(sidecar).items()}

        (folder / "models7.sql").write_text("CREATE TABLE (;", encoding="utf-8")
        execute(folder / "data8" / "app.db", "PRAGMA journal_mode = delete")
        (folder / "data8" / "app.db").write_bytes(b"this is no database " * 100)
        broken = {"t7": "models_unreadable", "t8": "database_unreadable"}
        whole = [f"t{n}" for n in range(MANY) if f"t{n}" not in broken]
        for name in whole[1:]:
            (folder / f"models{name[1:]}.sql").write_text(WIDER, encoding="utf-8")
        staged = until(sidecar, {**dict.fromkeys(whole[1:], "ready"), **broken, "t0": "in_sync"})

        assert {one["stage"]["freshness"] for n, one in entries(sidecar).items() if n in whole[1:]} == {
            "exact"
        }
        (folder / "models0.sql").write_text(WIDER, encoding="utf-8")
        sidecar.result("stage", target="t20")  # and whoever comes now is not behind the others' work
        seen = until(sidecar, {"t0": "ready"})
        assert {n for n, one in entries(sidecar).items() if one["problem"]} == set(broken)

        began = time.monotonic()
        assert sidecar.stop() == 0
        ended = time.monotonic() - began
    for name in whole:
        assert columns(folder / f"data{name[1:]}" / "app.db") == ["id", "title"], name
    assert list((folder / "backups").glob("*/backup_*")) == []
    assert "Traceback" not in sidecar.log
    # What is bounded is what a target may hold: a thread for its work, its lock, its watches; and not what it takes to start.
    assert each["threads"] <= 2 + ONCE / (MANY - 1)
    assert each["descriptors"] <= 6
    assert each["watches"] <= 3
    assert each["rss"] <= 600
    show(
        f"{MANY} targets: known {known:.1f} s after the socket answers, 47 staged {staged:.1f} s after their saves, "
        f"a save among them seen after {seen:.1f} s, ended {ended:.1f} s after SIGTERM",
        f"  one target: {alone}; each further one: { {name: round(value, 2) for name, value in each.items()} }",
    )
