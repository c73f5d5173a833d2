"""Turns at what is heavy: loading models and staging, so that fifty targets do not begin all at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE = 5.0  # seconds; one that hangs keeps its turn, and must not keep the others from theirs


class Turns:
    """A few at a time, and nobody waits longer than `patience` seconds: a queue, not a lock."""

    def __init__(self, at_once: int | None = None, patience: float = PATIENCE) -> None:
        self._free = asyncio.Semaphore(2 * (os.cpu_count() or 1) if at_once is None else at_once)
        self._patience = patience
        self._taken = 0

    async def __aenter__(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
                return
        self._taken += 1  # gone past the queue: nothing to give back for this one

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._taken:
            self._taken -= 1
        else:
            self._free.release()
