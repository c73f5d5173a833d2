"""From what is written to what is meant: one converter for each kind of setting. Pure but for looking up programs."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from driftd.config.model import Setting

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|d|w)?")
_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b|b)?", re.IGNORECASE)
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_TRUTH = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_SQLITE_URL = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]*)(.*)", re.DOTALL)
_FILE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_MEMORY = ":memory:"


class Expected(ValueError):  # noqa: N818  # it reads as what it says: "expected a duration"
    """A value that is none; its text says what was expected."""


@dataclass(frozen=True, slots=True)
class Bases:
    """What relative paths are relative to: `here` those of this value, `home` what `auto` looks beside."""

    here: Path
    home: Path


def convert(setting: Setting, raw: object, bases: Bases) -> object:
    """The value of a setting; raises Expected whose text says what that is ("a duration such as ...")."""
    return _CONVERTERS[setting.kind](setting, raw, bases)


def absolute_url(url: str, base: Path) -> str:
    """The URL with its path made absolute; what is no path of a file (`:memory:`, another database) stays."""
    if match := _SQLITE_URL.fullmatch(url):
        start, path, query = match.groups()
        prefix = "file:" if path.startswith("file:") else ""
        path = path.removeprefix("file:")
        # No file: the engine refuses these with a reason, so they must reach it as they were written.
        if not path or path == _MEMORY or "mode=memory" in query:
            return url
        # SQLAlchemy takes "~" as it is written, so the service does: the same URL must be the same file.
        return f"{start}{prefix}{base / path}{query}"
    if ":/" not in url and url.endswith(_FILE_SUFFIXES):
        return _join(base, url)
    return url


def duration_text(seconds: float) -> str:
    """Seconds as they would be written in a file: `15`, `1h`, `30d`, `500ms`."""
    for unit in ("d", "h"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    if seconds != int(seconds):
        return f"{seconds * 1000:g}ms"
    return str(int(seconds))


def size_text(size: int) -> str:
    """Bytes as they would be written in a file: `10GB`."""
    for unit in ("tb", "gb", "mb", "kb"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit.upper()}"
    return str(size)


def _join(base: Path, path: str) -> str:
    # Symlinks are left alone: a virtual environment's python must stay the link that it is.
    # Path.expanduser raises where there is no such user: as it stands, the path is told to be missing.
    return str(base / os.path.expanduser(path))  # noqa: PTH111 - see above


def _text(_setting: Setting, raw: object, _bases: Bases) -> str:
    if not isinstance(raw, str):
        raise Expected("a text in quotes")
    return raw


def _entry(setting: Setting, raw: object, _bases: Bases) -> str:
    """One entry of a free table; whether its word is allowed is seen to later, once it is known to be one."""
    if not isinstance(raw, str):
        kinds = {"backfill": "an SQL expression as text", "renames": "the former name as text"}
        raise Expected(kinds.get(setting.name, f"one of {', '.join(setting.choices)}"))
    return raw


def _filled(raw: object, expected: str) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise Expected(expected)
    return raw


def _bool(_setting: Setting, raw: object, _bases: Bases) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.strip().lower() in _TRUTH:
        return _TRUTH[raw.strip().lower()]
    raise Expected("true or false")


def _choice(setting: Setting, raw: object, _bases: Bases) -> str:
    if isinstance(raw, str) and raw in setting.choices:
        return raw
    raise Expected(f"one of {', '.join(setting.choices)}")


def _count(_setting: Setting, raw: object, _bases: Bases) -> int:
    if isinstance(raw, str) and raw.strip().isdecimal():
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < 1:
        raise Expected("a whole number from 1")
    return raw


def _duration(_setting: Setting, raw: object, _bases: Bases) -> float:
    expected = 'a duration above 0: seconds, or a text such as "500ms", "15s", "10m", "1h" or "30d"'
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        raise Expected(expected)
    match = _DURATION.fullmatch(str(raw).strip())
    if match is None or not (seconds := float(match[1]) * _SECONDS[match[2] or "s"]):
        raise Expected(expected)
    return seconds


def _size(_setting: Setting, raw: object, _bases: Bases) -> int:
    expected = 'a size above 0: bytes, or a text such as "512MB" or "10GB"'
    if isinstance(raw, bool) or not isinstance(raw, (int, str)):
        raise Expected(expected)
    match = _SIZE.fullmatch(str(raw).strip())
    if match is None or not (size := int(float(match[1]) * _BYTES[(match[2] or "b").lower()])):
        raise Expected(expected)
    return size


def _list(_setting: Setting, raw: object, _bases: Bases) -> tuple[str, ...]:
    return _texts(raw, ",")


def _texts(raw: object, separator: str) -> tuple[str, ...]:
    """A list of texts; one text (an environment variable) is taken apart at the separator."""
    if isinstance(raw, str):
        return tuple(part.strip() for part in raw.split(separator) if part.strip())
    if not isinstance(raw, (list, tuple)) or not all(isinstance(part, str) and part for part in raw):
        raise Expected('a list of texts, ["...", "..."]')
    return tuple(raw)


def _models(_setting: Setting, raw: object, bases: Bases) -> tuple[str, ...]:
    specs = _texts(raw, ",")
    if not specs:
        raise Expected('at least one "package.module:attribute" or a file that ends in .sql')
    return tuple(_join(bases.here, spec) if spec.endswith(".sql") else spec for spec in specs)


def _path(_setting: Setting, raw: object, bases: Bases) -> str:
    return _join(bases.here, _filled(raw, "a path"))


def _paths(_setting: Setting, raw: object, bases: Bases) -> tuple[str, ...]:
    return tuple(_join(bases.here, path) for path in _texts(raw, os.pathsep))


def _python(_setting: Setting, raw: object, bases: Bases) -> str:
    text = _filled(raw, 'an interpreter: a path, a name on PATH, or "auto"')
    if text == "auto":
        beside = bases.home / ".venv" / "bin" / "python"
        # Not Path.exists, which raises where this user may not enter the folder.
        return str(beside) if os.path.exists(beside) else sys.executable  # noqa: PTH110 - see above
    if "/" in text or text.startswith("~"):
        return _join(bases.here, text)
    import shutil  # with every kind of archive, for this one name

    return shutil.which(text) or text


def _url(_setting: Setting, raw: object, bases: Bases) -> str:
    return absolute_url(_filled(raw, "an SQLAlchemy URL such as sqlite:///app.db"), bases.here)


_CONVERTERS: dict[str, Callable[[Setting, object, Bases], object]] = {
    "bool": _bool,
    "choice": _choice,
    "count": _count,
    "duration": _duration,
    "list": _list,
    "models": _models,
    "path": _path,
    "paths": _paths,
    "python": _python,
    "size": _size,
    "table": _entry,
    "text": _text,
    "url": _url,
}
