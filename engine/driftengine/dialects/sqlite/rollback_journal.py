"""What a rollback journal beside a database tells without asking SQLite: that a writer has begun, or was killed.

https://www.sqlite.org/fileformat.html#the_rollback_journal
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.connect import Location, connect
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from pathlib import Path

JOURNAL_HEADER = 28  # bytes


def writer_has_begun(path: Path, left: bytes = b"") -> bool:
    """True while somebody's rollback journal is in use: there, and not emptied or struck out as one that is kept is.

    Struck out means zeros over the whole header; the journal of a transaction that is still writing lacks only the magic
    number. In WAL mode there is no journal, and writers do not wait. It is the database alone that must not be opened here.
    One whose header is still `left` is nobody's: the next writer puts another number into it.
    """
    try:
        header = _journal_header(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # it is there and we may not read it: give way
    return any(header) and header != left


def _journal_header(path: Path) -> bytes:
    with path.with_name(f"{path.name}-journal").open("rb") as file:
        return file.read(JOURNAL_HEADER)


def abandoned(location: Location) -> bytes:
    """The header of the journal of a writer that was killed before anything of it counted, b"" where there is none.

    SQLite leaves such a file until somebody writes again. That nobody does now is told by the write lock.
    """
    try:
        header = _journal_header(location.path)
        if not any(header):
            return b""
        with contextlib.closing(connect(location, write=True, timeout=0.0)) as asking:
            asking.execute("BEGIN IMMEDIATE")
            asking.execute("ROLLBACK")
    except (OSError, sqlite3.Error, DriftError):
        return b""  # no journal, or somebody writes
    return header
