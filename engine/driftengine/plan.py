"""From differences to a plan: ordered operations, each with its risk, its SQL, its guard and its undo. Pure.

A plan's id is a hash of its content and of what it starts from: the same input gives the same id, on any machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from driftengine.changes import ADD, REBUILD, REMOVE, RENAME, Backfill, Change, Questions, rename_of
from driftengine.effect import digest_of
from driftengine.errors import RehearsalError
from driftengine.needs import Near, goes_with, needs_of
from driftengine.operations import Operation, Plan, all_needed, in_copy
from driftengine.risk import (
    DESTRUCTIVE,
    GUARDED,
    MANUAL,
    Judgement,
    beside_rename,
    drop_suspected,
    is_ignored,
    judge,
    suspected,
    taken_back_before,
    under_policy,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from driftengine.changes import Difference, Facts, Rename, Script
    from driftengine.dialects.base import Dialect
    from driftengine.diff import Drift
    from driftengine.schema import Schema
    from driftengine.suspicion import Suspicion

_ORDER = (
    "table",
    "virtual_table",
    "primary_key",
    "option",
    "column",
    "check",
    "unique",
    "foreign_key",
    "index",
    "view",
    "trigger",
)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is settled about a difference before a plan is made of it: by whoever takes operations back.

    `guard` takes the place of the dialect's own, `rows` is a query for the rows to show where the operation is held,
    over the schema after the renames.
    """

    judgement: Judgement
    backfill: Backfill | None = None
    guard: str | None = None
    rows: str | None = None


def questions(drift: Drift) -> Questions:
    """What must be known of the rows before a plan can be made."""
    tables: set[str] = set()
    columns: set[tuple[str, str]] = set()
    for d in drift.differences:
        if d.object in {"primary_key", "option"} or (
            d.object == "column" and d.change == ADD and d.desired.not_null
        ):
            tables.add(d.table)
        if d.object == "column" and d.aspect == "not_null" and d.desired.not_null and not d.actual.not_null:
            columns.add((d.table, d.actual.key))
            tables.add(d.table)
    return Questions(frozenset(tables), frozenset(columns))


def make_plan(
    dialect: Dialect,
    drift: Drift,
    desired: Schema,
    actual: Schema,
    facts: Facts,
    *,
    backfills: Mapping[tuple[str, str], Backfill] | None = None,
    policy: Mapping[str, str] | None = None,
    max_calls: int | None = None,
    suspicions: Mapping[str, Suspicion] | None = None,
    notes: Mapping[str, str] | None = None,
    rulings: Mapping[str, Ruling] | None = None,
    taken_back: Mapping[tuple[str, str], str] | None = None,
) -> Plan:
    """The plan for a drift.

    `backfills` goes by (table, column) key and holds the best value that is known for each; `max_calls` bounds those
    that call the models. `rulings`, `suspicions` (what could be a rename) and `notes` (sentences more) go by a
    difference's identity; `taken_back` says what was rolled back, by identity and digest of what was wanted, each with a
    sentence: it waits for a person. Raises RehearsalError where the database refuses a rename of the drift.
    """
    standing = dialect.renamed(actual, drift.renames)
    suspicions = suspicions or {}
    suspects = frozenset[str]().union(*(one.removed for one in suspicions.values()))
    policy = {key.lower(): rule for key, rule in (policy or {}).items()}
    operations: list[Operation] = []
    ignored: list[Difference] = []
    for d in sorted(drift.differences, key=_position):
        backfill = needed_backfill(d, facts, backfills or {})
        judgement = judge(d, facts, backfill, relaxes=dialect.relaxes(d), max_calls=max_calls)
        judgement = _without_parent_key(dialect, judgement, d, desired)
        judgement = _renaming(dialect, judgement, d, actual, drift.renames)
        judgement = _with_company(dialect, judgement, d, standing)
        judgement = suspected(judgement, suspicions[d.identity].reason if d.identity in suspicions else None)
        judgement = drop_suspected(judgement) if d.identity in suspects else judgement
        judgement = _with_note(judgement, (notes or {}).get(d.identity))
        judgement = taken_back_before(judgement, (taken_back or {}).get((d.identity, digest_of(d.desired))))
        judgement = under_policy(judgement, d, policy)
        # Who ignores a rename has said so before: there is no such difference then.
        if is_ignored(judgement, d, policy) and d.change != RENAME:
            ignored.append(d)
            continue
        change = Change(len(operations) + 1, d, dialect.strategy(d, standing, backfill), backfill)
        judged = judgement.risk in {GUARDED, DESTRUCTIVE} and judgement.kind != "drop_column"
        guard = dialect.guard(d, desired, standing, backfill) if judged else None
        guard = None if guard is None else dialect.as_it_is(guard, actual, drift.renames)
        rows = _rows_at_stake(dialect, drift, suspicions.get(d.identity), standing)
        operations.append(Operation(change.number, change, judgement, guard=guard, rows=rows))
    operations = [
        _ruled(dialect, o, (rulings or {}).get(o.difference.identity), standing) for o in operations
    ]
    left_out = [d for d in (*drift.accepted, *drift.ignored, *ignored) if d.change == ADD]
    operations = [_without_left_out(o, left_out, standing) for o in operations]
    near = Near(operations)
    operations = [_with_needs(o, near.to(o), standing) for o in operations]
    operations = _with_a_column_left(operations, standing)
    operations = _with_waiting(operations)
    operations = _with_strategies(operations)
    operations = _with_expressible(dialect, desired, actual, operations)
    operations = _with_sql(dialect, desired, actual, operations)
    names = {
        key: table.name for schema in (desired, actual, standing) for key, table in schema.tables.items()
    }
    return _identified(Plan(tuple(operations), names=names, ignored=tuple(ignored)), actual)


