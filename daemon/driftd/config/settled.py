"""What loading a configuration gives: values that know where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """Where the configuration was read.

    Args:
        path: the file, or None when none was read (`--url` alone).
        how: `flag`, `environment`, `found`, `shipped` or `none`.
    """

    path: Path | None
    how: str

    def home(self, directory: Path) -> Path:
        """What relative paths of the file are relative to. The shipped file counts as built-in defaults."""
        return self.path.parent if self.path is not None and self.how != "shipped" else directory

    @property
    def label(self) -> str:
        """How messages name it."""
        if self.how == "shipped":
            return "the shipped config.toml"
        return str(self.path) if self.path is not None else "flags and environment"


@dataclass(frozen=True, slots=True)
class Value:
    """One settled setting.

    Args:
        value: converted: paths are absolute, durations are seconds, sizes are bytes.
        origin: `default`, `file`, `environment` or `flag`.
        place: `/path/driftd.toml:12`, `DRIFTD_URL`, `--url`, or "".
        raw: as it was written, before references and relative paths were resolved.
    """

    value: Any
    origin: str
    place: str = ""
    raw: object = None


@dataclass(frozen=True, slots=True)
class Section:
    """The settings of the daemon or of one target. `tables` holds the free tables, entry by entry."""

    values: dict[str, Value] = field(default_factory=dict)
    tables: dict[str, dict[str, Value]] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """The value of a setting; None where it has none."""
        found = self.values.get(name)
        return found.value if found is not None else None

    def table(self, name: str) -> dict[str, str]:
        """The entries of a free table."""
        return {key: entry.value for key, entry in self.tables.get(name, {}).items()}


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that was configured.

    Args:
        source: the file it came from.
        directory: the working directory that it was settled in.
        daemon: the daemon's settings.
        targets: a section for each target, in the order of the file.
        selected: the target that a command speaks of, or None while there are several and nobody chose.
        unread: `DRIFTD_*` names in the environment that no setting has.
    """

    source: Source
    directory: Path
    daemon: Section
    targets: dict[str, Section]
    selected: str | None
    unread: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        """The folder that the probe runs in: of the file, else the working directory."""
        return self.source.home(self.directory)

    def target(self) -> tuple[str, Section]:
        """The selected target; raises ConfigurationError when there is none or more than one."""
        if self.selected is not None:
            return self.selected, self.targets[self.selected]
        if not self.targets:
            raise ConfigurationError(
                f"{self.source.label} describes no target",
                code="target-missing",
                why="a target is a database plus the models that describe it, in a section [targets.NAME]",
                fix="add [targets.NAME] with url and models, or give --url and --models",
            )
        names = ", ".join(self.targets)
        raise ConfigurationError(
            f"{self.source.label} describes {len(self.targets)} targets and none was chosen",
            code="target-ambiguous",
            why=f"its targets are {names}",
            fix=f"choose one: --target {next(iter(self.targets))}",
        )
