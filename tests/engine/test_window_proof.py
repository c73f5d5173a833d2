"""The proof before COMMIT, broken on purpose: whatever else a statement does to the live database, nothing of it lasts."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from driftengine.changes import Script, Step
from driftengine.dialects.sqlite.database import LiveTransaction, open_database
from driftengine.dialects.sqlite.introspect import read_catalogue
from driftengine.dialects.sqlite.transaction import StepError
from driftengine.errors import DriftError, ProofError
from support.migrations import House

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BEFORE = """
CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT);
CREATE TABLE other (id INTEGER PRIMARY KEY, a TEXT);
CREATE VIEW v AS SELECT a FROM t;
CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO other (a) VALUES (new.a); END;
INSERT INTO t (a) VALUES ('x'), ('y');
"""


@pytest.fixture(params=["wal", "delete"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    house = House(tmp_path, journal=request.param)
    house.run(BEFORE)
    house.models(BEFORE.partition("INSERT INTO t (a)")[0])
    house.apply()
    return house


def carried_out(house: House, statements: Iterable[str], *objects: str) -> None:
    """What apply does between BEGIN and COMMIT, with these statements; the rehearsal is said to have left all as it was."""
    steps = tuple(Step(sql, (1,), frozenset(objects)) for sql in statements)
    with (
        closing(open_database(f"sqlite:///{house.database}")) as database,
        database.transaction(deadline_at=None, lock_wait=1.0, values={}) as transaction,
    ):
        expected = read_catalogue(transaction.writer().connection)
        transaction.run(Script(steps, frozenset(objects)))
        transaction.prove(expected)
        transaction.commit()


def refused(house: House, statements: Iterable[str], *objects: str) -> DriftError:
    """The error; afterwards the database is as it was."""
    before, settings = house.everything(), house.ask("PRAGMA user_version")
    with pytest.raises((ProofError, StepError)) as caught:
        carried_out(house, statements, *objects)
    assert (house.everything(), house.ask("PRAGMA user_version")) == (before, settings)
    house.run("INSERT INTO other (a) VALUES ('the lock is free')")
    return caught.value


def test_an_honest_script_lasts(house: House) -> None:
    """What touches only what it names, and leaves the schema that was expected, is committed."""
    carried_out(house, ["UPDATE t SET a = 'z' WHERE id = 1"], "t")
    assert house.ask("SELECT a FROM t ORDER BY id") == [("z",), ("y",)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE new (a)",
        "ALTER TABLE t ADD COLUMN n",
        "DROP VIEW v",
        "ALTER TABLE t RENAME COLUMN a TO aa",
    ],
)
def test_another_schema_than_the_rehearsal_left_is_not_committed(house: House, statement: str) -> None:
    """One object more, less or otherwise than expected: the migration ends, and names it."""
    error = refused(house, [statement], "t", "v", "g", "new")
    assert error.code == "proof-schema"
    assert any(name in error.why for name in ("table t", "view v", "table new"))


@pytest.mark.parametrize(
    ("statement", "setting"),
    [
        ("PRAGMA user_version = 9", "user_version"),
        ("PRAGMA application_id = 9", "application_id"),
        ("PRAGMA legacy_alter_table = ON", "legacy_alter_table"),
        ("PRAGMA ignore_check_constraints = ON", "ignore_check_constraints"),
    ],
)
def test_a_setting_that_moved_is_not_committed(house: House, statement: str, setting: str) -> None:
    """What stands in the file's header, and what the connection was told, is as it was."""
    error = refused(house, [statement], "t")
    assert (error.code, error.why) == ("proof-settings", setting)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE other SET a = 'z'", "it would touch other"),
        ("DELETE FROM other", "it would touch other"),
        ("DROP TABLE other", "it would touch other"),
        ("INSERT INTO t (a) VALUES ('z')", "it would touch other"),
        ("DROP VIEW v", "it would touch v"),
        ("CREATE INDEX i ON other (a)", "it would touch i"),
        ("ATTACH ':memory:' AS elsewhere", "it would touch :memory:"),
    ],
)
def test_a_statement_may_touch_what_it_names_and_nothing_else(
    house: House, statement: str, told: str
) -> None:
    """The authorizer refuses it before a row is written, also what a trigger would write on its behalf."""
    error = refused(house, [statement], "t")
    assert error.code == "statement-failed"
    assert told in error.why


def test_a_trigger_writes_only_where_it_is_named(house: House) -> None:
    """Where the trigger and its table are named, what it writes into another table is refused all the same."""
    assert "it would touch other" in refused(house, ["INSERT INTO t (a) VALUES ('z')"], "t", "g").why


@pytest.mark.parametrize(
    "extra", ["UPDATE t SET a = a WHERE id = 1", "DELETE FROM other", "INSERT INTO other (a) VALUES (1)"]
)
def test_a_row_more_than_in_the_rehearsal_is_not_committed(
    house: House, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    """Whoever writes beside the script inside the transaction: the number of rows written tells."""
    house.run("INSERT INTO other (id, a) VALUES (50, 'kept')")
    real = LiveTransaction.run

    def run(self: LiveTransaction, script: Script, **given: Any) -> int:
        connection = self.writer().connection
        before = connection.total_changes
        real(self, script, **given)
        connection.execute(extra)
        return connection.total_changes - before

    monkeypatch.setattr(LiveTransaction, "run", run)
    before = house.everything()
    house.models(
        BEFORE.partition("INSERT INTO t (a)")[0].replace(
            "id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT",
            "id INTEGER PRIMARY KEY AUTOINCREMENT, a VARCHAR(9) NOT NULL, n INT",
        )
    )
    with pytest.raises(ProofError) as caught:
        house.apply()
    assert caught.value.code == "proof-rows"
    assert (house.everything(), house.backups()) == (before, [])
    monkeypatch.undo()
    assert house.apply()["outcome"] == "migrated"
