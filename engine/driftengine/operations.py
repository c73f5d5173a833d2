"""What a plan is made of: operations, which of them go ahead, and how people name and approve them. Pure."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driftengine.changes import CATALOG, MODELS, NATIVE, REBUILD, REMOVE
from driftengine.errors import PlanError
from driftengine.risk import DESTRUCTIVE, GUARDED, MANUAL, SAFE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from driftengine.changes import Change, Difference
    from driftengine.risk import Judgement

_RISKS = (SAFE, GUARDED, DESTRUCTIVE, MANUAL)


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a plan.

    `needs` are the numbers of the operations that it cannot do without; `waits_for` those of them that are held, or wait
    in their turn.
    """

    number: int
    change: Change
    judgement: Judgement
    sql: tuple[str, ...] = ()
    guard: str | None = None
    needs: frozenset[int] = frozenset()
    waits_for: frozenset[int] = frozenset()

    @property
    def difference(self) -> Difference:
        """What it resolves."""
        return self.change.difference

    def features(self) -> tuple[str, ...]:
        """What makes it the same operation in another plan: what it is about, and what it would change."""
        d = self.difference
        return self.judgement.kind, d.table.lower(), d.name, d.detail, self.judgement.code

    def as_document(self, plan_id: str, names: Mapping[str, str]) -> dict[str, Any]:
        """As it stands in PLAN."""
        return {
            "id": f"{plan_id}-{self.number}",
            "kind": self.judgement.kind,
            "table": names.get(self.difference.table, self.difference.table) or None,
            "name": self.difference.name,
            "risk": self.judgement.risk,
            "code": self.judgement.code,
            "strategy": self.change.strategy,
            "sql": list(self.sql),
            "guard": self.guard,
            "undo": _undo(self),
            "reason": self.judgement.reason,
            "detail": self.difference.detail,
            "origin": self.difference.origin,
            "held": self.judgement.hold or bool(self.waits_for),
            "waits_for": [f"{plan_id}-{number}" for number in sorted(self.waits_for)],
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """The operations that turn actual into desired.

    `id` is "" only while it is being made. `copies` holds the rows, by key, of the tables that are copied; like all that
    is known of the rows it takes no part in the id.
    """

    operations: tuple[Operation, ...]
    id: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, int] = field(default_factory=dict)

    @property
    def copied_tables(self) -> frozenset[str]:
        """The keys of the tables that are copied: what takes time is the number of their rows."""
        return frozenset(o.difference.table for o in self.operations if o.change.strategy == REBUILD)

    @property
    def risk(self) -> str:
        """The highest risk of its operations."""
        return max((o.judgement.risk for o in self.operations), key=_RISKS.index, default=SAFE)

    def as_document(self) -> dict[str, Any]:
        """PLAN."""
        return {
            "id": self.id,
            "risk": self.risk,
            "operations": [self._document(operation) for operation in self.operations],
        }

    def _document(self, operation: Operation) -> dict[str, Any]:
        rows = self.copies.get(operation.difference.table) if operation.change.strategy == REBUILD else None
        return {**operation.as_document(self.id, self.names), "copies_rows": rows}

    def operation_id(self, number: int) -> str:
        """How people name an operation of this plan."""
        return f"{self.id}-{number}"

    def require(self, wanted: str | None) -> None:
        """Raises PlanError (`plan-stale`) when a certain plan is wanted, by its id, and this is another one."""
        if wanted is not None and wanted != self.id:
            raise PlanError(
                f"the plan {wanted} no longer fits",
                code="plan-stale",
                why=f"the models or the database have changed since; the plan is now {self.id}"
                if self.operations
                else "there is nothing left to do",
                fix="run `driftd plan` and look at it again",
            )

    def runnable(self, approved: Iterable[int] = ()) -> tuple[Operation, ...]:
        """The operations that go ahead: not held, or approved, and nothing that they need is left out."""
        approved = set(approved)
        chosen = {
            o.number
            for o in self.operations
            if o.judgement.risk != MANUAL and (not o.judgement.hold or o.number in approved)
        }
        kept = closed(self.operations, chosen)
        return tuple(o for o in self.operations if o.number in kept)

    def approved(
        self, words: Sequence[str], earlier: Mapping[str, tuple[str, ...]] | None = None
    ) -> frozenset[int]:
        """The numbers of the operations that `--approve` names, by id or by code. Raises PlanError.

        `earlier` holds, by id, the features of what the last migration left held: its ids stay good for those operations
        which this plan still has, unchanged, so that the answer of an apply can be approved as it is shown.
        """
        numbers: set[int] = set()
        for word in words:
            left_held = (earlier or {}).get(word)
            matching = {
                o.number
                for o in self.operations
                if word in {self.operation_id(o.number), o.judgement.code} or o.features() == left_held
            }
            if not matching:
                raise PlanError(
                    f"{word} names no operation of the plan {self.id}"
                    if self.operations
                    else f"{word} names no operation: there is nothing to do",
                    code="approval-unknown",
                    why=self._why_unknown(word),
                    fix="run `driftd plan` and approve the ids that it shows",
                )
            numbers |= matching
        return frozenset(numbers)

    def _why_unknown(self, word: str) -> str:
        plan, _, number = word.rpartition("-")
        if number.isdigit() and plan == self.id:
            return f"the plan has {len(self.operations)} operations"
        if number.isdigit():
            return "an approval is bound to the plan that it was given for, and this plan is another one"
        near = difflib.get_close_matches(word, {o.judgement.code for o in self.operations}, n=1)
        return f"did you mean {near[0]}?" if near else "no operation has that id or code"


