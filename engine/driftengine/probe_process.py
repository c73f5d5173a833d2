"""Runs probe.py in the interpreter of a service, and brings back its answer or the reason why there is none.

The models may print without end, hang, crash, or leave children behind. So the answer comes through a pipe of its own,
all chatter is drained and only its tail kept, and the whole process group is killed on every way out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from driftengine.errors import ModelsError
from driftengine.footprint import find_interpreter
from driftengine.wellformed import ANSWER, parsed, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import IO

    Start = Callable[[str, Mapping[str, Any]], AbstractContextManager[tuple["Process", int]]]

PROBE = Path(__file__).with_name("probe.py")
PARTS = (PROBE.with_name("probe_files.py"), PROBE)  # run in this order, in one namespace
TEMPLATE_PARTS = (PARTS[0], PROBE.with_name("probe_template.py"), PROBE)  # the same for a template
HELLO = b"driftd-probe 1\n"  # as in probe.py, whose imports nobody else needs
# `-c` puts "" on sys.path, a script its own folder: either would let a file there shadow what the probe imports. Kept
# to words that every Python knows, so that an old one says why it is refused.
BOOT = """\
import sys
if sys.path and sys.path[0] == "":
    del sys.path[0]
if sys.version_info < (3, 8):
    sys.exit("the probe needs Python 3.8 or newer, this is " + sys.version.split()[0])
for __file__ in sys.argv[1:-1]:
    with open(__file__, "rb") as part:
        code = compile(part.read(), __file__, "exec")
    exec(code)
"""
TICK = 0.1  # seconds between two looks at whether the process still lives: a forked child may hold its pipes open
GRACE = 1.0  # seconds for a hanging probe to say where it hangs
CHUNK = 1 << 20  # more than any pipe holds
PIPE_BUF = 512  # a pipe that is ready takes this much without blocking (POSIX)
LARGEST = 256 << 20  # bytes of an answer; that of a thousand tables has one million
TAIL = 8192  # bytes of chatter that are kept
SHOWN_LINES = 5
FRAME = re.compile(r'^  File "(?P<file>[^"<]+)", line (?P<line>\d+)', re.MULTILINE)
LIBRARY = re.compile(r"/(site|dist)-packages/|/lib(64)?/python3")


@dataclass(slots=True)
class _Conversation:
    """What is still to be said, what has come back so far, and how it ended.

    The three that carry bytes return False when their pipe has nothing more to give or to take.
    """

    request: bytes
    answer: bytearray = field(default_factory=bytearray)
    chatter: bytes = b""
    timed_out: bool = False
    status: int | None = None

    @property
    def started(self) -> bool:
        """The probe itself ran: what failed before is the interpreter's fault."""
        return self.answer.startswith(HELLO)

    @property
    def complete(self) -> bool:
        """Both lines are there. JSON has no raw newline inside."""
        if len(self.answer) > LARGEST:  # there is no end to it
            return True
        return self.started and len(self.answer) > len(HELLO) and self.answer.endswith(b"\n")

    def send(self, pipe: int) -> bool:
        """Write what the pipe takes; its end is told by the newline."""
        try:
            self.request = self.request[os.write(pipe, self.request[:PIPE_BUF]) :]
        except BrokenPipeError:  # it ended before it read; its status says the rest
            return False
        return bool(self.request)

    def hear_chatter(self, pipe: int) -> bool:
        """Drain what the models print, and keep the tail."""
        piece = os.read(pipe, CHUNK)
        self.chatter = (self.chatter + piece)[-TAIL:]
        return bool(piece)

    def hear_answer(self, pipe: int) -> bool:
        """Collect the answer."""
        piece = os.read(pipe, CHUNK)
        self.answer += piece
        return bool(piece)


class Process(Protocol):
    """What a conversation needs of the probe's process. `Popen` has it all."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """Where the request goes."""

    @property
    def stdout(self) -> IO[bytes] | None:
        """What the models print."""

    def poll(self) -> int | None:
        """As `Popen.poll`."""

    def send_signal(self, sig: int, /) -> None:
        """To the process alone."""


class UnfitError(Exception):
    """A template, or a child of it, cannot give what a process of the probe's own would give; why.

    `kind` is "unused" where the models load without what was imported ahead, "broken" where they fail before it, else "".
    """

    def __init__(self, why: str, kind: str = "") -> None:
        super().__init__(why)
        self.kind = kind


def ask(
    python: str,
    request: Mapping[str, Any],
    *,
    cancelled: Callable[[], bool] | None = None,
    start: Start | None = None,
) -> dict[str, Any]:
    """Run the probe and return its answer with status "ok".

    Args:
        python: a path, or a name on PATH.
        request: as the docstring of `driftengine.probe` says; `directory` is where the process runs.
        cancelled: asked each `TICK`; when it says True, the probe is killed.
        start: gives the process and the pipe of its answer; one of its own where none is given.

    Raises:
        ModelsError: the probe reported a failure, ended without an answer, or was cancelled.
        UnfitError: with `start` alone.
    """
    specs = ", ".join(request["specs"])
    executable = find_interpreter(python)
    if executable is None:
        why = "it is not executable" if Path(python).exists() else "there is no such file"
        raise _interpreter_error(python, why)
    _require_directory(request)
    with (start or _probe_process)(executable, request) as (process, answer_pipe):
        message = json.dumps(request).encode() + b"\n"
        talk = _converse(process, answer_pipe, message, request["timeout"], cancelled or _never)
    if not talk.complete:
        raise _no_answer(talk, specs, executable, request["timeout"])
    document = _document(talk.answer, specs)
    if document["status"] == "unfit":
        raise UnfitError(document["why"], document["kind"])
    if document["status"] != "ok":
        error = ModelsError(document["what"], code=document["code"], why=document["why"], fix=document["fix"])
        error.sources, error.reads = tuple(document["sources"]), document["reads"]
        raise error
    return document


def _document(answer: bytearray, specs: str) -> dict[str, Any]:
    """The answer's document. Models run in the process that writes it, and may have written another one."""
    try:
        if len(answer) > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 20} MiB")  # noqa: TRY301 - it is told like any other shape
        document: dict[str, Any] = parsed(bytes(answer[len(HELLO) :]))
        require(document, ANSWER)
    except ValueError as error:
        raise ModelsError(
            f"the models {specs} gave no answer that can be read",
            code="models-answer",
            why=f"they run where the answer is written, and have disturbed it: {error}",
            fix="look for what writes to file descriptors that it did not open, or closes them",
        ) from error
    return document


