"""What a starting service must know of a target before it can open a window, and whether it asks the right daemon."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftd.config.depends import url_depends_on
from driftengine.dialects.sqlite.connect import parse_url
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from driftd.config import Configuration, Request
    from driftd.keeper import Keeper

    Document = dict[str, Any]


def where(configuration: Configuration, request: Request, keeper: Keeper, config: str | None) -> Document:
    """`{target, database, path, timeout_s, config, variables, directory}`, of docs/socket.md.

    Args:
        configuration: what the daemon has read.
        request: how the daemon was called.
        keeper: of the target that is meant.
        config: the file that the service would read, "" for the shipped one; None where it does not care.

    Raises ConfigurationError (`other-configuration`) where the daemon has not read that file: its only target may be another
    service's.
    """
    source, name = configuration.source, keeper.target.name
    path = str(source.path) if source.path and source.how != "shipped" else ""
    if config is not None and (
        _real(config) != _real(path) or source.how == "none" or "url" in request.flags
    ):
        raise ConfigurationError(
            "the daemon serves another configuration",
            code="other-configuration",
            why=f"it has read {source.label}, and the service would read {config or 'the shipped config.toml'}",
            fix="name the daemon's file in DRIFTD_CONFIG or --config, or another daemon in DRIFTD_SOCKET",
        )
    depends = url_depends_on(configuration, name, request.environment)
    return {
        "target": name,
        "database": keeper.database,
        "path": _named(keeper.target.url, keeper.target.models.directory),
        "timeout_s": keeper.target.window_timeout,
        "config": path or None,
        "variables": depends.variables,
        "directory": str(request.directory) if depends.directory else None,
    }


@cache
def _named(url: str, directory: str) -> str:
    return parse_url(url, directory=Path(directory)).named


def _real(path: str) -> str:
    return os.path.realpath(path) if path else ""
