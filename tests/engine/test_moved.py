"""What was changed by hand is agreed upon, or taken back: `adopt` and `revert`, on real databases."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.changes import BOTH, DATABASE, MODELS
from driftengine.errors import BusyError, PlanError
from support.migrations import House, kinds
from support.stages import session_of

if TYPE_CHECKING:
    from pathlib import Path

V1 = (
    "CREATE TABLE p (id INTEGER PRIMARY KEY);"
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(10), b INT, CHECK (b < 100)); CREATE INDEX i ON t (b);"
)
OTHER = "CREATE TABLE other (id INTEGER PRIMARY KEY);"
BY_HAND = (
    "DROP INDEX i; ALTER TABLE t ADD COLUMN extra INT; UPDATE t SET extra = 5 WHERE id = 1;"
    "CREATE UNIQUE INDEX mine ON t (a);"
)


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """Met in step; then somebody drops an index, makes a column with a value in it, and a unique index."""
    house = House(tmp_path, journal=request.param)
    house.run(f"{V1} INSERT INTO t VALUES (1, 'x', 2), (2, 'y', 3)")
    house.models(V1)
    assert house.apply()["outcome"] == "up_to_date"
    house.run(BY_HAND)
    return house


def adopt(house: House, *words: str, **settings: Any) -> dict[str, Any]:
    return api.adopt(house.target(**settings), words, allowed_by="a test")


def revert(house: House, *words: str, **asked: Any) -> dict[str, Any]:
    return api.revert(house.target(), words, allowed_by="a test", **asked)


def names(document: dict[str, Any], part: str = "differences") -> set[str]:
    return {one["name"] for one in document[part]}


def rows_of_history(house: House) -> list[str]:
    return [kind for (kind,) in house.ask("SELECT kind FROM driftd_history ORDER BY id")]


# --- adopt


def test_adopting_all_of_it(house: House) -> None:
    """One row of the history, nothing else is written, and from then on it is no drift."""
    before = house.everything()
    document = adopt(house)
    assert (document["outcome"], names(document, "adopted")) == ("adopted", {"i", "extra", "mine"})
    assert (document["left"], document["in_sync"], document["entry"]) == ([], True, 2)
    assert (house.everything(), house.backups()) == (before, [])
    assert rows_of_history(house) == ["meeting", "adopt"]
    look = house.check()
    assert (look["in_sync"], look["state"], look["plan"]) == (True, "in_sync", None)
    assert names(look, "accepted") == {"i", "extra", "mine"}
    assert house.apply()["outcome"] == "up_to_date"
    again = adopt(house)
    assert (again["outcome"], again["entry"], names(again, "accepted")) == (
        "up_to_date",
        None,
        {"i", "extra", "mine"},
    )
    verified = api.history_verify(house.target())
    assert (verified["ok"], verified["entries"]) == (True, 2)
    (entry,) = [one for one in api.history(house.target())["migrations"] if one["kind"] == "adopt"]
    assert entry["allowed_by"] == "a test"


@pytest.mark.parametrize("word", ["t.extra", "T.EXTRA"])
def test_adopting_what_a_word_names(house: House, word: str) -> None:
    """A column by its table, in any case of letters; the rest stays held as it was."""
    document = adopt(house, word)
    assert names(document, "adopted") == {"extra"}
    assert (names(document, "left"), document["in_sync"]) == ({"i", "mine"}, False)
    held = house.apply()
    assert sorted(one["code"] for one in held["held"]) == ["changed-in-database", "extra-constraint"]
    told = {d["name"]: d["origin"] for d in house.check()["differences"]}
    assert told == {"i": DATABASE, "mine": DATABASE}


def test_words_name_tables_indexes_and_ids(house: House) -> None:
    """An index by its own name, anything by its id, and a table means all in it."""
    assert names(adopt(house, "mine"), "adopted") == {"mine"}
    held = {one["name"]: one["operation"] for one in house.apply()["held"]}
    assert names(adopt(house, held["i"]), "adopted") == {"i"}
    assert names(adopt(house, "t"), "adopted") == {"extra"}
    assert house.check()["in_sync"]
    assert rows_of_history(house) == ["meeting", "adopt", "adopt", "adopt"]


def test_what_was_agreed_to_stays_so_through_migrations(house: House) -> None:
    """Each row that records base passes it on; a copied table keeps what was accepted in it."""
    adopt(house)
    house.models(V1.replace("b INT", "b INT NOT NULL DEFAULT 0") + OTHER)
    done = house.apply()
    assert (done["outcome"], sorted(kinds(done)), done["held"]) == (
        "migrated",
        ["change_default", "create_table", "set_not_null"],
        [],
    )
    look = house.check()
    assert (look["in_sync"], names(look, "accepted")) == (True, {"i", "extra", "mine"})
    assert house.ask("SELECT extra FROM t ORDER BY id") == [(5,), (None,)]
    assert (house.stored("i"), bool(house.stored("mine"))) == ("", True)
    # Also where the table itself is copied.
    house.models(V1.replace("b INT", "b TEXT NOT NULL DEFAULT '0'").replace("b < 100", "a <> ''") + OTHER)
    assert house.apply()["outcome"] == "migrated"
    assert (house.check()["in_sync"], house.ask("SELECT count(extra) FROM t")) == (True, [(1,)])


def test_the_models_may_move_on_from_there(house: House) -> None:
    """What the models now want otherwise is theirs, and goes forward; what they do not touch stays accepted."""
    adopt(house)
    house.models(V1.replace("ON t (b)", "ON t (b, a)"))
    (told,) = house.check()["differences"]
    assert (told["name"], told["origin"]) == ("i", MODELS)
    done = house.apply()
    assert (done["outcome"], kinds(done)) == ("migrated", ["create_index"])
    assert names(house.check(), "accepted") == {"extra", "mine"}


def test_one_aspect_of_a_column_is_agreed_to_by_itself(tmp_path: Path) -> None:
    """The type by hand is accepted; that the models change the default of the same column leaves it so."""
    house = House(tmp_path)
    house.run(V1)
    house.models(V1)
    house.apply()
    house.run(
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'VARCHAR(10)', 'VARCHAR(99)');"
        "PRAGMA writable_schema = OFF; VACUUM"
    )
    assert names(adopt(house, "t.a"), "adopted") == {"a"}
    house.models(V1.replace("VARCHAR(10)", "VARCHAR(10) DEFAULT 'x'"))
    done = house.apply()
    assert (kinds(done), done["held"]) == (["change_default"], [])
    assert "VARCHAR(99)" in house.stored("t")
    house.models(V1.replace("VARCHAR(10)", "VARCHAR(20) DEFAULT 'x'"))
    assert kinds(house.apply()) == ["change_type"]
    # The agreement has ended: the same hand at work once more is told once more.
    house.models(V1.replace("VARCHAR(10)", "VARCHAR(10) DEFAULT 'x'"))
    assert kinds(house.apply()) == ["change_type"]
    house.run(
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'VARCHAR(10)', 'VARCHAR(99)');"
        "PRAGMA writable_schema = OFF; VACUUM"
    )
    assert [one["code"] for one in house.apply()["held"]] == ["changed-in-database"]


def test_a_database_that_moves_again_is_told_again(house: House) -> None:
    """Agreed was to what stood there then."""
    adopt(house)
    house.run("DROP INDEX mine; CREATE UNIQUE INDEX mine ON t (a, b)")
    (told,) = house.check()["differences"]
    assert (told["name"], told["origin"]) == ("mine", DATABASE)
    house.run("DROP INDEX mine")
    look = house.check()
    assert (look["in_sync"], names(look, "accepted")) == (True, {"i", "extra"})


def test_adopting_a_conflict_settles_it(house: House) -> None:
    """The database's version is base; only when the models move once more is there anything to do."""
    house.models(V1.replace("ON t (b)", "ON t (b, a)"))
    told = {d["name"]: d["origin"] for d in house.check()["differences"]}
    assert told["i"] == BOTH
    assert names(adopt(house, "i"), "adopted") == {"i"}
    assert {one["name"] for one in house.apply()["held"]} == {"extra", "mine"}
    house.models(V1.replace("ON t (b)", "ON t (a, b)"))
    assert kinds(house.apply()) == ["create_index"]


