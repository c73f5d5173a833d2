"""Columns and tables that go by another name: everything stays, and what names them follows."""

from __future__ import annotations

import sqlite3

import pytest

from support.migrations import House, kinds
from support.renaming import carry_out
from support.witness import assert_settled, photograph, refuse

PERSON = """
CREATE TABLE person(
  id INTEGER PRIMARY KEY AUTOINCREMENT, phone TEXT NOT NULL UNIQUE CHECK (phone <> '' AND length(person.phone) < 20),
  short TEXT AS (substr(phone, 1, 3)), loud TEXT AS (upper(phone)) STORED, boss TEXT REFERENCES person(phone));
CREATE INDEX person_phone ON person(phone);
CREATE INDEX person_lower ON person(lower(phone)) WHERE phone IS NOT NULL;
CREATE TABLE bill(id INTEGER PRIMARY KEY, phone TEXT REFERENCES person(phone) ON UPDATE CASCADE);
CREATE VIEW numbers AS SELECT id, phone AS number FROM person;
CREATE TRIGGER billed AFTER INSERT ON bill BEGIN UPDATE person SET boss = new.phone WHERE phone = new.phone; END;
CREATE TRIGGER called AFTER UPDATE OF phone ON person BEGIN INSERT INTO log VALUES (old.phone, new.phone); END;
CREATE TABLE log(was TEXT, now TEXT);
"""
ROWS = """
INSERT INTO person(id, phone) VALUES (1, 'abc1'), (2, 'def2'), (9, 'gone'); DELETE FROM person WHERE id = 9;
UPDATE person SET boss = 'abc1' WHERE id = 2; INSERT INTO bill VALUES (7, 'def2'); ANALYZE;
"""


def test_a_column_takes_everything_with_it(house: House) -> None:
    """Keys, CHECKs, generated columns, indexes, foreign keys from both sides, views and triggers work under the new name."""
    house.run(PERSON + ROWS)
    models = PERSON
    for old, new in (
        ("phone TEXT NOT NULL UNIQUE CHECK (phone <> '' AND length(person.phone)", "tel TEXT NOT NULL UNIQUE CHECK (tel <> '' AND length(person.tel)"),
        ("substr(phone", "substr(tel"), ("upper(phone", "upper(tel"), ("REFERENCES person(phone)", "REFERENCES person(tel)"),
        ("ON person(phone)", "ON person(tel)"), ("lower(phone)) WHERE phone", "lower(tel)) WHERE tel"),
        ("phone AS number", "tel AS number"), ("WHERE phone = new.phone", "WHERE tel = new.phone"),
        ("UPDATE OF phone ON person BEGIN INSERT INTO log VALUES (old.phone, new.phone)", "UPDATE OF tel ON person BEGIN INSERT INTO log VALUES (old.tel, new.tel)"),
    ):  # fmt: skip
        models = models.replace(old, new)
    shown = house.ask("SELECT * FROM numbers")
    document = carry_out(house, models, {"person.tel": "phone"})
    assert kinds(document) == ["rename_column"]
    assert house.ask("SELECT * FROM numbers") == shown
    house.run("UPDATE person SET boss = NULL; UPDATE person SET tel = 'xyz' WHERE id = 2")
    assert house.ask("SELECT phone FROM bill") == [("xyz",)]
    assert ("def2", "xyz") in house.ask("SELECT * FROM log")
    with pytest.raises(sqlite3.IntegrityError):
        house.run("INSERT INTO person(tel) VALUES ('xyz')")


def test_a_table_takes_everything_with_it(house: House) -> None:
    """Indexes, inbound foreign keys, views, triggers, the AUTOINCREMENT sequence and statistics follow a table."""
    house.run(PERSON + ROWS)
    models = PERSON.replace("TABLE person", "TABLE people").replace("person.phone", "people.phone")
    for word in ("REFERENCES ", "ON ", "FROM ", "UPDATE "):
        models = models.replace(f"{word}person", f"{word}people")
    models = models.replace("INDEX people_", "INDEX person_")
    shown = house.ask("SELECT * FROM numbers")
    document = carry_out(house, models, {"people": "person"})
    assert kinds(document) == ["rename_table"]
    assert house.ask("SELECT * FROM numbers") == shown
    house.run("INSERT INTO people(phone) VALUES ('new'); INSERT INTO bill VALUES (8, 'new')")
    assert house.ask("SELECT id, boss FROM people WHERE phone = 'new'") == [(10, "new")]
    with pytest.raises(sqlite3.IntegrityError):
        house.run("INSERT INTO bill VALUES (9, 'nobody')")


