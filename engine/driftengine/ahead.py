"""Staging ahead: what a plan will come to is prepared while nobody waits, and used later if it still fits.

`prepare` writes nothing to the live database. What it returns can be pickled, so that a child process may make it; whether
it is exact is known only to the process that took the mark before it began.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING

from driftengine import backup as backups
from driftengine import history, journal
from driftengine.backup_files import folder_for, journal_of
from driftengine.changes import CATALOG, NATIVE
from driftengine.choice import BLOCKED, HELD, UP_TO_DATE, Choice, approved_by, begun_entry, choose
from driftengine.errors import BusyError, DriftError, PlanError
from driftengine.risk import GUARDED, SAFE
from driftengine.stage import Stage, discard, make_stage, sweep_workspaces
from driftengine.survey import Survey, survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from driftengine.desired import Desired
    from driftengine.dialects.base import Database, Dialect
    from driftengine.history import Entry
    from driftengine.manifest import Backup
    from driftengine.stage import Progress
    from driftengine.target import Target

IN_SYNC, READY = "in_sync", "ready"
EXACT, USABLE, STALE = "exact", "usable", "stale"
NEW = "new"  # staged within the window

# A window is answered half a second before its end; beside the statements, locking and proving take their time.
ANSWER_BEFORE_S = 0.5
AROUND_MS = 100.0
SOON_MS = 500.0  # so long a service may wait for a backup that is newer than one that will do
SWEEP_LOCK_WAIT = 0.1  # seconds: what is left over can wait for the next time
CAUTION = 3  # a live database may be so many times slower than the rehearsal's copy


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was prepared: what was found, what of it may go ahead, and the stage; None where nothing may.

    `choice` is what the guards left; `left` is that less what the rehearsal set aside.
    """

    found: Survey
    choice: Choice
    stage: Stage | None
    made_at: datetime
    took_ms: float
    began: float = field(
        default_factory=time.monotonic
    )  # the same clock in all processes, and nobody sets it
    rows: tuple[str, ...] | None = None  # the hashes of the history's rows, which stayed behind

    @property
    def left(self) -> Choice:
        """What would be applied, and what waits."""
        return self.choice if self.stage is None else self.choice.without(self.stage)

    @property
    def outcome(self) -> str:
        """`in_sync`, `ready`, `held` or `blocked`."""
        if self.stage is not None:
            return READY
        return {UP_TO_DATE: IN_SYNC, HELD: HELD, BLOCKED: BLOCKED}[str(self.choice.settled)]

    @property
    def backup(self) -> Backup | None:
        """The stage's backup."""
        return None if self.stage is None else self.stage.backup

    @property
    def apply_ms(self) -> float:
        """What the statements took in the rehearsal."""
        seconds = 0.0 if self.stage is None else sum(self.stage.rehearsal.outcome.durations)
        return round(seconds * 1000, 3)


def staged(
    dialect: Dialect,
    database: Database,
    target: Target,
    found: Survey,
    choice: Choice,
    *,
    reason: str,
    progress: Progress | None = None,
    deadline_at: float | None = None,
) -> Stage:
    """Makes the stage of a choice; see `make_stage`, also for what it raises."""
    entry = begun_entry(found, datetime.now(UTC), versions_of(dialect, found.desired))
    return make_stage(
        dialect,
        database,
        target,
        found,
        choice.operations,
        finish=lambda writer: history.append(writer, entry),
        entry=entry,
        reason=reason,
        progress=progress,
        deadline_at=deadline_at,
    )


def versions_of(dialect: Dialect, desired: Desired) -> Mapping[str, str]:
    """Of the models' interpreter as the probe tells them, and of what carries the plan out."""
    return {**desired.versions, "driftd": metadata.version("driftd"), **dialect.versions()}


