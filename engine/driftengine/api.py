"""What others call: one function a question or a command, each answering with a document that is ready for JSON.

The documents are those of docs/cli.md; a terminal, `--json` and a socket all show the same ones.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from driftengine import documents
from driftengine.api_backups import (
    backup_create,
    backup_list,
    backup_prune,
    backup_restore,
    backup_verify,
    folder_of,
    head,
    open_target,
)
from driftengine.errors import HistoryError
from driftengine.target import BackupSettings, Target

# Each function imports what it needs: a check of a database in sync takes milliseconds, importing all of this sixty.
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from driftengine.ahead import Prepared
    from driftengine.approvals import Given
    from driftengine.desired import Desired
    from driftengine.dialects.sqlite.database import SqliteDatabase
    from driftengine.documents import Document
    from driftengine.operations import Operation
    from driftengine.stage import Progress
    from driftengine.survey import Survey
    from driftengine.window import Window

__all__ = [
    "BackupSettings",
    "Target",
    "adopt",
    "apply",
    "approvals",
    "backup_create",
    "backup_list",
    "backup_prune",
    "backup_restore",
    "backup_verify",
    "check",
    "history",
    "history_verify",
    "load",
    "plan",
    "plan_script",
    "prepare",
    "revert",
    "rollback",
    "rollback_to_backup",
    "start",
]


def _surveyed(target: Target, database: SqliteDatabase) -> Survey:
    from driftengine.desired import read_desired
    from driftengine.dialects.chosen import DIALECT
    from driftengine.survey import survey

    return survey(DIALECT, database, target, read_desired(target.models))


def check(target: Target, *, fresh: bool = False, memory: Path | None = None) -> Document:
    """Is there drift? Raises DriftError.

    Args:
        target: the database and its models.
        fresh: load the models and compare, whatever is remembered.
        memory: the folder of `remembered.folder`; None to remember nothing.
    """
    from driftengine import remembered

    if fresh or memory is None:
        return _compared(target, None, memory)
    started = time.perf_counter()
    document = remembered.recall_document(memory, target.models)
    if document is None:
        return _compared(target, None, memory)
    from driftengine import remembered_answer as answers

    question = answers.ask(target, document["desired"])
    answer = answers.recall(memory, question) if question is not None else None
    if question is None or answer is None:
        return _compared(target, remembered.desired_of(document), memory)
    taken = _milliseconds_since(started)
    timings = {"probe": 0.0, "read": taken, "compare": 0.0, "plan": 0.0, "total": taken}
    return {**documents.head(target, question.path), **answer, "timings_ms": timings, "models": "remembered"}


def _compared(target: Target, known: Desired | None, memory: Path | None) -> Document:
    """The answer to a check, found out by looking, and remembered where it can be."""
    from driftengine import remembered
    from driftengine import remembered_answer as answers
    from driftengine.dialects.chosen import DIALECT
    from driftengine.survey import survey

    with closing(open_target(target)) as database:
        started = time.perf_counter()
        desired = known or remembered.load(target.models, memory)
        probe = 0.0 if known else _milliseconds_since(started)
        asked = remembered.desired_document(desired)
        question = answers.ask(target, asked) if memory is not None else None
        found = survey(DIALECT, database, target, desired)
        timings = {"probe": probe, **found.timings_ms, "total": _milliseconds_since(started)}
        document = documents.check(target, database.name, found, timings)
        # Asked again: somebody may have changed the database in between.
        if memory is not None and question and found.certain and answers.ask(target, asked) == question:
            answers.remember(memory, question, document, recorded=found.recorded)
        return {**document, "models": "remembered" if known else "probed"}


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


def plan(target: Target) -> Document:
    """What would be done, why, and at what risk. Raises DriftError."""
    with closing(open_target(target)) as database:
        found = _surveyed(target, database)
        return {**head(target, database), "plan": documents.plan(found)}


def plan_script(target: Target) -> str:
    """The plan as a script for the database's own shell, without what waits. Raises DriftError."""
    from driftengine.stage import judged

    with closing(open_target(target)) as database:
        found = _surveyed(target, database)
        kept, blocked, _ = judged(database, found.plan.runnable(), frozenset())
        return script_of(found, kept, {one.operation.number: one.reason for one in blocked})


