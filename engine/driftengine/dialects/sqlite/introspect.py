"""Stored DDL in, schema records out.

The DDL text is the truth: SQLite keeps it, and everything is parsed from there. `read_schema` holds what was parsed
against SQLite's own pragmas; a table on which the two disagree gets a `problem` and is never altered.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite import ddl
from driftengine.dialects.sqlite.expressions import canonical, canonical_condition, canonical_statement
from driftengine.dialects.sqlite.oracle import compile_problems, pragma_problems
from driftengine.dialects.sqlite.parse import parse
from driftengine.dialects.sqlite.tables import build_table, key_parts
from driftengine.dialects.sqlite.tokens import UnreadableSQL, fold, quote
from driftengine.errors import DatabaseError
from driftengine.schema import (
    Expression,
    ForeignKey,
    Index,
    Schema,
    StoredObject,
    Table,
    Trigger,
    View,
    VirtualTable,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

OWN_TABLE = "driftd_history"

# The tables behind a virtual table, by module: https://www.sqlite.org/vtab.html#the_xshadowname_method
_SHADOWS = {
    "fts3": ("content", "segments", "segdir", "docsize", "stat"),
    "fts4": ("content", "segments", "segdir", "docsize", "stat"),
    "fts5": ("data", "idx", "content", "docsize", "config"),
    "rtree": ("node", "rowid", "parent"),
    "rtree_i32": ("node", "rowid", "parent"),
    "geopoly": ("node", "rowid", "parent"),
}


def read_catalogue(connection: sqlite3.Connection) -> tuple[StoredObject, ...]:
    """Every row of sqlite_schema, ordered by type and name (rootpage left out: it says nothing about the schema).

    Triggers stand in the order in which they were made: in that order they fire, so a replay has to keep it.
    """
    # Somebody who writes it by hand may have left a BLOB there; SQLite reads it as text.
    rows = connection.execute(
        "SELECT type, CAST(name AS TEXT), CAST(tbl_name AS TEXT), CAST(sql AS TEXT) FROM main.sqlite_schema"
        " ORDER BY type, iif(type = 'trigger', rowid, 0), name"
    )
    return tuple(_stored(*row) for row in rows)


def _stored(kind: object, name: object, table: object, sql: str | None) -> StoredObject:
    """A row of sqlite_schema. Raises DatabaseError for one that SQLite does not write."""
    if not (isinstance(kind, str) and isinstance(name, str) and isinstance(table, str)):
        raise DatabaseError(
            "the database's catalogue is damaged",
            code="database-corrupt",
            why=f"a row of sqlite_schema lacks its type or its name: {name!r} of {table!r}",
            fix="restore a backup: driftd backup list shows them; nothing was written",
        )
    return StoredObject(kind, name, table, sql)


def read_schema(connection: sqlite3.Connection) -> Schema:
    """The schema of an open database, with every table that cannot be relied on marked by its `problem`."""
    schema = understand(read_catalogue(connection), _shadow_names(connection))
    problems = pragma_problems(connection, schema) | compile_problems(connection, schema)
    if not problems:
        return schema
    tables = {
        key: replace(table, problem=table.problem or problems.get(key, ""))
        for key, table in schema.tables.items()
    }
    return replace(schema, tables=tables)


def understand(stored: Iterable[StoredObject], shadows: Mapping[str, str] | None = None) -> Schema:
    """The schema that these rows of sqlite_schema describe; `shadows` maps a shadow table's key to its owner's.

    SQLite's own objects and driftd's history are left out.
    """
    return _understood(tuple(stored), tuple(sorted((shadows or {}).items())))


@lru_cache(maxsize=16)
def _understood(stored: tuple[StoredObject, ...], told: tuple[tuple[str, str], ...]) -> Schema:
    """The same rows are asked about again and again: as base, as what the models want, as what is there."""
    rows = [row for row in stored if row.sql and not _internal(row)]
    shadows = {**_shadows_by_rule(rows), **dict(told)}
    tables: dict[str, Table] = {}
    virtual: dict[str, VirtualTable] = {}
    for row in rows:
        if row.type != "table":
            continue
        key, sql = fold(row.name), row.sql or ""
        if key in shadows:
            virtual[key] = VirtualTable(key, "", shadow_of=shadows[key], name=row.name, sql=sql)
        elif _is_virtual(sql):
            virtual[key] = VirtualTable(key, _definition(sql), name=row.name, sql=sql)
        else:
            tables[key] = _table(row.name, sql)
    tables = {key: _resolve_parents(table, tables) for key, table in tables.items()}
    indexes: dict[str, Index] = {}
    for row in rows:
        if row.type == "index":
            key, owner = fold(row.table), tables.get(fold(row.table))
            try:
                indexes[fold(row.name)] = _index(row, owner)
            except UnreadableSQL as error:  # its table is left alone then, and the index with it
                why = f"its index {row.name} cannot be read: {error}"
                tables[key] = replace(owner or Table(key, name=row.table), problem=why)
    return Schema(
        tables=tables,
        indexes=indexes,
        views={fold(r.name): _view(r.name, r.sql or "") for r in rows if r.type == "view"},
        triggers={fold(r.name): _trigger(r) for r in rows if r.type == "trigger"},
        virtual_tables=virtual,
        stored=stored,
    )


def _internal(row: StoredObject) -> bool:
    return fold(row.name).startswith("sqlite_") or fold(row.table) == OWN_TABLE


def _is_virtual(sql: str) -> bool:
    return sql[:40].upper().split()[:3] == ["CREATE", "VIRTUAL", "TABLE"]


def _shadow_names(connection: sqlite3.Connection) -> dict[str, str]:
    """What SQLite itself calls a shadow table. The owner is the longest virtual table's name that fits."""
    rows = connection.execute("SELECT name, type FROM pragma_table_list WHERE schema = 'main'").fetchall()
    owners = [fold(name) for name, kind in rows if kind == "virtual"]
    shadows: dict[str, str] = {}
    for name, kind in rows:
        if kind == "shadow":
            fitting = [owner for owner in owners if fold(name).startswith(f"{owner}_")]
            shadows[fold(name)] = max(fitting, key=len, default=fold(name))
    return shadows


