"""Small JSON documents that a user's processes remember for each other, in a folder of this user alone.

A file that somebody else could have written is not trusted: the SQL in it becomes plans. Losing one costs time, no more.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from _thread import get_ident  # as threading has it, whose import would cost a cold check a millisecond
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LARGEST = 64 << 20  # bytes of a document; what has more was not written by us
KEPT = 200  # files; of more, the ones that were written longest ago go


def read(path: Path) -> Any:
    """The document in a file that is ours alone; None for any other, and where there is none."""
    # Without blocking: a pipe in its place would make us wait for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        if not _ours_alone(path.parent.lstat(), stat.S_ISDIR):
            return None
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not _ours_alone(os.fstat(file.fileno()), stat.S_ISREG):
                return None
            seal, _, text = file.read(LARGEST).partition(b"\n")
        # A letter that a disk has turned would be another column, and one that is not there be made.
        return json.loads(text) if seal == _seal(text) else None
    except (OSError, ValueError, RecursionError):
        return None


def write(path: Path, document: Mapping[str, Any]) -> bool:
    """Keep a document, whole or not at all. False when it cannot be kept."""
    # A name of this thread's own is enough: two that remember the same at once write the same.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}")
    try:
        # One by one: `parents=True` would make those above with the umask's mode.
        for folder in reversed([one for one in (path.parent, *path.parent.parents) if not one.exists()]):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not _ours_alone(path.parent.lstat(), stat.S_ISDIR):
            return False
        with suppress(FileNotFoundError):
            temporary.unlink()  # of a process with the same number that was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        text = json.dumps(document).encode("ascii")
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # dies with us: what nobody holds is left over
            file.write(_seal(text) + b"\n" + text)
            file.flush()
            temporary.replace(path)
        _forget_oldest(path.parent)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        return False
    return True


def _seal(text: bytes) -> bytes:
    """The first line of a file, by which damage to the rest shows."""
    return hashlib.sha256(text).hexdigest().encode("ascii")


def _forget_oldest(folder: Path) -> None:
    files = list(folder.iterdir())
    for left in files:
        # Another thread of ours may not have locked its own yet.
        if left.name.startswith(".") and f".{os.getpid()}." not in left.name:
            _forget_unfinished(left)
    if len(files) > KEPT:
        files.sort(key=lambda path: path.lstat().st_mtime_ns)
        for path in files[:-KEPT]:
            path.unlink(missing_ok=True)


def _forget_unfinished(path: Path) -> None:
    """Removes what a process that was killed has left of a document."""
    # That somebody is writing it, or has just given it its name, is no failure.
    with suppress(OSError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _ours_alone(found: os.stat_result, kind: Callable[[int], bool]) -> bool:
    """True for a file or folder of that kind that belongs to this user and that nobody else may write."""
    return kind(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
