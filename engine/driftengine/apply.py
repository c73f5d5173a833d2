"""Applying a plan: staged, then carried out in one transaction that is proved before it is committed.

A first try stages without any lock. If somebody commits between the backup and the transaction, a second try stages while
the write lock is held, so that it cannot happen again.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from driftengine import backup as backups
from driftengine import history, journal
from driftengine.backup_files import folder_for, journal_of, make_folder
from driftengine.errors import BusyError, DatabaseError, DriftError, PlanError, ProofError
from driftengine.plan import waiting_removals
from driftengine.stage import Stage, discard, judged, make_stage
from driftengine.survey import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from driftengine.desired import Desired
    from driftengine.dialects.base import Database, Dialect, WriteTransaction
    from driftengine.manifest import Backup
    from driftengine.plan import Operation, Plan
    from driftengine.rehearse import Blocked
    from driftengine.stage import Progress
    from driftengine.survey import Survey
    from driftengine.target import Target

UP_TO_DATE, MIGRATED, HELD, BLOCKED = "up_to_date", "migrated", "held", "blocked"
DEFERRED, FAILED = "deferred", "failed"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: a certain plan or any, approvals by operation id or code, and who asked."""

    plan_id: str | None = None
    approve: tuple[str, ...] = ()
    dry_run: bool = False
    allowed_by: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of it. `operations` were applied; `held` and `blocked` wait for a person or for the rows."""

    outcome: str
    plan: Plan | None = None
    operations: tuple[Operation, ...] = ()
    held: tuple[Operation, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    migration_id: str | None = None
    backup: Backup | None = None
    duration_ms: float = 0.0
    error: DriftError | None = None
    warnings: tuple[str, ...] = ()
    left: Plan | None = None

    def current(self, operation: Operation) -> str:
        """The operation's id in the plan that is left: an approval of it can be typed at once."""
        for plan in (self.left, self.plan):
            for one in plan.operations if plan is not None else ():
                if plan is not None and one.difference.identity == operation.difference.identity:
                    return plan.operation_id(one.number)
        return ""


