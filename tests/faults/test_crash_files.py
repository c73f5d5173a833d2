"""kill -9 at the system calls of what writes files alone: each is whole or not there, and the next one clears away."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from support.crash_cases import MODELS, REBUILD, backed_up, by_hand, met, towards
from support.crash_points import (
    ALL,
    Scene,
    approve,
    attack,
    calling,
    chosen,
    files,
    running,
    stage_ahead,
    start_service,
    writes,
)
from support.faultline import Strike
from support.migrations import House

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from support.faultline.runs import Runs

    Recorded = Callable[[str, object], None]

pytestmark = pytest.mark.timeout(3600 if ALL else 400)
CASES: Mapping[str, tuple[Mapping[str, Any], Callable[[House], None], Mapping[str, Any]]] = {
    "backup-create": (running("backup", "create"), backed_up(1), {"spare": 1, "forward": False}),
    "backup-prune": (running("backup", "prune"), backed_up(4, "keep = 2\n"), {"forward": False}),
    "stage": (calling(stage_ahead), towards(REBUILD), {}),
    "dry-run": (running("apply", "--dry-run"), towards(REBUILD), {}),
    "approve": (calling(approve, "drop-column"), by_hand, {"forward": False, "followed": True}),
    "check": (running("check"), met, {"forward": False}),
    "start": (calling(start_service), met, {}),
    "first-meeting": (calling(start_service), towards(MODELS), {}),
    "ignore": (running("ignore", "t.extra"), by_hand, {"forward": False}),
}


@pytest.mark.parametrize("case", CASES)
def test_files_written_by_one_that_is_killed(
    runs: Runs, tmp_path: Path, case: str, record_property: Recorded
) -> None:
    """The database is as it was; what is listed is whole, what is half is cleared away, and nothing stays for good."""
    command, begin, how = CASES[case]
    scene = Scene(runs, tmp_path, command, begin, **how)
    attack(scene, chosen(scene.names, 7))
    torn = writes(scene.names, ".json", "driftd.toml", "/cache/")
    attack(scene, torn if ALL else torn[:2], Strike.TEAR)
    record_property("tries", scene.tries)
    assert scene.tries >= min(len(scene.names), 5)


@pytest.mark.parametrize(
    ("command", "made"),
    [
        (("init", "--output", "made.toml", "--json"), "made.toml"),
        (("init", "--output", "made.toml", "--force", "--json"), "made.toml"),
        (
            ("service", "install", "--user", "--config", "driftd.toml", "--json"),
            "home/.config/systemd/user/driftd.service",
        ),
    ],
    ids=["init", "init-force", "service-install"],
)
def test_a_file_that_a_person_is_given(
    runs: Runs, tmp_path: Path, command: tuple[str, ...], made: str, record_property: Recorded
) -> None:
    """It is there whole, as it was before, or not at all; the command given again leaves that file and no other."""
    start, place = tmp_path / "start", tmp_path / "w"
    start.mkdir()
    House(start).models(MODELS)
    (start / "models.py").write_text(
        "from sqlalchemy import Column, Integer, MetaData, Table\n"
        "metadata = MetaData()\nTable('t', metadata, Column('id', Integer, primary_key=True))\n"
    )
    (start / "driftd.toml").write_text('[targets.app]\nurl = "sqlite:///app.db"\nmodels = ["models.sql"]\n')
    House(start).run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    if "--force" in command:
        (start / made).write_text("# before\n")
    before = (start / made).read_text() if (start / made).exists() else None

    def again() -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(start, place)

    again()
    whole = runs.driftd(place, *command, told=True)
    assert whole.code == 0, whole.err + whole.out
    after, left = (place / made).read_text(), files(place)
    points = range(1, whole.points + 1) if ALL else sorted({1, whole.points // 2, whole.points})
    tries = [(at, Strike.KILL) for at in points] + [(at, Strike.TEAR) for at in writes(whole.names, "")]
    for at, strike in tries:
        again()
        assert runs.driftd(place, *command, at=at, strike=strike).killed
        found = (place / made).read_text() if (place / made).exists() else None
        assert found in {before, after}, whole.names[at - 1]
        repeated = runs.driftd(place, *command)
        done = repeated.code == 0 or json.loads(repeated.out)["error"]["code"] == "configuration-exists"
        assert done, (whole.names[at - 1], repeated.out)
        assert (place / made).read_text() == after
        assert not files(place).keys() - left.keys(), whole.names[at - 1]
    record_property("tries", len(tries))
    assert tries
