"""Copies that are brought back into a live database: whole or not at all, and into no other one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest

from driftengine.dialects.sqlite import bring_back
from driftengine.dialects.sqlite import copy as copies
from driftengine.dialects.sqlite.bring_back import restore_into
from driftengine.dialects.sqlite.verify import verify_copy
from driftengine.errors import BackupError, BusyError, DatabaseError, DeadlineError
from support.copied import at, copied, count, journal_mode, make

if TYPE_CHECKING:
    from pathlib import Path


MODES = pytest.mark.parametrize("mode", ["delete", "wal"])


@MODES
def test_a_restore_is_seen_by_connections_that_are_open(tmp_path: Path, mode: str) -> None:
    """The old content does not come back from a WAL, and the journal mode stays what it was."""
    path = make(tmp_path / "app.db", mode=mode)
    backup = copied(path, tmp_path / "copy.db")
    with closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM a WHERE n > 10")
        other.execute("CREATE TABLE later (x)")
        other.commit()
        restore_into(backup, at(path))
        assert other.execute("SELECT count(*) FROM a").fetchone() == (100,)
        assert other.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'later'").fetchone() == (0,)
        other.execute("INSERT INTO a VALUES (5000, 'after')")
        other.commit()
    assert journal_mode(path) == mode
    assert count(path) == 101
    assert verify_copy(backup).ok


def test_a_copy_in_wal_mode_does_not_change_the_journal_mode(tmp_path: Path) -> None:
    """A copy that somebody has opened in WAL mode since carries that in its header; the live database keeps its own."""
    path = make(tmp_path / "app.db")
    backup = copied(path, tmp_path / "copy.db")
    with closing(sqlite3.connect(backup)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    restore_into(backup, at(path))
    assert journal_mode(path) == "delete"
    assert count(path) == 100


def test_a_reader_in_the_middle_of_a_transaction_keeps_its_content(tmp_path: Path) -> None:
    """In WAL mode a restore does not wait for readers, and they do not see half of it."""
    path = make(tmp_path / "app.db", mode="wal")
    backup = copied(path, tmp_path / "copy.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("DELETE FROM a")
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM a").fetchone() == (0,)
        restore_into(backup, at(path))
        assert reader.execute("SELECT count(*) FROM a").fetchone() == (0,)
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM a").fetchone() == (100,)


@MODES
@pytest.mark.parametrize("given", [True, False])
def test_a_restore_under_a_writer_gives_up_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, given: bool
) -> None:
    """A writer that does not end is not waited for longer than the deadline, or than patience lasts."""
    monkeypatch.setattr(copies, "PATIENCE", 0.1)
    path = make(tmp_path / "app.db", mode=mode)
    backup = copied(path, tmp_path / "copy.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM a WHERE n < 50")
        with pytest.raises(BusyError):
            restore_into(backup, at(path), deadline_at=time.monotonic() + 0.1 if given else None)
        writer.execute("COMMIT")
    assert count(path) == 50
    assert journal_mode(path) == mode


def test_a_restore_waits_for_a_writer_that_ends(tmp_path: Path) -> None:
    """Within the deadline a lock is only waited for: the restore then goes through."""
    path = make(tmp_path / "app.db", mode="wal")
    backup = copied(path, tmp_path / "copy.db")
    with ExitStack() as stack:
        writer = stack.enter_context(
            closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        )
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM a")
        timer = threading.Timer(0.2, lambda: writer.execute("COMMIT"))
        timer.start()
        stack.callback(timer.join)
        restore_into(backup, at(path), deadline_at=time.monotonic() + 60)
    assert count(path) == 100


@MODES
def test_a_restore_that_is_stopped_in_the_middle_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Pages that were already written are rolled back."""
    monkeypatch.setattr(copies, "PAGES_A_STEP", 10)
    monkeypatch.setattr(bring_back, "PAGES_A_STEP", 10)
    path = make(tmp_path / "app.db", mode=mode, rows=2000)
    backup = copied(path, tmp_path / "copy.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM a WHERE n % 2")
        connection.commit()

    def stop(done: int, total: int) -> None:
        if done * 2 > total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_into(backup, at(path), progress=stop)
    assert count(path) == 1000
    assert verify_copy(path).ok
    with pytest.raises(DeadlineError):
        restore_into(backup, at(path), deadline_at=time.monotonic() - 1)
    assert count(path) == 1000


