"""Proof on the copy that no row was lost or altered: the copy after the script against the backup before it.

The comparison runs in SQL, at SQLite's own speed: rows are matched by rowid or primary key, values by `IS` under BINARY
and by their storage class.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

from driftengine.changes import Copied
from driftengine.dialects.sqlite.connect import file_uri, limited
from driftengine.dialects.sqlite.projection import rowid_name
from driftengine.dialects.sqlite.tokens import fold, quote, tokenize, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from driftengine.schema import Schema, Table


def lost_rows(
    copy: Path,
    backup: Path,
    copied: Sequence[Copied],
    before: Schema,
    after: Schema,
    deadline_at: float | None = None,
) -> tuple[tuple[str, str], ...]:
    """(table key, what is wrong) for each copied table whose rows are not all in `copy` with the same values."""
    if not copied:
        return ()
    with closing(limited(_both(copy, backup), deadline_at)) as connection:
        return tuple(
            (fold(one.table), problem)
            for one in copied
            for problem in _table(
                connection, one, before.tables[fold(one.table)], after.tables[fold(one.table)]
            )
        )


def changed_defaults(
    copy: Path,
    backup: Path,
    columns: Iterable[tuple[str, str]],
    schema: Schema,
    deadline_at: float | None = None,
) -> tuple[tuple[str, str], ...]:
    """The (table key, column name) pairs in which a row reads otherwise than before.

    A row that was written before an ADD COLUMN stores nothing for that column and reads the default out of the DDL: an
    edited default would change it, and integrity_check would say ok.
    """
    pairs = tuple(columns)
    if not pairs:
        return ()
    found = []
    with closing(limited(_both(copy, backup), deadline_at)) as connection:
        for table, column in pairs:
            name, record = quote(table), schema.tables[fold(table)]
            every = Copied(table, tuple((one.name, one.name) for one in record.columns))
            match = _match(record, record, every)
            if match is None:
                # Rows that cannot be told apart may be old ones: a copy of the table keeps their value.
                found.append((fold(table), column))
                continue
            query = f"SELECT 1 FROM before.{name} AS b JOIN main.{name} AS a ON {match}"
            if connection.execute(f"{query} WHERE {_differs([(column, column)])} LIMIT 1").fetchone():
                found.append((fold(table), column))
    return tuple(found)


def unsound(
    copy: Path, backup: Path, tables: Iterable[str], deadline_at: float | None = None
) -> tuple[tuple[str, str], ...]:
    """(table key, what is wrong) where integrity_check finds in a table of `copy` what it did not find in `backup`.

    Such is an index over a quoted name that was a string until a column of that name came, or a generated value that a
    STRICT table would refuse.
    """
    found = []
    with closing(limited(_reading(copy), deadline_at)) as connection:
        for table in tables:
            wrong = _findings(connection, table)
            if wrong:
                with closing(limited(_reading(backup), deadline_at)) as before:
                    wrong -= _findings(before, table)
            found += [(fold(table), text) for text in sorted(wrong)[:1]]
    return tuple(found)


def _findings(connection: sqlite3.Connection, table: str) -> set[str]:
    try:
        rows = connection.execute(f"PRAGMA main.integrity_check({quote(table)})").fetchall()
    except sqlite3.OperationalError:
        return set()  # what this SQLite cannot compile was left out of the backup's check too
    return {str(text) for (text,) in rows} - {"ok"}


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(file_uri(path, "ro"), isolation_level=None, uri=True)


def _both(copy: Path, backup: Path) -> sqlite3.Connection:
    connection = _reading(copy)
    connection.execute("ATTACH ? AS before", (f"{file_uri(backup, 'ro')}&immutable=1",))
    return connection


def _differs(columns: Iterable[tuple[str, str]]) -> str:
    """A condition that holds when a pair of rows, a (after) and b (before), differs in one of the columns."""
    terms = []
    for old, new in columns:
        a, b = f"a.{quote(new)}", f"b.{quote(old)}"
        terms.append(f"typeof({a}) <> typeof({b}) OR {a} COLLATE BINARY IS NOT {b}")
    return " OR ".join(terms) or "0"


def _table(connection: sqlite3.Connection, copied: Copied, before: Table, after: Table) -> list[str]:
    name_before, name_after = f"before.{quote(before.name)}", f"main.{quote(after.name)}"
    had = _number(connection, f"SELECT count(*) FROM {name_before}")
    has = _number(connection, f"SELECT count(*) FROM {name_after}")
    if had != has:
        return [f"{before.name} has {has} rows after the change and had {had}"]
    match = _match(before, after, copied)
    if match is None:
        return _as_sets(connection, copied, name_before, name_after)
    where = _differs(copied.columns)
    query = f"SELECT count(*) FROM {name_before} AS b JOIN {name_after} AS a ON {match}"
    matched = _number(connection, query)
    differing = _number(connection, f"{query} WHERE {where}")
    problems = []
    if matched != had:
        problems.append(f"{had - matched} rows of {before.name} are under another key after the change")
    if differing:
        problems.append(f"{differing} rows of {before.name} hold other values after the change")
    return problems


def _match(before: Table, after: Table, copied: Copied) -> str | None:
    """How a row is found again: by rowid where both have one, else by an unchanged primary key.

    A column that has become the alias gives the row its rowid, whatever that was before.
    """
    for column in before.columns:
        if after.is_alias(column) and not before.is_alias(column):
            return f"a.{quote(column.name)} = b.{quote(column.name)}"
    old, new = rowid_name(before), rowid_name(after)
    if old is not None and new is not None:
        return f"a.{new} = b.{old}"
    names = dict(copied.columns)
    keys = before.primary_key.columns if before.primary_key else ()
    columns = {column.key: column.name for column in before.columns}
    if not keys or not all(columns[key] in names for key in keys):
        return None
    return " AND ".join(f"a.{quote(names[columns[key]])} IS b.{quote(columns[key])}" for key in keys)


def _as_sets(connection: sqlite3.Connection, copied: Copied, before: str, after: str) -> list[str]:
    old = ", ".join(f"typeof({quote(a)}), {quote(a)} COLLATE BINARY" for a, _ in copied.columns)
    new = ", ".join(f"typeof({quote(b)}), {quote(b)} COLLATE BINARY" for _, b in copied.columns)
    if not old:
        return []
    missing = _number(
        connection, f"SELECT count(*) FROM (SELECT {old} FROM {before} EXCEPT SELECT {new} FROM {after})"
    )
    return [f"{missing} rows of {copied.table} hold other values after the change"] if missing else []


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def violations(
    connection: sqlite3.Connection, tables: Iterable[str]
) -> dict[str, frozenset[tuple[object, ...]] | str]:
    """Foreign key violations by table key, or SQLite's message where the check itself raises.

    Each table is checked on its own: one mismatch would make the check of the whole database raise.
    """
    found: dict[str, frozenset[tuple[object, ...]] | str] = {}
    for table in tables:
        try:
            rows = connection.execute(f"PRAGMA main.foreign_key_check({quote(table)})").fetchall()
        except sqlite3.OperationalError as error:
            found[fold(table)] = str(error)
        else:
            # The number of the key within the table (the last field) moves when keys are added or removed. Without a
            # rowid every row is called NULL, so equal ones are counted.
            times = Counter((row[1], row[2]) for row in rows)
            found[fold(table)] = frozenset((*key, n) for key, count in times.items() for n in range(count))
    return found


def compiles(connection: sqlite3.Connection, schema: Schema) -> dict[str, str]:
    """SQLite's message for each view and trigger that it cannot compile, by key."""
    broken: dict[str, str] = {}
    for view in schema.views.values():
        message = _refusal(connection, f"SELECT * FROM main.{quote(view.name)} LIMIT 0")
        if message:
            broken[view.key] = message
    for trigger in schema.triggers.values():
        message = _trigger_refusal(connection, trigger.sql, trigger.table, schema)
        if message:
            broken[trigger.key] = message
    return broken


