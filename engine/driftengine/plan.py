"""From differences to a plan: ordered operations, each with its risk, its SQL, its guard and its undo. Pure.

A plan's id is a hash of its content and of what it starts from: the same input gives the same id, on any machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from driftengine.changes import ADD, REBUILD, REMOVE, Backfill, Change, Questions
from driftengine.errors import RehearsalError
from driftengine.operations import Operation, Plan, in_copy
from driftengine.risk import DESTRUCTIVE, GUARDED, MANUAL, Judgement, is_ignored, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from driftengine.changes import Difference, Facts, Script
    from driftengine.dialects.base import Dialect
    from driftengine.diff import Drift
    from driftengine.schema import Schema

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
    renames: Mapping[tuple[str, str], str] | None = None,
) -> Plan:
    """The plan for a drift.

    `backfills` goes by (table, column) key and holds the best value that is known for each; `max_calls` bounds those
    that call the models. `renames` goes from the (table, column) keys of what the models say was renamed ("" for a table
    itself) to the name that the database still has.
    """
    policy = {key.lower(): rule for key, rule in (policy or {}).items()}
    operations: list[Operation] = []
    for d in sorted(drift.differences, key=_position):
        backfill = needed_backfill(d, facts, backfills or {})
        judgement = judge(d, facts, backfill, relaxes=dialect.relaxes(d), policy=policy, max_calls=max_calls)
        judgement = _without_parent_key(dialect, judgement, d, desired)
        judgement = _waiting_for_rename(judgement, d, renames or {})
        judgement = _with_company(dialect, judgement, d, actual)
        if is_ignored(judgement, d, policy):
            continue
        change = Change(len(operations) + 1, d, dialect.strategy(d, actual, backfill), backfill)
        guard = (
            dialect.guard(d, desired, actual, backfill) if judgement.risk in {GUARDED, DESTRUCTIVE} else None
        )
        guard = None if judgement.code == "drop-column" else guard
        operations.append(Operation(change.number, change, judgement, guard=guard))
    operations = [replace(o, needs=_needs(o, operations, actual)) for o in operations]
    operations = _with_a_column_left(operations, actual)
    operations = _with_waiting(operations)
    operations = _with_strategies(operations)
    operations = _with_expressible(dialect, desired, actual, operations)
    operations = _with_sql(dialect, desired, actual, operations)
    names = {key: table.name for schema in (desired, actual) for key, table in schema.tables.items()}
    return _identified(Plan(tuple(operations), names=names), actual)


def _position(d: Difference) -> tuple[int, str, int]:
    """New tables first, then each table's changes together, then indexes, views, triggers; drops of tables last."""
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


def _waiting_for_rename(
    judgement: Judgement, d: Difference, renames: Mapping[tuple[str, str], str]
) -> Judgement:
    """What the models call by a new name is not made anew, empty, beside the data that stands under the old one."""
    if d.change != ADD or d.object not in {"table", "column"}:
        return judgement
    old = renames.get((d.table, d.desired.key if d.object == "column" else ""))
    if old is None:
        return judgement
    statement = (
        f"ALTER TABLE {_quoted(d.table)} RENAME COLUMN {_quoted(old)} TO {_quoted(d.name)}"
        if d.object == "column"
        else f"ALTER TABLE {_quoted(old)} RENAME TO {_quoted(d.name)}"
    )
    reason = f"the models say that it is {old} by a new name; rename it by {statement}, then look again"
    return replace(judgement, code="rename-waits", reason=f"{reason}; approved, it is made anew", hold=True)


def _quoted(name: str) -> str:
    """An identifier as every dialect of SQL reads it: a person pastes it, and it may be a keyword."""
    return '"' + name.replace('"', '""') + '"'


