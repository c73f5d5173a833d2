"""Turns at what is heavy: loading models and staging, so that fifty targets do not begin all at once."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE = 5.0  # seconds; one that hangs keeps its turn, and must not keep the others from theirs


class Turns:
    """A few at a time, and nobody waits longer than `patience` seconds: a queue, not a lock."""

    def __init__(self, at_once: int | None = None, patience: float = PATIENCE) -> None:
        self._free = asyncio.Semaphore(2 * (os.cpu_count() or 1) if at_once is None else at_once)
        self._patience = patience

    @asynccontextmanager
    async def turn(self, hurried: asyncio.Event) -> AsyncIterator[None]:
        """A turn, as soon as there is one; whoever is `hurried`, or has waited long enough, goes past the queue."""
        taken = await self._take(hurried)
        try:
            yield
        finally:
            if taken:
                self._free.release()

    async def _take(self, hurried: asyncio.Event) -> bool:
        if not self._free.locked():
            return await self._free.acquire()
        taking, hurrying = asyncio.create_task(self._free.acquire()), asyncio.create_task(hurried.wait())
        try:
            await asyncio.wait(
                {taking, hurrying}, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED
            )
        except BaseException:
            if taking.done() and not taking.cancelled():
                self._free.release()
            raise
        finally:
            hurrying.cancel()
            if not taking.done():
                taking.cancel()
        return taking.done() and not taking.cancelled()
