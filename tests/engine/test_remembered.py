"""The remembered desired schema: real probes, real files; the models themselves count how often they are loaded."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import memory, remembered
from probe_project import ModelProject, table_names
from settled import settle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from driftengine.desired import Desired, ModelSource

COUNTING = """
import os
with open("runs", "a") as runs:
    runs.write("x")
"""


class Remembering:
    """A project whose desired schema is remembered in a folder beside it."""

    def __init__(self, project: ModelProject, place: Path) -> None:
        self.project = project
        self.place = place

    def source(self, *specs: str, **more: Any) -> ModelSource:
        """`models:Base`, unless something else is named."""
        return self.project.source(*(specs or ("models:Base",)), **more)

    def look(self, source: ModelSource | None = None) -> Desired:
        """As a cold check: what is remembered, else what the models say now."""
        source = source or self.source()
        found = remembered.recall(self.place, source)
        if found is None:
            settle(self.project.folder)
            found = remembered.load(source, self.place)
        return found

    @property
    def runs(self) -> int:
        """How often the models have been loaded."""
        path = self.project.folder / "runs"
        return len(path.read_text()) if path.exists() else 0

    @property
    def files(self) -> list[Path]:
        """What is remembered."""
        return sorted(self.place.iterdir()) if self.place.exists() else []


@pytest.fixture
def cold(tmp_path: Path) -> Remembering:
    """Models that count their loads, and nothing remembered yet."""
    (tmp_path / "project").mkdir()
    project = ModelProject(tmp_path / "project")
    project.models(COUNTING)
    return Remembering(project, tmp_path / "cache" / "driftd" / "desired")


def test_unchanged_models_are_loaded_once(cold: Remembering) -> None:
    """The second look loads nothing, and gives the very same schema, with defaults, hints, versions and inputs."""
    cold.project.models(
        COUNTING + "class A(Base):\n"
        "    __tablename__ = 'a'\n"
        "    id = Column(Integer, primary_key=True)\n"
        "    b = Column(String, nullable=False, default='x', info={'renamed_from': ['c', 'd'], 'backfill': '1'})\n"
        "class Elsewhere(Base):\n"
        "    __table__ = Table('e', Base.metadata, Column('id', Integer, primary_key=True), schema='s')\n"
    )
    first = cold.look()
    assert cold.look() == first
    assert cold.runs == 1
    assert table_names(first) == ["task", "a"]
    assert first.defaults
    assert first.hints
    assert first.unsupported


def test_models_of_a_script_are_remembered_too(cold: Remembering) -> None:
    """A source without an interpreter is remembered by its files."""
    cold.project.write("schema.sql", "CREATE TABLE a (b)")
    source = cold.source("schema.sql", python="/no/interpreter/is/started")
    assert cold.look(source) == cold.look(source)
    assert len(cold.files) == 1
    cold.project.write("schema.sql", "CREATE TABLE b (b)")
    assert table_names(cold.look(source)) == ["b"]


SETUPS: dict[str, tuple[str, Callable[[ModelProject, pytest.MonkeyPatch], object]]] = {
    "another table": (
        "",
        lambda p, _: p.models(COUNTING + "Table('b', Base.metadata, Column('c', Integer))\n"),
    ),
    "the same size in the same second": (
        "Table('b', Base.metadata, Column('c', String(50)))\n",
        lambda p, _: p.models(COUNTING + "Table('b', Base.metadata, Column('c', String(60)))\n"),
    ),
    "a module that pkgutil finds": (
        """
import importlib, pkgutil, parts
for found in pkgutil.iter_modules(parts.__path__):
    importlib.import_module("parts." + found.name)
