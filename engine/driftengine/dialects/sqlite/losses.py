"""What two states of a database do not share: rows that only the later one has, and rows that only the earlier one has."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.connect import Location, connect, deadline, file_uri, translated
from driftengine.dialects.sqlite.tokens import fold, quote
from driftengine.dialects.sqlite.verify import number
from driftengine.errors import DeadlineError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

NOW, THEN = "main", "earlier"
_GENERATED = (2, 3)  # of table_xinfo's `hidden`: computed from the rest, https://www.sqlite.org/pragma.html


@dataclass(frozen=True, slots=True)
class TableLoss:
    """One table in two states of a database.

    `rows_now` and `rows_then` count its rows, None where it is not there. `lost` counts the rows that are there now
    and were not then, in this form: new ones, and changed ones. `back` counts those that were there then and are not
    now. Either is None where it could not be counted.
    """

    table: str
    rows_now: int | None
    rows_then: int | None
    lost: int | None
    back: int | None

    def as_document(self) -> dict[str, str | int | None]:
        """As it stands in JSON documents."""
        names = ("table", "rows_now", "rows_then", "lost", "back")
        return {name: getattr(self, name) for name in names}


def losses(
    now: Location,
    then: Path,
    *,
    altered: Mapping[str, Collection[str]],
    left_out: Collection[str] = (),
    deadline_at: float | None = None,
) -> tuple[TableLoss, ...]:
    """What would be lost if the database at `now` became the copy at `then`, for each table in which they differ.

    Rows are compared over the columns that both states have, less those in `altered` (by table):
    what a migration has converted is no row that somebody wrote. Nothing is written. Virtual tables count through the
    tables behind them. After the deadline the tables that are left read None. Raises DatabaseError, BusyError.
    """
    with closing(connect(now, write=False)) as connection, translated(now):
        connection.execute(f"ATTACH ? AS {THEN}", (f"{file_uri(then, 'ro')}&immutable=1",))
        # One state of the live database for all tables.
        connection.execute("BEGIN")
        tables = {fold(name): name for state in (THEN, NOW) for name in _tables(connection, state)}
        written = {fold(table): frozenset(map(fold, names)) for table, names in altered.items()}
        found = [
            _of_table(connection, tables[key], written.get(key, frozenset()), deadline_at)
            for key in sorted(tables.keys() - {fold(name) for name in left_out})
        ]
    return tuple(one for one in found if one.lost != 0 or one.back != 0)


def _tables(connection: sqlite3.Connection, state: str) -> list[str]:
    rows = connection.execute(
        f"SELECT name FROM {state}.sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' "
        "ESCAPE '\\'"
    )
    return [name for (name,) in rows]


def _of_table(
    connection: sqlite3.Connection, table: str, altered: frozenset[str], deadline_at: float | None
) -> TableLoss:
    rows: dict[str, int | None] = {NOW: None, THEN: None}
    lost = back = None
    try:
        with deadline(connection, deadline_at):
            shared = _columns(connection, NOW, table) & _columns(connection, THEN, table)
            for state in rows:
                if _columns(connection, state, table):
                    rows[state] = number(connection, f"SELECT count(*) FROM {state}.{quote(table)}")
            compared = sorted(shared - altered)
            lost = _only_in(connection, table, compared, (NOW, THEN), rows)
            back = _only_in(connection, table, compared, (THEN, NOW), rows)
    except (DeadlineError, sqlite3.OperationalError) as error:
        # Out of time, or the table needs a function or a collation that only the application has.
        if isinstance(error, sqlite3.OperationalError) and _is_about_the_file(error):
            raise
    return TableLoss(table, rows[NOW], rows[THEN], lost, back)


def _is_about_the_file(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_INTERRUPT}


def _columns(connection: sqlite3.Connection, state: str, table: str) -> frozenset[str]:
    """The folded names of its columns that are stored; none where the table is not there."""
    rows = connection.execute(f"PRAGMA {state}.table_xinfo({quote(table)})")
    return frozenset(fold(row[1]) for row in rows if row[6] not in _GENERATED)


def _only_in(
    connection: sqlite3.Connection,
    table: str,
    columns: list[str],
    states: tuple[str, str],
    rows: Mapping[str, int | None],
) -> int:
    """How many rows the first of two states has and the second has not."""
    here, there = (rows[state] for state in states)
    if here is None or there is None:
        return here or 0
    more = max(0, here - there)
    if not columns:
        return more
    # BINARY: 'a' that became 'A' was written. Of equal rows EXCEPT tells one, the difference of the counts the others.
    listed = ", ".join(f"{quote(name)} COLLATE BINARY" for name in columns)
    parts = (f"SELECT {listed} FROM {state}.{quote(table)}" for state in states)
    return max(more, number(connection, f"SELECT count(*) FROM ({' EXCEPT '.join(parts)})"))
