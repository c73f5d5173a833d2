"""A table's rows as they will be: what a guard looks at when it judges values that the same plan adds, fills or converts.

Nothing is written: the rows are a subquery over the table that is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.expressions import columns_read
from driftengine.dialects.sqlite.tokens import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from driftengine.schema import Column, Default, Table

KEY = '"driftd_key"'
# A value of the class is left as it is by a CAST to the affinity, which makes it compare as the column will.
_STORED = {"text": "TEXT", "integer": "INTEGER", "real": "REAL", "blob": "BLOB"}


def key_of(table: Table) -> str:
    """SQL that names a row for a person: its primary key, else its rowid; where the key may be NULL, the rowid then."""
    names = [quote(name) for name in table.primary_key.columns] if table.primary_key else []
    rowid = rowid_name(table)
    if not names:
        return rowid or "NULL"
    if len(names) == 1 and rowid is not None and table.primary_key and not table.primary_key.rowid_alias:
        return f"coalesce({names[0]}, 'rowid ' || {rowid})"
    return names[0] if len(names) == 1 else " || ', ' || ".join(f"quote({name})" for name in names)


def rowid_name(table: Table) -> str | None:
    """A name under which the rowid can be read, or None where there is none or columns hide all three."""
    if table.without_rowid:
        return None
    taken = {column.key for column in table.columns}
    return next((name for name in ("rowid", "_rowid_", "oid") if name not in taken), None)


def has_own_rowid(table: Table) -> bool:
    """True where rows have a rowid that can be read, and no column that is one."""
    return rowid_name(table) is not None and not (table.primary_key and table.primary_key.rowid_alias)


def default_value(default: Default) -> str:
    """The value of a default as an expression that means the same wherever it stands.

    In a DEFAULT clause `"a"` is a string; in a SELECT over a table with a column a it would be that column.
    """
    return default.value.partition(":")[2] if default.value is not None else f"({default.sql})"


def rows_after(table: Table, wanted: Table, alias: str = "") -> tuple[str, str]:
    """A source for FROM that gives the rows as `wanted` will hold them, and the SQL that names a row of it.

    New columns hold their default, NULL that is to be filled its filling, and a value under a new affinity what that
    makes of it. `alias` is the name by which the source is known, the table's own when empty.
    """
    known_as = quote(alias or table.name)
    values = {column.key: _value(table, wanted, column) for column in wanted.columns}
    computed = [c for c in wanted.columns if c.generated is not None and values[c.key] != quote(c.name)]
    if not computed and all(values[c.key] == quote(c.name) for c in wanted.columns):
        return f"{quote(table.name)} AS {known_as}", key_of(table)
    plain = [f"{values[c.key]} AS {quote(c.name)}" for c in wanted.columns if c not in computed]
    plain += [quote(c.name) for c in table.columns if c.key not in values]
    source = f"SELECT {', '.join([f'{key_of(table)} AS {KEY}', *plain])} FROM {quote(table.name)}"
    for column in in_order(computed):
        source = f"SELECT *, {values[column.key]} AS {quote(column.name)} FROM ({source}) AS {known_as}"
    return f"({source}) AS {known_as}", KEY


def _value(table: Table, wanted: Table, column: Column) -> str:
    old = table.column(column.key)
    if column.generated is not None:
        same = old is not None and old.generated == column.generated
        return quote(column.name) if same else f"({column.generated.expression.sql})"
    if old is None:
        if wanted.is_alias(column):  # the rowids that are there become its values
            return rowid_name(table) or "NULL"
        value = default_value(column.default) if column.default else "NULL"
        stored_alike = _STORED.get(value_class(column), "") == column.affinity
        return _collated(f"CAST({value} AS {column.affinity})" if stored_alike else value, column, "BINARY")
    value = quote(column.name)
    if column.not_null and not old.not_null and column.default is not None:
        value = f"coalesce({value}, {default_value(column.default)})"
    if old.affinity != column.affinity:
        value = _converted(value, column.affinity)
    return _collated(value, column, old.collation)


def value_class(column: Column) -> str:
    """The storage class of the column's default, "" where it depends on the moment."""
    if column.default is None or column.default.value is None:
        return ""
    return column.default.value.partition(":")[0]


def _collated(value: str, column: Column, before: str) -> str:
    return value if column.collation == before else f"{value} COLLATE {quote(column.collation)}"


def _converted(value: str, affinity: str) -> str:
    """What a column of that affinity makes of the value. https://www.sqlite.org/datatype3.html, section 3."""
    if affinity == "TEXT":
        return f"CAST({value} AS TEXT)"
    if affinity in {"BLOB", "ANY"}:
        return value
    number = f"CAST({value} AS {'REAL' if affinity == 'REAL' else 'NUMERIC'})"
    looks = f"CAST({value} AS NUMERIC) = CAST({value} AS TEXT)"
    return f"CASE WHEN typeof({value}) IN ('integer', 'real') OR (typeof({value}) = 'text' AND {looks}) THEN {number} ELSE {value} END"


def in_order(computed: Sequence[Column]) -> list[Column]:
    """Generated columns so that each stands behind those that it reads."""
    ordered: list[Column] = []
    waiting = list(computed)
    while waiting:
        names = frozenset(column.key for column in waiting)
        ready = [
            c for c in waiting if c.generated and not columns_read(c.generated.expression.sql, columns=names)
        ]
        ordered += ready or waiting  # a circle is SQLite's to refuse
        waiting = [column for column in waiting if column not in ordered]
    return ordered
