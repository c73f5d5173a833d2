"""What views and triggers come to: whether SQLite compiles them, which columns they read, whether a trigger fails when it fires.

Compiling alone does not tell that a view goes on meaning the same. To SQLite a name in double quotes that is no column is
a string, so that a view over `"price"` still compiles when that column has gone, and shows the word:
https://www.sqlite.org/quirks.html#dblquote
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from driftengine.dialects.base import Problem
from driftengine.dialects.sqlite.projection import rowid_name
from driftengine.dialects.sqlite.tokens import fold, quote, tokenize, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from driftengine.changes import Script
    from driftengine.dialects.sqlite.tokens import Token
    from driftengine.schema import Schema, Trigger, View

Columns = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """One view or trigger: SQLite's message where it does not compile, and the (table, column) keys that it reads."""

    message: str = ""
    reads: Columns = frozenset()


def compiled(connection: sqlite3.Connection, schema: Schema, named: frozenset[str]) -> dict[str, Compiled]:
    """Every view and trigger of an open copy, by key. The connection's authorizer is taken off.

    Triggers that mention one of the `named` objects are fired, each over a row that is there, and rolled back.
    """
    found = {
        view.key: _compile(connection, f"SELECT * FROM main.{quote(view.name)} LIMIT 0")
        for view in schema.views.values()
    }
    for trigger in schema.triggers.values():
        one = _trigger(connection, trigger, schema)
        words = {fold(unquote(token.text)) for token in tokenize(trigger.sql)}
        if not one.message and words & named:
            one = replace(one, message=_fired(connection, trigger, schema))
        found[trigger.key] = one
    return found


def newly_broken(
    before: Mapping[str, Compiled], after: Mapping[str, Compiled], script: Script, old: Schema, new: Schema
) -> list[Problem]:
    """Views and triggers that worked and work no longer, or read something else by the very same text.

    Each concerns every object of the plan that its text names.
    """
    problems = []
    for key, now in after.items():
        definition = _definition(new, key)
        then = before.get(key, Compiled())
        words = [token.text for token in tokenize(definition.sql)]
        said = ""
        if now.message and not then.message:
            said = f"{definition.name} would no longer work: {now.message}"
        elif not now.message and key in before and not then.message and _same_text(old, new, key):
            said = _otherwise(definition.name, then.reads, now.reads, words)
        if said:
            named = {fold(unquote(word)) for word in words} & script.named
            problems.append(Problem(said, frozenset({key} | named)))
    return problems


def _otherwise(name: str, then: Columns, now: Columns, words: list[str]) -> str:
    """Told where a quoted name has turned from a column into a string, or from a string into a column."""
    quoted = {fold(unquote(word)) for word in words if word.startswith('"')}
    lost = sorted(column for _, column in then - now if column in quoted)
    if lost:
        return f'{name} would no longer work: "{lost[0]}" would be a string and no column'
    came = sorted(column for _, column in now - then if column in quoted)
    if came:
        return f'{name} would no longer work: "{came[0]}" is a string in it, and would be a column'
    return ""


def turned_to_strings(script: Script, old: Schema, new: Schema) -> list[Problem]:
    """Rules of tables, and indexes, in which the name of a column that has gone is left as a string.

    A CHECK would compare with the word, and a unique index over it would refuse other rows than before.
    """
    problems = []
    for key in sorted(script.named & old.tables.keys() & new.tables.keys()):
        table = new.tables[key]
        gone = {c.key for c in old.tables[key].columns} - {c.key for c in table.columns}
        rules: list[tuple[str, Sequence[Token]]] = [
            (f"the CHECK ({check.expression.sql})", tokenize(check.expression.sql)) for check in table.checks
        ]
        rules += [
            (f"the column {column.name}", tokenize(column.generated.expression.sql))
            for column in table.columns
            if column.generated
        ]
        rules += [(f"the index {index.name}", _behind_table(index.sql)) for index in new.indexes_of(key)]
        problems += [
            Problem(f"{rule} of {table.name} would read {token.text} as a string", frozenset({key}))
            for rule, tokens in rules
            for token in tokens
            if token.text.startswith('"') and fold(unquote(token.text)) in gone
        ]
    return problems


def _behind_table(sql: str) -> Sequence[Token]:
    """What an index says behind `ON table`."""
    tokens = tokenize(sql)
    return tokens[[token.text.upper() for token in tokens].index("ON") + 2 :]


