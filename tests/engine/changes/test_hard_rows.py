"""Rows, names and neighbours that stand in the way in unusual places."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from driftengine import api
from driftengine.changes import Script
from driftengine.dialects.sqlite.database import open_database
from driftengine.dialects.sqlite.dialect import SqliteDialect
from support.migrations import House, kinds

if TYPE_CHECKING:
    import pytest

    from driftengine.dialects.sqlite.database import SqliteDatabase

T = "CREATE TABLE t(id INTEGER PRIMARY KEY, d TEXT"


def test_a_script_leaves_out_what_the_rows_forbid(house: House) -> None:
    """`plan --sql` asks the guards: a conversion that would change values is a comment, and the rest still runs."""
    house.run(f"{T}); INSERT INTO t VALUES (1, '007')")
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, d INTEGER, e TEXT)")
    script = api.plan_script(house.target())
    assert "-- left out: change_type t.d (convert-column): 1 row of t holds a value" in script
    house.run(script.replace(".bail on\n", ""))  # a command of the shell
    assert house.ask("SELECT id, d, e FROM t") == [(1, "007", None)]


def test_a_guard_that_fails_over_a_row_blocks(house: House) -> None:
    """A CHECK that cannot even be evaluated over a row is not satisfied by it; nothing else is held up."""
    house.run(f"{T}); INSERT INTO t VALUES (1, 'no JSON')")
    house.models(f"{T}, CHECK (json_extract(d, '$.a') > 0)); CREATE TABLE u(id INTEGER PRIMARY KEY)")
    document = house.apply()
    assert (document["outcome"], kinds(document)) == ("migrated", ["create_table"])
    assert [one["rows"][0]["value"] for one in document["blocked"]] == ["malformed JSON"]


def test_an_index_goes_with_its_column(house: House) -> None:
    """The plan says so before anybody approves, and the approval carries it out, whoever made the index."""
    house.run(f"{T}, e TEXT); CREATE INDEX by_d ON t(d, e); INSERT INTO t VALUES (1, 'x', 'y')")
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, e TEXT)")
    assert "with it goes the index by_d" in house.plan()["plan"]["operations"][0]["reason"]
    document = house.apply("drop-column")
    assert (document["outcome"], document["blocked"]) == ("migrated", [])
    assert house.ask("SELECT * FROM t") == [(1, "y")]
    assert house.check()["in_sync"]


def test_uniqueness_is_not_lifted_because_of_a_name(house: House) -> None:
    """At the first meeting a unique index of the same name as a plain one of the models is held, not replaced."""
    house.run(f"{T}); CREATE UNIQUE INDEX i ON t(d)")
    house.models(f"{T}); CREATE INDEX i ON t(d);")
    document = house.apply()
    assert (document["outcome"], [one["code"] for one in document["held"]]) == ("held", ["extra-constraint"])
    assert house.apply("extra-constraint")["outcome"] == "migrated"
    assert house.check()["in_sync"]


def test_rows_are_shown_as_json_can_hold_them(house: House) -> None:
    """An infinity is a word, and of a long text the start is shown."""
    house.run(f"{T}, x REAL); INSERT INTO t VALUES (1, '{'y' * 2000}', 9e999)")
    house.models(f"{T} CHECK (length(d) < 9), x REAL CHECK (x < 5))")
    values = [one["rows"][0]["value"] for one in house.apply()["blocked"]]
    assert sorted(map(str, values)) == ["inf", "y" * 500 + "..."]
    json.dumps(values, allow_nan=False)


def test_a_trigger_on_a_view_is_not_lost_with_it(house: House) -> None:
    """What somebody hung on a view that the models drop keeps the view in place, and is named."""
    view = f"{T}); CREATE VIEW v AS SELECT id, d FROM t;"
    house.run(view)
    house.models(view)
    house.apply()
    house.run("CREATE TRIGGER byhand INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.id, new.d); END")
    house.models(f"{T})")
    document = house.apply()
    assert (document["outcome"], kinds(document, "blocked")) == ("blocked", ["drop_view"])
    assert "the trigger byhand would go with the view v" in document["blocked"][0]["reason"]
    assert "byhand" in house.stored("byhand")


def test_a_policy_may_allow_what_a_guard_would_stop(house: House) -> None:
    """`allow` in the configuration is an approval: the key changes although rows are there, and they are kept."""
    house.run("CREATE TABLE t(a INTEGER, b TEXT, PRIMARY KEY (a)); INSERT INTO t VALUES (1, 'x'), (2, 'y')")
    house.models("CREATE TABLE t(a INTEGER, b TEXT, PRIMARY KEY (a, b))")
    assert house.apply()["outcome"] == "held"
    document = house.apply(policy={"change-primary-key": "allow"})
    assert (document["outcome"], document["blocked"]) == ("migrated", [])
    assert house.ask("SELECT a, b FROM t ORDER BY a") == [(1, "x"), (2, "y")]


def test_old_rows_keep_their_default_in_a_table_with_any_name(house: House) -> None:
    """SQLite folds ASCII only, and so does driftd: a capital outside ASCII is another letter."""
    house.run('CREATE TABLE "Ärzte"(id INTEGER PRIMARY KEY); INSERT INTO "Ärzte" VALUES (1)')
    house.run("ALTER TABLE \"Ärzte\" ADD COLUMN b TEXT DEFAULT 'old'")
    house.models("CREATE TABLE \"Ärzte\"(id INTEGER PRIMARY KEY, b TEXT DEFAULT 'new')")
    assert house.apply()["outcome"] == "migrated"
    assert house.ask('SELECT id, b FROM "Ärzte"') == [(1, "old")]


def test_a_plan_keeps_its_id_while_rows_come(house: House) -> None:
    """One more row to fill is told in the reason and is no other plan."""
    house.run(f"{T}); INSERT INTO t VALUES (1, NULL)")
    house.models(f"{T} NOT NULL DEFAULT 'x')")
    first = house.plan()["plan"]
    house.run("INSERT INTO t VALUES (2, NULL)")
    second = house.plan()["plan"]
    assert first["id"] == second["id"]
    assert first["operations"][0]["reason"] != second["operations"][0]["reason"]


def test_a_database_that_appears_meanwhile_is_looked_at_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service makes its database between our look and our transaction: its tables are found, and nothing is blocked."""
    house.models(f"{T})")

    def late(url: str, **more: Any) -> SqliteDatabase:
        database = open_database(url, **more)
        if not house.database.exists():
            with closing(sqlite3.connect(house.database)) as connection:
                connection.executescript(f"{T})")
        return database

    monkeypatch.setattr("driftengine.dialects.chosen.open_database", late)  # the fault: somebody is faster
    document = house.apply()
    assert (document["outcome"], document["blocked"]) == ("up_to_date", [])


def test_what_did_not_come_about_is_not_called_migrated(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that runs without a word and leaves the difference standing blocks its operation; nothing is recorded."""
    house.run(f"{T})")
    house.models(f"{T}, e TEXT)")
    monkeypatch.setattr(SqliteDialect, "script", lambda *_, **__: Script())
    document = house.apply()
    assert (document["outcome"], kinds(document, "blocked")) == ("blocked", ["add_column"])
    assert "still there" in document["blocked"][0]["reason"]
    assert house.backups() == []
