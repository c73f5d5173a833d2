"""Proving a copy: what it says of itself, page by page, and whether that is what its source said."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from driftengine.dialects.sqlite.connect import Location, connect, deadline, translated
from driftengine.dialects.sqlite.tokens import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

P = ParamSpec("P")
T = TypeVar("T")

LISTED = 1_000_000  # findings of integrity_check: SQLite's own limit of 100 would hide the rest
SHOWN = 20  # findings that are told

# What integrity_check says about the rows and not about the file: the source has them as well, so a copy that holds
# them is a true copy.
ABOUT_ROWS = ("NULL value in ", "TEXT value in ", "NUMERIC value in ")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the source was at the moment that was copied; the copy must say the same. `page_size` in bytes."""

    page_size: int
    page_count: int
    schema_sha256: str

    @property
    def size_bytes(self) -> int:
        """The size of the copy."""
        return self.page_size * self.page_count


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in a copy.

    `problems` says why it is unusable (`ok` when there are none); `left_out` what this SQLite cannot compile and so
    could not check; `row_findings` and `foreign_key_violations` (by table) what is wrong in the rows themselves, which
    no copy can help. `integrity` is "ok" or the first problem.
    """

    problems: tuple[str, ...]
    row_counts: Mapping[str, int]
    snapshot: Snapshot
    foreign_key_violations: Mapping[str, int] = field(default_factory=dict)
    row_findings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when the copy can be relied on."""
        return not self.problems

    @property
    def integrity(self) -> str:
        """The first problem, or "ok"."""
        return self.problems[0] if self.problems else "ok"


def snapshot_of(connection: sqlite3.Connection) -> Snapshot:
    """What the connection sees now."""
    return Snapshot(
        number(connection, "PRAGMA page_size"),
        number(connection, "PRAGMA page_count"),
        schema_sha256(connection),
    )


def schema_sha256(connection: sqlite3.Connection) -> str:
    """A hash over everything that the database stores about its shape, in an order of its own."""
    rows = connection.execute(
        "SELECT type, CAST(name AS TEXT), CAST(tbl_name AS TEXT), CAST(sql AS TEXT) FROM sqlite_schema ORDER BY type, name"
    ).fetchall()
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def verify_copy(path: Path, *, deadline_at: float | None = None) -> Verification:
    """Reads every page of a copy that nobody writes to.

    CHECK constraints are not evaluated: SQLite does not even parse them on a read-only connection. Raises DatabaseError where it is no database at all, DeadlineError.
    """
    location = Location("", path)
    with (
        contextlib.closing(connect(location, write=False)) as connection,
        translated(location),
        deadline(connection, deadline_at),
    ):
        tables = _ordinary_tables(connection)
        left_out: list[str] = []
        problems, about_rows = _integrity(connection, tables, left_out)
        violations: dict[str, int] = {}
        counts: dict[str, int] = {}
        for table in tables if not problems else []:
            found = _attempt(f"foreign keys of {table}", left_out, _violations, connection, table)
            if found:
                violations[table] = found
            rows = _attempt(f"rows of {table}", left_out, _rows, connection, table)
            if rows is not None:
                counts[table] = rows
        return Verification(
            tuple(problems), counts, snapshot_of(connection), violations, tuple(about_rows), tuple(left_out)
        )


def differences(source: Snapshot, copy: Snapshot) -> tuple[str, ...]:
    """In what a copy is not what its source was."""
    told = (
        ("page size", source.page_size, copy.page_size),
        ("number of pages", source.page_count, copy.page_count),
        ("schema", source.schema_sha256, copy.schema_sha256),
    )
    return tuple(
        f"the copy's {name} is {has}, the database's was {had}" for name, had, has in told if has != had
    )


def _ordinary_tables(connection: sqlite3.Connection) -> list[str]:
    # A virtual table has no pages of its own (rootpage 0); what it stores stands in its shadow tables.
    rows = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name"
    )
    return [name for (name,) in rows]


def _integrity(
    connection: sqlite3.Connection, tables: list[str], left_out: list[str]
) -> tuple[list[str], list[str]]:
    """Problems of the file, and findings in its rows."""
    try:
        found = _attempt("the check of the whole file", left_out, _check, connection, str(LISTED))
        if found is None:
            # One object that does not compile makes the whole check raise; the others are checked by name.
            found = Counter()
            for table in tables:
                part = _attempt(f"the check of {table}", left_out, _check, connection, quote(table))
                found.update(part or {})
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return [str(error)], []
    rows = {text: times for text, times in found.items() if text.startswith(ABOUT_ROWS)}
    told = [text for text in found if text not in rows and text != "ok"]
    return told[:SHOWN], [f"{text} ({times} rows)" for text, times in rows.items()][:SHOWN]


def _check(connection: sqlite3.Connection, argument: str) -> Counter[str]:
    return Counter(text for (text,) in connection.execute(f"PRAGMA integrity_check({argument})"))


def _attempt(
    name: str, left_out: list[str], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T | None:
    """The result, or None where this SQLite cannot compile what is asked: a collation, function or module it lacks."""
    try:
        return work(*args, **kwargs)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR:
            raise
        left_out.append(f"{name}: {error}")
        return None


def _violations(connection: sqlite3.Connection, table: str) -> int:
    # By table: a mismatch between one table and its parent makes a check of the whole database raise.
    return sum(1 for _ in connection.execute(f"PRAGMA foreign_key_check({quote(table)})"))


def _rows(connection: sqlite3.Connection, table: str) -> int:
    return number(connection, f"SELECT count(*) FROM {quote(table)}")


def number(connection: sqlite3.Connection, sql: str) -> int:
    """The one number that a query gives."""
    return int(connection.execute(sql).fetchone()[0])