def _shadows_by_rule(rows: Iterable[StoredObject]) -> dict[str, str]:
    """Shadow tables of the modules that ship with SQLite, for when the module itself is not there to ask."""
    shadows: dict[str, str] = {}
    for row in rows:
        if row.type == "table" and _is_virtual(row.sql or ""):
            try:
                tree = parse(row.sql or "")
            except UnreadableSQL:
                continue
            if isinstance(tree, ddl.CreateVirtualTable):
                owner = fold(row.name)
                shadows |= {f"{owner}_{part}": owner for part in _SHADOWS.get(fold(tree.module), ())}
    return shadows


@lru_cache(maxsize=4096)
def _table(name: str, sql: str) -> Table:
    try:
        tree = parse(sql)
    except UnreadableSQL as error:
        return Table(fold(name), name=name, sql=sql, problem=f"its stored DDL cannot be read: {error}")
    if not isinstance(tree, ddl.CreateTable):
        return Table(fold(name), name=name, sql=sql, problem="its stored DDL is no CREATE TABLE")
    try:
        return replace(build_table(tree), key=fold(name), name=name)
    except UnicodeEncodeError:  # a default is asked of SQLite, which takes no such text from us
        return Table(fold(name), name=name, sql=sql, problem="its stored DDL holds bytes that are no UTF-8")


def _resolve_parents(table: Table, tables: Mapping[str, Table]) -> Table:
    """Writes the parent's primary key where REFERENCES names none: both spellings mean the same."""
    if all(key.parent_columns for key in table.foreign_keys):
        return table
    return replace(table, foreign_keys=tuple(_with_parent_key(key, tables) for key in table.foreign_keys))


def _with_parent_key(key: ForeignKey, tables: Mapping[str, Table]) -> ForeignKey:
    parent = tables.get(key.parent)
    if key.parent_columns or parent is None or parent.primary_key is None:
        return key
    columns = parent.primary_key.columns
    if len(columns) != len(key.columns):
        return key
    return replace(key, pairs=frozenset(zip(key.columns, columns, strict=True)), parent_columns=columns)


def _index(row: StoredObject, table: Table | None) -> Index:
    return _index_of(row.name, row.sql or "", row.table, table.sql if table else "")


# Keyed by text alone: a Table compares without its columns, which an index needs.
@lru_cache(maxsize=4096)
def _index_of(name: str, sql: str, table_name: str, table_sql: str) -> Index:
    tree = parse(sql)
    table_key = fold(table_name)
    table = _table(table_name, table_sql) if table_sql else None
    if not isinstance(tree, ddl.CreateIndex):
        raise UnreadableSQL(f"the stored DDL of the index {name} is no CREATE INDEX", 0)
    names = frozenset(column.key for column in table.columns) if table else frozenset[str]()
    collations = {column.key: column.collation for column in table.columns} if table else {}
    where = (
        Expression(canonical(tree.where, columns=names, table=table_key), tree.where) if tree.where else None
    )
    parts = key_parts(tree.columns, names, collations, table_key)
    return Index(table_key, parts, unique=tree.unique, where=where, key=fold(name), name=name, sql=sql)


@lru_cache(maxsize=1024)
def _view(name: str, sql: str) -> View:
    return View(fold(name), _definition(sql), name=name, sql=sql)


def _trigger(row: StoredObject) -> Trigger:
    sql = row.sql or ""
    return Trigger(fold(row.name), fold(row.table), _definition(sql), name=row.name, sql=sql)


@lru_cache(maxsize=1024)
def _definition(sql: str) -> str:
    """What a view, trigger or virtual table says behind its name, in canonical form."""
    try:
        tree = parse(sql)
    except UnreadableSQL:
        return _as_it_stands(sql)
    if isinstance(tree, (ddl.CreateView, ddl.CreateVirtualTable)):
        return canonical_statement(tree.definition)
    if isinstance(tree, ddl.CreateTrigger):
        return _trigger_effect(tree)
    return canonical_statement(sql)


def _as_it_stands(sql: str) -> str:
    """The canonical form of a text that is no such statement; the text itself where it is no SQL at all."""
    try:
        return canonical_statement(sql)
    except UnreadableSQL:
        return sql


def _trigger_effect(tree: ddl.CreateTrigger) -> str:
    """The order of the columns behind OF says nothing, nor does FOR EACH ROW: SQLite has no other kind."""
    head = [fold(tree.table), tree.time, tree.event, *sorted({quote(fold(name)) for name in tree.columns})]
    when = f"WHEN {canonical_condition(tree.when)}" if tree.when else ""
    return " ".join(filter(None, [*head, when, canonical_statement(tree.body)]))
