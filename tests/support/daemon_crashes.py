"""Stories of a daemon that is killed, with or without its helpers, at a chosen system call, and what must hold behind it."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from settled import settle
from support.faultline import Control, Strike
from support.sidecars import CONFIGURATION, MODELS, WIDER, Sidecar, house, make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.faultline.runs import Ran, Runs

PATIENCE = 60.0
# One operation of each way: a new table, a nullable column, an exchanged column, an index.
AFTER = WIDER.replace("title TEXT", "title TEXT NOT NULL DEFAULT ''") + (
    "CREATE TABLE note (id INTEGER PRIMARY KEY, task INTEGER REFERENCES task (id));\n"
    "CREATE INDEX by_title ON task (title);\n"
)
SECOND = (
    CONFIGURATION
    + '\n[targets.other]\nurl = "sqlite:///other.db"\nmodels = ["models.sql"]\nmode = "{mode}"\n'
)


@dataclass
class Scene:
    """One try: a folder with a daemon under the fault library, and a template that runs commands beside it."""

    folder: Path
    control: Control
    runs: Runs
    sidecar: Sidecar

    def alive(self) -> bool:
        """Whether the daemon still runs."""
        process = self.sidecar.process
        return process is not None and process.poll() is None

    def until(self, *states: str, target: str = "app") -> bool:
        """Whether it came to one of these states; False when it has died before."""
        give_up = time.monotonic() + PATIENCE
        while self.alive():
            assert time.monotonic() < give_up, self.sidecar.log
            try:
                entries = {one["target"]: one for one in self.sidecar.result("status")["targets"]}
            except (OSError, ValueError):
                entries = {}
            entry = entries.get(target)
            if entry and entry["state"] in states and not entry["busy"]:
                return True
            time.sleep(0.02)  # the daemon may die at any moment, so no event is waited for
        return False

    def driftd(self, *words: str) -> Ran:
        """A command beside the daemon that nothing strikes."""
        environment = {"DRIFTD_CONFIG": "driftd.toml", "DRIFTD_SOCKET": "d.sock"}
        return self.runs.driftd(self.folder, *words, env=environment, watch=(self.folder / "nowhere",))

    def end(self) -> None:
        """SIGTERM, where it still runs: it must end by itself, or by the strike."""
        if self.alive():
            self.sidecar.tell(signal.SIGTERM)
        assert self.sidecar.process is not None
        assert self.sidecar.process.wait(PATIENCE) in {0, -9}, self.sidecar.log


@contextmanager
def scene(folder: Path, runs: Runs, control: Control) -> Iterator[Scene]:
    """A folder's daemon, started by the story; no process stays behind the block."""
    sidecar = Sidecar(folder, environment=control.environment())
    control.disarm()
    control.watch(folder)
    try:
        yield Scene(folder, control, runs, sidecar)
    finally:
        if sidecar.process is not None:
            for child in sidecar.children() if sidecar.process.poll() is None else ():
                child.kill()
            sidecar.process.kill()
            sidecar.process.wait()


