"""Rollbacks that somebody makes hard: what comes of each is either the state before, or a refusal that says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from driftengine import api
from driftengine.errors import HistoryError
from support.migrations import House, kinds
from support.rolling_back import (
    ROWS,
    WITH_X,
    WITHOUT_N,
    T,
    back,
    begun,
    codes,
    migrated,
    names,
    undone,
    whole,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["wal", "delete"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> House:
    """An empty house in both journal modes."""
    return House(tmp_path, request.param)


# --- a rollback of a rollback


def test_values_that_a_rollback_brought_back_are_shown_before_they_go(house: House) -> None:
    """Taking the rollback of a drop back would lose them: they are held as what the column holds, by key and value."""
    begun(house)
    migrated(house, WITHOUT_N)
    first = whole(house)
    document = back(house, migration=first["migration_id"])
    assert codes(document) == [("drop_column", "drop-column")]
    (held,) = document["held"]
    assert (held["count"], held["rows"]) == (2, [{"key": 1, "value": 10}, {"key": 3, "value": 30}])
    assert "written" not in held["reason"]


@pytest.mark.parametrize(
    ("models", "fill"),
    [("n INTEGER NOT NULL DEFAULT 7", {}), ("n INTEGER NOT NULL", {"t.n": "id * 100"})],
)
def test_a_filled_null_is_null_again_however_often_it_is_taken_back(
    house: House, models: str, fill: dict[str, str]
) -> None:
    """The rollback of a rollback fills as the migration had; taken back itself, NULL stands there again."""
    begun(house)
    migrated(house, T.replace("n INTEGER", models), backfill=fill)
    filled = house.ask("SELECT n FROM t")
    last = whole(house)
    for turn in range(4):
        assert house.ask("SELECT n FROM t WHERE id = 2") == ([(None,)] if turn % 2 == 0 else filled[1:2])
        last = whole(house, migration=last["migration_id"])
    assert house.ask("SELECT n FROM t") == [(10,), (None,), (30,)]
    assert api.history_verify(house.target())["ok"]


def test_part_of_a_rollback_is_taken_back(house: House) -> None:
    """The history tells which operations stand again, and only these; what is rolled back still waits."""
    begun(
        house, "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (id INTEGER PRIMARY KEY)", "SELECT 1"
    )
    done = migrated(
        house,
        "CREATE TABLE a (id INTEGER PRIMARY KEY, x TEXT); CREATE TABLE b (id INTEGER PRIMARY KEY, x TEXT)",
    )
    first = whole(house)
    assert back(house, migration=first["migration_id"], operations=["1"])["undoes"]["left"] == [2]
    assert undone(house) == [[2], [1], []]
    document = house.apply()
    assert (document["outcome"], document["applied"], codes(document)) == (
        "held",
        [],
        [("add_column", "rolled-back")],
    )
    assert document["held"][0]["table"] == "b"
    assert back(house, migration=done)["undoes"]["operations"] == [1]
    assert undone(house)[0] == [1, 2]


# --- what comes back


def test_the_highest_id_that_was_given_comes_back_with_autoincrement(house: House) -> None:
    """An id that was given once is not given again."""
    ddl = T.replace("PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT")
    begun(house, ddl, f"{ROWS}; INSERT INTO t VALUES (90, 'z', 1); DELETE FROM t WHERE id = 90")
    migrated(house, T)
    house.run("INSERT INTO t (a) VALUES ('later')")
    whole(house)
    house.run("INSERT INTO t (a) VALUES ('last')")
    assert house.ask("SELECT id FROM t ORDER BY id") == [(1,), (2,), (3,), (4,), (91,)]


def test_a_table_that_has_become_empty_keeps_its_highest_id(house: House) -> None:
    """Where no row is copied, the sequence comes from the backup all the same."""
    begun(house, T.replace("PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT"))
    migrated(house, T)
    house.run("DELETE FROM t")
    whole(house)
    house.run("INSERT INTO t (a) VALUES ('last')")
    assert house.ask("SELECT id FROM t") == [(4,)]


def test_a_foreign_key_comes_back_together_with_its_parent(house: House) -> None:
    """Its rows are judged by the parent's rows in the backup, not by a parent that is not there yet."""
    child = "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER NOT NULL)"
    ddl = f"CREATE TABLE p (id INTEGER PRIMARY KEY, v TEXT); {child[:-1]} REFERENCES p ON DELETE CASCADE)"
    begun(house, ddl, "INSERT INTO p VALUES (1, 'x'); INSERT INTO c VALUES (5, 1)")
    migrated(house, child)
    whole(house)
    assert house.ask("SELECT * FROM p") == [(1, "x")]
    house.run("DELETE FROM p")
    assert house.ask("SELECT * FROM c") == []


