"""The warm probe in figures: loading the models by a process of its own and by a template's child, and a save in the daemon.

Nothing passes or fails by the clock; what is asserted is that both give the same, and that the template has served.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from bench.rivals import python_with
from support.bench_record import record
from support.figures import CALLS, MB
from support.sidecars import house, running
from support.warm import Warm, request_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

SQLMODEL = ("sqlmodel==0.0.24", "sqlalchemy==2.0.58")
HEADING = "Loading the models"
TRIES = max(3, min(25, CALLS // 40))


def declarative(tables: int, extra: str = "") -> str:
    """Models of SQLAlchemy; `extra` is one more column of the first."""
    head = "from sqlalchemy import Column, DateTime, Integer, String\nfrom sqlalchemy.orm import declarative_base\n"
    return f"{head}Base = declarative_base()\n" + "\n".join(
        f"class T{n}(Base):\n    __tablename__ = 't{n}'\n    id = Column(Integer, primary_key=True)\n"
        f"    name = Column(String(40))\n    at = Column(DateTime)\n{'' if n else extra}"
        for n in range(tables)
    )


def sqlmodel(tables: int) -> str:
    """The same with SQLModel."""
    head = "from datetime import datetime\nfrom typing import Optional\nfrom sqlmodel import Field, SQLModel\nBase = SQLModel\n"
    return head + "\n".join(
        f"class T{n}(SQLModel, table=True):\n    id: Optional[int] = Field(default=None, primary_key=True)\n"
        f"    name: str = Field(max_length=40)\n    at: datetime\n"
        for n in range(tables)
    )


@pytest.mark.parametrize("kind", ["15 tables", "50 tables", "SQLModel, 15 tables"])
def test_loading_cold_and_warm(tmp_path: Path, kind: str) -> None:
    """The same models, in turn by a process of its own and by a template's child."""
    python = str(python_with(SQLMODEL)) if "SQLModel" in kind else sys.executable
    tables = 15 if "15" in kind else 50
    (tmp_path / "models.py").write_text(sqlmodel(tables) if "SQLModel" in kind else declarative(tables))
    warm, cold_s, warm_s = Warm(), [], []
    warm.settled(tmp_path)
    request = request_for(tmp_path, "models:Base")
    try:
        for _ in range(3):  # a template for SQLModel begins when it is known that the models use it
            warm.served(python, request)
        for _ in range(TRIES):
            started = time.perf_counter()
            expected = warm.own(python, request)
            between = time.perf_counter()
            told, served = warm.served(python, request)
            warm_s.append(time.perf_counter() - between)
            cold_s.append(between - started)
            assert served
            assert told == expected
        memory = sum(one["rss_bytes"] for one in warm.templates.documents())
    finally:
        warm.templates.close()
    record(HEADING, "by a template's child", kind, warm_s, rivals={"by a process of its own": cold_s})
    record(HEADING, "memory of the template", kind, [memory], unit="MB", times=MB)


@pytest.mark.parametrize("tables", [15, 50])
def test_from_a_save_to_a_known_state(tmp_path: Path, tables: int) -> None:
    """Each save adds or takes a column: how long until an event says that it is drifted, without and with templates."""
    figures: dict[str, list[float]] = {}
    for name, setting in (("cold", "false"), ("warm", "true")):
        folder = tmp_path / name
        folder.mkdir()
        sidecar = house(folder, mode="observe")
        sidecar.environment["DRIFTD_WARM_PROBE"] = setting
        configuration = (folder / "driftd.toml").read_text(encoding="utf-8")
        (folder / "driftd.toml").write_text(configuration.replace("models.sql", "models:Base"))
        first, second = declarative(tables), declarative(tables, "    more = Column(String(9))\n")
        path = folder / "models.py"
        path.write_text(first)
        subprocess.run([sys.executable, "-m", "driftd", "apply"], cwd=folder, check=True, capture_output=True)
        known = []
        with running(sidecar):
            sidecar.state("in_sync")
            for _ in range(TRIES):
                with sidecar.followed() as follower:
                    path.write_text(second)
                    started = time.perf_counter()
                    follower.until(lambda one: one["state"] != "in_sync")
                    known.append(time.perf_counter() - started)
                    path.write_text(first)
                    follower.state("in_sync")
        figures[name] = known[1:]
    record(
        HEADING,
        "from a save until the drift is known, with a template",
        f"{tables} tables",
        figures["warm"],
        rivals={"without one": figures["cold"]},
        note="300 ms of each is waiting for quiet",
    )