""",
        lambda p, _: p.write(
            "parts/b.py", "from models import *\nTable('b', Base.metadata, Column('c', Integer))\n"
        ),
    ),
    "a module that was missing": (
        "try:\n    import extra\nexcept ImportError:\n    pass\n",
        lambda p, _: p.write("extra.py", ""),
    ),
    "data": (
        "for name in open('names.txt').read().split():\n    Table(name, Base.metadata, Column('c', Integer))\n",
        lambda p, _: p.write("names.txt", "b"),
    ),
    "data that was missing": (
        "try:\n    open('more.txt')\nexcept FileNotFoundError:\n    pass\n",
        lambda p, _: p.write("more.txt", "b"),
    ),
    "data of a kind": (
        "import glob\n[open(name).close() for name in glob.glob('tables/*.toml')]\n",
        lambda p, _: p.write("tables/b.toml", ""),
    ),
    "a variable": ("os.environ.get('TABLE_PREFIX')\n", lambda _, patch: patch.setenv("TABLE_PREFIX", "b")),
    "any variable": ("dict(os.environ)\n", lambda _, patch: patch.setenv("TABLE_PREFIX", "b")),
    "a distribution": ("", lambda p, _: (p.folder / "lib/site-packages/new-1.0.dist-info").mkdir()),
    "an edited link": ("", lambda p, _: p.write("lib/site-packages/old.pth", "# changed\n")),
}


@pytest.mark.parametrize("name", SETUPS)
def test_a_change_loads_the_models_again(
    cold: Remembering, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whatever loading depended on: its change is seen by the next look, and what that one finds is remembered."""
    text, change = SETUPS[name]
    project = cold.project
    project.models(COUNTING + text)
    project.write("parts/__init__.py", "")
    project.write("names.txt", "")
    project.write("tables/a.toml", "")
    project.write("lib/site-packages/old.pth", "# a link\n")
    monkeypatch.setenv("PYTHONPATH", str(project.folder / "lib/site-packages"))
    cold.look()
    cold.look()
    assert cold.runs == 1
    change(project, monkeypatch)
    assert cold.look() == cold.look()
    assert cold.runs == 2


