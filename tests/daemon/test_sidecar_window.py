"""Services that start beside a running daemon: over the socket and in the files, in time, whatever else goes on."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from driftd.timers import SETTLES_WITHIN
from support.sidecars import (
    CONFIGURATION,
    MODELS,
    NARROWER,
    WIDER,
    columns,
    execute,
    house,
    make,
    running,
    wait_until,
)
from support.starters import beside, in_use, starting

if TYPE_CHECKING:
    from pathlib import Path

    from support.sidecars import Sidecar


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A service's database with a row."""
    make(tmp_path / "app.db")
    return tmp_path / "app.db"


def test_a_service_that_has_nothing_to_wait_for_starts_at_once(tmp_path: Path, database: Path) -> None:
    """In step: up to date, by the daemon, and nothing is made or written for it."""
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        with starting(database) as service:
            answer = service.ask(sidecar)
        assert (answer["outcome"], answer["by"], answer["id"]) == ("up_to_date", "daemon", service.id)
        assert (answer["stage"], answer["operations"], answer["error"]) == (None, 0, None)
        assert not beside(database, ".startup.result").exists()
        assert sidecar.entry()["last_window"]["outcome"] == "up_to_date"
        assert "a service starts: up to date" in sidecar.log


def test_what_was_staged_is_applied_in_the_window(tmp_path: Path, database: Path) -> None:
    """Ready: the window's answer is the migration, with the stage's backup, and the target is in sync behind it."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        stage = sidecar.state("ready")["stage"]
        with starting(database) as service:
            answer = service.ask(sidecar)
            assert "state" in columns(database)
        assert (answer["outcome"], answer["stage"], answer["operations"]) == ("migrated", "exact", 1)
        assert answer["backup"]["id"] == stage["backup"]["id"]
        entry = sidecar.entry()
        assert (entry["state"], entry["in_sync"]) == ("in_sync", True)
        assert entry["last_migration"]["migration_id"] == answer["migration_id"]
        assert sidecar.until(lambda one: one["looked_at"] > entry["looked_at"])["state"] == "in_sync"
        (migration,) = sidecar.result("history", migration=answer["migration_id"])["migrations"]
        assert "startup window" in migration["allowed_by"]


def test_a_service_without_the_socket_is_answered_in_its_file(tmp_path: Path, database: Path) -> None:
    """It knocks, and the daemon writes the answer; asked again by the same window nothing happens twice."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        with starting(database, socket=False) as service:
            service.knock()
            answer = service.read()
        assert (answer["outcome"], answer["by"]) == ("migrated", "daemon")
        assert columns(database) == ["id", "title", "state"]


def test_a_service_that_does_not_knock_is_found(tmp_path: Path, database: Path) -> None:
    """The daemon's glance sees the window."""
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        with starting(database, socket=False) as service:
            assert service.read()["outcome"] == "up_to_date"


def test_models_that_were_saved_a_moment_ago_count(tmp_path: Path, database: Path) -> None:
    """$ vi models.sql && restart: nothing waits for the debounce, and the answer is of the new models."""
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        with starting(database) as service:
            assert service.ask(sidecar)["outcome"] == "migrated"
        assert "state" in columns(database)


def test_what_would_lose_data_waits_in_a_window_too(tmp_path: Path, database: Path) -> None:
    """Held, with its rows, and nothing is changed; approved, the next start applies it."""
    execute(database, "UPDATE task SET title = 'x'")
    with running(house(tmp_path, models=NARROWER)) as sidecar:
        held = sidecar.state("held")["held"]
        with starting(database) as service:
            answer = service.ask(sidecar)
        assert (answer["outcome"], [one["operation"] for one in answer["held"]]) == (
            "held",
            [held[0]["operation"]],
        )
        assert answer["held"][0]["count"] == 1
        assert columns(database) == ["id", "title"]
        with starting(database, socket=False) as service:
            service.knock()
            told = service.read()["held"]
        assert [(one["count"], one["rows"]) for one in told] == [(1, [])], (
            "the file may be read by more people"
        )
        sidecar.result("approve", operations=[held[0]["operation"]])
        with starting(database) as service:
            assert service.ask(sidecar)["outcome"] == "migrated"
        assert columns(database) == ["id"]


