"""Published releases of mcp-task-orchestrator: each older database becomes what 1.8.0's models describe."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from real import emergency, outcomes, reading
from real.commands import SCRIPTS, TIMEOUT, in_release
from real.packages import release

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from real.commands import Case

    Build = Callable[[str, str], Case]

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

NEWEST = "mcp-task-orchestrator-1.8.0"
OLDER = ("mcp-task-orchestrator-1.5.1", "mcp-task-orchestrator-1.7.0")
SERVER_INDEXES = {"idx_subtasks_task_id", "idx_subtasks_parent_task_id"}


def tasks(python: Path, database: Path, *more: str) -> dict[str, Any]:
    """What the release's own persistence code reads from a copy of the database."""
    read = reading.copied(database, database.with_name("read") / "copy.db")
    try:
        found: dict[str, Any] = json.loads(in_release(python, "orchestrator_read.py", read, *more))
    finally:
        read.unlink()
    return found


def change(database: Path, statement: str, *values: str) -> None:
    """Write to the database as anybody may."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(statement, values)


def assert_migrates_whole(case: Case, described: Path) -> None:
    """One apply ends with the schema that 1.8.0 describes and all rows; a second one has nothing to do."""
    before = reading.content(case.database)
    mode = reading.journal_mode(case.database)
    answer = case.run("apply")
    assert (answer.exit, answer.document["outcome"]) == (0, "migrated"), answer.document
    assert (answer.document["held"], answer.document["blocked"]) == ([], [])
    outcomes.assert_follows(case.database, described)
    outcomes.assert_rows_kept(case.database, before)
    outcomes.assert_only_own_tables_are_new(case.database, described, before)
    outcomes.assert_backed_up(answer, case, before)
    assert reading.problems(case.database) == []
    assert reading.journal_mode(case.database) == mode
    outcomes.assert_nothing_more_to_do(case)
    check = case.run("check")
    assert (check.exit, check.document["in_sync"], check.document["differences"]) == (0, True, [])


@pytest.mark.parametrize("older", OLDER)
def test_an_older_release_becomes_the_newest(
    older: str, case: Build, described: Callable[[str], Path]
) -> None:
    """A database of 1.5.1 or 1.7.0 has every table, column and key of 1.8.0 after one apply, and all its rows."""
    service = case(older, NEWEST)
    assert_migrates_whole(service, described(NEWEST))


@pytest.mark.parametrize("older", OLDER)
def test_the_newest_release_reads_every_older_task(
    older: str, case: Build, made: Callable[[str], Path]
) -> None:
    """1.8.0's own code reads, after the migration, exactly the tasks that the old release read, and saves a new one."""
    service = case(older, NEWEST)
    known = tasks(release(older), service.database)
    assert known
    assert service.run("apply").exit == 0
    assert tasks(service.python, service.database) == known
    assert tasks(service.python, service.database, "write").keys() == known.keys() | {"parent_new"}


@pytest.mark.parametrize("older", OLDER)
def test_what_the_server_made_by_raw_sql_stays(
    older: str, case: Build, described: Callable[[str], Path]
) -> None:
    """The two indexes that 1.8.0's server makes without its models survive the migration and are unmanaged."""
    service = case(older, NEWEST)
    in_release(service.python, "orchestrator_own.py", "open", service.database)
    before = reading.stored(service.database)
    assert {("index", name) for name in SERVER_INDEXES} <= before.keys()
    assert_migrates_whole(service, described(NEWEST))
    outcomes.assert_left_alone(service.database, before, SERVER_INDEXES)
    assert outcomes.unmanaged(service.run("check")) == {("index", name) for name in SERVER_INDEXES}


def test_what_the_releases_own_migration_left_out_is_added(
    case: Build, described: Callable[[str], Path]
) -> None:
    """After 1.8.0's own migration four foreign keys are missing; one apply adds them and leaves its history alone."""
    service = case("mcp-task-orchestrator-1.5.1", NEWEST)
    in_release(service.python, "orchestrator_own.py", "startup", service.database)
    before = reading.stored(service.database)
    check = service.run("check")
    assert check.exit == 1
    assert sorted(entry["table"] for entry in check.document["differences"]) == [
        *("file_operations", "lock_tracking", "subtasks", "task_breakdowns"),
    ]
    assert ("table", "migration_history") in outcomes.unmanaged(check)
    assert_migrates_whole(service, described(NEWEST))
    outcomes.assert_left_alone(service.database, before, {"migration_history"})


@pytest.mark.parametrize("spelling", ["TEXT", "STRING"])
def test_emergency_repairs_converge_in_one_run(
    spelling: str, case: Build, described: Callable[[str], Path]
) -> None:
    """Columns that an emergency script made as TEXT or STRING become the models', and old rows keep what they read."""
    service = case("mcp-task-orchestrator-1.5.1", NEWEST)
    emergency.repair(service.database, spelling)
    assert_migrates_whole(service, described(NEWEST))


