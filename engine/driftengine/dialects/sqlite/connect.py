"""From a URL to a connection: where the database is, how it is opened, and what SQLite's errors mean to a person.

The database file is never `open()`ed here: closing such a descriptor drops every POSIX lock that SQLite holds on the
file in this process (https://www.sqlite.org/howtocorrupt.html, section 2.2). `os.stat` tells what must be known before.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl, quote, unquote

from driftengine.dialects.sqlite import new_file
from driftengine.errors import BusyError, ConfigurationError, DatabaseError, DeadlineError, DriftError

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST = (3, 37, 0)  # STRICT tables, table_list, and CHECK on ADD COLUMN are there since 3.37
DRIVERS = frozenset({"", "pysqlite", "pysqlite_numeric", "aiosqlite"})
BARE_SUFFIXES = (".db", ".db3", ".sqlite", ".sqlite3")
STEPS_BETWEEN_LOOKS = 10_000  # virtual machine steps between two looks at the clock: well under a millisecond

State = Literal["missing", "empty", "present"]
Mode = Literal["ro", "rw", "rwc"]


@dataclass(frozen=True, slots=True)
class Location:
    """Where a database is.

    `url` is as it was given; `path` is real and absolute (symbolic links followed), and it is the name by which locks,
    backups and messages know the database; `read_only` when the URL says so. `named` is the path before links were
    followed, "" where it came by no URL.
    """

    url: str
    path: Path
    read_only: bool = False
    named: str = ""

    def __str__(self) -> str:
        return str(self.path)


def parse_url(url: str, *, directory: Path | None = None) -> Location:
    """The location behind a SQLAlchemy URL, or behind a bare path that ends in `.db`, `.sqlite` or `.sqlite3`.

    Relative paths start at `directory` (the working directory when it is None). `%20` and the like are decoded as
    SQLAlchemy 2.1 does, unless a file with the undecoded name exists (SQLAlchemy 2.0 does not decode). Raises
    ConfigurationError: `database-unsupported`, `database-memory`, `database-url`, `database-is-directory`.
    """
    name, query = _split(url)
    read_only = query.get("mode") == "ro" or _truth(query.get("immutable"))
    if query.get("mode") == "memory" or name in {"", ":memory:"} or name.startswith("file::memory:"):
        raise ConfigurationError(
            f"{url} is a database in memory",
            code="database-memory",
            why="it ends with the process that made it, so there is nothing to keep in step",
            fix="name a file, for example sqlite:///app.db",
        )
    base = Path.cwd() if directory is None else directory
    if name.startswith("file:") and _truth(query.get("uri")):
        name = _path_of_file_uri(name, url)
    elif "%" in name and not _is_there(base / name):
        name = unquote(name, errors="surrogateescape")
    if "\0" in name:
        raise _bad_url(url, "a path cannot hold a NUL character")
    path = Path(os.path.realpath(base / name))
    if name.endswith("/") or _is_directory(path):
        raise ConfigurationError(
            f"{path} is a directory",
            code="database-is-directory",
            why=f"the URL {url} names it as a database",
            fix="name the database file itself",
        )
    return Location(url, path, read_only, str(base / name))


def _split(url: str) -> tuple[str, dict[str, str]]:
    """The database's name and the query of a URL."""
    match = re.fullmatch(r"(?s)(?P<dialect>\w+)(?:\+(?P<driver>\w+))?://(?P<rest>.*)", url)
    if match is None:
        if url == ":memory:" or (":/" not in url and url.lower().endswith(BARE_SUFFIXES)):
            return str(Path(url).expanduser()), {}
        raise _bad_url(url, f"a bare path must end in {', '.join(BARE_SUFFIXES)}")
    if match["dialect"].lower() != "sqlite" or (match["driver"] or "") not in DRIVERS:
        raise ConfigurationError(
            f"driftd cannot work on {match['dialect']}{'+' + match['driver'] if match['driver'] else ''} databases",
            code="database-unsupported",
            why="it knows SQLite, through the drivers pysqlite and aiosqlite",
            fix="give a URL like sqlite:////var/lib/app/app.db",
        )
    rest, _, query = match["rest"].partition("?")
    if rest and not rest.startswith("/"):
        raise _bad_url(url, "a relative path takes three slashes, an absolute one four")
    return rest[1:], dict(parse_qsl(query, keep_blank_values=True))