@MODES
@pytest.mark.parametrize("when", ["found", "opened", "saved", "written"])
def test_a_database_that_is_replaced_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, when: str
) -> None:
    """Somebody puts another database in its place while a copy is brought back: told, and theirs takes no page of ours."""
    path = make(tmp_path / "app.db", mode=mode)
    backup = copied(path, tmp_path / "copy.db")
    theirs = make(tmp_path / "theirs.db", rows=7, mode=mode)

    def put_there() -> None:
        if theirs.exists():
            for end in ("-wal", "-shm", "-journal"):
                path.with_name(path.name + end).unlink(missing_ok=True)
            theirs.rename(path)

    def behind(name: str) -> None:
        real = getattr(bring_back, name)

        def and_then(*given: Any, **more: Any) -> Any:
            result = real(*given, **more)
            put_there()
            return result

        monkeypatch.setattr(bring_back, name, and_then)

    if when in {"found", "opened"}:
        behind({"found": "identity", "opened": "_same_page_size"}[when])
    with pytest.raises(DatabaseError) as caught:
        restore_into(
            backup,
            at(path),
            save=put_there if when == "saved" else lambda: None,
            progress=lambda *_: put_there() if when == "written" else None,
        )
    assert caught.value.code == "database-replaced"
    assert (count(path), verify_copy(path).ok, journal_mode(path)) == (7, True, mode)


@pytest.mark.parametrize("there", [True, False], ids=["empty", "missing"])
@MODES
def test_a_database_that_is_made_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, there: bool
) -> None:
    """Nothing was there to be saved; a service that makes its database before we have the lock keeps what it has made."""
    backup = copied(make(tmp_path / "old.db"), tmp_path / "copy.db")
    path, check = tmp_path / "app.db", bring_back._same_page_size
    if there:
        path.touch()

    def made(*given: Any, **more: Any) -> None:
        check(*given, **more)
        make(path, rows=7, mode=mode)

    monkeypatch.setattr(bring_back, "_same_page_size", made)
    with pytest.raises(DatabaseError) as caught:
        restore_into(backup, at(path), save=lambda: None)
    assert caught.value.code == "database-replaced"
    assert (count(path), verify_copy(path).ok, journal_mode(path)) == (7, True, mode)


def test_what_fails_behind_commit_is_not_told_as_if_nothing_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is in the database, and a lock that cannot be had keeps it from being looked at: that is what is told."""
    path = make(tmp_path / "app.db")
    backup = copied(path, tmp_path / "copy.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM a")
        connection.commit()

    def refused(_connection: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("locking protocol")
        error.sqlite_errorcode = sqlite3.SQLITE_PROTOCOL
        raise error

    monkeypatch.setattr(bring_back, "snapshot_of", refused)
    with pytest.raises(DatabaseError) as caught:
        restore_into(backup, at(path))
    assert (caught.value.code, count(path)) == ("commit-in-doubt", 100)


def test_another_page_size_is_refused(tmp_path: Path) -> None:
    """A WAL database cannot change its page size under open connections; nothing is tried."""
    path = make(tmp_path / "app.db", mode="wal")
    other = copied(make(tmp_path / "other.db", page_size=8192), tmp_path / "copy.db")
    with pytest.raises(BackupError) as caught:
        restore_into(other, at(path))
    assert caught.value.code == "backup-page-size"
    assert count(path) == 100


@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_or_empty_database_is_made_anew(tmp_path: Path, empty: bool) -> None:
    """Any page size fits there, folders are made, and a new file has the rights of the backup."""
    backup = copied(make(tmp_path / "app.db", page_size=8192), tmp_path / "copy.db")
    backup.chmod(0o640)
    path = tmp_path / "deep" / "new.db"
    if empty:
        path.parent.mkdir()
        path.touch()
    restore_into(backup, at(path))
    assert count(path) == 100
    assert empty or path.stat().st_mode & 0o777 == 0o640


def test_a_stale_wal_is_not_replayed_over_a_restore(tmp_path: Path) -> None:
    """A WAL that a killed process has left is recovered first, and then overwritten with the rest."""
    path = make(tmp_path / "app.db", mode="wal")
    backup = copied(path, tmp_path / "copy.db")
    code = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('DELETE FROM a'); c.commit();"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.with_name("app.db-wal").stat().st_size > 0
    restore_into(backup, at(path))
    assert count(path) == 100
