"""What the benchmarks share: how large the large database is, and how figures are shown."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MEGABYTES = int(os.environ.get("DRIFTD_BENCH_MB", "1000"))


def show(*lines: str) -> None:
    """Writes to the terminal."""
    sys.stdout.write("\n".join(["", *lines, ""]))


def quantiles(seconds: Sequence[float]) -> str:
    """p50, p99 and the most, in milliseconds."""
    ordered = sorted(seconds)
    picked = (ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1])
    return "p50 {:.2f} ms, p99 {:.2f} ms, most {:.2f} ms".format(*(1000 * one for one in picked))