def script_of(found: Survey, kept: Sequence[Operation], blocked: Mapping[int, str]) -> str:
    """What may go ahead for the rows that are there, each of what is left out with its reason as a comment.

    Edits of the stored DDL are left out (a shell may forbid them), and so are values from callables.
    """
    from driftengine.dialects.chosen import DIALECT
    from driftengine.risk import SAFE

    scripted = [o for o in kept if not (o.change.backfill and o.change.backfill.callable)]
    numbers = {o.number for o in scripted}
    held = [
        f"left out: {o.judgement.kind} {o.difference.table}.{o.difference.name} ({o.judgement.code}): "
        + (blocked.get(o.number) or _left_out(o))
        for o in found.plan.operations
        if o.number not in numbers
    ]
    script = DIALECT.script(found.wanted, found.actual, [o.change for o in scripted], catalogue_edits=False)
    lines = [line for text in held for line in text.splitlines()]
    if not script.steps:
        return "".join(f"-- {line}\n" for line in ["nothing to do", *lines])
    return DIALECT.script_text(script, lines, careful=any(o.judgement.risk != SAFE for o in scripted))


def _left_out(operation: Operation) -> str:
    fill = operation.change.backfill
    if fill is not None and fill.callable:
        return "only `driftd apply` can call the models for the values of old rows"
    return operation.judgement.reason


def load(target: Target) -> Desired:
    """What the models describe now: whoever keeps others waiting while it applies loads them before. Raises ModelsError."""
    from driftengine.desired import read_desired

    return read_desired(target.models)


def apply(
    target: Target,
    *,
    plan_id: str | None = None,
    approve: Sequence[str] = (),
    dry_run: bool = False,
    allowed_by: str = "",
    in_use: bool = False,
    desired: Desired | None = None,
    progress: Progress | None = None,
) -> Document:
    """Stages and applies now. Raises DriftError for what is refused before anything was tried.

    `in_use`: others run on this schema, and what their code would not survive waits. `desired`: what `load` has returned.
    """
    from driftengine.applied import Request
    from driftengine.apply import Applier
    from driftengine.approvals import given_if_readable
    from driftengine.backup_files import folder_for
    from driftengine.dialects.chosen import DIALECT, named

    desired, name = desired or load(target), named(target.url, target.models.directory)
    # What was approved through the daemon is approved here too.
    standing = given_if_readable(folder_for(target.backup.directory, name))
    request = Request(plan_id, tuple(approve), dry_run, allowed_by, standing=standing, in_use=in_use)

    def fresh() -> AbstractContextManager[SqliteDatabase]:
        return closing(open_target(target, tidy=not dry_run, lock_wait=target.window_timeout))

    done = Applier(DIALECT, fresh, target, desired, request, progress).apply()
    held = documents.held_documents(
        DIALECT, lambda: closing(open_target(target)), done.plan, done.held, done.blocked, done.in_use
    )
    return documents.applied(target, name, done, held, dry_run=dry_run)


def start(
    target: Target,
    window: Window,
    *,
    memory: Path | None = None,
    allowed_by: str = "",
    progress: Progress | None = None,
) -> Document:
    """What happens when a service starts where no daemon serves: what fits into the window is staged and applied.

    The document is that of `session.Session.start`. `memory` as in `check`: while nothing has moved since a look that found
    the database in sync, nothing is compared. Raises DriftError, and ModelsError where the models cannot be loaded.
    """
    from driftengine import remembered
    from driftengine import remembered_answer as answers

    started = time.monotonic()
    document = remembered.recall_document(memory, target.models) if memory is not None else None
    if document is not None and memory is not None:
        question = answers.ask(target, document["desired"])
        # Whoever died behind the COMMIT of this very window is found by looking.
        ours = f'"window":"{window.id}"'
        if question is not None and ours not in question.last and answers.recorded(memory, question):
            took = round((time.monotonic() - started) * 1000, 3)
            return documents.nothing_applied(target, question.path, "up_to_date", took)
    from driftengine import starting

    known_models = None if document is None else remembered.desired_of(document)
    return starting.start(target, window, known_models, memory, allowed_by, progress)


def prepare(
    target: Target, desired: Desired, *, approve: Sequence[str] = (), progress: Progress | None = None
) -> Prepared:
    """Stages ahead, on a connection of its own that only reads; see `ahead.prepare`. Raises DriftError."""
    from driftengine import ahead
    from driftengine.dialects.chosen import DIALECT

    with closing(open_target(target)) as database:
        return ahead.prepare(DIALECT, database, target, desired, approve=approve, progress=progress)


def approvals(target: Target) -> Given:
    """The approvals that stand, by plan id; see `approvals.given`. Raises DriftError."""
    from driftengine import approvals as given_approvals
    from driftengine.backup_files import folder_for
    from driftengine.dialects.chosen import named

    name = named(target.url, target.models.directory)
    return given_approvals.given(folder_for(target.backup.directory, name))


