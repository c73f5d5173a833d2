"""What the system knows about processes: this one's own figures, who holds a file, and whether a process has ended.

On Linux everything is read from /proc (https://man7.org/linux/man-pages/man5/proc.5.html): psutil would cost an idle
daemon 4 MB, and it matches open files by name only, where the same file may have several. Elsewhere psutil answers.
"""
# ruff: noqa: PTH115, PTH116, PTH120, PTH123, PTH208 - thousands of entries of /proc are walked as text: a Path each is slow

from __future__ import annotations

import os
import pwd
import stat
import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import psutil

LINUX = sys.platform.startswith("linux")
COMMAND_LENGTH = 80  # characters
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD of linux/sched.h
_LARGEST_PID = 2**31 - 1

Identity = tuple[int, int]  # st_dev, st_ino
How = Literal["open", "lock", "socket"]


class Memory(TypedDict):
    """`rss_bytes`: what of this process is in memory now."""

    rss_bytes: int


class Figures(TypedDict):
    """What this process uses: memory, seconds of CPU since its start, threads, open descriptors."""

    memory: Memory
    cpu_s: float
    threads: int
    open_files: int


class Process(TypedDict):
    """A process for people: `command` is at most 80 characters and not escaped; `started_at` is ISO 8601, UTC.

    A process that has ended or may not be looked at has "" and None.
    """

    pid: int
    user: str
    command: str
    started_at: str | None


class Holder(Process):
    """A process that has `path` open, holds a lock on it, or listens on it."""

    path: str
    how: How


class Holders(TypedDict):
    """`unseen` counts the processes whose open files this user may not see."""

    holders: list[Holder]
    unseen: int


def own_figures() -> Figures:
    """What this process uses, in about 0.05 ms on Linux: it is asked at each `status`."""
    if not LINUX:
        return _figures_by_psutil()
    fields = _fields(_read("/proc/self/stat"))
    return {
        "memory": {"rss_bytes": int(fields[21]) * os.sysconf("SC_PAGE_SIZE")},
        "cpu_s": time.process_time(),
        "threads": int(fields[17]),
        "open_files": len(os.listdir("/proc/self/fd")) - 1,  # one of them lists the folder
    }


def _figures_by_psutil() -> Figures:
    import psutil  # 4 MB and 20 ms: only where /proc does not answer

    process = psutil.Process()
    return {
        "memory": {"rss_bytes": process.memory_info().rss},
        "cpu_s": time.process_time(),
        "threads": process.num_threads(),
        "open_files": process.num_fds(),
    }


# --- one process


def started_at(pid: int) -> float | None:
    """When the process began, None when it has ended or cannot be seen.

    Good for comparison only: seconds since boot on Linux, which no change of the clock moves, so two values agree only
    within one boot; Unix time elsewhere.
    """
    if not LINUX:
        return _created(pid)
    fields = _stat(pid)
    if fields is None or _ended(fields):
        return None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def boot_id() -> str:
    """What names this boot of the machine; "" where start times do not need it, see `started_at`."""
    return _boot_id() if LINUX else ""


@cache
def _boot_id() -> str:
    try:
        return _read("/proc/sys/kernel/random/boot_id").decode("ascii").strip()
    except OSError:
        return ""  # a container may hide it: unknown, and so no proof of anything


def host() -> str:
    """The name of this machine."""
    return os.uname().nodename


def alive(pid: int, started: float | None, *, boot: str = "", host_name: str = "") -> bool:
    """False only on proof that this very process has ended: what is unknown counts as alive.

    Proof is: an earlier boot of this host, no such process, a zombie, or another start time under the same pid.
    `started` is the `started_at` of that process, `boot` its `boot_id()`, `host_name` its `host()`; None and "" mean
    unknown.
    """
    if host_name and host_name != host():
        return True
    if boot and boot_id() and boot != boot_id():
        return False
    if not 0 < pid <= _LARGEST_PID or not _exists(pid):
        return False
    fields = _stat(pid) if LINUX else None
    if fields is not None and _ended(fields):
        return False
    now = started_at(pid)
    return now is None or started is None or now == started


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def identify(pid: int) -> Process:
    """Who the process is, for people; "" and None for what may not be seen or is gone."""
    if not LINUX:
        return _identify_by_psutil(pid)
    started = started_at(pid)
    try:
        # The folder itself belongs to the effective user, also where what is in it belongs to root.
        user = _user(os.stat(f"/proc/{pid}").st_uid)
        command = _command(pid)
    except OSError:
        user = command = ""
    return {
        "pid": pid,
        "user": user,
        "command": command,
        "started_at": None if started is None else _moment(_boot_time() + started),
    }


