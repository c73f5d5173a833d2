"""What a plan is made of: operations, which of them go ahead, and how people name and approve them. Pure."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driftengine.changes import CATALOG, CHANGE, NATIVE, REBUILD, REMOVE, RENAME, rename_of
from driftengine.errors import PlanError
from driftengine.renames import REFUSED
from driftengine.risk import DESTRUCTIVE, GUARDED, MANUAL, SAFE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from driftengine.changes import Change, Difference, Rename
    from driftengine.risk import Judgement

SUSPECTED = "rename-suspected"
_RISKS = (SAFE, GUARDED, DESTRUCTIVE, MANUAL)


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a plan.

    `needs` are the numbers of the operations that it cannot do without; `waits_for` those of them that are held, or wait
    in their turn. `rows` is a query for the rows that it concerns, where those are others than the dialect would show.
    """

    number: int
    change: Change
    judgement: Judgement
    sql: tuple[str, ...] = ()
    guard: str | None = None
    rows: str | None = None
    needs: frozenset[int] = frozenset()
    waits_for: frozenset[int] = frozenset()

    @property
    def difference(self) -> Difference:
        """What it resolves."""
        return self.change.difference

    @property
    def loses(self) -> bool:
        """True when only a backup has what was there before: whoever takes it back needs that."""
        d = self.difference
        gone = d.change == REMOVE and d.object in {"table", "column", "virtual_table"}
        filled = d.change == CHANGE and self.change.backfill is not None
        rewritten = d.object == "column" and d.aspect in {"type", "generated"}
        # Which ids were given once, nothing but AUTOINCREMENT tells.
        rewritten |= d.aspect == "autoincrement" and not d.desired.autoincrement
        return gone or filled or rewritten or self.judgement.kind in {"change_primary_key", "change_storage"}

    def approved_as(self, code: str) -> bool:
        """True when the approval of all of that code covers it.

        What may live on under another name is lost by its own id alone: whoever agrees to drops has not thought of that.
        """
        return code == self.judgement.code and SUSPECTED not in {*self.judgement.holds} - {code}

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
    is known of the rows it takes no part in the id. `ignored` are differences that the configuration says to leave alone.
    """

    operations: tuple[Operation, ...]
    id: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, int] = field(default_factory=dict)
    ignored: tuple[Difference, ...] = ()

    @property
    def copied_tables(self) -> frozenset[str]:
        """The keys of the tables that are copied: what takes time is the number of their rows."""
        return frozenset(o.difference.table for o in self.operations if o.change.strategy == REBUILD)

    @property
    def renames(self) -> tuple[Rename, ...]:
        """The renames that it is made with: all else in it is told under the new names."""
        renaming = [o for o in self.operations if o.difference.change == RENAME]
        return tuple(rename_of(o.difference) for o in renaming if o.difference.aspect != REFUSED)

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
                if word == self.operation_id(o.number) or o.approved_as(word) or o.features() == left_held
            }
            if not matching:
                raise PlanError(
                    f"{word} names no operation of the plan {self.id}"
                    if self.operations
                    else f"{word} names no operation: there is nothing to do",
                    code="approval-unknown",
                    why=self._why_unknown(word),
                    fix="approve the ids that the plan shows: `driftd plan`, or --dry-run of the command itself",
                )
            numbers |= matching
        return frozenset(numbers)

    def _why_unknown(self, word: str) -> str:
        plan, _, number = word.rpartition("-")
        if number.isdigit() and plan == self.id:
            return f"the plan has {len(self.operations)} operations"
        if number.isdigit():
            return "an approval is bound to the plan that it was given for, and this plan is another one"
        own = [self.operation_id(o.number) for o in self.operations if o.judgement.code == word]
        if own:
            return f"what may live on under another name is approved by its own id: {' '.join(own)}"
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


def all_needed(operations: Iterable[Operation], one: Operation) -> frozenset[int]:
    """What an operation needs, and what that needs in turn."""
    needs = {o.number: o.needs for o in operations}
    found, waiting = set[int](), set(one.needs)
    while waiting:
        found |= waiting
        waiting = set[int]().union(*(needs[number] for number in waiting)) - found
    return frozenset(found)


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


def in_copy(operation: Operation) -> bool:
    """True when a copy of the table would carry the operation out, and ALTER or an edit of the stored DDL do it now."""
    inside = operation.difference.object in {"column", "check", "foreign_key", "primary_key", "option"}
    renaming = operation.difference.change == RENAME
    return inside and not renaming and operation.change.strategy in {NATIVE, CATALOG}


def _undo(operation: Operation) -> str:
    """How the operation is undone, in a line."""
    d, kind = operation.difference, operation.judgement.kind
    if d.change == RENAME:
        return f"rename it back to {d.actual.name}"
    if d.change == REMOVE and d.object in {"table", "column"}:
        return "create it again; its data comes back from the migration's backup"
    if kind.startswith(("create_", "add_")):
        return f"drop the {d.object.replace('_', ' ')} {d.name} again"
    if operation.judgement.code == "convert-column" or operation.change.backfill is not None:
        return "change it back; the old values come back from the migration's backup"
    if d.change == REMOVE:
        return f"create the {d.object.replace('_', ' ')} {d.name} again"
    return f"change it back ({d.detail.split(' → ')[0]})" if "→" in d.detail else "change it back"