def prepare(
    dialect: Dialect,
    database: Database,
    target: Target,
    desired: Desired,
    *,
    approve: Sequence[str] = (),
    progress: Progress | None = None,
) -> Prepared:
    """Surveys, asks the guards, and stages what may go ahead; the live database is only read.

    Approvals that name nothing in the plan are passed over: they were given for another one. Raises DriftError; BusyError
    (`stage-yielded`) where somebody wrote meanwhile, and the stage came to nothing.
    """
    made_at, started = datetime.now(UTC), time.monotonic()
    mark, shape = database.mark(), database.shape()
    try:
        with database.snapshot():
            found = survey(dialect, database, target, desired)
            choice = choose(dialect, database, found, _fitting(found, approve))
        stage = None
        if choice.settled is None:
            stage = staged(dialect, database, target, found, choice, reason=backups.STAGE, progress=progress)
    except BusyError:
        raise
    except DriftError as error:
        # It may have failed only because somebody committed between two looks.
        if database.mark() == mark:
            raise
        raise _yielded(database, str(error)) from error
    if stage is not None and not _same_shape(database, shape):
        discard(stage.backup)
        raise _yielded(database, "the schema is another one now")
    if stage is not None and not stage.rehearsal.chosen:
        discard(stage.backup)
        choice, stage = choice.without(stage), None
    return Prepared(found, choice, stage, made_at, round((time.monotonic() - started) * 1000, 3))


def without_rows(prepared: Prepared) -> Prepared:
    """What is told to another process that knows the history itself: megabytes, from some hundred migrations on."""
    found = prepared.found
    return replace(prepared, found=replace(found, entries=()), rows=_hashes(found.entries))


def with_rows(prepared: Prepared, entries: tuple[Entry, ...]) -> Prepared | None:
    """The same over the rows that are known here; None where it was prepared over others."""
    if prepared.rows is None:
        return prepared
    if prepared.rows != _hashes(entries):
        return None
    return replace(prepared, found=replace(prepared.found, entries=entries), rows=None)


