"""The socket of a real daemon under fire: each line is answered by one line of JSON, and nobody else notices."""

from __future__ import annotations

import json
import os
import re
import resource
import selectors
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from random import Random
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd.protocol import COMMANDS, LIMITS
from support.random_bytes import DEEP, LONG_NUMBER, VALUES, WEDGES, altered_bytes
from support.random_depth import depth
from support.sidecars import PATIENCE, WIDER, house, make, running, wait_until
from support.sockets import Wire, socket_folder
from support.tries import tried

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sidecars import Sidecar

SEEDS = st.integers(0, 2**32 - 1)
GROWTH = 64 << 20  # bytes that answering all of this may cost; a line of 100 MB that was kept would be more
TEXTS = (
    "",
    "app",
    "nobody",
    "x" * 5_000,
    "../app",
    "\u202e",
    "\ud800",
    "\0",
    "drop-column",
    "1",
    "--help",
    "%s",
    "${HOME}",
)
LINES = (
    b"{}", b"[]", b"null", b'"status"', b"1", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{" * 60_000, DEEP.encode()[:60_000],
    b'{"command": ' + b"[" * 30_000, LONG_NUMBER.encode(), b'{"command": "status", "id": ' + LONG_NUMBER.encode() + b"}",
    b'{"command": "status", "id": NaN}', b'{"command": "status", "id": 1e999}', b'{"command": "status", "command": "stop"}',
    b'{"command": "\\ud800"}', b'{"command": "status", "id": "\\ud800"}', b'{"command": "status\\u0000"}', b"GET / HTTP/1.1",
    b'{"command": "__init__"}', b'{"command": "status", "__class__": 1}', b'{"command": null}', b'{"command": {}}', b"\0" * 100,
    b"x" * (LIMITS.request_bytes + 1), b'{"command": "status", "target": "' + b"x" * 60_000 + b'"}',
)  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[Sidecar]:
    """A daemon that has a column to add and waits for a window: whoever gets it to act changes the database."""
    with socket_folder() as folder:
        make(folder / "app.db")
        sidecar = house(folder, models=WIDER)
        with running(sidecar):
            sidecar.state("ready")
            yield sidecar


@contextmanager
def unharmed(sidecar: Sidecar) -> Iterator[None]:
    """Afterwards it lives, with no more memory and descriptors, its log shows no bug, and the database is as it was."""
    assert sidecar.process is not None
    process, path = psutil.Process(sidecar.process.pid), sidecar.folder / "app.db"
    before, memory, descriptors = path.read_bytes(), process.memory_info().rss, process.num_fds()
    yield
    wait_until(lambda: sidecar.ask("version")["ok"], sidecar)  # who has just left may still have its place
    assert sidecar.result("status")["daemon"]["pid"] == process.pid
    assert process.memory_info().rss - memory < GROWTH
    wait_until(
        lambda: process.num_fds() <= descriptors + 4, sidecar
    )  # a reader of the history may have begun
    assert "Traceback" not in sidecar.log
    assert path.read_bytes() == before


def answered(line: bytes) -> dict[str, Any]:
    """A reply, which must be one document as docs/socket.md says."""
    reply: dict[str, Any] = json.loads(line)
    assert isinstance(reply["ok"], bool)
    line.decode("ascii")
    if reply["ok"]:
        assert isinstance(reply["result"], dict)
    else:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", reply["error"]["code"])
        assert reply["error"]["code"] != "internal"
        assert all(isinstance(reply["error"][name], str) for name in ("what", "why", "fix"))
    return reply


def line_of(chance: Random) -> bytes:
    """A line without its newline: a request of wrong kinds, one that is nearly right, or none at all."""
    if chance.random() < 0.3:
        return chance.choice(LINES)
    # `events` and `window` wait by their nature; they have tests of their own.
    name = chance.choice([one for one in COMMANDS if one not in {"events", "window", "stage"}])
    document: dict[str, Any] = {"command": name, "id": chance.choice(VALUES)}
    for argument, declared in COMMANDS[name].arguments.items():
        if chance.random() < 0.6:
            right = [True, False] if declared.kind == "flag" else list(TEXTS)
            given_ = chance.choice([chance.choice(VALUES), chance.choice(right), [chance.choice(TEXTS)] * 3])
            document[argument] = given_
    if chance.random() < 0.2:
        document[chance.choice(TEXTS)] = chance.choice(VALUES)
    line = json.dumps(document).encode()
    if chance.random() < 0.25:
        line = altered_bytes(chance, line, [one[:30_000] for one in WEDGES])
    return line.replace(b"\n", b" ")


@given(seed=SEEDS)
@depth(60)
def test_every_line_is_answered_by_one_line(served: Sidecar, seed: int) -> None:
    """Wrong types for every argument, doubled names, numbers without end, half characters; several in one go."""
    chance = Random(seed)  # noqa: S311 - the same tries for the same seed
    lines = [line for line in (line_of(chance) for _ in range(5)) if line.strip() and b'"events"' not in line]
    with unharmed(served), Wire(served.socket) as wire:
        together = chance.random() < 0.5
        if together:
            wire.send(b"".join(line + b"\n" for line in lines))
        stream = wire.socket.makefile("rb")
        with stream:
            for line in lines:
                if not together:
                    wire.send(line + b"\n")
                answered(stream.readline())
            wire.finish()
            assert stream.readline() == b""  # and by no more
    tried("socket: a line answered by one line of JSON", len(lines))


@given(seed=SEEDS)
@depth(15)
def test_whoever_vanishes_leaves_nothing(served: Sidecar, seed: int) -> None:
    """Half a line, a closed door while the answer is made, events that nobody reads: others are answered meanwhile."""
    chance = Random(seed)  # noqa: S311 - the same tries for the same seed
    with unharmed(served), ExitStack() as stack:
        for _ in range(20):
            wire = stack.enter_context(Wire(served.socket))
            line = chance.choice(
                [
                    b'{"command": "events"}\n',
                    b'{"command": "check", "fresh": true}\n' * 3,
                    line_of(chance) + b"\n",
                ]
            )
            with suppress(OSError):
                wire.send(line[: chance.randrange(len(line) + 1)])
            if chance.random() < 0.5:
                wire.socket.close()
        assert served.result("version")["pid"]
    tried("socket: clients that vanish or never end their line", 20)


def at_last(sidecar: Sidecar) -> Wire:
    """A connection; the kernel keeps 512 waiting and turns the next ones away until the daemon has taken some."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return Wire(sidecar.socket)
        except BlockingIOError:
            assert time.monotonic() < give_up
            time.sleep(0.01)


def is_served(wire: Wire) -> bool:
    """Whether somebody answers on it."""
    try:
        return bool(wire.ask({"command": "version"})["ok"])
    except (BrokenPipeError, ConnectionResetError):
        return False


def test_a_thousand_idle_connections_are_refused_with_a_reason(served: Sidecar) -> None:
    """So many as one user may have stay open; the others are told, and when they have gone everybody is answered again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    with unharmed(served), ExitStack() as stack:
        wires = []
        for _ in range(1_000):
            wires.append(stack.enter_context(at_last(served)))
            tried("socket: idle connections")
        # Whoever was closed right before may still have its place, so it need not be the first ones that are served.
        told: dict[Wire, str] = {}
        with selectors.DefaultSelector() as waiting:
            for wire in wires:
                waiting.register(wire.socket, selectors.EVENT_READ, wire)
            while len(told) < len(wires) - LIMITS.per_user:
                ready = waiting.select(PATIENCE)
                assert ready, len(told)
                for key, _ in ready:
                    waiting.unregister(key.fileobj)
                    told[key.data] = key.data.line()["error"]["code"]
        assert set(told.values()) == {"too-many-connections"}
        served_on = [wire for wire in wires if wire not in told]
        # One of these may have been refused too, and not been told yet, where others still had their places at first.
        assert any(map(is_served, served_on))
        stack.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("newline", [True, False])
def test_a_line_of_100_mb_costs_no_memory(served: Sidecar, newline: bool) -> None:
    """It is skipped to its end or given up; meanwhile somebody else is answered."""
    piece = b"x" * (1 << 20)
    with unharmed(served), Wire(served.socket) as wire:
        sent = 0
        with suppress(BrokenPipeError, ConnectionResetError):
            for number in range(100):
                wire.send(piece)
                sent += len(piece)
                if number % 20 == 0:
                    assert served.result("version")["pid"]
            if newline:
                wire.send(b"\n")
        with suppress(ConnectionResetError):
            assert answered(wire.socket.makefile("rb").readline())["error"]["code"] == "request-too-long"
        assert sent >= LIMITS.discard_bytes
    tried("socket: a line of 100 MB")


def test_slow_senders_keep_nobody_waiting(served: Sidecar) -> None:
    """Forty clients that send a byte from time to time; every request of another one is answered between two bytes."""
    with unharmed(served), ExitStack() as stack:
        slow = [stack.enter_context(Wire(served.socket)) for _ in range(40)]
        for byte in b'{"command": "sta':
            for wire in slow:
                wire.send(bytes([byte]))
            assert served.result("status")["verdict"]
        for wire in slow:
            wire.send(b'tus"}\n')
            assert wire.line()["ok"]
    tried("socket: slow senders", 40)


def test_requests_at_once_and_out_of_order_are_answered_in_order(served: Sidecar) -> None:
    """Five hundred in one write; each reply carries the id of its request, and answers stop nobody's reading."""
    with unharmed(served), Wire(served.socket) as wire:
        wire.send(
            b"".join(
                json.dumps({"command": "version", "id": number}).encode() + b"\n" for number in range(500)
            )
        )
        with served._connected() as other:
            other.write(b'{"command": "version"}\n')
            other.flush()
            assert answered(other.readline())["ok"]
        assert [wire.line()["id"] for _ in range(500)] == list(range(500))
    tried("socket: requests in one write", 500)


def test_a_window_that_nobody_opened_is_closed(served: Sidecar) -> None:
    """Ids and databases of any kind: the daemon believes the lock files, and migrates nothing."""
    with unharmed(served):
        for database in (
            None,
            str(served.folder / "app.db"),
            "/etc/passwd",
            "\0",
            "",
            "x" * 60_000,
            "app.db",
        ):
            for window in ("", "x", "\0", "x" * 5_000, "null"):
                reply = served.ask("window", window=window, database=database)
                assert reply["error"]["code"] in {"window-closed", "database-unknown"}, reply
                tried("socket: windows that nobody opened")


def test_a_peer_that_answers_nonsense_is_told_apart_from_a_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that talk to the daemon come upon somebody else behind the socket: an error, and no wait without end."""
    from support.typed import at_home, foreseen, typed

    at_home(monkeypatch, dict(os.environ), tmp_path)
    make(tmp_path / "app.db")
    house(tmp_path)
    chance = Random(1)  # noqa: S311 - the same tries each time
    for raw in (
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        DEEP.encode() + b"\n",
        b'{"ok": true}\n',
        b"\xff\n",
        *(line_of(chance) + b"\n" for _ in range(12)),
    ):
        with socket.socket(socket.AF_UNIX) as listening:
            (tmp_path / "d.sock").unlink(missing_ok=True)
            listening.bind("d.sock")
            listening.listen()
            pid = os.fork()
            if pid == 0:  # pragma: no cover - another process
                with suppress(BaseException):
                    connection, _ = listening.accept()
                    connection.sendall(raw)
                    connection.close()
                os._exit(0)
            finished = typed(tmp_path, "status")
            listening.close()
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
            os.waitpid(pid, 0)
        assert not (found := foreseen(finished)), (raw[:80], found)
        tried("socket: a peer that is no daemon")
