"""The engine in a child process of a starting service: what it answers, and that nothing in it can hold the service up."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from command_line import driftd
from driftd.startup import alone as parents_side
from driftd.startup.alone import Alone, AloneError
from driftd.startup.starter import Starter
from support.processes import is_gone
from support.sidecars import MODELS, NARROWER, WIDER, columns, make

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 30.0  # seconds until something that must happen counts as not happening


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an old database and new models, and an environment that configures nothing."""
    for name in list(os.environ):
        if name.startswith(("DRIFTD_", "XDG_", "MCP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "app.db")
    (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
    return tmp_path


def request(models: str = "models.sql", **more: Any) -> dict[str, Any]:
    """What `driftd exec --url ... --models ...` would ask for."""
    return {"flags": {"url": "sqlite:///app.db", "models": [models]}, **more}


def soon() -> float:
    """A deadline that only a fault reaches."""
    return time.monotonic() + PATIENCE


def children() -> list[psutil.Process]:
    """All processes below this one."""
    return psutil.Process().children(recursive=True)


def speaking(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Puts a shell script in the child's place, which has already said where."""
    where = json.dumps({"where": {"target": "app", "database": str(folder / "app.db"), "timeout_s": 15}})
    program = folder / "child"
    program.write_text(f"#!/bin/sh\necho '{where}'\nread request\nread go\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(parents_side, "interpreter", lambda: str(program))


def test_it_says_where(folder: Path) -> None:
    """The database is told by its real path, with the target's name and the window's length."""
    (folder / "link.db").symlink_to("app.db")
    (folder / "driftd.toml").write_text(
        '[targets.web]\nurl = "sqlite:///link.db"\nmodels = ["models.sql"]\nwindow.timeout = 7\n', "utf-8"
    )
    with Alone({}) as alone:
        found = alone.where(soon())
    assert found == {"target": "web", "database": str(folder / "app.db"), "timeout_s": 7}


def test_what_is_wrong_with_the_configuration_is_an_error(folder: Path) -> None:
    """An error of the configuration comes back as a document, and the child has ended."""
    with Alone({"config": "nowhere.toml"}) as alone, pytest.raises(AloneError) as caught:
        alone.where(soon())
    assert caught.value.error["code"] == "configuration-missing"
    assert not children()


def test_a_configuration_that_cannot_be_read_in_time_is_given_up(folder: Path) -> None:
    """A child that has not said where by the deadline is not waited for, and does not stay."""
    with Alone(request()) as alone, pytest.raises(AloneError) as caught:
        alone.where(time.monotonic())
    assert caught.value.error["code"] == "window-deadline"
    assert not children()


def test_it_migrates(folder: Path) -> None:
    """Where no daemon serves, the child brings the database in step, and the answer is as of `apply --json`."""
    starter = Starter(str(folder / "app.db"))
    with starter, Alone(request(allowed_by="a test")) as alone:
        found = alone.run(starter)
    assert (found["outcome"], found["operations"], found["by"]) == ("migrated", 1, "alone")
    assert (found["id"], found["target"], found["database"]) == (starter.id, "app", str(folder / "app.db"))
    assert columns(folder / "app.db") == ["id", "title", "state"]
    done = driftd("history", "--json", "--url", "sqlite:///app.db", folder=folder).document
    assert "a test" in {one["allowed_by"] for one in done["migrations"]}
    assert not children()


def test_what_models_print_goes_nowhere_near_the_answers(folder: Path) -> None:
    """Models that print to stdout, and write to its descriptor, disturb nothing."""
    (folder / "app.py").write_text(
        "import os\nprint('{\"answer\": 1}')\nos.write(1, b'x' * 100000)\n"
        "from sqlalchemy import MetaData, Table, Column, Integer\n"
        "metadata = MetaData()\nTable('task', metadata, Column('id', Integer, primary_key=True))\n",
        encoding="utf-8",
    )
    (folder / "app.db").unlink()
    starter = Starter(str(folder / "app.db"))
    with starter, Alone(request("app:metadata")) as alone:
        found = alone.run(starter)
    assert found["outcome"] == "migrated", found
    assert columns(folder / "app.db") == ["id"]


def test_a_window_gives_no_right_to_another_database(folder: Path) -> None:
    """A configuration that names another database than the one whose window is open changes neither."""
    make(folder / "other.db")
    starter = Starter(str(folder / "other.db"))
    with starter, Alone(request()) as alone:
        found = alone.run(starter)
    assert (found["outcome"], found["by"], found["error"]["code"]) == ("skipped", None, "window-elsewhere")
    assert columns(folder / "app.db") == columns(folder / "other.db") == ["id", "title"]


def test_nothing_is_committed_in_a_window_that_has_closed(folder: Path) -> None:
    """A starter that no longer holds its lock gets nothing changed behind its back."""
    starter = Starter(str(folder / "app.db"))
    with starter:
        alone = Alone(request())
        alone.where(soon())
    with alone:
        found = alone.run(starter)
    assert found["outcome"] != "migrated"
    assert found["error"]["code"] == "window-closed"
    assert columns(folder / "app.db") == ["id", "title"]


def test_others_that_run_keep_back_what_they_would_not_survive(folder: Path) -> None:
    """While another service runs on the schema, its columns stay, and the child sees that by its lock."""
    (folder / "models.sql").write_text(MODELS.replace("title TEXT", "title TEXT NOT NULL"), encoding="utf-8")
    with closing(sqlite3.connect(folder / "app.db", isolation_level=None)) as connection:
        connection.execute("UPDATE task SET title = 'a'")
    other = _running_service(folder / "app.db")
    starter = Starter(str(folder / "app.db"))
    try:
        with starter, Alone(request()) as alone:
            found = alone.run(starter)
    finally:
        os.close(other)
    assert (found["outcome"], found["error"]["code"]) == ("deferred", "in-use")
    assert [one["code"] for one in found["held"]] == ["in-use"]


def _running_service(database: Path) -> int:
    """The lock that a running service holds, on a descriptor of its own."""
    import fcntl

    descriptor = os.open(f"{database}.inuse.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@pytest.mark.parametrize(("models", "outcome"), [(MODELS, "up_to_date"), (NARROWER, "deferred")])
def test_mode_observe_writes_nothing(folder: Path, models: str, outcome: str) -> None:
    """In mode observe the answer only says whether anything would have been done."""
    (folder / "models.sql").write_text(models, encoding="utf-8")
    before = (folder / "app.db").read_bytes()
    starter = Starter(str(folder / "app.db"))
    with starter, Alone(request(everywhere={"mode": "observe"})) as alone:
        found = alone.run(starter)
    assert found["outcome"] == outcome
    assert (found["error"] or {}).get("code") == (None if outcome == "up_to_date" else "mode-observe")
    assert (folder / "app.db").read_bytes() == before


def test_models_that_hang_end_with_the_window(folder: Path) -> None:
    """An import that never ends is given up before the deadline, with all its processes, and nothing is changed."""
    (folder / "app.py").write_text(
        "import os, time, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)\n",
        encoding="utf-8",
    )
    with Alone(request("app:metadata")) as alone:
        alone.where(soon())
        with Starter(str(folder / "app.db"), timeout=3) as starter:
            found = alone.run(starter)
    assert (found["outcome"], found["error"]["code"]) == ("deferred", "window-deadline")
    # On a slow machine the window may be over before the models are looked at.
    assert not (folder / "pid").exists() or is_gone(int((folder / "pid").read_text(encoding="utf-8")))
    assert not children()
    assert columns(folder / "app.db") == ["id", "title"]


def test_a_child_that_dies_is_told(folder: Path) -> None:
    """Models that kill the process which loads them stop nobody: it failed, and nothing was changed."""
    (folder / "app.py").write_text("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n", "utf-8")
    starter = Starter(str(folder / "app.db"))
    with starter, Alone(request("app:metadata")) as alone:
        found = alone.run(starter)
    assert (found["outcome"], found["error"]["code"]) == ("failed", "engine-process")
    assert f"signal {signal.SIGKILL.value}" in found["error"]["why"]


def test_a_child_that_hangs_in_its_commit_leaves_the_outcome_unknown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a COMMIT has begun, a child that has to be killed may or may not have done it."""
    speaking(folder, monkeypatch, "echo '{\"committing\": true}'\nexec sleep 600")
    starter = Starter(str(folder / "app.db"), timeout=1)
    with starter, Alone(request()) as alone:
        found = alone.run(starter)
    assert (found["outcome"], found["by"]) == ("unknown", None)
    assert found["error"]["code"] == "window-unknown"
    assert not children()


def test_a_child_that_hangs_before_its_commit_has_changed_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that neither answers nor ends when it is asked to is killed at the deadline."""
    speaking(folder, monkeypatch, "trap '' TERM\nexec sleep 600")
    starter = Starter(str(folder / "app.db"), timeout=1)
    with starter, Alone(request()) as alone:
        found = alone.run(starter)
    assert (found["outcome"], found["error"]["code"]) == ("deferred", "window-deadline")
    assert not children()


def test_an_interpreter_that_is_not_there_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no child can be started, the error says why."""
    monkeypatch.setattr(sys, "executable", str(folder / "python-gone"))
    with Alone(request()) as alone, pytest.raises(AloneError) as caught:
        alone.where(soon())
    assert caught.value.error["code"] == "engine-process"
    assert "No such file" in caught.value.error["why"]


def test_python_inside_another_program_runs_the_interpreter_of_its_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that embeds Python is not started a second time in the place of an interpreter."""
    monkeypatch.setattr(sys, "executable", "/usr/sbin/some-server")
    found = os.path.basename(parents_side.interpreter())  # noqa: PTH119 - as the code does
    assert found == f"python{sys.version_info[0]}.{sys.version_info[1]}"


def test_an_idle_child_ends_with_its_parent(folder: Path) -> None:
    """A child that waits for its turn ends as soon as nobody is left to tell it."""
    alone = Alone(request())
    alone.where(soon())
    [child] = children()
    process = alone._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    alone.close()
    assert not child.is_running()
