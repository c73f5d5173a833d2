"""The machine on which was measured: what a reader needs to judge the figures, and nothing that names its owner."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from support.bench_record import commit

if TYPE_CHECKING:
    from collections.abc import Sequence

DISK_MB = 512
DISK_TRIES = 3
MIB = 1 << 20
# What a rival's interpreter is asked: its own versions.
ASK = """
import json, platform, sqlite3, sys
from importlib import metadata
versions = {name: metadata.version(name) for name in sys.argv[1:]}
print(json.dumps({"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, **versions}))
"""


def describe(rivals: Sequence[tuple[Path, Sequence[str]]], disk_mb: int = DISK_MB) -> dict[str, str]:
    """The machine, line by line. `rivals` are interpreters, each with the packages whose versions matter."""
    lines = {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / (1 << 30):.0f} GiB",
        "disk": f"{_file_system()}: {disk_speed(disk_mb)}",
        "system": f"{platform.system()} {platform.release().partition('-')[0]} ({platform.machine()})",
        "driftd": f"commit {commit() or 'unknown'} on {_versions_here()}",
    }
    for python, packages in rivals:
        answer = subprocess.run([python, "-c", ASK, *packages], capture_output=True, text=True, check=True)
        told = json.loads(answer.stdout)
        lines[packages[0]] = ", ".join(f"{name} {version}" for name, version in told.items())
    lines["measured"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return lines


def same_machine(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether rows of both may stand on one page."""
    return all(one.get(name) == other.get(name) for name in ("processor", "memory", "system"))


def disk_speed(megabytes: int) -> str:
    """Sequential writing with fsync at its end, where the benchmarks' files are: median and best of some tries."""
    block = os.urandom(MIB)
    speeds = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "written"
        for _ in range(DISK_TRIES):
            began = time.perf_counter()
            with path.open("wb") as file:
                for _ in range(megabytes):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            speeds.append(megabytes * MIB / 1e6 / (time.perf_counter() - began))
            path.unlink()
    best, middle = max(speeds), sorted(speeds)[len(speeds) // 2]
    return f"{middle:,.0f} MB/s sequential write with fsync (best {best:,.0f}; {DISK_TRIES} times {megabytes} MiB)"


def _versions_here() -> str:
    names = {"SQLAlchemy": "sqlalchemy", "click": "click"}
    packages = ", ".join(f"{shown} {metadata.version(name)}" for shown, name in names.items())
    return f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {packages}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else platform.machine()


def _file_system() -> str:
    """The kind of file system under the temporary folder."""
    place = Path(tempfile.gettempdir()).resolve()
    mounted = [part for part in psutil.disk_partitions(all=True) if place.is_relative_to(part.mountpoint)]
    return max(mounted, key=lambda part: len(part.mountpoint)).fstype if mounted else "unknown"
