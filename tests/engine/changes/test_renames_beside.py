"""What is done beside a rename, waits for it, or stands in its way."""

from __future__ import annotations

import subprocess

import pytest

from driftengine import api
from driftengine.errors import PlanError
from support.migrations import House, kinds
from support.renaming import carry_out
from support.stages import session_of, staged
from support.windows import window
from support.witness import assert_settled, refuse

NOTE = """CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, size INT);
INSERT INTO note VALUES (1, 'x', 3), (4, NULL, 7), (6, 'x', NULL);"""


@pytest.mark.parametrize(
    ("wanted", "kind", "rows"),
    [
        ("text TEXT UNIQUE, size INT", "add_unique", [{"key": "1, 6", "value": "x"}]),
        ("text TEXT, size INT CHECK (size < 5)", "add_check", [{"key": 4, "value": 7}]),
        ("text TEXT, size INT REFERENCES tag(id)", "add_foreign_key", [{"key": 1, "value": 3}, {"key": 4, "value": 7}]),
        ("text INT, size INT", "change_type", [{"key": 1, "value": "x"}, {"key": 6, "value": "x"}]),
    ],
)  # fmt: skip
def test_guards_judge_the_rows_under_their_old_names(
    house: House, wanted: str, kind: str, rows: list[dict[str, object]]
) -> None:
    """A table and a column are renamed; what the rows stand in the way of is blocked, and shows them."""
    house.run(NOTE + "CREATE TABLE mark(id INTEGER PRIMARY KEY)")
    house.models(
        f"CREATE TABLE remark(id INTEGER PRIMARY KEY, {wanted}); CREATE TABLE tag(id INTEGER PRIMARY KEY);"
    )
    document = house.apply(renames={"remark": "note", "remark.text": "body", "tag": "mark"})
    assert sorted(kinds(document)) == ["rename_column", "rename_table", "rename_table"]
    assert [(one["kind"], one["rows"]) for one in document["blocked"]] == [(kind, rows)]
    assert house.ask("SELECT id, text, size FROM remark") == [(1, "x", 3), (4, None, 7), (6, "x", None)]


def test_what_needs_a_value_shows_its_rows(house: House) -> None:
    """Beside a rename, a column that becomes NOT NULL over NULL waits, with the rows as they stand under the old names."""
    house.run(NOTE)
    house.models("CREATE TABLE remark(id INTEGER PRIMARY KEY, text TEXT NOT NULL, size INT);")
    house.settings["renames"] = {"remark": "note", "remark.text": "body"}
    house.settings["policy"] = {"rename-column": "hold"}
    held = {one["kind"]: one for one in house.apply()["held"]}
    assert held["set_not_null"]["code"] == "value-needed"
    assert held["set_not_null"]["rows"] == [{"key": 4, "value": None}]
    [left] = house.apply("rename-column")["held"]
    assert (left["kind"], left["rows"]) == ("set_not_null", [{"key": 4, "value": None}])


def test_a_table_is_renamed_and_copied_in_one_plan(house: House) -> None:
    """Every row is compared with the backup, which has the old names; what else is guarded is done where it may be."""
    house.run(NOTE.replace("NULL, 7", "'y', 7").replace("'x', NULL", "'z', 8"))
    document = carry_out(
        house,
        "CREATE TABLE remark(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, size INT, a INT NOT NULL AS (size + 1) STORED);",
        {"remark": "note", "remark.text": "body"},
    )
    assert sorted(kinds(document)) == [
        "add_column",
        "add_unique",
        "rename_column",
        "rename_table",
        "set_not_null",
    ]
    assert house.ask("SELECT a FROM remark") == [(4,), (8,), (9,)]


