"""Schemas in tests: what SQLite stores when it is given some DDL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.introspect import read_schema
from driftengine.diff import Base, compare

if TYPE_CHECKING:
    from driftengine.diff import Drift
    from driftengine.schema import Schema


def schema_of(ddl: str) -> Schema:
    """The schema that a script makes in an empty database."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(ddl)
        return read_schema(connection)


def drift_between(actual: str, desired: str, base: str | tuple[str, str] | None = None) -> Drift:
    """The drift of a database made by `actual` from models that are `desired`.

    `base` is what driftd left behind, or (what it left behind, what the models described then).
    """
    left, described = (base, base) if isinstance(base, str) else base or ("", "")
    found = Base(schema_of(left), schema_of(described)) if base is not None else None
    return compare(schema_of(desired), schema_of(actual), found)
