"""What the daemon tells the service manager that started it: ready, status, reload, stopping, and that it is alive."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
import pytest

from driftd import notify
from driftd.notify import Channel, Notifier, status_line, take, watchdog_of
from support.service_manager import ServiceManager
from support.sidecars import NARROWER, WIDER, house, make, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    """One at an abstract address, which has no length limit that a test's folder could meet."""
    with ServiceManager("@driftd-test-" + secrets.token_hex(8)) as made:
        yield made


def notifier(manager: ServiceManager, watchdog: float | None = None) -> Notifier:
    """A notifier that tells this manager."""
    return Notifier(Channel(manager.address), watchdog)


def in_a_loop(notifier: Notifier, states: dict[str, str]) -> asyncio.AbstractEventLoop:
    """A loop that does not run, for what is decided at once; the socket listens."""
    loop = asyncio.new_event_loop()
    notifier.serving(lambda: states, loop)
    return loop


# --- the daemon


def test_the_daemon_is_ready_when_every_target_has_been_looked_at(
    tmp_path: Path, manager: ServiceManager
) -> None:
    """READY comes once, behind the first look, and the status names the state; the end is told first of all."""
    make(tmp_path / "app.db")
    sidecar = house(tmp_path)
    sidecar.environment["NOTIFY_SOCKET"] = manager.address
    with running(sidecar):
        manager.until(lambda text: text == "READY=1")
        assert sidecar.entry()["state"] == "in_sync"
        manager.until(lambda text: text == "STATUS=app: in_sync")
        (tmp_path / "models.sql").write_text(NARROWER, encoding="utf-8")
        manager.until(lambda text: text == "STATUS=app: held")
        assert sidecar.stop() == 0
    assert manager.waiting()[-1] == "STOPPING=1\nSTATUS=stopping"
    assert manager.heard.count("READY=1") == 1
    assert not any("WATCHDOG" in text for text in manager.heard)


def test_a_path_is_an_address_too_and_children_do_not_inherit_it(tmp_path: Path) -> None:
    """A process that the daemon starts must not speak for it, nor give its signs of life."""
    models = tmp_path / "shop.py"
    models.write_text(
        "import os, sqlalchemy\n"
        "found = [n for n in os.environ if n.startswith(('NOTIFY_', 'WATCHDOG_'))]\n"
        "metadata = sqlalchemy.MetaData()\n"
        "sqlalchemy.Table('t' + str(len(found)), metadata, sqlalchemy.Column('id', sqlalchemy.Integer, primary_key=True))\n",
        encoding="utf-8",
    )
    sidecar = house(tmp_path)
    text = (tmp_path / "driftd.toml").read_text(encoding="utf-8").replace("models.sql", "shop:metadata")
    (tmp_path / "driftd.toml").write_text(text, encoding="utf-8")
    address = os.path.relpath(tmp_path / "n")
    with ServiceManager(address) as manager:
        sidecar.environment |= {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "60000000"}
        with running(sidecar):
            manager.until(lambda text: text == "READY=1")
            plan = sidecar.state("ready")["plan"]
            assert [one["table"] for one in plan["operations"]] == ["t0"]


def test_a_reload_is_told_from_its_beginning_to_its_end(tmp_path: Path, manager: ServiceManager) -> None:
    """SIGHUP is answered by RELOADING with the time and then READY, also where the new configuration is refused."""
    make(tmp_path / "app.db")
    sidecar = house(tmp_path)
    sidecar.environment["NOTIFY_SOCKET"] = manager.address
    with running(sidecar):
        manager.until(lambda text: text == "READY=1")
        (tmp_path / "driftd.toml").write_text("[targets.app]\nurl = 1\n", encoding="utf-8")
        before = time.monotonic_ns() // 1000
        sidecar.tell(signal.SIGHUP)
        told = manager.until(lambda text: text.startswith("RELOADING=1\n"))
        assert before <= int(told.partition("MONOTONIC_USEC=")[2]) <= time.monotonic_ns() // 1000
        manager.until(lambda text: text == "READY=1")
        assert [one["code"] for one in sidecar.result("status")["daemon"]["problems"]] == [
            "configuration-invalid"
        ]


def test_the_loop_gives_signs_of_life_and_a_stopped_one_gives_none(
    tmp_path: Path, manager: ServiceManager
) -> None:
    """They come from the loop's own round: while the process stands still there are none, and then they go on."""
    make(tmp_path / "app.db")
    sidecar = house(tmp_path)
    sidecar.environment |= {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000000"}
    with running(sidecar):
        for _ in range(2):
            manager.until(lambda text: text == "WATCHDOG=1")
        assert sidecar.process is not None
        process = psutil.Process(sidecar.process.pid)
        process.suspend()
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, sidecar)
        manager.waiting()
        assert not manager.comes_within(1.5)
        process.resume()
        manager.until(lambda text: text == "WATCHDOG=1")


