"""Indexes, views, triggers and virtual tables: what the models want otherwise than the database has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.changes import ADD, CHANGE, REMOVE, Difference
from driftengine.diff.constraints import as_unique, unique_by_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from driftengine.diff.records import Sides
    from driftengine.schema import Index, Schema, Table, Trigger, View, VirtualTable

    Definition = Trigger | View | VirtualTable


def index_differences(sides: Sides) -> Iterator[Difference]:
    """An index of the same effect satisfies, whatever its name; one of the same name and another effect is changed."""
    for key, wanted in sides.desired.tables.items():
        table = sides.actual.tables.get(key)
        if wanted.problem or (table is not None and table.problem):
            continue
        yield from _of_table(sides, wanted, table)


def _of_table(sides: Sides, wanted: Table, table: Table | None) -> Iterator[Difference]:
    present = list(sides.actual.indexes_of(wanted.key))
    changed: set[str] = set()
    for index in sides.desired.indexes_of(wanted.key):
        if index in present or (table and as_unique(index) in table.uniques):
            continue
        namesake = sides.actual.indexes.get(index.key)
        if namesake is not None and namesake.table == wanted.key and not _serves(sides, wanted, namesake):
            changed.add(namesake.key)
            yield _index(sides, CHANGE, index, namesake)
        else:
            yield _index(sides, ADD, index, None)
    for index in present:
        if index.key not in changed and _superfluous(sides, wanted, index):
            yield _index(sides, REMOVE, None, index)


def _serves(sides: Sides, wanted: Table, index: Index) -> bool:
    """True when the index does something else that the models want."""
    return index in sides.desired.indexes_of(wanted.key) or as_unique(index) in wanted.uniques


def _superfluous(sides: Sides, wanted: Table, index: Index) -> bool:
    """A unique index refuses rows, so new code trips over it; a plain one is only removed when the models had it.

    One over the primary key refuses nothing that the key would not.
    """
    if _serves(sides, wanted, index):
        return False
    unique = as_unique(index)
    refuses = index.unique and (unique is None or unique.parts != unique_by_key(wanted))
    return refuses or _described(sides, index)


def _described(sides: Sides, index: Index) -> bool:
    """True when the models once described the index, and it is the one that was there then.

    One that somebody made since, to the same effect and under a name of its own, is nobody else's.
    """
    if sides.base is None or index.key not in sides.base.actual.indexes:
        return False
    # Without the constraint itself in the table, the index stood in its place: that is how driftd adds a UNIQUE.
    in_place = not _constrains(sides.base.actual, index)
    return sides.described(
        lambda schema: index in schema.indexes_of(index.table) or (in_place and _constrains(schema, index)),
        "index", index.table, index.name,
    )  # fmt: skip


def _constrains(schema: Schema, index: Index) -> bool:
    """True where a UNIQUE constraint says what the index does."""
    table = schema.tables.get(index.table)
    return table is not None and as_unique(index) in table.uniques


def _index(sides: Sides, change: str, desired: Index | None, actual: Index | None) -> Difference:
    def present(index: Index | None) -> Callable[[Schema], bool]:
        return lambda schema: index is not None and index in schema.indexes_of(index.table)

    one = desired or actual
    assert one is not None  # noqa: S101  # a difference has at least one side
    namesake = sides.base.actual.indexes.get(one.key) if sides.base is not None else None

    def item(schema: Schema) -> object:
        return tuple(present(each)(schema) for each in (desired, actual, namesake))

    def shown(schema: Schema) -> str:
        return text_of(next((each for each in (desired, actual, namesake) if present(each)(schema)), None))

    detail = f"{text_of(actual)} → {text_of(desired)}" if change == CHANGE else text_of(one)
    known = actual is not None and _described(sides, actual)
    return Difference(
        "index", one.table, one.name, change, sides.origin(item), detail, "", desired, actual, known,
        versions=sides.versions(shown),
    )  # fmt: skip


def text_of(index: Index | None) -> str:
    """An index in a line."""
    if index is None:
        return ""
    parts = ", ".join(
        part.effect
        + (f" COLLATE {part.collation}" if part.collation else "")
        + (" DESC" if part.descending else "")
        for part in index.parts
    )
    where = f" WHERE {' '.join(index.where.sql.split())}" if index.where else ""
    return f"{'UNIQUE ' if index.unique else ''}({parts}){where}"


def view_differences(sides: Sides) -> Iterator[Difference]:
    """Views by name; their definition is compared token by token."""
    yield from _definitions(
        sides, "view", sides.desired.views, sides.actual.views, lambda schema: schema.views
    )


def trigger_differences(sides: Sides) -> Iterator[Difference]:
    """Triggers by name; their definition is compared token by token."""
    yield from _definitions(
        sides, "trigger", sides.desired.triggers, sides.actual.triggers, lambda schema: schema.triggers
    )


def virtual_table_differences(sides: Sides) -> Iterator[Difference]:
    """Virtual tables by name and arguments; the shadow tables behind them are their module's own affair."""
    yield from _definitions(
        sides,
        "virtual_table",
        {key: table for key, table in sides.desired.virtual_tables.items() if not table.shadow_of},
        {key: table for key, table in sides.actual.virtual_tables.items() if not table.shadow_of},
        lambda schema: schema.virtual_tables,
    )


def _definitions(
    sides: Sides,
    kind: str,
    desired: Mapping[str, Definition],
    actual: Mapping[str, Definition],
    of: Callable[[Schema], Mapping[str, Definition]],
) -> Iterator[Difference]:
    for key in sorted(desired.keys() | actual.keys()):
        wanted, present = desired.get(key), actual.get(key)
        one = wanted or present
        assert one is not None  # noqa: S101  # a difference has at least one side
        if wanted == present:
            continue

        def definition(schema: Schema, key: str = key) -> object:
            return of(schema).get(key)

        table = getattr(one, "table", key if kind == "virtual_table" else "")
        known = sides.described(definition, kind, table, one.name)
        if wanted is None and not known:
            continue
        change = ADD if present is None else REMOVE if wanted is None else CHANGE
        detail = {
            ADD: "the models describe it",
            REMOVE: "the models no longer describe it",
            CHANGE: "its definition differs",
        }[change]
        taken = sides.in_the_way(key, last=kind == "view") if change == ADD and kind != "trigger" else ""
        detail = f"{taken} of that name is in its place" if taken else detail

        def shown(schema: Schema, key: str = key) -> str:
            found = of(schema).get(key)
            return "" if found is None else " ".join(found.sql.split())

        yield Difference(
            kind, table, one.name, change, sides.origin(definition), detail, "name taken" if taken else "",
            wanted, present, known, versions=sides.versions(shown),
        )  # fmt: skip
