"""The daemon: a keeper for each target, one watcher, one socket; reload and the end."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftd import allocator, notify, told
from driftd.commands import Commands
from driftd.config import load
from driftd.config.locate import locate
from driftd.config.target import build_target
from driftd.entry import now_text
from driftd.events import Events
from driftd.keeper import Around
from driftd.keepers import Keepers, database_of, one_each
from driftd.locks import Locks, state_folder
from driftd.log import daemon_logger, set_up
from driftd.outcomes import as_error, leaving
from driftd.protocol import PROTOCOL
from driftd.server import Server
from driftd.templates import Templates
from driftd.turns import Turns
from driftd.watch.debounce import QUIET
from driftd.watch.watcher import Watcher
from driftd.watch.wishes import KNOCK, wishes_for
from driftd.worker import Worker
from driftengine import plain_file, remembered
from driftengine.errors import BusyError, ConfigurationError, DriftError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from driftd.config import Configuration, Request
    from driftd.keeper import Keeper
    from driftengine.target import Target

Document = dict[str, Any]

TICK = 0.5  # seconds between two wake-ups at least
RESCAN = 30.0
RESCAN_POLLED = 2.0  # where a folder cannot be watched, the rescan is all there is
RELOAD_PATIENCE = 65.0  # seconds that a reload gets to end; the keepers in it get 60 of them
WATCHER_PATIENCE = 2.0  # seconds that the watcher gets to end
JUMP = 5.0  # seconds that the two clocks may part between two ticks before it counts as a jump
CONFIGURATION = ""  # the watcher's owner of the configuration file: no target is called so


def serve(request: Request, *, debug: bool = False) -> int:
    """Runs a daemon until it is told to stop; its exit code. Raises DriftError for what keeps it from starting."""
    # Before any thread starts: what the daemon makes is nobody else's, unless it says otherwise itself.
    os.umask(0o077)
    allocator.share_one_arena()
    configuration = load(request)
    set_up(
        configuration.daemon.get("log"),
        sys.stderr,
        environment=request.environment,
        level="DEBUG" if debug else "INFO",
    )
    asyncio.run(_serve(request))
    return 0


async def _serve(request: Request) -> None:
    await Daemon(request).run()


class Daemon:
    """One running driftd. `request` says which configuration it serves, also when it is read again."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.version, self.pid = version("driftd"), os.getpid()
        self.problems: list[Document] = []
        self.events = Events()
        self._notifier = notify.take(os.environ, self.pid)
        self.configuration: Configuration
        self._log = daemon_logger()
        self._loop = asyncio.get_running_loop()
        self._started_at, self._started = now_text(), time.monotonic()
        self._watcher = Watcher(self._note)
        self._watching = Worker("watcher")
        self._templates = Templates(told=self._log.debug)
        around = Around(
            self._watcher,
            self._watching,
            Turns(),
            Locks(),
            self._publish,
            lambda: self.events.followed or self._notifier.listening,
            self._elsewhere,
            remembered.folder(request.environment),
            self._templates.ask,
        )
        self._keepers = Keepers(
            around, state_folder(request.environment), self.version, lambda: self._fixed["socket"]
        )
        self._files = Worker("configuration")
        self._pinned = False
        self._owed = False  # a former keeper has not ended: the next rescan tries again
        self._astray: dict[str, Document] = {}  # why a target whose path leads elsewhere has not followed it
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._rescanned = time.monotonic()
        self._reload_at: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._clocks = time.time() - time.monotonic()
        self._server: Server
        self._fixed: dict[str, str]
        self._content: bytes | None

    async def run(self) -> None:
        """Serves until it is told to stop. Raises DriftError for what keeps it from starting."""
        self.configuration, targets = await self._files.run(self._read)
        daemon = self.configuration.daemon
        self._fixed = fixed_settings(self.configuration)
        self._templates.enable(enabled=daemon.get("warm_probe"))
        commands = Commands(self)
        self._server = Server(
            Path(daemon.get("socket")),
            commands.handlers(),
            hello={"version": self.version, "protocol": PROTOCOL},
            group=daemon.get("group"),
            readable=daemon.get("readable"),
        )
        self._listen_to_signals()
        try:
            # The socket first: its lock tells two daemons of one configuration apart by name. Who asks before there is
            # anything to tell waits in its queue.
            self._server.take()
            async with self._reloading:  # a SIGHUP may have come already
                await self._keepers.exchange((), targets)
            await self._server.start()
            self._tell_service_manager()
            self._watch_configuration()
            if self.configuration.source.how == "shipped":
                self._log.warning(
                    "no driftd.toml was found: this is the shipped configuration, for the MCP Task Orchestrator"
                )
            self._log.log(
                logging.INFO if targets else logging.WARNING,
                "driftd %s serves %s on %s",
                self.version,
                ", ".join(targets) or "no target",
                daemon.get("socket"),
            )
            await self._tick_until_stopped()
        finally:
            await self._end()

    @property
    def keepers(self) -> dict[str, Keeper]:
        """Who keeps which target."""
        return self._keepers.serving

    def about(self) -> Document:
        """What the daemon says of itself; the rest of it costs system calls."""
        return {
            "pid": self.pid,
            "version": self.version,
            "protocol": PROTOCOL,
            "started_at": self._started_at,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "config": str(self.configuration.source.path) if self.configuration.source.path else None,
            "socket": self._fixed["socket"],
            "serves": len(self.keepers),
            "templates": self._templates.documents(),
        }

    def keeper(self, name: str | None) -> Keeper:
        """The keeper of the target of that name, or the only one. Raises ConfigurationError."""
        if name is None and len(self.keepers) == 1:
            return next(iter(self.keepers.values()))
        if name in self.keepers:
            return self.keepers[name]
        names = ", ".join(self.keepers) or "none"
        raise ConfigurationError(
            "no target was named" if name is None else f"there is no target {name}",
            code="target-ambiguous" if name is None else "target-unknown",
            why=f"the daemon serves {names}",
            fix=f"--target {next(iter(self.keepers), 'NAME')}",
        )

    # --- serving

    async def reload(self) -> Document:
        """Reads the configuration again and serves what it says now. Raises DriftError, and the old one stays."""
        async with self._reloading:
            if self._stop.is_set():  # who begins to serve now would never be stopped
                raise leaving("everything")
            try:
                return await self._reload()
            except DriftError as error:
                self.problems = [as_error(error)]
                self._log.error(
                    "the configuration stays as it was: %s", error.what, extra={"error": as_error(error)}
                )
                for line in error.why.splitlines():  # one mistake each
                    self._log.error("  %s", line)
                raise

    def _read(self) -> tuple[Configuration, dict[str, Target]]:
        """What the configuration says now. On a thread: its folder may hang."""
        # Asked for before it is read: what is saved in between is read once more.
        self._content = content_of(self.request)
        try:
            configuration = load(self.request)
        except ConfigurationError as error:
            if error.code == "configuration-missing" and self._pinned:
                raise vanished(self.request) from error
            raise
        if configuration.source.how == "found":
            # From now on it is this file or none: while it is away for a moment no other one is served in its place.
            self.request = replace(self.request, config=str(configuration.source.path))
            self._pinned = True
        return configuration, wanted_targets(configuration)

    async def _reload(self) -> Document:
        configuration, targets = await self._files.run(self._read)
        before = self.keepers
        kept = [
            name
            for name, target in targets.items()
            if name in before and before[name].target == target and not before[name].leaving
        ]
        gone = [name for name in before if name not in kept]
        new = {name: target for name, target in targets.items() if name not in kept}
        waiting = await self._keepers.exchange(gone, new)
        self._say_what_needs_a_restart(configuration)
        # At once: whoever asks `where` of a target that is served now must find it in the configuration.
        self.configuration, self.problems, self._owed = configuration, [], False
        self._astray = {name: problem for name, problem in self._astray.items() if name in kept}
        self.problems += self._astray.values()
        self._owe(waiting)
        await self._files.run(partial(self._templates.enable, enabled=configuration.daemon.get("warm_probe")))
        self._watch_configuration()
        document = {
            "added": [name for name in new if name not in gone],
            "removed": [name for name in gone if name not in new],
            "changed": [name for name in gone if name in new],
            "kept": kept,
        }
        self._log.info("%s", told.reloaded(document), extra={"event": "reloaded"})
        self._publish({"event": "reloaded", "at": now_text(), **document})
        return document

    def _owe(self, waiting: list[str]) -> None:
        if waiting:
            self._owed = True
            error = not_ended(waiting)
            self.problems.append(as_error(error))
            self._log.warning("%s", error, extra={"error": as_error(error)})

    def _elsewhere(self, name: str) -> None:
        self._spawn(self._replace(name))

    async def _replace(self, name: str) -> None:
        """The target's path leads to another file now: it gets a keeper who begins anew with that one."""
        async with self._reloading:
            keeper = self.keepers.get(name)
            if keeper is None or self._stop.is_set():
                return
            database = await self._files.run(partial(database_of, keeper.target))
            before = self._astray.pop(name, None)
            self.problems = [one for one in self.problems if one is not before]
            if database == keeper.database and not keeper.misled:
                return
            self._log.warning("%s: its database is %s now, and was %s", name, database, keeper.database)
            try:
                self._owe(await self._keepers.exchange([name], {name: keeper.target}))
            except DriftError as error:
                self._astray[name] = as_error(error)
                self.problems.append(self._astray[name])
                self._log.error("%s: %s", name, error, extra={"error": as_error(error)})

    def _say_what_needs_a_restart(self, configuration: Configuration) -> None:
        for name, value in fixed_settings(configuration).items():
            if value != self._fixed[name]:
                self._log.warning("daemon.%s has changed: it takes effect when driftd is started again", name)

    # --- time, files and signals

    async def _tick_until_stopped(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_next_tick()):
                    await self._stop.wait()
            self._tick()

    def _until_next_tick(self) -> float:
        """One wake-up serves all targets, and there is none before one of them is due."""
        rescan = self._rescanned + self._rescan_every() - time.monotonic()
        glances = [keeper.until_glance() for keeper in self.keepers.values()]
        return max(TICK, min([rescan, self._notifier.until_due(), *glances]))

    def _rescan_every(self) -> float:
        return RESCAN_POLLED if any(map(self._watcher.polled, self.keepers)) else RESCAN

    def _tick(self) -> None:
        jumped = self._clock_jumped()
        if jumped or time.monotonic() - self._rescanned >= self._rescan_every():
            self.rescan()
        for keeper in self.keepers.values():
            keeper.tick()
        self._notifier.tick()

    def _clock_jumped(self) -> bool:
        """After a jump or a suspended machine, times of files and of events mean little."""
        clocks = time.time() - time.monotonic()
        jumped = abs(clocks - self._clocks) > JUMP
        self._clocks = clocks
        return jumped

    def rescan(self) -> None:
        """Events are hints; this is the truth: watches that have died are made anew, and every target looks itself."""
        self._rescanned = time.monotonic()
        allocator.give_back()
        self._watch_apart(self._watcher.check)
        self._spawn(self._confirm_configuration())
        self._spawn(self._files.run(self._templates.tidy))
        if self._owed:
            self._reload_soon()
        for keeper in self.keepers.values():
            keeper.rescan()

    def _note(self, owner: str) -> None:
        """On a thread of the watcher."""
        with contextlib.suppress(RuntimeError):  # the loop has ended; nobody wants to know any more
            self._loop.call_soon_threadsafe(self._noted, owner)

    def _noted(self, owner: str) -> None:
        """A file of this owner may have moved. The next note comes a moment later, however many events there are."""
        if owner.endswith(KNOCK):
            self._knocked(owner)
            return
        self._loop.call_later(0.1, self._watcher.taken, owner)
        if owner == CONFIGURATION:
            self._reload_soon(QUIET)
        elif owner in self.keepers:
            self.keepers[owner].hinted()

    def _knocked(self, owner: str) -> None:
        # At once: the knock that counts may come right behind the removal of an old result, which is heard as well.
        self._watcher.taken(owner)
        keeper = self.keepers.get(owner.removesuffix(KNOCK))
        if keeper is not None:
            keeper.reception.knocked()

    def _watch_configuration(self) -> None:
        path = self.configuration.source.path
        if path is not None and self.configuration.source.how != "shipped":
            self._watch_apart(lambda: self._watcher.watch(CONFIGURATION, wishes_for((), (), str(path))))
            self._spawn(self._confirm_configuration())

    async def _confirm_configuration(self) -> None:
        """What was saved while nobody watched, or made no event, is read too."""
        if await self._watching.run(partial(content_of, self.request)) != self._content:
            self._reload_soon(QUIET)

    def _watch_apart(self, job: Callable[[], object]) -> None:
        """Nobody waits for the watcher: a file system that hangs must not hang the loop."""
        self._spawn(self._watching.run(job))

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)

    def _reload_soon(self, delay: float = 0.0) -> None:
        """When the file has been quiet for a moment; each further hint begins the wait anew."""
        if self._reload_at is not None:
            self._reload_at.cancel()
        self._reload_at = self._loop.call_later(delay, self._begin_reload)

    def _begin_reload(self) -> None:
        self._reload_at = None
        self._spawn(self._reload_and_tell())

    async def _reload_and_tell(self) -> None:
        try:
            with contextlib.suppress(DriftError):  # it was logged, and `status` shows it
                await self.reload()
        finally:
            self._notifier.reloaded()

    def _listen_to_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        self._notifier.reloading()
        self.rescan()
        self._reload_soon()

    def _publish(self, event: Document) -> None:
        self.events.publish(event)
        self._notifier.changed()

    def _tell_service_manager(self) -> None:
        if self._notifier.watchdog is not None:
            # What has missed its sign of life is sent SIGABRT: the journal then shows where each thread was.
            faulthandler.enable()
        self._notifier.serving(
            lambda: {name: keeper.standing.state for name, keeper in self.keepers.items()}, self._loop
        )

    async def _end(self) -> None:
        if self.keepers:
            self._log.info("stopping", extra={"event": "stopping"})
        self._notifier.stopping()
        self._publish({"event": "stopping", "at": now_text()})
        self._stop.set()
        # A reload that has begun gives keepers up and makes others; its folders may hang, and that for ever.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELOAD_PATIENCE), self._reloading:
                pass
        await self._keepers.end()
        self._templates.close()
        self.events.end()
        await self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WATCHER_PATIENCE):
                await self._watching.run(self._watcher.close)
        self._watching.end()
        self._files.end()
        self._notifier.close()


