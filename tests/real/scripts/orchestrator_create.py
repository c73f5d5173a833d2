"""Make a database by an installed mcp-task-orchestrator's own code, and fill every table that it has.

Runs inside that release's environment: `python orchestrator_create.py DATABASE`. Tasks and subtasks go through the
release's own persistence manager; all other tables are filled through its SQLAlchemy models, so that every value passes
the release's own types.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

from mcp_task_orchestrator.db.models import Base
from mcp_task_orchestrator.db.persistence import DatabasePersistenceManager
from mcp_task_orchestrator.orchestrator.models import (
    ComplexityLevel,
    SpecialistType,
    SubTask,
    TaskBreakdown,
    TaskStatus,
)
from sqlalchemy import JSON, Boolean, DateTime, Integer, select

ROWS = 7  # per table that the persistence manager does not fill
TASKS = 5
SUBTASKS = 4  # per task
MOMENT = datetime(2025, 6, 7, 8, 9, 10, 123456)  # noqa: DTZ001  # the models store naive moments
TEXTS = ("plain", 'it\'s "quoted"', "line one\nline two", "ünïcode ✓ 漢字", "", "x" * 5000, "007")
DOCUMENTS = ([], {}, ["a", "b"], {"n": 1, "nested": {"deep": [None, True, 1.5]}}, ["ü"], [0], {"": ""})


def breakdown(number: int) -> TaskBreakdown:
    """One task with its subtasks."""
    statuses = list(TaskStatus)
    specialists = list(SpecialistType)
    subtasks = [
        SubTask(
            task_id=f"task_{number}_{part}",
            title=f"Part {part}: {TEXTS[(number + part) % len(TEXTS)]}",
            description=TEXTS[part % len(TEXTS)],
            specialist_type=specialists[(number + part) % len(specialists)],
            dependencies=[f"task_{number}_{part - 1}"] if part else [],
            estimated_effort=f"{part + 1} h",
            status=statuses[(number + part) % len(statuses)],
            results=TEXTS[part % len(TEXTS)] if part % 2 else None,
            artifacts=[f"artifacts/{number}/{part}.md"] * (part % 3),
            created_at=MOMENT + timedelta(minutes=part),
            completed_at=MOMENT + timedelta(hours=part) if part % 2 else None,
        )
        for part in range(SUBTASKS)
    ]
    return TaskBreakdown(
        parent_task_id=f"parent_{number}",
        description=TEXTS[number % len(TEXTS)],
        complexity=list(ComplexityLevel)[number % len(ComplexityLevel)],
        subtasks=subtasks,
        created_at=MOMENT + timedelta(days=number),
        context=TEXTS[number % len(TEXTS)] if number % 2 else None,
    )


def value(column: object, row: int, parents: dict[str, list[object]]) -> object:
    """What this column holds in the table's row of that number; NULL in every third row where it may be."""
    for key in column.foreign_keys:
        known = parents[key.target_fullname]
        return None if column.nullable and row % 3 == 0 else known[row % len(known)]
    if column.nullable and row % 3 == 2:
        return None
    if isinstance(column.type, JSON):
        return DOCUMENTS[row % len(DOCUMENTS)]
    if isinstance(column.type, Boolean):
        return bool(row % 2)
    if isinstance(column.type, DateTime):
        return MOMENT + timedelta(seconds=row)
    if isinstance(column.type, Integer):
        return (0, -1, 2**31, 2**62, 7, 1, 42)[row % 7]
    if column.primary_key or column.unique:
        return f"{column.table.name}_{column.name}_{row}"
    return TEXTS[row % len(TEXTS)]


def fill(connection: object) -> None:
    """Rows for every table that is still empty, parents first."""
    parents: dict[str, list[object]] = {}
    for table in Base.metadata.sorted_tables:
        if connection.execute(select(table).limit(1)).first() is None:
            keys = {column.name for column in table.primary_key if isinstance(column.type, Integer)}
            for row in range(ROWS):
                values = {c.name: value(c, row, parents) for c in table.columns if c.name not in keys}
                connection.execute(table.insert().values(**values))
        for column in table.columns:
            known = connection.execute(select(column)).scalars().all()
            parents[f"{table.name}.{column.name}"] = list(known)


def main() -> None:
    """Create and fill the database named on the command line."""
    database = Path(sys.argv[1])
    manager = DatabasePersistenceManager(base_dir=str(database.parent), db_url=f"sqlite:///{database}")
    for number in range(TASKS):
        manager.save_task_breakdown(breakdown(number))
    with manager.engine.begin() as connection:
        fill(connection)
    manager.engine.dispose()


if __name__ == "__main__":
    main()
