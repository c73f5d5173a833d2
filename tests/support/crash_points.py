"""A command killed at each of its system calls that change files, and what must hold behind that.

One run counts and names the points, then one run for each point (or a choice of them) is killed there, in a folder that is
put back to what it was. Judged is a copy of what the dead left, so that nobody else than the next start brings it in order.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from driftd import lock_file
from driftengine import api, journal
from driftengine.backup import list_backups
from driftengine.backup_files import file_sha256, folder_for
from support.faultline import Strike
from support.faultline.power import What, losses, read_trace
from support.migrations import House
from support.starters import starting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from support.faultline.power import Done
    from support.faultline.runs import Ran, Runs

ALL = os.environ.get("DRIFTD_FAULTS") == "all"
CONFIG = """\
[targets.app]
url = "sqlite:///app.db"
models = ["models.sql"]
[targets.app.window]
timeout = 30
[targets.app.backup]
directory = "backups"
"""
CONFIGURED = ("--config", "driftd.toml", "--target", "app")
SETTINGS = (
    "user_version", "application_id", "encoding", "page_size", "journal_mode", "auto_vacuum",
)  # fmt: skip
VARIES = (
    (re.compile(r"backup_\d{8}_\d{6}_\d{3}(-\d+)?"), "BACKUP"),
    (re.compile(r"rehearsal-[a-z0-9_]{8}"), "REHEARSAL"),
)
BACKUP = re.compile(r".*/BACKUP\.(db|json)$")
TRIAL = re.compile(
    r"/tm[p]/[a-z0-9_]{8}$"
)  # by which Python's tempfile finds out where it may write, before any of ours
REMEMBERED = re.compile(
    r"/cache/driftd/desired/(in-sync-)?[0-9a-f]{40}\.json$"
)  # there or not: both are in order


@dataclass(frozen=True, slots=True)
class State:
    """A database as it must be either before or after, and what driftd says of it."""

    content: str  # schema, rows and sequences, without driftd's history
    settings: tuple[Any, ...]  # of the header, and who owns the file
    told: tuple[str, ...]  # the kinds of the history's rows

    def same(self, other: State) -> bool:
        """Whether it is the same database; the history is judged apart."""
        return (self.content, self.settings) == (other.content, other.settings)


NOTHING = State("", (), ())


def state_of(database: Path) -> State:
    """The state of a database of ours, which is sound. Recovers what a dead writer has left in it."""
    if not database.exists() or not database.stat().st_size:
        return NOTHING
    found = database.stat()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if not names:
            return NOTHING
        lines = [line for line in connection.iterdump() if "driftd_history" not in line]
        if "sqlite_sequence" in names:
            lines += map(str, connection.execute("SELECT * FROM sqlite_sequence ORDER BY name"))
        told = connection.execute("SELECT kind FROM driftd_history") if "driftd_history" in names else ()
        settings = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in SETTINGS]
        return State(
            "\n".join(lines),
            (*settings, found.st_mode, found.st_uid, found.st_gid),
            tuple(kind for (kind,) in told),
        )


def files(folder: Path) -> Counter[str]:
    """What lies below the folder, by name; what is named after the moment by one name."""
    found: Counter[str] = Counter()
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            found[alike("/" + str((Path(place) / name).relative_to(folder)))] += 1
    return found


def alike(name: str) -> str:
    """The name with one word for what is named after the moment, or by chance."""
    for pattern, word in VARIES:
        name = pattern.sub(word, name)
    return name


def modes(folder: Path) -> dict[str, str]:
    """The mode and owner of each file whose name stays the same: who may use it."""
    found = {}
    for path in folder.rglob("*"):
        name = "/" + str(path.relative_to(folder))
        if not any(pattern.search(name) for pattern, _ in VARIES):
            its = path.lstat()
            found[name] = f"{its.st_mode:o} {its.st_uid}:{its.st_gid}"
    return found


# --- what runs in the process of `Runs`, by name


def start_service(timeout: float = 60.0) -> dict[str, Any]:
    """A service that starts in this folder where no daemon serves: its window, and what the engine does in it."""
    from driftd.startup.child import start, target_of

    target = target_of({"directory": str(Path.cwd()), "config": "driftd.toml", "target": "app"})
    database = Path("app.db").resolve()
    os.close(lock_file.open_lock(f"{database}.startup.lock", str(database)))
    with starting(database) as service:
        go = {"id": service.id, "database": str(database), "deadline_at": time.monotonic() + timeout}
        return start(target, go, allowed_by="a start", tell=lambda **_: None)


def restore_last() -> dict[str, Any]:
    """The last migration taken back by its own backup, as AutoMigrationSystem does it."""
    return api.rollback_to_backup(_house().target(), allowed_by="a test")


def restore_first() -> dict[str, Any]:
    """What `driftd backup restore ID` does, with the oldest backup."""
    target = _house().target()
    oldest = api.backup_list(target)["backups"][0]["id"]
    return api.backup_restore(target, oldest)


def stage_ahead() -> str:
    """What the daemon's stager does."""
    target = _house().target()
    prepared = api.prepare(target, api.load(target))
    return prepared.backup.id if prepared.backup else ""