def test_values_of_the_models_for_a_column_that_is_new_in_a_renamed_table(house: House) -> None:
    """They are counted under the old name, and drawn once a row; a hint of the same column says what NULL becomes."""
    house.run(
        NOTE.replace("(id INTEGER PRIMARY", "(id INTEGER NOT NULL PRIMARY").replace(
            "size INT", "size INTEGER"
        )
    )
    (house.folder / "drawing.py").write_text(
        "import uuid\nfrom sqlalchemy import Column, Integer, MetaData, Table, Text\nmetadata = MetaData()\n"
        'Table("remark", metadata, Column("id", Integer, primary_key=True),\n'
        '  Column("text", Text, nullable=False, info={"renamed_from": "body", "backfill": "\'none\'"}), Column("size", Integer),\n'
        '  Column("key", Text, nullable=False, default=lambda: uuid.uuid4().hex), info={"renamed_from": ["memo", "note"]})\n',
        encoding="utf-8",
    )
    house.settings["models"] = house.spec("drawing:metadata")
    document = house.apply()
    assert sorted(kinds(document)) == ["add_column", "rename_column", "rename_table", "set_not_null"]
    assert house.ask("SELECT id, text, size FROM remark") == [(1, "x", 3), (4, "none", 7), (6, "x", None)]
    assert len(set(house.ask("SELECT key FROM remark WHERE length(key) = 32"))) == 3
    assert_settled(house)


def test_what_touches_a_held_rename_waits_for_it(house: House) -> None:
    """Under a policy that holds renames the rest goes ahead; approved, all that waited is done with it."""
    house.run(NOTE + "CREATE TABLE tag(id INTEGER PRIMARY KEY)")
    house.models(
        "CREATE TABLE remark(id INTEGER PRIMARY KEY, body TEXT, length INT, lang TEXT); CREATE INDEX by_length ON remark(length);"
        "CREATE TABLE tag(id INTEGER PRIMARY KEY, word TEXT, remark INT REFERENCES remark(id));"
        "CREATE VIEW lengths AS SELECT length FROM remark;"
    )
    house.settings |= {
        "renames": {"remark": "note", "remark.length": "size"},
        "policy": {"rename-table": "hold"},
    }
    document = house.apply()
    assert [(one["kind"], one["name"]) for one in document["applied"]] == [
        ("add_column", "word"),
        ("add_column", "remark"),
    ]
    waiting = {one["name"]: one["reason"] for one in document["held"]}
    assert set(waiting) == {"remark", "length", "lang", "by_length", "lengths"}
    assert waiting["length"] == "it needs rename_table remark first"
    assert house.ask("SELECT body, size FROM note") == [("x", 3), (None, 7), ("x", None)]
    document = house.apply("rename-table")
    assert document["held"] == []
    assert sorted(house.ask("SELECT length FROM lengths WHERE length > 0")) == [(3,), (7,)]
    assert_settled(house)


def test_a_rename_that_the_configuration_ignores(house: House) -> None:
    """Then the models' name is made anew, as if there were no hint; an ignored table is left alone altogether."""
    house.run(NOTE)
    house.settings |= {"renames": {"note.length": "size"}, "policy": {"rename-column": "ignore"}}
    [added, dropped] = refuse(
        house, "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, length INT);", "held"
    )
    assert (added["code"], dropped["code"]) == ("rename-suspected", "drop-column")
    assert house.check(ignore=("note",))["in_sync"]


def test_renamed_back_by_hand(house: House) -> None:
    """Who gives a column its old name back in the database is told, and nothing is renamed again without being asked."""
    house.run(NOTE)
    models = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, length INT);"
    carry_out(house, models, {"note.length": "size"})
    house.run("ALTER TABLE note RENAME COLUMN length TO size")
    [left] = refuse(house, models, "held")
    assert (left["kind"], left["code"]) == ("rename_column", "changed-in-database")
    assert house.apply("changed-in-database")["outcome"] == "migrated"
    assert_settled(house)


