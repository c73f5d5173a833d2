"""A file is read as a whole: when it is an ordinary one, and no larger than such a file can be.

A pipe in its place would make us wait for ever, a device would never end, and a file of nothing but holes would fill the
memory.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

TEXT = 32 << 20  # bytes; what people write by hand, or a tool for them, is far below that
RECORDS = 256 << 20  # bytes of a file that only grows


def content(path: Path, largest: int = TEXT) -> bytes:
    """The bytes of an ordinary file. Raises OSError, also for what is none (EINVAL), and for a larger one (EFBIG)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        return whole(file, largest)


def whole(file: BinaryIO, largest: int) -> bytes:
    """As `content`, of a file that is open."""
    told = os.fstat(file.fileno())
    if not stat.S_ISREG(told.st_mode):
        raise OSError(errno.EINVAL, "it is not an ordinary file")
    # It may grow while it is read, and some file systems tell no size.
    found = b"" if told.st_size > largest else file.read(largest + 1)
    if max(told.st_size, len(found)) > largest:
        raise OSError(errno.EFBIG, f"it has more than {largest >> 20} MiB")
    return found
