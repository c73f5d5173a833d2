"""What the checks are given: a target, and what is known around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from driftengine.api import Target

Document = dict[str, Any]

# SQLite's own files beside the database; those of driftd are `lock_file`'s.
SQLITE_ENDS = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was learnt of the daemon at the socket.

    Args:
        socket: the path that was asked.
        status: its document of `status`; None where it did not answer.
        error: why it did not, `{code, what, why, fix}`; None where it did.
        uid: the user that it runs as; None where that is not known.
        started: Unix time of its start; None where that is not known.
        config: the configuration file that this command reads, None for none.
    """

    socket: str
    status: Document | None = None
    error: Mapping[str, str] | None = None
    uid: int | None = None
    started: float | None = None
    config: str | None = None

    @property
    def about(self) -> Document:
        """What it says of itself; empty where it did not answer."""
        return dict((self.status or {}).get("daemon") or {})

    @property
    def pid(self) -> int | None:
        """Its process."""
        found = self.about.get("pid")
        return found if isinstance(found, int) else None

    def entry(self, target: str) -> Document | None:
        """What it says of a target."""
        entries = (self.status or {}).get("targets") or []
        return next((one for one in entries if one.get("target") == target), None)


@dataclass(frozen=True, slots=True)
class Subject:
    """A target to be looked at.

    Args:
        name: of the target.
        target: as the engine takes it.
        database: the real path of its database.
        daemon: what is known of the daemon.
        environment: the environment variables.
        directory: the working directory.
        flags: the flags that choose this target, with a space in front, for commands to type next.
    """

    name: str
    target: Target
    database: Path
    daemon: Seen
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    flags: str = ""

    def beside(self, end: str) -> Path:
        """A file beside the database that bears its name."""
        return self.database.with_name(self.database.name + end)
