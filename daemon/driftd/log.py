"""What the daemon tells of its work, a line for each event: for a terminal, for the systemd journal, or as JSON.

What comes from a database, a path or a model is escaped, so that no name can forge a line. A stream that breaks, or
that nobody reads, loses lines and never stops the daemon.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO

from driftd.cli.text import escape
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

Kind = Literal["auto", "plain", "journal", "json"]

NAMES = ("driftd", "driftengine")  # our own loggers; all others are heard from WARNING on
# sd-daemon(3): https://www.freedesktop.org/software/systemd/man/sd-daemon.html
PATIENCE = 100  # ms that the first line waits for a reader that takes nothing; those behind it do not wait
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_SHORT = {logging.WARNING: "WARN", logging.CRITICAL: "CRIT"}  # so that messages stand below each other
_COLOURS = {logging.DEBUG: 2, logging.WARNING: 33, logging.ERROR: 31, logging.CRITICAL: 31}
_OWN = {*logging.LogRecord("", 0, "", 0, "", (), None).__dict__, "message", "asctime", "target"}


def set_up(
    kind: Kind, stream: TextIO, *, environment: Mapping[str, str], level: int | str = logging.INFO
) -> Handler:
    """Sends every log line of this process to the stream; called again, it replaces what it had set up.

    `auto` is `journal` where the stream is the journal's, else `plain`. `level` is that of driftd's own lines; those of
    other packages come from WARNING on. Answers with the handler.
    """
    if kind == "auto":
        kind = "journal" if is_journal(stream, environment) else "plain"
    handler = Handler(stream, _formatter(kind, stream, environment))
    root = logging.getLogger()
    for before in [one for one in root.handlers if isinstance(one, Handler)]:
        root.removeHandler(before)
    root.addHandler(handler)
    for name in NAMES:
        logging.getLogger(name).setLevel(level.upper() if isinstance(level, str) else level)
    root.setLevel(max(logging.WARNING, logging.getLogger(NAMES[0]).level))
    return handler


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """True when the stream is the journal's own: JOURNAL_STREAM holds its device and inode.

    A service's children inherit the variable also where their output goes elsewhere, so its presence proves nothing
    (https://www.freedesktop.org/software/systemd/man/systemd.exec.html).
    """
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines name a target; `extra={"event": ...}` and more goes into the JSON."""

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """Keeps both extras: the standard one drops the caller's (until Python 3.13)."""
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **(self.extra or {})}}


def target_logger(name: str) -> Log:
    """For what concerns the target of that name."""
    return Log(logging.getLogger("driftd"), {"target": name})


def daemon_logger() -> Log:
    """For what concerns the daemon as a whole."""
    return Log(logging.getLogger("driftd"), {})


class Handler(logging.Handler):
    """Writes records to a stream, with one system call up to PIPE_BUF bytes: lines of several processes do not mix.

    `lost` counts the records that could not be written since the last one that could.
    """

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        super().__init__()
        self.stream = stream
        self.lost = 0
        self._torn = False
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record, and first how many were lost before it."""
        text = self._text(record)
        try:
            if self.lost:
                self._write(self._text(_about_lost(self.lost)))
            self.lost = 0
            self._write(text)
        except (OSError, ValueError):
            # A reader that went away, a full disk, a closed stream: nobody is left to be told.
            self.lost += 1

    def _text(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # noqa: BLE001 - a wrong log call is a bug, and a poor reason for the daemon to end
            told = f"{record.msg!r} could not be written as a log line: {type(error).__name__}: {error}"
            record = logging.LogRecord(record.name, logging.ERROR, record.pathname, 0, "%s", (told,), None)
            return self.format(record)

    def _write(self, text: str) -> None:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        # After a line that a full disk has cut off, the next one begins on its own.
        data = ("\n" * self._torn + text + "\n").encode(encoding, "backslashreplace")
        descriptor = None
        # A test's stream is no file; and a stream's own buffer would keep what it could not write, and stop at exit.
        with suppress(OSError):
            descriptor = self.stream.fileno()
        if descriptor is None:
            self.stream.write(data.decode(encoding))
            return
        while data:
            self._require_room(descriptor)
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]
            self._torn = bool(data)

    def _require_room(self, descriptor: int) -> None:
        """Raises BlockingIOError when the reader takes nothing: a stopped terminal must not stop the daemon.

        Writable means that PIPE_BUF bytes go without blocking (poll(2), pipe(7)). O_NONBLOCK would be set for everybody who
        shares the stream.
        """
        asked = select.poll()
        asked.register(descriptor, select.POLLOUT)
        if not asked.poll(0 if self.lost else PATIENCE):
            raise BlockingIOError(errno.EAGAIN, "nobody reads the log")


def _about_lost(count: int) -> logging.LogRecord:
    told = "%d log records before this one could not be written"
    return logging.LogRecord("driftd", logging.WARNING, "", 0, told, (count,), None)


# --- one record as text


def _formatter(kind: Kind, stream: TextIO, environment: Mapping[str, str]) -> logging.Formatter:
    if kind == "json":
        return JsonFormatter()
    if kind == "journal":
        return JournalFormatter()
    # https://no-color.org: any value but the empty one.
    wanted = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    return PlainFormatter(colour=wanted and stream.isatty())


class PlainFormatter(logging.Formatter):
    """`12:34:56 INFO  app: message`, local time; further lines are indented below the message."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The lines of one record."""
        level = f"{_SHORT.get(record.levelno, record.levelname):<5}"
        if self.colour and record.levelno in _COLOURS:
            level = f"\x1b[{_COLOURS[record.levelno]}m{level}\x1b[0m"
        first, *more = [*_message(record), *_error_lines(record)]
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return "\n".join(
            [f"{clock} {level} {_origin(record)}: {first}", *(f"{'':<15}{line}" for line in more)]
        )


