"""The demo's daemon: the real `driftd run`, followed by the events of its socket, and gone when the block ends."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from psutil import wait_procs

from driftd.client import Client, ClientError, NoDaemon
from driftd.demo.surprise import Surprise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from driftd.demo.tracker import Tracker

    Entry = dict[str, Any]

PATIENCE = 30.0  # seconds until something that must happen counts as not happening
END_PATIENCE = 10.0  # seconds that it gets to end by itself before it is killed


class Sidecar:
    """A daemon that runs. Two threads only read: what it says on stderr, and what it tells on its socket."""

    def __init__(self, tracker: Tracker) -> None:
        self.log: list[str] = []
        self._tracker = tracker
        self._said: SimpleQueue[str | None] = SimpleQueue()
        self._happened: SimpleQueue[tuple[float, Entry] | None] = SimpleQueue()
        self._process = tracker.begin("run", "--log", "plain")
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._hearer: threading.Thread | None = None
        self._client = Client(tracker.socket, timeout=PATIENCE)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def until(self, condition: Callable[[Entry], bool], what: str) -> tuple[Entry, float]:
        """The target as the first event shows it for which this holds, and when that was heard, on the monotonic clock.

        Raises Surprise where it does not come about.
        """
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                happened = self._happened.get(timeout=max(0.0, give_up - time.monotonic()))
            except Empty:
                raise self._surprise(f"{what}: that did not happen within {PATIENCE:g} s") from None
            if happened is None:
                raise self._surprise(f"{what}: the daemon ended before that")
            at, entry = happened
            if condition(entry):
                return entry, at

    def end(self) -> int:
        """End it as a supervisor does, with SIGTERM; its exit code. Raises Surprise where it does not end."""
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise self._surprise(f"the daemon did not end within {PATIENCE:g} s") from None
        self._reader.join(END_PATIENCE)
        return code

    def follow(self) -> None:
        """Follow its events as soon as it listens. Raises Surprise when it ends instead."""
        try:
            events = self._events()
            # Events first: what changes between the two questions is then heard twice, not never.
            with Client(self._tracker.socket, timeout=PATIENCE) as client:
                for entry in client.do_status()["targets"]:
                    self._happened.put((time.monotonic(), entry))
        except ClientError as error:
            raise self._surprise(str(error)) from error
        self._hearer = threading.Thread(target=self._hear, args=(events,), daemon=True)
        self._hearer.start()

    def close(self) -> None:
        """No process and no thread is left, whatever has happened."""
        try:
            if self._process.poll() is None:
                self._process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(END_PATIENCE)
        finally:
            # Also after a second Ctrl-C.
            self._process.kill()
            self._process.wait()
        # What a killed daemon leaves at work ends by itself; before that the folder cannot go.
        wait_procs(self._tracker.processes(), END_PATIENCE)
        self._reader.join(END_PATIENCE)
        if self._hearer is not None:
            self._hearer.join(END_PATIENCE)
        self._client.close()

    def _events(self) -> Iterator[Entry]:
        """Each line of its log is a reason to try: the one that says it serves comes when it listens."""
        while True:
            try:
                line = self._said.get(timeout=PATIENCE)
            except Empty:
                raise self._surprise(f"the daemon did not listen within {PATIENCE:g} s") from None
            if line is None:
                raise self._surprise("the daemon ended at once")
            with suppress(NoDaemon):
                return self._client.do_events()

    def _hear(self, events: Iterator[Entry]) -> None:
        # A daemon that goes away without a word ends the events as well; nobody is left to wait for then.
        with suppress(ClientError):
            for event in events:
                if event["event"] == "target":
                    self._happened.put((time.monotonic(), event["target"]))
        self._happened.put(None)

    def _read_log(self) -> None:
        assert self._process.stderr is not None  # noqa: S101  # it is a pipe
        with self._process.stderr as stream:
            for line in stream:
                self.log.append(line.rstrip("\n"))
                self._said.put(line)
        self._said.put(None)

    def _surprise(self, what: str) -> Surprise:
        said = "\n".join(f"  {line}" for line in self.log[-20:])
        return Surprise(f"{what}; it has said:\n{said}" if said else what)


@contextmanager
def running(tracker: Tracker) -> Iterator[Sidecar]:
    """A daemon in the tracker's folder, which listens; whatever happens in the block, it is gone afterwards."""
    sidecar = Sidecar(tracker)
    try:
        sidecar.follow()
        yield sidecar
    finally:
        sidecar.close()
