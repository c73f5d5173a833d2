"""What an owner wants to hear about: folders, the names in them, and which events on those names matter.

Folders are watched and never files: editors save by replacing the file, and a watch on a file stays with the old one.
Everything here decides; only `DISK` reads, and only what stands where (links and folders).
"""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from driftd.lock_file import RESULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Kinds of events, in watchdog's words.
CREATED = "created"
DELETED = "deleted"
MOVED = "moved"
CLOSED = "closed"  # after writing; Linux alone has it
MODIFIED = "modified"  # where there is no `closed`
COME_AND_GO = frozenset({CREATED, DELETED, MOVED})
CHANGES = COME_AND_GO | {CLOSED, MODIFIED}

SOURCE_ENDINGS = (".py", ".so", ".pyd")
KNOCK = ":knock"  # the end of an owner's name who waits for services that start; no target is called so
# Linux gives up after 40 links as well (path_resolution(7)); a loop of links ends here.
MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Wish:
    """What is of interest in one folder.

    Args:
        folder: absolute, without symbolic links in it.
        names: exact file or folder names.
        sources: also modules (`*.py`, `*.so`, `*.pyd`) that nobody has listed, and subfolders that come and go.
        quiet: only created, deleted and moved; what is written into the files is found out by other means.
    """

    folder: str
    names: frozenset[str] = frozenset()
    sources: bool = False
    quiet: bool = False


class Disk(Protocol):
    """What `wishes_for` has to know of the disk."""

    def link(self, path: str) -> str | None:
        """Where a symbolic link points, as it is written; None for everything else."""

    def is_folder(self, path: str) -> bool:
        """Is there a folder, not a link to one?"""


class RealDisk:
    """The disk as it is. A path that cannot be read counts as missing: its parent is watched, and the rescan goes on."""

    def link(self, path: str) -> str | None:
        """As `Disk.link`."""
        try:
            return str(Path(path).readlink())
        except OSError:
            return None

    def is_folder(self, path: str) -> bool:
        """As `Disk.is_folder`."""
        try:
            return stat.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            return False


DISK = RealDisk()


def relevant(wish: Wish, kind: str, paths: Iterable[str], *, is_folder: bool = False) -> bool:
    """Does an event matter to this wish?

    Args:
        wish: what is of interest.
        kind: watchdog's `event_type`.
        paths: the absolute path, and for a move the new one too.
        is_folder: the event is about a folder.
    """
    if kind not in (COME_AND_GO if wish.quiet or is_folder else CHANGES):
        return False
    return any(_concerns(wish, path, is_folder=is_folder) for path in paths)


def knocks_for(database: str) -> tuple[Wish, ...]:
    """What to watch for services that start: the file of the last answer, which each of them makes anew.

    `database` is its real path. Only that it comes and goes is heard: what is written in the folder of a busy database
    makes more events than its reading is worth.
    """
    folder, name = os.path.split(database)
    return (Wish(folder, frozenset({name + RESULT}), quiet=True),)


def wishes_for(
    files: Iterable[str],
    folders: Iterable[str],
    configuration: str | None = None,
    database: str | None = None,
    disk: Disk = DISK,
) -> tuple[Wish, ...]:
    """What to watch for a target, at most one loud and one quiet wish per folder, sorted.

    Of the database only its own name is wished for. Its -wal comes and goes when anybody opens and closes it, we
    included, and its -journal with each transaction; hearing of those would have our own looks wake us for ever.

    Args:
        files: the sources, absolute; each is watched where its name stands and where the file really is.
        folders: the project's package folders, absolute: modules that appear there may be imported.
        configuration: the configuration file.
        database: the database file; it and its folder may be missing.
        disk: what stands where.
    """
    link = functools.cache(disk.link)  # sources share nearly all of their folders
    wanted: dict[tuple[str, bool], set[str]] = {}
    open_folders: set[str] = set()

    def want(path: str, *, quiet: bool) -> None:
        folder, name = os.path.split(path)
        wanted.setdefault((folder, quiet), set()).add(name)

    def really(path: str) -> str:
        real, links = follow(path, link)
        for passed in links:
            want(passed, quiet=True)
        return real

    for path in (*files, *([configuration] if configuration else [])):
        want(really(path), quiet=False)
    for path in folders:
        open_folders.add(really(path))
    if database:
        want(really(database), quiet=True)
    for folder in open_folders | {folder for folder, _ in wanted}:
        for step in _upwards(folder, disk):
            want(step, quiet=True)
    for folder in open_folders:
        wanted.setdefault((folder, False), set())
    return tuple(
        Wish(folder, frozenset(names), sources=not quiet and folder in open_folders, quiet=quiet)
        for (folder, quiet), names in sorted(wanted.items(), key=lambda item: item[0])
    )


def follow(path: str, link: Callable[[str], str | None]) -> tuple[str, tuple[str, ...]]:
    """The real path behind an absolute one, and every symbolic link passed, each by its own real place.

    A release folder is switched by pointing a link elsewhere, which no watch behind the link can see.
    """
    here, links = "/", list[str]()
    rest = path.split("/")[::-1]
    while rest:
        part = rest.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            here, _ = os.path.split(here)
            continue
        step = here.rstrip("/") + "/" + part
        target = link(step) if len(links) < MOST_LINKS else None
        if target is None:
            here = step
            continue
        links.append(step)
        here = "/" if target.startswith("/") else here
        rest.extend(target.split("/")[::-1])
    return here, tuple(dict.fromkeys(links))


def _upwards(folder: str, disk: Disk) -> Iterable[str]:
    """The folder, and each missing one above it: what to wait for in the parent of each."""
    while folder != "/":
        yield folder
        folder, _ = os.path.split(folder)
        if disk.is_folder(folder):
            return


def _concerns(wish: Wish, path: str, *, is_folder: bool) -> bool:
    """Is it the folder itself, a name wished for, or a source in a folder whose sources are wished for?"""
    if path == wish.folder:
        return True
    folder, name = os.path.split(path)
    if folder != wish.folder:
        return False
    return name in wish.names or (wish.sources and _is_source(name, is_folder=is_folder))


def _is_source(name: str, *, is_folder: bool) -> bool:
    """Could an import find this? Hidden names, caches and what editors leave beside a file cannot be imported."""
    if name.startswith((".", "#")) or name.endswith("~"):
        return False
    return name != "__pycache__" if is_folder else name.endswith(SOURCE_ENDINGS)
