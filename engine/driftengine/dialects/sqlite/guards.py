"""Guard queries: each finds the rows that a change would lose, alter or trip over, as (key, value).

A guard that finds nothing proves the change safe for the rows that are there. It runs before any edit: once NOT NULL
stands in the stored DDL, SQLite answers `IS NULL` without looking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.changes import ADD, CHANGE, REMOVE
from driftengine.dialects.sqlite.projection import key_of, rows_after
from driftengine.dialects.sqlite.tokens import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from driftengine.changes import Backfill, Difference
    from driftengine.schema import Check, Column, ForeignKey, Index, PrimaryKey, Schema, Table, Unique

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
        return _unique(difference.desired, table, desired.tables[table.key])
    if difference.object == "foreign_key":
        return _orphans(difference.desired, table, desired, actual)
    if difference.object == "index" and difference.desired.unique:
        return _unique_index(difference.desired, table, desired.tables[table.key])
    if difference.object in {"primary_key", "option"}:
        return _storage(difference, table, desired.tables[table.key])
    return None


def _storage(difference: Difference, table: Table, wanted: Table) -> str | None:
    """What a new key, or another storage, cannot hold.

    That there are rows at all is the plan's to say, and an approval's: these are copied, which takes an exact stage, so
    no row can have come since they were counted.
    """
    if difference.aspect == "strict":
        return _strict(table, wanted) if difference.desired else _no_longer_strict(table, wanted)
    if difference.aspect == "autoincrement" or wanted.primary_key is None:
        return None
    return _unfit(table, wanted, wanted.primary_key)


def _unfit(table: Table, wanted: Table, key: PrimaryKey) -> str:
    """Rows that cannot be rows under the key: no integer where it names the rowid, NULL where it may not, twice the same.

    https://www.sqlite.org/lang_createtable.html#rowid and https://www.sqlite.org/withoutrowid.html
    """
    source, row = rows_after(table, wanted)
    parts = [
        (quote(part.effect), part.collation or _own_collation(part.effect, wanted)) for part in key.parts
    ]
    names = [name for name, _ in parts]
    conditions = [f"{name} IS NULL" for name in names] if wanted.without_rowid or wanted.strict else []
    if key.rowid_alias:
        whole = f"typeof({names[0]}) = 'real' AND {names[0]} = CAST({names[0]} AS INTEGER)"
        conditions = [f"NOT (typeof({names[0]}) = 'integer' OR ({whole}))"]
    value = names[0] if len(names) == 1 else " || ', ' || ".join(f"quote({name})" for name in names)
    twice = _duplicates((source, row), parts, "")
    if not conditions:
        return twice
    return f"SELECT {row}, {value} FROM {source} WHERE {' OR '.join(conditions)} UNION ALL {twice}"


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
    if difference.object == "table":
        return f"SELECT {key_of(table)}, {_glimpse(table)} FROM {quote(table.name)}"
    if difference.object == "column" and difference.change == CHANGE:
        if difference.aspect == "default":
            return None  # it counts for rows to come
        return f"SELECT {key_of(table)}, {quote(difference.actual.name)} FROM {quote(table.name)}"
    if difference.object in {"column", "primary_key", "option"}:
        return any_row(table)
    return None


def _glimpse(table: Table) -> str:
    """The first few values of a row beside its key, as text."""
    keys = table.primary_key.columns if table.primary_key else ()
    names = [quote(column.name) for column in table.columns if column.key not in keys][:3]
    return " || ', ' || ".join(f"quote({name})" for name in names) or "NULL"


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
    spelled = [f"CAST(CAST({name} AS NUMERIC) AS TEXT) IS NOT {name}"]
    if after.affinity == "REAL":  # '2' and '2.0' are both the number 2.0
        spelled.append(f"CAST(CAST({name} AS REAL) AS TEXT) IS NOT {name}")
    spelled_otherwise = f"({text} AND {looks} AND {' AND '.join(spelled)})"
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


def _check(check: Check, table: Table, wanted: Table) -> str:
    names = {column.key: column.name for column in (*wanted.columns, *table.columns)}
    shown = [quote(names[key]) for key in sorted(check.columns) if key in names]
    value = shown[0] if len(shown) == 1 else " || ', ' || ".join(f"quote({name})" for name in shown) or "NULL"
    source, key = rows_after(table, wanted)
    return f"SELECT {key}, {value} FROM {source} WHERE NOT ({check.expression.sql})"


def _unique(unique: Unique, table: Table, wanted: Table) -> str:
    own = {part.effect: part for part in unique.parts}
    parts = [(quote(name), own[name].collation or _own_collation(name, wanted)) for name in unique.columns]
    return _duplicates(rows_after(table, wanted), parts, "")


def _unique_index(index: Index, table: Table, wanted: Table) -> str:
    return _duplicates(
        rows_after(table, wanted), _parts(index, wanted), index.where.sql if index.where else ""
    )


def _parts(index: Index, table: Table) -> list[tuple[str, str]]:
    return [
        (part.effect, part.collation)
        if part.is_expression
        else (quote(part.effect), part.collation or _own_collation(part.effect, table))
        for part in index.parts
    ]


def _own_collation(key: str, table: Table) -> str:
    column = table.column(key)
    return column.collation if column else ""


def _duplicates(rows: tuple[str, str], parts: Iterable[tuple[str, str]], where: str) -> str:
    """Values that stand in more than one row, each with the first and the last key; NULL is never equal to NULL.

    They are compared under the collation of the key.
    """
    source, key = rows
    listed = list(parts)
    values = " || ', ' || ".join(f"quote({text})" for text, _ in listed) if len(listed) > 1 else listed[0][0]
    conditions = [f"{text} IS NOT NULL" for text, _ in listed] + ([f"({where})"] if where else [])
    groups = ", ".join(
        f"{text} COLLATE {quote(collation)}" if collation else text for text, collation in listed
    )
    return (
        f"SELECT min({key}) || iif(count(*) > 2, ', ..., ', ', ') || max({key}), min({values}) FROM {source}"
        f" WHERE {' AND '.join(conditions)} GROUP BY {groups} HAVING count(*) > 1"
    )


def _orphans(key: ForeignKey, table: Table, desired: Schema, actual: Schema) -> str:
    """Rows whose key is complete and points at no parent. A parent table that is only being made has no row."""
    names = [quote(name) for name in key.columns]
    value = names[0] if len(names) == 1 else " || ', ' || ".join(f"quote({name})" for name in names)
    complete = " AND ".join(f"c.{name} IS NOT NULL" for name in names)
    parent = actual.tables.get(key.parent)
    missing = ""
    if parent is not None and key.parent_columns:
        pairs = zip(key.parent_columns, names, strict=True)
        wanted = desired.tables.get(key.parent, parent)
        match = " AND ".join(
            f"p.{quote(column)} = {_as_parent(column, name, wanted)}" for column, name in pairs
        )
        parents, _ = rows_after(parent, wanted, "p")
        missing = f" AND NOT EXISTS (SELECT 1 FROM {parents} WHERE {match})"
    source, row = rows_after(table, desired.tables[table.key], "c")
    return f"SELECT {row}, {value} FROM {source} WHERE {complete}{missing}"


def _as_parent(column: str, name: str, parent: Table) -> str:
    """A child's value is compared as the parent's column would store it: 2 is no match for '02'.

    https://www.sqlite.org/foreignkeys.html#fk_basics
    """
    found = parent.column(column)
    return f"CAST(c.{name} AS TEXT)" if found is not None and found.affinity == "TEXT" else f"c.{name}"


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
        if column.affinity in allowed and table.column(column.key) is not None
    ]
    tests = [(f"({name} IS NOT NULL AND typeof({name}) NOT IN ({types}))", name) for name, types in judged]
    if wanted.primary_key and not wanted.primary_key.rowid_alias:
        tests += [(f"{quote(name)} IS NULL", "NULL") for name in wanted.primary_key.columns]
    queries = [_failing(rows_after(table, wanted), tests)] if tests else []
    # A column takes bytes as they are, and the conversion in `rows_after` makes a text of them.
    bytes_ = [
        quote(column.name)
        for column in wanted.columns
        if column.affinity == "TEXT" and (old := table.column(column.key)) and old.affinity != "TEXT"
    ]
    if bytes_:
        raw = [(f"typeof({name}) = 'blob'", name) for name in bytes_]
        queries.append(_failing((quote(table.name), key_of(table)), raw))
    return " UNION ALL ".join(queries) or f"SELECT NULL, NULL FROM {quote(table.name)} WHERE 0"


def _no_longer_strict(table: Table, wanted: Table) -> str | None:
    """ANY keeps a text that looks like a number in a STRICT table, and makes a number of it elsewhere."""
    names = [
        quote(column.name)
        for column in wanted.columns
        if column.affinity == "NUMERIC" and (old := table.column(column.key)) and old.affinity == "ANY"
    ]
    looks = "typeof({0}) = 'text' AND CAST({0} AS NUMERIC) = CAST({0} AS TEXT)"
    tests = [(f"({looks.format(name)})", name) for name in names]
    return _failing((quote(table.name), key_of(table)), tests) if tests else None


def _failing(rows: tuple[str, str], tests: list[tuple[str, str]]) -> str:
    """The rows that any of the tests holds for, each with what the first of them shows."""
    shown = " ".join(f"WHEN {test} THEN {value}" for test, value in tests)
    source, key = rows
    return f"SELECT {key}, CASE {shown} END FROM {source} WHERE {' OR '.join(test for test, _ in tests)}"


def _collation(difference: Difference, table: Table, actual: Schema) -> str | None:
    """Under a coarser collation values may become equal that a unique key keeps apart."""
    key, collation = difference.actual.key, difference.desired.collation
    keys = [(table.primary_key.parts, "")] if table.primary_key else []
    keys += [(tuple(unique.parts), "") for unique in table.uniques]
    keys += [
        (index.parts, index.where.sql if index.where else "")
        for index in actual.indexes_of(table.key)
        if index.unique and not any(part.is_expression for part in index.parts)
    ]
    queries = []
    for members, where in keys:
        if not any(part.effect == key and not part.collation for part in members):
            continue
        parts = [
            (quote(part.effect), part.collation or (collation if part.effect == key else ""))
            for part in sorted(members, key=lambda part: part.effect)
        ]
        queries.append(_duplicates((quote(table.name), key_of(table)), parts, where))
    return " UNION ALL ".join(queries) or None
