from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from driftd.log import Handler, daemon_logger, is_journal, set_up, target_logger
from driftengine.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVIL = "a\n12:00:00 INFO  app: all is well\x1b[2J\u202e\u2028\r<0>"
LOCKED = DatabaseError("app.db cannot be used", code="database-permission", why="not yours", fix="chown it")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Logging belongs to the process: what a test set up is taken away again."""
    loggers = [logging.getLogger(name) for name in ("", "driftd", "driftengine")]
    levels = [logger.level for logger in loggers]
    yield
    for handler in [one for one in logging.getLogger().handlers if isinstance(one, Handler)]:
        logging.getLogger().removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        """Says that it is one."""
        return True


def plain(stream: io.StringIO, **environment: str) -> None:
    set_up("plain", stream, environment=environment)


def lines(stream: io.StringIO) -> list[str]:
    """The lines without their time, which the clock gives."""
    found = stream.getvalue()
    assert found.endswith("\n")
    return [re.sub(r"^\d\d:\d\d:\d\d", "TIME", line) for line in found[:-1].split("\n")]


def documents(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(error: Exception) -> None:
    """Logs the error, which has no frames of its own, as one that was caught."""
    target_logger("app").error("it failed", exc_info=error)


class TestPlain:
    def test_a_line_names_its_target(self) -> None:
        """Time, level, target, message; what concerns the daemon as a whole is driftd's."""
        stream = io.StringIO()
        plain(stream)
        target_logger("app").info("%s: %d operations", "staged", 3)
        daemon_logger().warning("%.1f s late", 1.25)
        assert lines(stream) == ["TIME INFO  app: staged: 3 operations", "TIME WARN  driftd: 1.2 s late"]

    def test_colour_is_for_terminals(self) -> None:
        """Only the level is coloured, only on a terminal, and not against NO_COLOR or a dumb terminal."""
        coloured, refused, dumb, file = Terminal(), Terminal(), Terminal(), io.StringIO()
        for stream, environment in (
            (coloured, {}),
            (refused, {"NO_COLOR": "1"}),
            (dumb, {"TERM": "dumb"}),
            (file, {}),
        ):
            plain(stream, **environment)
            daemon_logger().error("no")
        assert lines(coloured) == ["TIME \x1b[31mERROR\x1b[0m driftd: no"]
        for stream in (refused, dumb, file):
            assert lines(stream) == ["TIME ERROR driftd: no"]

    def test_a_real_terminal_is_one(self) -> None:
        """A line on a pseudo terminal has its colour."""
        reader, writer = pty.openpty()
        with open(writer, "w", encoding="utf-8") as stream, open(reader, "rb", buffering=0) as terminal:  # noqa: PTH123 - descriptors
            set_up("plain", stream, environment={})
            daemon_logger().error("no")
            assert b"\x1b[31mERROR\x1b[0m driftd: no" in terminal.read(200)

    def test_an_error_of_ours_is_told_in_words(self) -> None:
        """What happened, why, its code and what to do; no traceback."""
        stream = io.StringIO()
        plain(stream)
        fail(LOCKED)
        assert lines(stream) == [
            "TIME ERROR app: it failed",
            "               app.db cannot be used: not yours [database-permission]",
            "               chown it",
        ]

    def test_a_bug_is_told_with_its_traceback(self) -> None:
        """Whatever else is raised shows where, below its message."""
        stream = io.StringIO()
        plain(stream)

        def find() -> None:
            raise KeyError("gone")

        try:
            find()
        except KeyError:
            target_logger("app").exception("it failed")
        found = lines(stream)
        assert found[1] == "               Traceback (most recent call last):"
        assert any(line.endswith(", in find") for line in found)
        assert found[-1] == "               KeyError: 'gone'"

    def test_the_level_is_driftd_s_and_others_are_heard_from_warning_on(self) -> None:
        """`level` opens up our own lines; another package's chatter stays out, its warnings do not."""
        stream = io.StringIO()
        set_up("plain", stream, environment={}, level="debug")
        daemon_logger().debug("ours")
        logging.getLogger("asyncio").info("chatter")
        logging.getLogger("asyncio").warning("slow")
        set_up("plain", stream, environment={}, level="error")
        daemon_logger().warning("ours")
        logging.getLogger("asyncio").warning("slow")
        assert lines(stream) == ["TIME DEBUG driftd: ours", "TIME WARN  asyncio: slow"]

    def test_set_up_twice_tells_once(self) -> None:
        """A second set-up replaces the first."""
        before, after = io.StringIO(), io.StringIO()
        plain(before)
        plain(after)
        daemon_logger().info("one")
        assert (before.getvalue(), len(lines(after))) == ("", 1)


