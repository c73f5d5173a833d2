"""Rehearsing a choice of operations until what is left of it goes through: what fails is set aside, with its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from driftengine.changes import REBUILD, REMOVE, RENAME, Offending, Script, rename_of
from driftengine.dialects.base import Rehearsed
from driftengine.errors import RehearsalError
from driftengine.operations import closed, in_copy
from driftengine.renames import compared
from driftengine.risk import GUARDED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from driftengine.changes import SqlValue
    from driftengine.dialects.base import Database, Dialect, Finish
    from driftengine.operations import Operation
    from driftengine.survey import Survey


NOTHING = Offending(0, ())
UNDONE = "the rehearsal ran, and the difference was still there; this is a fault of driftd, please report it"
MOST_TRIALS = 12  # beyond that, looking for the one at fault takes longer than it is worth


@dataclass(frozen=True, slots=True)
class Blocked:
    """An operation that the rows, or the rehearsal, stand in the way of."""

    operation: Operation
    reason: str
    offending: Offending = NOTHING


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What went through, the script that did it, and what was set aside on the way.

    `along` are the numbers of what nobody had chosen, and is done all the same: a constraint over a column that goes.
    """

    chosen: tuple[Operation, ...]
    script: Script
    outcome: Rehearsed
    blocked: tuple[Blocked, ...]
    along: frozenset[int] = frozenset()


def rehearse(
    dialect: Dialect,
    database: Database,
    survey: Survey,
    chosen: Sequence[Operation],
    backup: Path | None,
    workspace: Path,
    *,
    finish: Finish,
    values: Mapping[str, Sequence[SqlValue]],
    progress: Callable[[int, int], None] | None = None,
    deadline_at: float | None = None,
) -> Rehearsal:
    """Runs the chosen operations on a copy of `backup`, fewer of them each time that some fail.

    Raises RehearsalError when the proof finds something that no operation accounts for, DeadlineError at `deadline_at`.
    """
    stand = _Stand(dialect, database, survey, backup, workspace, finish, values, progress, deadline_at)
    blocked: list[Blocked] = []
    left = tuple(chosen)
    while left:
        went, script, outcome = stand.run(left)
        if outcome.ok:
            undone, along = _undone(dialect, survey, went, outcome)
            if not undone:
                return Rehearsal(went, script, outcome, tuple(blocked), along)
            blocked += [Blocked(o, UNDONE) for o in went if o.number in undone]
            left = _without(left, undone)
            continue
        at_fault = stand.culprit(left, _suspects(left, script, outcome))
        blocked += [Blocked(o, _reason(outcome)) for o in left if o.number in at_fault]
        left = _without(left, at_fault)
    return Rehearsal((), Script(), Rehearsed(), tuple(blocked))


@dataclass(frozen=True, slots=True)
class _Stand:
    """Where a choice of operations is tried."""

    dialect: Dialect
    database: Database
    survey: Survey
    backup: Path | None
    workspace: Path
    finish: Finish
    values: Mapping[str, Sequence[SqlValue]]
    progress: Callable[[int, int], None] | None
    deadline_at: float | None

    def run(self, chosen: Sequence[Operation]) -> tuple[tuple[Operation, ...], Script, Rehearsed]:
        """One rehearsal, and a second where old rows still read a default that was to be edited.

        The table is then copied, so that they keep the value.
        """
        left = tuple(chosen)
        script, outcome = self._once(left)
        if outcome.stale_defaults and not outcome.failure:
            copied = {table for table, _ in outcome.stale_defaults}
            left = tuple(_as_copy(o) if o.difference.table in copied and in_copy(o) else o for o in left)
            script, outcome = self._once(left)
        return left, script, outcome

    def _once(self, chosen: Sequence[Operation]) -> tuple[Script, Rehearsed]:
        script = self.dialect.script(
            self.survey.wanted,
            self.survey.actual,
            [o.change for o in chosen],
            catalogue_edits=self.database.catalogue_edits(),
        )
        outcome = self.database.rehearse(
            self.backup,
            self.workspace,
            script,
            finish=self.finish,
            values=self.values,
            progress=self.progress,
            deadline_at=self.deadline_at,
        )
        return script, outcome

    def culprit(self, chosen: Sequence[Operation], suspects: Sequence[int]) -> set[int]:
        """The one suspect without whom the rest goes through; where there is none such, all of them."""
        if 1 < len(suspects) <= MOST_TRIALS:
            for suspect in suspects:
                rest = _without(chosen, {suspect})
                if not rest or self.run(rest)[2].ok:
                    return {suspect}
        return set(suspects)


def _without(operations: Sequence[Operation], numbers: set[int]) -> tuple[Operation, ...]:
    kept = closed(operations, {o.number for o in operations} - numbers)
    return tuple(o for o in operations if o.number in kept)


def _undone(
    dialect: Dialect, survey: Survey, went: Sequence[Operation], outcome: Rehearsed
) -> tuple[set[int], frozenset[int]]:
    """The operations whose difference is still there after they ran, and those that were done along with them.

    What is called migrated has come about.
    Two differences may share a name (two CHECKs over one column), so those that were left out are counted off first.
    """
    numbers = {o.number for o in went}
    waiting = [
        rename_of(o.difference)
        for o in survey.plan.operations
        if o.difference.change == RENAME and o.number not in numbers
    ]
    after = compared(dialect, survey.wanted, dialect.understand(outcome.expected), None, (), waiting)
    left = Counter(difference.identity for difference in after.differences)
    # Without a base a comparison tells of removals inside a table alone.
    inside = {"unique", "check", "foreign_key"}
    along = frozenset(
        o.number
        for o in survey.plan.operations
        if o.number not in numbers
        and o.difference.change == REMOVE
        and o.difference.object in inside
        and not left[o.difference.identity]
    )
    left -= Counter(o.difference.identity for o in survey.plan.operations if o.number not in numbers)
    left -= Counter(d.identity for d in (*survey.drift.accepted, *survey.drift.ignored))
    return {o.number for o in went if left[o.difference.identity] > 0}, along


def _as_copy(operation: Operation) -> Operation:
    return replace(operation, change=replace(operation.change, strategy=REBUILD))


def _key(operation: Operation) -> str:
    """The key of what the operation is about, where it has one of its own."""
    record = operation.difference.desired or operation.difference.actual
    return str(getattr(record, "key", "")) or operation.difference.name.lower()


def _suspects(operations: Sequence[Operation], script: Script, outcome: Rehearsed) -> list[int]:
    """Whom a failed statement served, or whose table or object a problem concerns; those that judge rows first."""
    numbers = set(outcome.failed)
    objects = frozenset[str]().union(*(problem.objects for problem in outcome.problems))
    numbers |= {o.number for o in operations if objects & {o.difference.table, _key(o)} - {""}}
    if not numbers:  # what stood in the way of another statement, and was put back behind it
        numbers = {number for step in script.steps if step.objects & objects for number in step.operations}
    if not numbers:
        raise RehearsalError(
            "the rehearsal failed",
            code="rehearsal-failed",
            why=_reason(outcome),
            fix="nothing was changed; this is worth a report",
        )
    suspects = [o for o in operations if o.number in numbers]
    return [o.number for o in sorted(suspects, key=lambda o: (o.judgement.risk != GUARDED, -o.number))]


def _reason(outcome: Rehearsed) -> str:
    return outcome.failure or "; ".join(problem.text for problem in outcome.problems)
