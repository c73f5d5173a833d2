"""An empty database file, for whoever may use its folder: there with its rights, or not at all."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make(path: Path) -> None:
    """Makes the file; nothing where somebody was faster, or where SQLite will say why there can be none.

    A daemon's own umask would keep the service out of its database. SQLite gives -wal and -shm the same mode and, as root,
    the same owner. Opening it here drops nobody's locks: there was no file.
    """
    with suppress(OSError):
        if not _made_unseen(path):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            open_to_those_of(descriptor, path.parent.stat(), 0o600)


def _made_unseen(path: Path) -> bool:
    """Makes it without a name first: whoever dies before it has its rights leaves nothing. False where that cannot be done."""
    try:
        descriptor = os.open(path.parent, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except (OSError, AttributeError):
        return False  # not every file system and not every system has such files
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _open_to_those_of(descriptor, path.parent.stat(), 0o600)
        # With a folder's descriptor Python calls linkat, which follows the link of /proc: see open(2), O_TMPFILE.
        os.link(f"proc/self/fd/{descriptor}", path.absolute(), src_dir_fd=root, follow_symlinks=True)
    except FileExistsError:
        return True
    except OSError:
        return False
    finally:
        os.close(root)
        os.close(descriptor)
    return True


def open_to_those_of(descriptor: int, folder: os.stat_result, own: int) -> None:
    """Gives what was just made in a folder its owner, as root, and its mode as far as `own`; closes the descriptor."""
    try:
        _open_to_those_of(descriptor, folder, own)
    finally:
        os.close(descriptor)


def _open_to_those_of(descriptor: int, folder: os.stat_result, own: int) -> None:
    bits = own >> 6
    # Where others may not touch what is not theirs, as in /tmp, nobody is meant to share a file.
    others = bits & ~0o2 if folder.st_mode & stat.S_ISVTX else bits
    mode = own | folder.st_mode & (others << 3 | others)
    with suppress(OSError):  # a network file system may refuse it, and a database of ours alone works too
        if os.geteuid() == 0:
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
        os.fchmod(descriptor, mode | os.fstat(descriptor).st_mode & stat.S_ISGID)
