"""A small database of a service, as the tests of backups want it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from driftengine.dialects.sqlite.connect import parse_url
from driftengine.dialects.sqlite.database_files import DatabaseFiles

if TYPE_CHECKING:
    from pathlib import Path


def make(path: Path, *, rows: int = 100, mode: str = "delete") -> DatabaseFiles:
    """Table `a` with numbered rows of 500 bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE a (n INTEGER PRIMARY KEY, filler)")
        connection.executemany(
            "INSERT INTO a VALUES (?, ?)", [(number, b"x" * 500) for number in range(rows)]
        )
        connection.commit()
    return DatabaseFiles(parse_url(f"sqlite:///{path}"))


def execute(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of one statement, through a connection of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql).fetchall()


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())
