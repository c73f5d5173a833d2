"""The daemon's answers over its socket, and windows in which there is nothing to do.

Nothing passes or fails by the clock; what is asserted is that each answer was the right one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from driftd.client import Client
from driftd.startup.starter import Starter
from support.bench_record import record
from support.bench_windows import at_rest
from support.figures import CALLS
from support.sidecars import house, make, running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

HEADING = "Answers over the socket"


def test_status_and_check(tmp_path: Path) -> None:
    """Many calls on one connection, and each with a connection of its own."""
    make(tmp_path / "app.db", journal="wal")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        single: list[float] = []
        fresh: list[float] = []
        checks: list[float] = []
        with Client(sidecar.socket) as client:
            for _ in range(CALLS):
                began = time.perf_counter()
                client.do_status()
                single.append(time.perf_counter() - began)
                began = time.perf_counter()
                with Client(sidecar.socket) as own:
                    own.do_status()
                fresh.append(time.perf_counter() - began)
                began = time.perf_counter()
                assert client.do_check()["in_sync"]
                checks.append(time.perf_counter() - began)
    record(HEADING, "status, one connection", "", single, budget="socket")
    record(HEADING, "status, a connection each", "", fresh, budget="socket")
    record(HEADING, "check, nothing changed", "", checks)


def test_windows_in_sync(tmp_path: Path) -> None:
    """From the first call to the answer, and to the release of the lock, one service after another."""
    database = tmp_path / "app.db"
    make(database, journal="wal")
    took: list[float] = []
    asked: list[float] = []
    with running(house(tmp_path)) as sidecar:
        at_rest(sidecar, database)
        for _ in range(CALLS):
            began = time.perf_counter()
            with Starter(str(database)) as starter:
                starter.open()
                opened = time.perf_counter()
                assert starter.answer()["outcome"] == "up_to_date"
                asked.append(time.perf_counter() - opened)
            took.append(time.perf_counter() - began)
    record(HEADING, "a window in sync", "", asked, budget="socket")
    record(HEADING, "the same with taking and leaving the lock", "", took)
