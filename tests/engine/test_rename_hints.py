"""What the models say was renamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.migrations import House, kinds
from support.witness import assert_settled

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "CREATE TABLE person(id INTEGER NOT NULL PRIMARY KEY, phone TEXT); CREATE TABLE note(id INTEGER NOT NULL PRIMARY KEY, body TEXT)"
MODELS = """
from sqlalchemy import Column, Integer, MetaData, Table, Text

metadata = MetaData()
Table(
    "person", metadata, Column("id", Integer, primary_key=True),
    Column("mobile", Text, nullable=False, default="none", info={"renamed_from": "phone"}),
)
Table("remark", metadata, Column("id", Integer, primary_key=True), Column("body", Text), info={"renamed_from": ["memo", "note"]})
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A database under the old names, and models that say how they were renamed."""
    house = House(tmp_path)
    house.run(BEFORE)
    house.run("INSERT INTO person VALUES (1, '123'); INSERT INTO note VALUES (1, 'x')")
    (tmp_path / "renaming.py").write_text(MODELS, encoding="utf-8")
    house.settings["models"] = house.spec("renaming:metadata")
    return house


def test_a_column_and_a_table_are_renamed(house: House) -> None:
    """The rest of the difference is done with them, every row is there, and the hints may stay."""
    document = house.apply()
    assert sorted(kinds(document)) == ["rename_column", "rename_table", "set_not_null"]
    assert house.ask("SELECT * FROM person") == [(1, "123")]
    assert house.ask("SELECT * FROM remark") == [(1, "x")]
    assert_settled(house)


def test_renamed_by_hand_before(house: House) -> None:
    """Once the database has the new names, the hints mean nothing more."""
    house.run("ALTER TABLE person RENAME COLUMN phone TO mobile; ALTER TABLE note RENAME TO remark")
    assert kinds(house.apply()) == ["set_not_null"]
    assert_settled(house)


def test_the_configuration_goes_before_the_models(house: House) -> None:
    """What a person gives for a name counts, not the hint."""
    house.run("ALTER TABLE person ADD COLUMN cell TEXT; UPDATE person SET cell = '456'")
    document = house.apply(renames={"person.mobile": "cell"})
    assert "rename_column" in kinds(document)
    assert house.ask("SELECT phone, mobile FROM person") == [("123", "456")]


def test_names_are_quoted_where_they_must_be(house: House) -> None:
    """A keyword, a blank or a quote in a name."""
    house.run(
        "CREATE TABLE 'order'(id INTEGER NOT NULL PRIMARY KEY, [the \"old\"] TEXT); INSERT INTO 'order' VALUES (1, 'x')"
    )
    hint = "info={'renamed_from': 'the \"old\"'}"
    columns = f'Column("id", Integer, primary_key=True), Column("group", Text, {hint})'
    text = MODELS + f'Table("order", metadata, {columns})\n'
    (house.folder / "renaming.py").write_text(text, encoding="utf-8")
    assert kinds(house.apply()).count("rename_column") == 2
    assert house.ask('SELECT "group" FROM "order"') == [("x",)]
    assert_settled(house)
