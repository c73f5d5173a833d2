"""The held connection is a guest: it rests, is in nobody's way then, and still knows afterwards what has happened."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

import unprivileged
from driftengine.dialects.sqlite.database import SqliteDatabase, open_database
from driftengine.dialects.sqlite.held import COARSE_TICK, SECOND, TICK, Signature
from support.migrations import House
from support.processes import HOLDER, beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x');"


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    house = House(tmp_path, journal=request.param)
    house.run(TABLE)
    return house


@contextmanager
def held(house: House) -> Iterator[SqliteDatabase]:
    with closing(open_database(f"sqlite:///{house.database}", tidy=True)) as database:
        database.glance()
        yield database


def grown_old(house: House) -> None:
    """Returns when the files are so old that one more write would show in their times."""
    while any(time.time_ns() - path.stat().st_ctime_ns < 2 * TICK for path in house.folder.glob("app.db*")):
        time.sleep(0.01)  # nothing tells that time has passed


def beside_it(house: House) -> list[str]:
    """What SQLite keeps beside the database."""
    return sorted(path.name.removeprefix("app.db") for path in house.folder.glob("app.db-*"))


def test_an_untouched_rest_keeps_the_mark(house: House) -> None:
    """Closed and opened again with nobody in between: what was exact is exact, and no glance sees anything."""
    grown_old(house)
    with held(house) as database:
        mark, shape = database.mark(), database.shape()
        database.rest()
        assert (database.glance().kind, database.glance().open) == ("same", False)
        assert (database.mark(), database.shape()) == (mark, shape)
        database.wake()
        assert (database.mark(), database.shape()) == (mark, shape)
        assert (database.glance().kind, database.glance().open) == ("same", True)


@pytest.mark.parametrize("woken", [False, True])
def test_a_change_while_it_rests_is_seen(house: House, woken: bool) -> None:
    """By `stat` alone, and also when it is woken before anybody glances; what only an open look can tell is doubted."""
    grown_old(house)
    with held(house) as database:
        mark, shape = database.mark(), database.shape()
        database.rest()
        house.run("INSERT INTO t VALUES (2, 'y')")
        if woken:
            database.wake()
        assert database.mark() != mark
        seen = database.glance()
        assert (seen.kind, seen.schema, seen.open) == ("moved", not woken, woken)
        database.wake()
        assert database.shape() == shape
        database.rest()
        house.run("CREATE TABLE u (id INT)")
        assert database.glance().schema
        database.wake()
        assert database.shape() != shape


def test_awake_rows_are_told_from_the_schema(house: House) -> None:
    """data_version says that something was committed, schema_version what; an own look is no news."""
    with held(house) as database:
        mark, shape = database.mark(), database.shape()
        database.read()
        assert database.glance().kind == "same"
        house.run("INSERT INTO t VALUES (2, 'y')")
        seen = database.glance()
        assert (seen.kind, seen.schema, database.shape() == shape) == ("moved", False, True)
        assert database.mark() != mark
        house.run("CREATE INDEX i ON t (a)")
        seen = database.glance()
        assert (seen.kind, seen.schema, database.shape() == shape) == ("moved", True, False)
        assert database.glance().kind == "same"


def test_what_is_written_within_a_tick_of_the_rest_is_doubted(house: House) -> None:
    """The files are as old as the rest itself: the mark does not hold, whatever the stat says."""
    with held(house) as database:
        house.run("INSERT INTO t VALUES (2, 'y')")
        database.glance()
        mark = database.mark()
        database.rest()
        assert database.glance().kind == "moved"
        assert database.mark() != mark
        grown_old(house)
        database.glance()
        assert database.glance().kind == "same"


def test_when_times_can_be_trusted() -> None:
    """Fine clocks after 50 ms, clocks of whole seconds after two; a time in the future never."""
    moment = 1_000 * SECOND

    def settled(*, database: int, log: int | None = None) -> bool:
        of_log = None if log is None else (9, 1, log)
        return Signature((1, 2, 3, database, database), of_log).settled(moment)

    assert settled(database=moment - TICK - 1)
    assert not settled(database=moment - TICK)
    assert not settled(database=moment + SECOND + 7)
    assert not settled(database=moment - SECOND)
    assert settled(database=moment - COARSE_TICK - SECOND + COARSE_TICK % SECOND)
    assert not settled(database=moment - TICK - 1, log=moment - 7)


def test_the_service_leaves_no_log_behind_when_we_rest(tmp_path: Path) -> None:
    """While we hold it, the service's last close cannot empty the log; our rest does that, and a plain copy is whole."""
    house = House(tmp_path, journal="wal")
    house.run(TABLE)
    with held(house) as database:
        house.run("INSERT INTO t VALUES (2, 'y')")
        assert (house.folder / "app.db-wal").stat().st_size > 0
        database.rest()
        assert beside_it(house) == []
        shutil.copyfile(house.database, house.folder / "copy.db")
        with closing(sqlite3.connect(house.folder / "copy.db")) as copy:
            assert copy.execute("SELECT count(*) FROM t").fetchone() == (2,)
        house.run("INSERT INTO t VALUES (3, 'z')")
        assert beside_it(house) == []


