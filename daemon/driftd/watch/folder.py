"""One watched folder: who listens to it, to what, and what its events mean. Decides; the watcher acts."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)

from driftd.watch.flood import Flood
from driftd.watch.wishes import COME_AND_GO, DELETED, Wish, relevant

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from watchdog.observers.api import EventEmitter, ObservedWatch

# What the kernel is asked for. Opening, reading and attributes never reach us. On Linux `closed` after writing is
# enough, and `modified` is left out everywhere: a log file beside the sources would tell of each line.
QUIET_EVENTS: tuple[type[FileSystemEvent], ...] = (
    FileCreatedEvent, FileDeletedEvent, FileMovedEvent, DirCreatedEvent, DirDeletedEvent, DirMovedEvent,
)  # fmt: skip
WRITTEN: type[FileSystemEvent] = FileClosedEvent if sys.platform == "linux" else FileModifiedEvent

# Why a folder is not watched, or not reliably.
MISSING = "missing"
UNREADABLE = "unreadable"
LIMIT = "limit"  # of watches, instances, descriptors or threads
REMOTE = "remote"  # others may write there without a word to this kernel
BUSY = "busy"  # too much happens there; until the next check

# What is to be put right about a folder.
LOOK = "look"  # is what is watched still what stands there?
AGAIN = "again"  # the watch has ended, whatever stands there
DROP = "drop"  # too much happens
REBUILD = "rebuild"  # events were lost: all folders

Audience = tuple[tuple[str, tuple[Wish, ...]], ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """What an event means: the owners to note, and (what to put right, folder) pairs."""

    owners: tuple[str, ...] = ()
    repairs: tuple[tuple[str, str], ...] = ()


class WatchedFolder(FileSystemEventHandler):
    """One folder, and the ear that watchdog calls. Its watcher alone changes the fields.

    Args:
        path: absolute, without symbolic links in it.
        heard: called with this folder and each event, in watchdog's thread.
    """

    def __init__(self, path: str, heard: Callable[[WatchedFolder, FileSystemEvent], None]) -> None:
        self.path = path
        self.audience: Audience = ()
        self.watch: ObservedWatch | None = None
        self.emitter: EventEmitter | None = None
        self.identity: tuple[int, int] | None = None
        self.events: tuple[type[FileSystemEvent], ...] = ()
        self.reason = ""
        self.flood = Flood()
        self._heard = heard

    def dispatch(self, event: FileSystemEvent) -> None:
        """As watchdog calls it."""
        self._heard(self, event)

    @property
    def owners(self) -> tuple[str, ...]:
        """Who listens."""
        return tuple(owner for owner, _ in self.audience)

    def is_live(self) -> bool:
        """Does watchdog's thread for this folder still run? It ends by itself when the folder is removed."""
        return self.emitter is not None and self.emitter.is_alive()


def audiences(wishes: Mapping[str, tuple[Wish, ...]]) -> dict[str, Audience]:
    """From the wishes of each owner to the audience of each folder."""
    by_folder: dict[str, dict[str, list[Wish]]] = {}
    for owner, owned in sorted(wishes.items()):
        for wish in owned:
            by_folder.setdefault(wish.folder, {}).setdefault(owner, []).append(wish)
    return {
        folder: tuple((owner, tuple(owned)) for owner, owned in owners.items())
        for folder, owners in by_folder.items()
    }


def events_for(audience: Audience) -> tuple[type[FileSystemEvent], ...]:
    """What the kernel is asked for, for the sake of all who listen."""
    return QUIET_EVENTS if _is_quiet(audience) else (*QUIET_EVENTS, WRITTEN)


def meaning(folder: WatchedFolder, event: FileSystemEvent, watched: Container[str], now: float) -> Heard:
    """What an event in a folder means.

    Args:
        folder: where it was heard.
        event: watchdog's.
        watched: the paths of all folders that somebody wishes for.
        now: seconds of a monotonic clock, for counting floods.
    """
    paths = tuple(os.fsdecode(path) for path in (event.src_path, event.dest_path) if path)
    kind = event.event_type
    if kind in COME_AND_GO and _counts(folder.audience, paths) and folder.flood.hit(now):
        return Heard(folder.owners, ((DROP, folder.path),))
    owners = tuple(
        owner
        for owner, wishes in folder.audience
        if any(relevant(wish, kind, paths, is_folder=event.is_directory) for wish in wishes)
    )
    if kind not in COME_AND_GO:
        return Heard(owners)
    return Heard(owners, tuple((_repair(folder, kind, path), path) for path in paths if path in watched))


def identity_of(path: str) -> tuple[int, int] | None:
    """Device and inode of a folder; None for what is missing, no folder, or a link to one."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _repair(folder: WatchedFolder, kind: str, path: str) -> str:
    """A folder that tells of its own end is not watched any more, even if one with the same inode stands there now."""
    return AGAIN if path == folder.path and kind == DELETED else LOOK


def _counts(audience: Audience, paths: tuple[str, ...]) -> bool:
    """Does this event count towards a flood? Where sources are, only a database's own files do."""
    if _is_quiet(audience):
        return True
    names = {os.path.split(path)[1].removesuffix("-journal") for path in paths if path.endswith("-journal")}
    return any(wish.quiet and not names.isdisjoint(wish.names) for _, wishes in audience for wish in wishes)


def _is_quiet(audience: Audience) -> bool:
    return all(wish.quiet for _, wishes in audience for wish in wishes)