HARMLESS: dict[str, Callable[[ModelProject], object]] = {
    "the same bytes": lambda p: p.models(COUNTING),
    "touch": lambda p: (p.folder / "models.py").touch(),
    "an unrelated file": lambda p: p.write("notes.txt", "x"),
    "backups": lambda p: p.write("backups/migrations/backup.db", "x"),
    "bytecode": lambda p: p.write("__pycache__/models.cpython-311.pyc", "x"),
    "the database": lambda p: [p.write(f"app.db{suffix}", "x") for suffix in ("", "-wal", "-shm")],
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_says_nothing_loads_nothing(cold: Remembering, change: Callable[[ModelProject], object]) -> None:
    """Files that come and go beside the models, and saves that change nothing, do not load them again."""
    cold.look()
    change(cold.project)
    cold.look()
    assert cold.runs == 1


def test_another_interpreter_loads_again(cold: Remembering) -> None:
    """Interpreters are told apart by name, by what the name leads to, and by what that is."""
    program = cold.project.write("bin/python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    cold.look()
    wrapped = cold.source(python=str(program))
    cold.look(wrapped)
    assert (cold.runs, len(cold.files)) == (2, 2)
    program.write_text(f'#!/bin/sh\n# another one\nexec "{sys.executable}" "$@"\n')
    cold.look(wrapped)
    assert cold.runs == 3
    cold.look()
    cold.look(wrapped)
    assert cold.runs == 3


def test_the_order_of_pythonpath_counts(cold: Remembering) -> None:
    """The same folders in another order give other models."""
    one, two = (str(cold.project.folder / name) for name in ("one", "two"))
    for name in ("one", "two"):
        cold.project.write(f"{name}/helper.py", "")
    cold.project.models(COUNTING + "import helper\n")
    assert cold.look(cold.source(pythonpath=(one, two))) != cold.look(cold.source(pythonpath=(two, one)))
    cold.look(cold.source(pythonpath=(one, two)))
    assert cold.runs == 2


def test_a_change_while_the_models_load_is_not_remembered(cold: Remembering) -> None:
    """What was read before the change must not be taken for what is there after it."""
    cold.project.write("helper.py", "")
    cold.project.models(COUNTING + "import helper\nopen(helper.__file__, 'a').write('# changed\\n')\n")
    cold.look()
    assert cold.files == []


def test_models_that_read_a_database_are_not_remembered(cold: Remembering) -> None:
    """Tables that are reflected follow the database, of which no footprint tells."""
    cold.project.models(COUNTING + "import sqlite3\nsqlite3.connect('other.db').close()\n")
    cold.look()
    cold.look()
    assert cold.runs == 2


def spoiled(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """A change of the document in a remembered file, sealed anew."""

    def spoil(path: Path) -> None:
        document = memory.read(path)
        change(document)
        assert memory.write(path, document)

    return spoil


SPOILED: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_text(""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "no document": lambda path: path.write_text("[1]"),
    "bytes": lambda path: path.write_bytes(bytes(range(256))),
    "a letter turned": lambda path: path.write_bytes(
        path.read_bytes().replace(b"CREATE TABLE", b"CREATE TABLF")
    ),
    "deep": lambda path: memory.write(path, json.loads("[" * 900 + "]" * 900)),
    "an older format": spoiled(lambda document: document.update(format=0)),
    "made by other code": spoiled(lambda document: document.update(maker="x")),
    "without a part": spoiled(lambda document: document.pop("footprint")),
    "other inputs": spoiled(lambda document: document["footprint"]["inputs"].update(more=[])),
    "others may write it": lambda path: path.chmod(0o666),
    "others may write its folder": lambda path: path.parent.chmod(0o777),
    "a link": lambda path: (path.rename(path.with_name("x")), path.symlink_to(path.with_name("x"))),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_file_that_cannot_be_trusted_is_ignored(cold: Remembering, spoil: Callable[[Path], object]) -> None:
    """Broken, foreign or old: the models are loaded again, without an error."""
    first = cold.look()
    spoil(cold.files[0])
    assert cold.look() == first
    assert cold.runs == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("whose", ["file", "folder"])
def test_what_belongs_to_somebody_else_is_ignored(cold: Remembering, whose: str) -> None:
    """Somebody else's file, or one in somebody else's folder, is not trusted."""
    cold.look()
    os.chown(cold.files[0] if whose == "file" else cold.place, 65534, 65534)
    cold.look()
    assert cold.runs == 2


def test_only_this_user_may_read_what_is_remembered(cold: Remembering) -> None:
    """The folder is 0700 and files are 0600, whatever the umask; no temporary file is left."""
    former = os.umask(0)
    try:
        cold.look()
    finally:
        os.umask(former)
    assert [path.suffix for path in cold.files] == [".json"]
    assert oct(cold.files[0].stat().st_mode & 0o777) == "0o600"
    assert oct(cold.place.stat().st_mode & 0o777) == "0o700"


def test_a_cache_that_cannot_be_written_costs_only_time(cold: Remembering) -> None:
    """With a file in place of the folder, looks answer all the same."""
    cold.place.parent.parent.mkdir()
    cold.place.parent.write_text("")
    assert table_names(cold.look()) == ["task"]
    assert table_names(cold.look()) == ["task"]
    assert cold.runs == 2


def test_a_full_disk_leaves_nothing_behind(cold: Remembering, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half-way leaves neither half a document nor a temporary file."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("driftengine.memory._seal", fail)
    cold.look()
    assert cold.files == []


def test_what_was_written_longest_ago_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder does not grow without end."""
    monkeypatch.setattr(memory, "KEPT", 3)
    for number in range(5):
        path = tmp_path / f"{number}.json"
        assert memory.write(path, {})
        os.utime(path, (number, number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.json", "3.json", "4.json"]


def test_where_schemas_are_remembered() -> None:
    """XDG_CACHE_HOME, else HOME, where they are absolute; else nowhere."""
    assert str(remembered.folder({"XDG_CACHE_HOME": "/c", "HOME": "/h"})) == "/c/driftd/desired"
    assert str(remembered.folder({"XDG_CACHE_HOME": "c", "HOME": "/h"})) == "/h/.cache/driftd/desired"
    assert remembered.folder({"XDG_CACHE_HOME": ""}) is None
