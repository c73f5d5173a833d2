"""Keepers that are exchanged at an awkward moment: during the start, while an apply goes on, while a link is turned."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

from driftd import daemon as daemons
from driftd import keeper as keepers
from driftd.config import Request
from driftd.daemon import Daemon
from driftd.locks import Locks, is_served
from support.sidecars import CONFIGURATION, NARROWER, PATIENCE, WIDER, columns, house, make

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import pytest

    from driftengine.target import Target

WEB = '\n[targets.web]\nurl = "sqlite:///web.db"\nmodels = ["models.sql"]\n'


def prepared(folder: Path) -> Daemon:
    """A daemon on this process's loop that does not serve yet."""
    return Daemon(Request(environment={"HOME": str(folder)}, directory=folder))


@asynccontextmanager
async def serving(daemon: Daemon) -> AsyncIterator[Daemon]:
    """The daemon from the moment its socket answers to its end."""
    running = asyncio.ensure_future(daemon.run())
    try:
        await until(lambda: daemon._rescanned > 0 and bool(daemon.keepers), running)
        yield daemon
    finally:
        daemon._stop.set()
        await running


async def until(condition: Callable[[], bool], running: asyncio.Future[None] | None = None) -> None:
    """Lets the loop turn until something holds that nobody announces; a daemon that fails meanwhile is raised."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            if running is not None and running.done():
                running.result()
            await asyncio.sleep(0.01)


def codes(daemon: Daemon) -> list[str]:
    """Of what it complains of as a whole."""
    return [one["code"] for one in daemon.problems]


def test_a_hang_up_while_it_starts_is_no_second_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload that is asked for while the first locks are taken comes behind that, and finds nothing to change."""
    make(tmp_path / "app.db")
    house(tmp_path)

    async def story() -> None:
        daemon = prepared(tmp_path)
        exchange = daemon._keepers.exchange
        asked: list[asyncio.Future[dict[str, object]]] = []

        async def exchanging(gone: list[str], new: dict[str, Target]) -> list[str]:
            if not asked:
                asked.append(asyncio.ensure_future(daemon.reload()))
                # As long as a hand-over between threads may take: the other one gets every chance to be first.
                await asyncio.wait(asked, timeout=0.3)
            return await exchange(gone, new)

        monkeypatch.setattr(daemon._keepers, "exchange", exchanging)
        async with serving(daemon):
            assert (await asked[0])["kept"] == ["app"]
            assert codes(daemon) == []

    asyncio.run(story())


