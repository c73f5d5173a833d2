"""`driftd check` in a new process: what it remembers, and what it does without."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from command_line import driftd
from driftengine import history, remembered_answer
from probe_project import ModelProject
from settled import settle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNTING = "import os\nwith open('runs', 'a') as runs:\n    runs.write('x')\n"
TASK = "CREATE TABLE task (id INTEGER NOT NULL, PRIMARY KEY (id))"
FLAGS = ("--url", "sqlite:///app.db", "--models", "models:Base")
# Runs the command as its entry point does, and tells which modules it took, and which events say that a process began.
WITNESS = """
import json, sys
begun = []
def note(event, arguments):
    if event in ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec", "os.system"):
        begun.append(event)
sys.addaudithook(note)
from driftd.cli.main import run
code = run(sys.argv[1:])
print(json.dumps([code, begun, sorted(sys.modules)]), file=sys.stderr)
"""


class App:
    """A folder with models that count their loads, and a database in step with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = ModelProject(folder)
        self.project.models(COUNTING)
        self.sql(TASK)

    def sql(self, *statements: str) -> None:
        """Change the database, as somebody else."""
        with closing(sqlite3.connect(self.folder / "app.db")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    def check(self, *more: str) -> dict[str, Any]:
        """The document of a check."""
        settle(self.folder)
        done = driftd("check", *FLAGS, "--json", *more, folder=self.folder)
        assert done.code in {0, 1}, done.err
        return done.document

    @property
    def runs(self) -> int:
        """How often the models have been loaded."""
        return len((self.folder / "runs").read_text())


@pytest.fixture
def app(tmp_path: Path) -> App:
    """A service whose database is in step."""
    return App(tmp_path)


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    """What two checks of the same state have in common."""
    return {key: value for key, value in document.items() if key not in {"timings_ms", "models"}}


def test_the_second_check_answers_from_what_is_remembered(app: App) -> None:
    """Its document is the same, it says where the models came from, and they were loaded once."""
    app.sql("CREATE TABLE other (a)")
    first, second, third = app.check(), app.check(), app.check()
    assert [one["models"] for one in (first, second, third)] == ["probed", "remembered", "remembered"]
    assert without_times(first) == without_times(second) == without_times(third)
    assert first["unmanaged"] == [{"type": "table", "name": "other"}]
    assert first["timings_ms"].keys() == third["timings_ms"].keys()
    assert third["timings_ms"]["probe"] == 0.0
    assert app.runs == 1


def test_a_remembered_check_loads_no_sqlalchemy_and_starts_no_process(app: App) -> None:
    """Neither the models' library, nor what runs processes, shows colours or parses SQL, and no probe."""
    app.check()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRIFTD_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", WITNESS, "check", *FLAGS],
        cwd=app.folder,
        env={**kept, "HOME": str(app.folder)},
        capture_output=True,
        check=True,
        timeout=100,
    )
    code, begun, modules = json.loads(done.stderr)
    assert (code, begun) == (0, [])
    assert b"in sync" in done.stdout
    unwanted = {
        "sqlalchemy",
        "rich",
        "subprocess",
        "multiprocessing",
        "watchdog",
        "asyncio",
        "importlib.metadata",
    }
    assert not unwanted & set(modules)
    assert "driftengine.remembered" in modules
    assert not [
        name for name in modules if name.startswith(("driftengine.dialects.sqlite.p", "driftengine.apply"))
    ]
    assert app.runs == 1


def test_fresh_loads_the_models_whatever_is_remembered(app: App) -> None:
    """--fresh believes nothing, and what it finds is what the next check remembers."""
    app.check()
    assert app.check("--fresh")["models"] == "probed"
    assert app.check()["models"] == "remembered"
    assert app.runs == 2


