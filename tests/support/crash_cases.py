"""Databases and models for commands that are killed: each way in which a statement reaches the database."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from driftengine import api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.migrations import House

SETTINGS = "PRAGMA user_version = 7; PRAGMA application_id = 99;"
TABLES = (
    "CREATE TABLE parent (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL);"
    "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT, parent INT REFERENCES parent (id) ON DELETE CASCADE, x TEXT);"
    "CREATE INDEX t_parent ON t (parent);"
    "CREATE TRIGGER log AFTER INSERT ON t BEGIN UPDATE parent SET name = name || '+' WHERE id = new.parent; END;"
    "CREATE VIEW names AS SELECT t.n, parent.name FROM t JOIN parent ON parent.id = t.parent;"
)
ROWS = (
    "INSERT INTO parent (name) VALUES ('a'), ('b'), ('c'); DELETE FROM parent WHERE name = 'c';"
    "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 40)"
    "INSERT INTO t SELECT n, n * 7, 1 + n % 2, hex(zeroblob(100)) FROM r;"
)
MODELS = TABLES.partition("CREATE TRIGGER")[0]
NATIVE = (
    MODELS.replace("x TEXT", "x TEXT, more TEXT DEFAULT 'some'")
    + "CREATE TABLE other (id INTEGER PRIMARY KEY, t INT REFERENCES t (id)); CREATE INDEX t_n ON t (n);"
)
CATALOG = MODELS.replace("n TEXT", "n VARCHAR NOT NULL").replace("name TEXT NOT NULL", "name TEXT")
REBUILD = MODELS.replace("n TEXT", "n INTEGER").replace("name TEXT NOT NULL", "name TEXT NOT NULL UNIQUE")
BACKFILL = MODELS.replace("x TEXT", "x TEXT, twice INT NOT NULL")
BACKFILLED = '[targets.app.backfill]\n"t.twice" = "n * 2"\n'
# Each of them one after the other.
EVERYTHING = (
    REBUILD.replace("x TEXT", "x TEXT CHECK (x <> ''), more TEXT")
    + "CREATE TABLE other (id INTEGER PRIMARY KEY); CREATE INDEX t_n ON t (n);"
)


def filled(house: House) -> None:
    """The service has made its tables and rows."""
    house.run(SETTINGS + TABLES + ROWS)


def towards(models: str, more: str = "") -> Callable[[House], None]:
    """A filled database, and models that have moved on; `more` stands in the configuration too."""

    def begin(house: House) -> None:
        filled(house)
        house.models(models)
        configured(house, more)

    return begin


def configured(house: House, more: str) -> None:
    """Adds to the configuration."""
    path = house.folder / "driftd.toml"
    path.write_text(path.read_text("utf-8") + more, encoding="utf-8")


def met(house: House) -> None:
    """A filled database that driftd knows, and that its models describe."""
    filled(house)
    house.models(MODELS)
    assert house.apply()["outcome"] == "up_to_date"


def migrated(models: str) -> Callable[[House], None]:
    """A migration lies behind it, and rows have come since."""

    def begin(house: House) -> None:
        met(house)
        house.models(models)
        document = house.apply()
        assert (document["outcome"], document["held"], document["blocked"]) == ("migrated", [], []), document
        house.run("INSERT INTO t (id, n, parent) VALUES (1000, 7, 1)")

    return begin


def missing(house: House) -> None:
    """No database yet."""
    house.models(MODELS.replace("x TEXT", "x TEXT, y TEXT"))


def backed_up(times: int, more: str = "") -> Callable[[House], None]:
    """So many backups, each of other rows."""

    def begin(house: House) -> None:
        met(house)
        for number in range(times):
            house.run(f"INSERT INTO t (id, n, parent) VALUES ({2000 + number}, 7, 1)")
            api.backup_create(house.target())
        house.run("DELETE FROM t WHERE id = 3")
        configured(house, more)

    return begin


def by_hand(house: House) -> None:
    """Somebody has changed the database by hand: what the models want is held."""
    met(house)
    house.run("ALTER TABLE t ADD COLUMN extra TEXT; DROP INDEX t_parent;")


def cut_off(house: House) -> None:
    """The service died while it wrote: a hot rollback journal, or a WAL that nobody has taken over."""
    filled(house)
    house.models(REBUILD)
    with closing(sqlite3.connect(house.database, isolation_level=None)) as service:
        service.executescript("PRAGMA cache_size = 1; PRAGMA wal_autocheckpoint = 0;")
        service.execute("INSERT INTO t (id, n, parent) VALUES (500, 7, 1)")
        service.executescript(
            "BEGIN; UPDATE t SET x = hex(zeroblob(1500)); INSERT INTO t (id, n) VALUES (501, 7);"
        )
        dead = house.folder / "dead"
        dead.mkdir()
        for path in house.folder.glob("app.db*"):
            shutil.copy2(path, dead / path.name)
        service.execute("ROLLBACK")
    for path in house.folder.glob("app.db*"):
        path.unlink()
    for path in dead.iterdir():
        path.rename(house.folder / path.name)
    dead.rmdir()
    assert [path for path in house.folder.glob("app.db-*") if path.stat().st_size]


def many(house: House) -> None:
    """More than SQLite's cache holds: with a rollback journal, pages reach the file before COMMIT."""
    filled(house)
    house.run(
        "WITH RECURSIVE r(n) AS (VALUES (1001) UNION ALL SELECT n + 1 FROM r WHERE n < 4000)"
        "INSERT INTO t SELECT n, n * 7, NULL, hex(zeroblob(500)) FROM r;"
    )
    house.models(EVERYTHING)


@contextmanager
def idle(database: Path) -> Iterator[None]:
    """The service has its database open, and does nothing."""
    with closing(sqlite3.connect(database)) as service:
        service.execute("SELECT count(*) FROM t").fetchall()
        yield


@contextmanager
def reading(database: Path) -> Iterator[None]:
    """The service holds an old snapshot of its WAL; that must be left readable to it."""
    with closing(sqlite3.connect(database, isolation_level=None)) as service:
        service.execute("BEGIN")
        before = service.execute("SELECT * FROM t").fetchall()
        yield
        assert service.execute("SELECT * FROM t").fetchall() == before
