"""What the daemon tells the service manager that started it: that it is ready, what it does, and that it is alive.

The protocol is sd_notify(3), https://www.freedesktop.org/software/systemd/man/sd_notify.html: assignments, a line each, in a
datagram to the socket that NOTIFY_SOCKET names. Without that variable nothing is done here at all. Standard library alone.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, MutableMapping

READY_AFTER = 5.0  # seconds that the first looks get before others are let go on
STATUS_EVERY = 1.0  # seconds between two status lines at least
EARLY = 0.1  # seconds that a sign of life may come before its time: sooner is well, later is not
NAMED = 4  # targets whose states are listed one by one
STARTING = "starting"

log = logging.getLogger("driftd.notify")


class Channel:
    """The service manager's socket. `address` is a path, or begins with @ (an abstract name)."""

    def __init__(self, address: str) -> None:
        self.address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        # A service manager that hangs must not hang the loop.
        self._socket.settimeout(0)
        self._unsent: dict[str, str] = {}
        self._broken = False

    def send(self, text: str) -> None:
        """Sends assignments; what the socket has no room for goes before the next ones, the latest of each kind."""
        self._unsent.pop(kind := text.partition("=")[0], None)
        self._unsent[kind] = text
        self.flush()

    def flush(self) -> None:
        """Sends what had no room before."""
        while self._unsent:
            kind, text = next(iter(self._unsent.items()))
            try:
                self._socket.sendto(text.encode(), self.address)
            except BlockingIOError:
                return
            except OSError as error:
                self._unsent.clear()
                # Once: the service manager may be gone for good, and the daemon serves all the same.
                log.log(logging.DEBUG if self._broken else logging.WARNING, "%s", untold(error))
                self._broken = True
                return
            del self._unsent[kind]

    def close(self) -> None:
        """Nothing can be sent any more."""
        self._socket.close()


def untold(error: OSError) -> str:
    """The sentence for a service manager that cannot be reached."""
    return f"the service manager cannot be told how the daemon is: {error.strerror or error}"


class Notifier:
    """Tells the service manager, if there is one. To be used from the loop's thread.

    Args:
        channel: None where no service manager listens: then every method does nothing.
        watchdog: seconds in which it wants a sign of life, None when it wants none.
    """

    def __init__(self, channel: Channel | None, watchdog: float | None = None) -> None:
        self.listening = channel is not None
        self.watchdog = watchdog if channel is not None else None
        self._channel = channel
        self._alive_at = -math.inf
        self._states: Callable[[], Mapping[str, str]] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._ready = self._reloading = self._stopping = False
        self._status, self._status_at = "", -math.inf
        self._later: asyncio.TimerHandle | None = None

    def serving(self, states: Callable[[], Mapping[str, str]], loop: asyncio.AbstractEventLoop) -> None:
        """The socket listens. `states` tells the state of each target; ready is said when none is `starting`."""
        if not self.listening:
            return
        self._states, self._loop = states, loop
        loop.call_later(READY_AFTER, self._say_ready)
        self.changed()

    def changed(self) -> None:
        """The state of a target may be another one."""
        if self._states is None or self._stopping:  # before the socket listens, nobody could be served
            return
        states = self._states()
        if STARTING not in states.values():
            self._say_ready()
        self._say_status(status_line(states))

    def reloading(self) -> None:
        """The configuration is about to be read again, because the service manager asked for it."""
        if self._ready and not self._stopping:
            self._reloading = True
            # systemd takes it for the answer to its own signal only with the time (since 253).
            self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """It was read, or refused."""
        if self._reloading and not self._stopping:
            self._reloading = False
            self._send("READY=1")
        self.changed()

    def stopping(self) -> None:
        """The daemon is about to end; nothing is told behind this."""
        if self.listening and not self._stopping:
            self._stopping = True
            self._send("STOPPING=1\nSTATUS=stopping")

    def tick(self) -> None:
        """The loop has come round: a sign of life, if it is time for one. A loop that hangs gives none."""
        if self._channel is None:
            return
        self._channel.flush()
        if self.watchdog is not None and self.until_due() <= EARLY:
            self._alive_at = time.monotonic()
            self._channel.send("WATCHDOG=1")

    def until_due(self) -> float:
        """Seconds until the next sign of life; infinite where nobody wants one."""
        return math.inf if self.watchdog is None else self._alive_at + self.watchdog / 2 - time.monotonic()

    def close(self) -> None:
        """The daemon has ended."""
        if self._later is not None:
            self._later.cancel()
        if self._channel is not None:
            self._channel.close()

    def _say_ready(self) -> None:
        if not self._ready and not self._stopping:
            self._ready = True
            self._send("READY=1")

    def _say_status(self, status: str) -> None:
        if status == self._status or self._later is not None:
            return
        wait = self._status_at + STATUS_EVERY - time.monotonic()
        if wait > 0:
            self._later = self._loop.call_later(wait, self._say_status_later)
            return
        self._status, self._status_at = status, time.monotonic()
        self._send(f"STATUS={status}")

    def _say_status_later(self) -> None:
        self._later = None
        self.changed()

    def _send(self, text: str) -> None:
        if self._channel is not None:
            self._channel.send(text)


def take(environment: MutableMapping[str, str], pid: int) -> Notifier:
    """The notifier for this process. Takes its variables out of the environment: they are not for our children."""
    address = environment.pop("NOTIFY_SOCKET", "")
    usec, whom = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
    if not address.startswith(("/", "@")):
        if address:
            log.warning("NOTIFY_SOCKET=%s is neither a path nor an abstract name: nothing is told", address)
        return Notifier(None)
    return Notifier(Channel(address), watchdog_of(usec, whom, pid))


def watchdog_of(usec: str, whom: str, pid: int) -> float | None:
    """Seconds in which a sign of life is wanted of this process, by WATCHDOG_USEC and WATCHDOG_PID; None for none."""
    with contextlib.suppress(ValueError):  # what is no number was meant for somebody else
        if (not whom or int(whom) == pid) and int(usec) > 0:
            return int(usec) / 1_000_000
    return None


def status_line(states: Mapping[str, str]) -> str:
    """One line for `systemctl status`: `app: in_sync, web: held`, or counts where there are many targets."""
    if not states:
        return "no targets"
    if len(states) <= NAMED:
        return ", ".join(f"{name}: {state}" for name, state in states.items())
    counts = Counter(states.values()).most_common()
    return f"{len(states)} targets: " + ", ".join(f"{count} {state}" for state, count in counts)
