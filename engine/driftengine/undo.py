"""Taking operations of a migration back: which schema that leads to, and the plan that leads there. Decides only.

An undo is a plan like any other. Its goal is the present schema with the chosen operations taken back; what later migrations
did stays. Values that a migration has lost come back by key from its own backup, rows written since keep theirs, and what
cannot be decided is held.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from driftengine import history
from driftengine.changes import ADD, CHANGE, REMOVE, RENAME, Change, folded, parts_of, rename_of
from driftengine.diff import Base, compare
from driftengine.errors import DriftError, HistoryError, RehearsalError
from driftengine.needs import Near, needs_of
from driftengine.operations import Operation
from driftengine.renamed_since import Called, Later
from driftengine.renames import Rename, compared, identity_moved
from driftengine.risk import SAFE, Judgement
from driftengine.survey import base_of
from driftengine.taken_back import ROLLBACK, Done, done_by, last_to_take_back, undone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from driftengine.changes import Difference
    from driftengine.dialects.base import Dialect
    from driftengine.diff import Drift
    from driftengine.history import Entry
    from driftengine.operations import Plan
    from driftengine.renamed_since import Names
    from driftengine.schema import Schema


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be taken back: operations of one migration, by their numbers. `left` are those that stay done."""

    entry: Entry
    numbers: frozenset[int]
    left: frozenset[int] = frozenset()

    @property
    def migration(self) -> str:
        """The migration's id."""
        return str(self.entry.migration_id)


@dataclass(frozen=True, slots=True)
class Goal:
    """Where an undo leads.

    `wanted` is the schema that it leads to, `drift` how the present one differs from that. `then` is the schema of the
    migration's backup; `names` goes from (table, column) keys of now to those of then where they are others; `later` are
    the renames in between. `moved` are the identities of what somebody has changed since the migration; `skipped` is
    what cannot be taken back from the schema as it is now; `notes` are sentences for people.
    """

    wanted: Schema
    drift: Drift
    then: Schema
    names: Names = field(default_factory=dict)
    moved: frozenset[str] = frozenset()
    skipped: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    later: tuple[Later, ...] = ()


# --- what is meant


def asked(entries: Sequence[Entry], migration: str | None, words: Sequence[str]) -> Asked:
    """The operations that are meant: of the last migration that is not undone yet, or of a named one; all, or some.

    `words` are numbers within the migration, or ids of operations. Raises HistoryError (`nothing-to-roll-back`,
    `migration-unknown`, `operation-unknown`, `already-rolled-back`).
    """
    entry = _entry(entries, migration)
    applied = frozenset(map(int, entry.evidence.get("applied", ())))
    gone = undone(entries).get(str(entry.migration_id), frozenset())
    chosen = _numbers(entry, applied, words) if words else applied - gone
    if not chosen or chosen & gone:
        which = f"{', '.join(map(str, sorted(chosen & gone)))} of " if words else ""
        raise HistoryError(
            f"{which}{entry.migration_id} has been rolled back already",
            code="already-rolled-back",
            why="its history says so",
            fix=f"see `driftd history {entry.migration_id}`",
        )
    return Asked(entry, chosen, applied - gone - chosen)


def _entry(entries: Sequence[Entry], migration: str | None) -> Entry:
    if migration is None:
        last = last_to_take_back(entries)
        if last is None:
            raise HistoryError(
                "there is no migration to roll back",
                code="nothing-to-roll-back",
                why="the history names none that is not rolled back already"
                if any(e.migration_id for e in entries)
                else "its history names none",
                fix="`driftd history` lists what driftd has done; `driftd backup list` what can be restored",
            )
        return last
    found = next((entry for entry in entries if entry.migration_id == migration), None)
    if found is None:
        ids = [str(entry.migration_id) for entry in entries if entry.migration_id]
        near = difflib.get_close_matches(migration, ids, n=1)
        raise HistoryError(
            f"there is no migration {migration}",
            code="migration-unknown",
            why=f"did you mean {near[0]}?" if near else "the history of this database does not list it",
            fix="run `driftd history`",
        )
    return found


