"""What the server answers, to good clients and to bad ones."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from driftd.protocol import LIMITS
from driftd.server import Handler
from driftengine.errors import PlanError
from support.sockets import HELLO, Wire, answering, as_nobody, echo, serving, socket_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from driftd.server import Request

STATUS = {"command": "status"}


@pytest.fixture
def path() -> Iterator[Path]:
    with socket_folder() as folder:
        yield folder / "d.sock"


def test_a_request_is_answered_with_its_id_and_who_answers(path: Path) -> None:
    """The first reply introduces the daemon, the later ones do not."""
    with serving(path), Wire(path) as wire:
        first = wire.ask({"command": "status", "id": "a", "target": "app"})
        assert first["ok"] is True
        assert first["id"] == "a"
        assert first["result"]["arguments"] == {"target": "app"}
        assert first["driftd"] == {**HELLO, "capabilities": ["status", "version"]}
        assert wire.ask({"command": "version"}) == {"ok": True, "result": {"version": "1.2.3"}}


def test_the_first_reply_introduces_the_daemon_also_when_it_is_an_error(path: Path) -> None:
    """A client that speaks something else learns whom it has met."""
    with serving(path), Wire(path) as wire:
        assert wire.ask(b"GET / HTTP/1.1\r\n")["driftd"]["protocol"] == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\n",
        b"\xff\xfe\n",
        b"[]\n",
        b"{}\n",
        b"[" * 50_000 + b"\n",
        b'{"command": 1}\n',
        b"\x00\x01\x02\n",
    ],
)
def test_garbage_gets_an_error_and_the_connection_goes_on(path: Path, garbage: bytes) -> None:
    """A client that has sent one bad line can still ask."""
    with serving(path), Wire(path) as wire:
        assert wire.code(garbage) == "bad-request"
        assert wire.ask(STATUS)["ok"] is True


def test_empty_lines_are_passed_over(path: Path) -> None:
    """Who presses Enter once too often in `nc` is not scolded."""
    with serving(path), Wire(path) as wire:
        wire.send(b"\n \r\n")
        assert wire.ask(STATUS)["ok"] is True


def test_a_wrong_name_and_wrong_arguments_are_told(path: Path) -> None:
    """The handler is never called with what it does not take."""
    with serving(path), Wire(path) as wire:
        assert wire.code({"command": "pause"}) == "unknown-command"
        assert wire.code({"command": "status", "tagret": "x"}) == "bad-arguments"


def test_a_line_that_is_too_long_is_skipped(path: Path) -> None:
    """It is not kept, its error comes in its turn, and the next line is answered."""
    with serving(path), Wire(path) as wire:
        wire.send(b'{"command": "' + b"x" * 300_000 + b'"}\n{"command": "version"}\n')
        assert wire.line()["error"]["code"] == "request-too-long"
        assert wire.line()["ok"] is True


def test_a_line_of_exactly_the_limit_is_read(path: Path) -> None:
    """The limit counts the bytes before the newline."""
    with serving(path, limits=LIMITS._replace(request_bytes=40)), Wire(path) as wire:
        fits = b'{"command": "version", "id": "xxxxxxxx"}'
        assert len(fits) == 40
        assert wire.ask(fits + b"\n")["ok"] is True
        assert wire.code(fits[:-2] + b'x"}\n') == "request-too-long"


def test_a_line_without_an_end_is_not_read_for_ever(path: Path) -> None:
    """Who streams without newlines is told so and closed."""
    limits = LIMITS._replace(request_bytes=100, discard_bytes=10_000)
    with serving(path, limits=limits), Wire(path) as wire:
        wire.send(b"x" * 50_000)
        assert wire.line()["error"]["code"] == "request-too-long"
        assert wire.ended()


def test_half_a_line_and_silence(path: Path) -> None:
    """A request begun must end in time; then nothing more is read from this client, and others are served."""
    with serving(path, limits=LIMITS._replace(read_s=0.05)), Wire(path) as wire, Wire(path) as other:
        wire.send(b'{"command": "sta')
        assert wire.line()["error"]["code"] == "request-timeout"
        assert wire.ended()
        assert other.ask(STATUS)["ok"] is True


def test_silence_between_requests_is_no_fault(path: Path) -> None:
    """The limit runs from the first byte of a line; a connection may be kept."""
    with serving(path, limits=LIMITS._replace(read_s=0.05)) as served, Wire(path) as wire, Wire(path) as late:
        assert wire.ask(STATUS)["ok"] is True
        # The half line of another client has timed out by now, so as much time has passed for this one.
        assert late.code(b"{") == "request-timeout"
        served.wait_for_connections(1)
        assert wire.ask(STATUS)["ok"] is True


def test_requests_sent_at_once_are_answered_in_their_order(path: Path) -> None:
    """Also when an early one takes longer than a later one."""
    gate = asyncio.Event()

    async def slow(_request: Request) -> dict[str, Any]:
        await gate.wait()
        return {"slow": True}

    handlers = {"check": Handler(slow), "version": Handler(answering({"version": "1"}))}
    with serving(path, handlers) as served, Wire(path) as wire, Wire(path) as other:
        wire.send(b'{"command": "check", "id": 1}\n' + b'{"command": "version", "id": 2}\n' * 50)
        # Another connection does not wait behind it.
        assert other.ask({"command": "version"})["ok"] is True
        served.run(gate.set)
        assert wire.line()["result"] == {"slow": True}
        assert [wire.line()["id"] for _ in range(50)] == [2] * 50


def test_who_shuts_the_sending_side_still_gets_the_answers(path: Path) -> None:
    """`printf ... | nc -N -U` ends its input before the answers are there; the last line may lack its newline."""
    with serving(path), Wire(path) as wire:
        wire.send(b'{"command": "version", "id": 1}\n{"command": "version", "id": 2}')
        wire.finish()
        assert [wire.line()["id"], wire.line()["id"]] == [1, 2]
        assert wire.ended()


def test_a_client_that_leaves_early_is_forgotten(path: Path) -> None:
    """Before, amid and after a request: the server forgets the client and serves the others."""
    with serving(path) as served:
        for sent in (b"", b'{"comm', b'{"command": "status"}\n', b'{"command": "status"}\n' * 1000):
            with Wire(path) as wire:
                wire.send(sent)
        served.wait_for_connections(0)
        with Wire(path) as wire:
            assert wire.ask(STATUS)["ok"] is True


def test_a_client_that_does_not_read_is_dropped(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After the limit its connection is closed, without a word in the log, and nobody else has waited."""
    handlers = {"status": Handler(answering({"large": "x" * 4_000_000})), "version": Handler(echo)}
    with serving(path, handlers, limits=LIMITS._replace(write_s=0.05)) as served:
        with Wire(path) as wire, Wire(path) as other:
            wire.send(STATUS)
            assert other.ask({"command": "version"})["ok"] is True
            served.wait_for_connections(1)
        assert caplog.records == []


