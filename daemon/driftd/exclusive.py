"""Changing a database by hand beside services that start and run: never in the middle of somebody's start."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from driftd.startup.startup_locks import keep_out, use_alone
from driftengine.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from driftd.startup.startup_locks import Use

POLL = 0.05  # seconds; the lock is a starting service's, and is never waited for in its queue


@contextmanager
def between_starts(database: str, patience: float) -> Iterator[Use]:
    """No service starts on that database while the block runs; yields whether none runs on it (true as a bool).

    Raises BusyError (`service-starting`) where one is still starting after `patience` seconds.
    """
    real = os.path.realpath(database)
    give_up = time.monotonic() + patience
    while True:
        with keep_out(real) as kept_out:
            if kept_out:
                with use_alone(real) as use:
                    yield use
                return
        if time.monotonic() >= give_up:
            raise starting(real, patience)
        time.sleep(POLL)


def starting(database: str, waited: float = 0.0) -> BusyError:
    """Nothing is changed while a service starts; `waited` seconds were not enough."""
    return BusyError(
        f"a service is starting on {database}",
        code="service-starting",
        why=f"it has held {database}.startup.lock for {waited:g} s"
        if waited
        else f"it holds {database}.startup.lock",
        fix="try again when it has started, or see who holds it: driftd doctor",
    )