def describe(process: Process | Holder) -> str:
    """For a sentence: `pid 4711 (python -m app, user ada)`. The command is not escaped."""
    known = [process["command"], f"user {process['user']}" if process["user"] else ""]
    told = ", ".join(part for part in known if part)
    # /proc/locks names who took a lock; a process that inherited the descriptor may hold it since the taker's end.
    return f"pid {process['pid']} ({told or 'ended, or not to be seen from here'})"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _command(pid: int) -> str:
    words = _read(f"/proc/{pid}/cmdline").rstrip(b"\0").replace(b"\0", b" ")
    # A process may have emptied its arguments, and a kernel thread has none: then its short name, as ps writes it.
    text = (words or b"[" + _read(f"/proc/{pid}/comm").strip() + b"]").decode("utf-8", "backslashreplace")
    return _cut(text)


def _cut(command: str) -> str:
    return command if len(command) <= COMMAND_LENGTH else command[: COMMAND_LENGTH - 3] + "..."


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _boot_time() -> float:
    lines = _read("/proc/stat").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(b"btime "))


def _stat(pid: int) -> list[bytes] | None:
    try:
        return _fields(_read(f"/proc/{pid}/stat"))
    except OSError:
        return None


def _fields(line: bytes) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on: the second, the name, may hold spaces and parentheses."""
    return line[line.rindex(b")") + 2 :].split()


def _ended(fields: list[bytes]) -> bool:
    # A zombie holds nothing; one whose other threads still run is none, though its first thread looks like one.
    return fields[0] in {b"Z", b"X"} and int(fields[17]) <= 1


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read() or b""


# --- who holds a file


def holders(paths: Sequence[Path]) -> Holders:
    """Who has one of these files open, holds a lock on it, or listens on it; this process is among them.

    Files are matched by device and inode, so other names of the same file count; a removed one by the name that it had.
    One entry per process and path. Processes that this user may not look into are counted in `unseen`; the locks of
    such a process are still found (in /proc/locks). Takes milliseconds: some 10 microseconds for each open descriptor.
    """
    search = _Search(paths)
    if LINUX:
        search.through_proc()
    else:
        search.through_psutil()
    return search.result()


class _Search:
    """One search: what is sought, and what was found so far."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.by_identity: dict[Identity, str] = {}
        self.by_name: dict[str, str] = {}
        self.folders: dict[str, int] = {}  # the device that a removed file was on
        self.found: dict[tuple[int, str], How] = {}
        self.seen: set[int] = set()
        self.unseen: set[int] = set()
        for path in paths:
            real = os.path.realpath(path)
            self.by_name[real] = str(path)
            identity = _identity(real)
            if identity is not None:
                self.by_identity[identity] = str(path)
            folder = _identity(os.path.dirname(real))
            if folder is not None:
                self.folders[real] = folder[0]

    def result(self) -> Holders:
        """The answer, in the order of pid and path."""
        found = [(identify(pid), path, how) for (pid, path), how in sorted(self.found.items())]
        return {
            "holders": [{**process, "path": path, "how": how} for process, path, how in found],
            "unseen": len(self.unseen),
        }

    def note(self, pid: int, path: str, how: How) -> None:
        """Remembers one; that it holds a lock says more than that it has the file open."""
        if how == "lock" or (pid, path) not in self.found:
            self.found[pid, path] = how

    def through_proc(self) -> None:
        """Looks at every descriptor of every process, then at the locks of those that may not be looked at."""
        sockets = dict(self._sockets(_read("/proc/net/unix")))
        for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
            try:
                descriptors = os.listdir(f"/proc/{pid}/fd")
            except PermissionError:
                fields = _stat(pid)
                if fields is not None and not int(fields[6]) & _KERNEL_THREAD:
                    self.unseen.add(pid)
                continue
            except OSError:
                continue  # it has ended meanwhile
            self.seen.add(pid)
            for descriptor in descriptors:
                self._look_at(pid, descriptor, sockets)
        self._through_locks(_read("/proc/locks"))

    def _look_at(self, pid: int, descriptor: str, sockets: dict[str, str]) -> None:
        link = f"/proc/{pid}/fd/{descriptor}"
        try:
            target = os.readlink(link)
            if target in sockets:
                self.note(pid, sockets[target], "socket")
            if not target.startswith("/"):
                return
            path = self._path(target, os.stat(link))
            if path:
                self.note(pid, path, "lock" if _locks(pid, descriptor) else "open")
        except OSError:
            return  # closed meanwhile, or on a file system that is gone

    def _path(self, target: str, found: os.stat_result) -> str:
        """Which of the paths this open file is, "" for none. `target` is what /proc says that it is called."""
        path = self.by_identity.get((found.st_dev, found.st_ino), "")
        if path or found.st_nlink:
            return path
        # Nothing else than its former name tells what a removed file was; the same name on another device is one of
        # another mount namespace, a container's.
        real = target.removesuffix(" (deleted)")
        same = self.folders.get(real) == found.st_dev
        return f"{self.by_name[real]} (deleted)" if same else ""

    def _sockets(self, listing: bytes) -> Iterator[tuple[str, str]]:
        """What /proc/PID/fd calls the sockets bound to one of the paths, and the path."""
        for line in os.fsdecode(listing).split("\n")[1:]:
            words = line.split(maxsplit=7)
            # Most sockets have no name; a relative one says nothing without the folder that it was bound in.
            if len(words) == 8 and words[7].startswith("/") and os.path.realpath(words[7]) in self.by_name:
                yield f"socket:[{words[6]}]", self.by_name[os.path.realpath(words[7])]

    def _through_locks(self, listing: bytes) -> None:
        """Adds who holds a lock without being visible otherwise.

        /proc/locks names the process that *took* a lock. That one may have ended while a process that inherited the
        descriptor holds on; it is named only where nobody better was found.
        """
        for pid, device, inode in lock_entries(listing.decode("ascii", "replace")):
            path = self._locked_path(device, inode)
            known = any(how == "lock" for (_, held), how in self.found.items() if held == path)
            if path and pid not in self.seen and (pid in self.unseen or not known):
                self.note(pid, path, "lock")

    def _locked_path(self, device: Identity, inode: int) -> str:
        for (found, number), path in self.by_identity.items():
            # btrfs and overlayfs show `stat` a device number of their own (major 0): there the inode has to do.
            anonymous = os.major(found) == 0 or device[0] == 0
            if number == inode and (anonymous or device == (os.major(found), os.minor(found))):
                return path
        return ""

    def through_psutil(self) -> None:
        """The same by psutil: it knows names, so other names of a file are resolved, and no locks."""
        import psutil  # see `_figures_by_psutil`

        for process in psutil.process_iter():
            try:
                opened = [entry.path for entry in process.open_files()]
                bound = [str(entry.laddr) for entry in _connections(process)]
            except psutil.AccessDenied:
                self.unseen.add(process.pid)
                continue
            except psutil.NoSuchProcess:
                continue
            for name in opened:
                path = self.by_identity.get(_identity(name) or (0, 0), "")
                if path:
                    self.note(process.pid, path, "open")
            for name in bound:
                if os.path.realpath(name) in self.by_name:
                    self.note(process.pid, self.by_name[os.path.realpath(name)], "socket")