CHANGES: dict[str, Callable[[App], object]] = {
    "an extra column": lambda app: app.sql("ALTER TABLE task ADD COLUMN extra TEXT"),
    "a missing table": lambda app: app.sql("DROP TABLE task"),
    "another table in its place": lambda app: app.sql("DROP TABLE task", "CREATE TABLE task (id TEXT)"),
    "other models": lambda app: app.project.models(
        COUNTING + "Table('more', Base.metadata, Column('id', Integer, primary_key=True))\n"
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_drift_after_an_answer_that_was_remembered_is_seen(app: App, change: Callable[[App], object]) -> None:
    """Whichever side moves, the next check tells, and the one after a repair is in sync again."""
    assert app.check()["in_sync"]
    assert app.check()["in_sync"]
    change(app)
    drifted = app.check()
    assert not drifted["in_sync"]
    assert without_times(app.check()) == without_times(drifted)
    app.project.models(COUNTING)
    app.sql("DROP TABLE IF EXISTS task", TASK)
    assert app.check()["in_sync"]


def test_rows_do_not_matter_and_new_objects_do(app: App) -> None:
    """Inserts keep the remembered answer; an unmanaged table that appears is listed at once."""
    app.check()
    app.sql("INSERT INTO task VALUES (1), (2)")
    assert app.check()["unmanaged"] == []
    app.sql("CREATE TABLE other (a)", "CREATE VIEW seen AS SELECT * FROM task")
    assert {row["name"] for row in app.check()["unmanaged"]} == {"other", "seen"}
    assert app.runs == 1


def test_other_settings_are_another_question(app: App) -> None:
    """What the configuration leaves out is not taken from an answer that was given with other settings."""
    app.sql("CREATE TABLE other (a)")
    config = app.folder / "driftd.toml"
    lines = '[targets.app]\nurl = "sqlite:///app.db"\nmodels = ["models:Base"]\n'
    for ignore, expected in (("[]", 1), ('["other"]', 0), ("[]", 1)):
        config.write_text(f"{lines}python = {json.dumps(sys.executable)}\nignore = {ignore}\n")
        settle(app.folder)
        for _ in range(2):
            done = driftd("check", "--json", folder=app.folder)
            assert len(done.document["unmanaged"]) == expected, done


def test_an_apply_in_between_is_seen(app: App) -> None:
    """The history that an apply writes is part of the question; the check behind it answers as one without memory."""
    app.check()
    assert driftd("apply", *FLAGS, "--json", folder=app.folder).code == 0
    found = app.check()
    assert without_times(found) == without_times(app.check("--fresh"))
    assert found["in_sync"]


def test_a_database_that_cannot_be_read_says_why(app: App) -> None:
    """What is remembered never hides an error."""
    app.check()
    (app.folder / "app.db").write_bytes(b"no database at all" * 100)
    done = driftd("check", *FLAGS, "--json", folder=app.folder)
    assert (done.code, done.document["error"]["code"]) == (2, "database-not-sqlite")


def test_a_database_that_is_written_is_checked(app: App) -> None:
    """A writer who holds the database locked for a moment is waited for, as ever."""
    app.check()
    with closing(sqlite3.connect(app.folder / "app.db", isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        process = subprocess.Popen(
            [sys.executable, "-m", "driftd", "check", *FLAGS, "--json"],
            cwd=app.folder,
            env={**os.environ, "HOME": str(app.folder)},
            stdout=subprocess.PIPE,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        writer.execute("ROLLBACK")
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["in_sync"]


def test_without_a_home_nothing_is_remembered(app: App) -> None:
    """A process without HOME and cache folder checks all the same."""
    for _ in range(2):
        done = driftd("check", *FLAGS, "--json", folder=app.folder, HOME="")
        assert done.document["models"] == "probed"
    assert app.runs == 2


def test_a_look_leaves_the_folder_of_a_wal_database_alone(app: App) -> None:
    """A remembered check of a database in WAL mode leaves neither -wal nor -shm."""
    app.sql("PRAGMA journal_mode = WAL")
    for _ in range(3):
        app.check()
        assert sorted(path.name for path in app.folder.glob("app.db*")) == ["app.db"]


def test_the_name_of_the_history_is_the_engines() -> None:
    """It stands in two places, because importing one from the other would cost what is to be saved."""
    assert remembered_answer.HISTORY == history.TABLE
