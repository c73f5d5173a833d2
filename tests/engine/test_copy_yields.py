"""A copy that is made ahead is in no writer's way: with a rollback journal it gives up, in WAL mode it need not."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from driftengine import api
from driftengine.backup_files import folder_for
from driftengine.desired import read_desired
from driftengine.dialects.sqlite import copy as copies
from driftengine.dialects.sqlite.connect import connect, parse_url
from driftengine.dialects.sqlite.copy import copy_database
from driftengine.dialects.sqlite.rollback_journal import writer_has_begun
from driftengine.errors import BusyError
from support.migrations import House

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEP = 10  # pages
KEPT_JOURNALS = pytest.mark.parametrize("journal", ["delete", "truncate", "persist"])
FILL = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, filler TEXT);"
    "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 400)"
    "INSERT INTO t SELECT n, hex(zeroblob(1000)) FROM r;"
)


class Writer:
    """A service's transaction that begins after some pages were copied, and wants to commit from then on."""

    def __init__(self, database: Path, journal: str) -> None:
        self.connection = sqlite3.connect(database, isolation_level=None, timeout=0)
        self.connection.execute(f"PRAGMA journal_mode = {journal}")
        self.copied: list[int] = []
        self.refused = 0

    def __call__(self, done: int, _total: int) -> None:
        """The progress of the copy."""
        self.copied.append(done)
        if len(self.copied) == 3:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute("INSERT INTO t (filler) VALUES ('the writer''s')")
        if len(self.copied) >= 3 and self.connection.in_transaction:
            self.commit()

    def commit(self) -> None:
        """As soon as nobody is in the way."""
        try:
            self.connection.execute("COMMIT")
        except sqlite3.OperationalError:
            self.refused += 1


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], House]:
    monkeypatch.setattr(copies, "PAGES_A_STEP", STEP)

    def make(journal: str) -> House:
        house = House(tmp_path, journal=journal)
        house.run(FILL)
        return house

    return make


@KEPT_JOURNALS
def test_a_writer_waits_for_one_step_at_most(house: Callable[[str], House], journal: str) -> None:
    """It begins between two steps: at the end of the next the copy is gone, its lock too, and the writer commits."""
    made = house(journal)
    copy = made.folder / "copy.db"
    with closing(connect(parse_url(f"sqlite:///{made.database}"), write=False)) as source:
        writer = Writer(made.database, journal)
        with pytest.raises(BusyError) as caught:
            copy_database(source, copy, progress=writer, yielding=True)
        assert caught.value.code == "stage-yielded"
        assert not source.in_transaction
        assert writer.copied == [STEP, 2 * STEP, 3 * STEP]
        assert writer.refused == 1
        writer.commit()
        assert not writer.connection.in_transaction
        writer.connection.close()
    assert not list(made.folder.glob("copy.db*"))
    assert made.ask("SELECT count(*) FROM t") == [(401,)]


@KEPT_JOURNALS
def test_without_a_writer_it_goes_through(house: Callable[[str], House], journal: str) -> None:
    """A journal that is kept, emptied or struck out, is nobody's; nor is one that has long been removed."""
    made = house(journal)
    with (
        closing(sqlite3.connect(made.database, isolation_level=None)) as service,
        closing(connect(parse_url(f"sqlite:///{made.database}"), write=False)) as source,
    ):
        service.execute(f"PRAGMA journal_mode = {journal}")
        service.execute("INSERT INTO t (filler) VALUES ('before')")
        assert (made.folder / "app.db-journal").exists() == (journal != "delete")
        assert not writer_has_begun(made.database)
        copy_database(source, made.folder / "copy.db", yielding=True)
        service.execute("BEGIN IMMEDIATE")
        service.execute("INSERT INTO t (filler) VALUES ('now')")
        assert writer_has_begun(made.database)
        service.execute("ROLLBACK")
        assert not writer_has_begun(made.database)
    with closing(sqlite3.connect(made.folder / "copy.db")) as copied:
        assert copied.execute("SELECT count(*) FROM t").fetchone() == (401,)


def test_in_wal_mode_nobody_waits(house: Callable[[str], House]) -> None:
    """The writer commits at once, and the copy is one of the moment at which it began."""
    made = house("wal")
    with closing(connect(parse_url(f"sqlite:///{made.database}"), write=False)) as source:
        writer = Writer(made.database, "wal")
        copy_database(source, made.folder / "copy.db", progress=writer, yielding=True)
        assert (writer.refused, writer.connection.in_transaction) == (0, False)
        writer.connection.close()
    with closing(sqlite3.connect(made.folder / "copy.db")) as copied:
        assert copied.execute("SELECT count(*) FROM t").fetchone() == (400,)
    assert made.ask("SELECT count(*) FROM t") == [(401,)]


def test_a_copy_that_somebody_waits_for_does_not_give_way(house: Callable[[str], House]) -> None:
    """`driftd apply` and `backup create` go on: the writer waits, as it does for any long read."""
    made = house("delete")
    with closing(connect(parse_url(f"sqlite:///{made.database}"), write=False)) as source:
        writer = Writer(made.database, "delete")
        copy_database(source, made.folder / "copy.db", progress=writer)
        assert writer.refused > 1
        writer.commit()
        assert not writer.connection.in_transaction
        writer.connection.close()


def test_staging_ahead_gives_way(house: Callable[[str], House]) -> None:
    """The whole of it: told as `stage-yielded`, the writer's row is there, and no backup is left."""
    made = house("delete")
    made.models("CREATE TABLE t (id INTEGER PRIMARY KEY, filler TEXT, more TEXT);")
    desired = read_desired(made.target().models)
    writer = Writer(made.database, "delete")

    def progress(phase: str, done: int, total: int) -> None:
        if phase == "backup":
            writer(done, total)

    with pytest.raises(BusyError) as caught:
        api.prepare(made.target(), desired, progress=progress)
    writer.commit()
    writer.connection.close()
    assert caught.value.code == "stage-yielded"
    assert made.ask("SELECT count(*) FROM t") == [(401,)]
    assert [path.name for path in folder_for(made.folder / "backups", made.database).iterdir()] == []
    assert api.prepare(made.target(), desired).outcome == "ready"


# Writes in a transaction that it never ends: whoever kills it leaves its journal.
KILLED = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO t (filler) VALUES ('never')")
print("in it", flush=True)
sys.stdin.read()
"""


def test_the_journal_of_a_killed_writer_is_in_nobodys_way(house: Callable[[str], House]) -> None:
    """SQLite leaves it until somebody writes: a copy goes through meanwhile, and gives way to the next one who does write."""
    made = house("delete")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(made.database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writing:
        assert writing.stdout is not None
        assert writing.stdout.readline()
        writing.kill()
    assert any((made.folder / "app.db-journal").read_bytes())
    with closing(connect(parse_url(f"sqlite:///{made.database}"), write=False)) as source:
        copy_database(source, made.folder / "copy.db", yielding=True)
        with closing(sqlite3.connect(made.folder / "copy.db")) as copied:
            assert copied.execute("SELECT count(*) FROM t").fetchone() == (400,)
        writer = Writer(made.database, "delete")
        with pytest.raises(BusyError, match="being written to"):
            copy_database(source, made.folder / "other.db", progress=writer, yielding=True)
        writer.commit()
        writer.connection.close()
    assert made.ask("SELECT count(*) FROM t") == [(401,)]
