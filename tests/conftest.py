"""How often each promise was attacked: a test records its tries, and the end of the run lists them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

TRIES = "tries"  # the name of the property: `record_property("tries", 40)`


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