def _never() -> bool:
    return False


def _interpreter_error(python: str, why: str) -> ModelsError:
    return ModelsError(
        f"the interpreter {python} cannot be run",
        code="models-interpreter",
        why=why,
        fix="set `python` (--python) to the Python 3.8 or newer that runs the service",
    )


def _require_directory(request: Mapping[str, Any]) -> None:
    if not Path(request["directory"]).is_dir():
        raise ModelsError(
            f"the working directory {request['directory']} cannot be used",
            code="models-file-missing",
            why="there is no such folder",
            fix="correct the directory of the target",
        )


@contextlib.contextmanager
def _probe_process(
    executable: str, request: Mapping[str, Any]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The probe's process and the pipe of its answer; on leaving, the whole process group is gone and pipes closed."""
    ours, theirs = os.pipe()
    try:
        process = launched(executable, PARTS, theirs, request["directory"])
    except OSError as error:
        os.close(ours)
        raise _interpreter_error(executable, str(error.strerror)) from error
    finally:
        os.close(theirs)
    try:
        yield process, ours
    finally:
        os.close(ours)
        end(process)


def launched(
    executable: str, parts: tuple[Path, ...], descriptor: int, directory: str
) -> subprocess.Popen[bytes]:
    """The interpreter with these parts in a session of its own; it inherits the descriptor alone. Raises OSError."""
    return subprocess.Popen(  # noqa: S603  # the interpreter that the user configured, and our own files
        [executable, "-B", "-c", BOOT, *map(str, parts), str(descriptor)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
        pass_fds=(descriptor,),
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process with all that it started in its session, reap it, and close its pipes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def given_up() -> ModelsError:
    """Whoever asked has cancelled."""
    return ModelsError(
        "loading the models was given up",
        code="models-cancelled",
        why="whoever asked for it wants it no longer",
        fix="ask again",
    )


def _converse(
    process: Process,
    answer_pipe: int,
    request: bytes,
    timeout: float,
    cancelled: Callable[[], bool],
) -> _Conversation:
    """Send the request and read both pipes until the answer is complete, the process has ended, or time is over.

    Raises ModelsError (`models-cancelled`) once `cancelled` says so.
    """
    talk = _Conversation(request)
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for pipe, event, carry in (
            (process.stdin, selectors.EVENT_WRITE, talk.send),
            (process.stdout, selectors.EVENT_READ, talk.hear_chatter),
            (answer_pipe, selectors.EVENT_READ, talk.hear_answer),
        ):
            selector.register(pipe, event, carry)  # type: ignore[arg-type]  # Popen's pipes are set: all are PIPE
        while not talk.complete and talk.status is None:
            if cancelled():
                raise given_up()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                if talk.timed_out:
                    break
                # faulthandler answers SIGABRT with the place where the import hangs.
                process.send_signal(signal.SIGABRT)
                talk.timed_out, remaining = True, GRACE
                deadline = time.monotonic() + GRACE
            # Asked before the pipes are read: what an ended process wrote is then in them, and one read takes it all.
            talk.status = process.poll()
            for key, _ in selector.select(0 if talk.status is not None else min(remaining, TICK)):
                if not key.data(key.fd):
                    selector.unregister(key.fileobj)
    return talk


def _no_answer(talk: _Conversation, specs: str, executable: str, timeout: float) -> ModelsError:
    """Why a conversation ended without an answer."""
    text = talk.chatter.decode(errors="replace")
    said = " | ".join(line for line in text.splitlines()[-SHOWN_LINES:] if line.strip())
    place = _place(text)
    what = f"the models {specs} cannot be loaded"
    if talk.timed_out:
        return ModelsError(
            f"the models {specs} were not loaded within {timeout:g} s",
            code="models-timeout",
            why=f"the import was still running{place}",
            fix="keep what waits or serves out of the import, or raise probe_timeout",
        )
    status = talk.status or 0
    if not talk.started:
        return _interpreter_error(executable, f"it ended with {_status(status)} before the probe ran: {said}")
    if status < 0:
        why = f"the import ended with {_status(status)}{place}"
        return ModelsError(what, code="models-crashed", why=why, fix=f"run that import in {executable}")
    why = f"the import ended the process with {_status(status)}{said and ': ' + said}"
    fix = "keep what ends the program behind `if __name__ == '__main__'`"
    return ModelsError(what, code="models-exited", why=why, fix=fix)


def _status(status: int) -> str:
    """How a process ended, for people."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"  # real-time signals have no names


def _place(chatter: str) -> str:
    """` at file:line`, from faulthandler's report: the innermost frame, if there is one that is no library's."""
    report = chatter.rpartition("(most recent call first):")[2]
    frames = [match for match in FRAME.finditer(report) if match["file"] not in map(str, TEMPLATE_PARTS)]
    best = [match for match in frames if not LIBRARY.search(match["file"])] or frames
    return f" at {best[0]['file']}:{best[0]['line']}" if best else ""
