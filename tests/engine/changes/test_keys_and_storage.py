"""Primary keys, AUTOINCREMENT, STRICT and WITHOUT ROWID: identity is never rewritten unasked."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from support.witness import migrate, photograph, refuse

if TYPE_CHECKING:
    from support.migrations import House

IDENTITY = [
    ("id INT PRIMARY KEY, a TEXT", "id INTEGER PRIMARY KEY, a TEXT"),
    ("id INTEGER PRIMARY KEY, a TEXT", "id INT PRIMARY KEY, a TEXT"),
    ("id TEXT PRIMARY KEY, a TEXT", "id TEXT, a TEXT PRIMARY KEY"),
    ("id TEXT, a TEXT, PRIMARY KEY (id)", "id TEXT, a TEXT, PRIMARY KEY (id, a)"),
    ("id TEXT PRIMARY KEY, a TEXT", "id TEXT, a TEXT"),
    ("id TEXT, a TEXT", "id TEXT PRIMARY KEY, a TEXT"),
]


@pytest.mark.parametrize(("old", "new"), IDENTITY)
def test_another_key_over_rows_waits(house: House, old: str, new: str) -> None:
    """What tells rows apart would be rewritten: held, with the rows."""
    house.run(f"CREATE TABLE t({old}); INSERT INTO t VALUES ('1', 'x'), ('3', 'y');")
    left = refuse(house, f"CREATE TABLE t({new});", "held")
    (one,) = [one for one in left if one["kind"] == "change_primary_key"]
    assert (one["risk"], one["count"]) == ("destructive", 2)


@pytest.mark.parametrize(("old", "new"), IDENTITY)
def test_another_key_on_an_empty_table_is_done(house: House, old: str, new: str) -> None:
    """Nothing has an identity yet."""
    house.run(f"CREATE TABLE t({old});")
    migrate(house, f"CREATE TABLE t({new});", touched=["t"])
    assert house.stored("t")


def test_an_approved_key_keeps_the_rows_and_their_values(house: House) -> None:
    """INT to INTEGER PRIMARY KEY with fitting values: every row under its number, the children still there."""
    child = "CREATE TABLE c(id INTEGER PRIMARY KEY, t INT REFERENCES t(id) ON DELETE CASCADE);"
    house.run(
        f"CREATE TABLE t(id INT PRIMARY KEY, a TEXT); {child} INSERT INTO t VALUES (7, 'x'), (3, 'y'); INSERT INTO c VALUES (1, 7);"
    )
    migrate(
        house, f"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); {child}", "change-primary-key",
        changed=["t.rowid", "t.id", "t.a"], touched=["t"],
    )  # fmt: skip
    assert house.ask("SELECT rowid, id, a FROM t ORDER BY id") == [(3, 3, "y"), (7, 7, "x")]
    assert house.ask("SELECT * FROM c") == [(1, 7)]


@pytest.mark.parametrize("value", ["NULL", "'abc'", "1.5"])
def test_an_approved_key_never_renumbers(house: House, value: str) -> None:
    """NULL, text or a fraction cannot be a rowid: approved or not, the row is neither lost nor given a number."""
    house.run(f"CREATE TABLE t(id INT PRIMARY KEY, a TEXT); INSERT INTO t VALUES ({value}, 'x'), (3, 'y');")
    before = photograph(house)
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);")
    document = house.apply("change-primary-key")
    assert document["outcome"] == "blocked", document
    assert document["blocked"][0]["kind"] == "change_primary_key"
    assert photograph(house) == before


def test_autoincrement_comes_with_the_highest_id_and_goes_without_a_trace(house: House) -> None:
    """The sequence starts at the highest id; taken away, no row of sqlite_sequence is left behind."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x'), (5, 'y');")
    plain, counted = (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);",
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT);",
    )
    house.models(plain)
    house.apply()
    migrate(house, counted, touched=["t"])
    house.run("DELETE FROM t WHERE id = 5; INSERT INTO t(a) VALUES ('z')")
    assert house.ask("SELECT id FROM t") == [(1,), (6,)]
    migrate(house, plain, touched=["t"])
    assert house.ask("SELECT * FROM sqlite_sequence") == []
    house.run("DELETE FROM t WHERE id = 6; INSERT INTO t(a) VALUES ('z')")
    assert house.ask("SELECT id FROM t") == [(1,), (2,)]


