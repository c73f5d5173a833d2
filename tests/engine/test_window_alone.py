"""A start without a daemon: the same engine, by one call in a process that ends; also when one dies in it."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from driftengine import api
from settled import settle
from support.migrations import House
from support.stages import session_of
from support.windows import window

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT);"
AFTER = BEFORE.replace("a TEXT", "a TEXT, b TEXT") + "CREATE INDEX i ON t (a);"


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    house = House(tmp_path, journal=request.param)
    house.run(BEFORE + "INSERT INTO t VALUES (1, 'x'), (2, 'y');")
    house.models(AFTER)
    settle(house.folder)  # models that are so young are not remembered
    return house


def test_it_migrates_and_then_remembers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrated; looked at once more; from then on nothing is compared while nothing moves."""
    memory = house.folder / "memory"
    done = api.start(house.target(), window(), memory=memory, allowed_by="a test")
    assert (done["outcome"], done["stage"], done["operations"]) == ("migrated", "new", 2)
    assert api.start(house.target(), window(name="w2"), memory=memory)["outcome"] == "up_to_date"
    with monkeypatch.context() as patch:
        patch.setattr("driftengine.starting.start", lambda *_: pytest.fail("it was compared again"))
        assert api.start(house.target(), window(name="w3"), memory=memory)["outcome"] == "up_to_date"
        house.run("INSERT INTO t VALUES (3, 'z', NULL)")
        assert api.start(house.target(), window(name="w4"), memory=memory)["outcome"] == "up_to_date"
    house.run("DROP INDEX i")
    done = api.start(house.target(), window(name="w5"), memory=memory)
    assert (done["outcome"], done["held"][0]["code"]) == ("held", "changed-in-database")


def test_what_a_check_remembered_does_not_hide_the_first_meeting(house: House) -> None:
    """In sync, remembered by `driftd check`, never met: the start writes base down."""
    memory = house.folder / "memory"
    house.models(BEFORE)
    assert api.check(house.target(), memory=memory)["in_sync"]
    assert api.start(house.target(), window(), memory=memory)["outcome"] == "up_to_date"
    assert [one["kind"] for one in api.history(house.target())["migrations"]] == ["meeting"]


def test_a_first_start_makes_the_database(tmp_path: Path) -> None:
    """The folder too; there was nothing to back up."""
    house = House(tmp_path, settings={})
    house.models(AFTER)
    target = api.Target(
        "app", f"sqlite:///{tmp_path}/new/app.db", house.target().models, house.target().backup
    )
    done = api.start(target, window(), allowed_by="a test")
    assert (done["outcome"], done["backup"], done["stage"]) == ("migrated", None, "new")
    assert (tmp_path / "new" / "app.db").exists()
    assert api.start(target, window(name="w2"))["outcome"] == "up_to_date"


def test_the_window_that_migrated_is_answered_so_again(house: House) -> None:
    """Whoever migrated died behind COMMIT: the one who is asked next finds the window's id in the history."""
    first = api.start(house.target(), window(), allowed_by="a test")
    with session_of(house) as session:
        for again in (
            api.start(house.target(), window(), memory=house.folder / "memory"),
            session.start(window(), allowed_by="a test"),
            session.look() and session.start(window(), allowed_by="a test"),
        ):
            for key in ("outcome", "migration_id", "operations", "applied", "backup", "plan_id", "error"):
                assert again[key] == first[key], key
        assert session.start(window(name="w2"), allowed_by="a test")["outcome"] == "up_to_date"
    assert api.start(house.target(), window(name="w2"))["outcome"] == "up_to_date"
    assert len(api.history(house.target())["migrations"]) == 1


STARTER = """
import os, pickle, signal, sys, time
from driftengine import api
from driftengine.dialects.sqlite.database import LiveTransaction
from driftengine.window import Window
target, moment = pickle.loads(sys.stdin.buffer.read())
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def progress(phase, done, total):
    if phase == moment:
        die()
if moment == "behind COMMIT":
    real = LiveTransaction.commit
    LiveTransaction.commit = lambda self, **how: (real(self, **how), die())
before = die if moment == "before COMMIT" else lambda: None
api.start(target, Window("w1", time.monotonic() + 30, before), allowed_by="a test", progress=progress)
"""


@pytest.mark.parametrize("moment", ["backup", "rehearsal", "apply", "before COMMIT", "behind COMMIT"])
def test_killed_in_a_window(house: House, moment: str) -> None:
    """Kill -9 anywhere: the database is old or new, and asking again in the same window tells of one migration."""
    before = house.everything()
    job = pickle.dumps((house.target(), moment))
    ended = subprocess.run([sys.executable, "-B", "-c", STARTER], input=job, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    done = moment == "behind COMMIT"
    assert (house.everything() != before) is done
    told = api.start(house.target(), window(), allowed_by="the next one")
    assert (told["outcome"], told["operations"], told["warnings"]) == ("migrated", 2, [])
    assert told["stage"] == (None if done else "new")
    (entry,) = api.history(house.target())["migrations"]
    assert (entry["migration_id"], entry["backup"]["id"]) == (told["migration_id"], told["backup"]["id"])
    assert entry["allowed_by"] == ("a test" if done else "the next one")
    assert api.history_verify(house.target())["ok"]
    assert api.backup_verify(house.target(), told["backup"]["id"])["ok"]
    assert house.check()["in_sync"]