def _path_of_file_uri(name: str, url: str) -> str:
    """The path in a `file:` URI as SQLite reads it (https://www.sqlite.org/uri.html)."""
    rest = name.removeprefix("file:").partition("#")[0]
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        if authority not in {"", "localhost"}:
            raise _bad_url(url, f"SQLite refuses the authority {authority!r} in a file URI")
        rest = slash + path
    return unquote(rest, errors="surrogateescape")


def _bad_url(url: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{url!r} names no database",
        code="database-url",
        why=why,
        fix="write sqlite:///relative.db or sqlite:////absolute/path.db",
    )


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False  # also where it may not be seen
    return True


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False  # Path.is_dir raises where the folder may not be searched


def _truth(value: str | None) -> bool:
    return (value or "").lower() in {"1", "true", "yes", "on", "y", "t"}


def state_of(location: Location) -> State:
    """Whether the file is missing, empty (0 bytes) or present. Raises DatabaseError where that cannot be seen."""
    try:
        found = location.path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except PermissionError as error:
        raise _not_permitted(location, "its folder may not be searched") from error
    except OSError as error:  # a circle of links, a name that is too long
        raise _not_working(location, error.strerror or str(error), "name the database file itself") from error
    if not stat.S_ISREG(found.st_mode):
        raise DatabaseError(
            f"{location} is no database",
            code="database-not-sqlite",
            why="it is not an ordinary file",
            fix="name the database file itself",
        )
    return "present" if found.st_size else "empty"


def identity(location: Location) -> tuple[int, int]:
    """Device and inode of the file: other numbers at another time mean that it was replaced, which SQLite cannot see."""
    try:
        found = location.path.stat()
    except OSError as error:
        raise _missing(location) from error
    return found.st_dev, found.st_ino


