"""The journal beside the backups: one JSON object per line, only ever appended to, so that it survives a restore.

A line is one `write()` on a descriptor in append mode, under an exclusive `flock`, on disk before `append` returns. A
line that a crash has torn is passed over and told; it never hides the lines behind it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from driftengine import plain_file
from driftengine.errors import BusyError, HistoryError
from driftengine.wellformed import LINE, parsed, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

Document: TypeAlias = "Mapping[str, Any]"

NAME = "journal.jsonl"
SCHEMA_VERSION = 1
KEPT_BYTES = 4 << 20  # of a journal that is kept parsed; some four thousand migrations
KEPT_JOURNALS = 100
PATIENCE = 5.0  # seconds; a writer holds the lock for milliseconds, unless its process is stopped
POLL = 0.005
LONGEST = 1 << 24  # bytes of a line


@dataclass(frozen=True, slots=True)
class Record:
    """One line.

    `event` is `backup`, `approved`, `withdrawn`, `migrated`, `restoring`, `restored`, `pruned` or `failed`; `at` is UTC, ISO
    8601; `detail` belongs to the event. A record of a history row carries its `id`, `migration_id`, `previous` and `hash` there.
    """

    event: str
    at: str
    database_id: str = ""
    detail: Document = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Journal:
    """What was read: the records in order, and one sentence for each line that could not be.

    `breaks`: behind how many records each of these lines stands. What it told is not known.
    """

    records: tuple[Record, ...] = ()
    problems: tuple[str, ...] = ()
    breaks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    """What the first `size` bytes of a journal held, whole lines of it, and their hash."""

    size: int
    sealed: bytes
    journal: Journal


_known: dict[Path, _Known] = {}


def canonical(document: object) -> str:
    """JSON with one spelling for one value: sorted keys, no white space, ASCII. What is hashed is spelled so."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def timestamp(now: datetime) -> str:
    """UTC, ISO 8601, to the millisecond: 2026-01-31T12:00:00.000Z."""
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def encode(record: Record) -> str:
    """The record as a line, without its end."""
    line = {"schema_version": SCHEMA_VERSION, "event": record.event, "at": record.at}
    return canonical({**line, "database_id": record.database_id, "detail": record.detail})


def decode(line: str) -> Record:
    """The record in a line. Raises ValueError where there is none."""
    found = parsed(line)
    require(found, LINE)
    return Record(found["event"], found["at"], found["database_id"], found["detail"])


def parse(text: str, before: Journal | None = None, lines: int = 0) -> Journal:
    """The journal in a file's text; `before` is what its first part held, so many `lines` that are not in the text."""
    before = before or Journal()
    records, problems, breaks = list(before.records), list(before.problems), list(before.breaks)
    *whole, last = text.split("\n")
    for number, line in enumerate((*whole, last), lines + 1):
        if not line:
            continue
        try:
            records.append(decode(line))
        except ValueError as error:
            breaks.append(len(records))
            # Half of a line, whose writer died, is no alteration: the next one is written in its place.
            if number <= lines + len(whole):
                problems.append(f"line {number} is torn or altered ({error}) and was passed over")
    return Journal(tuple(records), tuple(problems), tuple(breaks))


def append(path: Path, record: Record, *, mode: int = 0o600) -> None:
    """Writes one line. `mode` is that of a new file; its folder must be there.

    Raises HistoryError (`journal-unwritable`) with the file as it was, BusyError (`journal-busy`) when another
    process keeps the lock for 5 seconds.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with _locked(path, flags, fcntl.LOCK_EX, mode) as descriptor:
            size = os.fstat(descriptor).st_size
            if size == 0:
                _give_away(descriptor, path)  # first: who dies in between leaves an empty one
            end = _mended(descriptor, size)
            _write(descriptor, (end + encode(record) + "\n").encode(), os.fstat(descriptor).st_size)
            os.fsync(descriptor)
            if size == 0:
                _settle(path)
    except OSError as error:
        raise HistoryError(
            f"{path} cannot be written",
            code="journal-unwritable",
            why=error.strerror or str(error),
            fix=f"give this user the right to write {path}, and see that the disk has space",
        ) from error


def _write(descriptor: int, line: bytes, size: int) -> None:
    try:
        written = os.write(descriptor, line)
    except OSError:
        os.ftruncate(descriptor, size)
        raise
    if written != len(line):
        os.ftruncate(descriptor, size)  # a full disk took a part of it
        raise OSError(f"only {written} of {len(line)} bytes could be written")


def _mended(descriptor: int, size: int) -> str:
    """What has to come before the next line; half of a line, whose writer or machine died, is taken away.

    Whole lines end with a line break, so nothing that was told is lost; the history says again what only that line had.
    """
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return ""
    start = max(0, size - LONGEST)
    tail = os.pread(descriptor, size - start, start)
    whole, _, last = tail.rpartition(b"\n")
    if start and not whole:
        return "\n"  # no line of ours is that long
    try:
        decode(last.decode())
    except ValueError:
        os.ftruncate(descriptor, size - len(last))
        return ""
    return "\n"  # somebody's editor has taken the last line break away


def _give_away(file: int, path: Path) -> None:
    """One made by root belongs to the owner of its folder, who goes on with it."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(file, owner.st_uid, owner.st_gid)