def test_base_knows_what_was_renamed(house: House) -> None:
    """After a rename, what is changed by hand under the new name is seen, and what the models drop was theirs."""
    house.run(NOTE)
    house.models("CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, size INT);")
    house.apply()
    carry_out(
        house,
        "CREATE TABLE remark(id INTEGER PRIMARY KEY, body TEXT, length INT); CREATE INDEX by_length ON remark(length);",
        {"remark": "note", "remark.length": "size"},
    )
    house.run("DROP INDEX by_length")
    [difference] = house.check()["differences"]
    assert (difference["origin"], difference["name"]) == ("database", "by_length")
    house.run("CREATE INDEX by_length ON remark(length)")
    house.settings["renames"] = {}
    house.models("CREATE TABLE remark(id INTEGER PRIMARY KEY, body TEXT);")
    [index, column] = house.apply()["applied"], house.apply()["held"]
    assert [one["kind"] for one in index] == ["drop_index"]
    assert [one["reason"].partition(";")[0] for one in column] == ["the models no longer describe it"]


def test_what_has_been_done_by_hand_keeps_its_origin_under_the_new_name(house: House) -> None:
    """A column that somebody added to a table that is then renamed is still somebody's."""
    house.run(NOTE)
    house.models("CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, size INT);")
    house.apply()
    house.run("ALTER TABLE note ADD COLUMN mine TEXT")
    house.models("CREATE TABLE remark(id INTEGER PRIMARY KEY, body TEXT, size INT, theirs TEXT);")
    house.settings["renames"] = {"remark": "note"}
    origins = {d["name"]: d["origin"] for d in house.check()["differences"]}
    assert origins == {"remark": "models", "mine": "database", "theirs": "models"}
    assert sorted(kinds(house.apply())) == ["add_column", "rename_table"]
    assert {d["name"]: d["origin"] for d in house.check()["differences"]} == {"mine": "database"}


def test_a_name_that_nobody_describes(wal_house: House) -> None:
    """A given rename of nothing, and two that claim the same, are told with what to do."""
    wal_house.run(NOTE)
    wal_house.models("CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, a INT, b INT);")
    with pytest.raises(PlanError, match=r"note\.bodi.*the nearest names are note\.body"):
        wal_house.check(renames={"note.bodi": "x"})
    with pytest.raises(PlanError, match=r"note\.a and note\.b both say that they were size") as told:
        wal_house.check(renames={"note.a": "size", "note.b": "size"})
    assert told.value.code == "rename-unclear"


def test_the_text_of_a_plan_runs_in_the_shell(house: House) -> None:
    """`plan --sql` in SQLite's own shell does what apply does."""
    house.run(NOTE + "CREATE VIEW bad AS SELECT nope FROM note")
    house.models("CREATE TABLE Remark(id INTEGER PRIMARY KEY, text TEXT, size TEXT);")
    house.settings["renames"] = {"Remark": "note", "Remark.text": "body"}
    text = api.plan_script(house.target())
    subprocess.run(["sqlite3", str(house.database)], input=text, text=True, check=True, capture_output=True)
    assert house.check()["in_sync"]
    assert house.ask("SELECT id, text, size FROM remark") == [(1, "x", "3"), (4, None, "7"), (6, "x", None)]


def test_a_dry_run_writes_nothing(house: House) -> None:
    """It answers what would be done."""
    house.run(NOTE)
    house.models("CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT, size INT);")
    before = house.everything()
    document = api.apply(house.target(renames={"note.text": "body"}), allowed_by="a test", dry_run=True)
    assert (document["outcome"], kinds(document)) == ("migrated", ["rename_column"])
    assert house.everything() == before
    assert house.backups() == []


def test_others_run_on_the_old_names(house: House) -> None:
    """Their statements name the column, so the rename waits, and with it what concerns it; a new table does not."""
    house.run(NOTE)
    house.models(
        "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT DEFAULT 'x', size INT, more INT); CREATE TABLE tag(id INTEGER PRIMARY KEY);"
    )
    house.settings["renames"] = {"note.text": "body"}
    document = api.apply(house.target(), allowed_by="a test", in_use=True)
    assert kinds(document) == ["create_table", "add_column"]
    assert {one["kind"]: one["code"] for one in document["held"]}["rename_column"] == "in-use"
    assert house.apply()["held"] == []
    assert_settled(house)


