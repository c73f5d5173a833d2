"""Crowds of services that start at once, each in a process of its own, and what becomes of them; some die on the way."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Document = dict[str, Any]

WAYS = ("gate", "exec", "python")

# What a service does before it opens its database; `began` is its own first moment, on a clock that all processes share.
# argv: the way, the url.
STARTER = """
import json, os, sys, time
began = time.monotonic()
way, url = sys.argv[1:]
def tell(**what):
    os.write(1, json.dumps(what).encode() + b"\\n")
tell(began=began)
if way == "python":
    from driftd import execute_startup_migration
    found = execute_startup_migration(url)
    tell(success=found.success, error_message=found.error_message, warnings=found.warnings)
    tell(ended=time.monotonic())
else:
    # The service itself only says when it started.
    started = ["--", sys.executable, "-S", "-c", "import time; print('{\\"ended\\": %s}' % time.monotonic())"]
    sys.argv = ["driftd", way, *(["--json"] if way == "gate" else started)]
    from driftd.__main__ import main
    try:
        main()
    finally:
        tell(ended=time.monotonic())
"""


@dataclass
class Start:
    """One service that starts. `fate`: `lives`, or how it is killed; `told` is all that it has said."""

    number: int
    way: str
    fate: str
    process: subprocess.Popen[str]
    told: Document = field(default_factory=dict)
    err: str = ""

    @property
    def lives(self) -> bool:
        """True when nobody meant to kill it."""
        return self.fate == "lives"

    @property
    def took(self) -> float:
        """Seconds from its first moment until it went on to start."""
        return float(self.told["ended"] - self.told["began"])

    def finish(self, patience: float) -> None:
        """Waits for its end, and reads what it has told."""
        out, self.err = self.process.communicate(timeout=patience)
        decoder, rest = json.JSONDecoder(), out.lstrip()
        while rest and (self.lives or rest.endswith("}\n")):
            found, end = decoder.raw_decode(rest)
            self.told |= found
            rest = rest[end:].lstrip()


@dataclass
class Killer:
    """Kills services that were meant to be killed, at moments that `chance` chooses, and notes how many it was.

    `holds`: when it holds the startup lock, which is when somebody works for it; `soon`: some time after its start; `child`:
    when it holds the lock, the process that works for it is killed, and the service itself goes on.
    """

    database: Path
    chance: random.Random
    starts: list[Start] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Looks at the startup lock again and again, until `end`."""
        soon = {
            one.number: time.monotonic() + self.chance.uniform(0, 2)
            for one in self.starts
            if one.fate == "soon"
        }
        left = {one.process.pid: one for one in self.starts if not one.lives}
        while not self._over.wait(0.001):
            holder = left.get(holder_of(self.database))
            if holder is not None and holder.fate in {"holds", "child"}:
                time.sleep(self.chance.uniform(0, 0.06))  # somewhere in what is done for it
                self._strike(holder)
                del left[holder.process.pid]
            for one in [
                one for one in left.values() if soon.get(one.number, time.monotonic() + 1) < time.monotonic()
            ]:
                self._strike(one)
                del left[one.process.pid]

    def everybody_has_ended(self) -> bool:
        """True when no service is left that starts."""
        return all(one.process.poll() is not None for one in self.starts)

    def end(self) -> None:
        """Nobody is killed any more."""
        self._over.set()

    def _strike(self, one: Start) -> None:
        if one.fate != "child":
            one.process.kill()
            self.killed.append(one.number)
            return
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(one.process.pid).children():
                child.kill()
                self.killed.append(one.number)


def holder_of(database: Path) -> int:
    """The pid in the startup lock, 0 where there is none."""
    try:
        return int(json.loads(database.with_name(f"{database.name}.startup.lock").read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


@contextmanager
def starting_at_once(
    folder: Path, number: int, *, seed: int = 0, fates: Sequence[str] = ("lives",), ways: Sequence[str] = WAYS
) -> Iterator[Killer]:
    """So many services, started one right after another in a folder with a configuration; all have ended behind the block."""
    chance = random.Random(seed)  # noqa: S311 - no secret: the same seed kills the same ones
    killer = Killer(folder / "app.db", chance)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTD_", "XDG_", "MCP_"))}
    thread = threading.Thread(target=killer.run)
    try:
        for n in range(number):
            way, fate = ways[n % len(ways)], chance.choice(fates)
            process = subprocess.Popen(
                [sys.executable, "-c", STARTER, way, f"sqlite:///{folder / 'app.db'}"],
                cwd=folder,
                env={**kept, "HOME": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            killer.starts.append(Start(n, way, fate, process))
        thread.start()
        yield killer
        for one in killer.starts:
            one.finish(300)
    finally:
        killer.end()
        if thread.is_alive():
            thread.join()
        for one in killer.starts:
            if one.process.poll() is None:
                one.process.send_signal(signal.SIGKILL)
                one.process.communicate()


def held_locks(database: Path) -> list[str]:
    """The lock files beside the database that somebody holds."""
    found = []
    for path in sorted(database.parent.glob(f"{database.name}.*.lock")):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(path.name)
    return found


def at_work_in(folder: Path) -> list[str]:
    """The processes whose working directory is that folder, ourselves left out."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        with suppress(psutil.Error):
            if Path(process.cwd()) == folder and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid}: {' '.join(process.info['cmdline'] or [])[:200]}")
    return found


def unfinished(folder: Path) -> list[str]:
    """What is left over below a folder: files that are made on the way to another one."""
    # SQLite's own journal of a killed writer beside the database is nobody's, and stays until somebody writes again.
    ends = (".partial", ".new", ".tmp")
    odd = [path for path in folder.rglob("*") if path.name.endswith(ends) or "rehears" in path.name]
    for path in folder.rglob("backup_*"):
        other = path.with_suffix({".db": ".json", ".json": ".db"}.get(path.suffix, ".none"))
        odd += [] if other.exists() else [path]
    return sorted(str(path.relative_to(folder)) for path in odd)