def _rows_at_stake(
    dialect: Dialect, drift: Drift, suspicion: Suspicion | None, standing: Schema
) -> str | None:
    """The query for what stands under the name that something may have had; None where that is told otherwise."""
    if suspicion is None:
        return None
    gone = [d for d in drift.differences if d.identity in suspicion.removed]
    gone += [suspicion.stays] if suspicion.stays is not None else []
    return next((query for d in gone if (query := dialect.concerned(d, standing))), None)


def _ruled(dialect: Dialect, operation: Operation, ruling: Ruling | None, actual: Schema) -> Operation:
    if ruling is None:
        return operation
    d, backfill = operation.difference, ruling.backfill
    change = replace(operation.change, strategy=dialect.strategy(d, actual, backfill), backfill=backfill)
    return replace(operation, change=change, judgement=ruling.judgement, guard=ruling.guard, rows=ruling.rows)


def _without_left_out(operation: Operation, left_out: Sequence[Difference], standing: Schema) -> Operation:
    """What reads a column that nobody is going to make cannot be done.

    SQLite would take an index over a quoted name that is no column for one over a string.
    """
    columns = [d for d in left_out if d.object == "column"]
    made = [Operation(-n, Change(-n, d), operation.judgement) for n, d in enumerate(columns, 1)]
    needed = needs_of(operation, made, standing)
    if not needed:
        return operation
    names = ", ".join(columns[-number - 1].name for number in sorted(needed, reverse=True))
    reason = f"it reads the column {names}, which is missing and left out: it was adopted so, or is ignored"
    judgement = Judgement(operation.judgement.kind, MANUAL, "left-out-needed", reason, hold=True)
    return replace(operation, judgement=judgement)


def _position(d: Difference) -> tuple[int, str, int]:
    """Renames first, then new tables, then each table's changes together, then indexes, views, triggers; drops of tables last."""
    if d.change == RENAME:
        return -1, "", 0
    if d.object in {"table", "virtual_table"}:
        return (0 if d.change == ADD else 5), "", 0
    place = _ORDER.index(d.object)
    if d.object in {"index", "view", "trigger"}:
        return {"index": 2, "view": 3, "trigger": 4}[d.object], d.table, place
    return 1, d.table, place


