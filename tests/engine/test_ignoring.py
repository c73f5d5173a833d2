"""What the configuration leaves out is no drift: by `ignore`, a name or a pattern, and by `policy`, a code or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.diff.naming import fits, names_of
from support.migrations import House, kinds
from support.schemas import drift_between

if TYPE_CHECKING:
    from pathlib import Path

HAS = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, old_a TEXT, old_b TEXT, c INT, CONSTRAINT ck CHECK (c > 0));"
    "CREATE UNIQUE INDEX old_i ON t (c); CREATE TABLE u (id INTEGER PRIMARY KEY, x TEXT);"
)
WANTS = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT); CREATE VIEW v AS SELECT 1;"
    "CREATE TABLE u (id INTEGER PRIMARY KEY, x TEXT, y TEXT);"
)
EVERYTHING = {"old_a", "old_b", "c", "ck", "old_i", "v", "y"}


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.run(HAS + "INSERT INTO t VALUES (1, 'a', 'b', 1); INSERT INTO u VALUES (1, 'x')")
    house.models(WANTS)
    return house


def names(document: dict[str, Any], part: str = "differences") -> set[str]:
    return {one["name"] for one in document[part]}


# the pattern, and what it leaves out of the drift between HAS and WANTS
PATTERNS: dict[str, set[str]] = {
    "t": {"old_a", "old_b", "c", "ck", "old_i"},
    "T": {"old_a", "old_b", "c", "ck", "old_i"},
    "v": {"v"},
    "old_i": {"old_i"},
    "old_*": {"old_i"},
    "old_a": set(),
    "t.old_a": {"old_a"},
    "T.Old_A": {"old_a"},
    "t.old_*": {"old_a", "old_b", "old_i"},
    "*.old_*": {"old_a", "old_b", "old_i"},
    "t.ck": {"ck"},
    "t.c": {"c"},
    "t.*": {"old_a", "old_b", "c", "ck", "old_i"},
    "?.y": {"y"},
    "u": {"y"},
    "nothing": set(),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_name_objects_and_parts_of_tables(house: House, pattern: str) -> None:
    """One without a dot means objects, one with a dot a column, a constraint or an index of a table, in any case."""
    look = house.check(ignore=(pattern,))
    assert names(look, "ignored") == PATTERNS[pattern]
    assert names(look) == EVERYTHING - PATTERNS[pattern]


def test_what_is_left_out_is_in_sync(house: House) -> None:
    """Nothing is planned, nothing waits, and an apply only records the meeting."""
    ignore = ("t", "*.y", "v")
    look = house.check(ignore=ignore)
    assert (look["in_sync"], look["state"], look["plan"]) == (True, "in_sync", None)
    before = house.everything()
    done = house.apply(ignore=ignore)
    assert (done["outcome"], done["held"], house.everything()) == ("up_to_date", [], before)


def test_what_policy_ignores_is_in_sync(house: House) -> None:
    """By code or by table, alone or together; what is left is planned as ever."""
    policy = {"t": "ignore", "create-view": "ignore"}
    look = house.check(policy=policy)
    assert (names(look), names(look, "ignored")) == ({"y"}, EVERYTHING - {"y"})
    assert kinds(house.apply(policy=policy)) == ["add_column"]
    look = house.check(policy=policy)
    assert (look["in_sync"], names(look, "ignored")) == (True, EVERYTHING - {"y"})
    assert house.apply(policy=policy)["outcome"] == "up_to_date"
    # The configuration takes it back, and all of it is there again.
    assert names(house.check()) == EVERYTHING - {"y"}


def test_what_was_ignored_is_still_known_as_the_models(tmp_path: Path) -> None:
    """Base moves on without it; when it is ignored no longer, it is known who described it and who moved."""
    house = House(tmp_path)
    models = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX i ON t (a); CREATE TABLE u (x);"
    house.run(models)
    house.models(models)
    house.apply()
    house.run("DROP INDEX i")
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE INDEX i ON t (id)")
    settings: dict[str, Any] = {"ignore": ("t.a", "u"), "policy": {"conflict": "ignore"}}
    look = house.check(**settings)
    assert (look["in_sync"], names(look, "ignored")) == (True, {"a", "u", "i"})
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE INDEX i ON t (id); CREATE TABLE w (x)")
    assert kinds(house.apply(**settings)) == ["create_table"]
    held = {one["name"]: (one["code"], one["reason"]) for one in house.apply()["held"]}
    assert {name: code for name, (code, _) in held.items()} == {
        "a": "drop-column",
        "u": "drop-table",
        "i": "conflict",
    }
    assert "no longer describe" in held["a"][1]


def test_an_answer_that_rows_may_change_is_not_remembered(tmp_path: Path) -> None:
    """What policy ignores by its code goes by the rows: without any, the column is simply added."""
    house = House(tmp_path / "here")
    house.folder.mkdir()
    house.run("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL)")
    target = house.target(policy={"value-needed": "ignore"})
    folder = tmp_path / "memory"
    folder.mkdir(mode=0o700)
    assert api.check(target, memory=folder)["in_sync"]
    assert list(folder.glob("in-sync-*")) == []
    house.run("DELETE FROM t")
    assert names(api.check(target, memory=folder)) == {"a"}
    # What `ignore` names does not depend on rows.
    named = house.target(ignore=("t.a",))
    assert api.check(named, memory=folder)["in_sync"]
    assert len(list(folder.glob("in-sync-*"))) == 1
    assert names(api.check(named, memory=folder), "ignored") == {"a"}


def test_names_of_each_kind_of_difference() -> None:
    """The most exact first; a key and an option are named by what they are, a column by its table alone."""
    table = "CREATE TABLE T1 (id INTEGER PRIMARY KEY, a TEXT)"
    cases = {
        f"{table} STRICT": ("t1.strict", "t1"),
        "CREATE TABLE T1 (id INTEGER PRIMARY KEY, a TEXT, B INT)": ("t1.b", "t1"),
        "CREATE TABLE T1 (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT)": ("t1.primary_key", "t1"),
        f"{table}; CREATE INDEX Ix ON T1 (a)": ("t1.ix", "ix", "t1"),
        f"{table}; CREATE VIEW V1 AS SELECT 1": ("v1",),
        f"{table}; CREATE TABLE T2 (x)": ("t2",),
        f"{table}; CREATE TRIGGER g AFTER INSERT ON T1 BEGIN SELECT 1; END": ("t1.g", "g", "t1"),
    }
    for wanted, expected in cases.items():
        (d,) = drift_between(table, wanted).differences
        assert names_of(d) == expected


def test_a_name_fits_itself_whatever_is_in_it() -> None:
    """Brackets and stars in a name are no pattern for the name itself."""
    assert fits("a[1]*", plain=["A[1]*"])
    assert fits("t.a[1]", plain=["t"], dotted=["t.a[1]"])
    assert not fits("a", plain=[""], dotted=["t.a"])