def test_what_the_models_changed_is_no_matter_for_adopt(house: House) -> None:
    """A word that names only that is refused with the way on, and nothing is written; its id says that it is meant."""
    house.models(V1.replace("b INT", "b INT, c INT"))
    with pytest.raises(PlanError) as caught:
        adopt(house, "extra", "t.c")
    assert caught.value.code == "word-unknown"  # a column's name alone is none of an object
    with pytest.raises(PlanError) as caught:
        adopt(house, "t.extra", "t.c")
    assert caught.value.code == "not-by-hand"
    assert "column c" in caught.value.why
    (mine,) = [o for o in house.plan()["plan"]["operations"] if o["name"] == "c"]
    assert mine["id"] in caught.value.fix
    assert rows_of_history(house) == ["meeting"]
    assert names(adopt(house, mine["id"]), "adopted") == {"c"}
    assert "c" not in {d["name"] for d in house.check()["differences"]}


@pytest.mark.parametrize("act", [adopt, revert])
def test_a_word_that_names_nothing(house: House, act: Any) -> None:
    """Refused with the nearest names, and with what became of an id."""
    with pytest.raises(PlanError) as caught:
        act(house, "t.extre")
    assert (caught.value.code, "t.extra" in caught.value.why) == ("word-unknown", True)
    stale = f"{house.plan()['plan']['id']}-99"
    with pytest.raises(PlanError) as caught:
        act(house, stale)
    assert "3 operations" in caught.value.why
    with pytest.raises(PlanError, match="ignores it"):
        api.adopt(house.target(ignore=("t.extra",)), ["t.extra"], allowed_by="a test")
    assert rows_of_history(house) == ["meeting"]


