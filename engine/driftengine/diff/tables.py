"""Tables and their columns: what the models want otherwise than the database has it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from driftengine.changes import ADD, CHANGE, REMOVE, Difference
from driftengine.diff.constraints import constraint_differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from driftengine.diff.records import Sides
    from driftengine.schema import Column, Default, Generated, Schema, Table


def table_differences(sides: Sides) -> Iterator[Difference]:
    """Tables to add, tables to change from within, and tables that base says the models once described."""
    for key, wanted in sides.desired.tables.items():
        table = sides.actual.tables.get(key)
        if table is None:
            yield _missing(sides, wanted)
        elif wanted.problem or table.problem:
            yield from _unreadable(wanted, table)
        elif wanted.sql != table.sql or wanted != table:  # most tables of most looks read alike
            yield from _inside(sides, wanted, table)
    for key, table in sides.actual.tables.items():
        if key in sides.desired.tables:
            continue
        if sides.described(_presence(key), "table", key, table.name):
            detail = "the models no longer describe it"
            origin = sides.origin(_presence(key))
            yield Difference(
                "table", key, table.name, REMOVE, origin, detail, actual=table,
                versions=sides.versions(_outline(key)),
            )  # fmt: skip


def _presence(key: str) -> Callable[[Schema], object]:
    return lambda schema: key in schema.tables


def _whole(key: str) -> Callable[[Schema], object]:
    """A table with its columns, which a table alone is not compared by."""

    def found(schema: Schema) -> object:
        table = schema.tables.get(key)
        return table and (table, frozenset(map(_plain, table.columns)))

    return found


def _plain(column: Column) -> Column:
    """The column without what has no effect beside the value that its default stores."""
    default = column.default
    if default is None or default.value is None:
        return column
    return replace(column, default=replace(default, effect=default.value))


def _outline(key: str) -> Callable[[Schema], str]:
    """A table in a few words."""

    def shown(schema: Schema) -> str:
        table = schema.tables.get(key)
        if table is None:
            return ""
        return "1 column" if len(table.columns) == 1 else f"{len(table.columns)} columns"

    return shown


def _missing(sides: Sides, wanted: Table) -> Difference:
    taken = sides.in_the_way(wanted.key, last=False)
    detail = f"{taken} of that name is in its place" if taken else f"{len(wanted.columns)} columns"
    return Difference(
        "table", wanted.key, wanted.name, ADD, sides.origin(_presence(wanted.key), _whole(wanted.key)), detail,
        aspect="name taken" if taken else "", desired=wanted, versions=sides.versions(_outline(wanted.key)),
    )  # fmt: skip


def _unreadable(wanted: Table, table: Table) -> Iterator[Difference]:
    """A table that cannot be judged is in sync only when its text is the same but for white space."""
    if " ".join(wanted.sql.split()) == " ".join(table.sql.split()):
        return
    problem = table.problem or wanted.problem
    yield Difference(
        "table",
        table.key,
        table.name,
        CHANGE,
        "models",
        problem,
        aspect="unreadable",
        desired=wanted,
        actual=table,
    )


def _inside(sides: Sides, wanted: Table, table: Table) -> Iterator[Difference]:
    for column in wanted.columns:
        actual = table.column(column.key)
        if actual is None and wanted.is_alias(column):
            continue  # it comes with the key, and the rowids that are there are its values
        if actual is None:
            yield _column(sides, table, column, ADD, describe(column), desired=column)
        else:
            yield from _column_changes(sides, table, wanted, column, actual)
    for column in table.columns:
        if wanted.column(column.key) is None:
            yield _column(sides, table, column, REMOVE, "the models do not describe it", actual=column)
    if wanted != table:
        yield from constraint_differences(sides, wanted, table)


def _column(
    sides: Sides,
    table: Table,
    column: Column,
    change: str,
    detail: str,
    *,
    aspect: str = "",
    desired: Column | None = None,
    actual: Column | None = None,
) -> Difference:
    def item(schema: Schema) -> object:
        found = _find(schema, table.key, column.key)
        if aspect or found is None:
            return aspect_of(found, aspect)
        # Of a column that is missing on one side, everything counts that the other side may have changed.
        return _plain(found)

    def shown(schema: Schema) -> str:
        found = _find(schema, table.key, column.key)
        return "" if found is None else _text(found, aspect) if aspect else describe(found)

    return Difference(
        "column", table.key, column.name, change, sides.origin(item), detail, aspect, desired, actual,
        known=sides.described(
            lambda schema: _find(schema, table.key, column.key) is not None, "column", table.key, column.name
        ),
        versions=sides.versions(shown),
    )  # fmt: skip


def _find(schema: Schema, table: str, column: str) -> Column | None:
    found = schema.tables.get(table)
    return found.column(column) if found else None


def aspect_of(column: Column | None, aspect: str) -> object:
    """One property of a column, as it is compared to tell who moved; None where there is no column."""
    if column is None:
        return None
    if aspect == "type":
        return column.type_key
    if aspect == "not_null":
        return column.not_null, column.not_null_conflict
    if aspect == "default":
        return (column.default.value or column.default.effect) if column.default else None
    return getattr(column, aspect)


def describe(column: Column) -> str:
    """A column in a few words: `VARCHAR(50), NOT NULL, default 'x'`."""
    parts = [column.type or "no type"]
    parts += ["NOT NULL"] if column.not_null else []
    parts += [f"default {column.default.sql}"] if column.default else []
    parts += [f"generated as {column.generated.expression.sql}"] if column.generated else []
    parts += [f"collation {column.collation}"] if column.collation != "BINARY" else []
    return ", ".join(parts)


def _column_changes(
    sides: Sides, table: Table, wanted_table: Table, wanted: Column, actual: Column
) -> Iterator[Difference]:
    if wanted == actual:
        return
    became_key = wanted_table.is_alias(wanted) != table.is_alias(actual)
    implied = became_key or _key_implies_null(wanted_table, wanted) != _key_implies_null(table, actual)
    for aspect in _changed_aspects(wanted, actual):
        # INT against INTEGER PRIMARY KEY is one change, of the key; NOT NULL comes and goes with key and storage.
        if (became_key and aspect == "type") or (implied and aspect == "not_null"):
            continue
        yield _column(
            sides, table, wanted, CHANGE,
            f"{aspect.replace('_', ' ')}: {_text(actual, aspect)} → {_text(wanted, aspect)}", aspect=aspect,
            desired=wanted, actual=actual,
        )  # fmt: skip


def _key_implies_null(table: Table, column: Column) -> bool:
    """True where a primary key makes its columns NOT NULL without saying so: WITHOUT ROWID and STRICT tables."""
    key = table.primary_key
    return key is not None and column.key in key.columns and (table.without_rowid or table.strict)


def _changed_aspects(wanted: Column, actual: Column) -> Iterator[str]:
    if wanted.type_key != actual.type_key:
        yield "type"
    if (wanted.not_null, wanted.not_null_conflict) != (actual.not_null, actual.not_null_conflict):
        yield "not_null"
    if not _same_default(wanted.default, actual.default):
        yield "default"
    if wanted.collation != actual.collation:
        yield "collation"
    if wanted.generated != actual.generated:
        yield "generated"


def _text(column: Column, aspect: str) -> str:
    """One property of a column, for people."""
    if aspect == "type":
        return column.type or "none"
    if aspect == "not_null":
        return _null_text(column)
    if aspect == "default":
        return column.default.sql if column.default else "none"
    return column.collation if aspect == "collation" else _generated_text(column.generated)


def _same_default(one: Default | None, other: Default | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.same_as(other)


def _null_text(column: Column) -> str:
    if not column.not_null:
        return "NULL allowed"
    return f"NOT NULL ON CONFLICT {column.not_null_conflict}" if column.not_null_conflict else "NOT NULL"


def _generated_text(generated: Generated | None) -> str:
    if generated is None:
        return "an ordinary column"
    return f"{generated.expression.sql} {'stored' if generated.stored else 'virtual'}"
