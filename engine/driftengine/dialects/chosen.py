"""The one place that chooses a dialect: what opens the database behind a URL, and what decides about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.database import LOCK_WAIT, SqliteDatabase, name_of, open_database
from driftengine.dialects.sqlite.dialect import SqliteDialect

if TYPE_CHECKING:
    from driftengine.dialects.base import Dialect

DIALECT: Dialect = SqliteDialect()


def opened(
    url: str, directory: str, *, tidy: bool = False, lock_wait: float = LOCK_WAIT, wake: bool = True
) -> SqliteDatabase:
    """The database behind a URL, for reading; see `open_database`. Raises ConfigurationError, DatabaseError."""
    return open_database(url, directory=Path(directory), tidy=tidy, lock_wait=lock_wait, wake=wake)


def named(url: str, directory: str) -> str:
    """What people and backups know the database by, without opening it. Raises ConfigurationError."""
    return name_of(url, directory=Path(directory))
