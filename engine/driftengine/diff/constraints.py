"""Keys, UNIQUE, CHECK, foreign keys and table options: what the models want otherwise than the database has it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from driftengine.changes import ADD, CHANGE, REMOVE, Difference
from driftengine.schema import Check, ForeignKey, Index, KeyPart, PrimaryKey, Schema, Table, Unique

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from driftengine.diff.records import Sides

Constraint = Check | ForeignKey | Unique


def constraint_differences(sides: Sides, wanted: Table, table: Table) -> Iterator[Difference]:
    """Every constraint in which two tables of the same name disagree."""
    yield from _primary_key(sides, wanted, table)
    yield from _options(sides, wanted, table)
    yield from _uniques(sides, wanted, table)
    yield from _paired(
        sides, table, "check", _without(wanted.checks, table.checks), _without(table.checks, wanted.checks)
    )
    wanted_keys, keys = (tuple(_resolved(sides, key) for key in one.foreign_keys) for one in (wanted, table))
    yield from _paired(sides, table, "foreign_key", _without(wanted_keys, keys), _without(keys, wanted_keys))


def _resolved(sides: Sides, key: ForeignKey) -> ForeignKey:
    """With the parent's primary key where REFERENCES names no column; a parent that only one side has counts for both."""
    parent = sides.actual.tables.get(key.parent) or sides.desired.tables.get(key.parent)
    if key.parent_columns or parent is None or parent.primary_key is None:
        return key
    columns = parent.primary_key.columns
    if len(columns) != len(key.columns):
        return key
    return replace(key, pairs=frozenset(zip(key.columns, columns, strict=True)))


def _without(items: Iterable[Constraint], others: Iterable[Constraint]) -> list[Constraint]:
    rest = set(others)
    return [item for item in items if item not in rest]


def _primary_key(sides: Sides, wanted: Table, table: Table) -> Iterator[Difference]:
    if wanted.primary_key == table.primary_key or _same_but_for_storage(wanted, table):
        return
    aspect = "autoincrement" if _only_autoincrement(wanted.primary_key, table.primary_key) else ""
    yield Difference(
        "primary_key",
        table.key,
        table.name,
        CHANGE,
        sides.origin(lambda schema: _of(schema, table.key, "primary_key")),
        f"{_key_text(table.primary_key, table)} → {_key_text(wanted.primary_key, wanted)}",
        aspect,
        wanted.primary_key,
        table.primary_key,
        versions=sides.versions(lambda schema: _key_shown(schema, table.key)),
    )


def _same_but_for_storage(wanted: Table, table: Table) -> bool:
    """True where the key reads the same, and is an alias of the rowid on the one side because there is a rowid."""
    one, other = wanted.primary_key, table.primary_key
    if one is None or other is None or wanted.without_rowid == table.without_rowid:
        return False
    if replace(one, rowid_alias=other.rowid_alias) != other:
        return False
    types = [[c.type_key for c in side.columns if c.key in one.columns] for side in (wanted, table)]
    return sorted(types[0]) == sorted(types[1])


def _only_autoincrement(one: PrimaryKey | None, other: PrimaryKey | None) -> bool:
    if one is None or other is None:
        return False
    same = (one.parts, one.rowid_alias, one.conflict) == (other.parts, other.rowid_alias, other.conflict)
    return same and one.autoincrement != other.autoincrement


def _key_shown(schema: Schema, table: str) -> str:
    found = schema.tables.get(table)
    return _key_text(found.primary_key, found) if found else ""


def _key_text(key: PrimaryKey | None, table: Table) -> str:
    if key is None:
        return "no primary key"
    names = []
    for part in key.parts:
        column = table.column(part.effect)
        names.append(f"{part.effect} {column.type if column else ''}".strip() + (" DESC" * part.descending))
    extra = " AUTOINCREMENT" if key.autoincrement else ""
    return f"({', '.join(names)}){extra}" + (f" ON CONFLICT {key.conflict}" if key.conflict else "")


def _of(schema: Schema, table: str, attribute: str) -> object:
    found = schema.tables.get(table)
    return getattr(found, attribute) if found else None


def _options(sides: Sides, wanted: Table, table: Table) -> Iterator[Difference]:
    for aspect, label in (("without_rowid", "WITHOUT ROWID"), ("strict", "STRICT")):
        before, after = getattr(table, aspect), getattr(wanted, aspect)
        if before != after:
            yield Difference(
                "option", table.key, table.name, CHANGE,
                sides.origin(lambda schema, aspect=aspect: _of(schema, table.key, aspect)),  # type: ignore[misc]  # default binds
                f"{'now' if after else 'no longer'} {label}", aspect, after, before,
                versions=sides.versions(
                    lambda schema, aspect=aspect, label=label: label if _of(schema, table.key, aspect) else f"not {label}"  # type: ignore[misc]  # as above
                ),
            )  # fmt: skip


def as_unique(index: Index) -> Unique | None:
    """The UNIQUE constraint that a unique index amounts to, or None when it is more or less than that."""
    if not index.unique or index.where is not None or any(part.is_expression for part in index.parts):
        return None
    parts = frozenset(KeyPart(part.effect, collation=part.collation) for part in index.parts)
    return Unique(parts, name=index.name, columns=tuple(part.effect for part in index.parts))