def _numbers(entry: Entry, applied: frozenset[int], words: Sequence[str]) -> frozenset[int]:
    plan = str((entry.plan or {}).get("id"))
    numbers = set()
    for word in words:
        last = str(word).rpartition("-")[2]
        meant = last.isascii() and last.isdigit() and str(word) in {last, f"{plan}-{last}"}
        number = int(last) if meant else 0
        if number not in applied:
            raise HistoryError(
                f"{entry.migration_id} has carried out no operation {word}",
                code="operation-unknown",
                why=f"it has carried out {', '.join(map(str, sorted(applied)))}",
                fix=f"see `driftd history {entry.migration_id}`",
            )
        numbers.add(number)
    return frozenset(numbers)


# --- where it leads


def goal(dialect: Dialect, entries: Sequence[Entry], actual: Schema, ask: Asked) -> tuple[Goal, Asked]:
    """Where taking these operations back leads from the schema `actual`, and what is taken back in the end.

    What needs an operation that goes is taken back with it. Raises HistoryError (`undo-unknown`), RehearsalError.
    """
    entry = ask.entry
    held = history.before(entry)
    if entry.base is None or held is None:
        raise _unknown(entry, "its row in the history does not hold the schema from before it")
    then = dialect.understand(held.actual)
    after = dialect.understand(entry.base.actual)
    gone = undone(entries).get(ask.migration, frozenset())
    before, left = then, after
    forward = _forward(dialect, entries, entry, then, after)
    if gone:  # what was taken back before is no part of the way
        after = _replayed(dialect, entry, forward, then, frozenset(forward.numbers) - gone)
    ask = _with_dependents(ask, forward, dialect.renamed(then, tuple(forward.renames.values())))
    if ask.left:
        before = _replayed(dialect, entry, forward, then, ask.left)
    called = Called(forward.renames, ask.numbers, left, _later_renames(entries, entry))
    try:
        before = called.moved(dialect, before, ask.left)
        after = called.moved(dialect, after, frozenset(forward.renames) - gone)
    except RehearsalError as error:
        raise _in_the_way(f"its names were given to others since: {error.why}") from error
    names, back = called.names(then), called.back()
    way = compared(dialect, before, after, Base(after, after), (), back)
    if _same(after, actual):
        found = Goal(before, _with_their_tables(way, way.differences), then, names)
    else:
        found = _from_here(dialect, way, before, after, actual, back, then, names)
    return replace(found, later=called.later), ask


@dataclass(frozen=True, slots=True)
class _Forward:
    """What a migration had done, found out again: by number the operation, and the rename where it was one."""

    wanted: Schema
    operations: Mapping[int, Operation]
    renames: Mapping[int, Rename]

    @property
    def numbers(self) -> frozenset[int]:
        """All of them."""
        return frozenset(self.operations)


def _forward(
    dialect: Dialect, entries: Sequence[Entry], entry: Entry, then: Schema, after: Schema
) -> _Forward:
    done = {one.number: one for one in done_by(entry.evidence)}
    if not done:
        raise _unknown(entry, "its row in the history does not say what was done about which object")
    assert entry.base is not None  # noqa: S101  # goal has looked
    renames = {number: rename_done(one) for number, one in done.items() if one.old}
    base: Base | None = Base(then, then)
    wanted = after
    if entry.kind != ROLLBACK:
        earlier = tuple(one for one in entries if one.id < entry.id)
        wanted, base = dialect.understand(entry.base.desired), base_of(dialect, earlier)
    drift = compared(dialect, wanted, then, base, (), tuple(renames.values()))
    by_identity: dict[str, list[Difference]] = {}
    for d in drift.differences:
        by_identity.setdefault(d.identity, []).append(d)
    operations = {
        number: _operation(dialect, number, by_identity[one.identity].pop(0), then)
        for number, one in sorted(done.items())
        if by_identity.get(one.identity)
    }
    return _Forward(wanted, operations, renames)


