"""Running driftd as a person does, and scripts inside the environment of a release."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent / "scripts"
TIMEOUT = 100.0  # seconds for one command; a hang fails the test, no test measures


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command ended with, the document on its stdout, and what it said on stderr."""

    exit: int
    document: dict[str, Any]
    said: str


@dataclass(frozen=True, slots=True)
class Case:
    """One database, the models that it should follow, and the folder that driftd works in.

    `models` is a spec, or several with spaces between.
    """

    database: Path
    python: Path
    models: str

    @property
    def folder(self) -> Path:
        """Where driftd runs; backups go below it."""
        return self.database.parent

    def run(self, *command: str) -> Answer:
        """`driftd COMMAND … --json` for this database, apart from whatever the machine has configured."""
        arguments = [
            *(sys.executable, "-m", "driftd", *command, "--json"),
            *("--url", f"sqlite:///{self.database}", "--python", str(self.python)),
            *(word for spec in self.models.split() for word in ("--models", spec)),
        ]
        done = subprocess.run(
            arguments,
            cwd=self.folder,
            env=self._settings(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.stdout, (
            f"{' '.join(command)} ended with {done.returncode} and printed nothing:\n{done.stderr}"
        )
        return Answer(done.returncode, json.loads(done.stdout), done.stderr)

    def _settings(self) -> dict[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("DRIFTD_", "XDG_", "PYTHON"))
        }
        folders = {
            f"XDG_{kind}_HOME": str(self.folder / kind.lower()) for kind in ("CACHE", "STATE", "CONFIG")
        }
        return kept | folders

    def backups(self) -> list[Path]:
        """Every backup file that driftd has left below its folder."""
        return sorted(self.folder.rglob("backup_*.db"))


def in_release(python: Path, script: str, *arguments: str | Path) -> str:
    """The stdout of a script of ours, run by the Python of a release's environment; it must succeed."""
    command = [str(python), str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, f"{script} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
