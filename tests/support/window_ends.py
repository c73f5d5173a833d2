"""The two ends of a startup window as processes of their own, to be stopped and killed: a starter, and what serves."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from driftd.locks import Locks, write_answer
from support.sockets import socket_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from driftd.startup.starter import Starter

    Document = dict[str, Any]

PATIENCE = 20.0  # seconds until something that must happen counts as not happening

# Opens a window of argv[1] within argv[2] seconds, says `open`, and goes on when it is told to: prints the answer.
STARTER = """
import json, sys
from driftd.startup.starter import Starter
with Starter(sys.argv[1], timeout=float(sys.argv[2])) as starter:
    print("open", flush=True)
    sys.stdin.readline()
    print(json.dumps(starter.answer(lambda _: {"outcome": "up_to_date"})), flush=True)
"""
# Serves argv[1] and never answers: over the socket argv[2], or with "" in files. Says `serving`, then `asked`.
SILENT = """
import socket, sys, time
from pathlib import Path
from driftd.locks import Locks
database, path = Path(sys.argv[1]), sys.argv[2]
locks, server = Locks(), socket.socket(socket.AF_UNIX)
if path:
    server.bind(path)
    server.listen()
locks.serve(database, state_folder=database.parent / "state", socket=path)
print("serving", flush=True)
if path:
    connection, _ = server.accept()
    connection.recv(4096)
while (window := locks.starting(database)) is None or window.via_socket is not bool(path):
    time.sleep(0.005)
print("asked", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that has said its first word; nothing of it stays."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert word(started)
            yield started
        finally:
            started.kill()


def word(started: subprocess.Popen[str]) -> str:
    """The next line that it prints, "" when it has ended."""
    assert started.stdout is not None
    return started.stdout.readline().strip()


def go_on(started: subprocess.Popen[str]) -> Document:
    """Tells a STARTER to go on; its answer."""
    assert started.stdin is not None
    started.stdin.write("\n")
    started.stdin.flush()
    answer: Document = json.loads(word(started))
    return answer


@contextmanager
def answering_in_files(database: Path, *answers: Document, socket: str = "") -> Iterator[list[str]]:
    """A thread serves the database and answers each window with all of these, the last being right; ids as they come.

    An answer's `id` may be given, to be a wrong one.
    """
    locks, stop, ids = Locks(), threading.Event(), list[str]()
    locks.serve(database, state_folder=database.parent / "state", socket=socket)

    def serve() -> None:
        while not stop.is_set():
            window = locks.starting(database)
            if window is not None and not window.via_socket and window.id not in ids:
                ids.append(window.id)
                for answer in answers:
                    write_answer(database, {"id": window.id, **answer})
                    stop.wait(0.02)  # long enough for a starter to read each of them
            stop.wait(0.002)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield ids
    finally:
        stop.set()
        thread.join(PATIENCE)
        locks.release_all()


def eventually(condition: Any) -> None:
    """Returns when the condition holds: nothing announces what other processes do to locks."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.005)


@contextmanager
def database_file() -> Iterator[Path]:
    """A database's file, in a folder with a short path that others may enter."""
    with socket_folder() as folder:
        path = folder / "app.db"
        path.touch(0o644)
        yield path


def beside_it(database: Path, ending: str) -> Path:
    """A file of the protocol."""
    return database.with_name(database.name + ending)


def done(_starter: Starter) -> Document:
    """What a starter does alone where there is nothing to do."""
    return {"outcome": "up_to_date", "operations": 0}


def never(_starter: Starter) -> Document:
    """What a starter must not do alone."""
    raise AssertionError("it was not to be done alone")
