"""Is a database logically what it was? Everything that plain sqlite3 can see of it, driftd's own history left out."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SETTINGS = ("user_version", "application_id", "journal_mode", "page_size", "auto_vacuum", "encoding")
_OURS = "driftd_history"
_ROWID = "(rowid)"

Row = tuple[str, ...]


@dataclass(frozen=True)
class Image:
    """A database at one moment.

    `objects` holds (table, stored DDL) by (type, name); `rows` by table the names of its columns and its rows, each value
    as `typeof:literal`, with the rowid in front where the table has one; `violations` the foreign keys that point nowhere.
    """

    objects: dict[tuple[str, str], tuple[str, str | None]]
    rows: dict[str, tuple[Row, tuple[Row, ...]]]
    sequence: dict[str, int]
    statistics: frozenset[tuple[Any, ...]]
    violations: tuple[tuple[Any, ...], ...]
    settings: dict[str, Any]


def image(path: Path) -> Image:
    """What stands in the database now; its integrity is asserted."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        objects = {
            (kind, name): (table, sql)
            for kind, name, table, sql in connection.execute(
                "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE tbl_name <> ?", (_OURS,)
            )
        }
        tables = [name for kind, name in objects if kind == "table"]
        return Image(
            objects,
            {name: found for name in tables if (found := _rows(connection, name))},
            dict(_of(connection, tables, "sqlite_sequence", "name, seq")),
            frozenset(
                _of(connection, tables, "sqlite_stat1", "*") + _of(connection, tables, "sqlite_stat4", "*")
            ),
            tuple(_violations(connection, tables)),
            {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _SETTINGS},
        )


def assert_identical(before: Image, after: Image) -> None:
    """Nothing differs at all."""
    assert_identical_but(before, after)


def assert_identical_but(
    before: Image, after: Image, *, objects: Iterable[str] = (), columns: Iterable[str] = ()
) -> None:
    """Nothing differs but what is named.

    `objects` are names whose stored DDL may differ, come or go; `columns` are `table.column` whose values may differ, come
    or go (`table.(rowid)` for the rowids, `table.*` for the whole table).
    """
    named = {name.lower() for name in objects}
    for key in sorted(before.objects.keys() | after.objects.keys()):
        made_by_sqlite = key[1].startswith("sqlite_")
        if key[1].lower() not in named and not made_by_sqlite:
            assert after.objects.get(key) == before.objects.get(key), key
    free = {place.lower() for place in columns}
    for table in sorted(before.rows.keys() | after.rows.keys()):
        _assert_rows(before, after, table, free, may_go=table.lower() in named)
    assert after.sequence == before.sequence
    assert after.statistics == before.statistics
    assert after.violations == before.violations
    assert after.settings == before.settings


def _assert_rows(before: Image, after: Image, table: str, free: set[str], *, may_go: bool) -> None:
    if f"{table.lower()}.*" in free or (may_go and (table not in before.rows or table not in after.rows)):
        return
    assert table in before.rows, table
    assert table in after.rows, table
    old, new = _columns(*before.rows[table]), _columns(*after.rows[table])
    assert len(after.rows[table][1]) == len(before.rows[table][1]), table
    for name in sorted(old.keys() | new.keys()):
        if f"{table.lower()}.{name}" not in free:
            assert new.get(name) == old.get(name), f"{table}.{name}"


def _columns(names: Row, rows: tuple[Row, ...]) -> dict[str, list[str]]:
    return {name.lower(): [row[place] for row in rows] for place, name in enumerate(names)}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _rows(connection: sqlite3.Connection, table: str) -> tuple[Row, tuple[Row, ...]] | None:
    """The rows of an ordinary table, or None for one that a module serves."""
    found = connection.execute("SELECT type, wr FROM pragma_table_list WHERE name = ?", (table,)).fetchone()
    if found is None or found[0] not in {"table", "shadow"} or table.startswith("sqlite_"):
        return None
    names = [row[1] for row in connection.execute(f"PRAGMA table_xinfo({_quoted(table)})")]
    texts = [_quoted(name) for name in names]
    order = ", ".join(texts)
    if not found[1] and "rowid" not in {name.lower() for name in names}:
        names, texts, order = [_ROWID, *names], ["rowid", *texts], "rowid"
    values = ", ".join(f"typeof({text}) || ':' || quote({text})" for text in texts)
    rows = connection.execute(f"SELECT {values} FROM {_quoted(table)} ORDER BY {order}").fetchall()
    return tuple(names), tuple(rows)


def _of(
    connection: sqlite3.Connection, tables: Iterable[str], table: str, columns: str
) -> list[tuple[Any, ...]]:
    rows = connection.execute(f"SELECT {columns} FROM {table}").fetchall() if table in tables else []
    return sorted((row for row in rows if row[0] != _OURS), key=repr)


def _violations(connection: sqlite3.Connection, tables: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    # By table: a foreign key to a parent without such a key makes the check of the whole database raise.
    for table in sorted(tables):
        try:
            rows = connection.execute(f"PRAGMA foreign_key_check({_quoted(table)})").fetchall()
        except sqlite3.OperationalError as error:
            yield (table, str(error))
        else:
            yield from sorted((row[:3] for row in rows), key=repr)
