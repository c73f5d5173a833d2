"""What the daemon answers over its socket: one function a command. `cmd_x` here is `do_x` in the client."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import sqlite3
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from driftd import orders
from driftd.entry import needs_attention, without_rows
from driftd.keeper import SETTLES
from driftd.lock_file import LOCKS
from driftd.processes import holders, own_figures
from driftd.protocol import COMMANDS, PROTOCOL
from driftd.server import Handler
from driftd.whereabouts import where
from driftd.worker import Worker
from driftengine import api
from driftengine.documents import SCHEMA_VERSION
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from driftd.config import Configuration
    from driftd.config import Request as Asked
    from driftd.events import Events
    from driftd.keeper import Keeper
    from driftd.server import Request

Document = dict[str, Any]
_KEPT_BESIDE = frozenset(
    {"plan_id", "runnable", "approved", "held", "stage", "last_migration", "unrecorded", "inputs", "warnings"}
)


class Served(Protocol):
    """What the commands need of the daemon."""

    problems: list[Document]
    events: Events
    version: str
    pid: int
    configuration: Configuration
    request: Asked

    @property
    def keepers(self) -> dict[str, Keeper]:
        """By target."""

    def about(self) -> Document:
        """What the daemon says of itself."""

    def keeper(self, name: str | None) -> Keeper:
        """The keeper of that name, or the only one."""

    async def reload(self) -> Document:
        """Reads the configuration again."""


class Commands:
    """The commands of one daemon."""

    def __init__(self, daemon: Served) -> None:
        self._daemon = daemon
        # What waits for databases and for /proc: on threads where nothing else waits, made when somebody first asks.
        self._searcher: Worker | None = None
        self._readers: dict[str, Worker] = {}

    def handlers(self) -> Mapping[str, Handler]:
        """One for each command of the protocol."""
        return {
            name: Handler(getattr(self, f"cmd_{name}"), writes=command.writes, stream=name == "events")
            for name, command in COMMANDS.items()
        }

    async def cmd_status(self, request: Request) -> Document:
        """The snapshot: never waits for anything, unless it is asked who holds the databases."""
        document = self.status(self._some(request))
        if request.arguments.get("holders"):
            self._searcher = self._searcher or Worker("holders")
            document["holders"] = {
                entry["target"]: await self._searcher.run(partial(holders, files_of(entry["database"])))
                for entry in document["targets"]
            }
        return _readable(document, request)

    def status(self, keepers: list[Keeper]) -> Document:
        """The status document of these targets."""
        daemon = self._daemon
        entries = [keeper.entry() for keeper in keepers]
        attention = daemon.problems or any(needs_attention(entry) for entry in entries)
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": "attention" if attention else "healthy",
            "daemon": {**daemon.about(), **own_figures(), "problems": daemon.problems},
            "targets": entries,
        }

    async def cmd_check(self, request: Request) -> Document:
        """Is there drift? From memory where nothing has moved."""
        return _public(await self._one(request).looked(fresh=bool(request.arguments.get("fresh"))))

    async def cmd_plan(self, request: Request) -> Document:
        """What would be done."""
        document = await self._one(request).looked(fresh=False)
        return {name: document[name] for name in ("schema_version", "target", "database", "plan")}

    async def cmd_stage(self, request: Request) -> Document:
        """Stages anew now."""
        keepers = self._some(request)
        for keeper in keepers:
            _require_writing(keeper, "staged")
        await asyncio.gather(*(keeper.restage() for keeper in keepers))
        return self._answer(await asyncio.gather(*(keeper.settled() for keeper in keepers)))

    async def cmd_approve(self, request: Request) -> Document:
        """Approves held operations, by id or by code."""
        words = request.arguments["operations"]
        keeper = self._meant(request, words)
        _require_writing(keeper, "approved")
        await keeper.approve(words, f"user {request.peer.user}", request.arguments.get("plan"))
        return self._answer([await keeper.settled()])

    async def cmd_rollback(self, request: Request) -> Document:
        """Takes a migration back, or some of its operations."""
        return await self._order(request, "rollback", orders.rollback)

    async def cmd_revert(self, request: Request) -> Document:
        """Undoes what was changed by hand."""
        return await self._order(request, "revert", orders.revert)

    async def cmd_adopt(self, request: Request) -> Document:
        """Agrees to what was changed by hand."""
        return await self._order(request, "adopt", orders.adopt)

    async def _order(self, request: Request, command: str, made: Callable[..., orders.Job]) -> Document:
        """Carried out in the target's turn, like an apply; whatever comes of it, the target is looked at again."""
        keeper = self._one(request)
        _require_writing(keeper, "changed")
        by = f"user {request.peer.user}, over the socket"
        document = await keeper.order(made(keeper.target, request.arguments, by))
        keeper.log.info("%s", orders.told(command, document, by), extra={"event": command})
        return document

    async def cmd_history(self, request: Request) -> Document:
        """The audit trail."""
        target = self._one(request).target
        for gone in self._readers.keys() - self._daemon.keepers.keys():
            self._readers.pop(
                gone
            ).end()  # else a configuration that is edited for weeks leaves a thread for each name
        reader = self._readers.get(target.name) or Worker(f"{target.name}-history")
        self._readers[target.name] = reader
        return await reader.run(partial(api.history, target, request.arguments.get("migration")))

    async def cmd_pause(self, request: Request) -> Document:
        """Leaves targets alone until they are resumed."""
        keepers = self._some(request)
        for keeper in keepers:
            keeper.happen("pause")
        # An apply is not cut off: whoever begins to work by hand now must know that it has ended.
        return self._answer(await asyncio.gather(*(keeper.settled() for keeper in keepers)))

    async def cmd_resume(self, request: Request) -> Document:
        """Goes on where it was paused."""
        keepers = self._some(request)
        for keeper in keepers:
            keeper.happen("resume")
        return self._answer(await asyncio.gather(*(keeper.settled(SETTLES) for keeper in keepers)))

    async def cmd_reload(self, _request: Request) -> Document:
        """Reads the configuration again. Raises ConfigurationError, and the old one stays."""
        return await self._daemon.reload()

    async def cmd_events(self, request: Request) -> AsyncGenerator[Document, None]:
        """What happens from now on."""
        name = request.arguments.get("target")
        only = self._daemon.keeper(name).target.name if name else None
        async with contextlib.aclosing(self._daemon.events.follow()) as events:
            async for event in events:
                if event["event"] != "target":
                    yield event
                elif only is None or event["target"]["target"] == only:
                    yield event if request.writer else {**event, "target": without_rows(event["target"])}

    async def cmd_where(self, request: Request) -> Document:
        """Which database a starting service would open a window for."""
        daemon = self._daemon
        return where(
            daemon.configuration, daemon.request, self._one(request), request.arguments.get("config")
        )

    async def cmd_window(self, request: Request) -> Document:
        """A service starts: the answer, when it is there. Raises BusyError (`window-closed`)."""
        database = request.arguments.get("database")
        keepers = [one for one in self._daemon.keepers.values() if one.database == database]
        keeper = self._one(request) if database is None else next(iter(keepers), None)
        if keeper is None:
            raise ConfigurationError(
                f"{database} is not served here",
                code="database-unknown",
                why=f"the daemon serves {', '.join(one.database for one in self._daemon.keepers.values()) or 'nothing'}",
                fix="name the real path of the database, as `where` tells it",
            )
        return await keeper.reception.attend(request.arguments["window"])

    async def cmd_version(self, _request: Request) -> Document:
        """What is running."""
        return {
            "version": self._daemon.version,
            "protocol": PROTOCOL,
            "capabilities": sorted(COMMANDS),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "pid": self._daemon.pid,
        }

    def _answer(self, entries: list[Document]) -> Document:
        """How the targets stand now, and whose answer it is: a client may read other files than the daemon."""
        return {"targets": entries, "daemon": self._daemon.about()}

    # --- which targets are meant

    def _some(self, request: Request) -> list[Keeper]:
        """The target that is named, or all."""
        if request.arguments.get("target"):
            return [self._one(request)]
        return list(self._daemon.keepers.values())

    def _one(self, request: Request) -> Keeper:
        """The target that is named, or the only one. Raises ConfigurationError."""
        return self._daemon.keeper(request.arguments.get("target"))

    def _meant(self, request: Request, words: list[str]) -> Keeper:
        """Of several targets the one whose plan an operation id names."""
        plans = {word.rpartition("-")[0] for word in words}
        for keeper in [] if request.arguments.get("target") else self._daemon.keepers.values():
            if (keeper.entry()["plan"] or {}).get("id") in plans:
                return keeper
        return self._one(request)


def _readable(document: Document, request: Request) -> Document:
    """A status for who asks: the rows of a database are not for everybody who may ask how it is."""
    if request.writer:
        return document
    return {**document, "targets": [without_rows(entry) for entry in document["targets"]]}


def _public(look: Document) -> Document:
    """A check's document, without what only the daemon keeps beside it."""
    return {name: value for name, value in look.items() if name not in _KEPT_BESIDE}


def _require_writing(keeper: Keeper, done: str) -> None:
    if keeper.target.mode == "observe":
        raise ConfigurationError(
            f"nothing is {done} for {keeper.target.name}",
            code="mode-observe",
            why="its mode is observe: the daemon never writes",
            fix='set mode = "window" and reload, or use `driftd apply`',
        )
    if keeper.standing.state == "paused":
        raise ConfigurationError(
            f"nothing is {done} for {keeper.target.name}",
            code="target-paused",
            why="the target is paused",
            fix=f"driftd resume --target {keeper.target.name}",
        )


def files_of(database: str) -> list[Path]:
    """The files that belong to a database: who has one of them open uses it."""
    ends = ("", "-wal", "-shm", "-journal", *LOCKS)
    return [Path(database + end) for end in ends]
