"""Undoing: a migration, or operations of one, taken back by a plan of their own, with later rows kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.errors import HistoryError
from support.migrations import House, kinds

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT, amount INTEGER)"
ROWS = "INSERT INTO task (id, title, amount) VALUES (1, 'a', 10), (2, 'b', NULL), (3, 'c', 30)"


@pytest.fixture(params=["wal", "delete"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> House:
    """A database with three rows, in both journal modes."""
    found = House(tmp_path, request.param)
    found.run(f"{PLAIN}; {ROWS}")
    found.models(PLAIN)
    assert found.apply()["outcome"] == "up_to_date"
    return found


def migrated(house: House, models: str, *approve: str) -> dict[str, Any]:
    """The models move on and the database follows."""
    house.models(models)
    document = house.apply(*approve)
    assert document["outcome"] == "migrated", document
    assert not document["held"], document["held"]
    return document


def rollback(house: House, **how: Any) -> dict[str, Any]:
    """`driftd rollback`."""
    return api.rollback(house.target(), allowed_by="a test", **how)


def shape(house: House) -> set[tuple[str, ...]]:
    """The stored objects, without driftd's own."""
    return set(house.ask("SELECT type, name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'driftd%'"))


def test_an_added_column_goes_again_and_later_rows_stay(house: House) -> None:
    """What lost nothing is undone by its inverse; nothing was written into the column."""
    before = shape(house)
    first = migrated(house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT DEFAULT 'open'"))
    house.run("INSERT INTO task (id, title) VALUES (4, 'later')")
    document = rollback(house)
    assert document["outcome"] == "migrated", document
    assert document["undoes"] == {"migration_id": first["migration_id"], "operations": [1], "left": []}
    assert kinds(document) == ["drop_column"]
    assert shape(house) == before
    assert house.ask("SELECT id, title, amount FROM task ORDER BY id") == [
        (1, "a", 10), (2, "b", None), (3, "c", 30), (4, "later", None),
    ]  # fmt: skip
    assert api.history_verify(house.target())["ok"]


def test_an_index_that_took_a_new_column_in_is_what_it_was(house: House) -> None:
    """The column goes without being asked for: the index that reads it is the migration's own and changes back."""
    house.run("CREATE INDEX found ON task (title)")
    house.models(f"{PLAIN}; CREATE INDEX found ON task (title)")
    assert house.apply()["held"] == []
    before = shape(house)
    wider = PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT DEFAULT 'open'")
    migrated(house, f"{wider}; CREATE INDEX found ON task (title, state)")
    document = rollback(house)
    assert (document["outcome"], document["held"]) == ("migrated", []), document
    assert sorted(kinds(document)) == ["change_index", "drop_column"]
    assert shape(house) == before


def test_what_was_rolled_back_waits_until_it_is_approved(house: House) -> None:
    """The models still want it: the next apply holds it, and makes no backup; an approval does it again."""
    migrated(house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT DEFAULT 'open'"))
    rollback(house)
    backups = house.backups()
    for _ in range(2):
        document = house.apply()
        assert document["outcome"] == "held"
        assert [one["code"] for one in document["held"]] == ["rolled-back"]
    assert house.backups() == backups
    assert house.apply("rolled-back")["outcome"] == "migrated"
    assert house.check()["in_sync"]


def test_values_written_since_are_held_with_their_rows(house: House) -> None:
    """Dropping the column again would lose them: nothing is changed, and the rows are shown."""
    migrated(house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT DEFAULT 'open'"))
    house.run("INSERT INTO task (id, title, state) VALUES (4, 'later', 'done')")
    before = house.everything()
    document = rollback(house)
    assert document["outcome"] == "held"
    assert document["undoes"]["operations"] == []
    (held,) = document["held"]
    assert (held["kind"], held["count"], held["rows"]) == ("drop_column", 1, [{"key": 4, "value": "done"}])
    assert house.everything() == before
    assert rollback(house, approve=[held["operation"]])["outcome"] == "migrated"
    assert house.ask("SELECT count(*) FROM task") == [(4,)]


def test_a_dropped_column_comes_back_with_its_values(house: House) -> None:
    """By key from the migration's own backup; rows written since have none, changed rows keep their changes."""
    before = shape(house)
    migrated(house, PLAIN.replace(", amount INTEGER", ""), "drop-column")
    house.run(
        "INSERT INTO task VALUES (4, 'later'); UPDATE task SET title = 'A' WHERE id = 1; DELETE FROM task WHERE id = 3"
    )
    document = rollback(house)
    assert document["outcome"] == "migrated", document
    assert shape(house) == before
    assert house.ask("SELECT * FROM task ORDER BY id") == [(1, "A", 10), (2, "b", None), (4, "later", None)]
    # The models do not describe it: its drop waits for a person again.
    assert {one["code"] for one in house.apply()["held"]} <= {"drop-column", "rolled-back"}
    assert house.ask("SELECT amount FROM task WHERE id = 1") == [(10,)]


def test_a_dropped_table_comes_back_with_its_rows(house: House) -> None:
    """With its index and its trigger, and the sequence of its ids."""
    extra = (
        "CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, line TEXT); CREATE INDEX ix_log ON log (line); "
        "CREATE TRIGGER tr_log AFTER INSERT ON task BEGIN INSERT INTO log (line) VALUES (new.title); END"
    )
    migrated(house, f"{PLAIN}; {extra}")
    house.run("INSERT INTO task (id, title) VALUES (5, 'x'), (6, 'y'); DELETE FROM log WHERE line = 'y'")
    before, rows = shape(house), house.ask("SELECT * FROM log")
    migrated(house, PLAIN, "drop-table")
    document = rollback(house)
    assert document["outcome"] == "migrated", document
    assert shape(house) == before
    assert house.ask("SELECT * FROM log") == rows == [(1, "x")]
    house.run("INSERT INTO task (id, title) VALUES (7, 'z')")
    assert house.ask("SELECT id FROM log") == [(1,), (3,)]
    held = house.apply()["held"]
    assert {one["kind"] for one in held} >= {"drop_table"}, held


def test_a_converted_column_is_converted_back(house: House) -> None:
    """What the conversion changed is as it was then; what was written since keeps its value."""
    house.run("UPDATE task SET title = '007' WHERE id = 1")
    migrated(house, PLAIN.replace("title TEXT", "title INTEGER"), "convert-column")
    assert house.ask("SELECT title, typeof(title) FROM task WHERE id = 1") == [(7, "integer")]
    house.run("UPDATE task SET title = 8 WHERE id = 2; INSERT INTO task VALUES (4, 9, 0)")
    document = rollback(house)
    assert document["outcome"] == "migrated", document
    assert house.ask("SELECT id, title FROM task ORDER BY id") == [(1, "007"), (2, "8"), (3, "c"), (4, "9")]


def test_one_operation_of_several_is_taken_back(house: House) -> None:
    """The others stay, and a later rollback of the rest finds them."""
    models = f"{PLAIN.replace('amount INTEGER', 'amount INTEGER, state TEXT, note TEXT')}; CREATE INDEX ix_task ON task (title)"
    done = migrated(house, models)
    assert done["operations"] == 3
    document = rollback(house, operations=["2"])
    assert document["undoes"] == {"migration_id": done["migration_id"], "operations": [2], "left": [1, 3]}
    columns = [row[1] for row in house.ask("PRAGMA table_info(task)")]
    assert len(columns) == 4
    assert [one["code"] for one in house.apply()["held"]] == ["rolled-back"]
    rest = rollback(house, migration=done["migration_id"])
    assert rest["undoes"]["operations"] == [1, 3]
    assert {name for _, name, _ in shape(house)} == {"task"}
    with pytest.raises(HistoryError) as caught:
        rollback(house, migration=done["migration_id"])
    assert caught.value.code == "already-rolled-back"


def test_what_needs_an_operation_goes_with_it(house: House) -> None:
    """An index over a column that is taken back goes too, and the answer names both."""
    done = migrated(
        house,
        f"{PLAIN.replace('amount INTEGER', 'amount INTEGER, state TEXT')}; CREATE INDEX ix_state ON task (state)",
    )
    document = rollback(house, operations=["1"])
    assert document["undoes"] == {"migration_id": done["migration_id"], "operations": [1, 2], "left": []}
    assert {name for _, name, _ in shape(house)} == {"task"}


def test_an_earlier_migration_is_taken_back_under_later_ones(house: House) -> None:
    """What the later one did stays."""
    first = migrated(house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT"))
    migrated(
        house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT, note TEXT NOT NULL DEFAULT 'n'")
    )
    house.run("INSERT INTO task (id, title) VALUES (9, 'late')")
    document = rollback(house, migration=first["migration_id"])
    assert document["outcome"] == "migrated", document
    assert [row[1] for row in house.ask("PRAGMA table_info(task)")] == ["id", "title", "amount", "note"]
    assert house.ask("SELECT note FROM task WHERE id = 9") == [("n",)]


def test_what_was_changed_again_since_is_held(house: House) -> None:
    """A default that a later migration has changed once more is not set back without being asked."""
    first = migrated(house, PLAIN.replace("title TEXT", "title TEXT DEFAULT 'one'"))
    migrated(house, PLAIN.replace("title TEXT", "title TEXT DEFAULT 'two'"))
    document = rollback(house, migration=first["migration_id"])
    assert document["outcome"] == "held"
    assert [one["code"] for one in document["held"]] == ["changed-since"]
    assert "'two'" in house.stored("task")


def test_a_rollback_can_itself_be_rolled_back(house: House) -> None:
    """Values that it dropped, by leave of a person, come back from its own backup; nothing is rolled back any more."""
    migrated(house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT"))
    house.run("UPDATE task SET state = 'done' WHERE id = 1")
    back = rollback(house, approve=["drop-column"])
    assert back["outcome"] == "migrated"
    again = rollback(house, migration=back["migration_id"])
    assert again["outcome"] == "migrated", again
    assert house.ask("SELECT id, state FROM task") == [(1, "done"), (2, None), (3, None)]
    assert house.check()["in_sync"]
    assert house.apply()["outcome"] == "up_to_date"


def test_rolling_back_twice_goes_two_migrations_back(house: House) -> None:
    """Without a name the last migration that still stands is meant."""
    first = migrated(house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT"))
    second = migrated(house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT, note TEXT"))
    assert rollback(house)["undoes"]["migration_id"] == second["migration_id"]
    assert rollback(house)["undoes"]["migration_id"] == first["migration_id"]
    with pytest.raises(HistoryError) as caught:
        rollback(house)
    assert caught.value.code == "nothing-to-roll-back"


def test_a_dry_run_changes_nothing(house: House) -> None:
    """It is rehearsed, and told; the database, its history and its backups stay as they are."""
    migrated(house, PLAIN.replace(", amount INTEGER", ""), "drop-column")
    before, backups = house.everything(), house.backups()
    document = rollback(house, dry_run=True)
    assert (document["outcome"], document["dry_run"]) == ("migrated", True)
    assert house.everything() == before
    assert house.backups() == backups
    assert rollback(house)["outcome"] == "migrated"


def test_the_models_are_not_asked(house: House) -> None:
    """A rollback is wanted most when they cannot be loaded."""
    migrated(house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT"))
    house.models("CREATE TABLE this is no SQL")
    assert rollback(house)["outcome"] == "migrated"


def test_without_its_backup_nothing_comes_back_unasked(house: House) -> None:
    """What was dropped is held; approved, the column comes back empty."""
    migrated(house, PLAIN.replace(", amount INTEGER", ""), "drop-column")
    for path in house.folder.glob("backups/*/backup_*"):
        path.unlink()
    document = rollback(house)
    assert [one["code"] for one in document["held"]] == ["backup-gone"]
    assert rollback(house, approve=["backup-gone"])["outcome"] == "migrated"
    assert house.ask("SELECT amount FROM task") == [(None,), (None,), (None,)]


def test_a_column_that_must_have_a_value_waits_for_one(house: House) -> None:
    """Rows written since a NOT NULL column was dropped have none; they are shown, and a backfill gives them one."""
    strict = PLAIN.replace("title TEXT", "title TEXT NOT NULL")
    house.models(strict)
    assert house.apply()["outcome"] == "migrated"
    migrated(house, strict.replace("title TEXT NOT NULL, ", ""), "drop-column")
    house.run("INSERT INTO task (id, amount) VALUES (4, 40)")
    document = rollback(house)
    assert document["outcome"] == "held"
    (held,) = document["held"]
    assert (held["code"], held["count"], held["rows"][0]["key"]) == ("value-needed", 1, 4)
    target = house.target(backfill={"task.title": "'t' || id"})
    assert api.rollback(target, allowed_by="a test")["outcome"] == "migrated"
    assert house.ask("SELECT id, title FROM task ORDER BY id") == [(1, "a"), (2, "b"), (3, "c"), (4, "t4")]


@pytest.mark.parametrize(
    ("operations", "code"), [(["9"], "operation-unknown"), (["x-1"], "operation-unknown")]
)
def test_an_operation_that_was_not_done_is_refused(house: House, operations: list[str], code: str) -> None:
    """With the numbers of those that were."""
    migrated(house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT"))
    with pytest.raises(HistoryError) as caught:
        rollback(house, operations=operations)
    assert caught.value.code == code


def test_a_migration_that_is_not_there_is_refused(house: House) -> None:
    """With the nearest name."""
    done = migrated(house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT"))
    with pytest.raises(HistoryError) as caught:
        rollback(house, migration=done["migration_id"][:-1] + "z")
    assert caught.value.code == "migration-unknown"
    assert done["migration_id"] in str(caught.value.why)


def test_other_connections_stay_open_through_a_rollback(house: House) -> None:
    """A reader of the service sees the state before, then the state after."""
    migrated(house, PLAIN.replace("amount INTEGER", "amount INTEGER, state TEXT"))
    with closing(sqlite3.connect(house.database)) as reader:
        assert reader.execute("SELECT count(*) FROM task").fetchone() == (3,)
        assert rollback(house)["outcome"] == "migrated"
        with pytest.raises(sqlite3.OperationalError):
            reader.execute("SELECT state FROM task")


def test_a_former_key_comes_back_where_every_row_has_its_own(house: House) -> None:
    """Whoever rolls back has said enough; a row since that has no key of its own under it is shown."""
    keyed = "CREATE TABLE tag (k TEXT NOT NULL, r TEXT NOT NULL, v TEXT, PRIMARY KEY (k))"
    migrated(house, f"{PLAIN}; {keyed}")
    house.run("INSERT INTO tag VALUES ('a', 'x', '1'), ('b', 'y', '2')")
    migrated(house, f"{PLAIN}; {keyed.replace('(k)', '(r, k)')}", "change-primary-key")
    house.run("INSERT INTO tag VALUES ('a', 'z', '3')")
    document = rollback(house)
    assert document["outcome"] == "blocked"
    assert document["blocked"][0]["count"] == 1
    house.run("DELETE FROM tag WHERE r = 'z'")
    assert rollback(house)["outcome"] == "migrated"
    assert "PRIMARY KEY (k)" in house.stored("tag")
    assert house.ask("SELECT * FROM tag ORDER BY k") == [("a", "x", "1"), ("b", "y", "2")]
