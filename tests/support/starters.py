"""A starting service as docs/window-protocol.md describes it, written down once more without any code of driftd's."""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sidecars import Sidecar

    Document = dict[str, Any]

PATIENCE = 20.0  # seconds until an answer that must come counts as not coming


class Service:
    """It holds the startup lock while the block of `starting` runs."""

    def __init__(self, database: Path, descriptor: int, window: str) -> None:
        self.database, self.descriptor, self.id = database, descriptor, window

    def ask(self, sidecar: Sidecar) -> Document:
        """The answer over the socket."""
        return sidecar.result("window", window=self.id, database=os.path.realpath(self.database))

    def knock(self) -> None:
        """Makes the result file anew."""
        result = beside(self.database, ".startup.result")
        result.unlink(missing_ok=True)
        result.touch()

    def read(self) -> Document:
        """The answer in the file, as soon as it is there."""
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                answer: Document = json.loads(beside(self.database, ".startup.result").read_text())
            except (OSError, ValueError):
                answer = {}
            if answer.get("id") == self.id:
                return answer
            assert time.monotonic() < give_up, "no answer came"
            time.sleep(0.01)

    def release(self) -> None:
        """Lets go of the lock."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)


def beside(database: Path, ending: str) -> Path:
    """A file of the protocol."""
    return database.with_name(database.name + ending)


@contextmanager
def starting(database: Path, *, timeout: float = 15.0, socket: bool = True, **body: Any) -> Iterator[Service]:
    """A service that starts: its lock, with its body written; `body` replaces members, None leaves one out."""
    descriptor = os.open(beside(database, ".startup.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        window = uuid.uuid4().hex
        now = time.time()
        told = {
            "id": window,
            "pid": os.getpid(),
            "since": now,
            "until": now + timeout,
            "socket": socket,
            **body,
        }
        os.ftruncate(descriptor, 0)
        line = json.dumps({name: value for name, value in told.items() if value is not None})
        os.pwrite(descriptor, line.encode() + b"\n", 0)
        yield Service(database, descriptor, window)
    finally:
        os.close(descriptor)


@contextmanager
def in_use(database: Path) -> Iterator[None]:
    """A service that runs on this schema."""
    descriptor = os.open(beside(database, ".inuse.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
