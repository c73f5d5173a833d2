"""Another name is no loss: by a hint everything goes along, without one nothing is dropped."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from support.identical import assert_identical, image

if TYPE_CHECKING:
    from support.hard_cases import Rig

FAMILY = """
CREATE TABLE "Order"(id INTEGER PRIMARY KEY AUTOINCREMENT, "Name" TEXT NOT NULL UNIQUE CHECK ("Name" <> ''), qty INT DEFAULT 1);
CREATE TABLE line(id INTEGER PRIMARY KEY, "order" INT REFERENCES "Order"(id) ON DELETE CASCADE, n TEXT REFERENCES "Order"("Name") ON UPDATE CASCADE);
CREATE INDEX "by name" ON "Order"(lower("Name"), qty DESC) WHERE qty > 0;
CREATE TABLE log(x);
CREATE VIEW shown AS SELECT id, "Name" AS n FROM "Order";
CREATE TRIGGER g AFTER UPDATE OF "Name" ON "Order" BEGIN INSERT INTO log VALUES (old."Name"); END;
"""
ROWS = """
INSERT INTO "Order"("Name") VALUES ('a'), ('b'), ('c'); DELETE FROM "Order" WHERE id = 3;
INSERT INTO line VALUES (1, 1, 'a'), (2, 2, 'b'), (3, NULL, NULL); ANALYZE;
"""


@pytest.mark.parametrize("rows", [ROWS, ""], ids=["rows", "empty"])
def test_a_table_and_its_column_go_by_other_names_with_all_that_is_theirs(rig: Rig, rows: str) -> None:
    """Both at once, with a new column beside: rows, ids, children, index, view and trigger are there, under the new names."""
    rig.begin(FAMILY, rows)
    rig.settings["renames"] = {"Auftrag": "Order", "Auftrag.title": "Name"}
    models = (
        FAMILY.replace('"Order"', "Auftrag")
        .replace('"Name"', "title")
        .replace("qty INT", "z INT DEFAULT 2, qty INT")
    )
    rig.models(models)
    document = rig.apply()
    assert (document["outcome"], document["held"], document["blocked"]) == ("migrated", [], [])
    assert {one["kind"] for one in document["applied"]} == {"rename_table", "rename_column", "add_column"}
    rig.assert_settled()
    names = {name for _, name in image(rig.database).objects}
    assert "Order" not in names
    assert {"Auftrag", "by name", "shown", "g"} <= names
    rig.service("INSERT INTO Auftrag(title) VALUES ('new')")
    assert rig.service("SELECT max(id), count(*) FROM Auftrag") == [(4, 3) if rows else (1, 1)]
    with pytest.raises(sqlite3.IntegrityError):
        rig.service("INSERT INTO Auftrag(title) VALUES ('new')")
    if rows:
        rig.service("UPDATE Auftrag SET title = 'z' WHERE id = 1")
        assert rig.service("SELECT n FROM line WHERE id = 1") == [("z",)]
        assert rig.service("SELECT x FROM log") == [("a",)]
        assert rig.service("SELECT n FROM shown WHERE id = 1") == [("z",)]
        rig.service("DELETE FROM Auftrag WHERE id = 2")
        assert rig.service("SELECT id FROM line") == [(1,), (3,)]
        assert {row[0] for row in image(rig.database).statistics} >= {"Auftrag", "line"}


@pytest.mark.parametrize(
    ("old", "new"),
    [('"Name" TEXT', "[NAME] TEXT"), ("TABLE log", 'TABLE "LOG"'), ("qty", "QTY"), ('"Order"', "`order`")],
)
def test_the_case_of_a_name_is_no_drift(rig: Rig, old: str, new: str) -> None:
    """SQLite takes both for one name: nothing is added, nothing dropped, nothing done."""
    rig.begin(FAMILY, ROWS)
    before = image(rig.database)
    rig.models(FAMILY.replace(old, new))
    found = rig.check()
    assert found["differences"] == []
    assert rig.apply()["outcome"] == "up_to_date"
    assert_identical(before, image(rig.database))


def test_case_alone_with_a_hint_is_done_too(rig: Rig) -> None:
    """A hint that names the same letters is no endless story: done or nothing, and settled either way."""
    rig.begin(FAMILY, ROWS)
    rig.settings["renames"] = {"ORDER": "Order", "ORDER.NAME": "Name"}
    rig.models(FAMILY.replace('"Order"', '"ORDER"').replace('"Name"', '"NAME"'))
    document = rig.apply()
    assert document["outcome"] in {"migrated", "up_to_date"}
    assert (document["held"], document["blocked"]) == ([], [])
    assert rig.service('SELECT count(*) FROM "order" JOIN line ON "order"."name" = line.n') == [(2,)]
    rig.assert_settled()


@pytest.mark.parametrize("what", ["column", "table"])
def test_without_a_hint_nothing_is_lost_and_nothing_is_made_beside_it(rig: Rig, what: str) -> None:
    """What looks like another name is held, both halves of it, and the message has the hint ready; the data stays."""
    rig.met(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT);",
        "INSERT INTO t VALUES (1, 'x', 5), (2, 'y', 6);",
    )
    models = (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, title TEXT, b INT);"
        if what == "column"
        else "CREATE TABLE things(id INTEGER PRIMARY KEY, a TEXT, b INT);"
    )
    left = rig.refused(models, "held")
    assert {one["change"] if "change" in one else one["kind"].partition("_")[0] for one in left} <= {
        "add",
        "drop",
        "create",
    }
    assert any("renamed_from" in one["reason"] for one in left), left
    assert any(one["count"] == 2 for one in left)


def test_the_hint_that_was_proposed_settles_it(rig: Rig) -> None:
    """Given what the message asked for, the values are under the new name and nothing waits any more."""
    rig.met("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);", "INSERT INTO t VALUES (1, 'x'), (2, NULL);")
    models = "CREATE TABLE t(id INTEGER PRIMARY KEY, title TEXT);"
    rig.refused(models, "held")
    rig.settings["renames"] = {"t.title": "a"}
    document = rig.apply()
    assert [one["kind"] for one in document["applied"]] == ["rename_column"]
    assert rig.service("SELECT id, title FROM t") == [(1, "x"), (2, None)]
    rig.assert_settled()
