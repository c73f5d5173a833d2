"""What a schema is: frozen records, the same for every database. Imports nothing of ours.

Two records are equal when they are *equal in effect*: text that only says how something was spelled (`name`, `sql`)
does not take part in comparison, the canonical form (`key`, `effect`) does. A dialect's introspector builds both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def spelled(default: str = "") -> str:
    """A field that is kept for people and for DDL, and takes no part in comparison."""
    return field(default=default, compare=False)


@dataclass(frozen=True, slots=True)
class Expression:
    """An SQL expression.

    `effect` is canonical: keywords in upper case, identifiers unquoted and folded, redundant parentheses, white space
    and comments gone. `sql` is the text as written.
    """

    effect: str
    sql: str = spelled()


@dataclass(frozen=True, slots=True)
class Default:
    """A column's default.

    `effect` is the canonical expression; `value` is what a new row would store (`"integer:1"`, `"text:'a'"`), or None
    where that depends on the moment (CURRENT_TIMESTAMP, random()).
    """

    effect: str
    value: str | None = None
    sql: str = spelled()

    def same_as(self, other: Default) -> bool:
        """True when both spell the same expression or store the same value."""
        return self.effect == other.effect or (self.value is not None and self.value == other.value)


@dataclass(frozen=True, slots=True)
class Generated:
    """How a generated column is computed."""

    expression: Expression
    stored: bool


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    `type_key` is the declared type, upper case with white space folded ("" when none is declared); `affinity` is one
    of INTEGER, TEXT, BLOB, REAL, NUMERIC (ANY in a strict table).
    """

    key: str
    type_key: str
    affinity: str
    not_null: bool = False
    not_null_conflict: str = ""
    default: Default | None = None
    collation: str = "BINARY"
    generated: Generated | None = None
    name: str = spelled()
    type: str = spelled()


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One member of a key or an index: a column's key or an expression, its order and its collation.

    `collation` is "" where it is the column's own.
    """

    effect: str
    is_expression: bool = False
    descending: bool = False
    collation: str = ""


@dataclass(frozen=True, slots=True)
class PrimaryKey:
    """The primary key of a table, in declared order. `rowid_alias`: the one column is another name of the rowid."""

    parts: tuple[KeyPart, ...]
    rowid_alias: bool = False
    autoincrement: bool = False
    conflict: str = ""
    name: str = spelled()

    @property
    def columns(self) -> tuple[str, ...]:
        """The keys of its columns."""
        return tuple(part.effect for part in self.parts)


@dataclass(frozen=True, slots=True)
class Unique:
    """A UNIQUE constraint. The order of its columns has no effect, so `parts` is a set."""

    parts: frozenset[KeyPart]
    conflict: str = ""
    name: str = spelled()
    columns: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Check:
    """A CHECK constraint. `columns` are the keys of the columns that it reads."""

    expression: Expression
    name: str = spelled()
    columns: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key. `pairs` are (local, remote) column keys; an implicit parent key is resolved where it can be."""

    pairs: frozenset[tuple[str, str]]
    parent: str
    on_update: str = "NO ACTION"
    on_delete: str = "NO ACTION"
    deferred: bool = False
    name: str = spelled()
    columns: tuple[str, ...] = field(default=(), compare=False)
    parent_columns: tuple[str, ...] = field(default=(), compare=False)
    parent_name: str = spelled()

    @property
    def link(self) -> tuple[str, frozenset[tuple[str, str]]]:
        """What it points at, apart from what happens on UPDATE, DELETE and COMMIT."""
        return self.parent, self.pairs


@dataclass(frozen=True, slots=True)
class Index:
    """An index made by CREATE INDEX. Its name does not take part in comparison: only what it does counts."""

    table: str
    parts: tuple[KeyPart, ...]
    unique: bool = False
    where: Expression | None = None
    key: str = spelled()
    name: str = spelled()
    sql: str = spelled()


@dataclass(frozen=True, slots=True)
class Table:
    """An ordinary table.

    `problem` says why it cannot be understood (then it is reported and never altered); the rest is then as far as it
    was read.
    """

    key: str
    columns: tuple[Column, ...] = field(default=(), compare=False)
    primary_key: PrimaryKey | None = None
    uniques: tuple[Unique, ...] = ()
    checks: tuple[Check, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    without_rowid: bool = False
    strict: bool = False
    name: str = spelled()
    sql: str = spelled()
    problem: str = spelled()

    def is_alias(self, column: Column) -> bool:
        """True for an INTEGER PRIMARY KEY: the column is another name of the rowid."""
        key = self.primary_key
        return key is not None and key.rowid_alias and key.columns == (column.key,)

    def column(self, key: str) -> Column | None:
        """The column of that key, or None."""
        return next((column for column in self.columns if column.key == key), None)


@dataclass(frozen=True, slots=True)
class View:
    """A view. `effect` is its canonical definition."""

    key: str
    effect: str
    name: str = spelled()
    sql: str = spelled()


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger. `table` is the key of the table or view that it stands on."""

    key: str
    table: str
    effect: str
    name: str = spelled()
    sql: str = spelled()


@dataclass(frozen=True, slots=True)
class VirtualTable:
    """A table served by a module (FTS, R-Tree), or one of the shadow tables behind it."""

    key: str
    effect: str
    shadow_of: str = ""
    name: str = spelled()
    sql: str = spelled()


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One row of the database's own catalogue: for SQLite, of sqlite_schema."""

    type: str
    name: str
    table: str
    sql: str | None

    @property
    def identity(self) -> tuple[str, str]:
        """What names it within a database."""
        return self.type, self.name


Owned = TypeVar("Owned", Index, Trigger)


def _by_table(objects: Iterable[Owned]) -> dict[str, tuple[Owned, ...]]:
    groups: dict[str, list[Owned]] = {}
    for one in objects:
        groups.setdefault(one.table, []).append(one)
    return {table: tuple(members) for table, members in groups.items()}


@dataclass(frozen=True, slots=True)
class Schema:
    """Everything that a database stores about its shape. Mappings go from an object's key to the object."""

    tables: Mapping[str, Table]
    indexes: Mapping[str, Index]
    views: Mapping[str, View]
    triggers: Mapping[str, Trigger]
    virtual_tables: Mapping[str, VirtualTable]
    stored: tuple[StoredObject, ...] = field(default=(), compare=False)
    _indexes: Mapping[str, tuple[Index, ...]] = field(init=False, repr=False, compare=False)
    _triggers: Mapping[str, tuple[Trigger, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Asked once a table by everybody: with a thousand tables a search each time would take seconds.
        object.__setattr__(self, "_indexes", _by_table(self.indexes.values()))
        object.__setattr__(self, "_triggers", _by_table(self.triggers.values()))

    def indexes_of(self, table: str) -> tuple[Index, ...]:
        """The indexes of the table with that key, in the order of their names."""
        return self._indexes.get(table, ())

    def triggers_of(self, table: str) -> tuple[Trigger, ...]:
        """The triggers on the table or view with that key."""
        return self._triggers.get(table, ())
