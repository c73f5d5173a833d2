"""The unit's file: written whole or not at all, and never over what somebody else wrote or has changed.

A line in the file tells who made it and has a hash of all others. https://www.freedesktop.org/software/systemd/man/systemd.unit.html
has drop-ins for what a person wants to add.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from driftd.unfinished import beside, keep
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from pathlib import Path

_MARK = re.compile(r"^.*\bmade by driftd service install, sha256:([0-9a-f]{64})\b.*\n", re.MULTILINE)
NONE, OURS, EDITED, FOREIGN = "none", "ours", "edited", "foreign"


def signed(text: str) -> str:
    """The text with the line that makes it ours: a comment of a unit, or of XML behind its declaration."""
    mark = f"made by driftd service install, sha256:{_hash(text)}"
    if not text.startswith("<?xml"):
        return f"# {mark}\n{text}"
    first, rest = text.split("\n", 1)
    return f"{first}\n<!-- {mark} -->\n{rest}"


def condition(path: Path) -> str:
    """Whose file it is: `none`, `ours`, `edited` (ours, and changed since) or `foreign`. Raises DriftError."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return NONE
    except OSError as error:
        raise unwritable(path, error) from error
    found = _MARK.search(text)
    if found is None:
        return FOREIGN
    return OURS if found[1] == _hash(text[: found.start()] + text[found.end() :]) else EDITED


def place(path: Path, text: str, *, force: bool = False) -> bool:
    """Writes the file, and says whether it has changed. Raises DriftError (`service-file-taken`, `service-file-unwritable`)."""
    _require_ours(path, force=force)
    content = signed(text)
    try:
        with suppress(FileNotFoundError, UnicodeDecodeError):
            if path.read_text(encoding="utf-8") == content:
                return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as (descriptor, unfinished):
            os.fchmod(descriptor, 0o644)
            keep(descriptor, content.encode())
            unfinished.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    return True


def remove(path: Path) -> None:
    """Removes the file. Raises DriftError (`service-file-unwritable`)."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def require_removable(path: Path, *, force: bool = False) -> None:
    """Raises DriftError where there is no file (`service-missing`), or one that is not ours (`service-file-taken`)."""
    if condition(path) == NONE:
        raise DriftError(
            f"there is no {path}",
            code="service-missing",
            why="no service of that name was installed there",
            fix="name it: --name NAME, and --system or --user",
        )
    _require_ours(path, force=force)


def unwritable(path: Path, error: OSError) -> DriftError:
    """The file, or its folder, is not for this user."""
    return DriftError(
        f"{path} cannot be written",
        code="service-file-unwritable",
        why=error.strerror or str(error),
        fix="as root: sudo; for yourself alone: --user; or place what `driftd service print` shows by hand",
    )


def _require_ours(path: Path, *, force: bool) -> None:
    found = condition(path)
    if force or found in {NONE, OURS}:
        return
    raise DriftError(
        f"{path} is not as driftd would have written it",
        code="service-file-taken",
        why="it was edited since" if found == EDITED else "somebody else wrote it",
        fix="compare it with `driftd service print`; --force goes over it; what is to be added belongs into a drop-in",
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