def closed(operations: Iterable[Operation], chosen: Iterable[int]) -> frozenset[int]:
    """The largest part of `chosen` in which nothing needs what is left out."""
    needs = {o.number: o.needs for o in operations}
    kept = set(chosen)
    while True:
        stranded = {number for number in kept if not needs[number] <= kept}
        if not stranded:
            return frozenset(kept)
        kept -= stranded


def left_held(document: Mapping[str, Any], numbers: Iterable[int]) -> dict[str, tuple[str, ...]]:
    """By id, the features of the operations with these numbers in a PLAN document."""
    held = set(numbers)
    return {
        str(o["id"]): (
            o["kind"], (o["table"] or "").lower(), o["name"], o["detail"], o["code"]
        )
        for number, o in enumerate(document.get("operations", ()), 1)
        if number in held
    }  # fmt: skip


def waiting_removals(operations: Iterable[Operation]) -> list[str]:
    """The removals that wait for a person although the models once described what is to go.

    Base keeps them: the models describe it no longer, and the next look must still know that they did.
    """
    return sorted(
        o.difference.identity for o in operations if o.difference.change == REMOVE and o.difference.known
    )


def moved_by_hand(operations: Iterable[Operation]) -> dict[str, str]:
    """Who moved, by difference, where it was not the models alone and the operation waits for a person.

    The next base holds what was done by hand; without this it would look as if the models had moved.
    """
    found = {o.difference.identity: o.difference.origin for o in operations}
    return {identity: origin for identity, origin in sorted(found.items()) if origin != MODELS}


def in_copy(operation: Operation) -> bool:
    """True when a copy of the table would carry the operation out, and ALTER or an edit of the stored DDL do it now."""
    inside = operation.difference.object in {"column", "check", "foreign_key", "primary_key", "option"}
    return inside and operation.change.strategy in {NATIVE, CATALOG}


def _undo(operation: Operation) -> str:
    """How the operation is undone, in a line."""
    d, kind = operation.difference, operation.judgement.kind
    if d.change == REMOVE and d.object in {"table", "column"}:
        return "create it again; its data comes back from the migration's backup"
    if kind.startswith(("create_", "add_")):
        return f"drop the {d.object.replace('_', ' ')} {d.name} again"
    if operation.judgement.code == "convert-column" or operation.change.backfill is not None:
        return "change it back; the old values come back from the migration's backup"
    if d.change == REMOVE:
        return f"create the {d.object.replace('_', ' ')} {d.name} again"
    return f"change it back ({d.detail.split(' → ')[0]})" if "→" in d.detail else "change it back"
