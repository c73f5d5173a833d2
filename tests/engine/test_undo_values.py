"""Values that come back from the backup of a migration, by key, with later rows kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.taking_back import Taken

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["wal", "delete"])
def taken(request: pytest.FixtureRequest, tmp_path: Path) -> Taken:
    """A database in each journal mode."""
    return Taken(tmp_path, journal=str(request.param))


def test_a_dropped_column_comes_back_by_key(taken: Taken) -> None:
    """Each row that was there then has its value again, with its storage class; NULL comes back as NULL."""
    taken.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, v BLOB DEFAULT 'x')",
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', '007'), (3, 'c', NULL), (4, 'd', x'00ff'), (5, 'e', 1e3)",
    )
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
    taken.run(
        "DELETE FROM t WHERE id = 2",
        "UPDATE t SET a = 'other' WHERE id = 1",
        "INSERT INTO t VALUES (9, 'new')",
    )
    assert taken.unsure("v") is None or taken.unsure("v").count == 0
    assert taken.back().ok
    assert taken.ask("SELECT id, a, quote(v), typeof(v) FROM t ORDER BY id") == [
        (1, "other", "1", "integer"),
        (3, "c", "NULL", "null"),
        (4, "d", "X'00FF'", "blob"),
        (5, "e", "1000.0", "real"),
        (9, "new", "'x'", "text"),
    ]


KEYS = {
    "composite": "CREATE TABLE t (a INTEGER, b TEXT, v TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID",
    "composite and rowid": "CREATE TABLE t (a INTEGER NOT NULL, b TEXT NOT NULL, v TEXT, PRIMARY KEY (b, a))",
    "without case": "CREATE TABLE t (a INTEGER, b TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, v TEXT)",
    "unique": "CREATE TABLE t (a INTEGER, b TEXT NOT NULL UNIQUE, v TEXT)",
    "unique index": "CREATE TABLE t (a INTEGER, b TEXT NOT NULL, v TEXT); CREATE UNIQUE INDEX i ON t (b)",
    "quoted": 'CREATE TABLE t (a INTEGER, "b" TEXT PRIMARY KEY NOT NULL, v TEXT)',
    "strict": "CREATE TABLE t (a INTEGER, b TEXT PRIMARY KEY, v TEXT) STRICT",
}


@pytest.mark.parametrize("key", KEYS)
def test_rows_are_told_apart_by_any_key(taken: Taken, key: str) -> None:
    """Composite keys, keys without case, unique constraints and indexes: all say which row is which."""
    ddl = KEYS[key]
    taken.run(ddl, "INSERT INTO t VALUES (1, 'one', 'x'), (2, 'two', NULL), (3, 'three', 'z')")
    taken.migrate(ddl.replace(", v TEXT", ""))
    taken.run("DELETE FROM t WHERE b = 'one'", "INSERT INTO t VALUES (4, 'four')")
    if "composite" not in key:
        taken.run("UPDATE t SET a = 33 WHERE b = 'three'")
    found = taken.unsure("v")
    assert found is None or found.count == 0
    assert taken.back().ok
    assert taken.ask("SELECT b, v FROM t ORDER BY b") == [("four", None), ("three", "z"), ("two", None)]


def test_a_key_without_case_finds_the_row_that_was_spelled_otherwise(taken: Taken) -> None:
    """Under NOCASE a key that was respelled is the same key."""
    taken.run(
        "CREATE TABLE t (b TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, v TEXT)",
        "INSERT INTO t VALUES ('Ann', 'x')",
    )
    taken.migrate("CREATE TABLE t (b TEXT COLLATE NOCASE PRIMARY KEY NOT NULL)")
    taken.run("UPDATE t SET b = 'ANN'")
    assert taken.back().ok
    assert taken.ask("SELECT * FROM t") == [("ANN", "x")]


def test_keys_that_differ_in_case_stay_apart_when_the_collation_changed(taken: Taken) -> None:
    """Two rows that only BINARY keeps apart get each its own value, though the key has another collation now."""
    taken.run(
        "CREATE TABLE t (b TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, v TEXT)",
        "INSERT INTO t VALUES ('Ann', 'x')",
    )
    taken.migrate("CREATE TABLE t (b TEXT PRIMARY KEY NOT NULL)")
    taken.run("INSERT INTO t VALUES ('ANN')")
    assert taken.back(only="v").ok
    assert taken.ask("SELECT * FROM t ORDER BY b") == [("ANN", None), ("Ann", "x")]


def test_without_a_key_the_rowid_and_all_that_stayed_the_same_tell(taken: Taken) -> None:
    """The same rowid with the same other values is the same row; rows written since get the default."""
    taken.run(
        "CREATE TABLE t (rowid TEXT, a TEXT, v TEXT DEFAULT 'x')",
        "INSERT INTO t VALUES ('r', 'a', 1), ('r', 'b', 2), (NULL, 'c', 3)",
    )
    taken.migrate("CREATE TABLE t (rowid TEXT, a TEXT)")
    taken.run("DELETE FROM t WHERE a = 'b'", "INSERT INTO t VALUES ('r', 'new')")
    assert taken.unsure("v").count == 0
    assert taken.back().ok
    assert taken.ask("SELECT * FROM t ORDER BY a") == [("r", "a", "1"), (None, "c", "3"), ("r", "new", "x")]


def test_without_a_key_a_changed_row_is_not_decided(taken: Taken) -> None:
    """Where a row without a key reads otherwise now, nobody can tell whether it is the same one."""
    taken.run("CREATE TABLE t (a TEXT, v TEXT)", "INSERT INTO t VALUES ('a', 1), ('b', 2)")
    taken.migrate("CREATE TABLE t (a TEXT)")
    taken.run("UPDATE t SET a = 'other' WHERE a = 'b'")
    found = taken.unsure("v")
    assert (found.count, found.rows) == (1, ((2, None),))


def test_without_a_key_rows_that_have_moved_are_not_decided(taken: Taken) -> None:
    """VACUUM gives other rowids: rows that look like one that was somewhere else are shown, not guessed at."""
    taken.run(
        "CREATE TABLE t (a TEXT, v TEXT)", "INSERT INTO t VALUES ('a', 1), ('a', 2), ('a', 3), ('b', 4)"
    )
    taken.migrate("CREATE TABLE t (a TEXT)")
    taken.run("DELETE FROM t WHERE rowid = 1", "VACUUM")
    assert taken.unsure("v").count == 3


def test_rows_whose_key_is_null_are_not_decided(taken: Taken) -> None:
    """A primary key that may be NULL tells all other rows apart."""
    taken.run("CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT)", "INSERT INTO t VALUES ('a', 1), (NULL, 2)")
    taken.migrate("CREATE TABLE t (id TEXT PRIMARY KEY)")
    found = taken.unsure("v")
    assert found.count == 1
    assert taken.back().ok
    assert taken.ask("SELECT * FROM t") == [("a", "1"), (None, None)]


def test_a_row_without_any_identity_is_not_decided(taken: Taken) -> None:
    """Where columns hide every name of the rowid there is no way to tell."""
    taken.run("CREATE TABLE t (rowid, _rowid_, oid, v TEXT)", "INSERT INTO t VALUES (1, 2, 3, 4)")
    taken.migrate("CREATE TABLE t (rowid, _rowid_, oid)")
    assert taken.unsure("v").count == 1


def test_a_later_row_without_a_value_is_shown(taken: Taken) -> None:
    """A NOT NULL column without a default comes back: rows written since have no value for it."""
    taken.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL)", "INSERT INTO t VALUES (1, 'x')")
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    assert taken.unsure("v").count == 0
    taken.run("INSERT INTO t VALUES (2)")
    found = taken.unsure("v")
    assert (found.count, found.rows[0][0]) == (1, 2)


def test_what_comes_back_twice_over_a_unique_key_is_shown(taken: Taken) -> None:
    """An earlier value that a later row has taken meanwhile would offend the constraint, which alone is held for it."""
    taken.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, v TEXT DEFAULT 'none' UNIQUE)",
        "INSERT INTO t VALUES (1, 'a', 'none'), (2, 'b', 'y')",
    )
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
    assert taken.unsure("v", kind="unique").count == 0
    taken.run("INSERT INTO t VALUES (5, 'new')")
    assert taken.unsure("v", kind="column").count == 0
    found = taken.unsure("v", kind="unique")
    assert (found.count, found.rows) == (1, (("1, 5", "none"),))


def test_a_key_that_stands_may_refuse_what_a_conversion_gives_back(taken: Taken) -> None:
    """'8.0' and '8' are two values now and would be one again."""
    taken.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v REAL UNIQUE)", "INSERT INTO t VALUES (1, 7), (2, 8)")
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE)")
    assert taken.unsure("v", aspect="type").count == 0
    taken.run("INSERT INTO t VALUES (3, '8')")
    assert taken.unsure("v", aspect="type").rows == (("2, 3", 8.0),)


def test_a_check_sees_the_values_that_come_back(taken: Taken) -> None:
    """A CHECK over a column that comes back is judged by the earlier values beside the present ones."""
    taken.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, v INTEGER DEFAULT 9, CHECK (v < a))",
        "INSERT INTO t VALUES (1, 5, 4), (2, 6, 5)",
    )
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    assert taken.unsure("", kind="check").count == 0
    taken.run("UPDATE t SET a = 3 WHERE id = 2")
    assert taken.unsure("", kind="check").rows == ((2, "3, 5"),)


def test_what_points_at_a_parent_that_is_gone_is_shown(taken: Taken) -> None:
    """A foreign key that comes back with its column needs its parents."""
    taken.run(
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER REFERENCES p (id))",
        "INSERT INTO p VALUES (1), (2)",
        "INSERT INTO t VALUES (1, 1), (2, 2)",
    )
    taken.migrate("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY)")
    assert taken.unsure("", kind="foreign_key").count == 0
    taken.run("DELETE FROM p WHERE id = 2")
    assert taken.unsure("", kind="column") is None
    assert taken.unsure("", kind="foreign_key").rows == ((2, 2),)


def test_a_converted_column_gets_what_it_held(taken: Taken) -> None:
    """Where the value is still what the conversion made, the earlier one comes back exactly; else the present one stays."""
    taken.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
        "INSERT INTO t VALUES (1, '007'), (2, '1e3'), (3, 'abc'), (4, NULL), (5, x'31'), (6, '5'), (7, ' 8')",
    )
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)")
    assert taken.ask("SELECT v FROM t WHERE id = 1") == [(7,)]
    taken.run("UPDATE t SET v = 6 WHERE id = 6", "INSERT INTO t VALUES (20, 7)")
    assert taken.unsure("v") is None or taken.unsure("v").count == 0
    assert taken.back().ok
    assert taken.ask("SELECT id, quote(v) FROM t ORDER BY id") == [
        (1, "'007'"),
        (2, "'1e3'"),
        (3, "'abc'"),
        (4, "NULL"),
        (5, "X'31'"),
        (6, "'6'"),
        (7, "' 8'"),
        (20, "'7'"),
    ]


def test_a_later_value_that_its_own_conversion_would_alter_is_shown(taken: Taken) -> None:
    """Rows that get the earlier value are not judged; a row written since is."""
    taken.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)", "INSERT INTO t VALUES (1, 'odd'), (2, 5)")
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    assert taken.unsure("v").count == 0
    taken.run("INSERT INTO t VALUES (3, '007')")
    assert taken.unsure("v").rows == ((3, "007"),)


@pytest.mark.parametrize("forward", ["INTEGER", "REAL", "NUMERIC", "TEXT", "BLOB"])
@pytest.mark.parametrize("backward", ["INTEGER", "REAL", "NUMERIC", "TEXT", "BLOB"])
def test_every_conversion_is_known_again(tmp_path: Path, forward: str, backward: str) -> None:
    """Whatever SQLite's affinities made of a value, the earlier one comes back with its storage class."""
    taken = Taken(tmp_path)
    values = (
        "1, 1.0, 1.5, -0.0, 1e3, 1e300, 0.1, 9007199254740993, 9223372036854775807, '1', '1.0', '007', '1e3', ' 5 ', '+5', "
        "'0x10', 'abc', '12abc', '', '9223372036854775808', '9007199254740993', x'', x'31', NULL, 'a' || char(0) || 'b'"
    )
    taken.run(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {backward})",
        *(f"INSERT INTO t (v) VALUES ({one})" for one in values.split(", ")),
    )
    before = taken.ask("SELECT id, typeof(v), hex(v), quote(v) FROM t")
    taken.migrate(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {forward})")
    if forward != backward:
        found = taken.unsure("v")
        assert found is None or found.count == 0, found
        assert taken.back().ok
    assert taken.ask("SELECT id, typeof(v), hex(v), quote(v) FROM t") == before


