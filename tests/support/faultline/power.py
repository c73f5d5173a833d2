"""What a disk may hold after a loss of power: one run's trace of what it did to its files, replayed up to any point.

What was not synced may be lost: bytes that were written, and names that were given or taken away. File systems promise
different things, so there are several ways in which it is lost.
"""

from __future__ import annotations

import enum
import random
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HEAD = struct.Struct("<IIIIQQ")
PAGE = 4096


class What(enum.IntEnum):
    """`enum done_to` in faultline.c."""

    WROTE = 1
    SYNCED = 2
    MADE = 3
    RENAMED = 4
    UNLINKED = 5
    FOLDER_MADE = 6
    FOLDER_REMOVED = 7
    CUT = 8
    LINKED = 9


class Loss(enum.Enum):
    """What is lost of what was not synced.

    STRICT: everything that POSIX allows: bytes of files, and names in folders, that were not synced themselves.
    ORDERED: bytes that were not synced; of names those behind the last sync of anything (a journal of metadata).
    NAMES_FIRST: bytes that were not synced, and no name.
    PAGES: any pages of what was not synced, and no name.
    """

    STRICT = 1
    ORDERED = 2
    NAMES_FIRST = 3
    PAGES = 4


@dataclass(frozen=True, slots=True)
class Done:
    """One thing done to a file: at a byte, or to a length, `at`; `other` is the new name of a rename or link."""

    what: What
    path: str
    other: str
    at: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.what.name} {self.path} {self.other}"


def read_trace(raw: bytes, folder: Path) -> list[Done]:
    """What was done below the folder, in order; what SQLite makes anew at each start is left out."""
    found = []
    place = 0
    while place < len(raw):
        what, path, other, _, at, size = HEAD.unpack_from(raw, place)
        place += HEAD.size
        carries = What(what) is What.WROTE
        rest = raw[place : place + path + other + (size if carries else 0)]
        place += len(rest)
        done = Done(
            What(what), rest[:path].decode(), rest[path : path + other].decode(), at, rest[path + other :]
        )
        known = (done.other or done.path).startswith(str(folder))
        if known and not done.path.endswith(("-shm", " (deleted)")):
            found.append(done)
    return found


@dataclass
class _File:
    """Bytes as they are read, and as they are on the disk."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@dataclass
class Disk:
    """A folder as it was, and what is done to it."""

    folder: Path
    names: dict[str, _File | None] = field(default_factory=dict)  # None: a folder
    synced: dict[str, _File | None] = field(default_factory=dict)
    ordered: dict[str, _File | None] = field(default_factory=dict)

    @classmethod
    def of(cls, start: Path, folder: Path) -> Disk:
        """The disk that holds what `start` holds, at the place of `folder`."""
        disk = cls(folder)
        disk.names[str(folder)] = None
        for path in start.rglob("*"):
            name = str(folder / path.relative_to(start))
            raw = path.read_bytes() if path.is_file() else b""
            disk.names[name] = _File(bytearray(raw), raw) if path.is_file() else None
        disk.synced, disk.ordered = dict(disk.names), dict(disk.names)
        return disk

    def do(self, done: Done) -> None:
        """One more thing."""
        _DO[done.what](self, done)

    def _file(self, path: str) -> _File:
        found = self.names.get(path)
        assert found is not None, path
        return found

    def wrote(self, done: Done) -> None:
        """Bytes at a place."""
        content = self._file(done.path).content
        if len(content) < done.at:
            content.extend(bytes(done.at - len(content)))
        content[done.at : done.at + len(done.data)] = done.data

    def cut(self, done: Done) -> None:
        """Another length."""
        content = self._file(done.path).content
        content.extend(bytes(max(0, done.at - len(content))))
        del content[done.at :]

    def sync(self, done: Done) -> None:
        """What is known of it by now lasts."""
        found = self.names.get(done.path)
        if found is not None:
            found.synced = bytes(found.content)
        else:
            self._sync_folder(done.path)
        self.ordered = dict(self.names)

    def _sync_folder(self, folder: str) -> None:
        inside = {name for name in {**self.names, **self.synced} if str(Path(name).parent) == folder}
        for name in inside:
            if name in self.names:
                self.synced[name] = self.names[name]
            else:
                self.synced.pop(name, None)

    def make(self, done: Done) -> None:
        """A new file or folder."""
        self.names[done.other or done.path] = None if done.what is What.FOLDER_MADE else _File()

    def rename(self, done: Done) -> None:
        """Another name."""
        self.names[done.other] = self.names.pop(done.path)

    def link(self, done: Done) -> None:
        """One more name."""
        self.names[done.other] = self.names[done.path]

    def remove(self, done: Done) -> None:
        """A name less."""
        self.names.pop(done.path, None)

    # --- after the loss

    def put(self, loss: Loss, seed: int, like: Path) -> None:
        """Writes to the folder what is left after a loss of that kind; modes of files that were there as in `like`."""
        names = {Loss.STRICT: self.synced, Loss.ORDERED: self.ordered}.get(loss, self.names)
        chance = random.Random(seed)  # noqa: S311  # no secret: it must be the same each time
        for name in sorted(names):
            if not all(
                str(parent) in names for parent in Path(name).parents if parent.is_relative_to(self.folder)
            ):
                continue  # its folder was never there
            found, path = names[name], Path(name)
            if found is None:
                path.mkdir(mode=0o700, exist_ok=True)
            else:
                path.write_bytes(_some_pages(found, chance) if loss is Loss.PAGES else found.synced)
                before = like / path.relative_to(self.folder)
                path.chmod(before.stat().st_mode & 0o777 if before.exists() else 0o600)


def _some_pages(found: _File, chance: random.Random) -> bytes:
    """The content with pages of it as they were at the last sync."""
    new, old = bytes(found.content), found.synced
    if new == old:
        return new
    length = chance.choice([len(new), len(new), len(old)])
    pages = []
    for at in range(0, length, PAGE):
        kept = (new if chance.random() < 0.5 else old)[at : at + PAGE]
        pages.append(kept.ljust(min(PAGE, length - at), b"\0")[: length - at])
    return b"".join(pages)


_DO: dict[What, Callable[[Disk, Done], None]] = {
    What.WROTE: Disk.wrote,
    What.SYNCED: Disk.sync,
    What.MADE: Disk.make,
    What.RENAMED: Disk.rename,
    What.UNLINKED: Disk.remove,
    What.FOLDER_MADE: Disk.make,
    What.FOLDER_REMOVED: Disk.remove,
    What.CUT: Disk.cut,
    What.LINKED: Disk.link,
}


def losses(
    start: Path, folder: Path, done: Sequence[Done], points: Sequence[int]
) -> Iterator[tuple[int, Loss, Disk]]:
    """At each of the points (so many things were done) each kind of loss, with the disk to put."""
    disk = Disk.of(start, folder)
    wanted = set(points)
    for number in range(len(done) + 1):
        if number:
            disk.do(done[number - 1])
        if number in wanted:
            for loss in Loss:
                yield number, loss, disk