def test_a_table_and_its_columns_at_once(house: House) -> None:
    """A table, a column of it and the foreign key that points there are renamed together, and the rest is done after."""
    house.run("""CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, size INT);
        CREATE TABLE tag(id INTEGER PRIMARY KEY, note INT REFERENCES note(id), word TEXT);
        INSERT INTO note VALUES (1, 'x', 3), (4, 'y', NULL); INSERT INTO tag VALUES (2, 4, 'w')""")
    house.models("""CREATE TABLE remark(id INTEGER PRIMARY KEY, text TEXT NOT NULL, size TEXT, lang TEXT DEFAULT 'en');
        CREATE INDEX remark_text ON remark(text);
        CREATE TABLE tag(id INTEGER PRIMARY KEY, remark INT REFERENCES remark(id) ON DELETE CASCADE, word TEXT);""")
    document = house.apply(renames={"remark": "note", "remark.text": "body", "tag.remark": "note"})
    assert sorted(kinds(document)) == [
        "add_column", "change_foreign_key", "change_type", "create_index", "rename_column", "rename_column", "rename_table", "set_not_null",
    ]  # fmt: skip
    assert house.check()["in_sync"]
    assert house.ask("SELECT * FROM remark") == [(1, "x", "3", "en"), (4, "y", None, "en")]
    assert house.ask("SELECT * FROM tag") == [(2, 4, "w")]
    house.run("DELETE FROM remark WHERE id = 4")
    assert house.ask("SELECT * FROM tag") == []


@pytest.mark.parametrize(
    ("before", "after", "renames"),
    [
        ("t(id INTEGER PRIMARY KEY, Name TEXT)", "t(id INTEGER PRIMARY KEY, name TEXT)", {"t.name": "Name"}),
        ("Note(id INTEGER PRIMARY KEY, a UNIQUE)", "note(id INTEGER PRIMARY KEY, a UNIQUE)", {"note": "Note"}),
        ("t(a INT, b INT)", "t(b INT, c INT)", {"t.b": "a", "t.c": "b"}),
        ("t(a INT PRIMARY KEY, b INT) WITHOUT ROWID", "u(x INT PRIMARY KEY, b INT) WITHOUT ROWID", {"u": "t", "u.x": "a"}),
        ('"the t"("a ""b" INT, "order" INT)', '"group"("a\'c" INT, "x.y" INT)', {"group": "the t", "group.a'c": 'a "b', "group.x.y": "order"}),
        ("t(rowid TEXT, b INT)", "t(a TEXT, rowid INT)", {"t.a": "rowid", "t.rowid": "b"}),
    ],
)  # fmt: skip
def test_names_of_every_kind(house: House, before: str, after: str, renames: dict[str, str]) -> None:
    """Names that differ in case alone, that pass on, that have to be quoted, and that hide the rowid."""
    house.run(f"CREATE TABLE {before}; CREATE TABLE k(x UNIQUE); INSERT INTO k VALUES (1)")
    name = before.partition("(")[0]
    width = before.count(",") + 1
    house.run(f"INSERT INTO {name} VALUES ({', '.join(map(str, range(3, 3 + width)))}); ANALYZE")
    models = f"CREATE TABLE {after}; CREATE TABLE k(x UNIQUE);"
    carry_out(house, models, renames)
    assert house.stored(after.partition("(")[0].strip('"'))


def test_names_that_differ_in_case_alone_are_no_drift(wal_house: House) -> None:
    """Without a hint the database keeps its spelling."""
    wal_house.run("CREATE TABLE Note(Id INTEGER PRIMARY KEY)")
    wal_house.models("CREATE TABLE note(id INTEGER PRIMARY KEY);")
    assert wal_house.check()["in_sync"]


def test_names_of_tables_pass_on(house: House) -> None:
    """Where a table takes the name that another one leaves, both keep their rows, and foreign keys follow."""
    house.run("""CREATE TABLE a(id INTEGER PRIMARY KEY, x TEXT); CREATE TABLE b(id INTEGER PRIMARY KEY, a INT REFERENCES a(id));
        INSERT INTO a VALUES (1, 'x'); INSERT INTO b VALUES (5, 1)""")
    models = "CREATE TABLE b(id INTEGER PRIMARY KEY, x TEXT); CREATE TABLE c(id INTEGER PRIMARY KEY, a INT REFERENCES b(id));"
    carry_out(house, models, {"b": "a", "c": "b"})


