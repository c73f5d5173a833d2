"""The orchestrator's server in a folder of its own, started as its users start it: bare, or behind `driftd exec`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from real import mcp_client
from support.sidecars import Sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
TARGET = "orchestrator"
SERVER = ("-m", "mcp_task_orchestrator.server")
EXEC = (sys.executable, "-m", "driftd", "exec", "--")
# The server writes its log to stdout up to INFO, among the messages of the protocol; warnings go to stderr.
QUIET = {"MCP_TASK_ORCHESTRATOR_LOG_LEVEL": "WARNING"}
TIMEOUT = 100.0  # seconds for one command; a hang fails the test, no test measures
CONFIGURATION = """\
[targets.orchestrator]
url = "sqlite:///${{MCP_TASK_ORCHESTRATOR_DB_PATH:-.task_orchestrator/task_orchestrator.db}}"
models = ["mcp_task_orchestrator.db.models:Base"]
python = "{python}"
"""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workplace:
    """A folder where a server works, on the database that stands there by its rules; `python` is the server's.

    `settings` is what the environment says besides, to driftd and to the server. `runner` is the Python that runs driftd.
    """

    folder: Path
    python: Path
    settings: dict[str, str] = field(default_factory=dict)
    runner: str = sys.executable

    @property
    def database(self) -> Path:
        """Where the server looks for it."""
        given = self.settings.get("MCP_TASK_ORCHESTRATOR_DB_PATH")
        return Path(given) if given else self.folder / ".task_orchestrator" / "task_orchestrator.db"

    def configure(self) -> Workplace:
        """Writes the configuration that driftd finds there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "driftd.toml").write_text(CONFIGURATION.format(python=self.python), encoding="utf-8")
        return self

    def environment(self, **more: str) -> dict[str, str]:
        """What a process finds there: nothing of this machine is configured."""
        return {**_bare(), "HOME": str(self.folder), **self._ours(), **more}

    def _ours(self) -> dict[str, str]:
        return {"DRIFTD_SOCKET": str(self.folder / "d.sock"), **self.settings}

    @contextmanager
    def server(
        self, command: Sequence[str | Path] | None = None, *, name: str = "server", **more: str
    ) -> Iterator[mcp_client.Client]:
        """The server behind `driftd exec`, or another command that becomes it, while the block runs.

        Its stderr goes to a file of that name; `more` is its environment besides.
        """
        words = command or (*EXEC, self.python, *SERVER)
        stderr = self.folder / f"{name}.stderr"
        with mcp_client.connected(
            words, folder=self.folder, environment=self.environment(**QUIET | more), stderr=stderr
        ) as client:
            yield client

    def sidecar(self) -> Sidecar:
        """A daemon for this database; not started yet."""
        return Sidecar(self.folder, environment=self._ours(), configured=(), python=(self.runner,))

    def driftd(self, *words: str) -> Document:
        """The document of a command of driftd's that is typed there, which must end with 0."""
        command = (self.runner, "-m", "driftd", *words, "--json")
        found: Document = json.loads(run(*command, folder=self.folder, environment=self.environment()))
        return found

    def migrations(self) -> list[Document]:
        """The migrations in the history."""
        listed = self.driftd("history")["migrations"]
        return [one for one in listed if one["migration_id"]]

    def backups(self) -> list[Path]:
        """Every backup file that driftd has left there."""
        return sorted((self.folder / "backups").rglob("backup_*.db"))


def install(python: Path, folder: Path) -> Path:
    """A virtual environment in that folder with driftd installed from a wheel, and all that is beside `python`; its Python.

    `bin/driftd` is there too, as an installation makes it.
    """
    run(
        *(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder / "wheel"),
        folder=ROOT,
    )
    wheel = next((folder / "wheel").glob("*.whl"))
    run(python, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    installed = folder / "venv" / "bin" / "python"
    below, own = (
        Path(run(one, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip())
        for one in (python, installed)
    )
    (own / "beside.pth").write_text(f"{below}\n", encoding="utf-8")
    pip = (python, "-m", "pip", "--python", installed, "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", wheel, folder=folder)
    return installed


def rewritten(wheel_of: Path, folder: Path) -> Path:
    """A folder to be put first on PYTHONPATH: the orchestrator of that Python with its one import line changed to driftd's."""
    found = run(
        wheel_of,
        "-c",
        "import mcp_task_orchestrator as package; print(package.__path__[0])",
        folder=folder,
    )
    package = folder / "changed" / "mcp_task_orchestrator"
    shutil.copytree(found.strip(), package, ignore=shutil.ignore_patterns("__pycache__"))
    server = package / "server.py"
    text, count = re.subn(
        r"^from \.db\.auto_migration import execute_startup_migration$",
        "from driftd import execute_startup_migration",
        server.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert count == 1
    server.write_text(text, encoding="utf-8")
    return package.parent


def run(*command: str | Path, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """The stdout of a command, which must end with 0."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=dict(environment if environment is not None else _bare()),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _bare() -> dict[str, str]:
    """The environment of this process without what configures driftd, a server, or Python."""
    ours = ("DRIFTD_", "XDG_", "MCP_", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