def approve(code: str) -> list[str]:
    """What the daemon does on `driftd approve CODE`."""
    from driftengine import approvals

    target = _house().target()
    plan = api.plan(target)["plan"]
    ids = [one["id"] for one in plan["operations"] if one["code"] == code]
    folder = folder_for(target.backup.directory, str(_house().database))
    approvals.record(folder, str(_house().database), plan["id"], ids, "a test", {})
    return ids


def _house() -> House:
    return House(Path.cwd())


def power_points(done: Sequence[Done], most: int) -> list[int]:
    """Right before and behind each sync of what lasts, the last things, and others evenly; all with DRIFTD_FAULTS=all."""
    if ALL:
        return list(range(len(done) + 1))
    lasting = [number for number, one in enumerate(done, 1) if "rehearsal-" not in one.path]
    synced = [number for number in lasting if done[number - 1].what is What.SYNCED]
    near = sorted({at for number in synced for at in (number - 1, number)} | {*lasting[-3:]})
    return near[:: max(1, round(len(near) / most))]


def calling(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """The request for `Runs` that calls a function of this module."""
    return {"call": f"support.crash_points:{function.__name__}", "arguments": arguments}


def running(*words: str) -> dict[str, Any]:
    """The request for `Runs` that runs a command of driftd on the configured target."""
    return {"argv": [*words, *CONFIGURED, "--json"]}


# --- which points


def chosen(names: Sequence[str], most: int) -> list[int]:
    """About so many points, from 1: the first and the last of each kind of call on each file, the last ones, the others evenly.

    With DRIFTD_FAULTS=all, all of them. What is written into a -shm is left out otherwise: SQLite makes it anew.
    """
    if ALL:
        return list(range(1, len(names) + 1))
    kinds: dict[str, list[int]] = {}
    for number, name in enumerate(names, 1):
        if not (name.startswith(("pwrite", "ftruncate")) and name.endswith("-shm")):
            kinds.setdefault(alike(name), []).append(number)
    # The live database, the journal, and what takes its final name: these before what only prepares.
    first = sorted(
        {end for name, found in kinds.items() if "REHEARSAL" not in name for end in (found[0], found[-1])},
        key=lambda number: ("/app.db" not in names[number - 1], "rename" not in names[number - 1], number),
    )
    every = sorted({number for found in kinds.values() for number in found} - set(first))
    last = [number for number in sorted({*first, *every}) if "REHEARSAL" not in names[number - 1]][-6:]
    rest = max(1, most // 4, most - len(first))
    spread = every[:: max(1, len(every) // rest)][:rest] if every else []
    return sorted({*first[: most - len(spread) - len(last)], *spread, *last})


# --- a command under fire


@dataclass
class Scene:
    """One command in one folder, killed again and again.

    `begin` makes the folder; `forward`: the next start does what the killed one had begun, otherwise the command is given
    again where it had come to nothing; `followed`: the next start acts on what it has left; `spare`: so many more backups than behind a run that lives may be left; `beside`
    is what else goes on meanwhile; `healer` is what the next start is.
    """

    runs: Runs
    base: Path
    command: Mapping[str, Any]
    begin: Callable[[House], None]
    journal: str = "delete"
    forward: bool = True
    followed: bool = False
    spare: int = 0
    healer: Mapping[str, Any] = field(default_factory=lambda: calling(start_service))
    beside: Callable[[Path], AbstractContextManager[Any]] = lambda _: nullcontext()
    codes: frozenset[int] = frozenset({0, 1})
    old: State = NOTHING
    new: State = NOTHING
    end: State = NOTHING
    left: Counter[str] = field(default_factory=Counter)
    modes: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    tries: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "driftd.toml").write_text(CONFIG, encoding="utf-8")
        self.begin(House(self.folder, journal=self.journal))
        if self.database.exists():
            self.database.chmod(0o640)
        self._age()
        shutil.copytree(self.folder, self.base / "start", symlinks=True)
        self.old = self.look()
        with self.beside(self.database):
            whole = self.run(told=True)
        assert whole.code in self.codes, (whole.code, whole.err)
        self.names = whole.names
        self.new = state_of(self.database)
        self.starts()
        self.starts()
        self.end = state_of(self.database)
        self.left, self.modes = files(self.folder), modes(self.folder)

    @property
    def folder(self) -> Path:
        """Where the command runs; always the same path, which is a part of what is kept about a database."""
        return self.base / "w"

    @property
    def database(self) -> Path:
        """The database file."""
        return self.folder / "app.db"

    def _age(self) -> None:
        """What was written a moment ago is not remembered, because it may be written once more unseen."""
        for place in self.folder.rglob("*"):
            os.utime(place, (time.time() - 3600,) * 2, follow_symlinks=False)

    def run(self, at: int = 0, **how: Any) -> Ran:
        """The command."""
        return self.runs.run(self.folder, self.command, at, **how)

    def reset(self) -> None:
        """The folder as it was."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.base / "start", self.folder, symlinks=True)

    def starts(self, at: int = 0, **how: Any) -> Ran:
        """A service starts: nobody helps, and it must be let through."""
        ran = self.runs.run(self.folder, self.healer, at, **how)
        if not ran.killed:
            assert ran.code == 0, ran.err
        if ran.code == 0 and "call" in self.healer:
            assert ran.json()["outcome"] not in {"failed", "deferred", "blocked"}, ran.out
        return ran

    def until_quiet(self) -> None:
        """Until nobody runs in the folder any more: who has lost the starter ends by itself."""
        give_up = time.monotonic() + 60
        while any(_runs_in(process, self.folder) for process in psutil.process_iter()):
            assert time.monotonic() < give_up, "what was started goes on without its starter"
            time.sleep(0.02)

    # --- one try

    def strike(self, at: int, strike: Strike = Strike.KILL, again: int = 0) -> str:
        """Killed at that point, judged, healed by the next starts (the first one killed at `again`), judged again."""
        self.reset()
        self.tries += 1
        with self.beside(self.database):
            ran = self.run(at, strike=strike)
            where = self.names[at - 1] if at <= len(self.names) else f"point {at}"
            assert ran.killed or ran.code in self.codes, (where, ran.code, ran.err)
            if strike in {Strike.STARTER, Strike.BOTH}:
                self.until_quiet()
            came_to = self.judge(where)
        if again:
            self.starts(again)
            came_to = self.judge(f"{where}, and killed again")
        self.heal(came_to, where)
        return came_to

    def look(self) -> State:
        """The state of a copy of the database, with what belongs to it: a look at itself would recover it."""
        copy = self.base / "judged"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in self.folder.glob("app.db*"):
            if not path.name.endswith((".lock", "-shm", ".result")):
                shutil.copy2(path, copy / path.name)
                if os.geteuid() == 0:
                    os.chown(copy / path.name, path.stat().st_uid, path.stat().st_gid)
        return state_of(copy / "app.db")

    def without_power(self, most: int) -> Counter[str]:
        """One run, and the power lost behind so many of the things that it did to files, in each way in which it may be."""
        self.reset()
        self.modes = {}  # that of a file that was made is not replayed
        ran, trace = self.runs.traced(self.folder, self.command)
        assert ran.code in self.codes, ran.err
        done = read_trace(trace, self.folder)
        assert done
        points = power_points(done, most)
        ends: Counter[str] = Counter()
        for number, loss, disk in losses(self.base / "start", self.folder, done, points):
            self.tries += 1
            shutil.rmtree(self.folder)
            disk.put(loss, number, self.base / "start")
            where = f"{loss.name}, without power behind {number}: {done[number - 1] if number else 'nothing'}"
            try:
                came_to = self.judge(where)
                self.heal(came_to, where)
            except AssertionError as error:
                error.add_note(where)
                raise
            ends[came_to] += 1
        return ends

    def judge(self, where: str) -> str:
        """`old` or `new`, by a look at what was left; listed backups are whole."""
        came_to = self._came_to(self.look(), where)
        for place in (self.folder / "backups").glob("*"):
            for one in list_backups(place):
                assert one.path.stat().st_size == one.size_bytes, (where, one.id)
                assert file_sha256(one.path) == one.sha256, (where, one.id)
        return came_to

    def _came_to(self, found: State, where: str) -> str:
        is_old, is_new = found.same(self.old), found.same(self.new)
        assert is_old or is_new, f"neither old nor new: killed at {where}\n{found}"
        if self.old.told == self.new.told:
            assert found.told == self.old.told, where
            is_new = not is_old
        elif is_old and is_new:  # only the history tells them apart
            is_new = found.told == self.new.told
            assert is_new or found.told == self.old.told, where
        else:
            assert found.told == (self.new if is_new else self.old).told, where
        return "new" if is_new else "old"

    def heal(self, came_to: str, where: str) -> None:
        """The next starts bring everything in order, and keep it so."""
        self.starts()
        if not self.forward and not self.followed:
            assert came_to == "new" or state_of(self.database).same(self.old), where
        if not self.forward and came_to == "old":
            again = self.run()
            assert again.code in self.codes, (where, again.code, again.err)
        if self.tries % 4 == 0 or self.followed:
            self.starts()
        assert state_of(self.database).same(self.end), where
        self.require_in_order(where)

    def require_in_order(self, where: str) -> None:
        """No lock, nothing left over, a history and a journal that tell the same, backups that verify."""
        if self.database.exists():
            # A write at once, and what SQLite has left of a journal goes with it.
            with closing(sqlite3.connect(self.database, timeout=0, isolation_level=None)) as writer:
                (version,) = writer.execute("PRAGMA user_version").fetchone()
                writer.execute(f"PRAGMA user_version = {version}")
        found = files(self.folder)
        count = sum(number for name, number in found.items() if BACKUP.match(name))
        most = sum(number for name, number in self.left.items() if BACKUP.match(name)) + 2 * self.spare
        strange = sorted(
            name
            for name in found.keys() - self.left.keys()
            if not any(known.match(name) for known in (BACKUP, REMEMBERED, TRIAL))
        )
        others = {
            name: mode for name, mode in modes(self.folder).items() if self.modes.get(name, mode) != mode
        }
        assert not others, f"other modes, killed at {where}: {others}"
        assert not strange, f"left over, killed at {where}: {strange}"
        assert count <= most, f"killed at {where}: {count} files of backups, {most} at most"
        target = House(self.folder).target()
        verified = api.history_verify(target)
        assert verified["ok"], (where, verified["problems"])
        backups = api.backup_verify(target)
        assert backups["ok"], (where, backups)
        listed = {one["id"] for one in backups["backups"]}
        for one in api.history(target)["migrations"]:
            assert one["backup"] is None or one["backup"]["id"] in listed, (
                f"without its backup, killed at {where}"
            )
        self._require_told_once(where)

    def _require_told_once(self, where: str) -> None:
        for path in (self.folder / "backups").glob(f"*/{journal.NAME}"):
            whole, _, _ = path.read_text("utf-8").rpartition(
                "\n"
            )  # half of a line may stand behind the others
            lines = [json.loads(line) for line in whole.splitlines()]
            hashes = [line["detail"]["hash"] for line in lines if line["detail"].get("hash")]
            assert len(hashes) == len(set(hashes)), f"told twice in the journal, killed at {where}"


def _runs_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.pid != os.getpid() and Path(process.cwd()).is_relative_to(folder)
    except psutil.Error:
        return False


def attack(scene: Scene, points: Iterable[int], strike: Strike = Strike.KILL) -> Counter[str]:
    """Strikes at each of the points; how often the database was old and new behind it."""
    return Counter(scene.strike(at, strike) for at in points)


def writes(names: Sequence[str], *parts: str) -> list[int]:
    """The points at which bytes are written into files whose paths have one of these parts."""
    return [
        number
        for number, name in enumerate(names, 1)
        if name.split(" ")[0] in {"write", "pwrite", "sendfile", "copy_file_range"}
        and any(p in name for p in parts)
    ]
