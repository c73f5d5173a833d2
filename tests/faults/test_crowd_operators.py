"""Two people work on one database at once, and some of what they typed is killed: one story, and a state that one of them meant.

Each pair is typed as commands, which wait for one another's start, and called as a library, where SQLite's locks alone stand
between the two. `DRIFTD_FAULTS=all` repeats each pair with many seeds; each test prints what came of its tries.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api, stage
from driftengine.apply import Applier
from driftengine.dialects.sqlite import compare
from support.crash_points import ALL
from support.crowd import BANK, NEW_BANK, audited, make_bank, noted
from support.crowd_operators import came_to, typed
from support.crowd_starters import at_work_in, held_locks, unfinished
from support.migrations import House
from support.sidecars import CONFIGURATION, house, running

if TYPE_CHECKING:
    from pathlib import Path

    Document = dict[str, Any]

pytestmark = pytest.mark.timeout(1200)

SEEDS = 25 if ALL else 1
CONFIG = f"{CONFIGURATION}\n[targets.app.window]\ntimeout = 60\n"
BY_HAND = "ALTER TABLE account ADD COLUMN by_hand TEXT;"
LATER = "ALTER TABLE transfer ADD COLUMN note TEXT;"
LATER_BANK = NEW_BANK.replace("state TEXT DEFAULT 'done'", "state TEXT DEFAULT 'done', note TEXT")


@dataclass(frozen=True, slots=True)
class Pair:
    """What two people do, what has happened before, and the schemas that may come of it: each is DDL from the beginning."""

    first: str
    second: str
    migrated: bool = False  # NEW_BANK stands already, as a migration that can be taken back
    by_hand: bool = False
    models: str = NEW_BANK
    may_be: tuple[str, ...] = (BANK, NEW_BANK)


PAIRS = (
    Pair("apply", "apply"),
    Pair(
        "apply",
        "rollback",
        migrated=True,
        models=LATER_BANK,
        may_be=(BANK, NEW_BANK, LATER_BANK, BANK + LATER),
    ),
    Pair("rollback", "backup restore", migrated=True),
    Pair("rollback", "rollback", migrated=True),
    Pair(
        "apply",
        "backup restore",
        migrated=True,
        models=LATER_BANK,
        may_be=(BANK, NEW_BANK, LATER_BANK, BANK + LATER),
    ),
    Pair("backup create", "backup restore", migrated=True),
    Pair("adopt", "apply", by_hand=True, may_be=(BANK + BY_HAND, NEW_BANK + BY_HAND)),
)


def schema_of(connection: sqlite3.Connection) -> object:
    """The bank's columns, checks and indexes, however they were made."""
    tables = ("account", "transfer")
    columns = [connection.execute(f"PRAGMA table_info({one})").fetchall() for one in tables]
    texts = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'table'")]
    indexes = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
    return (
        [{column[1:] for column in one} for one in columns],
        sum("CHECK (amount > 0)" in sql for sql in texts),
        {name for (name,) in indexes},
    )


