"""The demo's folder: a configuration, models that can move on, a database with rows, and the real command."""

from __future__ import annotations

import difflib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROJECTS = ("Garden", "Kitchen", "Workshop")
TASKS = 300
STATES = ("open", "doing", "done")
PEOPLE = ("Ada", "Grace", "Linus")
CONFIGURATION = """\
[targets.tracker]
url = "sqlite:///tracker.db"
models = ["tracker.models:Base"]

[targets.tracker.backup]
directory = "backups"
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """The folder that the story plays in."""

    folder: Path

    @property
    def database(self) -> Path:
        """The database of the task tracker."""
        return self.folder / "tracker.db"

    def build(self) -> None:
        """Write the configuration and the models as they are at first."""
        package = self.folder / "tracker"
        package.mkdir()
        (package / "__init__.py").touch()
        (self.folder / "driftd.toml").write_text(CONFIGURATION, encoding="utf-8")
        self.put_models("models_before.py")

    def put_models(self, name: str) -> None:
        """Make one of the two files the tracker's models."""
        (self.folder / "tracker" / "models.py").write_text(_text(name), encoding="utf-8")

    def run(self, *arguments: str) -> int:
        """Run driftd as a person would, its output where ours goes; its exit code."""
        command = _command(arguments)
        done = subprocess.run(command, cwd=self.folder, env=_environment(), check=False)  # noqa: S603  # ourselves
        return done.returncode

    def ask(self, *arguments: str) -> str:
        """Run driftd and take its stdout."""
        done = subprocess.run(  # noqa: S603  # our own interpreter and module
            _command(arguments), cwd=self.folder, env=_environment(), check=False, stdout=subprocess.PIPE
        )
        return done.stdout.decode()

    def fill(self) -> None:
        """Give the tracker projects and tasks."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.executemany("INSERT INTO project (name) VALUES (?)", [(name,) for name in PROJECTS])
            connection.executemany(
                "INSERT INTO task (project_id, title, state, assignee, legacy_code) VALUES (?, ?, ?, ?, ?)",
                [_task(number) for number in range(1, TASKS + 1)],
            )

    def rows(self, columns: Sequence[str]) -> list[tuple[object, ...]]:
        """The tasks with their projects, in these columns."""
        wanted = ", ".join(columns)
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(
                f"SELECT {wanted} FROM task JOIN project ON project.id = task.project_id ORDER BY task.id"
            ).fetchall()

    def backups(self) -> int:
        """How many backups there are."""
        return len(list((self.folder / "backups").rglob("*.db")))


def models_diff() -> list[str]:
    """What was edited in the models, as a diff's added and removed lines."""
    before, after = _body("models_before.py"), _body("models_after.py")
    changes = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
    return [line for line in changes if line[1:].strip() and not line.startswith("@@")]


def _body(name: str) -> list[str]:
    lines = _text(name).splitlines()
    return lines[lines.index("class Base(DeclarativeBase):") :]


def _text(name: str) -> str:
    return (files("driftd.demo") / name).read_text(encoding="utf-8")


def _task(number: int) -> tuple[int, str, str, str, str]:
    return (
        number % len(PROJECTS) + 1,
        f"Task number {number}",
        STATES[number % len(STATES)],
        PEOPLE[number % len(PEOPLE)],
        f"L-{number:04}",
    )


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "driftd", *arguments]


def _environment() -> dict[str, str]:
    """Ours without what configures driftd: the story has a configuration of its own."""
    # DRIFTD_TARGET or DRIFTD_MODE of whoever runs the demo would change what the story tells.
    return {name: value for name, value in os.environ.items() if not name.startswith("DRIFTD_")}
