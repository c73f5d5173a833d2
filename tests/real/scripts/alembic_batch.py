"""Time one change by Alembic's batch mode: `python alembic_batch.py DATABASE CHANGE`, answers in JSON.

The changes are those of tests/bench/test_engine.py on its table `item`, the way Alembic's own page on SQLite shows them.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import BatchOperations, Operations

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES: dict[str, Callable[[BatchOperations], None]] = {
    "default changed": lambda b: b.alter_column("amount", server_default="7"),
    "CHECK dropped": lambda b: b.drop_constraint("ck_amount", type_="check"),
    "foreign key dropped": lambda b: b.drop_constraint("fk_owner", type_="foreignkey"),
    "NOT NULL dropped": lambda b: b.alter_column("title", nullable=True, existing_type=sa.Text()),
    "NOT NULL set": lambda b: b.alter_column("note", nullable=False, existing_type=sa.Text()),
    "CHECK added": lambda b: b.create_check_constraint("ck_note", "length(note) < 1000"),
    "foreign key added": lambda b: b.create_foreign_key("fk_second", "owner", ["second_id"], ["id"]),
    "rebuild (type)": lambda b: b.alter_column("second_id", type_=sa.Text(), existing_type=sa.Integer()),
}


def main() -> None:
    """Print the seconds of the one change, its commit included."""
    database, change = sys.argv[1:]
    engine = sa.create_engine(f"sqlite:///{database}")
    start = time.perf_counter()
    with engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        with operations.batch_alter_table("item", recreate="always") as batch:
            CHANGES[change](batch)
    seconds = time.perf_counter() - start
    engine.dispose()
    sys.stdout.write(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
