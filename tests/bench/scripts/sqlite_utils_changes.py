"""Time changes by sqlite-utils: each line of stdin is `{"database": …, "change": …}`, each answer tells the seconds.

The changes are those of tests/bench/test_large_table.py on its table `item`, as far as sqlite-utils has a call for them.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import sqlite_utils

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES: dict[str, Callable[[sqlite_utils.db.Table], object]] = {
    "default changed": lambda t: t.transform(defaults={"amount": 7}),
    "foreign key dropped": lambda t: t.transform(drop_foreign_keys=["owner_id"]),
    "NOT NULL dropped": lambda t: t.transform(not_null={"title": False}),
    "NOT NULL set": lambda t: t.transform(not_null={"note": True}),
    "foreign key added": lambda t: t.add_foreign_key("second_id", "owner", "id"),
    "type changed (copy)": lambda t: t.transform(types={"second_id": str}),
    "column added": lambda t: t.add_column("extra", str),
    "column renamed": lambda t: t.transform(rename={"note": "remark"}),
    "index created": lambda t: t.create_index(["amount"], index_name="ix_item_amount"),
}


def changed(database: str, change: str) -> float:
    """Seconds of one change, its commit included."""
    opened = sqlite_utils.Database(database)
    start = time.perf_counter()
    CHANGES[change](opened["item"])
    seconds = time.perf_counter() - start
    opened.close()
    return seconds


def main() -> None:
    """Answer every line."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps({"seconds": changed(**json.loads(line))}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
