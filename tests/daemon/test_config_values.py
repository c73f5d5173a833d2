"""How texts, numbers and lists of a configuration become values."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from driftd.config.model import TARGET, Setting
from driftd.config.values import Bases, Expected, absolute_url, convert, duration_text, size_text

if TYPE_CHECKING:
    from pathlib import Path


def settle(kind: str, raw: object, here: Path, home: Path | None = None) -> object:
    """The value of a setting of that kind."""
    return convert(Setting("x", kind, None, "", ("a", "b")), raw, Bases(here, home or here))


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        (15, 15),
        (1.5, 1.5),
        ("15", 15),
        ("500ms", 0.5),
        ("10m", 600),
        ("1h", 3600),
        ("30d", 2592000),
        ("2 w", 1209600),
    ],
)
def test_durations_are_seconds(raw: object, seconds: float, tmp_path: Path) -> None:
    """A number is seconds, a text has a unit."""
    assert settle("duration", raw, tmp_path) == seconds


@pytest.mark.parametrize(
    ("raw", "size"), [(512, 512), ("512", 512), ("10GB", 10**10), ("512mb", 512 * 10**6), ("1.5 KiB", 1536)]
)
def test_sizes_are_bytes(raw: object, size: int, tmp_path: Path) -> None:
    """Units of thousands and of 1024 are told apart, in any case."""
    assert settle("size", raw, tmp_path) == size


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("duration", "soon"),
        ("duration", 0),
        ("duration", -1),
        ("duration", True),
        ("duration", []),
        ("size", "0"),
        ("size", "10 giga"),
        ("size", 1.5),
        ("count", 0),
        ("count", "many"),
        ("count", True),
        ("bool", "perhaps"),
        ("bool", 1),
        ("choice", "c"),
        ("choice", ["a"]),
        ("text", 3),
        ("path", ""),
        ("list", [1]),
        ("list", {"a": 1}),
        ("models", []),
        ("url", 3),
        ("python", ""),
    ],
)
def test_wrong_values_say_what_was_expected(kind: str, raw: object, tmp_path: Path) -> None:
    """No kind takes a value of another type or out of its range, and each says what it wants."""
    with pytest.raises(Expected) as caught:
        settle(kind, raw, tmp_path)
    assert str(caught.value)


@pytest.mark.parametrize(("raw", "value"), [(True, True), ("yes", True), ("0", False), ("False", False)])
def test_truth_may_be_written_as_a_word(raw: object, value: bool, tmp_path: Path) -> None:
    """Environment variables are texts, so a truth value may be one."""
    assert settle("bool", raw, tmp_path) is value


def test_lists_may_be_written_in_one_text(tmp_path: Path) -> None:
    """A variable holds several names with commas, and folders as PYTHONPATH does."""
    assert settle("list", "a, b,", tmp_path) == ("a", "b")
    assert settle("paths", "src:/abs", tmp_path) == (str(tmp_path / "src"), "/abs")
    assert settle("models", "m:Base,ddl/x.sql", tmp_path) == ("m:Base", str(tmp_path / "ddl/x.sql"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///app.db", "sqlite:////base/app.db"),
        ("sqlite:///./a/../app.db", "sqlite:////base/a/../app.db"),
        ("sqlite:////abs/app.db", "sqlite:////abs/app.db"),
        ("sqlite+aiosqlite:///app.db?timeout=5", "sqlite+aiosqlite:////base/app.db?timeout=5"),
        ("sqlite:///file:app.db?mode=ro&uri=true", "sqlite:///file:/base/app.db?mode=ro&uri=true"),
        ("sqlite:///file:x?mode=memory&uri=true", "sqlite:///file:x?mode=memory&uri=true"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite://"),
        ("data/app.sqlite3", "/base/data/app.sqlite3"),
        ("postgresql://host/app.db", "postgresql://host/app.db"),
    ],
)
def test_urls_become_absolute(url: str, expected: str) -> None:
    """The path in a SQLite URL is relative to a base; what names no file stays as it is."""
    from pathlib import Path

    assert absolute_url(url, Path("/base")) == expected


def test_python_auto_is_the_environment_beside_the_file(tmp_path: Path) -> None:
    """`auto` is .venv/bin/python beside the file, left the link that it is, else the running interpreter."""
    assert settle("python", "auto", tmp_path) == sys.executable
    link = tmp_path / ".venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(sys.executable)
    assert settle("python", "auto", tmp_path / "elsewhere", tmp_path) == str(link)


def test_python_is_a_path_or_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is relative to its base, a name is looked up on PATH, an unknown one is left for the engine to refuse."""
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "mypython"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert settle("python", "venv/bin/python", tmp_path) == str(tmp_path / "venv/bin/python")
    assert settle("python", "mypython", tmp_path) == str(program)
    assert settle("python", "nopython", tmp_path) == "nopython"


@pytest.mark.parametrize("text", ["15", "1h", "30d", "500ms", "90"])
def test_durations_are_written_as_they_are_read(text: str, tmp_path: Path) -> None:
    """What `config show` prints can be pasted into a file."""
    seconds = settle("duration", text, tmp_path)
    assert isinstance(seconds, (int, float))
    assert duration_text(seconds) == text


def test_sizes_are_written_as_they_are_read() -> None:
    """Round sizes have a unit, others are bytes."""
    assert [size_text(count) for count in (10**10, 512 * 10**6, 123)] == ["10GB", "512MB", "123"]


def test_every_kind_of_setting_has_a_converter(tmp_path: Path) -> None:
    """No setting of the list is of a kind that nothing converts."""
    for setting in TARGET:
        if setting.default is not None and setting.kind != "table":
            assert convert(setting, setting.default, Bases(tmp_path, tmp_path)) is not None