def _trigger_refusal(connection: sqlite3.Connection, sql: str, table: str, schema: Schema) -> str:
    """A trigger is compiled with the statement that fires it, on its table or (INSTEAD OF) on its view."""
    owner = schema.tables.get(table) or schema.views.get(table)
    if owner is None:
        return ""
    name = f"main.{quote(owner.name)}"
    event = _event(sql)
    if event == "INSERT":
        return _refusal(connection, f"EXPLAIN INSERT INTO {name} DEFAULT VALUES")
    if event == "DELETE":
        return _refusal(connection, f"EXPLAIN DELETE FROM {name}")
    try:
        rows = connection.execute(f"PRAGMA main.table_info({quote(owner.name)})").fetchall()
    except sqlite3.OperationalError as error:
        return str(error)  # a view that does not compile has no columns
    # A plain table_info leaves generated columns out: they cannot be updated.
    unknown = _named_by_update_of(sql) - {fold(row[1]) for row in rows}
    if unknown:
        return f"no such column: {min(unknown)}"  # SQLite says nothing; the trigger would never fire again
    columns = ", ".join(f"{quote(row[1])} = {quote(row[1])}" for row in rows)
    return _refusal(connection, f"EXPLAIN UPDATE {name} SET {columns}") if columns else ""


def _event(sql: str) -> str:
    """INSERT, DELETE or UPDATE: the first of these words behind `CREATE TRIGGER name`."""
    words = (token.text.upper() for token in tokenize(sql)[3:])
    return next((word for word in words if word in {"INSERT", "DELETE", "UPDATE"}), "")


def _named_by_update_of(sql: str) -> set[str]:
    """The columns between `UPDATE OF` and ON."""
    tokens = tokenize(sql)[3:]
    words = [token.text.upper() for token in tokens]
    start = words.index("UPDATE") + 1
    if words[start] != "OF":
        return set()
    return {fold(unquote(token.text)) for token in tokens[start + 1 : words.index("ON", start)]} - {","}


def _refusal(connection: sqlite3.Connection, sql: str) -> str:
    try:
        connection.execute(sql).close()
    except sqlite3.Error as error:
        return str(error)
    return ""
