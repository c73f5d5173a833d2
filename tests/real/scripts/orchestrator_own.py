"""What mcp-task-orchestrator 1.8.0's own code does to an older database: `python orchestrator_own.py HOW DATABASE`.

HOW is `open` (its persistence manager starts), `startup` (the migration that its server runs) or `workspace` (the
migration script that it ships). Each must say that it succeeded.
"""

from __future__ import annotations

import sys
from pathlib import Path


def opened(database: Path) -> None:
    """Open the database as the server does: missing tables and two indexes are made, missing columns are not."""
    from mcp_task_orchestrator.db.persistence import DatabasePersistenceManager

    DatabasePersistenceManager(base_dir=str(database.parent), db_url=f"sqlite:///{database}").engine.dispose()


def startup(database: Path) -> None:
    """Run the server's own migration at start: columns are added without their foreign keys."""
    from mcp_task_orchestrator.db.auto_migration import execute_startup_migration

    result = execute_startup_migration(f"sqlite:///{database}", database.parent / "own-backups")
    if not (result.success and result.migration_needed):
        sys.exit(f"the release's own migration did not migrate: {result}")


def workspace(database: Path) -> None:
    """Run the shipped workspace migration: tables and columns as somebody wrote them by hand, TEXT throughout."""
    from mcp_task_orchestrator.db.workspace_migration import run_workspace_migration

    result = run_workspace_migration(f"sqlite:///{database}", str(database.parent))
    if not result["success"]:
        sys.exit(f"the release's own migration failed: {result}")


if __name__ == "__main__":
    {"open": opened, "startup": startup, "workspace": workspace}[sys.argv[1]](Path(sys.argv[2]))
