"""Copies that are made under writers, and proved on their own."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from driftengine.dialects.sqlite import copy as copies
from driftengine.dialects.sqlite.connect import connect, identity
from driftengine.dialects.sqlite.copy import copy_database
from driftengine.dialects.sqlite.database_files import DatabaseFiles
from driftengine.dialects.sqlite.verify import differences, snapshot_of, verify_copy
from driftengine.errors import BackupError, BusyError, DatabaseError, DeadlineError
from support.copied import at, copied, count, journal_mode, make

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


MODES = pytest.mark.parametrize("mode", ["delete", "wal"])


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Later."""
        self.now += seconds


WRITER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
number = 1_000_000
print("writing", flush=True)
while True:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO a VALUES (?, zeroblob(500))", (number,))
    connection.execute("INSERT INTO b VALUES (?, zeroblob(500))", (number,))
    connection.execute("COMMIT")
    number += 1
    time.sleep(0.001)  # SQLite's locks are not fair: without a gap a rollback journal lets no reader in
"""


@contextmanager
def writing_process(path: Path) -> Iterator[None]:
    """Another process that adds one row to both tables in each transaction, as fast as it can."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        try:
            yield
        finally:
            process.kill()


@MODES
def test_a_copy_under_a_writing_process_ends_and_is_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """However many steps it takes, no write restarts it, and both tables are of the same transaction."""
    monkeypatch.setattr(copies, "PAGES_A_STEP", 50)
    path = make(tmp_path / "app.db", mode=mode, rows=5000)
    totals: list[int] = []
    with writing_process(path), closing(connect(at(path), write=False, timeout=60)) as source:
        snapshot = copy_database(
            source, tmp_path / "copy.db", progress=lambda done, _total: totals.append(done)
        )
        assert not source.in_transaction
    found = verify_copy(tmp_path / "copy.db")
    assert found.problems == ()
    assert differences(snapshot, found.snapshot) == ()
    assert found.row_counts["a"] == found.row_counts["b"] >= 5000
    assert totals == sorted(totals)
    assert len(totals) > 10


def test_a_copy_holds_what_is_still_in_the_wal(tmp_path: Path) -> None:
    """Rows that a checkpoint has not yet moved are in the copy, which is itself in rollback mode and alone."""
    path = make(tmp_path / "app.db", mode="wal")
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("INSERT INTO a VALUES (777, 'in the wal')")
        writer.commit()
        folder = tmp_path / "copies"
        folder.mkdir()
        destination = copied(path, folder / "copy.db")
    assert count(destination) == 101
    assert journal_mode(destination) == "delete"
    assert [found.name for found in folder.iterdir()] == ["copy.db"]


def test_a_snapshot_of_the_callers_is_what_is_copied(tmp_path: Path) -> None:
    """Inside a read transaction of the caller's the copy is of that moment, and the transaction stays open."""
    path = make(tmp_path / "app.db", mode="wal")
    with closing(connect(at(path), write=False)) as source, closing(sqlite3.connect(path)) as writer:
        source.execute("BEGIN")
        assert source.execute("SELECT count(*) FROM a").fetchone() == (100,)
        writer.execute("DELETE FROM a")
        writer.commit()
        copy_database(source, tmp_path / "copy.db")
        assert source.in_transaction
        source.execute("ROLLBACK")
    assert count(tmp_path / "copy.db") == 100


def test_a_copy_while_another_connection_holds_the_write_lock(tmp_path: Path) -> None:
    """Our own BEGIN IMMEDIATE on a second connection keeps writers out and lets the copy be made."""
    path = make(tmp_path / "app.db")
    with closing(connect(at(path), write=True)) as holder, closing(connect(at(path), write=False)) as source:
        holder.execute("BEGIN IMMEDIATE")
        copy_database(source, tmp_path / "copy.db")
        holder.execute("ROLLBACK")
    assert count(tmp_path / "copy.db") == 100


