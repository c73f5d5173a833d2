"""The demo's folder: a configuration, models that move on, a database with rows, and the real command."""

from __future__ import annotations

import difflib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from driftd.socket_file import LONGEST_PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

PROJECTS = ("Garden", "Kitchen", "Workshop")
TASKS = 300
STATES = ("open", "doing", "done")
PEOPLE = ("Ada", "Grace", "Linus")
SOCKET = "driftd.sock"
SERVICE = "serve.py"
CONFIGURATION = """\
[daemon]
socket = "{socket}"

[targets.tracker]
url = "sqlite:///tracker.db"
models = ["tracker.models:Base"]
mode = "{mode}"

[targets.tracker.backup]
directory = "backups"
"""


@dataclass(frozen=True, slots=True)
class Tracker:
    """The folder that the story plays in, and the daemon's socket, which is elsewhere where the folder's path is long."""

    folder: Path
    socket: Path

    @classmethod
    def make(cls) -> Tracker:
        """In an empty temporary folder."""
        folder = Path(tempfile.mkdtemp(prefix="driftd-demo-")).resolve()
        socket = folder / SOCKET
        if len(os.fsencode(socket)) > LONGEST_PATH:
            # Not below TMPDIR, which is what was too long.
            socket = Path(tempfile.mkdtemp(prefix="driftd-demo-", dir="/tmp")) / SOCKET
        return cls(folder, socket)

    def remove(self, *, keep: bool = False) -> None:
        """Remove all of it, or, to keep the folder, what lies elsewhere."""
        if self.socket.parent != self.folder:
            shutil.rmtree(self.socket.parent)
        if not keep:
            shutil.rmtree(self.folder)

    @property
    def database(self) -> Path:
        """The database of the task tracker."""
        return self.folder / "tracker.db"

    @property
    def models(self) -> str:
        """Its models, as text."""
        return self._models.read_text(encoding="utf-8")

    @property
    def _models(self) -> Path:
        return self.folder / "tracker" / "models.py"

    def build(self) -> None:
        """Write the configuration and the models as they are at first."""
        self._models.parent.mkdir()
        (self._models.parent / "__init__.py").touch()
        (self.folder / SERVICE).write_text(shipped("service.py"), encoding="utf-8")
        self.configure("window")
        self.save(shipped("models_before.py"))

    def configure(self, mode: str) -> None:
        """Write the configuration with this mode."""
        # What is relative needs no quoting, whatever the temporary folder is called.
        socket = SOCKET if self.socket.parent == self.folder else self.socket
        text = CONFIGURATION.format(socket=socket, mode=mode)
        (self.folder / "driftd.toml").write_text(text, encoding="utf-8")

    def save(self, models: str) -> float:
        """Save the models as an editor does; the moment after that, on the monotonic clock."""
        self._models.write_text(models, encoding="utf-8")
        return time.monotonic()

    def run(self, *arguments: str) -> int:
        """Run driftd as a person would, its output where ours goes; its exit code."""
        command = _command(arguments)
        done = subprocess.run(command, cwd=self.folder, env=self._environment(), check=False)  # noqa: S603  # ourselves
        return done.returncode

    def serve(self, *behind: str) -> tuple[int, str]:
        """Start the service, `behind` a command of driftd's if there is one; its exit code, and what both say together."""
        command = [*(_command(behind) if behind else ()), sys.executable, SERVICE]
        done = subprocess.run(  # noqa: S603  # our own interpreter, and what we have written
            command,
            cwd=self.folder,
            env={**self._environment(), "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.returncode, done.stdout.decode()

    def ask(self, *arguments: str) -> str:
        """Run driftd and take its stdout."""
        done = subprocess.run(  # noqa: S603  # our own interpreter and module
            _command(arguments), cwd=self.folder, env=self._environment(), check=False, stdout=subprocess.PIPE
        )
        return done.stdout.decode()

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start driftd, to go on beside us; what it says on stderr is to be read."""
        return subprocess.Popen(  # noqa: S603  # our own interpreter and module
            _command(arguments),
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )

    def _environment(self) -> dict[str, str]:
        """Ours without what configures driftd: the story has a configuration of its own, and remembers nothing elsewhere."""
        # DRIFTD_TARGET or DRIFTD_MODE of whoever runs the demo would change what the story tells.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTD_")}
        return {
            **kept,
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }

    def fill(self) -> None:
        """Give the tracker projects and tasks."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.executemany("INSERT INTO project (name) VALUES (?)", [(name,) for name in PROJECTS])
            connection.executemany(
                "INSERT INTO task (project_id, title, state, assignee, legacy_code) VALUES (?, ?, ?, ?, ?)",
                [_task(number) for number in range(1, TASKS + 1)],
            )

    def add(self, titles: Sequence[str]) -> None:
        """Give the first project more tasks, as the service does after its models have moved on."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.executemany(
                "INSERT INTO task (project_id, title, state) VALUES (1, ?, 'open')",
                [(title,) for title in titles],
            )

    def rows(self, columns: Sequence[str]) -> list[tuple[object, ...]]:
        """The tasks with their projects, in these columns."""
        wanted = ", ".join(columns)
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(
                f"SELECT {wanted} FROM task JOIN project ON project.id = task.project_id ORDER BY task.id"
            ).fetchall()

    def columns(self) -> set[str]:
        """The columns that the tasks have now."""
        with closing(sqlite3.connect(self.database)) as connection:
            return {row[1] for row in connection.execute("PRAGMA table_info(task)")}

    def processes(self) -> list[psutil.Process]:
        """The processes that work in the folder."""
        here = str(self.folder)
        return [found for found in psutil.process_iter(["cwd"]) if found.info["cwd"] == here]


def shipped(name: str) -> str:
    """The text of the service, or of one of the two versions of its models, as they come with driftd."""
    return (files("driftd.demo") / name).read_text(encoding="utf-8")


def models_diff(before: str, after: str) -> list[str]:
    """What was edited in the models, as a diff's added and removed lines."""
    changes = list(difflib.unified_diff(_body(before), _body(after), n=0, lineterm=""))[2:]
    return [line for line in changes if line[1:].strip() and not line.startswith("@@")]


def _body(text: str) -> list[str]:
    lines = text.splitlines()
    return lines[lines.index("class Base(DeclarativeBase):") :]


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
