"""Time changes by Alembic: each line of stdin is `{"database": …, "change": …}`, each answer tells the seconds.

The changes are those of tests/bench/test_large_table.py on its table `item`, the way Alembic's own page on SQLite shows them.
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

BATCH: dict[str, Callable[[BatchOperations], object]] = {
    "default changed": lambda b: b.alter_column("amount", server_default="7"),
    "CHECK dropped": lambda b: b.drop_constraint("ck_amount", type_="check"),
    "foreign key dropped": lambda b: b.drop_constraint("fk_owner", type_="foreignkey"),
    "NOT NULL dropped": lambda b: b.alter_column("title", nullable=True, existing_type=sa.Text()),
    "NOT NULL set": lambda b: b.alter_column("note", nullable=False, existing_type=sa.Text()),
    "CHECK added": lambda b: b.create_check_constraint("ck_note", "length(note) < 1000"),
    "foreign key added": lambda b: b.create_foreign_key("fk_second", "owner", ["second_id"], ["id"]),
    "column renamed": lambda b: b.alter_column("note", new_column_name="remark"),
    "type changed (copy)": lambda b: b.alter_column("second_id", type_=sa.Text(), existing_type=sa.Integer()),
}
PLAIN: dict[str, Callable[[Operations], object]] = {
    "column added": lambda o: o.add_column("item", sa.Column("extra", sa.Text())),
    "index created": lambda o: o.create_index("ix_item_amount", "item", ["amount"]),
}


def changed(database: str, change: str) -> float:
    """Seconds of one change, its commit included."""
    engine = sa.create_engine(f"sqlite:///{database}")
    start = time.perf_counter()
    with engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        if change in PLAIN:
            PLAIN[change](operations)
        else:
            with operations.batch_alter_table("item", recreate="always") as batch:
                BATCH[change](batch)
    seconds = time.perf_counter() - start
    engine.dispose()
    return seconds


def main() -> None:
    """Answer every line."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps({"seconds": changed(**json.loads(line))}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
