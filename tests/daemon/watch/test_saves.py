"""Each way of saving a source is noted, and what is no save is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from driftd.watch.wishes import wishes_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from watching import Project, Recorder

OWNER = "shop"


def plain(path: Path) -> None:
    """Written in place."""
    path.write_text("second = 2\n")


def same_bytes(path: Path) -> None:
    """Written in place, and nothing is different; finding that out is the keeper's."""
    path.write_bytes(path.read_bytes())


def renamed_over(path: Path) -> None:
    """A new file takes the name."""
    new = path.with_name(".new")
    new.write_text("second = 2\n")
    new.replace(path)


def from_elsewhere(path: Path) -> None:
    """A new file comes from a folder that nobody watches."""
    new = path.parent.parent / "new"
    new.write_text("second = 2\n")
    new.replace(path)


def removed(path: Path) -> None:
    """Nothing is there any more."""
    path.unlink()


def moved_away(path: Path) -> None:
    """To a folder that nobody watches."""
    path.rename(path.parent.parent / "away")


@pytest.mark.parametrize("save", [plain, same_bytes, renamed_over, from_elsewhere, removed, moved_away])
def test_each_way_of_changing_a_source_is_noted(
    project: Project, recorder: Recorder, save: Callable[[Path], None]
) -> None:
    """Once, and again after it was taken."""
    recorder.watcher.watch(OWNER, project.wishes())
    save(project.models)
    recorder.wait(OWNER)
    recorder.pass_barrier(project.package)
    assert recorder.notes.count(OWNER) == 1
    recorder.take(OWNER)
    project.models.write_text("third = 3\n")
    recorder.wait(OWNER)


@pytest.mark.skipif(shutil.which("vim") is None, reason="vim is not installed")
@pytest.mark.parametrize("backupcopy", ["yes", "no"])
def test_a_save_by_vim_is_noted(project: Project, recorder: Recorder, backupcopy: str) -> None:
    """With `no`, vim renames the old file away and writes a new one; with `yes` it writes in place."""
    recorder.watcher.watch(OWNER, project.wishes())
    settings = f"set nocompatible backup writebackup backupcopy={backupcopy}"
    command = [
        "vim",
        "-u",
        "NONE",
        "-es",
        "-c",
        settings,
        "-c",
        "%s/first/second/",
        "-c",
        "wq",
        str(project.models),
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)
    assert project.models.read_text() == "second = 1\n"
    recorder.wait(OWNER)


def test_a_checkout_of_another_branch_is_noted(project: Project, recorder: Recorder) -> None:
    """Git deletes and writes files as it needs to."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=project.root, check=True, capture_output=True, timeout=60
        )

    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    git("checkout", "--quiet", "-b", "other")
    project.models.write_text("second = 2\n")
    git("commit", "--quiet", "--all", "--message=second")
    recorder.watcher.watch(OWNER, project.wishes())
    git("checkout", "--quiet", "main")
    recorder.wait(OWNER)
    assert project.models.read_text() == "first = 1\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a file is closed")
def test_a_file_that_is_being_written_is_noted_when_it_is_closed(
    project: Project, recorder: Recorder
) -> None:
    """Half a file is of no use to anybody; the whole one is noted at once."""
    recorder.watcher.watch(OWNER, project.wishes())
    with project.models.open("w") as file:
        file.write("second =")
        file.flush()
        os.fsync(file.fileno())
        recorder.pass_barrier(project.package)
        assert OWNER not in recorder.notes
        file.write(" 2\n")
    recorder.wait(OWNER)


def test_a_new_file_that_is_written_slowly_is_noted_twice(project: Project, recorder: Recorder) -> None:
    """When it appears, and when it is whole: a look at the first note sees half of it."""
    recorder.watcher.watch(OWNER, project.wishes())
    with (project.package / "orders.py").open("w") as file:
        recorder.wait(OWNER)
        recorder.take(OWNER)
        file.write("whole = True\n")
    recorder.wait(OWNER)


def test_reading_and_compiling_is_not_noted(project: Project, recorder: Recorder) -> None:
    """An import reads the sources and leaves bytecode beside them; attributes are no change either."""
    recorder.watcher.watch(OWNER, project.wishes())
    environment = {"PYTHONPATH": str(project.root), "PATH": os.environ["PATH"]}
    subprocess.run(
        [sys.executable, "-c", "import shop.models"], cwd="/", env=environment, check=True, timeout=60
    )
    assert list((project.package / "__pycache__").iterdir())
    project.models.chmod(0o600)
    os.utime(project.models)
    for name in (".models.py.swp", "4913", "models.py~", "notes.txt"):
        (project.package / name).write_text("x")
    recorder.pass_barrier(project.package)
    assert OWNER not in recorder.notes


@pytest.mark.parametrize("name", ["ünï.py", "with space.py", "new\nline.py", "%s.py", "-rf.py", "models.PY"])
def test_any_name_can_be_watched(project: Project, recorder: Recorder, name: str) -> None:
    """As the name of a source, and of its folder."""
    folder = project.root / name.removesuffix(".py")
    folder.mkdir()
    source = folder / name
    source.touch()
    recorder.watcher.watch(OWNER, wishes_for([str(source)], []))
    source.write_text("x = 1\n")
    recorder.wait(OWNER)


def test_a_name_that_is_no_text_does_not_end_the_watching(project: Project, recorder: Recorder) -> None:
    """Names are bytes to the system; such a one is no module, and what comes after it is heard."""
    recorder.watcher.watch(OWNER, project.wishes())
    with open(os.fsencode(project.package) + b"/\xff\xfe.txt", "wb"):  # noqa: PTH123  # Path takes no bytes
        pass
    recorder.pass_barrier(project.package)
    plain(project.models)
    recorder.wait(OWNER)


def test_a_linked_source_is_noted_at_both_ends(project: Project, recorder: Recorder) -> None:
    """Writing the real file, and pointing the link elsewhere."""
    real, other, link = (project.root / name for name in ("real.sql", "other.sql", "schema.sql"))
    real.touch()
    other.touch()
    link.symlink_to(real)
    recorder.watcher.watch(OWNER, wishes_for([str(link)], []))
    real.write_text("-- new\n")
    recorder.wait(OWNER)
    recorder.pass_barrier(project.root)
    recorder.take(OWNER)
    new = project.root / "new-link"
    new.symlink_to(other)
    new.replace(link)
    recorder.wait(OWNER)


def test_a_release_is_switched_by_its_link(project: Project, recorder: Recorder) -> None:
    """`current` is pointed at another folder, and everything behind it is another."""
    for release in ("r1", "r2"):
        shutil.copytree(project.package, project.root / release / "shop")
    current = project.root / "current"
    current.symlink_to("r1")
    source = str(current / "shop" / "models.py")
    recorder.watcher.watch(OWNER, wishes_for([source], []))
    (project.root / "next").symlink_to("r2")
    (project.root / "next").replace(current)
    recorder.wait(OWNER)
    recorder.pass_barrier(project.root)
    recorder.watcher.watch(OWNER, wishes_for([source], []))
    recorder.take(OWNER)
    plain(project.root / "r2" / "shop" / "models.py")
    recorder.wait(OWNER)
