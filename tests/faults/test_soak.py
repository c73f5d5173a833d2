"""A storm of everything around a running daemon, for DRIFTD_SOAK_MINUTES: nothing grows, and behind it all is calm and right.

The seed is printed (DRIFTD_SOAK_SEED makes the same storm again); `make soak` goes on for an hour. With DRIFTD_SOAK_LOG each
sample goes to that file.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import psutil
import pytest

from support.figures import show
from support.sampling import processor_s, sample, thirds, woken
from support.sidecars import running
from support.soaking import KEPT, Storm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.sampling import Sample
    from support.sidecars import Sidecar

MINUTES = float(os.environ.get("DRIFTD_SOAK_MINUTES") or 1)
TRAIL = Path(os.environ.get("DRIFTD_SOAK_LOG") or os.devnull)
LONG = MINUTES >= 10
# The same storm in every `make test`, another one in each long soak.
SEED = int(os.environ.get("DRIFTD_SOAK_SEED") or (secrets.randbelow(2**32) if LONG else 20261123))
ACTIONS = 8  # between two samples
# What may come and go with the weather: a stage's process and its threads, a connection to a database, a guest's locks.
SLACK = {
    "descriptors": 6,
    "threads": 2,
    "watches": 2,
    "children": 1,
    "temporary": 0,
    "remembered": 1,
    "beside": 2,
}
# A daemon holds its targets' histories, and SQLite the pages of them: some tens of kilobytes a row. All else must stay as it is.
KB_A_ROW, KB_OF_NOISE = 30, 6_000
# In a short storm the last third still has its firsts: each kind of file beside each database, each thread.
ROOM = 1 if LONG else 4

pytestmark = pytest.mark.timeout(60 * MINUTES + 600)


def test_a_storm_leaves_nothing_behind(tmp_path: Path) -> None:
    """Saves, branches, windows, reloads, orders, rude clients: no growth; then in sync, every row there, every backup sound."""
    folder = tmp_path / "house"
    folder.mkdir()
    storm = Storm(folder, Random(SEED))  # noqa: S311  # to be made again from its seed
    with running(storm.sidecar) as sidecar:
        samples = list(weathered(storm))
        show(
            f"seed {SEED}: {sum(storm.done.values())} actions, {len(samples)} samples", *told(storm, samples)
        )
        assert not grown(samples), (f"seed {SEED}", *told(storm, samples))
        storm.come_to_rest()
        calm(sidecar)
        sound(storm)
        children = sidecar.children()
        assert sidecar.stop() == 0
    assert not [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert "Traceback" not in sidecar.log
    assert list(storm.temporary.rglob("*")) == []
    assert not (folder / "d.sock").exists()
    assert not list((folder / "backups").rglob("*.partial*"))


def weathered(storm: Storm) -> Iterator[Sample]:
    """A sample behind each few actions, when all is quiet."""
    began = time.monotonic()
    while time.monotonic() < began + 60 * MINUTES:
        for _ in range(ACTIONS):
            storm.act()
        storm.until_quiet()
        found = sample(storm.sidecar, time.monotonic() - began, storm.temporary, storm.databases)
        with TRAIL.open("a", encoding="utf-8") as trail:
            trail.write(found.line() + "\n")
        yield found


def told(storm: Storm, samples: list[Sample]) -> list[str]:
    """The storm for a person."""
    some = [samples[number * (len(samples) - 1) // 5] for number in range(6)]
    ends = [str(dict(one.open + one.named)) for one in (samples[len(samples) // 3], samples[-1])]
    return [*(one.line() for one in some), *ends, str(dict(storm.done)), f"refused: {dict(storm.refused)}"]


def grown(samples: list[Sample]) -> list[str]:
    """What the last third of the time had more of than the second; the first is the warm-up."""
    found = []
    for name, slack in SLACK.items():
        before, after = thirds(samples, lambda one, name=name: getattr(one, name))  # type: ignore[misc]
        if after > before + slack * ROOM:
            found.append(f"{name}: {before} → {after}")
    before, after = thirds(samples, lambda one: one.uss)
    rows = thirds(samples, lambda one: one.history)
    if after > before + KB_OF_NOISE * ROOM + KB_A_ROW * (rows[1] - rows[0]):
        found.append(f"memory: {before} → {after} kB, with {rows[0]} → {rows[1]} rows of history")
    return found


def calm(sidecar: Sidecar) -> None:
    """Idle again: next to no processor, and no wake-ups but the timers'."""
    assert sidecar.process is not None
    pid = sidecar.process.pid
    # Glances come seldom once nobody has written for a minute; what is measured is time itself.
    time.sleep(75 if LONG else 6)
    used, wakes, since = processor_s(pid), woken(pid), time.monotonic()
    time.sleep(120 if LONG else 10)
    spent = time.monotonic() - since
    used, wakes = processor_s(pid) - used, woken(pid) - wakes
    show(
        f"idle behind the storm: {100 * used / spent:.3f} % of a processor, {wakes / spent:.1f} wake-ups a second"
    )
    assert used / spent <= (0.004 if LONG else 0.05)
    assert wakes / spent <= 40


def sound(storm: Storm) -> None:
    """In step for a person who asks without the daemon too; rows, history, backups and retention as they must be."""
    for name in storm.written:
        assert storm.rows_in(name) == list(range(storm.written[name])), name
        assert storm.command("check", "--fresh", "--target", name).code == 0
        assert storm.command("history", "verify", "--target", name).code == 0
        verified = storm.command("backup", "verify", "--target", name, "--json")
        assert verified.code == 0, verified
        # Pinned are those that a rollback needs; of the others only so many stay.
        listed = storm.command("backup", "list", "--target", name, "--json").document["backups"]
        loose = [one["id"] for one in listed if not one["pinned"]]
        assert len(loose) <= KEPT + 1, loose
