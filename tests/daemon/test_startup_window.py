"""The window of a service that is written in Python: its answer, its locks, its arguments, threads, and asyncio."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import driftd
from driftd import lock_file
from driftd.startup.places import Asked, own_import_path, placed
from driftd.startup.window import Answer, Attempt
from driftengine.errors import ConfigurationError
from support.service_folders import service_folder
from support.sidecars import NARROWER, WIDER, columns, execute, house, running

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0  # seconds until something that must happen counts as not happening


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the service works."""
    with service_folder(tmp_path, monkeypatch) as made:
        yield made


def free(path: Path) -> bool:
    """Whether nobody holds that lock, asked on a descriptor of its own."""
    if not path.exists():
        return True
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return lock_file.try_lock(descriptor)
    finally:
        os.close(descriptor)


def in_use(folder: Path) -> bool:
    return not free(folder / f"app.db{lock_file.INUSE}")


def startup_held(folder: Path) -> bool:
    return not free(folder / f"app.db{lock_file.STARTUP}")


@contextmanager
def another_starter(folder: Path) -> Iterator[None]:
    """Another service that has its window open while the block runs."""
    descriptor = os.open(folder / f"app.db{lock_file.STARTUP}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def window(**options: Any) -> Any:
    return driftd.startup_window("sqlite:///app.db", models="models.sql", **options)


def write_hanging_models(folder: Path) -> None:
    """Models that never end to load, in hang.py."""
    text = "import pathlib, time\npathlib.Path('loading').touch()\ntime.sleep(600)\n"
    (folder / "hang.py").write_text(text, encoding="utf-8")


def until_loading(folder: Path) -> None:
    """Returns when they load: their own process tells nobody else."""
    give_up = time.monotonic() + PATIENCE
    while not (folder / "loading").exists():
        assert time.monotonic() < give_up
        time.sleep(0.01)


# --- what it does


def test_the_database_is_in_step_when_the_block_begins(folder: Path) -> None:
    """Without a daemon the engine migrates, the answer says so, and the window is closed again."""
    with window() as answer:
        assert columns(folder / "app.db") == ["id", "title", "state"]
        assert (answer.outcome, answer.operations, answer.whole, answer.error) == ("migrated", 1, True, None)
        assert answer.document["by"] == "alone"
        assert answer.migration_id == answer.document["migration_id"]
        assert answer.backup is not None
        assert Path(answer.backup["path"]).is_file()
        assert not startup_held(folder)
    with window() as answer:
        assert answer.outcome == "up_to_date"


def test_what_waits_for_a_person_is_named(folder: Path) -> None:
    """A dropped column is held: nothing is lost, and the schema is not called whole."""
    (folder / "models.sql").write_text(NARROWER, encoding="utf-8")
    with window() as answer:
        assert (answer.outcome, answer.whole) == ("held", False)
        assert [one["kind"] for one in answer.held] == ["drop_column"]
    assert columns(folder / "app.db") == ["id", "title"]


def test_the_configured_target_is_found_by_its_database(folder: Path) -> None:
    """A URL without models means the target whose database has the same real path, by whatever name."""
    house(folder, models=WIDER)
    (folder / "link.db").symlink_to(folder / "app.db")
    with driftd.startup_window(f"sqlite:///{folder}/link.db") as answer:
        assert (answer.outcome, answer.document["target"]) == ("migrated", "app")
    assert list((folder / "backups").glob("app-*/*.db"))  # as configured


def test_without_a_url_the_configured_target_is_meant(folder: Path) -> None:
    """The only target of the configuration that is found here."""
    house(folder, models=WIDER)
    with driftd.startup_window() as answer:
        assert (answer.outcome, answer.document["database"]) == ("migrated", str(folder / "app.db"))


def test_a_missing_database_is_made(folder: Path) -> None:
    """The first start of a service makes its folder and its database, as `driftd apply` does."""
    with driftd.startup_window("sqlite:///new/deep/app.db", models="models.sql") as answer:
        assert answer.outcome == "migrated"
    assert columns(folder / "new" / "deep" / "app.db") == ["id", "title", "state"]


def test_a_daemon_answers_where_one_serves(folder: Path) -> None:
    """The daemon's answer is the window's, with the models that it knows."""
    with running(house(folder, models=WIDER)) as sidecar:
        sidecar.state("ready")
        with driftd.startup_window("sqlite:///app.db") as answer:
            assert (answer.outcome, answer.document["by"]) == ("migrated", "daemon"), sidecar.log
    assert columns(folder / "app.db") == ["id", "title", "state"]


def test_a_url_object_of_sqlalchemy_is_understood(folder: Path) -> None:
    """`engine.url` may be given as it is."""
    from sqlalchemy import make_url

    with driftd.startup_window(make_url("sqlite:///app.db"), models="models.sql") as answer:
        assert answer.document["database"] == str(folder / "app.db")


# --- what it cannot do is told


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("sqlite://", "database-memory"),
        ("postgresql://u:secret@h/db", "database-unsupported"),
        ("nonsense", "database-url"),
        ("sqlite:///.", "database-is-directory"),
    ],
)
def test_a_url_without_a_file_is_skipped(folder: Path, url: str, code: str) -> None:
    """No window can be opened for it; the block runs all the same, and the error says why."""
    ran = False
    with driftd.startup_window(url, models="models.sql") as answer:
        ran = True
        assert answer.outcome == "skipped"
        assert answer.error is not None
        assert answer.error["code"] == code
    assert ran


