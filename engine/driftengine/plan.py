"""From differences to a plan: ordered operations, each with its risk, its SQL, its guard and its undo. Pure.

A plan's id is a hash of its content and of what it starts from: the same input gives the same id, on any machine.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from driftengine.changes import ADD, CATALOG, MODELS, NATIVE, REBUILD, REMOVE, Backfill, Change, Questions
from driftengine.errors import PlanError
from driftengine.risk import DESTRUCTIVE, GUARDED, MANUAL, SAFE, Judgement, is_ignored, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from driftengine.changes import Difference, Facts, Script
    from driftengine.dialects.base import Dialect
    from driftengine.diff import Drift
    from driftengine.schema import Schema

_RISKS = (SAFE, GUARDED, DESTRUCTIVE, MANUAL)
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
class Operation:
    """One step of a plan.

    `needs` are the numbers of the operations that it cannot do without; `waits_for` those of them that are held, or wait
    in their turn.
    """

    number: int
    change: Change
    judgement: Judgement
    sql: tuple[str, ...] = ()
    guard: str | None = None
    needs: frozenset[int] = frozenset()
    waits_for: frozenset[int] = frozenset()

    @property
    def difference(self) -> Difference:
        """What it resolves."""
        return self.change.difference

    def features(self) -> tuple[str, ...]:
        """What makes it the same operation in another plan: what it is about, and what it would change."""
        d = self.difference
        return self.judgement.kind, d.table.lower(), d.name, d.detail, self.judgement.code

    def as_document(self, plan_id: str, names: Mapping[str, str]) -> dict[str, Any]:
        """As it stands in PLAN."""
        return {
            "id": f"{plan_id}-{self.number}",
            "kind": self.judgement.kind,
            "table": names.get(self.difference.table, self.difference.table) or None,
            "name": self.difference.name,
            "risk": self.judgement.risk,
            "code": self.judgement.code,
            "strategy": self.change.strategy,
            "sql": list(self.sql),
            "guard": self.guard,
            "undo": _undo(self),
            "reason": self.judgement.reason,
            "detail": self.difference.detail,
            "origin": self.difference.origin,
            "held": self.judgement.hold or bool(self.waits_for),
            "waits_for": [f"{plan_id}-{number}" for number in sorted(self.waits_for)],
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """The operations that turn actual into desired.

    `id` is "" only while it is being made. `copies` holds the rows, by key, of the tables that are copied; like all that
    is known of the rows it takes no part in the id.
    """

    operations: tuple[Operation, ...]
    id: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, int] = field(default_factory=dict)

    @property
    def copied_tables(self) -> frozenset[str]:
        """The keys of the tables that are copied: what takes time is the number of their rows."""
        return frozenset(o.difference.table for o in self.operations if o.change.strategy == REBUILD)

    @property
    def risk(self) -> str:
        """The highest risk of its operations."""
        return max((o.judgement.risk for o in self.operations), key=_RISKS.index, default=SAFE)

    def as_document(self) -> dict[str, Any]:
        """PLAN."""
        return {
            "id": self.id,
            "risk": self.risk,
            "operations": [self._document(operation) for operation in self.operations],
        }

    def _document(self, operation: Operation) -> dict[str, Any]:
        rows = self.copies.get(operation.difference.table) if operation.change.strategy == REBUILD else None
        return {**operation.as_document(self.id, self.names), "copies_rows": rows}

    def operation_id(self, number: int) -> str:
        """How people name an operation of this plan."""
        return f"{self.id}-{number}"

    def runnable(self, approved: Iterable[int] = ()) -> tuple[Operation, ...]:
        """The operations that go ahead: not held, or approved, and nothing that they need is left out."""
        approved = set(approved)
        chosen = {
            o.number
            for o in self.operations
            if o.judgement.risk != MANUAL and (not o.judgement.hold or o.number in approved)
        }
        return tuple(o for o in self.operations if o.number in closed(self.operations, chosen))

    def approved(
        self, words: Sequence[str], earlier: Mapping[str, tuple[str, ...]] | None = None
    ) -> frozenset[int]:
        """The numbers of the operations that `--approve` names, by id or by code. Raises PlanError.

        `earlier` holds, by id, the features of what the last migration left held: its ids stay good for those operations
        which this plan still has, unchanged, so that the answer of an apply can be approved as it is shown.
        """
        numbers: set[int] = set()
        for word in words:
            left_held = (earlier or {}).get(word)
            matching = {
                o.number
                for o in self.operations
                if word in {self.operation_id(o.number), o.judgement.code} or o.features() == left_held
            }
            if not matching:
                raise PlanError(
                    f"{word} names no operation of the plan {self.id}",
                    code="approval-unknown",
                    why=self._why_unknown(word),
                    fix="run `driftd plan` and approve the ids that it shows",
                )
            numbers |= matching
        return frozenset(numbers)

    def _why_unknown(self, word: str) -> str:
        plan, _, number = word.rpartition("-")
        if number.isdigit() and plan == self.id:
            return f"the plan has {len(self.operations)} operations"
        if number.isdigit():
            return "an approval is bound to the plan that it was given for, and this plan is another one"
        near = difflib.get_close_matches(word, {o.judgement.code for o in self.operations}, n=1)
        return f"did you mean {near[0]}?" if near else "no operation has that id or code"


def closed(operations: Iterable[Operation], chosen: Iterable[int]) -> frozenset[int]:
    """The largest part of `chosen` in which nothing needs what is left out."""
    needs = {o.number: o.needs for o in operations}
    kept = set(chosen)
    while True:
        stranded = {number for number in kept if not needs[number] <= kept}
        if not stranded:
            return frozenset(kept)
        kept -= stranded


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
        f"ALTER TABLE {d.table} RENAME COLUMN {old} TO {d.name}"
        if d.object == "column"
        else f"ALTER TABLE {old} RENAME TO {d.name}"
    )
    reason = f"the models say that it is {old} by a new name; rename it by {statement}, then look again"
    return replace(judgement, code="rename-waits", reason=f"{reason}; approved, it is made anew", hold=True)


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
    return frozenset(needed)


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


def left_held(document: Mapping[str, Any], numbers: Iterable[int]) -> dict[str, tuple[str, ...]]:
    """By id, the features of the operations with these numbers in a PLAN document."""
    held = set(numbers)
    return {
        str(o["id"]): (
            o["kind"], (o["table"] or "").lower(), o["name"], o["detail"], o["code"]
        )
        for number, o in enumerate(document.get("operations", ()), 1)
        if number in held
    }  # fmt: skip


def waiting_removals(operations: Iterable[Operation]) -> list[str]:
    """The removals that wait for a person although the models once described what is to go.

    Base keeps them: the models describe it no longer, and the next look must still know that they did.
    """
    return sorted(
        o.difference.identity for o in operations if o.difference.change == REMOVE and o.difference.known
    )


def moved_by_hand(operations: Iterable[Operation]) -> dict[str, str]:
    """Who moved, by difference, where it was not the models alone and the operation waits for a person.

    The next base holds what was done by hand; without this it would look as if the models had moved.
    """
    found = {o.difference.identity: o.difference.origin for o in operations}
    return {identity: origin for identity, origin in sorted(found.items()) if origin != MODELS}


def _with_strategies(operations: Sequence[Operation]) -> list[Operation]:
    """What goes ahead in a table that is copied anyway is done in the same copy."""
    copied = {o.difference.table for o in _going(operations) if o.change.strategy == REBUILD}
    return [
        replace(o, change=replace(o.change, strategy=REBUILD))
        if o in _going(operations) and o.difference.table in copied and in_copy(o)
        else o
        for o in operations
    ]


def _going(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    return Plan(tuple(operations)).runnable()


def in_copy(operation: Operation) -> bool:
    """True when a copy of the table would carry the operation out, and ALTER or an edit of the stored DDL do it now."""
    inside = operation.difference.object in {"column", "check", "foreign_key", "primary_key", "option"}
    return inside and operation.change.strategy in {NATIVE, CATALOG}


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
            alone = dialect.script(desired, actual, [*needed, operation.change])
            out.append(replace(operation, sql=statements_by_operation(alone).get(operation.number, ())))
    return out


def statements_by_operation(script: Script) -> dict[int, tuple[str, ...]]:
    """The statements by operation; one that serves several stands with the first of them."""
    found: dict[int, tuple[str, ...]] = {}
    for step in script.steps:
        if step.operations:
            number = min(step.operations)
            found[number] = (*found.get(number, ()), step.text())
    return found


def _identified(plan: Plan, actual: Schema) -> Plan:
    """Content without ids, and the stored objects that it starts from, hashed."""
    content = [operation.as_document("", plan.names) for operation in plan.operations]
    start = [(row.type, row.name, row.sql) for row in actual.stored if not row.name.startswith("driftd_")]
    text = json.dumps([content, start], sort_keys=True, ensure_ascii=False)
    return replace(plan, id=hashlib.sha256(text.encode()).hexdigest()[:12])


def _undo(operation: Operation) -> str:
    """How the operation is undone, in a line."""
    d, kind = operation.difference, operation.judgement.kind
    if d.change == REMOVE and d.object in {"table", "column"}:
        return "create it again; its data comes back from the migration's backup"
    if kind.startswith(("create_", "add_")):
        return f"drop the {d.object.replace('_', ' ')} {d.name} again"
    if operation.judgement.code == "convert-column" or operation.change.backfill is not None:
        return "change it back; the old values come back from the migration's backup"
    if d.change == REMOVE:
        return f"create the {d.object.replace('_', ' ')} {d.name} again"
    return f"change it back ({d.detail.split(' → ')[0]})" if "→" in d.detail else "change it back"
