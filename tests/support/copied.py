"""A database with two tables that a copy is made of, for the tests of copying and of bringing back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.connect import connect, parse_url
from driftengine.dialects.sqlite.copy import copy_database

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine.dialects.sqlite.connect import Location


def at(path: Path) -> Location:
    """Where it is."""
    return parse_url(f"sqlite:///{path}")


def make(path: Path, *, mode: str = "delete", rows: int = 100, page_size: int = 4096) -> Path:
    """Two tables with numbered rows of 500 bytes."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {page_size}")
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE a (n INTEGER PRIMARY KEY, filler)")
        connection.execute("CREATE TABLE b (n INTEGER PRIMARY KEY, filler)")
        numbers = [(number, b"x" * 500) for number in range(rows)]
        connection.executemany("INSERT INTO a VALUES (?, ?)", numbers)
        connection.executemany("INSERT INTO b VALUES (?, ?)", numbers)
        connection.commit()
    return path


def count(path: Path, table: str = "a") -> int:
    """How many rows a table has."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def journal_mode(path: Path) -> str:
    """The journal mode that the file has."""
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def copied(path: Path, destination: Path) -> Path:
    """A copy of it, made as a backup's is."""
    with closing(connect(at(path), write=False)) as source:
        copy_database(source, destination)
    return destination