def _uniques(sides: Sides, wanted: Table, table: Table) -> Iterator[Difference]:
    """A unique index over the same columns satisfies a unique constraint, and the other way round.

    UNIQUE over the wanted primary key says nothing new, unless it says what becomes of a conflict.
    """
    by_index = {as_unique(index) for index in sides.actual.indexes_of(table.key)}
    by_wanted_index = {as_unique(index) for index in sides.desired.indexes_of(table.key)}
    key = unique_by_key(wanted)

    def is_key(unique: Unique) -> bool:
        return unique.parts == key and not unique.conflict

    for unique in wanted.uniques:
        if unique not in table.uniques and unique not in by_index and not is_key(unique):
            yield constraint_difference(sides, table, "unique", ADD, desired=unique)
    for unique in table.uniques:
        if unique not in wanted.uniques and unique not in by_wanted_index and not is_key(unique):
            yield constraint_difference(sides, table, "unique", REMOVE, actual=unique)


def unique_by_key(table: Table) -> frozenset[KeyPart] | None:
    """What the primary key keeps unique, as the parts of a UNIQUE constraint."""
    parts = table.primary_key.parts if table.primary_key else ()
    return frozenset(KeyPart(part.effect, collation=part.collation) for part in parts) or None


def _paired(
    sides: Sides, table: Table, kind: str, missing: list[Constraint], extra: list[Constraint]
) -> Iterator[Difference]:
    """A constraint over the same columns, or of the same name, that reads otherwise was changed, not replaced."""
    left = list(extra)
    for constraint in missing:
        partner = next((other for other in left if _counterparts(constraint, other)), None)
        if partner is None:
            yield constraint_difference(sides, table, kind, ADD, desired=constraint)
        else:
            left.remove(partner)
            yield constraint_difference(sides, table, kind, CHANGE, desired=constraint, actual=partner)
    for constraint in left:
        yield constraint_difference(sides, table, kind, REMOVE, actual=constraint)


def _counterparts(one: Constraint, other: Constraint) -> bool:
    """Columns hold at most one foreign key that people think of; two CHECKs of other names are two rules."""
    same_columns = bool(one.columns) and frozenset(one.columns) == frozenset(other.columns)
    if isinstance(one, ForeignKey):
        return same_columns
    if one.name and other.name:
        return one.name.lower() == other.name.lower()
    return same_columns


def constraint_difference(
    sides: Sides,
    table: Table,
    kind: str,
    change: str,
    *,
    desired: Constraint | None = None,
    actual: Constraint | None = None,
) -> Difference:
    """The difference in one constraint; `known` tells whether the models once described what is to go."""
    one = desired or actual
    assert one is not None  # noqa: S101  # a difference has at least one side
    namesake = _namesake(sides, table.key, one)

    def present(constraint: Constraint | None) -> Callable[[Schema], bool]:
        return lambda schema: constraint is not None and constraint in _constraints(schema, table.key)

    def item(schema: Schema) -> object:
        return tuple(present(each)(schema) for each in (desired, actual, namesake))

    def shown(schema: Schema) -> str:
        there = next((each for each in (desired, actual, namesake) if present(each)(schema)), None)
        return text_of(there)

    detail = f"{text_of(actual)} → {text_of(desired)}" if change == CHANGE else text_of(one)
    name = one.name or ", ".join(sorted(one.columns))
    return Difference(
        kind, table.key, name, change, sides.origin(item), detail, "", desired, actual,
        known=change == CHANGE or sides.described(present(actual), kind, table.key, name),
        versions=sides.versions(shown),
    )  # fmt: skip


def _namesake(sides: Sides, table: str, one: Constraint) -> Constraint | None:
    """What stood in its place when driftd last looked: one that is missing now was changed or taken away since."""
    found = sides.base.actual.tables.get(table) if sides.base is not None else None
    known = (*found.checks, *found.foreign_keys, *found.uniques) if found is not None else ()
    return next((each for each in known if type(each) is type(one) and _counterparts(one, each)), None)


def _constraints(schema: Schema, table: str) -> tuple[Constraint | None, ...]:
    found = schema.tables.get(table)
    if found is None:
        return ()
    indexes = tuple(as_unique(index) for index in schema.indexes_of(table))
    return (*found.checks, *found.foreign_keys, *found.uniques, *indexes)


def text_of(constraint: Constraint | None) -> str:
    """A constraint in a line."""
    if isinstance(constraint, Check):
        return f"CHECK ({' '.join(constraint.expression.sql.split())})"
    if isinstance(constraint, Unique):
        conflict = f" ON CONFLICT {constraint.conflict}" if constraint.conflict else ""
        return f"UNIQUE ({', '.join(constraint.columns)}){conflict}"
    if isinstance(constraint, ForeignKey):
        parents = f"({', '.join(constraint.parent_columns)})" if constraint.parent_columns else ""
        actions = "".join(
            f" ON {event} {action}"
            for event, action in (("UPDATE", constraint.on_update), ("DELETE", constraint.on_delete))
            if action != "NO ACTION"
        )
        deferred = " DEFERRABLE INITIALLY DEFERRED" if constraint.deferred else ""
        local = ", ".join(constraint.columns)
        return f"({local}) REFERENCES {constraint.parent_name}{parents}{actions}{deferred}"
    return ""
