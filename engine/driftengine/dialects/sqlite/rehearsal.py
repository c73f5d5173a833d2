"""The rehearsal: the script runs on a copy that holds the real rows, and its outcome is proved there.

What is proved: every row is still there with its values, no foreign key is violated that was not before, every view and
trigger that compiled still does, the schema can be read, and no old row reads another default.
"""

from __future__ import annotations

import errno
import shutil
import time
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from driftengine.dialects.base import Problem, Rehearsed
from driftengine.dialects.sqlite import compare
from driftengine.dialects.sqlite.connect import Location, connect, deadline, require_time, translated
from driftengine.dialects.sqlite.introspect import read_catalogue, read_schema
from driftengine.dialects.sqlite.tokens import fold, quote, tokenize, unquote
from driftengine.dialects.sqlite.transaction import StepError, Transaction
from driftengine.dialects.sqlite.values import hand_out
from driftengine.errors import BackupError, ProofError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from driftengine.changes import Script, SqlValue
    from driftengine.schema import Schema

NAME = "rehearsal.db"
COPIED_AT_ONCE = 8_000_000  # bytes between two looks at the clock


def rehearse(
    backup: Path | None,
    workspace: Path,
    script: Script,
    *,
    journal_mode: str,
    finish: Callable[[sqlite3.Connection], object],
    values: Mapping[str, Sequence[SqlValue]],
    progress: Callable[[int, int], None] | None = None,
    deadline_at: float | None = None,
) -> Rehearsed:
    """Runs the script on a copy of `backup` (None: on an empty database) in the folder `workspace`.

    `finish` writes what is written in the same transaction behind the script: the history. The copy stays in
    `workspace` until the caller removes the folder. Raises DeadlineError at `deadline_at` (`time.monotonic()`).
    """
    copy = workspace / NAME
    for leftover in workspace.glob(f"{NAME}*"):
        leftover.unlink()
    if backup is not None:
        with _copying(copy):
            _copy_file(backup, copy, deadline_at)
    location = Location(str(copy), copy)
    with closing(connect(location, write=True, create=True)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        with _proving(connection, location, deadline_at):
            before = read_schema(connection)
            tables = _keyed(script, before)
            violated, broken = compare.violations(connection, tables), compare.compiles(connection, before)
        outcome = _run(connection, location, script, finish, values, progress, deadline_at)
        if outcome.failure:
            return outcome
        with _proving(connection, location, deadline_at):
            after = read_schema(connection)
            problems = [
                *_unreadable(script, before, after),
                *_new_violations(violated, compare.violations(connection, _present(tables, after)), before),
                *_newly_broken(broken, compare.compiles(connection, after), script, after),
                *_lost_triggers(script, before, after),
            ]
    if backup is None:
        return replace(outcome, problems=tuple(problems))
    with _proving(None, location, deadline_at):
        problems += [
            Problem(text, frozenset({table}))
            for table, text in compare.lost_rows(copy, backup, script.copied, before, after, deadline_at)
        ]
        kept = (
            before.tables[key].name
            for key in sorted(script.named & before.tables.keys() & after.tables.keys())
        )
        problems += [
            Problem(f"{table} would not be sound: {text}", frozenset({table}))
            for table, text in compare.unsound(copy, backup, kept, deadline_at)
        ]
        stale = compare.changed_defaults(copy, backup, script.defaults, before, deadline_at)
    return replace(outcome, problems=tuple(problems), stale_defaults=stale)


@contextmanager
def _proving(
    connection: sqlite3.Connection | None, location: Location, deadline_at: float | None
) -> Iterator[None]:
    """Raises DeadlineError where the time was over by the end: what was interrupted looks like a finding of the proof."""
    limited = nullcontext() if connection is None else deadline(connection, deadline_at)
    with translated(location), limited:
        yield
    require_time(location, deadline_at)


def _copy_file(backup: Path, copy: Path, deadline_at: float | None) -> None:
    if deadline_at is None:
        shutil.copyfile(backup, copy)
        return
    with backup.open("rb") as source, copy.open("xb") as destination:
        while chunk := source.read(COPIED_AT_ONCE):
            require_time(Location(str(copy), copy), deadline_at)
            destination.write(chunk)


@contextmanager
def _copying(copy: Path) -> Iterator[None]:
    """A disk that is full, or a backup that somebody pruned meanwhile."""
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise BackupError(
            f"the backup could not be copied to {copy.parent} for the rehearsal",
            code="disk-full" if full else "backup-folder",
            why=error.strerror or str(error),
            fix="free some space, or point backup.directory at another disk",
        ) from error


def _run(
    connection: sqlite3.Connection,
    location: Location,
    script: Script,
    finish: Callable[[sqlite3.Connection], object],
    values: Mapping[str, Sequence[SqlValue]],
    progress: Callable[[int, int], None] | None,
    deadline_at: float | None,
) -> Rehearsed:
    transaction = Transaction(connection, location, deadline_at=deadline_at)
    hand_out(connection, values)
    try:
        with transaction.open():
            changes = transaction.run(script, progress=progress)
            finish(connection)
            expected = read_catalogue(connection)
            started = time.monotonic()
            transaction.commit()
            commit_seconds = time.monotonic() - started
    except StepError as error:
        return Rehearsed(failure=f"{error.why} ({error.what})", failed=error.operations)
    except ProofError as error:
        return Rehearsed(failure=str(error))
    return Rehearsed(expected, tuple(transaction.durations), commit_seconds, changes)


def _keyed(script: Script, schema: Schema) -> tuple[str, ...]:
    """The tables whose foreign keys are checked: those whose rows or keys change, and their children."""
    children = {
        table.key
        for table in schema.tables.values()
        for key in table.foreign_keys
        if key.parent in script.keyed
    }
    keys = (script.keyed | children) & schema.tables.keys()
    return tuple(schema.tables[key].name for key in sorted(keys))


def _present(tables: tuple[str, ...], schema: Schema) -> tuple[str, ...]:
    names = {table.name for table in schema.tables.values()}
    return tuple(name for name in tables if name in names)


def _unreadable(script: Script, before: Schema, after: Schema) -> list[Problem]:
    return [
        Problem(f"{table.name} cannot be read after the change: {table.problem}", frozenset({key}))
        for key, table in after.tables.items()
        if table.problem and key in script.named and not (key in before.tables and before.tables[key].problem)
    ]


def _new_violations(
    before: Mapping[str, frozenset[tuple[object, ...]] | str],
    after: Mapping[str, frozenset[tuple[object, ...]] | str],
    schema: Schema,
) -> list[Problem]:
    problems = []
    for table, found in after.items():
        known = before.get(table, frozenset())
        # What a child trips over may be what was done to its parent.
        keys = schema.tables[table].foreign_keys if table in schema.tables else ()
        concerned = frozenset({table, *(key.parent for key in keys)})
        if isinstance(found, str):
            if found != known:
                problems.append(Problem(f"foreign keys of {table}: {found}", concerned))
        elif not isinstance(known, str) and found - known:
            count = len(found - known)
            problems.append(
                Problem(
                    f"{count} {'row' if count == 1 else 'rows'} of {table} would violate a foreign key",
                    concerned,
                )
            )
    return problems


def _lost_triggers(script: Script, before: Schema, after: Schema) -> list[Problem]:
    """Triggers that went with a view although nobody named them: dropping a view takes them along without a word."""
    dropped = {step.sql for step in script.steps}
    return [
        Problem(
            f"the trigger {trigger.name} would go with the view {trigger.table}", frozenset({trigger.table})
        )
        for key, trigger in before.triggers.items()
        if key not in after.triggers
        and trigger.table in before.views
        and f"DROP TRIGGER {quote(trigger.name)}" not in dropped
    ]


def _newly_broken(
    before: Mapping[str, str], after: Mapping[str, str], script: Script, schema: Schema
) -> list[Problem]:
    """A view or a trigger that worked and works no longer concerns every object of the plan that its text names."""
    problems = []
    for name, message in after.items():
        if name not in before:
            definition = schema.views.get(name) or schema.triggers[name]
            words = {fold(unquote(token.text)) for token in tokenize(definition.sql)}
            problems.append(
                Problem(f"{name} would no longer work: {message}", frozenset({name} | (words & script.named)))
            )
    return problems
