"""How the orchestrator's code looks after its database: status, health, and taking the last migration back."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from driftd import AutoMigrationSystem, lock_file
from support.service_folders import service_folder, write_models
from support.sidecars import MODELS, NARROWER, WIDER, columns, execute, house, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = "sqlite:///app.db"
STATUS = {
    "migration_needed": bool,
    "schema_differences": dict,
    "migration_complexity": str,
    "estimated_downtime_seconds": float,
    "safety_warnings": list,
    "recent_migrations_count": int,
    "failed_migrations_24h": int,
    "backup_statistics": dict,
    "check_time_ms": int,
    "last_check": str,
}
HEALTH = {
    "overall_health": str,
    "health_score": int,
    "migration_statistics": dict,
    "backup_statistics": dict,
    "recent_failures": int,
    "recommendations": list,
    "last_health_check": str,
}
ROLLBACK = {
    "success",
    "migration_id",
    "migration_name",
    "execution_time_ms",
    "backup_restored",
    "error_message",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the service works; a database that nobody has configured has the models of `models.sql`."""
    with service_folder(tmp_path, monkeypatch) as made:
        monkeypatch.setenv("DRIFTD_MODELS", "models.sql")
        yield made


@pytest.fixture
def system(folder: Path) -> AutoMigrationSystem:
    """The system of that database."""
    return AutoMigrationSystem(URL, folder / "kept")


def fields(document: dict[str, Any], expected: dict[str, type]) -> None:
    """Every documented key, with a value of its type."""
    assert {name: type(document[name]) for name in expected} == expected


# --- status


def test_the_status_before_and_after(folder: Path, system: AutoMigrationSystem) -> None:
    """Every key with its type; what is missing before is done afterwards."""
    write_models(folder, f"{WIDER} CREATE TABLE note (id INTEGER PRIMARY KEY);")
    execute(folder / "app.db", "CREATE TABLE migration_history (id INTEGER)")
    before = system.check_migration_status()
    fields(before, STATUS)
    assert before["migration_needed"]
    assert before["schema_differences"] == {
        "missing_tables": ["note"],
        "extra_tables": ["migration_history"],
        "table_differences_count": 1,
    }
    assert (before["migration_complexity"], before["estimated_downtime_seconds"]) == ("SIMPLE", 0.0)
    system.execute_auto_migration()
    after = system.check_migration_status()
    fields(after, STATUS)
    assert not after["migration_needed"]
    assert after["schema_differences"]["missing_tables"] == []
    assert after["recent_migrations_count"] == 1
    assert after["backup_statistics"]["total_backups"] == 1
    assert "error" not in after
    json.dumps(after)


def test_complexity_says_who_and_what_is_needed(folder: Path, system: AutoMigrationSystem) -> None:
    """A guard over the rows is MODERATE, a person COMPLEX, with a warning that names the operation."""
    write_models(folder, MODELS.replace("title TEXT", "title TEXT CHECK (id > 0)"))
    assert system.check_migration_status()["migration_complexity"] == "MODERATE"
    write_models(folder, NARROWER)
    status = system.check_migration_status()
    assert status["migration_complexity"] == "COMPLEX"
    assert "drop column task.title" in status["safety_warnings"][0]
    assert not status["migration_needed"]  # a removal waits, and the models need nothing


def test_how_long_a_copy_takes_is_measured_or_unknown(folder: Path) -> None:
    """Without a rehearsal nothing is guessed; a daemon has made one, and its time is told."""
    rebuilt = WIDER.replace("id INTEGER PRIMARY KEY", "id INTEGER PRIMARY KEY AUTOINCREMENT")
    write_models(folder, rebuilt)
    assert AutoMigrationSystem(URL).check_migration_status()["estimated_downtime_seconds"] is None
    with running(house(folder, models=rebuilt)) as sidecar:
        entry = sidecar.state("ready")
        found = AutoMigrationSystem(URL).check_migration_status()
        assert found["estimated_downtime_seconds"] == round(entry["stage"]["apply_ms"] / 1000, 3)


@pytest.mark.parametrize("url", ["nonsense", "postgresql://u:secret@h/db", None])
def test_a_status_that_fails_has_the_same_keys(folder: Path, url: Any) -> None:
    """`error` says why, and nothing is raised."""
    status = AutoMigrationSystem(url).check_migration_status()
    assert status.keys() == {*STATUS, "error"}
    assert status["error"]
    assert "secret" not in json.dumps(status)
    assert status["migration_needed"] is False


# --- health


def test_a_healthy_system(folder: Path, system: AutoMigrationSystem) -> None:
    """Migrated, backed up, in step: nothing to do."""
    system.execute_auto_migration()
    health = system.get_system_health()
    fields(health, HEALTH)
    assert (health["overall_health"], health["health_score"]) == ("HEALTHY", 100)
    statistics = health["migration_statistics"]
    assert statistics["total_migrations"] == statistics["status_counts"]["completed"] == 1
    assert statistics["success_rate"] == 100.0
    assert statistics["average_execution_time_ms"] > 0
    json.dumps(health)


def test_a_database_that_nobody_migrated_is_healthy(system: AutoMigrationSystem) -> None:
    """No migrations are no failures."""
    health = system.get_system_health()
    assert (health["overall_health"], health["migration_statistics"]["success_rate"]) == ("HEALTHY", 100.0)


def test_what_waits_for_a_person_is_a_warning(folder: Path, system: AutoMigrationSystem) -> None:
    """The recommendation names it, with the command."""
    write_models(folder, MODELS.replace("title TEXT", "title TEXT, owner TEXT NOT NULL"))
    health = system.get_system_health()
    assert health["overall_health"] == "WARNING"
    assert "add column task.owner" in health["recommendations"][0]