def connect(
    location: Location, *, write: bool, create: bool = False, tidy: bool = False, timeout: float = 5.0
) -> sqlite3.Connection:
    """A connection in autocommit mode that enforces no foreign keys; transactions are begun and ended by hand.

    A reader may not write; `tidy` lets it checkpoint the log when it closes last.
    `timeout` (seconds) is how long a statement waits for another one's lock. The database is read once, so that a file
    that cannot be used is refused here. With `create` (and `write`) a missing file and its folders are made.
    Text that is no UTF-8 arrives with surrogate escapes: reading a schema does not fail on one bad byte, nothing of
    it is lost, and Python refuses to write it back by mistake. Raises DatabaseError or BusyError.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise DatabaseError(
            f"SQLite {sqlite3.sqlite_version} is too old",
            code="sqlite-too-old",
            why=f"driftd needs {'.'.join(map(str, OLDEST))} or newer",
            fix="run driftd with a Python that brings a newer SQLite",
        )
    if write and location.read_only:
        raise DatabaseError(
            f"{location} may only be read",
            code="database-read-only",
            why=f"the URL {location.url} says mode=ro",
            fix="take mode=ro out of the URL, or only check and plan",
        )
    if create and write:
        _make_folder(location)
        if state_of(location) == "missing":
            new_file.make(location.path)
    elif state_of(location) == "missing":
        raise _missing(location)
    _require_plain_beside(location)
    mode: Mode = _reading_mode(location, tidy=tidy) if not write else "rwc" if create else "rw"
    with translated(location):
        connection = sqlite3.connect(
            file_uri(location.path, mode), timeout=timeout, isolation_level=None, uri=True
        )
        try:
            connection.text_factory = _text
            if not write and mode == "rw":
                connection.execute("PRAGMA query_only = ON")
            _prepare(connection, location)
        except BaseException:
            connection.close()
            raise
    return connection


def _require_plain_beside(location: Location) -> None:
    """Raises DatabaseError where a pipe or the like stands beside the database: SQLite would wait for it for ever."""
    for end in ("-journal", "-wal"):
        try:
            plain = stat.S_ISREG(Path(f"{location.path}{end}").stat().st_mode)
        except (FileNotFoundError, PermissionError):
            continue
        except OSError:  # a circle of links
            plain = False
        if not plain:
            why = f"{location.path.name}{end} beside it is not an ordinary file"
            raise _not_working(
                location, why, "remove what stands there: SQLite keeps its log under that name"
            )


def _reading_mode(location: Location, *, tidy: bool) -> Mode:
    """How a reader opens the file, so that it leaves the folder as it was.

    In WAL mode a read-only connection that closes last cannot remove the -wal and -shm files that it made; one that may
    write can. But then it also moves what stood in the log into the database, so a log that is there is left alone
    unless the caller is to tidy up (https://www.sqlite.org/wal.html, "the WAL file").
    """
    path = location.path
    if location.read_only or not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return "ro"
    try:
        log = path.with_name(f"{path.name}-wal").stat().st_size
    except OSError:
        log = 0
    return "ro" if log and not tidy else "rw"


def file_uri(path: Path, mode: Mode) -> str:
    """The `file:` URI of an absolute path: `?`, `#`, `%`, and bytes that are no UTF-8 are percent-encoded.

    The empty authority keeps a path that begins with two slashes from being read as a host.
    """
    return f"file://{quote(os.fsencode(path))}?mode={mode}"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _prepare(connection: sqlite3.Connection, location: Location) -> None:
    # What is committed stays so without power, whatever this SQLite was built with: https://www.sqlite.org/pragma.html#pragma_synchronous.
    # The journal beside the backups tells of it, which may be on another disk.
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA foreign_keys = OFF")
    if connection.execute("PRAGMA foreign_keys").fetchone()[0]:
        raise DatabaseError(
            f"foreign keys cannot be switched off for {location}",
            code="foreign-keys-on",
            why="PRAGMA foreign_keys = OFF had no effect, and a rebuild would delete the rows of child tables",
            fix="run driftd with a Python whose SQLite obeys this pragma",
        )
    # The first read: it rolls back a hot journal, opens the WAL, and finds out whether this is a database at all.
    connection.execute("PRAGMA schema_version").fetchone()


def _make_folder(location: Location) -> None:
    """The folders that are missing, each for whoever may use the one above it, as `new_file` makes the file."""
    folder = location.path.parent
    try:
        for one in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
            try:
                one.mkdir(mode=0o700)
            except FileExistsError:
                if not one.is_dir():
                    raise
                continue  # somebody was faster, and it is theirs
            descriptor = os.open(one, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            new_file.open_to_those_of(descriptor, one.parent.stat(), 0o700)
    except OSError as error:
        raise _not_permitted(location, f"its folder cannot be made ({error.strerror})") from error


@contextmanager
def translated(location: Location) -> Iterator[None]:
    """Turns SQLite's errors about the database into ours; an error about a statement passes unchanged.

    SQLITE_AUTH passes too: it only ever comes from an authorizer that the caller has set.
    """
    try:
        yield
    except sqlite3.Error as error:
        ours = explained(error, location)
        if ours is None:
            raise
        raise ours from error
    except UnicodeDecodeError as error:  # in a message of SQLite's, or in the name of a column
        raise DatabaseError(
            f"names in {location} cannot be read",
            code="database-bad-text",
            why=f"SQLite tells of a name that holds bytes which are no UTF-8: {error.object!r:.200}",
            fix="correct the name in the database first, or restore a backup",
        ) from error
    except UnicodeEncodeError as error:
        raise DatabaseError(
            f"text of {location} cannot be written back",
            code="database-bad-text",
            why="it holds bytes that are no UTF-8",
            fix="correct the text in the database first",
        ) from error


def explained(error: sqlite3.Error, location: Location) -> DriftError | None:
    """What a SQLite error means, or None where it is about the statement and not about the database."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    why = f"{error} ({getattr(error, 'sqlite_errorname', code)})"
    match code & 0xFF:  # the low byte is the primary code, https://www.sqlite.org/rescode.html
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return BusyError(
                f"{location} is in use",
                code="database-busy",
                why=why,
                fix="wait until the other program has finished its transaction, then try again",
            )
        case sqlite3.SQLITE_INTERRUPT:
            return DeadlineError(
                f"the time for {location} was over",
                code="deadline",
                why="the statement was interrupted, and nothing of it stays",
                fix="give more time, or try again when the database is idle",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return _not_usable(code, why, location)
        case sqlite3.SQLITE_NOTADB:
            return DatabaseError(
                f"{location} is no SQLite database",
                code="database-not-sqlite",
                why=why,
                fix="check the path; an encrypted database cannot be read by driftd",
            )
        case sqlite3.SQLITE_CORRUPT:
            return DatabaseError(
                f"{location} is corrupt",
                code="database-corrupt",
                why=why,
                fix="restore a backup: driftd backup list shows them; nothing was written",
            )
        case sqlite3.SQLITE_FULL:
            return DatabaseError(
                f"no space left for {location}",
                code="disk-full",
                why=why,
                fix="free space on that disk, then try again",
            )
        case sqlite3.SQLITE_IOERR:
            return _not_working(location, why, "look into the system's log for errors of that disk")
    return None


def _not_usable(code: int, why: str, location: Location) -> DatabaseError:
    """What a file that cannot be opened or written lacks."""
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return DatabaseError(
            f"{location} was replaced or removed",
            code="database-replaced",
            why=why,
            fix="try again: the file that is there now will be opened",
        )
    state = state_of(location)
    folder = location.path.parent
    if state == "missing" and (not _is_directory(folder) or os.access(folder, os.W_OK)):
        return _missing(location)  # it was there when the connection was opened
    allowed = all(os.access(place, os.R_OK | os.W_OK) for place in (location.path, folder))
    if allowed and code & 0xFF == sqlite3.SQLITE_CANTOPEN:
        return _not_working(
            location, why, "see whether that disk is full, and whether too many files are open"
        )
    if code & 0xFF == sqlite3.SQLITE_READONLY and code != sqlite3.SQLITE_READONLY_DIRECTORY:
        return DatabaseError(
            f"{location} may only be read",
            code="database-read-only",
            why=why,
            fix=f"give this user the right to write {location} and its folder, or run driftd as the owner",
        )
    return _not_permitted(location, why)


def _not_working(location: Location, why: str, fix: str) -> DatabaseError:
    return DatabaseError(f"{location} cannot be read or written", code="database-io", why=why, fix=fix)


def _missing(location: Location) -> DatabaseError:
    return DatabaseError(
        f"{location} does not exist",
        code="database-missing",
        why="there is no file of that name",
        fix="check the path; driftd apply creates a new database",
    )


def _not_permitted(location: Location, why: str) -> DatabaseError:
    return DatabaseError(
        f"{location} may not be used by this user",
        code="database-permission",
        why=why,
        fix=(
            f"give this user rights on {location} and on its folder (a database in WAL mode needs -wal and -shm files "
            "beside it, also for reading)"
        ),
    )


@contextmanager
def deadline(connection: sqlite3.Connection, at: float | None) -> Iterator[None]:
    """Interrupts the connection's statements once `time.monotonic()` has reached `at`; None sets no limit.

    Locks are not waited for beyond it either. DROP TABLE, DELETE of all rows and COMMIT cannot be interrupted. One
    deadline at a time: SQLite has one progress handler for a connection. An interrupted INSERT, UPDATE or CREATE INDEX
    has ended the transaction, so look at `in_transaction` before the next statement. Raises DeadlineError when the
    time is over before anything began.
    """
    if at is None:
        yield
        return
    left = at - time.monotonic()
    if left <= 0:
        raise DeadlineError(
            "there was no time left",
            code="deadline",
            why="the deadline had passed before the work began",
            fix="give more time",
        )
    waited = int(connection.execute("PRAGMA busy_timeout").fetchone()[0])
    connection.execute(f"PRAGMA busy_timeout = {min(waited, int(left * 1000))}")
    connection.set_progress_handler(lambda: time.monotonic() >= at, STEPS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
        connection.execute(f"PRAGMA busy_timeout = {waited}")


def require_time(location: Location, deadline_at: float | None) -> None:
    """Raises DeadlineError once `time.monotonic()` has reached `deadline_at`; None sets no limit."""
    if deadline_at is not None and time.monotonic() >= deadline_at:
        raise DeadlineError(
            f"the time for {location} was over",
            code="deadline",
            why="the deadline is reached, and nothing was changed",
            fix="give more time, or try again when the database is idle",
        )


def limited(connection: sqlite3.Connection, deadline_at: float | None) -> sqlite3.Connection:
    """The connection, its statements interrupted for good once `time.monotonic()` has reached `deadline_at`."""
    if deadline_at is not None:
        connection.set_progress_handler(lambda: time.monotonic() >= deadline_at, STEPS_BETWEEN_LOOKS)
    return connection


def data_version(connection: sqlite3.Connection) -> int:
    """SQLite's counter of changes by *other* connections, as this connection sees it.

    Equal values on one connection mean that nobody else has committed in between; another value is only a hint (a
    checkpoint by somebody else changes it too). https://www.sqlite.org/pragma.html#pragma_data_version
    """
    return int(connection.execute("PRAGMA data_version").fetchone()[0])