def needed_backfill(
    d: Difference, facts: Facts, backfills: Mapping[tuple[str, str], Backfill]
) -> Backfill | None:
    """The value for old rows, where the difference needs one (or a person gave one) and one is known."""
    if d.object != "column" or d.desired is None or d.desired.generated is not None:
        return None
    given = backfills.get((d.table, d.desired.key))
    if d.change == ADD:
        if d.desired.default is not None or given is None:
            return None
        wanted = d.desired.not_null and facts.rows.get(d.table, 0) > 0
        return given if wanted or given.source == "given" else None
    if d.aspect != "not_null" or (d.table, d.actual.key) not in facts.nulls:
        return None
    if d.desired.default is not None:
        return Backfill(f"({d.desired.default.sql})", "server default")
    return given


def _without_parent_key(dialect: Dialect, judgement: Judgement, d: Difference, desired: Schema) -> Judgement:
    if d.object != "foreign_key" or d.desired is None or dialect.keeps_parent_key(d, desired):
        return judgement
    reason = (
        f"{d.desired.parent_name} has no primary key or unique constraint over the columns that it refers to"
    )
    return Judgement(judgement.kind, MANUAL, "no-parent-key", reason, hold=True)


def _with_company(dialect: Dialect, judgement: Judgement, d: Difference, actual: Schema) -> Judgement:
    """A person who approves the drop of a column is told what goes with it."""
    if d.object != "column" or d.change != REMOVE:
        return judgement
    names = dialect.goes_with(d, actual)
    if not names:
        return judgement
    return replace(judgement, reason=f"{judgement.reason}; with it goes the index {', '.join(names)}")


def _renaming(
    dialect: Dialect, judgement: Judgement, d: Difference, actual: Schema, renames: Sequence[Rename]
) -> Judgement:
    """What follows from a rename, beside what SQL says of it."""
    if d.change != RENAME or judgement.risk == MANUAL:
        return judgement
    one = rename_of(d)
    table = dialect.renamed(actual, renames).tables[one.table]
    if table.problem:
        return Judgement(judgement.kind, MANUAL, "unreadable-table", table.problem, hold=True)
    return beside_rename(judgement, *dialect.beside_rename(one, actual, renames))


def _with_note(judgement: Judgement, note: str | None) -> Judgement:
    return judgement if note is None else replace(judgement, reason=f"{judgement.reason}; {note}")


def _with_needs(operation: Operation, operations: Sequence[Operation], actual: Schema) -> Operation:
    """With what it needs; who approves the drop of a column is told what has to be approved with it."""
    with_it = [o for o in operations if goes_with(operation.difference, o.difference) and o is not operation]
    told = ", ".join(f"{o.judgement.kind} {o.difference.name}" for o in with_it)
    judgement = _with_note(operation.judgement, f"it goes only together with {told}" if told else None)
    return replace(operation, needs=needs_of(operation, operations, actual), judgement=judgement)


def _with_a_column_left(operations: Sequence[Operation], actual: Schema) -> list[Operation]:
    """Where every column of a table goes, each of them needs what comes in their place: no table is without columns."""
    gone: dict[str, set[int]] = {}
    come: dict[str, set[int]] = {}
    for o in operations:
        d = o.difference
        if d.object == "column" and d.change == REMOVE:
            gone.setdefault(d.table, set()).add(o.number)
        elif d.object == "primary_key" or (d.object == "column" and d.change == ADD):
            come.setdefault(d.table, set()).add(o.number)
    extra = {
        number: frozenset(come.get(table, ()))
        for table, numbers in gone.items()
        if len(numbers) == len(actual.tables[table].columns)
        for number in numbers
    }
    return [replace(o, needs=o.needs | extra.get(o.number, frozenset())) for o in operations]


def _with_waiting(operations: Sequence[Operation]) -> list[Operation]:
    going = {o.number for o in _going(operations)}
    return [
        replace(o, waits_for=frozenset(o.needs - going))
        if o.number not in going and not o.judgement.hold
        else o
        for o in operations
    ]


def _with_strategies(operations: Sequence[Operation]) -> list[Operation]:
    """What goes ahead in a table that is copied anyway is done in the same copy."""
    going = _going(operations)
    numbers = {o.number for o in going}
    copied = {o.difference.table for o in going if o.change.strategy == REBUILD}
    return [
        replace(o, change=replace(o.change, strategy=REBUILD))
        if o.number in numbers and o.difference.table in copied and in_copy(o)
        else o
        for o in operations
    ]


