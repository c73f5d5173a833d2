"""What is done to a database while its disk fails, and what must be true of it afterwards."""

from __future__ import annotations

import errno
import json
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.faultline import CHANGES, EVER, TAKES_SPACE, Kind, Strike
from support.migrations import House

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.faultline.runs import Ran, Runs
from support.processes import CONFIG

ROOT = Path(__file__).parents[2]
TARGET = ("--config", "driftd.toml", "--target", "app")
WINDOW = 5  # seconds; a fault that is waited out must not make a run long

FIRST = """
CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT, filler TEXT);
CREATE TABLE kept (id INTEGER PRIMARY KEY, t_id INTEGER REFERENCES t (id));
INSERT INTO t VALUES (1, '1', 'a'), (2, '2', 'b'), (3, '3', 'c');
INSERT INTO kept VALUES (1, 1), (2, 3);
"""
TABLES = """
CREATE TABLE t (id INTEGER PRIMARY KEY, n {n}, filler TEXT{more});
CREATE TABLE kept (id INTEGER PRIMARY KEY, t_id INTEGER REFERENCES t (id));
"""
SAME = TABLES.format(n="TEXT", more="")
NATIVE = TABLES.format(n="TEXT", more=", m TEXT")
CATALOG = TABLES.format(n="TEXT NOT NULL", more="")
REBUILD = TABLES.format(n="INTEGER", more="")


@dataclass(frozen=True, slots=True)
class Story:
    """A command on a database that is ready for it.

    `argv` may hold `{backup}`, the id of the first backup. `documented` are its exit codes when something goes wrong;
    `starts`: a starting service stands behind it, and must start.
    """

    name: str
    argv: tuple[str, ...]
    prepare: Callable[[House], None]
    documented: frozenset[int] = frozenset({1, 2})
    starts: bool = False

    def __str__(self) -> str:
        return self.name


def drifted(models: str) -> Callable[[House], None]:
    """The models want something else."""

    def prepare(house: House) -> None:
        house.models(models)

    return prepare


def migrated(house: House) -> None:
    """A migration has happened, and a row was written since."""
    house.models(NATIVE)
    house.apply()
    house.run("INSERT INTO t VALUES (4, '4', 'd', 'new')")


def by_hand(house: House) -> None:
    """Somebody has changed the database beside driftd."""
    migrated(house)
    house.run("CREATE INDEX by_hand ON t (n); ALTER TABLE kept ADD COLUMN note TEXT")


def many_backups(house: House) -> None:
    """More backups than are kept."""
    migrated(house)
    for _ in range(3):
        driftd_api().backup_create(house.target())
    text = (house.folder / "driftd.toml").read_text("utf-8")
    (house.folder / "driftd.toml").write_text(text + "keep = 2\n", encoding="utf-8")


