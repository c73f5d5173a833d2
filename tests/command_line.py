"""Runs the real `driftd` command in a process of its own, with an environment that configures nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Stdout as the one JSON document that it must be."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def driftd(*arguments: str, folder: Path, **environment: str) -> Finished:
    """Run `driftd` in a folder. HOME is that folder, so that no file of the machine is found."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DRIFTD_", "XDG_", "MCP_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "driftd", *arguments],
        cwd=folder,
        env={**kept, "HOME": str(folder), **environment},
        capture_output=True,
        check=False,
        timeout=100,
    )
    return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())
