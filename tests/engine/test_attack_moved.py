"""Names that the models, a person and an undo give at once: no value ends under a name that nobody meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.dialects.sqlite.undo_value import respelled
from support.migrations import House, kinds
from support.witness import assert_settled, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOTE = "CREATE TABLE note(id INTEGER PRIMARY KEY, a TEXT, size INT);"
ROWS = "INSERT INTO note VALUES (1, 'x', 3), (2, NULL, 4);"


@pytest.fixture(params=["wal", "delete"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """A database in each journal mode."""
    return House(tmp_path, request.param)


def described(house: House, models: str = NOTE, rows: str = ROWS) -> None:
    """A database that driftd has made, with rows."""
    house.models(models)
    house.apply()
    house.run(rows)


def back(house: House) -> dict[str, Any]:
    """`driftd rollback`."""
    return api.rollback(house.target(), allowed_by="a test")


# --- an old name that the models give to something new


@pytest.mark.parametrize(
    ("models", "renames", "name", "rows"),
    [
        ("note(id INTEGER PRIMARY KEY, b TEXT, a TEXT, size INT)", {"note.b": "a"}, "b", [{"key": 1, "value": "x"}]),
        ("note(id INTEGER PRIMARY KEY, b TEXT, a TEXT, c INT, size INT)", {"note.b": "a", "note.c": "b"}, "b", [{"key": 1, "value": "x"}]),
        ("remark(id INTEGER PRIMARY KEY, a TEXT, size INT); CREATE TABLE note(id INTEGER PRIMARY KEY, a TEXT, size INT)", {"remark": "note"}, "remark", None),
    ],
)  # fmt: skip
def test_a_release_that_was_skipped(
    house: House, models: str, renames: Mapping[str, str], name: str, rows: list[dict[str, object]] | None
) -> None:
    """`a` became `b`, and a later release has another `a`: a database that has the first `a` alone is asked about."""
    described(house)
    house.models(f"CREATE TABLE {models};")
    house.settings["renames"] = dict(renames)
    before = house.ask("SELECT * FROM note")
    [left] = [one for one in house.apply()["held"] if one["name"] == name]
    assert left["code"] == "rename-suspected"
    assert f'TO "{name}")' in left["reason"]
    assert rows is None or left["rows"] == rows
    assert [row[:3] for row in house.ask("SELECT id, a, size FROM note")] == before


def test_the_way_that_is_shown_leads_on(house: House) -> None:
    """Renamed by hand as the reason says, the values stand under the new name, and the old one is made anew."""
    described(house)
    house.models("CREATE TABLE note(id INTEGER PRIMARY KEY, b TEXT, a TEXT, size INT);")
    house.settings["renames"] = {"note.b": "a"}
    [left] = house.apply()["held"]
    house.run(left["reason"].partition("(ALTER")[2].partition(")")[0].join(("ALTER", ";")))
    assert kinds(house.apply("changed-in-database")) == ["add_column"]
    assert house.ask("SELECT id, b, a, size FROM note") == [(1, "x", None, 3), (2, None, None, 4)]
    assert_settled(house)


def test_an_old_name_that_holds_nothing_is_no_matter(house: House) -> None:
    """Without a value there is nothing that could stand under the wrong name."""
    described(house, rows="INSERT INTO note(size) VALUES (3)")
    house.models("CREATE TABLE note(id INTEGER PRIMARY KEY, b TEXT, a TEXT, size INT);")
    assert kinds(house.apply(renames={"note.b": "a"})) == ["add_column"]


# --- two who rename the same


@pytest.mark.parametrize("renames", [{}, {"note.c": "a"}], ids=["no hint", "a hint of what is gone"])
def test_a_column_that_both_sides_have_renamed(house: House, renames: Mapping[str, str]) -> None:
    """By hand to `b`, in the models to `c`: the new one waits at each look, and holds the values once that is said."""
    described(house)
    house.run("ALTER TABLE note RENAME COLUMN a TO b")
    house.settings["renames"] = dict(renames)
    for _ in range(2):
        left = refuse(house, NOTE.replace("a TEXT", "c TEXT"), "held")
        assert {one["name"]: one["code"] for one in left} == {"c": "rename-suspected", "b": "drop-column"}
    house.settings["renames"] = {"note.c": "b"}
    assert kinds(house.apply()) == ["rename_column"]
    assert house.ask("SELECT id, c FROM note") == [(1, "x"), (2, None)]
    assert_settled(house)


def test_one_that_was_renamed_by_hand_long_ago(house: House) -> None:
    """Migrations have come and gone since: it is still known that `b` was made by hand, and `a` is missing."""
    described(house)
    house.run("ALTER TABLE note RENAME COLUMN a TO b")
    house.models(NOTE.replace("size INT", "size INT, more INT"))
    assert kinds(house.apply()) == ["add_column"]
    left = refuse(house, NOTE.replace("a TEXT", "c TEXT").replace("size INT", "size INT, more INT"), "held")
    assert {one["name"]: one["code"] for one in left}["c"] == "rename-suspected"


def test_a_table_that_both_sides_have_renamed(house: House) -> None:
    """The same for a table."""
    described(house)
    house.run("ALTER TABLE note RENAME TO memo")
    for _ in range(2):
        [left] = refuse(house, NOTE.replace("note", "remark"), "held")
        assert (left["kind"], left["code"]) == ("create_table", "rename-suspected")
    assert kinds(house.apply(renames={"remark": "memo"})) == ["rename_table"]


def test_a_column_beside_one_that_was_renamed_by_hand(house: House) -> None:
    """While the models still want the old name, a new one of theirs is new."""
    described(house)
    house.run("ALTER TABLE note RENAME COLUMN a TO b")
    house.models(NOTE.replace("size INT", "size INT, c TEXT"))
    assert [(one["kind"], one["name"]) for one in house.apply()["applied"]] == [("add_column", "c")]


# --- what a migration had filled


@pytest.mark.parametrize("kind", ["TEXT", "INTEGER", "REAL", "BLOB"])
def test_null_comes_back_where_the_value_was_stored_otherwise_than_given(house: House, kind: str) -> None:
    """A number that a column of text keeps as text is still what the migration gave."""
    described(house, NOTE.replace("a TEXT", f"a {kind}"), "INSERT INTO note VALUES (1, 7, 3), (2, NULL, 4)")
    house.models(NOTE.replace("a TEXT", f"a {kind} NOT NULL"))
    assert kinds(house.apply(backfill={"note.a": "size * 10"})) == ["set_not_null"]
    assert kinds(back(house)) == ["drop_not_null"]
    assert house.ask("SELECT id, a IS NULL, size FROM note") == [(1, 0, 3), (2, 1, 4)]


@pytest.mark.parametrize("fill", ["coalesce(b, 9)", "remark.size + 1", "'n' || size"])
@pytest.mark.parametrize("kind", ["TEXT", "INTEGER"])
def test_null_comes_back_under_its_former_name(house: House, fill: str, kind: str) -> None:
    """Renamed, converted, filled and made NOT NULL at once: the way back gives NULL again, and new rows keep theirs."""
    described(house, rows="INSERT INTO note VALUES (1, '7', 3), (2, NULL, 4)")
    house.models(
        f"CREATE TABLE remark(id INTEGER PRIMARY KEY, b {kind} NOT NULL, size INT, x TEXT NOT NULL DEFAULT 'q');"
    )
    house.settings |= {"renames": {"remark": "note", "remark.b": "a"}, "backfill": {"remark.b": fill}}
    assert "set_not_null" in kinds(house.apply())
    house.run("INSERT INTO remark VALUES (3, 8, 1, 'q')")
    after = house.ask("SELECT * FROM remark")
    house.settings.pop("backfill")
    done = back(house)
    assert (done["outcome"], done["held"]) == ("migrated", [])
    assert house.ask("SELECT * FROM note") == [(1, "7", 3), (2, None, 4), (3, "8", 1)]
    api.rollback(house.target(), migration=done["migration_id"], allowed_by="a test")
    assert house.ask("SELECT * FROM remark") == after


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("coalesce(b, 'b') || B", 'coalesce("a", \'b\') || "a"'),
        ('b(b) + "b"', 'b("a") + "a"'),
        ("size", "size"),
        ("(SELECT max(x) FROM b)", None),
        ("(SELECT max(x) FROM y)", "(SELECT max(x) FROM y)"),
    ],
)
def test_an_expression_by_other_names(expression: str, expected: str | None) -> None:
    """Names change, texts and functions do not; a query may mean another's name, so nothing is said of it."""
    assert respelled(expression, {"b": "a"}) == expected


