"""Windows as the benchmarks open them, and databases of a size."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from driftd.startup.starter import Starter
from support.sidecars import make

if TYPE_CHECKING:
    from pathlib import Path

    from support.sidecars import Sidecar

FILLER = "x" * 1000
ROWS_A_MB = 960


def filled(database: Path, megabytes: int, journal: str) -> None:
    """A database of that size."""
    make(database, journal=journal)
    with closing(sqlite3.connect(database)) as connection, connection:
        rows = ((FILLER,) for _ in range(megabytes * ROWS_A_MB))
        connection.executemany("INSERT INTO task (title) VALUES (?)", rows)


def window(database: Path) -> tuple[dict[str, Any], float]:
    """One start: its answer, and the seconds from its first call to the lock's release."""
    began = time.perf_counter()
    with Starter(str(database)) as starter:
        answer = starter.answer()
    return answer, time.perf_counter() - began


def at_rest(sidecar: Sidecar, database: Path) -> None:
    """The daemon has seen a first window, has looked again behind it, and has nothing to do."""
    sidecar.state("in_sync")
    window(database)  # writes the first meeting down
    seen = sidecar.entry()["looked_at"]
    sidecar.until(lambda one: one["looked_at"] > seen)


def plain_environment(home: Path) -> dict[str, str]:
    """The environment of a command that is typed: nothing of driftd's set, bytecode written."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTD_", "PYTHONDONT", "XDG_"))}
    return {**kept, "HOME": str(home)}
