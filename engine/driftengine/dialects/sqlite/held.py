"""The held connection: a guest in somebody else's database, that rests when nothing happens and still knows what did.

While it is open, the service's last close does not checkpoint, and the service can neither change its journal mode nor
lock exclusively (https://www.sqlite.org/wal.html). So it is closed between uses. An *epoch* counts what has been
seen to change: awake by `data_version`, resting by `stat` of the database and its log. Equal epochs mean that nothing was
committed in between. Where a `stat` could miss something, the epoch rises to be sure.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftengine.dialects.base import Glance
from driftengine.dialects.sqlite.connect import (
    Location,
    connect,
    data_version,
    identity,
    state_of,
    translated,
)
from driftengine.dialects.sqlite.earlier import EARLIER, attach_earlier
from driftengine.dialects.sqlite.transaction import patiently
from driftengine.errors import BusyError, DatabaseError

if TYPE_CHECKING:
    import os
    import sqlite3
    from pathlib import Path

LOCK_WAIT = 5.0  # seconds
SECOND = 1_000_000_000
# A file that was written within one tick of the file system's clock before the look may be written again in the same
# tick, and looks the same: git calls that racily clean (https://git-scm.com/docs/racy-git). Whole seconds are a coarser clock.
TICK, COARSE_TICK = 50_000_000, 2_100_000_000

SAME, MOVED, REPLACED, MISSING, CREATED = "same", "moved", "replaced", "missing", "created"
_ORDER = (SAME, MOVED, CREATED, REPLACED, MISSING)  # of several changes the one that says most


@dataclass(frozen=True, slots=True)
class Signature:
    """What `stat` tells of a database at rest, and of its log; times in nanoseconds. An empty log is as good as none.

    The log's ctime is left out: SQLite gives the file to the database's owner whenever root opens it.
    """

    database: tuple[int, int, int, int, int]
    log: tuple[int, int, int] | None

    def settled(self, moment: int) -> bool:
        """True when both had stopped changing before that moment (ns since the epoch), as far as a clock can tell."""
        return all(at < moment - self._tick() for at in self._newest())

    def steady(self, before: int, after: int) -> bool:
        """True when a later write would show, of a look between two moments (ns since the epoch).

        A time in the future is as good as an old one, whoever set it or the clock: no write of now gives it again.
        """
        tick = self._tick()
        return all(at < before - tick or at > after + tick for at in self._newest())

    def _newest(self) -> list[int]:
        """The newest time of each file."""
        return [max(self.database[3:]), *(() if self.log is None else self.log[2:])]

    def _tick(self) -> int:
        times = [*self.database[3:], *(() if self.log is None else self.log[2:])]
        return COARSE_TICK if all(at % SECOND == 0 for at in times) else TICK


def signature(location: Location) -> Signature | None:
    """The signature now; None where there is no file. Raises DatabaseError where that cannot be seen."""
    if state_of(location) == "missing":
        return None
    log = None
    try:
        found = location.path.stat()
        with suppress(OSError):  # a circle of links too: whoever opens the database says so
            log = location.path.with_name(f"{location.path.name}-wal").stat()
    except FileNotFoundError:
        return None
    return Signature(
        (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns), _of_log(log)
    )


def _of_log(log: os.stat_result | None) -> tuple[int, int, int] | None:
    return None if log is None or log.st_size == 0 else (log.st_ino, log.st_size, log.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Mark:
    """A token: equal to another one of the same holder only when nothing was changed in between."""

    holder: object
    epoch: object


class Held:
    """The one connection that reads a database: awake, resting, or absent while there is no file. Used by one thread.

    `connection` is None unless it is awake; `file` is the device and inode that it was opened on.
    """

    def __init__(self, location: Location, *, tidy: bool, lock_wait: float) -> None:
        self.location = location
        self.tidy = tidy
        self.connection: sqlite3.Connection | None = None
        self.file: tuple[int, int] | None = None
        self.earlier: Path | None = None
        self._lock_wait = lock_wait
        self._holder = object()
        self._epoch = 0
        self._version = 0
        self._schema_version: int | None = None
        self._shape_epoch = 0
        self._shape_known = True
        self._rest: Signature | None = None
        self._trusted = False
        self._stat: tuple[int, ...] | None = None
        self._kind = SAME
        self._shape_told = 0
        self._changed_at = time.monotonic()

    # --- awake, resting

    @property
    def resting(self) -> bool:
        """True between `rest` and the next use, while there is a file."""
        return self.connection is None and self._rest is not None

    def wake(self) -> sqlite3.Connection | None:
        """The connection to the file that is there now, opened where it is not; None where there is none.

        Raises DatabaseError, BusyError.
        """
        self.observe()
        if self.connection is None and state_of(self.location) != "missing":
            self._open()
        return self.connection

    def _open(self) -> None:
        before, trusted = self._rest, self._trusted
        self.file = identity(self.location)
        connection = patiently(
            lambda: connect(self.location, write=False, tidy=self.tidy, timeout=0.0),
            time.monotonic() + self._lock_wait,
        )
        try:
            with translated(self.location):
                connection.execute(f"PRAGMA busy_timeout = {self._timeout_ms}")
                self._version = data_version(connection)
                schema = int(connection.execute("PRAGMA schema_version").fetchone()[0])
            if self.earlier is not None:
                attach_earlier(connection, self.earlier)
        except BaseException:
            connection.close()
            raise
        self.connection, self._rest = connection, None
        # Only now: a commit before that reading shows in the files, and one behind it in data_version.
        now = signature(self.location)
        if before is None or now is None or now.database[:2] != before.database[:2]:
            self._schema_version = None
            self._moved(MOVED)
        elif now != before or not trusted:
            self._moved(MOVED)
        self._stat = None if now is None else now.database
        self._saw_schema(schema)

    def attach(self, earlier: Path) -> None:
        """Attaches a database as it was to the connection, and to each one that takes its place. Raises DatabaseError."""
        if self.connection is not None:
            attach_earlier(self.connection, earlier)
        self.earlier = earlier

    def detach(self) -> None:
        """Ends what `attach` began."""
        self.earlier = None
        if self.connection is not None:
            self.connection.execute(f"DETACH {EARLIER}")

    @property
    def _timeout_ms(self) -> int:
        return int(min(self._lock_wait, LOCK_WAIT) * 1000)

    def rest(self) -> None:
        """Lets go of the database. As the last one that used it, this moves what stands in its log into it."""
        if self.connection is None:
            return
        # Before the last look: what is written from here on is too young to be trusted.
        moment, looked = time.time_ns(), False
        with suppress(DatabaseError):  # else it may hold commits that we have not seen
            self._observe_at_once()
            looked = True
        if self.connection is None:
            return
        self._close()
        self._rest = signature(self.location)
        if self._rest is None:
            self._lost(MISSING)
        elif self._rest.database[:2] != self.file:
            self._lost(REPLACED)
        self._trusted = looked and self._rest is not None and self._rest.steady(moment, time.time_ns())

    def close(self) -> None:
        """Ends the connection for good."""
        self._close()
        self._rest = None

    def _close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    # --- what has changed

    def mark(self) -> object:
        """A token for what is committed now. Raises DatabaseError, BusyError."""
        self.observe()
        absent = self.connection is None and self._rest is None
        return MISSING if absent else Mark(self._holder, self._epoch)

    def shape(self) -> object:
        """A token for the schema as of the last look: equal to another one only when it was the same all the time."""
        return Mark(self._holder, self._shape_epoch if self._shape_known else object())

    def glance(self) -> Glance:
        """What has changed since the last glance; somebody's lock is no error here. Raises DatabaseError."""
        try:
            self._observe_at_once()
        except BusyError:
            self._changed_at = time.monotonic()  # somebody is about to commit; the next glance sees it
        kind = self._kind
        schema = kind != SAME and (self._shape_epoch != self._shape_told or not self._shape_known)
        self._kind, self._shape_told = SAME, self._shape_epoch
        return Glance(kind, schema, time.monotonic() - self._changed_at, self.connection is not None)

    def _observe_at_once(self) -> None:
        """Like `observe`, and waits for no lock."""
        if self.connection is not None:
            self.connection.execute("PRAGMA busy_timeout = 0")
        try:
            self.observe()
        finally:
            if self.connection is not None:
                self.connection.execute(f"PRAGMA busy_timeout = {self._timeout_ms}")

    def observe(self) -> None:
        """Brings the epoch up to now. Raises DatabaseError, BusyError."""
        if self.connection is not None:
            self._observe_awake(self.connection)
        else:
            self._observe_resting(self._rest)

    def _observe_awake(self, connection: sqlite3.Connection) -> None:
        now = signature(self.location)
        if now is None or now.database[:2] != self.file:
            # What it is connected to has no name any more: SQLite sees that too, and leaves the others' log alone.
            self._close()
            self._rest, self._trusted = now, False
            self._lost(MISSING if now is None else REPLACED)
            return
        with translated(self.location):
            version = data_version(connection)
            if version == self._version:
                self._observe_written(now)
                return
            schema = int(connection.execute("PRAGMA schema_version").fetchone()[0])
        self._version = version
        after = signature(self.location)
        self._stat = None if after is None else after.database
        self._moved(MOVED)
        self._saw_schema(schema)

    def _observe_written(self, now: Signature) -> None:
        """The file was written, and SQLite tells of no commit: a checkpoint, or somebody copied another file into it.

        Behind a copy data_version may be the same, by chance, and with a log always: in WAL mode the counter that it is
        taken from stands still (https://www.sqlite.org/fileformat.html, 1.3.6). Only a new connection reads what is there.
        """
        if now.database != self._stat:
            self._close()
            self._rest, self._trusted = now, False
            self._moved(MOVED)

    def _observe_resting(self, before: Signature | None) -> None:
        moment = time.time_ns()
        now = signature(self.location)
        if now == before and (self._trusted or now is None):
            return
        self._rest, self._trusted = now, now is not None and now.steady(moment, time.time_ns())
        if now is None:
            self._lost(MISSING)
        elif before is None:
            self._lost(CREATED)
        elif now.database[:2] != before.database[:2]:
            self._lost(REPLACED)
        else:
            self._moved(MOVED)

    def _moved(self, kind: str) -> None:
        """Somebody changed something, or may have; whether the schema, only an open connection can tell."""
        self._epoch += 1
        self._shape_known = False
        self._changed_at = time.monotonic()
        self._kind = max(self._kind, kind, key=_ORDER.index)

    def _lost(self, kind: str) -> None:
        """It is another file, or none: nothing that was known of the schema holds."""
        self._schema_version = None
        self._shape_epoch += 1
        self._moved(kind)

    def _saw_schema(self, version: int) -> None:
        self._shape_known = True
        if version != self._schema_version:
            self._schema_version = version
            self._shape_epoch += 1
