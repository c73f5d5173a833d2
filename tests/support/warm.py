"""Asks for the same models twice: a process of the probe's own, and a template's child."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driftd import template
from driftd.templates import Templates
from driftengine import probe_process
from driftengine.errors import ModelsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


@dataclass
class Warm:
    """Templates, and what they said. `given_up` has a sentence for each time that a probe of its own was asked after all."""

    given_up: list[str] = field(default_factory=list)
    templates: Templates = field(init=False)

    def __post_init__(self) -> None:
        self.templates = Templates(told=self.given_up.append)

    def served(self, python: str, request: Mapping[str, Any], **options: Any) -> tuple[str, bool]:
        """What the templates give, as one text, and whether a child of one has given it."""
        before = len(self.given_up)
        with one_environment():
            told = outcome(self.templates.ask, python, request, **options)
        return told, len(self.given_up) == before

    @staticmethod
    def own(python: str, request: Mapping[str, Any]) -> str:
        """What a process of the probe's own gives."""
        with one_environment():
            return outcome(probe_process.ask, python, request)

    def settled(self, folder: Path) -> None:
        """Returns when the files of a folder are old enough for a template to trust them."""
        newest = max(path.lstat().st_ctime_ns for path in (folder, *folder.rglob("*")))
        while time.time_ns() <= newest + template.RECENT:
            time.sleep(0.01)  # nothing tells that time has passed


@contextmanager
def one_environment() -> Iterator[None]:
    """A template is for one environment, and pytest writes the name of each test there."""
    name = "PYTEST_CURRENT_TEST"
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


def outcome(
    ask: Callable[..., dict[str, Any]], python: str, request: Mapping[str, Any], **options: Any
) -> str:
    """The answer, or all that the error carries, as one text."""
    try:
        return json.dumps(ask(python, request, **options), sort_keys=True)
    except ModelsError as error:
        told = (error.code, error.what, error.why, error.fix, error.sources, error.reads)
        return json.dumps(told, sort_keys=True)


def request_for(
    folder: Path, *specs: str, timeout: float = 60.0, pythonpath: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A probe's request."""
    where = {"directory": str(folder), "pythonpath": list(pythonpath)}
    return {"mode": "schema", "specs": list(specs), **where, "timeout": timeout}