def test_a_large_answer_comes_whole(path: Path) -> None:
    """A plan may be larger than what the kernel takes at once."""
    handlers = {"status": Handler(answering({"large": "x" * 4_000_000}))}
    with serving(path, handlers), Wire(path) as wire:
        assert len(wire.ask(STATUS)["result"]["large"]) == 4_000_000


def test_an_error_of_driftd_is_the_answer(path: Path) -> None:
    """With the four fields that the command line shows, too."""

    async def refuses(_request: Request) -> dict[str, Any]:
        raise PlanError("it does not fit", code="plan-stale", why="it moved", fix="look again")

    with serving(path, {"plan": Handler(refuses)}), Wire(path) as wire:
        error = wire.ask({"command": "plan", "id": 3})
        assert error["id"] == 3
        assert error["error"] == {
            "code": "plan-stale",
            "what": "it does not fit",
            "why": "it moved",
            "fix": "look again",
        }


@pytest.mark.parametrize(
    "fault", [KeyError("secret"), TimeoutError(), RecursionError(), OSError(5, "secret")]
)
def test_a_fault_in_a_handler_is_logged_and_the_daemon_lives(
    path: Path, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    """The client learns that it is a bug, the log has the traceback, and the connection goes on."""

    async def breaks(_request: Request) -> dict[str, Any]:
        raise fault

    handlers = {"plan": Handler(breaks), "version": Handler(echo)}
    with serving(path, handlers), Wire(path) as wire:
        reply = wire.ask({"command": "plan"})
        assert reply["error"]["code"] == "internal"
        assert "secret" not in str(reply)
        assert wire.ask({"command": "version"})["ok"] is True
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[1] is fault


@pytest.mark.parametrize("result", [{"a": {1, 2}}, {"a": float("nan")}, {"a": b"x"}])
def test_a_result_that_is_no_json_is_a_fault(
    path: Path, caplog: pytest.LogCaptureFixture, result: dict[str, Any]
) -> None:
    """Half a line must never be sent; the first reply still introduces the daemon."""
    with serving(path, {"plan": Handler(answering(result))}), Wire(path) as wire:
        reply = wire.ask({"command": "plan"})
        assert reply["error"]["code"] == "internal"
        assert reply["driftd"]["version"] == "1.2.3"
    assert len(caplog.records) == 1


def test_a_user_has_so_many_connections_and_no_more(path: Path) -> None:
    """The next one is told so and closed, and may come again when one has left."""
    with serving(path, limits=LIMITS._replace(per_user=2)) as served:
        with Wire(path) as one, Wire(path) as two:
            assert one.ask(STATUS)["ok"] is True
            assert two.ask(STATUS)["ok"] is True
            with Wire(path) as three:
                refusal = three.line()
                assert refusal["error"]["code"] == "too-many-connections"
                assert refusal["driftd"]["protocol"] == 1
                assert three.ended()
        served.wait_for_connections(0)
        with Wire(path) as wire:
            assert wire.ask(STATUS)["ok"] is True


def test_strangers_never_take_the_last_places(path: Path) -> None:
    """Users who may only read leave room for those who may write."""
    code = """
from driftd.client import Client, Refused
def ask(client):
    try:
        return client.do_status() and "served"
    except Refused as error:
        return error.error["code"]
clients = [Client(sys.argv[1]) for _ in range(3)]
print([ask(client) for client in clients])
"""
    limits = LIMITS._replace(per_user=2, in_all=3)
    with serving(path, limits=limits, readable=True), Wire(path) as first:
        # One of three places is left for strangers where the writers may need two.
        assert first.ask(STATUS)["ok"] is True
        if as_nobody("import os; print(os.geteuid())") == str(first.ask(STATUS)["result"]["uid"]):
            pytest.skip("needs a second user: run the tests as root")
        assert as_nobody(code, path) == "['served', 'too-many-connections', 'too-many-connections']"
        with Wire(path) as second:
            assert second.ask(STATUS)["ok"] is True


def test_closing_lets_a_request_that_is_under_way_end(path: Path) -> None:
    """Who has asked is answered, who is idle is hung up on, and the socket is gone."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> dict[str, Any]:
        asked.set()
        await go_on.wait()
        return {"done": True}

    with serving(path, {"stage": Handler(slow), "version": Handler(echo)}) as served:
        with Wire(path) as busy, Wire(path) as idle:
            assert idle.ask({"command": "version"})["ok"] is True
            busy.send({"command": "stage"})
            served.run(asked.wait)

            async def close() -> None:
                go_on.set()
                await served.server.close()

            served.run(close)
            assert busy.line()["result"] == {"done": True}
            assert busy.ended()
            assert idle.ended()
        assert not path.exists()


def test_closing_does_not_wait_for_ever(path: Path) -> None:
    """A request that does not end within the grace is cancelled."""
    cancelled = []

    async def endless(_request: Request) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return {}

    with serving(path, {"stage": Handler(endless)}) as served, Wire(path) as wire:
        wire.send({"command": "stage"})
        served.wait_for_connections(1)
        served.run(lambda: served.server.close(grace=0.05))
        assert wire.ended()
        assert cancelled == [True]