def test_null_comes_back_where_it_was_filled(taken: Taken) -> None:
    """NULL is NULL again where the fill still stands there, not where somebody has written another value."""
    taken.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, v TEXT)",
        "INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', NULL), (3, 'c', 'none c'), (4, 'd', 'z')",
    )
    fill = "'none ' || t.a"
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, v TEXT NOT NULL)", {"v": fill})
    assert taken.ask("SELECT v FROM t") == [("none a",), ("none b",), ("none c",), ("z",)]
    taken.run(
        "UPDATE t SET v = 'own' WHERE id = 2",
        "UPDATE t SET a = 'A' WHERE id = 1",
        "INSERT INTO t VALUES (9, 'a', 'none a')",
    )
    assert taken.back(fill=fill).ok
    assert taken.ask("SELECT id, v FROM t") == [(1, None), (2, "own"), (3, "none c"), (4, "z"), (9, "none a")]


def test_a_value_comes_back_where_null_was_allowed_meanwhile(taken: Taken) -> None:
    """NOT NULL again: rows that hold NULL now get what they held; those that never held anything are shown."""
    taken.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, v TEXT NOT NULL)",
        "INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z')",
    )
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, v TEXT)")
    taken.run("UPDATE t SET v = NULL WHERE id = 1", "UPDATE t SET v = 'own' WHERE id = 2")
    assert taken.unsure("v").count == 0
    taken.run("INSERT INTO t VALUES (9, 'n', NULL)")
    assert taken.unsure("v").rows == ((9, None),)
    taken.run("DELETE FROM t WHERE id = 9")
    assert taken.back().ok
    assert taken.ask("SELECT id, v FROM t") == [(1, "x"), (2, "own"), (3, "z")]


