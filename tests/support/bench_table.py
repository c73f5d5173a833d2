"""The measured rows as one table on a terminal, and as the page docs/benchmarks.md. Values in, text out."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from support.bench_budgets import BUDGETS, LEAST, NO, YES, Budget, limits_of, ratio_of, verdict
from support.bench_record import Row, number, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

HEADINGS = ("what", "size", "n", "driftd", "beside it", "ratio", "budget", "met")
WIDTHS = (25, 14, 4, 19, 22, 10, 7, 5)  # columns on a terminal, with two between them: 120 at most
Cells = tuple[str, ...]

HOW = """\
Every figure on this page was measured by `make bench`, which also wrote the page; nothing is written by hand. Rivals do the same
work on copies of the same files in the same run, by turns, so that what disturbs the machine disturbs both. Figures are medians;
in brackets the least of n tries, and the 99th percentile where there are a hundred or more. `12x`: the rival takes 12 times as
long; `1.1 of it`: driftd takes 1.1 times what stands beside it; `+9 ms`: that much more. A budget that is missed by the medians and
kept by the least of the tries is met "by the least": the machine was disturbed. Nothing passes or fails by these figures.
"""
REPEAT = """\
```
make bench                       # all of it: writes this page
make bench-part K=exec           # what has `exec` in a test's name; the other rows stay
make bench-quick                 # small sizes, no page: does it all run?
```

`DRIFTD_BENCH_MB` (5000), `DRIFTD_BENCH_ROWS` (2,000,000) and `DRIFTD_BENCH_IDLE` (120 seconds) bound the sizes.
"""


def cells_of(row: Row) -> Cells:
    """A row as the cells under HEADINGS."""
    beside = f"{row.rival} {told(row.theirs, row.unit)}" if row.theirs is not None else ""
    met = {LEAST: "least"}.get(verdict(row), verdict(row))
    return (
        row.what,
        row.size,
        str(row.ours.n),
        told(row.ours, row.unit),
        beside,
        ratio_of(row),
        limits_of(row),
        met,
    )


def grouped(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows by table, in the order in which the tables were first met."""
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(row.table, []).append(row)
    return tables


def budget_lines(rows: Sequence[Row]) -> Iterator[tuple[str, str, str, str]]:
    """For each budget its words, its limits, its worst row, and whether all its rows keep it."""
    for name, budget in BUDGETS.items():
        held = [row for row in rows if row.budget == name]
        if not held:
            yield budget.text, budget.told, "not measured", ""
            continue
        worst = max(held, key=lambda row: _strain(row, budget))
        verdicts = {verdict(row) for row in held}
        met = NO if NO in verdicts else LEAST if LEAST in verdicts else YES
        ratio = f", {ratio_of(worst)}" if worst.theirs is not None else ""
        told_of = f"{told(worst.ours, worst.unit)}{ratio} ({_place(worst)})"
        yield budget.text, budget.told, told_of, met


def _place(row: Row) -> str:
    return f"{row.what}, {row.size}" if row.size else row.what


def _strain(row: Row, budget: Budget) -> float:
    """How near a row comes to its first limit: larger is worse."""
    kind, bound = budget.limits[0]
    if row.theirs is None or kind == "at most":
        return row.ours.median / bound
    if kind == "over":
        return (row.ours.median - row.theirs.median - row.allowance) / bound
    share = row.ours.median / row.theirs.median if row.theirs.median else 0.0
    return share * bound if kind == "faster" else share / bound


# --- on a terminal


def plain(rows: Sequence[Row]) -> str:
    """One table of at most 120 columns: the budgets first, then every row."""
    lines = list(_wrapped(HEADINGS))
    lines.append(_rule("="))
    for table, several in grouped(rows).items():
        lines += ["", table.upper(), _rule("-")]
        for cells in _without_repeats(several):
            lines += _wrapped(cells)
        lines += [f"  {text}" for note in _notes(several) for text in textwrap.wrap(note, sum(WIDTHS))]
    lines += ["", "THE BUDGETS", _rule("-")]
    for text, limits, worst, met in budget_lines(rows):
        lines += _wrapped((text, limits, worst, met), (50, 20, 32, 12))
    return "\n".join([*lines, ""])


def _notes(rows: Iterable[Row]) -> tuple[str, ...]:
    """What a reader should know of the rows, once each."""
    return tuple(dict.fromkeys(f"{row.what}: {row.note}" for row in rows if row.note))


def _without_repeats(rows: Sequence[Row]) -> Iterator[Cells]:
    """The cells; what the row above says of driftd as well is left out."""
    before: Row | None = None
    for row in rows:
        cells = cells_of(row)
        same = before is not None and (row.key[:3], row.ours) == (before.key[:3], before.ours)
        yield ("", "", "", "", *cells[4:]) if same else cells
        before = row


def _rule(sign: str) -> str:
    return sign * (sum(WIDTHS) + 2 * (len(WIDTHS) - 1))


def _wrapped(cells: Sequence[str], widths: Sequence[int] = WIDTHS) -> Iterator[str]:
    columns = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    for at in range(max(map(len, columns))):
        parts = [column[at] if at < len(column) else "" for column in columns]
        yield "  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip()


# --- as a page


def page(rows: Sequence[Row], machine: Mapping[str, str]) -> str:
    """The whole of docs/benchmarks.md."""
    parts = ["# Benchmarks\n", HOW, "## The machine\n", _list(machine), "## To repeat it\n", REPEAT]
    parts += ["## The budgets\n", _markdown(("what is promised", "budget", "worst of its rows", "met"), budget_lines(rows))]  # fmt: skip
    for table, several in grouped(rows).items():
        parts.append(f"## {table}\n")
        parts.append(_markdown(HEADINGS, _without_repeats(several)))
        parts.append("".join(f"- {note}\n" for note in _notes(several)))
    parts.append("".join(_other_commits(rows)))
    return "\n".join(part for part in parts if part)


def _list(machine: Mapping[str, str]) -> str:
    return _markdown(("", ""), machine.items())


def _markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    head = f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}\n"
    return head + "".join(f"| {' | '.join(_escaped(cell) for cell in cells)} |\n" for cells in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("<", "&lt;")


def _other_commits(rows: Sequence[Row]) -> Iterator[str]:
    """Which tables hold rows of an earlier run."""
    commits = {row.commit for row in rows}
    if len(commits) < 2:
        return
    yield "## Measured at different times\n\n"
    for commit in sorted(commits):
        several = [row for row in rows if row.commit == commit]
        tables = ", ".join(dict.fromkeys(row.table for row in several))
        yield f"- commit {commit}, {min(r.at for r in several)} UTC: {number(len(several))} rows ({tables})\n"
