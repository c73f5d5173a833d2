"""Guard queries: each finds the rows that a change would lose, alter or trip over, as (key, value).

A guard that finds nothing proves the change safe for the rows that are there. It runs before any edit: once NOT NULL
stands in the stored DDL, SQLite answers `IS NULL` without looking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.changes import ADD, REMOVE
from driftengine.dialects.sqlite.tokens import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from driftengine.changes import Backfill, Difference
    from driftengine.schema import Check, Column, ForeignKey, Index, KeyPart, Schema, Table

# Declared types whose values are numbers; DATETIME, DATE or JSON have the same affinity and hold text by right.
_NUMBERS = ("INT", "REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL", "BOOL")


def guard_of(
    difference: Difference, desired: Schema, actual: Schema, backfill: Backfill | None
) -> str | None:
    """The guard query of a difference, or None where no row is judged."""
    table = actual.tables.get(difference.table)
    if table is None or difference.change == REMOVE:
        return None
    if difference.object == "column":
        return _column_guard(difference, table, backfill, actual)
    if difference.object == "check":
        return _check(difference.desired, table, desired.tables[table.key])
    if difference.object == "unique":
        parts = [(quote(name), "") for name in difference.desired.columns]
        return _duplicates(table, _rows(table, desired.tables[table.key]), parts, "")
    if difference.object == "foreign_key":
        return _orphans(difference.desired, table, desired, actual)
    if difference.object == "index" and difference.desired.unique:
        return _unique_index(difference.desired, table, desired.tables[table.key])
    if difference.object == "option" and difference.aspect == "strict" and difference.desired:
        return _strict(table, desired.tables[table.key])
    if difference.object in {"primary_key", "option"} and difference.aspect not in {
        "autoincrement",
        "strict",
    }:
        return any_row(table)
    return None


def rows_concerned(difference: Difference, actual: Schema) -> str | None:
    """The rows that a held operation would concern: what would be lost, or what needs a value."""
    table = actual.tables.get(difference.table)
    if table is None or table.problem:
        return None
    if difference.object == "column" and difference.change == REMOVE:
        name = quote(difference.actual.name)
        return f"SELECT {key_of(table)}, {name} FROM {quote(table.name)} WHERE {name} IS NOT NULL"
    if difference.object == "column" and difference.aspect == "not_null":
        name = quote(difference.actual.name)
        return f"SELECT {key_of(table)}, {name} FROM {quote(table.name)} WHERE {name} IS NULL"
    if difference.object in {"table", "column", "primary_key", "option"}:
        return any_row(table)
    return None


def key_of(table: Table) -> str:
    """SQL that names a row for a person: its primary key, else its rowid."""
    names = [quote(name) for name in table.primary_key.columns] if table.primary_key else []
    if not names:
        return rowid_name(table) or "NULL"
    return names[0] if len(names) == 1 else " || ', ' || ".join(f"quote({name})" for name in names)


def rowid_name(table: Table) -> str | None:
    """A name under which the rowid can be read, or None where there is none or columns hide all three."""
    if table.without_rowid:
        return None
    taken = {column.key for column in table.columns}
    return next((name for name in ("rowid", "_rowid_", "oid") if name not in taken), None)


def any_row(table: Table) -> str:
    """Finds a row in any table that is not empty."""
    return f"SELECT {key_of(table)}, NULL FROM {quote(table.name)}"


def _column_guard(
    difference: Difference, table: Table, backfill: Backfill | None, actual: Schema
) -> str | None:
    name = quote(difference.name)
    if difference.change == ADD:
        needs_value = difference.desired.not_null and difference.desired.default is None and backfill is None
        return any_row(table) if needs_value and difference.desired.generated is None else None
    before, after = difference.actual, difference.desired
    if difference.aspect == "not_null" and after.not_null and not before.not_null and backfill is None:
        return f"SELECT {key_of(table)}, {name} FROM {quote(table.name)} WHERE {name} IS NULL"
    if difference.aspect == "type" and before.affinity != after.affinity:
        condition = lossy(name, before.affinity, after)
        return (
            f"SELECT {key_of(table)}, {name} FROM {quote(table.name)} WHERE {condition}"
            if condition
            else None
        )
    if difference.aspect == "collation":
        return _collation(difference, table, actual)
    return None


def lossy(name: str, before: str, after: Column) -> str:
    """A condition on rows whose value would not survive the new affinity, or would not be what the type promises.

    By https://www.sqlite.org/datatype3.html, section 3: a text that looks like a number becomes one under a numeric
    affinity ('007' becomes 7); a number becomes text under TEXT. `CAST(x AS NUMERIC) = x` holds for just the texts
    that look like a number, since NUMERIC affinity is then applied to the other side.
    """
    text = f"typeof({name}) = 'text'"
    if after.affinity == "TEXT":
        return f"(typeof({name}) = 'real' AND CAST(CAST({name} AS TEXT) AS REAL) IS NOT {name})"
    if after.affinity in {"BLOB", "ANY"}:
        return ""
    looks = f"CAST({name} AS NUMERIC) = CAST({name} AS TEXT)"
    spelled_otherwise = f"({text} AND {looks} AND CAST(CAST({name} AS NUMERIC) AS TEXT) IS NOT {name})"
    conditions = [spelled_otherwise]
    if after.affinity == "REAL":
        whole = f"typeof({name}) = 'integer' AND CAST(CAST({name} AS REAL) AS INTEGER) IS NOT {name}"
        conditions.append(f"({whole})")
    if any(word in after.type_key for word in _NUMBERS):
        # What is no number stays what it is: nothing is lost, but the application would read text from a number.
        conditions.append(f"(typeof({name}) = 'blob' OR ({text} AND NOT ({looks})))")
    if after.affinity == "INTEGER" and before != "INTEGER":
        conditions.append(f"(typeof({name}) = 'real' AND CAST({name} AS INTEGER) <> {name})")
    return " OR ".join(conditions)


def _rows(table: Table, wanted: Table) -> str:
    """The table's rows as they will be, for a constraint that reads columns which are only being added."""
    present = {column.key for column in table.columns}
    new = [
        f"({column.default.sql if column.default else 'NULL'}) AS {quote(column.name)}"
        for column in wanted.columns
        if column.key not in present and column.generated is None
    ]
    if not new:
        return quote(table.name)
    return f"(SELECT *, {', '.join(new)} FROM {quote(table.name)}) AS {quote(table.name)}"


