"""The last migration taken back as a whole: its own backup comes back, and nothing that was written since is lost unsaid."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api, backup, journal, restoring
from driftengine.backup_files import folder_for, journal_of
from driftengine.errors import BackupError, BusyError, HistoryError
from driftengine.restoring import altered_columns
from support.migrations import House

if TYPE_CHECKING:
    from pathlib import Path

TASKS = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT)"
STATED = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT, state TEXT DEFAULT 'open')"
ROWS = "INSERT INTO task (id, title) VALUES (1, 'a'), (2, 'b'), (3, 'c')"


@pytest.fixture(params=["wal", "delete"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> House:
    """A database with three rows, migrated once."""
    house = House(tmp_path, journal=request.param)
    house.run(f"{TASKS}; {ROWS}")
    house.models(STATED)
    assert house.apply()["outcome"] == "migrated"
    return house


def rolled_back(house: House, **options: Any) -> dict[str, Any]:
    return api.rollback_to_backup(house.target(), allowed_by="a test", **options)


def columns(house: House) -> list[str]:
    return [name for (name,) in house.ask("SELECT name FROM pragma_table_info('task')")]


def test_the_schema_before_the_migration_comes_back(house: House) -> None:
    """Columns, rows and history are those from before, and the answer names the migration and both backups."""
    before = house.ask("SELECT * FROM driftd_history")
    told = rolled_back(house)
    assert columns(house) == ["id", "title"]
    assert house.ask("SELECT id, title FROM task") == [(1, "a"), (2, "b"), (3, "c")]
    assert before
    assert not house.ask("SELECT name FROM sqlite_schema WHERE name = 'driftd_history'")
    assert told["migration"]["backup"]["id"] == told["restored"]["id"]
    assert told["safety_backup"]["reason"] == "restore"
    assert (told["rows_lost"], told["rows_back"], told["tables"]) == (0, 0, [])


def test_what_was_written_since_is_counted_and_kept(house: House) -> None:
    """A new row and a changed one are lost, a changed and a deleted one come back; the safety backup has all of it."""
    house.run(
        "INSERT INTO task (title) VALUES ('new'); UPDATE task SET title = 'A' WHERE id = 1; DELETE FROM task WHERE id = 2"
    )
    told = rolled_back(house)
    assert told["tables"] == [{"table": "task", "rows_now": 3, "rows_then": 3, "lost": 2, "back": 2}]
    assert (told["rows_lost"], told["rows_back"]) == (2, 2)
    with closing(sqlite3.connect(told["safety_backup"]["path"])) as safety:
        assert safety.execute("SELECT title FROM task ORDER BY id").fetchall() == [("A",), ("c",), ("new",)]


def test_a_dry_run_says_the_same_and_writes_nothing(house: House) -> None:
    """What would be lost is told from the live database, which stays as it is; no backup is made."""
    house.run("INSERT INTO task (title) VALUES ('new')")
    before, backups = house.everything(), house.backups()
    told = rolled_back(house, dry_run=True)
    assert (told["rows_lost"], told["safety_backup"], told["dry_run"]) == (1, None, True)
    assert (house.everything(), house.backups()) == (before, backups)


def test_what_the_migration_itself_wrote_is_no_loss(tmp_path: Path) -> None:
    """A column that the migration converted, and one that it made, do not make each row a lost one."""
    house = House(tmp_path)
    house.run("CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT, size TEXT)")
    house.run("INSERT INTO task VALUES (1, 'a', '1'), (2, 'b', '2')")
    house.models(
        "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT, size INTEGER, state TEXT DEFAULT 'open')"
    )
    assert house.apply()["outcome"] == "migrated"
    house.run("UPDATE task SET size = 3, state = 'shut'; INSERT INTO task (title) VALUES ('c')")
    assert rolled_back(house)["rows_lost"] == 1


def test_equal_rows_of_a_table_without_a_key_are_counted(tmp_path: Path) -> None:
    """A row that was written twice is lost once more than its values tell."""
    house = House(tmp_path)
    house.run("CREATE TABLE event (what TEXT); INSERT INTO event VALUES ('x')")
    house.models("CREATE TABLE event (what TEXT, who TEXT)")
    assert house.apply()["outcome"] == "migrated"
    house.run("INSERT INTO event (what) VALUES ('x'), ('x')")
    assert rolled_back(house)["rows_lost"] == 2


def test_all_rows_of_a_table_that_the_migration_made_are_lost(house: House) -> None:
    """A table that was not there before goes with every row that was written into it."""
    house.models(f"{STATED}; CREATE TABLE note (id INTEGER PRIMARY KEY)")
    assert house.apply()["outcome"] == "migrated"
    house.run("INSERT INTO note VALUES (1), (2)")
    told = rolled_back(house)
    assert told["tables"] == [{"table": "note", "rows_now": 2, "rows_then": None, "lost": 2, "back": 0}]


def test_a_column_that_only_the_application_can_compute_hinders_nobody(tmp_path: Path) -> None:
    """A generated column is no part of what was written, so its function is not needed."""
    house = House(tmp_path)
    house.run(f"{TASKS}; CREATE TABLE odd (id INTEGER PRIMARY KEY, v TEXT, ok AS (app_function(v)))")
    house.models(STATED)
    assert house.apply()["outcome"] == "migrated"
    house.run("INSERT INTO odd (v) VALUES ('x')")
    assert rolled_back(house)["tables"] == [
        {"table": "odd", "rows_now": 1, "rows_then": 0, "lost": 1, "back": 0}
    ]


def test_what_could_not_be_counted_in_time_is_not_guessed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restore stands; the sums are unknown, and the tables are named."""
    monkeypatch.setattr(restoring, "COMPARING_S", -1.0)
    told = rolled_back(house)
    assert columns(house) == ["id", "title"]
    assert (told["rows_lost"], told["rows_back"]) == (None, None)
    assert told["warnings"] == ["the rows written since could not be counted in task"]


