"""A clock on the wall that jumps by years, forwards and backwards: nothing is lost, overwritten, believed or kept waiting by it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import ahead, api, journal
from driftengine.manifest import choose_prunable
from support.disk_faults import TABLES, TARGET, Scene, Story, drifted, many_backups
from support.stages import prepared, session_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.faultline.runs import Runs
    from support.migrations import House

YEARS = 10 * 366 * 86400
DROPPING = ("--approve", "drop-column")


@contextmanager
def clock(runs: Runs, seconds: int) -> Iterator[None]:
    """The clock of the runs is so far ahead, or behind, while the block runs."""
    runs.control.set_clock(seconds)
    try:
        yield
    finally:
        runs.control.set_clock(0)


def prepare(house: House) -> None:
    """Five backups, and a migration that only its backup can take back."""
    many_backups(house)
    (house.folder / "driftd.toml").write_text(
        (house.folder / "driftd.toml").read_text("utf-8").replace("keep = 2", 'keep = 20\nkeep_for = "30d"'),
        encoding="utf-8",
    )


def migrate(scene: Scene, more: str, *approve: str) -> dict[str, Any]:
    """The models move on, and `driftd apply` follows them."""
    scene.house.models(TABLES.format(n="TEXT", more=more))
    ran = scene.run("apply", *TARGET, *approve, "--json")
    assert ran.code == 0, (ran.out, ran.err)
    found: dict[str, Any] = ran.json()
    assert found["outcome"] == "migrated"
    return found


@pytest.mark.parametrize("jump", [YEARS, -YEARS, 3600, -3600])
def test_one_migration_at_a_wrong_time(runs: Runs, tmp_path: Path, jump: int) -> None:
    """All backups stay, ids are new ones, the history verifies, and it is taken back in the order in which it was made."""
    scene = Scene(tmp_path, runs, Story("check", ("check", *TARGET, "--json"), prepare), "wal")
    scene.reset()
    before = {path.name for path in scene.house.backups()}
    done = [migrate(scene, "", *DROPPING)]
    with clock(runs, jump):
        done.append(migrate(scene, ", x TEXT"))
    done.append(migrate(scene, ", x TEXT, y TEXT"))
    there = {path.name for path in scene.house.backups()}
    made = [f"{one['backup']['id']}.db" for one in done]
    # One that is dated ten years back is as old as it says, unless a rollback needs it.
    assert before | set(made if jump > -YEARS else made[::2]) <= there
    assert len({one["migration_id"] for one in done}) == len(set(made)) == 3
    target = scene.house.target()
    assert api.history_verify(target)["ok"]
    assert api.backup_verify(target)["ok"]
    for one, approve in zip(reversed(done), (DROPPING, DROPPING, ()), strict=True):
        back = scene.run("rollback", *TARGET, *approve, "--json")
        assert back.json()["undoes"]["migration_id"] == one["migration_id"], back.out
        assert back.code == 0, back.out
    assert scene.house.ask("SELECT m FROM t WHERE id = 4") == [("new",)]
    assert api.history_verify(target)["ok"]


def test_what_is_dated_in_the_future_displaces_nothing(runs: Runs, tmp_path: Path) -> None:
    """A backup of a clock that was ahead is no reason to let go of one that is newer in truth."""
    scene = Scene(tmp_path, runs, Story("check", ("check", *TARGET, "--json"), prepare), "delete")
    scene.reset()
    with clock(runs, YEARS):
        ahead_of_time = scene.run("backup", "create", *TARGET, "--json").json()["backup"]["id"]
    newest = scene.run("backup", "create", *TARGET, "--json").json()["backup"]["id"]
    settings = replace(scene.house.target().backup, keep=1)
    api.backup_prune(replace(scene.house.target(), backup=settings))
    assert {ahead_of_time, newest} <= {path.stem for path in scene.house.backups()}


def test_a_year_between_two_backups_may_be_a_jump(runs: Runs, tmp_path: Path) -> None:
    """Retention by age waits for a second witness of the time, and then goes on as ever."""
    scene = Scene(tmp_path, runs, Story("check", ("check", *TARGET, "--json"), prepare), "delete")
    made = api.backup_list(scene.house.target())["backups"]
    assert len(made) == 4
    now = datetime.now(UTC)
    from driftengine.backup import list_backups

    (folder,) = (scene.house.folder / "backups").iterdir()
    four = [
        replace(one, created_at=journal.timestamp(now - timedelta(days=days)), migration_id=None)
        for one, days in zip(list_backups(folder), (800, 600, 500, 0), strict=True)
    ]

    def gone(*days: int) -> int:
        aged = [
            replace(one, created_at=journal.timestamp(now - timedelta(days=day)))
            for one, day in zip(four, days, strict=True)
        ]
        name, own = aged[0].database, aged[0].database_id
        limits: dict[str, Any] = {"keep": 20, "keep_for": 30 * 86400.0, "max_total_size": 10**12}
        return len(choose_prunable(aged, now=now, database=name, database_id=own, **limits))

    assert gone(800, 600, 500, 0) == 0
    assert gone(800, 600, 100, 0) == 3
    assert gone(800, 600, 1, 0) == 2
    assert gone(800, 600, 1, -4000) == 0
    assert gone(800, 31, 1, -4000) == 2


def test_a_deadline_is_kept_while_the_clock_jumps(runs: Runs, tmp_path: Path) -> None:
    """A start that is locked out ends at its deadline, neither at once nor in ten years."""
    scene = Scene(
        tmp_path,
        runs,
        Story("check", ("check", *TARGET, "--json"), drifted(TABLES.format(n="TEXT", more=", z"))),
        "wal",
    )
    scene.reset()
    over = threading.Event()

    def jumping() -> None:
        there = 0
        while not over.wait(0.05):
            there = YEARS - there
            runs.control.set_clock(there or -YEARS)

    import sqlite3

    holder = sqlite3.connect(scene.house.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    jumper = threading.Thread(target=jumping)
    jumper.start()
    try:
        started = time.monotonic()
        locked_out = scene.run("gate", *TARGET, "--strict", "--timeout", "3", "--json")
        took = time.monotonic() - started
        holder.execute("ROLLBACK")
        free = scene.run("gate", *TARGET, "--strict", "--timeout", "60", "--json")
    finally:
        over.set()
        jumper.join()
        runs.control.set_clock(0)
        holder.close()
    assert locked_out.code == 75, (locked_out.out, locked_out.err)
    assert took > 2
    assert free.code == 0, (free.out, free.err)
    assert api.history_verify(scene.house.target())["ok"]


def test_a_stage_is_as_old_as_it_is(runs: Runs, tmp_path: Path) -> None:
    """A clock that was set back makes no old stage young, and one that is set ahead makes it stale at worst."""
    del runs
    from support.migrations import House

    house = House(tmp_path / "house")
    house.folder.mkdir()
    house.run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
    with session_of(house) as session:
        session.look()
        made = prepared(session)
        session.discard()
    hour = replace(made, began=made.began - 3600)
    back = made.made_at - timedelta(days=4000)
    assert ahead.aged(hour, back) >= 3600
    assert ahead.aged(made, made.made_at + timedelta(hours=2)) >= 7200
    assert ahead.aged(made, back) >= 0
