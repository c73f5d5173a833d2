"""driftd beside Alembic's compare on a real service: mcp-task-orchestrator 1.5.1's database under 1.8.0's models.

Both see the same schemas in the same run, by turns, so that their ratio means something on any machine. Nothing passes
or fails by the clock; what is asserted is that both did their work.
"""

from __future__ import annotations

import json
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from real.commands import Case, in_release
from real.packages import ORCHESTRATOR_MODELS, release
from real.reading import copied

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

Result = TypeVar("Result")
REPEATS = 7
IN_PROCESS = "Alembic in process"
WHOLE = "Alembic, whole process"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.5.1's filled database."""
    database = tmp_path_factory.mktemp("bench") / "old.db"
    in_release(release("mcp-task-orchestrator-1.5.1"), "orchestrator_create.py", database)
    return database


class Table:
    """Seconds by row, and how they are shown."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.seconds: dict[str, list[float]] = {}

    def timed(self, row: str, work: Callable[..., Result], *arguments: Any) -> Result:
        """Do the work once and note how long it took."""
        start = time.perf_counter()
        result = work(*arguments)
        self.seconds.setdefault(row, []).append(time.perf_counter() - start)
        return result

    def show(self) -> None:
        """Write the medians to the terminal, each with its ratio to both ways of asking Alembic."""
        rivals = [median(self.seconds[rival]) for rival in (WHOLE, IN_PROCESS)]
        lines = [f"\n\n{self.title}, median of {REPEATS}; x: times faster than {WHOLE}, and {IN_PROCESS}"]
        for row, seconds in self.seconds.items():
            middle = median(seconds)
            ratios = "".join(f"{rival / middle:>9.2f}x" for rival in rivals)
            lines.append(f"  {row:<42}{middle * 1000:>9.1f} ms{ratios}")
        sys.stdout.write("\n".join([*lines, ""]))


def alembic(table: Table, database: Path) -> int:
    """Alembic's comparison once, timed around the process and inside it; how many differences it found."""
    python = release("mcp-task-orchestrator-1.8.0")
    arguments = (*ORCHESTRATOR_MODELS.split(":"), str(database), "2")
    answer = json.loads(table.timed(WHOLE, in_release, python, "alembic_compare.py", *arguments))
    table.seconds.setdefault(IN_PROCESS, []).append(answer["seconds"][-1])  # the first one warms caches
    return int(answer["differences"])


def check(table: Table, row: str, case: Case, code: int, *more: str) -> None:
    """One `driftd check`, timed around the process; what it spent beside its probe is noted too."""
    answer = table.timed(row, case.run, "check", *more)
    assert answer.exit == code
    spent = answer.document["timings_ms"]
    without_probe = (spent["total"] - spent.get("probe", 0.0)) / 1000
    table.seconds.setdefault("driftd check, its read, compare and plan", []).append(without_probe)


def test_check_and_apply_beside_alembic(old: Path, tmp_path: Path) -> None:
    """A drifted and a migrated database: `check` fresh and again and `apply` by driftd, compare_metadata by Alembic."""
    python = release("mcp-task-orchestrator-1.8.0")
    drifted, in_sync = Table("1.5.1's database under 1.8.0's models"), Table("the same, migrated")
    for turn in range(REPEATS):
        case = Case(copied(old, tmp_path / f"turn-{turn}" / "data.db"), python, ORCHESTRATOR_MODELS)
        assert alembic(drifted, case.database) > 0
        check(drifted, "driftd check --fresh", case, 1, "--fresh")
        check(drifted, "driftd check, models unchanged", case, 1)
        assert drifted.timed("driftd apply", case.run, "apply").exit == 0
        check(in_sync, "driftd check --fresh", case, 0, "--fresh")
        check(in_sync, "driftd check, models unchanged", case, 0)
        assert in_sync.timed("driftd apply, up to date", case.run, "apply").exit == 0
        alembic(in_sync, case.database)
    drifted.show()
    in_sync.show()
