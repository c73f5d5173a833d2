"""What of a plan goes ahead, what waits for a person or for the rows, and the history's row that tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from driftengine import accepted, history, journal
from driftengine.changes import REBUILD
from driftengine.errors import PlanError
from driftengine.operations import closed, left_held
from driftengine.packed import Base, pack
from driftengine.renames import concerned
from driftengine.risk import DESTRUCTIVE
from driftengine.stage import judged
from driftengine.survival import survives
from driftengine.taken_back import done_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from driftengine.approvals import Approval
    from driftengine.dialects.base import Database, Dialect
    from driftengine.operations import Operation, Plan
    from driftengine.rehearse import Blocked
    from driftengine.schema import Schema
    from driftengine.stage import Stage
    from driftengine.survey import Survey

UP_TO_DATE, MIGRATED, HELD, BLOCKED, DEFERRED = "up_to_date", "migrated", "held", "blocked", "deferred"
GROWTH = 2  # a service goes on writing while an approval waits for its window


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a plan goes ahead. `settled` is the outcome when nothing is to be done about it now.

    `evidence` is what each guard found, by its query; `approved` are the numbers that a person approved; `in_use` those
    of what is held only because others run on this schema.
    """

    plan: Plan
    operations: tuple[Operation, ...] = ()
    held: tuple[Operation, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    evidence: Mapping[str, int] = field(default_factory=dict)
    approved: frozenset[int] = frozenset()
    in_use: frozenset[int] = frozenset()
    settled: str | None = None

    @property
    def waiting(self) -> tuple[Operation, ...]:
        """What does not go ahead, for whatever reason."""
        return (*self.held, *(one.operation for one in self.blocked))

    def without(self, stage: Stage) -> Choice:
        """The choice less what the rehearsal set aside."""
        rehearsal = stage.rehearsal
        stranded = _stranded(self.operations, rehearsal.chosen, rehearsal.blocked)
        return replace(
            self,
            operations=rehearsal.chosen,
            held=tuple(o for o in (*self.held, *stranded) if o.number not in rehearsal.along),
            blocked=(*self.blocked, *rehearsal.blocked),
            settled=None if rehearsal.chosen else BLOCKED,
        )


def approved_by(found: Survey, words: Sequence[str]) -> frozenset[int]:
    """The numbers of the operations that the words approve, also by the ids of the last answer. Raises PlanError."""
    return found.plan.approved(words, _left_held(found))


def require_values(plan: Plan, ids: Sequence[str]) -> None:
    """Raises PlanError (`value-needed`) for a column that has no value for old rows: there would still be none."""
    for one in plan.operations:
        if one.judgement.code == "value-needed" and plan.operation_id(one.number) in ids:
            name = f"{plan.names.get(one.difference.table, one.difference.table)}.{one.difference.name}"
            raise PlanError(
                f"{name} cannot be approved: it has no value for old rows",
                code="value-needed",
                why=one.judgement.reason,
                fix=f'give it one: a server default, or "{name}" = "SQL expression" under [targets.NAME.backfill]',
            )


def outgrown(
    dialect: Dialect, database: Database, found: Survey, given: Mapping[str, Approval]
) -> dict[str, str]:
    """What of a plan's approvals no longer counts, by an operation's id, each with a sentence for people.

    These are destructive operations that concern far more rows now than when they were approved: whoever agreed to lose
    ten rows has not agreed to lose thousands, nor to lose any where there was none. Raises DatabaseError.
    """
    grown: dict[str, str] = {}
    for one in found.plan.operations:
        name = found.plan.operation_id(one.number)
        approval, held = given.get(name), one.judgement.hold and one.judgement.risk == DESTRUCTIVE
        query = _rows(dialect, one, found) if held and approval is not None else None
        if query is None or approval is None or approval.count is None or database.reader() is None:
            continue
        count = database.offending(query).count
        if count > GROWTH * approval.count:
            what = f"{one.judgement.kind.replace('_', ' ')} {one.difference.name}"
            rows = f"it concerns {count} rows now, and {approval.count} when {approval.by} approved it"
            grown[name] = f"the approval of {name} ({what}) no longer counts: {rows}"
    return grown


def _rows(dialect: Dialect, one: Operation, found: Survey) -> str | None:
    if one.rows is not None:
        return dialect.as_it_is(one.rows, found.actual, found.drift.renames)
    return concerned(dialect, one.difference, found.actual, found.drift.renames)


def choose(
    dialect: Dialect,
    database: Database,
    found: Survey,
    words: Sequence[str],
    *,
    in_use: bool = False,
    asked: Sequence[str] = (),
    only: Sequence[str] | None = None,
) -> Choice:
    """Asks the guards what may go ahead now; `words` are approvals, ids or codes. Raises PlanError, DatabaseError.

    `in_use`: others run on this schema, so what their code would not survive waits, unless it is approved among the words
    that were `asked` for now: whoever agreed to a loss before did not know who would run when it is applied. `only` are
    the ids or codes of what is to go ahead at all; None: everything that may.
    """
    plan = found.plan
    if not plan.operations:
        return Choice(plan, settled=UP_TO_DATE)
    approved = approved_by(found, words)
    now = approved_by(found, asked)
    require_values(plan, [plan.operation_id(number) for number in now])
    meant = frozenset(o.number for o in plan.operations) if only is None else approved_by(found, only)
    runnable = plan.runnable(approved)
    together = closed(runnable, meant & {o.number for o in runnable})
    runnable = tuple(o for o in runnable if o.number in together)
    breaking = not_survived(runnable, now, found.actual) if in_use else frozenset[int]()
    if breaking:
        left = closed(runnable, {o.number for o in runnable} - breaking)
        going = _lightened(dialect, found, [o for o in runnable if o.number in left])
    else:
        going = runnable
    kept, blocked, evidence = judged(database, going, approved)
    told = {o.number for o in kept} | {one.operation.number for one in blocked}
    held = tuple(o for o in plan.operations if o.number in meant - told)
    settled = None if kept else BLOCKED if blocked else DEFERRED if breaking else HELD
    return Choice(plan, kept, held, blocked, evidence, approved, breaking, settled)


def _lightened(dialect: Dialect, found: Survey, operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Done in the table as it is what was to go into a copy of it, where nothing that goes ahead needs the copy.

    Others run: a copy would keep them from writing for as long as it takes.
    """
    standing = dialect.renamed(found.actual, found.drift.renames)
    own = {o.number: dialect.strategy(o.difference, standing, o.change.backfill) for o in operations}
    copied = {o.difference.table for o in operations if own[o.number] == REBUILD}
    return tuple(
        o if o.difference.table in copied else replace(o, change=replace(o.change, strategy=own[o.number]))
        for o in operations
    )


def not_survived(operations: Sequence[Operation], approved: frozenset[int], actual: Schema) -> frozenset[int]:
    """The numbers of the operations that code which runs now would not survive, less those that a person lets go ahead."""
    return frozenset(o.number for o in operations if o.number not in approved and not survives(o, actual))


def _stranded(
    before: Sequence[Operation], after: Sequence[Operation], blocked: Sequence[Blocked]
) -> tuple[Operation, ...]:
    """What goes ahead no longer because it needs something that is blocked."""
    told = {o.number for o in after} | {one.operation.number for one in blocked}
    return tuple(o for o in before if o.number not in told)


def _left_held(found: Survey) -> dict[str, tuple[str, ...]]:
    """What the last migration left held, by the ids under which its answer showed it."""
    entry = next((entry for entry in reversed(found.entries) if entry.plan is not None), None)
    if entry is None or entry.plan is None:
        return {}
    evidence = entry.evidence
    return left_held(entry.plan, {*evidence.get("held", ()), *map(int, evidence.get("blocked", ()))})


# --- the history's row


def remembered(found: Survey, waiting: Sequence[Operation]) -> dict[str, Any]:
    """What base alone would forget of what is left as it is: that the models had it once, who moved, what is accepted."""
    return accepted.remembered((o.difference for o in waiting), found.drift)


def begun_entry(found: Survey, moment: datetime, versions: Mapping[str, str]) -> history.Entry:
    """The history's row as far as it is known before the rehearsal; it gives the migration its id."""
    return history.Entry(
        found.kind,
        journal.timestamp(moment),
        database_id_of(found),
        history.new_migration_id(moment),
        plan=found.plan.as_document(),
        versions=versions,
    )


def database_id_of(found: Survey) -> str:
    """The id that the history gives to the database; a new one before its first row."""
    return found.entries[-1].database_id if found.entries else history.new_database_id()


def finished_entry(
    found: Survey,
    choice: Choice,
    stage: Stage,
    *,
    at: datetime,
    allowed_by: str,
    durations: Mapping[str, Any],
    keeps_backup: bool,
    window: Mapping[str, str] | None = None,
) -> history.Entry:
    """The history's row: what was done, by whose leave, on what evidence, and how it is undone.

    `window` is more evidence where it was done in one: its id, by which a starter is answered though the one who
    migrated has died, and how good the stage was.
    """
    outcome = stage.rehearsal.outcome
    backup = stage.backup if keeps_backup else None
    went = {o.number for o in choice.operations}
    left = [o for o in choice.plan.operations if o.number not in went]
    return replace(
        stage.entry,
        at=journal.timestamp(at),
        allowed_by=allowed_by,
        evidence={
            "guards": dict(choice.evidence),
            "applied": [o.number for o in choice.operations],
            "approved": sorted(choice.approved),
            "held": [o.number for o in choice.held],
            "blocked": {str(one.operation.number): one.reason for one in choice.blocked},
            **remembered(found, left),
            "done": done_document((o.number, o.difference) for o in choice.operations),
            "fills": {
                o.difference.identity: fill.expression
                for o in choice.operations
                if (fill := o.change.backfill) is not None and not fill.callable
            },
            "lost": [o.number for o in choice.operations if o.loses],
            "rows_written": outcome.changes,
            "statements": list(stage.rehearsal.script.statements()),
            **(window or {}),
            **(found.more(choice.operations) if found.more is not None else {}),
        },
        durations={**stage.durations, **durations},
        undo={"before": pack(Base(found.actual.stored, ()))},
        backup=None
        if backup is None
        else {"id": backup.id, "path": str(backup.path), "sha256": backup.sha256},
        base=Base(outcome.expected, found.desired.stored),
    )
