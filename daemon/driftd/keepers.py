"""The keepers of a daemon, and the locks that make it the only one to serve their databases."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from driftd.keeper import Keeper
from driftd.log import daemon_logger
from driftd.worker import Worker
from driftengine.dialects.chosen import named
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from driftd.keeper import Around
    from driftd.locks import DaemonLock
    from driftengine.target import Target


class Keepers:
    """Who keeps which target. To be used from the loop's thread, one `exchange` at a time.

    `lock` takes the lock of a database, given by its real path; it may wait, and runs on a thread of its own.
    """

    def __init__(self, around: Around, state_folder: Path, version: str, socket: Callable[[], str]) -> None:
        self.serving: dict[str, Keeper] = {}
        self._around = around
        self._state_folder, self._version, self._socket = state_folder, version, socket
        self._files = Worker("locks")
        self._log = daemon_logger()

    async def exchange(self, gone: Sequence[str], new: Mapping[str, Target]) -> list[str]:
        """Gives the targets `gone` up and serves `new`; what was paused under a name stays paused under it.

        Raises DriftError where the database of a new target cannot be had: then nothing has changed. Returns the names that
        wait for a former keeper which does not end, and those of such keepers.
        """
        databases = await self._files.run(lambda: {name: database_of(target) for name, target in new.items()})
        # A lock that stays in the house is handed over: in between nobody else could take it, nor we fail to.
        handed_over = {self.serving[name].database for name in gone}
        taken = await self._take({n: path for n, path in databases.items() if path not in handed_over})
        paused = {name for name in gone if self.serving[name].paused}
        free = await self._give_up(gone)
        waiting = []
        for name, target in new.items():
            lock = taken.pop(name, None) or free.pop(databases[name], None)
            if lock is None or name in self.serving:
                waiting.append(name)
                if lock is not None:
                    lock.release()
                continue
            self.serving[name] = Keeper(target, lock, self._around)
            self.serving[name].start(paused=name in paused)
        for lock in free.values():
            lock.release()
        return [*waiting, *(name for name in gone if name in self.serving and name not in new)]

    async def _take(self, databases: Mapping[str, str]) -> dict[str, DaemonLock]:
        """The locks of these databases, by target: all of them, or none."""
        taken: dict[str, DaemonLock] = {}
        try:
            for name, path in databases.items():
                taken[name] = await self._files.run(partial(self._lock, path))
        except BaseException:
            for lock in taken.values():
                lock.release()
            raise
        return taken

    def _lock(self, database: str) -> DaemonLock:
        return self._around.locks.serve(
            Path(database), state_folder=self._state_folder, version=self._version, socket=self._socket()
        )

    async def _give_up(self, names: Sequence[str]) -> dict[str, DaemonLock]:
        """Ends these keepers; the locks that are free then, by database. They are shown until they have ended."""
        ended = await asyncio.gather(*(self.serving[name].stop() for name in names), return_exceptions=True)
        free = {}
        for name, outcome in zip(names, ended, strict=True):
            if isinstance(outcome, BaseException):
                self._log.error("%s could not be ended in order", name, exc_info=outcome)
            if outcome is False:
                continue  # it is still changing its database: name and lock stay with it
            keeper = self.serving.pop(name)
            if keeper.lock is not None:
                free[keeper.database] = keeper.lock
        return free

    async def end(self) -> None:
        """Ends all of them. Whatever does not end takes its lock along when the process goes."""
        for lock in (await self._give_up(list(self.serving))).values():
            lock.release()
        self._files.end()


def one_each(targets: Mapping[str, Target]) -> None:
    """Raises ConfigurationError where two targets have the same database."""
    first: dict[object, str] = {}
    for name, target in targets.items():
        database = database_of(target)
        other = first.setdefault(_file_of(database), name)
        if other != name:
            raise ConfigurationError(
                f"the targets {other} and {name} have the same database",
                code="target-served-here",
                why=f"{database} can only follow the models of one of them",
                fix="name both models in one target, or correct the url of one",
            )


def database_of(target: Target) -> str:
    """What the target's database is known by."""
    return named(target.url, target.models.directory)


def _file_of(database: str) -> object:
    """What tells files apart: two hard links, or two spellings where case does not count, are one database."""
    with contextlib.suppress(OSError):
        found = Path(database).stat()
        return found.st_dev, found.st_ino
    return database