def lock_entries(listing: str) -> Iterator[tuple[int, Identity, int]]:
    """The (pid, (major, minor), inode) of each lock that /proc/locks lists as held, not of those that wait."""
    for line in listing.split("\n"):
        fields = line.split()
        if len(fields) != 8 or fields[1] == "->":
            continue
        major, minor, inode = fields[5].split(":")
        # A lock of an open file description has pid -1, one taken in another pid namespace 0: nobody to name.
        if int(fields[4]) > 0:
            yield int(fields[4]), (int(major, 16), int(minor, 16)), int(inode)


def _locks(pid: int, descriptor: str) -> bool:
    """True when a lock hangs on this very descriptor, inherited ones included (Linux 4.1)."""
    return b"\nlock:" in _read(f"/proc/{pid}/fdinfo/{descriptor}")


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    # A socket's file is matched by its name: nobody ever has it open.
    return None if stat.S_ISSOCK(found.st_mode) else (found.st_dev, found.st_ino)


# --- where there is no /proc


def _created(pid: int) -> float | None:
    import psutil  # see `_figures_by_psutil`

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.Error, ValueError):
        return None


def _identify_by_psutil(pid: int) -> Process:
    import psutil  # see `_figures_by_psutil`

    try:
        known = psutil.Process(pid).as_dict(["username", "cmdline", "name", "create_time"])
    except (psutil.Error, ValueError):
        known = {}
    created = known.get("create_time")
    return {
        "pid": pid,
        "user": known.get("username") or "",
        "command": _cut(" ".join(known.get("cmdline") or ()) or known.get("name") or ""),
        "started_at": None if created is None else _moment(created),
    }


def _connections(process: psutil.Process) -> Sequence[psutil._ntuples.pconn]:  # pragma: no cover
    # psutil 6 renamed it.
    listed = getattr(process, "net_connections", None) or process.connections
    return list(listed(kind="unix"))
