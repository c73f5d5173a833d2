"""Values that were drawn from the models' callables, handed out one a row, in the rehearsal and in the window alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from driftengine.changes import SqlValue


def hand_out(connection: sqlite3.Connection, values: Mapping[str, Sequence[SqlValue]]) -> None:
    """Makes one SQL function a name; each call returns the next value, and fails when none is left."""
    for name, drawn in values.items():
        connection.create_function(name, 0, _next_of(drawn))


def _next_of(drawn: Sequence[SqlValue]) -> Callable[[], SqlValue]:
    remaining = iter(drawn)

    def following() -> SqlValue:
        return next(remaining)

    return following
