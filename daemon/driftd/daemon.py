"""The daemon: a keeper for each target, one watcher, one socket; reload and the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftd import told
from driftd.commands import Commands
from driftd.config import load
from driftd.config.locate import locate
from driftd.config.target import build_target
from driftd.entry import now_text
from driftd.events import Events
from driftd.keeper import Around, Keeper
from driftd.locks import Locks, state_folder
from driftd.log import daemon_logger, set_up
from driftd.outcomes import as_error
from driftd.protocol import PROTOCOL
from driftd.server import Server
from driftd.timers import QUIET
from driftd.turns import Turns
from driftd.watch.watcher import Watcher
from driftd.watch.wishes import wishes_for
from driftd.worker import Worker
from driftengine import remembered
from driftengine.dialects.chosen import named
from driftengine.errors import ConfigurationError, DriftError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from driftd.config import Configuration, Request
    from driftengine.target import Target

Document = dict[str, Any]

TICK = 0.5  # seconds between two wake-ups at least
RESCAN = 30.0
RESCAN_POLLED = 2.0  # where a folder cannot be watched, the rescan is all there is
WATCHER_PATIENCE = 2.0  # seconds that the watcher gets to end
JUMP = 5.0  # seconds that the two clocks may part between two ticks before it counts as a jump
CONFIGURATION = ""  # the watcher's owner of the configuration file: no target is called so


def serve(request: Request, *, debug: bool = False) -> int:
    """Runs a daemon until it is told to stop; its exit code. Raises DriftError for what keeps it from starting."""
    # Before any thread starts: what the daemon makes is nobody else's, unless it says otherwise itself.
    os.umask(0o077)
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
        self.keepers: dict[str, Keeper] = {}
        self.problems: list[Document] = []
        self.events = Events()
        self.configuration: Configuration
        self._log = daemon_logger()
        self._loop = asyncio.get_running_loop()
        self._started_at, self._started = now_text(), time.monotonic()
        self._state_folder = state_folder(request.environment)
        self._locks = Locks()
        self._watcher = Watcher(self._note)
        self._watching = Worker("watcher")
        self._around = Around(
            self._watcher, self._watching, Turns(), self._publish, remembered.folder(request.environment)
        )
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
        self.configuration = self._load()
        targets = wanted_targets(self.configuration)
        daemon = self.configuration.daemon
        self._fixed = fixed_settings(self.configuration)
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
            # The socket first: its lock tells two daemons of one configuration apart by name.
            await self._server.start()
            self._serve(targets)
            self._watch_configuration()
            if self.configuration.source.how == "shipped":
                self._log.warning(
                    "no driftd.toml was found: this is the shipped configuration, for the MCP Task Orchestrator"
                )
            self._log.info(
                "driftd %s serves %s on %s",
                self.version,
                ", ".join(targets) or "no target",
                daemon.get("socket"),
            )
            await self._tick_until_stopped()
        finally:
            await self._end()

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

    def _serve(self, targets: Mapping[str, Target]) -> None:
        """Takes the locks of all targets, then begins; refused as a whole where another daemon serves one of them."""
        taken = {}
        try:
            for name, target in targets.items():
                taken[name] = self._lock(target)
        except DriftError:
            for lock in taken.values():
                lock.release()
            raise
        for name, target in targets.items():
            self.keepers[name] = Keeper(target, taken[name], self._around)
            self.keepers[name].start()

    def _lock(self, target: Target) -> Any:
        database = Path(database_of(target))
        return self._locks.serve(
            database,
            state_folder=self._state_folder,
            version=self.version,
            socket=self._fixed["socket"],
        )

    async def reload(self) -> Document:
        """Reads the configuration again and serves what it says now. Raises DriftError, and the old one stays."""
        async with self._reloading:
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

    def _load(self) -> Configuration:
        # Asked for before it is read: what is saved in between is read once more.
        self._content = content_of(self.request)
        return load(self.request)

    async def _reload(self) -> Document:
        configuration = self._load()
        targets = wanted_targets(configuration)
        kept = [
            name for name in targets if name in self.keepers and self.keepers[name].target == targets[name]
        ]
        gone = [name for name in self.keepers if name not in kept]
        new = {name: target for name, target in targets.items() if name not in kept}
        # What two daemons must not share is taken before anything is given up.
        free = {self.keepers[name].found.database for name in gone}
        for target in new.values():
            if database_of(target) not in free:
                self._lock(target).release()
        # They are shown until they have ended: `status` never lacks a target that is only being changed.
        await asyncio.gather(*(self.keepers[name].stop() for name in gone))
        for name in gone:
            del self.keepers[name]
        self._say_what_needs_a_restart(configuration)
        self.configuration, self.problems = configuration, []
        self._serve(new)
        self._watch_configuration()
        changed = [name for name in gone if name in new]
        document = {
            "added": [name for name in new if name not in gone],
            "removed": [name for name in gone if name not in new],
            "changed": changed,
            "kept": kept,
        }
        self._log.info("%s", told.reloaded(document), extra={"event": "reloaded"})
        self._publish({"event": "reloaded", "at": now_text(), **document})
        return document

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
        return max(TICK, min([rescan, *glances]))

    def _rescan_every(self) -> float:
        return RESCAN_POLLED if any(map(self._watcher.polled, self.keepers)) else RESCAN

    def _tick(self) -> None:
        jumped = self._clock_jumped()
        if jumped or time.monotonic() - self._rescanned >= self._rescan_every():
            self.rescan()
        for keeper in self.keepers.values():
            keeper.tick()

    def _clock_jumped(self) -> bool:
        """After a jump or a suspended machine, times of files and of events mean little."""
        clocks = time.time() - time.monotonic()
        jumped = abs(clocks - self._clocks) > JUMP
        self._clocks = clocks
        return jumped

    def rescan(self) -> None:
        """Events are hints; this is the truth: watches that have died are made anew, and every target looks itself."""
        self._rescanned = time.monotonic()
        self._watch_apart(self._watcher.check)
        self._spawn(self._confirm_configuration())
        for keeper in self.keepers.values():
            keeper.rescan()

    def _note(self, owner: str) -> None:
        """On a thread of the watcher."""
        with contextlib.suppress(RuntimeError):  # the loop has ended; nobody wants to know any more
            self._loop.call_soon_threadsafe(self._noted, owner)

    def _noted(self, owner: str) -> None:
        """A file of this owner may have moved. The next note comes a moment later, however many events there are."""
        self._loop.call_later(0.1, self._watcher.taken, owner)
        if owner == CONFIGURATION:
            self._reload_soon(QUIET)
        elif owner in self.keepers:
            self.keepers[owner].hinted()

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
        with contextlib.suppress(DriftError):  # it was logged, and `status` shows it
            await self.reload()

    def _listen_to_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        self.rescan()
        self._reload_soon()

    def _publish(self, event: Document) -> None:
        self.events.publish(event)

    async def _end(self) -> None:
        if self.keepers:
            self._log.info("stopping", extra={"event": "stopping"})
        self._publish({"event": "stopping", "at": now_text()})
        await asyncio.gather(*(keeper.stop() for keeper in self.keepers.values()))
        self.events.end()
        await self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WATCHER_PATIENCE):
                await self._watching.run(self._watcher.close)
        self._watching.end()


def content_of(request: Request) -> bytes | None:
    """What stands in the configuration file now; None where it cannot be read."""
    with contextlib.suppress(ConfigurationError, OSError):
        path = locate(request.config, request.environment, request.directory).path
        return None if path is None else path.read_bytes()
    return None


def fixed_settings(configuration: Configuration) -> dict[str, str]:
    """What holds from the daemon's start to its end, whatever is read later."""
    return {name: str(configuration.daemon.get(name)) for name in ("socket", "group", "readable", "log")}


def database_of(target: Target) -> str:
    """What the target's database is known by."""
    return named(target.url, target.models.directory)


def wanted_targets(configuration: Configuration) -> dict[str, Target]:
    """The targets to serve: the one that was chosen, or all. Raises ConfigurationError, also where two share a database."""
    names = [configuration.selected] if configuration.selected else list(configuration.targets)
    targets = {name: build_target(configuration, name) for name in names}
    first: dict[str, str] = {}
    for name, target in targets.items():
        database = database_of(target)
        if first.setdefault(database, name) != name:
            raise ConfigurationError(
                f"the targets {first[database]} and {name} have the same database",
                code="target-served-here",
                why=f"{database} can only follow the models of one of them",
                fix="name both models in one target, or correct the url of one",
            )
    return targets
