"""Which database a window is for, and what the engine needs to know of it where no daemon serves it."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driftd.startup.alone import interpreter
from driftd.startup.finding import TIMEOUT
from driftengine.dialects.sqlite.connect import parse_url
from driftengine.errors import ConfigurationError, DriftError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from driftd.config.settled import Configuration, Section

_BEFORE_THE_FILE = {"default", "shipped"}  # where a setting stands that nobody has chosen
_INSTALLED = frozenset({"site-packages", "dist-packages"})  # folders that an interpreter finds by itself


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller says of the database and its models.

    `settings` are settings of the target, by name, as flags would give them. `otherwise` are the models of a database that
    neither the caller nor the configuration nor `DRIFTD_MODELS` gives any.
    """

    url: str | None = None
    models: tuple[str, ...] = ()
    target: str | None = None
    config: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    otherwise: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A database by its real path, how long its window may take (seconds), and the request for `Alone`.

    Where the models are not known `request` is None and `error` says why: a daemon that serves the database knows them.
    """

    database: str
    timeout: float
    request: Mapping[str, Any] | None
    error: Mapping[str, str] | None = None


def placed(asked: Asked, environment: Mapping[str, str], directory: Path) -> Place:
    """Where the window is to be. Raises DriftError where no database is known."""
    database = None if asked.url is None else str(parse_url(asked.url, directory=directory).path)
    try:
        return _configured(asked, database, environment, directory)
    except DriftError as error:
        if database is None:
            raise
        return Place(database, TIMEOUT, None, error.as_document())


def _configured(asked: Asked, database: str | None, environment: Mapping[str, str], directory: Path) -> Place:
    from driftd.config import Request, load

    request: dict[str, Any] = {"config": asked.config, "target": asked.target, "directory": str(directory)}
    flags: dict[str, Any] = dict(asked.settings)
    own = None
    if database is not None and not asked.models and asked.target is None:
        own = _target_of(database, load(Request(environment, directory, config=asked.config)))
    if own is not None:
        # The file by its name: the child would look for it again, and so the same one is read.
        config, name, section = own
        request |= {"config": config, "target": name}
        # And the database as it was given: DRIFTD_URL speaks of whatever target is chosen.
        flags |= {"url": asked.url, **_own_interpreter(section)}
    else:
        flags |= _flags(asked, environment, directory)
    settled = load(
        Request(environment, directory, config=request["config"], target=request["target"], flags=flags)
    )
    name, section = settled.target()
    path = str(parse_url(section.get("url"), directory=settled.home).path)
    return Place(path, section.get("window.timeout"), {**request, "flags": flags})


def _flags(asked: Asked, environment: Mapping[str, str], directory: Path) -> dict[str, Any]:
    """The settings of a database that no configuration describes, or of the target that the caller has named."""
    flags: dict[str, Any] = {}
    if asked.url is not None:
        flags["url"] = asked.url
    models = asked.models
    bare = asked.url is not None and asked.config is None and asked.target is None
    if bare and not models and not environment.get("DRIFTD_MODELS"):
        models = asked.otherwise
        if not models:
            raise ConfigurationError(
                f"the models of {asked.url} are not known",
                code="target-missing",
                why="neither models nor a target was given, and no configuration that was found has a target of that path",
                fix='give models="package.module:attribute", or target= and config=, or set DRIFTD_MODELS',
            )
    if models:
        flags["models"] = models
    # The models are those of this very process, so its interpreter and its import path find them.
    if bare and not environment.get("DRIFTD_PYTHON"):
        flags["python"] = interpreter()
    if bare and not environment.get("DRIFTD_PYTHONPATH"):
        here = [entry for entry in sys.path if os.path.isdir(directory / entry)]  # noqa: PTH112  # "" too
        flags["pythonpath"] = own_import_path(here, sysconfig.get_path("stdlib"), directory)
    return {name: value for name, value in flags.items() if value}


def _target_of(database: str, configuration: Configuration) -> tuple[str | None, str, Section] | None:
    """The file (None: the shipped one), the name and the section of the target with that real path, if there is one."""
    shipped = configuration.source.how == "shipped"
    config = None if shipped else str(configuration.source.path)
    for name, section in configuration.targets.items():
        try:
            path = parse_url(section.get("url") or "", directory=configuration.home).path
        except ConfigurationError:
            continue  # it is told when that target is asked for
        if str(path) == database:
            return config, name, section
    return None


def _own_interpreter(section: Section) -> dict[str, Any]:
    """The one that this process runs in, unless somebody has chosen another: the models that count are those of the service."""
    chosen = section.values.get("python")
    unchosen = chosen is None or chosen.origin in _BEFORE_THE_FILE
    return {"python": interpreter()} if unchosen else {}


def own_import_path(path: Sequence[str], standard: str, directory: Path) -> tuple[str, ...]:
    """What an import path has beside the standard library (in the folder `standard`) and installed packages. Pure."""
    folders = [directory / entry for entry in path]  # "" is the working directory
    return tuple(
        str(one)
        for one in dict.fromkeys(folders)
        if not one.is_relative_to(standard) and not _INSTALLED.intersection(one.parts)
    )