# --- what is shown


def test_a_column_that_both_sides_have_changed_shows_its_values(house: House) -> None:
    """The rows of a conflict show what they hold; a default concerns no row that is there."""
    described(house)
    house.run(
        "ALTER TABLE note RENAME TO old; CREATE TABLE note(id INTEGER PRIMARY KEY, a BLOB, size INT DEFAULT 1);"
        "INSERT INTO note SELECT * FROM old; DROP TABLE old"
    )
    models = NOTE.replace("a TEXT", "a VARCHAR(9)").replace("size INT", "size INT DEFAULT 2")
    left = {one["kind"]: one for one in refuse(house, models, "held")}
    assert {kind: one["code"] for kind, one in left.items()} == {
        "change_type": "conflict",
        "change_default": "conflict",
    }
    assert left["change_type"]["rows"] == [{"key": 1, "value": "x"}, {"key": 2, "value": None}]
    assert left["change_default"]["rows"] == []


# --- a new name that somebody has taken back by hand


def renamed_back(house: House) -> str:
    """A column that the models have renamed, and a person back again; the models."""
    described(house, f"{NOTE} CREATE INDEX by_a ON note(a);")
    models = f"{NOTE.replace('a TEXT', 'b TEXT')} CREATE INDEX by_a ON note(b);"
    house.models(models)
    house.settings["renames"] = {"note.b": "a"}
    assert kinds(house.apply()) == ["rename_column"]
    house.run("ALTER TABLE note RENAME COLUMN b TO a")
    return models


