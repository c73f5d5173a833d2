"""A SQLite database as the layers above see it: one held reading connection, and transactions beside it."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from driftengine.changes import Facts
from driftengine.dialects.sqlite import rehearsal
from driftengine.dialects.sqlite.connect import (
    Location,
    connect,
    deadline,
    parse_url,
    state_of,
    translated,
)
from driftengine.dialects.sqlite.database_files import DatabaseFiles
from driftengine.dialects.sqlite.earlier import attach_earlier
from driftengine.dialects.sqlite.held import LOCK_WAIT, MISSING, Held
from driftengine.dialects.sqlite.introspect import read_catalogue, read_schema, understand
from driftengine.dialects.sqlite.same_file import require_same_file
from driftengine.dialects.sqlite.tokens import fold, quote
from driftengine.dialects.sqlite.transaction import (
    Transaction,
    catalogue_editable,
    offending,
    patiently,
    pragmas,
)
from driftengine.dialects.sqlite.values import hand_out
from driftengine.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from driftengine.changes import Offending, Questions, Script, SqlValue
    from driftengine.dialects.base import Finish, Glance, Rehearsed, StepProgress
    from driftengine.schema import Schema, StoredObject

__all__ = ["LOCK_WAIT", "LiveTransaction", "Reader", "SqliteDatabase", "name_of", "open_database"]


def open_database(
    url: str,
    *,
    directory: Path | None = None,
    tidy: bool = False,
    lock_wait: float = LOCK_WAIT,
    wake: bool = True,
) -> SqliteDatabase:
    """The database behind a URL. A missing file is no error here. Raises ConfigurationError, DatabaseError.

    `tidy`: what is in the write-ahead log when nobody else uses the database is moved into it at the end. `lock_wait`:
    seconds that a read waits for a writer's exclusive moment. Without `wake` nothing is opened before the first use.
    """
    database = SqliteDatabase(parse_url(url, directory=directory), tidy=tidy, lock_wait=lock_wait)
    if wake:
        database.wake()
    return database


def name_of(url: str, *, directory: Path | None = None) -> str:
    """The real, absolute path behind a URL, without opening anything. Raises ConfigurationError."""
    return str(parse_url(url, directory=directory).path)


class SqliteDatabase:
    """One target. The held connection only reads, so that its `data_version` tells of every commit but its own.

    It rests when it is told to, and wakes when it is used.
    """

    def __init__(self, location: Location, *, tidy: bool = False, lock_wait: float = LOCK_WAIT) -> None:
        self.location = location
        self._held = Held(location, tidy=tidy, lock_wait=lock_wait)

    @property
    def _connection(self) -> sqlite3.Connection | None:
        """The held connection, awake; None while there is no file."""
        return self._held.wake() if self._held.resting else self._held.connection

    @property
    def name(self) -> str:
        """The real, absolute path."""
        return str(self.location.path)

    def state(self) -> str:
        """`missing`, `empty` (0 bytes, or nothing stored in it) or `present`."""
        state = state_of(self.location)
        connection = self._connection
        if state == "present" and connection is not None:
            with translated(self.location):
                if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
                    return "empty"
        return state

    def read(self) -> Schema:
        """The schema now; an empty one while the file is missing."""
        connection = self._connection
        if connection is None:
            return understand(())
        with translated(self.location):
            return read_schema(connection)

    def reader(self) -> Reader | None:
        """The held connection, with SQLite's errors turned into ours."""
        connection = self._connection
        return None if connection is None else Reader(connection, self.location)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A read transaction on the held connection.

        With a rollback journal each statement outside of one waits anew for a moment in which nobody commits.
        """
        connection = self._connection
        if connection is None or connection.in_transaction:
            yield
            return
        with translated(self.location):
            connection.execute("BEGIN")
        try:
            yield
        finally:
            if connection is self._held.connection and connection.in_transaction:
                connection.execute("ROLLBACK")

    @contextmanager
    def until(self, deadline_at: float | None) -> Iterator[None]:
        """A limit on the statements of the held connection; not around what sets one itself, as a backup does."""
        connection = self._connection
        if connection is None:
            yield
            return
        with translated(self.location), deadline(connection, deadline_at):
            yield

    def facts(self, questions: Questions) -> Facts:
        """Counts rows, and looks for NULL, where a plan asks."""
        if self._connection is None:
            return Facts()
        with translated(self.location):
            names = self._table_names()
            rows = {
                key: self._number(f"SELECT count(*) FROM {quote(names[key])}")
                for key in questions.tables & names.keys()
            }
            nulls = {
                (table, column): self._number(
                    f"SELECT count(*) FROM {quote(names[table])} WHERE {quote(column)} IS NULL"
                )
                for table, column in questions.columns
                if table in names
            }
        return Facts(rows, {place: count for place, count in nulls.items() if count})

    def _table_names(self) -> dict[str, str]:
        """By key. The names alone: the schema as a whole has been read already by whoever asks about its rows."""
        rows = self._present.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return {fold(name): name for (name,) in rows}

    @property
    def _present(self) -> sqlite3.Connection:
        connection = self._connection
        assert connection is not None  # noqa: S101  # callers have looked
        return connection

    def _number(self, query: str) -> int:
        return int(self._present.execute(query).fetchone()[0])

    def offending(self, guard: str) -> Offending:
        """What a guard query finds on the held connection; a guard is only made for a table that is there."""
        return offending(self._present, guard, self.location)

    def files(self) -> DatabaseFiles:
        """For backups: copies come from the held connection."""
        return DatabaseFiles(self.location, self._connection, self._held.file)

    def mark(self) -> object:
        """See `Held.mark`: replacement by rename is seen by device and inode, commits by data_version.

        https://www.sqlite.org/pragma.html#pragma_data_version: equal on one connection means that nothing was committed.
        """
        return self._held.mark()

    def shape(self) -> object:
        """See `Held.shape`."""
        return self._held.shape()

    def glance(self) -> Glance:
        """See `Held.glance`."""
        return self._held.glance()

    def rest(self) -> None:
        """See `Held.rest`."""
        self._held.rest()

    def wake(self) -> None:
        """See `Held.wake`."""
        self._held.wake()

    @contextmanager
    def earlier(self, path: Path | None) -> Iterator[None]:
        """Attaches a copy of the database as it was, as `EARLIER`; not to be opened within a snapshot.

        To the held connection (also to one that takes its place), and to those of rehearsal and transaction. Raises
        DatabaseError.
        """
        if path is None:
            yield
            return
        self._held.wake()
        self._held.attach(path)
        try:
            yield
        finally:
            self._held.detach()

    def catalogue_edits(self) -> bool:
        """Asked of a connection to nothing: defensive mode is a property of the build and of the connection."""
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as scratch:
            return catalogue_editable(scratch)

    def rehearse(
        self,
        backup: Path | None,
        workspace: Path,
        script: Script,
        *,
        finish: Finish,
        values: Mapping[str, Sequence[SqlValue]],
        progress: StepProgress | None = None,
        deadline_at: float | None = None,
    ) -> Rehearsed:
        """See `rehearsal.rehearse`; the copy is in the same journal mode as the live database."""
        connection = self._connection
        mode = (
            "delete" if connection is None else str(connection.execute("PRAGMA journal_mode").fetchone()[0])
        )
        return rehearsal.rehearse(
            backup,
            workspace,
            script,
            journal_mode=mode,
            finish=finish,
            values=values,
            progress=progress,
            deadline_at=deadline_at,
            earlier=self._held.earlier,
        )

    @contextmanager
    def transaction(
        self, *, deadline_at: float | None, lock_wait: float, values: Mapping[str, Sequence[SqlValue]]
    ) -> Iterator[LiveTransaction]:
        """BEGIN IMMEDIATE on a connection of its own; rolled back unless it was committed."""
        _require_rights(self.location)
        if self._held.resting:
            self._held.wake()
        give_up_at = time.monotonic() + lock_wait if deadline_at is None else deadline_at
        missing = self._held.connection is None  # one that was there, and is no longer, is not made anew
        connection = patiently(
            lambda: connect(self.location, write=True, create=missing, timeout=0.0), give_up_at
        )
        with closing(connection):
            hand_out(connection, values)
            if self._held.earlier is not None:
                attach_earlier(connection, self._held.earlier)
            transaction = Transaction(connection, self.location, deadline_at=deadline_at, lock_wait=lock_wait)
            with transaction.open():
                settings = pragmas(connection)
                if self._held.connection is None:
                    # The file was missing when we looked; it is there now, and ours while the lock is held.
                    self._held.tidy = True
                    self._held.wake()
                # What we read and what we would write may be two files.
                require_same_file(self.location, self._held.file)
                yield LiveTransaction(transaction, settings, self.mark, self._held.file)

    def space_needed(self, script: Script) -> int:
        """Backup and copy, and for each table that is copied three times its share of the file; in bytes."""
        if self._connection is None:
            return 0
        with translated(self.location):
            size = self._number("PRAGMA page_size") * self._number("PRAGMA page_count")
            tables = max(1, len(self._table_names()))
        return 2 * size + min(len(script.copied) * 3 * size // tables, 3 * size)

    def close(self) -> None:
        """Ends the held connection."""
        self._held.close()


def _require_rights(location: Location) -> None:
    """SQLite would find out only at the first page that it writes: the folder must take a journal."""
    path = location.path
    if not path.exists():
        return
    log = any(path.with_name(f"{path.name}{end}").exists() for end in ("-journal", "-wal"))
    for place in (path,) if log else (path, path.parent):
        if not os.access(place, os.W_OK):
            raise DatabaseError(
                f"{location} may only be read",
                code="database-read-only",
                why=f"this user has no right to write {place}",
                fix=f"give this user the right to write {location} and its folder, or run driftd as the owner",
            )


@dataclass(frozen=True, slots=True)
class Reader:
    """A connection to read and write the history through."""

    connection: sqlite3.Connection
    location: Location

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Rows:
        """Runs one statement. Raises DatabaseError, BusyError."""
        with translated(self.location):
            return Rows(self.connection.execute(sql, parameters), self.location)


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement gives: SQLite reads all but the first row when they are asked for, and its errors come with them."""

    cursor: sqlite3.Cursor
    location: Location

    def __iter__(self) -> Iterator[Any]:
        """The rows, one by one. Raises DatabaseError, BusyError."""
        with translated(self.location):
            yield from self.cursor

    def fetchone(self) -> Any:
        """The next row, or None. Raises DatabaseError, BusyError."""
        with translated(self.location):
            return self.cursor.fetchone()

    def close(self) -> None:
        """Ends the statement, and the read lock that it holds."""
        self.cursor.close()


