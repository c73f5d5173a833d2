"""Folders that go, come back, or come late."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from watchdog.events import DirDeletedEvent

from driftd.watch.folder import AGAIN, LOOK, Heard, meaning
from driftd.watch.wishes import Wish, wishes_for
from watching import is_watched, until

if TYPE_CHECKING:
    from watching import Project, Recorder

OWNER = "shop"


def make_again(project: Project) -> None:
    """The package as after a checkout."""
    project.package.mkdir()
    project.models.write_text("again = 1\n")


def test_a_folder_that_tells_of_its_own_end_is_watched_anew(project: Project, recorder: Recorder) -> None:
    """Its thread may live for another moment, and the folder that stands there may have the same inode: no proof."""
    folder = str(project.package)
    recorder.watcher.watch(OWNER, project.wishes())
    known = recorder.watcher._scheduler.folders
    own_end = meaning(known[folder], DirDeletedEvent(folder), known, 0.0)
    assert own_end == Heard((OWNER,), ((AGAIN, folder),))
    told_by_parent = meaning(known[str(project.root)], DirDeletedEvent(folder), known, 0.0)
    assert told_by_parent == Heard((OWNER,), ((LOOK, folder),))
    before = known[folder].emitter
    assert recorder.watcher._scheduler.repair(LOOK, folder) == set()
    assert known[folder].emitter is before
    assert recorder.watcher._scheduler.repair(AGAIN, folder) == {folder}
    assert known[folder].emitter is not before
    assert is_watched(recorder.watcher, project.package)


@pytest.mark.parametrize("round_", range(5))
def test_a_folder_removed_and_made_again_is_watched_again(
    project: Project, recorder: Recorder, round_: int
) -> None:
    """Its parent tells, without a check; the new folder often has the old one's inode."""
    recorder.watcher.watch(OWNER, project.wishes())
    for number in range(round_ + 1):
        shutil.rmtree(project.package)
        make_again(project)
        recorder.wait(OWNER)
        until(lambda: is_watched(recorder.watcher, project.package))
        recorder.pass_barrier(project.package)
        recorder.take(OWNER)
        project.models.write_text(f"number = {number}\n")
        recorder.wait(OWNER)


def test_a_check_alone_finds_a_folder_made_again(project: Project, recorder: Recorder) -> None:
    """Where no parent is watched, nothing tells that it is back."""
    wish = Wish(str(project.package), frozenset({"models.py"}))
    recorder.watcher.watch(OWNER, [wish])
    shutil.rmtree(project.package)
    until(lambda: recorder.watcher.reasons == {str(project.package): "missing"})
    until(lambda: not recorder.watcher._mending)
    recorder.take(OWNER)
    assert recorder.watcher.check() == (str(project.package),)
    assert recorder.watcher.reasons == {str(project.package): "missing"}
    assert recorder.watcher.polled(OWNER) == (), "it is waited for in the folder above"
    assert recorder.watcher.reasons == {str(project.package): "missing"}
    make_again(project)
    recorder.take(OWNER)
    assert recorder.watcher.check() == ()
    assert recorder.notes == [OWNER]
    recorder.take(OWNER)
    project.models.write_text("x = 2\n")
    recorder.wait(OWNER)


def test_a_check_alone_finds_another_folder_under_the_old_name(project: Project, recorder: Recorder) -> None:
    """The old folder lives on elsewhere, and so does watchdog's thread for it: the inode tells."""
    wish = Wish(str(project.package), frozenset({"models.py"}))
    recorder.watcher.watch(OWNER, [wish])
    project.package.rename(project.root / "old")
    make_again(project)
    assert recorder.watcher.check() == ()
    assert recorder.notes == [OWNER]
    recorder.take(OWNER)
    project.models.write_text("x = 2\n")
    recorder.wait(OWNER)


def test_a_check_that_finds_everything_well_notes_nobody(project: Project, recorder: Recorder) -> None:
    """And schedules nothing."""
    recorder.watcher.watch(OWNER, project.wishes())
    before = {path: folder.watch for path, folder in recorder.watcher._scheduler.folders.items()}
    assert recorder.watcher.check() == ()
    assert {path: folder.watch for path, folder in recorder.watcher._scheduler.folders.items()} == before
    assert recorder.notes == []


def test_a_folder_renamed_away_and_back(project: Project, recorder: Recorder) -> None:
    """Both are noted, and afterwards it is watched as before."""
    recorder.watcher.watch(OWNER, project.wishes())
    away = project.root / "away"
    project.package.rename(away)
    recorder.wait(OWNER)
    until(lambda: recorder.watcher.reasons == {str(project.package): "missing"})
    recorder.take(OWNER)
    away.rename(project.package)
    recorder.wait(OWNER)
    until(lambda: is_watched(recorder.watcher, project.package))
    recorder.pass_barrier(project.package)
    recorder.take(OWNER)
    project.models.write_text("x = 2\n")
    recorder.wait(OWNER)
    assert recorder.watcher.polled(OWNER) == ()