@dataclass(slots=True)
class Applier:
    """One call of apply, with what all its steps need. `opened` opens the target's database anew for each try."""

    dialect: Dialect
    opened: Callable[[], Database]
    target: Target
    desired: Desired
    request: Request
    progress: Progress | None = None
    _warnings: list[str] = field(default_factory=list)

    def apply(self) -> Applied:
        """Stages and applies. Raises DriftError for what is refused; a lock that nobody frees is `deferred`."""
        started = time.monotonic()
        try:
            applied = self._try_unlocked()
        except BusyError as error:
            applied = Applied(DEFERRED, error=error)
        took = round((time.monotonic() - started) * 1000, 3)
        if applied.outcome == MIGRATED and not self.request.dry_run and (applied.held or applied.blocked):
            with _closing(self.opened()) as database:
                applied = replace(
                    applied, left=survey(self.dialect, database, self.target, self.desired).plan
                )
        return replace(applied, duration_ms=took, warnings=tuple(self._warnings))

    def _try_unlocked(self) -> Applied:
        with _closing(self.opened()) as database:
            found = self._survey(database)
            choice = self._choose(database, found)
            if choice.settled is not None:
                return self._settle(database, found, choice)
            stage = self._stage(database, found, choice)
            if not stage.rehearsal.chosen:
                discard(stage.backup)
                return self._settle(database, found, choice.without(stage))
            try:
                with database.transaction(
                    deadline_at=None, lock_wait=self.target.window_timeout, values=stage.values
                ) as transaction:
                    if transaction.exact(stage.mark):
                        return self._carry_out(database, found, choice, stage, transaction)
                discard(stage.backup)  # somebody committed since the backup began
            except BaseException:
                discard(stage.backup)
                raise
        return self._try_locked()

    def _try_locked(self) -> Applied:
        """Everything under the write lock: what was committed meanwhile is seen, and nothing more can come."""
        with (
            _closing(self.opened()) as database,
            database.transaction(
                deadline_at=None, lock_wait=self.target.window_timeout, values={}
            ) as transaction,
        ):
            found = self._survey(database)
            choice = self._choose(database, found)
            if choice.settled is not None:
                return choice.applied(found)
            stage = self._stage(database, found, choice)
            try:
                if not stage.rehearsal.chosen:
                    discard(stage.backup)
                    return choice.without(stage).applied(found)
                transaction.hand_out(stage.values)
                return self._carry_out(database, found, choice, stage, transaction)
            except BaseException:
                discard(stage.backup)
                raise

    def _survey(self, database: Database) -> Survey:
        found = survey(self.dialect, database, self.target, self.desired)
        wanted = self.request.plan_id
        if wanted is not None and wanted != found.plan.id:
            raise PlanError(
                f"the plan {wanted} no longer fits",
                code="plan-stale",
                why=f"the models or the database have changed since; the plan is now {found.plan.id}"
                if found.plan.operations
                else "there is nothing left to do",
                fix="run `driftd plan` and look at it again",
            )
        return found

    def _choose(self, database: Database, found: Survey) -> _Choice:
        plan = found.plan
        if not plan.operations:
            return _Choice(plan, settled=UP_TO_DATE)
        approved = plan.approved(self.request.approve)
        runnable = plan.runnable(approved)
        kept, blocked, evidence = judged(database, runnable, approved)
        numbers = {o.number for o in runnable}
        held = tuple(o for o in plan.operations if o.number not in numbers)
        if not kept:
            return _Choice(plan, (), held, blocked, evidence, BLOCKED if blocked else HELD)
        if self.request.dry_run:
            return _Choice(plan, kept, held, blocked, evidence, MIGRATED)
        return _Choice(plan, kept, held, blocked, evidence)

    def _settle(self, database: Database, found: Survey, choice: _Choice) -> Applied:
        """Nothing is applied. At the first meeting base is recorded, so that later changes can be told apart."""
        if not found.met and not self.request.dry_run and database.state() == "present":
            self._meet(database, found)
        return choice.applied(found)

    def _meet(self, database: Database, found: Survey) -> None:
        entry = history.Entry(
            "meeting",
            journal.timestamp(datetime.now(UTC)),
            history.new_database_id(),
            allowed_by=self.request.allowed_by,
            evidence={"waiting": waiting_removals(found.plan.operations)},
            versions=dict(found.desired.versions),
            base=history.Base(found.actual.stored, found.desired.stored),
        )
        try:
            with database.transaction(deadline_at=None, lock_wait=1.0, values={}) as transaction:
                history.append(transaction.writer(), entry)
                transaction.commit()
        except DatabaseError as error:
            # In step but read-only, or in use: that is no failure of the check that was asked for.
            self._warnings.append(f"the first meeting could not be recorded: {error}")
        else:
            self._write_journal(database)

    def _stage(self, database: Database, found: Survey, choice: _Choice) -> Stage:
        moment = datetime.now(UTC)
        migration_id = history.new_migration_id(moment)
        database_id = found.entries[-1].database_id if found.entries else history.new_database_id()
        entry = history.Entry(
            "migration",
            journal.timestamp(moment),
            database_id,
            migration_id,
            plan=found.plan.as_document(),
            allowed_by=self.request.allowed_by,
            versions=dict(found.desired.versions),
        )
        return make_stage(
            self.dialect,
            database,
            self.target,
            found,
            choice.operations,
            finish=lambda writer: history.append(writer, entry),
            entry=entry,
            progress=self.progress,
        )

    def _carry_out(
        self,
        database: Database,
        found: Survey,
        choice: _Choice,
        stage: Stage,
        transaction: WriteTransaction,
    ) -> Applied:
        rehearsal = stage.rehearsal
        choice = choice.without(stage)
        written = transaction.run(
            rehearsal.script,
            endless_seconds=dict(enumerate(rehearsal.outcome.durations)),
            progress=None if self.progress is None else lambda done, total: self._told("apply", done, total),
        )
        if written != rehearsal.outcome.changes:
            raise ProofError(
                "the plan wrote another number of rows than in the rehearsal",
                code="proof-rows",
                why=f"{written} instead of {rehearsal.outcome.changes}",
                fix="nothing was changed; try again",
            )
        entry = history.append(transaction.writer(), _entry(found, choice, stage))
        transaction.prove(rehearsal.outcome.expected)
        transaction.commit()
        kept = self._after_commit(database, entry, stage)
        return replace(
            choice.applied(found), outcome=MIGRATED, migration_id=entry.migration_id, backup=kept,
            operations=rehearsal.chosen,
        )  # fmt: skip

    def _told(self, phase: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(phase, done, total)

    def _after_commit(self, database: Database, entry: history.Entry, stage: Stage) -> Backup | None:
        """The migration is done; what fails here is told and changes nothing of that."""
        self._write_journal(database)
        backup, settings = stage.backup, self.target.backup
        if backup is None:
            return None
        try:
            if not settings.before_every_migration:
                discard(backup)
                return None
            backups.prune(
                backup.path.parent,
                keep=settings.keep,
                keep_for=settings.keep_for,
                max_total_size=settings.max_total_size,
                database=database.name,
                database_id=entry.database_id,
                pinned=(backup.id,),
            )
        except (DriftError, OSError) as error:
            self._warnings.append(f"after the migration: {error}")
        return backup

    def _write_journal(self, database: Database) -> None:
        """What the history holds and the journal lacks; a crash right before this is mended by the next call."""
        folder = folder_for(self.target.backup.directory, database.name)
        reader = database.reader()
        if reader is None:
            return
        try:
            make_folder(folder, Path(database.name).stat())
            history.write_journal(journal_of(folder), history.read(reader), database=database.name)
        except (DriftError, OSError) as error:
            self._warnings.append(f"the journal beside the backups could not be written: {error}")


@dataclass(frozen=True, slots=True)
class _Choice:
    """What of a plan goes ahead. `settled` is the outcome when nothing is to be done about it now."""

    plan: Plan
    operations: tuple[Operation, ...] = ()
    held: tuple[Operation, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    evidence: Mapping[str, int] = field(default_factory=dict)
    settled: str | None = None

    def without(self, stage: Stage) -> _Choice:
        """The choice less what the rehearsal set aside."""
        blocked = (*self.blocked, *stage.rehearsal.blocked)
        settled = None if stage.rehearsal.chosen else BLOCKED
        return replace(self, operations=stage.rehearsal.chosen, blocked=blocked, settled=settled)

    def applied(self, found: Survey) -> Applied:
        """The result as far as it is known without applying anything."""
        outcome = self.settled or MIGRATED
        return Applied(outcome, found.plan, self.operations, self.held, self.blocked)


def _entry(found: Survey, choice: _Choice, stage: Stage) -> history.Entry:
    """The history's row: what was done, by whose leave, on what evidence, and how it is undone."""
    rehearsal = stage.rehearsal
    expected = rehearsal.outcome.expected
    backup = stage.backup
    return replace(
        stage.entry,
        evidence={
            "guards": dict(choice.evidence),
            "applied": [o.number for o in rehearsal.chosen],
            "held": [o.number for o in choice.held],
            "blocked": {str(one.operation.number): one.reason for one in choice.blocked},
            "waiting": waiting_removals((*choice.held, *(one.operation for one in choice.blocked))),
            "rows_written": rehearsal.outcome.changes,
            "statements": list(rehearsal.script.statements()),
        },
        durations={
            "rehearsal": round(rehearsal.outcome.seconds * 1000, 3),
            "statements": [round(seconds * 1000, 3) for seconds in rehearsal.outcome.durations],
        },
        undo={"before": history.pack(history.Base(found.actual.stored, ()))},
        backup=None
        if backup is None
        else {"id": backup.id, "path": str(backup.path), "sha256": backup.sha256},
        base=history.Base(expected, found.desired.stored),
    )


@contextmanager
def _closing(database: Database) -> Iterator[Database]:
    try:
        yield database
    finally:
        database.close()
