"""Renames that nobody has told of: what comes could be what goes, by a new name. Pure.

SQLite keeps names and nothing else. So a column that goes and one of the same type that comes are held apart by a person
only: made anew, the one is empty, and the values of the other go with its drop.
"""

from __future__ import annotations

import difflib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftengine.changes import ADD, BOTH, MODELS, REMOVE, Difference, Facts, Questions, removal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from driftengine.diff import Base, Drift
    from driftengine.hinted import Twin
    from driftengine.schema import Schema, Table

LIKE = 0.6  # from this likeness on, two names are taken for one another
FEW = 3  # columns; tables of fewer are alike by chance


@dataclass(frozen=True, slots=True)
class Pair:
    """An added column or table, and one under the name `old` that could be the same; keys as in `Rename`."""

    added: Difference
    table: str
    column: str
    old: str

    @property
    def removed(self) -> str:
        """The identity of the difference that removes the old one."""
        return removal("column" if self.column else "table", self.table, self.old)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What an added column or table could have been, as a sentence; `removed` are the identities of the drops.

    `stays` is what it would be to drop that, where nobody wants to.
    """

    reason: str
    removed: frozenset[str]
    stays: Difference | None = None


def pairs(drift: Drift, base: Base | None, standing: Schema) -> tuple[Pair, ...]:
    """Everything that could be a rename, as far as that can be told without the rows.

    `standing` is the schema as it is, after the renames that somebody has told of.
    """
    added = [d for d in drift.differences if d.change == ADD and d.origin != BOTH and not d.aspect]
    gone = [d for d in drift.differences if d.change == REMOVE and d.origin != BOTH]
    wanted = frozenset(
        (d.table, d.desired.key) for d in drift.differences if d.change == ADD and hasattr(d.desired, "key")
    )
    found: list[Pair] = []
    for new in added:
        if new.object == "column":
            found += (
                Pair(new, old.table, old.actual.key, old.name)
                for old in gone
                if old.object == "column"
                and old.table == new.table
                and _columns_alike(new, old, base, standing, wanted)
            )
        elif new.object == "table" and new.origin == MODELS:
            found += (
                Pair(new, table.key, "", table.name)
                for table in _tables_gone(drift, gone, standing)
                if _tables_alike(new.desired, table, told=any(d.actual is table for d in gone))
                and (
                    _together(base, new.table, table.key, "")
                    or _parted(base, new.desired, table, standing, wanted)
                )
            )
    return tuple(found)


def _columns_alike(
    new: Difference, old: Difference, base: Base | None, standing: Schema, wanted: Collection[tuple[str, str]]
) -> bool:
    one, other = new.desired, old.actual
    if one.generated is not None or other.generated is not None or one.type_key != other.type_key:
        return False
    if new.origin != MODELS:
        # Somebody gave it another name by hand: what goes back to the models' name would be a column without its values.
        return old.origin == new.origin
    if old.origin == MODELS:
        return _together(base, one.key, other.key, new.table)
    if base is None or new.table not in base.desired.tables:
        return False
    # Somebody gave a column another name by hand, and the models one more: what it holds stands in the other.
    now = standing.tables[new.table]
    lost = [column for column in base.desired.tables[new.table].columns if now.column(column.key) is None]
    if any(column.key == one.key for column in lost):  # it has waited since
        return _is_in(base.actual, new.table, other.key)
    given_up = (column for column in lost if (new.table, column.key) not in wanted)
    return any(column.type_key == other.type_key for column in given_up)


def _parted(
    base: Base | None, new: Table, made: Table, standing: Schema, wanted: Collection[tuple[str, str]]
) -> bool:
    """True where somebody gave a table another name by hand, and the models one more."""
    if base is None or made.key in base.desired.tables:
        return False
    lost = base.desired.tables.keys() - standing.tables.keys()
    if new.key in lost:
        return made.key in base.actual.tables
    return any(
        _tables_alike(base.desired.tables[key], made, told=True) for key in lost if (key, key) not in wanted
    )


def _tables_gone(drift: Drift, gone: Iterable[Difference], standing: Schema) -> Iterator[Table]:
    """Those that the models describe no longer, and those that nobody describes."""
    keys = {d.table for d in gone if d.object == "table"}
    keys |= {row.name.lower() for row in drift.unmanaged if row.type == "table"}
    for key in sorted(keys & standing.tables.keys()):
        yield standing.tables[key]


def _tables_alike(one: Table, other: Table, *, told: bool) -> bool:
    """The same columns; where nobody ever described the other, alike by more than chance."""
    columns = [{(column.key, column.type_key) for column in table.columns} for table in (one, other)]
    alike = told or len(columns[0]) >= FEW or _likeness(one.name, other.name) >= LIKE
    return columns[0] == columns[1] and alike and not other.problem


def _together(base: Base | None, new: str, old: str, table: str) -> bool:
    """True where the models moved both at once: since driftd last looked, or before it, and both have waited since.

    What has been waiting to go from before the other came is not what that was.
    """
    if base is None:
        return True
    described, stood = (
        {key for key in (new, old) if _is_in(side, table, key)} for side in (base.desired, base.actual)
    )
    return described == {old} or (described == {new} and stood == {old})


def _is_in(schema: Schema, table: str, key: str) -> bool:
    if not table:
        return key in schema.tables
    found = schema.tables.get(table)
    return found is not None and found.column(key) is not None


def asked(found: Iterable[Pair], twins: Iterable[Twin], kept: Iterable[Twin] = ()) -> Questions:
    """What must be known of the rows to tell."""
    tables = {(pair.table, pair.column) for pair in found} | {(twin.table, twin.column) for twin in twins}
    tables |= {(twin.table, twin.old) if twin.column else (twin.old, "") for twin in kept}
    return Questions(
        frozenset(table for table, _ in tables), frozenset(place for place in tables if place[1])
    )


def suspicions(found: Iterable[Pair], facts: Facts, standing: Schema) -> dict[str, Suspicion]:
    """By the identity of what is added: what it could have been, where that holds anything that would fit."""
    fitting = [pair for pair in found if _fits(pair, facts)]
    told: dict[str, Suspicion] = {}
    for group in _groups(fitting):
        for new, olds in _matched(group):
            told[new.identity] = Suspicion(
                _sentence(new, olds, facts, standing), frozenset(pair.removed for pair in olds)
            )
    return told


def _fits(pair: Pair, facts: Facts) -> bool:
    rows = facts.rows.get(pair.table, 0)
    nulls = facts.nulls.get((pair.table, pair.column), 0)
    return rows > nulls and not (pair.column and pair.added.desired.not_null and nulls)


def _groups(found: Iterable[Pair]) -> Iterator[list[Pair]]:
    """What may be mistaken for one another: columns of one table and type, and all tables."""
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in found:
        key = (pair.table, pair.added.desired.type_key) if pair.column else ("", "")
        groups.setdefault(key, []).append(pair)
    yield from groups.values()


def _matched(group: Sequence[Pair]) -> Iterator[tuple[Difference, list[Pair]]]:
    """Where names pair up clearly, each with its own; of the rest, each with all that is left."""
    clear = [pair for pair in group if _is_clear(pair, group)]
    for pair in clear:
        yield pair.added, [pair]
    taken = {pair.added.identity for pair in clear}, {pair.removed for pair in clear}
    left = [pair for pair in group if pair.added.identity not in taken[0] and pair.removed not in taken[1]]
    for new in {pair.added.identity: pair.added for pair in left}.values():
        yield new, [pair for pair in left if pair.added is new]


def _is_clear(pair: Pair, group: Iterable[Pair]) -> bool:
    likeness = _likeness(pair.added.name, pair.old)
    rivals = [
        one for one in group if one is not pair and (one.added is pair.added or one.removed == pair.removed)
    ]
    return likeness >= LIKE and all(_likeness(one.added.name, one.old) < likeness for one in rivals)


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.lower(), other.lower()).ratio()


def _sentence(new: Difference, olds: Sequence[Pair], facts: Facts, standing: Schema) -> str:
    place = f"{standing.tables[new.table].name}.{new.name}" if new.object == "column" else new.name
    first = olds[0]
    count = facts.rows.get(first.table, 0) - facts.nulls.get((first.table, first.column), 0)
    holds = f"{count:,} {'value' if first.column else 'row'}{'' if count == 1 else 's'}"
    names = " or ".join(pair.old for pair in olds)
    hint = first.old.replace("\\", "\\\\").replace('"', '\\"')
    return (
        f"it may be {names} by a new name ({first.old} holds {holds}): if so, write "
        f'info={{"renamed_from": "{hint}"}} on {place} or give --rename {shlex.quote(f"{place}={first.old}")}, '
        f"and it keeps them; approved, it is made anew"
    )


def kept_names(drift: Drift, kept: Iterable[Twin], facts: Facts, standing: Schema) -> dict[str, Suspicion]:
    """By the identity of what is added: that it was what the models still describe, where that holds anything.

    Who renames something and gives its old name to something new means that; who copies it means something else.
    """
    told = {}
    added = {removal(d.object, d.table, d.name): d for d in drift.differences if d.change == ADD}
    for twin in kept:
        kind, name = ("column", twin.column) if twin.column else ("table", twin.table)
        new = added.get(removal(kind, twin.table, name))
        old = _standing(twin, standing)
        rows = facts.rows.get(twin.table if twin.column else twin.old, 0)
        count = rows - facts.nulls.get((twin.table, twin.old), 0)
        if new is not None and old is not None and count > 0:
            told[new.identity] = Suspicion(_either(new, old, count, standing), frozenset(), stays=old)
    return told


def _standing(twin: Twin, standing: Schema) -> Difference | None:
    """What stands under the old name, as if it were to go."""
    table = standing.tables.get(twin.table if twin.column else twin.old)
    if table is None:
        return None
    if not twin.column:
        return Difference("table", table.key, table.name, REMOVE, MODELS, "", actual=table)
    column = table.column(twin.old)
    if column is None:
        return None
    return Difference("column", table.key, column.name, REMOVE, MODELS, "", actual=column)


def _either(new: Difference, old: Difference, count: int, standing: Schema) -> str:
    unit, by_hand = "row", f"{_quoted(old.name)} RENAME TO {_quoted(new.name)}"
    if new.object == "column":
        table = _quoted(standing.tables[new.table].name)
        unit, by_hand = "value", f"{table} RENAME COLUMN {_quoted(old.name)} TO {_quoted(new.name)}"
    holds = f"{count:,} {unit}{'' if count == 1 else 's'}"
    return (
        f"the models say that it was {old.name}, and want {old.name} as well, which holds {holds}: if these belong to "
        f"{new.name}, give it that name by hand (ALTER TABLE {by_hand}); if not, take the hint away; approved, it is made anew"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def twin_notes(twins: Iterable[Twin], facts: Facts) -> dict[str, str]:
    """By the identity of a drop: that what the models call the same thing is there already, and holds nothing."""
    notes = {}
    for twin in twins:
        rows = facts.rows.get(twin.table, 0)
        empty = rows == (facts.nulls.get((twin.table, twin.column), 0) if twin.column else 0)
        if empty:
            place = (twin.table, twin.old) if twin.column else (twin.old, twin.old)
            new = twin.column or twin.table
            note = f"{new}, which the models say it is by a new name, is there too and holds nothing: copy it over first"
            notes[removal("column" if twin.column else "table", *place)] = note
    return notes
