"""Applying a plan: staged, then carried out in one transaction that is proved before it is committed.

A first try stages without any lock. If somebody commits between the first look and the transaction, a second try does
everything while the write lock is held, so that it cannot happen again. What was staged ahead is used where nothing was
committed since: then only the transaction is left to do. In a startup window all of it ends by the window's deadline, and
what was staged ahead may be used over newer rows where staging anew would take too long.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from driftengine import ahead, history
from driftengine import backup as backups
from driftengine.applied import Applied, Request, without_applying
from driftengine.choice import (
    DEFERRED,
    MIGRATED,
    Choice,
    approved_by,
    choose,
    finished_entry,
    not_survived,
    outgrown,
)
from driftengine.errors import (
    BackupError,
    BusyError,
    DatabaseError,
    DeadlineError,
    DriftError,
    PlanError,
    ProofError,
)
from driftengine.recording import Records
from driftengine.stage import abandon, discard, judged, workspace
from driftengine.survey import survey
from driftengine.taken_back import needed_backups
from driftengine.window import too_long

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from driftengine.ahead import Prepared
    from driftengine.changes import SqlValue
    from driftengine.desired import Desired
    from driftengine.dialects.base import Database, Dialect, WriteTransaction
    from driftengine.stage import Progress, Stage
    from driftengine.survey import Survey
    from driftengine.target import Target
    from driftengine.window import Window

__all__ = ["DEFERRED", "FAILED", "Applied", "Applier", "Request"]

FAILED = "failed"


@dataclass(slots=True)
class Applier:
    """One call of apply, with what all its steps need.

    `opened` gives the target's database for a try, and closes it behind that if it is this call's own. `prepared` was
    staged ahead, and `mark` taken before that; `prepared` is None afterwards if it was used or is of no use any more.
    `prunes_later`: the caller lets go of older backups when nobody waits. `look` finds another plan than the one towards
    the models.
    """

    dialect: Dialect
    opened: Callable[[], AbstractContextManager[Database]]
    target: Target
    desired: Desired
    request: Request
    progress: Progress | None = None
    prepared: Prepared | None = None
    mark: object = None
    window: Window | None = None
    prunes_later: bool = False
    look: Callable[[Database], Survey] | None = None
    _warnings: list[str] = field(default_factory=list)
    _locking: bool = False
    _fresh: str = ahead.NEW
    _anew_ms: float = 0.0  # what staging anew and applying is known to take
    _committing: bool = False

    def apply(self) -> Applied:
        """Stages and applies. Raises DriftError for what is refused; a lock that nobody frees is `deferred`."""
        started = time.monotonic()
        try:
            applied = self._try_unlocked()
        except BusyError as error:
            applied = Applied(DEFERRED, error=error if self.window is None else self.window.told(error))
        if self.window is not None and applied.outcome != DEFERRED:
            self._give_up_prepared()
        took = round((time.monotonic() - started) * 1000, 3)
        return replace(applied, duration_ms=took, warnings=tuple(self._warnings))

    def _try_unlocked(self) -> Applied:
        with self.opened() as database:
            mark = database.mark()  # before the first look: what is found holds while this stays the same
            was_there = database.state() == "present"
            try:
                applied = self._use_prepared(database) or self._attempt(database, mark)
            except BusyError as error:
                if self.request.dry_run or self._locking or isinstance(error, DeadlineError):
                    raise
                applied = None  # others left no moment for reading; under the write lock there is
            except (DriftError, FileNotFoundError):
                # It may have failed only because somebody committed between two looks, and swept our backup away with others.
                # What was taken away meanwhile is not made anew: it may be put back.
                if self.request.dry_run or self._committing or (was_there and database.state() == "missing"):
                    raise
                if database.mark() == mark:
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
            if applied is None and self.window is not None:
                applied = self._instead(database, prepared, self.window, fits=fits)
        except BusyError:
            raise  # nothing has happened: it is as good at the next try
        except BaseException:
            self.prepared = None  # its backup is gone, or belongs to a migration that has happened
            raise
        if applied is not None:
            self.prepared = None
            return applied
        self._locking, self._fresh = False, ahead.NEW
        if self.window is None:
            self.prepared = None
            discard(prepared.backup)
        return None

    def _instead(
        self, database: Database, prepared: Prepared, window: Window, *, fits: bool
    ) -> Applied | None:
        """What a window makes of a stage that is not exact; None where everything is staged anew."""
        stage = prepared.stage
        if stage is None:
            return None
        if not fits:
            # Another plan, but its backup would take as long.
            self._anew_ms = stage.durations.get("backup", 0.0) + ahead.AROUND_MS
            return None
        self._anew_ms = ahead.needed_ms(prepared, fresh=False)
        way = ahead.way_in_window(prepared, fresh=self._freshness(prepared), left_ms=window.left_ms())
        if way == ahead.NEW:
            return None
        if way == ahead.USABLE:
            self._fresh = ahead.USABLE
            choice = prepared.choice
            applied = self._commit(
                database, lambda _: self._is_usable(database, prepared), prepared.found, choice, stage
            )
            if applied is not None:
                return applied
            if self._anew_ms <= window.left_ms():
                return None
        raise too_long(self._anew_ms, window.left_ms())

    def _freshness(self, prepared: Prepared) -> str:
        """`usable` or `stale`, as far as it can be told without a look at the schema."""
        return ahead.freshness(
            prepared,
            exact=False,
            same_schema=True,
            age_s=ahead.aged(prepared, datetime.now(UTC)),
            reuse_max_age=self.target.backup.reuse_max_age,
        )

    def _is_usable(self, database: Database, prepared: Prepared) -> bool:
        """Asked under the write lock: only rows have changed since, and no guard finds any that stands in the way."""
        reader, found, stage = database.reader(), prepared.found, prepared.stage
        with database.until(self._deadline_at), database.snapshot():
            entries = history.read(reader) if reader is not None else ()
            if stage is None or entries != found.entries or database.read().stored != found.actual.stored:
                return False
            _, blocked, _ = judged(database, stage.rehearsal.chosen, prepared.choice.approved)
        return not blocked

    def _give_up_prepared(self) -> None:
        """What was staged ahead and is not needed any more; behind a COMMIT a failure changes nothing of that."""
        prepared, self.prepared = self.prepared, None
        if prepared is not None:
            try:
                discard(prepared.backup)
            except DriftError as error:
                self._warnings.append(f"the backup of the former stage could not be removed: {error}")

    @property
    def _deadline_at(self) -> float | None:
        return None if self.window is None else self.window.deadline_at

    def _fits(self, database: Database, prepared: Prepared) -> bool:
        """True when it is what is asked for now, and its backup is still there: anybody may prune."""
        try:
            # Rows may have come between the look that counted the approvals and the mark of the stage.
            with database.until(self._deadline_at):
                approved = approved_by(prepared.found, self._approvals(database, prepared.found))
            asked = approved_by(prepared.found, self.request.approve)
        except PlanError:
            return False
        return (
            self.request.plan_id in {None, prepared.found.plan.id}
            and approved == prepared.choice.approved
            and ahead.same_wish(prepared, self.desired)
            and not (
                self.request.in_use and not_survived(prepared.left.operations, asked, prepared.found.actual)
            )
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
            left_ms = None if self.window is None else self.window.left_ms()
            if left_ms is not None and not ahead.way_in_window(prepared, fresh=ahead.EXACT, left_ms=left_ms):
                raise too_long(ahead.needed_ms(prepared, fresh=True), left_ms)
            self._fresh = ahead.EXACT
            return self._commit(
                database, lambda one: one.exact(self.mark), prepared.found, prepared.choice, prepared.stage
            )
        if database.mark() != self.mark:
            return None
        return self._settle(database, prepared.found, prepared.choice)

    def _attempt(self, database: Database, mark: object) -> Applied | None:
        """The first try; None when somebody committed meanwhile, so that nothing of it can be relied on."""
        with database.until(self._deadline_at), database.snapshot():
            found = self._survey(database)
            choice = self._choose(database, found)
        if choice.settled is not None:
            return self._settle(database, found, choice)
        if self.request.dry_run:
            return self._rehearse_only(database, found, choice)
        self._require_access(database)
        stage = self._stage(self.target, database, found, choice)
        if stage.rehearsal.chosen:
            applied = self._commit(database, lambda one: one.exact(mark), found, choice, stage)
            if applied is None:
                discard(stage.backup)
            return applied
        discard(stage.backup)
        exact = database.mark() == mark
        return self._settle(database, found, choice.without(stage)) if exact else None

    def _choose(self, database: Database, found: Survey) -> Choice:
        words = self._approvals(database, found)
        request = self.request
        return choose(
            self.dialect, database, found, words,
            in_use=request.in_use, asked=request.approve, only=request.only,
        )  # fmt: skip

    def _commit(
        self,
        database: Database,
        still_fits: Callable[[WriteTransaction], bool],
        found: Survey,
        choice: Choice,
        stage: Stage,
    ) -> Applied | None:
        """The transaction; None, and the stage is left as it was, when it does not fit any more under the lock."""
        try:
            with self._locked(database, stage.values) as transaction:
                # Looked at under the lock: `ahead.sweep_unused` holds it while it takes away what nobody uses.
                there = stage.backup is None or backups.is_there(stage.backup)
                if not there or not still_fits(transaction):
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
                with database.until(self._deadline_at):
                    found = self._survey(database)
                    choice = self._choose(database, found)
                if choice.settled is not None:
                    return self._settled(found, choice)
                stage = self._stage(self.target, database, found, choice)
                try:
                    if not stage.rehearsal.chosen:
                        discard(stage.backup)
                        return self._settled(found, choice.without(stage))
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
        wait = self.target.window_timeout if self.window is None else self.window.left_ms() / 1000
        return database.transaction(deadline_at=self._deadline_at, lock_wait=wait, values=values or {})

    def _abandon(self, database: Database, stage: Stage, error: BaseException) -> None:
        """Removes the stage's backup, unless the migration may have happened, which it needs then.

        So it may where an interrupt arrives behind COMMIT, and where COMMIT itself has failed on the disk: then the history
        decides. What was staged ahead stays when only a lock stood in the way. Raises DatabaseError (`commit-in-doubt`).
        """
        locked = isinstance(error, BusyError)
        if locked and self.prepared is not None and stage is self.prepared.stage:
            return
        if self._committing and isinstance(error, DatabaseError) and error.code == "database-replaced":
            return  # it may be all that is left
        if not locked and (self._committing or not isinstance(error, DriftError)):
            happened = _has_happened(database, stage)
            if happened is not False and isinstance(error, DriftError):
                raise _in_doubt(database, stage, error, happened=happened is True) from error
            if happened is not False:
                return
        abandon(stage.backup, error)

    def _rehearse_only(self, database: Database, found: Survey, choice: Choice) -> Applied:
        """What a migration would come to: rehearsed in a temporary folder, and nothing is left of it."""
        with workspace(None) as folder:
            elsewhere = replace(self.target.backup, directory=folder)
            try:
                stage = self._stage(replace(self.target, backup=elsewhere), database, found, choice)
            except BackupError as error:
                if error.code != "disk-full":
                    raise
                self._warnings.append(f"it was not rehearsed: {error}")
                return without_applying(found, choice)
        return without_applying(found, choice.without(stage))

    def _survey(self, database: Database) -> Survey:
        look = self.look or (lambda one: survey(self.dialect, one, self.target, self.desired))
        found = look(database)
        found.plan.require(self.request.plan_id)
        return found

    def _settle(self, database: Database, found: Survey, choice: Choice) -> Applied:
        """Nothing is applied. Base is recorded where there is none, or where the models moved on and all that is left waits.

        What both sides have in common by then is base: whoever follows the models by hand has not changed them.
        What is put off is applied soon, maybe by the stage that is kept, which a row in the history would make stale.
        """
        put_off = choice.settled == DEFERRED
        towards_models = self.look is None
        if towards_models and not self.request.dry_run and not put_off and database.state() == "present":
            if not found.met or found.base_is_old:
                self._records().meet(database, found)
            else:
                self._records().heal(database, found)
        return self._settled(found, choice)

    def _settled(self, found: Survey, choice: Choice) -> Applied:
        """Nothing is applied now; whoever died behind the COMMIT of this very window had done what there was to do."""
        settled = without_applying(found, choice)
        former = None if self.window is None else history.of_window(found.entries, self.window.id)
        if former is None:
            return settled
        return replace(settled, outcome=MIGRATED, error=None, former=former)

    def _stage(self, target: Target, database: Database, found: Survey, choice: Choice) -> Stage:
        if self.window is not None and self._anew_ms > self.window.left_ms():
            raise too_long(self._anew_ms, self.window.left_ms())
        if self.prepared is not None and self._freshness(self.prepared) == ahead.STALE:
            self._give_up_prepared()  # its space may be needed, and it serves nobody any more
        stage = ahead.staged(
            self.dialect, database, target, found, choice,
            reason=backups.MIGRATION, progress=self.progress, deadline_at=self._deadline_at,
        )  # fmt: skip
        statements_ms = _milliseconds(sum(stage.rehearsal.outcome.durations))
        self._anew_ms = sum(stage.durations.values()) + ahead.CAUTION * statements_ms + ahead.AROUND_MS
        return stage

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
            window=None if self.window is None else {"window": self.window.id, "stage": self._fresh},
        )
        entry = history.append(transaction.writer(), entry)
        transaction.prove(rehearsal.outcome.expected)
        self._committing = True
        transaction.commit(
            before=None if self.window is None else self.window.require_open,
            seconds=rehearsal.outcome.commit_seconds,
        )
        return entry

    def _told(self, phase: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(phase, done, total)

    def _done(
        self, database: Database, found: Survey, choice: Choice, stage: Stage, entry: history.Entry
    ) -> Applied:
        """The migration is done; what fails here is told and changes nothing of that."""
        records = self._records()
        records.write_journal(database, (*found.entries, entry))
        backup = records.adopt(stage)
        if backup is not None and not self.prunes_later:
            pinned = (backup.id, *needed_backups((*found.entries, entry)))
            records.prune(database, entry.database_id, pinned)
        return replace(
            without_applying(found, choice.without(stage)),
            outcome=MIGRATED,
            error=None,
            migration_id=entry.migration_id,
            backup=backup,
            stage=self._fresh,
        )

    def _records(self) -> Records:
        return Records(
            self.dialect, self.target, self.desired, self.request.allowed_by, self.window, self._warnings
        )


def _has_happened(database: Database, stage: Stage) -> bool | None:
    """Whether the history holds the stage's migration; None where it cannot be read."""
    try:
        reader = database.reader()
        entries = history.read(reader) if reader is not None else ()
    except DriftError:
        return None
    return any(entry.migration_id == stage.entry.migration_id for entry in entries)


def _in_doubt(database: Database, stage: Stage, error: DriftError, *, happened: bool) -> DatabaseError:
    found = "names it" if happened else "cannot be read now"
    kept = f"; its backup {stage.backup.id} is kept" if stage.backup else ""
    return DatabaseError(
        f"whether the migration {stage.entry.migration_id} of {database.name} is on the disk is not sure",
        code="commit-in-doubt",
        why=f"COMMIT failed ({error}), and the history {found}{kept}",
        fix="look into the system's log for errors of that disk, then see `driftd history`",
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
