"""What the benchmarks measured, as rows: each is written to a file of JSON lines as soon as it is known.

A row that is measured again takes the place of the earlier one, so that a part of the benchmarks can be repeated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from support import bench_budgets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RECORD = "DRIFTD_BENCH_RECORD"  # the file; without it rows are only shown
MILLI = 1000.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What several tries came to, in the row's unit."""

    median: float
    least: float
    p99: float
    most: float
    n: int

    @classmethod
    def of(cls, samples: Iterable[float], times: float = 1.0) -> Figures:
        """Of samples, each multiplied."""
        ordered = sorted(one * times for one in samples)
        return cls(median(ordered), ordered[0], ordered[int(len(ordered) * 0.99)], ordered[-1], len(ordered))


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured.

    Args:
        table: under which heading it stands.
        what: what was done.
        size: on how much.
        unit: of all its figures: `ms`, `s`, `MB`, `%`, `/s`, or "" for a count.
        ours: driftd's figures.
        rival: what was measured beside it in the same run, by turns.
        theirs: the rival's figures.
        budget: which of `bench_budgets.BUDGETS` it is held against; "" where none is promised.
        allowance: what OVER allows besides its limit, in the unit.
        rates: False where being faster than the rival is not what the row asks (memory, growth).
        note: what a reader should know.
        commit: which driftd.
        at: when.
    """

    table: str
    what: str
    size: str
    unit: str
    ours: Figures
    rival: str = ""
    theirs: Figures | None = None
    budget: str = ""
    allowance: float = 0.0
    rates: bool = True
    note: str = ""
    commit: str = ""
    at: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is, whatever was measured."""
        return self.table, self.what, self.size, self.rival


def record(
    table: str,
    what: str,
    size: str,
    samples: Sequence[float],
    *,
    unit: str = "ms",
    times: float = MILLI,
    rivals: Mapping[str, Sequence[float]] | None = None,
    budget: str = "",
    allowance: float = 0.0,
    rates: bool = True,
    note: str = "",
) -> None:
    """Note and show one row for each rival; the budget is held against the first.

    Samples are multiplied by `times` on the way to the unit: seconds to ms by default.
    """
    ours = Figures.of(samples, times)
    plain = Row(table, what, size, unit, ours, "", None, budget, allowance, rates, note, commit(), _now())
    rows = [
        replace(plain, rival=name, theirs=Figures.of(theirs, times), budget="" if number else budget)
        for number, (name, theirs) in enumerate((rivals or {}).items())
    ]
    for row in rows or [plain]:
        _append(row)
        sys.stdout.write(f"\n{line(row)}\n")


def line(row: Row) -> str:
    """A row in one line, as it is shown while the benchmarks run."""
    parts = [f"{row.what}, {row.size}: {told(row.ours, row.unit)}"]
    if row.theirs is not None:
        parts.append(f"{row.rival} {told(row.theirs, row.unit)}: {bench_budgets.ratio_of(row)}")
    if row.budget:
        parts.append(f"budget {bench_budgets.limits_of(row)}: {bench_budgets.verdict(row)}")
    return "; ".join(parts)


def told(figures: Figures, unit: str) -> str:
    """Median, least, and the 99th percentile where there are enough tries for one."""
    if figures.n == 1:
        return f"{number(figures.median)} {unit}".strip()
    more = f"; p99 {number(figures.p99)}" if figures.n >= 100 else ""
    return f"{number(figures.median)} {unit} ({number(figures.least)}{more})"


def number(value: float) -> str:
    """Three figures or so."""
    if value == int(value):
        return f"{int(value):,}"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3f}"  # fmt: skip


def _append(row: Row) -> None:
    place = os.environ.get(RECORD)
    if place:
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")


def read(path: Path) -> list[Row]:
    """The rows of a file, in the order in which they were first measured."""
    rows: dict[tuple[str, str, str, str], Row] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        row = _row(json.loads(text))
        rows[row.key] = row
    return list(rows.values())


def _row(document: dict[str, Any]) -> Row:
    theirs = document["theirs"]
    figures = {"ours": Figures(**document["ours"]), "theirs": theirs and Figures(**theirs)}
    return Row(**{**document, **figures})


@cache
def commit() -> str:
    """Which commit is measured, with a plus where files differ from it; "" outside a repository."""
    root = Path(__file__).parents[2]

    def asked(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    changed = "+" if asked("status", "--porcelain", "--", "engine", "daemon") else ""
    found = asked("rev-parse", "--short", "HEAD")
    return f"{found}{changed}" if found else ""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