def _hashes(entries: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(entry.hash for entry in entries)


def _same_shape(database: Database, shape: object) -> bool:
    database.mark()  # brings it up to now
    return database.shape() == shape


def _yielded(database: Database, why: str) -> BusyError:
    return BusyError(
        f"the plan for {database.name} could not be staged",
        code="stage-yielded",
        why=f"somebody wrote to the database meanwhile ({why})",
        fix="it is staged again later; nothing was changed",
    )


def _fitting(found: Survey, words: Sequence[str]) -> list[str]:
    fitting = []
    for word in words:
        with suppress(PlanError):
            approved_by(found, (word,))
            fitting.append(word)
    return fitting


# --- does it still fit?


def same_wish(prepared: Prepared, desired: Desired) -> bool:
    """True when the models still describe what it was prepared for."""
    before = prepared.found.desired
    return (before.stored, before.defaults, before.hints) == (desired.stored, desired.defaults, desired.hints)


def freshness(
    prepared: Prepared, *, exact: bool, same_schema: bool, age_s: float, reuse_max_age: float
) -> str:
    """`exact`, `usable` or `stale`.

    Args:
        prepared: what is asked about.
        exact: nothing was committed since its backup began.
        same_schema: only rows have changed since.
        age_s: how old its backup is.
        reuse_max_age: how old that of a usable stage may be, in seconds.
    """
    if exact:
        return EXACT
    young = age_s <= reuse_max_age
    return (
        USABLE
        if same_schema and young and prepared.stage is not None and _survives_rows(prepared.stage)
        else STALE
    )


def _survives_rows(stage: Stage) -> bool:
    """True when it loses nothing and has an exact inverse whatever the rows are: then newer rows do not matter.

    A guard is asked again inside the transaction. A copy, or values that were drawn, hold the rows of the backup.
    """
    return not stage.rehearsal.script.copied and all(
        o.judgement.risk in {SAFE, GUARDED}
        and o.change.strategy in {NATIVE, CATALOG}
        and o.change.backfill is None
        for o in stage.rehearsal.chosen
    )


def needed_ms(prepared: Prepared, *, fresh: bool) -> float:
    """What it may take to have it applied; one that is not fresh is staged anew."""
    return CAUTION * prepared.apply_ms + AROUND_MS + (0.0 if fresh else prepared.took_ms)


def fits_window(prepared: Prepared, *, fresh: bool, window_s: float) -> bool:
    """True when a starting service would have it applied within its window."""
    return needed_ms(prepared, fresh=fresh) <= (window_s - ANSWER_BEFORE_S) * 1000


def way_in_window(prepared: Prepared, *, fresh: str, left_ms: float) -> str | None:
    """How it is applied in a window in which so much time is left: `exact`, `new` or `usable`; None: not in this one.

    What was staged exactly is only given up where the statements alone would take longer. Otherwise it is staged anew,
    with a backup of the rows as they are now, where that is soon done. A usable stage stands in where it is not: a service
    that wrote until it was stopped would wait for a copy of all of its rows at each start. Without one it is staged anew
    where that fits with caution.
    """
    if prepared.apply_ms + AROUND_MS > left_ms:
        return None
    if fresh == EXACT:
        return EXACT
    anew_ms = needed_ms(prepared, fresh=False)
    if anew_ms <= min(left_ms, SOON_MS):
        return NEW
    if fresh == USABLE:
        return USABLE
    return NEW if anew_ms <= left_ms else None


# --- the backups of stages


def adopted(backup: Backup) -> Backup:
    """The backup of a stage that a migration has used: from now on it is the migration's. Raises OSError."""
    return backups.relabel(backup, backups.MIGRATION) if backup.reason == backups.STAGE else backup


def sweep(database: Database, target: Target, *, in_use: str = "") -> tuple[str, ...]:
    """Puts right what killed stagers and killed migrations have left; returns the ids of the backups that went.

    Only for the one daemon that serves the database: any other stage than that whose backup is `in_use` is nobody's.
    Raises DriftError, OSError.
    """
    folder = folder_for(target.backup.directory, database.name)
    left = [one for one in backups.list_backups(folder) if one.reason == backups.STAGE and one.id != in_use]
    gone = [*backups.sweep(folder)]
    if left:
        happened = _migrations(database, folder)
        for one in left:
            if one.migration_id in happened:
                backups.relabel(one, backups.MIGRATION)  # a crash came between COMMIT and this
            else:
                discard(one)
                gone.append(one.id)
    sweep_workspaces(folder)
    return tuple(gone)


def sweep_unused(database: Database, target: Target) -> tuple[str, ...]:
    """Removes the backups of migrations that never came about, because their process was killed; returns their ids.

    Under the database's write lock, as `apply` makes sure of its own backup right before it writes: one that is still
    under way notices. Never the newest, and only where the journal knows of its making: who lost the journal keeps all.
    Raises DriftError.
    """
    folder = folder_for(target.backup.directory, database.name)
    own = [one for one in backups.list_backups(folder) if one.database == database.name and not one.pinned]
    left = [one for one in own[:-1] if one.reason == backups.MIGRATION and one.migration_id]
    happened = _migrations(database, folder) if left else set()
    if all(one.migration_id in happened for one in left):
        return ()
    with database.transaction(deadline_at=None, lock_wait=SWEEP_LOCK_WAIT, values={}):
        happened = _migrations(database, folder)
        found = journal.read(journal_of(folder))
        made = {str(one.detail.get("id")) for one in found.records if one.event == "backup"}
        gone = [one for one in left if one.migration_id not in happened and one.id in made]
        for one in gone if not found.problems else ():
            discard(one)
    return () if found.problems else tuple(one.id for one in gone)


def _migrations(database: Database, folder: Path) -> set[str]:
    """The migrations that have happened, also those that a restore took back."""
    reader = database.reader()
    entries = history.read(reader) if reader is not None else ()
    told = journal.migrations(journal.read(journal_of(folder)).records)
    return {*told} | {str(entry.migration_id) for entry in entries if entry.migration_id}


def aged(prepared: Prepared, now: datetime) -> float:
    """How old it is, in seconds: clocks are set back, and one that only runs stands still while the machine sleeps."""
    return max(time.monotonic() - prepared.began, (now - prepared.made_at).total_seconds())