def test_a_name_from_several_releases_ago(house: House) -> None:
    """The former names are tried in order: a database that missed a release has the older one."""
    house.run("CREATE TABLE t(a INTEGER); INSERT INTO t VALUES (3)")
    (house.folder / "later.py").write_text(
        "from sqlalchemy import Column, Integer, MetaData, Table\nmetadata = MetaData()\n"
        'Table("t", metadata, Column("c", Integer, info={"renamed_from": ["b", "a"]}))\n',
        encoding="utf-8",
    )
    document = house.apply(models=house.spec("later:metadata"))
    assert kinds(document) == ["rename_column"]
    assert house.ask("SELECT c FROM t") == [(3,)]


def test_two_that_exchange_their_names_wait(house: House) -> None:
    """Nothing tells whether that has been done; approved, it is done once, and is no difference any more."""
    house.run("CREATE TABLE t(a INT, b INT); INSERT INTO t VALUES (1, 2)")
    renames = {"t.a": "b", "t.b": "a"}
    house.settings["renames"] = renames
    left = refuse(house, "CREATE TABLE t(a INT, b INT);", "held")
    assert [one["code"] for one in left] == ["rename-exchange"] * 2
    assert house.apply("rename-exchange")["outcome"] == "migrated"
    assert house.ask("SELECT a, b FROM t") == [(2, 1)]
    assert_settled(house)


def test_tables_that_exchange_their_names(house: House) -> None:
    """Approved, their rows, keys and statistics change places."""
    house.run(
        "CREATE TABLE a(x UNIQUE); CREATE TABLE b(x UNIQUE); INSERT INTO a VALUES (1); INSERT INTO b VALUES (2); ANALYZE"
    )
    carry_out(
        house, "CREATE TABLE a(x UNIQUE); CREATE TABLE b(x UNIQUE);", {"a": "b", "b": "a"}, "rename-exchange"
    )
    assert house.ask("SELECT a.x, b.x FROM a, b") == [(2, 1)]


def test_a_hint_that_stays_means_nothing_more(house: House) -> None:
    """Once it is renamed, the models may have another column under the old name."""
    house.run("CREATE TABLE t(a INT); INSERT INTO t VALUES (3)")
    carry_out(house, "CREATE TABLE t(b INT);", {"t.b": "a"})
    house.models("CREATE TABLE t(b INT, a INT);")
    assert kinds(house.apply()) == ["add_column"]
    assert house.ask("SELECT b, a FROM t") == [(3, None)]
    assert_settled(house)


def test_a_name_that_the_models_still_describe_is_none(house: House) -> None:
    """A column that is copied, not renamed, keeps its values under both names only if a person says how: it is asked for."""
    house.run("CREATE TABLE t(a INT); INSERT INTO t VALUES (3)")
    house.settings["renames"] = {"t.b": "a"}
    [left] = refuse(house, "CREATE TABLE t(a INT, b INT);", "held")
    assert (left["kind"], left["code"], left["rows"]) == (
        "add_column",
        "rename-suspected",
        [{"key": 1, "value": 3}],
    )
    assert kinds(house.apply("rename-suspected")) == ["add_column"]
    assert house.ask("SELECT a, b FROM t") == [(3, None)]
    assert_settled(house)


def test_both_names_are_there(house: House) -> None:
    """Nothing is renamed; the reason for holding the old one says that the new one holds nothing yet."""
    house.run("CREATE TABLE t(a INT, b INT); INSERT INTO t(a) VALUES (3)")
    house.settings["renames"] = {"t.b": "a"}
    [left] = refuse(house, "CREATE TABLE t(b INT);", "held")
    assert left["code"] == "drop-column"
    assert "b, which the models say it is by a new name, is there too and holds nothing" in left["reason"]
    house.run("UPDATE t SET b = a")
    [left] = house.apply()["held"]
    assert "holds nothing" not in left["reason"]


