"""The orchestrator's real server behind `driftd exec`, spoken to as its clients speak: with a daemon and without, alone and in crowds."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from real import outcomes, reading
from real.commands import SCRIPTS, in_release
from real.mcp_client import PATIENCE
from real.packages import release
from real.servers import EXEC, ROOT, SERVER, TARGET, Workplace, install, rewritten
from support.sidecars import running
from support.starters import in_use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from real.mcp_client import Client
    from support.sidecars import Sidecar

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

OLD, NEWEST = "mcp-task-orchestrator-1.5.1", "mcp-task-orchestrator-1.8.0"
BESIDE = "mcp-task-orchestrator-1.8.0-beside-driftd"
OPERATIONS = 14  # from 1.5.1 to 1.8.0
KEYS = (
    "file_operations",
    "lock_tracking",
    "subtasks",
    "task_breakdowns",
)  # four of them are foreign keys of these
TOOLS = {"orchestrator_plan_task", "orchestrator_get_status", "orchestrator_execute_subtask"}
# The server itself makes these, and clears old locks, when it opens its database.
SERVERS_OWN = {("table", "migration_history")} | {
    ("index", f"idx_subtasks_{column}") for column in ("task_id", "parent_task_id")
}
CLEARED = "lock_tracking"
SERVED = pytest.mark.parametrize("served", [True, False], ids=["daemon", "alone"])
MIGRATED = rf"driftd: {TARGET}: migrated, {{}} operations in [\d.]+ m?s\n"
MOMENTS = [tenth / 10 for tenth in range(10)]  # as parts of the time that a window takes


@pytest.fixture
def place(made: Callable[[str], Path], tmp_path: Path) -> Workplace:
    """A folder of the newest server, with a database that 1.5.1 made."""
    found = Workplace(tmp_path / "work", release(NEWEST)).configure()
    reading.copied(made(OLD), found.database)
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has driftd beside the newest server."""
    return install(release(BESIDE), tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def span(made: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., float]:
    """How long a window takes here when nobody disturbs it, in seconds: a daemon's, and one without."""
    known: dict[bool, float] = {}

    def measured(*, served: bool) -> float:
        if served not in known:
            place = Workplace(tmp_path_factory.mktemp("span"), release(NEWEST)).configure()
            reading.copied(made(OLD), place.database)
            with perhaps(served, place), place.server() as server:
                window_is(place, server, opened=True)
                began = time.monotonic()
                window_is(place, server, opened=False)
                known[served] = time.monotonic() - began
        return known[served]

    return measured


@contextmanager
def serving(place: Workplace) -> Iterator[Sidecar]:
    """A daemon that is ready to migrate."""
    with running(place.sidecar()) as sidecar:
        sidecar.state("ready", target=TARGET)
        yield sidecar


def perhaps(served: bool, place: Workplace) -> AbstractContextManager[Sidecar | None]:
    return serving(place) if served else nullcontext()


def window_is(place: Workplace, server: Client, *, opened: bool) -> None:
    """Returns as soon as a window is open, or closed again: nothing announces it to those who take no part."""
    lock = place.database.with_name(place.database.name + ".startup.lock")
    give_up = time.monotonic() + PATIENCE
    while (lock.exists() and lock.stat().st_size > 0) is not opened:
        assert time.monotonic() < give_up, server.said
        time.sleep(0.0005)


def assert_ended(processes: list[psutil.Process]) -> None:
    """They end by themselves: nothing announces the end of a process that is not our child, nor reaps it for sure."""
    give_up = time.monotonic() + PATIENCE
    while any(map(is_alive, processes)):
        assert time.monotonic() < give_up, processes
        time.sleep(0.01)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def work(server: Client, name: str) -> set[str]:
    """Speaks to the server as a client does, has it save a task of that name, and gives the titles that it reads back."""
    assert server.initialize()["serverInfo"]["name"] == "task-orchestrator"
    assert server.tools() >= TOOLS
    subtasks = [{"title": name, "description": "…", "specialist_type": "tester"}]
    planned = server.call("orchestrator_plan_task", description=name, subtasks_json=json.dumps(subtasks))
    assert planned["task_created"], planned
    found = titles(server)
    assert name in found
    return found


def titles(server: Client) -> set[str]:
    """Of all subtasks, as the server reads them."""
    status = server.call("orchestrator_get_status", include_completed=True)
    return {task["title"] for task in status["tasks"]}


def assert_old_rows_kept(database: Path, before: outcomes.Content) -> None:
    """Each row of before is there with its values and storage classes, in front of the new ones."""
    for table, (columns, rows) in before.items():
        if table != CLEARED:
            assert reading.rows(database, table, columns)[: len(rows)] == rows, table


def assert_is_whole(place: Workplace, described: Path) -> list[dict[str, Any]]:
    """The schema is that of the models, nothing is broken, and the history holds. Gives its migrations."""
    outcomes.assert_follows(place.database, described)
    assert reading.problems(place.database) == []
    assert place.driftd("history", "verify")["problems"] == []
    assert place.driftd("check")["in_sync"]
    return place.migrations()


def assert_migrated_before_it_was_opened(
    place: Workplace, before: outcomes.Content, described: Path
) -> dict[str, Any]:
    """The backup is the old database without a trace of the server, whose own migration found nothing to do.

    Gives the migration.
    """
    (migration,) = assert_is_whole(place, described)
    assert migration["operations"] == OPERATIONS
    backups = place.backups()
    assert migration["backup"]["path"] in map(str, backups)
    assert [reading.content(backup) for backup in backups] == [before] * len(backups)
    assert reading.rows(place.database, "migration_history", ["id"]) == []
    assert reading.stored(place.database).keys() >= SERVERS_OWN
    unmanaged = place.driftd("check")["unmanaged"]
    assert {(one["type"], one["name"]) for one in unmanaged} == SERVERS_OWN
    assert_old_rows_kept(place.database, before)
    return migration


def shown(lines: list[str]) -> list[str]:
    """The server's log without what differs from run to run: moments, ids, durations."""
    text = "\n".join(lines)
    for pattern in (
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - ",
        r"\btask_[0-9a-f]{8}\b",
        r"\b\d+(\.\d+)?ms\b",
    ):
        text = re.sub(pattern, "…", text, flags=re.MULTILINE)
    return sorted(text.split("\n"))


# --- one server


@SERVED
def test_the_server_opens_a_database_that_is_migrated(
    served: bool, place: Workplace, described: Callable[[str], Path]
) -> None:
    """1.5.1's database is migrated before 1.8.0's server opens it; the server answers, and stdout is its own alone."""
    before = reading.content(place.database)
    with perhaps(served, place), place.server() as server:
        read = work(server, "behind the window")
        assert server.end() == 0
        assert server.others == []
    assert re.fullmatch(MIGRATED.format(OPERATIONS), server.said), server.said
    assert len(read) > 1
    migration = assert_migrated_before_it_was_opened(place, before, described(NEWEST))
    assert ("no daemon" in migration["allowed_by"]) is not served
    assert len(place.backups()) == 1


@SERVED
def test_the_next_start_says_nothing(served: bool, place: Workplace) -> None:
    """In step: no line of driftd's on any stream, no backup, no entry; the tasks of the last run are there."""
    with perhaps(served, place):
        with place.server(name="first") as server:
            work(server, "first")
            server.end()
        backups, history = place.backups(), place.migrations()
        with place.server(name="second") as server:
            assert {"first", "second"} <= work(server, "second")
            assert server.end() == 0
    assert (server.said, server.others) == ("", [])
    assert (place.backups(), place.migrations()) == (backups, history)


def test_stdout_is_as_without_driftd(made: Callable[[str], Path], tmp_path: Path) -> None:
    """With its log on stdout, as by default, the server writes behind `driftd exec` just what it writes without."""
    written = {}
    for name, front in (("bare", ()), ("behind", EXEC)):
        place = Workplace(tmp_path / name / "work", release(NEWEST)).configure()
        reading.copied(made(NEWEST), place.database)
        command = (*front, place.python, *SERVER)
        with place.server(command, MCP_TASK_ORCHESTRATOR_LOG_LEVEL="INFO") as server:
            work(server, "the same")
            assert server.end() == 0
        written[name] = [line.replace(str(place.folder), "FOLDER") for line in shown(server.others)]
    assert written["behind"] == written["bare"]
    assert "…mcp_task_orchestrator - INFO - Database schema is up to date" in written["behind"]


@SERVED
def test_a_first_start(served: bool, tmp_path: Path, described: Callable[[str], Path]) -> None:
    """Neither folder nor database: the server finds both complete, and there was nothing to back up."""
    database = tmp_path / "data" / "deep" / "tasks.db"
    settings = {"MCP_TASK_ORCHESTRATOR_DB_PATH": str(database)}
    place = Workplace(tmp_path / "work", release(NEWEST), settings).configure()
    with perhaps(served, place), place.server() as server:
        assert work(server, "the first of all") == {"the first of all"}
        assert server.end() == 0
        assert server.others == []
    assert re.fullmatch(MIGRATED.format(r"\d+"), server.said), server.said
    assert len(assert_is_whole(place, described(NEWEST))) == 1
    assert place.backups() == []
    assert not (place.folder / ".task_orchestrator").joinpath("task_orchestrator.db").exists()


# --- several


@SERVED
def test_four_at_once(served: bool, place: Workplace, described: Callable[[str], Path]) -> None:
    """Four servers that start together: one migration, four that answer, and each reads what the others saved."""
    # Without a table of their own that is none of the models', the servers race for it, with and without driftd.
    in_release(release(NEWEST), "orchestrator_history.py", place.database)
    before = reading.content(place.database)
    names = {f"server {number}" for number in range(4)}
    with ExitStack() as stack:
        stack.enter_context(perhaps(served, place))
        servers = {name: stack.enter_context(place.server(name=name)) for name in names}
        for name, server in servers.items():
            work(server, name)
        for server in servers.values():
            assert titles(server) >= names
        assert [server.end() for server in servers.values()] == [0] * 4
    assert [server.others for server in servers.values()] == [[]] * 4
    said = sorted(server.said for server in servers.values())
    assert said[:3] == [""] * 3
    assert re.fullmatch(MIGRATED.format(OPERATIONS), said[3]), said
    assert_migrated_before_it_was_opened(place, before, described(NEWEST))


@SERVED
def test_an_old_service_that_runs_goes_on(
    served: bool, place: Workplace, described: Callable[[str], Path]
) -> None:
    """While 1.5.1 runs on the schema only what it survives is applied, and it goes on; the next start does the rest."""
    command = [release(OLD), SCRIPTS / "orchestrator_serve.py", place.database]
    with perhaps(served, place):
        with (
            in_use(place.database),
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as old,
            place.server(name="new") as new,
        ):
            try:
                assert old.stdout is not None
                assert old.stdout.readline() == "ready\n"
                work(new, "beside the old one")
                said, _ = old.communicate("go on\n", timeout=PATIENCE)
            finally:
                old.kill()
            assert new.end() == 0
        with place.server(name="later") as later:
            assert "beside the old one" in work(later, "after the old one")
            assert later.end() == 0
    assert (old.returncode, json.loads(said)[0]) == (0, "changed by the running service")
    assert f"{len(KEYS)} operations wait until no other service runs on this schema" in new.said
    assert re.fullmatch(MIGRATED.format(len(KEYS)), later.said), later.said
    added = [one["operations"] for one in assert_is_whole(place, described(NEWEST))]
    assert added == [OPERATIONS - len(KEYS), len(KEYS)]


# --- a daemon that is killed


def kill(sidecar: Sidecar) -> None:
    """SIGKILL; what it had started ends with it."""
    children = sidecar.children()
    sidecar.stop(signal.SIGKILL)
    assert_ended(children)


def test_killed_while_somebody_writes(place: Workplace, described: Callable[[str], Path]) -> None:
    """The daemon waits for a writer and is killed: the server migrates by itself as soon as the writer is done."""
    before = reading.content(place.database)
    with serving(place) as sidecar, closing(sqlite3.connect(place.database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with place.server() as server:
            sidecar.until(lambda entry: entry["busy"] == "window", TARGET)
            kill(sidecar)
            writer.execute("ROLLBACK")
            work(server, "after the daemon")
            assert server.end() == 0
            assert server.others == []
    assert_migrated_before_it_was_opened(place, before, described(NEWEST))


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment(
    moment: float, span: Callable[..., float], place: Workplace, described: Callable[[str], Path]
) -> None:
    """Wherever in a window SIGKILL meets the daemon, the server starts and answers, and there is one migration, whole."""
    before = reading.content(place.database)
    pause = moment * span(served=True)
    with serving(place) as sidecar, place.server() as server:
        window_is(place, server, opened=True)
        time.sleep(pause)  # this is the moment; nothing is waited for
        kill(sidecar)
        work(server, "after the daemon")
        assert server.end() == 0
        assert server.others == []
    assert_migrated_before_it_was_opened(place, before, described(NEWEST))


# --- a client that gives up


@SERVED
@pytest.mark.parametrize("moment", [0.0, 0.3, 0.6, 0.9])
def test_a_client_that_kills_its_server_while_it_starts(
    served: bool,
    moment: float,
    span: Callable[..., float],
    place: Workplace,
    described: Callable[[str], Path],
) -> None:
    """Killed in its window the server leaves nothing half done, and no process; the next start answers as ever."""
    before = reading.content(place.database)
    pause = moment * span(served=served)
    with perhaps(served, place):
        with place.server(name="given up") as server:
            window_is(place, server, opened=True)
            time.sleep(pause)  # this is the moment; nothing is waited for
            started = psutil.Process(server.process.pid).children(recursive=True)
            server.process.kill()
            assert_ended(started)
        with place.server() as server:
            work(server, "after all")
            assert server.end() == 0
            assert server.others == []
    assert_migrated_before_it_was_opened(place, before, described(NEWEST))


# --- as it is documented


def test_the_server_with_one_import_changed(
    installed: Path, made: Callable[[str], Path], tmp_path: Path, described: Callable[[str], Path]
) -> None:
    """With driftd's `execute_startup_migration` in place of its own the server migrates, and its log says so in its own words."""
    changed = {"PYTHONPATH": str(rewritten(installed, tmp_path)), "MCP_TASK_ORCHESTRATOR_LOG_LEVEL": "INFO"}
    place = Workplace(tmp_path / "work", installed).configure()
    reading.copied(made(OLD), place.database)
    before = reading.content(place.database)
    log = []
    for name in ("first", "second"):
        with place.server((installed, *SERVER), name=name, **changed) as server:
            work(server, name)
            assert server.end() == 0
        log.append([line.partition(" - ")[2] for line in server.others])
    (backup,) = place.backups()
    own = "mcp_task_orchestrator - INFO - "
    done = re.compile(rf"{own}Database migration completed: {OPERATIONS} operations in \d+ms")
    assert f"{own}Checking database schema: sqlite:///{place.database}" in log[0]
    assert any(map(done.fullmatch, log[0]))
    assert f"{own}Backup created: {backup.stem}" in log[0]
    assert f"{own}Database schema is up to date" in log[1]
    assert not any("migration completed" in line for line in log[1])
    (migration,) = assert_is_whole(place, described(NEWEST))
    assert migration["operations"] == OPERATIONS
    assert reading.content(backup) == before
    assert_old_rows_kept(place.database, before)
    # What the release's own migration would have made is not there.
    assert "migration_history" not in reading.tables(place.database)


@SERVED
def test_the_clients_configuration_works_as_written(
    served: bool,
    installed: Path,
    made: Callable[[str], Path],
    tmp_path: Path,
    described: Callable[[str], Path],
) -> None:
    """docs/service.md's entry for an MCP client, with driftd beside the server on PATH and nothing configured, migrates and serves."""
    (entry,) = documented()["mcpServers"].values()
    settings = {"PATH": f"{installed.parent}:/usr/bin:/bin"}
    place = Workplace(tmp_path / "work", installed, settings, str(installed))
    reading.copied(made(OLD), place.database)
    before = reading.content(place.database)
    command = [entry["command"], *entry["args"]]
    with perhaps(served, place), place.server(command, **entry.get("env", {})) as server:
        work(server, "from a client")
        assert server.end() == 0
        assert server.others == []
    assert re.fullmatch(MIGRATED.format(OPERATIONS), server.said), server.said
    (migration,) = assert_is_whole(place, described(NEWEST))
    assert ("no daemon" in migration["allowed_by"]) is not served
    assert_old_rows_kept(place.database, before)


def documented() -> dict[str, Any]:
    """The block of docs/service.md that goes into a client's configuration."""
    text = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    (found,) = [one for one in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if "mcpServers" in one]
    document: dict[str, Any] = json.loads(found)
    return document
