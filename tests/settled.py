"""Waits until files are old enough for their times to be believed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from driftengine.footprint import TICK

if TYPE_CHECKING:
    from pathlib import Path


def settle(folder: Path) -> None:
    """Wait until nothing in a folder has changed for longer than a file system's clock needs to tell.

    Nothing notifies of that: it is the passing of time itself, so it is looked at again and again.
    """
    newest = max(path.lstat().st_ctime_ns for path in (folder, *folder.rglob("*")))
    while time.time_ns() <= newest + TICK:
        time.sleep(0.005)
