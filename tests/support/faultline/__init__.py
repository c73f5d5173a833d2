"""Faults at system calls: real processes that are killed, or whose calls fail, at a chosen write, sync or rename.

`faultline.c` is preloaded into them (LD_PRELOAD). It counts the calls that make, write, sync, rename, remove or lock files
below given folders (the points), and strikes at chosen ones. First one run counts and names the points, then one run per
point strikes there; nobody has to know the code to find where it may break.
"""

from __future__ import annotations

import atexit
import enum
import functools
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = Path(__file__).with_name("faultline.c")
HEAD = struct.Struct("<QQQQiiII")
FOLDERS, FOLDER, LINES, LINE = 4, 1024, 1 << 17, 128
EVER = 2**63
CLOCK = HEAD.size + FOLDERS * FOLDER + LINES * LINE  # where the clock's jump stands


class Strike(enum.IntEnum):
    """What happens at the struck points (`enum strike` in faultline.c)."""

    PASS = 0
    KILL = 1  # SIGKILL before the call
    TEAR = 2  # SIGKILL after half of its bytes; before the call where it writes none
    FAIL = 3  # the call does nothing and fails with an errno
    SHORT = 4  # the call writes half of its bytes and says so
    KILL_ALL = 5  # SIGKILL to the whole process group
    STOP = 6  # SIGSTOP before the call: whoever watches acts, and continues it
    STARTER = 7  # SIGKILL to the process that was started first; whoever made the call goes on
    BOTH = 8  # SIGKILL to that process and to the one that made the call


class Kind(enum.IntFlag):
    """Which calls are points (`enum kind` in faultline.c)."""

    WRITE = 1
    SYNC = 2
    CREATE = 4
    RENAME = 8
    REMOVE = 16
    LINK = 32
    FOLDERS_MADE = 64
    SIZE = 128
    MODE = 256
    LOCK = 512
    READ = 1024
    OPEN_ONLY = 2048  # opens that make no file
    POSIX_LOCK = 4096  # SQLite's locks


CHANGES = Kind(1023)  # all but reads
TAKES_SPACE = Kind.WRITE | Kind.SYNC | Kind.CREATE | Kind.FOLDERS_MADE | Kind.SIZE | Kind.LINK | Kind.RENAME


@functools.cache
def library() -> Path:
    """faultline.c, compiled; skips the test where there is no C compiler, unless REQUIRE_CC says that one must be."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        if os.environ.get("REQUIRE_CC"):
            pytest.fail("no C compiler: faults at system calls cannot be tested")
        pytest.skip("no C compiler (cc) to build the fault library with")
    folder = Path(tempfile.mkdtemp(prefix="faultline-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = folder / "faultline.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return made


class Control:
    """The file that steers the preloaded library: the count of all processes that share it, and where it strikes."""

    def __init__(self, path: Path, folders: Sequence[Path]) -> None:
        self.path = path
        with path.open("wb") as file:
            file.truncate(CLOCK + 16)
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 0)
        self.watch(*folders)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shared.close()

    def watch(self, *folders: Path) -> None:
        """From now on the points are calls below these folders (at most four)."""
        named = b"".join(os.fsencode(folder).ljust(FOLDER, b"\0") for folder in folders)
        self._shared[HEAD.size : HEAD.size + FOLDERS * FOLDER] = named.ljust(FOLDERS * FOLDER, b"\0")

    def arm(
        self,
        at: int = 0,
        *,
        strike: Strike = Strike.KILL,
        last: int | None = None,
        error: int = 0,
        kinds: Kind = CHANGES,
        told: bool = False,
    ) -> None:
        """Counts from zero again; points `at` (from 1; 0: none) to `last` (`at`; EVER: all after it) are struck."""
        first = at or EVER
        self._shared[: HEAD.size] = HEAD.pack(0, first, last or first, 0, strike, error, kinds, told)

    def disarm(self) -> None:
        """Nothing is counted or struck any more."""
        self.arm(kinds=Kind(0))

    def set_clock(self, seconds: int) -> None:
        """The clock on the wall is so many seconds ahead (negative: behind) of the real one; the monotonic one is not."""
        self._shared[CLOCK : CLOCK + 8] = struct.pack("<q", seconds)

    @property
    def count(self) -> int:
        """Points passed since it was armed."""
        return int(HEAD.unpack_from(self._shared)[0])

    @property
    def struck(self) -> int:
        """Points struck since it was armed."""
        return int(HEAD.unpack_from(self._shared)[3])

    def names(self) -> list[str]:
        """Each point passed since it was armed with `told`, as `call path`, in order."""
        start = HEAD.size + FOLDERS * FOLDER
        rooms = (start + number * LINE for number in range(min(self.count, LINES)))
        return [
            self._shared[room : room + LINE].split(b"\0", 1)[0].decode("utf-8", "replace") for room in rooms
        ]

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to be counted and struck, with its children."""
        return {"LD_PRELOAD": str(library()), "FAULTLINE": str(self.path)}
