"""What an attacker or a dying disk makes of a text, a JSON value or a file; the same for the same source of chance."""

from __future__ import annotations

import json
import os
import shutil
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

DEEP = "[" * 100_000
LONG_NUMBER = "9" * 5_000
#: In the middle of bytes: ends of texts, half characters, and what makes a reader of JSON recurse or count.
WEDGES = (b"\0", b"\xff", b"\n", b'"', b"\xed\xa0\x80", b"{", b"NaN", DEEP.encode(), LONG_NUMBER.encode())
#: In the place of any value of JSON.
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**30, 1e308, "", "x", "0", "\u202e\x1b]0;x\x07", "\ud800", "\0", [], {}, [[]], ["a", 1],
    [None], {"a": 1}, "'; DROP TABLE task; --",
)  # fmt: skip
#: What stands in the place of a file.
PLACES = ("pipe", "folder", "endless", "circle", "socket", "holes", "dangling", "noise", "empty", "full")
HOLES = 20 << 30  # bytes that a file says it has


def altered_json(chance: Random, value: Any) -> Any:
    """The value with one member, at any depth, gone, doubled, or of another kind."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name, kind = chance.choice(sorted(value)), chance.random()
        if kind < 0.15:
            return {key: one for key, one in value.items() if key != name}
        if kind < 0.25:
            return {**value, f"{name}x": value[name]}
        return {**value, name: altered_json(chance, value[name])}
    if isinstance(value, list) and value and chance.random() < 0.85:
        place, kind = chance.randrange(len(value)), chance.random()
        if kind < 0.15:
            return [*value[:place], *value[place + 1 :]]
        if kind < 0.3:
            return [*value[:place], value[place], *value[place:]]
        return [*value[:place], altered_json(chance, value[place]), *value[place + 1 :]]
    return chance.choice(VALUES)


def altered_bytes(chance: Random, raw: bytes, wedges: Sequence[bytes] = WEDGES) -> bytes:
    """The bytes after one to three of: a bit turned, some gone, some put in, some twice, cut off, all gone."""
    found = bytearray(raw)
    for _ in range(chance.randrange(1, 4)):
        kind, place = chance.random(), chance.randrange(len(found) + 1)
        if kind < 0.35 and found:
            found[place % len(found)] ^= 1 << chance.randrange(8)
        elif kind < 0.5:
            del found[place : place + chance.randrange(1, 50)]
        elif kind < 0.7:
            found[place:place] = chance.choice(wedges)
        elif kind < 0.8:
            del found[place:]
        elif kind < 0.85:
            found.clear()
        else:
            found[place:place] = found[: chance.randrange(1, 80)]
    return bytes(found)


def altered_text(chance: Random, path: Path, raw: bytes) -> None:
    """A file of JSON: its value altered and written as it should be, or its bytes."""
    if chance.random() < 0.7:
        path.write_text(json.dumps(altered_json(chance, json.loads(raw))), encoding="ascii")
    else:
        path.write_bytes(altered_bytes(chance, raw))


def put_in_place(path: Path, kind: str) -> None:
    """Puts something of PLACES where a file is, or is expected."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.relpath(path))
    elif kind == "holes":
        with path.open("wb") as file:
            file.truncate(HOLES)
    elif kind in {"noise", "empty"}:
        path.write_bytes(bytes(range(256)) * 400 if kind == "noise" else b"")
    else:
        led = {"endless": "/dev/zero", "full": "/dev/full", "circle": path.name, "dangling": "/nonexistent/x"}
        path.symlink_to(led[kind])
