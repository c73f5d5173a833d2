"""Defaults: new rows get the new one, old rows keep what they read."""

from __future__ import annotations

import pytest

from support.migrations import House, kinds
from support.witness import migrate


def test_changed_defaults_touch_no_row(house: House) -> None:
    """Rows that store their values need no copy; the next row gets what the models say."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT DEFAULT 1, b TEXT DEFAULT 'a', c TEXT DEFAULT 'CURRENT_TIMESTAMP', d INT DEFAULT ((1+2)*3), e TEXT DEFAULT '1.0', f TEXT);"
        "INSERT INTO t(id) VALUES (1), (2);"
    )
    document = migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT DEFAULT 2, b TEXT DEFAULT 'it''s \"b\"', c TEXT DEFAULT CURRENT_TIMESTAMP, d INT DEFAULT (1+2*3), e TEXT, f TEXT DEFAULT (lower('F')));",
        touched=["t"],
    )
    assert {one["strategy"] for one in document["applied"]} == {"catalog"}
    house.run("INSERT INTO t(id) VALUES (3)")
    assert house.ask("SELECT a, b, d, e, f, length(c) FROM t WHERE id = 3") == [
        (2, 'it\'s "b"', 7, None, "f", 19)
    ]


@pytest.mark.parametrize(
    "new",
    [
        "b TEXT DEFAULT 'new'",
        "b TEXT",
        "b TEXT NOT NULL",
        "b TEXT NOT NULL DEFAULT 'new'",
        "b VARCHAR(9) DEFAULT (lower('NEW'))",
    ],
)
def test_rows_older_than_their_column_keep_the_default_of_that_time(house: House, new: str) -> None:
    """They store nothing and read the DDL: a changed or removed default must not change what they hold."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2);"
        "ALTER TABLE t ADD COLUMN b TEXT DEFAULT 'old'; INSERT INTO t VALUES (3, 'x');"
    )
    migrate(house, f"CREATE TABLE t(id INTEGER PRIMARY KEY, {new});", touched=["t"])
    assert house.ask("SELECT b FROM t") == [("old",), ("old",), ("x",)]
    assert "old" not in house.stored("t")


def test_short_rows_in_a_table_whose_rows_have_no_name(house: House) -> None:
    """Columns hide every name of the rowid and there is no key: the rows still keep their value."""
    house.run(
        "CREATE TABLE t(rowid TEXT, oid TEXT, _rowid_ TEXT); INSERT INTO t VALUES ('r', 'o', '_'), ('r', 'o', '_');"
        "ALTER TABLE t ADD COLUMN b TEXT DEFAULT 'old';"
    )
    migrate(house, "CREATE TABLE t(rowid TEXT, oid TEXT, _rowid_ TEXT, b TEXT DEFAULT 'new');", touched=["t"])
    assert house.ask("SELECT b FROM t") == [("old",), ("old",)]


def test_a_second_change_on_the_heels_of_an_added_column(house: House) -> None:
    """Added with one default by this tool, changed by the next release: old rows keep the first."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1);")
    migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT NOT NULL DEFAULT 1, b TEXT DEFAULT 'x');",
        touched=["t"],
    )
    house.run("INSERT INTO t(id) VALUES (2)")
    migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT NOT NULL DEFAULT 2, b TEXT);", touched=["t"])
    house.run("INSERT INTO t(id) VALUES (3)")
    assert house.ask("SELECT a, b FROM t") == [(1, "x"), (1, "x"), (2, None)]


def test_a_double_quoted_default_is_a_text_also_where_a_column_is_called_so(house: House) -> None:
    """`DEFAULT "a"` beside a column a: old rows get the text, not the column's value."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT); INSERT INTO t VALUES (1, 'value of a', NULL), (2, NULL, 'kept');"
    )
    migrate(
        house,
        'CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT NOT NULL DEFAULT "a", c TEXT NOT NULL DEFAULT "a", d DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP);',
        changed=["t.b"], touched=["t"],
    )  # fmt: skip
    assert house.ask("SELECT b, c FROM t") == [("a", "a"), ("kept", "a")]


def test_a_double_quoted_default_survives_a_copy(house: House) -> None:
    """It is kept as it is written, and stays a text."""
    ddl = 'CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT DEFAULT "hello", b TEXT);'
    house.run(ddl + "INSERT INTO t(id, b) VALUES (1, '2');")
    migrate(house, ddl.replace("b TEXT", "b INTEGER"), changed=["t.b"], touched=["t"])
    assert 'DEFAULT "hello"' in house.stored("t")


def test_null_becomes_the_default_only_where_the_column_becomes_not_null(house: House) -> None:
    """A default alone fills nothing; NOT NULL with it fills what is NULL and nothing else."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT); INSERT INTO t VALUES (1, NULL, NULL), (2, 'x', '');"
    )
    document = migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT 'q', b TEXT DEFAULT 'q');",
        changed=["t.a"],
        touched=["t"],
    )
    assert sorted(kinds(document)) == ["change_default", "change_default", "set_not_null"]
    assert house.ask("SELECT a, b FROM t") == [("q", None), ("x", "")]


def test_defaults_in_odd_places_of_the_text(house: House) -> None:
    """Comments, names like keywords and clauses in any order around the default that changes."""
    house.run(
        """CREATE TABLE t(id INTEGER PRIMARY KEY, "default" TEXT DEFAULT -- here
          'x' CONSTRAINT "not null" NOT NULL, b INT CONSTRAINT d DEFAULT/**/1/**/CHECK(b>0), c DEFAULT (')'), e TEXT COLLATE NOCASE DEFAULT 'e');
        INSERT INTO t(id) VALUES (1);"""
    )
    migrate(
        house,
        """CREATE TABLE t(id INTEGER PRIMARY KEY, "default" TEXT NOT NULL DEFAULT 'y', b INT DEFAULT 2 CHECK (b > 0), c DEFAULT ('('), e TEXT COLLATE NOCASE);""",
        touched=["t"],
    )
    house.run("INSERT INTO t(id) VALUES (2)")
    assert house.ask('SELECT "default", b, c, e FROM t') == [("x", 1, ")", "e"), ("y", 2, "(", None)]
