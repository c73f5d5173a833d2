"""The warm probe: templates have SQLAlchemy imported, and fork a probe in a fraction of the time.

What a template gives is what a probe of its own would give, byte for byte; wherever that is not certain, it is dropped
and a probe of its own is asked.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from driftd.template import Template, never
from driftengine.errors import ModelsError
from driftengine.footprint import find_interpreter
from driftengine.probe_process import UnfitError, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    Key = tuple[object, ...]

# /proc tells of threads; macOS forbids to fork what has used its libraries.
POSSIBLE = sys.platform == "linux"
IDLE = 600.0  # seconds
LIMIT = 4  # templates: some 40 MB each
ATTEMPTS = 3  # failures in a row until nothing more is tried for as long as IDLE
ORM, SQLMODEL = "sqlalchemy.orm", "sqlmodel"


@dataclass(slots=True)
class _Standing:
    """What is known of one source of models.

    Args:
        preload: what its models import, as far as that is known: a chain, each member imports the one before it.
        failures: how often in a row no template could serve it.
        cold_until: on the clock of `time.monotonic`.
        used_at: likewise.
    """

    preload: tuple[str, ...]
    failures: int = 0
    cold_until: float = 0.0
    used_at: float = 0.0

    def succeeded(self, uses: Collection[str]) -> None:
        """It was served: what its models use besides is preloaded next time."""
        self.failures = 0
        if SQLMODEL in uses:
            self.preload = preloaded(uses)

    def failed(self, now: float, kind: str = "") -> None:
        """It could not be served: with less preloaded it may be, or else not at all. `kind` as of UnfitError."""
        if kind == "unused":
            self.preload = ()
        if kind:
            return
        self.failures += 1
        if self.failures >= ATTEMPTS:
            self.cold_until, self.failures = now + IDLE, 0
        elif self.failures == ATTEMPTS - 1:
            self.preload = ()


class _BusyError(Exception):
    """The template serves somebody else at this moment."""


def preloaded(uses: Collection[str]) -> tuple[str, ...]:
    """What is imported ahead for models that use these distributions."""
    return (ORM, SQLMODEL) if SQLMODEL in uses else (ORM,)


class Templates:
    """All templates of one process; any thread may ask, and two that ask for the same one do not wait for each other.

    Args:
        enabled: False asks a process of its own each time.
        told: is called with a sentence for a log, from any thread.
    """

    def __init__(self, *, enabled: bool = True, told: Callable[[str], None] | None = None) -> None:
        self._told = told or _nobody
        self._lock = threading.Lock()
        self._enabled = enabled and POSSIBLE
        self._begun = 0
        self._ready: dict[Key, Template] = {}
        self._busy: dict[Key, Template | None] = {}
        self._standings: dict[Key, _Standing] = {}

    def ask(
        self,
        python: str,
        request: Mapping[str, Any],
        *,
        cancelled: Callable[[], bool] | None = None,
        uses: Collection[str] = (),
    ) -> dict[str, Any]:
        """As `probe_process.ask`. `uses` names what the models used when they were loaded last."""
        executable = find_interpreter(python)
        place = (executable, request["directory"], tuple(request["pythonpath"]))
        with self._lock:
            standing = self._standings.setdefault(
                (*place, tuple(request["specs"])), _Standing(preloaded(uses))
            )
            standing.used_at, preload = time.monotonic(), standing.preload
        if executable is None or not self._enabled or standing.used_at < standing.cold_until:
            return ask(python, request, cancelled=cancelled)
        try:
            key = (*place, preload, frozenset(os.environ.items()))
            with self._borrowed(key, executable, request, preload, cancelled) as template:
                document = ask(python, request, cancelled=cancelled, start=template.probe)
                standing.succeeded(document.get("versions", ()) if preload else ())
        except _BusyError:
            pass
        except UnfitError as why:
            self._told(f"no template for {', '.join(request['specs'])}: {why}")
            standing.failed(time.monotonic(), why.kind)
        except ModelsError as error:
            if error.code not in {"models-crashed", "models-interpreter"}:
                raise
            # A library that does not bear being forked would end like this as well.
            self._told(f"a template's child ended: {error}")
            standing.failed(time.monotonic())
        else:
            if standing.preload != preload:
                self._drop([template])  # the next one has more
            return document
        return ask(python, request, cancelled=cancelled)

    @contextlib.contextmanager
    def _borrowed(
        self,
        key: Key,
        executable: str,
        request: Mapping[str, Any],
        preload: tuple[str, ...],
        cancelled: Callable[[], bool] | None,
    ) -> Iterator[Template]:
        """The template of that key, made if need be; afterwards it waits for the next. Raises UnfitError, ModelsError."""
        with self._lock:
            if key in self._busy:
                raise _BusyError
            self._busy[key] = template = self._ready.pop(key, None)
            began = self._begun
        try:
            if template is not None and template.moved():
                template.end()
                self._busy[key] = template = None
            if template is None:
                template = Template.start(executable, request, preload, cancelled or never)
                self._busy[key] = template
            yield template
        finally:
            with self._lock:
                del self._busy[key]
                if template is not None and template.sound and self._begun == began:
                    self._ready[key], template = template, None
                others = sorted(self._ready.values(), key=lambda one: one.used_at)[:-LIMIT]
            if template is not None:
                template.end()
            self._drop(others)

    # --- what is there, and its end

    def documents(self) -> list[dict[str, Any]]:
        """The templates that are there, for people: `pid`, `python`, `directory`, `rss_bytes`, `probes`, `idle_s`."""
        with self._lock:
            found = [*self._ready.values(), *filter(None, self._busy.values())]
        return [one.document() for one in sorted(found, key=lambda one: one.pid)]

    def tidy(self) -> None:
        """Drops those that nobody has used for as long as IDLE, and those that have died."""
        now = time.monotonic()
        with self._lock:
            old = [one for one in self._ready.values() if now - one.used_at > IDLE or one.ended]
            for source, standing in list(self._standings.items()):
                if now - max(standing.used_at, standing.cold_until) > IDLE:
                    del self._standings[source]
        self._drop(old)

    def enable(self, *, enabled: bool) -> None:
        """Begins anew: drops all of them, what is in use right after that, and serves from now on, or no more."""
        with self._lock:
            self._enabled, self._begun = enabled and POSSIBLE, self._begun + 1
            self._standings.clear()
            waiting = list(self._ready.values())
        self._drop(waiting)

    def close(self) -> None:
        """Ends all, also one that is in use: whoever uses it gets an error."""
        self.enable(enabled=False)
        with self._lock:
            used = [one for one in self._busy.values() if one is not None]
        for one in used:
            one.kill()

    def _drop(self, gone: list[Template]) -> None:
        with self._lock:
            # Somebody may have borrowed it since.
            mine = [key for key, one in self._ready.items() if one in gone]
            ended = [self._ready.pop(key) for key in mine]
        for one in ended:
            one.end()


def _nobody(_: str) -> None:
    return None
