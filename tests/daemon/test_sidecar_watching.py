"""Whatever saves a model file, in whatever way, the daemon sees it: real models, real editors' habits, real git."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.sidecars import CONFIGURATION, Sidecar, changes, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BASE = "from sqlalchemy.orm import DeclarativeBase\n\n\nclass Base(DeclarativeBase):\n    pass\n"
PACKAGE = """\
import importlib
import pkgutil

from shop import tables
from shop.base import Base

for found in pkgutil.iter_modules(tables.__path__):
    importlib.import_module(f"shop.tables.{found.name}")
"""
TASK = """\
from sqlalchemy import Column, Integer, String

from shop.base import Base


class Task(Base):
    __tablename__ = "task"
    id = Column(Integer, primary_key=True)
    title = Column(String(50))
"""
DUE = TASK + "    due = Column(String(10))\n"
NOTE = TASK.replace("Task", "Note").replace("task", "note")
# Models that read a file of their own: a column for each line.
COLOURED = TASK + (
    "    for _name in (__import__('pathlib').Path(__file__).parent / 'colours.txt').read_text().split():\n"
    "        locals()[_name] = Column(String(7))\n"
)
TABLE = "CREATE TABLE task (id INTEGER NOT NULL, title VARCHAR(50), PRIMARY KEY (id));\n"


def project(folder: Path, mode: str = "window", task: str = TASK, columns: str = "") -> Sidecar:
    """A package of several modules, and the database that it describes."""
    package(folder / "shop", task)
    configuration = CONFIGURATION.replace("models.sql", "shop:Base").format(mode=mode)
    (folder / "driftd.toml").write_text(configuration, encoding="utf-8")
    with closing(sqlite3.connect(folder / "app.db")) as connection:
        connection.executescript(TABLE.replace(", PRIMARY", f"{columns}, PRIMARY"))
    return Sidecar(folder)


def package(root: Path, task: str = TASK) -> None:
    """The package in a folder that is not there yet."""
    (root / "tables").mkdir(parents=True)
    (root / "tables" / "__init__.py").write_bytes(b"")
    (root / "base.py").write_text(BASE, encoding="utf-8")
    (root / "__init__.py").write_text(PACKAGE, encoding="utf-8")
    (root / "tables" / "task.py").write_text(task, encoding="utf-8")


# --- how editors save


def in_place(file: Path, text: str) -> None:
    """The file is emptied and written."""
    file.write_text(text, encoding="utf-8")


def by_rename(file: Path, text: str) -> None:
    """A new file takes the place of the old one."""
    beside = file.with_name(f".{file.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def as_vim(file: Path, text: str) -> None:
    """The old file becomes a backup, a new one is written under its name, and the backup goes."""
    backup = file.with_name(f"{file.name}~")
    file.rename(backup)
    with file.open("w", encoding="utf-8") as written:
        written.write(text)
        written.flush()
        os.fsync(written.fileno())
    backup.unlink()


def as_emacs(file: Path, text: str) -> None:
    """A lock that is a link to nowhere, an autosave beside it, and then the file in place."""
    lock, autosave = file.with_name(f".#{file.name}"), file.with_name(f"#{file.name}#")
    lock.symlink_to("ada@machine.4711")
    autosave.write_text(text, encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    autosave.unlink()
    lock.unlink()


@pytest.mark.parametrize("saves", [(as_vim, in_place), (by_rename, as_emacs)])
def test_every_editors_way_of_saving_is_seen(
    tmp_path: Path, saves: tuple[Callable[[Path, str], None], ...]
) -> None:
    """A column is saved in a module of the package: it is staged; saved away again, all is as before."""
    there, back = saves
    with running(project(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        there(tmp_path / "shop" / "tables" / "task.py", DUE)
        assert changes(sidecar.state("ready")) == [("add_column", "due")]
        back(tmp_path / "shop" / "tables" / "task.py", TASK)
        assert sidecar.state("in_sync")["stage"] is None


def test_another_branch_is_one_change_and_back_again(tmp_path: Path) -> None:
    """$ git checkout wide: several files at once, one plan; $ git checkout main: in sync, and no backup stays."""
    sidecar = project(tmp_path)

    def git(*words: str) -> None:
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        command = ["git", *identity, "-c", "init.defaultBranch=main", *words]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("add", "shop")
    git("commit", "-m", "narrow")
    git("checkout", "-b", "wide")
    (tmp_path / "shop" / "tables" / "task.py").write_text(DUE, encoding="utf-8")
    (tmp_path / "shop" / "tables" / "note.py").write_text(NOTE, encoding="utf-8")
    git("add", "shop")
    git("commit", "-m", "wide")
    git("checkout", "main")
    with running(sidecar):
        sidecar.state("in_sync")
        git("checkout", "wide")
        assert sorted(changes(sidecar.state("ready"))) == [("add_column", "due"), ("create_table", "note")]
        git("checkout", "main")
        assert sidecar.state("in_sync")["plan"] is None
        sidecar.result("check")  # behind it the worker has done what it was told
        assert list((tmp_path / "backups").glob("*/backup_*.db")) == []


def test_a_formatter_that_changes_nothing_makes_no_look(tmp_path: Path) -> None:
    """Every file of the package is written again with the same bytes, and touched: no models are loaded."""
    with running(project(tmp_path)) as sidecar:
        looked_at = sidecar.state("in_sync")["looked_at"]
        for file in (tmp_path / "shop").rglob("*.py"):
            by_rename(file, file.read_text(encoding="utf-8"))
            os.utime(file)
        sidecar.result("check")  # confirms at once what the hints suppose
        assert sidecar.entry()["looked_at"] == looked_at
        (tmp_path / "shop" / "tables" / "task.py").write_text(DUE, encoding="utf-8")
        assert changes(sidecar.state("ready")) == [("add_column", "due")]


def test_a_flood_of_files_drowns_no_change(tmp_path: Path) -> None:
    """16,000 files come and go in the package's folder, and the change of a model after them is seen."""
    with running(project(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        for number in range(16_000):
            (tmp_path / "shop" / "tables" / f"{number}.part").write_bytes(b"")
        for number in range(16_000):
            (tmp_path / "shop" / "tables" / f"{number}.part").unlink()
        (tmp_path / "shop" / "tables" / "task.py").write_text(DUE, encoding="utf-8")
        assert changes(sidecar.state("ready")) == [("add_column", "due")]


@pytest.mark.parametrize("gone_for", ["a moment", "a look"])
def test_a_package_that_is_removed_and_made_again_is_followed(tmp_path: Path, gone_for: str) -> None:
    """Its folder goes, and another one of that name comes with other models: those count, and later saves in it."""
    with running(project(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        shutil.rmtree(tmp_path / "shop")
        if gone_for == "a look":
            assert sidecar.state("models_unreadable")["problem"]["code"].startswith("models-")
        package(tmp_path / "shop", DUE)
        assert changes(sidecar.state("ready")) == [("add_column", "due")]
        (tmp_path / "shop" / "tables" / "task.py").write_text(TASK, encoding="utf-8")
        sidecar.state("in_sync")


def test_a_release_is_switched_by_its_link(tmp_path: Path) -> None:
    """The package is a link that is pointed elsewhere in one step, as deployments do it."""
    sidecar = project(tmp_path)
    (tmp_path / "shop").rename(tmp_path / "release-1")
    package(tmp_path / "release-2", DUE)
    (tmp_path / "shop").symlink_to("release-1")
    with running(sidecar):
        sidecar.state("in_sync")
        (tmp_path / "next").symlink_to("release-2")
        (tmp_path / "next").replace(tmp_path / "shop")
        assert changes(sidecar.state("ready")) == [("add_column", "due")]
        (tmp_path / "release-2" / "tables" / "task.py").write_text(TASK, encoding="utf-8")
        sidecar.state("in_sync")


def test_half_a_file_is_told_and_the_whole_of_it_ends_that(tmp_path: Path) -> None:
    """Somebody writes slowly: what is there so far cannot be read; when the rest has come, it is staged."""
    text = DUE.encode()
    with running(project(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        with (tmp_path / "shop" / "tables" / "task.py").open("wb") as file:
            file.write(text[: text.index(b"(Base)") + 2])
            file.flush()
            with (tmp_path / "shop" / "tables" / "other.py").open("wb"):
                pass  # something else is saved, and makes it look
            problem = sidecar.state("models_unreadable")["problem"]
            assert "task.py" in problem["what"] + problem["why"]
            file.write(text[text.index(b"(Base)") + 2 :])
        assert changes(sidecar.state("ready")) == [("add_column", "due")]


def test_two_saves_of_one_size_in_one_second_are_two(tmp_path: Path) -> None:
    """The service has compiled the first one; the second has the same size and the same time, and still counts."""
    wide, wider = (TASK.replace("String(50)", f"String({n})") for n in (60, 70))
    sidecar = project(tmp_path)
    sidecar.environment["PYTHONDONTWRITEBYTECODE"] = ""
    file = tmp_path / "shop" / "tables" / "task.py"
    with running(sidecar):
        sidecar.state("in_sync")
        file.write_text(wide, encoding="utf-8")
        before = file.stat()
        entry = sidecar.state("ready")
        assert "VARCHAR(60)" in str(entry["plan"]["operations"])
        service = [sys.executable, "-c", "import shop"]
        subprocess.run(service, cwd=tmp_path, check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
        assert list(file.parent.glob("__pycache__/task.*.pyc"))
        file.write_text(wider, encoding="utf-8")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        sidecar.until(lambda one: one["state"] == "ready" and "VARCHAR(70)" in str(one["plan"]["operations"]))


def test_a_module_that_nobody_has_named_is_found(tmp_path: Path) -> None:
    """The package imports whatever stands in a folder: a new module there is a new table, and goes with the module."""
    with running(project(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        (tmp_path / "shop" / "tables" / "note.py").write_text(NOTE, encoding="utf-8")
        assert changes(sidecar.state("ready")) == [("create_table", "note")]
        (tmp_path / "shop" / "tables" / "note.py").unlink()
        sidecar.state("in_sync")


def test_a_file_that_the_models_read_is_watched_too(tmp_path: Path) -> None:
    """The models make a column for each line of a text file; a line more is a column more."""
    sidecar = project(tmp_path, task=COLOURED, columns=", red VARCHAR(7)")
    colours = tmp_path / "shop" / "tables" / "colours.txt"
    colours.write_text("red\n", encoding="utf-8")
    with running(sidecar):
        assert sidecar.state("in_sync")["watching"]["polled"] == []
        by_rename(colours, "red\nblue\n")
        assert changes(sidecar.state("ready")) == [("add_column", "blue")]
