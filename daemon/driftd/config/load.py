"""Loads a configuration: finds the file, reads it, settles every setting, and tells every mistake at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tomli

from driftd.config.locate import locate, read_text
from driftd.config.mistakes import invalid, nearest
from driftd.config.model import DAEMON, ENVIRONMENT_ONLY, TARGET, daemon_environment, target_environment
from driftd.config.scan import key_lines
from driftd.config.settle import Settler
from driftd.config.settled import Configuration, Source
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SYNTAX_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Request:
    """What a command asks for.

    Args:
        environment: the environment variables.
        directory: the working directory, absolute.
        config: --config.
        target: --target.
        flags: settings of the target that were given as flags, from a setting's name to what was written.
        everywhere: the same of the daemon's settings, and of every target's.
        needs_models: False where a target without models will do (history, backups).
    """

    environment: Mapping[str, str]
    directory: Path
    config: str | None = None
    target: str | None = None
    flags: Mapping[str, object] = field(default_factory=dict)
    everywhere: Mapping[str, object] = field(default_factory=dict)
    needs_models: bool = True

    @property
    def bare(self) -> bool:
        """With --url alone no configuration file is read at all."""
        return "url" in self.flags and self.config is None and self.target is None


def load(request: Request) -> Configuration:
    """The configuration that the request speaks of.

    Raises ConfigurationError: `configuration-missing`, `configuration-unreadable`, `configuration-syntax`,
    `configuration-invalid` (every wrong value and every unknown key at once) or `target-unknown`.
    """
    lines: dict[tuple[str, ...], int] = {}
    if request.bare:
        source, document = Source(None, "none"), _bare_document(request)
    else:
        source = locate(request.config, request.environment, request.directory)
        _require_url(request, source)
        document, lines = _read(source)
    # Everything is settled before anything is raised: a person corrects all mistakes in one go.
    settler = Settler(
        source, lines, request.environment, request.directory, request.flags, request.everywhere
    )
    targets = settler.names(document)
    selected = _selected(request, targets, source)
    required = {"url", "models"} if request.needs_models or not request.bare else {"url"}
    configuration = Configuration(
        source=source,
        directory=request.directory,
        daemon=settler.daemon(document),
        targets={name: settler.target(document, name, name == selected, required) for name in targets},
        selected=selected,
        unread=_unread(request.environment, targets),
    )
    if settler.mistakes:
        raise invalid(source.label, settler.mistakes)
    return configuration


def _require_url(request: Request, source: Source) -> None:
    """Models of one's own must never meet the database of the shipped example."""
    if source.how != "shipped" or "models" not in request.flags or request.environment.get("DRIFTD_URL"):
        return
    raise ConfigurationError(
        "--models is given, and no database",
        code="target-missing",
        why="no configuration file was found, and the shipped one describes another service's database",
        fix="add --url sqlite:///PATH, or write a driftd.toml (`driftd config show --shipped` is an example)",
    )


def _bare_document(request: Request) -> dict[str, object]:
    """A document with one target that is named after its database."""
    path = str(request.flags["url"]).partition("?")[0].rstrip("/")
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(path).stem).strip("._-")
    return {"targets": {stem or "database": {}}}


def _read(source: Source) -> tuple[dict[str, object], dict[tuple[str, ...], int]]:
    assert source.path is not None  # noqa: S101  # only a bare request has no file, and it does not come here
    text = read_text(source.path)
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise _syntax(source.path, str(error), text) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets hundreds deep
        raise _unreadable(source.path, error) from error
    return document, key_lines(text)


def _syntax(path: Path, message: str, text: str) -> ConfigurationError:
    """What tomli says, with the place in front and the line itself below."""
    match = _SYNTAX_PLACE.search(message)
    rows = text.splitlines() or [""]
    line, column = (int(match[1]), int(match[2])) if match and match[1] else (len(rows), len(rows[-1]) + 1)
    shown = rows[line - 1] if line <= len(rows) else ""
    return ConfigurationError(
        f"{path} is not valid TOML, line {line}, column {column}",
        code="configuration-syntax",
        why=f"{_SYNTAX_PLACE.sub('', message)}\n  {shown}\n  {' ' * (column - 1)}^",
        fix=f"correct line {line}; texts stand in quotes, paths and URLs too",
    )


def _unreadable(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not valid TOML",
        code="configuration-syntax",
        why=f"something in it is larger than any setting can be ({error})",
        fix="take the longest line out; `driftd config show --shipped` prints every setting",
    )


def _selected(request: Request, targets: Iterable[str], source: Source) -> str | None:
    names = list(targets)
    asked = request.target or ("" if request.bare else request.environment.get("DRIFTD_TARGET", ""))
    if not asked:
        return names[0] if len(names) == 1 else None
    if asked in names:
        return asked
    close = nearest(asked, names)
    raise ConfigurationError(
        f"there is no target {asked}",
        code="target-unknown",
        why=f"{source.label} describes {', '.join(names) or 'none'}",
        fix=f"--target {close or (names[0] if names else 'NAME')}",
    )


def _unread(environment: Mapping[str, str], targets: Iterable[str]) -> tuple[str, ...]:
    """`DRIFTD_*` names that mean nothing: told by `config show`, no error (they may be somebody else's)."""
    known = {daemon_environment(setting) for setting in DAEMON}
    known |= {name for name, _ in ENVIRONMENT_ONLY}
    known |= {target_environment(setting, name) for setting in TARGET for name in (None, *targets)}
    return tuple(sorted(name for name in environment if name.startswith("DRIFTD_") and name not in known))