def test_while_we_rest_the_service_may_do_what_it_likes(tmp_path: Path) -> None:
    """Another journal mode, exclusive locking: both fail while we are awake in WAL mode, and succeed while we rest."""
    house = House(tmp_path, journal="wal")
    house.run(TABLE)

    def service(sql: str) -> object:
        with closing(sqlite3.connect(house.database, timeout=0, isolation_level=None)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("SELECT * FROM t").fetchone()
            return connection.execute(sql).fetchone()[0]

    with held(house) as database:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            service("PRAGMA journal_mode = DELETE")
        database.rest()
        assert service("PRAGMA journal_mode = DELETE") == "delete"
        assert database.glance().kind == "moved"
        database.wake()
        assert len(database.read().tables) == 1


def test_a_glance_at_rest_opens_nothing(house: House) -> None:
    """The folder stays as it was, down to its time: our own looking must not wake a watcher."""
    with held(house) as database:
        database.rest()
        before = (house.folder.stat().st_mtime_ns, beside_it(house))
        descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH208, PTH112
        for _ in range(3):
            database.glance()
            database.mark()
        if descriptors:
            assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208  # as above
        assert (house.folder.stat().st_mtime_ns, beside_it(house)) == before


@pytest.mark.parametrize("resting", [False, True])
def test_a_replaced_database_is_seen_and_read(
    house: House, tmp_path_factory: pytest.TempPathFactory, resting: bool
) -> None:
    """Another file gets its name by rename: told as replaced, and the next look reads the new one."""
    other = House(tmp_path_factory.mktemp("other"), journal="delete")
    other.run("CREATE TABLE o (id INT)")
    with held(house) as database:
        mark, shape = database.mark(), database.shape()
        if resting:
            database.rest()
        other.database.rename(house.database)
        seen = database.glance()
        assert (seen.kind, seen.schema) == ("replaced", True)
        database.wake()
        assert list(database.read().tables) == ["o"]
        assert database.mark() != mark
        assert database.shape() != shape


@pytest.mark.parametrize("resting", [False, True])
def test_a_database_that_goes_and_comes(house: House, resting: bool) -> None:
    """Removed and made again: missing, then created; nothing is read through the old connection."""
    with held(house) as database:
        if resting:
            database.rest()
        for path in house.folder.glob("app.db*"):
            path.unlink()
        assert (database.glance().kind, database.glance().kind) == ("missing", "same")
        assert (database.state(), database.read().tables) == ("missing", {})
        missing = database.mark()
        assert database.mark() == missing
        house.run("CREATE TABLE n (id INT)")
        seen = database.glance()
        assert (seen.kind, seen.schema, seen.open) == ("created", True, False)
        assert database.mark() != missing
        assert list(database.read().tables) == ["n"]


def test_a_lock_is_no_error_of_a_glance(tmp_path: Path) -> None:
    """Somebody commits right now: the glance does not wait, says that it is not quiet, and the next one sees it."""
    house = House(tmp_path, journal="delete")
    house.run(TABLE)
    with held(house) as database, beside(HOLDER, house.database, "BEGIN EXCLUSIVE"):
        began = time.monotonic()
        seen = database.glance()
        assert (seen.kind, seen.quiet_s < time.monotonic() - began) == ("same", True)


def test_a_rest_under_a_lock_is_doubted(tmp_path: Path) -> None:
    """Where the last look before the rest was locked out, nothing is known of what is committed then."""
    house = House(tmp_path, journal="delete")
    house.run(TABLE)
    grown_old(house)
    with held(house) as database:
        mark = database.mark()
        database.wake()
        with beside(HOLDER, house.database, "BEGIN EXCLUSIVE"):
            database.rest()
        assert database.mark() != mark


SHUT_OUT = """
import sqlite3, sys, tempfile
from pathlib import Path
from driftengine.dialects.sqlite.database import open_database
from driftengine.errors import DatabaseError
folder = Path(tempfile.mkdtemp())
sqlite3.connect(folder / "app.db").execute("CREATE TABLE t (a)").connection.close()
database = open_database(f"sqlite:///{folder / 'app.db'}")
database.glance()
if sys.argv[1] == "resting":
    database.rest()
folder.chmod(0)
try:
    database.glance()
except DatabaseError as error:
    print(error.code)
folder.chmod(0o700)
print(database.glance().kind)
database.close()
(folder / "app.db").unlink()
folder.rmdir()
"""


@pytest.mark.parametrize("how", ["awake", "resting"])
def test_a_database_that_cannot_be_seen_is_an_error(how: str) -> None:
    """Its folder may no longer be searched: told as that, and forgotten when it may be again."""
    told, after = unprivileged.run(SHUT_OUT, how).split()
    assert told == "database-permission"
    assert after in {"same", "moved"}
