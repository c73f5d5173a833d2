"""kill -9 at many points of `driftd apply`: the database is old or new, and the next apply puts everything right."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from driftengine import api
from support.crashing import apply_until
from support.migrations import House

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OLD = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT, filler TEXT);"
    "CREATE TABLE child (id INTEGER PRIMARY KEY, t INT REFERENCES t (id) ON DELETE CASCADE);"
)
# A copied table, an edit of the stored DDL, an ALTER, a new index: each way of a statement is between two others.
NEW = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, filler TEXT, more TEXT);"
    "CREATE TABLE child (id INTEGER PRIMARY KEY, t INT NOT NULL REFERENCES t (id) ON DELETE CASCADE, x INT);"
    "CREATE INDEX i ON child (t);"
)
# More than SQLite's cache holds: with a rollback journal, pages reach the file before COMMIT.
ROWS = (
    "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 3000)"
    "INSERT INTO t SELECT n, n * 7, hex(zeroblob(500)) FROM r;"
    "INSERT INTO child SELECT id, id FROM t WHERE id % 10 = 0;"
)


def chosen(steps: Sequence[str], others: int) -> list[int]:
    """The steps that matter most, and so many of the others, evenly."""
    live = [number for number, step in enumerate(steps, 1) if step.startswith("app.db:")]
    commit = next(number for number, step in enumerate(steps, 1) if step == "app.db: COMMIT")
    first_of = {step: number for number, step in reversed(list(enumerate(steps, 1)))}
    named = [
        number for step, number in first_of.items() if step.split(" ")[0] in {"mkdtemp", "copyfile", "rmtree"}
    ]
    spread = range(1, len(steps) + 1, max(1, len(steps) // others))
    return sorted({*live[-6:], commit, commit + 1, commit + 2, len(steps), *named, *spread})


@pytest.mark.parametrize(("journal", "others"), [("delete", 10), ("wal", 1)])
def test_killed_anywhere_the_database_is_old_or_new(tmp_path: Path, journal: str, others: int) -> None:
    """During backup, rehearsal, statements, around COMMIT and after: nothing between, and the next apply heals."""
    start = House(tmp_path / "start", journal=journal)
    start.folder.mkdir()
    start.run(OLD + ROWS)
    start.models(NEW)
    log = tmp_path / "log"
    old = start.everything()
    whole = House(tmp_path / "whole", journal=journal)
    shutil.copytree(start.folder, whole.folder)
    steps = apply_until(whole, 0, log).steps
    new = whole.everything()
    seen = set()
    for at in chosen(steps, others):
        house = House(tmp_path / f"at{at}", journal=journal)
        shutil.copytree(start.folder, house.folder)
        ended = apply_until(house, at, log)
        assert ended.killed, steps[at - 1]
        came_to = is_whole(house, old, new)
        seen.add(came_to)
        heals(house, came_to, new)
        shutil.rmtree(house.folder)
    assert seen == {"old", "new"}


def is_whole(house: House, old: str, new: str) -> str:
    """`old` or `new`: nothing else is allowed, and the history says the same."""
    assert house.ask("PRAGMA integrity_check") == [("ok",)]
    assert house.ask("PRAGMA foreign_key_check") == []
    found = house.everything()
    assert found in {old, new}
    told = house.ask("SELECT count(*) FROM sqlite_schema WHERE name = 'driftd_history'") == [(1,)]
    assert told == (found == new)
    return "new" if told else "old"


def heals(house: House, came_to: str, new: str) -> None:
    """The next apply does what is left to do, sweeps, and completes the journal."""
    healed = house.apply()
    assert healed["outcome"] == {"old": "migrated", "new": "up_to_date"}[came_to]
    assert healed["warnings"] == []
    assert house.everything() == new
    (folder,) = (house.folder / "backups").iterdir()
    left = {path.name for path in folder.iterdir()}
    assert not [name for name in left if "rehearsal" in name or "partial" in name]
    verified = api.history_verify(house.target())
    assert (verified["ok"], verified["problems"]) == (True, [])
    journalled = [json.loads(line) for line in (folder / "journal.jsonl").read_text("utf-8").splitlines()]
    assert [line["event"] for line in journalled].count("migrated") == 1
    assert api.backup_verify(house.target())["ok"]
    assert house.apply()["outcome"] == "up_to_date"


def test_killed_while_a_database_is_made(tmp_path: Path) -> None:
    """A database that was missing is missing, empty or whole; the next apply makes it."""
    log = tmp_path / "log"
    whole = House(tmp_path / "whole")
    whole.folder.mkdir()
    whole.models(NEW)
    steps = apply_until(whole, 0, log).steps
    new = whole.everything()
    live = [number for number, step in enumerate(steps, 1) if step.startswith("app.db")]
    for at in {live[0], live[len(live) // 2], live[-2], live[-1], len(steps)}:
        house = House(tmp_path / f"at{at}")
        house.folder.mkdir()
        house.models(NEW)
        assert apply_until(house, at, log).killed
        house.apply()
        assert house.everything() == new
        assert house.apply()["outcome"] == "up_to_date"
        assert api.history_verify(house.target())["ok"]