def test_the_first_meeting_may_be_an_adoption(tmp_path: Path) -> None:
    """Whoever begins with a database that has grown by itself agrees to all of it; the models' own goes forward."""
    house = House(tmp_path)
    house.run(f"{V1} ALTER TABLE t ADD COLUMN extra INT; CREATE UNIQUE INDEX mine ON t (a);")
    house.models(V1.replace("b INT", "b INT, c INT"))
    document = adopt(house)
    assert names(document, "adopted") == {"extra", "mine"}
    assert (rows_of_history(house), document["in_sync"]) == (["adopt"], False)
    done = house.apply()
    assert (done["outcome"], kinds(done), done["held"]) == ("migrated", ["add_column"], [])
    assert house.check()["in_sync"]


def test_adopting_forgets_nothing_of_the_rest(house: House) -> None:
    """What waits as the models' removal stays known as theirs, what was changed by hand as done by hand."""
    house.models(V1.replace("CREATE TABLE p (id INTEGER PRIMARY KEY);", ""))
    assert {one["code"] for one in house.apply()["held"]} >= {"drop-table"}
    adopt(house, "mine")
    held = {one["name"]: one["code"] for one in house.apply()["held"]}
    assert held == {"p": "drop-table", "extra": "drop-column", "i": "changed-in-database"}
    assert "no longer describe" in next(one["reason"] for one in house.apply()["held"] if one["name"] == "p")


def test_adopting_waits_for_no_lock_for_ever(house: House) -> None:
    """Somebody keeps the write lock: told, and nothing is written."""
    with closing(sqlite3.connect(house.database, isolation_level=None)) as service:
        service.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError):
            adopt(house, window_timeout=0.1)
        service.execute("ROLLBACK")
    assert rows_of_history(house) == ["meeting"]


