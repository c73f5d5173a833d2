"""Where a database is, how it is opened, and what is said when it cannot be."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import unprivileged
from driftengine.dialects.sqlite.connect import (
    Location,
    connect,
    data_version,
    deadline,
    identity,
    parse_url,
    state_of,
    translated,
)
from driftengine.errors import BusyError, ConfigurationError, DatabaseError, DeadlineError

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def at(path: Path) -> Location:
    return parse_url(f"sqlite:///{path}")


def make(path: Path, *, mode: str = "delete", rows: int = 3) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(rows)])
        connection.commit()
    return path


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that an unprivileged user can enter (pytest's own cannot be)."""
    folder = Path(tempfile.mkdtemp(prefix="driftd-rights-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///app.db", "app.db"),
        ("sqlite:///./sub/../app.db", "app.db"),
        ("sqlite+pysqlite:///app.db", "app.db"),
        ("sqlite+aiosqlite:///data/app.db?timeout=5", "data/app.db"),
        ("sqlite:///file:data/app.db?mode=rw&uri=true", "data/app.db"),
        ("sqlite:///file:a%20b.db?uri=true", "a b.db"),
        ("sqlite:///file:///srv/app.db?uri=true", "/srv/app.db"),
        ("sqlite:///file://localhost/srv/app.db?uri=true", "/srv/app.db"),
        ("sqlite:///file:app.db", "file:app.db"),
        ("sqlite:////srv/app.db", "/srv/app.db"),
        ("sqlite:///a#b.db", "a#b.db"),
        ("sqlite:///a%20b.db", "a b.db"),
        ("sqlite:///no_suffix", "no_suffix"),
        ("data/app.sqlite3", "data/app.sqlite3"),
        ("/srv/app.DB", "/srv/app.DB"),
    ],
)
def test_a_url_names_one_absolute_path(tmp_path: Path, url: str, path: str) -> None:
    """Relative paths start at the given directory, file URIs are read as SQLite reads them."""
    assert parse_url(url, directory=tmp_path).path == Path(os.path.realpath(tmp_path)) / path


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("sqlite://", "database-memory"),
        ("sqlite:///", "database-memory"),
        ("sqlite:///:memory:", "database-memory"),
        (":memory:", "database-memory"),
        ("sqlite:///file::memory:?cache=shared&uri=true", "database-memory"),
        ("sqlite:///file:x?mode=memory&uri=true", "database-memory"),
        ("postgresql+psycopg://user@host/db", "database-unsupported"),
        ("sqlite+pysqlcipher:///app.db", "database-unsupported"),
        ("sqlite://app.db", "database-url"),
        ("sqlite:///file://server/app.db?uri=true", "database-url"),
        ("sqlite:///a%00.db", "database-url"),
        ("notes.txt", "database-url"),
        ("", "database-url"),
        ("sqlite:///sub", "database-is-directory"),
        ("sqlite:///new/", "database-is-directory"),
    ],
)
def test_a_url_that_names_no_file_is_refused(tmp_path: Path, url: str, code: str) -> None:
    """Each refusal has its code, and says what to write instead."""
    (tmp_path / "sub").mkdir()
    with pytest.raises(ConfigurationError) as caught:
        parse_url(url, directory=tmp_path)
    assert caught.value.code == code
    assert caught.value.why
    assert caught.value.fix


def test_an_undecoded_name_wins_where_it_exists(tmp_path: Path) -> None:
    """SQLAlchemy 2.0 does not decode %20: a file that really has these characters is the one meant."""
    make(tmp_path / "a%20b.db")
    assert parse_url("sqlite:///a%20b.db", directory=tmp_path).path.name == "a%20b.db"


def test_symbolic_links_lead_to_the_real_path(tmp_path: Path) -> None:
    """Locks and backups know a database by one name, whichever way it is reached."""
    real = make(tmp_path / "real.db")
    (tmp_path / "link.db").symlink_to(real)
    (tmp_path / "folder").symlink_to(tmp_path)
    assert (
        at(tmp_path / "link.db").path
        == at(tmp_path / "folder" / "real.db").path
        == Path(os.path.realpath(real))
    )