@pytest.mark.parametrize("given", [True, False])
def test_a_copy_from_inside_a_write_transaction_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    """SQLite says busy for ever there: with a deadline and without one the call ends, and leaves no file."""
    monkeypatch.setattr(copies, "PATIENCE", 0.05)
    path = make(tmp_path / "app.db")
    with closing(connect(at(path), write=True)) as source:
        source.execute("BEGIN IMMEDIATE")
        source.execute("DELETE FROM a")
        with pytest.raises(BusyError):
            copy_database(
                source, tmp_path / "copy.db", deadline_at=time.monotonic() + 0.05 if given else None
            )
        assert source.in_transaction
        source.execute("ROLLBACK")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["app.db"]


@MODES
def test_a_copy_stops_at_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Between two steps the clock is looked at; what was copied is removed, and the source is free again."""
    monkeypatch.setattr(copies, "PAGES_A_STEP", 10)
    clock = Clock()
    monkeypatch.setattr(copies, "time", clock)
    path = make(tmp_path / "app.db", mode=mode, rows=2000)
    with closing(connect(at(path), write=False)) as source:
        before = set(tmp_path.iterdir())
        with pytest.raises(DeadlineError) as caught:
            copy_database(
                source,
                tmp_path / "copy.db",
                progress=lambda *_: clock.pass_by(40),
                deadline_at=clock.now + 60,
            )
        assert caught.value.why.startswith("30 of ")
        assert not source.in_transaction
        with pytest.raises(DeadlineError):
            copy_database(source, tmp_path / "copy.db", deadline_at=time.monotonic() - 1)
        assert set(tmp_path.iterdir()) == before


def test_a_copy_does_not_wait_for_a_lock_beyond_its_deadline(tmp_path: Path) -> None:
    """However patient the connection is: an exclusive lock ends the copy at the deadline, as busy."""
    path = make(tmp_path / "app.db")
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        closing(connect(at(path), write=False, timeout=3600)) as source,
    ):
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError) as caught:
            copy_database(source, tmp_path / "copy.db", deadline_at=time.monotonic() + 0.05)
        assert str(path) in str(caught.value)
        assert not source.in_transaction
    assert not (tmp_path / "copy.db").exists()


def test_a_copy_overwrites_nothing(tmp_path: Path) -> None:
    """A file of that name stays as it is, a link is not followed."""
    path = make(tmp_path / "app.db")
    (tmp_path / "copy.db").write_text("mine")
    (tmp_path / "link.db").symlink_to(tmp_path / "elsewhere.db")
    with closing(connect(at(path), write=False)) as source:
        for name in ("copy.db", "link.db"):
            with pytest.raises(BackupError) as caught:
                copy_database(source, tmp_path / name)
            assert caught.value.code == "backup-exists"
        with pytest.raises(BackupError) as caught:
            copy_database(source, tmp_path / "none" / "copy.db")
        assert caught.value.code == "backup-folder"
    assert (tmp_path / "copy.db").read_text() == "mine"
    assert not (tmp_path / "elsewhere.db").exists()


def test_flipped_bits_are_found(tmp_path: Path) -> None:
    """A byte changed inside a page of the tree makes the copy unusable, and says where."""
    destination = copied(make(tmp_path / "app.db", rows=3000), tmp_path / "copy.db")
    raw = bytearray(destination.read_bytes())
    raw[4096 * 5 + 1 : 4096 * 5 + 9] = b"\xff" * 8
    destination.write_bytes(raw)
    found = verify_copy(destination)
    assert not found.ok
    assert found.integrity != "ok"


def test_a_copy_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A header that was overwritten is told with its code."""
    destination = copied(make(tmp_path / "app.db"), tmp_path / "copy.db")
    destination.write_bytes(b"\0" * 100 + destination.read_bytes()[100:])
    with pytest.raises(DatabaseError) as caught:
        verify_copy(destination)
    assert caught.value.code == "database-not-sqlite"