def test_an_adoption_ends_no_more_than_it_must(house: House) -> None:
    """A process that stays sees it by itself, and starts a service at once afterwards."""
    with session_of(house) as session:
        assert session.look()["state"] == "held"
        adopt(house)
        looked = session.look()
        assert (looked["state"], len(looked["accepted"]), looked["unrecorded"]) == ("in_sync", 3, False)


# --- revert


def test_reverting_takes_back_what_loses_nothing(house: House) -> None:
    """The index comes back, the unique one goes, in one migration with its backup; the column holds a value, and waits."""
    house.models(V1 + OTHER)
    done = revert(house)
    assert (done["outcome"], sorted(kinds(done))) == ("migrated", ["create_index", "drop_index"])
    (held,) = done["held"]
    assert (held["code"], held["count"], held["rows"][0]["value"]) == ("drop-column", 1, 5)
    assert len(house.backups()) == 1
    assert rows_of_history(house) == ["meeting", "migration"]
    # What the models want besides is another matter.
    assert house.stored("other") == ""
    assert kinds(house.apply()) == ["create_table"]
    back = revert(house, "t.extra", approve=["drop-column"])
    assert (back["outcome"], kinds(back), house.check()["in_sync"]) == ("migrated", ["drop_column"], True)


def test_a_column_without_values_goes_without_asking(house: House) -> None:
    """Nothing would be lost."""
    house.run("UPDATE t SET extra = NULL")
    done = revert(house, "t.extra")
    assert (done["outcome"], kinds(done), done["held"]) == ("migrated", ["drop_column"], [])
    assert names(house.check()) == {"i", "mine"}


def test_a_reversion_is_tried_first(house: House) -> None:
    """A dry run rehearses, and leaves nothing behind."""
    before = house.everything()
    dry = revert(house, dry_run=True)
    assert (dry["outcome"], dry["dry_run"], sorted(kinds(dry))) == (
        "migrated",
        True,
        ["create_index", "drop_index"],
    )
    assert (house.everything(), house.backups(), rows_of_history(house)) == (before, [], ["meeting"])


def test_a_conflict_is_reverted_to_the_models(house: House) -> None:
    """Whoever goes back goes to what the models want now."""
    house.models(V1.replace("ON t (b)", "ON t (b, a)"))
    done = revert(house, "i")
    assert (done["outcome"], kinds(done), done["held"]) == ("migrated", ["create_index"], [])
    assert "(b, a)" in house.stored("i")


def test_what_was_agreed_to_can_still_be_taken_back(house: House) -> None:
    """Named by a word; what else was agreed to stays so."""
    adopt(house)
    assert revert(house)["outcome"] == "up_to_date"
    done = revert(house, "i")
    assert (done["outcome"], kinds(done)) == ("migrated", ["create_index"])
    look = house.check()
    assert (look["in_sync"], names(look, "accepted")) == (True, {"extra", "mine"})


def test_what_no_base_knows_goes_back_only_by_name(tmp_path: Path) -> None:
    """At the first meeting nobody knows who made it: all by hand means none of it."""
    house = House(tmp_path)
    house.run(f"{V1} CREATE UNIQUE INDEX mine ON t (a);")
    house.models(V1)
    assert revert(house)["outcome"] == "up_to_date"
    assert house.stored("mine")
    assert kinds(revert(house, "mine")) == ["drop_index"]


def test_going_back_does_not_judge_rows_less(house: House) -> None:
    """Rows that came since may stand in the way: blocked with them, and nothing is changed."""
    adopt(house)
    house.run(
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, ', CHECK (b < 100)', '');"
        "PRAGMA writable_schema = OFF; VACUUM; INSERT INTO t (id, a, b) VALUES (3, 'z', 500)"
    )
    before = house.everything()
    done = revert(house)
    assert (done["outcome"], done["applied"]) == ("blocked", [])
    (blocked,) = done["blocked"]
    assert (blocked["code"], blocked["rows"]) == ("changed-in-database", [{"key": 3, "value": 500}])
    assert "does not satisfy the CHECK" in blocked["reason"]
    assert house.everything() == before


