"""A session: one target, looked at again and again by a process that stays.

What has not moved is not asked again: the models while their footprint is the same, the database while its mark is. What
was staged ahead is kept here until it is used or superseded. All of it belongs to one thread.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from driftengine import ahead, documents
from driftengine.applied import Request
from driftengine.apply import Applier
from driftengine.approvals import Agreed
from driftengine.backup_files import folder_for
from driftengine.choice import DEFERRED, HELD, UP_TO_DATE, approved_by, outgrown, require_values
from driftengine.dialects.base import Glance
from driftengine.dialects.chosen import DIALECT, opened
from driftengine.errors import (
    BusyError,
    DatabaseError,
    DriftError,
    ModelsError,
    PlanError,
)
from driftengine.history import fold, of_window
from driftengine.loaded import CANCELLED, LoadedModels
from driftengine.recording import Records
from driftengine.stage import discard
from driftengine.survey import survey
from driftengine.taken_back import needed_backups
from driftengine.window import late

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from driftengine.ahead import Prepared
    from driftengine.applied import Applied
    from driftengine.desired import Ask, Desired
    from driftengine.dialects.base import Database
    from driftengine.documents import Document
    from driftengine.footprint import Inputs
    from driftengine.stage import Progress
    from driftengine.survey import Survey
    from driftengine.target import Target
    from driftengine.window import Window

__all__ = ["Glance", "Session", "Taken"]


@dataclass(frozen=True, slots=True)
class Taken:
    """What was true of the database right before a stage was made."""

    mark: object
    shape: object


@dataclass(frozen=True, slots=True)
class _Kept:
    """The stage that is ready."""

    prepared: Prepared
    taken: Taken


@dataclass(frozen=True, slots=True)
class _Looked:
    """The last look that succeeded; `mark` was taken before it."""

    mark: object
    desired: Desired
    found: Survey
    approved: tuple[str, ...]
    document: Document


class Session:
    """One target, from the first look to `close`. `memory` is the folder of `remembered`, `warm` as of `LoadedModels`.

    Opens nothing by itself.

    `inputs`, `desired` and `approved` may be read by any thread, everything else by one.
    """

    def __init__(self, target: Target, *, memory: Path | None = None, warm: Ask | None = None) -> None:
        self.target = target
        self._models = LoadedModels(target.models, memory, own=self._own, warm=warm)
        self._held: Database | None = None
        self._looked: _Looked | None = None
        self._kept: _Kept | None = None
        self._staging = False
        self._swept = False
        self._unpruned = False
        self._agreed = Agreed(self._folder, self._warn)
        self._warnings: list[str] = []

    # --- what is known

    @property
    def inputs(self) -> Inputs:
        """What the models were loaded from: what to watch, also while they cannot be loaded."""
        return self._models.inputs

    @property
    def desired(self) -> Desired:
        """What the models described at the last look. Raises PlanError (`not-looked`) before the first."""
        return self._known().desired

    @property
    def approved(self) -> tuple[str, ...]:
        """The ids of the operations of the last look's plan that have been approved."""
        return () if self._looked is None else self._looked.approved

    def _known(self) -> _Looked:
        if self._looked is None:
            raise PlanError(
                f"{self.target.name} has not been looked at yet",
                code="not-looked",
                why="no look at its models and its database has succeeded since the daemon began",
                fix="see `driftd status` for what stands in the way",
            )
        return self._looked

    @property
    def knows(self) -> bool:
        """True while the last look holds, as far as our own doings are concerned: an apply ends that."""
        return self._looked is not None and self._looked.mark is not None

    def models_moved(self) -> bool:
        """True when the models must be loaded again; right after a change of their files this may hash each of them."""
        return self._models.moved()

    def glance(self) -> Glance:
        """What has moved in the database since the last look or glance. Raises DatabaseError, never for a lock."""
        return self._database().glance()

    def _database(self) -> Database:
        """The target's database, awake or resting."""
        if self._held is None:
            # Nothing is written in mode observe, and emptying a log into the database is writing.
            tidy = self.target.mode != "observe"
            self._held = opened(self.target.url, self.target.models.directory, tidy=tidy, wake=False)
        return self._held

    def _own(self) -> tuple[str, object]:
        """The database's path, and what tells of every commit in it; None where nothing can be told now."""
        database = self._database()
        try:
            return database.name, database.mark()
        except DatabaseError:
            return database.name, None

    def _lent(self) -> AbstractContextManager[Database]:
        """The database for somebody who would close it: awake, and still ours afterwards."""
        database = self._database()
        database.wake()
        return nullcontext(database)

    # --- looking

    def look(self, *, fresh: bool = False, cancelled: Callable[[], bool] | None = None) -> Document:
        """Where the target stands; `fresh` believes nothing that is remembered. Raises DriftError.

        Returns check's document with `plan_id`, `runnable` (how many operations may go ahead), `approved`, `held` (with
        rows), `stage`, `last_migration`, `unrecorded` (nothing is to be done, and an apply would write that down as base), `inputs` and
        `warnings`. While nothing has moved it is the last one again.
        """
        started = time.perf_counter()
        desired = self._desired(fresh=fresh, cancelled=cancelled)
        loaded = time.perf_counter()
        database, before = self._database(), self._looked
        if before is None or fresh or before.desired is not desired or before.mark != database.mark():
            database.wake()
            database.glance()  # what it would tell is looked at now
            mark = database.mark()
            found = survey(DIALECT, database, self.target, desired)
            timings = {"probe": _milliseconds(loaded - started), **found.timings_ms}
            timings["total"] = _milliseconds(time.perf_counter() - started)
            fold(found.entries)
            self._looked = before = self._documented(mark, found, timings)
        return {**before.document, "stage": self.stage_document()}

    def _desired(self, *, fresh: bool, cancelled: Callable[[], bool] | None) -> Desired:
        models = self._models
        if models.desired is None or fresh or models.moved():
            return models.load(fresh=fresh, cancelled=cancelled)
        return models.desired

    def _documented(self, mark: object, found: Survey, timings_ms: dict[str, float]) -> _Looked:
        self._warnings = []
        self._sweep_once()
        self._prune_once(found)
        plan = found.plan
        given = self._agreed.standing(plan.id, writes=self.target.mode != "observe")
        grown = outgrown(DIALECT, self._database(), found, given)
        self._warnings += grown.values()
        counts = given.keys() - grown.keys()
        approved = frozenset(o.number for o in plan.operations if plan.operation_id(o.number) in counts)
        runnable = plan.runnable(approved)
        held = [o for o in plan.operations if o not in runnable]
        inputs = self._models.inputs
        document = {
            **documents.check(self.target, self._database().name, found, timings_ms, approved=approved),
            "models": "remembered" if self._models.remembered else "probed",
            "plan_id": plan.id if plan.operations else None,
            "runnable": len(runnable),
            "approved": [plan.operation_id(number) for number in sorted(approved)],
            "held": documents.held_documents(DIALECT, self._lent, plan, held),
            "last_migration": documents.last_migration(found.entries),
            "unrecorded": not runnable and not found.recorded,
            "inputs": {"files": list(inputs.files), "folders": list(inputs.folders)},
            "warnings": list(self._warnings),
        }
        return _Looked(mark, found.desired, found, tuple(document["approved"]), document)

    # --- approvals

    def approve(self, words: Sequence[str], *, by: str, plan_id: str | None = None) -> tuple[str, ...]:
        """Approves operations of the plan as it is now, by id or code, all or none; returns all that are approved.

        An approval outlives this process, and ends with the plan; that of a destructive operation is for as many rows as
        it concerns now. Raises PlanError (`approval-unknown`; `plan-stale` where the plan is not the one of `plan_id`;
        `value-needed`, which no approval can give), and all that `look` raises; BackupError, HistoryError where it cannot be written down.
        """
        self.look()
        looked = self._known()
        plan = looked.found.plan
        plan.require(plan_id)
        told = [plan.operation_id(number) for number in sorted(approved_by(looked.found, words))]
        require_values(plan, told)
        if told:
            rows = {one["operation"]: one["count"] for one in looked.document["held"]}
            counts = {one: rows[one] for one in told if one in rows}
            self._agreed.record(self._database().name, plan.id, told, by, counts)
        self._looked = self._documented(looked.mark, looked.found, looked.document["timings_ms"])
        return self._looked.approved

    def _warn(self, text: str) -> None:
        self._warnings.append(text)

    def _folder(self) -> Path:
        return folder_for(self.target.backup.directory, self._database().name)

    # --- staging ahead

    def begin_stage(self) -> Taken:
        """What is to be taken before a Prepared is made elsewhere; the database is not left until `end_stage`.

        Raises DatabaseError.
        """
        database = self._database()
        # What stands in the log goes into the database now, if nobody else uses it: then our own leaving changes nothing
        # later, and the stage stays exact through a rest.
        database.rest()
        database.wake()
        self._staging = True
        return Taken(database.mark(), database.shape())

    def end_stage(self) -> None:
        """The Prepared is made, or given up."""
        self._staging = False

    def keep(self, prepared: Prepared, taken: Taken) -> Document:
        """Takes over what was prepared since `taken`, and discards the former stage and what others have left.

        Returns `outcome` (that of `prepared`, or `stale` where the models, the schema or the history moved on since the last
        look, and then it is discarded), `held` and `blocked` (with rows), `stage` and `warnings`. Raises DriftError.
        """
        self._staging = False
        looked = self._known()
        same = prepared.found.plan.id == looked.found.plan.id and ahead.same_wish(prepared, looked.desired)
        whole = ahead.with_rows(prepared, looked.found.entries) if same else None
        if whole is None:
            discard(prepared.backup)
            return {"outcome": ahead.STALE, "held": [], "blocked": [], "stage": None, "warnings": []}
        self.discard()
        if whole.stage is not None:
            self._kept = _Kept(whole, taken)
        self._warnings = []
        self._sweep()
        left = whole.left
        return {
            "outcome": whole.outcome,
            "held": documents.held_documents(DIALECT, self._lent, left.plan, left.held, left.blocked),
            "blocked": documents.blocked_documents(left.plan, left.held, left.blocked),
            "stage": self.stage_document(),
            # What the look said of this plan holds on: an approval that no longer counts must not go without a word.
            "warnings": list(dict.fromkeys([*looked.document["warnings"], *self._warnings])),
        }

    def stage_document(self) -> Document | None:
        """The kept stage and how fresh it is now; None where there is none. Raises DatabaseError."""
        if self._kept is None:
            return None
        prepared, taken, database = self._kept.prepared, self._kept.taken, self._database()
        try:
            exact = database.mark() == taken.mark
        except BusyError:
            exact = False  # somebody is about to commit
        age_s = ahead.aged(prepared, datetime.now(UTC))
        agreed = {prepared.found.plan.operation_id(number) for number in prepared.choice.approved}
        fresh = (
            ahead.STALE
            if agreed != set(self.approved)
            else ahead.freshness(
                prepared,
                exact=exact,
                same_schema=database.shape() == taken.shape,
                age_s=age_s,
                reuse_max_age=self.target.backup.reuse_max_age,
            )
        )
        return documents.stage(prepared, fresh, age_s, self.target)

    def discard(self) -> None:
        """Gives the kept stage up, and its backup. Raises OSError."""
        kept, self._kept = self._kept, None
        if kept is not None:
            discard(kept.prepared.backup)

    def _sweep_once(self) -> None:
        """What a daemon that was killed has left is put right at the first look of the next one."""
        if not self._swept and self.target.mode != "observe":
            self._swept = True
            self._sweep()

    def _sweep(self) -> None:
        backup = None if self._kept is None else self._kept.prepared.backup
        try:
            ahead.sweep(self._database(), self.target, in_use="" if backup is None else backup.id)
        except (DriftError, OSError) as error:
            self._warnings.append(f"what a killed run has left could not be put right: {error}")

    def _prune_once(self, found: Survey) -> None:
        """What a window has left to do later: a backup that goes may be as large as the database."""
        if self._unpruned and found.entries and self.target.mode != "observe":
            self._unpruned = False
            kept = None if self._kept is None else self._kept.prepared.backup
            pinned = needed_backups(found.entries)
            records = Records(DIALECT, self.target, found.desired, warnings=self._warnings)
            records.prune(
                self._database(),
                found.entries[-1].database_id,
                [*pinned, *([] if kept is None else [kept.id])],
            )

    # --- applying

    def apply(
        self,
        *,
        approve: Sequence[str] = (),
        allowed_by: str,
        in_use: bool = False,
        progress: Progress | None = None,
    ) -> Document:
        """Stages and applies now, with the kept stage where it fits; returns apply's document. Raises DriftError.

        `approve` are ids or codes beside the approvals that are written down. The kept stage is used up, unless a lock
        that nobody freed has put everything off. `in_use`: what the code of others that run would not survive waits.
        """
        desired = self._desired(fresh=False, cancelled=None)
        done = self._applied(desired, tuple(approve), allowed_by, progress, in_use=in_use)
        held = documents.held_documents(DIALECT, self._lent, done.plan, done.held, done.blocked, done.in_use)
        return documents.applied(self.target, self._database().name, done, held, dry_run=False)

    def _applied(
        self,
        desired: Desired,
        approve: tuple[str, ...],
        allowed_by: str,
        progress: Progress | None,
        *,
        in_use: bool,
        window: Window | None = None,
    ) -> Applied:
        standing = self._agreed.live()
        request = Request(None, approve, allowed_by=allowed_by, standing=standing, in_use=in_use)
        applier = Applier(DIALECT, self._lent, self.target, desired, request, progress)
        applier.window, applier.prunes_later = window, window is not None
        if self._kept is not None:
            applier.prepared, applier.mark = self._kept.prepared, self._kept.taken.mark
        try:
            return applier.apply()
        finally:
            self._unpruned = self._unpruned or window is not None
            if applier.prepared is None:
                self._kept = None
            if self._looked is not None:
                self._looked = replace(self._looked, mark=None)

    # --- in a startup window

    def start(self, window: Window, *, allowed_by: str, progress: Progress | None = None) -> Document:
        """What happens when a service starts: nothing where all is as it was, else what fits into the window.

        Returns apply's document with `stage`: `exact`, `usable` or `new` where something was applied, else None. What
        does not fit is `deferred`, and a stage that was not used stays. The database is left to the service before this
        returns. Held operations stand there without a new look at their rows. Raises DriftError, and ModelsError where the
        models cannot be loaded.
        """
        started = time.monotonic()
        try:
            return self._started(window, started, allowed_by, progress)
        finally:
            self.rest()

    def at_once(self, window: Window) -> Document | None:
        """What `start` would answer where there is nothing to do and nothing to wait for; None where that is not sure.

        Reads nothing but what `stat` tells, and leaves the database to the service. Raises DriftError.
        """
        if self._looked is None or self._models.moved():
            return None
        try:
            started = time.monotonic()
            settled = self._settled(self._looked.desired, window)
            return None if settled != UP_TO_DATE else self._as_known(settled, started)
        finally:
            self.rest()

    def _as_known(self, settled: str, started: float) -> Document:
        """The answer that needs no look: what held is shown with the rows of the last one."""
        known = self._known().document
        took = _milliseconds(time.monotonic() - started)
        document = documents.nothing_applied(self.target, self._database().name, settled, took)
        return {**document, "plan_id": known["plan_id"], "held": known["held"]}

    def _started(
        self, window: Window, started: float, allowed_by: str, progress: Progress | None
    ) -> Document:
        name = self._database().name
        try:
            desired = self._desired(fresh=False, cancelled=window.over)
        except ModelsError as error:
            if error.code != CANCELLED:
                raise
            given_up = late("the models had changed, and were still loading at the deadline")
            took = _milliseconds(time.monotonic() - started)
            return documents.nothing_applied(self.target, name, DEFERRED, took, given_up)
        settled = self._settled(desired, window)
        if settled is not None:
            return self._as_known(settled, started)
        known = (
            {} if self._looked is None else {one["operation"]: one for one in self._looked.document["held"]}
        )
        done = self._applied(desired, (), allowed_by, progress, in_use=window.in_use, window=window)
        waiting = documents.waiting_documents(done.plan, done.held, done.blocked, done.in_use, known)
        document = documents.applied(self.target, name, done, waiting, dry_run=False)
        return {**document, "duration_ms": _milliseconds(time.monotonic() - started), "stage": done.stage}

    def _settled(self, desired: Desired, window: Window) -> str | None:
        """The outcome where nothing has moved since the last look and nothing can be done now; None where that is open.

        A window whose migrator died behind COMMIT, and a first meeting that is not written down yet, are looked at.
        """
        looked = self._looked
        if looked is None or looked.mark is None or looked.desired is not desired:
            return None
        idle = looked.found.in_step or looked.document["runnable"] == 0
        if not idle or not looked.found.met or looked.document["unrecorded"]:
            return None
        if of_window(looked.found.entries, window.id) is not None:
            return None
        try:
            if self._database().mark() != looked.mark:
                return None
        except BusyError:
            return None  # somebody is about to commit
        return UP_TO_DATE if looked.found.in_step else HELD

    # --- leaving

    def rest(self) -> None:
        """Leaves the database to others until the next use; not while a stage is made of it."""
        if self._held is not None and not self._staging:
            self._held.rest()

    def close(self) -> None:
        """Leaves for good. A stage is not exact for anybody else, so it goes too. Raises OSError."""
        if self._held is not None:
            self._held.close()
            self._held = None
        self.discard()


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
