"""Which folders lie on file systems where somebody else may write without the kernel here hearing of it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Shared with another machine or with the host of a virtual one. inotify tells of what this kernel does itself, and of
# nothing else: https://man7.org/linux/man-pages/man7/inotify.7.html, "Limitations and caveats".
REMOTE_TYPES = frozenset({
    "9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "drvfs", "gfs2", "glusterfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs",
    "vmhgfs", "webdav",
})  # fmt: skip

MOUNTINFO = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system: where, and of which type."""

    point: str
    kind: str


def is_remote(kind: str) -> bool:
    """May others write there unheard? Of FUSE nobody knows what is behind it, so it counts; `fuseblk` is a disk."""
    return kind.lower() in REMOTE_TYPES or kind == "fuse" or kind.startswith("fuse.")


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """The mounts in the order of the file (proc_pid_mountinfo(5)); lines of another shape are left out."""
    mounts = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if dash and len(fields) > 4:
            mounts.append(Mount(_unescape(fields[4]), kinds[0]))
    return tuple(mounts)


def read_mounts() -> tuple[Mount, ...]:
    """What is mounted now; empty when the system does not tell."""
    try:
        if sys.platform == "linux":
            return parse_mountinfo(MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"))
        import psutil

        return tuple(Mount(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True))
    except OSError:
        return ()


def remote_folders(folders: Iterable[str], mounts: tuple[Mount, ...]) -> frozenset[str]:
    """Those of the folders, all absolute and real, that lie on a remote file system."""
    if not any(is_remote(mount.kind) for mount in mounts):
        return frozenset()  # nearly always, and then nothing has to be compared
    return frozenset(folder for folder in folders if is_remote(_kind_of(folder, mounts)))


def _kind_of(folder: str, mounts: tuple[Mount, ...]) -> str:
    """The type of the innermost mount. Of two on the same point the later one hides the other."""
    best = Mount("", "")
    for mount in mounts:
        if len(mount.point) >= len(best.point) and _lies_in(folder, mount.point):
            best = mount
    return best.kind


def _lies_in(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip(os.sep) + os.sep)


def _unescape(text: str) -> str:
    r"""Space, tab, newline and backslash stand as `\040`, `\011`, `\012` and `\134`."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