def test_models_that_nobody_names_are_told(folder: Path) -> None:
    """A database that no configuration describes needs models: nothing is migrated to those of another."""
    with driftd.startup_window("sqlite:///app.db") as answer:
        assert answer.outcome == "skipped"
        assert answer.error is not None
        assert "models" in answer.error["why"]
    assert columns(folder / "app.db") == ["id", "title"]


def test_models_that_do_not_load_are_told(folder: Path) -> None:
    """The service starts on the schema that it has."""
    (folder / "models.sql").write_text("CREATE TABEL task", encoding="utf-8")
    with window() as answer:
        assert answer.outcome == "failed"
        assert answer.error is not None
        assert "models" in answer.error["what"]
    assert columns(folder / "app.db") == ["id", "title"]


def test_a_bug_does_not_stop_the_service(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever nobody foresaw is logged with its traceback, and told."""

    def fault(*_given: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("driftd.startup.window.placed", fault)
    with window() as answer:
        assert answer.outcome == "skipped"
        assert answer.error is not None
        assert (answer.error["code"], "a fault" in answer.error["why"]) == ("internal", True)
    assert "Traceback" in caplog.text


def test_an_error_in_the_block_is_the_services_own(folder: Path) -> None:
    """It leaves the block unchanged."""
    with pytest.raises(ZeroDivisionError), window():
        raise ZeroDivisionError


def test_the_time_counts_while_others_start(folder: Path) -> None:
    """At its deadline the service starts, though it was never its turn; nothing was changed."""
    with another_starter(folder):
        began = time.monotonic()
        with window(timeout=0.3) as answer:
            assert time.monotonic() - began < PATIENCE
            assert answer.outcome == "deferred"
            assert answer.error is not None
            assert answer.error["code"] == "window-deadline"
    assert columns(folder / "app.db") == ["id", "title"]


def test_control_c_ends_the_service_and_its_window(folder: Path) -> None:
    """While the models hang: the interrupt is the service's own, no child is left, and the lock is free."""
    write_hanging_models(folder)
    code = (
        "import driftd, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with driftd.startup_window('sqlite:///app.db', models='hang:Base', timeout=60): pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as service:
        assert service.stderr is not None
        until_loading(folder)
        service.send_signal(signal.SIGINT)
        # Its end is that of the last process which has this pipe.
        assert "KeyboardInterrupt" in service.stderr.read()
        assert service.wait(PATIENCE) == -signal.SIGINT
    assert not startup_held(folder)


# --- how long it stays


def test_a_service_stays_until_its_process_ends(folder: Path) -> None:
    """By default others see a running service as long as there is one."""
    code = (
        "import driftd, sys\n"
        "with driftd.startup_window('sqlite:///app.db', models='models.sql') as answer: print(answer.outcome, flush=True)\n"
        "print('out of the block', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdin is not None
        assert service.stdout is not None
        assert service.stdout.readline() == "migrated\n"
        assert service.stdout.readline() == "out of the block\n"
        assert in_use(folder)
        service.stdin.close()
        assert service.wait(PATIENCE) == 0
    assert not in_use(folder)


def test_a_service_may_stay_for_its_block(folder: Path) -> None:
    """With stay="block" the end of the block is the end of the service."""
    with window(stay="block"):
        assert in_use(folder)
    assert not in_use(folder)


def test_a_script_need_not_stay(folder: Path) -> None:
    """With stay=False nobody is told that a service runs."""
    with window(stay=False):
        assert not in_use(folder)


def test_the_next_window_of_a_running_process_may_change_everything(folder: Path) -> None:
    """What this very process said of itself does not keep its own next window from working."""
    with window():
        pass
    (folder / "models.sql").write_text(WIDER.replace("id INTEGER", "more TEXT, id INTEGER"), encoding="utf-8")
    with window() as answer:
        assert answer.outcome == "migrated"
        assert in_use(folder)


def test_threads_take_turns(folder: Path) -> None:
    """Several threads of one process at once: one migrates, the others find the work done."""
    answers: list[Answer] = []

    def start() -> None:
        with window() as answer:
            answers.append(answer)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(one.outcome for one in answers) == ["migrated", "up_to_date", "up_to_date"]


# --- bad usage


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"url": ""}, ValueError),
        ({"url": 5}, TypeError),
        ({"models": "models.sql"}, ValueError),
        ({"url": "sqlite:///a.db", "models": [str]}, TypeError),
        ({"url": "sqlite:///a.db", "models": [""]}, ValueError),
        ({"target": 5}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"stay": "forever"}, ValueError),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(
    given: dict[str, Any], error: type[Exception]
) -> None:
    """Before anything is opened, for both doors: it is the program that is wrong."""
    for door in (driftd.startup_window, driftd.async_startup_window):
        with pytest.raises(error):
            door(**given)