def test_in_mode_observe_nothing_is_written(tmp_path: Path, database: Path) -> None:
    """Drifted and observed: deferred, at once, with the reason; in step it is up to date."""
    with running(house(tmp_path, mode="observe", models=WIDER)) as sidecar:
        sidecar.state("drifted")
        with starting(database) as service:
            answer = service.ask(sidecar)
        assert (answer["outcome"], answer["error"]["code"]) == ("deferred", "mode-observe")
        (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")
        with starting(database) as service:
            assert service.ask(sidecar)["outcome"] == "up_to_date"
        assert columns(database) == ["id", "title"]


def test_a_paused_target_lets_the_service_start(tmp_path: Path, database: Path) -> None:
    """Paused: deferred with the reason."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        sidecar.result("pause")
        with starting(database) as service:
            answer = service.ask(sidecar)
        assert (answer["outcome"], answer["error"]["code"]) == ("deferred", "target-paused")
        assert columns(database) == ["id", "title"]


def test_models_that_cannot_be_loaded_do_not_keep_the_service(tmp_path: Path, database: Path) -> None:
    """A syntax error: failed, with file and reason, and the service starts."""
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        (tmp_path / "models.sql").write_text("CREATE TABL task (id);", encoding="utf-8")
        with starting(database) as service:
            answer = service.ask(sidecar)
        assert answer["outcome"] == "failed"
        assert "models.sql" in answer["error"]["what"] + answer["error"]["why"]
        sidecar.state("models_unreadable")


def test_a_lock_that_nobody_frees_defers_the_migration(tmp_path: Path, database: Path) -> None:
    """Somebody writes for longer than the window: deferred before the starter gives up, and done at the next start."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        with closing(sqlite3.connect(database, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            with starting(database, timeout=2.0) as service:
                began = time.monotonic()
                answer = service.ask(sidecar)
                assert time.monotonic() - began < 2.0
            writer.execute("ROLLBACK")
        assert (answer["outcome"], answer["migration_id"]) == ("deferred", None)
        assert columns(database) == ["id", "title"]
        sidecar.state("ready", "drifted", "database_busy")
        with starting(database) as service:
            assert service.ask(sidecar)["outcome"] == "migrated"


def test_a_window_that_nobody_holds_is_refused(tmp_path: Path, database: Path) -> None:
    """An id that stands in no lock, and one whose lock was given up: nothing is applied for it."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        assert sidecar.error("window", window="made-up")["code"] == "window-closed"
        with starting(database) as service:
            service.release()
            assert sidecar.error("window", window=service.id)["code"] == "window-closed"
            assert (
                sidecar.error("window", window=service.id, database="/elsewhere")["code"]
                == "database-unknown"
            )
        assert columns(database) == ["id", "title"]


def test_while_others_run_only_what_their_code_survives_is_applied(tmp_path: Path, database: Path) -> None:
    """Beside a running service a new column comes, and a rule that its writes may break waits for a start without it."""
    unique = MODELS.replace("title TEXT", "title TEXT UNIQUE, state TEXT")
    with running(house(tmp_path, models=unique)) as sidecar:
        sidecar.state("ready")
        with in_use(database), starting(database) as service:
            answer = service.ask(sidecar)
        assert answer["outcome"] == "migrated"
        assert [one["code"] for one in answer["held"]] == ["in-use"]
        assert "state" in columns(database)
        with in_use(database), starting(database) as service:
            answer = service.ask(sidecar)
        assert (answer["outcome"], answer["error"]["code"]) == ("deferred", "in-use")
        with starting(database) as service:
            assert service.ask(sidecar)["outcome"] == "migrated"
        sidecar.state("in_sync")


def test_the_next_starter_goes_on_where_one_has_died(tmp_path: Path, database: Path) -> None:
    """The first one's lock is gone with it, while its window was being worked on; the second one is answered."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        with closing(sqlite3.connect(database, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            with starting(database, socket=False) as first:
                first.knock()
                sidecar.until(lambda one: one["busy"] == "window")
            with starting(database) as second:
                writer.execute("ROLLBACK")
                answer = second.ask(sidecar)
            assert answer["outcome"] == "migrated"


def test_the_database_is_left_to_the_service(tmp_path: Path, database: Path) -> None:
    """Behind its answer the service may change its journal mode and lock for itself alone: the daemon has it not open."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        with starting(database) as service:
            assert service.ask(sidecar)["outcome"] == "migrated"
            held = [
                one["path"] for one in sidecar.result("status", holders=True)["holders"]["app"]["holders"]
            ]
            assert str(database) not in held


def test_a_save_while_a_window_works_opens_the_database_no_sooner(tmp_path: Path, database: Path) -> None:
    """Files that move while a window is open are looked at when the service has settled, not right behind its answer."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        with closing(sqlite3.connect(database, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            with starting(database) as service, ThreadPoolExecutor(1) as pool:
                asking = pool.submit(service.ask, sidecar)
                sidecar.until(lambda one: one["busy"] == "window")
                (tmp_path / "models.sql").write_text(f"{WIDER}-- saved\n", encoding="utf-8")
                time.sleep(0.5)  # in which it has been quiet for long enough
                writer.execute("ROLLBACK")
                assert asking.result()["outcome"] == "migrated"
                answered = sidecar.entry()["last_window"]["at"]
            looked = sidecar.until(lambda one: one["looked_at"] > answered)
            assert looked["state"] == "in_sync"
            passed = datetime.fromisoformat(looked["looked_at"]) - datetime.fromisoformat(answered)
            assert passed > timedelta(seconds=SETTLES_WITHIN - 0.5)


def test_windows_are_asked_for_again_without_harm(tmp_path: Path, database: Path) -> None:
    """The same window over two connections, and then in the file: one migration, one answer."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        with starting(database) as service:
            first, second = service.ask(sidecar), service.ask(sidecar)
        assert first == second
        assert len(sidecar.result("history")["migrations"]) == 1


def test_a_daemon_that_is_told_to_end_answers_first(tmp_path: Path, database: Path) -> None:
    """SIGTERM while a window waits for a lock: nothing is half done, and the lock file is free for the starter to see."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        with closing(sqlite3.connect(database, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            with starting(database, timeout=4.0, socket=False) as service:
                service.knock()
                sidecar.until(lambda one: one["busy"] == "window")
                sidecar.tell(signal.SIGTERM)
                assert service.read()["outcome"] == "deferred"
                assert sidecar.process is not None
                assert sidecar.process.wait(10) == 0
            writer.execute("ROLLBACK")
        assert columns(database) == ["id", "title"]


def test_mode_dev_waits_for_a_service_that_starts(tmp_path: Path, database: Path) -> None:
    """A save while a service holds its lock is applied for its window, or behind it, and never beside it."""
    with running(house(tmp_path, mode="dev")) as sidecar:
        sidecar.state("in_sync")
        with starting(database) as service:
            (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
            sidecar.until(lambda one: one["state"] == "drifted" and not one["busy"])
            assert columns(database) == ["id", "title"]
            assert service.ask(sidecar)["outcome"] == "migrated"
        sidecar.state("in_sync")


def test_where_tells_what_a_starter_must_know(tmp_path: Path, database: Path) -> None:
    """The database and the variables it depends on; a service with another configuration is sent away."""
    toml = (house(tmp_path).folder / "driftd.toml").read_text().replace("app.db", "${NAME:-app}.db")
    (tmp_path / "driftd.toml").write_text(toml)
    with running(house(tmp_path, configuration=toml.replace("{", "{{").replace("}", "}}"))) as sidecar:
        sidecar.state("in_sync")
        told = sidecar.result("where", target="app", config=str(tmp_path / "driftd.toml"))
        assert (told["target"], told["database"], told["timeout_s"]) == ("app", str(database), 15)
        assert told["variables"] == {"NAME": None, "DRIFTD_URL": None, "DRIFTD_TARGETS_APP_URL": None}
        assert told["directory"] is None
        assert sidecar.error("where", config=str(tmp_path / "other.toml"))["code"] == "other-configuration"
        assert sidecar.error("where", config="")["code"] == "other-configuration"
        wait_until(lambda: sidecar.result("where")["target"] == "app", sidecar)


SLOW = """\
import os, time
from sqlalchemy import Column, Integer, MetaData, Table, Text
while not os.path.exists("{go}"):
    time.sleep(0.02)
metadata = MetaData()
Table("task", metadata, Column("id", Integer, primary_key=True), Column("title", Text))
"""


def slow_house(folder: Path) -> Sidecar:
    """Models whose import ends when there is a file `go`."""
    sidecar = house(folder, configuration=CONFIGURATION.replace("models.sql", "slow:metadata"))
    (folder / "slow.py").write_text(SLOW.format(go=folder / "go"), encoding="utf-8")
    return sidecar


def test_behind_an_answer_a_rescan_leaves_the_database_alone(tmp_path: Path, database: Path) -> None:
    """SIGHUP looks at everything anew, but for a database whose service has just started."""
    with running(house(tmp_path, models=WIDER)) as sidecar, sidecar.followed() as follower:
        sidecar.state("ready")
        with starting(database) as service:
            assert service.ask(sidecar)["outcome"] == "migrated"
            sidecar.tell(signal.SIGHUP)
            while follower.next()["event"] != "reloaded":
                pass
            execute(database, "PRAGMA journal_mode = wal", "PRAGMA journal_mode = delete")
            held = [
                one["path"] for one in sidecar.result("status", holders=True)["holders"]["app"]["holders"]
            ]
            assert str(database) not in held


def test_a_target_that_is_let_go_of_sends_its_starters_on(tmp_path: Path, database: Path) -> None:
    """A reload while a service waits for a look: it is told to ask elsewhere, and the keeper that follows answers."""
    with ExitStack() as stack:
        sidecar = stack.enter_context(running(slow_house(tmp_path)))
        follower = stack.enter_context(sidecar.followed())
        with starting(database) as service, ThreadPoolExecutor(1) as pool:
            asked = pool.submit(sidecar.error, "window", window=service.id)
            wait_until(lambda: sidecar.entry()["busy"] == "look", sidecar)
            text = (tmp_path / "driftd.toml").read_text(encoding="utf-8")
            (tmp_path / "driftd.toml").write_text(text.replace('"window"', '"dev"'), encoding="utf-8")
            sidecar.tell(signal.SIGHUP)
            assert asked.result()["code"] == "target-leaving"
            while follower.next()["event"] != "reloaded":
                pass
            (tmp_path / "go").touch()
            assert service.ask(sidecar)["outcome"] == "up_to_date"


def test_who_does_not_knock_is_found_while_the_target_is_busy(tmp_path: Path, database: Path) -> None:
    """A look that does not end: the service gets its answer in the file before it gives up."""
    with running(slow_house(tmp_path)) as sidecar:
        with starting(database, timeout=4.0, socket=False) as service:
            answer = service.read()
        assert (answer["outcome"], answer["error"]["code"]) == ("deferred", "window-deadline")
        assert sidecar.entry()["busy"] == "look"
        (tmp_path / "go").touch()
        sidecar.state("in_sync")


def test_a_pause_that_is_ended_at_once_loses_no_service(tmp_path: Path, database: Path) -> None:
    """Paused and resumed while a service waits behind a look: it is answered as soon as the look has ended."""
    with running(slow_house(tmp_path)) as sidecar:
        with starting(database) as service, ThreadPoolExecutor(1) as pool:
            asked = pool.submit(service.ask, sidecar)
            wait_until(lambda: sidecar.entry()["busy"] == "look", sidecar)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(os.path.relpath(sidecar.socket))
                connection.sendall(b'{"command": "pause"}\n')
                connection.sendall(b'{"command": "resume"}\n')
                (tmp_path / "go").touch()
                answer = asked.result()
        assert answer["outcome"] in {"up_to_date", "deferred"}
        sidecar.result("resume")
        sidecar.state("in_sync")


def test_in_mode_dev_what_waits_for_running_services_is_held(tmp_path: Path, database: Path) -> None:
    """A rule that the running code may break: held with the code in-use, and not tried again and again."""
    with running(house(tmp_path, mode="dev")) as sidecar, in_use(database):
        sidecar.state("in_sync")
        before = sidecar.log.count("→ applying")
        (tmp_path / "models.sql").write_text(
            MODELS.replace("title TEXT", "title TEXT UNIQUE"), encoding="utf-8"
        )
        held = sidecar.state("held")["held"]
        assert [one["code"] for one in held] == ["in-use"]
        assert sidecar.log.count("→ applying") == before + 1
