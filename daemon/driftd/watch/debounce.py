"""When to act on hints: after a quiet time, and at the latest after a cap."""

from __future__ import annotations

QUIET = 0.3
CAP = 2.0


class Debounce:
    """Hints in, the moment to act out. Pure: whoever asks brings the time.

    Args:
        quiet: seconds without a hint after which to act.
        cap: seconds after the first hint at which to act even though hints keep coming.
    """

    def __init__(self, quiet: float = QUIET, cap: float = CAP) -> None:
        if not 0 <= quiet <= cap:
            raise ValueError(f"quiet time {quiet} and cap {cap}: 0 <= quiet <= cap is needed")
        self._quiet = quiet
        self._cap = cap
        self._span: tuple[float, float] | None = None

    def hint(self, now: float) -> None:
        """Something happened at `now`, in seconds of a monotonic clock."""
        first, last = self._span or (now, now)
        self._span = first, max(last, now)

    def due(self) -> float | None:
        """The moment to act at; None while nothing has happened. It never comes later than the first hint plus cap."""
        if self._span is None:
            return None
        first, last = self._span
        return min(last + self._quiet, first + self._cap)

    def done(self) -> None:
        """The hints so far are being acted on; the next one begins anew. Call it before looking, not after."""
        self._span = None
