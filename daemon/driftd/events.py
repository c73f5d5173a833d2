"""What happens, told to everybody who follows: each follower has a queue of its own, and a slow one loses the oldest."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Document = dict[str, Any]
KEPT = 256  # events for a follower who does not read


class Events:
    """The events of one daemon."""

    def __init__(self) -> None:
        self._followers: set[_Follower] = set()

    @property
    def followed(self) -> bool:
        """False when nobody follows: then an event need not even be put together."""
        return bool(self._followers)

    def publish(self, event: Document) -> None:
        """Tells all followers; never waits."""
        for follower in self._followers:
            follower.hear(event)

    def follow(self) -> AsyncGenerator[Document, None]:
        """The events from this call on, until `end`; closing it ends the following."""
        follower = _Follower()
        self._followers.add(follower)  # now, and not at the first event: what happens in between is heard
        return self._heard(follower)

    async def _heard(self, follower: _Follower) -> AsyncGenerator[Document, None]:
        try:
            while (event := await follower.next()) is not None:
                yield event
        finally:
            self._followers.discard(follower)

    def end(self) -> None:
        """Nothing more will happen."""
        for follower in self._followers:
            follower.end()


class _Follower:
    def __init__(self) -> None:
        self._waiting: deque[Document] = deque()
        self._lost = 0
        self._ended = False
        self._more = asyncio.Event()

    def hear(self, event: Document) -> None:
        if len(self._waiting) == KEPT:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(event)
        self._more.set()

    def end(self) -> None:
        self._ended = True
        self._more.set()

    async def next(self) -> Document | None:
        while not self._waiting:
            if self._ended:
                return None
            self._more.clear()
            await self._more.wait()
        if self._lost:
            event: Document = {"event": "lost", "at": self._waiting[0]["at"], "count": self._lost}
            self._lost = 0
            return event
        return self._waiting.popleft()
