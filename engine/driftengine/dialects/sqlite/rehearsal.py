"""The rehearsal: the script runs on a copy that holds the real rows, and its outcome is proved there.

What is proved: every row is still there with its values; every stored object that the script does not name is as it was,
byte for byte, and so are sequences, statistics and settings; no foreign key is violated that was not before; every view
and trigger that compiled still does; the schema can be read; and no old row reads another default.
"""

from __future__ import annotations

import errno
import shutil
import time
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from driftengine.changes import Script
from driftengine.dialects.base import Problem, Rehearsed
from driftengine.dialects.sqlite import compare
from driftengine.dialects.sqlite.compiled import compiled, newly_broken, turned_to_strings
from driftengine.dialects.sqlite.connect import Location, connect, deadline, require_time, translated
from driftengine.dialects.sqlite.earlier import attach_earlier, schema_of_earlier
from driftengine.dialects.sqlite.introspect import read_catalogue, read_schema
from driftengine.dialects.sqlite.lineage import lineage
from driftengine.dialects.sqlite.preserved import altered, photograph
from driftengine.dialects.sqlite.tokens import fold
from driftengine.dialects.sqlite.transaction import StepError, Transaction
from driftengine.dialects.sqlite.values import hand_out
from driftengine.errors import BackupError, ProofError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from driftengine.changes import SqlValue
    from driftengine.dialects.sqlite.compare import Violations
    from driftengine.dialects.sqlite.lineage import Lineage
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
    earlier: Path | None = None,
) -> Rehearsed:
    """Runs the script on a copy of `backup` (None: on an empty database) in the folder `workspace`.

    `finish` writes what is written in the same transaction behind the script: the history. From `earlier`, a copy of the
    database as it was, the script takes values back. The copy stays in `workspace` until the caller removes the folder.
    Raises DeadlineError at `deadline_at` (`time.monotonic()`).
    """
    copy = workspace / NAME
    for leftover in workspace.glob(f"{NAME}*"):
        leftover.unlink()
    if backup is not None:
        with _copying(copy):
            _copy_file(backup, copy, deadline_at)
    location = Location(str(copy), copy)
    with closing(connect(location, write=True, create=True)) as connection:
        with translated(location):
            # Unqualified, it would set the mode of what is attached too.
            connection.execute(f"PRAGMA journal_mode = {journal_mode}")
            if earlier is not None:
                attach_earlier(connection, earlier)
        with _proving(connection, location, deadline_at):
            before = read_schema(connection)
            line = lineage(script, before)
            violated = compare.violations(connection, _keyed(script, before, line.tables))
            worked, stored = compiled(connection, before, script.named), photograph(connection, before)
            then = None if earlier is None else schema_of_earlier(connection)
        outcome = _run(connection, location, script, finish, values, progress, deadline_at)
        if outcome.failure:
            return outcome
        with _proving(connection, location, deadline_at):
            after = read_schema(connection)
            keyed = compare.violations(connection, _keyed(script, after, {}))
            problems = [
                *_unreadable(script, before, after),
                *_new_violations(_by_later_name(violated, line), keyed, after),
                *newly_broken(worked, compiled(connection, after, script.named), script, before, after),
                *turned_to_strings(script, before, after),
                *altered(stored, photograph(connection, after), script),
            ]
    if backup is None:
        return replace(outcome, problems=tuple(problems))
    with _proving(None, location, deadline_at):
        problems += [
            Problem(text, frozenset({table}))
            for table, text in compare.lost_rows(copy, backup, script, before, after, deadline_at)
        ]
        if earlier is not None and then is not None:
            problems += _not_as_they_were(copy, earlier, script, line, then, after, deadline_at)
        kept = {
            after.tables[key].name: before.tables[line.tables[key]].name
            for key in sorted(script.named & line.tables.keys() & after.tables.keys())
        }
        problems += [
            Problem(f"{table} would not be sound: {text}", frozenset({table}))
            for table, text in compare.unsound(copy, backup, kept, deadline_at)
        ]
        stale = compare.changed_defaults(copy, backup, script, before, after, deadline_at)
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
            with translated(location):  # the rehearsal's own disk may be full
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


def _keyed(script: Script, schema: Schema, former: Mapping[str, str]) -> tuple[str, ...]:
    """The tables whose foreign keys are checked: those whose rows or keys change, and their children.

    `former` gives the keys before the script, by those afterwards.
    """
    changed = {former.get(key, key) for key in script.keyed}
    children = {
        table.key for table in schema.tables.values() for key in table.foreign_keys if key.parent in changed
    }
    keys = (changed | children) & schema.tables.keys()
    return tuple(schema.tables[key].name for key in sorted(keys))


def _by_later_name(found: Violations, line: Lineage) -> Violations:
    """What was violated before, as it reads behind the script's renames."""
    later = {old: new for new, old in line.tables.items()}

    def renamed(one: tuple[object, ...]) -> tuple[object, ...]:
        key, parent, *rest = one
        return (key, later.get(fold(str(parent)), fold(str(parent))), *rest)

    return {
        later.get(table, table): rows if isinstance(rows, str) else frozenset(map(renamed, rows))
        for table, rows in found.items()
    }


def _not_as_they_were(
    copy: Path,
    earlier: Path,
    script: Script,
    line: Lineage,
    then: Schema,
    after: Schema,
    deadline_at: float | None,
) -> Iterator[Problem]:
    """Tables that came back, and not with the rows that they had."""
    came = {fold(one.table) for one in script.copied} - line.tables.keys()
    if came:
        alone = replace(after, tables={key: table for key, table in after.tables.items() if key in came})
        named = Script(named=frozenset(came))
        for table, text in compare.lost_rows(copy, earlier, named, then, alone, deadline_at):
            yield Problem(text, frozenset({table}))


def _unreadable(script: Script, before: Schema, after: Schema) -> list[Problem]:
    return [
        Problem(f"{table.name} cannot be read after the change: {table.problem}", frozenset({key}))
        for key, table in after.tables.items()
        if table.problem and key in script.named and not (key in before.tables and before.tables[key].problem)
    ]


def _new_violations(
    before: Violations,
    after: Violations,
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
