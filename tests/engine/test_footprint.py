"""Footprints: what moves them, what does not, and when a stat is not believed. Real files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from driftengine.footprint import (
    SECOND,
    TICK,
    Inputs,
    Stat,
    _before,
    _stat_of,
    find_interpreter,
    measure,
    moved,
    settled,
)
from settled import settle

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package, data, an environment of installed distributions, and an interpreter; all of it settled."""
    for name, text in {
        "app/__init__.py": "",
        "app/models.py": "a = 1\n",
        "app/plain/readme.txt": "",
        "app/sub/__init__.py": "",
        "data/names.json": "[]",
        "lib/one-1.0.dist-info/RECORD": "",
        "lib/two.pth": "/somewhere\n",
        "venv/bin/python": "#!/bin/sh\n",
        "venv/pyvenv.cfg": "home = /usr\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    settle(tmp_path)
    return tmp_path


def inputs(folder: Path, **more: tuple[str, ...]) -> Inputs:
    """All that is in the folder."""
    return Inputs(
        files=(
            str(folder / "app/__init__.py"),
            str(folder / "app/models.py"),
            str(folder / "data/names.json"),
        ),
        folders=(str(folder / "app"), str(folder / "data")),
        libraries=(str(folder / "lib"),),
        python=str(folder / "venv/bin/python"),
        missing=(str(folder / ".env"),),
        **more,
    )


def replaced(path: Path, text: str) -> None:
    """Save as editors do: a new file under the old name."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.replace(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "other bytes": lambda f: (f / "app/models.py").write_text("a = 2\n"),
    "other bytes by rename": lambda f: replaced(f / "app/models.py", "a = 2\n"),
    "a file removed": lambda f: (f / "app/models.py").unlink(),
    "a file that became a folder": lambda f: (
        (f / "data/names.json").unlink(),
        (f / "data/names.json").mkdir(),
    ),
    "data": lambda f: (f / "data/names.json").write_text("{}"),
    "a missing file appears": lambda f: (f / ".env").write_text(""),
    "a new module": lambda f: (f / "app/new.py").write_text(""),
    "a compiled module": lambda f: (f / "app/fast.cpython-311-x86_64-linux-gnu.so").write_text(""),
    "a new package": lambda f: ((f / "app/more").mkdir(), (f / "app/more/__init__.py").write_text("")),
    "a folder becomes a package": lambda f: (f / "app/plain/__init__.py").write_text(""),
    "a package becomes a folder": lambda f: (f / "app/sub/__init__.py").unlink(),
    "data of a kind that was read there": lambda f: (f / "data/more.json").write_text("[]"),
    "a folder removed": lambda f: (f / "data").rename(f / "elsewhere"),
    "a distribution installed": lambda f: (f / "lib/three-3.dist-info").mkdir(),
    "a distribution removed": lambda f: (f / "lib/two.pth").unlink(),
    "a link of the environment edited": lambda f: (f / "lib/two.pth").write_text("/elsewhere\n"),
    "another interpreter": lambda f: (f / "venv/bin/python").write_text("#!/bin/bash\n"),
    "another base of the environment": lambda f: (f / "venv/pyvenv.cfg").write_text("home = /opt\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_seen(folder: Path, change: Callable[[Path], object]) -> None:
    """Each kind of change is seen by stat, and gives another key, also where hashes are taken over."""
    before = measure(inputs(folder))
    change(folder)
    assert moved(before)
    after = measure(inputs(folder), before)
    assert after.key != before.key
    assert after.key == measure(inputs(folder)).key


HARMLESS: dict[str, Callable[[Path], object]] = {
    "touch": lambda f: (f / "app/models.py").touch(),
    "the same bytes again": lambda f: (f / "app/models.py").write_text("a = 1\n"),
    "the same bytes by rename": lambda f: replaced(f / "app/models.py", "a = 1\n"),
    "bytecode": lambda f: ((f / "app/__pycache__").mkdir(), (f / "app/__pycache__/x.pyc").write_text("")),
    "a database and its log": lambda f: [(f / "app" / name).write_text("") for name in ("x.db", "x.db-wal")],
    "backups": lambda f: ((f / "app/backups").mkdir(), (f / "app/backups/b").write_text("")),
    "a database in a package": lambda f: (f / "app/sub/x.db-journal").write_text(""),
    "a log": lambda f: (f / "app/app.log").write_text(""),
    "an editor's file": lambda f: (f / "app/.models.py.swp").write_text(""),
    "data of another kind": lambda f: (f / "data/notes.txt").write_text(""),
    "other permissions": lambda f: (f / "app/models.py").chmod(0o600),
    "what a library wrote": lambda f: (f / "lib/cache.dat").write_text(""),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_says_nothing_changes_no_key(folder: Path, change: Callable[[Path], object]) -> None:
    """What neither an import nor the models' own reading would notice gives the same key."""
    before = measure(inputs(folder))
    change(folder)
    assert measure(inputs(folder), before).key == before.key


def test_nothing_moved_is_told_by_stat_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything had settled, nothing is opened again, neither to see that nothing moved nor to measure anew."""
    before = measure(inputs(folder))

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("builtins.open", refuse)
    assert not moved(before)
    assert measure(inputs(folder), before).key == before.key


def test_a_change_in_the_same_tick_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was written just before the look may be written again with the same stat: it is hashed again."""
    models = folder / "app/models.py"
    models.write_text("a = 2\n")
    first = measure(inputs(folder))
    same = _stat_of(models.stat())
    models.write_text("a = 3\n")

    def stopped(found: os.stat_result) -> Stat:
        """Of a file system whose clock had not moved on."""
        return same if found.st_ino == same.inode else _stat_of(found)

    monkeypatch.setattr("driftengine.footprint._stat_of", stopped)
    assert moved(first)
    assert measure(inputs(folder), first).key != first.key


def test_a_clock_of_whole_seconds_is_believed_later() -> None:
    """Times without fractions come from a file system that counts seconds: two of them must have passed."""
    now = 1_700_000_000 * SECOND
    assert not _before(now - 2 * SECOND, now)
    assert _before(now - 3 * SECOND, now)
    assert not _before(now - TICK + 1, now)
    assert _before(now - TICK - 1, now)


def test_what_changed_while_models_loaded_is_not_settled(folder: Path) -> None:
    """Only what had stopped changing before the probe began is what the probe has read."""
    since = measure(inputs(folder)).taken_at
    assert settled(measure(inputs(folder)), since)
    replaced(folder / "app/models.py", "a = 2\n")
    assert not settled(measure(inputs(folder)), since)
    settle(folder)
    assert settled(measure(inputs(folder)), measure(inputs(folder)).taken_at)


def test_a_file_that_vanished_while_models_loaded_is_not_settled(folder: Path) -> None:
    """The probe has read a file that is gone by the time of the look: nobody knows what it was."""
    (folder / "data/names.json").unlink()
    settle(folder)
    found = measure(inputs(folder))
    assert not settled(found, found.taken_at)


def test_a_switched_release_is_not_settled(folder: Path) -> None:
    """A symbolic link that was turned to another release brings files with old times: the link's own time counts."""
    for name in ("one", "two"):
        (folder / "releases" / name).mkdir(parents=True)
        (folder / "releases" / name / "models.py").write_text(name)
    current = folder / "current"
    current.symlink_to(folder / "releases" / "one")
    settle(folder)
    found = Inputs(files=(str(current / "models.py"),))
    before = measure(found)
    assert settled(before, before.taken_at)
    current.unlink()
    current.symlink_to(folder / "releases" / "two")
    assert moved(before)
    after = measure(found, before)
    assert not settled(after, before.taken_at)
    assert after.key != before.key


def test_models_that_opened_a_database_are_never_settled(folder: Path) -> None:
    """What they read in it is not known, and a look at it could cost this process its locks."""
    found = measure(inputs(folder, databases=(str(folder / "x.db"),)))
    assert not settled(found, found.taken_at)


def test_environment_variables_count_by_value(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were read, and those that the interpreter obeys; no others."""
    monkeypatch.delenv("PREFIX", raising=False)
    before = measure(inputs(folder, environment=("PREFIX",)))
    monkeypatch.setenv("UNRELATED", "x")
    assert not moved(before)
    for name in ("PREFIX", "PYTHONHASHSEED"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert moved(before)
            assert measure(inputs(folder, environment=("PREFIX",)), before).key != before.key
    assert not moved(before)


def test_the_whole_environment_counts_without_the_terminals_own(folder: Path) -> None:
    """Models that take all variables see a new one; in which terminal somebody sits is no change."""
    everything = inputs(folder, environment=("*", "A"))

    def key(**environment: str) -> str:
        return measure(everything, environment=environment).key

    assert key(A="1") != key(A="1", B="2")
    assert key(A="1") == key(A="1", SHLVL="3", SSH_TTY="/dev/pts/1", _="/bin/driftd")


def test_values_of_variables_are_not_kept(folder: Path) -> None:
    """A footprint is written to disk: secrets are in it as a hash of all of them together."""
    found = measure(inputs(folder, environment=("SECRET",)), environment={"SECRET": "hunter2"})
    assert "hunter2" not in repr(found)


def test_what_cannot_be_read_is_a_state_too(folder: Path) -> None:
    """A folder in place of a file, and a file in place of a folder, are measured without an error."""
    odd = Inputs(
        files=(str(folder / "app"),), folders=(str(folder / "app/models.py"),), libraries=("/nowhere",)
    )
    assert measure(odd).key == measure(odd).key
    assert measure(odd).key != measure(Inputs()).key


def test_inputs_of_two_attempts_join() -> None:
    """Behind an attempt that failed, both what it read and what the last good one read is watched."""
    joined = Inputs(files=("/a",), python="/one").joined(Inputs(files=("/b", "/a"), missing=("/c",)))
    assert joined == Inputs(files=("/a", "/b"), missing=("/c",), python="/one")
    assert joined.joined(Inputs(python="/two")).python == "/two"


def test_an_interpreter_is_found_by_path_and_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, relative or with ~, or a name on PATH; what is not executable is none. Links stay."""
    python = folder / "venv/bin/python"
    assert find_interpreter(str(python)) is None
    python.chmod(0o755)
    (folder / "venv/bin/link").symlink_to(python)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PATH", str(folder / "venv/bin"))
    monkeypatch.chdir(folder)
    assert find_interpreter("./venv/bin/link") == str(folder / "venv/bin/link")
    assert find_interpreter("~/venv/bin/python") == str(python)
    assert find_interpreter("link") == str(folder / "venv/bin/link")
    assert find_interpreter("nothing") is None
    assert find_interpreter(str(folder / "venv/bin")) is None
