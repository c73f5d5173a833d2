"""Names that are taken: by driftd itself, by what is about to go, and by what is nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.migrations import House, kinds
from support.witness import assert_settled, refuse

if TYPE_CHECKING:
    from pathlib import Path

T = "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT);"
VIEW, TABLE = "CREATE VIEW w AS SELECT a FROM t;", "CREATE TABLE w(a INT);"


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A database with one table that has a row."""
    made = House(tmp_path)
    made.run(T + "INSERT INTO t VALUES (1, 2);")
    made.models(T)
    return made


def test_models_with_a_table_called_like_our_history(house: House) -> None:
    """It is told, by name, that this table is left alone; the others are migrated, and the history stays whole."""
    house.models(T.replace("a INT", "a INT, b INT") + "CREATE TABLE Driftd_History(id INTEGER PRIMARY KEY);")
    (sentence,) = house.check()["unsupported"]
    assert "Driftd_History" in sentence
    assert kinds(house.apply()) == ["add_column"]
    assert_settled(house)
    assert house.ask("SELECT count(*) FROM driftd_history") == [(1,)]


def test_a_view_that_becomes_a_table_and_back(house: House) -> None:
    """The models' own view makes room at once; the table, which holds rows, only with approval, and then both in one."""
    house.models(T + VIEW)
    assert kinds(house.apply()) == ["create_view"]
    house.models(T + TABLE)
    assert sorted(kinds(house.apply())) == ["create_table", "drop_view"]
    house.run("INSERT INTO w VALUES (3)")
    house.models(T + VIEW)
    waiting = house.apply()
    assert waiting["applied"] == []
    assert sorted(one["kind"] for one in waiting["held"]) == ["create_view", "drop_table"]
    assert house.ask("SELECT a FROM w") == [(3,)]
    assert sorted(kinds(house.apply("drop-table"))) == ["create_view", "drop_table"]
    assert house.ask("SELECT a FROM w") == [(2,)]
    assert_settled(house)


@pytest.mark.parametrize(
    ("there", "wanted", "taken"),
    [
        (VIEW, TABLE, "a view"),
        (TABLE, VIEW, "a table"),
        (TABLE, "CREATE VIRTUAL TABLE w USING fts5(a);", "a table"),
        ("CREATE VIRTUAL TABLE w USING fts5(a);", TABLE, "a virtual table"),
        ("CREATE VIRTUAL TABLE w USING fts5(a);", VIEW, "a virtual table"),
    ],
)
def test_what_is_nobodys_makes_no_room(house: House, there: str, wanted: str, taken: str) -> None:
    """What the models never described keeps its name: the new object is reported as manual, and nothing is touched."""
    house.run(there)
    (one,) = refuse(house, T + wanted, "held")
    assert (one["code"], one["risk"]) == ("name-taken", "manual")
    assert taken in one["reason"]


def test_a_unique_index_over_the_primary_key_is_nobodys(house: House) -> None:
    """It refuses no row that the key would not, so new code cannot trip over it; one over another column it can."""
    house.run("CREATE UNIQUE INDEX by_hand ON t(id);")
    seen = house.check()
    assert seen["in_sync"]
    assert [one["name"] for one in seen["unmanaged"]] == ["by_hand"]
    house.run("CREATE UNIQUE INDEX stricter ON t(a);")
    assert [one["name"] for one in house.check()["differences"]] == ["stricter"]


def test_a_unique_that_driftd_made_goes_with_the_models(house: House) -> None:
    """It stands as an index in the constraint's place, and nobody is asked when the models drop the constraint."""
    house.models(T.replace("a INT", "a INT UNIQUE"))
    assert kinds(house.apply()) == ["add_unique"]
    house.models(T)
    done = house.apply()
    assert (kinds(done), done["held"]) == (["drop_index"], [])
    assert_settled(house)


def test_a_unique_index_made_by_hand_beside_the_constraint_stays(house: House) -> None:
    """The models' constraint goes; the index, which they never described, waits for a person."""
    house.run("DROP TABLE t;" + T.replace("a INT", "a INT UNIQUE") + "CREATE UNIQUE INDEX by_hand ON t(a);")
    house.models(T.replace("a INT", "a INT UNIQUE"))
    assert house.apply()["outcome"] == "up_to_date"
    house.models(T)
    done = house.apply()
    assert kinds(done) == ["drop_unique"]
    assert [one["name"] for one in done["held"]] == ["by_hand"]
