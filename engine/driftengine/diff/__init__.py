"""Desired against actual, with base as the witness of who moved. Pure: schemas in, differences out.

What is in the database and not in the models is a difference only inside a table that the models describe, or where
base says that the models described it once. Everything else is unmanaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.changes import REMOVE, Difference, Named
from driftengine.diff.constraints import as_unique
from driftengine.diff.naming import meant_by
from driftengine.diff.objects import (
    index_differences,
    trigger_differences,
    view_differences,
    virtual_table_differences,
)
from driftengine.diff.records import Base, Drift, Sides
from driftengine.diff.tables import table_differences
from driftengine.schema import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from driftengine.schema import Schema

__all__ = ["Base", "Drift", "Sides", "compare"]


def compare(desired: Schema, actual: Schema, base: Base | None = None, ignore: Sequence[str] = ()) -> Drift:
    """Every difference between two schemas, and what is unmanaged.

    `ignore` holds names or patterns of objects (`tmp_*`) and of parts of a table (`orders.note`, `orders.x_*`): what they
    name is among the ignored differences, which are no drift.
    """
    sides = Sides(desired, actual, base, tuple(ignore))
    found = (
        *table_differences(sides),
        *virtual_table_differences(sides),
        *index_differences(sides),
        *view_differences(sides),
        *trigger_differences(sides),
    )
    left_out = {place for place, d in enumerate(found) if any(meant_by(d, one) for one in sides.ignore)}
    return Drift(
        tuple(d for place, d in enumerate(found) if place not in left_out),
        tuple(_unmanaged(sides, found)),
        ignored=tuple(found[place] for place in sorted(left_out)),
    )


def _unmanaged(sides: Sides, found: Sequence[Difference]) -> Iterator[StoredObject]:
    """What stands in the database, is described by nobody, and is not about to be removed."""
    removed = {(d.object, d.actual.key) for d in found if d.change == REMOVE and hasattr(d.actual, "key")}
    actual, desired = sides.actual, sides.desired
    wanted = {
        "table": desired.tables.keys() | desired.virtual_tables.keys(),
        "view": desired.views.keys(),
        "trigger": desired.triggers.keys(),
        "index": _satisfying_indexes(sides),
    }
    records: Mapping[str, Mapping[str, Named]] = {
        "table": {**actual.tables, **actual.virtual_tables},
        "index": actual.indexes,
        "view": actual.views,
        "trigger": actual.triggers,
    }
    for kind, known in records.items():
        for key, record in known.items():
            shadow = getattr(record, "shadow_of", "")
            if key in wanted[kind] or shadow in wanted["table"] or (kind, key) in removed:
                continue
            if sides.ignored(record.name, getattr(record, "table", "")):
                continue
            yield StoredObject(kind, record.name, getattr(record, "table", "") or record.name, record.sql)


def _satisfying_indexes(sides: Sides) -> set[str]:
    """The actual indexes that serve as a desired index or as a desired unique constraint, whatever their name."""
    serving = set(sides.desired.indexes)
    for key, index in sides.actual.indexes.items():
        table = sides.desired.tables.get(index.table)
        if table is None:
            continue
        if index in sides.desired.indexes_of(index.table) or as_unique(index) in table.uniques:
            serving.add(key)
    return serving
