"""A file that somebody copies over the database while the daemon is connected to it, which SQLite does not tell of."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from support.migrations import House
from support.sidecars import WIDER, columns, execute, house, make, running
from support.stages import session_of, staged

if TYPE_CHECKING:
    from pathlib import Path

ROWS = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y');"
TIGHTER = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL);"


def copied_over(other: Path, database: Path) -> None:
    """$ cp other database: the same inode, and other bytes."""
    database.write_bytes(other.read_bytes())


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("rests", [False, True])
def test_a_copy_of_the_same_age_ends_an_exact_stage(tmp_path: Path, journal: str, *, rests: bool) -> None:
    """Both had one commit since they were one file, so their counters agree: NOT NULL is not put over a NULL."""
    one = House(tmp_path, journal=journal)
    one.run(ROWS)
    other = tmp_path / "other.db"
    shutil.copyfile(one.database, other)
    one.run("UPDATE t SET a = 'z' WHERE id = 2")
    execute(other, "UPDATE t SET a = NULL WHERE id = 1")
    one.models(TIGHTER)
    with session_of(one) as session:
        assert staged(session)["stage"]["freshness"] == "exact"
        if rests:
            session.rest()
        copied_over(other, one.database)
        stage = session.stage_document()
        assert stage is not None
        assert stage["freshness"] == "stale"
        assert session.apply(allowed_by="a test")["outcome"] == "held"
    assert one.ask("SELECT * FROM t") == [(1, None), (2, "y")]
    assert one.ask("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_an_old_backup_that_is_copied_back_is_seen(tmp_path: Path, journal: str) -> None:
    """$ cp app.db backup.db; the service adds the column; $ cp backup.db app.db: the column is missing, and staged."""
    database = tmp_path / "app.db"
    make(database, journal=journal)
    shutil.copyfile(database, tmp_path / "backup.db")
    execute(database, "ALTER TABLE task ADD COLUMN state TEXT DEFAULT 'open'")
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("in_sync")
        copied_over(tmp_path / "backup.db", database)
        assert columns(database) == ["id", "title"]
        assert sidecar.state("ready")["stage"]["freshness"] == "exact"


def test_a_checkpoint_is_no_news(tmp_path: Path) -> None:
    """Somebody moves the log into the file: the same rows and schema as before, so the same plan stays ready."""
    one = House(tmp_path)
    one.run(ROWS)
    one.models(TIGHTER)
    with session_of(one) as session:
        staged(session)
        execute(one.database, "INSERT INTO t VALUES (3, 'z')")
        before = session.look()["plan_id"]
        execute(one.database, "PRAGMA wal_checkpoint(TRUNCATE)")
        assert session.look()["plan_id"] == before
        assert session.apply(allowed_by="a test")["outcome"] == "migrated"
    assert one.ask("SELECT count(*) FROM t") == [(3,)]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_time_in_the_future_is_a_time_like_any_other(tmp_path: Path, journal: str) -> None:
    """$ touch -d 2096-10-02 app.db: a stage stays exact through a rest, and a commit is seen all the same."""
    one = House(tmp_path, journal=journal)
    one.run(ROWS)
    one.models(TIGHTER)
    os.utime(one.database, (4e9, 4e9))
    with session_of(one) as session:
        staged(session)
        session.rest()
        for _ in range(3):
            glance, stage = session.glance(), session.stage_document()
            assert (glance.kind, glance.open) == ("same", False)
            assert stage is not None
            assert stage["freshness"] == "exact"
        execute(one.database, "UPDATE t SET a = NULL WHERE id = 1")
        assert session.apply(allowed_by="a test")["outcome"] == "held"
    assert one.ask("SELECT * FROM t") == [(1, None), (2, "y")]