class LiveTransaction:
    """The write transaction on the live database."""

    def __init__(
        self,
        transaction: Transaction,
        settings: Sequence[tuple[str, object]],
        mark: Callable[[], object],
        file: tuple[int, int] | None,
    ) -> None:
        self._transaction = transaction
        self._settings = settings
        self._mark = mark
        self._file = file

    def exact(self, mark: object) -> bool:
        """Compares marks; of a database that was missing, nothing may be stored in the new one yet."""
        if mark == MISSING:
            return not read_catalogue(self._transaction.connection)
        return self._mark() == mark

    def hand_out(self, values: Mapping[str, Sequence[SqlValue]]) -> None:
        """See `values.hand_out`."""
        hand_out(self._transaction.connection, values)

    def run(
        self,
        script: Script,
        *,
        endless_seconds: Mapping[int, float] | None = None,
        progress: StepProgress | None = None,
    ) -> int:
        """See `Transaction.run`."""
        return self._transaction.run(script, endless_seconds=endless_seconds, progress=progress)

    def prove(self, expected: Sequence[StoredObject]) -> None:
        """See `Transaction.prove`."""
        self._transaction.prove(expected, self._settings)

    def writer(self) -> Reader:
        """For the history: the connection, inside the transaction, with SQLite's errors as ours."""
        return Reader(self._transaction.connection, self._transaction.location)

    @property
    def durations(self) -> tuple[float, ...]:
        """Seconds, by statement."""
        return tuple(self._transaction.durations)

    def commit(self, *, before: Callable[[], None] | None = None, seconds: float = 0.0) -> None:
        """See `Transaction.commit`. Raises DatabaseError (`database-replaced`) also where it went into a file without a name."""
        self._transaction.commit(before=before, seconds=seconds)
        require_same_file(self._transaction.location, self._file)