def test_models_that_do_not_load_are_a_warning(folder: Path, system: AutoMigrationSystem) -> None:
    """The database itself is as it was."""
    write_models(folder, "CREATE TABEL task")
    health = system.get_system_health()
    assert (health["overall_health"], health["health_score"]) == ("WARNING", 70)


def test_a_history_that_was_altered_is_critical(folder: Path, system: AutoMigrationSystem) -> None:
    """Somebody has changed a row of it."""
    system.execute_auto_migration()
    execute(folder / "app.db", "UPDATE driftd_history SET at = '2020-01-01T00:00:00.000Z'")
    health = system.get_system_health()
    assert health["overall_health"] == "CRITICAL"
    assert "history" in health["recommendations"][0]


def test_a_lost_backup_is_a_warning(folder: Path, system: AutoMigrationSystem) -> None:
    """The last migration could not be rolled back."""
    system.execute_auto_migration()
    for path in (folder / "kept").glob("*/backup_*"):
        path.unlink()
    health = system.get_system_health()
    assert health["overall_health"] == "WARNING"
    assert "is gone" in health["recommendations"][0]


@pytest.mark.parametrize(("content", "state"), [(b"no database at all" * 100, "CRITICAL"), (None, "UNKNOWN")])
def test_what_cannot_be_looked_at(folder: Path, content: bytes | None, state: str) -> None:
    """A broken database is CRITICAL; one that cannot be named is UNKNOWN."""
    if content is not None:
        (folder / "app.db").write_bytes(content)
    health = AutoMigrationSystem(URL if content else "nonsense").get_system_health()
    assert health.keys() == {*HEALTH, "error"}
    assert (health["overall_health"], health["health_score"]) == (state, 0)


# --- rolling back


def test_the_last_migration_is_rolled_back(folder: Path, system: AutoMigrationSystem) -> None:
    """Its backup is restored; how many rows that costs is said, and they are in the safety backup."""
    done = system.execute_auto_migration()
    execute(folder / "app.db", "INSERT INTO task (title, state) VALUES ('late', 'open')")
    told = system.rollback_last_migration()
    assert told.keys() >= ROLLBACK
    assert (told["success"], told["backup_restored"], told["error_message"]) == (True, True, None)
    assert told["migration_id"] == done.migration_ids[0]
    assert (type(told["migration_name"]), type(told["execution_time_ms"])) == (str, int)
    assert told["rows_lost"] == 1
    assert "it waits until they change" in told["warnings"][0]
    assert columns(folder / "app.db") == ["id", "title"]
    (safety,) = (folder / "kept").glob(f"*/{told['safety_backup']}.db")
    with closing(sqlite3.connect(safety)) as connection:
        assert connection.execute("SELECT count(*) FROM task").fetchone() == (2,)
    statistics = system.get_system_health()["migration_statistics"]
    assert statistics["status_counts"]["rolled_back"] == 1
    again = system.execute_auto_migration()
    assert (again.success, again.operations_executed) == (False, 0)
    assert "was rolled back" in again.warnings[0]
    assert "driftd apply --approve " in again.warnings[0]


def test_operations_are_undone_with_later_rows_kept(folder: Path, system: AutoMigrationSystem) -> None:
    """Without the backup as a whole: the column goes, the row written since stays, and the next start does not redo it."""
    done = system.execute_auto_migration()
    execute(folder / "app.db", "INSERT INTO task (title) VALUES ('late')")
    told = system.rollback_last_migration(use_backup=False)
    assert told.keys() >= ROLLBACK
    assert (told["success"], told["backup_restored"], told["error_message"]) == (True, False, None)
    assert (told["migration_id"], told["migration_name"]) == (done.migration_ids[0], "operations 1")
    assert told["rows_lost"] == 0
    assert list((folder / "kept").glob(f"*/{told['safety_backup']}.db"))
    assert columns(folder / "app.db") == ["id", "title"]
    with closing(sqlite3.connect(folder / "app.db")) as connection:
        assert ("late",) in connection.execute("SELECT title FROM task").fetchall()
    assert system.execute_auto_migration().operations_executed == 0


def test_what_would_be_lost_by_undoing_is_held(folder: Path, system: AutoMigrationSystem) -> None:
    """A value that somebody wrote into the new column: nothing is done, and the message has the command that approves it."""
    system.execute_auto_migration()
    execute(folder / "app.db", "UPDATE task SET state = 'mine'")
    told = system.rollback_last_migration(use_backup=False)
    assert (told["success"], told["backup_restored"], told["rows_lost"]) == (False, False, 0)
    assert told["error"] == told["error_message"]
    assert "drop column task.state waits" in told["error_message"]
    assert "driftd rollback m_" in told["error_message"]
    assert columns(folder / "app.db") == ["id", "title", "state"]


def test_without_a_migration_there_is_nothing_to_roll_back(system: AutoMigrationSystem) -> None:
    """The reason stands in the message."""
    told = system.rollback_last_migration()
    assert not told["success"]
    assert "no migration" in told["error_message"]


def test_nothing_is_rolled_back_under_a_starting_service(folder: Path, system: AutoMigrationSystem) -> None:
    """While a window is open its service decides what happens to the schema."""
    system.execute_auto_migration()
    descriptor = os.open(folder / f"app.db{lock_file.STARTUP}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        told = system.rollback_last_migration()
    finally:
        os.close(descriptor)
    assert not told["success"]
    assert "a service is starting" in told["error_message"]
    assert columns(folder / "app.db") == ["id", "title", "state"]