class TestForgery:
    @pytest.mark.parametrize("kind", ["plain", "journal", "json"])
    def test_no_name_makes_a_line_of_its_own(self, kind: Any) -> None:
        """Line breaks, escape sequences and marks of direction in a name, a target or an error are shown, not obeyed."""
        stream = io.StringIO()
        set_up(kind, stream, environment={})
        target_logger(EVIL).info("table %s, %r", EVIL, EVIL, extra={"event": EVIL})
        target_logger("app").info("%(table)s", {"table": EVIL})
        assert len(stream.getvalue().splitlines()) == 2
        assert not set(stream.getvalue()) & {"\x1b", "\r", "\u202e", "\u2028"}

    @pytest.mark.parametrize("kind", ["plain", "journal"])
    def test_no_error_forges_the_begin_of_a_line(self, kind: Any) -> None:
        """An exception's text may have several lines; each of them shows that it belongs to the message above."""
        stream = io.StringIO()
        set_up(kind, stream, environment={})
        fail(ValueError(EVIL))
        fail(DatabaseError(EVIL, code="database-corrupt", why=EVIL, fix=EVIL))
        begin = r"<3>app: " if kind == "journal" else r"(TIME ERROR app: | {15})"
        assert [line for line in lines(stream) if not re.match(begin, line)] == []
        assert "\x1b" not in stream.getvalue()

    def test_text_that_the_stream_cannot_encode_is_spelled_out(self, tmp_path: Path) -> None:
        """An ASCII stream, or half of a character, is no reason to lose the line."""
        path = tmp_path / "log"
        with path.open("w", encoding="ascii") as stream:
            handler = set_up("plain", stream, environment={})
            # Straight to the handler: pytest would keep the line, and cannot send it from one process to another.
            handler.handle(logging.LogRecord("driftd", logging.INFO, "", 0, "Zürich → %s", ("\ud800",), None))
        assert path.read_bytes().endswith(rb"driftd: Z\xfcrich \u2192 \ud800" + b"\n")


class TestJournal:
    def test_a_line_has_its_priority(self) -> None:
        """The priorities of sd-daemon; no time, for the journal has it."""
        stream = io.StringIO()
        set_up("journal", stream, environment={}, level="debug")
        log = target_logger("app")
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL, 25):
            log.log(level, "m")
        assert stream.getvalue().split("\n")[:-1] == [f"<{number}>app: m" for number in (7, 6, 4, 3, 2, 5)]

    def test_each_line_of_a_message_has_it(self) -> None:
        """The journal makes an entry of each line, and one without a priority would not be told apart."""
        stream = io.StringIO()
        set_up("journal", stream, environment={})
        target_logger("app").info("one\ntwo")
        assert stream.getvalue() == "<6>app: one\n<6>app: two\n"

    def test_auto_knows_the_journal_by_its_stream(self, tmp_path: Path) -> None:
        """JOURNAL_STREAM names device and inode: with another stream, or without it, the lines are plain."""
        with (tmp_path / "journal").open("w+") as journal, (tmp_path / "file").open("w+") as file:
            found = os.fstat(journal.fileno())
            environment = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
            for stream in (journal, file):
                set_up("auto", stream, environment=environment)
                daemon_logger().info("up")
                stream.seek(0)
            assert journal.read() == "<6>driftd: up\n"
            assert file.read().endswith(" INFO  driftd: up\n")
            assert not is_journal(journal, {})
        assert not is_journal(io.StringIO(), environment)


class TestJson:
    def test_a_line_is_one_object(self) -> None:
        """Every line has the same five members; what the caller adds comes along and replaces none of them."""
        stream = io.StringIO()
        set_up("json", stream, environment={})
        target_logger("app").info(
            "in %s", "sync", extra={"event": "look", "count": 3, "level": "?", "path": object}
        )
        daemon_logger().warning("late")
        logging.getLogger("asyncio").warning("slow")
        one, two, three = documents(stream)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one.pop("at"))
        assert one == {
            "level": "info",
            "target": "app",
            "event": "look",
            "message": "in sync",
            "count": 3,
            "path": "<class 'object'>",
        }
        assert (two["target"], two["event"], two["level"]) == (None, None, "warning")
        assert three["logger"] == "asyncio"

    def test_an_error_comes_with_its_code(self) -> None:
        """A DriftError is its document; anything else is `internal`, with the traceback."""
        stream = io.StringIO()
        set_up("json", stream, environment={})
        fail(LOCKED)
        fail(KeyError("gone"))
        ours, bug = (document["error"] for document in documents(stream))
        assert ours == LOCKED.as_document()
        assert (bug["code"], bug["what"]) == ("internal", "KeyError: 'gone'")
        assert bug["traceback"] == "KeyError: 'gone'\n"


