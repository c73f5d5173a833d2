"""What driftd does not know, or cannot judge, it leaves alone, and says so."""

from __future__ import annotations

import pytest

from driftengine.errors import ModelsError
from support.migrations import House, kinds
from support.witness import assert_kept, migrate, photograph


@pytest.mark.parametrize(
    ("ddl", "after"),
    [
        (
            "CREATE TABLE odd(id INTEGER PRIMARY KEY, a TEXT COLLATE app_collation);",
            "CREATE TABLE odd(id INTEGER PRIMARY KEY, a TEXT, b INT);",
        ),
        (
            "CREATE TABLE odd(id INTEGER PRIMARY KEY, a TEXT CHECK (app_function(a)));",
            "CREATE TABLE odd(id INTEGER PRIMARY KEY, a TEXT);",
        ),
    ],
)
def test_a_table_that_only_the_application_understands_is_reported(
    house: House, ddl: str, after: str
) -> None:
    """Its collation or function is not ours: never altered, approved or not, and the rest goes on."""
    house.run(
        ddl
        + "CREATE TABLE u(id INTEGER PRIMARY KEY); INSERT INTO odd VALUES (1, 'x'); INSERT INTO u VALUES (1);"
    )
    before = photograph(house)
    house.models(after + "CREATE TABLE u(id INTEGER PRIMARY KEY, b INT);")
    document = house.apply()
    assert kinds(document) == ["add_column"]
    (one,) = document["held"]
    assert (one["table"], one["code"], one["risk"]) == ("odd", "unreadable-table", "manual")
    assert_kept(before, photograph(house), touched=["u"])
    assert house.apply("unreadable-table")["applied"] == []
    assert house.apply()["backup"] is None


def test_models_that_only_the_application_understands_are_refused(house: House) -> None:
    """A `.sql` file with a collation that SQLite lacks cannot be built: the error has the line, and nothing is written."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY);")
    before = house.everything()
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY);\nCREATE TABLE odd(a TEXT COLLATE app_collation);")
    with pytest.raises(ModelsError, match="app_collation") as caught:
        house.apply()
    assert "models.sql:2" in caught.value.why
    assert house.everything() == before


def test_an_index_that_only_the_application_understands_survives(house: House) -> None:
    """Other tables are migrated past it."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX i ON t(app_function(a)); CREATE TABLE u(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO u VALUES (1, '1');"
    )
    migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE u(id INTEGER PRIMARY KEY, a INTEGER);",
        changed=["u.a"],
        touched=["u"],
    )


def test_modules_and_names_that_look_like_their_shadows(house: House) -> None:
    """A table called like a module's shadow is the models' own; the module's real ones are left alone."""
    house.run(
        "CREATE VIRTUAL TABLE demo USING rtree(id, minx, maxx); CREATE TABLE demo_tags(x); CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO demo VALUES (1, 0, 1);"
    )
    document = migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT); CREATE TABLE demo_tags(x, y);",
        touched=["t", "demo_tags"],
    )
    assert kinds(document) == ["add_column", "add_column"]
    assert house.ask("SELECT id FROM demo WHERE minx <= 0.5 AND maxx >= 0.5") == [(1,)]


def test_ignored_objects_are_neither_drift_nor_listed(house: House) -> None:
    """A pattern of the configuration leaves tables of the models and of the database out altogether."""
    house.settings["ignore"] = ("tmp_*", "Secret")
    house.run("CREATE TABLE tmp_1(x); CREATE TABLE secret(x); CREATE TABLE t(id INTEGER PRIMARY KEY);")
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE secret(x, y); CREATE TABLE tmp_2(x);")
    found = house.check()
    assert found["in_sync"]
    assert found["unmanaged"] == []
    assert house.apply()["outcome"] == "up_to_date"


def test_a_history_of_another_tool_is_a_stranger(house: House) -> None:
    """Tables of Alembic or of the service's own old migrator stay with their rows."""
    house.run(
        "CREATE TABLE alembic_version(version_num VARCHAR(32) NOT NULL); CREATE TABLE migration_history(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO alembic_version VALUES ('abc'); INSERT INTO migration_history VALUES (1, 'x'); CREATE TABLE t(id INTEGER PRIMARY KEY);"
    )
    migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);", touched=["t"])
    assert {one["name"] for one in house.check()["unmanaged"]} == {"alembic_version", "migration_history"}


def test_every_setting_of_the_file_is_as_before(house: House) -> None:
    """Journal mode, user_version, application_id, encoding and page size survive a copy of a table."""
    house.run(
        "PRAGMA user_version = 7; PRAGMA application_id = 42; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, '1');"
    )
    names = ("user_version", "application_id", "journal_mode", "page_size", "encoding", "auto_vacuum")
    before = [house.ask(f"PRAGMA {name}") for name in names]
    migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER);", changed=["t.a"], touched=["t"])
    assert [house.ask(f"PRAGMA {name}") for name in names] == before
