"""The database and the SQLite that driftd uses: is it sound, who left something behind, what can this version do?"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

from driftd.cli.text import size
from driftd.doctor.findings import WARNING, Finding, from_error, note, problem, warning
from driftengine.dialects.sqlite import connect
from driftengine.dialects.sqlite.database import open_database
from driftengine.errors import BusyError, DriftError

if TYPE_CHECKING:
    from driftd.doctor.subject import Subject

Version = tuple[int, int, int]

QUICK_S = 3.0  # seconds that the look at its pages may take
LARGE_LOG = 64 << 20  # bytes; SQLite starts anew at 4 MB unless a reader keeps it from that
# https://www.sqlite.org/wal.html#walresetbug: in every release since 3.7.0, corrected in 3.51.3 and in two older lines.
WAL_RESET_SINCE: Version = (3, 7, 0)
WAL_RESET_FIXED: Version = (3, 51, 3)
WAL_RESET_BACKPORTED: tuple[Version, ...] = ((3, 44, 6), (3, 50, 7))
_OLD_TABLE = "migration_history"


def has_wal_reset_bug(version: Version) -> bool:
    """May this version damage a database in WAL mode, when two checkpoints and a commit meet?"""
    backported = any(version[:2] == fixed[:2] and version >= fixed for fixed in WAL_RESET_BACKPORTED)
    return WAL_RESET_SINCE <= version < WAL_RESET_FIXED and not backported


def check_database(subject: Subject) -> list[Finding]:
    """Opens it for reading, and looks at its pages for as long as there is time."""
    location = connect.parse_url(subject.target.url, directory=subject.directory)
    try:
        if connect.state_of(location) != "present":
            return []
        with closing(connect.connect(location, write=False, timeout=1.0)) as connection:
            found = _pages(connection, location, subject)
            with connect.translated(location):
                mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
                old = connection.execute(
                    "SELECT 1 FROM sqlite_schema WHERE name = ?", (_OLD_TABLE,)
                ).fetchone()
    except BusyError as error:
        return [from_error(error, WARNING)]
    except DriftError as error:
        return [from_error(error)]
    return (
        found
        + _version_findings(sqlite3.sqlite_version_info[:3], mode)
        + _left_behind(subject, mode)
        + _old(old)
    )


def _pages(connection: sqlite3.Connection, location: connect.Location, subject: Subject) -> list[Finding]:
    told: list[str] = []
    until = time.monotonic() + QUICK_S
    try:
        with connect.translated(location), connect.deadline(connection, until):
            for row in connection.execute("PRAGMA quick_check(5)"):
                told.append(str(row[0]))  # noqa: PERF401 - what was found before the time was over counts
    except DriftError as error:
        if time.monotonic() < until:
            return [from_error(error)]
        seconds = f"{QUICK_S:g} s"
        return [
            note(
                f"{location} is too large to be looked through in {seconds}",
                code="database-not-looked-through",
            )
        ]
    if told == ["ok"]:
        return []
    return [
        problem(
            f"{location} is damaged",
            code="database-corrupt",
            why="\n".join(told),
            fix=f"restore a backup: driftd backup list{subject.flags}; driftd backup restore BACKUP{subject.flags}",
        )
    ]


def _version_findings(version: tuple[int, ...], mode: str) -> list[Finding]:
    known = (version[0], version[1], version[2])
    if mode != "wal" or not has_wal_reset_bug(known):
        return []
    return [
        note(
            f"SQLite {'.'.join(map(str, known))} has the WAL-reset bug",
            code="sqlite-wal-reset",
            why="in WAL mode it can, very rarely, lose a commit or damage the database when two connections checkpoint "
            "at once (https://www.sqlite.org/wal.html#walresetbug)",
            fix="run driftd and the service with a Python that brings SQLite 3.51.3 or newer (or 3.50.7, 3.44.6)",
        )
    ]


def check_sqlite(subject: Subject) -> list[Finding]:
    """What this version of SQLite can and cannot do."""
    version = ".".join(map(str, sqlite3.sqlite_version_info))
    if sqlite3.sqlite_version_info < connect.OLDEST:
        needed = ".".join(map(str, connect.OLDEST))
        return [
            problem(
                f"SQLite {version} is too old",
                code="sqlite-too-old",
                why=f"driftd needs {needed} or newer",
                fix="run driftd with a Python that brings a newer SQLite",
            )
        ]
    with closing(open_database(subject.target.url, directory=subject.directory, wake=False)) as database:
        if database.catalogue_edits():
            return []
    return [
        note(
            f"SQLite {version} does not let driftd edit stored DDL",
            code="sqlite-defensive",
            why="it is built for defensive mode: what would take milliseconds is done by copying the table",
        )
    ]


def _left_behind(subject: Subject, mode: str) -> list[Finding]:
    """A journal that nobody needs any more, and a log that is never reset."""
    found = []
    journal, log = subject.beside("-journal"), subject.beside("-wal")
    if mode == "wal" and journal.exists():
        found.append(
            note(
                f"{journal} is left over",
                code="journal-left",
                why="the database is in WAL mode, in which SQLite does not use it",
                fix="leave it alone while anybody has the database open: SQLite removes it itself",
            )
        )
    held = log.stat().st_size if log.exists() else 0
    if held > max(LARGE_LOG, subject.database.stat().st_size):
        found.append(
            warning(
                f"{log} has grown to {size(held)}",
                code="log-large",
                why="some connection reads without end, so that SQLite cannot begin the log anew",
                fix="see who has the database open: driftd status -v",
            )
        )
    return found


def _old(found: object) -> list[Finding]:
    if found is None:
        return []
    return [
        note(
            f"the table {_OLD_TABLE} is left over from an older migration system",
            code="migrations-left",
            why="driftd keeps its own history, and leaves this table alone",
        )
    ]
