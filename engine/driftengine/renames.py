"""What goes by another name: from renames to differences, and what has to wait for them. Decides only.

A rename is only ever done where somebody says so (`hinted`). Where nobody does, a dropped and an added column that could be
one are held, with the hint that would make it a rename (`suspicion`).
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from driftengine.changes import (
    ADD,
    RENAME,
    Difference,
    Facts,
    Questions,
    Rename,
    folded,
    identity_of,
    parts_of,
)
from driftengine.diff import Base, Sides, compare
from driftengine.diff.naming import meant_by
from driftengine.errors import RehearsalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from driftengine.dialects.base import Database, Dialect
    from driftengine.diff import Drift
    from driftengine.schema import ForeignKey, Schema, Table

__all__ = ["Rename", "compared", "folded", "inverse"]

REFUSED, EXCHANGE = "refused", "exchange"  # aspects of a rename's difference


def in_circle(new: str, found: Mapping[str, str]) -> bool:
    """True where following the former names leads back to where it began."""
    at, seen = found[new], set[str]()
    while at in found and at != new and at not in seen:
        seen.add(at)
        at = found[at]
    return at == new and found[new] != new


def ordered(renames: Iterable[Rename]) -> tuple[Rename, ...]:
    """Tables before columns, and before each rename the one that takes its new name away."""
    renames = tuple(renames)
    by_old = {(one.table if one.column else "", folded(one.old)): one for one in renames}
    placed: list[Rename] = []

    def place(one: Rename, above: tuple[Rename, ...]) -> None:
        first = by_old.get((one.table if one.column else "", folded(one.new)))
        if first is not None and first != one and first not in placed and first not in above:
            place(first, (*above, one))
        if one not in placed:
            placed.append(one)

    for one in sorted(renames, key=lambda one: bool(one.column)):
        place(one, ())
    return tuple(placed)


def inverse(renames: Sequence[Rename]) -> tuple[Rename, ...]:
    """The renames that lead back."""
    tables = {one.table: folded(one.old) for one in renames if not one.column}
    return tuple(
        Rename(tables.get(one.table, one.table), folded(one.old), one.new, one.old)
        if one.column
        else Rename(folded(one.old), "", one.new, one.old)
        for one in reversed(renames)
    )


# --- from renames to differences


def compared(
    dialect: Dialect,
    wanted: Schema,
    actual: Schema,
    base: Base | None,
    ignore: Sequence[str],
    renames: Sequence[Rename],
) -> Drift:
    """The renames as differences, then all that is left to do once they have happened.

    What does not fit `actual` or `wanted` is no rename. One that the database refuses is a difference all the same, with the
    aspect `refused` and the reason for its detail; what would be made anew in its place has to wait for it.
    """
    sides = Sides(wanted, actual, base, tuple(ignore))
    fitting = _fitting(actual, [one for one in ordered(renames) if _described(wanted, one)])
    fitting = _fitting(actual, [one for one in fitting if not _is_ignored(sides, one, fitting)])
    standing, going, refused = _standing(dialect, actual, fitting)
    moved = None if base is None else base_moved(dialect, base, going)
    rest = compare(wanted, standing, moved, ignore)
    exchanged = _exchanged(fitting)
    found = [
        _difference(sides, one, fitting, refused.get(one), exchanged=one in exchanged) for one in fitting
    ]
    return replace(rest, differences=(*found, *rest.differences), renames=going)


def _described(wanted: Schema, one: Rename) -> bool:
    table = wanted.tables.get(one.table)
    return table is not None and (not one.column or table.column(one.column) is not None)


def _is_ignored(sides: Sides, one: Rename, renames: Sequence[Rename]) -> bool:
    return any(meant_by(_difference(sides, one, renames), pattern) for pattern in sides.ignore)


def _fitting(schema: Schema, renames: Sequence[Rename]) -> tuple[Rename, ...]:
    """Those whose old name is in the schema, and whose new one is free or made free by another of them."""
    names = {key: (key, table.name) for key, table in schema.tables.items()}
    tables = _free(names, [one for one in renames if not one.column])
    keys = {key: key for key in schema.tables} | {one.table: folded(one.old) for one in tables}
    columns: list[Rename] = []
    for key in dict.fromkeys(one.table for one in renames if one.column):
        table = schema.tables.get(keys.get(key, ""))
        inside = {column.key: (column.key, column.name) for column in table.columns} if table else {}
        columns += _free(inside, [one for one in renames if one.column and one.table == key])
    return (*tables, *columns)


def _free(names: Mapping[str, tuple[str, str]], renames: Sequence[Rename]) -> list[Rename]:
    left = [
        one
        for one in renames
        if folded(one.old) in names
        and (folded(one.old) != folded(one.new) or names[folded(one.old)][1] != one.new)
    ]
    while True:
        away = {folded(one.old) for one in left}
        kept = [one for one in left if folded(one.new) not in names or folded(one.new) in away]
        if kept == left:
            return left
        left = kept


def _standing(
    dialect: Dialect, schema: Schema, renames: tuple[Rename, ...]
) -> tuple[Schema, tuple[Rename, ...], dict[Rename, str]]:
    """The schema after the renames that the database carries out, those, and why it refuses the others."""
    try:
        return dialect.renamed(schema, renames), renames, {}
    except RehearsalError as error:
        whole = str(error.why)
    going: tuple[Rename, ...] = ()
    refused: dict[Rename, str] = {}
    for one in renames:
        tried = _fitting(schema, (*going, one))
        if len(tried) != len(going) + 1:
            refused[one] = whole
            continue
        try:
            dialect.renamed(schema, tried)
        except RehearsalError as error:
            refused[one] = str(error.why)
        else:
            going = tried
    return dialect.renamed(schema, going), going, refused


def base_moved(dialect: Dialect, base: Base, renames: Sequence[Rename]) -> Base:
    """Base under the new names, so that what has only been renamed has its origin where it had it."""
    actual, desired = (
        _standing(dialect, schema, _fitting(schema, renames))[0] for schema in (base.actual, base.desired)
    )
    return Base(actual, desired, frozenset(identity_moved(one, renames) for one in base.waiting))


def identity_moved(identity: str, renames: Iterable[Rename]) -> str:
    """The identity of a difference by the names after the renames."""
    one = parts_of(identity)
    table = next((r.table for r in renames if not r.column and folded(r.old) == one.table), one.table)
    name = one.name
    if one.object == "column":
        inside = (r for r in renames if r.column and r.table == table)
        name = next((r.new for r in inside if folded(r.old) == name), name)
    return identity_of(one.object, table, name, one.change, one.aspect)


def _exchanged(renames: Sequence[Rename]) -> frozenset[Rename]:
    """Those that exchange their names, two or more among themselves."""
    found = set()
    for scope in {one.table if one.column else "" for one in renames}:
        inside = {folded(one.new): one for one in renames if (one.table if one.column else "") == scope}
        olds = {new: folded(one.old) for new, one in inside.items()}
        found |= {one for new, one in inside.items() if in_circle(new, olds)}
    return frozenset(found)


def _difference(
    sides: Sides, one: Rename, renames: Sequence[Rename], why: str | None = None, *, exchanged: bool = False
) -> Difference:
    table = sides.desired.tables[one.table]
    before = _former_table(sides.actual, one, renames)
    name = table.name
    desired: object = table
    actual: object = before
    if one.column:
        column = table.column(one.column)
        assert column is not None  # noqa: S101  # compared has looked
        name, desired, actual = column.name, column, before.column(folded(one.old))

    def names(schema: Schema) -> tuple[str, str]:
        return _names_of(schema, one, renames)

    return Difference(
        "column" if one.column else "table",
        one.table,
        name,
        RENAME,
        sides.origin(names),
        why or f"{one.old} → {name}",
        REFUSED if why else EXCHANGE if exchanged else "",
        desired,
        actual,
        versions=sides.versions(lambda schema: " and ".join(filter(None, names(schema)))),
    )


def _former_table(schema: Schema, one: Rename, renames: Sequence[Rename]) -> Table:
    key = next((folded(r.old) for r in renames if not r.column and r.table == one.table), one.table)
    return schema.tables[key if one.column else folded(one.old)]


def _names_of(schema: Schema, one: Rename, renames: Sequence[Rename]) -> tuple[str, str]:
    """The old and the new name as they stand in a schema, "" where they do not: who moved, moved one of them."""
    if not one.column:
        found = [schema.tables.get(folded(name)) for name in (one.old, one.new)]
        old, new = (table.name if table else "" for table in found)
        return old, new
    former = next((folded(r.old) for r in renames if not r.column and r.table == one.table), one.table)
    table = schema.tables.get(former) or schema.tables.get(one.table)
    columns = [table.column(folded(name)) if table else None for name in (one.old, one.new)]
    old, new = (column.name if column else "" for column in columns)
    return old, new


# --- what has to wait for a rename, and what is asked of a database before it


_BY_TEXT = frozenset({"view", "trigger", "virtual_table"})


def touches(d: Difference, one: Rename) -> bool:
    """True where a difference can only be resolved once something goes by its new name; rather once too often."""
    if d.object in _BY_TEXT and _names(d, one.column or one.table):
        return True
    keys = [key for key in _foreign_keys(d) if key.parent == one.table]
    if not one.column:
        return d.table == one.table or bool(keys)
    if any(one.column in key.parent_columns for key in keys):
        return True
    inside = d.table == one.table
    return inside and (d.object in {"table", "primary_key", "option"} or _names(d, one.column))


def waits_for(one: Rename, other: Rename) -> bool:
    """True where the other has to happen with the first: it renames its table, or takes the new name away."""
    if not other.column:
        return one.table == other.table if one.column else folded(other.old) == folded(one.new)
    return bool(one.column) and one.table == other.table and folded(other.old) == folded(one.new)


def _foreign_keys(d: Difference) -> Iterator[ForeignKey]:
    for record in (d.desired, d.actual):
        if d.object == "foreign_key" and record is not None:
            yield record
        elif d.object == "table" and d.change == ADD and record is not None:
            yield from record.foreign_keys


def _names(d: Difference, key: str) -> bool:
    """True where what is wanted, or what is there, names a table or a column of that key."""
    text = " ".join(one for record in (d.desired, d.actual) for one in _texts(record))
    return re.search(rf"(?<!\w){re.escape(key)}(?!\w)", folded(text)) is not None


def _texts(record: Any) -> Iterator[str]:
    """All the texts in a record, whatever it is: names, keys, expressions, definitions."""
    if isinstance(record, str):
        yield record
    elif isinstance(record, (tuple, list, frozenset)):
        for one in record:
            yield from _texts(one)
    elif is_dataclass(record):
        for one in fields(record):
            yield from _texts(getattr(record, one.name))


def facts_of(database: Database, questions: Questions, renames: Sequence[Rename]) -> Facts:
    """What is known of the rows, asked under the old names and told under the new ones."""
    if not renames:
        return database.facts(questions)
    tables = {one.table: folded(one.old) for one in renames if not one.column}
    gone = set(tables.values()) - tables.keys()
    columns = {(one.table, one.column): folded(one.old) for one in renames if one.column}
    asked_tables = {key: tables.get(key, key) for key in questions.tables if key not in gone}
    asked_columns = {
        place: (tables.get(place[0], place[0]), columns.get(place, place[1]))
        for place in questions.columns
        if place[0] not in gone
    }
    told = database.facts(Questions(frozenset(asked_tables.values()), frozenset(asked_columns.values())))
    return Facts(
        {key: told.rows[old] for key, old in asked_tables.items() if old in told.rows},
        {place: told.nulls[old] for place, old in asked_columns.items() if old in told.nulls},
    )


def pending(schema: Schema, renames: Sequence[Rename]) -> tuple[Rename, ...]:
    """Those of the renames that have not happened in this schema."""
    return _fitting(schema, renames)


def concerned(dialect: Dialect, d: Difference, actual: Schema, renames: Sequence[Rename]) -> str | None:
    """The query for the rows that a held operation would concern, for the database as it is.

    Those of the renames that have happened by now count no more. Raises RehearsalError.
    """
    if d.change == RENAME:
        return None
    left = pending(actual, renames)
    query = dialect.concerned(d, dialect.renamed(actual, left))
    return None if query is None else dialect.as_it_is(query, actual, left)
