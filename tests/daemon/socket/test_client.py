"""The client, against the real server and against others that misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from driftd import client as client_module
from driftd import protocol
from driftd.client import Client, NoAnswer, NoDaemon, NotAllowed, Refused
from driftd.events import Events
from driftd.protocol import LIMITS
from driftd.server import Handler
from support.sockets import DAEMON, HELLO, PATIENCE, Wire, answering, echo, serving, socket_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from driftd.server import Request

GREETING = {"driftd": {**HELLO, "capabilities": []}}


@pytest.fixture
def path() -> Iterator[Path]:
    with socket_folder() as folder:
        yield folder / "d.sock"


@contextmanager
def scripted(path: Path, *answers: bytes | dict[str, Any]) -> Iterator[None]:
    """A server that reads a line and writes an answer, for each of them, and then closes."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=_play, args=(server, answers))
        thread.start()
        try:
            yield
        finally:
            thread.join(PATIENCE)


def _play(server: socket.socket, answers: tuple[bytes | dict[str, Any], ...]) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as lines:
        for answer in answers:
            lines.readline()
            connection.sendall(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")


def every_command() -> dict[str, Handler]:
    return {name: Handler(echo) for name in protocol.COMMANDS if name != "events"}


def test_every_command_has_its_function(path: Path) -> None:
    """`do_x` sends what the protocol declares for `x`, and leaves out what was not given."""
    asked: dict[str, dict[str, Any]] = {
        "status": {"target": "app", "holders": True},
        "check": {"target": "app", "fresh": True},
        "plan": {"target": "app"},
        "history": {"target": "app", "migration": "m_1"},
        "stage": {"target": "app"},
        "approve": {"operations": ["a-1"], "target": "app", "plan": "a"},
        "rollback": {
            "migration": "m_1",
            "operations": ["2"],
            "approve": ["drop-column"],
            "dry_run": True,
            "target": "app",
        },
        "revert": {"words": ["task.note"], "approve": ["a-1"], "dry_run": True, "target": "app"},
        "adopt": {"words": ["task.note"], "target": "app"},
        "pause": {"target": "app"},
        "resume": {"target": "app"},
        "reload": {},
        "where": {"target": "app", "config": "/srv/driftd.toml"},
        "window": {"window": "9f3c51", "database": "/srv/app.db", "target": "app"},
        "version": {},
    }
    assert {*asked, "events"} == set(protocol.COMMANDS)
    with serving(path, every_command()), Client(path) as client:
        for name, arguments in asked.items():
            assert set(arguments) == set(protocol.COMMANDS[name].arguments)
            assert getattr(client, f"do_{name}")(**arguments)["arguments"] == arguments
        assert client.do_status()["arguments"] == {}
        assert client.do_approve(["a-1"])["arguments"] == {"operations": ["a-1"]}


def test_the_first_answer_says_who_answers(path: Path) -> None:
    """Empty before, and a path may be text or a Path."""
    with serving(path), Client(str(path)) as client:
        assert client.hello == {}
        client.do_version()
        assert client.hello == {**HELLO, "capabilities": ["status", "version"]}


def test_both_ends_speak_of_the_same_protocol() -> None:
    """The client imports nothing of ours, so its number is written twice."""
    assert client_module.PROTOCOL == protocol.PROTOCOL


def test_nobody_listens(path: Path) -> None:
    """No socket, a stale one, a path that cannot be one: all the same to who asks."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(f"{path}.stale")
    for where in (path, f"{path}.stale", f"{path}/below", f"{path}{'x' * 200}", f"{path}\0"):
        with Client(where) as client, pytest.raises(NoDaemon) as caught:
            client.do_status()
        assert not isinstance(caught.value, NoAnswer)
        assert caught.value.error["code"] == "no-daemon"
        assert caught.value.error["fix"]


def test_the_daemons_error_is_raised_and_the_connection_goes_on(path: Path) -> None:
    """With its four fields; the next question is answered."""
    with serving(path), Client(path) as client:
        with pytest.raises(Refused) as caught:
            client.call("statsu")
        assert caught.value.error["code"] == "unknown-command"
        assert set(caught.value.error) == {"code", "what", "why", "fix"}
        assert str(caught.value) == 'there is no command "statsu": the nearest is "status"'
        assert client.do_version() == {"version": "1.2.3"}


def test_not_allowed_is_an_error_of_its_own(path: Path) -> None:
    """The command line has an exit code for it."""
    error = {"code": "not-allowed", "what": "this is not allowed", "why": "", "fix": ""}
    answer = {"ok": False, "id": 1, "error": error, **GREETING}
    with scripted(path, answer), Client(path) as client, pytest.raises(NotAllowed) as caught:
        client.do_pause()
    assert str(caught.value) == "this is not allowed"


def test_one_connection_too_many_is_told(path: Path) -> None:
    """The reason arrives although the server closes at once; the next call connects anew."""
    with serving(path, limits=LIMITS._replace(per_user=1)) as served, Client(path) as client:
        with Wire(path) as wire:
            assert wire.ask({"command": "version"})["ok"] is True
            with pytest.raises(Refused) as caught:
                client.call("status", target="x" * 60_000)
            assert caught.value.error["code"] == "too-many-connections"
        served.wait_for_connections(0)
        assert client.do_version() == {"version": "1.2.3"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "the connection was closed"),
        (b'{"ok": tr', "the connection was closed"),
        (b"SSH-2.0-OpenSSH\r\n", "no JSON object"),
        (b"[]\n", "no JSON object"),
        (b"[" * 100_000 + b"\n", "no JSON object"),
        (b"\xff\n", "no JSON object"),
        ({"ok": True, "id": 1, "result": {}}, "does not introduce a driftd"),
        ({"ok": True, "id": 1, "result": {}, "driftd": "yes"}, "does not introduce a driftd"),
        ({"ok": True, "id": 2, "result": {}, **GREETING}, "does not answer the question"),
        ({"ok": True, "id": 1, "result": [], **GREETING}, "does not answer the question"),
        ({"ok": "no", "id": 1, "error": {}, **GREETING}, "does not answer the question"),
        ({"ok": False, "id": 1, "error": "bad", **GREETING}, "does not answer the question"),
        (
            {"ok": True, "id": 1, "result": {}, "driftd": {"version": "9", "protocol": 2}},
            "it speaks 2, this client speaks 1",
        ),
    ],
)
def test_whatever_comes_is_an_answer_or_a_clear_error(
    path: Path, answer: bytes | dict[str, Any], why: str
) -> None:
    """Nothing but NoAnswer, with a code and something to do."""
    with scripted(path, answer), Client(path) as client, pytest.raises(NoAnswer) as caught:
        client.do_status()
    assert why in caught.value.error["why"]
    assert caught.value.error["code"] in {"no-answer", "other-protocol"}
    assert caught.value.error["fix"]


def test_an_answer_without_an_end_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever talks there must not fill the memory."""
    monkeypatch.setattr(client_module, "_LONGEST_REPLY", 100_000)
    with (
        scripted(path, b"x" * 200_000),
        Client(path) as client,
        pytest.raises(NoAnswer, match="does not end"),
    ):
        client.do_status()


def test_silence_is_not_waited_for(path: Path) -> None:
    """After the timeout there is an error; the late answer of that request never answers another one."""
    gate = asyncio.Event()

    async def slow(_request: Request) -> dict[str, Any]:
        await gate.wait()
        return {"late": True}

    handlers = {"plan": Handler(slow), "version": Handler(answering({"version": "1"}))}
    with serving(path, handlers) as served, Client(path, timeout=0.05) as client:
        with pytest.raises(NoAnswer, match=r"kept silent for 0\.05 s"):
            client.do_plan()
        served.run(gate.set)
        client.timeout = PATIENCE
        assert client.do_version() == {"version": "1"}


def test_events_come_until_the_daemon_stops(path: Path) -> None:
    """From the call on, not from the first look at them; the iterator ends after `stopping`."""
    events = Events()

    async def cmd_events(_request: Request) -> AsyncIterator[dict[str, Any]]:
        async for event in events.follow():
            yield event

    with serving(path, {"events": Handler(cmd_events, stream=True)}) as served, Client(path) as client:
        followed = client.do_events(target="app")
        told: list[dict[str, Any]] = [
            {"event": "target", "at": "now", "n": 1},
            {"event": "stopping", "at": "now"},
        ]

        def stop() -> None:
            for event in told:
                events.publish(event)
            events.end()

        served.run(stop)
        assert list(followed) == told


def test_a_daemon_that_vanishes_amid_the_events(path: Path) -> None:
    """Without `stopping` it did not stop: something happened to it."""
    answer = (
        json.dumps({"ok": True, "id": 1, "result": {}, **GREETING}) + '\n{"event": "target", "at": "now"}\n'
    )
    with scripted(path, answer.encode()), Client(path) as client:
        followed = client.do_events()
        assert next(followed)["event"] == "target"
        with pytest.raises(NoAnswer):
            next(followed)


def test_an_error_amid_the_events_is_raised(path: Path) -> None:
    """A fault in the daemon ends the stream with its error."""
    error = {"code": "internal", "what": "a bug", "why": "", "fix": ""}
    lines = [{"ok": True, "id": 1, "result": {}, **GREETING}, {"ok": False, "id": 1, "error": error}]
    answer = "".join(json.dumps(line) + "\n" for line in lines).encode()
    with scripted(path, answer), Client(path) as client, pytest.raises(Refused, match="a bug"):
        next(client.do_events())


def test_importing_it_imports_next_to_nothing() -> None:
    """Beyond what socket, json and os bring, the client is all: it must start as fast as they do."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import socket, json, os; before = set(sys.modules);"
        "import driftd.client; print(sorted(set(sys.modules) - before))"
    )
    printed = subprocess.run(
        [sys.executable, "-S", "-c", code, str(DAEMON)], check=True, capture_output=True, text=True
    ).stdout
    assert eval(printed) == ["__future__", "driftd", "driftd.client"]  # noqa: S307 - our own list


def test_a_client_that_was_never_used_holds_nothing(path: Path) -> None:
    """It connects when it is first asked to; closing it twice is no fault."""
    with serving(path) as served:
        client = Client(path)
        served.wait_for_connections(0)
        client.do_version()
        served.wait_for_connections(1)
        client.close()
        client.close()
        served.wait_for_connections(0)
