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
    from driftengine.schema import Column, Index, Schema


def survives(operation: Operation, actual: Schema) -> bool:
    """True when running code certainly does not notice the operation, or only in what it reads.

    Survived is what adds (a table, a view, a column that old code need not name, a plain index) and what allows more (NULL,
    a CHECK that goes or whose list grows, another default). A statement that names no columns, `INSERT INTO t VALUES
    (...)`, does not survive a new column; it counts as survived all the same, for SQLAlchemy names them. What stands in a
    table that is not in `actual`, the schema as it is, nobody has met yet, whatever it is.
    """
    d = operation.difference
    if d.change == ADD and d.table and d.table not in actual.tables and d.table not in actual.views:
        return True
    rule = _RULES.get(d.object)
    return rule is not None and rule(d, operation, actual)


def _new(d: Difference, _: Operation, __: Schema) -> bool:
    """Nobody reads or writes yet what was not there."""
    return d.change == ADD


def _column(d: Difference, _: Operation, actual: Schema) -> bool:
    if d.change == ADD:
        # A computed value may fail for a row that old code writes; NOT NULL without a default refuses each of them.
        return d.desired.generated is None and (not d.desired.not_null or d.desired.default is not None)
    if d.change != CHANGE:
        return False
    if d.aspect == "not_null":
        # ON CONFLICT IGNORE or REPLACE did something for old code that would not happen any more.
        return not d.desired.not_null and d.actual.not_null_conflict in {"", "ABORT", "FAIL", "ROLLBACK"}
    return d.aspect == "default" and _default_fits(d.table, d.desired, actual)


def _default_fits(table: str, column: Column, actual: Schema) -> bool:
    """What leaves the column out stores the new default: true where nothing that stays judges or computes with it.

    Without any default such a row would be refused, or hold NULL; one that has to be computed may fail.
    """
    default, owner = column.default, actual.tables.get(table)
    if owner is None or default is None or (default.value is None and default.effect not in _OF_THE_CLOCK):
        return False
    named = {key for check in owner.checks for key in check.columns}
    named |= {key for unique in owner.uniques for key in unique.columns}
    named |= {key for foreign_key in owner.foreign_keys for key in foreign_key.columns}
    named |= set(owner.primary_key.columns) if owner.primary_key else set()
    computes = owner.strict or any(other.generated for other in owner.columns)
    return (
        column.key not in named
        and not computes
        and not actual.triggers_of(table)
        and all(_is_plain(index) for index in actual.indexes_of(table))
    )


_OF_THE_CLOCK = frozenset({"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP"})


def _check(d: Difference, operation: Operation, _: Schema) -> bool:
    # Safe is a change that every old row satisfies because it allows more: so does every row that old code writes.
    return d.change == REMOVE or (d.change == CHANGE and operation.judgement.risk == SAFE)


def _index(d: Difference, _: Operation, __: Schema) -> bool:
    return d.change == ADD and _is_plain(d.desired)


def _is_plain(index: Index) -> bool:
    """It refuses no row, and nothing is computed for it that could fail."""
    computes = any(part.is_expression for part in index.parts)
    calls = index.where is not None and "(" in index.where.effect
    return not (index.unique or computes or calls)


# Not here, so never survived: unique (ON CONFLICT needs the one that goes), foreign_key (its actions do work for old
# code, and a new one refuses what old code deletes), trigger (it may refuse or alter a row), primary_key, option.
_RULES: dict[str, Callable[[Difference, Operation, Schema], bool]] = {
    "table": _new,
    "virtual_table": _new,
    "view": _new,
    "column": _column,
    "check": _check,
    "index": _index,
}
