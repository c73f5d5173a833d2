"""What `--approve` names: ids of the plan that was shown, or codes; and what it does not cover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.errors import PlanError
from support.migrations import House, kinds

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b BLOB); CREATE TABLE u (id INTEGER PRIMARY KEY, c BLOB);"
AFTER = "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE u (id INTEGER PRIMARY KEY);"
ROWS = "INSERT INTO t VALUES (1, 'x', x'00'), (2, 'y', x'01'); INSERT INTO u VALUES (1, x'02');"


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """The models are about to lose three columns that they had."""
    house = House(tmp_path, journal=request.param)
    house.run(BEFORE + ROWS)
    house.models(BEFORE)
    house.apply()
    house.models(AFTER)
    return house


def held(house: House) -> dict[str, str]:
    """The ids of what waits, by name."""
    return {one["name"]: one["operation"] for one in house.apply()["held"]}


def refused(house: House, *words: str, **asked: Any) -> PlanError:
    """The refusal, behind which everything is as it was."""
    before = house.everything(), house.backups()
    with pytest.raises(PlanError) as caught:
        api.apply(house.target(), approve=words, allowed_by="a test", **asked)
    assert (house.everything(), house.backups()) == before
    return caught.value


def test_an_id_approves_one_and_a_code_all_of_it(house: House) -> None:
    """By id the one column goes, by code the others."""
    ids = held(house)
    one = house.apply(ids["a"])
    assert ([o["name"] for o in one["applied"]], len(one["held"])) == (["a"], 2)
    rest = house.apply("drop-column")
    assert (sorted(o["name"] for o in rest["applied"]), rest["held"]) == (["b", "c"], [])


def test_all_words_or_none(house: House) -> None:
    """A word that names nothing refuses the whole, with what comes nearest."""
    error = refused(house, held(house)["a"], "drop-colum")
    assert (error.code, error.why) == ("approval-unknown", "did you mean drop-column?")
    assert "no operation has that id or code" in refused(house, "nonsense-here").why


def test_an_id_of_another_plan_approves_nothing(house: House) -> None:
    """The models have moved on: it may not be what was shown any more, so it is looked at again."""
    old = held(house)["a"]
    house.models(AFTER.replace("u (id INTEGER PRIMARY KEY)", "u (id INTEGER PRIMARY KEY, d INT)"))
    assert "bound to the plan" in refused(house, old).why
    plan, _, _ = old.rpartition("-")
    assert refused(house, "drop-column", plan_id=plan).code == "plan-stale"
    now = held_by_plan(house)
    number = len(house.plan()["plan"]["operations"]) + 1
    assert f"the plan has {number - 1} operations" in refused(house, f"{now}-{number}").why


def held_by_plan(house: House) -> str:
    return str(house.plan()["plan"]["id"])


def test_what_needs_a_held_operation_goes_with_its_approval(tmp_path: Path) -> None:
    """An index over a column that waits for a value waits with it; approving the index alone does nothing."""
    house = House(tmp_path)
    house.run("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX i ON t (a)")
    policy = {"add-column": "hold"}
    first = house.apply(policy=policy)
    by_kind = {one["kind"]: one for one in first["held"]}
    assert by_kind.keys() == {"add_column", "create_index"}
    assert "it needs add_column a first" in by_kind["create_index"]["reason"]
    alone = house.apply(by_kind["create_index"]["operation"], policy=policy)
    assert (alone["outcome"], alone["applied"]) == ("held", [])
    both = house.apply(by_kind["add_column"]["operation"], policy=policy)
    assert (both["outcome"], kinds(both)) == ("migrated", ["add_column", "create_index"])


@pytest.fixture
def renamed(house: House) -> House:
    """A column of `t` has gone and one of its type has come: it may be the same. In `u` nothing is like that."""
    house.models(AFTER.replace("t (id INTEGER PRIMARY KEY)", "t (id INTEGER PRIMARY KEY, a2 TEXT)"))
    return house


def test_a_code_does_not_cover_what_may_be_renamed(renamed: House) -> None:
    """Whoever agrees to drops has not thought of the values that a rename would carry over: that takes the id."""
    waiting = {one["name"]: one["code"] for one in renamed.apply()["held"]}
    assert waiting == {"a": "drop-column", "b": "drop-column", "c": "drop-column", "a2": "rename-suspected"}
    done = renamed.apply("drop-column")
    assert sorted(o["name"] for o in done["applied"]) == ["b", "c"]
    assert renamed.ask("SELECT a FROM t ORDER BY id") == [("x",), ("y",)]
    error = refused(renamed, "drop-column")
    ids = held(renamed)
    assert (error.code, ids["a"] in error.why) == ("approval-unknown", True)
    gone = renamed.apply(ids["a"], ids["a2"])
    assert (sorted(kinds(gone)), renamed.check()["in_sync"]) == (["add_column", "drop_column"], True)


@pytest.mark.parametrize("policy", [{"t": "allow"}, {"drop-column": "allow"}], ids=["table", "code"])
def test_policy_does_not_drop_what_may_be_renamed(renamed: House, policy: dict[str, str]) -> None:
    """Nor does a word in the configuration, unless it names that very code."""
    done = renamed.apply(policy=policy)
    assert "a" not in {o["name"] for o in done["applied"]}
    assert renamed.ask("SELECT a FROM t ORDER BY id") == [("x",), ("y",)]
    done = renamed.apply(policy={"drop-column": "allow", "rename-suspected": "allow"})
    assert {"a", "a2"} <= {o["name"] for o in done["applied"]}


def test_a_constraint_that_goes_with_its_column_is_not_left_as_held(tmp_path: Path) -> None:
    """It was over the column alone: whoever approves the column's drop has nothing more to say."""
    house = House(tmp_path)
    house.run("CREATE TABLE t (id INTEGER PRIMARY KEY, b INT UNIQUE); INSERT INTO t VALUES (1, 2)")
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    document = house.apply("drop-column")
    assert (document["outcome"], document["held"]) == ("migrated", [])
    assert house.check()["in_sync"]
