"""Everything at once: services that write and read, services that start, people, the daemon, and whoever kills them.

A few seconds in `make test`, minutes with `DRIFTD_FAULTS=all`; the test prints what was done, and how often it was killed.
"""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from driftengine import api
from support.crash_points import ALL
from support.crowd import BANK, NEW_BANK, at_work, audited, figures, make_bank, noted, transfers
from support.crowd_operators import came_to, typed
from support.crowd_starters import at_work_in, held_locks, unfinished
from support.migrations import House
from support.sidecars import CONFIGURATION, Sidecar, house, running

pytestmark = pytest.mark.timeout(1800)

SECONDS = 120.0 if ALL else 6.0
SEEDS = 4 if ALL else 1
CONFIG = f"{CONFIGURATION}keep = 10000\n\n[targets.app.window]\ntimeout = 60\n"
MODELS = (
    BANK,
    NEW_BANK,
    NEW_BANK.replace("state TEXT DEFAULT 'done'", "state TEXT DEFAULT 'done', note TEXT"),
    BANK + "CREATE INDEX transfer_taker ON transfer (taker);\n",
)
WHATS = (
    "apply",
    "apply",
    "rollback",
    "backup create",
    "backup restore",
    "backup verify",
    "adopt",
    "gate",
    "gate",
)
KILLED = 0.25  # of what people do
# Where others are always in the way, one may be locked out; what somebody has taken back meanwhile cannot be taken back.
MAY_BE = {
    "up_to_date", "migrated", "held", "blocked", "deferred", "adopted", "done", "killed",
    "database-busy", "service-starting", "window-deadline", "window-unknown", "window-closed",
    "nothing-to-roll-back", "in-use", "deadline", "backup-unknown",
}  # fmt: skip


@dataclass
class Hands:
    """One person who does one thing after another until `over`; `outcomes` is what came of it."""

    folder: Path
    chance: random.Random
    over: threading.Event
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[BaseException] = field(default_factory=list)

    def work(self) -> None:
        """For a thread of its own."""
        try:
            while not self.over.is_set():
                self.do(self.chance.choice(WHATS))
        except BaseException as error:  # noqa: BLE001 - the test tells of it, on its own thread
            self.failures.append(error)

    def do(self, what: str) -> None:
        """One thing, which may be killed in its midst."""
        if self.chance.random() < 0.3:
            (self.folder / "models.sql").write_text(self.chance.choice(MODELS), encoding="utf-8")
        backups = sorted((self.folder / "backups").glob("*/backup_*.json"))
        if what == "backup restore" and not backups:
            return
        process = typed(self.folder, "command", what, backups[-1].stem if backups else "")
        if self.chance.random() < KILLED:
            try:
                process.wait(self.chance.uniform(0.2, 1.5))
            except subprocess.TimeoutExpired:
                process.kill()
        self.outcomes[what, came_to(process)] += 1


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("journal", ["wal", "delete"] if ALL else ["wal"])
def test_everything_at_once(tmp_path: Path, journal: str, seed: int) -> None:
    """Whatever they do to one another: no row is lost, nobody reads nonsense, nothing fails unexplained, one story is told."""
    make_bank(tmp_path / "app.db", journal, 1000)
    sidecar = house(tmp_path, models=BANK, configuration=CONFIG)
    over = threading.Event()
    people = [
        Hands(tmp_path, random.Random(f"{seed} {n}"), over)  # noqa: S311 - no secret: a seed can be tried again
        for n in range(2)
    ]
    crowd_of = [("IMMEDIATE", "stays"), ("DEFERRED", "goes")]
    with running(sidecar), at_work(tmp_path / "app.db", crowd_of, readers=1, pause=0.02) as crowd:
        threads = [threading.Thread(target=one.work) for one in people]
        for thread in threads:
            thread.start()
        daemons = disturbed(sidecar, random.Random(seed), time.monotonic() + SECONDS)  # noqa: S311 - as above
        over.set()
        for thread in threads:
            thread.join()
        assert sidecar.stop() == 0
    assert [failure for one in people for failure in one.failures] == []
    assert crowd.odd() == []
    outcomes = sum((one.outcomes for one in people), Counter[tuple[str, str]]())
    assert {outcome for _, outcome in outcomes} <= MAY_BE, outcomes
    one_story(tmp_path)
    kept = [transfers(tmp_path / "app.db"), *map(transfers, safety_backups(tmp_path))]
    assert crowd.acknowledged() <= {row[-1] for rows in kept for row in rows}
    lines = [f"{count} x {what}: {outcome}" for (what, outcome), count in sorted(outcomes.items())]
    noted([f"{journal}, seed {seed}: the daemon was killed {daemons} times", *lines, *figures(crowd.waits())])


def disturbed(sidecar: Sidecar, chance: random.Random, until: float) -> int:
    """Kills the daemon and starts it again until then; how often."""
    times = 0
    while time.monotonic() < until:
        time.sleep(chance.uniform(0.5, 3))
        sidecar.stop(signal.SIGKILL)
        sidecar.start()
        times += 1
    return times


def safety_backups(folder: Path) -> list[Path]:
    """What restores have put by."""
    found = api.backup_list(House(folder).target())["backups"]
    return [Path(one["path"]) for one in found if one["reason"] == "restore"]


def one_story(folder: Path) -> None:
    """Sound, and in order, with nothing left over once somebody has come by again."""
    bank = House(folder)
    assert audited(bank.database) == []
    bank.apply()
    assert api.history_verify(bank.target())["problems"] == []
    assert api.backup_verify(bank.target())["ok"]
    api.backup_create(bank.target())
    assert unfinished(folder) == []
    assert held_locks(bank.database) == []
    assert at_work_in(folder) == []
