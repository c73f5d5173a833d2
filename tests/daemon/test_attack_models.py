"""Models whose schema hangs on something beside their own source: a cold check must not remember what is no longer so."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from driftengine import remembered
from probe_project import ModelProject
from settled import settle

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine.desired import ModelSource

MORE = """
import glob, importlib, os, pathlib, pkgutil, sys
def more(name):
    Table(name, Base.metadata, Column("id", Integer, primary_key=True))
"""


class Remembered:
    """A project whose schema was loaded once, and the place where it is remembered."""

    def __init__(self, folder: Path, text: str, *files: str) -> None:
        self.project = ModelProject(folder / "project")
        self.project.folder.mkdir()
        for name in files:
            self.project.write(name, "")
        self.project.models(MORE + text)
        self._place = folder / "memory"
        settle(self.project.folder)
        before = remembered.load(self.source, self._place)
        assert remembered.recall(self._place, self.source) == before

    @property
    def source(self) -> ModelSource:
        """Its models, with a second folder on the path."""
        other = str(self.project.folder / "other")
        return self.project.source("models:Base", pythonpath=(other,))

    @property
    def holds(self) -> bool:
        """Is what was loaded believed still?"""
        return remembered.recall(self._place, self.source) is not None

    def tables(self) -> set[str]:
        """What the models describe now, beside the table that is always there."""
        return {one.name for one in remembered.load(self.source, None).stored} - {"task"}


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("if os.path.exists('audit.on'):\n    more('x')\n", "", "audit.on"),
        ("if pathlib.Path(__file__).with_name('.env').is_file():\n    more('x')\n", "", ".env"),
        ("if os.path.isdir('plugins'):\n    more('x')\n", "", "plugins/readme"),
        ("for f in glob.glob('parts/*.part'):\n    more(pathlib.Path(f).stem)\n", "parts/a.part", "parts/x.part"),
        ("for f in pathlib.Path('parts').iterdir():\n    more(f.stem)\n", "parts/a", "parts/x"),
        ("for f in os.listdir('parts'):\n    more(f)\n", "parts/a/readme", "parts/x/readme"),
        (
            "for here, _, names in os.walk('parts'):\n    for f in names:\n        more(f[0])\n",
            "parts/1/a.txt",
            "parts/2/x.txt",
        ),
        ("try:\n    import plain.part\n    more('x')\nexcept ImportError:\n    pass\n", "", "plain/part.py"),
        ("import plain\nfor m in pkgutil.iter_modules(plain.__path__):\n    more(m.name)\n", "plain/a.py", "other/plain/x.py"),
        (
            "import app\ntry:\n    importlib.import_module('app.parts')\n    more('x')\nexcept ImportError:\n    pass\n",
            "app/__init__.py",
            "app/parts/readme",
        ),
    ],
)  # fmt: skip
def test_what_appears_is_seen(tmp_path: Path, text: str, before: str, after: str) -> None:
    """A flag, a folder, a name in a listed folder, a package without `__init__.py`: the models are loaded again."""
    one = Remembered(tmp_path, text, *filter(None, [before]))
    one.project.write(after, "")
    assert not one.holds
    assert "x" in one.tables()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("if os.path.exists('audit.on'):\n    more('x')\n", "audit.on"),
        ("for f in glob.glob('parts/*'):\n    more(pathlib.Path(f).stem)\n", "parts/x.part"),
    ],
)
def test_what_goes_is_seen(tmp_path: Path, text: str, name: str) -> None:
    """Without it the models describe less."""
    one = Remembered(tmp_path, text, name)
    assert one.tables() == {"x"}
    (one.project.folder / name).unlink()
    assert not one.holds
    assert one.tables() == set()


@pytest.mark.parametrize(
    "read", ["open('part', 'r+').read()", "(open('part', 'a').close(), open('part').read())[1]"]
)
def test_a_file_that_is_locked_and_read_is_read(tmp_path: Path, read: str) -> None:
    """Opened for writing and never written: what stands in it counts as in any file that is read."""
    one = Remembered(tmp_path, f"for name in {read}.split():\n    more(name)\n", "part")
    one.project.write("part", "x")
    assert not one.holds
    assert one.tables() == {"x"}


def test_a_database_in_a_listed_folder_is_left_to_itself(tmp_path: Path) -> None:
    """Rows, a log that comes and goes, hidden files and a backup of an editor are no other models."""
    one = Remembered(tmp_path, "os.path.exists('app.db')\nfor f in os.listdir('.'):\n    pass\n", "app.db")
    database = one.project.folder / "app.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("CREATE TABLE task (id INTEGER PRIMARY KEY)")
        assert database.with_name("app.db-wal").exists()
        one.project.write(".models.py.swp", "")
        one.project.write("models.py~", "")
        assert one.holds


def test_the_standard_library_works_as_ever_while_it_is_listened_to(tmp_path: Path) -> None:
    """What asks `os.stat` by position, by descriptor, of a folder's descriptor, or keeps it in a class, is answered."""
    text = """
        import shutil, tempfile
        class Keeps:
            stat = os.stat
        assert Keeps().stat("models.py").st_size and os.stat(0) and os.stat(b"models.py")
        folder = os.open(".", os.O_RDONLY)
        assert os.stat("models.py", dir_fd=folder, follow_symlinks=False).st_size
        assert os.stat in os.supports_dir_fd and os.stat in os.supports_follow_symlinks
        shutil.copystat("models.py", "copied"), shutil.rmtree(tempfile.mkdtemp())
        try:
            os.stat("gone")
        except FileNotFoundError:
            more("x")
    """
    one = Remembered(tmp_path, "\n".join(line[8:] for line in text.splitlines()) + "\n", "copied")
    assert one.tables() == {"x"}