@pytest.mark.parametrize(
    "name", ["a?b.db", "a#b.db", "100%.db", "a%41.db", "with space.db", "grün.db", "日本.db"]
)
def test_every_file_name_is_opened_as_it_is(tmp_path: Path, name: str) -> None:
    """Characters that mean something in a URI mean nothing in a file name."""
    with closing(connect(Location("", tmp_path / name), write=True, create=True)) as connection:
        connection.execute("CREATE TABLE t (a)")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_no_utf8_is_opened(tmp_path: Path) -> None:
    """A path is bytes to the system: a name in an old encoding is a name."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.db"))
    with closing(connect(Location("", path), write=True, create=True)) as connection:
        connection.execute("CREATE TABLE t (a)")
    assert [os.fsencode(found.name) for found in tmp_path.iterdir()] == [b"caf\xe9.db"]


def test_the_state_is_told_without_opening(tmp_path: Path) -> None:
    """Missing, empty and present are told apart; what is no file is refused."""
    path = tmp_path / "app.db"
    assert state_of(at(path)) == "missing"
    assert state_of(at(tmp_path / "none" / "app.db")) == "missing"
    path.touch()
    assert state_of(at(path)) == "empty"
    make(path)
    assert state_of(at(path)) == "present"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatabaseError, match="ordinary file"):
        state_of(at(tmp_path / "pipe"))


def test_a_connection_is_in_autocommit_and_enforces_no_foreign_keys(tmp_path: Path) -> None:
    """Nothing is begun behind our back, and no rebuild can cascade."""
    make(tmp_path / "app.db")
    with closing(connect(at(tmp_path / "app.db"), write=True)) as connection:
        connection.execute("INSERT INTO t VALUES (9)")
        assert not connection.in_transaction
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (0,)


def test_a_reading_connection_cannot_write(tmp_path: Path) -> None:
    """SQLite itself refuses, and the refusal is translated."""
    location = at(make(tmp_path / "app.db"))
    with (
        closing(connect(location, write=False)) as connection,
        pytest.raises(DatabaseError) as caught,
        translated(location),
    ):
        connection.execute("INSERT INTO t VALUES (9)")
    assert caught.value.code == "database-read-only"


def test_mode_ro_in_the_url_is_obeyed(tmp_path: Path) -> None:
    """A location that the user has called read-only is never opened for writing."""
    path = make(tmp_path / "app.db")
    location = parse_url(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert location.read_only
    with pytest.raises(DatabaseError) as caught:
        connect(location, write=True)
    assert caught.value.code == "database-read-only"


@pytest.mark.parametrize("write", [False, True])
def test_a_missing_database_is_made_only_when_asked(tmp_path: Path, write: bool) -> None:
    """Looking never creates a file; creating makes its folder too."""
    location = at(tmp_path / "deep" / "er" / "app.db")
    with pytest.raises(DatabaseError) as caught:
        connect(location, write=write)
    assert caught.value.code == "database-missing"
    assert str(location.path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with closing(connect(location, write=True, create=True)) as connection:
        connection.execute("CREATE TABLE t (a)")
    assert state_of(location) == "present"


@pytest.mark.parametrize(
    ("folder", "expected"), [(0o755, 0o644), (0o770, 0o660), (0o2750, 0o640), (0o700, 0o600), (0o1777, 0o644)]
)
def test_a_new_database_is_for_whoever_may_use_its_folder(tmp_path: Path, folder: int, expected: int) -> None:
    """A daemon's own umask would lock the service out: the folder tells, and the owner of it, where root makes the file."""
    place = tmp_path / "data"
    place.mkdir()
    place.chmod(folder)
    if os.geteuid() == 0:
        os.chown(place, 12345, 12346)
    umask = os.umask(0o077)
    try:
        with closing(connect(at(place / "app.db"), write=True, create=True)) as connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("CREATE TABLE t (a)")
            made = {path.name: path.stat() for path in place.iterdir()}
    finally:
        os.umask(umask)
    assert made.keys() == {"app.db", "app.db-wal", "app.db-shm"}
    assert {stat.S_IMODE(found.st_mode) for found in made.values()} == {expected}
    assert {(found.st_uid, found.st_gid) for found in made.values()} == {
        (place.stat().st_uid, place.stat().st_gid)
    }


