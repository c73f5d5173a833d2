"""The conversations of docs/socket.md, replayed against whatever serves a socket."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from support.sockets import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "socket.md"
ANY = "..."
_BLOCK = re.compile(r"^```socket\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """One connection: what is sent, and the patterns of what comes back."""

    line: int  # of the page, where the block begins
    requests: tuple[bytes, ...]
    answers: tuple[dict[str, Any], ...]


def examples(text: str) -> Iterator[Example]:
    """Every block of a page, in order."""
    for match in _BLOCK.finditer(text):
        yield _example(text.count("\n", 0, match.start()) + 1, match[1])


def _example(line: int, block: str) -> Example:
    requests: list[bytes] = []
    answers: list[str] = []
    for part in re.split(r"^(?=[<>] )", block, flags=re.MULTILINE):
        if part.startswith("> "):
            requests.append(part[2:].encode())
        elif part.startswith("< "):
            answers.append(part[2:])
    return Example(line, tuple(requests), tuple(json.loads(answer) for answer in answers))


def replay(path: Path, example: Example) -> None:
    """Send all requests of an example, and hold each answer against its pattern; raises AssertionError."""
    with Wire(path) as wire:
        for request in example.requests:
            wire.send(request)
        for pattern in example.answers:
            answer = wire.line()
            if "driftd" not in pattern:
                answer.pop("driftd", None)
            mismatch = differs(pattern, answer)
            assert not mismatch, f"docs/socket.md, line {example.line}: {mismatch}"


def differs(pattern: Any, value: Any, where: str = "answer") -> str:
    """How a value is not what a pattern says, empty when it is: see the page for what `...` stands for."""
    if pattern == ANY:
        return ""
    if isinstance(pattern, dict) and isinstance(value, dict):
        named = {name: one for name, one in pattern.items() if name != ANY}
        missing, more = named.keys() - value.keys(), value.keys() - named.keys()
        if missing or (more and ANY not in pattern):
            return f"{where} lacks {sorted(missing)} and has {sorted(more)} besides"
        found = (differs(one, value[name], f"{where}.{name}") for name, one in named.items())
        return next(filter(None, found), "")
    if isinstance(pattern, list) and isinstance(value, list):
        rest = bool(pattern) and pattern[-1] == ANY
        wanted = pattern[:-1] if rest else pattern
        if len(value) < len(wanted) or (len(value) > len(wanted) and not rest):
            return f"{where} has {len(value)} elements"
        found = (differs(one, value[n], f"{where}[{n}]") for n, one in enumerate(wanted))
        return next(filter(None, found), "")
    return (
        "" if pattern == value and type(pattern) is type(value) else f"{where} is {value!r}, not {pattern!r}"
    )
