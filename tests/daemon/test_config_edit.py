"""A word goes into a person's configuration file, and nothing else changes: text, meaning, owner and mode."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from driftd.config.edit import exchange, with_ignored
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

BY_HAND = "write it yourself"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            '# top\n[targets.app]   # the app\nurl = "x"\nignore = ["a"]  # why\n\n[targets.app.window]\ntimeout = 3\n',
            '# top\n[targets.app]   # the app\nurl = "x"\nignore = ["a", "w"]  # why\n\n[targets.app.window]\ntimeout = 3\n',
        ),
        (
            '[targets.app]\nignore = [\n    "a",   # this\n    # and\n    "b",\n]\nurl = "x"\n',
            '[targets.app]\nignore = [\n    "a",   # this\n    # and\n    "b",\n    "w",\n]\nurl = "x"\n',
        ),
        (
            '[targets.app]\nignore = [\n    "a",   # this\n    "b"   # last\n]\n',
            '[targets.app]\nignore = [\n    "a",   # this\n    "b",   # last\n    "w",\n]\n',
        ),
        ('[targets.app]\nurl = "x"\nignore = []\n', '[targets.app]\nurl = "x"\nignore = ["w"]\n'),
        (
            '[targets.app]\nurl = "x"\n\n# about the window\n[targets.app.window]\ntimeout = 3\n',
            '[targets.app]\nurl = "x"\nignore = ["w"]\n\n# about the window\n[targets.app.window]\ntimeout = 3\n',
        ),
        ('[targets.app]\nurl = "x"', '[targets.app]\nurl = "x"\nignore = ["w"]\n'),
        (
            '[targets.app]\r\nurl = "x"\r\n[targets.app.window]\r\ntimeout = 3\r\n',
            '[targets.app]\r\nurl = "x"\r\nignore = ["w"]\r\n[targets.app.window]\r\ntimeout = 3\r\n',
        ),
        ('[targets.app]\nignore = "a, b" # x\n', '[targets.app]\nignore = ["a", "b", "w"] # x\n'),
        (
            'targets.app.url = "x"\ntargets.web.url = "y"\n',
            'targets.app.url = "x"\ntargets.app.ignore = ["w"]\ntargets.web.url = "y"\n',
        ),
        (
            '[targets.app]\nurl = "x"\n[daemon]\nlog = "plain"\n[targets.app.window]\ntimeout = 3\n',
            '[targets.app]\nurl = "x"\nignore = ["w"]\n[daemon]\nlog = "plain"\n[targets.app.window]\ntimeout = 3\n',
        ),
    ],
)
def test_a_word_is_added_where_a_person_would(before: str, after: str) -> None:
    """At the end of the list that is there, else as a line of its own below the target's other settings."""
    assert with_ignored(before, "app", ["w"]) == after


@pytest.mark.parametrize(
    "before",
    [
        'targets = {app = {url = "x"}}\n',
        '[targets]\napp.url = "x"\napp.window.timeout = 3\n',
        '[targets.app.window]\ntimeout = 3\n[daemon]\nlog = "plain"\n',
        '[targets."a.b"]\nurl = "x"\n[targets.app]\n',
        "[daemon]\n",
        "",
    ],
)
def test_any_shape_of_a_file_means_the_same_and_the_word_beside(before: str) -> None:
    """Inline tables, dotted keys, a table that is only implied, none at all: read again, only `ignore` has grown."""
    after = with_ignored(before, "app", ["w", 'o"dd\\', "tmp_*"])
    assert after is not None
    wanted = tomli.loads(before)
    wanted.setdefault("targets", {}).setdefault("app", {})["ignore"] = ["w", 'o"dd\\', "tmp_*"]
    assert tomli.loads(after) == wanted


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=4))
def test_any_word_is_written_so_that_it_is_read_again(words: list[str]) -> None:
    """Quotes, line breaks and control characters are escaped as TOML wants it."""
    before = '[targets.app]\nurl = "x"\nignore = ["a"]\n'
    after = with_ignored(before, "app", words)
    assert after is not None
    assert tomli.loads(after)["targets"]["app"]["ignore"] == ["a", *words]


def test_what_is_no_list_is_left_alone() -> None:
    """A file that already says something that cannot be added to is not guessed at."""
    assert with_ignored("[targets.app]\nignore = 3\n", "app", ["w"]) is None
    assert with_ignored("targets = 3\n", "app", ["w"]) is None


def test_the_file_keeps_mode_and_owner_and_stays_behind_its_link(tmp_path: Path) -> None:
    """A link goes on pointing at the file, whose bits and owner are those that it had."""
    real, link = tmp_path / "real.toml", tmp_path / "driftd.toml"
    real.write_bytes(b"old")
    real.chmod(0o640)
    if os.getuid() == 0:
        os.chown(real, 65534, 65534)
    was = real.stat()
    link.symlink_to(real)
    exchange(link, b"old", b"new", BY_HAND)
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    now = real.stat()
    assert (stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid) == (0o640, was.st_uid, was.st_gid)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["driftd.toml", "real.toml"]


def test_a_text_that_somebody_saved_meanwhile_is_not_lost(tmp_path: Path) -> None:
    """What is on the disk is not what was looked at: nothing is written, and nothing is left behind."""
    file = tmp_path / "driftd.toml"
    file.write_bytes(b"newer")
    with pytest.raises(ConfigurationError) as caught:
        exchange(file, b"old", b"new", BY_HAND)
    assert caught.value.code == "configuration-changed"
    assert file.read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_written_is_told_with_the_line_to_write(tmp_path: Path) -> None:
    """The reason, and what to do by hand; the file is as it was."""
    with pytest.raises(ConfigurationError) as caught:
        exchange(tmp_path / "missing" / "driftd.toml", b"old", b"new", BY_HAND)
    assert (caught.value.code, caught.value.fix) == ("configuration-unwritable", BY_HAND)