def torn_journal(house: House) -> None:
    """The journal lacks the last migration, as behind a crash."""
    migrated(house)
    (journal,) = (house.folder / "backups").glob("*/journal.jsonl")
    journal.write_text("".join(journal.read_text("utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")


def unconfigured(house: House) -> None:
    """No configuration yet."""
    (house.folder / "driftd.toml").unlink()
    house.models(SAME)


def driftd_api() -> Any:
    from driftengine import api

    return api


STARTED = ("sh", "-c", "echo the service runs")
STORIES = (
    Story("apply-native", ("apply", *TARGET, "--json"), drifted(NATIVE)),
    Story("apply-catalog", ("apply", *TARGET, "--json"), drifted(CATALOG)),
    Story("apply-rebuild", ("apply", *TARGET, "--json"), drifted(REBUILD)),
    Story("gate", ("gate", *TARGET, "--json"), drifted(NATIVE), frozenset(), starts=True),
    Story("gate-strict", ("gate", *TARGET, "--json", "--strict"), drifted(REBUILD), frozenset({1, 75})),
    Story("exec", ("exec", *TARGET, "--", *STARTED), drifted(CATALOG), frozenset(), starts=True),
    Story("rollback", ("rollback", *TARGET, "--approve", "drop-column", "--json"), migrated),
    Story(
        "rollback-one",
        ("rollback", *TARGET, "--operation", "1", "--approve", "drop-column", "--json"),
        migrated,
    ),
    Story("restore", ("backup", "restore", "{backup}", *TARGET, "--json"), migrated, frozenset({2})),
    Story("backup", ("backup", "create", *TARGET, "--json"), migrated, frozenset({2})),
    Story("prune", ("backup", "prune", *TARGET, "--json"), many_backups, frozenset({2})),
    Story("verify", ("backup", "verify", *TARGET, "--json"), many_backups),
    Story("adopt", ("adopt", *TARGET, "--json"), by_hand),
    Story("revert", ("revert", *TARGET, "--approve", "drop-column", "--json"), by_hand),
    Story("ignore", ("ignore", "kept.note", *TARGET, "--json"), by_hand, frozenset({2})),
    Story("history", ("history", "verify", *TARGET, "--json"), torn_journal),
    Story("check", ("check", *TARGET, "--json"), drifted(NATIVE)),
    Story("init", ("init", "--json"), unconfigured),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What the system answers at a point: an errno once, or from there on (`stays`); or it writes half."""

    name: str
    error: int
    kinds: Kind
    stays: bool = False
    strike: Strike = Strike.FAIL


_NAMES = Kind.CREATE | Kind.RENAME | Kind.REMOVE | Kind.FOLDERS_MADE | Kind.LINK | Kind.MODE
FAULTS = (
    Fault("full", errno.ENOSPC, TAKES_SPACE),
    Fault("stays full", errno.ENOSPC, TAKES_SPACE, stays=True),
    Fault("quota", errno.EDQUOT, TAKES_SPACE),
    Fault("short", 0, Kind.WRITE, strike=Strike.SHORT),
    Fault("bad disk", errno.EIO, CHANGES & ~Kind.LOCK),
    Fault("dead disk", errno.EIO, (CHANGES | Kind.READ | Kind.OPEN_ONLY) & ~Kind.LOCK, stays=True),
    Fault("unreadable", errno.EIO, Kind.READ),
    Fault("forbidden", errno.EACCES, _NAMES | Kind.OPEN_ONLY),
    Fault("no longer allowed", errno.EACCES, _NAMES | Kind.OPEN_ONLY, stays=True),
    Fault("remounted", errno.EROFS, _NAMES, stays=True),
    Fault("interrupted", errno.EINTR, Kind.WRITE | Kind.CREATE | Kind.READ | Kind.LOCK),
    Fault("descriptors", errno.EMFILE, Kind.CREATE | Kind.OPEN_ONLY),
    Fault("no descriptors", errno.ENFILE, Kind.CREATE | Kind.OPEN_ONLY, stays=True),
    Fault("no locks", errno.ENOLCK, Kind.LOCK | Kind.POSIX_LOCK),
    Fault("never locks", errno.ENOLCK, Kind.LOCK | Kind.POSIX_LOCK, stays=True),
    Fault("locked", errno.EAGAIN, Kind.LOCK | Kind.POSIX_LOCK),
)

# Where COMMIT itself fails, SQLite cannot know what the disk has kept; it says that it failed.
UNKNOWABLE = frozenset({"commit-in-doubt", "database-io", "disk-full", "restore-not-noted", "window-unknown"})


@cache
def codes() -> frozenset[str]:
    """The codes that docs/operations.md explains."""
    return frozenset(
        re.findall(r"^## (\S+)$", (ROOT / "docs/operations.md").read_text("utf-8"), re.MULTILINE)
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there: the rows and the schema, files by kind, and how many backups."""

    content: str
    files: frozenset[str]
    backups: int


class Scene:
    """A story's folder, put back before each run; where it ends without a fault is known."""

    def __init__(self, folder: Path, runs: Runs, story: Story, journal: str) -> None:
        self.story, self.runs = story, runs
        self.house = House(folder / "w", journal=journal)
        self._kept = folder / "kept"
        self._points: dict[Kind, list[int]] = {}
        self.house.folder.mkdir(parents=True)
        self.house.run(FIRST)
        (self.house.folder / "driftd.toml").write_text(CONFIG.format(WINDOW), encoding="utf-8")
        story.prepare(self.house)
        self.backup = min((path.stem for path in self.house.backups()), default="")
        shutil.copytree(self.house.folder, self._kept)
        self.old = self.house.everything()
        self.ran = self.run()
        self.new = self.house.everything()
        assert self.ran.code in ({0, 1} if story.name == "check" else {0}), (self.ran.out, self.ran.err)
        self._ended = self.healed().code
        self.end = self.seen()

    def reset(self) -> None:
        """Everything as at the story's beginning."""
        shutil.rmtree(self.house.folder)
        shutil.copytree(self._kept, self.house.folder)

    def run(self, *argv: str, **how: Any) -> Ran:
        """The story's command, or another one."""
        words = [word.format(backup=self.backup) for word in argv or self.story.argv]
        return self.runs.driftd(self.house.folder, *words, **how)

    def points(self, kinds: Kind) -> list[int]:
        """The points of a run without a fault, but for those in SQLite's shared memory, which is no file to it."""
        if kinds not in self._points:
            self.reset()
            named = self.run(kinds=kinds, told=True).names
            self._points[kinds] = [at for at, name in enumerate(named, 1) if not name.endswith("-shm")]
        return self._points[kinds]

    def healed(self) -> Ran:
        """The next apply, without any fault: what a start does, in a process that need not be started."""
        return self.run("apply", *TARGET, "--json")

    def seen(self) -> Seen:
        """What is there now."""
        names = {
            str(path.relative_to(self.house.folder))
            for path in self.house.folder.rglob("*")
            # The cache may hold more or less; what cannot be removed there, or is unfinished, goes with the next writing.
            if (not path.is_dir() or "rehearsal" in path.name)
            and "cache" not in path.relative_to(self.house.folder).parts
            and not path.name.endswith(".driftd-unfinished")
            and not re.fullmatch(r"[a-z0-9_]{8}", path.name)  # Python tries a folder for temporary files
        }
        return Seen(
            self.house.everything(),
            frozenset(re.sub(r"[0-9a-f]{16,}|_[0-9_]+(-\d+)?", "_", name) for name in names),
            len(self.house.backups()),
        )

    def tried(self, fault: Fault, at: int) -> list[str]:
        """One run with the fault at that point, and what was wrong with it and behind it."""
        self.reset()
        last = EVER if fault.stays else None
        ran = self.run(at=at, strike=fault.strike, error=fault.error, kinds=fault.kinds, last=last)
        wrong = [*self._told(ran), *self._kept_whole(ran)]
        return wrong or self._heals(ran)

    def _told(self, ran: Ran) -> Iterator[str]:
        """What it said: a documented code, a reason, a way out, and no traceback."""
        story = self.story
        if ran.code not in story.documented | {0}:
            yield f"exit code {ran.code}"
        if "Traceback" in ran.out + ran.err or "bug in driftd" in ran.err:
            yield f"a traceback: {ran.err[-600:]}"
        if story.name == "exec":
            if "the service runs" not in ran.out:
                yield f"the service did not start: {ran.err}"
            return
        try:
            document = ran.json()
        except ValueError:
            yield f"no document: {ran.out!r} {ran.err[-300:]}"
            return
        error = document.get("error")
        if error and not (
            error["code"] in codes() - {"internal"} and error["what"] and error["why"] and error["fix"]
        ):
            yield f"an error that nobody foresaw: {error}"
        if ran.code == 2 and not error:
            yield f"an error that is not told: {ran.out}"

    def _kept_whole(self, ran: Ran) -> Iterator[str]:
        """The database is the old or the new one, as it was told."""
        if self.house.ask("PRAGMA integrity_check") != [("ok",)]:
            yield "the database is damaged"
        content = self.house.everything()
        if content not in {self.old, self.new}:
            yield "the database is neither the old nor the new one"
        if self.story.name == "exec":
            return
        document = json.loads(ran.out or "{}")
        error = (document.get("error") or {}).get("code")
        done = document["outcome"] == "migrated" if "outcome" in document else ran.code == self.ran.code
        if done and content != self.new:
            yield f"it says that it has done it, and has not: {document}"
        if not done and content != self.old and error not in UNKNOWABLE:
            yield f"it says that it has failed, and has done it: {document}"

    def _heals(self, ran: Ran) -> list[str]:
        """Without the fault all goes its way, and nothing is left over; listed backups are whole, the history too."""
        if ran.code != self.ran.code:
            again = self.run()
            if again.code != self.ran.code and self.house.everything() != self.new:
                return [f"it does not heal: {again.out} {again.err[-300:]}"]
        started = self.healed()
        if started.code != self._ended:
            return [f"the next start fails: {started.out}"]
        api = driftd_api()
        seen, target = self.seen(), self.house.target()
        wrong = []
        if seen.content != self.end.content:
            wrong.append("another end than without the fault")
        if left := sorted(seen.files - self.end.files):
            wrong.append(f"left over: {left}")
        if not (verified := api.backup_verify(target))["ok"]:
            wrong.append(f"a listed backup is not whole: {verified}")
        if not (history := api.history_verify(target))["ok"]:
            wrong.append(f"the history does not verify: {history}")
        if seen.backups > self.end.backups + 1:
            wrong.append(f"{seen.backups} backups instead of {self.end.backups}")
        return wrong