# --- asyncio


def test_other_tasks_run_while_it_waits(folder: Path) -> None:
    """The loop is not held up by the window."""

    async def service() -> tuple[str, int]:
        ticks, done = 0, asyncio.Event()

        async def tick() -> None:
            nonlocal ticks
            while not done.is_set():
                ticks += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(tick())
        async with driftd.async_startup_window(
            "sqlite:///app.db", models="models.sql", stay="block"
        ) as answer:
            assert in_use(folder)
        done.set()
        await other
        return answer.outcome, ticks

    outcome, ticks = asyncio.run(service())
    assert outcome == "migrated"
    assert ticks > 10
    assert not in_use(folder)


def test_a_cancelled_task_gives_the_window_up(folder: Path) -> None:
    """While the models hang, the task is cancelled: it ends at once, the locks are free, and nothing is changed."""
    write_hanging_models(folder)

    async def service() -> None:
        async def start() -> None:
            async with driftd.async_startup_window("sqlite:///app.db", models="hang:Base", timeout=10):
                pytest.fail("the window had an answer")

        task = asyncio.create_task(start())
        await asyncio.to_thread(until_loading, folder)
        assert startup_held(folder)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not startup_held(folder)
        assert not in_use(folder)

    asyncio.run(service())
    with window(timeout=PATIENCE) as answer:
        assert answer.outcome == "migrated"
    for thread in threading.enumerate():
        if thread.name == "driftd startup window":
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert columns(folder / "app.db") == ["id", "title", "state"]