def test_a_watchdog_for_another_process_is_none_of_ours(tmp_path: Path, manager: ServiceManager) -> None:
    """WATCHDOG_PID names whom it is for."""
    make(tmp_path / "app.db")
    sidecar = house(tmp_path)
    sidecar.environment |= {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    with running(sidecar):
        manager.until(lambda text: text == "READY=1")
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        manager.until(lambda text: text == "STATUS=app: ready")
    assert "WATCHDOG=1" not in manager.heard


# --- the notifier


def test_without_a_service_manager_nothing_is_done() -> None:
    """No timer is set, no socket is opened, and no sign of life is ever due."""
    environment = {"WATCHDOG_USEC": "1000000", "PATH": "/bin"}
    told = take(environment, 1)
    assert not told.listening
    loop = in_a_loop(told, {"app": "in_sync"})
    with closing(loop):
        told.changed()
        told.reloading()
        told.reloaded()
        told.tick()
        told.stopping()
        assert told.until_due() == float("inf")
        assert not loop._scheduled  # type: ignore[attr-defined]  # no public door says that no timer is set
    assert environment == {"PATH": "/bin"}


def test_a_slow_first_look_keeps_nobody_waiting(
    manager: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """READY comes after a time also while a target is still starting."""
    monkeypatch.setattr(notify, "READY_AFTER", 0.01)

    async def story() -> None:
        told = notifier(manager)
        told.serving(lambda: {"app": "starting"}, asyncio.get_running_loop())
        assert manager.waiting() == ["STATUS=app: starting"]
        assert await asyncio.to_thread(manager.next) == "READY=1"
        told.close()

    asyncio.run(story())


def test_before_the_socket_listens_nobody_is_told_anything(manager: ServiceManager) -> None:
    """What keepers publish while the daemon starts is no reason to be ready."""
    told = notifier(manager)
    told.changed()
    told.reloading()
    told.reloaded()
    assert manager.waiting() == []
    told.close()


def test_a_status_line_comes_at_most_once_a_second_and_the_last_one_counts(manager: ServiceManager) -> None:
    """In between only the latest is kept; what is the same again is not told again."""
    states = {"app": "in_sync"}

    async def story() -> None:
        told = notifier(manager)
        told.serving(lambda: states, asyncio.get_running_loop())
        assert manager.waiting() == ["READY=1", "STATUS=app: in_sync"]
        began = time.monotonic()
        for state in ("drifted", "staging", "ready"):
            states["app"] = state
            told.changed()
        assert manager.waiting() == []
        assert await asyncio.to_thread(manager.next) == "STATUS=app: ready"
        assert time.monotonic() - began > 0.5
        told.changed()
        assert manager.waiting() == []
        told.close()

    asyncio.run(story())


def test_nothing_is_told_behind_the_end(manager: ServiceManager) -> None:
    """Keepers that stop change their states, and a reload may still end; the manager has heard enough."""
    told = notifier(manager)
    with closing(in_a_loop(told, {"app": "in_sync"})):
        told.reloading()
        manager.waiting()
        told.stopping()
        told.stopping()
        told.changed()
        told.reloaded()
        told.reloading()
    assert manager.waiting() == ["STOPPING=1\nSTATUS=stopping"]
    told.close()


def test_a_service_manager_that_does_not_read_keeps_nobody_waiting(manager: ServiceManager) -> None:
    """What had no room comes later, the latest of each kind; the caller goes on at once."""
    told = notifier(manager, watchdog=0.001)
    assert told._channel is not None
    while not told._channel._unsent:
        told._channel.send("STATUS=" + "x" * 1000)
    told._channel.send("STATUS=last")
    told._channel.send("READY=1")
    manager.waiting()
    told.tick()
    assert manager.waiting() == ["STATUS=last", "READY=1", "WATCHDOG=1"]
    told.close()


def test_a_service_manager_that_is_gone_is_complained_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon serves all the same."""
    told = take({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, os.getpid())
    with caplog.at_level(logging.WARNING), closing(in_a_loop(told, {"app": "in_sync"})):
        told.stopping()
    assert [record.getMessage() for record in caplog.records] == [
        "the service manager cannot be told how the daemon is: No such file or directory"
    ]
    told.close()


def test_an_address_of_an_unknown_kind_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Only paths and abstract names are spoken to."""
    assert not take({"NOTIFY_SOCKET": "vsock:2:1234"}, 1).listening
    assert "neither a path nor an abstract name" in caplog.text


@pytest.mark.parametrize(
    ("usec", "whom", "seconds"),
    [
        ("30000000", "", 30.0),
        ("30000000", "17", 30.0),
        ("30000000", "18", None),
        ("", "17", None),
        ("0", "", None),
        ("soon", "", None),
        ("30000000", "me", None),
    ],
)
def test_whose_watchdog_it_is(usec: str, whom: str, seconds: float | None) -> None:
    """A sign of life is wanted where a time is given, and no other process is named."""
    assert watchdog_of(usec, whom, 17) == seconds


def test_a_sign_of_life_is_due_twice_in_its_time(manager: ServiceManager) -> None:
    """The first at the first round, the next after half of the time; in between the loop may sleep."""
    told = notifier(manager, watchdog=60.0)
    told.tick()
    told.tick()
    assert manager.waiting() == ["WATCHDOG=1"]
    assert 29.0 < told.until_due() <= 30.0
    told.close()


def test_many_targets_are_counted() -> None:
    """A few are named with their states; more make a line of counts."""
    assert status_line({}) == "no targets"
    assert status_line({"app": "in_sync", "web": "held"}) == "app: in_sync, web: held"
    many = {f"t{number}": "in_sync" for number in range(7)} | {"t3": "held"}
    assert status_line(many) == "7 targets: 6 in_sync, 1 held"


def test_the_socket_is_closed_to_children() -> None:
    """A child that inherits the descriptor could speak for the daemon."""
    channel = Channel("@driftd-test-nobody")
    assert not channel._socket.get_inheritable()
    assert channel._socket.type == socket.SOCK_DGRAM
    channel.close()
