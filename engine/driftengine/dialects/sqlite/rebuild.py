"""Changing a table by copying it, in the order that SQLite documents: new, copy, drop, rename.

https://www.sqlite.org/lang_altertable.html#otheralter. Renaming the old table away first would rewrite the REFERENCES
of its children. Everything that hangs on the table is carried over: rowids that an application can see, the AUTOINCREMENT
sequence, statistics, indexes, triggers; views and foreign triggers are left alone by legacy_alter_table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.changes import ADD, REMOVE, Copied, Step
from driftengine.dialects.sqlite.edit import table_tree
from driftengine.dialects.sqlite.expressions import columns_read, without_qualifier
from driftengine.dialects.sqlite.projection import default_value, has_own_rowid, rowid_name
from driftengine.dialects.sqlite.tables import build_table
from driftengine.dialects.sqlite.tokens import fold, literal, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from driftengine.changes import Backfill, Change, Named
    from driftengine.schema import Column, Schema, Table

_PREFIX = "driftd_new_"
SERVER_DEFAULT = "server default"
# https://www.sqlite.org/fileformat2.html#stat1tab and the section behind it
_STATISTICS = {"sqlite_stat1": "tbl, idx, stat", "sqlite_stat4": "tbl, idx, neq, nlt, ndlt, sample"}
# What the index is over; for the key of a WITHOUT ROWID table, which goes under the table's own name, likewise.
_MEMBERS = """(SELECT group_concat(coalesce(name, cid) || ' ' || "desc" || ' ' || coll) FROM pragma_index_xinfo(idx) WHERE key)"""


def rebuild(
    table: Table,
    text: str,
    changes: Sequence[Change],
    schema: Schema,
    *,
    restore_text: bool,
    gone: frozenset[tuple[str, str]] = frozenset(),
) -> tuple[list[Step], Copied]:
    """The steps that turn `table` into what `text` says, its rows kept; and how to compare the rows afterwards.

    `restore_text` puts the exact text back after the rename, which otherwise leaves the table's name quoted. `gone` are
    (kind, key) of the indexes and triggers that the script has dropped before: they do not come back.
    """
    after = build_table(table_tree(text))
    numbers = tuple(sorted({change.number for change in changes}))
    temporary = _temporary_name(table, schema)
    own = frozenset({table.key, fold(temporary)})
    hanging = frozenset(one.key for one in hanging_on(table, schema))
    source = _columns_and_values(after, table, changes)

    def step(sql: str, *, endless: bool = False, objects: frozenset[str] = own) -> Step:
        return Step(sql, numbers, objects, endless=endless)

    steps = [
        step(renamed(text, temporary)),
        step(_copy(table, temporary, source, after)),
        *[step(sql) for sql in _sequence(table, after, temporary, schema)],
        *[step(sql) for sql in _statistics_out(schema)],
        step(f"DROP TABLE {quote(table.name)}", endless=True, objects=own | hanging),
        step("PRAGMA legacy_alter_table = ON", objects=frozenset()),
        step(f"ALTER TABLE {quote(temporary)} RENAME TO {quote(table.name)}"),
        step("PRAGMA legacy_alter_table = OFF", objects=frozenset()),
        *[
            step(sql)
            for c in changes
            if c.difference.aspect == "autoincrement" and c.backfill
            for sql in c.backfill.more
        ],
    ]
    if restore_text:
        steps.append(catalogue_edit(table.name, text, numbers))
    back: list[Named] = [one for one in schema.indexes_of(table.key) if ("index", one.key) not in gone]
    back += [one for one in schema.triggers_of(table.key) if ("trigger", one.key) not in gone]
    steps += [step(one.sql, objects=own | {one.key}) for one in back]
    steps += [step(sql) for sql in _statistics_back(table, schema)]
    return steps, _compared(table, after, changes)


def hanging_on(table: Table, schema: Schema) -> tuple[Named, ...]:
    """The indexes and triggers that go when the table is dropped."""
    return (*schema.indexes_of(table.key), *schema.triggers_of(table.key))


def catalogue_edit(table: str, text: str, operations: tuple[int, ...]) -> Step:
    """An edit of a table's stored DDL; whoever runs it makes the schema version move.

    https://www.sqlite.org/pragma.html#pragma_writable_schema
    """
    return Step(
        "UPDATE sqlite_schema SET sql = ? WHERE type = 'table' AND name = ?",
        operations,
        frozenset({fold(table)}),
        (text, table),
        catalogue=True,
    )


def _temporary_name(table: Table, schema: Schema) -> str:
    taken = {fold(row.name) for row in schema.stored}
    name = f"{_PREFIX}{table.name}"
    while fold(name) in taken:
        name += "_"
    return name


def renamed(text: str, name: str) -> str:
    """A CREATE TABLE under another name, with what refers to the table by its own name (CHECK(t.a > 0)) unqualified.

    Under legacy_alter_table the rename back would leave a qualifier as it is, and refuse it.
    """
    tree = table_tree(text)
    start = tree.name_span.end
    return f"{text[: tree.name_span.start]}{quote(name)}{without_qualifier(text[start:], tree.name)}"


def _columns_and_values(after: Table, table: Table, changes: Sequence[Change]) -> list[tuple[str, str]]:
    """(column, expression over the old row) for every column that is stored."""
    fills = {
        fold(c.difference.name): c.backfill for c in changes if c.difference.object == "column" and c.backfill
    }
    pairs: list[tuple[str, str]] = []
    for column in after.columns:
        if column.generated is not None:
            continue
        old = table.column(column.key)
        fill = fills.get(column.key)
        if old is not None:
            value = quote(old.name)
            if fill is not None:
                value = fill.expression if fill.replaces else f"coalesce({value}, {_filling(fill, column)})"
        elif fill is not None:
            value = fill.expression
        elif after.is_alias(column) and rowid_name(table):
            value = str(rowid_name(table))  # a new alias of the rowid takes over the rowids that are there
        else:
            value = default_value(column.default) if column.default else "NULL"
        pairs.append((quote(column.name), value))
    return pairs


def filled_again(table: Table, change: Change, fill: Backfill) -> tuple[list[Step], Copied]:
    """The steps that give a table its rows back once it has been made; its indexes and triggers come after them."""
    names = [rowid] if has_own_rowid(table) and (rowid := rowid_name(table)) else []
    stored = [column.name for column in table.columns if column.generated is None]
    columns = ", ".join([*names, *map(quote, stored)])
    steps = [f"INSERT OR ABORT INTO {quote(table.name)} ({columns}) {fill.expression}", *fill.more]
    return (
        [Step(sql, (change.number,), frozenset({table.key})) for sql in steps],
        Copied(table.name, tuple((name, name) for name in stored)),
    )


def _filling(fill: Backfill, column: Column) -> str:
    """What NULL becomes."""
    if fill.source == SERVER_DEFAULT and column.default is not None:
        return default_value(column.default)
    return fill.expression


def _copy(table: Table, temporary: str, pairs: list[tuple[str, str]], after: Table) -> str:
    """OR ABORT overrides an ON CONFLICT of the table: REPLACE would silently delete duplicates during the copy."""
    pairs = list(pairs)
    order = ""
    rowid = rowid_name(table)
    if rowid is not None and rowid_name(after) is not None:
        order = f" ORDER BY {rowid}"
        if not (after.primary_key and after.primary_key.rowid_alias):
            pairs.insert(0, (str(rowid_name(after)), rowid))
    columns = ", ".join(column for column, _ in pairs)
    values = ", ".join(value for _, value in pairs)
    return (
        f"INSERT OR ABORT INTO {quote(temporary)} ({columns}) SELECT {values} FROM {quote(table.name)}{order}"
    )


def _sequence(table: Table, after: Table, temporary: str, schema: Schema) -> list[str]:
    """AUTOINCREMENT never gives an id twice, so the highest id that was ever given is carried over."""
    if not (after.primary_key and after.primary_key.autoincrement):
        return []
    if not any(row.name == "sqlite_sequence" for row in schema.stored):
        return []
    old, new = literal(table.name), literal(temporary)
    return [
        f"DELETE FROM sqlite_sequence WHERE name = {new}",
        f"INSERT INTO sqlite_sequence(name, seq) SELECT {new}, seq FROM sqlite_sequence WHERE name = {old}",
    ]


def _statistics_tables(schema: Schema) -> list[str]:
    return [row.name for row in schema.stored if row.name in _STATISTICS]


def _statistics_out(schema: Schema) -> list[str]:
    """Dropping a table deletes its statistics, and with them the plans that the application's queries got."""
    out = []
    for name in _statistics_tables(schema):
        out += [
            f"DROP TABLE IF EXISTS temp.driftd_{name}",
            f"CREATE TEMP TABLE driftd_{name} AS SELECT {_STATISTICS[name]}, {_MEMBERS} AS members FROM main.{name}",
        ]
    return out


