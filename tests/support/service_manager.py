"""A service manager's end of NOTIFY_SOCKET: a real datagram socket that a test reads, line by line."""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from support.sidecars import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class ServiceManager:
    """Listens on an address, `/path` or `@name`; `heard` has every datagram so far, without being asked."""

    address: str
    heard: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        return self

    def __exit__(self, *_raised: object) -> None:
        self._socket.close()

    def next(self) -> str:
        """The next datagram."""
        self._socket.settimeout(PATIENCE)
        text = self._socket.recv(65536).decode()
        self.heard.append(text)
        return text

    def until(self, condition: Callable[[str], bool]) -> str:
        """The first datagram from now on for which the condition holds."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            if condition(text := self.next()):
                return text
        raise AssertionError(self.heard)

    def comes_within(self, seconds: float) -> bool:
        """True when a datagram comes before that time is over; for what must not come at all."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def waiting(self) -> list[str]:
        """What lies there now."""
        self._socket.settimeout(0)
        found = []
        try:
            while True:
                found.append(self._socket.recv(65536).decode())
        except BlockingIOError:
            self.heard += found
            return found
