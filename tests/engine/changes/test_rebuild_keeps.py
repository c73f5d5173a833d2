"""A table that has to be copied keeps all that hangs on it: children, triggers, views, checks, indexes, rowids, statistics."""

from __future__ import annotations

import sqlite3

import pytest

from support.migrations import House, kinds
from support.witness import assert_kept, assert_settled, migrate, photograph


def rebuilt(house: House, ddl: str, rows: str, *, table: str = "t", old: str = "a TEXT", **more: str) -> None:
    """Makes the database, changes the one column that only a copy can change, and asserts that nothing else differs."""
    house.run(ddl + rows)
    document = migrate(
        house, ddl.replace(old, more.get("new", "a INTEGER"), 1), changed=[f"{table}.a"], touched=[table]
    )
    assert [one["strategy"] for one in document["applied"]] == ["rebuild"]


@pytest.mark.parametrize(
    "action",
    ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION", "CASCADE DEFERRABLE INITIALLY DEFERRED"],
)
def test_children_of_a_copied_parent_keep_their_rows(house: House, action: str) -> None:
    """Dropping the old parent fires no action on the rows of its children, whatever the action is."""
    rebuilt(
        house,
        f"""CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);
        CREATE TABLE child(id INTEGER PRIMARY KEY, pid INTEGER DEFAULT 9 REFERENCES t(id) ON DELETE {action});
        CREATE TABLE "grand child"(id INTEGER PRIMARY KEY, cid INTEGER REFERENCES child ON DELETE CASCADE);""",
        """INSERT INTO t VALUES (1, '10'), (2, '20'), (9, '90'); INSERT INTO child VALUES (1, 1), (2, 2), (3, NULL);
        INSERT INTO "grand child" VALUES (1, 1), (2, 2);""",
    )
    assert house.ask("SELECT count(*) FROM t") == [(3,)]
    assert house.ask("SELECT id, typeof(a) FROM t WHERE id = 1") == [(1, "integer")]


def test_the_service_still_cascades_afterwards(house: House) -> None:
    """The child's key points at the new table, and its action works."""
    ddl = (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);"
        "CREATE TABLE child(id INTEGER PRIMARY KEY, pid INTEGER REFERENCES t(id) ON DELETE CASCADE);"
    )
    rebuilt(house, ddl, "INSERT INTO t VALUES (1, '1'), (2, '2'); INSERT INTO child VALUES (1, 1), (2, 2);")
    house.run("DELETE FROM t WHERE id = 1")
    assert house.ask("SELECT id FROM child") == [(2,)]
    with pytest.raises(sqlite3.IntegrityError):
        house.run("INSERT INTO child VALUES (3, 77)")


def test_tables_that_refer_to_each_other_and_to_themselves(house: House) -> None:
    """A circle of keys and a key into the own table survive a copy of all of them at once."""
    ddl = """CREATE TABLE x(id INTEGER PRIMARY KEY, y INTEGER REFERENCES y(id) DEFERRABLE INITIALLY DEFERRED, a TEXT);
    CREATE TABLE y(id INTEGER PRIMARY KEY, x INTEGER REFERENCES x(id) ON DELETE CASCADE, a TEXT);
    CREATE TABLE s(id INTEGER PRIMARY KEY, up INTEGER REFERENCES s(id) ON DELETE CASCADE, a TEXT);"""
    house.run(ddl)
    house.run(
        """BEGIN; INSERT INTO x VALUES (1, 1, '1'); INSERT INTO y VALUES (1, 1, '2'); COMMIT;
        INSERT INTO s VALUES (1, NULL, '3'), (2, 1, '4'), (3, 2, '5');"""
    )
    document = migrate(
        house, ddl.replace("a TEXT", "a INTEGER"), changed=["x.a", "y.a", "s.a"], touched=["x", "y", "s"]
    )
    assert kinds(document) == ["change_type"] * 3
    assert "REFERENCES s(id)" in house.stored("s")


