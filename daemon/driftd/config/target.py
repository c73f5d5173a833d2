"""From a configured target to the engine's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from driftd.config.settled import Configuration
    from driftengine.api import Target


def build_target(configuration: Configuration, name: str | None = None) -> Target:
    """The target of that name, or the selected one, as the engine takes it.

    Raises ConfigurationError (`target-missing`, `target-ambiguous`) where none is selected.
    """
    # Imported here: `driftd --help` and `config show` never need the engine.
    from driftengine.api import BackupSettings, Target
    from driftengine.desired import ModelSource

    # Paths are absolute by now, so the engine need not know where they were written.
    if name is None:
        name, section = configuration.target()
    else:
        section = configuration.targets[name]
    return Target(
        name=name,
        url=section.get("url"),
        models=ModelSource(
            specs=section.get("models") or (),
            python=section.get("python"),
            pythonpath=section.get("pythonpath"),
            directory=str(configuration.home),
            timeout=section.get("probe_timeout"),
        ),
        backup=BackupSettings(
            directory=Path(section.get("backup.directory")),
            before_every_migration=section.get("backup.before_every_migration"),
            reuse_max_age=section.get("backup.reuse_max_age"),
            keep=section.get("backup.keep"),
            keep_for=section.get("backup.keep_for"),
            max_total_size=section.get("backup.max_total_size"),
        ),
        mode=section.get("mode"),
        ignore=section.get("ignore"),
        window_timeout=section.get("window.timeout"),
        backfill=section.table("backfill"),
        policy=section.table("policy"),
        renames=section.table("renames"),
    )