class JournalFormatter(logging.Formatter):
    """`<6>app: message`: the journal knows the time, and takes the priority off each line."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of one record, each with its priority: the journal makes an entry of each."""
        prefix = f"<{_PRIORITIES.get(record.levelno, 5)}>{_origin(record)}: "
        return "\n".join(prefix + line for line in [*_message(record), *_error_lines(record)])


class JsonFormatter(logging.Formatter):
    """One object a line: `{"at", "level", "target", "event", "message", ...extra, "error"?}`.

    `at` is UTC, ISO 8601; `target` and `event` are null where there is none; lines of other packages have `logger`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record, in ASCII; nothing in it is escaped but as JSON does."""
        seconds, milliseconds = divmod(int(record.created * 1000), 1000)
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        extra = {name: value for name, value in record.__dict__.items() if name not in _OWN}
        document = {
            "at": f"{clock}.{milliseconds:03d}Z",
            "level": record.levelname.lower(),
            "target": getattr(record, "target", None),
            "event": extra.pop("event", None),
            "message": record.getMessage(),
        }
        if not _is_ours(record):
            document["logger"] = record.name
        error = _error_document(record)
        if error is not None:
            document["error"] = error
        # First what the caller gave: it may not replace what every line has.
        return json.dumps({**document, **extra, **document}, default=str)


def _origin(record: logging.LogRecord) -> str:
    name = "driftd" if _is_ours(record) else record.name
    return escape(getattr(record, "target", None) or name)


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.split(".")[0] in NAMES


def _message(record: logging.LogRecord) -> list[str]:
    """The message's lines. What was put into it stays on its line; only the text in the code may break lines."""
    args: Any = record.args
    if isinstance(args, tuple):
        args = tuple(_vouched(value) for value in args)
    elif args:
        args = {name: _vouched(value) for name, value in args.items()}
    text = str(record.msg) % args if args else str(record.msg)
    return [escape(line) for line in text.split("\n")]


def _vouched(value: object) -> object:
    return value if isinstance(value, int | float) else escape(value)


def _error_lines(record: logging.LogRecord) -> list[str]:
    """The exception under the message: a DriftError in words, everything else with its traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return []
    if isinstance(error, DriftError):
        told = [f"{error} [{error.code}]", error.fix]
        return [escape(line) for line in told if line]
    return [escape(line) for line in "".join(traceback.format_exception(error)).rstrip().split("\n")]


def _error_document(record: logging.LogRecord) -> dict[str, str] | None:
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return None
    if isinstance(error, DriftError):
        return error.as_document()
    told = {"code": "internal", "what": f"{type(error).__name__}: {error}", "why": "", "fix": ""}
    return {**told, "traceback": "".join(traceback.format_exception(error))}