def adopted(house: House, *words: str) -> dict[str, Any]:
    """`driftd adopt`."""
    return api.adopt(house.target(), words, allowed_by="a test")


def test_an_old_name_that_is_adopted(house: House) -> None:
    """What differs because of it is agreed to with it, at each later look and behind a migration, until either moves."""
    models = renamed_back(house)
    document = adopted(house, "note.b")
    assert document["in_sync"]
    assert [one["change"] for one in document["adopted"]] == ["rename"]
    assert_settled(house)
    house.models(models.replace("size INT", "size INT, more INT"))
    assert kinds(house.apply()) == ["add_column"]
    assert_settled(house)
    house.run("ALTER TABLE note RENAME COLUMN a TO b")
    assert house.check()["accepted"] == []
    assert_settled(house)


def test_an_old_name_that_was_adopted_is_reverted(house: House) -> None:
    """Its values go over under the new one."""
    renamed_back(house)
    adopted(house)
    house.run("UPDATE note SET a = 'new' WHERE id = 2")
    document = api.revert(house.target(), ["note.b"], allowed_by="a test")
    assert kinds(document) == ["rename_column"]
    assert house.ask("SELECT id, b FROM note ORDER BY id") == [(1, "x"), (2, "new")]
    assert_settled(house)


def test_a_table_under_an_adopted_name_whose_models_move(house: House) -> None:
    """It is a difference again, and one that both sides have made: nothing goes ahead without a word."""
    described(house)
    house.models(NOTE.replace("note", "remark"))
    house.settings["renames"] = {"remark": "note"}
    house.apply()
    house.run("ALTER TABLE remark RENAME TO note")
    assert adopted(house)["in_sync"]
    left = refuse(house, NOTE.replace("note", "remark").replace("size INT", "size INT, more INT"), "held")
    assert {one["kind"]: one["code"] for one in left} == {
        "rename_table": "conflict",
        "add_column": "add-column",
    }
    assert sorted(kinds(house.apply("conflict"))) == ["add_column", "rename_table"]
    assert_settled(house)