def _needs(operation: Operation, operations: Iterable[Operation], actual: Schema) -> frozenset[int]:
    """An operation needs those that make the tables and the columns which it reads.

    A column of the type ANY needs its table to be STRICT: elsewhere ANY is a type that makes numbers of texts.
    """
    d = operation.difference
    tables, columns = _reads(d)
    needed = set()
    for other in operations:
        made = other.difference
        if other.number == operation.number:
            continue
        if d.object == "column" and (made.aspect, made.table) == ("strict", d.table) and _is_any(d):
            needed.add(other.number)
        if made.object == "table" and made.change == ADD and made.desired.key in tables:
            needed.add(other.number)
        if any(place in columns or _mentions(d, *place) for place in _made_columns(made, actual)):
            needed.add(other.number)
        if _refers_to(d, made):
            needed.add(other.number)
    return frozenset(needed)


def _refers_to(d: Difference, made: Difference) -> bool:
    """True where the first brings a foreign key, and the second the key in its parent that it needs.

    Without that key SQLite refuses each DELETE and UPDATE on the parent, also by programs that never heard of the child:
    https://www.sqlite.org/foreignkeys.html#fk_indexes.
    """
    if d.object == "table" and d.change == ADD:
        keys = d.desired.foreign_keys
    else:
        keys = (d.desired,) if d.object == "foreign_key" and d.desired is not None else ()
    unique = made.object in {"primary_key", "unique"} or (made.object == "index" and made.desired is not None)
    if not keys or made.desired is None or not unique:
        return False
    if made.object == "index":
        if not made.desired.unique or made.desired.where is not None:
            return False
        columns = {part.effect for part in made.desired.parts}
    else:
        columns = set(made.desired.columns)
    return any(key.parent == made.table and set(key.parent_columns) == columns for key in keys)


def _made_columns(d: Difference, actual: Schema) -> set[tuple[str, str]]:
    """The columns that are there once this is done; a new alias of the rowid comes with its key."""
    if d.object == "column" and d.change == ADD:
        return {(d.table, d.desired.key)}
    if d.object == "primary_key" and d.desired is not None and d.desired.rowid_alias:
        return {(d.table, key) for key in d.desired.columns if actual.tables[d.table].column(key) is None}
    return set()


def _mentions(d: Difference, table: str, column: str) -> bool:
    """True where an index or a computed column names the column in an expression; rather once too often.

    In SQLite a quoted name that is no column is a string: such an expression would go ahead, and mean something else.
    """
    texts: list[str] = []
    if d.table == table and d.object == "index" and d.desired is not None:
        texts = [part.effect for part in d.desired.parts if part.is_expression]
        texts += [d.desired.where.effect] if d.desired.where else []
    elif d.table == table and d.object == "column" and d.desired is not None and d.desired.generated:
        texts = [d.desired.generated.expression.effect]
    return any(re.search(rf"(?<!\w){re.escape(column)}(?!\w)", text) for text in texts)


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


def _is_any(d: Difference) -> bool:
    return d.desired is not None and d.desired.affinity == "ANY" and (d.change == ADD or d.aspect == "type")


def _reads(d: Difference) -> tuple[set[str], set[tuple[str, str]]]:
    if d.desired is None or d.object in {"view", "table", "virtual_table", "option"}:
        return set(), set()
    tables = {d.table}
    names: set[str] = set()
    if d.object in {"index", "primary_key"}:
        names = {part.effect for part in d.desired.parts if not part.is_expression}
    elif d.object in {"unique", "check", "foreign_key"}:
        names = set(d.desired.columns)
    columns = {(d.table, name) for name in names}
    if d.object == "foreign_key":
        tables.add(d.desired.parent)
        columns |= {(d.desired.parent, name) for name in d.desired.parent_columns}
    return tables, columns


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
    for table in dict.fromkeys(o.difference.table for o in operations):
        together = [o for o in _going(operations) if o.difference.table == table]
        failing |= _inexpressible(dialect, desired, actual, together)
        for one in operations:
            if one.difference.table == table and one not in together and one.judgement.risk != MANUAL:
                failing |= _inexpressible(dialect, desired, actual, [one])
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
    dialect: Dialect, desired: Schema, actual: Schema, operations: Sequence[Operation]
) -> dict[int, str]:
    try:
        dialect.script(desired, actual, [o.change for o in operations])
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
            needed = [o.change for o in operations if o.number in operation.needs]
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
    return replace(plan, id=hashlib.sha256(text.encode()).hexdigest()[:12])