def _statistics_back(table: Table, schema: Schema) -> list[str]:
    out = []
    for name in _statistics_tables(schema):
        mine = f"tbl = {literal(table.name)} COLLATE NOCASE"
        # The index of a constraint is named by its number among them: those of another one would mislead.
        out += [
            f"DELETE FROM main.{name} WHERE {mine}",
            f"INSERT INTO main.{name} SELECT {_STATISTICS[name]} FROM temp.driftd_{name} WHERE {mine} AND members IS {_MEMBERS}",
            f"DROP TABLE temp.driftd_{name}",
        ]
    return out


def _compared(table: Table, after: Table, changes: Sequence[Change]) -> Copied:
    """Every column that is there before and after must hold the same values, but for those that the changes name."""
    touched: set[str] = set()
    for change in changes:
        difference = change.difference
        rewritten = change.backfill is not None or difference.aspect in {"type", "generated"}
        if difference.object == "column" and difference.change not in {ADD, REMOVE} and rewritten:
            touched.add(difference.actual.key)
        if difference.object == "primary_key":
            touched |= set(difference.desired.columns) if difference.desired else set()
    touched = _with_readers(touched, after, changes)
    same = [
        (column.name, _same_name(after, column))
        for column in table.columns
        if column.key not in touched and after.column(column.key) is not None
    ]
    return Copied(table.name, tuple(same))


def _with_readers(touched: set[str], after: Table, changes: Sequence[Change]) -> set[str]:
    """Generated columns that read what changes are computed anew, and so are those that read them."""
    recollated = {c.difference.actual.key for c in changes if c.difference.aspect == "collation"}
    names = frozenset(column.key for column in after.columns)
    reads = {
        column.key: columns_read(column.generated.expression.sql, columns=names)
        for column in after.columns
        if column.generated is not None
    }
    found = set(touched)
    while True:
        more = {key for key, read in reads.items() if read & (found | recollated)} - found
        if not more:
            return found
        found |= more


def _same_name(after: Table, column: Column) -> str:
    found = after.column(column.key)
    return found.name if found else column.name
