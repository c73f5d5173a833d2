"""The socket's place in the file system: its folder, its lock, what may lie there already, its permissions.

The rules: `PATH.lock` is locked before anything is removed, and never deleted; only a socket that nobody answers is removed;
a symlink or any other file is left alone; and the socket has its final permissions before the first client can connect.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import json
import logging
import os
import socket
import stat
from typing import TYPE_CHECKING

from driftd.peers import peer_of
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The shorter of the two: macOS has 104 bytes with the final NUL, Linux 108 (unix(7)).
LONGEST_PATH = 103
_BACKLOG = 512
_OTHER_PLACE = "set DRIFTD_SOCKET, or `socket` under [daemon], to a path in a folder of your own"

log = logging.getLogger("driftd.socket")


class SocketFile:
    """A listening socket at its path, and the lock that makes it ours; `take_socket` makes one.

    Args:
        path: absolute.
        listening: the bound, listening socket.
        lock: the descriptor of the locked lock file.
        group: the gid that may write, or None.
    """

    def __init__(self, path: Path, listening: socket.socket, lock: int, group: int | None) -> None:
        self.path = path
        self.listening = listening
        self.group = group
        self._lock = lock
        self._identity = _identity(path)

    def release(self) -> None:
        """Stop listening, remove the socket if it is still ours, and unlock. May be called again."""
        if self._lock < 0:
            return
        self.listening.close()
        # The lock goes last: until then no other daemon binds here, so what has our inode is ours.
        with contextlib.suppress(OSError):
            if _identity(self.path) == self._identity:
                self.path.unlink()
        os.close(self._lock)
        self._lock = -1


def take_socket(path: Path, *, group: str = "", readable: bool = False) -> SocketFile:
    """Listen at the path: mode 0600, 0660 with a group (a name or a gid), 0666 where everybody may read.

    Raises DriftError `socket-path-too-long`, `socket-taken` (another daemon holds the lock, or somebody answers there) or
    `socket-unusable`.
    """
    path = path.absolute()
    _check_length(path)
    gid = _gid(group)
    with _unusable(path):
        _make_folder(path.parent, gid, readable)
        lock = _lock(path)
        try:
            _remove_stale(path)
            return SocketFile(path, _listen(path, gid, readable), lock, gid)
        except BaseException:
            os.close(lock)
            raise


def _check_length(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > LONGEST_PATH:
        raise DriftError(
            f"the socket's path is too long: {path}",
            code="socket-path-too-long",
            why=f"it has {length} bytes, and a Unix socket's path may have {LONGEST_PATH}",
            fix="set DRIFTD_SOCKET, or `socket` under [daemon], to a shorter path",
        )


def _gid(group: str) -> int | None:
    if not group:
        return None
    if group.isascii() and group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise DriftError(
            f"the socket cannot be given to the group {group}",
            code="socket-unusable",
            why="there is no such group on this machine",
            fix="set `group` under [daemon] to a group that exists, or leave it empty",
        ) from None


def _make_folder(folder: Path, gid: int | None, readable: bool) -> None:
    """Make the folder and what is missing above it, as open as the socket needs and no more."""
    if folder.is_dir():
        _warn_if_shut(folder, gid, readable)
        return
    missing = [folder, *(above for above in folder.parents if not above.exists())]
    mode = 0o755 if readable else 0o750 if gid is not None else 0o700
    for one in reversed(missing):
        with contextlib.suppress(FileExistsError):
            one.mkdir(mode=0o700)
            if gid is not None:
                os.chown(one, -1, gid)
            one.chmod(mode)


def _warn_if_shut(folder: Path, gid: int | None, readable: bool) -> None:
    """A folder that was there is not changed; but who is meant to connect and cannot should learn why."""
    found = folder.stat()
    by_all = bool(found.st_mode & stat.S_IXOTH)
    by_group = by_all or (found.st_gid == gid and bool(found.st_mode & stat.S_IXGRP))
    if (readable and not by_all) or (gid is not None and not by_group):
        log.warning(
            "the socket is open to others, but its folder %s (mode %04o) is not: they cannot connect",
            folder,
            stat.S_IMODE(found.st_mode),
        )


def _lock(path: Path) -> int:
    """The descriptor of the locked `PATH.lock`, which then says who holds it."""
    name = f"{path}.lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(name, flags, 0o600)
    try:
        _check_plain(descriptor, name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(path, _holder(descriptor)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode() + b"\n", 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_plain(descriptor: int, name: str) -> None:
    """Writing into a second name of some other file, or into a pipe, would harm what is not ours."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise OSError(errno.EINVAL, "it is not a plain file of its own", name)


def _holder(descriptor: int) -> int | None:
    """The pid in a lock file that another process holds; None while its owner has not written it yet."""
    try:
        pid = json.loads(os.pread(descriptor, 4096, 0))["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if isinstance(pid, int) else None


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody answers; the lock is held. Raises for anything else that lies there."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a socket"
        raise OSError(errno.EEXIST, f"what lies there is {kind}, and is left alone", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Without waiting: whoever has a full queue listens, too.
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            raise _taken(path, None) from None
        raise _taken(path, peer_of(probe).pid)


def _listen(path: Path, gid: int | None, readable: bool) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Bound shut and opened afterwards: the umask belongs to the whole process, and must not loosen what another
        # thread creates meanwhile. Nobody can connect before listen().
        with _umask(0o177):
            listening.bind(str(path))
        try:
            if gid is not None:
                _give(path, gid)
            if gid is not None or readable:
                path.chmod(0o666 if readable else 0o660)
            listening.listen(_BACKLOG)
        except BaseException:
            path.unlink()
            raise
    except BaseException:
        listening.close()
        raise
    listening.settimeout(0)
    return listening


def _give(path: Path, gid: int) -> None:
    try:
        os.chown(path, -1, gid, follow_symlinks=False)
    except PermissionError:
        raise DriftError(
            f"the socket cannot be given to the group {gid}",
            code="socket-unusable",
            why="this user is not a member of that group",
            fix="add the user that runs driftd to the group, or leave `group` under [daemon] empty",
        ) from None


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def _unusable(path: Path) -> Iterator[None]:
    """Operating-system errors, told with the path and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ELOOP:
            reason = "a symbolic link lies there, and is left alone"
        where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        raise DriftError(
            f"cannot listen at {path}",
            code="socket-unusable",
            why=f"{reason}{where}",
            fix=_OTHER_PLACE,
        ) from error


def _taken(path: Path, pid: int | None) -> DriftError:
    return DriftError(
        f"another process serves the socket {path}",
        code="socket-taken",
        why=f"pid {pid} holds it" if pid else "it is held, and its holder has not said who it is",
        fix="driftd status asks that daemon; to run a second one, give it a socket of its own (DRIFTD_SOCKET)",
    )


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
