"""What processes remember for each other: whole or not at all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from driftengine import memory

if TYPE_CHECKING:
    from pathlib import Path


def test_threads_that_remember_the_same_at_once_do_not_meet(tmp_path: Path) -> None:
    """Two targets of one daemon share their models: neither takes away what the other one is writing."""
    path, document = tmp_path / "memory" / "one.json", {"text": "x" * 1000}
    kept: list[bool] = []
    start = threading.Barrier(2)

    def remember() -> None:
        start.wait()
        kept.extend(memory.write(path, document) for _ in range(50))

    threads = [threading.Thread(target=remember) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == [True] * 100
    assert memory.read(path) == document
    assert [one.name for one in path.parent.iterdir()] == ["one.json"]
