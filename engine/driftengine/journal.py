"""The journal beside the backups: one JSON object per line, only ever appended to, so that it survives a restore.

A line is one `write()` on a descriptor in append mode, under an exclusive `flock`, on disk before `append` returns. A
line that a crash has torn is passed over and told; it never hides the lines behind it.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from driftengine.errors import BusyError, HistoryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

Document: TypeAlias = "Mapping[str, Any]"

NAME = "journal.jsonl"
SCHEMA_VERSION = 1
PATIENCE = 5.0  # seconds; a writer holds the lock for milliseconds, unless its process is stopped
POLL = 0.005


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
    """What was read: the records in order, and one sentence for each line that could not be."""

    records: tuple[Record, ...] = ()
    problems: tuple[str, ...] = ()


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
    found = json.loads(line)
    if not isinstance(found, dict):
        raise TypeError("no JSON object")
    detail = found["detail"]
    if not isinstance(detail, dict):
        raise TypeError("no detail")
    return Record(str(found["event"]), str(found["at"]), str(found["database_id"]), detail)


def parse(text: str) -> Journal:
    """The journal in a file's text."""
    records: list[Record] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        try:
            records.append(decode(line))
        except (ValueError, TypeError, KeyError) as error:
            problems.append(f"line {number} is torn or altered ({error}) and was passed over")
    return Journal(tuple(records), tuple(problems))


def append(path: Path, record: Record, *, mode: int = 0o600) -> None:
    """Writes one line. `mode` is that of a new file; its folder must be there.

    Raises HistoryError (`journal-unwritable`) with the file as it was, BusyError (`journal-busy`) when another
    process keeps the lock for 5 seconds.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with _locked(path, flags, fcntl.LOCK_EX, mode) as descriptor:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            # A torn line is closed first, so that it takes nothing of ours with it.
            _write(descriptor, ("\n" * torn + encode(record) + "\n").encode(), size)
            os.fsync(descriptor)
            if size == 0:
                _settle(descriptor, path)
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


def _settle(file: int, path: Path) -> None:
    """A new journal's name reaches the disk; one made by root belongs to the owner of its folder, who goes on with it."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.geteuid() == 0:
            owner = os.fstat(descriptor)
            os.fchown(file, owner.st_uid, owner.st_gid)
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
            raw = file.read()
    except FileNotFoundError:
        return Journal()
    except OSError as error:
        raise HistoryError(
            f"{path} cannot be read",
            code="journal-unreadable",
            why=error.strerror or str(error),
            fix=f"give this user the right to read {path}",
        ) from error
    return parse(raw.decode("utf-8", "replace"))


def mentioning(path: Path, words: Sequence[bytes]) -> tuple[Record, ...]:
    """The records of the lines that hold one of the words, without waiting for anybody; none where it cannot be read.

    A line that is being written is not there yet. The others are not taken apart: a journal only grows.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ()
            lines = [line for line in file if any(word in line for word in words)]
    except OSError:
        return ()
    return parse(b"".join(lines).decode("utf-8", "replace")).records


@contextmanager
def _locked(path: Path, flags: int, lock: int, mode: int = 0o600) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_NONBLOCK, mode)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not an ordinary file")
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
