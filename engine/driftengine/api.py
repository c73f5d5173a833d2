"""What others call: one function a question or a command, each answering with a document that is ready for JSON.

The documents are those of docs/cli.md; a terminal, `--json` and a socket all show the same ones.
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftengine import backup as backups
from driftengine import history as histories
from driftengine import journal
from driftengine.apply import Applied, Applier, Request
from driftengine.backup_files import folder_for, journal_of
from driftengine.desired import Desired, read_desired
from driftengine.dialects.sqlite.database import LOCK_WAIT, SqliteDatabase, name_of, open_database
from driftengine.dialects.sqlite.dialect import SqliteDialect
from driftengine.errors import DriftError, HistoryError
from driftengine.risk import SAFE
from driftengine.stage import judged
from driftengine.survey import Survey, survey
from driftengine.target import BackupSettings, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from driftengine.operations import Operation
    from driftengine.rehearse import Blocked
    from driftengine.stage import Progress

__all__ = [
    "BackupSettings",
    "Target",
    "apply",
    "backup_create",
    "backup_list",
    "backup_prune",
    "backup_restore",
    "backup_verify",
    "check",
    "history",
    "history_verify",
    "plan",
    "plan_script",
]

Document = dict[str, Any]
SCHEMA_VERSION = 1
_DIALECT = SqliteDialect()


def _open(target: Target, *, tidy: bool = False, lock_wait: float = LOCK_WAIT) -> SqliteDatabase:
    return open_database(target.url, directory=Path(target.models.directory), tidy=tidy, lock_wait=lock_wait)


def _head(target: Target, database: SqliteDatabase) -> Document:
    return _headed(target, database.name)


def _headed(target: Target, name: str) -> Document:
    return {"schema_version": SCHEMA_VERSION, "target": target.name, "database": name}


def _surveyed(target: Target, database: SqliteDatabase) -> tuple[Survey, dict[str, float]]:
    started = time.perf_counter()
    desired = read_desired(target.models)
    probed = time.perf_counter()
    found = survey(_DIALECT, database, target, desired)
    timings = {"probe": round((probed - started) * 1000, 3), **found.timings_ms}
    timings["total"] = round((time.perf_counter() - started) * 1000, 3)
    return found, timings


def check(target: Target) -> Document:
    """Is there drift? Raises DriftError."""
    with closing(_open(target)) as database:
        found, timings = _surveyed(target, database)
        runnable = found.plan.runnable()
        state = "in_sync" if not found.drift.differences else "drifted" if runnable else "held"
        return {
            **_head(target, database),
            "state": state,
            "in_sync": not found.drift.differences,
            "differences": [difference.as_document() for difference in found.drift.differences],
            "plan": found.plan.as_document() if found.plan.operations else None,
            "unmanaged": [{"type": row.type, "name": row.name} for row in found.drift.unmanaged],
            "unsupported": list(found.desired.unsupported),
            "timings_ms": timings,
        }


def plan(target: Target) -> Document:
    """What would be done, why, and at what risk. Raises DriftError."""
    with closing(_open(target)) as database:
        found, _ = _surveyed(target, database)
        return {
            **_head(target, database),
            "plan": found.plan.as_document() if found.plan.operations else None,
        }


def plan_script(target: Target) -> str:
    """The plan as a script for the database's own shell, without what waits. Raises DriftError."""
    with closing(_open(target)) as database:
        found, _ = _surveyed(target, database)
        kept, blocked, _ = judged(database, found.plan.runnable(), frozenset())
        return script_of(found, kept, {one.operation.number: one.reason for one in blocked})


def script_of(found: Survey, kept: Sequence[Operation], blocked: Mapping[int, str]) -> str:
    """What may go ahead for the rows that are there, each of what is left out with its reason as a comment.

    Edits of the stored DDL are left out (a shell may forbid them), and so are values from callables.
    """
    scripted = [o for o in kept if not (o.change.backfill and o.change.backfill.callable)]
    numbers = {o.number for o in scripted}
    held = [
        f"left out: {o.judgement.kind} {o.difference.table}.{o.difference.name} ({o.judgement.code}): "
        + (blocked.get(o.number) or _left_out(o))
        for o in found.plan.operations
        if o.number not in numbers
    ]
    script = _DIALECT.script(found.wanted, found.actual, [o.change for o in scripted], catalogue_edits=False)
    lines = [line for text in held for line in text.splitlines()]
    if not script.steps:
        return "".join(f"-- {line}\n" for line in ["nothing to do", *lines])
    return _DIALECT.script_text(script, lines, careful=any(o.judgement.risk != SAFE for o in scripted))


