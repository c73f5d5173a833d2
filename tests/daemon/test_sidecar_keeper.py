"""A keeper on a loop of its own, over a real database: what happens between two of its steps, held there on purpose."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from driftd import keeper as keepers
from driftd import states, works
from driftd.config import Request, load
from driftd.daemon import wanted_targets
from driftd.keeper import Around, Keeper
from driftd.locks import Locks
from driftd.turns import Turns
from driftd.watch.watcher import Watcher
from driftd.worker import Worker
from support.sidecars import MODELS, PATIENCE, WIDER, house, make

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import pytest


class Kept:
    """A keeper, and the events that it tells."""

    def __init__(self, folder: Path, name: str = "app") -> None:
        configuration = load(Request(environment={"HOME": str(folder)}, directory=folder))
        self.watcher = Watcher(lambda _owner: None)
        self.watching = Worker("watcher")
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        around = Around(
            self.watcher, self.watching, Turns(), Locks(), self._tell, lambda: True, lambda _name: None, None
        )
        self.keeper = Keeper(wanted_targets(configuration)[name], None, around)

    def _tell(self, event: dict[str, Any]) -> None:
        self.told.put_nowait(event["target"])

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first entry that is told for which the condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition(entry := await self.told.get()):
                pass
        return entry

    async def state(self, state: str) -> dict[str, Any]:
        """The entry as soon as the target stands there with nothing under way."""
        return await self.until(lambda one: one["state"] == state and not one["busy"])


@asynccontextmanager
async def kept(folder: Path) -> AsyncIterator[Kept]:
    """A keeper from its first look to its end."""
    one = Kept(folder)
    one.keeper.start()
    try:
        yield one
    finally:
        await one.keeper.stop()
        await one.watching.run(one.watcher.close)
        one.watching.end()


class Gate:
    """Stands in front of a function: it says when somebody has come, and lets nobody pass before it is opened."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """As the function, later."""
        self.reached.set()
        assert self.opened.wait(PATIENCE)
        return self._function(*arguments, **named)


def test_a_pause_right_before_the_stager_begins_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the stage's mark is taken somebody pauses: no process is started for a stage that nobody wants."""
    make(tmp_path / "app.db")
    house(tmp_path, models=WIDER)
    started = []
    monkeypatch.setattr(works, "stage_apart", lambda *_: started.append(1))

    async def story() -> None:
        async with kept(tmp_path) as one:
            session = one.keeper.session
            gate = Gate(session.begin_stage)
            monkeypatch.setattr(session, "begin_stage", gate)
            await asyncio.to_thread(gate.reached.wait, PATIENCE)
            one.keeper.happen(states.PAUSE)
            gate.opened.set()
            await one.state("paused")

    asyncio.run(story())
    assert started == []


def test_a_check_while_a_stage_is_made_waits_for_the_look_that_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models that are saved back while a stage is made of what they were: the answer is of what they are."""
    make(tmp_path / "app.db")
    house(tmp_path, models=WIDER)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(works, "stage_apart", never)

    async def story() -> dict[str, Any]:
        async with kept(tmp_path) as one:
            await one.until(lambda entry: entry["busy"] == "stage")
            (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")
            return await one.keeper.looked(fresh=False)

    assert asyncio.run(story())["in_sync"]


def test_stopping_twice_is_stopping_once(tmp_path: Path) -> None:
    """Whoever asks again waits for the same end, and gets the same answer."""
    make(tmp_path / "app.db")
    house(tmp_path)

    async def story() -> list[bool]:
        async with kept(tmp_path) as one:
            await one.state("in_sync")
            return [*await asyncio.gather(one.keeper.stop(), one.keeper.stop()), await one.keeper.stop()]

    assert asyncio.run(story()) == [True, True, True]


def test_a_database_that_hung_is_well_again_when_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A glance does not come back: a problem is told; it comes back: the problem goes, without a look."""
    make(tmp_path / "app.db")
    house(tmp_path)
    monkeypatch.setattr(keepers, "HANGING_AFTER", 0.0)

    async def story() -> None:
        async with kept(tmp_path) as one:
            await one.state("in_sync")
            await one.keeper.looked(fresh=False)
            session = one.keeper.session
            gate = Gate(session.glance)
            monkeypatch.setattr(session, "glance", gate)
            one.keeper.rescan()
            await asyncio.to_thread(gate.reached.wait, PATIENCE)
            one.keeper.tick()
            entry = await one.until(lambda entry: entry["problem"] is not None)
            assert entry["problem"]["code"] == "database-hangs"
            looked_at = entry["looked_at"]
            gate.opened.set()
            entry = await one.until(lambda entry: entry["problem"] is None)
            assert entry["looked_at"] == looked_at

    asyncio.run(story())


def test_a_check_waits_for_what_was_saved_while_a_look_was_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models are saved behind the back of a look that has read them; a check asked then tells of the new ones."""
    make(tmp_path / "app.db")
    house(tmp_path, mode="observe")

    async def story() -> None:
        async with kept(tmp_path) as one:
            await one.state("in_sync")
            session = one.keeper.session
            look = session.look
            gate = Gate(lambda: None)

            def late(**named: Any) -> Any:
                document = look(**named)
                gate()
                return document

            monkeypatch.setattr(session, "look", late)
            one.keeper.happen(states.CHANGED)
            await asyncio.to_thread(gate.reached.wait, PATIENCE)
            (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
            asking = asyncio.create_task(one.keeper.looked(fresh=False))
            gate.opened.set()
            assert not (await asking)["in_sync"]

    asyncio.run(story())


def test_models_and_database_that_both_fail_are_not_tried_in_a_loop(tmp_path: Path) -> None:
    """A folder in the database's place, and models that cannot be read: glances come and go, the models rest."""
    house(tmp_path, models="CREATE TABLE")

    async def story() -> None:
        async with kept(tmp_path) as one:
            await one.state("models_unreadable")
            (tmp_path / "app.db").mkdir()
            for _ in range(3):
                await one.keeper._confirming(models=False)
                assert one.keeper.standing.work == states.IDLE
            (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")
            await one.keeper._confirming(models=True)
            assert (await one.state("database_unreadable"))["problem"]["code"] == "database-not-sqlite"

    asyncio.run(story())
