"""Others run on the schema while a service starts: what their code would not survive waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from settled import settle
from support.migrations import House, kinds
from support.stages import reasons, session_of, staged
from support.windows import slow_to_stage, window

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INT);"
# A column that is survived, NOT NULL that is not, and an index that needs a column which is not.
AFTER = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, n INT, b TEXT, c INT NOT NULL);"
    "CREATE INDEX i ON t (c); CREATE TABLE u (id INT);"
)
ALONE = BEFORE.replace("a TEXT", "a TEXT NOT NULL")


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    house = House(tmp_path, journal=request.param)
    house.run(BEFORE + "INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2);")
    house.models(AFTER)
    house.settings["backfill"] = {"t.c": "n"}
    settle(house.folder)  # a rest must not be doubted because the files are so young
    return house


def without_c(house: House, models: str) -> None:
    """Other models, in which no column needs a value."""
    house.models(models)
    house.settings.clear()


def codes(done: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["code"] for one in done["held"]}


def test_what_is_survived_goes_ahead(house: House) -> None:
    """The rest is listed as held, with a code of its own; what needs that waits for it and says so."""
    with session_of(house) as session:
        staged(session)
        done = session.start(window(in_use=True), allowed_by="a test")
        assert (done["outcome"], done["stage"], done["error"]) == ("migrated", "new", None)
        assert sorted(kinds(done)) == ["add_column", "create_table"]
        assert {one["strategy"] for one in done["applied"]} == {"native"}  # what waits would copy the table
        assert codes(done) == {"a": "in-use", "c": "in-use", "i": "create-index"}
        (index,) = [one for one in done["held"] if one["name"] == "i"]
        assert "needs add_column c" in index["reason"]
        assert "NOT NULL" not in house.stored("t")
        done = session.start(window(name="w2"), allowed_by="a test")
    assert (done["outcome"], done["held"]) == ("migrated", [])
    assert house.check()["in_sync"]
    assert house.ask("SELECT c FROM t ORDER BY id") == [(1,), (2,)]


def test_when_nothing_else_is_left_it_is_put_off_and_the_stage_stays(house: House) -> None:
    """Deferred with `in-use`: the exact stage serves the start at which nobody else runs."""
    without_c(house, ALONE)
    before = house.everything()
    with session_of(house) as session:
        backup = staged(session)["stage"]["backup"]["id"]
        done = session.start(window(in_use=True), allowed_by="a test")
        assert (done["outcome"], done["error"]["code"]) == ("deferred", "in-use")
        assert (codes(done), done["applied"]) == ({"a": "in-use"}, [])
        assert house.everything() == before
        done = session.start(window(name="w2"), allowed_by="a test")
    assert (done["outcome"], done["backup"]["id"]) == ("migrated", backup)
    assert reasons(house) == [(backup, "migration")]


def test_a_stage_of_what_is_survived_is_used(house: House) -> None:
    """Nothing in it has to wait: exact is exact, whoever runs."""
    without_c(house, BEFORE.replace("n INT", "n INT, b TEXT"))
    with session_of(house) as session:
        staged(session)
        assert session.start(window(in_use=True), allowed_by="a test")["stage"] == "exact"


def test_a_usable_stage_of_what_is_survived_is_used(house: House) -> None:
    """Others write all the time, and staging takes too long: what was staged serves, for it needs nobody to stop."""
    without_c(house, BEFORE.replace("n INT", "n INT, b TEXT"))
    with session_of(house) as session:
        staged(session)
        slow_to_stage(session)
        house.run("INSERT INTO t VALUES (3, 'z', 3)")
        assert session.start(window(in_use=True), allowed_by="a test")["stage"] == "usable"


def test_what_a_person_asks_for_now_is_applied_all_the_same(house: House) -> None:
    """By an approval of that call: whoever gives it sees who runs. One that was given before does not tell of that."""
    without_c(house, ALONE)
    with session_of(house) as session:
        session.look()
        plan = session.look()["plan"]
        session.approve([plan["operations"][0]["id"]], by="a person")
        done = session.start(window(in_use=True), allowed_by="a test")
    assert (done["outcome"], done["error"]["code"]) == ("deferred", "in-use")
    done = api.apply(house.target(), in_use=True)
    assert (done["outcome"], set(codes(done).values())) == ("deferred", {"in-use"})
    done = api.apply(house.target(), approve=(done["held"][0]["operation"],), in_use=True)
    assert (done["outcome"], done["held"]) == ("migrated", [])


def test_rows_in_the_way_are_told_of_what_goes_ahead_only(house: House) -> None:
    """No guard is asked for what waits anyway; held by a person's rule stays held by that."""
    house.run("INSERT INTO t VALUES (3, NULL, 3)")
    without_c(house, BEFORE.replace("a TEXT", "a TEXT NOT NULL").replace(", n INT", ""))
    with session_of(house) as session:
        done = session.start(window(in_use=True), allowed_by="a test")
    assert done["blocked"] == []
    assert codes(done)["n"] == "drop-column"


def test_a_session_applies_in_use_too(house: House) -> None:
    """Mode dev: the same rule outside of a window, and none of it unless it is asked for."""
    with session_of(house) as session:
        done = session.apply(allowed_by="a test", in_use=True)
        assert codes(done) == {"a": "in-use", "c": "in-use", "i": "create-index"}
        assert "stage" not in done
        assert session.apply(allowed_by="a test")["held"] == []