def _left_out(operation: Operation) -> str:
    fill = operation.change.backfill
    if fill is not None and fill.callable:
        return "only `driftd apply` can call the models for the values of old rows"
    return operation.judgement.reason


def apply(
    target: Target,
    *,
    plan_id: str | None = None,
    approve: Sequence[str] = (),
    dry_run: bool = False,
    allowed_by: str = "",
    progress: Progress | None = None,
) -> Document:
    """Stages and applies now. Raises DriftError for what is refused before anything was tried."""
    desired: Desired = read_desired(target.models)
    request = Request(plan_id, tuple(approve), dry_run, allowed_by)

    def opened() -> SqliteDatabase:
        return _open(target, tidy=not dry_run, lock_wait=target.window_timeout)

    applied = Applier(_DIALECT, opened, target, desired, request, progress).apply()
    return _applied(applied, target, dry_run=dry_run)


def _applied(applied: Applied, target: Target, *, dry_run: bool) -> Document:
    backup = applied.backup
    return {
        **_headed(target, name_of(target.url, directory=Path(target.models.directory))),
        "outcome": applied.outcome,
        "operations": len(applied.operations),
        "duration_ms": applied.duration_ms,
        "migration_id": applied.migration_id,
        "plan_id": applied.plan.id if applied.plan is not None and applied.plan.operations else None,
        "backup": backup
        and {
            "id": backup.id,
            "path": str(backup.path),
            "sha256": backup.sha256,
            "verified": backup.verified,
        },
        "applied": [_named(one, applied) for one in applied.operations],
        "held": _held(applied, target),
        "blocked": [_blocked(one, applied) for one in applied.blocked],
        "dry_run": dry_run,
        "warnings": list(applied.warnings),
        "error": applied.error.as_document() if applied.error is not None else None,
    }


def _named(operation: Operation, applied: Applied) -> Document:
    names = applied.plan.names if applied.plan is not None else {}
    return {
        "operation": applied.plan.operation_id(operation.number) if applied.plan is not None else "",
        "kind": operation.judgement.kind,
        "table": names.get(operation.difference.table, operation.difference.table) or None,
        "name": operation.difference.name,
        "code": operation.judgement.code,
        "risk": operation.judgement.risk,
        "strategy": operation.change.strategy,
        "detail": operation.difference.detail,
        "reason": _reason(operation, applied),
    }


def _reason(operation: Operation, applied: Applied) -> str:
    """Why it is judged so, or for whom it waits."""
    left_out = {o.number: o for o in (*applied.held, *(one.operation for one in applied.blocked))}
    needed = [left_out[number] for number in sorted(operation.needs & left_out.keys())]
    if operation.number in left_out and needed and not operation.judgement.hold:
        return f"it needs {', '.join(f'{o.judgement.kind} {o.difference.name}' for o in needed)} first"
    return operation.judgement.reason


def _held(applied: Applied, target: Target) -> list[Document]:
    """The held operations, each with the rows that it would concern as far as they can be read."""
    if not applied.held:
        return []
    documents = [{**_named(one, applied), "rows": [], "count": 0} for one in applied.held]
    try:
        with closing(_open(target)) as database:
            actual = database.read()
            for one, document in zip(applied.held, documents, strict=True):
                query = _DIALECT.concerned(one.difference, actual)
                if query:
                    rows = database.offending(query)
                    document |= {"rows": rows.as_documents(), "count": rows.count}
    except DriftError:
        pass  # what was done or not done is known; the rows are only shown
    return documents


def _blocked(one: Blocked, applied: Applied) -> Document:
    return {
        **_named(one.operation, applied),
        "reason": one.reason,
        "rows": one.offending.as_documents(),
        "count": one.offending.count,
    }


def history(target: Target, migration: str | None = None) -> Document:
    """The audit trail, or one entry of it with everything. Raises HistoryError (`migration-unknown`)."""
    with closing(_open(target)) as database:
        reader = database.reader()
        entries = histories.read(reader) if reader is not None else ()
        if migration is not None:
            entries = tuple(entry for entry in entries if entry.migration_id == migration)
            if not entries:
                raise HistoryError(
                    f"there is no migration {migration}",
                    code="migration-unknown",
                    why="the history of this database does not list it",
                    fix="run `driftd history`",
                )
        return {
            **_head(target, database),
            "migrations": [_entry(entry, whole=migration is not None) for entry in entries],
        }


