"""Rollbacks with names in between: exchanged, given on, given to others, folded, and names of odd letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.errors import HistoryError, PlanError
from support.migrations import House, kinds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TWO = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT)"
NUMBERS = TWO.replace("TEXT", "INTEGER")
EXCHANGE = {"t.a": "b", "t.b": "a"}


@pytest.fixture
def begun(tmp_path: Path) -> Callable[..., House]:
    """A database that holds these rows, and has its first base."""

    def begin(models: str, rows: str = "") -> House:
        house = House(tmp_path, "wal")
        house.run(f"{models};{rows}")
        house.models(models)
        assert house.apply()["outcome"] == "up_to_date"
        return house

    return begin


def migrated(house: House, models: str, *approve: str, renames: dict[str, str] | None = None) -> str:
    """The models move on, the database follows; the id of the migration."""
    house.models(models)
    document = api.apply(house.target(renames=renames or {}), approve=approve, allowed_by="a test")
    assert document["outcome"] == "migrated", document
    assert not document["held"], document["held"]
    return str(document["migration_id"])


def renamed(house: House, models: str, renames: dict[str, str], *approve: str) -> str:
    """Likewise, with hints."""
    return migrated(house, models, *approve, renames=renames)


def rollback(house: House, migration: str | None = None, **how: Any) -> dict[str, Any]:
    """`driftd rollback`, of which nothing waits."""
    document = api.rollback(house.target(), migration=migration, allowed_by="a test", **how)
    assert document["outcome"] == "migrated", document
    assert not document["held"], document["held"]
    assert api.history_verify(house.target())["ok"]
    return document


# --- exchanged names


def test_columns_exchanged_since_get_back_each_its_own_values(begun: Callable[..., House]) -> None:
    """Two conversions are taken back after the columns have exchanged their names."""
    house = begun(TWO, "INSERT INTO t VALUES (1, '007', '07'), (2, '1', '02')")
    first = migrated(house, NUMBERS, "convert-column")
    renamed(house, NUMBERS, EXCHANGE, "rename-exchange")
    rollback(house, first)
    assert house.ask("SELECT b, a FROM t") == [("007", "07"), ("1", "02")]


def test_tables_exchanged_since_get_back_each_its_own_values(begun: Callable[..., House]) -> None:
    """A column that was dropped from two tables comes back in both, after the tables have exchanged their names."""
    both = "CREATE TABLE a (id TEXT PRIMARY KEY, x TEXT, v TEXT); CREATE TABLE b (id TEXT PRIMARY KEY, x TEXT, v TEXT)"
    rows = "INSERT INTO a VALUES (1, 'ax', 'a1'); INSERT INTO b VALUES (1, 'bx', 'b1')"
    house = begun(both, rows)
    less = both.replace(", v TEXT", "")
    first = migrated(house, less, "drop-column")
    renamed(house, less, {"a": "b", "b": "a"}, "rename-exchange")
    rollback(house, first)
    assert house.ask("SELECT x, v FROM a UNION ALL SELECT x, v FROM b") == [("bx", "b1"), ("ax", "a1")]


def test_one_operation_beside_an_exchange_reads_what_it_changed(begun: Callable[..., House]) -> None:
    """The migration itself exchanged the names; only its conversions are taken back, then all the rest."""
    house = begun(TWO, "INSERT INTO t VALUES (1, '007', '07'), (2, '1', '02')")
    first = renamed(house, NUMBERS, EXCHANGE, "rename-exchange", "convert-column")
    document = rollback(house, first, operations=["3", "4"])
    assert kinds(document) == ["change_type", "change_type"]
    assert house.ask("SELECT b, a FROM t") == [("007", "07"), ("1", "02")]
    rollback(house, first)
    assert house.ask("SELECT a, b FROM t") == [("007", "07"), ("1", "02")]
    assert house.stored("t") == TWO


def test_an_exchange_taken_back_and_done_again_can_be_taken_back(begun: Callable[..., House]) -> None:
    """Three rollbacks of one exchange; another conversion of the migration is left, and comes back as the last."""
    three = TWO.replace("b TEXT", "b TEXT, c TEXT")
    house = begun(three, "INSERT INTO t VALUES (1, 'x', 'y', '007')")
    first = renamed(
        house, three.replace("c TEXT", "c INTEGER"), EXCHANGE, "rename-exchange", "convert-column"
    )
    once = rollback(house, first, operations=["1", "2"])
    assert house.ask("SELECT a, b, c FROM t") == [("x", "y", 7)]
    rollback(house, str(once["migration_id"]))
    assert house.ask("SELECT a, b, c FROM t") == [("y", "x", 7)]
    rollback(house, first, operations=["1", "2"])
    rollback(house, first)
    assert house.ask("SELECT a, b, c FROM t") == [("x", "y", "007")]
    assert house.stored("t") == three


# --- names given on, and given to others


@pytest.mark.parametrize(
    ("first", "then", "last", "one", "two"),
    [
        (
            "CREATE TABLE old (id INTEGER PRIMARY KEY, a TEXT)",
            "CREATE TABLE mid (id INTEGER PRIMARY KEY, a TEXT)",
            "CREATE TABLE new (id INTEGER PRIMARY KEY, a TEXT)",
            {"mid": "old"},
            {"new": "mid"},
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, old TEXT)",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, mid TEXT)",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, new TEXT)",
            {"t.mid": "old"},
            {"t.new": "mid"},
        ),
    ],
    ids=["table", "column"],
)
def test_a_name_that_was_given_on_comes_back_after_the_later_one(  # three schemas, two renames
    begun: Callable[..., House], first: str, then: str, last: str, one: dict[str, str], two: dict[str, str]
) -> None:
    """Nothing is made anew with old rows: the later rename has to be taken back first, and then the first one goes."""
    name = first.split()[2]
    house = begun(first, f"INSERT INTO {name} VALUES (1, 'x')")
    earlier = renamed(house, then, one)
    later = renamed(house, last, two)
    with pytest.raises(HistoryError) as caught:
        api.rollback(house.target(), migration=earlier, allowed_by="a test")
    assert caught.value.code == "undo-unknown"
    assert later in caught.value.fix
    assert house.stored(last.split()[2]).replace('"', "") == last
    rollback(house, later)
    rollback(house, earlier)
    assert house.stored(name).replace('"', "") == first
    assert house.ask(f"SELECT * FROM {name}") == [(1, "x")]  # a name of this test


def test_a_column_gets_its_name_back_in_a_table_with_a_new_name(begun: Callable[..., House]) -> None:
    """What is renamed back is looked for in the table as it is called by now."""
    house = begun(TWO, "INSERT INTO t VALUES (1, 'x', 'y')")
    first = renamed(house, TWO.replace("a TEXT", "c TEXT"), {"t.c": "a"})
    renamed(house, TWO.replace("a TEXT", "c TEXT").replace(" t ", " u "), {"u": "t"})
    assert kinds(rollback(house, first)) == ["rename_column"]
    assert house.ask("SELECT a, b FROM u") == [("x", "y")]


def test_a_name_that_is_free_again_is_another_ones(begun: Callable[..., House]) -> None:
    """A new column has the name of the one whose conversion is taken back, which is called otherwise by now."""
    house = begun(TWO, "INSERT INTO t VALUES (1, '007', 'x')")
    less = TWO.replace("a TEXT", "a INTEGER")
    first = migrated(house, less, "convert-column")
    moved = less.replace("a INTEGER", "c INTEGER")
    renamed(house, moved, {"t.c": "a"})
    migrated(house, moved.replace("b TEXT", "b TEXT, a TEXT DEFAULT '7'"))
    assert kinds(rollback(house, first)) == ["change_type"]
    assert house.ask("SELECT a, b, c FROM t") == [("7", "x", "007")]


# --- letters that SQL does not fold, and signs that driftd writes itself


@pytest.mark.parametrize(("old", "new"), [("Ä", "Ö"), ("ÄNDERUNG", "NEUÄ"), ("a|b", "c\\|d"), ("x\\", "|y")])
def test_any_name_goes_there_and_back(begun: Callable[..., House], old: str, new: str) -> None:
    """A column and its table are renamed, a conversion beside it: taken back one by one, then whole."""
    ddl = f'CREATE TABLE "{old}" (id INTEGER PRIMARY KEY, "{old}" TEXT, gone TEXT, other TEXT)'
    house = begun(ddl, f"INSERT INTO \"{old}\" VALUES (1, '007', 'x', '08')")
    wanted = f'CREATE TABLE "{new}" (id INTEGER PRIMARY KEY, "{new}" INTEGER, other INTEGER)'
    renames = {new: old, f"{new}.{new}": old}
    first = renamed(house, wanted, renames, "convert-column", "drop-column")
    plan = api.history(house.target(), first)["migrations"][0]["plan"]
    numbers = {o["name"]: o["id"] for o in plan["operations"] if o["kind"] in {"change_type", "drop_column"}}
    rollback(house, first, operations=[numbers["other"]])
    rollback(house, first, operations=[numbers[new], numbers["gone"]])
    assert house.ask(f'SELECT "{new}", other, gone FROM "{new}"') == [("007", "08", "x")]
    rollback(house, first)
    assert house.ask(f'SELECT "{old}", other, gone FROM "{old}"') == [("007", "08", "x")]


def test_names_that_differ_in_a_letter_that_sql_does_not_fold_are_two(begun: Callable[..., House]) -> None:
    """Of two columns `Ä` and `ä` one is converted and taken back, whatever has been done to the other one since."""
    ddl = 'CREATE TABLE t (id INTEGER PRIMARY KEY, "Ä" TEXT, "ä" TEXT)'
    house = begun(ddl, "INSERT INTO t VALUES (1, '007', '08')")
    first = migrated(house, ddl.replace('"Ä" TEXT', '"Ä" INTEGER'), "convert-column")
    migrated(house, 'CREATE TABLE t (id INTEGER PRIMARY KEY, "Ä" INTEGER)', "drop-column")
    rollback(house, first)
    assert house.ask("SELECT * FROM t") == [(1, "007")]
    assert house.stored("t") == 'CREATE TABLE t (id INTEGER PRIMARY KEY, "Ä" TEXT)'


# --- what the row of a rollback notes


def test_what_was_accepted_stays_so_under_the_former_name(begun: Callable[..., House]) -> None:
    """A column that somebody added and a person adopted is in the table that gets its name back."""
    house = begun("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
    house.run("ALTER TABLE t ADD COLUMN n TEXT")
    assert api.adopt(house.target(), ("t.n",), allowed_by="a test")["outcome"] == "adopted"
    renamed(house, "CREATE TABLE u (id INTEGER PRIMARY KEY, a TEXT)", {"u": "t"})
    assert [one["name"] for one in house.check()["accepted"]] == ["n"]
    rollback(house)
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
    document = house.check()
    assert [one["name"] for one in document["accepted"]] == ["n"]
    assert document["in_sync"]


def test_who_moved_is_known_under_the_former_name(begun: Callable[..., House]) -> None:
    """An index that somebody dropped is not made again because its table was renamed back."""
    models = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX ix ON t (a)"
    house = begun(models)
    house.run("DROP INDEX ix")
    house.models(models.replace(" t ", " u "))
    assert kinds(house.apply(renames={"u": "t"}), "held") == ["create_index"]
    house.settings["renames"] = {"u": "t"}
    rollback(house)
    house.models(models)
    house.settings.clear()
    assert kinds(house.apply(), "held") == ["create_index"]


def test_what_comes_back_is_known_in_a_table_with_a_new_name(begun: Callable[..., House]) -> None:
    """A column that the models once described waits to be dropped, and is nobody's change by hand."""
    house = begun(TWO, "INSERT INTO t VALUES (1, 'x', 'y')")
    less = TWO.replace(", b TEXT", "")
    first = migrated(house, less, "drop-column")
    renamed(house, less.replace(" t ", " u "), {"u": "t"})
    rollback(house, first)
    house.settings["renames"] = {"u": "t"}
    assert [one["name"] for one in house.check()["differences"]] == ["b"]
    with pytest.raises(PlanError) as caught:
        api.adopt(house.target(), ("u.b",), allowed_by="a test")
    assert caught.value.code == "not-by-hand"
