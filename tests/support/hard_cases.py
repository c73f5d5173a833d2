"""A database on which a migration may go wrong, with a service that stays connected all the while, foreign keys on."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driftengine import api
from driftengine.window import Window
from support.identical import assert_identical, assert_identical_but, image
from support.migrations import House

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass
class Rig(House):
    """A house, and the connection of its service, which has read every table and has foreign keys on."""

    connections: list[sqlite3.Connection] = field(default_factory=list)

    def begin(self, ddl: str, rows: str = "") -> None:
        """The database is made and filled; the service connects, reads, and stays."""
        self.run(ddl + rows)
        connection = sqlite3.connect(self.database, isolation_level=None)
        self.connections.append(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        for (name,) in names:
            quoted = '"' + name.replace('"', '""') + '"'
            connection.execute(f"SELECT * FROM {quoted} LIMIT 1").fetchall()

    def service(self, sql: str) -> list[tuple[Any, ...]]:
        """What the service does on the connection that it has had since before the migration."""
        return self.connections[-1].execute(sql).fetchall()

    def met(self, ddl: str, rows: str = "") -> None:
        """As `begin`, and driftd knows that the models describe just this."""
        self.begin(ddl, rows)
        self.models(ddl)
        assert self.apply()["outcome"] == "up_to_date"

    def apply_plan(self, plan_id: str) -> dict[str, Any]:
        """`driftd apply --plan ID`."""
        return api.apply(self.target(), plan_id=plan_id, allowed_by="a test")

    def apply_with(self, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
        """`driftd apply`, and somebody is told how it goes."""
        return api.apply(self.target(), progress=progress, allowed_by="a test")

    def apply_dry(self) -> dict[str, Any]:
        """`driftd apply --dry-run`."""
        return api.apply(self.target(), dry_run=True, allowed_by="a test")

    def script(self) -> str:
        """`driftd plan --sql`."""
        return api.plan_script(self.target())

    def started(self, timeout: float) -> dict[str, Any]:
        """A service starts, and no daemon serves its database; `timeout` (seconds) is how long it waits."""
        window = Window("w-of-a-test", time.monotonic() + timeout, require_open=lambda: None)
        return api.start(self.target(), window, allowed_by="a test")

    def close(self) -> None:
        """The service ends."""
        for connection in self.connections:
            connection.close()

    def migrated(
        self, models: str, *approve: str, objects: Iterable[str] = (), columns: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Applies the models, asserts that all of it was done, that nothing else differs, and that it is settled.

        `objects` and `columns` are what may differ, as in `assert_identical_but`.
        """
        before = image(self.database)
        self.models(models)
        document = self.apply(*approve)
        assert document["outcome"] == "migrated", document
        assert (document["held"], document["blocked"], document["error"]) == ([], [], None)
        assert_identical_but(before, image(self.database), objects=objects, columns=columns)
        self.assert_settled()
        return document

    def assert_settled(self) -> None:
        """In sync; the next start does nothing, makes no backup and leaves everything as it is."""
        before, backups = image(self.database), self.backups()
        found = self.check()
        assert found["in_sync"], found["differences"]
        again = self.apply()
        assert (again["outcome"], again["backup"]) == ("up_to_date", None), again
        assert self.backups() == backups
        assert_identical(before, image(self.database))
        if self.connections:
            assert self.service("PRAGMA foreign_keys") == [(1,)]

    def refused(self, models: str, outcome: str, *approve: str) -> list[dict[str, Any]]:
        """Applies models of which nothing may be done; asserts that nothing was, now and at the next start.

        Returns what was held or blocked, each with its object, its reason and at most five of its rows.
        """
        before = image(self.database)
        self.models(models)
        document = self.apply(*approve)
        assert document["outcome"] == outcome, document
        assert (document["applied"], document["error"]) == ([], None)
        backups = self.backups()
        assert self.apply(*approve)["outcome"] == outcome
        assert self.backups() == backups
        assert_identical(before, image(self.database))
        left: list[dict[str, Any]] = document["held"] + document["blocked"]
        for one in left:
            assert one["table"] or one["name"]
            assert one["reason"]
            assert len(one["rows"]) <= 5
            assert one["count"] >= len(one["rows"])
        return left
