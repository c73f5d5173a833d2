"""Proof on the copy that nothing but the plan has happened to what the database stores beside its rows.

The catalogue, byte for byte; AUTOINCREMENT's sequences; the statistics that queries are planned by; the settings in the
file's header. `photograph` reads all of it before and after a script, `altered` says what should not have changed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftengine.dialects.base import Problem
from driftengine.dialects.sqlite.introspect import OWN_TABLE
from driftengine.dialects.sqlite.lineage import lineage, words_of
from driftengine.dialects.sqlite.strategy import columns_of_index
from driftengine.dialects.sqlite.tokens import fold, quote
from driftengine.dialects.sqlite.transaction import pragmas
from driftengine.schema import Index, Trigger, View

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from driftengine.changes import Script
    from driftengine.dialects.sqlite.lineage import Lineage
    from driftengine.schema import Schema, StoredObject, Table

STATISTICS = ("sqlite_stat1", "sqlite_stat4")

Row = tuple[object, ...]
Hanging = Index | View | Trigger
#: Of an index: unique, partial, and for each member its column (None: an expression), order and collation.
Members = tuple[bool, bool, tuple[tuple[str | None, bool, str], ...]]


@dataclass(frozen=True, slots=True)
class Photograph:
    """What a database stores beside its rows, at one moment.

    `sequences` are the rows of sqlite_sequence; `statistics` those of the tables that ANALYZE writes, each behind the
    table's name; `indexes` says by (table, index) key what an index is over, where there are statistics.
    """

    schema: Schema
    settings: tuple[tuple[str, object], ...]
    sequences: Counter[Row]
    statistics: Counter[Row]
    indexes: Mapping[tuple[str, str], Members]


def photograph(connection: sqlite3.Connection, schema: Schema) -> Photograph:
    """What stands there now; `schema` is what has been read of it."""
    present = {row.name for row in schema.stored}
    sequences, statistics = Counter[Row](), Counter[Row]()
    if "sqlite_sequence" in present:
        sequences.update(connection.execute("SELECT name, seq FROM main.sqlite_sequence"))
    for name in STATISTICS:
        if name in present:
            rows = connection.execute(f"SELECT * FROM main.{name}")
            statistics.update((name, *row) for row in rows)
    indexes = _indexes(connection, schema) if statistics else {}
    return Photograph(schema, pragmas(connection), sequences, statistics, indexes)


def _indexes(connection: sqlite3.Connection, schema: Schema) -> dict[tuple[str, str], Members]:
    found: dict[tuple[str, str], Members] = {}
    for table in schema.tables.values():
        if table.problem:
            continue
        listed = connection.execute(f"PRAGMA main.index_list({quote(table.name)})").fetchall()
        for _, name, unique, _, partial in listed:
            parts = connection.execute(f"PRAGMA main.index_xinfo({quote(name)})").fetchall()
            members = tuple(
                (None if part[2] is None else fold(part[2]), bool(part[3]), fold(part[4]))
                for part in parts
                if part[5]
            )
            found[table.key, fold(name)] = (bool(unique), bool(partial), members)
    return found


def altered(before: Photograph, after: Photograph, script: Script) -> Iterator[Problem]:
    """What is no longer as it was although the script does not name it, or does not say so."""
    line = lineage(script, before.schema)
    yield from _settings(before, after)
    yield from _stored(before.schema, after.schema, script)
    yield from _lost(before.schema, after.schema, script, line)
    yield from _sequences(before, after, line)
    yield from _statistics(before, after, line)


def _settings(before: Photograph, after: Photograph) -> Iterator[Problem]:
    for (name, old), (_, new) in zip(before.settings, after.settings, strict=True):
        if old != new:
            yield Problem(f"the setting {name} would be {new} and was {old}")


# --- the catalogue


def _stored(before: Schema, after: Schema, script: Script) -> Iterator[Problem]:
    """Whatever the script does not name is there byte for byte, and nothing comes that it does not name."""
    old, new = _by_identity(before), _by_identity(after)
    for identity in sorted(old.keys() | new.keys()):
        row = old.get(identity) or new[identity]
        if old.get(identity) == new.get(identity) or _named(row, script):
            continue
        told = "be another" if identity in old and identity in new else "go" if identity in old else "come"
        yield Problem(
            f"the {row.type} {row.name} would {told}, and no operation names it",
            frozenset({fold(row.name), fold(row.table)}),
        )


def _by_identity(schema: Schema) -> dict[tuple[str, str], StoredObject]:
    """Driftd's own table, and what SQLite makes for itself when it needs it, are nobody's."""
    return {
        (row.type, row.name): row
        for row in schema.stored
        if fold(row.table) != OWN_TABLE and not (row.type == "table" and fold(row.name).startswith("sqlite_"))
    }


def _named(row: StoredObject, script: Script) -> bool:
    """The index behind a constraint has no DDL and no name of its own: it is its table's."""
    return fold(row.table if row.sql is None else row.name) in script.named


