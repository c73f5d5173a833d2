"""How everything grows with the number of tables: 125 to 1,000, ten columns each. Processor seconds, beside bare SQLite.

Nothing passes or fails by the clock; what is asserted is that the work was done. SQLite reads its whole catalogue again behind
each ALTER, so a thousand of them on a thousand tables grow with the square of it for everybody: the last line says how long
the same statements take alone. `DRIFTD_BENCH_TABLES` (1000) is the largest.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from driftengine import api
from support.figures import show
from support.migrations import House
from support.wide_schemas import tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

MOST = int(os.environ.get("DRIFTD_BENCH_TABLES", "1000"))
COUNTS = [count for count in (125, 250, 500, 1000) if count <= MOST]

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Of the processor, and what came of it."""
    since = time.process_time()
    found = work()
    return time.process_time() - since, found


def alone(count: int) -> tuple[float, float]:
    """Bare SQLite: a column added to each table, and dropped from each."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(tables(count))

        def each(change: str) -> None:
            for n in range(count):
                connection.execute(f"ALTER TABLE t{n} {change}")

        added, _ = seconds(lambda: each("ADD COLUMN more TEXT"))
        dropped, _ = seconds(lambda: each("DROP COLUMN more"))
        return added, dropped


@pytest.mark.parametrize("count", COUNTS)
def test_growth_with_the_number_of_tables(tmp_path: Path, count: int) -> None:
    """Made, checked, one table changed, each changed, and taken back."""
    home = House(tmp_path)
    home.models(tables(count))
    made_s, done = seconds(home.apply)
    assert done["operations"] == 2 * count  # each with its index
    check_s, done = seconds(home.check)
    assert done["in_sync"]
    home.models(tables(count, "more TEXT", every=count))
    one_s, done = seconds(home.apply)
    assert done["operations"] == 1
    home.models(tables(count, "more TEXT"))
    plan_s, done = seconds(home.plan)
    assert len(done["plan"]["operations"]) == count - 1
    each_s, done = seconds(home.apply)
    assert done["outcome"] == "migrated"
    back_s, done = seconds(lambda: api.rollback(home.target(), allowed_by="the benchmark"))
    assert (done["outcome"], done["held"]) == ("migrated", [])
    add_s, drop_s = alone(count)
    show(
        f"{count} tables, {10 * count} columns: made {made_s:.2f} s, check {check_s:.3f} s, one column more {one_s:.2f} s",
        f"  a column more in each: plan {plan_s:.2f} s, apply {each_s:.2f} s (rehearsed and applied: twice the statements, "
        f"which alone take SQLite {add_s:.2f} s); taken back {back_s:.2f} s (SQLite alone {drop_s:.2f} s)",
    )