def test_views_and_triggers_stay_also_where_an_unrelated_view_is_broken(house: House) -> None:
    """Views over the copied table, triggers on it and into it, and a view that never compiled are byte for byte as before."""
    rebuilt(
        house,
        """CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);
        CREATE TABLE log(x);
        CREATE VIEW v AS SELECT a FROM t;
        CREATE VIEW w AS SELECT * FROM v JOIN t USING (a);
        CREATE VIEW broken AS SELECT nope FROM missing;
        CREATE TRIGGER on_t AFTER UPDATE OF a ON t WHEN new.a > 0 BEGIN INSERT INTO log VALUES (new.a); END;
        CREATE TRIGGER "into t" AFTER INSERT ON log BEGIN UPDATE t SET a = a WHERE 0; END;
        CREATE TRIGGER over_v INSTEAD OF INSERT ON v BEGIN INSERT INTO t(a) VALUES (new.a); END;""",
        "INSERT INTO t VALUES (1, '1'), (2, '2');",
    )
    assert house.ask("SELECT x FROM log") == []
    house.run("UPDATE t SET a = 5 WHERE id = 1; INSERT INTO v VALUES (8)")
    assert house.ask("SELECT typeof(x), x FROM log") == [("integer", 5)]
    assert house.ask("SELECT a FROM v ORDER BY a") == [(2,), (5,), (8,)]


def test_triggers_do_not_fire_during_the_copy(house: House) -> None:
    """The copy is not an INSERT or a DELETE of the application."""
    rebuilt(
        house,
        """CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE log(x);
        CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT INTO log VALUES ('insert'); END;
        CREATE TRIGGER d BEFORE DELETE ON t BEGIN INSERT INTO log VALUES ('delete'); END;""",
        "INSERT INTO t VALUES (1, '1'); DELETE FROM log;",
    )
    assert house.ask("SELECT * FROM log") == []


@pytest.mark.parametrize(
    "clause",
    [
        "qty int check(qty>=0)",
        "qty INT CONSTRAINT positive CHECK (qty >= 0)",
        'qty INT, CHECK (t.qty >= 0 AND "t".qty < 1e6)',
        "qty INT NOT NULL ON CONFLICT FAIL CHECK (qty IN (1, 2, 3))",
        "qty INT UNIQUE ON CONFLICT REPLACE CHECK (typeof(qty) = 'integer')",
        "qty INT REFERENCES t(id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED",
        "qty INT, /* both */ -- of them\n FOREIGN KEY (qty) REFERENCES t ON UPDATE CASCADE",
        "qty NUMERIC(10, 2) DEFAULT (1 + 1) COLLATE RTRIM",
    ],
)
def test_clauses_that_nobody_touched_stay_as_they_are(house: House, clause: str) -> None:
    """What the DDL says beside the changed column is kept to the byte, comments and all."""
    ddl = f"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, {clause});"
    rebuilt(house, ddl, "INSERT INTO t VALUES (1, '1', 1), (2, '2', 2);")
    assert house.stored("t") == ddl.replace("a TEXT", "a INTEGER").rstrip(";")


@pytest.mark.parametrize(
    "index",
    [
        "CREATE INDEX i ON t(lower(name) DESC) WHERE qty > 5",
        "CREATE UNIQUE INDEX i ON t(name COLLATE RTRIM DESC)",
        "CREATE UNIQUE INDEX i ON t(name) WHERE qty IS NULL",
        'CREATE INDEX "i ""x""" ON t(qty + 1, name COLLATE NOCASE, a)',
        "create unique index i on t(qty, /* then */ name)",
    ],
)
def test_every_kind_of_index_is_replayed_as_it_was(house: House, index: str) -> None:
    """Expression, partial, collated and descending indexes come back from their own text, and no row is refused by them."""
    rebuilt(
        house,
        f"CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, qty INT, a TEXT); {index};",
        "INSERT INTO t VALUES (1, 'n', 6, '1'), (2, 'N', 7, '2'), (3, 'n', 8, '3') ON CONFLICT DO NOTHING;",
    )


def test_generated_columns_are_not_copied_and_not_lost(house: House) -> None:
    """Virtual, stored and short-form columns stay, with their values computed again."""
    rebuilt(
        house,
        """CREATE TABLE t(id INTEGER PRIMARY KEY, x INT, y AS (x + 1),
        z INT GENERATED ALWAYS AS (x * 2) STORED NOT NULL, a TEXT, w TEXT AS (a || '!') VIRTUAL UNIQUE);
        CREATE INDEX iy ON t(y);""",
        "INSERT INTO t(id, x, a) VALUES (1, 5, '1'), (2, 6, '2');",
    )
    assert house.ask("SELECT y, z, w FROM t") == [(6, 10, "1!"), (7, 12, "2!")]


