"""What the C library does with memory that is free again: a daemon that works for a second a day gives it back.

glibc gives each thread an arena of its own, which keeps as much as the thread's largest job ever needed. A daemon has a
thread or two for each target, of which one computes at a time: an arena of each is memory that nobody uses. Other C
libraries have no such arenas, and nothing of this does anything there.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

# malloc.h of glibc; https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html
M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3
LARGE = 128 << 10  # bytes: glibc's own beginning, which it moves up with each block of a job


def share_one_arena() -> None:
    """All threads from now on allocate from the first one's arena. To be called before any thread starts.

    Large blocks have pages of their own, which go back at once and leave no hole among the small ones.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """Free pages go back to the system: half a millisecond."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
