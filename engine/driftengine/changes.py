"""What is to be done, in words that every dialect understands: differences, backfills, and the steps of a script."""

from __future__ import annotations

import math
import re
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

ADD, REMOVE, CHANGE, RENAME = "add", "remove", "change", "rename"
MODELS, DATABASE, BOTH = "models", "database", "both"
NATIVE, CATALOG, REBUILD = "native", "catalog", "rebuild"

SqlValue = str | int | float | bytes | None
SHOWN_CHARACTERS = 500  # of a value in a report
_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
# Of an identity: an escaped character, plain ones, or one of the two signs.
_PIECES = re.compile(r"\\[\\|]|[^\\|]+|.", re.DOTALL)


def folded(name: str) -> str:
    """The key of a name: SQL folds the letters of ASCII alone."""
    return name.lower() if name.isascii() else name.translate(_FOLDED)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which desired and actual disagree.

    `object` is the kind of thing (`table`, `column`, `primary_key`, `unique`, `check`, `foreign_key`, `index`, `view`,
    `trigger`, `virtual_table`, `option`); `aspect` narrows a column's change down (`type`, `not_null`, `default`,
    `collation`, `generated`) and names an option. `table` is the key of the table that it belongs to, "" for a view.
    `desired` and `actual` are the two records, None where there is none. `known` says that base lists what is to be
    removed as described by the models. `versions` are the three versions of it in words: what the models want, what the
    database has, and what it was when driftd last looked ("" where that is not known).
    """

    object: str
    table: str
    name: str
    change: str
    origin: str
    detail: str
    aspect: str = ""
    desired: Any = None
    actual: Any = None
    known: bool = True
    versions: tuple[str, str, str] = ("", "", "")

    @property
    def by_hand(self) -> bool:
        """True when somebody made it so in the database: since driftd last looked, or before the models knew of it."""
        return self.origin != MODELS or (self.change == REMOVE and not self.known)

    @property
    def identity(self) -> str:
        """What tells this difference from all others of the same database, in this plan and in a later one."""
        return identity_of(self.object, self.table, self.name, self.change, self.aspect)

    def as_document(self) -> dict[str, Any]:
        """As it stands in `check --json`; `versions` only where somebody changed the database."""
        models, database, base = self.versions
        moved = self.origin != MODELS
        return {
            "object": self.object,
            "table": self.table,
            "name": self.name,
            "change": self.change,
            "origin": self.origin,
            "detail": self.detail,
            "versions": {"models": models, "database": database, "base": base} if moved else None,
        }


@dataclass(frozen=True, slots=True)
class Rename:
    """A table or a column that goes by another name.

    `table` is the key of the table by its new name, `column` that of the column by its new name ("" for the table
    itself); `old` is the name that the database still has, `new` the name as the models spell it.
    """

    table: str
    column: str
    old: str
    new: str

    @property
    def identity(self) -> str:
        """That of the difference which it resolves."""
        return identity_of("column" if self.column else "table", self.table, self.new, RENAME)


def rename_of(difference: Difference) -> Rename:
    """The rename that a difference asks for."""
    column = difference.desired.key if difference.object == "column" else ""
    return Rename(difference.table, column, difference.actual.name, difference.name)


def identity_of(kind: str, table: str, name: str, change: str, aspect: str = "") -> str:
    r"""See `Difference.identity`. A `|` within a name is written `\|`, a `\` twice."""
    table, name = (one.replace("\\", "\\\\").replace("|", "\\|") for one in (table, folded(name)))
    return f"{kind}|{table}|{name}|{change}|{aspect}"


@dataclass(frozen=True, slots=True)
class Parts:
    """What an identity is made of, see `Difference`; `name` is folded."""

    object: str
    table: str
    name: str
    change: str
    aspect: str


def parts_of(identity: str) -> Parts:
    """An identity taken apart. One of an older history may hold a `|` within its last name as it is."""
    parts = [""]
    for piece in _PIECES.findall(identity):
        if piece == "|":
            parts.append("")
        else:
            parts[-1] += piece[1:] if piece in {r"\\", r"\|"} else piece
    kind, table, *name, change, aspect = parts
    return Parts(kind, table, "|".join(name), change, aspect)


def removal(kind: str, table: str, name: str) -> str:
    """The identity of the difference that removes an object."""
    return identity_of(kind, table, name, REMOVE)


@dataclass(frozen=True, slots=True)
class Backfill:
    """The value that rows older than a column get.

    `expression` is SQL, evaluated for each row of the old table; `source` says who gave it. For a callable of the
    models `callable` is its name, and `expression` calls a function that hands out the values drawn from it. One that
    `replaces` is written over every value, not over NULL alone. For a table that comes back `expression` is the query
    for its rows, in the order of its stored columns (a rowid of its own before them), and `more` are statements that run
    after it.
    """

    expression: str
    source: str
    callable: str = ""
    replaces: bool = False
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A difference that is to be resolved, as operation `number` of a plan."""

    number: int
    difference: Difference
    strategy: str = NATIVE
    backfill: Backfill | None = None


@dataclass(frozen=True, slots=True)
class Questions:
    """What a plan wants to know of the rows: of tables (by key) how many they hold, of columns how many of them NULL."""

    tables: frozenset[str] = frozenset()
    columns: frozenset[tuple[str, str]] = frozenset()

    def joined(self, other: Questions) -> Questions:
        """Both sets of questions as one."""
        return Questions(self.tables | other.tables, self.columns | other.columns)


@dataclass(frozen=True, slots=True)
class Facts:
    """The answers: the number of rows by table key; by (table, column) key how many hold NULL, where any does."""

    rows: Mapping[str, int] = field(default_factory=dict)
    nulls: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a script.

    `operations` are the numbers that it serves. `objects` are the keys of what it may create, alter, drop or write;
    an authorizer refuses everything else. `endless` that it
    cannot be interrupted. `catalogue` marks an edit of the stored DDL.
    """

    sql: str
    operations: tuple[int, ...] = ()
    objects: frozenset[str] = frozenset()
    parameters: tuple[SqlValue, ...] = ()
    endless: bool = False
    catalogue: bool = False

    def text(self) -> str:
        """The statement with its parameters written out, for people and for scripts."""
        pieces = self.sql.split("?", len(self.parameters))
        written = [_literal(value) for value in self.parameters]
        return "".join(piece + value for piece, value in zip(pieces, [*written, ""], strict=True))


@dataclass(frozen=True, slots=True)
class Copied:
    """A table whose rows a script copies or writes: how to compare them afterwards.

    `columns` are the columns (old name, new name) whose values and storage classes must be the same as before.
    """

    table: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Script:
    """The statements of a plan, in order, and what they touch.

    `named` are the keys of all stored objects that may differ afterwards; `copied` the tables whose rows are rewritten;
    `keyed` the tables whose foreign keys, or the keys that others refer to, must be looked at; `defaults` the (table,
    column) pairs whose stored default is edited, which is only allowed where no row still reads it.
    """

    steps: tuple[Step, ...] = ()
    named: frozenset[str] = frozenset()
    copied: tuple[Copied, ...] = ()
    keyed: frozenset[str] = frozenset()
    defaults: tuple[tuple[str, str], ...] = ()

    def statements(self) -> tuple[str, ...]:
        """The SQL text alone."""
        return tuple(step.text() for step in self.steps)


@dataclass(frozen=True, slots=True)
class Offending:
    """What a guard found: how many rows, and the first of them, as (key, value)."""

    count: int
    rows: tuple[tuple[SqlValue, SqlValue], ...]

    def as_documents(self) -> list[dict[str, SqlValue]]:
        """The rows as they stand in JSON."""
        return [{"key": _plain(key), "value": _plain(value)} for key, value in self.rows]


def _literal(value: SqlValue) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def _plain(value: SqlValue) -> SqlValue:
    """A value that JSON can hold and a person can read: bytes as SQL writes them, no infinities, the start of a long text."""
    if isinstance(value, bytes):
        value = f"x'{value[:SHOWN_CHARACTERS].hex()}'"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        return f"{value[:SHOWN_CHARACTERS]}..."
    return value


class Named(Protocol):
    """What indexes, views, triggers and tables have in common."""

    @property
    def key(self) -> str:
        """The name, folded as the database folds it."""

    @property
    def name(self) -> str:
        """The name as written."""

    @property
    def sql(self) -> str:
        """The stored DDL."""
