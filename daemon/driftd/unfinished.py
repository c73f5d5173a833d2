"""A file that is written beside the one whose name it takes: whole or not at all, and what a killed writer has left goes.

Its writer keeps it locked, and the lock dies with the writer. So the next one who writes the same file knows what is left over.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_END = ".driftd-unfinished"


@contextmanager
def beside(path: Path) -> Iterator[tuple[int, Path]]:
    """The descriptor and the name of a new, empty file (mode 0600) in the folder of `path`; gone at the end of the block.

    Whoever renames it does so within the block, when `keep` has brought it to the disk. Raises OSError.
    """
    sweep(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_END)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor, Path(name)
    finally:
        os.close(descriptor)
        with suppress(OSError):  # the file may have its name already; what is left is swept
            Path(name).unlink()


def keep(descriptor: int, content: bytes) -> None:
    """Writes the content to its last byte and to the disk: a rename may reach it before what was written. Raises OSError."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def sweep(path: Path) -> None:
    """Removes what nobody writes any more; what cannot be removed is no reason not to write."""
    for left in path.parent.glob(f".{_literal(path.name)}.*{_END}"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
            finally:
                os.close(descriptor)


def _literal(name: str) -> str:
    """The name for a pattern that fits nothing else."""
    import glob

    return glob.escape(name)