def history(target: Target, migration: str | None = None) -> Document:
    """The audit trail, or one entry of it with everything. Raises HistoryError (`migration-unknown`)."""
    from driftengine import history as histories
    from driftengine import taken_back

    with closing(open_target(target)) as database:
        reader = database.reader()
        entries = histories.read(reader) if reader is not None else ()
        gone = taken_back.undone(entries)
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
            **head(target, database),
            "migrations": [
                documents.entry(entry, whole=migration is not None, undone=gone.get(str(entry.migration_id)))
                for entry in entries
            ],
        }


def history_verify(target: Target) -> Document:
    """Checks the hash chain, and the journal beside the backups. Raises DriftError."""
    from driftengine import history as histories
    from driftengine import journal
    from driftengine.backup_files import journal_of

    with closing(open_target(target)) as database:
        reader = database.reader()
        rows = histories.read_rows(reader) if reader is not None else ()
        problems = list(histories.chain_problems(rows))
        path = journal_of(folder_of(target, database))
        if not problems and path.exists():
            entries = tuple(histories.decode(row) for row in rows)
            problems += histories.reconcile(entries, journal.read(path))
        return {**head(target, database), "ok": not problems, "entries": len(rows), "problems": problems}


def adopt(
    target: Target, words: Sequence[str] = (), *, allowed_by: str = "", desired: Desired | None = None
) -> Document:
    """Agrees to what somebody changed in the database by hand; see `moved.adopt`. Raises DriftError."""
    from driftengine import moved

    return moved.adopt(target, words, allowed_by=allowed_by, desired=desired)


def revert(
    target: Target,
    words: Sequence[str] = (),
    *,
    approve: Sequence[str] = (),
    dry_run: bool = False,
    allowed_by: str = "",
    in_use: bool = False,
    desired: Desired | None = None,
    progress: Progress | None = None,
) -> Document:
    """Takes back what somebody changed in the database by hand; see `moved.revert`. Raises DriftError."""
    from driftengine import moved

    return moved.revert(
        target, words,
        approve=approve, dry_run=dry_run, allowed_by=allowed_by, in_use=in_use,
        desired=desired, progress=progress,
    )  # fmt: skip


def rollback(
    target: Target,
    *,
    migration: str | None = None,
    operations: Sequence[str] = (),
    approve: Sequence[str] = (),
    dry_run: bool = False,
    allowed_by: str = "",
    in_use: bool = False,
    progress: Progress | None = None,
) -> Document:
    """Takes a migration back, or operations of it, with later rows kept; the models are not asked.

    Returns apply's document with `undoes`: the migration, the operations of it that are taken back now, and those `left`.
    `operations` are numbers within the migration, or ids; None of both means the last one that is not undone. Raises
    DriftError for what is refused before anything was tried.
    """
    from driftengine.applied import Request
    from driftengine.dialects.chosen import DIALECT, named
    from driftengine.undoing import Undoing

    name = named(target.url, target.models.directory)
    request = Request(None, tuple(approve), dry_run, allowed_by, in_use=in_use)

    def fresh() -> AbstractContextManager[SqliteDatabase]:
        return closing(open_target(target, tidy=not dry_run, lock_wait=target.window_timeout))

    back = Undoing(DIALECT, fresh, target, migration, tuple(operations), request, progress).run()
    done = back.applied
    held = documents.held_documents(DIALECT, back.beside, done.plan, done.held, done.blocked, done.in_use)
    return {
        **documents.applied(target, name, done, held, dry_run=dry_run),
        "undoes": {
            "migration_id": back.migration,
            "operations": list(back.numbers),
            "left": list(back.left),
        },
    }


def rollback_to_backup(
    target: Target, *, allowed_by: str = "", dry_run: bool = False, progress: Progress | None = None
) -> Document:
    """Takes the last migration back by restoring its own backup, after a safety backup of what is there now.

    The document says how many rows written since are then in the safety backup only. With `dry_run` it says what would
    be lost, and nothing is written. Raises HistoryError, BackupError, BusyError, DatabaseError.
    """
    from driftengine import restoring

    started = time.perf_counter()
    with closing(open_target(target)) as database:
        done = restoring.roll_back(
            database, target, allowed_by=allowed_by, dry_run=dry_run, progress=progress
        )
        safety, losses = done.safety_backup, done.losses
        return {
            **head(target, database),
            "migration": documents.entry(done.migration, whole=False),
            "restored": done.backup.as_document(),
            "safety_backup": safety.as_document() if safety else None,
            "rows_lost": done.rows_lost,
            "rows_back": done.rows_back,
            "tables": None if losses is None else [one.as_document() for one in losses],
            "dry_run": dry_run,
            "duration_ms": _milliseconds_since(started),
            "warnings": list(done.warnings),
        }
