"""The moment of COMMIT on a disk that fails: what the disk may have kept is not called failed, and a failed sync is not believed."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

import pytest

from driftengine import api
from support.crash_points import ALL
from support.disk_faults import FAULTS, STORIES, TARGET, Scene
from support.faultline import EVER, Kind, Strike

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.faultline.runs import Runs

    Recorded = Callable[[str, object], None]

pytestmark = pytest.mark.timeout(3600 if ALL else 300)
NAMED = {story.name: story for story in STORIES}
LOCKS = next(fault for fault in FAULTS if fault.name == "locked").kinds


@pytest.mark.parametrize("last", [None, EVER], ids=["once", "from there on"])
def test_commit_that_fails_behind_the_point_of_no_return(
    runs: Runs, tmp_path: Path, last: int | None, record_property: Recorded
) -> None:
    """Each lock of the database is refused in turn: what has happened keeps its backup, and is told as what it may be."""
    scene = Scene(tmp_path, runs, NAMED["apply-rebuild"], "delete")
    scene.reset()
    names = scene.run(kinds=LOCKS, told=True).names
    own = [at for at, name in enumerate(names, 1) if name.endswith(" /app.db")]
    in_doubt, wrong, tries = 0, [], 0
    # Those behind the rehearsal are the transaction's own.
    behind = max(at for at, name in enumerate(names, 1) if "rehearsal" in name)
    # Where it stays so, each try waits until its deadline.
    for at in own if ALL else [at for at in own if at > behind][:: 1 if last is None else 6]:
        scene.reset()
        tries += 1
        ran = scene.run(
            "apply", *TARGET, "--json", at=at, strike=Strike.FAIL, error=errno.ENOLCK, kinds=LOCKS, last=last
        )
        document, happened = ran.json(), scene.house.everything() == scene.new
        code = (document["error"] or {}).get("code")
        in_doubt += code == "commit-in-doubt"
        if happened and document["outcome"] != "migrated" and code != "commit-in-doubt":
            wrong.append(f"{at}: it has happened, and is told as {document}")
        if happened and not scene.house.backups():
            wrong.append(f"{at}: its backup is gone")
        if happened and not api.rollback(scene.house.target(), allowed_by="a test", dry_run=True):
            wrong.append(f"{at}: it cannot be taken back")
        after = scene.healed()
        if after.code != 0 or scene.house.everything() != scene.new:
            wrong.append(f"{at}: it does not heal: {after.out}")
    record_property("tries", tries)
    assert wrong == []
    assert in_doubt >= 1 or last is not None


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("story", ["apply-rebuild", "backup"])
def test_a_sync_that_has_failed_is_not_believed_by_a_second_one(
    runs: Runs, tmp_path: Path, story: str, journal: str, record_property: Recorded
) -> None:
    """A file whose sync failed is not synced again and taken for whole: it is given up, and its name never comes back."""
    scene = Scene(tmp_path, runs, NAMED[story], journal)
    scene.reset()
    names = scene.run(kinds=Kind.SYNC, told=True).names
    wrong = []
    for at, name in enumerate(names, 1):
        scene.reset()
        ran = scene.run(at=at, strike=Strike.FAIL, error=errno.EIO, kinds=Kind.SYNC, told=True)
        document = ran.json()
        kept = re.sub(r"\d{3}\b", "", name)
        if "partial" in name and (ran.code != 2 or document["error"]["code"] != "backup-folder"):
            wrong.append(f"{name}: {document}")
        told = ran.names[at - 1]
        if "partial" in told and told in ran.names[at:]:
            wrong.append(f"{kept} was synced again")
        if not api.backup_verify(scene.house.target())["ok"]:
            wrong.append(f"{name}: a backup that is not whole is listed")
        if ran.code == 0 and document.get("outcome") == "migrated" and scene.house.everything() != scene.new:
            wrong.append(f"{name}: told as migrated")
    record_property("tries", len(names))
    assert wrong == []
    assert len(names) > 3
