"""When listening costs more than it tells."""

from __future__ import annotations

LIMIT = 200
SPAN = 1.0


class Flood:
    """Counts events in spans of time. Pure: whoever counts brings the time.

    A service in rollback-journal mode makes and deletes a file with each transaction, up to some 1,600 a second.

    Args:
        limit: how many events one span may hold.
        span: seconds.
    """

    def __init__(self, limit: int = LIMIT, span: float = SPAN) -> None:
        self._limit = limit
        self._span = span
        self._since = 0.0
        self._count = 0

    def hit(self, now: float) -> bool:
        """One more event at `now`: is it too many?"""
        if self._count == 0 or not self._since <= now < self._since + self._span:
            self._since, self._count = now, 0
        self._count += 1
        return self._count > self._limit

    def reset(self) -> None:
        """Count from nothing again."""
        self._count = 0
