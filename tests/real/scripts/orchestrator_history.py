"""Make the table that the server of mcp-task-orchestrator keeps beside its models: `python orchestrator_history.py DATABASE`.

The server makes it when it opens its database, and looks before it makes without a lock: of several that open a database
without it at once, one fails with "table migration_history already exists".
"""

from __future__ import annotations

import sys

from mcp_task_orchestrator.db.migration_history import MigrationHistoryManager
from sqlalchemy import create_engine

MigrationHistoryManager(create_engine(f"sqlite:///{sys.argv[1]}"))
