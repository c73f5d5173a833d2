"""What the tests of watching share: a recorder of notes, a barrier behind events, and a wait for a condition."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftd.watch.watcher import Watcher
from driftd.watch.wishes import Wish, wishes_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Far more than anything here takes; it only ends a test that would hang.
DEADLINE = 30.0
BARRIER = ".barrier"  # hidden, so that no wish for sources hears it


@dataclass(frozen=True)
class Project:
    """A project as a service has it: a package with models, and a database in a folder of its own."""

    root: Path
    package: Path
    models: Path
    database: Path

    def wishes(self) -> tuple[Wish, ...]:
        """As a keeper would make them."""
        return wishes_for([str(self.models)], [str(self.package)], None, str(self.database))


class Recorder:
    """Notes, in the order in which they came, and a wait for them that does not poll."""

    def __init__(self, **settings: Callable[[], float]) -> None:
        self.notes: list[str] = []
        self._condition = threading.Condition()
        self._barriers = itertools.count()
        self.watcher = Watcher(self.note, **settings)

    def note(self, owner: str) -> None:
        """As the watcher calls it."""
        with self._condition:
            self.notes.append(owner)
            self._condition.notify_all()

    def wait(self, owner: str) -> None:
        """Until the owner has been noted since the last `take`."""
        with self._condition:
            assert self._condition.wait_for(lambda: owner in self.notes, DEADLINE), f"{owner} was never noted"

    def take(self, owner: str) -> None:
        """Forget the owner's notes, as a keeper does that is about to look."""
        with self._condition:
            self.notes = [other for other in self.notes if other != owner]
        self.watcher.taken(owner)

    def pass_barrier(self, folder: Path) -> None:
        """Until every event that has happened in a folder so far has been heard.

        Events of one folder come in order, and a new folder in it makes exactly one.
        """
        name = f"{BARRIER}-{next(self._barriers)}"
        self.watcher.watch(BARRIER, [Wish(str(folder), frozenset({name}), quiet=True)])
        self.take(BARRIER)
        (folder / name).mkdir()
        self.wait(BARRIER)


@contextmanager
def recording(**settings: Callable[[], float]) -> Iterator[Recorder]:
    """A recorder whose watcher is closed at the end, having found nothing wrong with itself."""
    recorder = Recorder(**settings)
    try:
        yield recorder
        assert recorder.watcher.failures == 0
    finally:
        recorder.watcher.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nothing tells of, such as the end of a thread of watchdog's."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.002)


def is_watched(watcher: Watcher, folder: Path) -> bool:
    """Is the folder that stands there now watched by a living thread?"""
    status = folder.stat()
    known = watcher._scheduler.folders[str(folder)]
    return known.is_live() and known.identity == (status.st_dev, status.st_ino)
