"""Where a target stands: desired, actual and base, the drift between them, and the plan that would end it.

Reading only. The same survey serves `check`, `plan` and `apply`.
"""

from __future__ import annotations

import difflib
import hashlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from driftengine import accepted, history, journal, suspicion
from driftengine.backup_files import folder_for, journal_of
from driftengine.changes import RENAME, Backfill, Questions, rename_of
from driftengine.diff import Base, Drift
from driftengine.errors import PlanError
from driftengine.hinted import Wanted, renames_wanted
from driftengine.operations import Plan
from driftengine.plan import make_plan, questions
from driftengine.renames import base_moved, compared, facts_of, identity_moved
from driftengine.risk import IGNORE
from driftengine.taken_back import ROLLBACK, done_by, undone, wishes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from driftengine.changes import Difference
    from driftengine.desired import Desired
    from driftengine.dialects.base import Database, Dialect
    from driftengine.history import Entry
    from driftengine.operations import Operation
    from driftengine.renames import Rename
    from driftengine.schema import Schema
    from driftengine.target import Target

GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found. `entries` are the rows of the history; `timings_ms` go by phase.

    `kind` is that of the history row which an apply of the plan writes; `more` gives what stands in that row beside, for the
    operations that went ahead.
    """

    desired: Desired
    wanted: Schema
    actual: Schema
    drift: Drift
    plan: Plan
    entries: tuple[Entry, ...]
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    kind: str = "migration"
    more: Callable[[Sequence[Operation]], Mapping[str, Any]] | None = None

    @property
    def in_step(self) -> bool:
        """True when the database is what the models describe."""
        return not self.drift.differences

    @property
    def base_is_old(self) -> bool:
        """True when the models describe something else than when base was recorded."""
        base = history.latest_base(self.entries)
        return base is not None and base.desired != self.desired.stored

    @property
    def met(self) -> bool:
        """True when driftd has met this database before."""
        return any(entry.base is not None for entry in self.entries)

    @property
    def certain(self) -> bool:
        """True when it is in step, and no row and no journal may have had a say in that: then it may be remembered."""
        return self.in_step and not self.plan.ignored

    @property
    def recorded(self) -> bool:
        """True when base is that of the models as they are now, so that an apply in step would write nothing down."""
        return self.met and not self.base_is_old


def survey(
    dialect: Dialect,
    database: Database,
    target: Target,
    desired: Desired,
    *,
    disputed: Collection[accepted.Key] = (),
) -> Survey:
    """Reads the database and compares. Raises DatabaseError, HistoryError, PlanError.

    `disputed` are differences that were accepted once, by `accepted.key_of`, and are differences again.
    """
    with database.snapshot():
        return _surveyed(dialect, database, target, desired, disputed)


def _surveyed(
    dialect: Dialect, database: Database, target: Target, desired: Desired, disputed: Collection[accepted.Key]
) -> Survey:
    started = time.perf_counter()
    actual = database.read()
    reader = database.reader()
    entries = history.read(reader) if reader is not None else ()
    read = time.perf_counter()
    wanted = dialect.understand(desired.stored)
    hinted = _hinted(wanted, actual, desired, target, entries)
    drift = drift_of(dialect, wanted, actual, entries, target.ignore, disputed, hinted.renames)
    compared = time.perf_counter()
    plan = Plan(())
    backfills = known_backfills(wanted, desired, target.backfill)
    if drift.differences:
        standing = dialect.renamed(actual, drift.renames)
        base = base_of(dialect, entries)
        moved = None if base is None else base_moved(dialect, base, drift.renames)
        pairs = suspicion.pairs(drift, moved, standing)
        asked = questions(drift).joined(suspicion.asked(pairs, hinted.twins, hinted.kept))
        facts = facts_of(database, asked, drift.renames)
        plan = make_plan(
            dialect, drift, wanted, actual, facts,
            backfills=backfills, policy=target.policy, max_calls=target.backfill_max_rows,
            suspicions={
                **suspicion.suspicions(pairs, facts, standing),
                **suspicion.kept_names(drift, hinted.kept, facts, standing),
            },
            notes=suspicion.twin_notes(hinted.twins, facts),
            taken_back=_taken_back(database, target, entries, actual),
        )  # fmt: skip
        drift = drift.without(plan.ignored)
        if plan.copied_tables:
            copies = facts_of(database, Questions(plan.copied_tables), drift.renames)
            plan = replace(plan, copies=copies.rows)
    timings = {
        "read": _milliseconds(read - started),
        "compare": _milliseconds(compared - read),
        "plan": _milliseconds(time.perf_counter() - compared),
    }
    return Survey(desired, wanted, actual, drift, plan, entries, timings)


def _taken_back(
    database: Database, target: Target, entries: tuple[Entry, ...], actual: Schema
) -> Mapping[tuple[str, str], str]:
    """What was rolled back. An empty database has had nothing, whatever the journal tells of one that was there before."""
    if not actual.stored:
        return {}
    # Whoever may not read the backups is told what the database itself knows; a starting service waits for nobody here.
    path = journal_of(folder_for(target.backup.directory, database.name))
    return wishes(entries, journal.mentioning(path, (b'"done"', b'"undoes"', b'"takes_back"')))


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def drift_of(
    dialect: Dialect,
    wanted: Schema,
    actual: Schema,
    entries: tuple[Entry, ...],
    ignore: Sequence[str] = (),
    disputed: Collection[accepted.Key] = (),
    renames: Sequence[Rename] = (),
) -> Drift:
    """Desired against actual, with all that the history remembers of who moved and what is accepted."""
    found = compared(dialect, wanted, actual, base_of(dialect, entries), ignore, renames)
    drift = accepted.recalled(found, _remembered(entries, found.renames), disputed)
    agreed = {rename_of(d) for d in drift.accepted if d.change == RENAME}
    if not agreed & set(drift.renames):
        return drift
    # Who agrees to the old name has what stands there under it compared as it is.
    left = [one for one in drift.renames if one not in agreed]
    rest = drift_of(dialect, wanted, actual, entries, ignore, disputed, left)
    names = (d for d in drift.accepted if d.change == RENAME and rename_of(d) in agreed)
    return replace(rest, accepted=(*names, *rest.accepted))


def in_their_place(
    dialect: Dialect, found: Survey, ignore: Sequence[str], renames: Collection[Rename]
) -> tuple[Difference, ...]:
    """What differs besides where these renames are not to be: the new names are missing, the old ones are there."""
    drift = found.drift
    left = [one for one in drift.renames if one not in renames]
    if len(left) == len(drift.renames):
        return ()
    known = {accepted.key_of(d) for d in (*drift.differences, *drift.accepted, *drift.ignored)}
    instead = drift_of(dialect, found.wanted, found.actual, found.entries, ignore, renames=left)
    return tuple(d for d in instead.differences if accepted.key_of(d) not in known)


def _remembered(entries: tuple[Entry, ...], renames: Sequence[Rename]) -> Mapping[str, Any]:
    """What the row that recorded base last remembers beside it, by the names after the renames."""
    entry = _last_with_base(entries)
    if entry is None or not renames:
        return {} if entry is None else entry.evidence
    told = {name: entry.evidence.get(name, {}) for name in ("moved", "accepted")}
    return {
        name: {identity_moved(one, renames): what for one, what in by_identity.items()}
        for name, by_identity in told.items()
    }


def _last_with_base(entries: tuple[Entry, ...]) -> Entry | None:
    return next((entry for entry in reversed(entries) if entry.base is not None), None)


def base_of(dialect: Dialect, entries: tuple[Entry, ...]) -> Base | None:
    """What the history knows of last time, None before the first meeting."""
    entry = _last_with_base(entries)
    if entry is None or entry.base is None:
        return None
    waiting = frozenset(str(one) for one in entry.evidence.get("waiting", ()))
    return Base(dialect.understand(entry.base.actual), dialect.understand(entry.base.desired), waiting)


def known_backfills(
    wanted: Schema, desired: Desired, configured: Mapping[str, str]
) -> dict[tuple[str, str], Backfill]:
    """The best value that is known for each column, by (table, column) key.

    What the configuration or a flag gives goes before the hint in the models, and that before the model's own default.
    """
    places = {
        f"{table.name}.{column.name}".lower(): (key, column.key)
        for key, table in wanted.tables.items()
        for column in table.columns
    }
    found: dict[tuple[str, str], Backfill] = {}
    for place, backfill in _from_models(desired):
        if place in places:
            found[places[place]] = backfill
    for place, expression in configured.items():
        if place.lower() not in places:
            near = difflib.get_close_matches(place.lower(), places, n=3)
            raise PlanError(
                f"a backfill is given for {place}, which the models do not describe",
                code="backfill-unknown",
                why=f"the nearest columns are {', '.join(near)}" if near else "no column is called so",
                fix="write it as table.column",
            )
        found[places[place.lower()]] = Backfill(f"({expression})", GIVEN)
    return found


def _from_models(desired: Desired) -> Iterator[tuple[str, Backfill]]:
    for default in desired.defaults:
        place = f"{default.table}.{default.column}".lower()
        if default.sql is not None:
            yield place, Backfill(f"({default.sql})", "the model's default")
        elif default.callable is not None:
            yield (
                place,
                Backfill(
                    f"{value_function(place)}()", f"a value of the models' {default.callable}() each", place
                ),
            )
    for hint in desired.hints:
        if hint.backfill is not None:
            yield f"{hint.table}.{hint.column}".lower(), Backfill(f"({hint.backfill})", GIVEN)


def _hinted(
    wanted: Schema, actual: Schema, desired: Desired, target: Target, entries: tuple[Entry, ...]
) -> Wanted:
    """What the hints of the models and the configuration say that was called otherwise. Raises PlanError."""
    gone = undone(entries)
    done = {
        (one.identity, one.old)
        for entry in entries
        if entry.kind != ROLLBACK  # whoever exchanges two names back does just what was done
        for one in done_by(entry.evidence)
        if one.old and one.number not in gone.get(str(entry.migration_id), ())
    }
    found = renames_wanted(wanted, actual, desired.hints, target.renames, done)
    rules = {name.lower() for name, rule in target.policy.items() if rule == IGNORE}
    going = [
        one
        for one in found.renames
        if not rules & {one.table, "rename-column" if one.column else "rename-table"}
    ]
    return replace(found, renames=tuple(going))


def value_function(place: str) -> str:
    """The name of the SQL function that hands out the values drawn for a column."""
    return f"driftd_value_{hashlib.sha256(place.encode()).hexdigest()[:8]}"
