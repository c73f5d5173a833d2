"""Many targets and rude clients: one daemon serves them all, and nobody pays for anybody else."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

from support.sidecars import MODELS, PATIENCE, WIDER, Sidecar, house, make, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANY = 50
TARGET = """
[targets.t{number}]
url = "sqlite:///t{number}.db"
models = ["models.sql"]
mode = "{mode}"
[targets.t{number}.backup]
directory = "backups"
"""


def many(folder: Path, mode: str) -> Sidecar:
    """A daemon for fifty targets that share their models."""
    first = folder / "t0.db"
    make(first)
    for number in range(1, MANY):
        (folder / f"t{number}.db").write_bytes(first.read_bytes())
    targets = "".join(TARGET.format(number=number, mode=mode) for number in range(MANY))
    return house(folder, configuration='[daemon]\nsocket = "d.sock"\n' + targets)


def until_all(sidecar: Sidecar, *states: str) -> None:
    """Returns when every target is in one of these states with nothing under way."""
    with sidecar.followed() as follower:
        entries = {one["target"]: one for one in sidecar.result("status")["targets"]}
        while not _all_in(entries, states):
            event = follower.next()
            if event["event"] == "lost":
                entries = {one["target"]: one for one in sidecar.result("status")["targets"]}
            elif event["event"] == "target":
                entries[event["target"]["target"]] = event["target"]


def _all_in(entries: Mapping[str, Mapping[str, str]], states: tuple[str, ...]) -> bool:
    return all(one["state"] in states and not one["busy"] for one in entries.values())


def test_fifty_targets_follow_one_file(tmp_path: Path) -> None:
    """All in sync; the file that they share is saved: each of them stages, and gives that up when it is saved back."""
    with running(many(tmp_path, "window")) as sidecar:
        until_all(sidecar, "in_sync")
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        until_all(sidecar, "ready")
        document = sidecar.result("status")
        assert document["verdict"] == "healthy"
        assert {one["stage"]["freshness"] for one in document["targets"]} == {"exact"}
        (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")
        until_all(sidecar, "in_sync")
        assert sidecar.children() == []
        assert sidecar.stop() == 0
    assert list((tmp_path / "backups").glob("*/backup_*")) == []


def connected(sidecar: Sidecar) -> socket.socket:
    """A client that does as it likes."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    client.connect(os.path.relpath(sidecar.socket))
    return client


def test_clients_that_vanish_stop_nothing(tmp_path: Path) -> None:
    """One hangs up in the middle of a line, one behind a `stage`, one behind `events`: the stage is made all the same."""
    make(tmp_path / "app.db")
    with running(house(tmp_path, models=WIDER)) as sidecar:
        before = sidecar.state("ready")["stage"]["made_at"]
        open_files = sidecar.result("status")["daemon"]["open_files"]
        for said in (b'{"command": "sta', b'{"command": "stage"}\n', b'{"command": "events"}\n', b""):
            with connected(sidecar) as client:
                client.sendall(said)
        sidecar.until(lambda one: one["state"] == "ready" and one["stage"]["made_at"] > before)
        wait_until(lambda: sidecar.result("status")["daemon"]["open_files"] <= open_files, sidecar)
        assert "Traceback" not in sidecar.log


def test_a_follower_that_does_not_read_delays_nobody(tmp_path: Path) -> None:
    """It follows the events and never reads one, while another one sees all; it can still read what was kept."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar, connected(sidecar) as deaf:
        sidecar.state("in_sync")
        deaf.sendall(b'{"command": "events"}\n')
        with sidecar.followed() as follower:
            for models, state in ((WIDER, "ready"), (MODELS, "in_sync")):
                (tmp_path / "models.sql").write_text(models, encoding="utf-8")
                follower.state(state)
            for _ in range(300):
                sidecar.result("pause")
                sidecar.result("resume")
        assert sidecar.state("in_sync")["problem"] is None
        assert sidecar.result("status")["daemon"]["memory"]["rss_bytes"] < 45_000_000
        with deaf.makefile("rb") as stream:
            assert json.loads(stream.readline())["ok"]
            assert json.loads(stream.readline())["event"] == "target"