def test_a_task_that_is_cancelled_in_the_queue_leaves_it(folder: Path) -> None:
    """It never gets the lock that it waited for."""

    async def service() -> None:
        task = asyncio.create_task(
            driftd.async_startup_window("sqlite:///app.db", models="models.sql").__aenter__()
        )
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with another_starter(folder):
        asyncio.run(service())
        for thread in threading.enumerate():
            if thread.name == "driftd startup window":
                thread.join(PATIENCE)
                assert not thread.is_alive()
    assert not startup_held(folder)
    assert columns(folder / "app.db") == ["id", "title"]


def test_an_attempt_that_was_given_up_before_it_began_changes_nothing(folder: Path) -> None:
    """Cancelled before its thread ran, it only says that its time was up."""
    attempt = Attempt(Asked("sqlite:///app.db", ("models.sql",)))
    attempt.give_up()
    assert attempt.run().outcome in {"deferred", "skipped"}
    assert columns(folder / "app.db") == ["id", "title"]
    assert not in_use(folder)


# --- which database, which models


def test_a_configured_interpreter_is_kept(folder: Path) -> None:
    """Where nobody has chosen one, the models are loaded by the interpreter of the service itself."""
    house(folder)
    asked = Asked("sqlite:///app.db")
    found = placed(asked, dict(os.environ), folder)
    assert found.request is not None
    assert found.request["flags"]["python"] == sys.executable
    text = (folder / "driftd.toml").read_text(encoding="utf-8")
    (folder / "driftd.toml").write_text(
        text.replace("mode =", f'python = "{sys.executable}"\nmode ='), encoding="utf-8"
    )
    found = placed(asked, dict(os.environ), folder)
    assert found.request is not None
    assert "python" not in found.request["flags"]


def test_the_windows_time_is_the_targets(folder: Path) -> None:
    """`window.timeout` of the configured target counts, 15 seconds where there is none."""
    house(folder)
    assert placed(Asked("sqlite:///app.db"), dict(os.environ), folder).timeout == 15
    with (folder / "driftd.toml").open("a", encoding="utf-8") as file:
        file.write("\n[targets.app.window]\ntimeout = 3\n")
    assert placed(Asked("sqlite:///app.db"), dict(os.environ), folder).timeout == 3


def test_a_configuration_that_is_wrong_hides_nothing(folder: Path) -> None:
    """The database is known by its URL, and why its models are not is kept; without a URL there is nothing to open."""
    house(folder)
    (folder / "driftd.toml").write_text("targets = 5", encoding="utf-8")
    found = placed(Asked("sqlite:///app.db"), dict(os.environ), folder)
    assert (found.database, found.request) == (str(folder / "app.db"), None)
    assert found.error is not None
    assert found.error["code"].startswith("configuration")
    with pytest.raises(ConfigurationError):
        placed(Asked(), dict(os.environ), folder)


def test_only_what_the_interpreter_would_not_find_is_on_the_models_path(tmp_path: Path) -> None:
    """The service's own folders, in their order; not the standard library, nor what is installed."""
    path = [
        "",
        "/srv/app",
        "/usr/lib/python3",
        "/usr/lib/python3/lib-dynload",
        "/x/site-packages",
        "/srv/app",
    ]
    assert own_import_path(path, "/usr/lib/python3", tmp_path) == (str(tmp_path), "/srv/app")


# --- the package itself


def test_importing_the_package_loads_nothing() -> None:
    """`import driftd` is free; each name loads what it needs, and SQLAlchemy is never among it."""
    code = (
        "import sys; before = set(sys.modules); import driftd\n"
        "assert set(sys.modules) - before == {'driftd'}, set(sys.modules) - before\n"
        "assert set(driftd.__all__) <= set(dir(driftd))\n"
        "found = [getattr(driftd, name) for name in driftd.__all__]\n"
        "assert 'sqlalchemy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError):
        _ = driftd.nonsense


def test_rows_are_written_by_the_service_in_its_block(folder: Path) -> None:
    """No lock of driftd's stands in the way of the service's own database."""
    with window():
        execute(folder / "app.db", "INSERT INTO task (title, state) VALUES ('a', 'b')")
