"""A table that comes back: its rows, the highest id that was ever given, and what ANALYZE had found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.changes import Backfill
from driftengine.dialects.sqlite.earlier import EARLIER
from driftengine.dialects.sqlite.projection import default_value, has_own_rowid, rowid_name
from driftengine.dialects.sqlite.tokens import literal, quote

if TYPE_CHECKING:
    from driftengine.dialects.sqlite.partner import Names
    from driftengine.schema import Schema, Table

_STATISTICS = {"sqlite_stat1": "idx, stat", "sqlite_stat4": "idx, neq, nlt, ndlt, sample"}


def former_table(wanted: Table, then: Schema, names: Names) -> Table | None:
    """What the table was in the copy; None where it was not there, or cannot be understood."""
    table = then.tables.get(names.get((wanted.key, ""), (wanted.key, ""))[0])
    return None if table is None or table.problem else table


def rows_back(
    wanted: Table, now: Schema, then: Schema, target: Schema, names: Names, source: str
) -> Backfill | None:
    """The query for all its rows; a rowid that an application can see stands before the columns."""
    table = former_table(wanted, then, names)
    if table is None:
        return None
    rowid = rowid_name(table)
    values = [rowid or "NULL"] if has_own_rowid(wanted) else []
    for column in wanted.columns:
        if column.generated is None:
            _, key = names.get((wanted.key, column.key), (table.key, column.key))
            old = table.column(key)
            default = default_value(column.default) if column.default is not None else "NULL"
            values.append(quote(old.name) if old is not None else default)
    order = f" ORDER BY {rowid}" if rowid else ""
    query = f"SELECT {', '.join(values)} FROM {EARLIER}.{quote(table.name)}{order}"
    more = (*sequence_back(wanted, table, then), *_statistics(wanted, table, now, then, target))
    return Backfill(query, source, more=more)


def sequence_back(wanted: Table, table: Table, then: Schema) -> tuple[str, ...]:
    """AUTOINCREMENT goes on behind the highest id that was ever given, by the copy or by the rows that are there now."""
    if not (wanted.primary_key and wanted.primary_key.autoincrement):
        return ()
    if not any(row.name == "sqlite_sequence" for row in then.stored):
        return ()
    name, mine = literal(wanted.name), f"name = {literal(wanted.name)} COLLATE NOCASE"
    given = f"SELECT seq FROM {EARLIER}.sqlite_sequence WHERE name = {literal(table.name)} COLLATE NOCASE"
    present = f"SELECT seq FROM main.sqlite_sequence WHERE {mine}"
    return (
        f"INSERT INTO main.sqlite_sequence(name, seq) SELECT {name}, seq FROM ({given}) WHERE NOT EXISTS ({present})",
        f"UPDATE main.sqlite_sequence SET seq = max(seq, ({given})) WHERE {mine} AND seq < ({given})",
    )


def _statistics(wanted: Table, table: Table, now: Schema, then: Schema, target: Schema) -> list[str]:
    """Only where the database keeps statistics now: the table for them is SQLite's to make."""
    indexes = ", ".join(literal(index.name) for index in target.indexes_of(wanted.key))
    live = f"idx IS NULL OR idx = tbl OR idx GLOB 'sqlite_autoindex_*' OR idx COLLATE NOCASE IN ({indexes})"
    kept = {row.name for row in now.stored} & {row.name for row in then.stored}
    return [
        f"INSERT INTO main.{name}(tbl, {columns}) SELECT {literal(wanted.name)}, {columns} FROM {EARLIER}.{name}"
        f" WHERE tbl = {literal(table.name)} COLLATE NOCASE AND ({live})"
        for name, columns in _STATISTICS.items()
        if name in kept
    ]
