"""Proof on the copy that no row was lost or altered: the copy after the script against the backup before it.

The comparison runs in SQL, at SQLite's own speed (one pass, 0.7 seconds a million rows): rows are matched by rowid or
primary key, values by `IS` under BINARY and by their storage class. Every table that a statement touches is compared. What
no statement names cannot have been written, for the authorizer refuses that; it is compared all the same in a database that
takes no time, and counted in a larger one.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.conditions import any_of
from driftengine.dialects.sqlite.connect import file_uri, limited
from driftengine.dialects.sqlite.lineage import lineage
from driftengine.dialects.sqlite.projection import rowid_name
from driftengine.dialects.sqlite.tokens import fold, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from driftengine.changes import Copied, Script
    from driftengine.dialects.sqlite.lineage import Lineage
    from driftengine.schema import Column, Schema, Table

Found = frozenset[tuple[object, ...]] | str
Violations = Mapping[str, Found]
Pairs = tuple[tuple[str, str], ...]  # columns, by their names before and after

COMPARED_WHOLE = 64_000_000  # bytes of a backup in which the tables that nobody names are compared too
AGGREGATED = 900  # columns of a table that are compared while its rows are counted


def lost_rows(
    copy: Path,
    backup: Path,
    script: Script,
    before: Schema,
    after: Schema,
    deadline_at: float | None = None,
) -> tuple[tuple[str, str], ...]:
    """(table key, what is wrong) for each table whose rows are not all in `copy` with the values that must stay."""
    line = lineage(script, before)
    whole = backup.stat().st_size <= COMPARED_WHOLE
    copied = {fold(one.table): one for one in script.copied}
    found: list[tuple[str, str]] = []
    with closing(limited(_both(copy, backup), deadline_at)) as connection:
        for key, table in after.tables.items():
            old = line.table(key, before)
            if old is None or old.problem or table.problem:
                continue
            had, has = _counts(connection, old, table)
            if had != has:
                found.append((key, f"{table.name} has {has} rows after the change and had {had}"))
            elif key in script.named or whole:
                same = (
                    _same(copied[key], line, old) if key in copied else _untouched(script, line, old, table)
                )
                match = _match(old, table, _pairs(line, old, table), same)
                found += [(key, problem) for problem in _rows(connection, old, table, match, same, had)]
    return tuple(found)


def _pairs(line: Lineage, before: Table, after: Table) -> Pairs:
    """Every column that is there before and after, by its two names."""
    return tuple(
        (old.name, new.name)
        for new in after.columns
        if (old := line.column(after.key, new.key, before)) is not None
    )


def _same(copied: Copied, line: Lineage, before: Table) -> Pairs:
    """The columns that a copy keeps, by their names in the backup: a script names them as its own renames left them."""
    columns = line.columns[fold(copied.table)]
    names = {column.key: column.name for column in before.columns}
    return tuple(
        (names[columns[fold(old)]], new) for old, new in copied.columns if columns.get(fold(old)) in names
    )


def _untouched(script: Script, line: Lineage, before: Table, after: Table) -> Pairs:
    """The columns of a table whose rows no statement writes: all but those that are computed, or defaulted, otherwise."""
    judged = {(fold(table), fold(column)) for table, column in script.defaults}
    pairs: list[tuple[str, str]] = []
    for column in after.columns:
        old = line.column(after.key, column.key, before)
        if old is None or (after.key, column.key) in judged:
            continue
        if (old.generated is None) == (column.generated is None) and _computed_alike(old, column, line):
            pairs.append((old.name, column.name))
    return tuple(pairs)


def _computed_alike(old: Column, new: Column, line: Lineage) -> bool:
    """What a rename has rewritten reads otherwise and gives the same: its own expression is not looked at then."""
    return old.generated == new.generated or (old.generated is not None and line.renames)


def changed_defaults(
    copy: Path,
    backup: Path,
    script: Script,
    before: Schema,
    after: Schema,
    deadline_at: float | None = None,
) -> tuple[tuple[str, str], ...]:
    """The (table key, column name) pairs in which a row reads otherwise than before.

    A row that was written before an ADD COLUMN stores nothing for that column and reads the default out of the DDL: an
    edited default would change it, and integrity_check would say ok.
    """
    if not script.defaults:
        return ()
    line = lineage(script, before)
    found = []
    with closing(limited(_both(copy, backup), deadline_at)) as connection:
        for table, column in script.defaults:
            new = after.tables[fold(table)]
            old = line.table(new.key, before)
            was = None if old is None else line.column(new.key, fold(column), old)
            if old is None or was is None:
                continue
            pairs = _pairs(line, old, new)
            match = _match(old, new, pairs, pairs)
            if match is None:
                # Rows that cannot be told apart may be old ones: a copy of the table keeps their value.
                found.append((new.key, column))
                continue
            query = f"SELECT 1 FROM before.{quote(old.name)} AS b JOIN main.{quote(new.name)} AS a ON {match}"
            if connection.execute(f"{query} WHERE {_differs([(was.name, column)])} LIMIT 1").fetchone():
                found.append((new.key, column))
    return tuple(found)


def unsound(
    copy: Path, backup: Path, tables: Mapping[str, str], deadline_at: float | None = None
) -> tuple[tuple[str, str], ...]:
    """(table key, what is wrong) where integrity_check finds in a table of `copy` what it did not find in `backup`.

    `tables` are names in the copy, with the names in the backup. What is found is an index over a quoted name that was a
    string until a column of that name came, or a generated value that a STRICT table would refuse.
    """
    found = []
    with closing(limited(_reading(copy), deadline_at)) as connection:
        for table, former in tables.items():
            wrong = _findings(connection, table)
            if wrong:
                with closing(limited(_reading(backup), deadline_at)) as before:
                    wrong -= {text.replace(former, table) for text in _findings(before, former)}
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
    """A condition that holds when a pair of rows, a (after) and b (before), differs in one of the columns.

    The plus takes the columns' affinities away: two texts must not be compared as numbers.
    """
    terms = []
    for old, new in columns:
        a, b = f"a.{quote(new)}", f"b.{quote(old)}"
        terms.append(f"(typeof({a}) <> typeof({b}) OR +{a} COLLATE BINARY IS NOT +{b})")
    return any_of(terms)


def _counts(connection: sqlite3.Connection, before: Table, after: Table) -> tuple[int, int]:
    return (
        _number(connection, f"SELECT count(*) FROM before.{quote(before.name)}"),
        _number(connection, f"SELECT count(*) FROM main.{quote(after.name)}"),
    )


def _rows(
    connection: sqlite3.Connection, before: Table, after: Table, match: str | None, same: Pairs, had: int
) -> Iterator[str]:
    """What is wrong with the rows of one table that are as many as before."""
    old, new = f"before.{quote(before.name)}", f"main.{quote(after.name)}"
    if match is None:
        if same and (missing := _missing(connection, old, new, same)):
            yield f"{missing} rows of {after.name} hold other values after the change"
        return
    rows = f"FROM {old} AS b JOIN {new} AS a ON {match}"
    if len(same) < AGGREGATED:
        query = f"SELECT count(*), total({_differs(same)}) {rows}"
    else:  # in two passes: an aggregate may read 2,000 columns, and each of these has two
        query = f"SELECT (SELECT count(*) {rows}), (SELECT count(*) {rows} WHERE {_differs(same)})"
    matched, differing = connection.execute(query).fetchone()
    if matched != had:
        yield f"{had - matched} rows of {after.name} are under another key after the change"
    if differing:
        yield f"{differing:.0f} rows of {after.name} hold other values after the change"


def _match(before: Table, after: Table, every: Pairs, same: Pairs) -> str | None:
    """How a row is found again: by rowid where both have one, else by an unchanged primary key that no two rows share.

    A column that has become the alias gives the row its rowid, whatever that was before. `every` column that is there
    before and after, and those that hold the `same` values.
    """
    for old, new in every:
        if _is_alias(after, new) and not _is_alias(before, old):
            return f"a.{quote(new)} = b.{quote(old)}"
    rowids = rowid_name(before), rowid_name(after)
    if None not in rowids:
        return f"a.{rowids[1]} = b.{rowids[0]}"
    names, key = dict(same), before.primary_key
    keys = [column for one in (key.columns if key else ()) if (column := before.column(one))]
    # It may hold NULL many times: https://www.sqlite.org/lang_createtable.html#the_primary_key
    alone = before.without_rowid or all(one.not_null or before.is_alias(one) for one in keys)
    if not keys or not alone or not all(column.name in names for column in keys):
        return None
    return " AND ".join(f"a.{quote(names[column.name])} IS b.{quote(column.name)}" for column in keys)


def _is_alias(table: Table, name: str) -> bool:
    column = table.column(fold(name))
    return column is not None and table.is_alias(column)


def _missing(connection: sqlite3.Connection, before: str, after: str, same: Pairs) -> int:
    """Rows without a name of their own: each set of values must be there as many times as before."""
    places = ", ".join(str(n + 1) for n in range(2 * len(same)))

    def bag(table: str, names: Iterable[str]) -> str:
        listed = ", ".join(f"typeof({quote(name)}), {quote(name)} COLLATE BINARY" for name in names)
        return f"SELECT {listed}, count(*) FROM {table} GROUP BY {places}"

    old, new = bag(before, (a for a, _ in same)), bag(after, (b for _, b in same))
    return _number(connection, f"SELECT count(*) FROM ({old} EXCEPT {new})")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def violations(connection: sqlite3.Connection, tables: Iterable[str]) -> dict[str, Found]:
    """Foreign key violations by table key, or SQLite's message where the check itself raises.

    Each table is checked on its own: one mismatch would make the check of the whole database raise.
    """
    found: dict[str, Found] = {}
    for table in tables:
        try:
            rows = connection.execute(f"PRAGMA main.foreign_key_check({quote(table)})").fetchall()
        except sqlite3.OperationalError as error:
            found[fold(table)] = str(error)
        else:
            # The number of the key within the table (the last field) moves when keys are added or removed. Without a
            # rowid every row is called NULL, so equal ones are counted.
            times = Counter((row[1], fold(row[2])) for row in rows)
            found[fold(table)] = frozenset((*key, n) for key, count in times.items() for n in range(count))
    return found
