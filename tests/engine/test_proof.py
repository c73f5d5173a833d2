"""The proof of the rehearsal, broken on purpose: each thing that a script alters beside the plan is found."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from driftengine.changes import Copied, Script, Step
from driftengine.dialects.sqlite import compare, rehearsal
from support.migrations import House

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine.dialects.base import Rehearsed

BEFORE = """
CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a, b TEXT COLLATE NOCASE, UNIQUE (b));
CREATE TABLE c (id INTEGER PRIMARY KEY, t_id INTEGER REFERENCES t);
CREATE TABLE keyless (a, b);
CREATE TABLE bag (rowid, oid, _rowid_);
CREATE TABLE keyed (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE INDEX i ON t (a);
CREATE INDEX j ON keyed (v);
CREATE VIEW v AS SELECT a, b FROM t;
CREATE TRIGGER g AFTER INSERT ON c BEGIN SELECT 1; END;
CREATE TRIGGER h AFTER INSERT ON t BEGIN SELECT 1; END;
INSERT INTO t VALUES (1, 1, 'x'), (2, 'two', 'Y'), (5, x'00', NULL);
DELETE FROM t WHERE id = 5;
INSERT INTO c VALUES (1, 1), (2, 77);
INSERT INTO keyless (rowid, a, b) VALUES (10, 1, 'x'), (20, 2, 'y');
INSERT INTO bag VALUES ('x', 1, 1), ('x', 1, 1), ('y', 1, 1);
INSERT INTO keyed VALUES ('a', 1), ('b', 2);
PRAGMA user_version = 3;
ANALYZE;
"""
EVERYTHING = frozenset({"t", "c", "keyless", "bag", "keyed", "i", "j", "v", "g", "h", "new", "driftd_new_t"})
COPY = (
    "CREATE TABLE driftd_new_t (id INTEGER PRIMARY KEY AUTOINCREMENT, a, b TEXT COLLATE NOCASE, UNIQUE (b))",
    "INSERT INTO driftd_new_t SELECT * FROM t",
    "UPDATE sqlite_sequence SET seq = 5 WHERE name = 'driftd_new_t'",
    "CREATE TEMP TABLE stat AS SELECT * FROM sqlite_stat1",
    "DROP TABLE t",
    "PRAGMA legacy_alter_table = ON",
    "ALTER TABLE driftd_new_t RENAME TO t",
    "PRAGMA legacy_alter_table = OFF",
    "INSERT INTO sqlite_stat1 SELECT * FROM temp.stat WHERE tbl = 't'",
)
INDEX, TRIGGER = "CREATE INDEX i ON t (a)", "CREATE TRIGGER h AFTER INSERT ON t BEGIN SELECT 1; END"


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A database with one of everything."""
    with closing(sqlite3.connect(tmp_path / "backup.db", isolation_level=None)) as connection:
        connection.executescript(BEFORE)
    return tmp_path / "backup.db"


def script(statements: tuple[str, ...], named: frozenset[str], copied: tuple[Copied, ...] = ()) -> Script:
    """A script whose statements may touch anything, and that names less."""
    return Script(tuple(Step(sql, (1,), EVERYTHING) for sql in statements), named, copied)


def rehearsed(backup: Path, script: Script, journal: str = "wal") -> Rehearsed:
    workspace = backup.parent / "workspace"
    workspace.mkdir(exist_ok=True)
    return rehearsal.rehearse(
        backup, workspace, script, journal_mode=journal, finish=lambda _: None, values={}
    )


def problems(outcome: Rehearsed) -> list[str]:
    assert not outcome.failure
    return [problem.text for problem in outcome.problems]


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_what_a_script_names_may_happen(backup: Path, journal: str) -> None:
    """A column, an index, a table that is copied with all that hangs on it: the proof has nothing to say."""
    statements = (
        "ALTER TABLE keyless ADD COLUMN n", "DROP INDEX j", "CREATE TABLE new (a)", *COPY, INDEX, TRIGGER
    )  # fmt: skip
    copied = (Copied("t", (("id", "id"), ("a", "a"), ("b", "b"))),)
    outcome = rehearsed(
        backup, script(statements, frozenset({"t", "keyless", "j", "new", "i", "h"}), copied), journal
    )
    assert problems(outcome) == []


#: name -> (statements, what they name, what the proof says)
BESIDE: dict[str, tuple[tuple[str, ...], frozenset[str], str]] = {
    "a sequence": (("UPDATE sqlite_sequence SET seq = 2",), frozenset(), "AUTOINCREMENT sequence of t"),
    "a sequence's row": (("DELETE FROM sqlite_sequence",), frozenset(), "AUTOINCREMENT sequence of t"),
    "a statistic of an index": (
        ("DELETE FROM sqlite_stat1 WHERE idx = 'i'",), frozenset({"t"}), "statistics of i would be lost"
    ),
    "a statistic of a key without rowids": (
        ("UPDATE sqlite_stat1 SET stat = '9 9' WHERE idx = 'keyed'",), frozenset(), "statistics of keyed"
    ),
    "a rowid that is a column": (("UPDATE t SET id = 9 WHERE id = 1",), frozenset({"t"}), "1 rows of t are under another"),
    "a rowid that is none": (
        ("UPDATE keyless SET rowid = rowid + 1",), frozenset({"keyless"}), "2 rows of keyless are under another key"
    ),
    "a storage class": (
        ("UPDATE t SET a = CAST(a AS TEXT) WHERE id = 1",), frozenset({"t"}), "1 rows of t hold other values"
    ),
    "a number's storage class": (("UPDATE t SET a = 1.0 WHERE id = 1",), frozenset({"t"}), "1 rows of t hold other"),
    "a letter's case": (("UPDATE t SET b = 'y' WHERE id = 2",), frozenset({"t"}), "1 rows of t hold other values"),
    "a row that is gone": (("DELETE FROM keyless WHERE a = 1",), frozenset({"keyless"}), "keyless has 1 rows"),
    "a row among its likes": (
        ("UPDATE bag SET rowid = 'y' WHERE rowid = 'x'", "INSERT INTO bag VALUES ('x', 1, 1)",
         "DELETE FROM bag WHERE rowid = 'y'", "INSERT INTO bag VALUES ('y', 1, 1), ('y', 1, 1)"),
        frozenset({"bag"}), "rows of bag hold other values",
    ),
    "a key without rowids": (("UPDATE keyed SET k = 'z' WHERE k = 'a'",), frozenset({"keyed"}), "1 rows of keyed are under"),
    "a row of a table that nobody names": (("UPDATE c SET t_id = 2 WHERE id = 1",), frozenset({"t"}), "1 rows of c hold"),
    "an index that nobody names": (("DROP INDEX i",), frozenset({"t"}), "the index i would go, and no operation names it"),
    "a table that nobody names": (("CREATE TABLE new (a)",), frozenset(), "the table new would come"),
    "what a rename rewrites": (
        ("ALTER TABLE t RENAME COLUMN b TO bb",), frozenset({"t"}), "the view v would be another"
    ),
    "a trigger of a copied table": (
        (*COPY, INDEX), frozenset({"t", "i", "h"}), "the trigger h would be lost"
    ),
    "an index of a copied table": (
        (*COPY, TRIGGER), frozenset({"t", "i", "h"}), "the index i would be lost"
    ),
    "an index of a copied table, written otherwise": (
        (*COPY, TRIGGER, "CREATE INDEX i ON t (a, b)"),
        frozenset({"t", "i", "h"}), "statistics of i would be those of another index",
    ),
    "a sequence of a copied table": (
        tuple(sql for sql in (*COPY, INDEX, TRIGGER) if "sqlite_sequence" not in sql),
        frozenset({"t", "i", "h"}), "AUTOINCREMENT sequence of t",
    ),
    "statistics of a copied table": (
        tuple(sql for sql in (*COPY, INDEX, TRIGGER) if "INTO sqlite_stat1" not in sql),
        frozenset({"t", "i", "h"}), "statistics of i would be lost",
    ),
    "the version of the application": (("PRAGMA user_version = 4",), frozenset(), "setting user_version"),
    "the name of the application": (("PRAGMA application_id = 4",), frozenset(), "setting application_id"),
    "a link": (("UPDATE c SET t_id = 78 WHERE id = 1",), frozenset({"c"}), "1 rows of c hold other values"),
}  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_what_happens_beside_the_plan_is_found(backup: Path, name: str) -> None:
    """Whatever a script alters and does not name, or names and does not say, the rehearsal refuses."""
    statements, named, told = BESIDE[name]
    found = problems(rehearsed(backup, script(statements, named)))
    assert any(told in text for text in found), found


def test_a_large_database_is_counted_where_nobody_names_a_table(
    backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a size the tables that no statement names are counted only: the authorizer keeps every statement off them."""
    monkeypatch.setattr(compare, "COMPARED_WHOLE", 0)
    assert (
        problems(rehearsed(backup, script(("UPDATE c SET t_id = 2 WHERE id = 1",), frozenset({"t"})))) == []
    )
    found = problems(rehearsed(backup, script(("DELETE FROM c WHERE id = 1",), frozenset({"t"}))))
    assert found == ["c has 1 rows after the change and had 2"]
    honest = Script((Step("UPDATE c SET t_id = 2", (1,), frozenset({"t"})),), frozenset({"t"}))
    assert "it would touch c" in rehearsed(backup, honest).failure


@pytest.mark.parametrize(
    "statements",
    [
        ("ALTER TABLE t RENAME TO u",),
        ("ALTER TABLE t RENAME TO tmp", "ALTER TABLE tmp RENAME TO T"),
        ("ALTER TABLE t RENAME COLUMN a TO aa", "ALTER TABLE t RENAME TO u", "ALTER TABLE u RENAME b TO a"),
    ],
)
def test_rows_are_followed_through_renames(backup: Path, statements: tuple[str, ...]) -> None:
    """A renamed table or column is compared with what it was: same rows pass, a changed value is found."""
    with closing(sqlite3.connect(backup, isolation_level=None)) as connection:
        connection.executescript("DELETE FROM sqlite_stat1")  # SQLite leaves it under the old name
    last = "u" if "RENAME TO u" in " ".join(statements) else "t"
    named = EVERYTHING | {"u", "tmp"}
    steps = tuple(Step(sql, (1,), named) for sql in statements)
    assert problems(rehearsed(backup, Script(steps, named))) == []
    broken = (*steps, Step(f"UPDATE {last} SET b = 'other' WHERE id = 1", (1,), named))
    if "RENAME b" in " ".join(statements):
        broken = (*steps, Step(f"UPDATE {last} SET a = 'other' WHERE id = 1", (1,), named))
    assert any("rows of" in text for text in problems(rehearsed(backup, Script(broken, named))))


def test_statistics_of_a_constraint_do_not_become_those_of_another(tmp_path: Path) -> None:
    """SQLite numbers the indexes of constraints: when the first goes, what ANALYZE found of it goes with it."""
    house = House(tmp_path)
    table = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, UNIQUE (a, b), UNIQUE (b))"
    house.run(f"{table}; INSERT INTO t VALUES (1, 'x', 'p'), (2, 'x', 'q'), (3, 'y', 'r'); ANALYZE;")
    house.models(table)
    house.apply()
    house.models(table.replace("UNIQUE (a, b), ", ""))
    done = house.apply()
    assert (done["outcome"], done["blocked"]) == ("migrated", [])
    assert house.ask("SELECT * FROM sqlite_stat1 WHERE tbl = 't'") in (
        [],
        [("t", "sqlite_autoindex_t_1", "3 1")],
    )


def test_the_copy_is_left_for_the_caller(backup: Path) -> None:
    """The rehearsal leaves the backup as it was, byte for byte."""
    before = backup.read_bytes()
    rehearsed(backup, script(COPY, frozenset({"t"})))
    assert backup.read_bytes() == before
    shutil.rmtree(backup.parent / "workspace")
