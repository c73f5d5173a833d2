"""`driftd demo`: the whole story on a small task tracker, told by the real daemon and commands in a temporary folder."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from driftd.demo.story import tell_story
from driftd.demo.surprise import Surprise
from driftd.demo.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def play(tell: Callable[[str], None], *, keep: bool = False) -> int:
    """Tell the story; 0 when all went as told, 1 when something did not. The folder goes, unless it is to be kept."""
    with _ended_in_order():
        tracker = Tracker.make()
        try:
            tell_story(tracker, tell)
        except Surprise as surprise:
            tell(f"\nThe demo went wrong: {surprise}")
            return 1
        finally:
            # Also after Ctrl-C: a demo leaves nothing behind.
            tracker.remove(keep=keep)
            if keep:
                tell(f"\nThe folder is kept: {tracker.folder}")
    return 0


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """A closed terminal and SIGTERM end the demo as Ctrl-C does: its daemon must not outlive it."""
    before = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
