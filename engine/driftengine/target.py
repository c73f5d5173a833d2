"""The unit of configuration: one database and the models that describe it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from driftengine.desired import ModelSource


# 2 million values of uuid4 take 8 seconds and half a gigabyte; SQL does it while it copies.
BACKFILL_MAX_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """Where backups go and how long they stay. Ages are in seconds, sizes in bytes."""

    directory: Path
    before_every_migration: bool = True
    reuse_max_age: float = 3600.0
    keep: int = 20
    keep_for: float = 30 * 86400.0
    max_total_size: int = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """One database plus the models that describe it.

    Args:
        name: what it is called in the configuration.
        url: the database, as a SQLAlchemy URL.
        models: where the models are.
        backup: where backups go.
        mode: `observe`, `window` or `dev`.
        ignore: names or patterns of objects to leave out altogether.
        window_timeout: seconds that a lock is waited for.
        backfill: "table.column" to an SQL expression, evaluated for each old row.
        policy: a code or a table to `hold`, `allow` or `ignore`.
        renames: "table.column" or "table", by the new name, to the former one.
        backfill_max_rows: how many values a callable of the models is asked for at most.
    """

    name: str
    url: str
    models: ModelSource
    backup: BackupSettings
    mode: str = "window"
    ignore: tuple[str, ...] = ()
    window_timeout: float = 15.0
    backfill: Mapping[str, str] = field(default_factory=dict)
    policy: Mapping[str, str] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    backfill_max_rows: int = BACKFILL_MAX_ROWS
