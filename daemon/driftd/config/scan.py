"""On which line does a key stand? tomli does not say, so a small scanner of its own does.

It reads text that tomli has already accepted, so it may be simple: it knows headers, keys, strings and brackets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PART = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_LITERALS = re.compile(r'"""|\'\'\'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*|[\[\]{}]')


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line, counted from 1, of each table header and each key that begins a line."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    depth, closing = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        rest = line
        if not depth and not closing:
            stripped = line.strip()
            if stripped.startswith("["):
                table = _key(stripped.lstrip("["))[0]
                found.setdefault(table, number)
                continue
            key, rest = _key(stripped)
            if key:
                found.setdefault(table + key, number)
        depth, closing = _continues(rest, depth, closing)
    return found


def line_of(path: tuple[str, ...], lines: Mapping[tuple[str, ...], int]) -> int | None:
    """The line of the key, or of the nearest thing around it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _key(text: str) -> tuple[tuple[str, ...], str]:
    """The dotted key that the text begins with, and what comes behind it."""
    parts: list[str] = []
    at = 0
    while match := _PART.match(text, at):
        parts.append(next(group for group in match.groups() if group is not None))
        at = match.end()
        if text[at : at + 1] != ".":
            break
        at += 1
    return tuple(parts), text[at:]


def _continues(text: str, depth: int, closing: str) -> tuple[int, str]:
    """After this line: how many brackets are open, and which quotes a multi-line string still waits for."""
    at = 0
    while at < len(text):
        if closing:
            end = text.find(closing, at)
            if end == -1:
                return depth, closing
            at, closing = end + 3, ""
            continue
        match = _LITERALS.search(text, at)
        if match is None:
            break
        token, at = match.group(), match.end()
        if token in {'"""', "'''"}:
            closing = token
        elif token in {"[", "{"}:
            depth += 1
        elif token in {"]", "}"}:
            depth -= 1
    return depth, closing
