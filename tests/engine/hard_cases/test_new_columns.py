"""Columns that ADD COLUMN takes on an empty table and refuses over rows: chosen by the rows that are there, rehearsed with them."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from driftengine.errors import PlanError
from support.identical import assert_identical, image
from support.stages import session_of, staged

if TYPE_CHECKING:
    from support.hard_cases import Rig

T = 'CREATE TABLE "t ü"(id INTEGER PRIMARY KEY, a TEXT{});'
ROWS = "INSERT INTO \"t ü\"(id, a) VALUES (1, 'x'), (4, 'y');"

# What is added, and the values of the two old rows; None where they are a moment's or random.
COLUMNS: dict[str, tuple[str, list[object] | None]] = {
    "expression": ("c INT DEFAULT (abs(-3))", [3, 3]),
    "expression, not null": ("c TEXT NOT NULL DEFAULT (lower('Q'))", ["q", "q"]),
    "the moment": ("c DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP", None),
    "random": ("c INT NOT NULL DEFAULT (random())", None),
    "stored": ("c TEXT GENERATED ALWAYS AS (a || id) STORED", ["x1", "y4"]),
    "virtual": ("c TEXT AS (a || id)", ["x1", "y4"]),
    "unique": ("c INT UNIQUE", [None, None]),
    "unique with a name": ('c INT CONSTRAINT "u c" UNIQUE', [None, None]),
    "reference": ("c INT REFERENCES p(id) ON DELETE CASCADE", [None, None]),
    "reference with a value": ("c INT NOT NULL DEFAULT 7 REFERENCES p(id)", [7, 7]),
    "check": ("c INT DEFAULT 5 CHECK (c > 4)", [5, 5]),
    "check on another column": ("c INT DEFAULT 5, CHECK (length(a) < c)", [5, 5]),
    "a text in a column of numbers": ("c INT DEFAULT '12'", [12, 12]),
    "collation": ("c TEXT COLLATE NOCASE NOT NULL DEFAULT 'Q' CHECK (c = 'q')", ["Q", "Q"]),
    "a keyword": ('"where" TEXT DEFAULT "order"', ["order", "order"]),
}
P = "CREATE TABLE p(id INTEGER PRIMARY KEY);"


@pytest.mark.parametrize("rows", [ROWS, ""], ids=["rows", "empty"])
@pytest.mark.parametrize("case", COLUMNS)
def test_a_column_comes_over_rows_as_over_none(rig: Rig, case: str, rows: str) -> None:
    """By ALTER, by an index or by a copy: what ADD COLUMN refuses is done another way, and old rows hold what is promised."""
    column, values = COLUMNS[case]
    rig.begin(P + T.format(""), "INSERT INTO p VALUES (7);" + rows)
    name = "where" if case == "a keyword" else "c"
    objects = ["t ü", "u c", "uq_t ü_c"]
    rig.migrated(P + T.format(f", {column}"), objects=objects, columns=[f"t ü.{name}"])
    found = [value for (value,) in rig.service(f'SELECT "{name}" FROM "t ü" ORDER BY id')]
    if rows and values is not None:
        assert found == values
    elif rows:
        assert all(value is not None for value in found)
        assert [value for (value,) in rig.service(f'SELECT "{name}" FROM "t ü" ORDER BY id')] == found
    rig.run(f"CREATE TABLE fresh(id INTEGER PRIMARY KEY, a TEXT, {column});")
    wanted = [row[1:4] for row in rig.ask("PRAGMA table_xinfo(fresh)")]
    assert [row[1:4] for row in rig.ask('PRAGMA table_xinfo("t ü")')] == wanted


@pytest.mark.parametrize(
    ("column", "kind", "rows"),
    [
        ("c INT DEFAULT 3 REFERENCES p(id)", "add_foreign_key", [{"key": 1, "value": 3}, {"key": 4, "value": 3}]),
        ("c INT DEFAULT 3 UNIQUE", "add_unique", [{"key": "1, 4", "value": 3}]),
        ("c INT DEFAULT 3 CHECK (c > 3)", "add_check", [{"key": 1, "value": 3}, {"key": 4, "value": 3}]),
    ],
)  # fmt: skip
def test_a_default_that_its_own_constraint_refuses_is_told(
    rig: Rig, column: str, kind: str, rows: list[dict[str, object]]
) -> None:
    """Over rows the constraint is blocked with them, and the rest is done; over none both come at once."""
    rig.begin(P + T.format("") + T.format("").replace("t ü", "leer"), ROWS)
    rig.models(P + T.format(f", {column}") + T.format(f", {column}").replace("t ü", "leer"))
    document = rig.apply()
    assert document["outcome"] == "migrated"
    (one,) = document["blocked"]
    assert (one["kind"], one["table"], one["rows"]) == (kind, "t ü", rows)
    with pytest.raises(sqlite3.IntegrityError):
        rig.service("INSERT INTO leer(id) VALUES (1), (2)")


def test_a_value_that_nobody_gave_is_waited_for(rig: Rig) -> None:
    """NOT NULL without a default: done where there is no row, held with the rows and the ways out where there are."""
    rig.begin(T.format("") + T.format("").replace("t ü", "leer"), ROWS)
    column = ', "select" TEXT NOT NULL'
    rig.migrated(
        T.format("") + T.format(column).replace("t ü", "leer"), objects=["leer"], columns=["leer.select"]
    )
    (one,) = rig.refused(T.format(column) + T.format(column).replace("t ü", "leer"), "held")
    assert (one["kind"], one["table"], one["name"], one["code"]) == (
        "add_column",
        "t ü",
        "select",
        "value-needed",
    )
    assert (one["count"], [row["key"] for row in one["rows"]]) == (2, [1, 4])
    assert "--backfill" in one["reason"]


def test_an_empty_table_is_not_trusted_to_stay_empty(rig: Rig) -> None:
    """The stage was made while there was no row; one that has come is judged, not run over."""
    rig.met(T.format(""))
    rig.models(T.format(", c TEXT NOT NULL"))
    with session_of(rig) as session:
        assert staged(session)["stage"]
        rig.service("INSERT INTO \"t ü\" VALUES (1, 'x')")
        before = image(rig.database)
        document = session.apply(allowed_by="a test")
    assert (document["outcome"], document["applied"]) == ("held", [])
    (one,) = document["held"]
    assert (one["code"], one["rows"][0]["key"]) == ("value-needed", 1)
    assert_identical(before, image(rig.database))


def test_a_plan_for_an_empty_table_does_not_fit_a_filled_one(rig: Rig) -> None:
    """What was shown and agreed to is not what would be done now: the plan is refused, and nothing is written."""
    rig.met(T.format(""))
    rig.models(T.format(", c TEXT NOT NULL UNIQUE"))
    shown = rig.plan()["plan"]["id"]
    rig.service("INSERT INTO \"t ü\" VALUES (1, 'x')")
    before = image(rig.database)
    with pytest.raises(PlanError) as raised:
        rig.apply_plan(shown)
    assert raised.value.code == "plan-stale"
    assert_identical(before, image(rig.database))


def test_a_row_that_comes_while_it_is_rehearsed_is_judged(rig: Rig) -> None:
    """Between the guard and the transaction a row is written that the UNIQUE would refuse: it is named, and kept."""
    rig.met(T.format(""), ROWS)
    rig.models(T.format(", UNIQUE (a)"))
    came: list[str] = []

    def writes(phase: str, done: int, total: int) -> None:
        if phase == "rehearsal" and not came:
            came.append(f"{done} of {total}")
            rig.service("INSERT INTO \"t ü\" VALUES (9, 'x')")

    document = rig.apply_with(writes)
    assert came
    assert (document["outcome"], document["applied"]) == ("blocked", [])
    assert document["blocked"][0]["rows"] == [{"key": "1, 9", "value": "x"}]
    assert rig.service('SELECT count(*) FROM "t ü"') == [(3,)]
    assert rig.backups() == []