def schema_from(sql: str) -> object:
    """The same of a script."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(sql)
        return schema_of(connection)


def prepared(folder: Path, journal: str, pair: Pair) -> tuple[House, str]:
    """A bank with a past, and the id of a backup of how it began."""
    folder.mkdir()
    bank = House(folder, journal, {"window_timeout": 60.0})
    make_bank(bank.database, journal, 500)
    bank.models(BANK)
    assert bank.apply()["outcome"] == "up_to_date"
    began = str(api.backup_create(bank.target())["backup"]["id"])
    if pair.migrated:
        bank.models(NEW_BANK)
        assert bank.apply()["outcome"] == "migrated"
    if pair.by_hand:
        bank.run(BY_HAND)
    bank.models(pair.models)
    (folder / "driftd.toml").write_text(CONFIG.format(mode="window"), encoding="utf-8")
    return bank, began


def one_story(bank: House, pair: Pair) -> None:
    """Whole, in a state that somebody meant, and told by the history as it was; the next apply finds its way from there."""
    assert audited(bank.database) == []
    with closing(sqlite3.connect(bank.database)) as connection:
        found = schema_of(connection)
    assert found in [schema_from(sql) for sql in pair.may_be], found
    healed = bank.apply()
    assert healed["outcome"] in {"up_to_date", "migrated", "held"}, healed
    assert bank.apply()["outcome"] in {"up_to_date", "held"}
    assert api.history_verify(bank.target())["problems"] == []
    assert api.backup_verify(bank.target())["ok"]
    api.backup_create(bank.target())  # it sweeps what a killed one has left
    assert unfinished(bank.folder) == []
    assert held_locks(bank.database) == []
    assert at_work_in(bank.folder) == []


def at_hand(bank: House) -> set[str]:
    """What lies in the folder of the backups: the first thing that changes when somebody sets to work."""
    return {path.name for path in (bank.folder / "backups").rglob("*")}


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.first}+{pair.second}".replace(" ", "-"))
def test_two_at_once_are_one_story(tmp_path: Path, pair: Pair, seed: int) -> None:
    """Whoever comes first, and whoever dies: the database is what one of them or both wanted, and the history says so."""
    chance = random.Random(f"{pair.first} {pair.second} {seed}")  # noqa: S311 - no secret
    tries: Counter[tuple[str, ...]] = Counter()
    for kills in (0, 1, 2) if ALL else (0, 1):
        door = chance.choice(["command", "library"])
        journal = chance.choice(["wal", "delete"])
        bank, backup = prepared(tmp_path / f"{kills}", journal, pair)
        before = at_hand(bank)
        both = [typed(bank.folder, door, what, backup) for what in (pair.first, pair.second)]
        for victim in chance.sample(both, kills):
            while at_hand(bank) == before and any(process.poll() is None for process in both):
                time.sleep(0.002)  # until one of them does something
            time.sleep(chance.choice([0.01, 0.1, 0.4]) * chance.random())
            victim.kill()
        outcomes = [came_to(process) for process in both]
        assert kills or "killed" not in outcomes
        one_story(bank, pair)
        tries[door, journal, *outcomes] += 1
    noted([f"{pair.first} + {pair.second}, seed {seed}: {count} of {key}" for key, count in tries.items()])


def test_several_look_after_backups_at_once(tmp_path: Path) -> None:
    """Made, pruned, listed and proved at once: nobody fails, and nothing that comes or goes is told as broken."""
    bank, _ = prepared(tmp_path / "house", "wal", PAIRS[0])
    target = replace(bank.target(), backup=api.BackupSettings(bank.folder / "backups", keep=2))
    whats = ("backup create", "backup create", "backup prune", "backup prune", "backup verify")
    processes = [looping(bank.folder, what) for what in whats]
    seen = 0
    while any(process.poll() is None for process in processes):
        listed = api.backup_list(target)
        assert listed["problems"] == []
        seen += 1
    ends = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(whats), ends
    assert unfinished(bank.folder) == []
    assert 1 <= len(api.backup_prune(target)["kept"]) <= 3
    noted([f"{seen} lists beside {', '.join(out.strip() for out, _ in ends)}"])


# Does the same again and again for a while; what is told as broken ends it. argv: folder, what, seconds.
LOOP = """
import sys, time
from dataclasses import replace
from pathlib import Path
from driftengine import api, stage
from support.migrations import House
bank, what, until, count = House(Path(sys.argv[1])), sys.argv[2], time.monotonic() + float(sys.argv[3]), 0
target = replace(bank.target(), backup=api.BackupSettings(bank.folder / "backups", keep=2))
calls = {"backup create": api.backup_create, "backup prune": api.backup_prune, "backup verify": api.backup_verify}
while time.monotonic() < until or count < 5:
    found = calls[what](target)
    assert found.get("ok", True), found
    count += 1
