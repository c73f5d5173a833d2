"""The benchmarks' own bookkeeping: rows are kept, held against their budgets, and shown. Nothing is measured here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from support import bench_record, bench_table
from support.bench_budgets import BUDGETS, LEAST, NO, YES, limits_of, ratio_of, verdict
from support.bench_record import Figures, Row, read, record

if TYPE_CHECKING:
    from pathlib import Path

SLOW = Figures(median=200.0, least=190.0, p99=220.0, most=220.0, n=5)


def row(budget: str, ours: tuple[float, float], theirs: Figures | None = SLOW, unit: str = "ms") -> Row:
    """A row whose median and least are these."""
    figures = Figures(ours[0], ours[1], ours[0], ours[0], 5)
    return Row("A table", f"what {budget} asks", "12 tables", unit, figures, "a rival", theirs, budget)


@pytest.mark.parametrize(
    ("budget", "ours", "met"),
    [
        ("look", (2.0, 2.0), YES),
        ("look", (2.1, 1.9), LEAST),
        ("look", (2.1, 2.1), NO),
        ("cold-check", (100.0, 90.0), YES),
        ("cold-check", (101.0, 90.0), LEAST),
        ("socket", (0.9, 0.8), YES),
        ("socket", (5.1, 0.8), NO),
        ("exec", (210.0, 200.0), YES),
        ("exec", (211.0, 201.0), NO),
        ("client", (260.0, 240.0), YES),
        ("rebuild", (201.0, 189.0), LEAST),
        ("", (1.0, 1.0), ""),
    ],
)
def test_a_row_is_held_against_its_budget(budget: str, ours: tuple[float, float], met: str) -> None:
    """By the medians; where these miss it and the least figures of both keep it, that is said."""
    assert verdict(row(budget, ours)) == met


def test_a_missing_rival_keeps_no_promise() -> None:
    """Where a budget is a ratio, a row without anything beside it does not meet it."""
    assert verdict(row("look", (1.0, 1.0), theirs=None)) == NO


def test_what_the_window_takes_is_allowed() -> None:
    """The allowance comes on top of what may be taken beyond the rival."""
    late = row("exec", (212.0, 212.0))
    assert verdict(late) == NO
    assert verdict(replace(late, allowance=22.0)) == YES
    assert ratio_of(replace(late, allowance=2.0)) == "+10.0 ms"


def test_a_row_that_is_measured_again_takes_the_others_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row for each rival; the budget is the first one's; the order is that of the first run."""
    place = tmp_path / "rows.jsonl"
    monkeypatch.setenv(bench_record.RECORD, str(place))
    rivals = {"Alembic": [1.0, 3.0, 2.0], "another": [0.5]}
    record("T", "look", "15 tables", [0.02, 0.01], rivals=rivals, budget="look")
    record("T", "status", "", [0.001])
    record("T", "look", "15 tables", [0.04], rivals=rivals, budget="look")
    rows = read(place)
    assert [(one.what, one.rival, one.budget) for one in rows] == [
        ("look", "Alembic", "look"),
        ("look", "another", ""),
        ("status", "", ""),
    ]
    assert (rows[0].ours.median, rows[0].ours.n) == (40.0, 1)
    assert rows[0].theirs == Figures(2000.0, 1000.0, 3000.0, 3000.0, 3)
    assert read(tmp_path / "nothing") == []


def test_the_table_fits_a_terminal_and_names_what_is_missing() -> None:
    """At most 120 columns; every budget is there, measured or not; a row's second rival does not repeat its first line."""
    first = row("look", (1.5, 1.2))
    second = replace(first, rival="somebody whose name is rather long for a column", budget="")
    text = bench_table.plain([first, second])
    assert max(map(len, text.splitlines())) <= 120
    assert text.partition("THE BUDGETS")[0].count("what look asks") == 1
    assert text.count("not measured") == len(BUDGETS) - 1


def test_the_page_is_made_of_the_rows_alone() -> None:
    """Every row and the machine stand on it; bars in names do not break its tables; runs of different times are told."""
    one = replace(row("client", (210.0, 200.0)), commit="abc", at="2026-01-01 10:00", what="a|b")
    other = replace(row("look", (2.0, 2.0)), commit="def", at="2026-01-02 10:00", table="Another")
    text = bench_table.page([one, other], {"processor": "two of them"})
    assert "| processor | two of them |" in text
    assert "a\\|b" in text
    assert "## Another" in text
    assert "- commit abc, 2026-01-01 10:00 UTC: 1 rows (A table)" in text
    assert "different times" not in bench_table.page([one], {})


def test_every_budget_is_told_in_figures() -> None:
    """No limit is of a kind that cannot be shown."""
    assert all(limits_of(row(name, (1.0, 1.0))) for name in BUDGETS)