def test_what_an_operation_needs_goes_back_with_it(tmp_path: Path) -> None:
    """The index over a column that somebody dropped, with the column."""
    house = House(tmp_path)
    house.run(f"{V1} INSERT INTO t VALUES (1, 'x', 2)")
    house.models(V1)
    house.apply()
    house.run("DROP INDEX i; PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql ="
              " replace(sql, ', CHECK (b < 100)', ''); PRAGMA writable_schema = OFF; VACUUM;")  # fmt: skip
    house.run("ALTER TABLE t DROP COLUMN b")
    done = revert(house, "i")
    assert (done["outcome"], kinds(done)) == ("migrated", ["add_column", "create_index"])
    assert [one["code"] for one in house.apply()["held"]] == ["changed-in-database"]


def test_others_that_run_are_not_broken_by_it(house: House) -> None:
    """A service beside may use the column: only who approves it by name has thought of that."""
    house.run("UPDATE t SET extra = NULL")
    done = revert(house, "t.extra", in_use=True)
    assert (done["outcome"], done["held"][0]["code"]) == ("deferred", "in-use")
    assert revert(house, "t.extra", in_use=True, approve=["drop-column"])["outcome"] == "migrated"


def test_a_reversion_can_be_rolled_back(house: House) -> None:
    """It is a migration like any other: what somebody had changed is there again, values too."""
    before = house.everything()
    assert revert(house, approve=["drop-column"])["outcome"] == "migrated"
    assert house.check()["in_sync"]
    assert api.rollback(house.target(), allowed_by="a test")["outcome"] == "migrated"
    assert sorted(house.everything().splitlines()) == sorted(before.splitlines())


@pytest.mark.parametrize("more", ['; CREATE INDEX i ON t ("c d")', None])
def test_what_reads_a_column_that_was_adopted_as_missing_waits(tmp_path: Path, more: str | None) -> None:
    """SQLite would take the name for a string, or the table could not be read any more."""
    house = House(tmp_path)
    models = 'CREATE TABLE t (a INTEGER PRIMARY KEY, "c d" BLOB)'
    house.models(models)
    assert house.apply()["outcome"] == "migrated"
    house.run('ALTER TABLE t RENAME COLUMN "c d" TO x')
    assert api.adopt(house.target(), allowed_by="a test")["outcome"] == "adopted"
    key = models.replace("BLOB", 'BLOB, FOREIGN KEY ("c d") REFERENCES t (a)')
    house.models(f"{models}{more}" if more else key)
    document = house.apply()
    assert document["outcome"] == "held", document
    assert [one["code"] for one in document["held"]] == ["left-out-needed"]


def test_a_column_that_was_renamed_by_hand_is_not_reverted_into_an_empty_one(tmp_path: Path) -> None:
    """Going back would make a column of defaults beside the values: the hint that keeps them is shown."""
    house = House(tmp_path)
    house.models("CREATE TABLE a (id INTEGER PRIMARY KEY, city TEXT NOT NULL DEFAULT 'Ulm')")
    house.apply()
    house.run("INSERT INTO a VALUES (1, 'Rom'); ALTER TABLE a RENAME COLUMN city TO town")
    document = api.revert(house.target(), allowed_by="a test")
    assert document["outcome"] == "held"
    assert any("--rename a.city=town" in one["reason"] for one in document["held"])
    assert house.ask("SELECT * FROM a") == [(1, "Rom")]
    hinted = house.target(renames={"a.city": "town"})
    assert api.revert(hinted, allowed_by="a test")["outcome"] == "migrated"
    assert house.ask("SELECT id, city FROM a") == [(1, "Rom")]
