"""The watcher: wishes in, at most one note per owner out, until the owner has taken it.

Three kinds of threads meet here, and two locks keep them apart:

- Whoever calls `watch`, `forget`, `check` or `close`, and the mender, hold `_turn` while they schedule. With `_turn`
  held, watchdog's own locks are taken, and its threads are waited for.
- watchdog's threads call `_heard` and `_told`, with watchdog's locks held. So they never take `_turn`: what has to be
  put right is left to the mender, a thread that lives only as long as there is something to do.
- `_leaf` guards the notes and the mender's list. Nothing is called while it is held.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from driftd.watch.folder import MISSING, REBUILD, WatchedFolder, meaning
from driftd.watch.log import Listener
from driftd.watch.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from watchdog.events import FileSystemEvent

    from driftd.watch.wishes import Wish

_log = logging.getLogger(__name__)


class Watcher:
    """Watches folders for owners (targets).

    `watch`, `forget`, `check` and `close` may wait: up to half a second while watchdog lets a pending rename rest, and
    as long as a dead network file system makes `stat` wait. Call them from a worker's thread, never on an event loop.
    `taken`, `polled`, `reasons` and `failures` never wait.

    Args:
        note: called with an owner, from any thread, at most once until `taken(owner)`; it should return at once. A
            note may still arrive just after `forget` or `close`.
        clock: seconds of a monotonic clock, for telling a flood of events.
    """

    def __init__(self, note: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._note = note
        self._clock = clock
        self._turn = threading.Lock()
        self._leaf = threading.Lock()
        self._wishes: Mapping[str, tuple[Wish, ...]] = {}  # replaced, never changed: read without a lock
        self._reasons: Mapping[str, str] = {}
        self._noted: set[str] = set()
        self._repairs: set[tuple[str, str]] = set()
        self._mending = False
        self._closed = False
        self._failures = 0
        self._scheduler = Scheduler(self._heard)
        self._listener = Listener(self._told)
        self._listener.attach()

    @property
    def failures(self) -> int:
        """How often something unexpected was raised in a watching thread; the first was logged, each led to notes."""
        return self._failures

    @property
    def reasons(self) -> dict[str, str]:
        """Folder to why its events do not come, or not all: `missing`, `unreadable`, `limit`, `remote` or `busy`."""
        return dict(self._reasons)

    def polled(self, owner: str) -> tuple[str, ...]:
        """The owner's folders whose events do not come, or not all: to be looked at every now and then instead."""
        # One that is missing is waited for in the folder above it, and that is watched or named itself.
        blind = {path for path, reason in self._reasons.items() if reason != MISSING}
        return tuple(sorted({wish.folder for wish in self._wishes.get(owner, ()) if wish.folder in blind}))

    def taken(self, owner: str) -> None:
        """The owner is about to look; from now on it is noted again. Call it before looking, not after."""
        with self._leaf:
            self._noted.discard(owner)

    def watch(self, owner: str, wishes: Iterable[Wish]) -> bool:
        """Replace what an owner wishes for; only the differences are scheduled.

        True when the owner hears of something that it did not hear of before (also where the folder was watched for
        others), or there was a gap: what was read of it earlier may have changed unheard, so look once more.
        """
        with self._turn:
            if self._closed:
                return False
            wanted = tuple(wishes)
            news = not set(wanted) <= set(self._wishes.get(owner, ()))
            self._wishes = {**self._wishes, owner: wanted}
            changed = self._scheduler.settle(self._wishes)
            self._reasons = self._scheduler.reasons()
            owners = self._scheduler.owners_of(changed)
        self._tell(owners - {owner})
        return news or owner in owners

    def forget(self, owner: str) -> None:
        """The owner wishes for nothing any more."""
        with self._turn:
            self._wishes = {name: wishes for name, wishes in self._wishes.items() if name != owner}
            self.taken(owner)
            owners = self._scheduler.owners_of(self._scheduler.settle(self._wishes))
            self._reasons = self._scheduler.reasons()
        self._tell(owners)

    def check(self) -> tuple[str, ...]:
        """Compare what should be watched with what is, put it right, and note the owners of what was not.

        To be called at each rescan. Returns the folders whose events do not come now, or not all.
        """
        self._put_right(self._scheduler.check)
        return tuple(sorted(self._reasons))

    def close(self) -> None:
        """Stop watching."""
        with self._turn:
            self._closed = True
            self._scheduler.stop()
        self._listener.detach()

    def _put_right(self, work: Callable[[], set[str]]) -> None:
        """Do a piece of the scheduler's work, and note the owners of the folders that took a change."""
        with self._turn:
            if self._closed:
                return
            changed = work()
            self._reasons = self._scheduler.reasons()
            owners = self._scheduler.owners_of(changed)
        # Noted after the scheduling: what had changed before it, nobody heard.
        self._tell(owners)

    # The mender: a thread of its own, holding no lock of watchdog's.

    def _mend_soon(self, repairs: Iterable[tuple[str, str]]) -> None:
        with self._leaf:
            self._repairs.update(repairs)
            if self._mending or self._closed:
                return
            self._mending = True
        try:
            threading.Thread(target=self._mend_all, name="driftd-watch-mender", daemon=True).start()
        except RuntimeError:  # no more threads: the next check puts it right
            self._mending = False
            raise

    def _mend_all(self) -> None:
        """Until nothing is left to do."""
        while True:
            with self._leaf:
                repairs, self._repairs = self._repairs, set()
                if not repairs:
                    self._mending = False
                    return
            try:
                self._put_right(lambda repairs=repairs: self._mend(repairs))  # type: ignore[misc]
            except Exception:  # noqa: BLE001  # whatever it is, the next check does the same work again
                self._failed(self._wishes)

    def _mend(self, repairs: set[tuple[str, str]]) -> set[str]:
        if any(what == REBUILD for what, _ in repairs):
            return self._scheduler.rebuild()
        return {path for repair in sorted(repairs) for path in self._scheduler.repair(*repair)}

    # watchdog's threads: never wait, never raise.

    def _heard(self, folder: WatchedFolder, event: FileSystemEvent) -> None:
        try:
            heard = meaning(folder, event, self._scheduler.folders, self._clock())
            self._tell(heard.owners)
            if heard.repairs:
                self._mend_soon(heard.repairs)
        except Exception:  # noqa: BLE001  # a handler that raises ends watchdog's dispatcher without a word
            self._failed(self._wishes)

    def _told(self, lost: bool) -> None:
        """A warning of watchdog's; `lost` when it is that events were dropped."""
        try:
            self._tell(self._wishes)
            if lost:
                self._mend_soon([(REBUILD, "")])
        except Exception:  # noqa: BLE001  # it is called out of watchdog's reading thread, which would end
            self._failed(())

    def _tell(self, owners: Iterable[str]) -> None:
        """Note those of the owners who are not noted yet."""
        for owner in owners:
            with self._leaf:
                if owner in self._noted or owner not in self._wishes:
                    continue
                self._noted.add(owner)
            try:
                self._note(owner)
            except Exception:  # noqa: BLE001  # the caller's fault must not end the watching
                self.taken(owner)  # so that the next event tries again
                self._failed(())

    def _failed(self, owners: Iterable[str]) -> None:
        """Something unexpected: count it, log the first, and have everything looked at."""
        self._failures += 1
        if self._failures == 1:
            _log.exception("watching went wrong; what was missed is found by the rescan")
        self._tell(owners)
