"""A scratch database in memory, in which DDL of several origins is joined into one schema.

What the probe found comes first, as another SQLite stored it; then files of DDL, statement by statement, so that an
error has its line. Nothing outside that memory can be reached: an authorizer refuses the ways out.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from driftengine.errors import ModelsError
from driftengine.schema import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# What dumps and hand-written schemas set, harmless in memory. Any other pragma that sets something is refused: some
# act on the whole process (temp_store_directory, soft_heap_limit), writable_schema on what this database is.
PRAGMAS = frozenset(
    (
        *(
            "application_id",
            "auto_vacuum",
            "busy_timeout",
            "cache_size",
            "case_sensitive_like",
            "defer_foreign_keys",
        ),
        *(
            "encoding",
            "foreign_key_check",
            "foreign_keys",
            "ignore_check_constraints",
            "integrity_check",
            "journal_mode",
        ),
        *("journal_size_limit", "legacy_alter_table", "locking_mode", "optimize", "page_size", "quick_check"),
        *(
            "recursive_triggers",
            "secure_delete",
            "synchronous",
            "temp_store",
            "user_version",
            "wal_autocheckpoint",
        ),
    )
)
# Strings, quoted names, comments and semicolons: all that decides where a statement may end. An unterminated one
# runs to the end of the text, as in SQLite (a block comment) or to the error that SQLite will report (a quote).
TOKEN = re.compile(
    r"""'(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | `(?:[^`]|``)*(?:`|\Z) | \[[^\]]*(?:\]|\Z)"""
    r"""| --[^\n]* | /\*.*?(?:\*/|\Z) | ;""",
    re.VERBOSE | re.DOTALL,
)
IGNORED = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z)|;)*", re.DOTALL)
UNKNOWN = re.compile(r"(?:no such|unknown) (?P<kind>function|collation sequence): (?P<name>[^(]*)")
NEAR = re.compile(r'near "(?P<token>.+)": syntax error', re.DOTALL)
PROGRESS_STEP = 100_000  # SQLite instructions between two looks at the clock


@dataclass(slots=True)
class Gate:
    """The authorizer of a script; remembers what it refused, because SQLite's own message does not say it."""

    refused: str = field(default="")

    def __call__(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        """SQLite's authorizer callback."""
        if action == sqlite3.SQLITE_ATTACH:
            self.refused = "ATTACH (and VACUUM INTO) reach beyond the schema"
        elif action == sqlite3.SQLITE_FUNCTION and (second or "").lower() == "load_extension":
            self.refused = "load_extension() runs foreign code"
        elif action == sqlite3.SQLITE_PRAGMA and second is not None and (first or "").lower() not in PRAGMAS:
            self.refused = f"PRAGMA {first} is not for a schema file"
        else:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY


def build(
    stored: Sequence[StoredObject], scripts: Sequence[tuple[str, str]], *, timeout: float = 60.0
) -> tuple[StoredObject, ...]:
    """Join objects and scripts in one scratch database; the rows of its sqlite_schema, without SQLite's own.

    Args:
        stored: rows of another database's sqlite_schema, in order. What our SQLite cannot compile (a module or syntax
            that it lacks) is passed on as it is, at the end.
        scripts: (name, text) of files of DDL; whatever rows they insert is ignored.
        timeout: seconds for all of it.

    Raises:
        ModelsError: `models-sql-error` with the file, the line and SQLite's message; `models-timeout`.
    """
    deadline = time.monotonic() + timeout
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, PROGRESS_STEP)
        foreign = tuple(item for item in stored if not _recreate(connection, item))
        for name, text in scripts:
            _run_script(connection, name, text, deadline)
        return read_stored(connection) + foreign


@contextlib.contextmanager
def holding(
    stored: Iterable[StoredObject], lacking: set[tuple[str, str]] | None = None
) -> Iterator[tuple[sqlite3.Connection, tuple[StoredObject, ...]]]:
    """A database in memory with these objects and no rows, and the objects that our SQLite cannot compile.

    `stored` are rows of sqlite_schema in any order; SQLite's own are left out, as it makes them itself. The functions and
    collations that are stood in for are put into `lacking`, as (kind, name).
    """
    own = [item for item in stored if item.sql and not item.name.lower().startswith("sqlite_")]
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        # A virtual table makes its shadow tables itself, and a trigger may stand on a view.
        yield connection, tuple(i for i in sorted(own, key=_rank) if not _recreate(connection, i, lacking))


def _rank(item: StoredObject) -> int:
    virtual = (item.sql or "")[:40].upper().split()[:2] == ["CREATE", "VIRTUAL"]
    return 0 if virtual else ("table", "index", "view", "trigger").index(item.type) + 1