@pytest.mark.parametrize(
    "fill", [None, "random()", "datetime('now')", "CURRENT_TIMESTAMP", "driftd_value_1()"]
)
def test_what_a_fill_gave_at_that_moment_stays(tmp_path: Path, fill: str | None) -> None:
    """Values that cannot be known again are kept: NULL is allowed, and nothing else happens."""
    taken = Taken(tmp_path)
    taken.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "INSERT INTO t VALUES (1, NULL)")
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL)", {"v": "'x'"})
    assert taken.back(fill=fill).ok
    assert taken.ask("SELECT * FROM t") == [(1, "x")]


def test_a_type_and_a_fill_are_taken_back_together(taken: Taken) -> None:
    """One column was converted and filled at once: both come back in one value."""
    taken.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
        "INSERT INTO t VALUES (1, NULL), (2, '007'), (3, '8')",
    )
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER NOT NULL)", {"v": "'09'"})
    assert taken.ask("SELECT v FROM t") == [(9,), (7,), (8,)]
    assert taken.back(fill="'09'").ok
    assert taken.ask("SELECT id, quote(v) FROM t") == [(1, "NULL"), (2, "'007'"), (3, "'8'")]


def test_a_fill_is_known_again_where_only_the_rowid_tells(taken: Taken) -> None:
    """The key was another name of the rowid, and is a key no more."""
    taken.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, v TEXT)",
        "INSERT INTO t VALUES (5, 'a', NULL), (6, 'b', 'c')",
    )
    taken.migrate("CREATE TABLE t (id INTEGER, a TEXT, v TEXT NOT NULL)", {"v": "a || rowid"})
    assert taken.ask("SELECT v FROM t") == [("a5",), ("c",)]
    assert taken.back(fill="a || rowid", only="v").ok
    assert taken.ask("SELECT id, v FROM t") == [(5, None), (6, "c")]