def test_autoincrement_never_gives_an_id_twice(house: House) -> None:
    """The highest id that was ever given is remembered through the copy, also when its row is gone."""
    rebuilt(
        house,
        'CREATE TABLE "T x"(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT); CREATE TABLE other(id INTEGER PRIMARY KEY AUTOINCREMENT);',
        """INSERT INTO "T x" VALUES (1, '1'), (3, '3'); DELETE FROM "T x" WHERE id = 3; INSERT INTO other VALUES (40);""",
        table="T x",
    )
    assert sorted(house.ask("SELECT name, seq FROM sqlite_sequence")) == [("T x", 3), ("other", 40)]
    house.run('INSERT INTO "T x"(a) VALUES (7)')
    assert house.ask('SELECT max(id) FROM "T x"') == [(4,)]


def test_rowids_without_a_name_are_kept(house: House) -> None:
    """A table without an alias keeps the rowids that an application may have stored elsewhere."""
    rebuilt(
        house,
        "CREATE TABLE t(a TEXT, b TEXT);",
        "INSERT INTO t VALUES ('1', 'x'), ('2', 'y'), ('3', 'z'); DELETE FROM t WHERE a = '2';",
    )
    assert house.ask("SELECT rowid, a FROM t") == [(1, 1), (3, 3)]


def test_columns_that_hide_the_rowid(house: House) -> None:
    """Columns called rowid, oid and _rowid_ are ordinary columns, and their values are kept."""
    rebuilt(
        house,
        "CREATE TABLE t(rowid TEXT, oid TEXT, _rowid_ TEXT, a TEXT);",
        "INSERT INTO t VALUES ('r', 'o', '_', '1'), ('r', 'o', '_', '1');",
    )
    assert house.ask("SELECT * FROM t") == [("r", "o", "_", 1)] * 2


def test_rowids_of_a_key_that_is_no_alias(house: House) -> None:
    """`INT PRIMARY KEY` and `INTEGER PRIMARY KEY DESC` have a rowid of their own, and both are kept."""
    for kind in ("INT PRIMARY KEY", "INTEGER PRIMARY KEY DESC"):
        table = f"t{len(kind)}"
        ddl = f"CREATE TABLE {table}(id {kind}, a TEXT);"
        house.run(ddl + f"INSERT INTO {table}(rowid, id, a) VALUES (7, 1, '1'), (9, NULL, '2');")
    ddl = "CREATE TABLE t15(id INT PRIMARY KEY, a INTEGER); CREATE TABLE t24(id INTEGER PRIMARY KEY DESC, a INTEGER);"
    migrate(house, ddl, changed=["t15.a", "t24.a"], touched=["t15", "t24"])
    assert house.ask("SELECT rowid, id, a FROM t24") == [(7, 1, 1), (9, None, 2)]


@pytest.mark.parametrize("storage", ["", " WITHOUT ROWID"])
def test_statistics_survive(house: House, storage: str) -> None:
    """What ANALYZE found stays, with the statistics of the key itself, so queries keep their plans."""
    ddl = f"CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, n TEXT, a TEXT){storage}; CREATE INDEX i ON t(n);"
    house.run(ddl + "INSERT INTO t VALUES ('x', '1', '1'), ('y', '1', '2'); ANALYZE;")
    before = photograph(house).statistics
    assert len(before) == 2
    migrate(house, ddl.replace(", a TEXT", ", a INTEGER"), changed=["t.a"], touched=["t"])
    assert photograph(house).statistics == before


def test_orphans_from_before_neither_block_nor_vanish(house: House) -> None:
    """Rows that pointed nowhere already are not the plan's fault, and stay; also in a table without rowids."""
    ddl = """CREATE TABLE p(id INTEGER PRIMARY KEY);
    CREATE TABLE c(id INTEGER PRIMARY KEY, pid INT REFERENCES p(id), a TEXT);
    CREATE TABLE d(k TEXT PRIMARY KEY, pid INT REFERENCES p(id), a TEXT) WITHOUT ROWID;"""
    house.run(
        ddl
        + "PRAGMA foreign_keys = OFF; INSERT INTO c VALUES (1, 99, '1'); INSERT INTO d VALUES ('x', 98, '1'), ('y', 98, '2');"
    )
    before = photograph(house)
    assert len(before.orphans) == 2  # the two of d look alike
    house.models(ddl.replace("a TEXT", "a INTEGER"))
    assert house.apply()["outcome"] == "migrated"
    after = photograph(house)
    assert_kept(before, after, ["c.a", "d.a"], ["c", "d"])
    assert after.orphans == before.orphans
    assert_settled(house)


