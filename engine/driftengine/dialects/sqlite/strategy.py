"""How SQLite carries out a change: by its own ALTER, by an edit of the stored DDL, or by copying the table.

What an edit of the stored DDL may and may not touch is told in docs/architecture.md, "Catalog edits".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.changes import ADD, CATALOG, CHANGE, NATIVE, REBUILD, REMOVE, RENAME
from driftengine.dialects.sqlite.defaults import addable
from driftengine.dialects.sqlite.expressions import columns_read, in_list
from driftengine.dialects.sqlite.rebuild import SERVER_DEFAULT
from driftengine.dialects.sqlite.tokens import fold, tokenize
from driftengine.schema import Check, ForeignKey, Unique

if TYPE_CHECKING:
    from driftengine.changes import Backfill, Difference, Named
    from driftengine.schema import Column, Index, Schema, Table


def strategy_of(difference: Difference, actual: Schema, backfill: Backfill | None) -> str:
    """`native`, `catalog` or `rebuild` for one difference, were it the only one."""
    table = actual.tables.get(difference.table)
    if difference.change == RENAME:
        return NATIVE
    if difference.object == "column" and table is not None:
        if difference.change == ADD:
            return _adding(difference.desired, backfill)
        if difference.change == REMOVE:
            return _dropping(difference.actual, table, actual)
        return _changing(difference, table, actual, backfill)
    if difference.object in {"primary_key", "option"}:
        return REBUILD
    if difference.object in {"check", "foreign_key"}:
        return CATALOG
    if difference.object == "unique":
        return _unique(difference)
    return NATIVE


def _adding(column: Column, backfill: Backfill | None) -> str:
    """https://www.sqlite.org/lang_altertable.html#altertabaddcol lists what ADD COLUMN refuses."""
    if column.generated is not None:
        return REBUILD if column.generated.stored else NATIVE
    if column.not_null and column.default is None:
        return REBUILD
    if backfill is not None and backfill.source != SERVER_DEFAULT:
        return REBUILD
    if column.default is not None and not addable(column.default.sql, column.type):
        return REBUILD
    return NATIVE


def _dropping(column: Column, table: Table, schema: Schema) -> str:
    """DROP COLUMN is SQLite's own where nothing else names the column; else the table is copied without it."""
    if len(table.columns) < 2 or column.key in keyed_columns(table, schema) or column.generated is not None:
        return REBUILD
    return REBUILD if column.key in read_columns(table, schema) else NATIVE


def indexes_over(difference: Difference, schema: Schema) -> tuple[Index, ...]:
    """The plain indexes that hold a column which is to be dropped, or read it in an expression or a predicate."""
    table = schema.tables[difference.table]
    return tuple(
        index
        for index in schema.indexes_of(difference.table)
        if not index.unique and difference.actual.key in columns_of_index(index, table)
    )


def columns_of_index(index: Index, table: Table) -> frozenset[str]:
    """The columns that an index holds or reads."""
    names = frozenset(column.key for column in table.columns)
    found = {part.effect for part in index.parts if not part.is_expression}
    texts = [part.effect for part in index.parts if part.is_expression]
    for text in [*texts, *([index.where.sql] if index.where else [])]:
        found |= columns_read(text, columns=names, table=table.name)
    return frozenset(found)


def keyed_columns(table: Table, schema: Schema) -> frozenset[str]:
    """The columns that a key, an index or a foreign key (from either side) of the table is made of."""
    found = set(table.primary_key.columns) if table.primary_key else set()
    for unique in table.uniques:
        found |= {part.effect for part in unique.parts}
    for foreign_key in table.foreign_keys:
        found |= set(foreign_key.columns)
    for other in schema.tables.values():
        for foreign_key in other.foreign_keys:
            if foreign_key.parent == table.key:
                found |= set(foreign_key.parent_columns)
    for index in schema.indexes_of(table.key):
        found |= {part.effect for part in index.parts if not part.is_expression}
    return frozenset(found)


def read_columns(table: Table, schema: Schema) -> frozenset[str]:
    """The columns that an expression reads: a CHECK, a generated column, an index, a trigger or a view (by name)."""
    names = frozenset(column.key for column in table.columns)
    found: set[str] = set()
    for check in table.checks:
        found |= check.columns
    texts = [c.generated.expression.sql for c in table.columns if c.generated]
    for index in schema.indexes_of(table.key):
        texts += [part.effect for part in index.parts if part.is_expression]
        texts += [index.where.sql] if index.where else []
    for text in texts:
        found |= columns_read(text, columns=names, table=table.name)
    definitions: tuple[Named, ...] = (*schema.triggers.values(), *schema.views.values())
    for definition in definitions:
        words = {fold(token.text.strip('"`[]')) for token in tokenize(definition.sql)}
        found |= names & words if table.key in words else frozenset[str]()
    return frozenset(found)


def _changing(difference: Difference, table: Table, schema: Schema, backfill: Backfill | None) -> str:
    before, after = difference.actual, difference.desired
    if before.generated is not None or after.generated is not None or backfill is not None:
        return REBUILD
    if table.primary_key is not None and before.key in table.primary_key.columns:
        return REBUILD
    if difference.aspect == "type":
        return CATALOG if before.affinity == after.affinity and not table.strict else REBUILD
    if difference.aspect == "collation":
        named = keyed_columns(table, schema) | read_columns(table, schema)
        return REBUILD if before.key in named else CATALOG
    return CATALOG


def _unique(difference: Difference) -> str:
    """A unique index does what the constraint does, and needs no copy; only ON CONFLICT has to stand in the table."""
    if difference.change == ADD and not difference.desired.conflict:
        return NATIVE
    return REBUILD


def is_relaxation(difference: Difference) -> bool:
    """True when every row that satisfied what stands there satisfies what is wanted, whatever the rows are.

    An IN list that only grew, and a foreign key whose actions alone changed, are such changes.
    """
    before, after = difference.actual, difference.desired
    if difference.change == REMOVE:
        return isinstance(before, (Check, ForeignKey, Unique))
    if difference.change != CHANGE:
        return False
    if isinstance(before, ForeignKey) and isinstance(after, ForeignKey):
        return before.link == after.link
    if isinstance(before, Check) and isinstance(after, Check):
        columns = before.columns | after.columns
        old = in_list(before.expression.sql, columns=columns)
        new = in_list(after.expression.sql, columns=columns)
        return old is not None and new is not None and old[0] == new[0] and old[1] <= new[1]
    return False
