"""Applying a plan: staged, then carried out in one transaction that is proved before it is committed.

A first try stages without any lock. If somebody commits between the first look and the transaction, a second try does
everything while the write lock is held, so that it cannot happen again. What was staged ahead is used where nothing was
committed since: then only the transaction is left to do.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from driftengine import ahead, history, journal
from driftengine import backup as backups
from driftengine.backup_files import folder_for, journal_of, make_folder
from driftengine.choice import (
    MIGRATED,
    UP_TO_DATE,
    Choice,
    approved_by,
    choose,
    database_id_of,
    finished_entry,
    outgrown,
    remembered,
)
from driftengine.errors import BackupError, BusyError, DatabaseError, DriftError, PlanError, ProofError
from driftengine.stage import discard, sweep_workspaces
from driftengine.survey import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from driftengine.ahead import Prepared
    from driftengine.approvals import Given
    from driftengine.changes import SqlValue
    from driftengine.desired import Desired
    from driftengine.dialects.base import Database, Dialect, WriteTransaction
    from driftengine.manifest import Backup
    from driftengine.operations import Operation, Plan
    from driftengine.rehearse import Blocked
    from driftengine.stage import Progress, Stage
    from driftengine.survey import Survey
    from driftengine.target import Target

DEFERRED, FAILED = "deferred", "failed"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: a certain plan or any, approvals by operation id or code, and who asked.

    `standing` are approvals that were given before. Those of another plan do not count.
    """

    plan_id: str | None = None
    approve: tuple[str, ...] = ()
    dry_run: bool = False
    allowed_by: str = ""
    standing: Given = field(default_factory=dict)

    def approvals(self, plan: Plan) -> tuple[str, ...]:
        """The ids and codes that are approved of that plan."""
        return (*self.approve, *self.standing.get(plan.id, ()))

    def by_whose_leave(self, plan: Plan, operations: Sequence[Operation]) -> str:
        """Who or what allowed these operations of the plan: who had approved some of them before, and whoever asked."""
        given = self.standing.get(plan.id, {})
        ids = (plan.operation_id(one.number) for one in operations)
        people = dict.fromkeys(given[one].by for one in ids if one in given)
        return "; ".join([*(f"approved by {one}" for one in people), self.allowed_by])

    def less(self, plan: Plan, ids: Iterable[str]) -> Request:
        """Without those of the plan's approvals that were given before for these operations."""
        gone = frozenset(ids)
        left = {one: given for one, given in self.standing.get(plan.id, {}).items() if one not in gone}
        return replace(self, standing={**self.standing, plan.id: left})


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
    """One call of apply, with what all its steps need.

    `opened` gives the target's database for a try, and closes it behind that if it is this call's own. `prepared` was
    staged ahead, and `mark` taken before that; `prepared` is None afterwards if it was used or is of no use any more.
    """

    dialect: Dialect
    opened: Callable[[], AbstractContextManager[Database]]
    target: Target
    desired: Desired
    request: Request
    progress: Progress | None = None
    prepared: Prepared | None = None
    mark: object = None
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
        with self.opened() as database:
            mark = database.mark()  # before the first look: what is found holds while this stays the same
            try:
                applied = self._use_prepared(database) or self._attempt(database, mark)
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

    def _use_prepared(self, database: Database) -> Applied | None:
        """What was staged ahead, used as it is; None where there is nothing, or it does not fit any more."""
        prepared = self.prepared
        if prepared is None or self.request.dry_run:
            return None
        try:
            fits = self._fits(database, prepared)
            applied = self._carried_out_prepared(database, prepared) if fits else None
        except BusyError:
            raise  # nothing has happened: it is as good at the next try
        except BaseException:
            self.prepared = None  # its backup is gone, or belongs to a migration that has happened
            raise
        self.prepared = None
        if applied is None:
            discard(prepared.backup)
            self._locking = False
        return applied

    def _fits(self, database: Database, prepared: Prepared) -> bool:
        """True when it is what is asked for now, and its backup is still there: anybody may prune."""
        try:
            # Rows may have come between the look that counted the approvals and the mark of the stage.
            approved = approved_by(prepared.found, self._approvals(database, prepared.found))
        except PlanError:
            return False
        return (
            self.request.plan_id in {None, prepared.found.plan.id}
            and approved == prepared.choice.approved
            and ahead.same_wish(prepared, self.desired)
            and (prepared.backup is None or backups.is_there(prepared.backup))
        )

    def _approvals(self, database: Database, found: Survey) -> tuple[str, ...]:
        """The ids and codes that are approved; what concerns more rows now than were shown is held again."""
        given = self.request.standing.get(found.plan.id, {})
        grown = outgrown(self.dialect, database, found, given)
        self._warnings += grown.values()
        self.request = self.request.less(found.plan, grown)
        return self.request.approvals(found.plan)

    def _carried_out_prepared(self, database: Database, prepared: Prepared) -> Applied | None:
        if prepared.stage is not None:
            return self._commit(database, self.mark, prepared.found, prepared.choice, prepared.stage)
        if database.mark() != self.mark:
            return None
        return self._settle(database, prepared.found, prepared.choice)

    def _attempt(self, database: Database, mark: object) -> Applied | None:
        """The first try; None when somebody committed meanwhile, so that nothing of it can be relied on."""
        with database.snapshot():
            found = self._survey(database)
            choice = choose(database, found, self._approvals(database, found))
        if choice.settled is not None:
            return self._settle(database, found, choice)
        if self.request.dry_run:
            return self._rehearse_only(database, found, choice)
        self._require_access(database)
        stage = self._stage(self.target, database, found, choice)
        if stage.rehearsal.chosen:
            applied = self._commit(database, mark, found, choice, stage)
            if applied is None:
                discard(stage.backup)
            return applied
        discard(stage.backup)
        exact = database.mark() == mark
        return self._settle(database, found, choice.without(stage)) if exact else None

    def _commit(
        self, database: Database, mark: object, found: Survey, choice: Choice, stage: Stage
    ) -> Applied | None:
        """The transaction; None, and the stage is left as it was, when somebody has committed since the mark."""
        try:
            with self._locked(database, stage.values) as transaction:
                if not transaction.exact(mark):
                    return None
                entry = self._carry_out(found, choice, stage, transaction)
        except BaseException as error:
            self._abandon(database, stage, error)
            raise
        return self._done(database, found, choice, stage, entry)

    def _try_locked(self) -> Applied:
        """Everything under the write lock: what was committed meanwhile is seen, and nothing more can come."""
        with self.opened() as database:
            with self._locked(database) as transaction:
                found = self._survey(database)
                choice = choose(database, found, self._approvals(database, found))
                if choice.settled is not None:
                    return _without_applying(found, choice)
                stage = self._stage(self.target, database, found, choice)
                try:
                    if not stage.rehearsal.chosen:
                        discard(stage.backup)
                        return _without_applying(found, choice.without(stage))
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

        An error of ours says that it has not; for anything else the history decides. What was staged ahead stays when
        only a lock stood in the way.
        """
        if isinstance(error, BusyError) and self.prepared is not None and stage is self.prepared.stage:
            return
        if not isinstance(error, DriftError):
            reader = database.reader()
            entries = history.read(reader) if reader is not None else ()
            if any(entry.migration_id == stage.entry.migration_id for entry in entries):
                return
        discard(stage.backup)

    def _rehearse_only(self, database: Database, found: Survey, choice: Choice) -> Applied:
        """What a migration would come to: rehearsed in a temporary folder, and nothing is left of it."""
        with tempfile.TemporaryDirectory(prefix="driftd-") as folder:
            elsewhere = replace(self.target.backup, directory=Path(folder))
            try:
                stage = self._stage(replace(self.target, backup=elsewhere), database, found, choice)
            except BackupError as error:
                if error.code != "disk-full":
                    raise
                self._warnings.append(f"it was not rehearsed: {error}")
                return _without_applying(found, choice)
        return _without_applying(found, choice.without(stage))

    def _survey(self, database: Database) -> Survey:
        found = survey(self.dialect, database, self.target, self.desired)
        found.plan.require(self.request.plan_id)
        return found

    def _settle(self, database: Database, found: Survey, choice: Choice) -> Applied:
        """Nothing is applied. Base is recorded where there is none, or where both sides moved on in step."""
        if not self.request.dry_run and database.state() == "present":
            moved_on = choice.settled == UP_TO_DATE and found.in_step and found.base_is_old
            if not found.met or moved_on:
                self._meet(database, found)
            else:
                self._heal(database, found)
        return _without_applying(found, choice)

    def _meet(self, database: Database, found: Survey) -> None:
        """Records base, so that later changes can be told apart. A service may also have followed its models itself."""
        entry = history.Entry(
            "meeting",
            journal.timestamp(datetime.now(UTC)),
            database_id_of(found),
            allowed_by=self.request.allowed_by,
            evidence=remembered(found.plan.operations),
            versions=ahead.versions_of(self.dialect, self.desired),
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

    def _stage(self, target: Target, database: Database, found: Survey, choice: Choice) -> Stage:
        return ahead.staged(
            self.dialect, database, target, found, choice, reason=backups.MIGRATION, progress=self.progress
        )

    def _carry_out(
        self, found: Survey, choice: Choice, stage: Stage, transaction: WriteTransaction
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
        entry = finished_entry(
            found,
            choice.without(stage),
            stage,
            at=datetime.now(UTC),
            allowed_by=self.request.by_whose_leave(found.plan, choice.without(stage).operations),
            durations={
                "apply": _milliseconds(time.monotonic() - started),
                "statements": [_milliseconds(seconds) for seconds in transaction.durations],
            },
            keeps_backup=self.target.backup.before_every_migration,
        )
        entry = history.append(transaction.writer(), entry)
        transaction.prove(rehearsal.outcome.expected)
        transaction.commit()
        return entry

    def _told(self, phase: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(phase, done, total)

    def _done(
        self, database: Database, found: Survey, choice: Choice, stage: Stage, entry: history.Entry
    ) -> Applied:
        """The migration is done; what fails here is told and changes nothing of that."""
        self._write_journal(database)
        return replace(
            _without_applying(found, choice.without(stage)),
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
            backup = ahead.adopted(backup)
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


def _without_applying(found: Survey, choice: Choice) -> Applied:
    """The result as far as it is known without applying anything."""
    outcome = choice.settled or MIGRATED
    return Applied(outcome, found.plan, choice.operations, choice.held, choice.blocked)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
