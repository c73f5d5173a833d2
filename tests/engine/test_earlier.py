"""A copy of the database as it was, attached beside the database as it is."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from driftengine.changes import Script, Step
from driftengine.dialects.sqlite.database import open_database
from driftengine.dialects.sqlite.transaction import StepError
from driftengine.errors import DatabaseError, DeadlineError

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine.dialects.sqlite.database import SqliteDatabase

BESIDE = "SELECT id, v FROM earlier.t"


@pytest.fixture(params=["wal", "delete"])
def journal(request: pytest.FixtureRequest) -> str:
    """The journal mode of the database."""
    return str(request.param)


@pytest.fixture
def earlier(tmp_path: Path, journal: str) -> Path:
    """A database and its backup; returned is the backup."""
    copy = tmp_path / "it's 100% #1?.db"
    with closing(sqlite3.connect(tmp_path / "app.db")) as live, closing(sqlite3.connect(copy)) as backup:
        live.execute(f"PRAGMA journal_mode = {journal}")
        live.executescript(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'then')"
        )
        live.backup(backup)
        backup.execute("PRAGMA journal_mode = DELETE")
        live.execute("UPDATE t SET v = 'now'")
        live.commit()
    return copy


def opened(earlier: Path) -> SqliteDatabase:
    """The database beside the backup."""
    return open_database(f"sqlite:///{earlier.parent / 'app.db'}")


def test_queries_see_both_states_and_no_change(earlier: Path) -> None:
    """A guard may read the copy; attaching it is no change of the database, and leaves no file behind."""
    names = {path.name for path in earlier.parent.iterdir()}
    with closing(opened(earlier)) as database:
        mark, shape = database.mark(), database.shape()
        with database.earlier(earlier):
            assert database.offending(BESIDE).rows == ((1, "then"),)
            assert database.offending("SELECT id, v FROM t").rows == ((1, "now"),)
            with database.snapshot():
                assert database.offending(BESIDE).count == 1
            assert [row.name for row in database.read().stored] == ["t"]
        assert (database.mark(), database.shape()) == (mark, shape)
        with database.earlier(None):
            assert "no such table" in str(database.offending(BESIDE).rows)
    assert {path.name for path in earlier.parent.iterdir()} == names


def test_it_is_there_again_after_a_rest_and_a_replacement(earlier: Path) -> None:
    """Whatever connection is held while the copy is attached has it."""
    with closing(opened(earlier)) as database, database.earlier(earlier):
        database.rest()
        assert database.offending(BESIDE).count == 1
        other = earlier.parent / "other.db"
        with closing(sqlite3.connect(other)) as connection:
            connection.execute("CREATE TABLE t (id, v)")
        database.rest()
        other.replace(earlier.parent / "app.db")
        database.mark()
        assert database.offending(BESIDE).count == 1
        database.rest()


def test_a_transaction_reads_it_and_commits_one_file(earlier: Path, journal: str) -> None:
    """The commit is one of one file: a journal that persists is cut to nothing only by a commit of several files."""
    with closing(opened(earlier)) as database, database.earlier(earlier):
        mark = database.mark()
        script = Script((Step("UPDATE t SET v = (SELECT v FROM earlier.t)", (1,), frozenset({"t"})),))
        with database.transaction(deadline_at=None, lock_wait=1.0, values={}) as live:
            if journal == "delete":
                live.writer().execute("PRAGMA main.journal_mode = persist")
            assert live.exact(mark)
            live.run(script)
            live.commit()
        assert database.offending("SELECT id, v FROM t").rows == ((1, "then"),)
    path = earlier.parent / "app.db-journal"
    if journal == "delete":
        assert path.stat().st_size > 0
        with closing(sqlite3.connect(earlier.parent / "app.db")) as connection:
            connection.execute("ATTACH ? AS second", (str(earlier.parent / "second.db"),))
            connection.execute("PRAGMA journal_mode = persist")
            connection.execute("CREATE TABLE second.t (a)")
            connection.executescript("BEGIN; DELETE FROM t; INSERT INTO second.t VALUES (1); COMMIT")
        assert path.stat().st_size == 0, "this is what a commit of two files looks like"


@pytest.mark.parametrize("sql", ["DELETE FROM earlier.t", "DROP TABLE earlier.t", "DETACH earlier"])
def test_nothing_may_write_it(earlier: Path, sql: str) -> None:
    """A statement of a plan that names it is refused, and the transaction is rolled back."""
    before = earlier.read_bytes()
    with closing(opened(earlier)) as database, database.earlier(earlier):
        step = Step(sql, (1,), frozenset({"t"}))
        with (
            pytest.raises(StepError) as caught,
            database.transaction(deadline_at=None, lock_wait=1.0, values={}) as live,
        ):
            live.run(Script((step,)))
        assert "it would touch" in caught.value.why
    assert earlier.read_bytes() == before


def test_queries_over_it_keep_to_the_deadline(earlier: Path) -> None:
    """The limit of a connection holds for what is attached too."""
    endless = "WITH RECURSIVE n (i) AS (SELECT id FROM earlier.t UNION ALL SELECT i + 1 FROM n) SELECT i, i FROM n WHERE i < 0"
    with closing(opened(earlier)) as database, database.earlier(earlier), pytest.raises(DeadlineError):  # noqa: SIM117
        with database.until(time.monotonic() + 0.05):
            database.offending(endless)


def test_a_copy_that_cannot_be_read_is_named(earlier: Path) -> None:
    """Missing, or no database: the message names the copy, and the database itself goes on."""
    broken = earlier.parent / "broken.db"
    broken.write_text("no database at all, but long enough to have the size of a header" * 20)
    with closing(opened(earlier)) as database:
        for path in (earlier.parent / "gone.db", broken):
            with pytest.raises(DatabaseError) as caught, database.earlier(path):
                pass
            assert path.name in str(caught.value)
        with database.earlier(earlier):
            assert database.offending(BESIDE).count == 1
