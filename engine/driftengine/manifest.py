"""What a backup is: its record, the manifest that says so on disk, and which backups may go. Values only, no files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from driftengine.errors import BackupError
from driftengine.journal import canonical
from driftengine.wellformed import MANIFEST, parsed, require

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

SCHEMA_VERSION = 1
SUSPECT = 366 * 86400.0  # seconds between two backups, beyond which the clock may have jumped
UNDER_WAY = 24 * 3600.0  # seconds that a migration may take from its backup to its row in the journal


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup.

    `database` is the real path of what was copied and `database_id` its id in the history ("" before the first
    migration); `created_at` UTC, ISO 8601; `size_bytes` and `sha256` are those of the file; `row_counts` and
    `foreign_key_violations` go by table. `reason`: `migration`, `stage`, `requested`, `restore`, ...
    """

    id: str
    path: Path
    database: str
    database_id: str
    created_at: str
    size_bytes: int
    sha256: str
    page_size: int
    row_counts: Mapping[str, int]
    schema_sha256: str
    reason: str
    migration_id: str | None
    pinned: bool
    verified: bool
    foreign_key_violations: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def manifest(self) -> Path:
        """Where its manifest is."""
        return self.path.with_suffix(".json")

    @property
    def age_key(self) -> tuple[str, str]:
        """What sorts backups from the oldest to the newest."""
        return self.created_at, self.id

    def as_document(self) -> dict[str, Any]:
        """The backup as it stands in JSON documents."""
        names = ("id", "sha256", "verified", "created_at", "size_bytes", "reason", "migration_id", "pinned")
        return {"path": str(self.path), **{name: getattr(self, name) for name in names}}


def manifest_text(backup: Backup) -> str:
    """The manifest: readable JSON with a seal, the hash of all the rest."""
    fields = asdict(replace(backup, notes=()))
    fields.pop("path")
    document = {"schema_version": SCHEMA_VERSION, **fields, "notes": list(backup.notes)}
    return json.dumps({**document, "seal": _seal(document)}, indent=2, sort_keys=True) + "\n"


def parse_manifest(text: str, path: Path) -> Backup:
    """The backup whose manifest, beside the copy at `path`, has that text. Raises BackupError (`backup-manifest`)."""
    try:
        fields = _opened(parsed(text), path)
        return Backup(**{**fields, "notes": tuple(fields["notes"]), "path": path})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackupError(
            f"the manifest of {path} cannot be trusted",
            code="backup-manifest",
            why=f"it was altered or damaged: {error}",
            fix="use another backup; driftd backup list shows them",
        ) from error


def _opened(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """The fields of a manifest that fits its seal and the file that it stands beside."""
    seal = document.pop("seal")
    if seal != _seal(document):
        raise ValueError("its content does not fit its seal")
    if document.pop("schema_version") != SCHEMA_VERSION:
        raise ValueError("it was written by a newer driftd")
    if document["id"] != path.stem:
        raise ValueError(f"it is that of {document['id']}")
    # Whoever alters one can seal it anew: what is sorted and summed up of it must be what it says.
    require(document, MANIFEST)
    return document


def _seal(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def choose_prunable(
    backups: Sequence[Backup],
    *,
    keep: int,
    keep_for: float,
    max_total_size: int,
    now: datetime,
    database: str,
    database_id: str = "",
    pinned: Collection[str] = (),
    happened: Collection[str] | None = None,
) -> tuple[Backup, ...]:
    """Which backups may go, oldest first.

    Those beyond the newest `keep`, those older than `keep_for` seconds, and the oldest while all together are larger
    than `max_total_size` bytes. Never a pinned one (by its manifest, or by id in `pinned`), never one of another path or
    database id, and never the newest of all. A pinned one counts like any other, so `keep = 3` keeps the newest three,
    and older ones only when they are pinned. `happened` are the migrations that are known to have happened, where that is
    known: the backup of another one, for which somebody may be rehearsing right now, stays for `UNDER_WAY` seconds.

    A clock may be wrong: what is dated behind `now` neither goes nor displaces others, and where all others would be more
    than a year old at once, none goes for its age before another backup says the same.
    """
    mine = sorted(
        (one for one in backups if _owned(one, database, database_id) and _age(one, now) >= 0),
        key=lambda backup: backup.age_key,
    )
    jumped = len(mine) > 1 and _age(mine[-2], now) > SUSPECT
    total = sum(backup.size_bytes for backup in mine)
    chosen: list[Backup] = []
    for place, backup in enumerate(mine[:-1]):
        if backup.pinned or backup.id in pinned:
            continue
        age = _age(backup, now)
        if (
            happened is not None
            and backup.migration_id
            and backup.migration_id not in happened
            and age < UNDER_WAY
        ):
            continue
        too_old = age > keep_for and not jumped
        if len(mine) - place > keep or too_old or total > max_total_size:
            chosen.append(backup)
            total -= backup.size_bytes
    return tuple(chosen)


def _age(backup: Backup, now: datetime) -> float:
    """Seconds; negative where it was made by a clock that was ahead of this one."""
    return (now - datetime.fromisoformat(backup.created_at)).total_seconds()


def _owned(backup: Backup, database: str, database_id: str) -> bool:
    # A copied database carries its original's id to another path; a new one at the same path has another id.
    return backup.database == database and (not backup.database_id or backup.database_id == database_id)