def content_of(request: Request) -> bytes | None:
    """What stands in the configuration file now; None where it cannot be read."""
    with contextlib.suppress(ConfigurationError, OSError):
        path = locate(request.config, request.environment, request.directory).path
        return None if path is None else plain_file.content(path)
    return None


def fixed_settings(configuration: Configuration) -> dict[str, str]:
    """What holds from the daemon's start to its end, whatever is read later."""
    return {name: str(configuration.daemon.get(name)) for name in ("socket", "group", "readable", "log")}


def vanished(request: Request) -> ConfigurationError:
    """The file that was served is gone."""
    return ConfigurationError(
        f"the configuration file {request.config} is gone",
        code="configuration-missing",
        why="the daemon was started with it; it was moved or removed since",
        fix="put it back; to serve another file, start driftd again",
    )


def not_ended(names: Iterable[str]) -> BusyError:
    """What is served again as soon as its former keeper has ended."""
    return BusyError(
        f"{', '.join(names)} cannot be exchanged yet",
        code="target-leaving",
        why="what was begun under the former configuration has not ended",
        fix="nothing: it is tried again every half minute",
    )


def wanted_targets(configuration: Configuration) -> dict[str, Target]:
    """The targets to serve: the one that was chosen, or all. Raises ConfigurationError, also where two share a database."""
    names = [configuration.selected] if configuration.selected else list(configuration.targets)
    targets = {name: build_target(configuration, name) for name in names}
    one_each(targets)
    return targets
