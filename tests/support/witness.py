"""An independent witness of a migration: what plain sqlite3 sees before and after, with nothing of driftd's comparison."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.migrations import House

Row = tuple[str, ...]


@dataclass(frozen=True)
class Photograph:
    """A database at one moment.

    `columns` holds, by (table, column), every value in the order of the rows as `typeof:literal`; the rowid, where a
    table has one, counts as a column. `objects` holds the stored DDL by (type, name).
    """

    columns: dict[tuple[str, str], list[str]]
    objects: dict[tuple[str, str], str | None]
    orphans: frozenset[tuple[Any, ...]]
    sequence: dict[str, int] = field(default_factory=dict)
    statistics: frozenset[tuple[Any, ...]] = frozenset()


def photograph(house: House) -> Photograph:
    """What stands in the house's database now; its integrity is asserted."""
    with closing(sqlite3.connect(house.database)) as connection:
        connection.create_function("app_function", 1, bool, deterministic=True)
        connection.create_collation("app_collation", lambda a, b: (a > b) - (a < b))
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        objects = {
            (kind, name): sql
            for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema")
            if "driftd_history" not in name
        }
        return Photograph(
            dict(_columns(connection)),
            objects,
            frozenset(_orphans(connection)),
            dict(_asked(connection, "sqlite_sequence", "name, seq")),
            frozenset(_asked(connection, "sqlite_stat1", "tbl, idx, stat")),
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _columns(connection: sqlite3.Connection) -> Iterable[tuple[tuple[str, str], list[str]]]:
    tables = connection.execute(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
        " AND name NOT LIKE 'sqlite%' AND name <> 'driftd_history'"
    ).fetchall()
    for table, without_rowid in tables:
        names = [row[1] for row in connection.execute(f"PRAGMA table_xinfo({_quoted(table)})")]
        has_rowid = not without_rowid and "rowid" not in {name.lower() for name in names}
        order = "rowid" if has_rowid else ", ".join(map(_quoted, names))
        for name in [*names, *["rowid"] * has_rowid]:
            text = "rowid" if name == "rowid" and has_rowid else _quoted(name)
            values = connection.execute(
                f"SELECT typeof({text}) || ':' || quote({text}) FROM {_quoted(table)} ORDER BY {order}"
            )
            yield (table.lower(), name.lower()), [value for (value,) in values]


def _orphans(connection: sqlite3.Connection) -> Iterable[tuple[Any, ...]]:
    tables = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
    ).fetchall()
    for (table,) in tables:
        for row in connection.execute(f"PRAGMA foreign_key_check({_quoted(table)})"):
            yield row[:3]


def _asked(connection: sqlite3.Connection, table: str, columns: str) -> list[tuple[Any, ...]]:
    present = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    if not present:
        return []
    rows = connection.execute(f"SELECT {columns} FROM {table}").fetchall()
    return [row for row in rows if row[0] != "driftd_history"]


def migrate(
    house: House, models: str, *approve: str, changed: Iterable[str] = (), touched: Iterable[str] = ()
) -> dict[str, Any]:
    """Applies the models and asserts that all of it was done and nothing else.

    `changed` are the `table.column` whose values may differ afterwards, `touched` the names of the objects whose stored
    DDL may. Every other value, rowid, object, sequence and orphan is asserted to be as it was, and the second start to
    find nothing to do.
    """
    before = photograph(house)
    house.models(models)
    document = house.apply(*approve)
    assert document["outcome"] == "migrated", document
    assert not document["held"], document
    assert not document["blocked"], document
    after = photograph(house)
    assert_kept(before, after, changed, touched)
    assert_settled(house)
    return document


def assert_kept(
    before: Photograph, after: Photograph, changed: Iterable[str] = (), touched: Iterable[str] = ()
) -> None:
    """Nothing differs but what is named."""
    free = {tuple(place.lower().rsplit(".", 1)) for place in changed}
    for place, values in before.columns.items():
        if place not in free:
            assert after.columns.get(place) == values, place
    names = {name.lower() for name in touched}
    for (kind, name), sql in before.objects.items():
        if name.lower() not in names and not name.startswith("sqlite_autoindex"):
            assert after.objects.get((kind, name)) == sql, name
    assert after.orphans <= before.orphans
    for table, seq in before.sequence.items():
        if table.lower() not in names:
            assert after.sequence[table] == seq


def assert_settled(house: House) -> None:
    """In sync, and the next start does nothing and makes no backup."""
    backups = house.backups()
    found = house.check()
    assert found["in_sync"], found["differences"]
    again = house.apply()
    assert again["outcome"] == "up_to_date", again
    assert again["backup"] is None
    assert house.backups() == backups


def refuse(house: House, models: str, outcome: str) -> list[dict[str, Any]]:
    """Applies models of which nothing may be done, asserts that nothing was, and returns what was held or blocked."""
    before = house.everything()
    house.models(models)
    document = house.apply()
    assert document["outcome"] == outcome, document
    assert document["applied"] == []
    assert document["error"] is None
    assert house.everything() == before
    left: list[dict[str, Any]] = document["held"] + document["blocked"]
    for one in left:
        assert one["name"]
        assert one["reason"]
        assert len(one["rows"]) <= 5
        assert one["count"] >= len(one["rows"])
    return left
