"""What is asked of an apply, and what came of it. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from driftengine.choice import DEFERRED, MIGRATED
from driftengine.window import in_use

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from driftengine.approvals import Given
    from driftengine.choice import Choice
    from driftengine.errors import DriftError
    from driftengine.history import Entry
    from driftengine.manifest import Backup
    from driftengine.operations import Operation, Plan
    from driftengine.rehearse import Blocked
    from driftengine.survey import Survey


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: a certain plan or any, approvals by operation id or code, and who asked.

    `standing` are approvals that were given before. Those of another plan do not count. `in_use`: others run on this
    schema, and what their code would not survive waits. `only` are the ids of what is to go ahead at all; None: everything.
    """

    plan_id: str | None = None
    approve: tuple[str, ...] = ()
    dry_run: bool = False
    allowed_by: str = ""
    standing: Given = field(default_factory=dict)
    in_use: bool = False
    only: tuple[str, ...] | None = None

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
    """What came of it. `operations` were applied; `held` and `blocked` wait for a person or for the rows.

    `in_use` are the numbers of what is held only because others run on this schema; `stage` says with what it was applied
    in a window; `former` is the migration of this very window that was there already.
    """

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
    in_use: frozenset[int] = frozenset()
    stage: str | None = None
    former: Entry | None = None


def without_applying(found: Survey, choice: Choice) -> Applied:
    """The result as far as it is known without applying anything."""
    outcome = choice.settled or MIGRATED
    command = "rollback" if found.kind == "rollback" else "apply"
    error = in_use(len(choice.in_use), command) if outcome == DEFERRED else None
    return Applied(
        outcome, found.plan, choice.operations, choice.held, choice.blocked, error=error, in_use=choice.in_use
    )