def test_what_is_no_folder_is_not_watched(project: Project, recorder: Recorder) -> None:
    """A file or a link in its place counts as missing: a watch on it would stay with the wrong thing."""
    link = project.root / "link"
    link.symlink_to(project.package)
    recorder.watcher.watch(OWNER, [Wish(str(link), quiet=True), Wish(str(project.models))])
    assert recorder.watcher.reasons == {str(link): "missing", str(project.models): "missing"}


def test_a_folder_that_does_not_exist_yet(project: Project, recorder: Recorder) -> None:
    """It is waited for, level by level, and watched as soon as it is there."""
    source = project.root / "later" / "deep" / "models.py"
    recorder.watcher.watch(OWNER, wishes_for([str(source)], []))
    assert recorder.watcher.reasons[str(source.parent)] == "missing"
    source.parent.mkdir(parents=True)
    recorder.wait(OWNER)
    until(lambda: is_watched(recorder.watcher, source.parent))
    recorder.pass_barrier(source.parent)
    recorder.take(OWNER)
    source.write_text("x = 1\n")
    recorder.wait(OWNER)
    assert recorder.watcher.polled(OWNER) == ()


def test_two_owners_share_one_watch_of_a_folder(project: Project, recorder: Recorder) -> None:
    """Each hears of its own names; when one is forgotten, the other one is still told."""
    folder = str(project.package)
    recorder.watcher.watch("a", [Wish(folder, frozenset({"models.py"}))])
    recorder.watcher.watch("b", [Wish(folder, frozenset({"models.py", "orders.py"}))])
    observer = recorder.watcher._scheduler._observer
    assert observer is not None
    assert len(observer.emitters) == 1
    project.models.write_text("x = 1\n")
    recorder.wait("a")
    recorder.wait("b")
    recorder.pass_barrier(project.package)
    recorder.take("a")
    recorder.take("b")
    (project.package / "orders.py").touch()
    recorder.wait("b")
    recorder.pass_barrier(project.package)
    assert "a" not in recorder.notes
    recorder.take("b")
    recorder.watcher.forget("a")
    project.models.write_text("x = 2\n")
    recorder.wait("b")
    recorder.pass_barrier(project.package)
    assert "a" not in recorder.notes


def test_who_joins_a_folder_that_is_watched_already_is_told_to_look_once_more(
    project: Project, recorder: Recorder
) -> None:
    """What was saved in it before it joined was heard for others alone; asking for the same again tells nothing new."""
    wish = Wish(str(project.package), frozenset({"models.py"}))
    assert recorder.watcher.watch("first", [wish])
    assert recorder.watcher.watch("second", [wish])
    assert not recorder.watcher.watch("second", [wish])


def test_the_last_owner_takes_the_watch_along(project: Project, recorder: Recorder) -> None:
    """A folder that nobody wishes for costs nothing."""
    recorder.watcher.watch("a", project.wishes())
    recorder.watcher.watch("b", project.wishes())
    observer = recorder.watcher._scheduler._observer
    assert observer is not None
    watches = len(observer.emitters)
    recorder.watcher.forget("a")
    assert len(observer.emitters) == watches
    recorder.watcher.forget("b")
    recorder.watcher.forget("nobody")
    assert not observer.emitters


def test_only_the_differences_are_scheduled(project: Project, recorder: Recorder) -> None:
    """New wishes leave the watches of the folders alone that stay, and say whether another folder has come."""
    assert recorder.watcher.watch(OWNER, project.wishes())
    kept = recorder.watcher._scheduler.folders[str(project.package)].watch
    assert not recorder.watcher.watch(OWNER, project.wishes())
    more = wishes_for([str(project.models), str(project.root / "schema.sql")], [str(project.package)])
    assert recorder.watcher.watch(OWNER, more)
    assert recorder.watcher._scheduler.folders[str(project.package)].watch is kept
    assert str(project.database.parent) not in recorder.watcher._scheduler.folders


def test_an_owner_is_told_when_another_one_makes_its_folder_loud(
    project: Project, recorder: Recorder
) -> None:
    """Asking the kernel for more leaves a gap, so whoever listened already looks once more."""
    folder = str(project.package)
    recorder.watcher.watch("a", [Wish(folder, frozenset({"models.py"}), quiet=True)])
    recorder.watcher.watch("b", [Wish(folder, frozenset({"models.py"}))])
    assert recorder.notes == ["a"]
    recorder.take("a")
    project.models.write_text("x = 1\n")
    recorder.wait("b")
    recorder.pass_barrier(project.package)
    assert "a" not in recorder.notes
