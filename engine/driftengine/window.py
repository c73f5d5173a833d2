"""The startup window as the engine sees it: an id, a deadline, and the question whether the starter is still there.

Locks, files and sockets are the caller's. All that happens in a window ends by its deadline: committed, or rolled back
and put off.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftengine.errors import BusyError, DeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable

LATE, IN_USE = "window-deadline", "in-use"
LOCK_SLACK = 0.05  # seconds; who waits for a lock gives up one poll before the deadline


@dataclass(frozen=True, slots=True)
class Window:
    """One window.

    Args:
        id: that of the starter; the history keeps it.
        deadline_at: on the clock of `time.monotonic()`.
        require_open: called right before each COMMIT; raises BusyError (`window-closed`) where the starter has gone.
        in_use: others run on this schema, so only what their code survives may be applied.
    """

    id: str
    deadline_at: float
    require_open: Callable[[], None]
    in_use: bool = False

    def left_ms(self) -> float:
        """Milliseconds that are left, never less than none."""
        return max(0.0, (self.deadline_at - time.monotonic()) * 1000)

    def over(self) -> bool:
        """True once the deadline is reached."""
        return time.monotonic() >= self.deadline_at

    def told(self, error: BusyError) -> BusyError:
        """What stood in the way, in the window's words: a lock that was waited for until the deadline is lateness."""
        if error.code == LATE:
            return error
        if error.code == "database-busy" and self.left_ms() <= LOCK_SLACK * 1000:
            return late(error.why or error.what, "somebody held the database until the startup window ended")
        return late(str(error)) if isinstance(error, DeadlineError) else error


def late(why: str, what: str = "the migration does not fit into the startup window") -> DeadlineError:
    """The window was too short: nothing was changed."""
    return DeadlineError(
        what,
        code=LATE,
        why=why,
        fix="run `driftd apply` while the service is stopped, or give it a longer window.timeout",
    )


def too_long(needed_ms: float, left_ms: float) -> DeadlineError:
    """The window is too short for what is known to take so many milliseconds."""
    return late(f"it may take {needed_ms / 1000:.1f} s, and {left_ms / 1000:.1f} s are left")


def in_use(count: int, command: str = "apply") -> BusyError:
    """All that is left waits until nobody runs on this schema, or until a person approves it by the command."""
    rest = "1 operation waits" if count == 1 else f"{count} operations wait"
    return BusyError(
        f"{rest} until no other service runs",
        code=IN_USE,
        why="others run on this schema, and their code may not survive what is left to do",
        fix=f"stop them all and start one, or approve it: driftd {command} --approve ID"
        if command == "apply"
        else f"stop them all and try again, or approve it: driftd {command} --approve ID",
    )
