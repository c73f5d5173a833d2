"""What a daemon holds at a moment: memory, descriptors, threads, watches, children, and the files that it leaves."""

from __future__ import annotations

import os
import re
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from support.sidecars import Sidecar

FIGURES = (
    "uss",
    "rss",
    "descriptors",
    "threads",
    "watches",
    "children",
    "temporary",
    "remembered",
    "backups",
    "beside",
)


@dataclass(frozen=True)
class Sample:
    """One look at a daemon and its folder. `rss` and `uss` are in kilobytes, `at` in seconds since it began."""

    at: float
    uss: int
    rss: int
    threads: int
    watches: int
    children: int
    temporary: int  # files under its TMPDIR, and whatever a crash would leave: *.partial, *.new
    remembered: int  # files in its cache
    backups: int  # copies of databases
    beside: int  # files beside the databases
    journal_kb: int
    history: int  # rows in all targets
    open: Counter[str] = field(repr=False)  # what its descriptors are
    named: Counter[str] = field(repr=False)  # and its threads

    @property
    def descriptors(self) -> int:
        """How many it has open."""
        return sum(self.open.values())

    def line(self) -> str:
        """The sample for a person."""
        figures = ", ".join(f"{name} {getattr(self, name)}" for name in FIGURES)
        return f"{self.at:7.0f} s: {figures}, journal {self.journal_kb} kB, history {self.history}"


def sample(sidecar: Sidecar, at: float, temporary: Path, databases: Iterable[Path]) -> Sample:
    """A sample of the daemon of a folder, whose TMPDIR is `temporary`."""
    assert sidecar.process is not None
    process = psutil.Process(sidecar.process.pid)
    memory = process.memory_full_info()
    folder, kept = sidecar.folder, list(databases)
    backups = sorted((folder / "backups").rglob("*"))
    left = [path for path in folder.rglob("*") if path.name.endswith((".partial", ".new", ".tmp"))]
    return Sample(
        at=at,
        uss=memory.uss // 1024,
        rss=memory.rss // 1024,
        threads=process.num_threads(),
        watches=watches(process.pid),
        children=len(process.children(recursive=True)),
        temporary=len([*temporary.rglob("*"), *left]),
        remembered=sum(path.is_file() for path in (folder / ".cache").rglob("*")),
        backups=sum(path.suffix == ".db" for path in backups),
        beside=sum(len(list(path.parent.glob(f"{path.name}?*"))) for path in kept),
        journal_kb=sum(path.stat().st_size for path in backups if path.name == "journal.jsonl") // 1024,
        history=sum(map(rows_of_history, kept)),
        open=open_things(process.pid, folder),
        named=threads(process.pid),
    )


def open_things(pid: int, folder: Path) -> Counter[str]:
    """What its descriptors are, by kind or by name: numbers and what differs from one to the next taken out."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile, or it was the one that listed them
            found[re.sub(r"\d+", "#", str(entry.readlink()).replace(str(folder), "."))] += 1
    return found


def watches(pid: int) -> int:
    """How many inotify watches it has."""
    count = 0
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):
            count += entry.read_text(encoding="ascii").count("inotify wd:")
    return count


def threads(pid: int) -> Counter[str]:
    """Its threads by name, as the kernel has them."""
    found: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            found[re.sub(r"\d+", "#", (task / "comm").read_text(encoding="utf-8").strip())] += 1
    return found


def woken(pid: int) -> int:
    """How often its threads have slept and been woken."""
    return sum(
        int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir()
        for line in (task / "status").read_text(encoding="ascii").splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


def processor_s(pid: int) -> float:
    """Seconds of the processor that it has used, without its children."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def rows_of_history(database: Path) -> int:
    """How many rows driftd's history has; 0 where there is none."""
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection,
    ):
        return int(connection.execute("SELECT count(*) FROM driftd_history").fetchone()[0])
    return 0


def thirds(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> tuple[float, float]:
    """The medians of the second and of the last third: the first is the warm-up."""
    third = len(samples) // 3
    return median(map(figure, samples[third : 2 * third])), median(map(figure, samples[2 * third :]))


def descriptors_of(pid: int) -> int:
    """How many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  # names are all that is wanted
