"""driftd beside Alembic's compare on a real service: mcp-task-orchestrator 1.5.1's database under 1.8.0's models.

Both see the same schemas in the same run, by turns, so that their ratio means something on any machine. Nothing passes
or fails by the clock; what is asserted is that both did their work.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from real.commands import Case, in_release
from real.packages import ORCHESTRATOR_MODELS, release
from real.reading import copied
from support.bench_record import record
from support.figures import TURNS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

Result = TypeVar("Result")
REPEATS = 2 * TURNS + 1
IN_PROCESS = "Alembic in process"
WHOLE = "Alembic, whole process"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.5.1's filled database."""
    database = tmp_path_factory.mktemp("bench") / "old.db"
    in_release(release("mcp-task-orchestrator-1.5.1"), "orchestrator_create.py", database)
    return database


class Table:
    """Seconds by row, and how they are recorded."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.seconds: dict[str, list[float]] = {}

    def timed(self, row: str, work: Callable[..., Result], *arguments: Any) -> Result:
        """Do the work once and note how long it took."""
        start = time.perf_counter()
        result = work(*arguments)
        self.seconds.setdefault(row, []).append(time.perf_counter() - start)
        return result

    def record(self) -> None:
        """Each row beside both ways of asking Alembic."""
        rivals = {rival: self.seconds.pop(rival) for rival in (WHOLE, IN_PROCESS)}
        for row, seconds in self.seconds.items():
            record("A real service: mcp-task-orchestrator", row, self.title, seconds, rivals=rivals)


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
    drifted, in_sync = Table("1.5.1's database, 1.8.0's models"), Table("migrated")
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
    drifted.record()
    in_sync.record()
