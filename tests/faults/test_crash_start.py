"""kill -9 at the system calls of a real start without a daemon: the starter, the engine's process, or both."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from support.crash_cases import NATIVE, towards
from support.crash_points import ALL, Scene, attack, chosen
from support.faultline import Strike

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.faultline.runs import Runs

    Recorded = Callable[[str, object], None]

pytestmark = pytest.mark.timeout(3600 if ALL else 400)
GATE = {"argv": ["gate", "--config", "driftd.toml", "--target", "app"]}
SERVICE = "import pathlib; pathlib.Path('ran').touch()"
EXEC = {"argv": ["exec", "--config", "driftd.toml", "--target", "app", "--", sys.executable, "-c", SERVICE]}


@pytest.mark.parametrize("strike", [Strike.STARTER, Strike.BOTH] + [Strike.KILL] * ALL)
def test_a_start_killed_anywhere(
    runs: Runs, tmp_path: Path, strike: Strike, record_property: Recorded
) -> None:
    """Nobody goes on without its starter for longer than it takes to roll back; a start that lost its engine goes on."""
    scene = Scene(runs, tmp_path, GATE, towards(NATIVE), "wal")
    attack(scene, chosen(scene.names, 12)[:: 1 if ALL else 3], strike)
    record_property("tries", scene.tries)
    assert scene.tries >= 4


def test_the_service_starts_when_its_engine_is_killed(
    runs: Runs, tmp_path: Path, record_property: Recorded
) -> None:
    """Whatever point it dies at, the starter lives: exit code 0, and the service has run; the next real start heals."""
    scene = Scene(runs, tmp_path, EXEC, towards(NATIVE), healer=GATE)
    # The locks are the starter's, these files are its child's.
    mine = ("/backups/", "/app.db-")
    points = [at for at in chosen(scene.names, 12) if any(one in scene.names[at - 1] for one in mine)]
    for at in points:
        scene.reset()
        ran = scene.run(at)
        scene.tries += 1
        assert (ran.struck, ran.code) == (1, 0), ran.err
        assert (scene.folder / "ran").exists()
        scene.heal(scene.judge(scene.names[at - 1]), scene.names[at - 1])
    record_property("tries", scene.tries)
    assert len(points) >= 3
