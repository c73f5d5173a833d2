"""One SQLite database as backups see it: copied, proved on its own, brought back."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.bring_back import restore_into
from driftengine.dialects.sqlite.connect import Location, connect, deadline, state_of, translated
from driftengine.dialects.sqlite.copy import LOCK_TIMEOUT, copy_database
from driftengine.dialects.sqlite.same_file import require_same_file
from driftengine.dialects.sqlite.verify import Verification, differences, number, verify_copy

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from driftengine.dialects.sqlite.copy import CopyProgress
    from driftengine.dialects.sqlite.losses import TableLoss


@dataclass(frozen=True, slots=True)
class DatabaseFiles:
    """The live database at `location`, with what a backup needs of it: copying, proving, bringing back.

    `source` is a connection to copy from (its snapshot, if it is inside a read transaction), and `file` the `identity` of
    what it has open; without one, a read-only connection is opened for the copy.
    """

    location: Location
    source: sqlite3.Connection | None = None
    file: tuple[int, int] | None = None

    @property
    def path(self) -> Path:
        """The database's real path."""
        return self.location.path

    def present(self) -> bool:
        """False when there is nothing to copy: no file, or one of 0 bytes."""
        return state_of(self.location) == "present"

    def size(self, *, deadline_at: float | None = None) -> int:
        """The size of a copy made now, in bytes."""
        with self._connection(deadline_at) as connection, deadline(connection, deadline_at):
            return number(connection, "PRAGMA page_size") * number(connection, "PRAGMA page_count")

    def copy(
        self,
        destination: Path,
        *,
        mode: int,
        progress: CopyProgress | None = None,
        deadline_at: float | None = None,
        yielding: bool = False,
    ) -> Verification:
        """Copies and proves; what the copy has otherwise than its source stands among the problems.

        Raises what `copy_database` raises, and DatabaseError (`database-replaced`) where `source` has another file open.
        """
        with self._connection(deadline_at) as connection:
            taken = copy_database(
                connection,
                destination,
                mode=mode,
                progress=progress,
                deadline_at=deadline_at,
                yielding=yielding,
            )
        if self.source is not None:
            require_same_file(self.location, self.file)
        found = self.verify(destination, deadline_at=deadline_at)
        return replace(found, problems=found.problems + differences(taken, found.snapshot))

    def verify(self, path: Path, *, deadline_at: float | None = None) -> Verification:
        """As `verify_copy`."""
        return verify_copy(path, deadline_at=deadline_at)

    def restore(
        self,
        copy: Path,
        *,
        save: Callable[[], None] | None = None,
        progress: CopyProgress | None = None,
        deadline_at: float | None = None,
    ) -> None:
        """As `restore_into`."""
        restore_into(copy, self.location, save=save, progress=progress, deadline_at=deadline_at)

    def losses(
        self,
        then: Path,
        *,
        now: Path | None = None,
        altered: Mapping[str, Collection[str]],
        left_out: Collection[str] = (),
        deadline_at: float | None = None,
    ) -> tuple[TableLoss, ...]:
        """As `losses.losses`, of the live database or of a copy `now`."""
        from driftengine.dialects.sqlite.losses import losses

        state = self.location if now is None else Location("", now, read_only=True)
        return losses(state, then, altered=altered, left_out=left_out, deadline_at=deadline_at)

    @contextlib.contextmanager
    def _connection(self, deadline_at: float | None) -> Iterator[sqlite3.Connection]:
        with translated(self.location):
            if self.source is not None:
                yield self.source
                return
            left = LOCK_TIMEOUT if deadline_at is None else max(0.0, deadline_at - time.monotonic())
            with contextlib.closing(
                connect(self.location, write=False, timeout=min(left, LOCK_TIMEOUT))
            ) as connection:
                yield connection