def test_an_orphan_since_keeps_the_foreign_key_away_and_the_parent_comes(house: House) -> None:
    """A row that points at no row of the backup is shown."""
    child = "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER NOT NULL)"
    ddl = f"CREATE TABLE p (id INTEGER PRIMARY KEY, v TEXT); {child[:-1]} REFERENCES p)"
    begun(house, ddl, "INSERT INTO p VALUES (1, 'x'); INSERT INTO c VALUES (5, 1)")
    migrated(house, child)
    house.run("INSERT INTO c VALUES (6, 99)")
    document = back(house)
    assert kinds(document) == ["create_table"]
    assert [one["rows"] for one in document["blocked"]] == [[{"key": 6, "value": 99}]]


def test_a_virtual_table_does_not_come_back_empty_unasked(house: House) -> None:
    """Its rows are its module's affair: held, and the count is told."""
    ddl = "CREATE TABLE o (a); CREATE VIRTUAL TABLE f USING fts5 (x)"
    begun(house, ddl, "INSERT INTO f VALUES ('hello'), ('world')")
    migrated(house, "CREATE TABLE o (a)")
    document = back(house)
    assert codes(document) == [("create_virtual_table", "comes-back-empty")]
    assert document["held"][0]["count"] == 2
    whole(house, "comes-back-empty")
    assert house.ask("SELECT count(*) FROM f") == [(0,)]


def test_an_empty_virtual_table_comes_back(house: House) -> None:
    """Nothing of it is lost."""
    begun(house, "CREATE TABLE o (a); CREATE VIRTUAL TABLE f USING fts5 (x)", "SELECT 1")
    migrated(house, "CREATE TABLE o (a)")
    whole(house)
    assert "f" in names(house)


def test_without_its_backup_a_filled_column_is_not_silently_left_filled(house: House) -> None:
    """That NULL may stand there again is not that it does: held, until a person approves."""
    begun(house)
    migrated(house, T.replace("n INTEGER", "n INTEGER NOT NULL"), backfill={"t.n": "5"})
    for path in house.folder.glob("backups/*/backup_*"):
        path.unlink()
    document = back(house)
    assert (document["outcome"], codes(document)) == ("held", [("drop_not_null", "backup-gone")])
    whole(house, "backup-gone")
    assert house.ask("SELECT n FROM t") == [(10,), (5,), (30,)]


# --- later migrations


def test_what_was_made_anew_since_is_told_and_not_claimed(house: House) -> None:
    """Another column of that name is no undoing of its drop; behind the later migration's rollback the values come."""
    begun(house)
    first = migrated(house, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, m BLOB)")
    migrated(house, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, m BLOB, n INTEGER)")
    document = back(house, migration=first)
    assert kinds(document) == ["drop_column"]
    assert len(document["undoes"]["left"]) == 1
    assert [one for one in document["warnings"] if "t.n is there again" in one]
    whole(house)
    assert len(back(house, migration=first)["undoes"]["operations"]) == 1
    assert house.ask("SELECT id, a, n FROM t") == [(1, "a", 10), (2, "b", None), (3, "c", 30)]


