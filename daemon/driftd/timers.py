"""When a target is looked at again: after hints, after failures, after commits, and each second a glance.

The delays are decided by pure functions; `Timers` only hands them to the loop. docs/daemon.md lists all of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from driftd import states
from driftd.watch.debounce import Debounce

if TYPE_CHECKING:
    from collections.abc import Callable

RETRY_FIRST = {states.MODELS_UNREADABLE: 15.0, states.DATABASE_UNREADABLE: 5.0, states.FAILED: 5.0}
RETRY_SOONEST, RETRY_LATEST = 1.0, 300.0
REFRESH_EVERY = 10.0  # seconds between two stages over the same plan
REFRESH_SHARE = 20.0  # and never more than a twentieth of the time is spent on staging
SETTLES_WITHIN = 3.0  # seconds that a service which has started has its database to itself
GLANCE_EVERY = 1.0
GLANCE_SELDOM = (
    2.0  # once nobody has written for QUIET_SINCE seconds; what appears in the folder is a hint anyway
)
QUIET_SINCE = 60.0
RESTED = frozenset({states.IN_SYNC, states.READY, states.HELD, states.BLOCKED})


def retry_delay(state: str, tries: int) -> float:
    """Seconds until the next try after `tries` failures in a row: twice as long each time."""
    first = RETRY_FIRST.get(state, RETRY_SOONEST)
    return float(min(first * 2 ** min(tries, 20), RETRY_LATEST))


def refresh_delay(since_last: float, took: float) -> float:
    """Seconds until a stage may be made again, `since_last` seconds after one that took `took` seconds."""
    return max(0.0, max(REFRESH_EVERY, REFRESH_SHARE * took) - since_last)


def glance_delay(quiet: float) -> float:
    """Seconds until the next glance at a database in which nobody has written for `quiet` seconds."""
    return GLANCE_SELDOM if quiet >= QUIET_SINCE else GLANCE_EVERY


class Timers:
    """The timers of one target. `due` is called for retries and refreshes, `confirm` when hints have settled."""

    def __init__(self, due: Callable[[], None], confirm: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._due, self._confirm = due, confirm
        self._debounce = Debounce()
        self._hints: asyncio.TimerHandle | None = None
        self._later: asyncio.TimerHandle | None = None
        self._state = states.STARTING
        self._tries = 0
        self._staged_at, self._staging_took = -REFRESH_EVERY, 0.0
        self._next_glance, self._pace = 0.0, GLANCE_EVERY
        self._settled_at = 0.0

    def stands(self, state: str) -> None:
        """The target stands in this state now."""
        self._state = state
        if state in RESTED:
            self._tries = 0

    def retry(self) -> None:
        """Arms the next try."""
        self._arm(retry_delay(self._state, self._tries))
        self._tries += 1

    def refresh(self) -> None:
        """Arms the next refresh, unless something is armed already."""
        if self._later is None:
            self._arm(refresh_delay(self._loop.time() - self._staged_at, self._staging_took))

    def leave(self) -> None:
        """A service has its answer and starts: its database is not looked at for a moment."""
        self._settled_at = self._loop.time() + SETTLES_WITHIN

    def settle(self) -> None:
        """Arms the look behind that moment."""
        self._arm(max(0.0, self._settled_at - self._loop.time()))

    @property
    def settling(self) -> bool:
        """True in the moment that `leave` began."""
        return self._loop.time() < self._settled_at

    def staged(self, took: float) -> None:
        """A stage was made in `took` seconds."""
        self._staged_at, self._staging_took = self._loop.time(), took

    def looks(self) -> None:
        """A look begins: what was armed for one is no longer needed."""
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _arm(self, delay: float) -> None:
        self.looks()
        self._later = self._loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._later = None
        self._due()

    def hint(self) -> None:
        """A file may have moved."""
        self._debounce.hint(self._loop.time())
        self._next_glance = 0.0
        if self._hints is None:
            self._wait_for_quiet()

    def _wait_for_quiet(self) -> None:
        due = self._debounce.due()
        if due is not None:
            self._hints = self._loop.call_at(due, self._quiet)

    def _quiet(self) -> None:
        self._hints = None
        due = self._debounce.due()
        if due is not None and due > self._loop.time():  # hints have come meanwhile
            self._wait_for_quiet()
            return
        if self.settling:
            self._hints = self._loop.call_at(self._settled_at, self._quiet)
            return
        self._debounce.done()
        self._confirm()

    def until_glance(self) -> float:
        """Seconds until it is time for a glance at the database."""
        return max(self._next_glance, self._settled_at) - self._loop.time()

    def glances(self) -> None:
        """A glance begins; the loop need not wake up for the next one before its time."""
        self._next_glance = self._loop.time() + self._pace

    def glanced(self, quiet: float) -> None:
        """The database was looked at; nobody has written for `quiet` seconds."""
        self._pace = glance_delay(quiet)
        self.glances()

    def end(self) -> None:
        """No timer fires after this."""
        self.looks()
        if self._hints is not None:
            self._hints.cancel()
