"""A column goes and one comes: nobody is to lose values because nobody said that it was renamed."""

from __future__ import annotations

import pytest

from driftengine.errors import PlanError
from support.migrations import House, kinds
from support.witness import refuse

PERSON = "CREATE TABLE person(id INTEGER PRIMARY KEY, telefax TEXT, street TEXT);"
ROWS = "INSERT INTO person VALUES (1, '12', 'High'), (2, NULL, 'Low');"


def settled(house: House, before: str = PERSON) -> None:
    """Base describes what is there."""
    house.models(before)
    house.run(before + ROWS)
    assert house.apply()["outcome"] == "up_to_date"


@pytest.mark.parametrize("met", [True, False])
def test_the_hint_is_proposed(house: House, met: bool) -> None:
    """At the first meeting and later, the new one waits; its reason holds the hint, ready to paste, which then works."""
    settled(house) if met else house.run(PERSON + ROWS)
    left = refuse(house, "CREATE TABLE person(id INTEGER PRIMARY KEY, fax TEXT, street TEXT);", "held")
    assert [one["code"] for one in left] == ["rename-suspected", "drop-column"]
    assert [one["rows"] for one in left] == [[{"key": 1, "value": "12"}]] * 2
    assert left[0]["reason"] == (
        "it may be telefax by a new name (telefax holds 1 value): if so, write "
        'info={"renamed_from": "telefax"} on person.fax or give --rename person.fax=telefax, and it keeps them; '
        "approved, it is made anew"
    )
    assert kinds(house.apply(renames={"person.fax": "telefax"})) == ["rename_column"]
    assert house.ask("SELECT fax FROM person") == [("12",), (None,)]


def test_it_waits_for_as_long_as_nobody_says(house: House) -> None:
    """Another change goes ahead and moves base; the pair is suspected all the same, at the next start and after it."""
    settled(house)
    models = "CREATE TABLE person(id INTEGER PRIMARY KEY, fax TEXT, street TEXT, more INT);"
    house.models(models)
    for applied in (["add_column"], []):
        document = house.apply()
        assert kinds(document) == applied
        assert [one["code"] for one in document["held"]] == ["rename-suspected", "drop-column"]


def test_the_drop_is_not_approved_with_all_drops(house: House) -> None:
    """`--approve drop-column` means drops that lose what nobody wants: this one is approved by its id."""
    settled(house)
    house.models("CREATE TABLE person(id INTEGER PRIMARY KEY, fax TEXT, street TEXT);")
    with pytest.raises(PlanError):
        house.apply("drop-column")
    [_, drop] = house.apply()["held"]
    assert kinds(house.apply(drop["operation"])) == ["drop_column"]
    assert kinds(house.apply()) == ["add_column"]


@pytest.mark.parametrize(
    "models",
    [
        "person(id INTEGER PRIMARY KEY, fax INT, street TEXT)",  # another type
        "person(id INTEGER PRIMARY KEY, fax TEXT NOT NULL DEFAULT '', street TEXT)",  # the old one holds NULL
        "person(id INTEGER PRIMARY KEY, fax TEXT AS (street), street TEXT)",  # computed
        "person(id INTEGER PRIMARY KEY, telefax TEXT, street TEXT, fax TEXT)",  # nothing goes
    ],
)
def test_what_could_not_be_a_rename_goes_ahead(house: House, models: str) -> None:
    """Another type, NULL where none may be, a computed column: no value could come from the old one."""
    settled(house)
    house.models(f"CREATE TABLE {models};")
    assert kinds(house.apply()) == ["add_column"]


def test_a_column_that_holds_nothing_is_no_rename(house: House) -> None:
    """There is nothing to keep."""
    settled(house)
    house.run("UPDATE person SET telefax = NULL")
    house.models("CREATE TABLE person(id INTEGER PRIMARY KEY, fax TEXT, street TEXT);")
    assert kinds(house.apply()) == ["add_column"]


def test_a_drop_that_was_waiting_is_no_rename(house: House) -> None:
    """What the models gave up in another release is not what they bring now; nor is what somebody made by hand."""
    settled(house)
    house.models("CREATE TABLE person(id INTEGER PRIMARY KEY, street TEXT, more INT);")
    assert kinds(house.apply()) == ["add_column"]
    house.run("ALTER TABLE person ADD COLUMN mine BLOB; UPDATE person SET mine = x'00'")
    house.models("CREATE TABLE person(id INTEGER PRIMARY KEY, street TEXT, more INT, fax TEXT, pic BLOB);")
    assert kinds(house.apply()) == ["add_column", "add_column"]


def test_names_that_pair_up(house: House) -> None:
    """Where one name is clearly like the old one, only that waits; where none is, every one of that type."""
    settled(house)
    house.models("CREATE TABLE person(id INTEGER PRIMARY KEY, street TEXT, telefax_no TEXT, zip TEXT);")
    document = house.apply()
    assert [one["name"] for one in document["applied"]] == ["zip"]
    assert (document["held"][0]["code"], document["held"][0]["name"]) == ("rename-suspected", "telefax_no")


def test_names_that_do_not_pair_up(house: House) -> None:
    """Each that comes could be the one that goes, or either of those."""
    settled(house)
    house.models("CREATE TABLE person(id INTEGER PRIMARY KEY, x TEXT, y TEXT);")
    held = {one["name"]: one["reason"] for one in house.apply()["held"] if one["code"] == "rename-suspected"}
    assert set(held) == {"x", "y"}
    assert held["y"].startswith("it may be telefax or street by a new name (telefax holds 1 value)")


def test_what_needs_a_value_says_so_first(house: House) -> None:
    """A NOT NULL column without a value for old rows cannot be approved; the hint stands behind it."""
    settled(house)
    left = refuse(
        house, "CREATE TABLE person(id INTEGER PRIMARY KEY, telefax TEXT, road TEXT NOT NULL);", "held"
    )
    [added] = [one for one in left if one["kind"] == "add_column"]
    assert added["code"] == "value-needed"
    assert 'info={"renamed_from": "street"} on person.road' in added["reason"]


@pytest.mark.parametrize("met", [True, False])
def test_tables(house: House, met: bool) -> None:
    """A table with the very columns of one that goes, and that holds rows, waits too, with all that stands on it."""
    settled(house) if met else house.run(PERSON + ROWS)
    models = PERSON.replace("person", "people") + "CREATE INDEX by_street ON people(street);"
    left = {one["name"]: one for one in refuse(house, models, "held")}
    assert left["people"]["code"] == "rename-suspected"
    assert (
        'info={"renamed_from": "person"} on people or give --rename people=person' in left["people"]["reason"]
    )
    assert left["by_street"]["reason"] == "it needs create_table people first"
    assert ("person" in left) is met
    document = house.apply(renames={"people": "person"})
    assert kinds(document) == ["rename_table", "create_index"]


def test_tables_of_other_columns(house: House) -> None:
    """A table that lacks a column, or one of an empty table, is made."""
    settled(house)
    house.models(
        PERSON.replace("person", "people").replace(", street TEXT", "") + PERSON.replace("person", "persons")
    )
    house.run("DELETE FROM person")
    assert kinds(house.apply()) == ["create_table", "create_table"]


def test_the_configuration_may_allow_it(house: House) -> None:
    """`rename-suspected = "allow"` for those whose releases never rename."""
    settled(house)
    house.models("CREATE TABLE person(id INTEGER PRIMARY KEY, fax TEXT, street TEXT);")
    assert kinds(house.apply(policy={"rename-suspected": "allow"})) == ["add_column"]
