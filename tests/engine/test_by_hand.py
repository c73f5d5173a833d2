"""What somebody changed in the database by hand: told with its origin, held, never reverted, whatever else happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.changes import BOTH, DATABASE, MODELS
from support.migrations import House, kinds

if TYPE_CHECKING:
    from pathlib import Path

T = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(10) NOT NULL, b INT DEFAULT 1, c TEXT,"
    " CONSTRAINT ck CHECK (b < 100), CONSTRAINT uq UNIQUE (a), FOREIGN KEY (b) REFERENCES p (id) ON DELETE CASCADE);"
)
P = "CREATE TABLE p (id INTEGER PRIMARY KEY);"
REST = (
    "CREATE INDEX i ON t (c); CREATE VIEW v AS SELECT a FROM t;"
    "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET c = 'x' WHERE id = new.id; END;"
)
V1 = P + T + REST
ROWS = "INSERT INTO p VALUES (1), (2); INSERT INTO t VALUES (1, 'x', 1, NULL), (2, 'y', 2, NULL);"


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """A database that driftd has met, in step with its models."""
    house = House(tmp_path, journal=request.param)
    house.run(V1 + ROWS)
    house.models(V1)
    assert house.apply()["outcome"] == "up_to_date"
    return house


def edited(old: str, new: str, name: str = "t") -> str:
    """What a person does with an editor of schemas: the stored text is another one, the rows are the same."""
    old, new = (text.replace("'", "''") for text in (old, new))
    return (
        "PRAGMA writable_schema = ON;"
        f"UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE name = '{name}';"
        "PRAGMA writable_schema = OFF; VACUUM;"
    )


# what is done by hand; (object, name, change), and the code
BY_HAND = {
    "column made": ("ALTER TABLE t ADD COLUMN extra INT", ("column", "extra", "remove"), "drop-column"),
    "column dropped": (
        "DROP VIEW v; DROP TRIGGER g; DROP INDEX i; ALTER TABLE t DROP COLUMN c;"
        + REST.replace("UPDATE t SET c = 'x' WHERE id = new.id", "SELECT 1").replace("t (c)", "t (a)"),
        ("column", "c", "add"), "changed-in-database",
    ),
    "unique index made": (
        "CREATE UNIQUE INDEX mine ON t (b)", ("index", "mine", "remove"), "extra-constraint",
    ),
    "index dropped": ("DROP INDEX i", ("index", "i", "add"), "changed-in-database"),
    "index changed": (
        "DROP INDEX i; CREATE INDEX i ON t (c DESC, a)", ("index", "i", "change"), "changed-in-database",
    ),
    "CHECK made": (
        edited("CONSTRAINT ck", "CONSTRAINT own CHECK (a <> ''), CONSTRAINT ck"),
        ("check", "own", "remove"), "extra-constraint",
    ),
    "CHECK dropped": (
        edited("CONSTRAINT ck CHECK (b < 100),", ""), ("check", "ck", "add"), "changed-in-database",
    ),
    "CHECK changed": (edited("b < 100", "b < 50"), ("check", "ck", "change"), "changed-in-database"),
    "unique dropped": (
        "PRAGMA foreign_keys = OFF; DROP VIEW v; CREATE TABLE n (id INTEGER PRIMARY KEY, a VARCHAR(10) NOT NULL,"
        " b INT DEFAULT 1, c TEXT, CONSTRAINT ck CHECK (b < 100), FOREIGN KEY (b) REFERENCES p (id) ON DELETE"
        " CASCADE); INSERT INTO n SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t;" + REST,
        ("unique", "uq", "add"), "changed-in-database",
    ),
    "foreign key changed": (
        edited("ON DELETE CASCADE", "ON DELETE SET NULL"), ("foreign_key", "b", "change"), "changed-in-database",
    ),
    "type changed": (edited("VARCHAR(10)", "VARCHAR(99)"), ("column", "a", "change"), "changed-in-database"),
    "NULL allowed": (
        edited("VARCHAR(10) NOT NULL", "VARCHAR(10)"), ("column", "a", "change"), "changed-in-database",
    ),
    "default changed": (edited("DEFAULT 1", "DEFAULT 7"), ("column", "b", "change"), "changed-in-database"),
    "collation changed": (
        edited("c TEXT", "c TEXT COLLATE NOCASE"), ("column", "c", "change"), "changed-in-database",
    ),
    "view changed": (
        "DROP VIEW v; CREATE VIEW v AS SELECT a, b FROM t", ("view", "v", "change"), "changed-in-database",
    ),
    "view dropped": ("DROP VIEW v", ("view", "v", "add"), "changed-in-database"),
    "trigger changed": (
        "DROP TRIGGER g; CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END",
        ("trigger", "g", "change"), "changed-in-database",
    ),
    "trigger dropped": ("DROP TRIGGER g", ("trigger", "g", "add"), "changed-in-database"),
}  # fmt: skip


def found(house: House) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(d["object"], d["name"], d["change"]): d for d in house.check()["differences"]}


def shape(house: House) -> list[tuple[Any, ...]]:
    """The stored schema, driftd's own table left out."""
    return house.ask(
        "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'driftd%' AND name NOT LIKE 'other%' ORDER BY 1, 2"
    )


