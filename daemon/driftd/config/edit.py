"""Writes a word into a person's configuration file: comments, layout, owner and mode stay, and it is whole or not at all.

Used by `driftd ignore` alone. tomlkit is imported when it is needed: it takes 30 ms, as much as a whole check.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli

from driftd.unfinished import beside, keep
from driftengine import plain_file
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tomlkit.items import Array


def with_ignored(text: str, target: str, words: Sequence[str]) -> str | None:
    """The text with these words in `ignore` of the target; None where it cannot be written so that it means just that.

    Args:
        text: a whole file, valid TOML.
        target: the name of a target.
        words: what is to stand there beside what stands there already.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    ends = "\r\n" if "\r\n" in text else "\n"
    try:
        document = tomlkit.parse(text)
        table: Any = document.setdefault("targets", tomlkit.table(is_super_table=True))
        _add(table.setdefault(target, tomlkit.table()), words)
        written = ends.join(tomlkit.dumps(document).replace("\r\n", "\n").split("\n"))
    except (TOMLKitError, AttributeError, TypeError, ValueError, KeyError):
        return None
    # Whatever shape the file has: nothing else may mean anything else afterwards.
    wanted: Any = tomli.loads(text)
    section = wanted.setdefault("targets", {}).setdefault(target, {})
    section["ignore"] = [*_listed(section.get("ignore", [])), *words]
    try:
        return written if tomli.loads(written) == wanted else None
    except tomli.TOMLDecodeError:
        return None


def _add(section: Any, words: Sequence[str]) -> None:
    import tomlkit
    from tomlkit.items import Array

    present = section.get("ignore")
    if isinstance(present, Array):
        for word in words:
            _append(present, word)
        return
    made = tomlkit.array()
    made.extend([*_listed(present or []), *words])
    if present is None and (before := _last_plain_key(section)) is not None:
        # At its end the comment above the next table would come to stand above this line.
        section.value._insert_after(before, "ignore", made)  # noqa: SLF001  # there is no public way; the result is proved
    else:
        section["ignore"] = made


def _append(present: Array, word: str) -> None:
    if "\n" in present.as_string():
        present.add_line(word)
    else:
        present.append(word)


def _last_plain_key(section: Any) -> str | None:
    """The last key of a table that holds no table; None where it is no table with lines of its own."""
    from tomlkit.items import AbstractTable, Table

    if not isinstance(section, Table):
        return None
    keys = [
        key for key, item in section.value.body if key is not None and not isinstance(item, AbstractTable)
    ]
    last = keys[-1] if keys else None
    return last.key if last is not None and not last.is_dotted() else None


def _listed(present: Any) -> list[str]:
    """What stands in `ignore`, a list or one text with commas, as a list."""
    if isinstance(present, str):
        return [part.strip() for part in present.split(",") if part.strip()]
    return [str(one) for one in present]


def read_exact(path: Path) -> bytes:
    """The file as it is on the disk. Raises ConfigurationError (`configuration-unreadable`)."""
    try:
        return plain_file.content(path)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read",
            code="configuration-unreadable",
            why=error.strerror or str(error),
            fix="see its owner and its mode",
        ) from error


def exchange(path: Path, before: bytes, after: bytes, by_hand: str) -> None:
    """Puts the new text in the place of the old one, with the file's own mode and owner; behind a link that of the file.

    Raises ConfigurationError (`configuration-unwritable`, `configuration-changed`); `by_hand` is what a person can do then.
    """
    real = Path(os.path.realpath(path))
    try:
        with beside(real) as (descriptor, unfinished):
            was = real.stat()
            # Owner before mode: a change of owner may take bits of the mode away.
            if (was.st_uid, was.st_gid) != (os.getuid(), os.getgid()):
                os.fchown(descriptor, was.st_uid, was.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(was.st_mode))
            keep(descriptor, after)
            if real.read_bytes() != before:
                raise ConfigurationError(
                    f"{real} has just been changed by somebody else",
                    code="configuration-changed",
                    why="it is not the text any more that was looked at",
                    fix="try again",
                )
            unfinished.replace(real)
    except OSError as error:
        raise ConfigurationError(
            f"{real} cannot be written",
            code="configuration-unwritable",
            why=error.strerror or str(error),
            fix=by_hand,
        ) from error
