"""What the url of a target was made from: two processes with one configuration may mean different databases. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from driftd.config.expand import expand
from driftd.config.model import TARGET, target_environment
from driftd.config.noting import Noting
from driftd.config.values import Bases, convert

if TYPE_CHECKING:
    from collections.abc import Mapping

    from driftd.config.settled import Configuration

_URL = next(setting for setting in TARGET if setting.name == "url")
_HERE, _THERE = Path("/here"), Path("/there")


class Depends(NamedTuple):
    """What was looked at beside the file.

    `variables` are environment variables with their values, None for unset; `directory` is True where the url is relative to
    the working directory.
    """

    variables: dict[str, str | None]
    directory: bool


def url_depends_on(configuration: Configuration, target: str, environment: Mapping[str, str]) -> Depends:
    """What else might have given this target's url another value, beside the file itself."""
    value = configuration.targets[target].values["url"]
    noting = Noting(environment)
    names = [target_environment(_URL, target), target_environment(_URL, None)]
    raw = value.raw
    if isinstance(raw, str) and value.origin in {"file", "shipped", "default"}:
        raw = expand(raw, noting)
    # A relative path in somebody's own file is relative to that file.
    relative = value.origin != "file" and convert(_URL, raw, _at(_HERE)) != convert(_URL, raw, _at(_THERE))
    return Depends({name: environment.get(name) for name in (*names, *noting.asked)}, relative)


def _at(directory: Path) -> Bases:
    return Bases(here=directory, home=directory)
