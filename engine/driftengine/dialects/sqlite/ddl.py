"""The parse tree of SQLite's stored DDL. Every node knows where it stands in the text (`start`, `end`: offsets).

The spans are what makes an edit exact: a change rewrites the touched span and leaves every other byte alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of the text, `sql[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class IndexedColumn:
    """One member of a PRIMARY KEY, UNIQUE or index list.

    `expression` is the text without COLLATE and ASC/DESC; `column` its unquoted name when it is a plain column
    reference, else None. `collation` as written, or "".
    """

    expression: str
    column: str | None
    collation: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """What stands behind REFERENCES. `columns` is empty when the parent's key is implied."""

    table: str
    columns: tuple[str, ...]
    on_update: str
    on_delete: str
    deferred: bool
    table_span: Span


@dataclass(frozen=True, slots=True)
class Clause:
    """A column constraint or a table constraint, its CONSTRAINT name included in the span.

    `kind` is one of `primary key`, `not null`, `null`, `unique`, `check`, `default`, `collate`, `references` (in a
    column), `foreign key` (of a table), `generated`. What applies of the rest is set: `expression` is the text inside
    CHECK(...) or AS(...), or the DEFAULT as written (a parenthesised one with its parentheses); `expression_span` is
    where it stands; `collation` the name behind COLLATE; `conflict` upper case (IGNORE, REPLACE, ...) or "".
    A clause `CONSTRAINT name` that SQLite lets stand alone has kind `name only`.
    """

    kind: str
    start: int
    end: int
    name: str = ""
    expression: str = ""
    expression_span: Span | None = None
    columns: tuple[IndexedColumn, ...] = ()
    local_columns: tuple[str, ...] = ()
    reference: Reference | None = None
    conflict: str = ""
    collation: str = ""
    descending: bool = False
    autoincrement: bool = False
    stored: bool = False


@dataclass(frozen=True, slots=True)
class ColumnDefinition:
    """One column: its unquoted name, its type as written, and its clauses in order.

    `type_span` is None without a declared type; then a type goes right behind `name_span`.
    """

    name: str
    type: str
    name_span: Span
    type_span: Span | None
    clauses: tuple[Clause, ...]
    start: int
    end: int

    def clause(self, kind: str) -> Clause | None:
        """The last clause of that kind (SQLite obeys the last one), or None."""
        return next((c for c in reversed(self.clauses) if c.kind == kind), None)

    def clauses_of(self, kind: str) -> tuple[Clause, ...]:
        """All clauses of that kind, in order."""
        return tuple(c for c in self.clauses if c.kind == kind)


@dataclass(frozen=True, slots=True)
class CreateTable:
    """CREATE TABLE. `body` goes from behind the opening parenthesis to the closing one; `options` from there on."""

    name: str
    name_span: Span
    columns: tuple[ColumnDefinition, ...]
    constraints: tuple[Clause, ...]
    without_rowid: bool
    strict: bool
    body: Span
    options: Span
    sql: str


@dataclass(frozen=True, slots=True)
class CreateIndex:
    """CREATE INDEX. `where` is the predicate's text, or ""."""

    name: str
    table: str
    unique: bool
    columns: tuple[IndexedColumn, ...]
    where: str
    table_span: Span
    sql: str


@dataclass(frozen=True, slots=True)
class CreateView:
    """CREATE VIEW. `definition` is the text from behind the name: a column list, if any, AS and the query."""

    name: str
    definition: str
    sql: str


@dataclass(frozen=True, slots=True)
class CreateTrigger:
    """CREATE TRIGGER.

    `time` is BEFORE (also where none is written), AFTER or INSTEAD OF; `event` INSERT, DELETE or UPDATE, the latter with
    the `columns` behind OF, as written without quotes; `when` is the condition's text, or ""; `body` goes from BEGIN on.
    """

    name: str
    table: str
    time: str
    event: str
    columns: tuple[str, ...]
    when: str
    body: str
    sql: str


@dataclass(frozen=True, slots=True)
class CreateVirtualTable:
    """CREATE VIRTUAL TABLE. `definition` is the text from behind the name: USING module(arguments)."""

    name: str
    module: str
    definition: str
    sql: str


Statement = CreateTable | CreateIndex | CreateView | CreateTrigger | CreateVirtualTable
