"""What the models say was renamed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from driftengine.desired import ModelSource
from support.migrations import House, kinds

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "CREATE TABLE person(id INTEGER PRIMARY KEY, phone TEXT); CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT)"
MODELS = """
from sqlalchemy import Column, Integer, MetaData, Table, Text

metadata = MetaData()
Table(
    "person", metadata, Column("id", Integer, primary_key=True),
    Column("mobile", Text, nullable=False, default="none", info={"renamed_from": "phone"}),
)
Table("remark", metadata, Column("id", Integer, primary_key=True), Column("body", Text), info={"renamed_from": ["note"]})
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A database under the old names, and models that say how they were renamed."""
    house = House(tmp_path)
    house.run(BEFORE)
    house.run("INSERT INTO person VALUES (1, '123'); INSERT INTO note VALUES (1, 'x')")
    (tmp_path / "renaming.py").write_text(MODELS, encoding="utf-8")
    house.settings["models"] = ModelSource(("renaming:metadata",), sys.executable, directory=str(tmp_path))
    return house


def test_a_renamed_column_or_table_is_not_made_anew_beside_its_data(house: House) -> None:
    """It waits, and the reason is the statement that renames it; nothing is filled with invented values."""
    before = house.everything()
    document = house.apply()
    assert document["outcome"] == "held"
    assert sorted(one["code"] for one in document["held"]) == ["drop-column", "rename-waits", "rename-waits"]
    reasons = " ".join(one["reason"] for one in document["held"])
    assert 'ALTER TABLE "person" RENAME COLUMN "phone" TO "mobile"' in reasons
    assert 'ALTER TABLE "note" RENAME TO "remark"' in reasons
    assert house.everything() == before


def test_after_the_renames_the_rest_goes_ahead(house: House) -> None:
    """Once the database has the new names, what is left of the difference is done as ever, and every row is there."""
    house.run("ALTER TABLE person RENAME COLUMN phone TO mobile; ALTER TABLE note RENAME TO remark")
    document = house.apply()
    assert kinds(document) == ["set_not_null"]
    assert house.check()["in_sync"]
    assert house.ask("SELECT * FROM person") == [(1, "123")]
    assert house.ask("SELECT * FROM remark") == [(1, "x")]


def test_an_approval_makes_it_anew(house: House) -> None:
    """Who approves gets a new column, and the old one still waits."""
    house.apply("rename-waits")
    assert house.ask("SELECT mobile FROM person") == [("none",)]
    assert house.ask("SELECT phone FROM person") == [("123",)]


def test_the_statement_can_be_pasted_whatever_the_names(house: House) -> None:
    """A keyword, a blank or a quote in a name is quoted, so that the statement that is shown is one."""
    house.run('CREATE TABLE "order"(id INTEGER PRIMARY KEY, "the ""old""" TEXT)')
    columns = """Column("id", Integer, primary_key=True), Column("group", Text, info={"renamed_from": 'the "old"'})"""
    text = MODELS + f'Table("order", metadata, {columns})\n'
    (house.folder / "renaming.py").write_text(text, encoding="utf-8")
    [reason] = [
        one["reason"]
        for one in house.apply()["held"]
        if one["table"] == "order" and "rename it by" in one["reason"]
    ]
    house.run(reason.partition("rename it by ")[2].partition(", then")[0])
    assert house.ask("SELECT name FROM pragma_table_info('order')") == [("id",), ("group",)]
