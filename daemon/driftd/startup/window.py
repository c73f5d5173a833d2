"""The startup window for a service that is written in Python: `with driftd.startup_window(url):`. docs/python.md.

Nothing that driftd cannot do is raised: the service starts, and the answer says what is the case.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from driftd.startup.answers import broken, not_told, whole
from driftd.startup.places import Asked, Place, placed
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from driftd.startup.alone import Alone
    from driftd.startup.starter import Starter

Document: TypeAlias = dict[str, Any]
Stay: TypeAlias = 'bool | Literal["block"]'

ALLOWED_BY = "startup window in Python, no daemon"

logger = logging.getLogger("driftd.startup")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a startup window.

    Args:
        outcome: `up_to_date`, `migrated`, `held`, `blocked`, `deferred`, `failed`, `unknown` or `skipped`.
        operations: how many were applied.
        migration_id: the id of the migration in the history, None where nothing was applied.
        duration_ms: how long the engine took.
        held: the operations that wait for a person.
        blocked: those that wait for rows to be put right.
        backup: `{id, path, sha256, verified}` of the migration's backup.
        warnings: sentences for people.
        error: `{code, what, why, fix}` where something stood in the way.
        document: all of it, as docs/window-protocol.md describes it.
    """

    outcome: str
    operations: int
    migration_id: str | None
    duration_ms: float
    held: tuple[Document, ...]
    blocked: tuple[Document, ...]
    backup: Document | None
    warnings: tuple[str, ...]
    error: Document | None
    document: Document

    @property
    def whole(self) -> bool:
        """True when the schema is the one that the models describe: nothing waits."""
        return self.outcome in {"up_to_date", "migrated"} and not self.held and not self.blocked

    @classmethod
    def of(cls, document: Document) -> Answer:
        """The answer in a document of the protocol; keys that it lacks, as another's may, count as nothing."""
        return cls(
            outcome=str(document.get("outcome")),
            operations=document.get("operations") or 0,
            migration_id=document.get("migration_id"),
            duration_ms=document.get("duration_ms") or 0.0,
            held=tuple(document.get("held") or ()),
            blocked=tuple(document.get("blocked") or ()),
            backup=document.get("backup"),
            warnings=tuple(document.get("warnings") or ()),
            error=document.get("error"),
            document=document,
        )


def startup_window(
    url: Any = None,
    *,
    models: str | Sequence[str] | None = None,
    target: str | None = None,
    config: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    stay: Stay = True,
) -> AbstractContextManager[Answer]:
    """A context manager that has the database brought in step before its block runs, and gives the Answer.

    When the block begins the window is closed again, and the service may open its database. Raises TypeError or ValueError
    at once for arguments that make no sense, and nothing later.

    Args:
        url: the database: a SQLAlchemy URL, as text or as the object. None: that of the configured target.
        models: `package.module:attribute`, or several. None: those of the configured target with the same database.
        target: which of the configuration's targets.
        config: the configuration file; None to look in the usual places.
        timeout: seconds that this may take in all. None: the target's `window.timeout`, 15 where nothing says.
        stay: how long others are told that a service runs on this schema, so that nobody changes it under its feet: to the
            end of the process (True), of the block ("block"), or not at all (False).
    """
    return _Window(Attempt(_asked(url, models, target, config), timeout=_timeout(timeout), stay=_stay(stay)))


def async_startup_window(
    url: Any = None,
    *,
    models: str | Sequence[str] | None = None,
    target: str | None = None,
    config: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    stay: Stay = True,
) -> AbstractAsyncContextManager[Answer]:
    """As `startup_window`, for `async with`: other tasks run on meanwhile.

    A task that is cancelled gives the window up: the locks are free at once, and nothing is committed any more.
    """
    return _AsyncWindow(
        Attempt(_asked(url, models, target, config), timeout=_timeout(timeout), stay=_stay(stay))
    )