def rename_done(done: Done) -> Rename:
    """The rename that a migration has carried out, told from its row."""
    parts = parts_of(done.identity)
    return Rename(parts.table, parts.name if parts.object == "column" else "", done.old, parts.name)


def _operation(dialect: Dialect, number: int, d: Difference, then: Schema) -> Operation:
    change = Change(number, d, dialect.strategy(d, then, None))
    return Operation(number, change, Judgement("", SAFE, "", ""))


def _with_dependents(ask: Asked, forward: _Forward, then: Schema) -> Asked:
    """What needs an operation that is taken back goes with it."""
    operations = list(forward.operations.values())
    near = Near(operations)
    needs = {o.number: needs_of(o, near.to(o), then) for o in operations}
    numbers = set(ask.numbers)
    while more := {n for n in ask.left if needs.get(n, frozenset()) & numbers} - numbers:
        numbers |= more
    return replace(ask, numbers=frozenset(numbers), left=ask.left - numbers)


def _replayed(
    dialect: Dialect, entry: Entry, forward: _Forward, then: Schema, numbers: frozenset[int]
) -> Schema:
    """The schema from before the migration with some of its operations carried out."""
    missing = numbers - forward.numbers
    if missing:
        told = ", ".join(map(str, sorted(missing)))
        raise _unknown(entry, f"operation {told} cannot be told apart from the others: roll it back whole")
    changes = [forward.operations[number].change for number in sorted(numbers)]
    return dialect.after(then, dialect.script(forward.wanted, then, changes))


def _unknown(entry: Entry, why: str) -> HistoryError:
    return HistoryError(
        f"{entry.migration_id} cannot be rolled back operation by operation",
        code="undo-unknown",
        why=why,
        fix="restore its backup instead: `driftd backup list`, `driftd backup restore ID`",
    )


# --- renames on the way


def _later_renames(entries: Sequence[Entry], entry: Entry) -> tuple[Later, ...]:
    """What was renamed since, in order; a rollback that renamed something back is among it."""
    return tuple(
        Later(str(later.migration_id), tuple(rename_done(one) for one in done_by(later.evidence) if one.old))
        for later in entries
        if later.id > entry.id
    )


# --- from the schema as it is now


def _same(one: Schema, other: Schema) -> bool:
    return set(one.stored) == set(other.stored)


def _from_here(
    dialect: Dialect,
    way: Drift,
    before: Schema,
    after: Schema,
    actual: Schema,
    back: Sequence[Rename],
    then: Schema,
    names: Names,
) -> Goal:
    """The same way from another schema: others have changed it since the migration."""
    since = compare(after, actual, Base(actual, actual)).differences
    places = {(d.object, d.table, folded(d.name)) for d in since}
    lost = {d.table for d in since if d.object == "table" and d.change == ADD}
    skipped = [d for d in way.differences if d.table in lost]
    notes = [
        f"{table} is not there any more: nothing of it is taken back"
        for table in sorted({d.table for d in skipped})
    ]
    here = [d for d in way.differences if d.table not in lost]
    already = [d for d in here if _there_already(d, since)]
    notes += [_told_already(d) for d in already]
    # What is there again was made anew: what it held has not come back.
    skipped += [d for d in already if d.change == ADD and d.object in {"column", "table", "virtual_table"}]
    here = [d for d in here if d not in already]
    moved = frozenset(d.identity for d in here if (d.object, d.table, folded(d.name)) in places)
    changes = [Change(n, d, dialect.strategy(d, actual, None)) for n, d in enumerate(here, 1)]
    try:
        wanted = dialect.after(actual, dialect.script(before, actual, changes))
    except DriftError as error:
        raise _in_the_way(f"later changes stand in the way: {error}") from error
    drift = compared(dialect, wanted, actual, Base(actual, actual), (), back)
    drift = _with_their_tables(drift, here)
    return Goal(wanted, drift, then, names, moved, tuple(skipped), tuple(notes))


def _in_the_way(why: str) -> HistoryError:
    return HistoryError(
        "it cannot be rolled back from the schema as it is now",
        code="undo-unknown",
        why=why,
        fix="roll the later migrations back first, or restore a backup",
    )