@pytest.mark.parametrize("case", BY_HAND)
def test_a_change_by_hand_is_told_held_and_never_reverted(house: House, case: str) -> None:
    """By each look and apply, also behind a migration of the models."""
    sql, (kind, name, change), code = BY_HAND[case]
    house.run(sql)
    before = shape(house)
    told = found(house)
    assert told[kind, name, change]["origin"] == DATABASE
    assert {d["origin"] for d in told.values()} == {DATABASE}
    held = house.apply()
    assert (held["outcome"], held["applied"], held["backup"]) == ("held", [], None)
    mine = next(one for one in held["held"] if (one["name"], one["code"]) == (name, code))
    assert "somebody" in mine["reason"]

    house.models(f"{V1} CREATE TABLE other (id INTEGER PRIMARY KEY);")
    migrated = house.apply()
    assert (migrated["outcome"], kinds(migrated)) == ("migrated", ["create_table"])
    assert found(house)[kind, name, change]["origin"] == DATABASE
    # What it was before is told also now that base has moved on.
    assert found(house)[kind, name, change]["versions"] == told[kind, name, change]["versions"]
    assert {one["code"] for one in house.apply()["held"]} == {one["code"] for one in held["held"]}
    assert shape(house) == before


@pytest.mark.parametrize("case", BY_HAND)
def test_a_change_by_hand_outlives_a_rollback(house: House, case: str) -> None:
    """What the rollback takes back is its own migration's, and what was changed by hand before and after it stays."""
    sql, (kind, name, change), _ = BY_HAND[case]
    house.run(sql)
    house.models(f"{V1} CREATE TABLE other (id INTEGER PRIMARY KEY);")
    held = house.apply()
    before = shape(house)
    back = api.rollback(house.target(), allowed_by="a test")
    assert (back["outcome"], back["operations"]) == ("migrated", 1)
    assert found(house)[kind, name, change]["origin"] == DATABASE
    again = house.apply()
    assert (again["outcome"], again["applied"]) == ("held", [])
    assert {one["code"] for one in again["held"]} == {*(one["code"] for one in held["held"]), "rolled-back"}
    assert shape(house) == before


def test_a_change_right_before_a_rollback_is_one_by_hand_too(house: House) -> None:
    """The rollback's own row records base: it must not take the change for what the models had."""
    house.models(f"{V1} CREATE TABLE other (id INTEGER PRIMARY KEY);")
    house.apply()
    house.run("DROP INDEX i")
    assert api.rollback(house.target(), allowed_by="a test")["outcome"] == "migrated"
    held = house.apply()
    assert {one["code"] for one in held["held"]} == {"changed-in-database", "rolled-back"}
    assert house.stored("i") == ""


def test_a_table_that_somebody_dropped_stays_dropped(house: House) -> None:
    """Making it anew, empty, waits, and so does all that stands on it."""
    house.run("DROP VIEW v; DROP TABLE t")
    held = house.apply()
    assert (held["outcome"], held["applied"]) == ("held", [])
    assert {one["code"] for one in held["held"]} == {"changed-in-database"}
    assert {one["kind"] for one in held["held"]} >= {"create_table", "create_index", "create_view"}
    house.models(V1.replace("VARCHAR(10)", "VARCHAR(20)"))
    (table,) = [d for d in house.check()["differences"] if d["object"] == "table"]
    assert table["origin"] == BOTH


def test_what_stands_beside_the_models_is_nobodys_drift(house: House) -> None:
    """A plain index, a view, a trigger and a table that somebody made are unmanaged, and stay."""
    house.run(
        "CREATE INDEX plain ON t (b); CREATE VIEW w AS SELECT 1; CREATE TABLE mine (x);"
        "CREATE TRIGGER h AFTER DELETE ON t BEGIN SELECT 1; END;"
    )
    look = house.check()
    assert look["in_sync"]
    assert {row["name"] for row in look["unmanaged"]} == {"plain", "w", "mine", "h"}
    house.models(V1.replace("VARCHAR(10)", "VARCHAR(20)"))
    assert house.apply()["outcome"] == "migrated"
    assert {row["name"] for row in house.check()["unmanaged"]} == {"plain", "w", "mine", "h"}


