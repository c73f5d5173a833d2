"""Read every task back by the release's own persistence code, as JSON: `python orchestrator_read.py DATABASE [write]`.

With `write`, one more task is saved first, as the running service would.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mcp_task_orchestrator.db.models import TaskBreakdownModel
from mcp_task_orchestrator.db.persistence import DatabasePersistenceManager
from mcp_task_orchestrator.orchestrator.models import ComplexityLevel, SpecialistType, SubTask, TaskBreakdown

NEW = TaskBreakdown(
    parent_task_id="parent_new",
    description="saved after the migration",
    complexity=ComplexityLevel.SIMPLE,
    subtasks=[
        SubTask(
            task_id="task_new",
            title="new",
            description="new",
            specialist_type=SpecialistType.TESTER,
            estimated_effort="1 h",
        )
    ],
)


def main() -> None:
    """Print the tasks of the database named on the command line, by id."""
    database = Path(sys.argv[1])
    manager = DatabasePersistenceManager(base_dir=str(database.parent), db_url=f"sqlite:///{database}")
    if sys.argv[2:] == ["write"]:
        manager.save_task_breakdown(NEW)
    with manager.session_scope() as session:
        keys = sorted(key for (key,) in session.query(TaskBreakdownModel.parent_task_id))
    # The manager answers None, and only logs, when a task cannot be loaded: then this fails at `None.json`.
    tasks = {key: json.loads(manager.load_task_breakdown(key).model_dump_json()) for key in keys}
    manager.engine.dispose()
    for task in tasks.values():
        task["subtasks"].sort(key=lambda subtask: subtask["task_id"])
    sys.stdout.write(json.dumps(tasks))


if __name__ == "__main__":
    main()
