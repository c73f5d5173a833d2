"""Which configuration file is read, and how the one that ships with driftd is found."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from driftd.config.settled import Source
from driftengine import plain_file
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Other tools keep a config.toml in the working directory too; ours says what its targets are.
_OURS = re.compile(r"^\s*\[?\s*targets\b", re.MULTILINE)


def locate(flag: str | None, environment: Mapping[str, str], directory: Path) -> Source:
    """The file to read: --config, DRIFTD_CONFIG, the usual places, the shipped one.

    Raises ConfigurationError when a file that was asked for is not there.
    """
    # A file that was asked for by name never gives way to another: a typo would migrate the wrong database.
    if flag:
        return Source(_asked_for(flag, directory, "--config"), "flag")
    if named := environment.get("DRIFTD_CONFIG"):
        return Source(_asked_for(named, directory, "DRIFTD_CONFIG"), "environment")
    for candidate in usual_places(environment, directory):
        if _is_file(candidate) and (candidate != directory / "config.toml" or _is_ours(candidate)):
            return Source(candidate, "found")
    return Source(shipped_path("config.toml"), "shipped")


def usual_places(environment: Mapping[str, str], directory: Path) -> Iterator[Path]:
    """Where a configuration file is looked for, first to last."""
    yield directory / "driftd.toml"
    yield directory / "config.toml"
    home = environment.get("HOME", "")
    if personal := environment.get("XDG_CONFIG_HOME") or (home and f"{home}/.config"):
        yield Path(personal) / "driftd" / "config.toml"
    yield Path("/etc/driftd/config.toml")


def shipped_path(name: str) -> Path:
    """A file that ships inside the wheel; in an editable install it stands where the repository keeps it."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "_shipped" / name
    if packaged.exists():
        return packaged
    # The build puts these files into the wheel only, so that the repository holds each of them once.
    return package.parents[1] / {"operations.md": "docs"}.get(name, "") / name


def shipped_text(name: str) -> str:
    """The text of a file that ships inside the wheel."""
    return shipped_path(name).read_text(encoding="utf-8")


def read_text(path: Path) -> str:
    """The text of a configuration file; raises ConfigurationError when it cannot be read."""
    try:
        return plain_file.content(path).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read",
            code="configuration-unreadable",
            why=error.strerror or str(error),
            fix=f"see who may read it: ls -l {path}",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} is not UTF-8",
            code="configuration-syntax",
            why=f"TOML files are UTF-8 text; the byte at offset {error.start} is not",
            fix="save the file as UTF-8",
        ) from error


def _asked_for(text: str, directory: Path, by: str) -> Path:
    # Of Path, expanduser raises where there is no such user.
    path = _tidied(directory / os.path.expanduser(text))  # noqa: PTH111 - see above
    if not _is_file(path):
        raise ConfigurationError(
            f"the configuration file {path} does not exist",
            code="configuration-missing",
            why=f"{by} names it",
            fix=f"correct {by}, or leave it out; `driftd config show` tells which file is then read",
        )
    return path


def _tidied(path: Path) -> Path:
    """The path without `..`, since all paths of the file begin with it; as it is where a link makes that another place."""
    shorter = os.path.normpath(path)
    return Path(shorter) if os.path.realpath(shorter) == os.path.realpath(path) else path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False  # behind a folder that this user may not enter: HOME may be that of who started it


def _is_ours(path: Path) -> bool:
    try:
        return bool(_OURS.search(plain_file.content(path).decode("utf-8", "replace")))
    except OSError:
        return False  # what cannot be read cannot be known to be ours, and nobody asked for it by name
