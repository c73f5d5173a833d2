"""NOT NULL over rows that hold NULL: counted before, counted again under the lock, filled only by what somebody gave."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from driftengine.apply import Applier
from driftengine.errors import PlanError
from support.identical import assert_identical, assert_identical_but, image
from support.stages import session_of, staged

if TYPE_CHECKING:
    from support.hard_cases import Rig

T = 'CREATE TABLE "order"(id INTEGER PRIMARY KEY, "to" TEXT{}, n INT{});'
ROWS = "INSERT INTO \"order\" VALUES (3, 'x', 1), (5, NULL, 2), (7, '', NULL), (8, NULL, 4);"
AFTER = T.format(" NOT NULL", "")


def test_rows_that_hold_null_are_shown_and_stay_null(rig: Rig) -> None:
    """Nothing is put in their place, and an empty text is not taken for NULL."""
    rig.begin(T.format("", ""), ROWS)
    (one,) = rig.refused(AFTER, "held")
    assert (one["kind"], one["table"], one["name"], one["code"]) == (
        "set_not_null",
        "order",
        "to",
        "value-needed",
    )
    assert (one["count"], one["rows"]) == (2, [{"key": 5, "value": None}, {"key": 8, "value": None}])


def test_an_approval_is_no_value(rig: Rig) -> None:
    """The rows need something to hold; agreeing that they have nothing changes nothing."""
    rig.begin(T.format("", ""), ROWS)
    rig.models(AFTER)
    before = image(rig.database)
    with pytest.raises(PlanError) as raised:
        rig.apply("value-needed")
    assert "order.to cannot be approved" in str(raised.value)
    assert_identical(before, image(rig.database))


def test_without_such_rows_it_is_done_without_a_copy(rig: Rig) -> None:
    """The guard found none: the text is edited, and the service's next NULL is refused, on its old connection too."""
    ddl = T.format("", "") + T.format("", "").replace('"order"', "leer")
    rig.begin(ddl, ROWS.replace("NULL", "'y'"))
    after = ddl.replace('"to" TEXT', '"to" TEXT NOT NULL')
    document = rig.migrated(after, objects=["order", "leer"])
    assert {(one["risk"], one["strategy"]) for one in document["applied"]} == {("guarded", "catalog")}
    for table in ('"order"', "leer"):
        with pytest.raises(sqlite3.IntegrityError):
            rig.service(f'INSERT INTO {table}("to") VALUES (NULL)')


@pytest.mark.parametrize("default", ["'unknown'", "('un' || 'known')"])
def test_null_is_filled_only_by_the_default_that_the_models_state(rig: Rig, default: str) -> None:
    """A server default fills the column that becomes NOT NULL, its NULL rows alone; the plan says so beforehand."""
    rig.begin(T.format("", ""), ROWS)
    after = T.format(f" NOT NULL DEFAULT {default}", " DEFAULT 9")
    rig.models(after)
    (filling,) = [one for one in rig.plan()["plan"]["operations"] if one["kind"] == "set_not_null"]
    assert "2 rows hold NULL and get" in filling["reason"]
    rig.migrated(after, objects=["order"], columns=["order.to"])
    found = rig.service('SELECT "to", n FROM "order" ORDER BY id')
    assert found == [("x", 1), ("unknown", 2), ("", None), ("unknown", 4)]


def test_a_policy_may_forbid_the_filling(rig: Rig) -> None:
    """`hold` for the code or the table: the default is there, and the rows are not filled all the same."""
    rig.begin(T.format("", ""), ROWS)
    rig.settings["policy"] = {"set-not-null": "hold"}
    rig.models(T.format(" NOT NULL DEFAULT 'unknown'", ""))
    document = rig.apply()
    assert [one["kind"] for one in document["held"]] == ["set_not_null"]
    assert rig.service('SELECT count(*) FROM "order" WHERE "to" IS NULL') == [(2,)]


@pytest.mark.parametrize("step", ["_require_access", "_stage", "_commit"])
def test_a_null_that_comes_behind_the_guard_is_found_under_the_lock(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It is counted live, and again where nobody can write any more: the rows that came are held with their keys."""
    rig.met(T.format("", ""), ROWS.replace("NULL", "'y'"))
    rig.models(AFTER)
    real = getattr(Applier, step)
    came: list[str] = []

    def late(self: Applier, *arguments: object, **named: object) -> object:
        if not came:
            came.append(step)
            rig.service('INSERT INTO "order" VALUES (90, NULL, 1), (91, NULL, 1)')
        return real(self, *arguments, **named)

    monkeypatch.setattr(Applier, step, late)
    document = rig.apply()
    assert came
    assert (document["outcome"], document["applied"]) == ("held", [])
    (one,) = document["held"]
    assert (one["name"], one["count"], [row["key"] for row in one["rows"]]) == ("to", 2, [90, 91])
    assert "NOT NULL" not in rig.stored("order")
    assert rig.backups() == []


def test_a_stage_of_yesterday_does_not_put_not_null_over_todays_null(rig: Rig) -> None:
    """What was staged while no row held NULL asks again, in the transaction, before the text is edited."""
    rig.met(T.format("", ""), ROWS.replace("NULL", "'y'"))
    rig.models(AFTER + "CREATE TABLE also(id INTEGER PRIMARY KEY);")
    with session_of(rig) as session:
        assert staged(session)["stage"]
        rig.service('INSERT INTO "order" VALUES (90, NULL, 1)')
        before = image(rig.database)
        document = session.apply(allowed_by="a test")
    assert [one["kind"] for one in document["applied"]] == ["create_table"]
    (one,) = document["held"] + document["blocked"]
    assert (one["kind"], one["rows"]) == ("set_not_null", [{"key": 90, "value": None}])
    assert_identical_but(before, image(rig.database), objects=["also"])


def test_a_dry_run_counts_too_and_writes_nothing(rig: Rig) -> None:
    """What would be held is told with its rows, and the database is as it was to the last row."""
    rig.begin(T.format("", ""), ROWS)
    rig.models(AFTER)
    before = image(rig.database)
    document = rig.apply_dry()
    assert document["held"][0]["count"] == 2
    assert_identical(before, image(rig.database))
    assert rig.stored("driftd_history") == ""