def test_a_full_text_index_over_the_copied_table(house: House) -> None:
    """External content, its triggers and the module's shadow tables are left alone, and searching works as before."""
    ddl = """CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, n TEXT);
    CREATE VIRTUAL TABLE ft USING fts5(n, content='t', content_rowid='id');
    CREATE TRIGGER ai AFTER INSERT ON t BEGIN INSERT INTO ft(rowid, n) VALUES (new.id, new.n); END;"""
    rebuilt(house, ddl, "INSERT INTO t VALUES (3, '1', 'needle'), (5, '2', 'straw');")
    assert house.ask("SELECT rowid FROM ft WHERE ft MATCH 'needle'") == [(3,)]
    house.run("INSERT INTO t VALUES (6, 3, 'needle too'); INSERT INTO ft(ft) VALUES ('integrity-check');")
    assert house.ask("SELECT rowid FROM ft WHERE ft MATCH 'needle' ORDER BY rowid") == [(3,), (6,)]


@pytest.mark.parametrize(
    "name", ['my "t"', "select", "it's", "sp ace", "таблица", "driftd_new_t", "a.b", "[x]", "1st"]
)
def test_any_name_can_be_copied(house: House, name: str) -> None:
    """Quotes, spaces, keywords, dots and letters of any alphabet in the names of table, column, index and trigger."""
    q = '"' + name.replace('"', '""') + '"'
    i, g = f'"i {q[1:]}', f'"g {q[1:]}'
    rebuilt(
        house,
        f"""CREATE TABLE {q}(id INTEGER PRIMARY KEY, {q} TEXT NOT NULL CHECK ({q}.{q} <> ''), a TEXT, FOREIGN KEY (a) REFERENCES {q}(id));
        CREATE TABLE t(id INTEGER PRIMARY KEY REFERENCES {q}(id) ON DELETE CASCADE);
        CREATE INDEX {i} ON {q}({q}); CREATE TRIGGER {g} AFTER DELETE ON {q} BEGIN UPDATE {q} SET {q} = 'x'; END;""",
        f"INSERT INTO {q} VALUES (1, 'one', '1'), (2, 'two', '1'); INSERT INTO t VALUES (1), (2);",
        table=name,
    )
    house.run(f"DELETE FROM {q} WHERE id = 2")
    assert house.ask("SELECT id FROM t") == [(1,)]


def test_a_chain_of_parents_and_children_copied_at_once(house: House) -> None:
    """Three generations with CASCADE, all copied in one migration, lose no row, and a new fourth one is made."""
    ddl = "".join(
        f"CREATE TABLE g{n}(id INTEGER PRIMARY KEY, up INT{f' REFERENCES g{n - 1}(id) ON DELETE CASCADE' if n else ''}, a TEXT);"
        for n in range(3)
    )
    house.run(ddl + "".join(f"INSERT INTO g{n} VALUES (1, 1, '{n}'), (2, 1, '7');" for n in range(3)))
    after = ddl.replace("a TEXT", "a INTEGER") + "CREATE TABLE g3(id INTEGER PRIMARY KEY REFERENCES g2(id));"
    document = migrate(house, after, changed=["g0.a", "g1.a", "g2.a"], touched=["g0", "g1", "g2"])
    assert sorted(kinds(document)) == ["change_type", "change_type", "change_type", "create_table"]


def test_another_connection_sees_the_new_rules_at_once(house: House) -> None:
    """A connection that was open all the while obeys the new schema: the schema version has moved."""
    ddl = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT CHECK (b IN (1, 2)));"
    house.run(ddl)
    connection = sqlite3.connect(house.database, isolation_level=None)
    try:
        connection.execute("INSERT INTO t VALUES (1, '1', 2)")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("INSERT INTO t VALUES (2, '2', 3)")
        migrate(house, ddl.replace("(1, 2)", "(1, 2, 3)"), touched=["t"])
        connection.execute("INSERT INTO t VALUES (2, '2', 3)")
        migrate(house, ddl.replace("(1, 2)", "(1, 2, 3)").replace("a TEXT", "a TEXT NOT NULL"), touched=["t"])
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("INSERT INTO t VALUES (3, NULL, 3)")
    finally:
        connection.close()