def test_what_its_table_took_away_is_not_claimed(house: House) -> None:
    """A column of a table that is gone comes back when the table has."""
    begun(house, f"{T}; CREATE TABLE o (a)")
    first = migrated(house, f"{WITHOUT_N}; CREATE TABLE o (a, b)")
    second = migrated(house, "CREATE TABLE o (a, b)")
    document = back(house, migration=first)
    assert (kinds(document), len(document["undoes"]["left"])) == (["drop_column"], 1)
    whole(house, migration=second)
    assert len(back(house, migration=first)["undoes"]["operations"]) == 1
    assert house.ask("SELECT n FROM t") == [(10,), (None,), (30,)]


def test_what_somebody_has_removed_since_is_told(house: House) -> None:
    """Nothing is done, and a sentence says why."""
    begun(house)
    migrated(house, WITH_X)
    house.run("ALTER TABLE t DROP COLUMN x")
    document = back(house)
    assert (document["outcome"], document["undoes"]["operations"]) == ("up_to_date", [])
    assert [one for one in document["warnings"] if "t.x is not there any more" in one]


def test_an_index_made_since_goes_only_with_leave(house: House) -> None:
    """It would go with the column: held, and named; approved, both go, and a rollback of that brings both back."""
    begun(house)
    migrated(house, WITH_X)
    house.run("CREATE INDEX by_hand ON t (x)")
    document = back(house)
    assert codes(document) == [("drop_column", "changed-since")]
    assert "by_hand" in document["held"][0]["reason"]
    assert "by_hand" in names(house)
    done = whole(house, "changed-since")
    assert names(house) == {"t"}
    whole(house, migration=done["migration_id"])
    assert names(house) == {"t", "by_hand"}


def test_an_index_made_since_stays_when_its_column_does(house: House) -> None:
    """A view made since keeps the column, also against leave: then nothing else goes."""
    begun(house)
    first = migrated(house, WITH_X)
    migrated(house, f"{WITH_X}; CREATE INDEX ix ON t (x); CREATE VIEW v AS SELECT x FROM t")
    before = house.everything()
    document = back(house, migration=first, approve=["changed-since"])
    assert (document["outcome"], document["applied"]) == ("blocked", [])
    assert "v would no longer work" in document["blocked"][0]["reason"]
    assert house.everything() == before


def test_a_table_to_which_a_later_one_refers_stays(house: House) -> None:
    """Without it no row could be written to the other one; there is nothing to approve."""
    begun(house)
    first = migrated(house, f"{T}; CREATE TABLE p (id INTEGER PRIMARY KEY)")
    migrated(
        house,
        f"{T}; CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p INTEGER REFERENCES p)",
    )
    for approve in ([], ["no-parent-key"]):
        document = back(house, migration=first, approve=approve)
        assert (document["outcome"], codes(document)) == ("held", [("drop_table", "no-parent-key")])
    house.run("INSERT INTO p VALUES (1); INSERT INTO c VALUES (1)")
    assert names(house) == {"t", "p", "c"}


# --- renames


def test_table_and_column_get_their_names_back_under_a_later_migration(house: House) -> None:
    """As renames: no column is made anew beside the renamed one."""
    begun(house, WITH_X, "INSERT INTO t VALUES (1, 'a', 10, 'v')")
    second = migrated(
        house,
        "CREATE TABLE u (id INTEGER PRIMARY KEY, a TEXT, n INTEGER, y TEXT)",
        renames={"u": "t", "u.y": "x"},
    )
    migrated(house, "CREATE TABLE u (id INTEGER PRIMARY KEY, a TEXT, y TEXT)")
    document = whole(house, migration=second)
    assert kinds(document) == ["rename_table", "rename_column"]
    assert house.ask("SELECT id, a, x FROM t") == [(1, "a", "v")]


def test_names_that_others_have_now_are_no_riddle(house: House) -> None:
    """The way back leads over the later migration, and the refusal says so."""
    begun(house)
    first = migrated(house, WITHOUT_N)
    migrated(house, "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT)", renames={"t.n": "a"})
    with pytest.raises(HistoryError, match="cannot be rolled back from the schema as it is now") as caught:
        back(house, migration=first)
    assert caught.value.code == "undo-unknown"
    assert "later migrations" in caught.value.fix


