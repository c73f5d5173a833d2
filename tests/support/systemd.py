"""systemd-analyze, asked about unit files. It returns 0 for keys that it does not know: what counts is that it is silent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs systemd-analyze; skips where it is missing and nobody has promised that it is there."""
    found = shutil.which("systemd-analyze")
    if found is None:
        if os.environ.get("REQUIRE_SYSTEMD_ANALYZE"):
            pytest.fail("systemd-analyze is missing, and REQUIRE_SYSTEMD_ANALYZE is set")
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(
        [found, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


def complaints(unit: Path, runtime: Path, *, user: bool = False) -> str:
    """What `systemd-analyze verify` has to say about a unit; `runtime` stands for the session's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        done = analyze("verify", "--man=no", *(["--user"] if user else []), unit)
    return (done.stdout + done.stderr).strip() + (f"exit code {done.returncode}" if done.returncode else "")


def exposure(unit: Path) -> float:
    """The exposure level of a system unit, 0 to 10."""
    done = analyze("security", "--offline=true", "--no-pager", unit)
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])