def _lost(before: Schema, after: Schema, script: Script, line: Lineage) -> Iterator[Problem]:
    """Indexes, views and triggers that went, or read otherwise, although no statement says so.

    A copied table takes its own along, and a view its triggers: they are named, and must all come back as they were.
    """
    said = {step.sql for step in script.steps}
    dropped = {tuple(words_of(step.sql)) for step in script.steps}
    for kind, one, now in _hanging(before, after):
        if now is not None and (now.sql == one.sql or now.sql in said or line.renames):
            continue
        owner = "" if isinstance(one, View) else one.table
        if now is not None:
            text = f"the {kind} {one.name} would read otherwise"
        elif ("drop", kind, one.key) in dropped or _owner_gone(one, before, after, line):
            continue
        elif owner in before.views:
            text = f"the {kind} {one.name} would go with the view {owner}"
        else:
            text = f"the {kind} {one.name} would be lost"
        yield Problem(text, frozenset({one.key, line.after(owner) or owner} - {""}))


def _hanging(before: Schema, after: Schema) -> Iterator[tuple[str, Hanging, Hanging | None]]:
    """Each index, view and trigger from before, with what has its name now."""
    yield from (("index", one, after.indexes.get(key)) for key, one in before.indexes.items())
    yield from (("view", one, after.views.get(key)) for key, one in before.views.items())
    yield from (("trigger", one, after.triggers.get(key)) for key, one in before.triggers.items())


def _owner_gone(one: Hanging, before: Schema, after: Schema, line: Lineage) -> bool:
    """An index or a trigger may go with its table, and a plain index with the column that it is over."""
    if isinstance(one, View) or one.table not in before.tables:
        return False
    now = line.after(one.table)
    if now is None:
        return True
    kept = {old for new, old in line.columns[now].items() if after.tables[now].column(new)}
    return isinstance(one, Index) and not columns_of_index(one, before.tables[one.table]) <= kept


# --- sequences and statistics


def _sequences(before: Photograph, after: Photograph, line: Lineage) -> Iterator[Problem]:
    """AUTOINCREMENT never gives an id twice: the highest one that was ever given stays known."""

    def kept(key: str) -> str | None:
        now = line.after(key)
        alike = now is not None and _increments(before.schema, key) and _increments(after.schema, now)
        return after.schema.tables[now].name if now is not None and alike else None

    yield from _kept_rows(
        before.sequences, after.sequences, before.schema, kept, "the AUTOINCREMENT sequence"
    )


def _increments(schema: Schema, key: str) -> bool:
    table = schema.tables.get(key)
    return table is not None and table.primary_key is not None and table.primary_key.autoincrement


def _kept_rows(
    before: Counter[Row],
    after: Counter[Row],
    schema: Schema,
    kept: Callable[[str], str | None],
    what: str,
) -> Iterator[Problem]:
    """Rows that begin with a table's name; `kept` gives the table's name now, or None where its rows are free."""
    for (name, *rest), times in before.items():
        key = fold(str(name))
        if key == OWN_TABLE:
            continue
        now = kept(key) if key in schema.tables else str(name)
        if now is not None and _alike(after, now, rest) < times:
            yield Problem(f"{what} of {now} would not be {rest[-1]} any more", frozenset({fold(now)}))


def _alike(rows: Counter[Row], name: str, rest: Iterable[object]) -> int:
    """SQLite writes the name as some statement has spelled it."""
    wanted = tuple(rest)
    return sum(n for (one, *row), n in rows.items() if fold(str(one)) == fold(name) and tuple(row) == wanted)


def _statistics(before: Photograph, after: Photograph, line: Lineage) -> Iterator[Problem]:
    """What ANALYZE found of a table, and of each index that is over the same columns afterwards.

    The statistics of an index that is another one now would mislead: none may stand under its name.
    """
    for (kind, table, index, *rest), times in before.statistics.items():
        key = fold(str(table))
        now = line.after(key)
        if key == OWN_TABLE or now is None or _unread(key, before) or _unread(now, after):
            continue
        found = sum(
            n
            for (one, name, over, *row), n in after.statistics.items()
            if (one, fold(str(name)), row) == (kind, now, rest) and _over(over, name) == _over(index, table)
        )
        alike = _same_members(key, index, before, after, line)
        if alike and found < times:
            yield Problem(f"the statistics of {index or table} would be lost", frozenset({now}))
        elif alike is False and found:
            yield Problem(f"the statistics of {index} would be those of another index", frozenset({now}))


def _unread(key: str, photograph: Photograph) -> bool:
    table = photograph.schema.tables.get(key)
    return table is None or bool(table.problem)


def _over(index: object, table: object) -> str:
    """The index whose statistics these are: the key of a WITHOUT ROWID table goes under the table's own name."""
    name = fold(str(index or ""))
    return "" if name == fold(str(table)) else name


def _same_members(
    key: str, index: object, before: Photograph, after: Photograph, line: Lineage
) -> bool | None:
    """True where the index is over the same afterwards, False where its name is another one's, None where it is gone."""
    now = line.after(key) or ""
    name = _over(index, key)
    if not name:
        old, new = before.schema.tables[key], after.schema.tables[now]
        return True if index is None or _same_key(old, new, line) else None
    was, left = before.indexes.get((key, name)), after.indexes.get((now, name))
    if was is None or left is None:
        return None
    columns = line.columns[now]
    return was == (*left[:2], tuple((columns.get(c or "", c), *rest) for c, *rest in left[2]))


def _same_key(old: Table, new: Table, line: Lineage) -> bool:
    columns = line.columns[new.key]
    before = old.primary_key.columns if old.primary_key else ()
    after = new.primary_key.columns if new.primary_key else ()
    return old.without_rowid == new.without_rowid and before == tuple(columns.get(c, c) for c in after)
