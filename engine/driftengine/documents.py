"""The documents with which the engine answers, ready for JSON: those of docs/cli.md. Values in, a document out.

A terminal, `--json` and a socket all show the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftengine.errors import DriftError
from driftengine.window import IN_USE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager

    from driftengine.ahead import Prepared
    from driftengine.applied import Applied
    from driftengine.changes import Difference
    from driftengine.dialects.base import Database, Dialect
    from driftengine.history import Entry
    from driftengine.operations import Operation, Plan
    from driftengine.rehearse import Blocked
    from driftengine.survey import Survey
    from driftengine.target import Target

    Opened = Callable[[], AbstractContextManager[Database]]

Document = dict[str, Any]
SCHEMA_VERSION = 1
_IN_USE = (
    "other services run on this schema, and their code may not survive it; it is done at a start when none of them runs, or "
    "when a person approves it"
)


def head(target: Target, name: str) -> Document:
    """What every document begins with; `name` is the database's."""
    return {"schema_version": SCHEMA_VERSION, "target": target.name, "database": name}


def check(
    target: Target,
    name: str,
    found: Survey,
    timings_ms: Mapping[str, float],
    *,
    approved: frozenset[int] = frozenset(),
) -> Document:
    """Is there drift?"""
    runnable = found.plan.runnable(approved)
    return {
        **head(target, name),
        "state": "in_sync" if found.in_step else "drifted" if runnable else "held",
        "in_sync": found.in_step,
        "differences": [difference(one, found) for one in found.drift.differences],
        "accepted": [difference(one, found) for one in found.drift.accepted],
        "ignored": [difference(one, found) for one in found.drift.ignored],
        "plan": plan(found),
        "unmanaged": [{"type": row.type, "name": row.name} for row in found.drift.unmanaged],
        "unsupported": list(found.desired.unsupported),
        "timings_ms": dict(timings_ms),
    }


def difference(one: Difference, found: Survey) -> Document:
    """DIFFERENCE, with the table's name as it is spelled, as in PLAN."""
    return {**one.as_document(), "table": found.plan.names.get(one.table, one.table)}


def plan(found: Survey) -> Document | None:
    """PLAN, or None where there is nothing to do."""
    return found.plan.as_document() if found.plan.operations else None


def applied(target: Target, name: str, done: Applied, held: list[Document], *, dry_run: bool) -> Document:
    """What came of an apply; `held` are the documents of what it left held."""
    backup = done.backup
    return {
        **head(target, name),
        "outcome": done.outcome,
        "operations": len(done.operations),
        "duration_ms": done.duration_ms,
        "migration_id": done.migration_id,
        "plan_id": done.plan.id if done.plan is not None and done.plan.operations else None,
        "backup": backup
        and {
            "id": backup.id,
            "path": str(backup.path),
            "sha256": backup.sha256,
            "verified": backup.verified,
        },
        "applied": [operation(done.plan, one) for one in done.operations] if done.plan else [],
        "held": held,
        "blocked": blocked_documents(done.plan, done.held, done.blocked),
        "dry_run": dry_run,
        "warnings": list(done.warnings),
        "error": done.error.as_document() if done.error is not None else None,
        **(_former(done.former) if done.former is not None else {}),
    }


def nothing_applied(
    target: Target, name: str, outcome: str, duration_ms: float, error: DriftError | None = None
) -> Document:
    """The answer of a startup window in which no plan was looked at."""
    return {
        **head(target, name),
        "outcome": outcome,
        "operations": 0,
        "duration_ms": duration_ms,
        "migration_id": None,
        "plan_id": None,
        "backup": None,
        "applied": [],
        "held": [],
        "blocked": [],
        "dry_run": False,
        "warnings": [],
        "error": error.as_document() if error is not None else None,
        "stage": None,
    }


def _former(entry: Entry) -> Document:
    """What a migration did that is told of by its row in the history alone."""
    plan, numbers = entry.planned() or {}, set(entry.evidence.get("applied", ()))
    done = [one for number, one in enumerate(plan.get("operations", ()), 1) if number in numbers]
    return {
        "operations": len(done),
        "migration_id": entry.migration_id,
        "plan_id": plan.get("id"),
        "backup": {**entry.backup, "verified": True} if entry.backup else None,  # else it would not be one
        "applied": [{"operation": one["id"], **{key: one[key] for key in _TOLD}} for one in done],
    }


_TOLD = ("kind", "table", "name", "code", "risk", "strategy", "detail", "reason")


def operation(plan: Plan, one: Operation, waiting: Sequence[Operation] = ()) -> Document:
    """One operation of a plan, of which `waiting` does not go ahead."""
    table = plan.names.get(one.difference.table, one.difference.table)
    return {
        "operation": plan.operation_id(one.number),
        "kind": one.judgement.kind,
        "table": table or None,
        "name": one.difference.name,
        "code": one.judgement.code,
        "risk": one.judgement.risk,
        "strategy": one.change.strategy,
        "detail": one.difference.detail,
        "reason": _reason(one, {o.number: o for o in waiting}),
    }


def _reason(one: Operation, waiting: Mapping[int, Operation]) -> str:
    """Why it is judged so, or for whom it waits."""
    needed = [waiting[number] for number in sorted(one.needs & waiting.keys())]
    if one.number in waiting and needed and not one.judgement.hold:
        return f"it needs {', '.join(f'{o.judgement.kind} {o.difference.name}' for o in needed)} first"
    return one.judgement.reason