def everything(database: Path) -> str:
    """The whole database as text, without what driftd keeps in it."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return "\n".join(line for line in connection.iterdump() if "driftd_history" not in line)


def in_window(at: Scene, arm: Callable[[], None]) -> None:
    """The daemon starts, stages, answers a service that starts, rests, and is told to end."""
    arm()
    at.sidecar.launch()
    at.until("ready", "in_sync", "failed")  # failed: the strike hit the process that stages
    starts(at)
    at.until("in_sync")
    at.end()


def starts(at: Scene) -> None:
    """A service starts: with the daemon, or alone, it must have the new schema within its time."""
    gate = at.driftd("gate", "--strict", "--json", "--target", "app", "--timeout", "40")
    assert gate.code == 0, (gate.out, gate.err, at.sidecar.log)
    assert gate.json()["outcome"] in {"migrated", "up_to_date"}


def by_files(at: Scene, arm: Callable[[], None]) -> None:
    """As `in_window`, with a service that knows the daemon by its files alone."""
    arm()
    at.sidecar.launch()
    at.until("ready", "in_sync", "failed")
    environment = {"DRIFTD_CONFIG": "driftd.toml", "DRIFTD_SOCKET": "nobody.sock"}
    gate = at.runs.driftd(
        at.folder,
        "gate",
        "--strict",
        "--json",
        "--timeout",
        "40",
        env=environment,
        watch=(at.folder / "nowhere",),
    )
    # A daemon that dies with the answer half-way leaves it unknown; the next start tells.
    assert gate.code in {0, 75}, (gate.out, gate.err, at.sidecar.log)
    at.until("in_sync")
    at.end()


def in_dev(at: Scene, arm: Callable[[], None]) -> None:
    """Mode dev: models are saved while it runs, and it applies them."""
    (at.folder / "models.sql").write_text(MODELS, encoding="utf-8")
    text = (at.folder / "driftd.toml").read_text("utf-8").replace('"window"', '"dev"')
    (at.folder / "driftd.toml").write_text(text, encoding="utf-8")
    at.sidecar.launch()
    assert at.until("in_sync")
    arm()
    (at.folder / "models.sql").write_text(AFTER, encoding="utf-8")
    give_up = time.monotonic() + PATIENCE
    while at.alive() and "note" not in everything(at.folder / "app.db"):
        assert time.monotonic() < give_up, at.sidecar.log
        time.sleep(0.02)
    at.until("in_sync")
    at.end()


def reloaded(at: Scene, arm: Callable[[], None]) -> None:
    """Its configuration gets a second target, and loses it again."""
    at.sidecar.launch()
    assert at.until("ready")
    arm()
    (at.folder / "driftd.toml").write_text(SECOND.format(mode="window"), encoding="utf-8")
    at.sidecar.tell(signal.SIGHUP)
    at.until("ready", "in_sync", "failed", target="other")
    (at.folder / "driftd.toml").write_text(CONFIGURATION.format(mode="window"), encoding="utf-8")
    if at.alive():
        at.sidecar.tell(signal.SIGHUP)
        give_up = time.monotonic() + PATIENCE
        while at.alive() and "other" in targets(at.sidecar):
            assert time.monotonic() < give_up, at.sidecar.log
            time.sleep(0.02)
    at.end()
    starts(at)


def targets(sidecar: Sidecar) -> list[str]:
    """Whom it serves; nobody when it has died meanwhile."""
    try:
        return [one["target"] for one in sidecar.result("status")["targets"]]
    except (OSError, ValueError):
        return []


def rolled_back(at: Scene, arm: Callable[[], None]) -> None:
    """A migration is rolled back by the daemon, on an order over the socket."""
    starts(at)
    at.sidecar.launch()
    assert at.until("in_sync")
    arm()
    orders(at.sidecar)
    at.until("held", "in_sync", "drifted", "ready")
    at.end()


def orders(sidecar: Sidecar) -> bool:
    """`rollback` over the socket; whether it was done, False too where the daemon died over it."""
    try:
        return bool(sidecar.ask("rollback", target="app")["ok"])
    except (OSError, ValueError):
        return False


STORIES: dict[str, Callable[[Scene, Callable[[], None]], None]] = {
    "window": in_window,
    "files": by_files,
    "dev": in_dev,
    "reload": reloaded,
    "rollback": rolled_back,
}


def prepared(folder: Path, journal: str) -> Path:
    """The folder that each try begins with: an old database with rows, and new models."""
    folder.mkdir()
    house(folder, models=AFTER)
    make(folder / "app.db", journal=journal)
    make(folder / "other.db", journal=journal)
    return folder


def play(
    name: str,
    start: Path,
    folder: Path,
    runs: Runs,
    control: Control,
    number: int,
    strike: Strike = Strike.KILL,
) -> tuple[int, int, list[str]]:
    """The story in a copy of `start`, struck at point `number` (0: never): points passed, strikes, names of the points."""
    shutil.copytree(start, folder)
    settle(folder)
    with scene(folder, runs, control) as at:
        STORIES[name](at, lambda: control.arm(number, strike=strike, told=True))
        passed = control.count, control.struck, control.names()
    control.disarm()
    return passed


def heals(folder: Path, runs: Runs, control: Control, new: str) -> None:
    """The next daemon and the next start come to the new schema by themselves, and nothing is left lying about."""
    # Served again, so that what was made for it is its daemon's to sweep.
    (folder / "driftd.toml").write_text(SECOND.format(mode="window"), encoding="utf-8")
    with scene(folder, runs, control) as at:
        at.sidecar.launch()
        at.until("ready", "in_sync")
        starts(at)
        assert at.until("in_sync"), at.sidecar.log
        assert at.until("ready", target="other"), at.sidecar.log
        assert everything(folder / "app.db") == new
        at.end()
    is_clean(folder, runs, "app", "other")


def is_clean(folder: Path, runs: Runs, *targets: str) -> None:
    """The history is whole, no lock is held, and no file is left but the ones that somebody needs."""
    known: set[str] = set()
    for target in targets:
        asked = ("--config", "driftd.toml", "--target", target, "--json")
        verified = runs.driftd(folder, "history", "verify", *asked)
        assert verified.code == 0, verified.out
        listed = runs.driftd(folder, "backup", "list", *asked).json()
        known |= {one["id"] for one in listed["backups"]}
        assert runs.driftd(folder, "backup", "verify", *asked).code == 0
        with closing(sqlite3.connect(folder / f"{target}.db", timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
    left = left_over(folder, known)
    assert left == [], left


def left_over(folder: Path, backups: set[str]) -> list[str]:
    """Files that nobody needs when nothing runs."""
    kept = {
        "driftd.toml", "models.sql", "app.db", "other.db", "driftd.log", "app.db-wal", "app.db-shm",
        "app.db.startup.lock", "app.db.startup.result", "other.db.startup.lock", "other.db.startup.result",
        "journal.jsonl", "app.db.daemon.lock", "other.db.daemon.lock", "d.sock.lock",
    }  # fmt: skip
    found = []
    for path in folder.rglob("*"):
        if path.is_dir() or path.name in kept or path.stem in backups or "driftd/desired" in str(path):
            continue
        found.append(str(path.relative_to(folder)))
    return found
