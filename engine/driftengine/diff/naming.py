"""How people name what differs: `orders`, `orders.note`, `tmp_*`, `orders.x_*`. Pure.

The same names serve in the configuration (`ignore`) and on the command line (`adopt`, `revert`, `ignore`).
"""

from __future__ import annotations

import glob
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from driftengine.changes import RENAME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from driftengine.changes import Difference

_WHOLE = frozenset({"table", "virtual_table", "view"})  # they stand alone
_NAMED_BY_THEMSELVES = frozenset({"index", "trigger"})  # of one table, but no two in a database share a name


def plain_names(d: Difference) -> tuple[str, ...]:
    """The names without a table: of the object itself, and of the table that it belongs to."""
    names = [d.table, d.name] if d.object in _WHOLE | _NAMED_BY_THEMSELVES else [d.table]
    if d.change == RENAME and d.object == "table":
        names.append(d.actual.name)
    return tuple(dict.fromkeys(name.lower() for name in names if name))


def dotted_names(d: Difference) -> tuple[str, ...]:
    """The names with a table: `orders.note` for a column, a constraint, an index or a trigger of `orders`.

    A primary key is `orders.primary_key`, an option `orders.strict` or `orders.without_rowid`.
    """
    if d.object in _WHOLE or not d.table:
        return ()
    own = [{"primary_key": "primary_key", "option": d.aspect}.get(d.object, d.name)]
    if d.change == RENAME:
        own.append(d.actual.name)
    return tuple(dict.fromkeys(f"{d.table}.{name}".lower() for name in own))


def names_of(d: Difference) -> tuple[str, ...]:
    """All names of a difference, the most exact first."""
    return (*dotted_names(d), *reversed(plain_names(d)))


def fits(pattern: str, *, plain: Iterable[str], dotted: Iterable[str] = ()) -> bool:
    """True when a name fits the pattern, in any case of letters; one with a dot may mean a part of a table.

    One without a dot never does: `*_old` means objects, not the columns of all tables.
    """
    folded = pattern.lower()
    names = [name for name in plain if name]
    names += dotted if "." in pattern else ()
    return any(name.lower() == folded or fnmatchcase(name.lower(), folded) for name in names)


def literal(name: str) -> str:
    """The pattern that this name alone fits: a bracket in a name stands for no other letters."""
    return glob.escape(name)


def meant_by(d: Difference, pattern: str) -> bool:
    """True when the pattern names this difference, or the whole that it is a part of."""
    return fits(pattern, plain=plain_names(d), dotted=dotted_names(d))
