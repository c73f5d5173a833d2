"""What the benchmarks share: how large and how often, and how figures are shown."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def _bound(name: str, default: int) -> int:
    return int(os.environ.get(f"DRIFTD_BENCH_{name}") or default)


MEGABYTES = _bound("MB", 5000)  # of the largest database
LARGE = min(1000, MEGABYTES)  # megabytes of the one that is staged
ROWS = _bound("ROWS", 2_000_000)  # of the large table
TABLES = _bound("TABLES", 1000)  # of the largest schema
TURNS = _bound("TURNS", 3)  # of what takes seconds
CALLS = _bound("CALLS", 1000)  # of what takes microseconds
IDLE = _bound("IDLE", 120)  # seconds
MB = 1e-6  # bytes to MB


def show(*lines: str) -> None:
    """Writes to the terminal."""
    sys.stdout.write("\n".join(["", *lines, ""]))


def quantiles(seconds: Sequence[float]) -> str:
    """p50, p99 and the most, in milliseconds."""
    ordered = sorted(seconds)
    picked = (ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1])
    return "p50 {:.2f} ms, p99 {:.2f} ms, most {:.2f} ms".format(*(1000 * one for one in picked))
