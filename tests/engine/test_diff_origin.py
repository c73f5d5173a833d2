"""Who moved: what the models changed goes forward, what somebody changed in the database waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from driftengine.changes import BOTH, DATABASE, MODELS
from support.migrations import House, kinds
from support.schemas import drift_between

if TYPE_CHECKING:
    from pathlib import Path

V1 = "CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(10) NOT NULL, b INT DEFAULT 1); CREATE INDEX i ON t (a);"


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A database that driftd has met, in step with its models."""
    house = House(tmp_path)
    house.run(f"{V1} INSERT INTO t VALUES (1, 'x', 2)")
    house.models(V1)
    assert house.apply()["outcome"] == "up_to_date"
    return house


def codes(document: dict[str, Any], part: str = "held") -> list[str]:
    return [one["code"] for one in document[part]]


def by_hand(house: House, old: str, new: str) -> None:
    """What a person does with an editor of schemas: the table's text is another one, the rows are the same."""
    house.run(
        "PRAGMA writable_schema = ON;"
        f"UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE name = 't';"
        "PRAGMA writable_schema = OFF; VACUUM;"
    )
    assert new in house.stored("t")


# base (what the database and the models were), the database now, the models now, the origin
T = "CREATE TABLE t (id INTEGER PRIMARY KEY, {});"
ORIGINS = {
    "models: type": (T.format("a VARCHAR(10)"), T.format("a VARCHAR(10)"), T.format("a VARCHAR(20)"), MODELS),
    "database: type": (T.format("a VARCHAR(10)"), T.format("a VARCHAR(20)"), T.format("a VARCHAR(10)"), DATABASE),
    "both: type": (T.format("a VARCHAR(10)"), T.format("a VARCHAR(20)"), T.format("a VARCHAR(30)"), BOTH),
    "models: default": (T.format("a INT DEFAULT 1"), T.format("a INT DEFAULT 1"), T.format("a INT"), MODELS),
    "database: default": (T.format("a INT DEFAULT 1"), T.format("a INT"), T.format("a INT DEFAULT 1"), DATABASE),
    "both: default": (
        T.format("a INT DEFAULT 1"), T.format("a INT DEFAULT 2"), T.format("a INT DEFAULT 3"), BOTH,
    ),
    "database: NOT NULL": (T.format("a INT NOT NULL"), T.format("a INT"), T.format("a INT NOT NULL"), DATABASE),
    "database: column gone": (T.format("a, b"), T.format("a"), T.format("a, b"), DATABASE),
    "database: column more": (T.format("a"), T.format("a, b"), T.format("a"), DATABASE),
    "models: column more": (T.format("a"), T.format("a"), T.format("a, b"), MODELS),
    "database: table gone": (T.format("a"), "", T.format("a"), DATABASE),
    "models: table gone": (T.format("a"), T.format("a"), "", MODELS),
    "database: index gone": (
        T.format("a") + "CREATE INDEX i ON t (a);", T.format("a"), T.format("a") + "CREATE INDEX i ON t (a);", DATABASE,
    ),
    "models: check gone": (
        T.format("a, CHECK (a > 0)"), T.format("a, CHECK (a > 0)"), T.format("a"), MODELS,
    ),
    "database: check gone": (
        T.format("a, CHECK (a > 0)"), T.format("a"), T.format("a, CHECK (a > 0)"), DATABASE,
    ),
    "database: unique gone": (T.format("a, UNIQUE (a)"), T.format("a"), T.format("a, UNIQUE (a)"), DATABASE),
    "models: foreign key more": (T.format("a"), T.format("a"), T.format("a REFERENCES t (id)"), MODELS),
    "database: foreign key gone": (
        T.format("a REFERENCES t (id)"), T.format("a"), T.format("a REFERENCES t (id)"), DATABASE,
    ),
    "database: view": (
        "CREATE VIEW v AS SELECT 1;", "CREATE VIEW v AS SELECT 2;", "CREATE VIEW v AS SELECT 1;", DATABASE,
    ),
    "both: view": (
        "CREATE VIEW v AS SELECT 1;", "CREATE VIEW v AS SELECT 2;", "CREATE VIEW v AS SELECT 3;", BOTH,
    ),
    "database: trigger gone": (
        T.format("a") + "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END;", T.format("a"),
        T.format("a") + "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END;", DATABASE,
    ),
    "first meeting": (None, T.format("a VARCHAR(10)"), T.format("a VARCHAR(20)"), MODELS),
}  # fmt: skip


@pytest.mark.parametrize("case", ORIGINS)
def test_base_tells_who_moved(case: str) -> None:
    """Each thing is compared with what it was when driftd last looked, on both sides."""
    base, database, models, expected = ORIGINS[case]
    (difference,) = drift_between(database, models, base).differences
    assert difference.origin == expected


def test_what_the_models_changed_goes_forward(house: House) -> None:
    """Type, default and index of the models are applied; nothing waits."""
    house.models(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(20) NOT NULL, b INT); CREATE INDEX i2 ON t (b);"
    )
    done = house.apply()
    assert (done["outcome"], done["held"]) == ("migrated", [])
    assert sorted(kinds(done)) == ["change_default", "change_type", "create_index", "drop_index"]


