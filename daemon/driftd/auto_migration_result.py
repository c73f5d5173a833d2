"""What the orchestrator's code is told of a migration, made of the documents of driftd. Values only; the names are its own.

`success` means: nothing that the models need is left to do, so the service may go on. A table, a view or a column that the
models no longer describe stands in nobody's way, so waiting for its removal is no failure.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from driftd.startup.told import IN_USE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Document = dict[str, Any]

DONE = frozenset(
    {"up_to_date", "migrated", "held"}
)  # outcomes that can be a success, when only removals are left
REMOVALS = frozenset({"drop_table", "drop_virtual_table", "drop_view", "drop_column"})

# Held though nothing would be lost: somebody has to say that it is meant.
_HELD_FOR_A_WORD = frozenset(
    {"rolled-back", "changed-in-database", "conflict", "extra-constraint", "rename-suspected"}
)

# Everything up to the last @: a password may hold one itself.
_PASSWORD = re.compile(r"(?P<before>://[^:/?#\s'\"]*:)[^\s'\"]*@")
_SECRET = re.compile(r"(?i)(?P<before>[?&](?:password|passwd|pwd|secret|token|key)=)[^&\s'\"]*")
_STAMP = re.compile(r"backup_(\d{8}_\d{6})_(\d{3})")


@dataclass
class BackupInfo:
    """A backup. `created_at` is UTC, `checksum` SHA-256, `migration_batch_id` the id of the migration that it was made for."""

    backup_id: str
    original_path: str
    backup_path: str
    created_at: datetime
    size_bytes: int
    checksum: str
    migration_batch_id: str | None = None

    def to_dict(self) -> Document:
        """The fields, ready for JSON: `created_at` as ISO 8601."""
        return {**asdict(self), "created_at": self.created_at.isoformat()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BackupInfo:
        """What `to_dict` gave."""
        return cls(**{**data, "created_at": datetime.fromisoformat(data["created_at"])})


@dataclass
class MigrationResult:
    """What came of a migration.

    `operations_executed` in a dry run are those that would be. `execution_time_ms` is how long the caller waited.
    `migration_ids` are ids of driftd's history. `warnings` name all that is left undone, and how to do it.
    """

    success: bool
    migration_needed: bool = False
    operations_executed: int = 0
    execution_time_ms: int = 0
    backup_created: bool = False
    backup_info: BackupInfo | None = None
    error_message: str | None = None
    migration_ids: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def masked(text: object) -> str:
    """A text with the passwords of its URLs replaced: what is logged and returned never holds one."""
    hidden = _PASSWORD.sub(r"\g<before>***@", str(text))
    return _SECRET.sub(r"\g<before>***", hidden)


def result_of(document: Mapping[str, Any], *, waited_ms: float, backup: BackupInfo | None) -> MigrationResult:
    """The result of a startup window's answer, or of an apply's."""
    held, blocked = document.get("held") or [], document.get("blocked") or []
    needed = [one for one in held if one.get("kind") not in REMOVALS]
    done = document["outcome"] in DONE and not needed and not blocked
    executed = int(document["operations"]) if document["outcome"] == "migrated" else 0
    migration = document.get("migration_id")
    return MigrationResult(
        success=done,
        # What only waits for its removal, or could not be looked at, is nothing that was found to be needed.
        migration_needed=bool(executed or needed or blocked or (not done and document.get("plan_id"))),
        operations_executed=executed,
        execution_time_ms=round(waited_ms),
        backup_created=backup is not None,
        backup_info=backup,
        error_message=None if done else _why_not(document, needed, blocked),
        migration_ids=[migration] if migration else [],
        warnings=[masked(one) for one in (*(document.get("warnings") or ()), *left_undone(held, blocked))],
    )


def left_undone(
    held: Iterable[Mapping[str, Any]], blocked: Iterable[Mapping[str, Any]], typed: str = "driftd apply"
) -> list[str]:
    """One sentence for each operation that waits, with what to type; `typed` is the command that would do it."""
    return [
        *(f"{phrase(one)} waits: {one['reason']} ({_way(one, typed)})" for one in held),
        *(f"{phrase(one)} is blocked: {one['reason']} (see the rows: {typed} --dry-run)" for one in blocked),
    ]


def phrase(operation: Mapping[str, Any]) -> str:
    """`drop column task.title`."""
    kind, table, name = str(operation["kind"]).replace("_", " "), operation.get("table"), operation["name"]
    return f"{kind} {name}" if table in {None, name} else f"{kind} {table}.{name}"


def _way(operation: Mapping[str, Any], typed: str) -> str:
    if operation.get("code") == IN_USE:
        return "it is done at a start when no other service runs on this schema"
    # One that needs a value, or another operation first, cannot be approved: its reason says what to do.
    approvable = operation.get("risk") == "destructive" or operation.get("code") in _HELD_FOR_A_WORD
    return f"{typed} --approve {operation['operation']}" if approvable else "driftd plan shows it"


def _why_not(
    document: Mapping[str, Any], needed: Sequence[Mapping[str, Any]], blocked: Sequence[Mapping[str, Any]]
) -> str:
    error = document.get("error")
    if error:
        return sentence(error)
    left = left_undone(needed, blocked)
    return masked("; ".join(left)) if left else f"the startup window came to {document['outcome']}"


def sentence(error: Mapping[str, str]) -> str:
    """An error document as one text: what, why, and what to do."""
    why = f": {error['why']}" if error.get("why") else ""
    fix = f" ({error['fix']})" if error.get("fix") else ""
    return masked(f"{error['what']}{why}{fix}")


def backup_info(document: Mapping[str, Any], manifest: Mapping[str, Any]) -> BackupInfo | None:
    """The backup that an answer names, with what its manifest says beside; {} where that cannot be read."""
    backup = document.get("backup")
    if not backup:
        return None
    created = manifest.get("created_at")
    return BackupInfo(
        backup_id=backup["id"],
        original_path=document.get("database") or "",
        backup_path=backup["path"],
        created_at=datetime.fromisoformat(created) if created else made_at(backup["id"]),
        size_bytes=int(manifest.get("size_bytes") or 0),
        checksum=backup["sha256"],
        migration_batch_id=document.get("migration_id"),
    )


def made_at(backup_id: str) -> datetime:
    """The moment that a backup's id tells, UTC; now where it tells none."""
    match = _STAMP.match(backup_id)
    if match is None:
        return datetime.now(UTC)
    moment = datetime.strptime(match[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    return moment.replace(microsecond=int(match[2]) * 1000)
