"""A reply, and then what happens, until somebody closes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from driftd.events import KEPT, Events
from driftd.protocol import LIMITS
from driftd.server import Handler
from driftengine.errors import ConfigurationError
from support.sockets import Serving, Wire, echo, serving, silent, socket_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from driftd.server import Request

EVENTS = {"command": "events", "id": 5}


@pytest.fixture
def path() -> Iterator[Path]:
    with socket_folder() as folder:
        yield folder / "d.sock"


class Happening:
    """An Events that a server streams."""

    def __init__(self) -> None:
        self.events = Events()
        self.left = 0

    async def cmd_events(self, _request: Request) -> AsyncIterator[dict[str, Any]]:
        """The events from now on."""
        try:
            async for event in self.events.follow():
                yield event
        finally:
            self.left += 1

    def happen(self, served: Serving, *numbers: int) -> None:
        """Publish an event for each number, all in one turn of the loop."""

        def publish() -> None:
            for number in numbers:
                self.events.publish({"event": "target", "at": "now", "target": {"number": number}})

        served.run(publish)

    @property
    def handlers(self) -> dict[str, Handler]:
        """`events`, and `version` to show that the server lives."""
        return {"events": Handler(self.cmd_events, stream=True), "version": Handler(echo)}


def test_what_happens_after_the_reply_is_streamed(path: Path) -> None:
    """The client is a follower before it has its reply: nothing after it is missed."""
    happening = Happening()
    with serving(path, happening.handlers) as served, Wire(path) as wire:
        reply = wire.ask(EVENTS)
        assert (reply["ok"], reply["id"], reply["result"]) == (True, 5, {})
        happening.happen(served, 1, 2)
        assert [wire.line()["target"]["number"] for _ in range(2)] == [1, 2]
        happening.happen(served, 3)
        assert wire.line() == {"event": "target", "at": "now", "target": {"number": 3}}


def test_the_end_of_the_events_closes_the_connection(path: Path) -> None:
    """What was published before the end still comes."""
    happening = Happening()
    with serving(path, happening.handlers) as served, Wire(path) as wire:
        wire.ask(EVENTS)
        served.run(lambda: happening.events.publish({"event": "stopping", "at": "now"}))
        served.run(happening.events.end)
        assert wire.line()["event"] == "stopping"
        assert wire.ended()


def test_a_follower_that_leaves_is_forgotten(path: Path) -> None:
    """Without waiting for the next event; the others go on."""
    happening = Happening()
    with serving(path, happening.handlers) as served, Wire(path) as stays:
        stays.ask(EVENTS)
        with Wire(path) as leaves:
            leaves.ask(EVENTS)
        served.wait_for_connections(1)
        assert happening.left == 1
        served.wait_until(lambda: len(happening.events._followers) == 1)
        happening.happen(served, 1)
        assert stays.line()["target"]["number"] == 1


def test_a_follower_that_shuts_its_sending_side_goes_on(path: Path) -> None:
    """`echo ... | nc -N -U` follows, too."""
    happening = Happening()
    with serving(path, happening.handlers) as served:
        with Wire(path) as wire:
            wire.send(EVENTS)
            wire.finish()
            assert wire.line()["ok"] is True
            happening.happen(served, 1)
            assert wire.line()["target"]["number"] == 1
        # That it has left shows at the next event.
        happening.happen(served, 2)
        served.wait_for_connections(0)


def test_lines_after_it_are_ignored(path: Path) -> None:
    """A stream is the last request of its connection."""
    happening = Happening()
    with serving(path, happening.handlers) as served, Wire(path) as wire:
        wire.ask(EVENTS)
        wire.send({"command": "version"})
        happening.happen(served, 1)
        assert wire.line()["event"] == "target"


def test_a_slow_follower_loses_the_oldest_and_is_told(path: Path) -> None:
    """A burst larger than the queue: one `lost` event says how many, the newest ones come."""
    happening = Happening()
    with serving(path, happening.handlers) as served, Wire(path) as wire:
        wire.ask(EVENTS)
        happening.happen(served, *range(KEPT + 10))
        first = wire.line()
        assert (first["event"], first["count"]) == ("lost", 10)
        assert [wire.line()["target"]["number"] for _ in range(KEPT)] == list(range(10, KEPT + 10))


def test_a_follower_that_does_not_read_is_dropped(path: Path) -> None:
    """Its connection is closed after the limit, and its place is free."""
    happening = Happening()
    with (
        serving(path, happening.handlers, limits=LIMITS._replace(write_s=0.05)) as served,
        Wire(path) as wire,
    ):
        wire.ask(EVENTS)
        large = {"event": "target", "at": "now", "target": "x" * 4_000_000}
        served.run(lambda: happening.events.publish(large))
        served.wait_for_connections(0)
        assert happening.left == 1


def test_what_the_handler_refuses_at_once_is_the_reply(path: Path) -> None:
    """An unknown target is an error, and the connection goes on."""

    async def refuses(_request: Request) -> AsyncIterator[dict[str, Any]]:
        raise ConfigurationError("there is no target x", code="target-unknown")
        yield {}

    handlers = {"events": Handler(refuses, stream=True), "version": Handler(echo)}
    with serving(path, handlers), Wire(path) as wire:
        assert wire.code({"command": "events", "target": "x"}) == "target-unknown"
        assert wire.ask({"command": "version"})["ok"] is True


def test_a_fault_amid_a_stream_is_told_and_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The follower learns that nothing more will come."""

    async def breaks(_request: Request) -> AsyncIterator[dict[str, Any]]:
        yield {"event": "target", "at": "now"}
        raise KeyError("secret")

    with serving(path, {"events": Handler(breaks, stream=True)}), Wire(path) as wire:
        assert wire.ask(EVENTS)["ok"] is True
        assert wire.line()["event"] == "target"
        assert wire.line()["error"]["code"] == "internal"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_closing_the_server_ends_a_stream_on_which_nothing_happens(path: Path) -> None:
    """Even where the daemon forgot to end its events."""
    with serving(path, {"events": Handler(silent, stream=True)}) as served, Wire(path) as wire:
        wire.ask(EVENTS)
        served.run(lambda: served.server.close(grace=0.05))
        assert wire.ended()
