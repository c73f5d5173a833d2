"""An environment that notes what is read of it. What a configuration depends on is found out by reading it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Noting(Mapping[str, str]):
    """The environment; `asked` are the names that somebody has asked for, set or not, in that order."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._asked: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        self._asked[name] = None
        return self._environment[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environment)

    def __len__(self) -> int:
        return len(self._environment)

    @property
    def asked(self) -> tuple[str, ...]:
        """The names that were asked for."""
        return tuple(self._asked)