def test_the_journal_says_who_restored_what(house: House) -> None:
    """The journal beside the backups outlives the restore: it keeps the migration, and names who took it back."""
    done = rolled_back(house)
    folder = folder_for(house.folder / "backups", house.database)
    records = journal.read(journal_of(folder)).records
    assert [record.event for record in records][-2:] == ["restoring", "restored"]
    last = records[-1].detail
    assert last["allowed_by"] == "a test"
    assert last["migration_id"] == done["migration"]["migration_id"]
    assert last["safety_backup"] == done["safety_backup"]["id"]
    assert api.history_verify(house.target())["ok"]


def test_migrations_go_back_one_at_a_time(house: House) -> None:
    """A second call takes the migration before back, and a third has nothing left to do."""
    house.models(f"{STATED}; CREATE TABLE note (id INTEGER PRIMARY KEY)")
    assert house.apply()["outcome"] == "migrated"
    rolled_back(house)
    assert columns(house) == ["id", "title", "state"]
    rolled_back(house)
    assert columns(house) == ["id", "title"]
    with pytest.raises(HistoryError) as caught:
        rolled_back(house)
    assert caught.value.code == "nothing-to-roll-back"


def test_what_was_rolled_back_waits_for_a_person(house: House) -> None:
    """The models still want what was taken back; done again by itself, it would come and go for ever."""
    rolled_back(house)
    before = columns(house)
    for _ in range(2):
        document = house.apply()
        assert document["outcome"] == "held"
        assert [one["code"] for one in document["held"]] == ["rolled-back"]
        assert columns(house) == before
    assert house.apply("rolled-back")["outcome"] == "migrated"
    assert columns(house) == ["id", "title", "state"]


def test_other_models_end_the_memory_of_a_rollback(house: House) -> None:
    """What the models want otherwise than what was rolled back goes ahead."""
    rolled_back(house)
    house.models(STATED.replace("state", "status"))
    assert house.apply()["outcome"] == "migrated"
    assert columns(house) == ["id", "title", "status"]


@pytest.mark.parametrize("present", [True, False])
def test_without_a_migration_nothing_is_rolled_back(tmp_path: Path, present: bool) -> None:
    """A database that driftd never migrated, or that is missing, is refused untouched."""
    house = House(tmp_path)
    house.models(STATED)
    if present:
        house.run(TASKS)
    with pytest.raises(HistoryError) as caught:
        rolled_back(house)
    assert caught.value.code == "nothing-to-roll-back"
    assert house.database.exists() is present


def test_a_migration_without_a_backup_is_refused(tmp_path: Path) -> None:
    """A database that the migration has made had nothing to back up."""
    house = House(tmp_path)
    house.models(STATED)
    assert house.apply()["outcome"] == "migrated"
    with pytest.raises(BackupError) as caught:
        rolled_back(house)
    assert caught.value.code == "migration-without-backup"


def test_a_backup_that_is_gone_is_refused(house: House) -> None:
    """Somebody has removed it: the database is left as it is, and the error names what is there."""
    for path in house.backups():
        path.unlink()
        path.with_suffix(".json").unlink()
    before = house.everything()
    with pytest.raises(BackupError) as caught:
        rolled_back(house)
    assert caught.value.code == "backup-unknown"
    assert house.everything() == before


def test_a_backup_that_the_history_does_not_mean_is_refused(house: House) -> None:
    """Another copy under the backup's name is not taken for it, though it is whole and fits its manifest."""
    house.run("INSERT INTO task (title) VALUES ('new')")
    folder = folder_for(house.folder / "backups", house.database)
    (own,) = backup.list_backups(folder)
    other = api.backup_create(house.target())["backup"]
    manifest = own.path.with_suffix(".json")
    other_path = folder / f"{other['id']}.db"
    own.path.write_bytes(other_path.read_bytes())
    text = backup.manifest_text(backup.find(folder, other["id"]))
    manifest.write_text(text, encoding="utf-8")
    with pytest.raises(BackupError) as caught:
        rolled_back(house)
    assert caught.value.code in {"backup-not-verified", "backup-manifest"}
    assert house.ask("SELECT count(*) FROM task") == [(4,)]


def test_a_writer_that_does_not_end_leaves_everything_as_it_was(house: House) -> None:
    """Within the window's time no lock was free: nothing is restored, and the database is whole."""
    with closing(sqlite3.connect(house.database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO task (title) VALUES ('open')")
        with pytest.raises(BusyError):
            api.rollback_to_backup(house.target(window_timeout=0.3))
        writer.execute("COMMIT")
    assert house.ask("SELECT count(*), max(state) FROM task") == [(4, "open")]


def test_only_what_was_applied_counts_as_altered() -> None:
    """An operation that waited has written nothing."""
    operations = [
        {"table": "a", "name": "x"},
        {"table": "a", "name": "y"},
        {"table": None, "name": "view"},
        {"table": "a", "name": "z"},
    ]
    assert altered_columns({"operations": operations}, frozenset({1, 3, 4})) == {"a": {"x", "z"}}
