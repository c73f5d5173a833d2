"""What loading the models depended on, and whether any of it has moved since.

Stats are compared first, contents decide: the same bytes written again change nothing. Something whose ctime is not
older than the look at it may have changed once more within a tick of the file system's clock, so its stat is not trusted
(https://git-scm.com/docs/racy-git). ctime is asked for that because every write, rename and `touch` moves it, and
nothing moves it back.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Some hundred paths are asked for within milliseconds: a Path for each would double that, and resolve() follows links.
# ruff: noqa: PTH100, PTH111, PTH113, PTH114, PTH116, PTH118, PTH120, PTH122, PTH123

MODULES = (".py", ".so", ".pyd", ".pyc")
DISTRIBUTIONS = (".dist-info", ".egg-info", ".pth", ".egg-link")
# Another in each shell or terminal: no reason to load anew where models take all variables without naming one.
TERMINAL = frozenset(
    (
        *("_", "COLUMNS", "GPG_TTY", "LINES", "OLDPWD", "SHLVL", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"),
        *("STY", "TERM_SESSION_ID", "TMUX", "TMUX_PANE", "WINDOWID", "XDG_SESSION_ID"),
    )
)
SECOND = 1_000_000_000
TICK, COARSE_TICK = (
    SECOND // 20,
    2 * SECOND + SECOND // 20,
)  # the 10 ms of a kernel's clock, the 2 s of FAT; with a margin
FILE, FOLDER, LIBRARY, INTERPRETER = "file", "folder", "library", "interpreter"
LISTED, ASKED = "listed", "asked"
# What SQLite and editors put beside a file, and take away again.
PASSING = ("-journal", "-wal", "-shm", "~")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the desired schema was made of. All paths are absolute, all tuples sorted.

    Args:
        files: source files, .sql files and data files.
        folders: folders that were listed: a new module there changes what an import finds.
        environment: names of environment variables that were read; "*" when all were.
        libraries: folders of installed distributions.
        python: the interpreter; "" when none was asked.
        missing: files that were asked for and not there.
        databases: SQLite files that were opened. No footprint covers them: closing a descriptor of one would drop the
            locks that this process holds on it (https://www.sqlite.org/howtocorrupt.html, 2.2). Where there are any,
            nothing is remembered, and who keeps the models loaded loads them anew when `stat` of such a file moved.
        listed: folders whose names the models themselves asked for: any name there may mean something to them.
        asked: paths of which they asked whether something is there. Never opened: one may be a database.
    """

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    python: str = ""
    missing: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    def joined(self, other: Inputs) -> Inputs:
        """Both together, with the other's interpreter where it has one: what to watch after a look that failed."""
        names = ("files", "folders", "environment", "libraries", "missing", "databases", "listed", "asked")
        both = {name: tuple(sorted({*getattr(self, name), *getattr(other, name)})) for name in names}
        return Inputs(python=other.python or self.python, **both)


