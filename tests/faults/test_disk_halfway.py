"""Files that are taken away, exchanged, cut or forbidden between two system calls of a command that uses them."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.crash_points import ALL
from support.disk_faults import STORIES, TARGET, Scene, codes
from support.disk_halfway import halfway
from support.faultline import CHANGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.faultline.runs import Ran, Runs

    Recorded = Callable[[str, object], None]

pytestmark = pytest.mark.timeout(7200 if ALL else 400)
POINTS = 10**6 if ALL else 3
NAMED = {story.name: story for story in STORIES}
COMMANDS = ("apply-rebuild", "apply-native", "rollback", "restore", "backup", "prune", "adopt")
FOREIGN = "CREATE TABLE theirs (id INTEGER PRIMARY KEY); INSERT INTO theirs VALUES (7)"


def backups_moved(scene: Scene) -> None:
    with suppress(FileNotFoundError):  # at some points it has not been made yet
        (scene.house.folder / "backups").rename(scene.house.folder / "elsewhere")


def backups_a_file(scene: Scene) -> None:
    backups_moved(scene)
    (scene.house.folder / "backups").write_text("no folder")


def backups_a_link(scene: Scene) -> None:
    backups_moved(scene)
    (scene.house.folder / "other").mkdir()
    (scene.house.folder / "backups").symlink_to("other")


def backups_gone(scene: Scene) -> None:
    shutil.rmtree(scene.house.folder / "backups", ignore_errors=True)


def another_database(path: Path) -> None:
    """A sound one with a table of somebody else's, written aside and moved there."""
    aside = path.with_name("aside.db")
    with closing(sqlite3.connect(aside, isolation_level=None)) as connection:
        connection.executescript(FOREIGN)
    aside.rename(path)


