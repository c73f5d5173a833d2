"""What the dead leave in a folder of backups goes, and nothing of the living does."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from driftengine import ahead, api, backup
from driftengine.backup import Backup, create, folder_for, list_backups, verify
from driftengine.dialects.chosen import opened
from driftengine.stage import TEMPORARY, workspace
from small_database import make
from support.migrations import House

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine.dialects.sqlite.database_files import DatabaseFiles

NOW = datetime(2026, 1, 31, 12, 0, 0, 7000, UTC)
T = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT);"


@pytest.fixture
def database(tmp_path: Path) -> DatabaseFiles:
    return make(tmp_path / "service" / "app.db")


@pytest.fixture
def folder(tmp_path: Path, database: DatabaseFiles) -> Path:
    return folder_for(tmp_path / "backups", database.path)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A database that driftd knows, with one migration behind it."""
    house = House(tmp_path)
    house.run(T + "INSERT INTO t VALUES (1, 'a');")
    house.models(T.replace("a TEXT", "a TEXT, b TEXT"))
    assert house.apply()["outcome"] == "migrated"
    return house


def test_a_writer_that_lives_is_left_alone(database: DatabaseFiles, folder: Path) -> None:
    """While a backup is being made, another one may be made and the sweep takes nothing of the first."""
    inner: list[Backup] = []
    swept: list[str] = []

    def meanwhile(phase: str, done: int, total: int) -> None:
        assert phase == "backup"
        if not inner and done <= total:
            inner.append(create(database, folder, now=NOW))
            swept.extend(backup.sweep(folder))

    outer = create(database, folder, now=NOW, progress=meanwhile)
    assert swept == []
    assert [found.id for found in list_backups(folder)] == [outer.id, inner[0].id]
    assert verify(outer, database) == verify(inner[0], database) == ()


def test_a_manifest_that_was_to_replace_another(database: DatabaseFiles, folder: Path) -> None:
    """It goes when its writer is dead, and only then."""
    made = create(database, folder)
    new = made.manifest.with_name(f"{made.manifest.name}.new")
    new.touch()
    with new.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        backup.sweep(folder)
        assert new.exists()
    backup.sweep(folder)
    assert not new.exists()
    assert list_backups(folder) == (made,)


def unused(house: House, minutes: int) -> Backup:
    """A backup as one leaves it that is killed between it and COMMIT."""
    database = opened(f"sqlite:///{house.database}", str(house.folder))
    try:
        return create(
            database.files(),
            folder_for(house.folder / "backups", house.database),
            reason=backup.MIGRATION,
            migration_id=f"m_{minutes}",
            database_id="another",
            now=datetime.now(UTC) + timedelta(minutes=minutes),
        )
    finally:
        database.close()


def left(house: House) -> set[str]:
    return {one["id"] for one in api.backup_list(house.target())["backups"]}


def swept(house: House) -> tuple[str, ...]:
    database = opened(f"sqlite:///{house.database}", str(house.folder))
    try:
        return ahead.sweep_unused(database, house.target())
    finally:
        database.close()


def test_a_backup_of_a_migration_that_never_came_about(house: House) -> None:
    """It goes as soon as there is a newer one; that of a migration that happened stays, also where a restore took it back."""
    (migration,) = left(house)
    first, second = unused(house, 1), unused(house, 2)
    assert swept(house) == (first.id,)
    assert left(house) == {migration, second.id}
    api.backup_restore(house.target(), migration)
    assert house.stored("driftd_history") == ""
    assert migration not in swept(house)


def test_who_has_lost_the_journal_keeps_all(house: House) -> None:
    """Without it nobody knows what has happened."""
    unused(house, 1)
    unused(house, 2)
    for path in (house.folder / "backups").glob("*/journal.jsonl"):
        path.unlink()
    assert swept(house) == ()


def test_an_apply_whose_backup_was_taken_for_a_dead_ones(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It notices under the write lock, makes another one, and its migration has a backup that is there."""
    house.models(T.replace("a TEXT", "a TEXT, b TEXT, c TEXT"))
    real = ahead.staged
    gone: list[str] = []

    def meanwhile(*arguments: object, **named: object) -> object:
        stage = real(*arguments, **named)  # type: ignore[arg-type]
        if not gone:
            unused(house, 5)
            gone.extend(swept(house))
        return stage

    monkeypatch.setattr(ahead, "staged", meanwhile)
    document = house.apply()
    assert (document["outcome"], len(gone)) == ("migrated", 1)
    assert document["backup"]["id"] not in gone
    assert api.backup_verify(house.target(), document["backup"]["id"])["ok"]


def test_workspaces_among_the_files_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the temporary ones those of the dead go, the others stay: of the living, of other users, of another name."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"{TEMPORARY}dead").mkdir()
    (tmp_path / "rehearsal-of-a-play").mkdir()
    if os.geteuid() == 0:
        (tmp_path / f"{TEMPORARY}anothers").mkdir()
        os.chown(tmp_path / f"{TEMPORARY}anothers", 12345, 12345)
    with workspace(None) as first, workspace(None) as second:
        assert first.is_dir()
        kept = {first.name, second.name, "rehearsal-of-a-play"}
        found = {path.name for path in tmp_path.iterdir()} - {f"{TEMPORARY}anothers"}
        assert found == kept
    assert (tmp_path / f"{TEMPORARY}anothers").exists() is (os.geteuid() == 0)