def test_what_is_broken_elsewhere_stays_as_it_is(house: House) -> None:
    """A view and a trigger that have not compiled for long make SQLite refuse each rename: they step aside for it."""
    broken = """CREATE VIEW old_view AS SELECT nope FROM t; CREATE TRIGGER on_old INSTEAD OF INSERT ON old_view BEGIN SELECT 1; END;
        CREATE TRIGGER of_t AFTER DELETE ON t BEGIN INSERT INTO nowhere VALUES (old.a); END;"""
    house.run(f"CREATE TABLE t(a INT); INSERT INTO t VALUES (3); {broken}")
    before = photograph(house)
    document = carry_out(house, "CREATE TABLE u(b INT);", {"u": "t", "u.b": "a"})
    after = photograph(house)
    for name in (("view", "old_view"), ("trigger", "on_old")):
        assert after.objects[name] == before.objects[name]
    assert (
        after.objects["trigger", "of_t"]
        == 'CREATE TRIGGER of_t AFTER DELETE ON "u" BEGIN INSERT INTO nowhere VALUES (old.a); END'
    )
    assert (
        "the view old_view stays as it is (error in view old_view: no such column: nope)"
        in document["applied"][0]["reason"]
    )


def test_a_view_that_the_rename_would_break_blocks_it(house: House) -> None:
    """A view over a view that shows all columns names the old one: nothing is done, and the view is named."""
    house.run(
        "CREATE TABLE t(a INT); INSERT INTO t VALUES (3); CREATE VIEW v AS SELECT * FROM t; CREATE VIEW w AS SELECT v.a FROM v"
    )
    house.settings["renames"] = {"t.b": "a"}
    [left] = refuse(house, "CREATE TABLE t(b INT);", "blocked")
    assert left["kind"] == "rename_column"
    assert "w would no longer work: no such column: v.a" in left["reason"]


def test_a_view_that_the_models_mend_goes_with_the_rename(house: House) -> None:
    """The same, where the models bring the view that fits."""
    views = "CREATE VIEW v AS SELECT * FROM t; CREATE VIEW w AS SELECT v.a AS x FROM v;"
    house.run(f"CREATE TABLE t(a INT); INSERT INTO t VALUES (3); {views}")
    house.models(f"CREATE TABLE t(a INT); {views}")
    house.apply()
    house.models(f"CREATE TABLE t(b INT); {views.replace('v.a', 'v.b')}")
    house.settings["renames"] = {"t.b": "a"}
    assert kinds(house.apply()) == ["rename_column", "change_view"]
    assert house.ask("SELECT x FROM w") == [(3,)]
    assert_settled(house)


def test_a_full_text_index_that_reads_the_table_by_name(house: House) -> None:
    """It would not follow: the rename waits, and says so; a full-text index of its own is no matter."""
    house.run("""CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE VIRTUAL TABLE own USING fts5(a);
        CREATE VIRTUAL TABLE ft USING fts5(a, content='t', content_rowid='id'); INSERT INTO t VALUES (1, 'x')""")
    for models, renames in (
        ("u(id INTEGER PRIMARY KEY, a TEXT)", {"u": "t"}),
        ("t(id INTEGER PRIMARY KEY, b TEXT)", {"t.b": "a"}),
    ):
        house.settings["renames"] = renames
        [left] = refuse(house, f"CREATE TABLE {models};", "held")
        assert left["code"] == "rename-not-followed"
        assert "the virtual table ft reads it by its old name" in left["reason"]
    house.models("CREATE TABLE t(key INTEGER PRIMARY KEY, a TEXT);")
    house.run("DROP TABLE ft")
    assert kinds(house.apply(renames={"t.key": "id"})) == ["rename_column"]


def test_a_name_in_a_string_is_told(wal_house: House) -> None:
    """What is no name for SQLite does not follow; a person is told where to look."""
    wal_house.run("""CREATE TABLE t(a INT); CREATE TABLE log(x);
        CREATE TRIGGER logged AFTER INSERT ON t BEGIN INSERT INTO log VALUES ('t'); END""")
    wal_house.settings["renames"] = {"u": "t"}
    wal_house.models("CREATE TABLE u(a INT);")
    [operation] = wal_house.plan()["plan"]["operations"]
    assert operation["reason"].endswith("the trigger logged holds 't' as text")


def test_a_rename_that_the_database_refuses(house: House) -> None:
    """Where an index has the new name, nothing is made anew in its place, and SQLite's own words are shown."""
    house.run("CREATE TABLE t(a INT); INSERT INTO t VALUES (3); CREATE INDEX u ON t(a)")
    house.settings["renames"] = {"u": "t"}
    left = refuse(house, "CREATE TABLE u(a INT); CREATE INDEX ua ON u(a);", "held")
    assert {one["kind"]: one["code"] for one in left} == {
        "rename_table": "rename-refused", "create_table": "create-table", "create_index": "create-index"
    }  # fmt: skip
    [refused] = [one for one in left if one["code"] == "rename-refused"]
    assert "there is already another table or index with this name: u" in refused["reason"]
