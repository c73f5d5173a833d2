"""Renames, carried out by SQLite's own ALTER TABLE: what they make of a schema is tried in memory, without rows.

https://www.sqlite.org/lang_altertable.html: indexes, inbound foreign keys, triggers and views follow. Statistics do not, nor
does what stands in a string: a view, a trigger or a virtual table may name a table in one.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from driftengine.changes import Step
from driftengine.dialects.sqlite.former import former_names
from driftengine.dialects.sqlite.introspect import read_catalogue, understand
from driftengine.dialects.sqlite.scratch import holding
from driftengine.dialects.sqlite.tokens import KEYWORDS, fold, literal, quote, tokenize
from driftengine.errors import RehearsalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from driftengine.changes import Rename
    from driftengine.schema import Schema, StoredObject

_PREFIX = "driftd_renaming_"
_AUTOINDEX = "sqlite_autoindex_"
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What stands in the way: a view that does not compile, or would not under the new name.
_IN_THE_WAY = re.compile(r"error in (?P<kind>view|trigger) (?P<name>.+?)(?: after rename)?: ", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RenameStep:
    """A statement, the position of the rename that it serves, and the keys of what it touches."""

    sql: str
    serves: int
    objects: frozenset[str]


@dataclass(frozen=True, slots=True)
class Renaming:
    """What renames are carried out by, and what the database stores afterwards.

    `named` are the keys of all that reads otherwise than before; `told` are sentences, by the position of the rename, about
    what a person should know.
    """

    steps: tuple[RenameStep, ...]
    stored: tuple[StoredObject, ...]
    named: frozenset[str]
    told: tuple[tuple[int, str], ...] = ()


def renamed(schema: Schema, renames: Sequence[Rename]) -> Schema:
    """The schema after the renames, one after the other. Raises RehearsalError (`rename-refused`)."""
    if not renames:
        return schema
    after = _understood(schema.stored, tuple(renames))
    if not any(table.problem for table in schema.tables.values()):
        return after
    origin = {table: old for table, (old, _) in former_names(schema, renames).items()}
    tables = {
        key: replace(table, problem=table.problem or schema.tables[origin[key]].problem)
        if origin.get(key) in schema.tables
        else table
        for key, table in after.tables.items()
    }
    return replace(after, tables=tables)


@lru_cache(maxsize=8)
def _understood(stored: tuple[StoredObject, ...], renames: tuple[Rename, ...]) -> Schema:
    """Asked again for each operation of a plan: with a thousand tables it would take seconds."""
    return understand(renaming(stored, renames).stored)


def rename_steps(
    schema: Schema, renames: Sequence[Rename], numbers: Sequence[int]
) -> tuple[list[Step], frozenset[str]]:
    """The statements of the renames, each for the operation of that number, and the keys of all that is rewritten."""
    made = renaming(schema.stored, tuple(renames))
    steps = [Step(one.sql, (numbers[one.serves],), one.objects) for one in made.steps]
    return steps, made.named


def told_of(schema: Schema, renames: Sequence[Rename], one: Rename) -> tuple[str, ...]:
    """The sentences about one of the renames."""
    # By place: an undo may spell the former name as the database folds it.
    place = [(rename.table, rename.column) for rename in renames].index((one.table, one.column))
    return tuple(text for serves, text in renaming(schema.stored, tuple(renames)).told if serves == place)


@lru_cache(maxsize=32)
def renaming(stored: tuple[StoredObject, ...], renames: tuple[Rename, ...]) -> Renaming:
    """Tries the renames, one after the other, on a database in memory that holds what is `stored`.

    SQLite is its own oracle here: it rewrites what names the renamed thing, and says what stands in the way. Raises
    RehearsalError (`rename-refused`) with its message.
    """
    lacking: set[tuple[str, str]] = set()
    with holding(stored, lacking) as (connection, _):
        _forget(connection, lacking)  # where SQLite lacks a function, it lacks it in the live database too
        before = read_catalogue(connection)
        trial = _Trial(
            connection, [row.name for row in stored if row.name in {"sqlite_stat1", "sqlite_stat4"}]
        )
        trial.taken = {fold(row.name) for row in stored} | {fold(one.new) for one in renames}
        shown = _columns_of_views(connection, before)
        trial.rename(renames)
        after = read_catalogue(connection)
        trial.told += _told_views(shown, _columns_of_views(connection, after), len(renames) - 1)
    made = {row.identity for row in before}
    named = {fold(row.name) for row in set(before) ^ set(after)} | trial.touched
    rows = [*_without_own(after, stored), *(row for row in stored if row.identity not in made)]
    # As `read_catalogue` has them: triggers fire in the order in which they were made.
    rows.sort(key=lambda row: (row.type, "" if row.type == "trigger" else row.name))
    return Renaming(tuple(trial.steps), tuple(rows), frozenset(named), tuple(trial.told))


def _without_own(rows: Iterable[StoredObject], stored: Sequence[StoredObject]) -> Iterator[StoredObject]:
    """Leaves out what SQLite makes for itself where `stored`, as the models tell it, leaves it out too."""
    told = {row.name for row in stored}
    indexed = any(row.sql is None for row in stored)
    for row in rows:
        if row.sql is None and not indexed:
            continue
        if row.sql is not None and row.name.startswith("sqlite_") and row.name not in told:
            continue
        yield row


def _forget(connection: sqlite3.Connection, lacking: Iterable[tuple[str, str]]) -> None:
    for kind, name in lacking:
        if kind == "function":
            connection.create_function(name, -1, None)
        else:
            connection.create_collation(name, None)


@dataclass
class _Trial:
    """The renames on a connection, and the statements that were needed."""

    connection: sqlite3.Connection
    statistics: list[str]
    steps: list[RenameStep] = field(default_factory=list)
    told: list[tuple[int, str]] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    aside: list[tuple[int, StoredObject]] = field(default_factory=list)
    # By (table, column) key: the name that something has for the time being, to make way for another.
    parked: dict[tuple[str, str], str] = field(default_factory=dict)

    def rename(self, renames: Sequence[Rename]) -> None:
        """Carries them out in order; where a name is still taken by what is renamed later, that makes way first."""
        for serves, one in enumerate(renames):
            self._make_way(serves, one, renames[serves + 1 :])
            old = self.parked.pop((one.table if one.column else "", fold(one.old)), one.old)
            if one.column:
                self._column(serves, one.table, old, one.new)
            elif fold(old) == fold(one.new):  # SQLite takes both for the same name, and refuses
                between = self._free(one.new)
                self._table(serves, old, between)
                self._table(serves, between, one.new)
            else:
                self._table(serves, old, one.new)
        self._put_back()

    def _make_way(self, serves: int, one: Rename, later: Iterable[Rename]) -> None:
        scope = one.table if one.column else ""
        new = fold(one.new)
        if new == fold(one.old) or (scope, new) in self.parked:
            return
        moves = any(fold(r.old) == new and (r.table if r.column else "") == scope for r in later)
        if not moves or not self._is_there(one):
            return
        between = self._free(one.new)
        if one.column:
            self._column(serves, one.table, one.new, between)
        else:
            self._table(serves, one.new, between)
        self.parked[scope, new] = between

    def _is_there(self, one: Rename) -> bool:
        if one.column:
            return any(fold(name) == fold(one.new) for name in self._columns(one.table))
        return self._name(one.new) is not None

    def _columns(self, table: str) -> list[str]:
        return [row[1] for row in self.connection.execute(f"PRAGMA table_xinfo({quote(table)})")]

    def _name(self, table: str) -> str | None:
        """The table's name as it is stored."""
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE"
        row = self.connection.execute(query, (table,)).fetchone()
        return None if row is None else str(row[0])

    def _free(self, name: str) -> str:
        between = f"{_PREFIX}{name}"
        while fold(between) in self.taken:
            between += "_"
        self.taken.add(fold(between))
        return between

    def _column(self, serves: int, table: str, old: str, new: str) -> None:
        stored = self._name(table) or table
        sql = f"ALTER TABLE {quote(stored)} RENAME COLUMN {quote(old)} TO {_name_text(new)}"
        self._alter(serves, sql, frozenset({fold(stored)}))

    def _table(self, serves: int, old: str, new: str) -> None:
        stored = self._name(old) or old
        self._alter(
            serves,
            f"ALTER TABLE {quote(stored)} RENAME TO {quote(new)}",
            frozenset({fold(stored), fold(new)}),
        )
        for name in self.statistics:
            self.steps.append(RenameStep(_statistics(name, stored, new), serves, frozenset()))
        self.aside = [(place, _on(row, stored, new)) for place, row in self.aside]

    def _alter(self, serves: int, sql: str, objects: frozenset[str]) -> None:
        """One ALTER; a view or a trigger that makes it fail is dropped before, and put back at the end as it was."""
        while True:
            try:
                self.connection.execute(sql)
            except sqlite3.Error as error:
                self._drop(serves, str(error))
            else:
                self.steps.append(RenameStep(sql, serves, objects))
                self.touched |= objects
                return

    def _drop(self, serves: int, message: str) -> None:
        found = _IN_THE_WAY.match(message)
        rows = read_catalogue(self.connection)
        row = next((r for r in rows if found and (r.type, r.name) == (found["kind"], found["name"])), None)
        if row is None:
            _refuse(message)
        # Dropping a view drops its triggers without a word.
        going = [
            row,
            *(r for r in rows if r.type == "trigger" and row.type == "view" and _same(r.table, row.name)),
        ]
        keys = frozenset(fold(one.name) for one in going)
        sql = f"DROP {row.type.upper()} {quote(row.name)}"
        self.connection.execute(sql)
        self.steps.append(RenameStep(sql, serves, keys))
        self.touched |= keys
        self.aside += [(serves, one) for one in going]
        self.told.append((serves, f"the {row.type} {row.name} stays as it is ({message})"))

    def _put_back(self) -> None:
        for kind in ("view", "trigger"):
            for serves, row in self.aside:
                if row.type == kind and row.sql is not None:
                    try:
                        self.connection.execute(row.sql)
                    except sqlite3.Error as error:
                        _refuse(str(error))
                    self.steps.append(RenameStep(row.sql, serves, frozenset({fold(row.name)})))


