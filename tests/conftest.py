"""For the whole run: how many tests go at once, which goes first, and how often each promise was attacked.

A test records its tries, and the end of the run lists them.
"""

from __future__ import annotations

import os
from collections import defaultdict

import pytest

TRIES = "tries"  # the name of the property: `record_property("tries", 40)`


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores: what a third of the tests' time is spent on is waiting for a daemon.

    Where every fault is tried, most of the time is waiting for locks that a fault has taken away.
    """
    cores = os.cpu_count() or 1
    return 4 * cores if os.environ.get("DRIFTD_FAULTS") == "all" else max(2, cores * 3 // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The storm comes first: it takes minutes, and alone at the end everybody would wait for it."""
    items.sort(key=lambda item: item.path.name != "test_soak.py")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Adds up what the tests of each function have recorded, over all of its parameters."""
    tries: dict[str, int] = defaultdict(int)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                test = report.nodeid.partition("[")[0]
                tries[test] += sum(value for name, value in report.user_properties if name == TRIES)
    told = {test: count for test, count in sorted(tries.items()) if count}
    if told:
        terminalreporter.section("tries")
        for test, count in told.items():
            terminalreporter.line(f"{count:8,} {test}")
        terminalreporter.line(f"{sum(told.values()):8,} in all")
