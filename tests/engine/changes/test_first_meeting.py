"""The first meeting records what is there; later only what the models once described can be removed by them."""

from __future__ import annotations

from support.migrations import House, kinds
from support.witness import assert_settled, migrate, refuse

STRANGERS = """CREATE TABLE stranger(x TEXT); CREATE VIEW sv AS SELECT x FROM stranger;
CREATE TRIGGER st AFTER INSERT ON stranger BEGIN UPDATE stranger SET x = x; END; CREATE INDEX si ON stranger(x);
INSERT INTO stranger VALUES ('kept');"""


def test_strangers_are_listed_and_left_alone(house: House) -> None:
    """Tables, views, triggers and plain indexes outside the models are unmanaged, before and after a migration."""
    house.run(
        f"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX ti ON t(a); {STRANGERS} INSERT INTO t VALUES (1, '1');"
    )
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);")
    found = house.check()
    assert found["in_sync"]
    assert {(one["type"], one["name"]) for one in found["unmanaged"]} == {
        ("table", "stranger"), ("view", "sv"), ("trigger", "st"), ("index", "si"), ("index", "ti"),
    }  # fmt: skip
    migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER);", changed=["t.a"], touched=["t"])
    assert house.check()["unmanaged"] == found["unmanaged"]


def test_everything_extra_inside_a_described_table_is_held(house: House) -> None:
    """New code would trip over it, and somebody may rely on it: each is named, none is touched."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, extra INT CHECK (extra > 0), UNIQUE (a), CHECK (a <> ''), FOREIGN KEY (extra) REFERENCES t(id));"
        "CREATE UNIQUE INDEX u ON t(lower(a)); INSERT INTO t VALUES (1, 'x', 1);"
    )
    left = refuse(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);", "held")
    assert sorted((one["kind"], one["name"]) for one in left) == [
        ("drop_check", "a"),
        ("drop_check", "extra"),
        ("drop_column", "extra"),
        ("drop_foreign_key", "extra"),
        ("drop_index", "u"),
        ("drop_unique", "a"),
    ]
    migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);",
        "drop-column",
        "extra-constraint",
        changed=["t.extra"],
        touched=["t", "u"],
    )


def test_an_apply_may_follow_the_meeting_at_once(house: House) -> None:
    """The first apply migrates and records; a table that the models drop afterwards is held, its index goes with it."""
    house.run("CREATE TABLE old(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO old VALUES (1, 'x');")
    before = "CREATE TABLE old(id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE fresh(id INTEGER PRIMARY KEY);"
    migrate(house, before)
    (one,) = refuse(house, "CREATE TABLE fresh(id INTEGER PRIMARY KEY);", "held")
    assert (one["kind"], one["name"], one["count"]) == ("drop_table", "old", 1)
    assert house.apply()["backup"] is None
    house.models("CREATE TABLE fresh(id INTEGER PRIMARY KEY);")
    assert kinds(house.apply("drop-table")) == ["drop_table"]
    assert house.ask("SELECT name FROM sqlite_schema WHERE name = 'old'") == []
    assert_settled(house)


def test_a_table_that_models_never_had_is_never_theirs_to_remove(house: House) -> None:
    """However many releases come and go, the stranger stays unmanaged."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY);" + STRANGERS)
    for models in (
        "CREATE TABLE t(id INTEGER PRIMARY KEY);",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT);",
    ):
        house.models(models)
        assert house.apply()["held"] == []
    assert house.ask("SELECT x FROM stranger") == [("kept",)]


def test_a_stranger_that_the_models_adopt_is_theirs_from_then_on(house: House) -> None:
    """Described once, its removal is a difference; until then it was none."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY);" + STRANGERS)
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY);")
    house.apply()
    both = "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE stranger(x TEXT, y INT);"
    assert kinds(migrate(house, both, touched=["stranger"])) == ["add_column"]
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY);")
    assert kinds(house.apply(), "held") == ["drop_table"]


def test_what_waits_is_remembered_as_the_models_own(house: House) -> None:
    """A held removal is still known as theirs after other migrations have moved base on."""
    before = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE u(id INTEGER PRIMARY KEY);"
    house.run(before + "INSERT INTO t VALUES (1, 'x'); INSERT INTO u VALUES (1);")
    house.models(before)
    house.apply()
    for extra in ("", ", b TEXT", ", b TEXT, c TEXT"):
        house.models(f"CREATE TABLE t(id INTEGER PRIMARY KEY{extra});")
        document = house.apply()
        assert sorted(kinds(document, "held")) == ["drop_column", "drop_table"]
    assert house.ask("SELECT a FROM t") == [("x",)]


def test_what_somebody_changed_by_hand_is_not_reverted(house: House) -> None:
    """An index dropped, a column added and a default changed in the database are held with their origin."""
    ddl = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT DEFAULT 'x'); CREATE INDEX i ON t(a);"
    house.run(ddl)
    house.models(ddl)
    house.apply()
    house.run(
        "DROP INDEX i; ALTER TABLE t ADD COLUMN by_hand INT DEFAULT 5; INSERT INTO t VALUES (1, 'y', 6);"
    )
    found = house.check()
    assert {(one["object"], one["name"], one["origin"]) for one in found["differences"]} == {
        ("index", "i", "database"), ("column", "by_hand", "database"),
    }  # fmt: skip
    left = refuse(house, ddl, "held")
    assert {one["kind"] for one in left} == {"create_index", "drop_column"}
    migrate(
        house,
        ddl + "CREATE TABLE fresh(id INTEGER PRIMARY KEY);",
        "changed-in-database",
        "drop-column",
        changed=["t.by_hand"],
        touched=["t", "i"],
    )
