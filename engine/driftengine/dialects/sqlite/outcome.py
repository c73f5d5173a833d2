"""What a script would leave of a schema: SQLite itself runs it in memory, where there are no rows."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.introspect import read_catalogue, understand
from driftengine.dialects.sqlite.scratch import execute_standing_in, holding
from driftengine.dialects.sqlite.tokens import fold, tokenize, unquote
from driftengine.dialects.sqlite.transaction import edit_catalogue
from driftengine.errors import RehearsalError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from driftengine.changes import Script, Step
    from driftengine.schema import Schema, StoredObject

_SHAPING = frozenset({"CREATE", "ALTER", "DROP", "PRAGMA"})
_KINDS = ("index", "table", "trigger", "view")  # as the catalogue is read


def after(actual: Schema, script: Script) -> Schema:
    """The schema that the script leaves of `actual`. Raises RehearsalError where SQLite refuses a statement.

    What our SQLite cannot compile, and the tables that SQLite keeps for itself, pass through as they are.
    """
    with holding(actual.stored) as (connection, foreign):
        passed = list(foreign)
        for step in script.steps:
            if step.catalogue or _shapes(step.sql):
                passed = _run(connection, step, passed)
        found = list(read_catalogue(connection))
    names = {fold(row.name) for row in found}
    own = [row for row in actual.stored if row.sql and fold(row.name).startswith("sqlite_")]
    found += [row for row in (*passed, *own) if fold(row.name) not in names]
    # Triggers stay in the order in which they were made: in that order they fire.
    found.sort(key=lambda row: (_KINDS.index(row.type), "" if row.type == "trigger" else row.name))
    return _understood(found, actual)


def _shapes(sql: str) -> bool:
    """Rows, and the temporary tables in which a copy keeps statistics, have no part in a schema."""
    words = sql.split(None, 6)
    if not words or words[0].upper() not in _SHAPING:
        return False
    return words[1].upper() != "TEMP" and not any(word.lower().startswith("temp.") for word in words[2:5])


def _run(connection: sqlite3.Connection, step: Step, passed: list[StoredObject]) -> list[StoredObject]:
    """Runs one statement; returns what is left of the objects that passed through."""
    words = [fold(unquote(token.text)) for token in tokenize(step.sql)[:3]]
    if words[0] == "drop" and any((row.type, fold(row.name)) == (words[1], words[2]) for row in passed):
        # What goes with a table that could not be made was not made either.
        return [row for row in passed if words[2] not in {fold(row.name), fold(row.table)}]
    try:
        if step.catalogue:
            edit_catalogue(connection, step)
        else:
            execute_standing_in(connection, step.sql)
    except sqlite3.Error as error:
        raise RehearsalError(
            "a statement was tried on an empty database and failed",
            code="rehearsal-failed",
            why=f"{error}: {' '.join(step.sql.split())[:200]}",
            fix="nothing was changed",
        ) from error
    return passed


def _understood(stored: Iterable[StoredObject], actual: Schema) -> Schema:
    """The schema, with what was known of tables that are as they were."""
    shadows = {key: table.shadow_of for key, table in actual.virtual_tables.items() if table.shadow_of}
    schema = understand(stored, shadows)
    tables = {
        key: replace(table, problem=actual.tables[key].problem)
        if key in actual.tables and actual.tables[key].sql == table.sql and not table.problem
        else table
        for key, table in schema.tables.items()
    }
    return replace(schema, tables=tables)