def test_an_exchange_of_names_is_taken_back_and_stays_so(house: House) -> None:
    """The history knows that it was done: nothing is asked, and the next apply holds both instead of converting them."""
    begun(house)
    hints = {"t.n": "a", "t.a": "n"}
    migrated(house, "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT, a INTEGER)", renames=hints)
    done = whole(house)
    before = house.everything()
    document = house.apply(renames=hints)
    assert (document["outcome"], document["applied"]) == ("held", [])
    assert house.everything() == before
    whole(house, migration=done["migration_id"])
    assert house.ask("SELECT id, n, a FROM t") == [(1, "a", 10), (2, "b", None), (3, "c", 30)]
    assert house.check(renames=hints)["in_sync"]


@pytest.mark.parametrize(
    ("models", "renames"),
    [
        ("CREATE TABLE u (id INTEGER PRIMARY KEY, a TEXT, n INTEGER)", {"u": "t"}),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, y INTEGER)", {"t.y": "n"}),
    ],
)
def test_a_rename_that_was_rolled_back_is_not_made_anew_without_its_hint(
    house: House, models: str, renames: dict[str, str]
) -> None:
    """A flag is given once: a start without it must not find an empty table, or column, under the new name."""
    begun(house)
    migrated(house, models, renames=renames)
    whole(house)
    document = house.apply()
    assert (document["outcome"], document["applied"]) == ("held", [])
    assert "rolled-back" in {code for _, code in codes(document)}
    assert house.ask("SELECT n FROM t") == [(10,), (None,), (30,)]


# --- what is rolled back stays rolled back


def test_two_migrations_of_one_column_are_both_rolled_back(house: House) -> None:
    """The models want the column as the second had made it, which is what neither of the two had added."""
    begun(house)
    migrated(house, WITH_X)
    migrated(house, WITH_X.replace("x TEXT", "x TEXT DEFAULT 'new'"))
    whole(house)
    last = whole(house)
    document = house.apply()
    assert (document["outcome"], document["applied"]) == ("held", [])
    assert codes(document) == [("add_column", "rolled-back")]
    whole(house, migration=last["migration_id"])
    assert codes(house.apply()) == [("change_default", "rolled-back")]
    assert house.apply("rolled-back")["outcome"] == "migrated"
    assert house.check()["in_sync"]


def test_an_earlier_migration_of_a_column_is_rolled_back_alone(house: House) -> None:
    """What a later one had made of it goes too, by leave of a person: it is not added again in that form."""
    begun(house)
    first = migrated(house, WITH_X)
    migrated(house, WITH_X.replace("x TEXT", "x TEXT DEFAULT 'new'"))
    whole(house, "changed-since", migration=first)
    document = house.apply()
    assert (document["outcome"], codes(document)) == ("held", [("add_column", "rolled-back")])


def test_two_restores_roll_two_migrations_of_one_column_back(house: House) -> None:
    """A restore leaves no row behind that could tell: the journal does."""
    begun(house)
    migrated(house, WITH_X)
    migrated(house, WITH_X.replace("x TEXT", "x TEXT DEFAULT 'new'"))
    for _ in range(2):
        api.rollback_to_backup(house.target(), allowed_by="a test")
    document = house.apply()
    assert (document["outcome"], codes(document)) == ("held", [("add_column", "rolled-back")])


def test_a_table_that_grew_is_rolled_back(house: House) -> None:
    """A table that one migration had made and the next one had changed is not made anew."""
    begun(house)
    migrated(house, f"{T}; CREATE TABLE p (id INTEGER PRIMARY KEY)")
    migrated(house, f"{T}; CREATE TABLE p (id INTEGER PRIMARY KEY, q TEXT); CREATE INDEX iq ON p (q)")
    whole(house)
    whole(house)
    document = house.apply()
    assert (document["outcome"], document["applied"]) == ("held", [])
    assert names(house) == {"t"}