def _settle(path: Path) -> None:
    """A new journal's name reaches the disk."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> Journal:
    """The journal, empty where there is no file. Raises HistoryError (`journal-unreadable`), BusyError."""
    try:
        with (
            _locked(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, fcntl.LOCK_SH) as descriptor,
            os.fdopen(os.dup(descriptor), "rb") as file,
        ):
            raw = plain_file.whole(file, plain_file.RECORDS)
    except FileNotFoundError:
        return Journal()
    except OSError as error:
        raise HistoryError(
            f"{path} cannot be read",
            code="journal-unreadable",
            why=error.strerror or str(error),
            fix=f"give this user the right to read {path}",
        ) from error
    return _parsed(path, raw)


def _parsed(path: Path, raw: bytes) -> Journal:
    """The journal in these bytes. What was parsed before, and still stands there byte for byte, is not parsed again.

    A journal only grows, and an apply reads it five times: taking its lines apart costs a hundred times their hash.
    """
    known = _known.get(path)
    sealed = hashlib.sha256(memoryview(raw)[: known.size]) if known else hashlib.sha256()
    if known and (len(raw) < known.size or sealed.digest() != known.sealed):
        known, sealed = None, hashlib.sha256()  # altered, or another one
    start = known.size if known else 0
    whole = max(start, raw.rfind(b"\n") + 1)
    lines = raw.count(b"\n", 0, start)
    before = parse(raw[start:whole].decode("utf-8", "replace"), known.journal if known else None, lines)
    sealed.update(memoryview(raw)[start:whole])
    if whole <= KEPT_BYTES and (known or len(_known) < KEPT_JOURNALS):
        _known[path] = _Known(whole, sealed.digest(), before)
    else:
        _known.pop(path, None)
    if whole == len(raw):
        return before
    return parse(raw[whole:].decode("utf-8", "replace"), before, raw.count(b"\n", 0, whole))


def migrations(records: Sequence[Record]) -> frozenset[str]:
    """The ids of the migrations that have happened, also of those that a restore took back. Pure."""
    return frozenset(
        str(record.detail.get("migration_id")) for record in records if record.detail.get("hash")
    )


def mentioning(path: Path, words: Sequence[bytes]) -> tuple[Record, ...]:
    """The records of the lines that hold one of the words, without waiting for anybody; none where it cannot be read.

    A line that is being written is not there yet. The others are not taken apart: a journal only grows.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            told = os.fstat(descriptor)
            if not stat.S_ISREG(told.st_mode) or told.st_size > plain_file.RECORDS:
                return ()
            lines = [line for line in file if any(word in line for word in words)]
    except OSError:
        return ()
    return parse(b"".join(lines).decode("utf-8", "replace")).records


@contextmanager
def _locked(path: Path, flags: int, lock: int, mode: int = 0o600) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_NONBLOCK, mode)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is not an ordinary file")
        # With another name it may be any file of this machine, put there to be written to by root.
        if found.st_nlink > 1 and lock == fcntl.LOCK_EX:
            raise OSError("it is a file with several names")
        _acquire(descriptor, lock, path)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, lock: int, path: Path) -> None:
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= give_up:
                raise BusyError(
                    f"{path} is locked",
                    code="journal-busy",
                    why=f"another process has kept its lock for {PATIENCE:g} seconds",
                    fix="see which driftd is stopped or hangs, then try again",
                ) from error
            time.sleep(POLL)  # flock has no timeout of its own
        else:
            return
