"""Views, triggers and virtual tables that the models describe."""

from __future__ import annotations

from support.migrations import House, kinds
from support.witness import migrate, refuse

TABLE = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT);"
VIEW = "CREATE VIEW v AS SELECT id, a FROM t;"
TRIGGER = "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET b = 'by g' WHERE id = new.id; END;"
OVER = "CREATE TRIGGER iv INSTEAD OF INSERT ON v BEGIN INSERT INTO t(id, a) VALUES (new.id, new.a); END;"


def test_they_come_change_and_go_with_the_models(house: House) -> None:
    """Each is made, made anew when its text differs, and dropped when the models drop it; no row is written for it."""
    house.run(TABLE + "INSERT INTO t VALUES (1, 'x', 'y');")
    assert sorted(kinds(migrate(house, TABLE + VIEW + TRIGGER))) == ["create_trigger", "create_view"]
    changed = VIEW.replace("id, a", "id, a, b") + TRIGGER.replace("by g", "by another g")
    assert sorted(kinds(migrate(house, TABLE + changed, touched=["v", "g"]))) == [
        "change_trigger",
        "change_view",
    ]
    house.run("INSERT INTO t VALUES (2, 'z', NULL)")
    assert house.ask("SELECT * FROM v") == [(1, "x", "y"), (2, "z", "by another g")]
    assert sorted(kinds(migrate(house, TABLE, touched=["v", "g"]))) == ["drop_trigger", "drop_view"]


def test_a_changed_view_keeps_the_triggers_on_it(house: House) -> None:
    """DROP VIEW takes them along; they come back as they were, and work."""
    house.run(TABLE + VIEW + OVER)
    house.models(TABLE + VIEW + OVER)
    house.apply()
    migrate(house, TABLE + VIEW.replace("id, a", "id, a, b") + OVER, touched=["v"])
    house.run("INSERT INTO v(id, a) VALUES (5, 'x')")
    assert house.ask("SELECT * FROM t") == [(5, "x", None)]


def test_a_view_of_somebody_else_on_a_view_that_changes(house: House) -> None:
    """It is left as it is; a change under which it would break is blocked by name."""
    house.run(TABLE + VIEW + "CREATE VIEW theirs AS SELECT a FROM v;")
    house.models(TABLE + VIEW)
    house.apply()
    migrate(house, TABLE + VIEW.replace("id, a", "a, b"), touched=["v"])
    (one,) = refuse(house, TABLE + VIEW.replace("id, a", "id, b"), "blocked")
    assert (one["kind"], one["name"]) == ("change_view", "v")
    assert "theirs would no longer work" in one["reason"]


def test_a_trigger_that_breaks_with_an_instead_of_trigger_in_between(house: House) -> None:
    """A positional INSERT behind a view is found before it fails at run time."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT); CREATE VIEW v AS SELECT id FROM t; CREATE TRIGGER iv INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.id, 2); END;"
    )
    (one,) = refuse(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b INT);", "blocked")
    assert "iv would no longer work" in one["reason"]


def test_a_view_over_a_column_that_comes_with_it(house: House) -> None:
    """Tables first, then views in the order in which they need each other, then triggers."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1);")
    migrate(
        house,
        """CREATE TABLE t(id INTEGER PRIMARY KEY, z TEXT DEFAULT 'Q'); CREATE TABLE fresh(id INTEGER PRIMARY KEY);
        CREATE VIEW b AS SELECT z FROM t; CREATE VIEW a AS SELECT * FROM b JOIN fresh;
        CREATE TRIGGER g INSTEAD OF INSERT ON b BEGIN INSERT INTO fresh VALUES (NULL); END;""",
        touched=["t"],
    )
    house.run("INSERT INTO b VALUES ('x')")
    assert house.ask("SELECT * FROM a") == [("Q", 1)]


def test_a_view_in_the_place_of_a_table_is_not_overwritten(house: House) -> None:
    """What the models call a table is a view here: manual, with its index waiting; nothing is dropped."""
    house.run("CREATE VIEW t AS SELECT 1 AS x;")
    left = refuse(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX i ON t(a);", "held")
    assert {(one["name"], one["code"]) for one in left} == {("t", "name-taken"), ("i", "create-index")}


def test_a_trigger_dropped_in_the_release_that_copies_its_table(house: House) -> None:
    """The copy brings back what hangs on the table, and not what the models just dropped or changed."""
    before = (
        TABLE
        + TRIGGER
        + "CREATE TRIGGER h AFTER DELETE ON t BEGIN SELECT 1; END; CREATE INDEX i ON t(b); CREATE INDEX j ON t(b, a);"
    )
    house.run(before + "INSERT INTO t VALUES (1, '1', 'y');")
    house.models(before)
    house.apply()
    after = (
        TABLE.replace("a TEXT", "a INTEGER")
        + TRIGGER.replace("by g", "other")
        + "CREATE INDEX j ON t(b DESC);"
    )
    document = migrate(house, after, changed=["t.a"], touched=["t", "g", "h", "i", "j"])
    assert sorted(kinds(document)) == [
        "change_index",
        "change_trigger",
        "change_type",
        "drop_index",
        "drop_trigger",
    ]
    assert house.stored("h") == house.stored("i") == ""
    assert house.stored("j") == "CREATE INDEX j ON t(b DESC)"


def test_a_new_full_text_table_and_its_shadows(house: House) -> None:
    """It is made with its module's own tables, which are never drift; a changed one is for a person."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY);")
    migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE VIRTUAL TABLE ft USING fts5(a, b);")
    house.run("INSERT INTO ft VALUES ('x', 'y')")
    (one,) = refuse(
        house, "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE VIRTUAL TABLE ft USING fts5(a, c);", "held"
    )
    assert (one["kind"], one["risk"]) == ("change_virtual_table", "manual")
