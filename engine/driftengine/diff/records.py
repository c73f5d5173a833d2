"""The words of a comparison: base, the sides that are compared, and what came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from driftengine.changes import BOTH, DATABASE, MODELS, removal

if TYPE_CHECKING:
    from collections.abc import Callable

    from driftengine.changes import Difference
    from driftengine.schema import Schema, StoredObject


@dataclass(frozen=True, slots=True)
class Base:
    """What driftd left behind last time, what the models described then, and which removals wait for a person since."""

    actual: Schema
    desired: Schema
    waiting: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Drift:
    """All differences, and the objects that are left alone."""

    differences: tuple[Difference, ...]
    unmanaged: tuple[StoredObject, ...]


@dataclass(frozen=True, slots=True)
class Sides:
    """The schemas that are compared. `base` is None at the first meeting."""

    desired: Schema
    actual: Schema
    base: Base | None = None
    ignore: tuple[str, ...] = field(default=())

    def ignored(self, *names: str) -> bool:
        """True when one of the names fits an `ignore` pattern of the configuration."""
        return any(
            fnmatchcase(name.lower(), pattern.lower()) for name in names if name for pattern in self.ignore
        )

    def origin(self, item: Callable[[Schema], object]) -> str:
        """Who moved, told by comparing what `item` finds in base with what it finds now."""
        if self.base is None:
            return MODELS
        database_moved = item(self.base.actual) != item(self.actual)
        models_moved = item(self.base.desired) != item(self.desired)
        if database_moved:
            return BOTH if models_moved else DATABASE
        return MODELS

    def described(self, item: Callable[[Schema], object], kind: str, table: str, name: str) -> bool:
        """True when the models once described the item: base says so, or its removal has been waiting ever since."""
        if self.base is None:
            return False
        return bool(item(self.base.desired)) or removal(kind, table, name) in self.base.waiting