def test_stored_values_come_back_where_computed_ones_took_their_place(taken: Taken) -> None:
    """A column that had become a computed one holds again what was stored in it; later rows keep what was computed."""
    taken.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, v INTEGER)",
        "INSERT INTO t VALUES (1, 5, 99), (2, 6, NULL)",
    )
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, v INTEGER AS (a * 2) STORED)")
    taken.run("INSERT INTO t (id, a) VALUES (3, 7)")
    assert taken.back().ok
    assert taken.ask("SELECT * FROM t") == [(1, 5, 99), (2, 6, None), (3, 7, 14)]


def test_a_dropped_table_comes_back_whole(taken: Taken) -> None:
    """Rows, rowids that can be seen, the AUTOINCREMENT sequence and the statistics are there again, and no trigger fires."""
    taken.run(
        "CREATE TABLE log (t TEXT)",
        "CREATE TABLE t (a TEXT, b BLOB, c TEXT AS (upper(a)))",
        "CREATE INDEX ta ON t (a)",
        "CREATE TRIGGER tt AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.a); END",
        "CREATE TABLE s (id INTEGER PRIMARY KEY AUTOINCREMENT, v)",
        "INSERT INTO t (rowid, a, b) VALUES (7, 'x', x'00'), (9, 'y', 1e3), (40, NULL, '007')",
        "INSERT INTO s VALUES (1, 'a'), (50, 'b')",
        "DELETE FROM s WHERE id = 50",
        "DELETE FROM log",
        "ANALYZE",
    )
    everything = taken.ask("SELECT * FROM sqlite_stat1 ORDER BY tbl, idx")
    taken.migrate("CREATE TABLE log (t TEXT)")
    assert taken.ask("SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN ('s', 't')") == []
    outcome = taken.back()
    assert outcome.ok, outcome
    assert taken.ask("SELECT rowid, a, quote(b), c FROM t") == [
        (7, "x", "X'00'", "X"),
        (9, "y", "1000.0", "Y"),
        (40, None, "'007'", None),
    ]
    assert taken.ask("SELECT * FROM s") == [(1, "a")]
    assert taken.ask("SELECT seq FROM sqlite_sequence WHERE name = 's'") == [(50,)]
    assert taken.ask("SELECT * FROM sqlite_stat1 ORDER BY tbl, idx") == everything
    assert taken.ask("SELECT count(*) FROM log") == [(0,)]
    assert taken.ask("SELECT name FROM sqlite_schema WHERE tbl_name = 't' ORDER BY name") == [
        ("t",),
        ("ta",),
        ("tt",),
    ]


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE t (a TEXT, b INTEGER, PRIMARY KEY (b, a)) WITHOUT ROWID",
        "CREATE TABLE t (rowid TEXT, a TEXT, b INTEGER)",
        "CREATE TABLE t (rowid, _rowid_, oid)",
        'CREATE TABLE "t" ("a ""b" TEXT, b INTEGER DEFAULT 5) ',
    ],
)
def test_a_table_of_any_kind_comes_back(tmp_path: Path, ddl: str) -> None:
    """With or without a rowid, hidden or not, with odd names."""
    taken = Taken(tmp_path)
    width = 3 if "rowid," in ddl or "rowid TEXT" in ddl else 2
    taken.run(
        ddl,
        *(f"INSERT INTO t VALUES ({', '.join([str(n)] * width)})" for n in (3, 1, 2)),
        "DELETE FROM t WHERE 1 IN (SELECT 0)",
    )
    before = taken.ask("SELECT * FROM t")
    taken.migrate("")
    outcome = taken.back()
    assert outcome.ok, outcome
    assert taken.ask("SELECT * FROM t") == before


