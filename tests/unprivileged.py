"""Runs a piece of Python as a user who is not root: root may write everywhere, so its tests of rights prove nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

NOBODY = 65534
ENGINE = Path(__file__).resolve().parent.parent / "engine"


def run(code: str, *arguments: object) -> str:
    """What the code prints; `sys.argv[1:]` holds the arguments, and the engine can be imported."""
    done = _run(_interpreter(), code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _run(python: str, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [python, "-B", "-c", code, *map(str, arguments)]
    user = NOBODY if os.geteuid() == 0 else None
    groups: list[int] | None = [] if os.geteuid() == 0 else None
    environment = {"PYTHONPATH": str(ENGINE), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        user=user,
        group=user,
        extra_groups=groups,
        cwd="/",
        env=environment,
        timeout=60,
    )


@cache
def _interpreter() -> str:
    """An interpreter that this user may run: the one of the tests may stand in root's home."""
    check = "import sys, driftengine; assert sys.version_info >= (3, 11)"
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            if _run(python, check).returncode == 0:
                return python
        except OSError:
            continue
    pytest.skip("no Python 3.11 that an unprivileged user may run")