print(count, what)
"""


def looping(folder: Path, what: str) -> subprocess.Popen[str]:
    """One who does the same again and again."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", LOOP, str(folder), what, "30" if ALL else "2"]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_prune_beside_an_apply_leaves_it_its_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer backups and a prune come between an apply's backup and its COMMIT: what it dropped can still come back."""
    bank, _ = prepared(tmp_path / "house", "wal", PAIRS[0])
    bank.run("INSERT INTO account VALUES (100, 0, 0); DELETE FROM filler WHERE id > 3")
    bank.models(BANK)
    bank.apply()
    bank.models(BANK.replace(", moves INTEGER NOT NULL", ""))
    real = Applier._carry_out

    def carried_out(self: Applier, *arguments: Any) -> object:
        api.backup_create(bank.target())
        api.backup_prune(replace(bank.target(), backup=api.BackupSettings(bank.folder / "backups", keep=1)))
        return real(self, *arguments)

    monkeypatch.setattr(Applier, "_carry_out", carried_out)
    done = bank.apply("drop-column")
    monkeypatch.undo()
    assert done["outcome"] == "migrated", done
    assert api.backup_verify(bank.target(), done["backup"]["id"])["ok"]
    assert api.rollback(bank.target(), allowed_by="a test")["outcome"] == "migrated"
    assert bank.ask("SELECT id, moves FROM account WHERE id = 100") == [(100, 0)]


@pytest.mark.parametrize("seed", range(10 if ALL else 1))
def test_a_person_applies_while_the_daemon_stages(tmp_path: Path, seed: int) -> None:
    """The daemon stages what a person applies by hand, again and again, some killed: one story, and the daemon finds its way."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    make_bank(tmp_path / "app.db", chance.choice(["wal", "delete"]), 500)
    sidecar = house(tmp_path, models=BANK, configuration=CONFIG)
    outcomes = Counter[str]()
    with running(sidecar):
        sidecar.state("in_sync")
        for number, sql in enumerate(
            [NEW_BANK, LATER_BANK, LATER_BANK + "CREATE INDEX one ON transfer (taker);"]
        ):
            (tmp_path / "models.sql").write_text(sql, encoding="utf-8")
            time.sleep(chance.uniform(0, 0.5))
            person = typed(tmp_path, "command", "apply", "")
            if number == 1:
                time.sleep(chance.uniform(0.1, 0.7))
                person.kill()
            outcomes[came_to(person)] += 1
        sidecar.state("in_sync", "ready")
        bank = House(tmp_path)
        assert bank.apply()["outcome"] in {"up_to_date", "migrated"}
        sidecar.state("in_sync")
        assert sidecar.stop() == 0
    assert audited(bank.database) == []
    assert api.history_verify(bank.target())["problems"] == []
    assert api.backup_verify(bank.target())["ok"]
    assert unfinished(tmp_path) == []
    assert held_locks(bank.database) == []
    assert at_work_in(tmp_path) == []
    noted([f"seed {seed}: {dict(outcomes)}"])


def test_an_apply_whose_backup_another_one_has_swept_finds_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one commits during its rehearsal, and takes its backup for that of a killed one: it looks again."""
    bank, _ = prepared(tmp_path / "house", "delete", PAIRS[0])
    real = compare.lost_rows
    others: list[str] = []

    def lost_rows(copy: Path, backup: Path, *arguments: Any) -> object:
        if not others:
            others.append("it begins")
            others.append(bank.apply()["outcome"])
            assert not backup.exists()
        return real(copy, backup, *arguments)

    monkeypatch.setattr(compare, "lost_rows", lost_rows)
    assert bank.apply()["outcome"] == "up_to_date"
    assert others[1:] == ["migrated"]
    one_story(bank, PAIRS[0])


def test_a_rehearsal_begins_while_another_one_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new folder is taken for a dead one's before it is locked: it makes another one."""
    real = sqlite3.connect
    taken: list[Path] = []

    def connect(path: Path, **how: Any) -> sqlite3.Connection:
        found: sqlite3.Connection = real(path, **how)
        if not taken and path.parent.parent == tmp_path:
            taken.append(path.parent)
            shutil.rmtree(path.parent)
        return found

    monkeypatch.setattr(sqlite3, "connect", connect)
    with stage.workspace(tmp_path) as place:
        assert place not in taken
        assert len(taken) == 1
    assert list(tmp_path.iterdir()) == []
