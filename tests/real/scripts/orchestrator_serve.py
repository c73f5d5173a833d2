"""An old service that keeps running: `python orchestrator_serve.py DATABASE`.

It opens the database, reads a task that no other table refers to, says `ready`, and waits for a line. Then, on the connection that it kept open all
the time, it saves a task and prints the ids of all subtasks that it reads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mcp_task_orchestrator.db.persistence import DatabasePersistenceManager


def main() -> None:
    """Serve the database named on the command line until a line comes in."""
    database = Path(sys.argv[1])
    manager = DatabasePersistenceManager(base_dir=str(database.parent), db_url=f"sqlite:///{database}")
    task = manager.load_task_breakdown("parent_4")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    task.description = "changed by the running service"
    manager.save_task_breakdown(task)
    read = manager.load_task_breakdown("parent_4")
    subtasks = sorted(subtask.task_id for subtask in read.subtasks)
    manager.engine.dispose()
    sys.stdout.write(json.dumps([read.description, subtasks]))


if __name__ == "__main__":
    main()