def read_stored(connection: sqlite3.Connection) -> tuple[StoredObject, ...]:
    """The rows of sqlite_schema in order, without those that SQLite makes for itself (`sqlite_...`)."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid").fetchall()
    return tuple(StoredObject(*row) for row in rows if not row[1].startswith("sqlite_"))


def _recreate(
    connection: sqlite3.Connection, item: StoredObject, lacking: set[tuple[str, str]] | None = None
) -> bool:
    """Create an object by its stored text; False when our SQLite cannot.

    A function or collation that it lacks is stood in for (nothing here ever evaluates it), and put into `lacking`.
    """
    known = "SELECT 1 FROM sqlite_schema WHERE type = ? AND name = ?"
    if item.sql is None or connection.execute(known, item.identity).fetchone():
        return True  # a shadow table, which its virtual table has made already
    try:
        execute_standing_in(connection, item.sql, lacking)
    except sqlite3.Error:
        return False
    return True


def execute_standing_in(
    connection: sqlite3.Connection, sql: str, lacking: set[tuple[str, str]] | None = None
) -> None:
    """Runs a statement; functions and collations that it lacks are stood in for, and put into `lacking`.

    Raises sqlite3.Error for all else.
    """
    stood_in: set[str] = set()
    while True:
        try:
            connection.execute(sql)
        except sqlite3.Error as error:
            unknown = UNKNOWN.match(str(error))
            if not unknown or unknown[0] in stood_in:
                raise
            stood_in.add(unknown[0])
            if lacking is not None:
                lacking.add((unknown["kind"], unknown["name"]))
            if unknown["kind"] == "function":
                connection.create_function(unknown["name"], -1, _never, deterministic=True)
            else:
                connection.create_collation(unknown["name"], _never)
        else:
            return


def _never(*_: object) -> NoReturn:
    raise NotImplementedError("this function belongs to the service")


def _run_script(connection: sqlite3.Connection, name: str, text: str, deadline: float) -> None:
    """Run a script statement by statement. Raises ModelsError with the line of what failed."""
    if "\0" in text:
        raise _sql_error(name, text.count("\n", 0, text.index("\0")) + 1, "there is a null character")
    gate = Gate()
    connection.set_authorizer(gate)
    try:
        for line, statement in statements(text):
            if statement.startswith("."):
                raise _sql_error(name, line, "this is a command of the sqlite3 shell, not SQL")
            try:
                connection.execute(statement).fetchall()
            except (sqlite3.Error, sqlite3.Warning) as error:
                if time.monotonic() > deadline:
                    raise _too_slow(name, line) from error
                line_of_error = _line_of(connection, error, line, statement)
                raise _sql_error(name, line_of_error, gate.refused or str(error)) from error
        if connection.in_transaction:
            # A script may leave its transaction open; the next one may begin its own.
            connection.execute("COMMIT")
    finally:
        connection.set_authorizer(None)


def statements(text: str) -> Iterator[tuple[int, str]]:
    """The statements of a script with the line (from 1) on which each begins, comments before it left out.

    SQLite decides where a trigger ends; the rest of the text behind the last semicolon counts as a statement.
    """
    start = _skip(text, 0)
    for token in TOKEN.finditer(text):
        if token[0] != ";" or token.start() < start:
            continue
        statement = text[start : token.end()]
        if statement.startswith(".") or sqlite3.complete_statement(statement):
            yield text.count("\n", 0, start) + 1, statement
            start = _skip(text, token.end())
    if start < len(text):
        yield text.count("\n", 0, start) + 1, text[start:]


def _skip(text: str, start: int) -> int:
    """The position of the next statement: past white space, comments and empty statements."""
    match = IGNORED.match(text, start)
    return match.end() if match else start


def _line_of(connection: sqlite3.Connection, error: Exception, line: int, statement: str) -> int:
    """The line of a syntax error: that of the first place of its token up to which the text fails likewise."""
    near = NEAR.match(str(error))
    for found in re.finditer(re.escape(near["token"]), statement) if near else ():
        try:
            connection.execute(f"EXPLAIN {statement[: found.end()]}")  # compiles, and runs nothing
        except sqlite3.Error as again:
            if str(again) == str(error):
                return line + statement.count("\n", 0, found.start())
    return line


def _sql_error(name: str, line: int, why: str) -> ModelsError:
    return ModelsError(
        f"the models {name} cannot be built",
        code="models-sql-error",
        why=f"{name}:{line}: {why}",
        fix="correct that statement",
    )


def _too_slow(name: str, line: int) -> ModelsError:
    return ModelsError(
        f"the models {name} were not built in time",
        code="models-timeout",
        why=f"{name}:{line}: this statement was still running",
        fix="keep to DDL in the file, or raise probe_timeout",
    )
