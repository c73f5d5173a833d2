"""Startup windows in tests, as a starter opens them, without its locks."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from driftengine.errors import BusyError
from driftengine.window import Window
from settled import settle
from support.migrations import House

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from driftengine.session import Session


BEFORE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE log (id INTEGER PRIMARY KEY, n INT);"
# One operation with a guard, two without: all of them survive rows that come later.
AFTER = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT);"
    "CREATE TABLE log (id INTEGER PRIMARY KEY, n INT NOT NULL); CREATE INDEX i ON t (a);"
)
COPIED = BEFORE.replace("a TEXT", "a INTEGER")
ROWS = "INSERT INTO t VALUES (1, '10'), (2, '20'); INSERT INTO log VALUES (1, 1);"


def windowed(folder: Path, journal: str) -> House:
    """A database of `BEFORE` with rows, under models of `AFTER`."""
    house = House(folder, journal=journal)
    house.run(BEFORE + ROWS)
    house.models(AFTER)
    settle(house.folder)  # a rest must not be doubted because the files are so young
    return house


def never(*_: object, **__: object) -> None:
    """Stands in place of what is not to be called."""
    raise AssertionError("nothing more was to be done")


def still_open() -> None:
    """The starter is there."""


def closed() -> None:
    """The starter has gone."""
    raise BusyError("the window is closed", code="window-closed", why="its starter has gone")


def window(
    seconds: float = 10.0,
    *,
    name: str = "w1",
    in_use: bool = False,
    require_open: Callable[[], None] = still_open,
) -> Window:
    """A window that ends so many seconds from now."""
    return Window(name, time.monotonic() + seconds, require_open, in_use)


def slow_to_stage(session: Session, seconds: float = 100.0) -> None:
    """As if the kept stage had taken so long to make: the database is large."""
    kept = session._kept
    assert kept is not None
    session._kept = replace(kept, prepared=replace(kept.prepared, took_ms=seconds * 1000))


@contextmanager
def lasting_until_over(the_window: Window, phase: str) -> Iterator[Callable[[str, int, int], None]]:
    """A progress callback in whose first call of the phase the window's time runs out."""
    seen: list[str] = []

    def progress(name: str, _done: int, _total: int) -> None:
        if name == phase and phase not in seen:
            while not the_window.over():
                time.sleep(max(0.0, the_window.left_ms() / 1000))
        seen.append(name)

    yield progress
    assert phase in seen


def freshness(session: Session) -> str:
    """How fresh the kept stage is; `none` where there is none."""
    document = session.stage_document()
    return "none" if document is None else str(document["freshness"])


def put_off(done: dict[str, Any], code: str = "window-deadline") -> bool:
    """True for the document of a start that changed nothing."""
    nothing = (done["applied"], done["migration_id"], done["backup"], done["stage"]) == ([], None, None, None)
    return nothing and (done["outcome"], done["error"]["code"]) == ("deferred", code)