def _going(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    return Plan(tuple(operations)).runnable()


def _with_expressible(
    dialect: Dialect, desired: Schema, actual: Schema, operations: list[Operation]
) -> list[Operation]:
    """What no statement can be written for is reported and left to a person; the rest of the plan goes on."""
    failing: dict[int, str] = {}
    # The renames have been tried before, all together; everything else is written for what they leave.
    renaming = [o for o in operations if o.difference.change == RENAME]
    first = [o.change for o in renaming if o.judgement.risk != MANUAL]
    rest = [o for o in operations if o not in renaming]
    going = {o.number for o in _going(operations)}
    by_table: dict[str, list[Operation]] = {}
    for one in rest:
        by_table.setdefault(one.difference.table, []).append(one)
    for of_table in by_table.values():
        together = [o for o in of_table if o.number in going]
        failing |= _inexpressible(dialect, desired, actual, together, first)
        for one in of_table:
            if one.number not in going and one.judgement.risk != MANUAL:
                failing |= _inexpressible(dialect, desired, actual, [one], first)
    if not failing:
        return operations
    marked = [
        replace(
            o, judgement=replace(o.judgement, risk=MANUAL, code="unreadable-table", reason=why, hold=True)
        )
        if (why := failing.get(o.number))
        else o
        for o in operations
    ]
    return _with_strategies(_with_waiting(marked))


def _inexpressible(
    dialect: Dialect,
    desired: Schema,
    actual: Schema,
    operations: Sequence[Operation],
    first: Sequence[Change],
) -> dict[int, str]:
    try:
        dialect.script(desired, actual, [*first, *(o.change for o in operations)])
    except RehearsalError as error:
        return {o.number: str(error) for o in operations}
    return {}


def _with_sql(
    dialect: Dialect, desired: Schema, actual: Schema, operations: Sequence[Operation]
) -> list[Operation]:
    """The statements of each operation: of what goes ahead, all together; of what is held, each as if it were alone."""
    going = _going(operations)
    shared = dialect.script(desired, actual, [o.change for o in going])
    texts = statements_by_operation(shared)
    numbers = {o.number for o in going}
    out = []
    for operation in operations:
        if operation.number in numbers:
            out.append(replace(operation, sql=texts.get(operation.number, ())))
        elif operation.judgement.risk == MANUAL or operation.judgement.code == "value-needed":
            out.append(operation)
        else:
            numbers_needed = all_needed(operations, operation)
            needed = [o.change for o in operations if o.number in numbers_needed]
            out.append(replace(operation, sql=_alone(dialect, desired, actual, [*needed, operation.change])))
    return out


def _alone(dialect: Dialect, desired: Schema, actual: Schema, changes: Sequence[Change]) -> tuple[str, ...]:
    """The statements of the last change, with those that it needs; none where they cannot be written together."""
    try:
        script = dialect.script(desired, actual, changes)
    except RehearsalError:
        return ()
    return statements_by_operation(script).get(changes[-1].number, ())


def statements_by_operation(script: Script) -> dict[int, tuple[str, ...]]:
    """The statements by operation; one that serves several stands with the first of them."""
    found: dict[int, tuple[str, ...]] = {}
    for step in script.steps:
        if step.operations:
            number = min(step.operations)
            found[number] = (*found.get(number, ()), step.text())
    return found


def _identified(plan: Plan, actual: Schema) -> Plan:
    """Content without ids, and the stored objects that it starts from, hashed.

    Reasons are left out: they tell of the rows, and a plan is the same plan when a row has come.
    """
    documents = [operation.as_document("", plan.names) for operation in plan.operations]
    content = [{key: value for key, value in one.items() if key != "reason"} for one in documents]
    # By their table: the index that SQLite makes for our own table has a name of its own.
    start = [(row.type, row.name, row.sql) for row in actual.stored if not row.table.startswith("driftd_")]
    text = json.dumps([content, start], sort_keys=True, ensure_ascii=False)
    return replace(plan, id=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12])
