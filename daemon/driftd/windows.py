"""The daemon's side of a startup window: one opening, from its being seen to its one answer. docs/window-protocol.md.

The loop decides when the time is up, the target's worker when to COMMIT; one small lock keeps the two apart, so that
whoever is told that nothing was changed is told the truth.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from driftengine.ahead import ANSWER_BEFORE_S
from driftengine.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from driftengine.errors import DriftError

Document = dict[str, Any]

ANSWER_SHARE = 0.25  # of a window that is shorter than that allows


def answer_at(now: float, until: float) -> float:
    """When a starter that waits until then is answered at the latest; it needs a moment to hear it. Monotonic seconds."""
    return until - min(ANSWER_BEFORE_S, ANSWER_SHARE * max(0.0, until - now))


class Opening:
    """A window that a starting service has opened.

    Args:
        window: the starter's random id.
        now: on the monotonic clock, as `until`, when the starter gives up waiting.
        until: see `now`.
        still_open: whether the starter still holds its lock with this id; asked on the worker's thread.
    """

    def __init__(self, window: str, *, now: float, until: float, still_open: Callable[[], bool]) -> None:
        self.id, self.until = window, until
        self.began_at, self.deadline_at = now, answer_at(now, until)
        self.answered: asyncio.Future[Document] = asyncio.get_running_loop().create_future()
        self._still_open = still_open
        self._guard = threading.Lock()
        self._closed = self._committing = False

    def require_open(self) -> None:
        """On the worker's thread, right before COMMIT. Raises BusyError (`window-closed`), and then nothing is changed."""
        # Outside the guard: the loop takes that, and must not wait for a file system.
        held = not self._closed and self._still_open()
        with self._guard:
            if self._closed or not held:
                self._closed = True
                raise closed()
            self._committing = True

    @property
    def closed(self) -> bool:
        """True when nothing of it is wanted any more."""
        return self._closed

    def close(self) -> bool:
        """Nothing is committed any more. False where that has begun already, and its outcome is to be waited for."""
        with self._guard:
            self._closed = self._closed or not self._committing
            return self._closed

    def answer(self, document: Document) -> None:
        """The answer, if it is the first."""
        if not self.answered.done():
            self.answered.set_result({**document, "id": self.id, "by": "daemon"})

    def give_up(self, error: DriftError) -> None:
        """No answer is given here, and nothing is changed: its starter has gone, or has to ask somebody else."""
        if self.close() and not self.answered.done():
            self.answered.set_exception(error)
            self.answered.exception()  # it is no fault that nobody waits for it


def closed() -> BusyError:
    """Why a window's work comes to nothing."""
    return BusyError(
        "the startup window has closed",
        code="window-closed",
        why="the service that opened it has gone away, or its time was up",
        fix="nothing was changed; the next start of the service opens a new one",
    )


def observed(target: str) -> BusyError:
    """Why nothing is applied in mode observe."""
    return BusyError(
        f"nothing is applied to {target}",
        code="mode-observe",
        why="its mode is observe: the daemon never writes",
        fix='set mode = "window" and reload, or use `driftd apply`',
    )


def resting(target: str) -> BusyError:
    """Why nothing is applied while a target is paused."""
    return BusyError(
        f"nothing is applied to {target}",
        code="target-paused",
        why="the target is paused",
        fix=f"driftd resume --target {target}",
    )


def unknown(waited: float) -> BusyError:
    """What is told while a COMMIT does not come back."""
    return BusyError(
        "whether the migration was done is not known",
        code="window-unknown",
        why=f"its COMMIT had begun, and had not come back after {waited:.1f} s",
        fix="it is done whole or not at all: `driftd status` tells, and `driftd history`",
    )