def theirs_in(path: Path) -> bool:
    """Whether that other one is there, with its row."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute("SELECT * FROM theirs").fetchall() == [(7,)]
        except sqlite3.OperationalError:
            return False


def database_replaced(scene: Scene) -> None:
    for end in ("-wal", "-shm", "-journal"):
        (scene.house.database.parent / f"app.db{end}").unlink(missing_ok=True)
    another_database(scene.house.database)


def database_deleted(scene: Scene) -> None:
    for path in scene.house.folder.glob("app.db*"):
        path.unlink()


def database_a_folder(scene: Scene) -> None:
    database_deleted(scene)
    scene.house.database.mkdir()


def database_cut(scene: Scene) -> None:
    os.truncate(scene.house.database, 4096)


def database_emptied(scene: Scene) -> None:
    os.truncate(scene.house.database, 0)


def everything_moved(scene: Scene) -> None:
    scene.house.folder.rename(scene.house.folder.with_name("moved"))


BACKUPS = (backups_moved, backups_a_file, backups_a_link, backups_gone)
DATABASE = (
    database_replaced,
    database_deleted,
    database_a_folder,
    database_cut,
    database_emptied,
    everything_moved,
)


def named(one: object) -> str:
    return getattr(one, "__name__", str(one))


def pairs(
    commands: tuple[str, ...], acts: tuple[Callable[[Scene], None], ...]
) -> list[tuple[str, Callable[[Scene], None]]]:
    """All acts for the first command, and another one for each of the rest; all for all with DRIFTD_FAULTS=all."""
    rest = [
        (name, act)
        for place, name in enumerate(commands[1:])
        for act in (acts if ALL else (acts[place % len(acts)],))
    ]
    return [(commands[0], act) for act in acts] + rest


def spread(points: list[int], first: int) -> list[int]:
    """So many of them, evenly, each time others."""
    step = max(1, len(points) // POINTS)
    return points[first % step :: step][:POINTS]


def put_back(scene: Scene) -> None:
    """A folder for backups can be made again."""
    place = scene.house.folder / "backups"
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)


def committed(scene: Scene) -> int:
    """The first point behind COMMIT: what goes after that had happened."""
    scene.reset()
    names = scene.run(told=True).names
    rehearsed = max((at for at, name in enumerate(names, 1) if "rehearsal" in name), default=len(names))
    return next((at for at, name in enumerate(names, 1) if at > rehearsed and "journal.jsonl" in name), 0)


def written(scene: Scene) -> int:
    """The last point at which a restore writes to the database: what goes after that had been brought back."""
    scene.reset()
    names = scene.run(told=True).names
    noted = max(at for at, name in enumerate(names, 1) if "journal.jsonl" in name)
    end = "app.db-wal" if scene.house.journal == "wal" else "app.db"
    return max(at for at, name in enumerate(names[:noted], 1) if name.endswith(end))


def told(ran: Ran, points: str) -> list[str]:
    """What was wrong with what it said."""
    wrong = []
    if ran.code not in {0, 1, 2}:
        wrong.append(f"exit code {ran.code}")
    if "Traceback" in ran.err or "bug in driftd" in ran.err:
        wrong.append(ran.err[-500:])
    error = ran.json().get("error") if ran.out else None
    if error and (error["code"] not in codes() or error["code"] == "internal"):
        wrong.append(str(error))
    if ran.code == 2 and not error:
        wrong.append(f"no error told: {ran.out}")
    return [f"{points}: {one}" for one in wrong]


@pytest.mark.parametrize(("name", "act"), pairs(COMMANDS, BACKUPS), ids=named)
def test_the_backups_folder_goes(
    runs: Runs, tmp_path: Path, name: str, act: Callable[[Scene], None], record_property: Recorded
) -> None:
    """The database is the old or the new one, as was told; a migration without its backup has not happened, or is warned of."""
    scene = Scene(tmp_path, runs, NAMED[name], "wal")
    points, behind = scene.points(CHANGES)[1:], committed(scene) if name.startswith("apply") else 0
    wrong, tries = [], 0
    for at in spread(points, len(act.__name__)):
        scene.reset()
        tries += 1
        ran = halfway(scene, at, lambda: act(scene))
        wrong += told(ran, str(at))
        content = scene.house.everything()
        if content not in {scene.old, scene.new}:
            wrong.append(f"{at}: neither old nor new")
        document = ran.json()
        done = document["outcome"] == "migrated" if "outcome" in document else ran.code == 0
        # Brought back, but that could not be noted: which is what it says.
        done = done or (document.get("error") or {}).get("code") == "restore-not-noted"
        if scene.old != scene.new and done != (content == scene.new):
            wrong.append(f"{at}: {document} and the database is {'new' if content == scene.new else 'old'}")
        if done and at < behind and not document["warnings"]:
            path = document["backup"]["path"]
            if not os.path.exists(path):  # noqa: PTH110  # through a link or not
                wrong.append(f"{at}: its backup is not there, and nothing says so")
        put_back(scene)
        again = scene.healed()
        wrong += told(again, f"{at} healed")
        if again.code == 2:
            wrong.append(f"{at}: {again.out}")
    record_property("tries", tries)
    assert wrong == []
    assert tries >= min(POINTS, len(points))


@pytest.mark.parametrize(
    ("name", "act"), pairs(("apply-rebuild", "apply-native", "restore", "backup"), DATABASE), ids=named
)
@pytest.mark.parametrize("journal", ["delete", "wal"] if ALL else ["wal"])
def test_the_database_goes(
    runs: Runs,
    tmp_path: Path,
    name: str,
    act: Callable[[Scene], None],
    journal: str,
    record_property: Recorded,
) -> None:
    """It never counts as migrated when it is not; somebody else's database keeps its rows; the next run says what is there."""
    scene = Scene(tmp_path, runs, NAMED[name], journal)
    restores = name == "restore"
    points, behind = scene.points(CHANGES)[1:], written(scene) + 1 if restores else committed(scene)
    cut = act in {database_cut, database_emptied}  # what is left of it is what somebody made of it
    wrong, tries = [], 0
    for at in spread(points, len(act.__name__)):
        scene.reset()
        tries += 1
        ran = halfway(scene, at, lambda: act(scene))
        wrong += told(ran, str(at))
        if act is everything_moved:
            shutil.rmtree(scene.house.folder, ignore_errors=True)  # what a command has made there since
            scene.house.folder.with_name("moved").rename(scene.house.folder)
        database = scene.house.database
        there = database.is_file() and database.stat().st_size > 0
        if there and not cut and scene.house.ask("PRAGMA integrity_check") != [("ok",)]:
            wrong.append(f"{at}: damaged")
        document = ran.json()
        if act is database_replaced and not theirs_in(scene.house.database):
            # It was there before all else, and a person wants another one there.
            saved = document.get("safety_backup")
            if not saved or not theirs_in(Path(saved["path"])):
                wrong.append(f"{at}: somebody else's rows are gone: {ran.out}")
        done = ran.code == 0 if restores else document.get("outcome") == "migrated"
        if done and at < behind and not cut:
            if not restores and document["backup"] is None:  # there was none any more, so it was made anew
                right = act is everything_moved or scene.house.ask("SELECT count(*) FROM t") == [(0,)]
            else:
                right = there and (
                    scene.house.everything() == scene.new or (act is database_replaced and not restores)
                )
            if not right:
                wrong.append(f"{at}: it says that it is done: {ran.out} {ran.err}")
        again = scene.run("check", *TARGET, "--json")
        wrong += told(again, f"{at} checked")
    record_property("tries", tries)
    assert wrong == []
    assert tries >= min(POINTS, len(points))
