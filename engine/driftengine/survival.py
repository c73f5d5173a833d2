"""Does code that was written for the schema as it is survive an operation while it runs? Pure, and rather no than yes.

Others run on the database while a service starts. They have prepared statements, and models of how the tables were. A
statement is prepared again by SQLite when the schema has moved (https://www.sqlite.org/c3ref/prepare.html), so a table
may be copied under them; but each statement must still compile, still be allowed, and still mean what it meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.changes import ADD, CHANGE, REMOVE
from driftengine.risk import SAFE

if TYPE_CHECKING:
    from collections.abc import Callable

    from driftengine.changes import Difference
    from driftengine.operations import Operation


def survives(operation: Operation) -> bool:
    """True when running code certainly does not notice the operation, or only in what it reads.

    Survived is what adds (a table, a view, a column that old code need not name, a plain index) and what allows more (NULL,
    a CHECK that goes or whose list grows, another default). A statement that names no columns, `INSERT INTO t VALUES
    (...)`, does not survive a new column; it counts as survived all the same, for SQLAlchemy names them.
    """
    rule = _RULES.get(operation.difference.object)
    return rule is not None and rule(operation.difference, operation)


def _new(d: Difference, _: Operation) -> bool:
    """Nobody reads or writes yet what was not there."""
    return d.change == ADD


def _column(d: Difference, _: Operation) -> bool:
    if d.change == ADD:
        # A computed value may fail for a row that old code writes; NOT NULL without a default refuses each of them.
        return d.desired.generated is None and (not d.desired.not_null or d.desired.default is not None)
    if d.change != CHANGE:
        return False
    if d.aspect == "not_null":
        # ON CONFLICT IGNORE or REPLACE did something for old code that would not happen any more.
        return not d.desired.not_null and d.actual.not_null_conflict in {"", "ABORT", "FAIL", "ROLLBACK"}
    # What leaves the column out reads the new default; without any, it would be refused or find NULL.
    return d.aspect == "default" and d.desired.default is not None


def _check(d: Difference, operation: Operation) -> bool:
    # Safe is a change that every old row satisfies because it allows more: so does every row that old code writes.
    return d.change == REMOVE or (d.change == CHANGE and operation.judgement.risk == SAFE)


def _index(d: Difference, _: Operation) -> bool:
    """A plain one: it refuses no row, and nothing is computed for it that could fail."""
    if d.change != ADD or d.desired.unique:
        return False
    computes = any(part.is_expression for part in d.desired.parts)
    calls = d.desired.where is not None and "(" in d.desired.where.effect
    return not (computes or calls)


# Not here, so never survived: unique (ON CONFLICT needs the one that goes), foreign_key (its actions do work for old
# code, and a new one refuses what old code deletes), trigger (it may refuse or alter a row), primary_key, option.
_RULES: dict[str, Callable[[Difference, Operation], bool]] = {
    "table": _new,
    "virtual_table": _new,
    "view": _new,
    "column": _column,
    "check": _check,
    "index": _index,
}
