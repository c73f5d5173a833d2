"""What code that runs survives: decided by a table of cases, and tried with statements of such code."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from driftengine.changes import Facts
from driftengine.dialects.sqlite.dialect import SqliteDialect
from driftengine.plan import make_plan
from driftengine.survival import survives
from support.migrations import House, kinds
from support.schemas import drift_between, schema_of
from support.stages import session_of
from support.windows import window

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine.operations import Operation

P = "CREATE TABLE p (id INTEGER PRIMARY KEY);"
T = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INT DEFAULT 1 NOT NULL, p INT);"


def operations(before: str, after: str) -> tuple[Operation, ...]:
    drift = drift_between(before, after, before)
    plan = make_plan(SqliteDialect(), drift, schema_of(after), schema_of(before), Facts({"t": 2, "p": 1}))
    return plan.operations


def t(**columns: str) -> str:
    """The table `t` with other columns."""
    given = {"a": "TEXT", "n": "INT DEFAULT 1 NOT NULL", "p": "INT"} | columns
    body = ", ".join(f"{name} {text}" for name, text in given.items() if text != "-")
    return f"CREATE TABLE t (id INTEGER PRIMARY KEY, {body});"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(T, T + "CREATE TABLE u (id INT NOT NULL);", id="a table"),
        pytest.param(T, T + "CREATE VIEW v AS SELECT a FROM t;", id="a view"),
        pytest.param(T, T + "CREATE VIRTUAL TABLE f USING fts5(a);", id="a virtual table"),
        pytest.param(T, t(b="TEXT"), id="a column"),
        pytest.param(T, t(b="TEXT DEFAULT 'x' NOT NULL"), id="a column with a default"),
        pytest.param(T, T + "CREATE INDEX i ON t (a, n);", id="an index"),
        pytest.param(T, T + "CREATE INDEX i ON t (a) WHERE a IS NOT NULL;", id="an index over a part"),
        pytest.param(T, t(n="INT DEFAULT 1"), id="NULL allowed"),
        pytest.param(T, t(n="INT DEFAULT 2 NOT NULL"), id="another default"),
        pytest.param(T, t(a="TEXT DEFAULT 'x'"), id="a default"),
        pytest.param(T, t(n="INT DEFAULT CURRENT_DATE NOT NULL"), id="a default of the clock"),
        pytest.param(
            T, T + "CREATE TABLE u (a INT); CREATE UNIQUE INDEX i ON u (a);", id="a new table's key"
        ),
        pytest.param(t(a="TEXT CHECK (a <> '')"), T, id="a CHECK that goes"),
        pytest.param(t(a="TEXT CHECK (a IN ('x'))"), t(a="TEXT CHECK (a IN ('x', 'y'))"), id="a longer list"),
    ],
)
def test_what_is_survived(before: str, after: str) -> None:
    """What adds, and what allows more."""
    found = operations(P + before, P + after)
    assert found
    actual = schema_of(P + before)
    assert all(survives(one, actual) for one in found), [one.judgement.kind for one in found]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(T, "", id="a table that goes"),
        pytest.param(T, t(a="-"), id="a column that goes"),
        pytest.param(T, t(b="TEXT NOT NULL"), id="a column that each INSERT must name"),
        pytest.param(
            T, t(b="INT GENERATED ALWAYS AS (json_extract(a, '$')) VIRTUAL"), id="a computed column"
        ),
        pytest.param(T, t(a="TEXT NOT NULL"), id="NOT NULL"),
        pytest.param(t(a="TEXT NOT NULL ON CONFLICT IGNORE"), T, id="NULL that was ignored"),
        pytest.param(T, t(n="INT NOT NULL"), id="a default that goes"),
        pytest.param(T, t(n="INT DEFAULT (nullif(1, 1)) NOT NULL"), id="a default that refuses"),
        pytest.param(T, t(a="TEXT DEFAULT (json('x'))"), id="a default that fails"),
        pytest.param(
            t(n="INT DEFAULT 1 CHECK (n < 5)"),
            t(n="INT DEFAULT 9 CHECK (n < 5)"),
            id="a default that is judged",
        ),
        pytest.param(t(n="INT UNIQUE"), t(n="INT DEFAULT 9 UNIQUE"), id="a default that is a key"),
        pytest.param(
            t(p="INT REFERENCES p (id)"), t(p="INT DEFAULT 9 REFERENCES p (id)"), id="a default that points"
        ),
        pytest.param(T, t(a="VARCHAR(9)"), id="a type of the same affinity"),
        pytest.param(T, t(a="INT"), id="a type"),
        pytest.param(T, t(a="TEXT COLLATE NOCASE"), id="a collation"),
        pytest.param(T, t(a="TEXT CHECK (a <> '')"), id="a CHECK"),
        pytest.param(
            t(a="TEXT CHECK (a IN ('x', 'y'))"), t(a="TEXT CHECK (a IN ('x'))"), id="a shorter list"
        ),
        pytest.param(T, t(a="TEXT UNIQUE"), id="UNIQUE"),
        pytest.param(t(a="TEXT UNIQUE"), T, id="UNIQUE that goes: ON CONFLICT names it"),
        pytest.param(T, t(p="INT REFERENCES p (id)"), id="a foreign key"),
        pytest.param(t(p="INT REFERENCES p (id)"), T, id="a foreign key that goes"),
        pytest.param(
            t(p="INT REFERENCES p (id)"), t(p="INT REFERENCES p (id) ON DELETE CASCADE"), id="an action"
        ),
        pytest.param(T, T + "CREATE UNIQUE INDEX i ON t (a);", id="a unique index"),
        pytest.param(T, T + "CREATE INDEX i ON t (json_extract(a, '$'));", id="an index that computes"),
        pytest.param(T, T + "CREATE INDEX i ON t (a) WHERE abs(n) > 1;", id="an index whose WHERE calls"),
        pytest.param(T + "CREATE INDEX i ON t (a);", T, id="an index that goes"),
        pytest.param(T + "CREATE INDEX i ON t (a);", T + "CREATE INDEX i ON t (n);", id="another index"),
        pytest.param(
            T + "CREATE VIEW v AS SELECT a FROM t;", T + "CREATE VIEW v AS SELECT n FROM t;", id="a view"
        ),
        pytest.param(
            T, T + "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT RAISE(ABORT, 'no'); END;", id="a trigger"
        ),
        pytest.param(T, T.replace(");", ") STRICT;"), id="STRICT"),
        pytest.param(T, T.replace("PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT"), id="AUTOINCREMENT"),
        pytest.param(T, T.replace("id INTEGER PRIMARY KEY", "id TEXT PRIMARY KEY"), id="a key"),
    ],
)
def test_what_is_not_survived(before: str, after: str) -> None:
    """What takes away, what refuses, what computes, and what means something else."""
    found = operations(P + before, P + after)
    assert found
    survived = [one.judgement.kind for one in found if survives(one, schema_of(P + before))]
    assert not survived


OLD = P + t(a="TEXT CHECK (a IN ('x', 'y'))")
NEW = (
    P
    + t(a="TEXT CHECK (a IN ('x', 'y', 'z'))", n="INT DEFAULT 5", b="TEXT", c="INT DEFAULT 3 NOT NULL")
    + "CREATE TABLE u (id INTEGER PRIMARY KEY, t INT REFERENCES t (id)); CREATE INDEX i ON t (a);"
    "CREATE VIEW v AS SELECT a, b FROM t;"
)


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_running_code_goes_on(tmp_path: Path, journal: str) -> None:
    """A connection that was open all the time writes, reads, changes and deletes as before, with what it had prepared."""
    house = House(tmp_path, journal=journal)
    house.run(OLD + "INSERT INTO p VALUES (1); INSERT INTO t (id, a) VALUES (1, 'x'), (2, NULL);")
    house.models(NEW)

    def work(connection: sqlite3.Connection, key: int) -> None:
        connection.execute("INSERT INTO t (id, a, p) VALUES (?, 'y', 1)", (key,))
        connection.execute(
            "INSERT INTO t (id, a) VALUES (?, 'x') ON CONFLICT (id) DO UPDATE SET a = 'x'", (key,)
        )
        connection.execute("UPDATE t SET n = n + 1 WHERE id = ?", (key,))
        assert connection.execute("SELECT id, a, p FROM t WHERE id = ?", (key,)).fetchall() == [(key, "x", 1)]
        connection.execute("DELETE FROM t WHERE id = ?", (key,))

    with closing(sqlite3.connect(house.database, isolation_level=None)) as running:
        running.execute("PRAGMA foreign_keys = ON")
        work(running, 7)
        with session_of(house) as session:
            done = session.start(window(in_use=True), allowed_by="a test")
        work(running, 8)
    assert (done["outcome"], done["held"], done["blocked"]) == ("migrated", [], [])
    assert {"create_table", "add_column", "drop_not_null", "change_check"} <= set(kinds(done))
    assert house.check()["in_sync"]
