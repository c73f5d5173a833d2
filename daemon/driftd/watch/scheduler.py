"""What is watched, held against what should be. Acts on watchdog's observer; knows no owner's notes and no locks."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

from watchdog.observers import Observer

from driftd.watch.folder import (
    AGAIN,
    BUSY,
    DROP,
    LIMIT,
    MISSING,
    REMOTE,
    UNREADABLE,
    WatchedFolder,
    audiences,
    events_for,
    identity_of,
)
from driftd.watch.mounts import read_mounts, remote_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

    from driftd.watch.wishes import Wish

_log = logging.getLogger(__name__)


class Scheduler:
    """One observer, a watch per folder, none recursive. One caller at a time; `folders` may be read by any thread.

    Its methods return the folders whose watch has begun, ended or begun anew: something may have changed there
    unheard.

    Args:
        heard: called in watchdog's threads with a folder and an event.
    """

    def __init__(self, heard: Callable[[WatchedFolder, FileSystemEvent], None]) -> None:
        self.folders: Mapping[str, WatchedFolder] = {}
        self._heard = heard
        self._remote: frozenset[str] = frozenset()
        self._observer: BaseObserver | None = None
        self._core: tuple[threading.Thread, ...] = ()

    def settle(self, wishes: Mapping[str, tuple[Wish, ...]]) -> set[str]:
        """Make what is watched what the owners wish for."""
        wanted = audiences(wishes)
        for path in self.folders.keys() - wanted.keys():
            self._unschedule(self.folders[path])
        self.folders = {path: self.folders.get(path) or WatchedFolder(path, self._heard) for path in wanted}
        changed = set()
        for path in sorted(wanted):  # parents first: what appears below is seen, or is there already
            folder = self.folders[path]
            folder.audience = wanted[path]
            if folder.watch is not None and folder.events != events_for(folder.audience):
                # The kernel keeps one mask per folder, so the old watch goes before the new one comes.
                self._unschedule(folder)
            if self._verify(folder):
                changed.add(path)
        return changed

    def check(self) -> set[str]:
        """Put right what has gone wrong unheard, and try again what could not be watched."""
        self._remote = remote_folders(self.folders, read_mounts())
        changed: set[str] = set()
        if not all(thread.is_alive() for thread in self._core):
            _log.warning("watching had ended without a word and begins anew")
            changed = self.rebuild()
        return changed | {
            path for path in sorted(self.folders) if self._verify(self.folders[path], retry=True)
        }

    def rebuild(self) -> set[str]:
        """Begin anew with everything; what is pending is forgotten."""
        self.stop()
        for path in sorted(self.folders):
            self._verify(self.folders[path], retry=True)
        return set(self.folders)

    def repair(self, what: str, path: str) -> set[str]:
        """Put one folder right, as `folder.meaning` asked for it."""
        if what == DROP:
            if folder := self.folders.get(path):
                self._unschedule(folder)
                folder.reason = BUSY
            return {path} & self.folders.keys()
        # A folder that came or went took everything beneath it along.
        beneath = [
            other for other in sorted(self.folders) if other == path or other.startswith(path + os.sep)
        ]
        return {
            other
            for other in beneath
            if self._verify(self.folders[other], again=what == AGAIN and other == path)
        }

    def reasons(self) -> dict[str, str]:
        """The folders whose events do not come, or not all, and why."""
        reasons = dict.fromkeys(self._remote & self.folders.keys(), REMOTE)
        return reasons | {path: folder.reason for path, folder in self.folders.items() if folder.reason}

    def owners_of(self, paths: Iterable[str]) -> set[str]:
        """Who listens to any of the folders."""
        return {owner for path in paths if path in self.folders for owner in self.folders[path].owners}

    def stop(self) -> None:
        """Watch nothing; waits for watchdog's threads."""
        observer, self._observer, self._core = self._observer, None, ()
        for folder in self.folders.values():
            folder.watch = folder.emitter = folder.identity = None
        if observer is not None:
            observer.stop()
            observer.join()

    def _verify(self, folder: WatchedFolder, *, retry: bool = False, again: bool = False) -> bool:
        """See to it that what stands there is watched; True when that took a change.

        A folder that was renamed away keeps its watch, under its old name; the inode tells. `retry` also tries what
        was given up until the next check; `again` begins anew in any case.
        """
        if folder.reason in {BUSY, LIMIT} and not retry:
            return False
        identity = identity_of(folder.path)
        if folder.is_live() and identity == folder.identity and not again:
            return False
        was_watched = folder.watch is not None
        self._unschedule(folder)
        self._schedule(folder, identity)
        return was_watched or folder.watch is not None

    def _schedule(self, folder: WatchedFolder, identity: tuple[int, int] | None) -> None:
        """Begin to watch a folder, or write down why that cannot be."""
        if identity is None or not os.access(folder.path, os.R_OK):
            # watchdog passes over a folder that it may not read without a word.
            folder.reason = MISSING if identity is None else UNREADABLE
            return
        folder.flood.reset()
        folder.events = events_for(folder.audience)
        try:
            observer = self._observer or self._start()
            watch = observer.schedule(folder, folder.path, recursive=False, event_filter=list(folder.events))
        except FileNotFoundError:
            folder.reason = (
                MISSING  # since the `lstat`; its parent's watch or the next check tells when it is back
            )
        except (OSError, RuntimeError) as error:  # RuntimeError: no more threads
            if folder.reason != LIMIT:
                _log.warning("%r cannot be watched and is polled: %s", folder.path, error)
            folder.reason = LIMIT
        else:
            folder.watch, folder.identity, folder.reason = watch, identity, ""
            folder.emitter = next(emitter for emitter in observer.emitters if emitter.watch is watch)

    def _unschedule(self, folder: WatchedFolder) -> None:
        watch, folder.watch, folder.emitter, folder.identity = folder.watch, None, None, None
        if watch is None or self._observer is None:
            return
        try:
            self._observer.unschedule(watch)
        except OSError as error:
            _log.debug("unscheduling %r: %r", folder.path, error)  # the kernel had ended it already

    def _start(self) -> BaseObserver:
        """One observer, and the threads without which nothing is heard.

        Raises OSError at the limit of inotify instances or descriptors, RuntimeError at that of threads.
        """
        before = set(threading.enumerate())
        observer = Observer()
        try:
            observer.start()
        except RuntimeError:
            observer.stop()
            raise
        # The thread that reads the kernel's queue is nowhere public, and `observer.is_alive()` says nothing of it.
        begun = [thread for thread in threading.enumerate() if thread not in before]
        self._core = tuple(thread for thread in begun if type(thread).__module__.startswith("watchdog."))
        self._observer = observer
        return observer
