"""A migration and its undo on one database, by the pieces that decide it and by the rehearsal: no history, no planner."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driftengine.changes import REMOVE, Backfill, Change
from driftengine.dialects.sqlite.database import SqliteDatabase, open_database
from driftengine.dialects.sqlite.dialect import SqliteDialect
from driftengine.diff import compare

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from driftengine.changes import Difference, Offending, Script
    from driftengine.dialects.base import Rehearsed
    from driftengine.schema import Schema

DIALECT = SqliteDialect()
Places = "Mapping[tuple[str, str], tuple[str, str]]"


@dataclass
class Taken:
    """One database: made by `run`, migrated by `migrate`, and taken back by `back`.

    `earlier` is the backup from before the migration, under a name that a URI has to escape.
    """

    folder: Path
    journal: str = "wal"
    names: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The database file."""
        return self.folder / "app.db"

    @property
    def earlier(self) -> Path:
        """The backup."""
        return self.folder / "what 'was'? 100% #1.db"

    def run(self, *statements: str) -> None:
        """What the service does."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA journal_mode = {self.journal}")
            for statement in statements:
                connection.executescript(statement)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql).fetchall()

    def open(self) -> SqliteDatabase:
        """The database as driftd sees it."""
        return open_database(f"sqlite:///{self.path}")

    def migrate(self, models: str, fills: Mapping[str, str] | None = None) -> None:
        """Backs up, and brings the database to what a script of DDL makes. `fills`: expressions by column."""
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(self.earlier)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        with closing(self.open()) as database:
            wanted, actual = _schema(self.folder, models), database.read()
            given = {name: Backfill(sql, "given") for name, sql in (fills or {}).items()}
            changes = _changes(compare(wanted, actual).differences, actual, given)
            changes += _changes(_removals(wanted, actual), actual, {}, len(changes))
            outcome = self.carry_out(database, DIALECT.script(wanted, actual, changes))
        assert outcome.ok, outcome

    def carry_out(self, database: SqliteDatabase, script: Script) -> Rehearsed:
        """Rehearses a script, and where the proof agrees carries it out on the live database."""
        with (
            closing(sqlite3.connect(self.path)) as source,
            closing(sqlite3.connect(self.folder / "now.db")) as copy,
        ):
            source.backup(copy)
        place = self.folder / "rehearsal"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        outcome = database.rehearse(self.folder / "now.db", place, script, finish=lambda _: None, values={})
        if outcome.ok:
            with database.transaction(deadline_at=None, lock_wait=1.0, values={}) as live:
                assert live.run(script) == outcome.changes
                live.prove(outcome.expected)
                live.commit()
        return outcome

    def way_back(self, database: SqliteDatabase) -> tuple[Schema, Schema, Schema, list[Difference]]:
        """The schemas now, then and wanted (the one from before), and how they differ."""
        now, then = database.read(), _read(self.earlier)
        found = list(compare(then, now).differences)
        return now, then, then, [*found, *_removals(then, now)]

    def back(self, *, fill: str | None = None, only: str = "") -> Rehearsed:
        """Takes the migration back: all of it, or the differences of one column. `fill` is how NULLs were filled."""
        with closing(self.open()) as database, database.earlier(self.earlier):
            now, then, target, differences = self.way_back(database)
            chosen = [d for d in differences if only in {"", d.name}]
            fills = {
                d.identity: DIALECT.came_back(d, now, then, target, self.names, fill=fill) for d in chosen
            }
            changes = _changes(chosen, now, {key: value for key, value in fills.items() if value})
            return self.carry_out(database, DIALECT.script(target, now, changes))

    def back_to(self, models: str) -> Rehearsed:
        """Goes to what a script of DDL makes, with the values that the backup has for it."""
        with closing(self.open()) as database, database.earlier(self.earlier):
            now, then, target = database.read(), _read(self.earlier), _schema(self.folder, models)
            differences = compare(target, now).differences
            fills = {d.identity: DIALECT.came_back(d, now, then, target, self.names) for d in differences}
            changes = _changes(differences, now, {key: value for key, value in fills.items() if value})
            return self.carry_out(database, DIALECT.script(target, now, changes))

    def unsure(
        self, name: str, *, fill: str | None = None, aspect: str = "", kind: str = ""
    ) -> Offending | None:
        """What cannot be decided about the difference of that name, aspect and kind, "" for any."""
        with closing(self.open()) as database, database.earlier(self.earlier):
            now, then, target, differences = self.way_back(database)
            one = next(
                d
                for d in differences
                if name in {"", d.name} and aspect in {"", d.aspect} and kind in {"", d.object}
            )
            query = DIALECT.undecided(one, now, then, target, self.names, fill=fill)
            return None if query is None else database.offending(query)

    def written(self, name: str, *, fill: str | None = None, backup: bool = True) -> Offending | None:
        """What somebody has written into what would go."""
        with closing(self.open()) as database, database.earlier(self.earlier if backup else None):
            now, then, _, differences = self.way_back(database)
            one = next(d for d in differences if d.name == name and d.change == REMOVE)
            query = DIALECT.written_since(one, now, then if backup else None, self.names, fill=fill)
            return None if query is None else database.offending(query)


def _changes(
    differences: list[Difference] | tuple[Difference, ...],
    actual: Schema,
    given: Mapping[str, Backfill],
    start: int = 0,
) -> list[Change]:
    changes = []
    for number, one in enumerate(differences, start + 1):
        fill = given.get(one.identity) or given.get(one.name)
        changes.append(Change(number, one, DIALECT.strategy(one, actual, fill), fill))
    rebuilt = {c.difference.table for c in changes if c.strategy == "rebuild"}
    return [
        Change(c.number, c.difference, "rebuild", c.backfill)
        if c.difference.table in rebuilt
        and c.difference.object in {"column", "check", "unique", "foreign_key"}
        else c
        for c in changes
    ]


def _removals(wanted: Schema, actual: Schema) -> list[Difference]:
    """Tables that only the present schema has: without a base, nothing says that they were ever described."""
    from driftengine.changes import Difference as Found

    return [
        Found(kind, key, table.name, REMOVE, "models", "", actual=table)
        for kind, have, want in (
            ("table", actual.tables, wanted.tables),
            ("virtual_table", actual.virtual_tables, wanted.virtual_tables),
        )
        for key, table in have.items()
        if key not in want and not getattr(table, "shadow_of", "")
    ]


def _schema(folder: Path, ddl: str) -> Schema:
    path = folder / "models.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(ddl)
    return _read(path)


def _read(path: Path) -> Schema:
    from driftengine.dialects.sqlite.introspect import read_schema

    with closing(sqlite3.connect(path)) as connection:
        return read_schema(connection)
