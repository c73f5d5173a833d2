"""The worker's thread, the turns, and the events that followers hear."""

from __future__ import annotations

import asyncio
import threading

import pytest

from driftd.events import KEPT, Events
from driftd.turns import Turns
from driftd.worker import Worker


def test_jobs_run_one_after_another_on_a_thread_of_their_own() -> None:
    """The order is that in which they were given, and none of them runs on the loop's thread."""

    async def story() -> list[object]:
        worker = Worker("test")
        ran: list[object] = []

        def job(number: int) -> int:
            ran.append(threading.current_thread().name)
            return number

        found = await asyncio.gather(*(worker.run(lambda n=n: job(n)) for n in range(5)))  # type: ignore[misc]
        worker.end()
        return [*found, *set(ran)]

    assert asyncio.run(story()) == [0, 1, 2, 3, 4, "driftd-test"]


def test_what_a_job_raises_reaches_its_caller_and_the_next_job_runs() -> None:
    """A job that fails takes nobody with it."""

    async def story() -> str:
        worker = Worker("test")
        with pytest.raises(ZeroDivisionError):
            await worker.run(lambda: 1 // 0)
        found = await worker.run(lambda: "alive")
        worker.end()
        return found

    assert asyncio.run(story()) == "alive"


def test_a_job_that_hangs_is_seen_and_does_not_keep_the_loop() -> None:
    """While a job hangs the loop goes on, and the worker says since when it has been busy."""

    async def story() -> tuple[bool, bool]:
        worker = Worker("test")
        begun, end = threading.Event(), threading.Event()

        def hang() -> None:
            begun.set()
            end.wait(30)

        hanging = asyncio.ensure_future(worker.run(hang))
        await asyncio.to_thread(begun.wait, 30)
        busy = worker.busy_since is not None
        end.set()
        await hanging
        idle = await worker.run(lambda: True)
        worker.end()
        return busy, idle

    assert asyncio.run(story()) == (True, True)


def test_nobody_waits_for_ever_for_a_turn() -> None:
    """One that keeps its turn delays the others by the queue's patience, and no longer."""

    async def story() -> list[str]:
        turns, calm = Turns(at_once=1, patience=0.01), asyncio.Event()
        told: list[str] = []

        async def other() -> None:
            async with turns.turn(calm):
                told.append("other")

        async with turns.turn(calm):
            await other()
            told.append("hanging")
        async with turns.turn(calm):
            told.append("next")
        return told

    assert asyncio.run(story()) == ["other", "hanging", "next"]


def test_whoever_is_hurried_goes_past_the_queue() -> None:
    """A service starts and waits: its target takes no turn, and whoever has one keeps it."""

    async def story() -> list[str]:
        turns, calm, hurried = Turns(at_once=1, patience=60.0), asyncio.Event(), asyncio.Event()
        told: list[str] = []

        async def other() -> None:
            async with turns.turn(hurried):
                told.append("hurried")

        async with turns.turn(calm):
            waiting = asyncio.create_task(other())
            await asyncio.sleep(0)
            hurried.set()
            await waiting
            told.append("first")
        async with turns.turn(calm):
            told.append("next")
        return told

    assert asyncio.run(story()) == ["hurried", "first", "next"]


def test_a_follower_who_does_not_read_loses_the_oldest_and_is_told_how_many() -> None:
    """The queue of a slow follower is bounded; the others hear everything."""

    async def story() -> list[dict[str, object]]:
        events = Events()
        follower = events.follow()
        first = asyncio.ensure_future(anext(follower))
        await asyncio.sleep(0)
        for number in range(KEPT + 10):
            events.publish({"event": "target", "at": str(number)})
        heard = [await first]
        events.end()
        heard += [event async for event in follower]
        return heard

    heard = asyncio.run(story())
    lost = [event for event in heard if event["event"] == "lost"]
    assert len(lost) == 1
    assert lost[0]["count"] == KEPT + 10 - (len(heard) - 1)
    assert heard[-1]["at"] == str(KEPT + 9)


def test_followers_end_with_the_daemon() -> None:
    """When nothing more will happen, who follows is told by the end of the stream, behind what was still waiting."""

    async def story() -> list[str]:
        events = Events()
        follower = events.follow()
        first = asyncio.ensure_future(anext(follower))
        await asyncio.sleep(0)
        events.publish({"event": "stopping", "at": "now"})
        events.end()
        return [(await first)["event"], *[event["event"] async for event in follower]]

    assert asyncio.run(story()) == ["stopping"]