@dataclass(frozen=True, slots=True)
class Stat:
    """What tells cheaply that a file or folder is what it was. Times are in nanoseconds since the epoch."""

    modified: int
    changed: int
    size: int
    inode: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One input as it was found.

    Args:
        kind: FILE, FOLDER, LIBRARY, INTERPRETER, LISTED or ASKED.
        path: where it is.
        stat: None where there was nothing.
        content: what counts, a hash or names; "" where there was nothing, a word for what could not be read.
        newest: when the last change happened to anything that counts, in nanoseconds since the epoch; 0 for nothing.
        inside: of a folder, its subfolders and whether they are packages; of a library, its .pth files and their times.
    """

    kind: str
    path: str
    stat: Stat | None
    content: str
    newest: int = 0
    inside: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Footprint:
    """All inputs as they were found.

    Args:
        inputs: what was looked at.
        taken_at: when the look began, in nanoseconds since the epoch.
        newest: when the last change happened to anything that counts, likewise.
        environment: a hash of the variables' names and values.
        seen: one for each path.
    """

    inputs: Inputs
    taken_at: int
    newest: int
    environment: str
    seen: tuple[Seen, ...]

    @property
    def key(self) -> str:
        """The sha256 of all contents: as long as it is the same, loading gives the same desired schema."""
        contents = [(one.kind, one.path, one.content) for one in self.seen]
        return _sha256(json.dumps([self.environment, contents]).encode())


def measure(
    inputs: Inputs, before: Footprint | None = None, *, environment: Mapping[str, str] | None = None
) -> Footprint:
    """Look at everything. Contents are read anew, or taken from `before` where a stat vouches for them."""
    taken_at = time.time_ns()
    trusted = {}
    if before is not None:
        known = (one for one in before.seen if one.kind == FILE and one.stat is not None)
        trusted = {one.path: one for one in known if _quiet(one.stat, before.taken_at)}
    seen = [_file(path, trusted.get(path), gone=taken_at) for path in inputs.files]
    seen += [_file(path, trusted.get(path)) for path in (*inputs.missing, *_settings(inputs.python))]
    seen += [_folder(path, inputs.files) for path in inputs.folders]
    seen += [_listing(path) for path in inputs.listed]
    seen += [Seen(ASKED, path, None, _what_is(path)) for path in inputs.asked]
    seen += [_library(path) for path in inputs.libraries]
    if inputs.python:
        seen.append(_interpreter(inputs.python))
    return Footprint(
        inputs=inputs,
        taken_at=taken_at,
        newest=max([_links_changed(inputs.files), *(one.newest for one in seen)]),
        environment=_values(inputs.environment, os.environ if environment is None else environment),
        seen=tuple(seen),
    )


def moved(footprint: Footprint) -> bool:
    """True when something may have changed: measure again and compare the keys. By `stat` alone."""
    if _values(footprint.inputs.environment, os.environ) != footprint.environment:
        return True
    return any(_stirred(one, footprint.taken_at) for one in footprint.seen)


def settled(footprint: Footprint, since_ns: int) -> bool:
    """False when what was measured may not be what was loaded by a probe that began at `since_ns`.

    Something that changed after that, or so shortly before that clocks cannot tell, was read by the probe before or after.
    """
    return not footprint.inputs.databases and _before(footprint.newest, since_ns)


def find_interpreter(python: str) -> str | None:
    """The absolute path of an interpreter, of a path or a name on PATH; None when there is none.

    A symbolic link stays: it is what makes a virtual environment one.
    """
    if os.sep in python:
        path = os.path.abspath(os.path.expanduser(python))
        return path if os.path.isfile(path) and os.access(path, os.X_OK) else None
    import shutil  # with what it imports, a fiftieth of a cold check

    found = shutil.which(python)
    return os.path.abspath(found) if found else None


def _stirred(one: Seen, taken_at: int) -> bool:
    if one.kind == ASKED:
        return _what_is(one.path) != one.content
    now = _stat(one.path)
    if now != one.stat or (now is not None and not _quiet(now, taken_at)):
        return True
    if one.kind == FOLDER:
        return any(
            os.path.isfile(os.path.join(one.path, name, "__init__.py")) != package
            for name, package in one.inside
        )
    if one.kind == LIBRARY:
        return any(_modified(os.path.join(one.path, name)) != modified for name, modified in one.inside)
    return False


def _stat(path: str) -> Stat | None:
    try:
        return _stat_of(os.stat(path))
    except OSError:
        return None


def _stat_of(found: os.stat_result) -> Stat:
    return Stat(found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)


def _modified(path: str) -> int:
    found = _stat(path)
    return found.modified if found is not None else 0


def _quiet(found: Stat | None, moment: int) -> bool:
    """True when it had stopped changing by then."""
    return found is not None and _before(found.changed, moment)


def _before(changed: int, moment: int) -> bool:
    """True when a change was so long before a moment that one in that moment would have another time."""
    # A whole second is the time of a file system that knows no less.
    return changed < moment - (TICK if changed % SECOND else COARSE_TICK)


def _file(path: str, trusted: Seen | None, gone: int = 0) -> Seen:
    """A file. `gone` is the `newest` of one that is not there, 0 where it is expected to be missing."""
    try:
        link = os.lstat(path)
        if trusted is not None and _stat(path) == trusted.stat:
            return trusted
        # Models may have read a pipe or a device, which has no end; they count by their stat alone.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return Seen(FILE, path, _stat(path), "unreadable: it is not an ordinary file", gone)
            content = hashlib.file_digest(file, "sha256").hexdigest()
            # Asked for after the reading: a change in between then shows in `newest`.
            found = os.fstat(file.fileno())
    except FileNotFoundError:
        return Seen(FILE, path, None, "", gone)
    except OSError as error:
        return Seen(FILE, path, _stat(path), f"unreadable: {error.strerror}", gone)
    newest = max(found.st_ctime_ns, link.st_ctime_ns)
    return Seen(FILE, path, _stat_of(found), content, newest)


def _folder(path: str, files: Iterable[str]) -> Seen:
    """A folder: the names that imports care for, and those of the kinds of data files that were read in it."""
    read = {os.path.splitext(file)[1] for file in files if os.path.dirname(file) == path} - {""}
    endings = (*MODULES, *read)
    found, names, inside, times = _stat(path), [], [], [0]
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if not _counts(entry.name):
                    continue
                if entry.name.endswith(endings):
                    names.append(entry.name)
                    times.append(entry.stat(follow_symlinks=False).st_ctime_ns)
                elif entry.is_dir():
                    changed = _package_changed(entry)
                    inside.append((entry.name, changed is not None))
                    if changed is not None:
                        names.append(entry.name + os.sep)
                        times.append(changed)
    except OSError as error:
        return Seen(FOLDER, path, found, f"unreadable: {error.strerror}" if found else "")
    return Seen(FOLDER, path, found, json.dumps(sorted(names)), max(times), tuple(sorted(inside)))


def _listing(path: str) -> Seen:
    """A folder that the models list: all names in it, but hidden ones and those that come and go beside others."""
    found, names = _stat(path), []
    try:
        with os.scandir(path) as entries:
            lasting = (entry for entry in entries if not entry.name.endswith(PASSING))
            names = [entry.name + os.sep * entry.is_dir() for entry in lasting if _counts(entry.name)]
    except OSError as error:
        return Seen(LISTED, path, found, f"unreadable: {error.strerror}" if found else "")
    # Its own time: of a name that has gone nothing else tells.
    return Seen(LISTED, path, found, json.dumps(sorted(names)), found.changed if found else 0)


def _counts(name: str) -> bool:
    return name[0] != "." and name != "__pycache__"


def _what_is(path: str) -> str:
    """What a path leads to: `folder`, `file` (anything else), or "" where nothing is or may be seen."""
    try:
        return "folder" if stat.S_ISDIR(os.stat(path).st_mode) else "file"
    except (OSError, ValueError):
        return ""


def _package_changed(folder: os.DirEntry[str]) -> int | None:
    """When a package came about, or was renamed; None for a folder that is none."""
    try:
        init = os.stat(os.path.join(folder.path, "__init__.py")).st_ctime_ns
        own = folder.stat(follow_symlinks=False)
    except OSError:
        return None
    # Both times move when something is put into it (a database's journal); a rename moves only the one.
    itself = folder.is_symlink() or own.st_ctime_ns != own.st_mtime_ns
    return max(init, own.st_ctime_ns if itself else 0)


def _library(path: str) -> Seen:
    """A folder of installed distributions: which, and when each was installed."""
    found, entries, times = _stat(path), [], [0]
    try:
        with os.scandir(path) as listed:
            for entry in listed:
                if entry.name.endswith(DISTRIBUTIONS):
                    its = entry.stat(follow_symlinks=False)
                    entries.append((entry.name, its.st_mtime_ns))
                    times.append(its.st_ctime_ns)
    except OSError as error:
        return Seen(LIBRARY, path, found, f"unreadable: {error.strerror}" if found else "")
    links = tuple(entry for entry in entries if entry[0].endswith((".pth", ".egg-link")))
    return Seen(LIBRARY, path, found, json.dumps(sorted(entries)), max(times), links)


def _interpreter(path: str) -> Seen:
    found = _stat(path)
    content = f"{os.path.realpath(path)} {found.modified} {found.size}" if found else ""
    return Seen(INTERPRETER, path, found, content, found.changed if found else 0)


def _settings(python: str) -> list[str]:
    """Where an interpreter looks for its pyvenv.cfg (https://docs.python.org/3/library/site.html)."""
    folder = os.path.dirname(python)
    return [os.path.join(one, "pyvenv.cfg") for one in (folder, os.path.dirname(folder))] if python else []


def _links_changed(paths: Iterable[str]) -> int:
    """When the newest symbolic link on the way to these files was made: the way a release is switched."""
    folders: set[str] = set()
    ahead = {os.path.dirname(path) for path in paths}
    while ahead:
        folders |= ahead
        ahead = {os.path.dirname(folder) for folder in ahead} - folders
    return max([0, *(os.lstat(folder).st_ctime_ns for folder in folders if os.path.islink(folder))])


def _values(names: Iterable[str], environment: Mapping[str, str]) -> str:
    """A hash of the variables, and of those that the interpreter itself obeys."""
    wanted = set(names)
    every = "*" in wanted
    chosen = [
        (name, value)
        for name, value in environment.items()
        if name.startswith("PYTHON") or (name not in TERMINAL if every else name in wanted)
    ]
    return _sha256(json.dumps(sorted(chosen)).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