def test_a_stage_with_a_rename_is_used(house: House) -> None:
    """Exact as it is; and when rows came since, for nothing is copied and nothing is lost."""
    house.run(NOTE)
    house.models("CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT, size INT);")
    house.settings["renames"] = {"note.text": "body"}
    with session_of(house) as session:
        staged(session)
        house.run("INSERT INTO note VALUES (9, 'new', 1)")
        document = session.start(window(), allowed_by="a test")
    assert document["outcome"] == "migrated", document
    assert house.ask("SELECT text FROM note WHERE id = 9") == [("new",)]
    assert_settled(house)


def test_a_copy_beside_a_rename_keeps_sequence_statistics_and_the_order_of_triggers(house: House) -> None:
    """What hangs on the table is found under its new name; triggers still fire in the order in which they were made."""
    house.run(
        "CREATE TABLE note(id INTEGER PRIMARY KEY AUTOINCREMENT, size INT UNIQUE); CREATE TABLE log(x TEXT);"
        "CREATE TRIGGER z AFTER INSERT ON note BEGIN INSERT INTO log VALUES ('z'); END;"
        "CREATE TRIGGER a AFTER INSERT ON note BEGIN INSERT INTO log VALUES ('a'); END;"
        "INSERT INTO note(size) VALUES (1), (2), (3); DELETE FROM note WHERE size = 3; ANALYZE"
    )
    order = house.ask("SELECT x FROM log")[:2]
    document = carry_out(
        house,
        "CREATE TABLE remark(id INTEGER PRIMARY KEY AUTOINCREMENT, size INT UNIQUE, twice INT AS (size * 2) STORED); CREATE TABLE log(x TEXT);",
        {"remark": "note"},
    )
    assert kinds(document) == ["rename_table", "add_column"]
    house.run("DELETE FROM log; INSERT INTO remark(size) VALUES (9)")
    assert house.ask("SELECT id, twice FROM remark WHERE size = 9") == [(4, 18)]
    assert house.ask("SELECT x FROM log") == order


def test_a_rename_is_taken_back_by_a_rename(house: House) -> None:
    """Rows written since stay; the models still want it, so it waits; taking that back renames again."""
    house.run(NOTE)
    models = "CREATE TABLE remark(id INTEGER PRIMARY KEY, text TEXT, size INT);"
    carry_out(house, models, {"remark": "note", "remark.text": "body"})
    house.run("INSERT INTO remark VALUES (9, 'new', 1)")
    document = api.rollback(house.target(), allowed_by="a test")
    assert sorted(kinds(document)) == ["rename_column", "rename_table"]
    assert house.ask("SELECT body FROM note WHERE id = 9") == [("new",)]
    assert {one["code"] for one in house.apply()["held"]} == {"rolled-back"}
    api.rollback(house.target(), migration=document["migration_id"], allowed_by="a test")
    assert house.ask("SELECT text FROM remark WHERE id = 9") == [("new",)]
    assert house.check()["in_sync"]


def test_one_of_two_renames_is_taken_back(house: House) -> None:
    """The column alone; the table keeps its new name."""
    house.run(NOTE)
    models = "CREATE TABLE remark(id INTEGER PRIMARY KEY, text TEXT, size INT);"
    done = carry_out(house, models, {"remark": "note", "remark.text": "body"})
    [column] = [one["operation"] for one in done["applied"] if one["kind"] == "rename_column"]
    document = api.rollback(house.target(), operations=(column,), allowed_by="a test")
    assert kinds(document) == ["rename_column"]
    assert house.ask("SELECT body FROM remark WHERE id = 1") == [("x",)]
