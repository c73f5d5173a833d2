"""Text on a terminal: what nobody vouches for is escaped, columns are aligned, colour is put on last."""

from __future__ import annotations

import shlex
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd.cli.state import look_of
from driftd.cli.text import Look, cells, cut, duration, escape, plural, shell_word, size, table


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("task", "task"),
        ("Zürich 東京", "Zürich 東京"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u200bb\u2066", r"a\u200bb\u2066"),
        ("\x85\x9b", r"\x85\x9b"),
        ("\udcff", r"\udcff"),
        (None, "None"),
    ],
)
def test_names_are_escaped(raw: object, shown: str) -> None:
    """Control characters, direction marks, invisible characters and surrogates show as escapes; letters stay letters."""
    assert escape(raw) == shown


@given(st.text())
def test_nothing_escaped_can_move_the_cursor(text: str) -> None:
    """Whatever a name holds, one line without control or format characters comes out, and it can be encoded."""
    shown = escape(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert shown.encode().decode() == shown


def test_columns_line_up_also_with_wide_letters() -> None:
    """A wide letter takes two columns, a combining mark none."""
    rows = table([("a", "1"), ("東京", "22"), ("e\u0301", "3")], right=frozenset({1}))
    assert [cells(line) for line in rows] == [8, 8, 8]
    assert rows[0] == "a      1"


def test_what_is_too_long_is_cut() -> None:
    """The cut shows, and the width is kept also where a wide letter would not fit whole."""
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abc..."
    assert cut("東京東京", 6) == "東..."


def test_colour_is_put_on_only_where_it_is_wanted() -> None:
    """Without colour the text is untouched, and nothing is painted onto nothing."""
    assert Look().paint("x", "bold", "red") == "x"
    assert Look(colour=True).paint("x", "bold", "red") == "\x1b[1;31mx\x1b[0m"
    assert Look(colour=True).paint("", "red") == ""


class _Stream:
    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal

    def isatty(self) -> bool:
        """Is it a terminal?"""
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (True, {"FORCE_COLOR": "0"}, False),
    ],
)
def test_colour_follows_the_terminal_and_the_conventions(
    terminal: bool, environment: dict[str, str], colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe gets none, NO_COLOR wins over everything, and a pipe is 80 columns wide."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    look = look_of(_Stream(terminal))  # type: ignore[arg-type]  # all that is asked of a stream
    assert look.colour is colour
    assert terminal or look.width == 80


def test_amounts_read_well() -> None:
    """Durations, sizes and counts in the unit that people use."""
    assert [duration(ms) for ms in (0.25, 34.4, 2100, 185_000)] == ["0.2 ms", "34 ms", "2.1 s", "3 min 5 s"]
    assert [size(count) for count in (812, 64_000, 1_200_000_000)] == ["812 B", "64.0 kB", "1.2 GB"]
    assert [plural(1, "row"), plural(2000, "row"), plural(2, "index", "indexes")] == [
        "1 row",
        "2,000 rows",
        "2 indexes",
    ]


@pytest.mark.parametrize(
    ("word", "typed"),
    [
        ("task.state=1", "task.state=1"),
        ("task.state='open'", "\"task.state='open'\""),
        ("the body", "'the body'"),
        ("a='$b'", shlex.quote("a='$b'")),
    ],
)
def test_a_word_is_quoted_for_a_shell(word: str, typed: str) -> None:
    """An SQL text stays readable; what a shell would expand stands between single quotes; each is read as it was."""
    assert shell_word(word) == typed
    assert shlex.split(typed) == [word]