def test_what_was_changed_by_hand_is_held_and_never_reverted(house: House) -> None:
    """It is reported as changed-in-database at every look, whatever else is migrated meanwhile."""
    by_hand(house, "VARCHAR(10)", "VARCHAR(99)")
    house.run("DROP INDEX i")
    for _ in range(2):
        held = house.apply()
        assert (held["outcome"], set(codes(held))) == ("held", {"changed-in-database"})
    house.models(f"{V1} CREATE TABLE more (id INTEGER PRIMARY KEY);")
    other = house.apply()
    assert (other["outcome"], kinds(other)) == ("migrated", ["create_table"])
    assert set(codes(other)) == {"changed-in-database"}
    for _ in range(2):
        again = house.apply()
        assert (again["outcome"], set(codes(again))) == ("held", {"changed-in-database"})
    assert "VARCHAR(99)" in house.stored("t")
    assert house.stored("i") == ""


def test_a_person_decides_what_was_changed_by_hand(house: House) -> None:
    """Approved, the database follows the models; or the models follow the database, and nothing is left."""
    by_hand(house, "VARCHAR(10)", "VARCHAR(99)")
    house.run("DROP INDEX i")
    first = house.apply()
    index = next(one for one in first["held"] if one["kind"] == "create_index")
    done = house.apply(index["operation"])
    assert (kinds(done), codes(done)) == (["create_index"], ["changed-in-database"])
    house.models(V1.replace("VARCHAR(10)", "VARCHAR(99)"))
    assert house.apply()["outcome"] == "up_to_date"
    assert house.check()["in_sync"]


def test_both_sides_at_once_are_a_conflict(house: House) -> None:
    """It is held and names both sides; approved, the models' side is applied."""
    by_hand(house, "DEFAULT 1", "DEFAULT 7")
    house.models(V1.replace("DEFAULT 1", "DEFAULT 3"))
    held = house.apply()
    assert (held["outcome"], codes(held)) == ("held", ["conflict"])
    assert "7" in held["held"][0]["detail"]
    assert "3" in held["held"][0]["detail"]
    assert house.check()["differences"][0]["origin"] == BOTH
    done = house.apply("conflict")
    assert (done["outcome"], kinds(done)) == ("migrated", ["change_default"])
    assert "DEFAULT 3" in house.stored("t")


def test_held_removals_are_remembered_over_several_applies(house: House) -> None:
    """Base forgets what the models no longer describe; what waits since is still known as theirs, and can be approved."""
    house.run("CREATE TABLE u (id INTEGER PRIMARY KEY); INSERT INTO u VALUES (1)")
    house.models(f"{V1} CREATE TABLE u (id INTEGER PRIMARY KEY);")
    assert house.apply()["outcome"] == "up_to_date"
    models = "CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(10) NOT NULL); CREATE INDEX i ON t (a);"
    house.models(models)
    for number in range(3):
        waiting = house.apply()
        assert sorted(kinds(waiting, "held")) == ["drop_column", "drop_table"]
        assert all("no longer describe" in one["reason"] for one in waiting["held"])
        models += f"CREATE TABLE w{number} (id INTEGER PRIMARY KEY);"
        house.models(models)
    done = house.apply("drop-table", "drop-column")
    assert sorted(kinds(done)) == ["create_table", "drop_column", "drop_table"]
    assert (house.apply()["outcome"], house.stored("u")) == ("up_to_date", "")


def test_first_meeting_leaves_alone_what_the_models_do_not_know(tmp_path: Path) -> None:
    """Unknown tables, views, triggers and plain indexes are unmanaged; what is extra inside a known table is held."""
    house = House(tmp_path)
    house.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a, extra, UNIQUE (a)); CREATE INDEX pi ON t (extra);"
        "CREATE UNIQUE INDEX ui ON t (extra); CREATE TABLE mine (x); CREATE VIEW v AS SELECT 1;"
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END;"
    )
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    look = house.check()
    assert {(row["type"], row["name"]) for row in look["unmanaged"]} == {
        ("index", "pi"), ("table", "mine"), ("view", "v"), ("trigger", "g"),
    }  # fmt: skip
    held = house.apply()
    assert (held["outcome"], held["backup"]) == ("held", None)
    assert sorted(codes(held)) == ["drop-column", "extra-constraint", "extra-constraint"]
    again = house.apply()
    assert (sorted(codes(again)), again["backup"]) == (sorted(codes(held)), None)


def test_an_apply_may_follow_the_first_meeting_at_once(tmp_path: Path) -> None:
    """What is missing is added in the same call, and the history has one row: base comes with the migration."""
    house = House(tmp_path)
    house.run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    assert house.apply()["outcome"] == "migrated"
    assert house.ask("SELECT kind FROM driftd_history") == [("migration",)]


def test_base_follows_a_service_that_made_its_tables_itself(house: House) -> None:
    """create_all of the service was faster: the new table counts as described, so what the models change there goes on."""
    both = f"{V1} CREATE TABLE u (id INTEGER PRIMARY KEY, n VARCHAR(5));"
    house.run("CREATE TABLE u (id INTEGER PRIMARY KEY, n VARCHAR(5))")
    house.models(both)
    assert (house.apply()["outcome"], house.apply()["outcome"]) == ("up_to_date", "up_to_date")
    assert house.ask("SELECT kind FROM driftd_history") == [("meeting",), ("meeting",)]
    house.models(both.replace("VARCHAR(5)", "VARCHAR(50)"))
    done = house.apply()
    assert (done["outcome"], kinds(done)) == ("migrated", ["change_type"])
    house.models(V1)
    gone = house.apply()
    assert (codes(gone), gone["outcome"]) == (["drop-table"], "held")