def _check(check: Check, table: Table, wanted: Table) -> str:
    names = {column.key: column.name for column in (*wanted.columns, *table.columns)}
    shown = [quote(names[key]) for key in sorted(check.columns) if key in names]
    value = shown[0] if len(shown) == 1 else " || ', ' || ".join(f"quote({name})" for name in shown) or "NULL"
    return f"SELECT {key_of(table)}, {value} FROM {_rows(table, wanted)} WHERE NOT ({check.expression.sql})"


def _unique_index(index: Index, table: Table, wanted: Table) -> str:
    parts = [(_part(part), part.collation) for part in index.parts]
    where = index.where.sql if index.where else ""
    return _duplicates(table, _rows(table, wanted), parts, where)


def _part(part: KeyPart) -> str:
    return part.effect if part.is_expression else quote(part.effect)


def _duplicates(table: Table, rows: str, parts: Iterable[tuple[str, str]], where: str) -> str:
    """Values that stand in more than one row, under the collation of the key; NULL is never equal to NULL."""
    listed = list(parts)
    values = " || ', ' || ".join(f"quote({text})" for text, _ in listed)
    conditions = [f"{text} IS NOT NULL" for text, _ in listed] + ([f"({where})"] if where else [])
    groups = ", ".join(
        f"{text} COLLATE {quote(collation)}" if collation else text for text, collation in listed
    )
    return (
        f"SELECT min({key_of(table)}), {values} || ' in ' || count(*) || ' rows' FROM {rows}"
        f" WHERE {' AND '.join(conditions)} GROUP BY {groups} HAVING count(*) > 1"
    )


def _orphans(key: ForeignKey, table: Table, desired: Schema, actual: Schema) -> str:
    """Rows whose key is complete and points at no parent. A parent table that is only being made has no row."""
    wanted = desired.tables[table.key]
    names = [quote(name) for name in key.columns]
    value = names[0] if len(names) == 1 else " || ', ' || ".join(f"quote({name})" for name in names)
    complete = " AND ".join(f"c.{name} IS NOT NULL" for name in names)
    parent = actual.tables.get(key.parent)
    missing = ""
    if parent is not None and key.parent_columns:
        pairs = zip(key.parent_columns, names, strict=True)
        match = " AND ".join(f"p.{quote(column)} = c.{name}" for column, name in pairs)
        missing = f" AND NOT EXISTS (SELECT 1 FROM {quote(parent.name)} AS p WHERE {match})"
    rows = _rows(table, wanted)
    source = (
        f"{rows} AS c"
        if rows == quote(table.name)
        else rows.removesuffix(f" AS {quote(table.name)}") + " AS c"
    )
    return f"SELECT {key_of(table)}, {value} FROM {source} WHERE {complete}{missing}"


def _strict(table: Table, wanted: Table) -> str:
    """Rows that hold a value which a STRICT table would refuse.

    https://www.sqlite.org/stricttables.html
    """
    allowed = {
        "INTEGER": "'integer'",
        "TEXT": "'text', 'integer', 'real'",
        "BLOB": "'blob'",
        "REAL": "'real', 'integer'",
    }
    judged = [
        (quote(column.name), allowed[column.affinity])
        for column in wanted.columns
        if column.affinity in allowed and table.column(column.key) is not None and column.generated is None
    ]
    conditions = [f"({name} IS NOT NULL AND typeof({name}) NOT IN ({types}))" for name, types in judged]
    if not conditions:
        return f"SELECT NULL, NULL FROM {quote(table.name)} WHERE 0"
    shown = " ".join(f"WHEN {test} THEN {name}" for test, (name, _) in zip(conditions, judged, strict=True))
    return (
        f"SELECT {key_of(table)}, CASE {shown} END FROM {quote(table.name)} WHERE {' OR '.join(conditions)}"
    )


def _collation(difference: Difference, table: Table, actual: Schema) -> str | None:
    """Under a coarser collation values may become equal that a unique key keeps apart."""
    key, collation = difference.actual.key, difference.desired.collation
    keys = [list(table.primary_key.columns)] if table.primary_key else []
    keys += [list(unique.columns) for unique in table.uniques]
    keys += [
        [part.effect for part in index.parts]
        for index in actual.indexes_of(table.key)
        if index.unique and index.where is None and not any(part.is_expression for part in index.parts)
    ]
    for columns in keys:
        if key in columns:
            parts = [(quote(name), collation if name == key else "") for name in columns]
            return _duplicates(table, quote(table.name), parts, "")
    return None