def _entry(entry: histories.Entry, *, whole: bool) -> Document:
    operations = (entry.plan or {}).get("operations", [])
    applied = set(entry.evidence.get("applied", []))
    document: Document = {
        "id": entry.id,
        "kind": entry.kind,
        "migration_id": entry.migration_id,
        "at": entry.at,
        "allowed_by": entry.allowed_by,
        "operations": len(applied),
        "plan_id": (entry.plan or {}).get("id"),
        "backup": entry.backup,
        "hash": entry.hash,
    }
    if whole:
        document |= {
            "plan": entry.plan,
            "applied": [o for number, o in enumerate(operations, 1) if number in applied],
            "evidence": entry.evidence,
            "durations_ms": entry.durations,
            "versions": entry.versions,
            "database_id": entry.database_id,
            "previous": entry.previous,
        }
    return document


def history_verify(target: Target) -> Document:
    """Checks the hash chain, and the journal beside the backups. Raises DriftError."""
    with closing(_open(target)) as database:
        reader = database.reader()
        rows = histories.read_rows(reader) if reader is not None else ()
        problems = list(histories.chain_problems(rows))
        path = journal_of(_folder(target, database))
        if not problems and path.exists():
            entries = tuple(histories.decode(row) for row in rows)
            problems += histories.reconcile(entries, journal.read(path))
        return {**_head(target, database), "ok": not problems, "entries": len(rows), "problems": problems}


def _folder(target: Target, database: SqliteDatabase) -> Path:
    return folder_for(target.backup.directory, database.name)


def _database_id(database: SqliteDatabase) -> str:
    reader = database.reader()
    entries = histories.read(reader) if reader is not None else ()
    return entries[-1].database_id if entries else ""


def _pinned(database: SqliteDatabase) -> tuple[str, ...]:
    """The backup of the last migration: a rollback needs it."""
    reader = database.reader()
    entries = histories.read(reader) if reader is not None else ()
    ids = [str(entry.backup["id"]) for entry in entries if entry.backup]
    return tuple(ids[-1:])


def backup_create(target: Target, *, reason: str = "requested", progress: Progress | None = None) -> Document:
    """Makes a verified backup now. Raises BackupError, DatabaseError."""
    with closing(_open(target)) as database:
        made = backups.create(
            database.files(),
            _folder(target, database),
            reason=reason,
            database_id=_database_id(database),
            progress=progress,
        )
        return {**_head(target, database), "backup": made.as_document()}


def backup_list(target: Target) -> Document:
    """The backups of the target, oldest first, and what lies beside them that cannot be listed."""
    with closing(_open(target)) as database:
        folder = _folder(target, database)
        return {
            **_head(target, database),
            "folder": str(folder),
            "backups": [one.as_document() for one in backups.list_backups(folder)],
            "problems": list(backups.strays(folder)),
        }


def backup_verify(target: Target, backup_id: str | None = None) -> Document:
    """Proves one backup, or all of them. Raises BackupError (`backup-unknown`)."""
    with closing(_open(target)) as database:
        folder = _folder(target, database)
        chosen = backups.list_backups(folder) if backup_id is None else (backups.find(folder, backup_id),)
        strays = () if backup_id is not None else backups.strays(folder)
        own_id = _database_id(database)
        documents = []
        for one in chosen:
            problems = backups.verify(one, database.files(), database_id=own_id)
            documents.append({**one.as_document(), "problems": list(problems)})
        ok = not strays and not any(document["problems"] for document in documents)
        return {**_head(target, database), "backups": documents, "problems": list(strays), "ok": ok}


def backup_restore(target: Target, backup_id: str, *, progress: Progress | None = None) -> Document:
    """Brings a backup back into the live database, after a safety backup. Raises BackupError, BusyError."""
    with closing(_open(target)) as database:
        folder = _folder(target, database)
        restored = backups.restore(
            database.files(),
            folder,
            backups.find(folder, backup_id),
            database_id=_database_id(database),
            progress=progress,
            deadline_at=time.monotonic() + target.window_timeout,
        )
        safety = restored.safety_backup
        return {
            **_head(target, database),
            "restored": restored.backup.as_document(),
            "safety_backup": safety.as_document() if safety else None,
        }


def backup_prune(target: Target) -> Document:
    """Removes what the retention no longer keeps. Raises BackupError."""
    with closing(_open(target)) as database:
        settings = target.backup
        pruned = backups.prune(
            _folder(target, database),
            keep=settings.keep,
            keep_for=settings.keep_for,
            max_total_size=settings.max_total_size,
            database=database.name,
            database_id=_database_id(database),
            pinned=_pinned(database),
        )
        return {
            **_head(target, database),
            "removed": [one.as_document() for one in pruned.removed],
            "kept": [one.as_document() for one in pruned.kept],
        }
