"""A thread that runs one blocking job at a time for a target, so that one that hangs delays nobody else."""

from __future__ import annotations

import asyncio
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Worker:
    """Jobs in the order in which they were given. To be used from the loop's thread alone."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], object], asyncio.Future[object]] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self.busy_since: float | None = None
        self._ended = False
        # A daemon thread: one that hangs in a system call must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=f"driftd-{name}", daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], T]) -> T:
        """What the job returns, or raises. The job goes on to its end when the caller is cancelled.

        Raises RuntimeError behind `end`: nobody would ever come for the job, and the caller would wait for ever.
        """
        if self._ended:
            message = f"{self._thread.name} has ended"
            raise RuntimeError(message)
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((job, future))  # type: ignore[arg-type]  # a queue of jobs of any type
        return await future

    def end(self) -> None:
        """No more jobs; the thread ends behind the last one."""
        self._ended = True
        self._jobs.put(None)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            self.busy_since = time.monotonic()
            result: object = None
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001  # it is the caller's, who waits on the loop
                # asyncio refuses a StopIteration, and whoever waits would wait for ever.
                told = RuntimeError(repr(error)) if isinstance(error, StopIteration) else error
                self._report(future.set_exception, future, told)
            else:
                self._report(future.set_result, future, result)
            self.busy_since = None
            del item, job, future, result  # an idle thread keeps nothing of its last job alive

    def _report(self, report: Callable[..., None], future: asyncio.Future[object], value: object) -> None:
        def told() -> None:
            if not future.done():
                report(value)

        try:
            self._loop.call_soon_threadsafe(told)
        except RuntimeError:
            return  # the loop has ended before a job that hung
