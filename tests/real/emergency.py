"""What the orchestrator's emergency scripts left in databases that were older than four columns of `subtasks`.

The scripts stand in the history of the project's repository (github.com/EchoingVesper/mcp-task-orchestrator), not in its
wheels. Both add the columns by hand, with server defaults that the models never had; one spells the type TEXT, the
other STRING, which SQLite takes for NUMERIC.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ADDED = {
    "TEXT": {
        "verification_status": "TEXT DEFAULT 'pending'",
        "prerequisite_satisfaction_required": "BOOLEAN DEFAULT 0",
        "auto_maintenance_enabled": "BOOLEAN DEFAULT 1",
        "quality_gate_level": "TEXT DEFAULT 'standard'",
    },
    "STRING": {
        "verification_status": "STRING DEFAULT 'pending'",
        "prerequisite_satisfaction_required": "BOOLEAN DEFAULT 0",
        "auto_maintenance_enabled": "BOOLEAN DEFAULT 0",
        "quality_gate_level": "STRING DEFAULT 'standard'",
    },
}
LATER_ROW = """
    INSERT INTO subtasks (task_id, parent_task_id, title, description, specialist_type, estimated_effort, status,
                          created_at, verification_status, auto_maintenance_enabled, quality_gate_level)
    SELECT 'task_later', parent_task_id, title, description, specialist_type, estimated_effort, status,
           created_at, 'verified', 0, NULL
    FROM subtasks LIMIT 1
"""


def repair(database: Path, spelling: str) -> None:
    """Take the database back before those columns, run the script's statements, and add a row as the service would.

    Rows from before then store nothing for the four columns: they read the defaults out of the DDL.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for column in ADDED[spelling]:
            connection.execute(f"ALTER TABLE subtasks DROP COLUMN {column}")
        for column, declaration in ADDED[spelling].items():
            connection.execute(f"ALTER TABLE subtasks ADD COLUMN {column} {declaration}")
        connection.execute(LATER_ROW)