class Attempt:
    """One window, from the first look at the configuration to the answer. `run` it on any thread, once."""

    def __init__(self, asked: Asked, *, timeout: float | None = None, stay: Stay = True) -> None:
        self.asked, self.timeout, self.stay = asked, timeout, stay
        self._guard = threading.Lock()
        self._starter: Starter | None = None
        self._child: Alone | None = None
        self._given_up = False
        self._stays_in = ""

    def run(self) -> Answer:
        """Opens the window, waits for the answer, closes it. Raises nothing but KeyboardInterrupt and SystemExit."""
        began = time.monotonic()
        try:
            return self._through(placed(self.asked, os.environ, Path.cwd()), began)
        except DriftError as error:
            return _skipped(error.as_document())
        except Exception as error:
            # Whatever driftd has overlooked, the service is to start, as it would without driftd.
            logger.exception("the startup window failed")
            return _skipped(broken(error))

    def _through(self, place: Place, began: float) -> Answer:
        from driftd.startup.starter import Starter

        timeout = place.timeout if self.timeout is None else self.timeout
        starter = Starter(place.database, timeout=timeout, began=began)
        with self._guard:
            # Before it waits for its turn, so that it can be given up there too.
            self._starter = starter
            if self._given_up:
                starter.until = began
        try:
            found = Answer.of(starter.answer(lambda window: self._alone(place, window)))
            return self._staying(starter, found) if self.stay is not False else found
        finally:
            starter.close()
            if self._given_up:
                self.end()  # it may have begun to stay right before

    def _alone(self, place: Place, starter: Starter) -> Document:
        """What answers where no daemon does: the engine, in a child process."""
        from driftd.startup.alone import Alone

        if place.request is None:
            return {"outcome": "skipped", "error": dict(place.error or {})}
        with Alone({**place.request, "allowed_by": ALLOWED_BY}) as alone:
            with self._guard:
                self._child = alone
                if self._given_up:
                    alone.give_up()
            return alone.run(starter)

    def _staying(self, starter: Starter, found: Answer) -> Answer:
        if starter.stay() is not None or found.outcome == "skipped":
            return found  # without a window there is no lock either, which the answer's error tells
        return replace(found, warnings=(*found.warnings, not_told(starter.inuse_path)))

    def give_up(self) -> None:
        """From another thread: frees the locks now. What has not been committed by then is rolled back."""
        with self._guard:
            self._given_up = True
            starter, child = self._starter, self._child
        if starter is not None:
            starter.until = min(starter.until, time.monotonic())
            starter.close()
        if child is not None:
            child.give_up()
        self.end()

    def end(self) -> None:
        """Takes back that a service runs here, where it was said; once is enough."""
        with self._guard:
            if self._starter is not None:
                self._starter.leave()


class _Window:
    """The context manager of `startup_window`."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __enter__(self) -> Answer:
        return self._attempt.run()

    def __exit__(self, *_exc: object) -> None:
        if self._attempt.stay == "block":
            self._attempt.end()


class _AsyncWindow:
    """The context manager of `async_startup_window`."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    async def __aenter__(self) -> Answer:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Answer] = loop.create_future()

        def settle(found: Answer) -> None:
            if not done.done():
                done.set_result(found)

        def run() -> None:
            found = self._attempt.run()
            # The loop may have ended meanwhile: then nobody waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, found)

        # A thread of its own, that no exit of the interpreter waits for: the default executor's would be joined.
        thread = threading.Thread(target=run, name="driftd startup window", daemon=True)
        thread.start()
        try:
            return await done
        except asyncio.CancelledError:
            # The thread ends by itself, at the latest when the window would have; it holds nothing any more.
            self._attempt.give_up()
            raise

    async def __aexit__(self, *_exc: object) -> None:
        if self._attempt.stay == "block":
            self._attempt.end()


def _skipped(error: dict[str, str]) -> Answer:
    return Answer.of(whole({"outcome": "skipped", "error": error}, "", "", None))


# --- arguments


def _asked(
    url: Any, models: str | Sequence[str] | None, target: str | None, config: str | os.PathLike[str] | None
) -> Asked:
    if target is not None and not isinstance(target, str):
        raise TypeError(f"target must be a name, not {type(target).__name__}")
    specs = _specs(models)
    if specs and url is None and target is None and config is None:
        # Models of one's own must never meet the database of whatever configuration is found.
        raise ValueError("models are given, and no database: give its url, or name the target")
    return Asked(
        text_of(url), specs, target or None, None if config is None else os.fsdecode(os.fspath(config))
    )


def text_of(url: Any) -> str | None:
    """A database's URL as text: it may be SQLAlchemy's own object. Raises TypeError, ValueError."""
    if url is None:
        return None
    # Of SQLAlchemy's URL; what str() gives has no password.
    render = getattr(url, "render_as_string", None)
    text = render(hide_password=False) if callable(render) else url
    if not isinstance(text, str):
        raise TypeError(f"url must be a SQLAlchemy URL, not {type(url).__name__}")
    if not text:
        raise ValueError("url is empty: name a database, for example sqlite:///app.db")
    return text


def _specs(models: str | Sequence[str] | None) -> tuple[str, ...]:
    if models is None:
        return ()
    specs = (models,) if isinstance(models, str) else tuple(models)
    if any(not isinstance(one, str) for one in specs):
        raise TypeError("models must be texts like 'package.module:attribute', not the objects themselves")
    if not all(specs):
        raise ValueError("models are empty: name them like 'package.module:attribute'")
    return specs


def _timeout(timeout: float | None) -> float | None:
    if timeout is not None and not (math.isfinite(timeout) and timeout > 0):
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout}")
    return timeout


def _stay(stay: Stay) -> Stay:
    if stay not in {True, False, "block"}:
        raise ValueError(f'stay must be True, False or "block", not {stay!r}')
    return stay