def test_rows_of_a_table_that_comes_back_need_their_parents(taken: Taken) -> None:
    """Rows whose parent has been deleted since are shown, and the rehearsal would not let them through."""
    taken.run(
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p)",
        "INSERT INTO p VALUES (1), (2)",
        "INSERT INTO t VALUES (1, 1), (2, 2)",
    )
    taken.migrate("CREATE TABLE p (id INTEGER PRIMARY KEY)")
    assert taken.unsure("t").count == 0
    taken.run("DELETE FROM p WHERE id = 2")
    assert taken.unsure("t").rows == ((2, 2),)
    assert "would violate a foreign key" in taken.back().problems[0].text


def test_two_tables_that_refer_to_each_other_come_back_together(taken: Taken) -> None:
    """The parents of a table may come back with it."""
    taken.run(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER REFERENCES b (id))",
        "CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a (id))",
        "INSERT INTO a VALUES (1, 1)",
        "INSERT INTO b VALUES (1, 1)",
    )
    taken.migrate("")
    assert taken.unsure("a").count == taken.unsure("b").count == 0
    assert taken.back().ok
    assert taken.ask("SELECT * FROM a, b") == [(1, 1, 1, 1)]


def test_names_that_were_others_then_are_followed(taken: Taken) -> None:
    """Where a later rename lies between, table and key are found under their earlier names."""
    taken.run(
        "CREATE TABLE old (oldid INTEGER PRIMARY KEY, a TEXT, v TEXT)", "INSERT INTO old VALUES (1, 'a', 'x')"
    )
    taken.migrate("CREATE TABLE old (oldid INTEGER PRIMARY KEY, a TEXT)")
    taken.run(
        "ALTER TABLE old RENAME TO new",
        "ALTER TABLE new RENAME COLUMN oldid TO id",
        "INSERT INTO new VALUES (2, 'b')",
    )
    taken.names = {("new", ""): ("old", ""), ("new", "id"): ("old", "oldid"), ("new", "a"): ("old", "a")}
    assert taken.back_to("CREATE TABLE new (id INTEGER PRIMARY KEY, a TEXT, v TEXT)").ok
    assert taken.ask("SELECT id, v FROM new") == [(1, "x"), (2, None)]


