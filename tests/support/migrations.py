"""Migrations in tests: a database made by DDL, rows in it, and models that are another DDL."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driftengine import api
from driftengine.desired import ModelSource

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class House:
    """One database with its models in a `.sql` file, and a service's connection that stays open beside driftd."""

    folder: Path
    journal: str = "wal"
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        """The database file."""
        return self.folder / "app.db"

    def target(self, **settings: Any) -> api.Target:
        """The target, with the settings of this call over those of the house."""
        models = ModelSource((str(self.folder / "models.sql"),), sys.executable, directory=str(self.folder))
        backup = api.BackupSettings(self.folder / "backups")
        given = self.settings | settings
        models = given.pop("models", models)
        return api.Target("app", f"sqlite:///{self.database}", models, backup, **given)

    def models(self, sql: str) -> None:
        """Writes the models."""
        (self.folder / "models.sql").write_text(sql, encoding="utf-8")

    def spec(self, *specs: str) -> ModelSource:
        """Models that are modules in the house's folder."""
        return ModelSource(specs, sys.executable, directory=str(self.folder))

    def run(self, sql: str) -> None:
        """What the service does: its own connection, foreign keys on."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            # What only the application has: driftd knows neither.
            connection.create_function("app_function", 1, bool, deterministic=True)
            connection.create_collation("app_collation", lambda a, b: (a > b) - (a < b))
            connection.execute(f"PRAGMA journal_mode = {self.journal}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(sql)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(sql).fetchall()

    def apply(self, *approve: str, **settings: Any) -> dict[str, Any]:
        """`driftd apply`."""
        return api.apply(self.target(**settings), approve=approve, allowed_by="a test")

    def check(self, **settings: Any) -> dict[str, Any]:
        """`driftd check`."""
        return api.check(self.target(**settings))

    def plan(self, **settings: Any) -> dict[str, Any]:
        """`driftd plan`."""
        return api.plan(self.target(**settings))

    def stored(self, name: str) -> str:
        """The stored DDL of an object."""
        rows = self.ask(f"SELECT sql FROM sqlite_schema WHERE name = '{name}'")
        return str(rows[0][0]) if rows else ""

    def everything(self) -> str:
        """The whole database as text, driftd's history left out: equal before and after means logically identical."""
        with closing(sqlite3.connect(self.database)) as connection:
            lines = [line for line in connection.iterdump() if "driftd_history" not in line]
            sequence = connection.execute(
                "SELECT name FROM sqlite_schema WHERE name = 'sqlite_sequence'"
            ).fetchall()
            if sequence:
                lines += [
                    str(row) for row in connection.execute("SELECT * FROM sqlite_sequence ORDER BY name")
                ]
        return "\n".join(lines)

    def backups(self) -> list[Path]:
        """The backup files."""
        return sorted((self.folder / "backups").glob("*/backup_*.db"))


def kinds(document: dict[str, Any], part: str = "applied") -> list[str]:
    """`kind` of each operation in a part of an apply document."""
    return [one["kind"] for one in document[part]]