# What a drop would lose is said where nobody has counted yet; this is what the count shows.
_EMPTY = {"drop_column": "; every value in it is NULL now", "drop_table": "; it holds no row now"}

_OF_ROWS = frozenset(
    {"value-needed", "rename-suspected"}
)  # what holds a new column because of the rows that are there


def held_documents(
    dialect: Dialect,
    opened: Opened,
    plan: Plan | None,
    held: Sequence[Operation],
    blocked: Sequence[Blocked] = (),
    in_use: frozenset[int] = frozenset(),
) -> list[Document]:
    """The held operations, each with the rows that it would concern as far as they can be read.

    `in_use` are the numbers of those that wait only because others run on this schema.
    """
    if plan is None or not held:
        return []
    from driftengine.renames import concerned, pending  # as much again as a check of a database in sync takes

    documents = [{**one, "count": 0} for one in waiting_documents(plan, held, blocked, in_use)]
    try:
        with opened() as database:
            actual = database.read()
            left = pending(actual, plan.renames)
            for one, document in zip(held, documents, strict=True):
                own = None if one.rows is None else dialect.as_it_is(one.rows, actual, left)
                query = own or concerned(dialect, one.difference, actual, plan.renames)
                # Of a new column the rows matter that would have no value, or not a sure one, and no others.
                if query and (own or document["kind"] != "add_column" or document["code"] in _OF_ROWS):
                    rows = database.offending(query)
                    document |= {"rows": rows.as_documents(), "count": rows.count}
                    if not rows.count and document["kind"] in _EMPTY and document["code"] != IN_USE:
                        document["reason"] += _EMPTY[document["kind"]]
    except DriftError:
        pass  # what is held is known; the rows are only shown
    return documents


def waiting_documents(
    plan: Plan | None,
    held: Sequence[Operation],
    blocked: Sequence[Blocked] = (),
    in_use: frozenset[int] = frozenset(),
    known: Mapping[str, Document] | None = None,
) -> list[Document]:
    """The held operations without a look at the rows: those that are `known`, by operation, else none and no count."""
    if plan is None:
        return []
    waiting = (*held, *(one.operation for one in blocked))
    documents = []
    for one in held:
        document: Document = {**operation(plan, one, waiting), "rows": [], "count": None}
        if one.number in in_use:
            document |= {"code": IN_USE, "reason": _IN_USE}
        told = (known or {}).get(document["operation"], {})
        documents.append(document | {key: told[key] for key in ("rows", "count") if key in told})
    return documents


def blocked_documents(
    plan: Plan | None, held: Sequence[Operation], blocked: Sequence[Blocked]
) -> list[Document]:
    """The blocked operations, each with the rows that stand in its way."""
    if plan is None:
        return []
    waiting = (*held, *(one.operation for one in blocked))
    return [
        {
            **operation(plan, one.operation, waiting),
            "reason": one.reason,
            "rows": one.offending.as_documents(),
            "count": one.offending.count,
        }
        for one in blocked
    ]


def stage(prepared: Prepared, fresh: str, age_s: float, target: Target) -> Document | None:
    """A stage and how good it still is: `fresh` is `exact`, `usable` or `stale`. None where nothing was staged."""
    if prepared.stage is None:
        return None
    from driftengine.ahead import STALE, fits_window  # whoever has a stage has loaded this

    backup = prepared.backup
    return {
        "plan_id": prepared.found.plan.id,
        "made_at": prepared.made_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "age_s": round(age_s, 1),
        "freshness": fresh,
        "operations": len(prepared.stage.rehearsal.chosen),
        "backup": backup and {"id": backup.id, "path": str(backup.path), "size_bytes": backup.size_bytes},
        "stage_ms": prepared.took_ms,
        "apply_ms": prepared.apply_ms,
        "fits_window": fits_window(prepared, fresh=fresh != STALE, window_s=target.window_timeout),
        "window_s": target.window_timeout,
    }


def last_migration(entries: Sequence[Entry]) -> Document | None:
    """The last row of the history that changed the schema."""
    entry = next((entry for entry in reversed(entries) if entry.migration_id is not None), None)
    if entry is None:
        return None
    return {
        "migration_id": entry.migration_id,
        "at": entry.at,
        "operations": len(entry.evidence.get("applied", ())),
        "allowed_by": entry.allowed_by,
    }


def entry(one: Entry, *, whole: bool, undone: Collection[int] | None = None) -> Document:
    """A row of the history; with everything where it is `whole`.

    `undoes` is what a rollback took back, `undone` the operations that have been taken back since.
    """
    told = one.evidence.get("undoes")
    plan = one.planned()
    operations = (plan or {}).get("operations", [])
    done = set(one.evidence.get("applied", []))
    document: Document = {
        "id": one.id,
        "kind": one.kind,
        "migration_id": one.migration_id,
        "at": one.at,
        "allowed_by": one.allowed_by,
        "operations": len(done),
        "plan_id": (plan or {}).get("id"),
        "backup": one.backup,
        "undoes": told and {"migration_id": told["migration"], "operations": told["operations"]},
        "undone": sorted(undone or ()),
        "hash": one.hash,
    }
    if whole:
        document |= {
            "plan": plan,
            "applied": [o for number, o in enumerate(operations, 1) if number in done],
            "evidence": one.evidence,
            "durations_ms": one.durations,
            "versions": one.versions,
            "database_id": one.database_id,
            "previous": one.previous,
        }
    return document