def test_what_was_written_into_an_added_column(taken: Taken) -> None:
    """NULL, the default, and the fill of the same row are nobody's writing; anything else is."""
    taken.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)", "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')"
    )
    fill = "upper(a)"
    taken.migrate(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, v TEXT, w INTEGER NOT NULL DEFAULT '5')", {"v": fill}
    )
    assert taken.written("v", fill=fill).count == 0
    assert taken.written("w").count == 0
    taken.run(
        "UPDATE t SET v = 'own', w = 6 WHERE id = 1",
        "UPDATE t SET a = 'else' WHERE id = 2",
        "UPDATE t SET v = NULL WHERE id = 3",
        "INSERT INTO t VALUES (4, 'd', 'D', 5)",
    )
    assert taken.written("v", fill=fill).rows == ((1, "own"), (4, "D"))
    assert taken.written("v", fill=fill, backup=False).rows == ((1, "own"), (2, "B"))
    assert taken.written("v", fill="random()").count == 3
    assert taken.written("w").rows == ((1, 6),)


def test_every_row_of_an_added_table_is_written(taken: Taken) -> None:
    """What a migration has made empty is empty no more."""
    taken.run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE n (id INTEGER PRIMARY KEY, a TEXT)")
    assert taken.written("n").count == 0
    taken.run("INSERT INTO n VALUES (1, 'x')")
    assert taken.written("n").rows == ((1, "'x'"),)


def test_rows_of_a_virtual_table_count_as_written(taken: Taken) -> None:
    """A full-text index that a migration has made holds what somebody has put into it."""
    taken.run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE VIRTUAL TABLE f USING fts5 (body)")
    assert taken.written("f").count == 0
    taken.run("INSERT INTO f VALUES ('words')")
    assert taken.written("f").count == 1


def test_nobody_can_have_written_a_computed_column(taken: Taken) -> None:
    """Its values are computed."""
    taken.run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER AS (id * 2))")
    assert taken.written("v") is None