def _refuse(message: str) -> NoReturn:
    raise RehearsalError(
        "SQLite does not carry the rename out",
        code="rename-refused",
        why=message,
        fix="take away what stands in the way, or keep the old name in the models",
    )


def _same(one: str, other: str) -> bool:
    return fold(one) == fold(other)


def _name_text(name: str) -> str:
    """The new name as it is written into every text: without quotes where it needs none, as models write it.

    In SQLite a quoted name that is no column any more is a string.
    """
    return name if _BARE.fullmatch(name) and name.upper() not in KEYWORDS else quote(name)


def _statistics(name: str, old: str, new: str) -> str:
    """Statistics keep the table's name, and with it the names of the indexes that SQLite makes for its keys."""
    before, after = f"{_AUTOINDEX}{old}_", f"{_AUTOINDEX}{new}_"
    return (
        f"UPDATE {name} SET tbl = {literal(new)}, idx = CASE WHEN idx = {literal(old)} THEN {literal(new)}"
        f" WHEN substr(idx, 1, {len(before)}) = {literal(before)} THEN {literal(after)} || substr(idx, {len(before) + 1})"
        f" ELSE idx END WHERE tbl = {literal(old)}"
    )


def _on(row: StoredObject, old: str, new: str) -> StoredObject:
    """A trigger that was dropped before its table was renamed stands on the table by its new name."""
    if row.type != "trigger" or not _same(row.table, old) or row.sql is None:
        return row
    tokens = tokenize(row.sql)
    words = [token.text.upper() if token.kind == "word" else "" for token in tokens]
    event = next(at for at, word in enumerate(words) if at > 2 and word in {"INSERT", "DELETE", "UPDATE"})
    name = tokens[words.index("ON", event) + 1]
    return replace(row, table=new, sql=f"{row.sql[: name.start]}{quote(new)}{row.sql[name.end :]}")


def _columns_of_views(connection: sqlite3.Connection, rows: Iterable[StoredObject]) -> dict[str, list[str]]:
    shown = {}
    for row in rows:
        if row.type == "view":
            try:
                columns = connection.execute(f"PRAGMA table_info({quote(row.name)})").fetchall()
            except sqlite3.Error:
                continue  # a view that does not compile has no columns
            shown[row.name] = [column[1] for column in columns]
    return shown


def _told_views(
    before: Mapping[str, list[str]], after: Mapping[str, list[str]], last: int
) -> Iterator[tuple[int, str]]:
    for name, columns in before.items():
        changed = [new for old, new in zip(columns, after.get(name, columns), strict=False) if old != new]
        if changed:
            yield last, f"the view {name} then calls its own column {', '.join(changed)}"
