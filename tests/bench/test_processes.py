"""Whole processes from their start to their end: a cold check, `driftd exec`, and the client's import.

Each turn runs every command once, so that what disturbs one disturbs all. Nothing passes or fails by the clock; what is
asserted is that each command succeeded.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

from bench.rivals import ALEMBIC, python_with
from support.bench_record import MILLI, record
from support.bench_windows import at_rest, plain_environment, window
from support.figures import CALLS
from support.sidecars import house, make, running

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

DRIFTD = str(Path(sys.executable).with_name("driftd"))
PYTHON = sys.executable
PASS = "python -c pass"
HEADING = "Whole processes"
STARTS = min(30, CALLS)

ALEMBIC_ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine
from models import Base

with create_engine("sqlite:///alembic.db").connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
"""


def models(tables: int) -> str:
    """A file of declarative models."""
    head = "from sqlalchemy import Column, DateTime, Integer, String\nfrom sqlalchemy.orm import declarative_base\n"
    classes = [
        f"class T{n}(Base):\n    __tablename__ = 't{n}'\n    id = Column(Integer, primary_key=True)\n"
        "    name = Column(String(40))\n    at = Column(DateTime)\n"
        for n in range(tables)
    ]
    return head + "Base = declarative_base()\n" + "\n".join(classes)


def by_turns(commands: Mapping[str, Sequence[str]], folder: Path, turns: int) -> dict[str, list[float]]:
    """Seconds of each command, each turn; the first two turns, which fill caches, are left out."""
    environment, seconds = plain_environment(folder), {name: list[float]() for name in commands}
    for turn in range(turns + 2):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
            if turn >= 2:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def without_history(database: Path, copy: Path) -> None:
    """The same tables for Alembic, which would take driftd's own for drift."""
    shutil.copyfile(database, copy)
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("DROP TABLE driftd_history")


@pytest.mark.parametrize("tables", [15, 50, 200])
def test_a_check(tmp_path: Path, tables: int) -> None:
    """`driftd check` with nothing changed, and asked anew, beside `alembic check` and bare Python."""
    (tmp_path / "models.py").write_text(models(tables), encoding="utf-8")
    (tmp_path / "alembic" / "versions").mkdir(parents=True)
    (tmp_path / "alembic" / "env.py").write_text(ALEMBIC_ENVIRONMENT, encoding="utf-8")
    (tmp_path / "alembic.ini").write_text(
        "[alembic]\nscript_location = alembic\nprepend_sys_path = .\npath_separator = os\n", encoding="utf-8"
    )
    target = ["--url", "sqlite:///app.db", "--models", "models:Base"]
    subprocess.run(
        [DRIFTD, "apply", *target], cwd=tmp_path, check=True, capture_output=True, env=plain_environment(tmp_path)
    )  # fmt: skip
    without_history(tmp_path / "app.db", tmp_path / "alembic.db")
    took = by_turns(
        {
            PASS: [PYTHON, "-c", "pass"],
            "alembic check": [str(python_with(ALEMBIC)), "-m", "alembic", "check"],
            "fresh": [DRIFTD, "check", "--fresh", *target],
            "cold": [DRIFTD, "check", *target],
        },
        tmp_path,
        min(20, STARTS),
    )
    rivals = {name: took[name] for name in ("alembic check", PASS)}
    size = f"{tables} tables"
    record(HEADING, "driftd check, nothing changed", size, took["cold"], rivals=rivals, budget="cold-check")
    record(
        HEADING,
        "driftd check --fresh",
        size,
        took["fresh"],
        rivals={"alembic check": rivals["alembic check"]},
    )


def test_the_clients_import(tmp_path: Path) -> None:
    """What a service pays for having driftd's client at hand."""
    rival = "import socket, json"
    took = by_turns(
        {
            PASS: [PYTHON, "-c", "pass"],
            rival: [PYTHON, "-c", rival],
            "client": [PYTHON, "-c", "import driftd.client"],
        },
        tmp_path,
        STARTS,
    )
    rivals = {name: took[name] for name in (rival, PASS)}
    record(HEADING, "python -c 'import driftd.client'", "", took["client"], rivals=rivals, budget="client")


def test_exec(tmp_path: Path) -> None:
    """`driftd exec -- true` with a daemon, in sync, and without one, beside bare Python."""
    database = tmp_path / "app.db"
    make(database, journal="wal")
    commands = {
        PASS: [PYTHON, "-c", "pass"],
        "true": ["/bin/true"],
        "exec": [DRIFTD, "exec", "--", "/bin/true"],
    }
    with running(house(tmp_path)) as sidecar:
        at_rest(sidecar, database)
        windows = [window(database)[1] for _ in range(STARTS)]
        served = by_turns(commands, tmp_path, STARTS)
    alone = by_turns(commands, tmp_path, STARTS)
    for where, took, allowed in (
        ("with a daemon, in sync", served, median(windows) * MILLI),
        ("without one, in sync", alone, 0.0),
    ):
        record(
            HEADING,
            "driftd exec -- true",
            where,
            took["exec"],
            rivals={PASS: took[PASS], "true alone": took["true"]},
            budget="exec" if allowed else "",
            allowance=allowed,
            note=f"a window in sync takes {allowed:.1f} ms of it, not counted" if allowed else "",
        )
