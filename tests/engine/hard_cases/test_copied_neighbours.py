"""Views and triggers around a table that is copied, its own and those of others: each text stays, and each still works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.hard_cases import Rig

T = "CREATE TABLE {t}(id INTEGER PRIMARY KEY, a TEXT, b TEXT);"
LOG = "CREATE TABLE log(n INTEGER PRIMARY KEY, x);"
AROUND = """
CREATE VIEW "a view" AS SELECT id, a FROM {t};
CREATE VIEW star AS SELECT * FROM {t} JOIN "a view" USING (id);
CREATE VIEW counted(n) AS WITH c AS (SELECT count(*) FROM {t}) SELECT * FROM c;
CREATE VIEW broken AS SELECT nix FROM nowhere;
CREATE VIEW "broken too" AS SELECT * FROM broken;
CREATE TRIGGER "before" BEFORE UPDATE OF b ON {t} WHEN new.b <> old.b BEGIN INSERT INTO log(x) VALUES ('b'); END;
CREATE TRIGGER into_it AFTER INSERT ON log BEGIN UPDATE {t} SET b = 'seen' WHERE id = new.n; END;
CREATE TRIGGER through INSTEAD OF DELETE ON "a view" BEGIN DELETE FROM {t} WHERE id = old.id; END;
CREATE TRIGGER "never worked" AFTER DELETE ON log BEGIN INSERT INTO nowhere VALUES (1); END;
"""


@pytest.mark.parametrize(
    "rows", ["INSERT INTO {t} VALUES (1, '10', 'x'), (2, '20', 'y');", ""], ids=["rows", "empty"]
)
@pytest.mark.parametrize("name", ["t", '"order by"', '"t ""q"" \'s"', "[таблица №1]"])
def test_what_stands_around_a_copied_table_stays(rig: Rig, name: str, rows: str) -> None:
    """Views over it, its triggers, triggers that write into it, and what never worked: byte for byte as they were."""
    ddl = (T + LOG + AROUND).format(t=name)
    rig.begin(ddl, rows.format(t=name))
    bare = name.strip('"[]').replace('""', '"')
    document = rig.migrated(
        (T + LOG).format(t=name).replace("a TEXT", "a INTEGER"),
        objects=[bare], columns=[f"{bare.lower()}.a"],
    )  # fmt: skip
    assert [one["strategy"] for one in document["applied"]] == ["rebuild"]
    rig.service(f"INSERT INTO {name} VALUES (7, '70', 'z')")
    rig.service(f"UPDATE {name} SET b = 'moved' WHERE id = 7")
    assert rig.service("SELECT x FROM log") == [("b",)]
    assert rig.service("SELECT typeof(a) FROM star WHERE id = 7") == [("integer",)]
    rig.service("INSERT INTO log VALUES (7, 'fires')")
    assert rig.service(f"SELECT b FROM {name} WHERE id = 7") == [("seen",)]
    rig.service('DELETE FROM "a view" WHERE id = 7')
    assert rig.service(f"SELECT count(*) FROM {name} WHERE id = 7") == [(0,)]


def test_triggers_of_a_copied_table_fire_in_the_order_of_before(rig: Rig) -> None:
    """Replayed as they were made: what one writes and the next reads comes to the same."""
    ddl = (T + LOG).format(t="t") + "".join(
        f"CREATE TRIGGER {name} AFTER INSERT ON t BEGIN INSERT INTO log(x) VALUES ('{name}'); END;"
        for name in ("middle", "a_last", "z_first")
    )
    rig.begin(ddl, "INSERT INTO t VALUES (1, '1', 'x');")
    (before,) = rig.ask("SELECT group_concat(x, ' ') FROM (SELECT x FROM log ORDER BY n)")
    rig.migrated(ddl.replace("a TEXT", "a INTEGER"), objects=["t"], columns=["t.a"])
    rig.service("DELETE FROM log")
    rig.service("INSERT INTO t VALUES (2, '2', 'x')")
    assert rig.service("SELECT group_concat(x, ' ') FROM (SELECT x FROM log ORDER BY n)") == [before]


@pytest.mark.parametrize(
    "rows", ["INSERT INTO t VALUES (1, '10', 'x'); INSERT INTO src VALUES (9);", ""], ids=["rows", "empty"]
)
@pytest.mark.parametrize(
    "body",
    [
        "INSERT INTO t VALUES (new.x, 1, 2)",
        "INSERT OR REPLACE INTO T VALUES (new.x, 1, 2), (new.x + 1, 1, 2)",
        "INSERT INTO t SELECT x, 1, 2 FROM src",
        "INSERT INTO log SELECT * FROM t",
    ],
)
def test_a_trigger_elsewhere_that_counts_columns_blocks_a_new_one(rig: Rig, body: str, rows: str) -> None:
    """A list of values, or a `*`, that fitted the table would fail when the trigger fires: not a minute later, but now."""
    more = "CREATE TABLE src(x INT); CREATE TABLE log(p, q, r);"
    ddl = T.format(t="t") + more
    rig.begin(f'{ddl} CREATE TRIGGER "on src" AFTER UPDATE ON src BEGIN SELECT 1; {body}; END;', rows)
    (one,) = rig.refused(ddl.replace("b TEXT", "b TEXT, c INT DEFAULT 3"), "blocked")
    assert (one["kind"], one["table"], one["name"]) == ("add_column", "t", "c")
    assert "on src would no longer work" in one["reason"]
    assert "3 columns" in one["reason"] or "4 columns" in one["reason"]


@pytest.mark.parametrize("event", ["INSERT", "UPDATE", "DELETE"])
@pytest.mark.parametrize(
    ("wanted", "kind", "said"),
    [
        ("b TEXT NOT NULL", "set_not_null", "NOT NULL constraint failed: t.b"),
        ("b TEXT CHECK (b IS NOT NULL)", "add_check", "CHECK constraint failed"),
    ],
)
def test_a_trigger_elsewhere_that_would_fail_when_it_fires_blocks_the_rule(
    rig: Rig, event: str, wanted: str, kind: str, said: str
) -> None:
    """It compiles, and every write of the service to its table would fail: it is fired once, on the copy, before and after."""
    ddl = T.format(t="t") + "CREATE TABLE src(x INT);"
    trigger = f"CREATE TRIGGER g AFTER {event} ON src BEGIN INSERT INTO t(a) VALUES ('10'); END;"
    rig.begin(ddl, f"INSERT INTO t VALUES (1, '10', 'x'); INSERT INTO src VALUES (5), (6); {trigger}")
    (one,) = rig.refused(ddl.replace("b TEXT", wanted), "blocked")
    assert one["kind"] == kind
    assert "g would no longer work" in one["reason"]
    assert said in one["reason"]


def test_a_trigger_that_refuses_writes_of_its_own_accord_hinders_nothing(rig: Rig) -> None:
    """One that has always raised an error raises it afterwards too; firing it on the copy leaves no trace."""
    ddl = T.format(t="t") + "CREATE TABLE log(n INTEGER PRIMARY KEY AUTOINCREMENT, x{});"
    triggers = """CREATE TRIGGER never BEFORE DELETE ON t BEGIN SELECT raise(ABORT, 'rows of t are for ever'); END;
    CREATE TRIGGER writes AFTER UPDATE ON t BEGIN INSERT INTO log(x) VALUES (new.b); END;"""
    rows = "INSERT INTO t VALUES (1, '10', 'x'), (2, '20', 'y'); INSERT INTO log(x) VALUES ('x'), ('y');"
    rig.begin(ddl.format("") + triggers, rows)
    rig.migrated(
        ddl.format(" UNIQUE").replace("a TEXT, b TEXT", "a INTEGER, b TEXT NOT NULL"),
        objects=["t", "uq_log_x"], columns=["t.a"],
    )  # fmt: skip
    assert rig.service("SELECT x FROM log ORDER BY n") == [("x",), ("y",)]


def test_a_trigger_that_names_its_columns_hinders_no_new_one(rig: Rig) -> None:
    """It goes on working, through a copy of the table too."""
    ddl = T.format(t="t") + "CREATE TABLE src(x INT);"
    rig.begin(
        f"{ddl} CREATE TRIGGER g AFTER INSERT ON src BEGIN INSERT INTO t(id, a) VALUES (new.x, 5); END;"
    )
    rig.migrated(
        ddl.replace("a TEXT, b TEXT", "a INTEGER, b TEXT, c INT DEFAULT 3"),
        objects=["t"], columns=["t.a", "t.c"],
    )  # fmt: skip
    rig.service("INSERT INTO src VALUES (1)")
    assert rig.service("SELECT a, c FROM t") == [(5, 3)]


def test_a_star_view_takes_the_new_column_and_what_reads_it_by_number_is_told(rig: Rig) -> None:
    """`SELECT *` changes its shape with the table and keeps its text; a view that unites it with another would break."""
    ddl = T.format(t="t") + "CREATE TABLE u(x, y, z);"
    views = "CREATE VIEW plain AS SELECT * FROM t;"
    rig.begin(ddl + views, "INSERT INTO t VALUES (1, 'x', 'y');")
    rig.migrated(ddl.replace("b TEXT", "b TEXT, c INT DEFAULT 3"), objects=["t"], columns=["t.c"])
    assert rig.service("SELECT * FROM plain") == [(1, "x", "y", 3)]
    rig.service('CREATE VIEW "both" AS SELECT * FROM t UNION ALL SELECT *, 4 FROM u')
    (one,) = rig.refused(ddl.replace("b TEXT", "b TEXT, c INT DEFAULT 3, d INT"), "blocked")
    assert (one["kind"], one["name"]) == ("add_column", "d")
    assert "both would no longer work" in one["reason"]


def test_full_text_search_over_a_copied_table(rig: Rig) -> None:
    """An index that knows rows by their rowid finds the same rows; its shadow tables are nobody's drift."""
    base = "CREATE TABLE doc(title TEXT, a TEXT);"
    fts = """CREATE VIRTUAL TABLE find USING fts5(title, content='doc');
    CREATE TRIGGER ins AFTER INSERT ON doc BEGIN INSERT INTO find(rowid, title) VALUES (new.rowid, new.title); END;"""
    rig.begin(
        base + fts,
        "INSERT INTO doc VALUES ('one', '1'), ('two', '2'), ('three two', '3'); DELETE FROM doc WHERE a = '1';",
    )
    rig.migrated(base.replace("a TEXT", "a INTEGER"), objects=["doc"], columns=["doc.a"])
    assert rig.service("SELECT rowid FROM find WHERE find MATCH 'two' ORDER BY rowid") == [(2,), (3,)]
    found = rig.check()
    assert not any(one["table"].startswith("find") for one in found["differences"])
    rig.service("INSERT INTO doc VALUES ('four two', 4)")
    assert rig.service("SELECT max(rowid) FROM find WHERE find MATCH 'two'") == [(4,)]