def test_strict_over_values_that_fit(house: House) -> None:
    """Rows, rowids and indexes stay, and the service's next wrong value is refused."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, b TEXT, c BLOB, d REAL); CREATE INDEX i ON t(b); INSERT INTO t VALUES (4, 7, 'x', x'00', 1.5), (9, NULL, NULL, NULL, NULL);"
    )
    migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, b TEXT, c BLOB, d REAL) STRICT; CREATE INDEX i ON t(b);",
        touched=["t"],
    )
    with pytest.raises(sqlite3.IntegrityError):
        house.run("INSERT INTO t(n) VALUES ('seven')")


def test_strict_over_values_that_do_not_fit(house: House) -> None:
    """Each row that holds another type than its column's is shown."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER, b TEXT); INSERT INTO t VALUES (1, 'abc', 'x'), (2, 2, x'00'), (3, 3, 'ok');"
    )
    (one,) = refuse(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER, b TEXT) STRICT;", "blocked")
    assert one["kind"] == "change_strict"
    assert one["rows"] == [{"key": 1, "value": "abc"}, {"key": 2, "value": "x'00'"}]


def test_strict_judges_what_the_conversion_makes(house: House) -> None:
    """A text that becomes a number in the same release fits the strict column of numbers."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b DATETIME); INSERT INTO t VALUES (1, '4', '2024-01-01');"
    )
    migrate(
        house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b TEXT) STRICT;", changed=["t.a"], touched=["t"]
    )
    assert house.ask("SELECT typeof(a), a, b FROM t") == [("integer", 4, "2024-01-01")]


def test_strict_goes_together_with_names_that_it_forbids(house: House) -> None:
    """STRICT to ordinary with types that only the latter knows."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b ANY) STRICT; INSERT INTO t VALUES (1, '2', 3), (2, NULL, 'x');"
    )
    migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a VARCHAR(9), b BLOB);", touched=["t"])


@pytest.mark.parametrize(
    ("old", "new"), [("", " WITHOUT ROWID"), (" WITHOUT ROWID", ""), (" STRICT", " STRICT, WITHOUT ROWID")]
)
def test_without_rowid_waits_over_rows_and_is_done_when_empty(house: House, old: str, new: str) -> None:
    """Storage that changes the identity of rows is held; on approval every row comes along."""
    ddl = "CREATE TABLE {}(k TEXT PRIMARY KEY NOT NULL, b TEXT){};"
    house.run(
        ddl.format("t", old) + ddl.format("empty", old) + "INSERT INTO t VALUES ('b', 'x'), ('a', NULL);"
    )
    after = ddl.format("t", new) + ddl.format("empty", new)
    house.models(after)
    document = house.apply()
    assert [one["table"] for one in document["applied"]] == ["empty"]
    assert [(one["table"], one["code"], one["count"]) for one in document["held"]] == [
        ("t", "change-storage", 2)
    ]
    migrate(house, after, "change-storage", changed=["t.k", "t.b", "t.rowid"], touched=["t"])
    assert sorted(house.ask("SELECT k, b FROM t")) == [("a", None), ("b", "x")]


def test_without_rowid_over_a_null_key_is_blocked(house: House) -> None:
    """A rowid table may hold NULL keys, the other may not: approved or not, the row stays."""
    house.run("CREATE TABLE t(k TEXT PRIMARY KEY, b TEXT); INSERT INTO t VALUES (NULL, 'x'), ('a', 'y');")
    before = photograph(house)
    house.models("CREATE TABLE t(k TEXT PRIMARY KEY, b TEXT) WITHOUT ROWID;")
    document = house.apply("change-storage")
    assert document["outcome"] == "blocked", document
    assert photograph(house) == before