def test_an_apply_that_outlasts_a_reload_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is reloaded in a loop meanwhile; behind its end the next rescan serves the new settings, not paused."""
    monkeypatch.setattr(keepers, "STOP_PATIENCE", 0.2)
    monkeypatch.setattr(keepers, "STOP_AGAIN", 0.2)
    make(tmp_path / "app.db")
    house(tmp_path, mode="dev", configuration=CONFIGURATION + "\n[targets.app.window]\ntimeout = 60\n")
    path = tmp_path / "driftd.toml"

    async def story() -> None:
        async with serving(prepared(tmp_path)) as daemon:
            await daemon.keepers["app"].settled()
            with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as service:
                service.execute("BEGIN IMMEDIATE")
                (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
                await until(lambda: daemon.keepers["app"].standing.work == "apply")
                before = daemon.keepers["app"]
                path.write_text(
                    path.read_text(encoding="utf-8").replace("timeout = 60", "timeout = 59"), encoding="utf-8"
                )
                await daemon.reload()
                assert codes(daemon) == ["target-leaving"]
                await until(lambda: daemon._reload_at is None)
                await daemon._confirm_configuration()
                assert daemon._reload_at is None, "only the rescan tries again"
                assert daemon.keepers["app"] is before
                assert is_served(tmp_path / "app.db", tmp_path) is not None
                service.execute("ROLLBACK")
            await until(lambda: before.standing.work == "")
            daemon.rescan()
            await until(lambda: daemon.keepers["app"] is not before and codes(daemon) == [])
            assert (await daemon.keepers["app"].settled())["state"] == "in_sync"
            assert columns(tmp_path / "app.db") == ["id", "title", "state"]

    asyncio.run(story())


def test_a_removed_target_whose_apply_goes_on_is_let_go_of_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown, locked and told of until it has ended; the next rescan frees its database."""
    monkeypatch.setattr(keepers, "STOP_PATIENCE", 0.2)
    monkeypatch.setattr(keepers, "STOP_AGAIN", 0.2)
    make(tmp_path / "app.db")
    make(tmp_path / "web.db")
    both = CONFIGURATION + WEB + 'mode = "dev"\n[targets.web.window]\ntimeout = 60\n'
    house(tmp_path, configuration=both)

    async def story() -> None:
        async with serving(prepared(tmp_path)) as daemon:
            web = daemon.keepers["web"]
            await web.settled()
            with closing(sqlite3.connect(tmp_path / "web.db", isolation_level=None)) as service:
                service.execute("BEGIN IMMEDIATE")
                (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
                await until(lambda: web.standing.work == "apply")
                (tmp_path / "driftd.toml").write_text(CONFIGURATION.format(mode="window"), encoding="utf-8")
                await daemon.reload()
                assert (sorted(daemon.keepers), codes(daemon)) == (["app", "web"], ["target-leaving"])
                service.execute("ROLLBACK")
            # A rescan of the daemon's own may have let go of it by then.
            await until(lambda: web.standing.work == "")
            daemon.rescan()
            await until(lambda: sorted(daemon.keepers) == ["app"] and codes(daemon) == [])
            assert is_served(tmp_path / "web.db", tmp_path) is None

    asyncio.run(story())


def test_a_link_that_is_turned_behind_the_lock_is_not_followed_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is one database's and the session has opened the other: nothing is done before the locks agree with it."""
    make(tmp_path / "v1.db")
    make(tmp_path / "v2.db")
    (tmp_path / "app.db").symlink_to("v1.db")
    house(tmp_path, mode="dev", models=NARROWER)
    looked: list[str] = []

    async def story() -> None:
        daemon = prepared(tmp_path)
        start = keepers.Keeper.start

        def starting(self: keepers.Keeper, *, paused: bool = False) -> None:
            if not looked:
                (tmp_path / "new").symlink_to("v2.db")
                (tmp_path / "new").replace(tmp_path / "app.db")
            looked.append(self.database)
            start(self, paused=paused)

        monkeypatch.setattr(keepers.Keeper, "start", starting)
        async with serving(daemon):
            await until(lambda: len(looked) > 1)
            entry = await daemon.keepers["app"].settled()
            assert looked == [str(tmp_path / "v1.db"), str(tmp_path / "v2.db")]
            assert (entry["database"], entry["state"]) == (str(tmp_path / "v2.db"), "held")
            assert is_served(tmp_path / "v1.db", tmp_path) is None
            assert is_served(tmp_path / "v2.db", tmp_path) is not None

    asyncio.run(story())


def test_a_link_that_comes_back_ends_the_complaint_about_where_it_led(tmp_path: Path) -> None:
    """Turned to a database that another daemon serves it is a problem; turned back, the rescan finds none any more."""
    make(tmp_path / "v1.db")
    make(tmp_path / "v2.db")
    (tmp_path / "app.db").symlink_to("v1.db")
    house(tmp_path)
    other = Locks().serve(tmp_path / "v2.db", state_folder=tmp_path)

    def turn(name: str) -> None:
        (tmp_path / "new").symlink_to(name)
        (tmp_path / "new").replace(tmp_path / "app.db")

    async def story() -> None:
        async with serving(prepared(tmp_path)) as daemon:
            await daemon.keepers["app"].settled()
            turn("v2.db")
            daemon.rescan()
            await until(lambda: codes(daemon) != [])
            assert daemon.keepers["app"].entry()["database"] == str(tmp_path / "v1.db")
            turn("v1.db")
            daemon.rescan()
            await until(lambda: codes(daemon) == [])

    try:
        asyncio.run(story())
    finally:
        other.release()
    assert columns(tmp_path / "v2.db") == ["id", "title"]


def test_a_configuration_that_hangs_does_not_keep_the_daemon_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder does not answer while it is read again: the end waits for that a while, and then for nothing more."""
    monkeypatch.setattr(daemons, "RELOAD_PATIENCE", 0.2)
    make(tmp_path / "app.db")
    house(tmp_path)
    reads, answers = threading.Event(), threading.Event()

    async def story() -> None:
        async with serving(prepared(tmp_path)) as daemon:
            await daemon.keepers["app"].settled()

            def hangs(_request: Request) -> None:
                reads.set()
                answers.wait(PATIENCE)

            monkeypatch.setattr(daemons, "content_of", hangs)
            daemon._spawn(daemon._reload_and_tell())
            await until(reads.is_set)
        assert not answers.is_set()
        assert is_served(tmp_path / "app.db", tmp_path) is None

    try:
        asyncio.run(story())
    finally:
        answers.set()
