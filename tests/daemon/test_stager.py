"""The child that stages, seen from its parent: however much it has to say, cancelling it ends."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from driftd import stager
from support.migrations import House

if TYPE_CHECKING:
    from pathlib import Path

# Reads its job and says that a long outcome follows, of which it tells some; then it goes on for ever.
TALKATIVE = """
import struct, sys, time
head = struct.Struct(">cQ")
_, length = head.unpack(sys.stdin.buffer.read(head.size))
sys.stdin.buffer.read(length)
sys.stdout.buffer.write(head.pack(b"o", 1 << 30) + bytes(1 << 22))
sys.stdout.buffer.flush()
time.sleep(600)
"""


@pytest.mark.timeout(60)
def test_cancelled_over_a_long_outcome_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the very moment in which asyncio has stopped reading, because there was more than it likes to keep."""
    monkeypatch.setattr(stager, "_COMMAND", (sys.executable, "-c", TALKATIVE))
    feed = asyncio.StreamReader.feed_data
    paused = []

    async def story() -> None:
        def fed(reader: Any, data: bytes) -> None:
            feed(reader, data)
            if reader._paused and not paused:  # asyncio tells nobody
                paused.append(len(data))
                staging.cancel()

        monkeypatch.setattr(asyncio.StreamReader, "feed_data", fed)
        staging = asyncio.create_task(
            stager._from_child(House(tmp_path).target(), None, (), lambda *_: None)  # type: ignore[arg-type]
        )
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(staging, 30)

    asyncio.run(story())
    assert paused
