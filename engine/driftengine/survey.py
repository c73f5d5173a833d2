"""Where a target stands: desired, actual and base, the drift between them, and the plan that would end it.

Reading only. The same survey serves `check`, `plan` and `apply`.
"""

from __future__ import annotations

import difflib
import hashlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from driftengine import history
from driftengine.changes import MODELS, Backfill, Questions
from driftengine.diff import Base, Drift, compare
from driftengine.errors import PlanError
from driftengine.operations import Plan
from driftengine.plan import make_plan, questions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from driftengine.desired import Desired
    from driftengine.dialects.base import Database, Dialect
    from driftengine.history import Entry
    from driftengine.schema import Schema
    from driftengine.target import Target

GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found. `entries` are the rows of the history; `timings_ms` go by phase."""

    desired: Desired
    wanted: Schema
    actual: Schema
    drift: Drift
    plan: Plan
    entries: tuple[Entry, ...]
    timings_ms: Mapping[str, float] = field(default_factory=dict)

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
    def recorded(self) -> bool:
        """True when base is that of the models as they are now, so that an apply in step would write nothing down."""
        return self.met and not self.base_is_old


def survey(dialect: Dialect, database: Database, target: Target, desired: Desired) -> Survey:
    """Reads the database and compares. Raises DatabaseError, HistoryError, PlanError."""
    with database.snapshot():
        return _surveyed(dialect, database, target, desired)


def _surveyed(dialect: Dialect, database: Database, target: Target, desired: Desired) -> Survey:
    started = time.perf_counter()
    actual = database.read()
    reader = database.reader()
    entries = history.read(reader) if reader is not None else ()
    read = time.perf_counter()
    wanted = dialect.understand(desired.stored)
    drift = _with_memory(compare(wanted, actual, _base(dialect, entries), target.ignore), entries)
    compared = time.perf_counter()
    plan = Plan(())
    backfills = known_backfills(wanted, desired, target.backfill)
    if drift.differences:
        facts = database.facts(questions(drift))
        plan = make_plan(
            dialect, drift, wanted, actual, facts,
            backfills=backfills, policy=target.policy, max_calls=target.backfill_max_rows,
            renames=_hinted_renames(wanted, actual, desired),
        )  # fmt: skip
        if plan.copied_tables:
            plan = replace(plan, copies=database.facts(Questions(plan.copied_tables)).rows)
    timings = {
        "read": _milliseconds(read - started),
        "compare": _milliseconds(compared - read),
        "plan": _milliseconds(time.perf_counter() - compared),
    }
    return Survey(desired, wanted, actual, drift, plan, entries, timings)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _with_memory(drift: Drift, entries: tuple[Entry, ...]) -> Drift:
    """What was done by hand and still waits keeps its origin, though base holds it by now."""
    entry = _last_with_base(entries)
    moved = entry.evidence.get("moved", {}) if entry is not None else {}
    return replace(
        drift,
        differences=tuple(
            replace(d, origin=moved[d.identity]) if d.origin == MODELS and d.identity in moved else d
            for d in drift.differences
        ),
    )


def _last_with_base(entries: tuple[Entry, ...]) -> Entry | None:
    return next((entry for entry in reversed(entries) if entry.base is not None), None)


def _base(dialect: Dialect, entries: tuple[Entry, ...]) -> Base | None:
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


def _hinted_renames(wanted: Schema, actual: Schema, desired: Desired) -> dict[tuple[str, str], str]:
    """Hints of the models (`renamed_from`) whose old name is still in the database, and the new one is not."""
    found: dict[tuple[str, str], str] = {}
    for hint in desired.hints:
        table = next((t for t in wanted.tables.values() if t.name.lower() == hint.table.lower()), None)
        for old in hint.renamed_from if table is not None else ():
            present = actual.tables.get(table.key) if table is not None else None
            if table is not None and not hint.column and present is None:
                if any(t.name.lower() == old.lower() for t in actual.tables.values()):
                    found[table.key, ""] = old
            elif table is not None and hint.column and present is not None:
                column = next((c for c in table.columns if c.name.lower() == hint.column.lower()), None)
                if column is not None and any(c.name.lower() == old.lower() for c in present.columns):
                    found[table.key, column.key] = old
    return found


def value_function(place: str) -> str:
    """The name of the SQL function that hands out the values drawn for a column."""
    return f"driftd_value_{hashlib.sha256(place.encode()).hexdigest()[:8]}"
