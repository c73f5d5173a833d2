"""The orchestrator's own calls: every field that it reads, every outcome, and never an exception."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import logging
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from driftd import (
    AutoMigrationSystem,
    BackupInfo,
    MigrationResult,
    auto_migration,
    execute_startup_migration,
    lock_file,
)
from driftd.auto_migration_result import masked
from probe_project import BASE
from support.service_folders import service_folder, write_models
from support.sidecars import MODELS, NARROWER, WIDER, columns, execute, house, running

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "sqlite:///app.db"


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


# --- the start


def test_a_migration_fills_every_field(folder: Path) -> None:
    """A column was missing: it is added after a backup, and the result says all of it in the old words."""
    result = execute_startup_migration(URL, str(folder / "kept"))
    assert isinstance(result, MigrationResult)
    assert (result.success, result.migration_needed, result.operations_executed) == (True, True, 1)
    assert result.backup_created
    assert result.error_message is None
    assert result.warnings == []
    assert (type(result.execution_time_ms), type(result.migration_ids[0])) == (int, str)
    backup = result.backup_info
    assert isinstance(backup, BackupInfo)
    assert backup.original_path == str(folder / "app.db")
    assert Path(backup.backup_path).stat().st_size == backup.size_bytes
    assert Path(backup.backup_path).is_relative_to(folder / "kept")
    assert len(backup.checksum) == 64
    assert backup.migration_batch_id == result.migration_ids[0]
    assert (datetime.now(UTC) - backup.created_at).total_seconds() < 3600
    assert BackupInfo.from_dict(json.loads(json.dumps(backup.to_dict()))) == backup
    assert columns(folder / "app.db") == ["id", "title", "state"]


def test_the_second_start_does_nothing(folder: Path) -> None:
    """In step: no backup, no operation, success."""
    execute_startup_migration(URL, folder / "kept")
    result = execute_startup_migration(URL, folder / "kept")
    wanted = MigrationResult(success=True, execution_time_ms=result.execution_time_ms)
    assert result == wanted
    assert len(list((folder / "kept").glob("*/*.db"))) == 1


def test_the_log_says_what_happened(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At INFO, in the words that the orchestrator's own log has."""
    caplog.set_level(logging.INFO, "driftd.auto_migration")
    first = execute_startup_migration(URL)
    execute_startup_migration(URL)
    assert first.backup_info is not None
    assert [
        (one.levelname, one.message) for one in caplog.records if one.name == "driftd.auto_migration"
    ] == [
        ("INFO", "Checking database schema: sqlite:///app.db"),
        ("INFO", f"Database migration completed: 1 operations in {first.execution_time_ms}ms"),
        ("INFO", f"Backup created: {first.backup_info.backup_id}"),
        ("INFO", "Checking database schema: sqlite:///app.db"),
        ("INFO", "Database schema is up to date"),
    ]


