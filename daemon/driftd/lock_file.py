"""One lock file: opened safely, `flock`ed, and read for what its holder wrote. docs/window-protocol.md is the contract.

The files of a database stand beside it, named after its real path, and are never deleted: two processes would otherwise
lock two files of one name. The kernel frees a lock with its last holder, so none is ever stale. A lock is never
converted: where that fails, the lock that was held is lost (flock(2)).

Services that start import this, so it needs little of the standard library: no pathlib, dataclasses, typing, contextlib.
"""
# ruff: noqa: PTH116, PTH120, SIM105 - pathlib and contextlib.suppress would cost a starting
# service more than all that stands here

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DAEMON, STARTUP, RESULT, INUSE = ".daemon.lock", ".startup.lock", ".startup.result", ".inuse.lock"
LOCKS = (DAEMON, STARTUP, INUSE)
LONGEST_BODY = 4096  # bytes; a write of that size is not seen half done
_DATABASE = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat2.html#magic_header_string
# Of those who may not write it, the lock file may be opened for reading: `flock` needs no more.
READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
# O_NONBLOCK: opening a pipe that somebody put there must not wait for its other end.
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def real_path(database: str) -> str:
    """The path after which the files of that database are named: absolute, without symbolic links."""
    return os.path.realpath(database)


# --- opening and making


def open_lock(path: str, database: str) -> int:
    """The descriptor of that lock file, which is made where it is not there: for who may use the database.

    Opened for reading alone where it may not be written. Raises OSError; ENXIO for what is no plain file.
    """
    return open_or_make(path, owner_of(database))


def open_or_make(path: str, owner: tuple[int, int | None, int | None]) -> int:
    """As `open_lock`, for an owner as of `owner_of`."""
    while True:
        try:
            return open_existing(path)
        except FileNotFoundError:
            pass
        # Exclusively: a link that somebody has just put there is not followed, and the rights are set once, by its maker.
        try:
            return make_file(path, owner)
        except FileExistsError:
            pass


def open_existing(path: str, access: int = os.O_RDWR) -> int:
    """The descriptor of a file that is there; raises OSError as `open_lock`, and where there is none."""
    try:
        descriptor = os.open(path, access | _FLAGS)
    except OSError as error:
        if access == os.O_RDONLY or error.errno not in READ_ONLY:
            raise
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    found = os.fstat(descriptor)
    why = ""
    # With another name it may be any file of this machine, put there to be overwritten by root.
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        why = "it is no plain file, or one with several names"
    # Somebody may have called a database so, or copied one there: a body would be written over its first page.
    elif found.st_size and os.pread(descriptor, len(_DATABASE), 0) == _DATABASE:
        why = "it is a database"
    if why:
        os.close(descriptor)
        raise OSError(errno.ENXIO, why)
    return descriptor


def make_file(path: str, owner: tuple[int, int | None, int | None]) -> int:
    """The descriptor of a new file with this owner (see `owner_of`); raises OSError, FileExistsError too."""
    # Without a name until it is whose it is to be: whoever died in between would leave one that others cannot open.
    try:
        descriptor = os.open(os.path.dirname(path) or ".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, owner[0])
    except (OSError, AttributeError):
        pass  # not every file system and not every system has such files
    else:
        _give_away(descriptor, owner)
        try:
            _give_name(descriptor, path)
        except OSError as error:
            os.close(descriptor)
            if error.errno == errno.EEXIST:
                raise
        else:
            return _by_name(descriptor, path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, owner[0])
    _give_away(descriptor, owner)
    return descriptor


def _by_name(descriptor: int, path: str) -> int:
    """The same file, opened by its name: of the other descriptor /proc tells for ever that its file is deleted."""
    try:
        named = os.open(path, os.O_RDWR | _FLAGS)
    except OSError:
        return descriptor  # one that nobody may write
    os.close(descriptor)
    return named


def _give_away(descriptor: int, owner: tuple[int, int | None, int | None]) -> None:
    """Gives a new file its owner and its mode: the umask has taken bits of that away."""
    mode, user, group = owner
    # Where root may not give a file away (a network file system), the lock holds anyway.
    if user is not None and group is not None:
        try:
            os.fchown(descriptor, user, group)
        except OSError:
            pass
    try:
        os.fchmod(descriptor, mode)
    except OSError:
        pass


def _give_name(descriptor: int, path: str) -> None:
    """Names a file that was opened with O_TMPFILE. Raises OSError."""
    # With a folder's descriptor Python calls linkat, which follows the link of /proc: see open(2), O_TMPFILE.
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        named = os.path.abspath(path)  # noqa: PTH100 - as above
        os.link(f"proc/self/fd/{descriptor}", named, src_dir_fd=root, follow_symlinks=True)
    finally:
        os.close(root)


def owner_of(database: str) -> tuple[int, int | None, int | None]:
    """Whose a new file beside the database is to be: mode, user and group; both are None for whoever makes it.

    Who may use the database may use its lock: as the database, else as its folder without the x bits.
    """
    for path in (database, os.path.dirname(database) or "."):
        try:
            found = os.stat(path)
        except OSError:
            continue
        mode = stat.S_IMODE(found.st_mode) & 0o666
        return (mode, found.st_uid, found.st_gid) if os.geteuid() == 0 else (mode, None, None)
    return 0o600, None, None


# --- locking


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Takes the lock if it can be had at once; raises OSError where the file system does not lock."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def free(descriptor: int) -> None:
    """Frees the lock and keeps the file open."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def unlock(descriptor: int) -> None:
    """Frees the lock and closes the file."""
    try:
        # Before it is closed: a child that inherited the descriptor would keep the lock otherwise.
        free(descriptor)
    finally:
        os.close(descriptor)


def is_held(descriptor: int) -> bool:
    """True while somebody else holds that lock exclusively; nothing is kept. Raises OSError as `try_lock`."""
    # Shared: several may ask at once, and each other's question is no answer.
    if not try_lock(descriptor, shared=True):
        return True
    free(descriptor)
    return False


def still_there(descriptor: int, path: str) -> bool:
    """True while that descriptor is the file of that name: a lock on a file that somebody deleted keeps nobody out."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def holder_of(path: str) -> dict[str, Any] | None:
    """What the holder of that lock wrote, {} where that cannot be read; None when nobody holds it exclusively.

    Never waits and never makes a file. What may not be opened, or is no lock file, counts as free.
    """
    try:
        descriptor = open_existing(path, os.O_RDONLY)
    except (OSError, ValueError):
        return None
    try:
        return read_body(descriptor) if is_held(descriptor) else None
    except OSError:
        return None  # a file system that does not lock
    finally:
        os.close(descriptor)


# --- what is written in it


def read_body(descriptor: int) -> dict[str, Any]:
    """The body; {} when it is not written yet (its newline comes last), torn, or no JSON object."""
    line = os.pread(descriptor, LONGEST_BODY, 0)
    try:
        body = json.loads(line) if line.endswith(b"\n") else {}
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def write_body(descriptor: int, body: dict[str, Any]) -> None:
    """Replaces the body; raises OSError where the file was opened for reading alone, or the disk is full."""
    line = json.dumps(body).encode() + b"\n"
    # In this order: a body that grows by a few bytes can be read all the time.
    os.pwrite(descriptor, line, 0)
    os.ftruncate(descriptor, len(line))


def clear_body(descriptor: int) -> None:
    """Leaves nothing in it, as far as it may be written."""
    try:
        os.ftruncate(descriptor, 0)
    except OSError:
        pass