def test_wrong_rows_are_counted_and_are_no_fault_of_the_copy(tmp_path: Path) -> None:
    """Foreign key and NOT NULL violations that the source has too do not make a backup unusable."""
    path = make(tmp_path / "app.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE child (p REFERENCES a, q REFERENCES a, v)")
        connection.executemany(
            "INSERT INTO child VALUES (?, ?, ?)", [(1, 2, 3), (5000, 2, 3), (6000, 7000, None)]
        )
        connection.commit()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, ', v)', ', v NOT NULL)')")
        connection.commit()
    found = verify_copy(copied(path, tmp_path / "copy.db"))
    assert found.ok
    assert found.foreign_key_violations == {"child": 3}
    assert found.row_findings == ("NULL value in child.v (1 rows)",)


def test_one_table_that_cannot_be_checked_does_not_hide_the_others(tmp_path: Path) -> None:
    """A missing collation or a mismatched parent key is left out and said; violations elsewhere are still counted."""
    path = make(tmp_path / "app.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.create_collation("german", lambda one, two: (one > two) - (one < two))
        connection.execute("CREATE TABLE words (w TEXT COLLATE german UNIQUE)")
        connection.execute("INSERT INTO words VALUES ('a')")
        connection.execute("CREATE TABLE odd (x REFERENCES b (filler))")
        connection.execute("INSERT INTO odd VALUES (1)")
        connection.execute("CREATE TABLE child (p REFERENCES a)")
        connection.execute("INSERT INTO child VALUES (5000)")
        connection.commit()
    found = verify_copy(copied(path, tmp_path / "copy.db"))
    assert found.ok
    assert found.foreign_key_violations == {"child": 1}
    assert found.row_counts == {"a": 100, "b": 100, "child": 1, "odd": 1, "words": 1}
    told = "\n".join(found.left_out)
    assert "the check of words" in told
    assert "foreign keys of odd" in told
    assert "the check of a:" not in told


def test_damage_is_found_also_where_one_table_cannot_be_checked(tmp_path: Path) -> None:
    """Checking table by table still reads the pages of the others."""
    path = make(tmp_path / "app.db", rows=3000)
    with closing(sqlite3.connect(path)) as connection:
        connection.create_collation("german", lambda one, two: (one > two) - (one < two))
        connection.execute("CREATE TABLE words (w TEXT COLLATE german UNIQUE)")
        connection.commit()
    destination = copied(path, tmp_path / "copy.db")
    raw = bytearray(destination.read_bytes())
    raw[4096 * 7 + 1 : 4096 * 7 + 9] = b"\xff" * 8
    destination.write_bytes(raw)
    assert not verify_copy(destination).ok


def test_differences_between_source_and_copy_are_named(tmp_path: Path) -> None:
    """Another schema or another number of pages is told in words."""
    one = make(tmp_path / "one.db", rows=10)
    two = make(tmp_path / "two.db", rows=3000)
    with closing(connect(at(one), write=False)) as first, closing(connect(at(two), write=True)) as second:
        second.execute("ALTER TABLE a RENAME TO c")
        told = " ".join(differences(snapshot_of(first), snapshot_of(second)))
    assert "number of pages" in told
    assert "schema" in told
    assert "page size" not in told


def test_a_source_that_was_replaced_is_not_copied(tmp_path: Path) -> None:
    """What a connection still reads has no name any more: a copy of it would be taken for one of what is there now."""
    path = make(tmp_path / "app.db")
    with closing(connect(at(path), write=False)) as source:
        files = DatabaseFiles(at(path), source, identity(at(path)))
        assert files.copy(tmp_path / "copy.db", mode=0o600).ok
        make(tmp_path / "theirs.db", rows=7).rename(path)
        with pytest.raises(DatabaseError) as caught:
            files.copy(tmp_path / "another.db", mode=0o600)
    assert caught.value.code == "database-replaced"


def test_one_database_as_backups_see_it(tmp_path: Path) -> None:
    """The pieces fit together: size, copy with its proof, and restore."""
    path = make(tmp_path / "app.db")
    database = DatabaseFiles(at(path))
    assert database.present()
    assert database.size() == path.stat().st_size
    assert database.copy(tmp_path / "copy.db", mode=0o640).ok
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o640
    path.unlink()
    assert not database.present()
    database.restore(tmp_path / "copy.db")
    assert count(path) == 100
