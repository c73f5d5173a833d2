"""Rows with the values that come back: which of them a constraint would refuse, together with what was written since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftengine.dialects.sqlite.earlier import EARLIER
from driftengine.dialects.sqlite.projection import KEY, default_value, key_of
from driftengine.dialects.sqlite.tokens import quote
from driftengine.dialects.sqlite.undo_value import as_stored, value_of
from driftengine.schema import Check, ForeignKey, Index

if TYPE_CHECKING:
    from collections.abc import Iterable

    from driftengine.dialects.sqlite.partner import Names, Pair
    from driftengine.schema import Column, KeyPart, PrimaryKey, Schema, Table, Unique

_CHILD, _PARENT = '"driftd_child"', '"driftd_parent"'


def offended(
    constraint: Check | ForeignKey | Index | PrimaryKey | Unique,
    wanted: Table,
    pair: Pair,
    fills: dict[str, str],
) -> str | None:
    """The query, as (key, value), for rows that a constraint of `wanted` would refuse with the values that come back.

    None where no value that it looks at comes back. `fills` are the expressions by which NULLs were filled, by column key.
    """
    back = {one.key for one in wanted.columns if value_of(one, pair, fills.get(one.key)) is not None}
    rows = _rows_after(wanted, pair, fills)
    if isinstance(constraint, Check):
        if not constraint.columns & back:
            return None
        shown = _shown([quote(key) for key in sorted(constraint.columns)])
        return f"SELECT {KEY}, {shown} FROM {rows} WHERE NOT ({constraint.expression.sql})"
    if isinstance(constraint, ForeignKey):
        if not set(constraint.columns) & back and constraint.parent in pair.present.tables:
            return None
        return _orphans(f"SELECT * FROM {rows}", constraint, pair.present, pair.former, pair.names)
    where = constraint.where.sql if isinstance(constraint, Index) and constraint.where else ""
    if any(part.is_expression for part in constraint.parts) or not _columns(constraint.parts) & back:
        return None
    return _duplicates(rows, constraint.parts, wanted, where)


def constraints_over(table: Table, schema: Schema, column: str) -> list[Any]:
    """What stands in the table, or on it, and refuses rows by what they hold in the column."""
    found: list[Any] = [check for check in table.checks if column in check.columns]
    found += [key for key in table.foreign_keys if column in key.columns]
    found += [unique for unique in table.uniques if column in _columns(unique.parts)]
    found += [
        index for index in schema.indexes_of(table.key) if index.unique and column in _columns(index.parts)
    ]
    return found


def _columns(parts: Iterable[KeyPart]) -> set[str]:
    return {part.effect for part in parts if not part.is_expression}


def _rows_after(wanted: Table, pair: Pair, fills: dict[str, str]) -> str:
    """The table's rows as they will be, for FROM."""
    taken = {column.key: _taken(column, pair, fills) for column in wanted.columns}
    listed = [f"{sql} AS {quote(column.name)}" for column in wanted.columns if (sql := taken[column.key])]
    raw = f"SELECT {', '.join([f'{key_of(pair.now)} AS {KEY}', *listed])} FROM {quote(pair.now.name)}"
    # An expression has neither the affinity nor the collation of the column that it is for.
    stored = [_as_in(column, pair) for column in wanted.columns if taken[column.key]]
    return f"(SELECT {', '.join([KEY, *stored])} FROM ({raw})) AS {quote(wanted.name)}"


def _taken(column: Column, pair: Pair, fills: dict[str, str]) -> str:
    """What the column will be given; "" for a computed one that is not there yet."""
    present, value = pair.now.column(column.key), value_of(column, pair, fills.get(column.key))
    if value is not None:
        return value.sql
    if present is not None:
        return pair.here(quote(present.name))
    if column.generated is not None:
        return ""
    return default_value(column.default) if column.default is not None else "NULL"


def _as_in(column: Column, pair: Pair) -> str:
    """A value as the column will hold and compare it."""
    name, present = quote(column.name), pair.now.column(column.key)
    if present is not None and (present.affinity, present.collation) == (column.affinity, column.collation):
        return name
    value = name if present is None else as_stored(name, column.affinity)
    return f"{value} COLLATE {quote(column.collation)} AS {name}"


def _duplicates(rows: str, parts: Iterable[KeyPart], wanted: Table, where: str) -> str:
    """Values that would stand in more than one row, with the first and the last key; NULL is never equal to NULL."""
    own = {column.key: column.collation for column in wanted.columns}
    members = sorted((part.effect, part.collation or own.get(part.effect, "BINARY")) for part in parts)
    names = [quote(key) for key, _ in members]
    conditions = [f"{name} IS NOT NULL" for name in names] + ([f"({where})"] if where else [])
    groups = ", ".join(f"{quote(key)} COLLATE {quote(collation)}" for key, collation in members)
    return (
        f"SELECT min({KEY}) || iif(count(*) > 2, ', ..., ', ', ') || max({KEY}), min({_shown(names)}) FROM {rows}"
        f" WHERE {' AND '.join(conditions)} GROUP BY {groups} HAVING count(*) > 1"
    )


def _shown(names: list[str]) -> str:
    return names[0] if len(names) == 1 else " || ', ' || ".join(f"quote({name})" for name in names)


def orphans_of(table: Table, wanted: Table, now: Schema, then: Schema, names: Names) -> str | None:
    """Rows that come back with their table, as (key, value), and point at a parent that is gone; None without foreign keys."""
    rows = f"SELECT *, {key_of(table)} AS {KEY} FROM {EARLIER}.{quote(table.name)}"
    queries = [
        query
        for key in wanted.foreign_keys
        if all(table.column(name) is not None for name in key.columns)
        and (query := _orphans(rows, key, now, then, names)) is not None
    ]
    return " UNION ALL ".join(queries) or None


def _orphans(rows: str, key: ForeignKey, now: Schema, then: Schema, names: Names) -> str | None:
    """Rows whose foreign key is complete and points at no parent. A parent that comes back too stands in the copy."""
    parent = now.tables.get(key.parent)
    source = "" if parent is None else quote(parent.name)
    if parent is None:
        parent = then.tables.get(names.get((key.parent, ""), (key.parent, ""))[0])
        source = "" if parent is None else f"{EARLIER}.{quote(parent.name)}"
    if parent is None or parent.problem or not key.parent_columns:
        return None
    mine = [f"{_CHILD}.{quote(name)}" for name in key.columns]
    pairs = []
    for name, other in zip(mine, key.parent_columns, strict=True):
        found = parent.column(other)
        if found is None:
            return None  # it comes back with the parent: the rehearsal tells
        # A child's value is compared as the parent's column would store it.
        value = f"CAST({name} AS TEXT)" if found.affinity == "TEXT" else name
        pairs.append(f"{_PARENT}.{quote(other)} = {value}")
    complete = " AND ".join(f"{name} IS NOT NULL" for name in mine)
    missing = f"NOT EXISTS (SELECT 1 FROM {source} AS {_PARENT} WHERE {' AND '.join(pairs)})"
    return f"SELECT {_CHILD}.{KEY}, {_shown(mine)} FROM ({rows}) AS {_CHILD} WHERE {complete} AND {missing}"
