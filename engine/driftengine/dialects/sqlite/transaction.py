"""The one transaction in which a plan happens, on the rehearsal's copy and on the live database alike.

Rules that are kept here: foreign keys are off before BEGIN and read back; the transaction is looked at before every
statement (an interrupted one may have ended it, and the next would commit by itself); an authorizer allows a statement only
the objects that it names; an edit of the stored DDL is followed by a new schema version, so that no other connection goes
on with the old schema.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from driftengine.changes import Offending
from driftengine.dialects.sqlite.connect import deadline, explained, translated
from driftengine.dialects.sqlite.earlier import EARLIER
from driftengine.dialects.sqlite.introspect import read_catalogue
from driftengine.dialects.sqlite.tokens import fold, quote
from driftengine.errors import BusyError, DatabaseError, DeadlineError, DriftError, ProofError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from driftengine.changes import Script, Step
    from driftengine.dialects.sqlite.connect import Location
    from driftengine.schema import StoredObject

T = TypeVar("T")

SHOWN_ROWS = 5
BUSY_WAIT = 0.001  # seconds; SQLite's own handler sleeps a hundred times as long, and a busy service leaves short gaps

# What the plan must leave as it found it. schema_version moves with every change of the schema.
_PRAGMAS = ("application_id", "auto_vacuum", "encoding", "journal_mode", "page_size", "user_version")
_SESSION = {"foreign_keys": 0, "legacy_alter_table": 0, "ignore_check_constraints": 0}

_WRITES = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
_NAMED_BY_FIRST = frozenset(
    {
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_CREATE_TABLE,
        sqlite3.SQLITE_CREATE_TRIGGER,
        sqlite3.SQLITE_CREATE_VIEW,
        sqlite3.SQLITE_CREATE_VTABLE,
        sqlite3.SQLITE_DROP_INDEX,
        sqlite3.SQLITE_DROP_TABLE,
        sqlite3.SQLITE_DROP_TRIGGER,
        sqlite3.SQLITE_DROP_VIEW,
        sqlite3.SQLITE_DROP_VTABLE,
    }
)
_NEVER = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})


class StepError(DriftError):
    """A statement of the script failed; `operations` are the numbers that it served."""

    def __init__(self, step: Step, error: Exception) -> None:
        super().__init__(
            f"{_short(step.sql)} failed",
            code="statement-failed",
            why=str(error),
            fix="see the rows and the constraint that the message names",
        )
        self.operations = step.operations


def _short(sql: str) -> str:
    line = " ".join(sql.split())
    return line if len(line) <= 80 else f"{line[:77]}..."


def patiently(action: Callable[[], T], give_up_at: float, *, before: Callable[[], None] | None = None) -> T:
    """What the action returns as soon as no lock stands in its way. Raises its BusyError at `give_up_at`.

    `before` runs before each try, and what it raises ends the waiting.
    """
    while True:
        if before is not None:
            before()
        try:
            return action()
        except BusyError:
            if time.monotonic() + BUSY_WAIT >= give_up_at:
                raise
            time.sleep(BUSY_WAIT)


def catalogue_editable(connection: sqlite3.Connection) -> bool:
    """False where the connection is in defensive mode: the stored DDL can then not be edited (macOS builds are).

    https://www.sqlite.org/c3ref/c_dbconfig_defensive.html: writable_schema stays off without a word.
    """
    connection.execute("PRAGMA writable_schema = ON")
    on = bool(connection.execute("PRAGMA writable_schema").fetchone()[0])
    connection.execute("PRAGMA writable_schema = OFF")
    return on


def pragmas(connection: sqlite3.Connection) -> tuple[tuple[str, object], ...]:
    """The settings of the database that a plan must not change."""
    return tuple((name, connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in _PRAGMAS)


class Transaction:
    """One write transaction on one connection.

    `deadline_at` (on the clock of `time.monotonic()`, None: no limit) bounds all of it; `lock_wait` (seconds) how long
    BEGIN and COMMIT wait for others.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        location: Location,
        *,
        deadline_at: float | None = None,
        lock_wait: float = 0.0,
    ) -> None:
        self.connection = connection
        self.location = location
        self.deadline_at = deadline_at
        self.lock_wait = lock_wait
        self.durations: list[float] = []
        self._allowed: frozenset[str] = frozenset()
        self._refused = ""

    @contextmanager
    def open(self) -> Iterator[None]:
        """BEGIN IMMEDIATE; whatever ends the block without `commit` is rolled back."""
        if self.connection.execute("PRAGMA foreign_keys").fetchone()[0]:
            raise DatabaseError(
                f"foreign keys are enforced on the connection to {self.location}",
                code="foreign-keys-on",
                why="dropping a table would delete the rows of its children",
            )
        self._until_free("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self.connection.set_authorizer(None)
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def commit(self, *, before: Callable[[], None] | None = None, seconds: float = 0.0) -> None:
        """COMMIT, waiting for readers where a rollback journal makes that necessary; at the deadline ROLLBACK.

        It cannot be interrupted, so it is only begun when three times `seconds` fits. `before` is asked right before each
        try: a reader may keep it waiting for longer than whoever wanted it stays.
        """
        self._require_open()
        try:
            self._require_time("COMMIT", seconds)
            self._until_free("COMMIT", before)
        except DriftError:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def _until_free(self, statement: str, before: Callable[[], None] | None = None) -> None:
        def run() -> None:
            with translated(self.location):
                self.connection.execute(statement)

        give_up_at = time.monotonic() + self.lock_wait
        if self.deadline_at is not None:
            give_up_at = min(give_up_at, self.deadline_at)
        patiently(run, give_up_at, before=before)

    def run(
        self, script: Script, *, endless_seconds: Mapping[int, float] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:  # fmt: skip
        """Runs the script, statement by statement; returns by how much `total_changes` rose.

        `endless_seconds` says, by position, how long the statements took that cannot be interrupted: one is only begun
        when three times that fits before the deadline. Raises StepError, DeadlineError, BusyError, DatabaseError.
        """
        before = self.connection.total_changes
        for position, step in enumerate(script.steps):
            self._require_open()
            endless = (endless_seconds or {}).get(position, 0.0) if step.endless else 0.0
            self._require_time(step.sql, endless)
            started = time.monotonic()
            self._run_step(step)
            self.durations.append(time.monotonic() - started)
            if progress is not None:
                progress(position + 1, len(script.steps))
        return self.connection.total_changes - before

    def _require_open(self) -> None:
        if not self.connection.in_transaction:
            raise ProofError(
                "the transaction was ended from outside the plan",
                code="transaction-ended",
                why="an interrupted statement ends it, and the next one would commit by itself",
                fix="try again; nothing was changed",
            )

    def _require_time(self, sql: str, endless: float) -> None:
        """Raises DeadlineError where three times the seconds for which it cannot be interrupted do not fit any more."""
        if self.deadline_at is None:
            return
        if time.monotonic() + 3 * endless >= self.deadline_at:
            raise DeadlineError(
                f"the migration of {self.location} does not fit the time that is left",
                code="deadline",
                why=f"{_short(sql)} cannot be interrupted" if endless else "the deadline is reached",
                fix="run `driftd apply` while nothing waits for it",
            )

    def _run_step(self, step: Step) -> None:
        self._allowed, self._refused = step.objects, ""
        self.connection.set_authorizer(self._authorize)
        try:
            with deadline(self.connection, self.deadline_at):
                if step.catalogue:
                    edit_catalogue(self.connection, step)
                else:
                    self.connection.execute(step.sql, step.parameters)
        except sqlite3.Error as error:
            ours = explained(error, self.location)
            if ours is not None and not isinstance(error, sqlite3.IntegrityError):
                raise ours from error
            if self._refused:
                raise StepError(step, ValueError(f"it would touch {self._refused}")) from error
            raise StepError(step, error) from error
        finally:
            self.connection.set_authorizer(None)

    def _authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, cause: str | None
    ) -> int:
        """Python's sqlite3 passes the names as SQLite does: https://www.sqlite.org/c3ref/c_alter_table.html."""
        touched = _touched(action, first, second)
        if action in _NEVER or (touched is not None and not self._may_touch(touched, database, cause)):
            self._refused = str(first if touched is None else touched)
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def _may_touch(self, name: str, database: str | None, cause: str | None) -> bool:
        if database == EARLIER:
            return False
        if database == "temp":
            return True
        own = name.startswith("sqlite_") or name in self._allowed
        # A trigger that fires would write what the plan does not name; `cause` is the trigger's name.
        return own and (cause is None or fold(cause) in self._allowed)

    def prove(self, expected: Sequence[StoredObject], settings: Sequence[tuple[str, object]]) -> None:
        """Raises ProofError unless the schema is just what the rehearsal left and no setting has moved."""
        with translated(self.location):
            found = read_catalogue(self.connection)
        if tuple(expected) != found:
            odd = sorted({f"{row.type} {row.name}" for row in set(expected) ^ set(found)})
            raise ProofError(
                f"the schema of {self.location} is not what the rehearsal left",
                code="proof-schema",
                why=f"these differ: {', '.join(odd[:5])}",
                fix="nothing was changed; try again",
            )
        moved = [
            name
            for (name, old), (_, new) in zip(settings, pragmas(self.connection), strict=True)
            if old != new
        ]
        moved += [
            name
            for name, value in _SESSION.items()
            if self.connection.execute(f"PRAGMA {name}").fetchone()[0] != value
        ]
        if moved:
            raise ProofError(
                f"settings of {self.location} moved during the migration",
                code="proof-settings",
                why=", ".join(moved),
                fix="nothing was changed; try again",
            )


def edit_catalogue(connection: sqlite3.Connection, step: Step) -> None:
    """Text, version, reset: https://www.sqlite.org/pragma.html#pragma_writable_schema; reset also after a failure."""
    execute = connection.execute
    execute("PRAGMA writable_schema = ON")
    try:
        cursor = execute(step.sql, step.parameters)
        if cursor.rowcount != 1:
            raise sqlite3.DatabaseError(f"the stored DDL of {step.parameters[-1]!r} was not found")
        version = execute("PRAGMA schema_version").fetchone()[0]
        execute(f"PRAGMA schema_version = {version + 1}")
    finally:
        execute("PRAGMA writable_schema = RESET")
    # A malformed text commits without a word and leaves a database that nobody can read: so read it now.
    execute(f"SELECT * FROM {quote(str(step.parameters[-1]))} LIMIT 0")


def _touched(action: int, first: str | None, second: str | None) -> str | None:
    """The key of the object that an action would create, alter, drop or write, or None for anything else."""
    if action in _WRITES or action in _NAMED_BY_FIRST:
        return fold(first or "")
    if action == sqlite3.SQLITE_ALTER_TABLE:
        return fold(second or "")
    return None


def offending(
    connection: sqlite3.Connection, guard: str, location: Location, deadline_at: float | None = None
) -> Offending:
    """How many rows a guard query finds, and the first of them. Raises DatabaseError, DeadlineError.

    A row over which the query itself fails (no JSON where the CHECK reads JSON) stands in the way like any other.
    """
    try:
        with translated(location), deadline(connection, deadline_at):
            rows = connection.execute(f"SELECT * FROM ({guard}) LIMIT {SHOWN_ROWS}").fetchall()
            count = len(rows)
            if count == SHOWN_ROWS:
                count = connection.execute(f"SELECT count(*) FROM ({guard})").fetchone()[0]
    except sqlite3.Error as error:
        return Offending(1, ((None, str(error)),))
    return Offending(count, tuple((row[0], row[1]) for row in rows))
