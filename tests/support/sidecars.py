"""A real daemon in tests: started in a folder, followed by its events, and gone when the block ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from command_line import driftd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from command_line import Finished

PATIENCE = 30.0  # seconds until something that must happen counts as not happening
MODELS = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT);\n"
CONFIGURATION = """\
[daemon]
socket = "d.sock"

[targets.app]
url = "sqlite:///app.db"
models = ["models.sql"]
mode = "{mode}"

[targets.app.backup]
directory = "backups"
"""

WIDER = MODELS.replace("title TEXT", "title TEXT, state TEXT DEFAULT 'open'")
NARROWER = MODELS.replace(", title TEXT", "")

Document = dict[str, Any]


@dataclass
class Sidecar:
    """One `driftd run` in a folder; `log` is where its stderr goes."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    configured: tuple[str, ...] = ("--config", "driftd.toml")
    python: tuple[str, ...] = (sys.executable,)
    user: int | None = None  # as whom it runs; None for ourselves
    patience: float = PATIENCE

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "d.sock"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "driftd.log").read_text(encoding="utf-8")

    def start(self) -> None:
        """Starts it and returns when the socket answers."""
        self.launch()
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                self.ask("version")
            except OSError:
                assert self.process is not None
                assert self.process.poll() is None, self.log
                assert time.monotonic() < give_up, self.log
                time.sleep(0.02)  # nothing announces a socket that is about to be there
            else:
                return

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts it and returns at once."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTD_", "XDG_", "MCP_"))}
        with (self.folder / "driftd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.python, "-m", "driftd", "run", *self.configured, *self.options],
                cwd=self.folder,
                env={**kept, "HOME": str(self.folder), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
            )
        return self.process

    def command(self, *words: str) -> Finished:
        """A command of driftd's that is typed beside the daemon, and how it ended."""
        return driftd(*words, folder=self.folder, DRIFTD_CONFIG="driftd.toml")

    def children(self) -> list[psutil.Process]:
        """The processes that it has started, and theirs; dead ones that nobody has waited for, too."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def ask(self, command: str, **arguments: Any) -> Document:
        """One request on a connection of its own; the whole reply."""
        with self._connected() as stream:
            stream.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
            stream.flush()
            reply: Document = json.loads(stream.readline())
            return reply

    def result(self, command: str, **arguments: Any) -> Document:
        """The result of a request that must succeed."""
        reply = self.ask(command, **arguments)
        assert reply["ok"], reply
        result: Document = reply["result"]
        return result

    def error(self, command: str, **arguments: Any) -> Document:
        """The error of a request that must fail."""
        reply = self.ask(command, **arguments)
        assert not reply["ok"], reply
        error: Document = reply["error"]
        return error

    def entry(self, target: str = "app") -> Document:
        """A target as `status` shows it."""
        entries = {one["target"]: one for one in self.result("status")["targets"]}
        found: Document = entries[target]
        return found

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self.patience)
            connection.connect(os.path.relpath(self.socket))  # a path of 103 bytes is the most there is
            with connection.makefile("rwb") as stream:
                yield stream

    @contextmanager
    def followed(self) -> Iterator[Follower]:
        """The events from now on."""
        with self._connected() as stream:
            stream.write(b'{"command": "events"}\n')
            stream.flush()
            assert json.loads(stream.readline())["ok"]
            yield Follower(self, stream)

    def until(self, condition: Callable[[Document], bool], target: str = "app") -> Document:
        """The entry as soon as the condition holds for it."""
        with self.followed() as follower:
            entry = self.entry(target)  # behind the subscription, so that no change falls between the two
            return entry if condition(entry) else follower.until(condition, target)

    def state(self, *states: str, target: str = "app") -> Document:
        """The entry as soon as it is in one of these states with nothing under way."""
        return self.until(lambda entry: entry["state"] in states and not entry["busy"], target)

    def tell(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@dataclass
class Follower:
    """A connection that hears events."""

    sidecar: Sidecar
    stream: Any

    def next(self) -> Document:
        """The next event."""
        line = self.stream.readline()
        assert line, self.sidecar.log
        event: Document = json.loads(line)
        return event

    def until(self, condition: Callable[[Document], bool], target: str = "app") -> Document:
        """The entry in the first event for which the condition holds."""
        give_up = time.monotonic() + self.sidecar.patience
        seen = []
        while time.monotonic() < give_up:
            event = self.next()
            if event["event"] == "target" and event["target"]["target"] == target:
                entry: Document = event["target"]
                if condition(entry):
                    return entry
                seen.append((entry["state"], entry["busy"]))
        raise AssertionError((seen, self.sidecar.log))

    def state(self, *states: str, target: str = "app") -> Document:
        """The entry as soon as an event says that it is in one of these states with nothing under way."""
        return self.until(lambda entry: entry["state"] in states and not entry["busy"], target)


def execute(database: Path, *statements: str) -> None:
    """Statements of somebody else, each committed by itself, through a connection that comes and goes."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


def make(database: Path, sql: str = MODELS, journal: str = "delete") -> None:
    """A service's database with a row."""
    execute(database, f"PRAGMA journal_mode = {journal}", sql, "INSERT INTO task (id) VALUES (1)")


def columns(database: Path) -> list[str]:
    """The columns of its table."""
    with closing(sqlite3.connect(database)) as connection:
        return [row[1] for row in connection.execute("PRAGMA table_info(task)")]


def changes(entry: Document) -> list[tuple[str, str]]:
    """What its plan would do: kinds, and the columns, or else the tables."""
    return [(one["kind"], one["name"] or one["table"]) for one in entry["plan"]["operations"]]


def house(
    folder: Path, mode: str = "window", models: str = MODELS, configuration: str = CONFIGURATION
) -> Sidecar:
    """A folder with a configuration and models, and a daemon that is not started yet."""
    (folder / "driftd.toml").write_text(configuration.format(mode=mode), encoding="utf-8")
    (folder / "models.sql").write_text(models, encoding="utf-8")
    return Sidecar(folder)


@contextmanager
def running(sidecar: Sidecar) -> Iterator[Sidecar]:
    """The daemon while the block runs; whatever happens in it, no process stays."""
    try:
        sidecar.start()
        yield sidecar
    finally:
        if sidecar.process is not None and sidecar.process.poll() is None:
            sidecar.process.kill()
            sidecar.process.wait()


def wait_until(condition: Callable[[], bool], sidecar: Sidecar) -> None:
    """Looks again and again at something that nothing announces, such as a file that is to go."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, sidecar.log
        time.sleep(0.02)
