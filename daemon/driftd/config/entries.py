"""Entries of the free tables `backfill`, `renames` and `policy`, wherever they are written. Pure: texts in, entries and complaints out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import tomli

from driftd.config.mistakes import meant, nearest, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from driftd.config.model import Setting


class Entry(NamedTuple):
    """One entry: its name, where it stands in a file (() elsewhere), and what was written."""

    key: str
    path: tuple[str, ...]
    raw: object


def from_table(table: Mapping[str, object], path: tuple[str, ...], prefix: str = "") -> list[Entry]:
    """The entries of a table in a file. An unquoted `table.column = ...` made a table of its own: it means the same."""
    found: list[Entry] = []
    for key, raw in table.items():
        if isinstance(raw, dict) and not prefix:
            found += from_table(raw, (*path, key), f"{key}.")
        else:
            found.append(Entry(prefix + key, (*path, key), raw))
    return found


def from_variable(text: str) -> tuple[list[Entry], list[str]]:
    """The entries of an environment variable, and what is wrong: an inline table of TOML, or NAME=VALUE pairs."""
    if not text.lstrip().startswith("{"):
        return from_pairs(re.split(r"[;\n]", text))
    try:
        table = tomli.loads(f"entries = {text}")["entries"]
    except tomli.TOMLDecodeError as error:
        return [], [f"is no inline table: {error}"]
    return from_table(table, ()), []


def from_pairs(parts: Iterable[str]) -> tuple[list[Entry], list[str]]:
    """The entries of NAME=VALUE texts, and what is wrong. Only the first `=` counts: an expression may hold others."""
    entries: list[Entry] = []
    told: list[str] = []
    for part in parts:
        key, equals, text = (piece.strip() for piece in part.partition("="))
        if key and equals and text:
            entries.append(Entry(key, (), text))
        elif part.strip():
            told.append(f"is {shown(part)}: expected NAME=VALUE")
    return entries, told


def key_problem(setting: Setting, key: str) -> str | None:
    """What is wrong with an entry's name: a backfill names a column, a policy a code or a table."""
    if setting.name == "backfill" and not all(key.partition(".")):
        return f'is no column: write "table.column", not {shown(key)}'
    if setting.name == "policy":
        return _policy_problem(key)
    return None


def _policy_problem(key: str) -> str | None:
    """A misspelt code. Whether there is such a table only the database knows; `driftd doctor` looks."""
    import difflib

    from driftd.explain import operation_codes

    codes, word = operation_codes(), key.lower().replace("_", "-")
    if key.lower() in codes:
        return None
    close = [word] if word in codes else difflib.get_close_matches(word, codes, n=1, cutoff=0.8)
    # A table may be called anything: only what has the form of a code, and is nearly one, is taken for one.
    if close and ("-" in key or word in codes):
        return f"is no code of an operation{meant(close[0], quoted=True)}"
    return None


def word_problem(setting: Setting, value: object) -> str | None:
    """What is wrong with an entry's value: a policy is one of a few words."""
    if not setting.choices or value in setting.choices:
        return None
    expected = f"is {shown(value)}: expected one of {', '.join(setting.choices)}"
    return expected + meant(nearest(str(value), setting.choices), quoted=True)