def test_a_hand_written_migration_is_corrected_as_far_as_nothing_is_lost(
    case: Build, described: Callable[[str], Path]
) -> None:
    """After the shipped workspace migration, what would lose something is held, the rest is done, and views still work.

    When a person has approved what was held, the database follows the models.
    """
    service = case("mcp-task-orchestrator-1.5.1", NEWEST)
    in_release(service.python, "orchestrator_own.py", "workspace", service.database)
    before, stored = reading.content(service.database), reading.stored(service.database)
    wanted = reading.stored(described(NEWEST))
    foreign = {name for kind, name in stored if kind in {"index", "view"} and (kind, name) not in wanted}
    answer = service.run("apply")
    assert (answer.exit, answer.document["outcome"]) == (1, "migrated"), answer.document
    assert answer.document["held"]
    assert all(held["reason"] for held in answer.document["held"])
    outcomes.assert_rows_kept(service.database, before)
    outcomes.assert_left_alone(service.database, stored, foreign)
    outcomes.assert_nothing_more_to_do(service, "held", 1)
    with reading.reading(service.database) as connection:
        assert connection.execute("SELECT count(*) FROM session_workspace_mapping").fetchone()[0] > 0
    approved = [word for held in answer.document["held"] for word in ("--approve", held["code"])]
    last = service.run("apply", *approved)
    assert (last.exit, last.document["outcome"]) == (0, "migrated"), last.document
    outcomes.assert_follows(service.database, described(NEWEST))
    outcomes.assert_rows_kept(
        service.database, before, dropped=frozenset({"architectural_decisions.workspace_id"})
    )
    outcomes.assert_left_alone(service.database, stored, foreign)
    outcomes.assert_nothing_more_to_do(service)


def test_an_answers_own_ids_approve_what_it_held(case: Build, described: Callable[[str], Path]) -> None:
    """The operation ids of what an apply held are good for the next apply, although the plan is another one by then."""
    service = case("mcp-task-orchestrator-1.5.1", NEWEST)
    in_release(service.python, "orchestrator_own.py", "workspace", service.database)
    held = service.run("apply").document["held"]
    answer = service.run("apply", *(word for entry in held for word in ("--approve", entry["operation"])))
    assert (answer.exit, answer.document["outcome"]) == (0, "migrated"), answer.document
    outcomes.assert_follows(service.database, described(NEWEST))


def test_rows_that_stand_in_the_way_are_named(case: Build, described: Callable[[str], Path]) -> None:
    """Two subtasks of a workspace that does not exist block one foreign key; the others are added, then this one too."""
    service = case("mcp-task-orchestrator-1.5.1", NEWEST)
    in_release(service.python, "orchestrator_own.py", "startup", service.database)
    orphans = ["task_0_1", "task_1_0"]
    change(service.database, "UPDATE subtasks SET workspace_id = 'gone' WHERE task_id IN (?, ?)", *orphans)
    before = reading.content(service.database)
    answer = service.run("apply")
    assert (answer.exit, answer.document["outcome"], answer.document["operations"]) == (1, "migrated", 3)
    (blocked,) = answer.document["blocked"]
    assert [row["key"] for row in blocked["rows"]] == orphans
    assert [row["value"] for row in blocked["rows"]] == ["gone", "gone"]
    outcomes.assert_rows_kept(service.database, before)
    outcomes.assert_nothing_more_to_do(service, "blocked", 1)
    change(service.database, "UPDATE subtasks SET workspace_id = NULL")
    assert_migrates_whole(service, described(NEWEST))


def test_a_running_old_service_goes_on(case: Build) -> None:
    """A 1.5.1 that has the database open all the while is no obstacle, and still saves and reads its tasks after it."""
    service = case("mcp-task-orchestrator-1.5.1", NEWEST)
    known = tasks(release("mcp-task-orchestrator-1.5.1"), service.database)["parent_4"]["subtasks"]
    command = [release("mcp-task-orchestrator-1.5.1"), SCRIPTS / "orchestrator_serve.py", service.database]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as old:
        assert old.stdout is not None
        assert old.stdout.readline() == "ready\n"
        assert service.run("apply").document["outcome"] == "migrated"
        said, _ = old.communicate("go on\n", timeout=TIMEOUT)
    assert old.returncode == 0
    assert json.loads(said) == ["changed by the running service", [subtask["task_id"] for subtask in known]]
    assert reading.problems(service.database) == []


def test_the_backup_brings_the_old_release_back(case: Build) -> None:
    """Restoring the backup of the migration gives back exactly the old database, and the old release reads it."""
    service = case("mcp-task-orchestrator-1.5.1", NEWEST)
    before, stored = reading.content(service.database), reading.stored(service.database)
    known = tasks(release("mcp-task-orchestrator-1.5.1"), service.database)
    backup = service.run("apply").document["backup"]
    restored = service.run("backup", "restore", backup["id"])
    assert (restored.exit, restored.document["restored"]["id"]) == (0, backup["id"]), restored.document
    assert (reading.stored(service.database), reading.content(service.database)) == (stored, before)
    assert tasks(release("mcp-task-orchestrator-1.5.1"), service.database) == known


@pytest.mark.parametrize("name", [*OLDER, NEWEST])
def test_a_releases_own_database_is_in_sync(name: str, case: Build) -> None:
    """A database that a release made shows no drift from that release's models, so nothing is backed up or changed."""
    outcomes.assert_in_sync_from_the_start(case(name, name))


@pytest.mark.parametrize("command", [("check",), ("plan",), ("apply", "--dry-run")])
def test_looking_writes_nothing(command: tuple[str, ...], case: Build) -> None:
    """What only looks leaves the bytes of a real database in WAL mode, and the files beside it, as they were."""
    service = case("mcp-task-orchestrator-1.5.1", NEWEST)
    before, beside = reading.sha256(service.database), sorted(service.folder.glob("data.db*"))
    service.run(*command)
    assert reading.sha256(service.database) == before
    assert sorted(service.folder.glob("data.db*")) == beside
    assert service.backups() == []


def test_nothing_of_a_migration_stays_in_the_log(case: Build) -> None:
    """With nobody else at the database, a plain copy of its file has the whole migration: the WAL was folded in."""
    service = case("mcp-task-orchestrator-1.5.1", NEWEST)
    assert service.run("apply").document["outcome"] == "migrated"
    assert list(service.folder.glob("data.db-*")) == []
    assert "workspaces" in reading.tables(service.database)
