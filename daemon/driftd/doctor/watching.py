"""Can the kernel tell the daemon of all the folders that it must watch?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from driftd.doctor.findings import Finding, warning

if TYPE_CHECKING:
    from driftd.doctor.subject import Seen

LIMITS = Path("/proc/sys/fs/inotify")
SPARE_WATCHES = 64  # a target needs a watch for each folder of its models, and a few for its database
PROCESSES = Path("/proc")


@dataclass(frozen=True, slots=True)
class Inotify:
    """The limits for a user (inotify(7)), and what that user's processes have in use."""

    watches: int
    instances: int
    watches_used: int
    instances_used: int


def check_watching(seen: Seen) -> list[Finding]:
    """The limits against what is in use; of the daemon's user where one runs."""
    if not LIMITS.is_dir():
        return []
    uid = os.geteuid() if seen.uid is None else seen.uid
    return judged(read_limits(uid), running=seen.status is not None)


def read_limits(uid: int) -> Inotify:
    """What the kernel says now; processes that may not be looked into are not counted."""
    watches = instances = 0
    for process in PROCESSES.iterdir():
        if process.name.isdigit():
            for held in _instances_of(process, uid):
                instances, watches = instances + 1, watches + held
    read = {
        name: int((LIMITS / name).read_text(encoding="ascii"))
        for name in ("max_user_watches", "max_user_instances")
    }
    return Inotify(read["max_user_watches"], read["max_user_instances"], watches, instances)


def _instances_of(process: Path, uid: int) -> list[int]:
    """The number of watches of each inotify instance of a process of that user."""
    found = []
    try:
        if process.stat().st_uid != uid:
            return []
        for descriptor in (process / "fd").iterdir():
            if os.readlink(descriptor) == "anon_inode:inotify":  # noqa: PTH115 - the text itself, it is no path
                text = (process / "fdinfo" / descriptor.name).read_text(encoding="ascii")
                found.append(text.count("inotify wd:"))
    except OSError:
        return found  # it has ended, or belongs to somebody else
    return found


def judged(limits: Inotify, *, running: bool) -> list[Finding]:
    """What is to be said of them. A daemon that runs has its instances already."""
    found = []
    for name, limit, used, needed in (
        ("max_user_instances", limits.instances, limits.instances_used, 0 if running else 2),
        ("max_user_watches", limits.watches, limits.watches_used, SPARE_WATCHES),
    ):
        if limit - used < needed:
            found.append(
                warning(
                    f"the user has used {used:,} of {limit:,} ({name})",
                    code="inotify-limit",
                    why="what cannot be watched is looked at from time to time only, and changes are seen later",
                    fix=f"raise it: sysctl fs.inotify.{name}={max(2 * limit, limit + 1024)}",
                )
            )
    return found
