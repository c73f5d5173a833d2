"""Counts what random tests have tried, so that a long run can say how often each promise was attacked."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def tried(what: str, times: int = 1) -> None:
    """Notes so many tries in the file that DRIFTD_TRIES names; nothing where it names none."""
    path = os.environ.get("DRIFTD_TRIES")
    if not path:
        return
    # One short write in append mode: the processes of one run do not get in each other's way.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{times} {what}\n".encode())
    finally:
        os.close(descriptor)


def counted(path: Path) -> Counter[str]:
    """The tries by what was tried."""
    found: Counter[str] = Counter()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        times, _, what = line.partition(" ")
        found[what] += int(times)
    return found
