"""What was rolled back does not come back by itself at the next start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from driftengine import api
from support.identical import assert_identical, image

if TYPE_CHECKING:
    from support.hard_cases import Rig

BEFORE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, "order" INT);'
AFTER = 'CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT CHECK (a <> \'\'), "order" INT, z INT DEFAULT 3); CREATE INDEX i ON t("order");'
ROWS = "INSERT INTO t VALUES (1, 'x', 5), (2, 'y', NULL);"


def migrated_and_back(rig: Rig) -> None:
    """One migration, a row since, and a rollback of it."""
    rig.met(BEFORE, ROWS)
    rig.models(AFTER)
    assert rig.apply()["outcome"] == "migrated"
    rig.service("INSERT INTO t(id, a) VALUES (9, 'since')")
    done = api.rollback(rig.target(), allowed_by="a test")
    assert (done["outcome"], done["held"], done["blocked"]) == ("migrated", [], [])


def test_it_is_held_at_each_start(rig: Rig) -> None:
    """The models still want it: held by its code, with no backup and nothing written, however often the service starts."""
    migrated_and_back(rig)
    assert rig.service("SELECT id, a FROM t") == [(1, "x"), (2, "y"), (9, "since")]
    before, backups = image(rig.database), rig.backups()
    for _ in range(3):
        document = rig.apply()
        assert (document["outcome"], document["applied"], document["backup"]) == ("held", [], None)
        assert {one["code"] for one in document["held"]} == {"rolled-back"}
        assert {one["kind"] for one in document["held"]} == {"add_check", "add_column", "create_index"}
    assert rig.backups() == backups
    assert_identical(before, image(rig.database))
    assert not rig.check()["in_sync"]


def test_it_is_still_held_when_the_database_was_restored(rig: Rig) -> None:
    """The journal beside the backups remembers it, also where the history in the database is that of before."""
    rig.met(BEFORE, ROWS)
    old = api.backup_create(rig.target())["backup"]["id"]
    rig.models(AFTER)
    assert rig.apply()["outcome"] == "migrated"
    assert api.rollback(rig.target(), allowed_by="a test")["outcome"] == "migrated"
    api.backup_restore(rig.target(), old)
    document = rig.apply()
    assert (document["outcome"], document["applied"]) == ("held", [])
    assert {one["code"] for one in document["held"]} == {"rolled-back"}


@pytest.mark.parametrize("word", ["rolled-back", "id"])
def test_a_person_may_have_it_again(rig: Rig, word: str) -> None:
    """By code all of it, by id the one operation that is named."""
    migrated_and_back(rig)
    plan = rig.plan()["plan"]
    one = next(one for one in plan["operations"] if one["kind"] == "add_column")
    document = rig.apply("rolled-back" if word == "rolled-back" else one["id"])
    kinds = sorted(one["kind"] for one in document["applied"])
    assert kinds == (["add_check", "add_column", "create_index"] if word == "rolled-back" else ["add_column"])
    assert rig.service("SELECT z FROM t WHERE id = 9") == [(3,)]


def test_models_that_move_on_ask_again(rig: Rig) -> None:
    """What they want otherwise now goes ahead; what they want as before stays held."""
    migrated_and_back(rig)
    rig.models(AFTER.replace("DEFAULT 3", "DEFAULT 4"))
    document = rig.apply()
    assert [(one["kind"], one["name"]) for one in document["applied"]] == [("add_column", "z")]
    assert {one["kind"] for one in document["held"]} == {"add_check", "create_index"}


def test_models_that_give_it_up_are_in_step(rig: Rig) -> None:
    """Nothing is held any more, and it may be wanted anew later."""
    migrated_and_back(rig)
    rig.models(BEFORE)
    assert rig.check()["in_sync"]
    assert rig.apply()["outcome"] == "up_to_date"