def _with_their_tables(drift: Drift, here: Sequence[Difference]) -> Drift:
    """What others have made on a table or a column goes with it, and waits with it: its removal is no operation.

    Likewise a foreign key that names no column of its parent: without the parent it reads otherwise, and stays as it is.
    """
    tables = {d.table for d in drift.differences if (d.object, d.change) == ("table", REMOVE)}
    columns = {d.table for d in drift.differences if (d.object, d.change) == ("column", REMOVE)}
    own = {d.identity for d in here}

    def goes_along(d: Difference) -> bool:
        if d.object in {"index", "trigger"} and d.table in tables:
            return True
        if d.identity in own:
            return False
        if d.object == "index" and d.change == REMOVE:
            return d.table in columns
        return d.object == "foreign_key" and d.change == CHANGE and d.actual.parent in tables

    return replace(drift, differences=tuple(d for d in drift.differences if not goes_along(d)))


def _there_already(d: Difference, since: Sequence[Difference]) -> bool:
    """True where somebody has done by now what would take it back: what was added is gone, what was dropped is there."""
    opposite = {ADD: REMOVE, REMOVE: ADD}.get(d.change)
    return any(
        (one.object, one.table, folded(one.name), one.change) == (d.object, d.table, folded(d.name), opposite)
        for one in since
    )


def _told_already(d: Difference) -> str:
    name = d.name if folded(d.name) == d.table else f"{d.table}.{d.name}"
    if d.change == REMOVE:
        return f"{d.object} {name} is not there any more: nothing of it is left to take back"
    again = f"{d.object} {name} is there again"
    if d.object not in {"column", "table", "virtual_table"}:
        return again
    return f"{again}, made anew since: roll that back first to have back what it held"


def evidence(
    previous: Mapping[str, Any],
    ask: Asked,
    plan: Plan,
    went: Sequence[Operation],
    skipped: Sequence[Difference] = (),
    later: Sequence[Later] = (),
) -> dict[str, Any]:
    """What the row of a rollback holds beside: what it takes back, and what base alone would forget.

    An operation of the migration is taken back when nothing waits that concerns what it was about, and nothing of it was
    `skipped`. What the migration had removed was described by the models once, and its removal waits again.
    """
    numbers = {o.number for o in went}
    waiting = [*(o.difference for o in plan.operations if o.number not in numbers), *skipped]
    done = [one for one in done_by(ask.entry.evidence) if one.number in ask.numbers]
    undone_ = [one for one in done if not any(_concerns(d, one, done) for d in waiting)]
    removed = [one.identity for one in undone_ if parts_of(one.identity).change == REMOVE]
    for one in later:
        removed = [identity_moved(identity, one.renames) for identity in removed]
    back = [rename_of(o.difference) for o in went if o.difference.change == RENAME]

    def by_now(identity: str) -> str:
        """What goes by its former name again is noted under that."""
        return identity_moved(identity, back)

    return {
        "undoes": {"migration": ask.migration, "operations": sorted(one.number for one in undone_)},
        "waiting": sorted(map(by_now, {*map(str, previous.get("waiting", ())), *removed})),
        "moved": {by_now(one): note for one, note in previous.get("moved", {}).items()},
        "accepted": {by_now(one): note for one, note in previous.get("accepted", {}).items()},
    }


def _concerns(d: Difference, one: Done, done: Sequence[Done]) -> bool:
    """True where what waits is about the same thing as an operation; rather once too often."""
    place, beside = parts_of(one.identity), [(parts_of(other.identity), folded(other.old)) for other in done]
    # Where names are taken back too, the way back goes by the former ones.
    former = {other.table: old for other, old in beside if other.object == "table" and old}
    if d.table not in {place.table, former.get(place.table)}:
        return False
    name = folded(d.name)
    if "table" in {place.object, d.object} or name in {place.name, folded(one.old)}:
        return True
    return name not in {
        word for other, old in beside if other.table == place.table for word in (other.name, old)
    }
