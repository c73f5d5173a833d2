"""Applying a plan: staged, then carried out in one transaction that is proved before it is committed.

A first try stages without any lock. If somebody commits between the first look and the transaction, a second try does
everything while the write lock is held, so that it cannot happen again.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftengine import backup as backups
from driftengine import history, journal
from driftengine.backup_files import folder_for, journal_of, make_folder
from driftengine.errors import BackupError, BusyError, DatabaseError, DriftError, PlanError, ProofError
from driftengine.operations import left_held, moved_by_hand, waiting_removals
from driftengine.stage import Stage, discard, judged, make_stage, sweep_workspaces
from driftengine.survey import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from driftengine.changes import SqlValue
    from driftengine.desired import Desired
    from driftengine.dialects.base import Database, Dialect, WriteTransaction
    from driftengine.manifest import Backup
    from driftengine.operations import Operation, Plan
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
    _locking: bool = False

    def apply(self) -> Applied:
        """Stages and applies. Raises DriftError for what is refused; a lock that nobody frees is `deferred`."""
        started = time.monotonic()
        try:
            applied = self._try_unlocked()
        except BusyError as error:
            applied = Applied(DEFERRED, error=error)
        took = round((time.monotonic() - started) * 1000, 3)
        return replace(applied, duration_ms=took, warnings=tuple(self._warnings))

    def _try_unlocked(self) -> Applied:
        with _closing(self.opened()) as database:
            mark = database.mark()  # before the first look: what is found holds while this stays the same
            try:
                applied = self._attempt(database, mark)
            except BusyError:
                if self.request.dry_run or self._locking:
                    raise
                applied = None  # others left no moment for reading; under the write lock there is
            except DriftError:
                # It may have failed only because somebody committed between two looks.
                if self.request.dry_run or database.mark() == mark:
                    raise
                applied = None
        return self._try_locked() if applied is None else applied

    def _attempt(self, database: Database, mark: object) -> Applied | None:
        """The first try; None when somebody committed meanwhile, so that nothing of it can be relied on."""
        with database.snapshot():
            found = self._survey(database)
            choice = self._choose(database, found)
        if choice.settled is not None:
            return self._settle(database, found, choice)
        if self.request.dry_run:
            return self._rehearse_only(database, found, choice)
        self._require_access(database)
        stage = self._stage(self.target, database, found, choice)
        try:
            if not stage.rehearsal.chosen:
                discard(stage.backup)
                exact = database.mark() == mark
                return self._settle(database, found, choice.without(stage)) if exact else None
            with self._locked(database, stage.values) as transaction:
                if not transaction.exact(mark):
                    discard(stage.backup)
                    return None
                entry = self._carry_out(found, choice, stage, transaction)
        except BaseException as error:
            self._abandon(database, stage, error)
            raise
        return self._done(database, found, choice, stage, entry)

    def _try_locked(self) -> Applied:
        """Everything under the write lock: what was committed meanwhile is seen, and nothing more can come."""
        with _closing(self.opened()) as database:
            with self._locked(database) as transaction:
                found = self._survey(database)
                choice = self._choose(database, found)
                if choice.settled is not None:
                    return choice.applied(found)
                stage = self._stage(self.target, database, found, choice)
                try:
                    if not stage.rehearsal.chosen:
                        discard(stage.backup)
                        return choice.without(stage).applied(found)
                    transaction.hand_out(stage.values)
                    entry = self._carry_out(found, choice, stage, transaction)
                except BaseException as error:
                    self._abandon(database, stage, error)
                    raise
            return self._done(database, found, choice, stage, entry)

    def _require_access(self, database: Database) -> None:
        """Before a backup is made for nothing: that we may write, and that no lock is held for ever."""
        if database.reader() is not None:
            with self._locked(database):
                pass
            self._locking = False

    def _locked(
        self, database: Database, values: Mapping[str, Sequence[SqlValue]] | None = None
    ) -> AbstractContextManager[WriteTransaction]:
        """A write transaction on the live database; who waits for it in vain needs no second try."""
        self._locking = True
        return database.transaction(
            deadline_at=None, lock_wait=self.target.window_timeout, values=values or {}
        )

    def _abandon(self, database: Database, stage: Stage, error: BaseException) -> None:
        """Removes the stage's backup, unless an interrupt arrived behind COMMIT: then the migration has happened.

        An error of ours says that it has not; for anything else the history decides.
        """
        if not isinstance(error, DriftError):
            reader = database.reader()
            entries = history.read(reader) if reader is not None else ()
            if any(entry.migration_id == stage.entry.migration_id for entry in entries):
                return
        discard(stage.backup)

    def _rehearse_only(self, database: Database, found: Survey, choice: _Choice) -> Applied:
        """What a migration would come to: rehearsed in a temporary folder, and nothing is left of it."""
        with tempfile.TemporaryDirectory(prefix="driftd-") as folder:
            elsewhere = replace(self.target.backup, directory=Path(folder))
            try:
                stage = self._stage(replace(self.target, backup=elsewhere), database, found, choice)
            except BackupError as error:
                if error.code != "disk-full":
                    raise
                self._warnings.append(f"it was not rehearsed: {error}")
                return choice.applied(found)
        return choice.without(stage).applied(found)

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
        approved = plan.approved(self.request.approve, _left_held(found))
        runnable = plan.runnable(approved)
        kept, blocked, evidence = judged(database, runnable, approved)
        numbers = {o.number for o in runnable}
        waiting = {o.number for o in _stranded(runnable, kept, blocked)}
        held = tuple(o for o in plan.operations if o.number not in numbers or o.number in waiting)
        settled = None if kept else BLOCKED if blocked else HELD
        return _Choice(plan, kept, held, blocked, evidence, approved, settled)

    def _settle(self, database: Database, found: Survey, choice: _Choice) -> Applied:
        """Nothing is applied. Base is recorded where there is none, or where both sides moved on in step."""
        if not self.request.dry_run and database.state() == "present":
            moved_on = choice.settled == UP_TO_DATE and found.in_step and found.base_is_old
            if not found.met or moved_on:
                self._meet(database, found)
            else:
                self._heal(database, found)
        return choice.applied(found)

    def _meet(self, database: Database, found: Survey) -> None:
        """Records base, so that later changes can be told apart. A service may also have followed its models itself."""
        entry = history.Entry(
            "meeting",
            journal.timestamp(datetime.now(UTC)),
            found.entries[-1].database_id if found.entries else history.new_database_id(),
            allowed_by=self.request.allowed_by,
            evidence=_remembered(found.plan.operations),
            versions=self._versions(),
            base=history.Base(found.actual.stored, found.desired.stored),
        )
        try:
            with database.transaction(deadline_at=None, lock_wait=1.0, values={}) as transaction:
                writer = transaction.writer()
                # Another driftd may have been faster; a database has one first meeting.
                if history.read(writer) != found.entries or database.read().stored != found.actual.stored:
                    return
                history.append(writer, entry)
                transaction.commit()
        except DatabaseError as error:
            # In step but read-only, or in use: that is no failure of the check that was asked for.
            self._warnings.append(f"the first meeting could not be recorded: {error}")
        else:
            self._write_journal(database)

    def _heal(self, database: Database, found: Survey) -> None:
        """Puts right what a killed run has left: a journal without the last row, and files that nobody needs."""
        if found.entries:
            self._write_journal(database)
        folder = folder_for(self.target.backup.directory, database.name)
        try:
            backups.sweep(folder)
            sweep_workspaces(folder)
        except OSError as error:
            self._warnings.append(f"what a killed run has left in {folder} could not be removed: {error}")

    def _versions(self) -> dict[str, str]:
        """Of the models' interpreter as the probe tells them, and of what carries the plan out."""
        return {**self.desired.versions, "driftd": metadata.version("driftd"), **self.dialect.versions()}

    def _stage(self, target: Target, database: Database, found: Survey, choice: _Choice) -> Stage:
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
            versions=self._versions(),
        )
        return make_stage(
            self.dialect,
            database,
            target,
            found,
            choice.operations,
            finish=lambda writer: history.append(writer, entry),
            entry=entry,
            progress=self.progress,
        )

    def _carry_out(
        self, found: Survey, choice: _Choice, stage: Stage, transaction: WriteTransaction
    ) -> history.Entry:
        """Runs the script, writes the history's row, proves, commits."""
        rehearsal = stage.rehearsal
        started = time.monotonic()
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
        durations = {
            "apply": _milliseconds(time.monotonic() - started),
            "statements": [_milliseconds(seconds) for seconds in transaction.durations],
        }
        keeps_backup = self.target.backup.before_every_migration
        entry = _entry(found, choice.without(stage), stage, durations, keeps_backup=keeps_backup)
        entry = history.append(transaction.writer(), entry)
        transaction.prove(rehearsal.outcome.expected)
        transaction.commit()
        return entry

    def _told(self, phase: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(phase, done, total)

    def _done(
        self, database: Database, found: Survey, choice: _Choice, stage: Stage, entry: history.Entry
    ) -> Applied:
        """The migration is done; what fails here is told and changes nothing of that."""
        self._write_journal(database)
        return replace(
            choice.without(stage).applied(found),
            outcome=MIGRATED,
            migration_id=entry.migration_id,
            backup=self._tidied(database, entry, stage),
        )

    def _tidied(self, database: Database, entry: history.Entry, stage: Stage) -> Backup | None:
        """The backup of this migration, if it is kept, and no more of the older ones than the settings say."""
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
            entries = history.read(reader)
            if history.unrecorded(entries, journal.read(journal_of(folder)).records):
                make_folder(folder, Path(database.name).stat())
                history.write_journal(journal_of(folder), entries, database=database.name)
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
    approved: frozenset[int] = frozenset()
    settled: str | None = None

    def without(self, stage: Stage) -> _Choice:
        """The choice less what the rehearsal set aside."""
        rehearsal = stage.rehearsal
        stranded = _stranded(self.operations, rehearsal.chosen, rehearsal.blocked)
        return replace(
            self,
            operations=rehearsal.chosen,
            held=(*self.held, *stranded),
            blocked=(*self.blocked, *rehearsal.blocked),
            settled=None if rehearsal.chosen else BLOCKED,
        )

    def applied(self, found: Survey) -> Applied:
        """The result as far as it is known without applying anything."""
        outcome = self.settled or MIGRATED
        return Applied(outcome, found.plan, self.operations, self.held, self.blocked)


def _stranded(
    before: Sequence[Operation], after: Sequence[Operation], blocked: Sequence[Blocked]
) -> tuple[Operation, ...]:
    """What goes ahead no longer because it needs something that is blocked."""
    told = {o.number for o in after} | {one.operation.number for one in blocked}
    return tuple(o for o in before if o.number not in told)


def _remembered(waiting: Sequence[Operation]) -> dict[str, Any]:
    """What base alone would forget of the operations that wait: that the models had it once, and who moved."""
    return {"waiting": waiting_removals(waiting), "moved": moved_by_hand(waiting)}


def _left_held(found: Survey) -> dict[str, tuple[str, ...]]:
    """What the last migration left held, by the ids under which its answer showed it."""
    entry = next((entry for entry in reversed(found.entries) if entry.plan is not None), None)
    if entry is None or entry.plan is None:
        return {}
    evidence = entry.evidence
    return left_held(entry.plan, {*evidence.get("held", ()), *map(int, evidence.get("blocked", ()))})


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _entry(
    found: Survey, choice: _Choice, stage: Stage, durations: Mapping[str, Any], *, keeps_backup: bool
) -> history.Entry:
    """The history's row: what was done, by whose leave, on what evidence, and how it is undone."""
    outcome = stage.rehearsal.outcome
    backup = stage.backup if keeps_backup else None
    return replace(
        stage.entry,
        evidence={
            "guards": dict(choice.evidence),
            "applied": [o.number for o in choice.operations],
            "approved": sorted(choice.approved),
            "held": [o.number for o in choice.held],
            "blocked": {str(one.operation.number): one.reason for one in choice.blocked},
            **_remembered((*choice.held, *(one.operation for one in choice.blocked))),
            "rows_written": outcome.changes,
            "statements": list(stage.rehearsal.script.statements()),
        },
        durations={**stage.durations, **durations},
        undo={"before": history.pack(history.Base(found.actual.stored, ()))},
        backup=None
        if backup is None
        else {"id": backup.id, "path": str(backup.path), "sha256": backup.sha256},
        base=history.Base(outcome.expected, found.desired.stored),
    )


@contextmanager
def _closing(database: Database) -> Iterator[Database]:
    try:
        yield database
    finally:
        database.close()