@pytest.mark.parametrize(
    ("above", "folder", "file"),
    [
        (0o755, 0o755, 0o644),
        (0o770, 0o770, 0o660),
        (0o2750, 0o2750, 0o640),
        (0o700, 0o700, 0o600),
        (0o1777, 0o755, 0o644),
    ],
)
def test_missing_folders_are_for_whoever_may_use_the_one_above(
    tmp_path: Path, above: int, folder: int, file: int
) -> None:
    """A database that others may use is of no use to them in a folder that they may not enter."""
    place = tmp_path / "data"
    place.mkdir()
    place.chmod(above)
    if os.geteuid() == 0:
        os.chown(place, 12345, 12346)
    path = place / "one" / "two" / "app.db"
    umask = os.umask(0o077)
    try:
        connect(at(path), write=True, create=True).close()
    finally:
        os.umask(umask)
    made = [one.stat() for one in (path.parent.parent, path.parent, path)]
    assert [stat.S_IMODE(found.st_mode) for found in made] == [folder, folder, file]
    assert {(found.st_uid, found.st_gid) for found in made} == {(place.stat().st_uid, place.stat().st_gid)}


@pytest.mark.parametrize("content", ["none", "rows"])
def test_a_database_that_is_there_keeps_its_mode(tmp_path: Path, content: str) -> None:
    """Only what driftd itself makes gets one; an empty file that the service has put there is its own."""
    path = tmp_path / "app.db"
    if content == "rows":
        make(path)
    else:
        path.touch()
    path.chmod(0o640)
    with closing(connect(at(path), write=True, create=True)) as connection:
        connection.execute("CREATE TABLE other (a)")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    """The first read finds out, before anybody writes."""
    path = tmp_path / "app.db"
    path.write_bytes(b"these are notes, no database " * 100)
    before = path.read_bytes()
    with pytest.raises(DatabaseError) as caught:
        connect(at(path), write=True)
    assert caught.value.code == "database-not-sqlite"
    assert path.read_bytes() == before


def test_a_corrupt_database_is_called_corrupt(tmp_path: Path) -> None:
    """Damage behind the header appears on reading, and has its own code."""
    path = make(tmp_path / "app.db", rows=5000)
    damaged = bytearray(path.read_bytes())
    damaged[100:4096] = b"\xff" * 3996
    path.write_bytes(damaged)
    with (
        pytest.raises(DatabaseError) as caught,
        translated(at(path)),
        closing(connect(at(path), write=False)) as connection,
    ):
        connection.execute("SELECT * FROM t").fetchall()
    assert caught.value.code == "database-corrupt"


def test_a_lock_is_told_as_busy(tmp_path: Path) -> None:
    """An exclusive lock of somebody else is no fault of the database: the call may be repeated."""
    path = make(tmp_path / "app.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError) as caught:
            connect(at(path), write=True, timeout=0.01)
    assert caught.value.code == "database-busy"
    connect(at(path), write=True).close()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """SQLITE_FULL, here by a limit on the pages, becomes disk-full."""
    location = at(make(tmp_path / "app.db"))
    with closing(connect(location, write=True)) as connection:
        connection.execute("PRAGMA max_page_count = 3")
        with pytest.raises(DatabaseError) as caught, translated(location):
            connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    assert caught.value.code == "disk-full"


def test_an_error_about_a_statement_passes_unchanged(tmp_path: Path) -> None:
    """A constraint or a syntax error is not about the database; an authorizer's denial is the caller's own."""
    location = at(make(tmp_path / "app.db"))
    with closing(connect(location, write=True)) as connection:
        connection.execute("CREATE TABLE u (a UNIQUE)")
        connection.execute("INSERT INTO u VALUES (1)")
        with pytest.raises(sqlite3.IntegrityError), translated(location):
            connection.execute("INSERT INTO u VALUES (1)")
        with pytest.raises(sqlite3.OperationalError, match="syntax"), translated(location):
            connection.execute("SELEKT 1")
        connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"), translated(location):
            connection.execute("SELECT 1")
        connection.set_authorizer(None)


def test_a_bad_byte_does_not_stop_reading_and_is_not_written_back(tmp_path: Path) -> None:
    """Text that is no UTF-8 is read without loss, and binding it again is refused instead of changed."""
    location = at(make(tmp_path / "app.db"))
    with closing(connect(location, write=True)) as connection:
        connection.execute("INSERT INTO t VALUES (CAST(x'63616666e9' AS TEXT))")
        (text,) = connection.execute("SELECT a FROM t WHERE typeof(a) = 'text'").fetchone()
        assert text.encode("utf-8", "surrogateescape") == b"caff\xe9"
        with pytest.raises(DatabaseError) as caught, translated(location):
            connection.execute("INSERT INTO t VALUES (?)", (text,))
    assert caught.value.code == "database-bad-text"


def test_a_deadline_interrupts_a_statement(tmp_path: Path) -> None:
    """A statement that would never end does, as DeadlineError, and the connection is usable again."""
    location = at(make(tmp_path / "app.db"))
    with closing(connect(location, write=False)) as connection:
        with (
            pytest.raises(DeadlineError),
            translated(location),
            deadline(connection, time.monotonic() + 0.05),
        ):
            connection.execute(ENDLESS).fetchone()
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)