def _definition(schema: Schema, key: str) -> View | Trigger:
    return schema.views.get(key) or schema.triggers[key]


def _same_text(old: Schema, new: Schema, key: str) -> bool:
    before = old.views.get(key) or old.triggers.get(key)
    return before is not None and before.sql == _definition(new, key).sql


def _trigger(connection: sqlite3.Connection, trigger: Trigger, schema: Schema) -> Compiled:
    """A trigger is compiled with the statement that fires it, on its table or (INSTEAD OF) on its view."""
    owner = schema.tables.get(trigger.table) or schema.views.get(trigger.table)
    if owner is None:
        return Compiled()
    name = f"main.{quote(owner.name)}"
    event = _event(trigger.sql)
    if event == "INSERT":
        return _compile(connection, f"EXPLAIN INSERT INTO {name} DEFAULT VALUES", trigger.name)
    if event == "DELETE":
        return _compile(connection, f"EXPLAIN DELETE FROM {name}", trigger.name)
    try:
        rows = connection.execute(f"PRAGMA main.table_info({quote(owner.name)})").fetchall()
    except sqlite3.OperationalError as error:
        return Compiled(str(error))  # a view that does not compile has no columns
    # A plain table_info leaves generated columns out: they cannot be updated.
    unknown = _named_by_update_of(trigger.sql) - {fold(row[1]) for row in rows}
    if unknown:
        # SQLite says nothing; the trigger would never fire again.
        return Compiled(f"no such column: {min(unknown)}")
    columns = ", ".join(f"{quote(row[1])} = {quote(row[1])}" for row in rows)
    return (
        _compile(connection, f"EXPLAIN UPDATE {name} SET {columns}", trigger.name) if columns else Compiled()
    )


def _fired(connection: sqlite3.Connection, trigger: Trigger, schema: Schema) -> str:
    """What SQLite says when the trigger fires over the first row of its table; "" also where there is no such row.

    One that inserts without a column which has become NOT NULL compiles, and fails the application's next write.
    """
    table = schema.tables.get(trigger.table)
    rowid = None if table is None else rowid_name(table)
    if table is None or rowid is None:
        return ""
    name = f"main.{quote(table.name)}"
    names = [quote(column.name) for column in table.columns if column.generated is None]
    try:
        row = connection.execute(f"SELECT {rowid}, {', '.join(names)} FROM {name} LIMIT 1").fetchone()
        if row is None:
            return ""
        connection.execute("BEGIN")
        marks = ", ".join("?" * len(names))
        # OR REPLACE puts the same row in its own place, and fires no trigger for what it takes away.
        statement, values = {
            "INSERT": (f"INSERT OR REPLACE INTO {name} ({', '.join(names)}) VALUES ({marks})", row[1:]),
            "DELETE": (f"DELETE FROM {name} WHERE {rowid} = ?", row[:1]),
        }.get(
            _event(trigger.sql),
            (f"UPDATE {name} SET {', '.join(f'{one} = {one}' for one in names)} WHERE {rowid} = ?", row[:1]),
        )
        connection.execute(statement, values)
    except sqlite3.Error as error:
        # The row is there already, so what the trigger writes for it may be, too: that says nothing of the next row.
        return "" if str(error).startswith("UNIQUE") else str(error)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return ""


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


def _compile(connection: sqlite3.Connection, sql: str, trigger: str = "") -> Compiled:
    """What SQLite says to a statement. Of one that fires a trigger only what that trigger reads is counted."""
    try:
        with _reading(connection, trigger) as reads:
            connection.execute(sql).close()
    except sqlite3.Error as error:
        return Compiled(str(error))
    return Compiled("", frozenset(reads))


@contextmanager
def _reading(connection: sqlite3.Connection, trigger: str) -> Iterator[set[tuple[str, str]]]:
    """Collects the columns that statements read: https://www.sqlite.org/c3ref/set_authorizer.html, SQLITE_READ."""
    reads: set[tuple[str, str]] = set()

    def see(action: int, table: str | None, column: str | None, _: str | None, cause: str | None) -> int:
        if action == sqlite3.SQLITE_READ and table and column and (not trigger or cause == trigger):
            reads.add((fold(table), fold(column)))
        return sqlite3.SQLITE_OK

    connection.set_authorizer(see)
    try:
        yield reads
    finally:
        connection.set_authorizer(None)
