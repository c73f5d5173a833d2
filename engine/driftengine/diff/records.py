"""The words of a comparison: base, the sides that are compared, and what came out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from driftengine.changes import BOTH, DATABASE, MODELS, removal
from driftengine.diff.naming import fits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from driftengine.changes import Difference, Named, Rename
    from driftengine.schema import Schema, StoredObject

NOTHING = "nothing"  # how a version of something is told that has none


@dataclass(frozen=True, slots=True)
class Base:
    """What driftd left behind last time, what the models described then, and which removals wait for a person since."""

    actual: Schema
    desired: Schema
    waiting: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Drift:
    """All differences, and the objects that are left alone.

    `accepted` are differences that a person has agreed upon, `ignored` those that the configuration leaves out: neither
    is drift. `renames` are those among the differences that can be carried out: all others are told under the new names.
    """

    differences: tuple[Difference, ...]
    unmanaged: tuple[StoredObject, ...]
    accepted: tuple[Difference, ...] = ()
    ignored: tuple[Difference, ...] = ()
    renames: tuple[Rename, ...] = ()

    def without(self, ignored: Sequence[Difference]) -> Drift:
        """The drift with these differences among the ignored."""
        left = tuple(d for d in self.differences if not any(d is one for one in ignored))
        return replace(self, differences=left, ignored=(*self.ignored, *ignored))


@dataclass(frozen=True, slots=True)
class Sides:
    """The schemas that are compared. `base` is None at the first meeting."""

    desired: Schema
    actual: Schema
    base: Base | None = None
    ignore: tuple[str, ...] = field(default=())

    def ignored(self, *names: str) -> bool:
        """True when one of the names fits an `ignore` pattern of the configuration."""
        return any(fits(pattern, plain=names) for pattern in self.ignore)

    def origin(self, item: Callable[[Schema], object], wish: Callable[[Schema], object] | None = None) -> str:
        """Who moved, told by comparing what `item` finds in base with what it finds now.

        Where the models may have moved within what `item` only finds missing, `wish` is what is compared of them.
        """
        if self.base is None:
            return MODELS
        wish = wish or item
        database_moved = item(self.base.actual) != item(self.actual)
        models_moved = wish(self.base.desired) != wish(self.desired)
        if database_moved:
            return BOTH if models_moved else DATABASE
        return MODELS

    def versions(self, shown: Callable[[Schema], str]) -> tuple[str, str, str]:
        """What the models want, what the database has and what base was, in words."""
        base = shown(self.base.actual) or NOTHING if self.base is not None else ""
        return shown(self.desired) or NOTHING, shown(self.actual) or NOTHING, base

    def described(self, item: Callable[[Schema], object], kind: str, table: str, name: str) -> bool:
        """True when the models once described the item: base says so, or its removal has been waiting ever since."""
        if self.base is None:
            return False
        return bool(item(self.base.desired)) or removal(kind, table, name) in self.base.waiting

    def in_the_way(self, key: str, *, last: bool) -> str:
        """What bears the name of something new and is not about to go, in words, or "" where the name is free.

        Views go before anything is made, tables after new tables and before what is made `last`.
        """
        kinds: tuple[tuple[str, str, bool, Callable[[Schema], Mapping[str, Named]]], ...] = (
            ("view", "", True, lambda schema: schema.views),
            ("table", key, last, lambda schema: schema.tables),
            ("virtual_table", key, last, lambda schema: schema.virtual_tables),
        )
        for kind, table, goes_before, of in kinds:
            there = of(self.actual).get(key)
            if there is None or key in of(self.desired):
                continue
            going = self.described(_member(of, key), kind, table, there.name)
            if not (going and goes_before):
                return f"a {kind.replace('_', ' ')}"
        return ""


def _member(of: Callable[[Schema], Mapping[str, Named]], key: str) -> Callable[[Schema], object]:
    return lambda schema: of(schema).get(key)