def test_a_deadline_bounds_the_wait_for_a_lock_too(tmp_path: Path) -> None:
    """Waiting for a lock ends with the deadline, and the connection's own patience comes back afterwards."""
    location = at(make(tmp_path / "app.db"))
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(closing(sqlite3.connect(location.path, isolation_level=None)))
        other.execute("BEGIN IMMEDIATE")
        connection = stack.enter_context(closing(connect(location, write=True, timeout=3600)))
        with pytest.raises(BusyError), translated(location), deadline(connection, time.monotonic() + 0.05):
            connection.execute("BEGIN IMMEDIATE")
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (3_600_000,)


def test_a_deadline_that_has_passed_begins_nothing(tmp_path: Path) -> None:
    """Not even the first statement is run; None sets no limit."""
    location = at(make(tmp_path / "app.db"))
    with closing(connect(location, write=True)) as connection:
        with pytest.raises(DeadlineError), deadline(connection, time.monotonic() - 1):
            connection.execute("DROP TABLE t")
        with deadline(connection, None):
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)


def test_changes_by_others_are_seen(tmp_path: Path) -> None:
    """data_version moves with other connections' commits only; a replaced file has another identity."""
    location = at(make(tmp_path / "app.db"))
    with closing(connect(location, write=False)) as held, closing(connect(location, write=True)) as other:
        before = data_version(held), data_version(other)
        other.execute("INSERT INTO t VALUES (9)")
        assert data_version(held) != before[0]
        assert data_version(other) == before[1]
    old = identity(location)
    assert identity(location) == old
    make(tmp_path / "new.db").rename(location.path)
    assert identity(location) != old
    location.path.unlink()
    with pytest.raises(DatabaseError, match="does not exist"):
        identity(location)


TRY = """
import sys
from driftengine.dialects.sqlite.connect import connect, parse_url, translated
from driftengine.errors import DriftError
location = parse_url("sqlite:///" + sys.argv[1])
try:
    with translated(location):
        connection = connect(location, write="w" in sys.argv[2], create="c" in sys.argv[2])
        if "w" in sys.argv[2]:
            connection.execute("CREATE TABLE z (a)")
        else:
            connection.execute("SELECT * FROM t").fetchall()
    print("done")
except DriftError as error:
    print(error.code)
"""


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_who_may_only_read_is_told_so_on_writing(shared: Path, mode: str) -> None:
    """A file without the right to write is read-only, in both journal modes."""
    path = make(shared / "app.db", mode=mode)
    path.chmod(0o444)
    assert unprivileged.run(TRY, path, "w") in {"database-read-only", "database-permission"}


def test_who_may_not_read_is_told_so(shared: Path) -> None:
    """A file or folder without the right to read is not permitted, and not called missing."""
    path = make(shared / "app.db")
    path.chmod(0o600)
    if os.geteuid() == 0:
        assert unprivileged.run(TRY, path, "r") == "database-permission"
    path.chmod(0o644)
    assert unprivileged.run(TRY, path, "r") == "done"
    closed = shared / "closed"
    closed.mkdir()
    make(closed / "app.db")
    closed.chmod(0o000)
    assert unprivileged.run(TRY, closed / "app.db", "r") == "database-permission"
    closed.chmod(0o755)


def test_a_wal_database_in_a_folder_that_cannot_be_written_is_explained(shared: Path) -> None:
    """Reading a WAL database needs files beside it: the error says so, it does not say corrupt or missing."""
    if os.geteuid() != 0:
        pytest.skip("needs a folder that belongs to somebody else")
    path = make(shared / "app.db", mode="wal")
    path.chmod(0o644)
    assert unprivileged.run(TRY, path, "r") == "database-permission"


def test_a_folder_that_cannot_be_written_takes_no_new_database(shared: Path) -> None:
    """Creating is refused with the reason, whether the folder or its parent is in the way; looking says missing."""
    shared.chmod(0o555)
    assert unprivileged.run(TRY, shared / "app.db", "wc") == "database-permission"
    assert unprivileged.run(TRY, shared / "deep" / "app.db", "wc") == "database-permission"
    assert unprivileged.run(TRY, shared / "app.db", "r") == "database-missing"
    shared.chmod(0o755)