class TestAStreamThatBreaks:
    def test_a_reader_that_went_away_stops_nothing(self) -> None:
        """Nobody reads the pipe any more: the process goes on, and ends with its own exit code."""
        code = """
import sys
from driftd.log import daemon_logger, set_up
handler = set_up("plain", sys.stderr, environment={})
sys.stdin.read()
for _ in range(3):
    daemon_logger().info("x" * 10000)
print(handler.lost)
"""
        command = [sys.executable, "-c", code]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            assert process.stderr is not None
            assert process.stdin is not None
            assert process.stdout is not None
            process.stderr.close()
            process.stdin.close()
            assert process.stdout.read() == "3\n"
            assert process.wait() == 0

    def test_a_full_disk_loses_lines_and_says_so_later(self, tmp_path: Path) -> None:
        """When there is space again, the next line is preceded by the number of those that were lost."""
        with open("/dev/full", "w", encoding="utf-8") as full, (tmp_path / "log").open("w") as log:  # noqa: PTH123 - a device
            handler = set_up("journal", full, environment={})
            daemon_logger().info("lost")
            daemon_logger().info("lost too")
            assert handler.lost == 2
            handler.stream = log
            daemon_logger().info("there")
            daemon_logger().info("there again")
        assert (tmp_path / "log").read_text() == (
            "<4>driftd: 2 log records before this one could not be written\n"
            "<6>driftd: there\n<6>driftd: there again\n"
        )

    def test_a_line_that_was_cut_off_swallows_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that is full in the middle of a line leaves half of it; the next one begins on its own."""
        write = os.write

        def half(descriptor: int, data: bytes) -> int:
            monkeypatch.setattr(os, "write", full)
            return write(descriptor, data[:12])

        def full(descriptor: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        with (tmp_path / "log").open("w") as stream:
            set_up("journal", stream, environment={})
            monkeypatch.setattr(os, "write", half)
            daemon_logger().info("one that is cut off")
            monkeypatch.setattr(os, "write", write)
            daemon_logger().info("there")
        assert (tmp_path / "log").read_text().split("\n") == [
            "<6>driftd: o",
            "<4>driftd: 1 log records before this one could not be written",
            "<6>driftd: there",
            "",
        ]

    def test_a_reader_that_takes_nothing_stops_nothing(self) -> None:
        """A terminal that was stopped: lines are lost and counted; once it is read again, the next line tells of them."""
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "w") as stream:
            handler = set_up("plain", stream, environment={})
            for _ in range(100):
                daemon_logger().info("x" * 4000)  # a pipe holds 64 kB
            lost = handler.lost
            assert 80 <= lost < 100
            assert reader.read(1 << 20)
            daemon_logger().info("again")
            told = reader.read(1 << 20).decode()
        assert f"{lost} log records before this one could not be written" in told
        assert told.endswith("again\n")
        assert handler.lost == 0

    def test_a_closed_stream_is_one(self, tmp_path: Path) -> None:
        """A stream that was closed behind its back loses lines like any other that broke."""
        stream = (tmp_path / "log").open("w")
        handler = set_up("plain", stream, environment={})
        stream.close()
        daemon_logger().info("lost")
        assert handler.lost == 1

    def test_a_wrong_log_call_is_told_and_nothing_more(self) -> None:
        """A message that does not fit its arguments is a bug in a line of ours, not an end of the daemon."""
        stream = io.StringIO()
        handler = set_up("plain", stream, environment={})
        # Straight to the handler: pytest's own, beside it, makes such a call an error of the test.
        handler.handle(logging.LogRecord("driftd", logging.INFO, "", 0, "%d operations", ("three",), None))
        (line,) = lines(stream)
        assert line.startswith(
            "TIME ERROR driftd: '%d operations' could not be written as a log line: TypeError"
        )


def test_importing_it_loads_no_command_line() -> None:
    """The daemon's log needs neither click nor rich, which the command line's package has beside it."""
    code = "import sys, driftd.log, driftd.locks, driftd.processes; print([n for n in ('click', 'rich', 'psutil', 'sqlalchemy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
