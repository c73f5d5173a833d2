"""The names that things had before a rename: queries made over the new ones, for a database that has the old ones."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from driftengine.dialects.sqlite.projection import rowid_name
from driftengine.dialects.sqlite.tokens import fold, quote, tokenize, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from driftengine.changes import Rename
    from driftengine.schema import Schema, Table

T = TypeVar("T")
Former = tuple[
    str, dict[str, str]
]  # the key of a table, and the names of its columns by their keys afterwards


def former_names(schema: Schema, renames: Sequence[Rename]) -> dict[str, Former]:
    """What each table and column is called in `schema`, by what it is called after the renames."""
    tables: dict[str, Former] = {
        key: (key, {column.key: column.name for column in table.columns})
        for key, table in schema.tables.items()
    }
    parked: dict[str, Former] = {}
    parked_columns: dict[str, dict[str, str]] = {}
    for one in renames:
        if not one.column:
            _move(tables, parked, one)
        elif one.table in tables:
            _move(tables[one.table][1], parked_columns.setdefault(one.table, {}), one)
    return tables


def _move(names: dict[str, T], parked: dict[str, T], one: Rename) -> None:
    """What has the new name waits aside: where two exchange their names, its own turn comes."""
    old, new = fold(one.old), fold(one.new)
    found = parked.pop(old, None)
    if found is None:
        found = names.pop(old, None)
    if found is None:
        return
    if new in names:
        parked[new] = names.pop(new)
    names[new] = found


def as_it_is(query: str, schema: Schema, renames: Sequence[Rename]) -> str:
    """A query over the schema after the renames, as one that finds the same in `schema`.

    A common table expression hides the table of its name, and one that only picks columns costs nothing: SQLite looks
    through it, down to the indexes (https://www.sqlite.org/optoverview.html#flattening).
    """
    if not renames:
        return query
    words = {fold(unquote(token.text)) for token in tokenize(query)}
    tables = [
        f"{quote(key)} AS (SELECT {', '.join(_columns(schema.tables[was], columns))} FROM main.{quote(schema.tables[was].name)})"
        for key, (was, columns) in former_names(schema, renames).items()
        if key in words and (key != was or any(new != fold(old) for new, old in columns.items()))
    ]
    return f"WITH {', '.join(tables)} {query}" if tables else query


def _columns(table: Table, columns: Mapping[str, str]) -> Iterator[str]:
    old = rowid_name(table)
    new = next((name for name in ("rowid", "_rowid_", "oid") if name not in columns), None)
    if old is not None and new is not None:
        yield f"{old} AS {new}"
    for key, name in columns.items():
        yield f"{quote(name)} AS {quote(key)}"


def left_behind(
    rename: Rename, schema: Schema, renames: Sequence[Rename]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where the old name stands in a text that no rename rewrites: what breaks by it, and what a person should look at.

    A virtual table may read a table by a name in its arguments (https://www.sqlite.org/fts5.html#external_content_tables);
    a view or a trigger may hold a name as a string.
    """
    if rename.column:
        table = former_names(schema, renames).get(rename.table, (rename.table, {}))[0]
    else:
        table = fold(rename.old)
    old = fold(rename.old)
    broken = tuple(
        f"the virtual table {virtual.name} reads it by its old name"
        for virtual in schema.virtual_tables.values()
        if not virtual.shadow_of and _reads(virtual.sql, table, old if rename.column else "")
    )
    told = tuple(
        f"the {kind} {one.name} holds '{rename.old}' as text"
        for kind, found in (("view", schema.views), ("trigger", schema.triggers))
        for one in found.values()
        if any(token.kind == "string" and fold(unquote(token.text)) == old for token in tokenize(one.sql))
    )
    return broken, told


def _reads(sql: str, table: str, column: str) -> bool:
    """True where the arguments of a virtual table name the table as its content, and (if given) the column."""
    words = [fold(unquote(token.text)) for token in tokenize(sql)]
    settings = zip(pairwise(words), words[2:], strict=False)
    names_table = any(
        first == "content" and sign == "=" and value == table for (first, sign), value in settings
    )
    return names_table and (not column or column in words)