def test_what_is_left_undone_is_logged_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Why nothing came of it is a warning that names the operation, and no other record says the same."""
    caplog.set_level(logging.INFO, "driftd.auto_migration")
    (folder / "models.sql").write_text(MODELS.replace("title TEXT", "title TEXT NOT NULL"), encoding="utf-8")
    execute(folder / "app.db", "INSERT INTO task (id, title) VALUES (2, NULL)")
    result = execute_startup_migration(URL)
    told = [(one.levelname, one.message) for one in caplog.records if one.name == "driftd.auto_migration"]
    assert told[1:] == [("WARNING", f"Database schema was not brought up to date: {result.error_message}")]
    assert len(result.warnings) == 1


def test_the_defaults_are_those_that_the_callers_know() -> None:
    """A result that only says success; its lists are its own."""
    expected = {
        "success": False,
        "migration_needed": False,
        "operations_executed": 0,
        "execution_time_ms": 0,
        "backup_created": False,
        "backup_info": None,
        "error_message": None,
        "migration_ids": [],
        "warnings": [],
    }
    assert dataclasses.asdict(MigrationResult(success=False)) == expected
    assert MigrationResult(success=True).warnings is not MigrationResult(success=True).warnings


def test_the_orchestrators_own_models_come_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configured target, then DRIFTD_MODELS, then `mcp_task_orchestrator.db.models:Base` of this interpreter."""
    monkeypatch.delenv("DRIFTD_MODELS")
    package = folder / "mcp_task_orchestrator" / "db"
    package.mkdir(parents=True)
    for one in (package.parent, package):
        (one / "__init__.py").touch()
    (package / "models.py").write_text(BASE + "    title = Column(String)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    result = execute_startup_migration("sqlite:///new.db")
    assert (result.success, result.operations_executed, result.error_message) == (True, 1, None)
    house(folder, models=WIDER)
    result = execute_startup_migration(URL)
    assert (result.success, result.operations_executed) == (True, 1)
    assert columns(folder / "app.db") == ["id", "title", "state"]


def test_a_daemon_may_answer(folder: Path) -> None:
    """With a daemon its own settings count, and the result says that the folder given here did not."""
    with running(house(folder, models=WIDER)) as sidecar:
        sidecar.state("ready")
        result = execute_startup_migration(URL, folder / "kept")
    assert (result.success, result.operations_executed) == (True, 1)
    assert any("its own configuration" in one for one in result.warnings)
    assert not (folder / "kept").exists()


# --- success, and what is none


def test_a_column_that_only_waits_to_go_is_no_failure(folder: Path) -> None:
    """The models need nothing; the warning says what waits and what to type."""
    write_models(folder, NARROWER)
    result = execute_startup_migration(URL)
    assert (result.success, result.migration_needed, result.operations_executed) == (True, False, 0)
    assert "drop column task.title waits" in result.warnings[0]
    assert "driftd apply --approve" in result.warnings[0]
    assert columns(folder / "app.db") == ["id", "title"]


def test_what_is_added_counts_though_something_waits_to_go(folder: Path) -> None:
    """A new column is there, the old one waits: success, with a warning."""
    write_models(folder, NARROWER.replace(")", ", state TEXT)"))
    result = execute_startup_migration(URL)
    assert (result.success, result.migration_needed, result.operations_executed) == (True, True, 1)
    assert len(result.warnings) == 1


def test_a_column_without_a_value_for_old_rows_is_a_failure(folder: Path) -> None:
    """The models need it, and only a person can say what old rows get."""
    write_models(folder, MODELS.replace("title TEXT", "title TEXT, owner TEXT NOT NULL"))
    result = execute_startup_migration(URL)
    assert (result.success, result.migration_needed, result.operations_executed) == (False, True, 0)
    assert result.error_message is not None
    assert "add column task.owner waits" in result.error_message
    assert "backfill" in result.error_message


def test_rows_that_stand_in_the_way_are_a_failure(folder: Path) -> None:
    """A guard found rows: nothing is lost, and the result says which operation is blocked."""
    write_models(folder, MODELS.replace("title TEXT", "title TEXT CHECK (title IS NOT NULL)"))
    result = execute_startup_migration(URL)
    assert (result.success, result.migration_needed) == (False, True)
    assert result.error_message is not None
    assert "is blocked" in result.error_message


def test_models_that_do_not_load_are_a_failure(folder: Path) -> None:
    """The old schema is intact, and the message names the file and the line."""
    write_models(folder, "CREATE TABEL task")
    result = execute_startup_migration(URL)
    assert (result.success, result.migration_needed) == (False, False)
    assert result.error_message is not None
    assert "models.sql" in result.error_message
    assert columns(folder / "app.db") == ["id", "title"]


def test_a_mode_that_never_writes_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In mode observe nothing is migrated, which is no success while the models want more."""
    monkeypatch.setenv("DRIFTD_MODE", "observe")
    result = execute_startup_migration(URL)
    assert not result.success
    assert result.error_message is not None
    assert "observe" in result.error_message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "sqlite://",
        "sqlite:///.",
        "sqlite:////dev/null/app.db",
        "postgresql://user:secret@host/db",
        None,
        5,
        b"sqlite:///app.db",
    ],
)
def test_it_never_raises(folder: Path, url: Any) -> None:
    """Whatever stands for a URL: a result that failed, with a reason."""
    result = execute_startup_migration(url)
    assert not result.success
    assert result.error_message
    assert "secret" not in result.error_message


@pytest.mark.parametrize("backup", [5, "/dev/null/backups"])
def test_a_backup_folder_that_cannot_be_is_a_failure(folder: Path, backup: Any) -> None:
    """No migration without its backup."""
    result = execute_startup_migration(URL, backup)
    assert not result.success
    assert result.error_message
    assert columns(folder / "app.db") == ["id", "title"]


def test_a_database_that_is_none_is_left_alone(folder: Path) -> None:
    """Garbage is refused untouched."""
    (folder / "app.db").write_bytes(b"this is no database, and never was one" * 100)
    before = (folder / "app.db").read_bytes()
    result = execute_startup_migration(URL)
    assert not result.success
    assert result.error_message
    assert (folder / "app.db").read_bytes() == before


def test_a_bug_is_told_with_its_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody foresaw is logged, and is a failure like any other, for every call."""

    def fault(*_given: object, **_named: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(auto_migration, "result_of", fault)
    monkeypatch.setattr(auto_migration, "placed", fault)
    system = AutoMigrationSystem(URL)
    assert execute_startup_migration(URL).error_message == "ZeroDivisionError: a fault"
    assert system.check_migration_status()["error"] == "ZeroDivisionError: a fault"
    assert system.get_system_health()["overall_health"] == "UNKNOWN"
    assert system.rollback_last_migration()["error_message"] == "ZeroDivisionError: a fault"
    assert caplog.text.count("Traceback") == 4


def test_several_threads_at_once(folder: Path) -> None:
    """One migrates, the others find the work done; nobody fails."""
    results: list[MigrationResult] = []
    threads = [
        threading.Thread(target=lambda: results.append(execute_startup_migration(URL))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [one.success for one in results] == [True] * 3
    assert sorted(one.operations_executed for one in results) == [0, 0, 1]


# --- the system's settings


def test_unknown_settings_are_refused(system: AutoMigrationSystem) -> None:
    """A misspelt setting is a bug of the caller; what is not given stays as it was."""
    with pytest.raises(TypeError):
        system.configure(dry_run=True)
    with pytest.raises(ValueError, match="at least 1"):
        system.configure(max_execution_time_ms=0)
    system.configure(max_execution_time_ms=5000)
    assert (system.auto_backup, system.max_execution_time_ms, system.dry_run_mode) == (True, 5000, False)


def test_a_dry_run_writes_nothing(folder: Path, system: AutoMigrationSystem) -> None:
    """It says how many operations there would be."""
    before = (folder / "app.db").read_bytes()
    system.configure(dry_run_mode=True)
    result = system.execute_auto_migration()
    assert (result.success, result.migration_needed, result.operations_executed) == (True, True, 1)
    assert (result.backup_created, result.migration_ids) == (False, [])
    assert result.warnings == ["dry run: nothing was executed"]
    assert (folder / "app.db").read_bytes() == before
    assert not (folder / "kept").exists()


@pytest.mark.parametrize(
    ("auto", "force", "made"),
    [(True, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
def test_who_decides_about_the_backup(
    system: AutoMigrationSystem, auto: bool, force: bool | None, made: bool
) -> None:
    """`force_backup` counts more than `auto_backup`."""
    system.configure(auto_backup=auto)
    result = system.execute_auto_migration(force_backup=force)
    assert (result.success, result.backup_created) == (True, made)
    assert (result.backup_info is not None) is made


def test_a_migration_keeps_to_its_time(folder: Path, system: AutoMigrationSystem) -> None:
    """Another service has its window open: at the end of the time the caller goes on, with the reason."""
    system.configure(max_execution_time_ms=200)
    descriptor = os.open(folder / f"app.db{lock_file.STARTUP}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        result = system.execute_auto_migration()
    finally:
        os.close(descriptor)
    assert not result.success
    assert result.error_message is not None
    assert "others were starting" in result.error_message


# --- passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:p@ss:w/rd@host/db", "postgresql://user:***@host/db"),
        ("x://u:pw@h/d?password=abc&a=1", "x://u:***@h/d?password=***&a=1"),
        ("'odd-url://u:pw@h' names no database", "'odd-url://u:***@h' names no database"),
        ("sqlite:///a/b@c.db", "sqlite:///a/b@c.db"),
    ],
)
def test_passwords_are_masked(text: str, shown: str) -> None:
    """In URLs, wherever they stand in a text."""
    assert masked(text) == shown


def test_no_password_reaches_the_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the first line nor in the reason."""
    caplog.set_level(logging.DEBUG)
    for url in ("mysql://u:secret@h/db", "odd-url://u:secret@h/db", "sqlite+x://u:secret@h/db"):
        execute_startup_migration(url)
    assert "secret" not in caplog.text
    assert "u:***@h" in caplog.text
