"""How far a long operation is: a bar on stderr, only where stderr is a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

_WORDS = {
    "backup": "making a backup",
    "rehearsal": "rehearsing on a copy",
    "rebuild": "rebuilding",
    "restore": "restoring",
}


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """Gives what the engine calls with (phase, done, total), or None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    # rich takes longer to import than most commands to run, and only a terminal needs it.
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        bars: dict[str, TaskID] = {}

        def told(phase: str, done: int, total: int) -> None:
            if phase not in bars:
                bars[phase] = shown.add_task(_WORDS.get(phase, phase))
            shown.update(bars[phase], completed=done, total=total or None)

        yield told