def test_an_index_by_another_name_does_the_same(house: House) -> None:
    """Nothing differs in effect; and when the models change that index, it is theirs to change."""
    house.run("DROP INDEX i; CREATE INDEX other_name ON t (c)")
    assert house.check()["in_sync"]
    house.models(V1.replace("CREATE INDEX i ON t (c)", "CREATE INDEX i ON t (c, a)"))
    done = house.apply()
    assert (done["outcome"], kinds(done)) == ("migrated", ["create_index"])


# (object, name): what the database gets by hand, what the models become, and the three versions
CONFLICTS = {
    "type": (
        edited("VARCHAR(10)", "VARCHAR(99)"), V1.replace("VARCHAR(10)", "VARCHAR(20)"), "a",
        ("VARCHAR(20)", "VARCHAR(99)", "VARCHAR(10)"),
    ),
    "default": (
        edited("DEFAULT 1", "DEFAULT 7"), V1.replace("DEFAULT 1", "DEFAULT 3"), "b", ("3", "7", "1"),
    ),
    "CHECK": (
        edited("b < 100", "b < 50"), V1.replace("b < 100", "b < 200"), "ck",
        ("CHECK (b < 200)", "CHECK (b < 50)", "CHECK (b < 100)"),
    ),
    "CHECK gone here, changed there": (
        edited("CONSTRAINT ck CHECK (b < 100),", ""), V1.replace("b < 100", "b < 200"), "ck",
        ("CHECK (b < 200)", "nothing", "CHECK (b < 100)"),
    ),
    "index gone here, changed there": (
        "DROP INDEX i", V1.replace("ON t (c)", "ON t (c, a)"), "i", ("(c, a)", "nothing", "(c)"),
    ),
    "view": (
        "DROP VIEW v; CREATE VIEW v AS SELECT b FROM t", V1.replace("SELECT a FROM t", "SELECT c FROM t"), "v",
        ("CREATE VIEW v AS SELECT c FROM t", "CREATE VIEW v AS SELECT b FROM t", "CREATE VIEW v AS SELECT a FROM t"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFLICTS)
def test_a_conflict_names_both_sides_and_what_was_before(house: House, case: str) -> None:
    """Held with what the models want, what the database has and what base was; approved, the models' side is applied."""
    sql, models, name, versions = CONFLICTS[case]
    house.run(sql)
    house.models(models)
    (told,) = house.check()["differences"]
    assert (told["origin"], tuple(told["versions"].values())) == (BOTH, versions)
    held = house.apply()
    assert [(one["name"], one["code"]) for one in held["held"]] == [(name, "conflict")]
    for version in versions:
        assert version in held["held"][0]["reason"]
    # Once more, now that the models' side is recorded too.
    house.models(f"{models} CREATE TABLE other (id INTEGER PRIMARY KEY);")
    assert [one["code"] for one in house.apply()["held"]] == ["conflict"]
    (told,) = house.check()["differences"]
    assert (told["origin"], tuple(told["versions"].values())) == (BOTH, versions)
    assert house.apply("conflict")["outcome"] == "migrated"
    assert house.check()["in_sync"]


def test_models_that_move_on_behind_a_change_by_hand_make_a_conflict(house: House) -> None:
    """Base holds the database's version by then, and still it was not the models alone who moved."""
    house.run(edited("VARCHAR(10)", "VARCHAR(99)"))
    other = "CREATE TABLE other (id INTEGER PRIMARY KEY);"
    house.models(V1 + other)
    house.apply()
    house.models(V1.replace("VARCHAR(10)", "VARCHAR(20)") + other)
    held = house.apply()
    assert [one["code"] for one in held["held"]] == ["conflict"]
    for version in ("VARCHAR(10)", "VARCHAR(20)", "VARCHAR(99)"):
        assert version in held["held"][0]["reason"]


def test_a_column_that_the_models_drop_and_somebody_changed(house: House) -> None:
    """It is held as a drop, as ever; that somebody changed it is told beside."""
    house.run(edited("c TEXT", "c VARCHAR(9)"))
    house.models(
        V1.replace(", c TEXT", "").replace("SET c = 'x'", "SET a = 'x'").replace("t (c)", "t (a, b)")
    )
    column = found(house)["column", "c", "remove"]
    assert column["origin"] == BOTH
    held = house.apply()
    assert "drop-column" in {one["code"] for one in held["held"]}


def test_both_sides_moved_alike_while_something_waits(house: House) -> None:
    """No difference, and base moves on: when the models go further, that is theirs alone."""
    house.run("ALTER TABLE t ADD COLUMN extra INT; UPDATE t SET extra = 1")
    assert house.apply()["outcome"] == "held"
    house.run(edited("VARCHAR(10)", "VARCHAR(20)"))
    house.models(V1.replace("VARCHAR(10)", "VARCHAR(20)"))
    assert {d["name"] for d in house.check()["differences"]} == {"extra"}
    assert house.apply()["outcome"] == "held"
    rows = house.ask("SELECT count(*) FROM driftd_history")
    assert house.apply()["outcome"] == "held"
    assert house.ask("SELECT count(*) FROM driftd_history") == rows
    house.models(V1.replace("VARCHAR(10)", "VARCHAR(30)"))
    done = house.apply()
    assert (done["outcome"], kinds(done)) == ("migrated", ["change_type"])
    assert found(house)["column", "extra", "remove"]["origin"] == DATABASE


def test_what_the_models_wanted_before_is_theirs_also_when_it_had_to_wait(house: House) -> None:
    """A removal that waits is remembered as the models', whatever base was recorded meanwhile."""
    unique = V1.replace("CREATE INDEX i", "CREATE UNIQUE INDEX i")
    house.run("UPDATE t SET c = id")
    house.models(unique)
    assert house.apply()["outcome"] == "migrated"
    house.models(V1)
    assert house.apply(policy={"change-index": "hold"})["outcome"] == "held"
    house.models(f"{V1} CREATE TABLE other (id INTEGER PRIMARY KEY);")
    house.apply(policy={"change-index": "hold"})
    done = house.apply()
    assert (done["outcome"], kinds(done)) == ("migrated", ["change_index"])


def test_a_service_that_ran_its_own_create_all(house: House) -> None:
    """It makes what is missing whole, and leaves tables that are there as they are; driftd does the rest."""
    models = (V1 + "CREATE TABLE n (id INTEGER PRIMARY KEY, t_id INT REFERENCES t (id));").replace(
        "c TEXT", "c TEXT, d TEXT"
    )
    house.run("CREATE TABLE n (id INTEGER PRIMARY KEY, t_id INT REFERENCES t (id))")
    house.models(models)
    done = house.apply()
    assert (done["outcome"], kinds(done)) == ("migrated", ["add_column"])
    assert house.check()["in_sync"]
    # An older service comes back, and makes a table again that the models have given up.
    house.models(models.replace("CREATE TABLE n (id INTEGER PRIMARY KEY, t_id INT REFERENCES t (id));", ""))
    assert house.apply("drop-table")["outcome"] == "migrated"
    house.run("CREATE TABLE n (id INTEGER PRIMARY KEY, t_id INT REFERENCES t (id))")
    look = house.check()
    assert (look["in_sync"], [row["name"] for row in look["unmanaged"]]) == (True, ["n"])


def test_a_database_that_alembic_has_stamped(tmp_path: Path) -> None:
    """Its table is nobody's of the models; what Alembic did before is where driftd begins."""
    house = House(tmp_path)
    house.run(
        V1 + "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
        " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)); INSERT INTO alembic_version VALUES ('a1');"
    )
    house.models(V1.replace("c TEXT", "c TEXT, d TEXT"))
    first = house.check()
    assert [row["name"] for row in first["unmanaged"]] == ["alembic_version"]
    assert {d["origin"] for d in first["differences"]} == {MODELS}
    assert house.apply()["outcome"] == "migrated"
    assert house.ask("SELECT * FROM alembic_version") == [("a1",)]
    # And a later migration by Alembic, which the models follow.
    house.run("ALTER TABLE t ADD COLUMN e TEXT; UPDATE alembic_version SET version_num = 'b2'")
    assert found(house)["column", "e", "remove"]["origin"] == DATABASE
    house.models(V1.replace("c TEXT", "c TEXT, d TEXT, e TEXT"))
    assert (house.check()["in_sync"], house.apply()["outcome"]) == (True, "up_to_date")
    house.models(V1.replace("c TEXT", "c TEXT, d TEXT, e TEXT DEFAULT 'x'"))
    assert kinds(house.apply()) == ["change_default"]
