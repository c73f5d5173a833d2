"""Status and health as the orchestrator's code reads them, made of the documents of driftd. Pure; the keys are its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from driftd.auto_migration_result import REMOVALS, left_undone, phrase, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Document = dict[str, Any]

RECENT = 10  # migrations that count as recent
DAY = timedelta(hours=24)
MEGABYTE = 1 << 20

# What takes how much of a hundred points. Below 80 is WARNING, below 60 CRITICAL.
FAILURE = 10  # each, of the last 24 hours
HISTORY_BROKEN = 50
MODELS_UNREADABLE = 30
WAITING = 25
NO_BACKUP = 25
STRAYS = 10

_STILL_WANTED = (
    "the models still want what was rolled back: it waits until they change, or until somebody approves it (driftd apply "
    "--approve rolled-back)"
)


def status_of(
    check: Mapping[str, Any],
    history: Mapping[str, Any],
    backups: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    stage: Mapping[str, Any] | None,
    now: datetime,
) -> Document:
    """`check_migration_status()` without its times.

    `records` are the journal's, as `{event, at, ...}`; `stage` is what a daemon has rehearsed, as `driftd status` shows it.
    """
    operations = (check.get("plan") or {}).get("operations", [])
    return {
        "migration_needed": any(not (one["held"] and one["kind"] in REMOVALS) for one in operations),
        "schema_differences": differences(check),
        "migration_complexity": complexity(operations),
        "estimated_downtime_seconds": downtime(operations, stage),
        "safety_warnings": safety_warnings(check, operations),
        "recent_migrations_count": min(RECENT, len(_migrations(history))),
        "failed_migrations_24h": failures(records, now),
        "backup_statistics": backup_statistics(backups["backups"]),
    }


def differences(check: Mapping[str, Any]) -> Document:
    """Tables that are missing, tables that nobody describes, and how many of the others differ."""
    found = check["differences"]
    of_tables = {
        change: [one["name"] for one in found if one["object"] == "table" and one["change"] == change]
        for change in ("add", "remove")
    }
    unmanaged = [one["name"] for one in check["unmanaged"] if one["type"] == "table"]
    whole = {*of_tables["add"], *of_tables["remove"]}
    differing = {one["table"] for one in found if one["table"]} - whole
    return {
        "missing_tables": of_tables["add"],
        "extra_tables": [*of_tables["remove"], *unmanaged],
        "table_differences_count": len(differing),
    }


def complexity(operations: Sequence[Mapping[str, Any]]) -> str:
    """COMPLEX where a person is needed, MODERATE where rows are judged or copied, else SIMPLE."""
    if any(one["held"] or one["risk"] in {"destructive", "manual"} for one in operations):
        return "COMPLEX"
    if any(one["risk"] == "guarded" or one["copies_rows"] for one in operations):
        return "MODERATE"
    return "SIMPLE"


def downtime(operations: Sequence[Mapping[str, Any]], stage: Mapping[str, Any] | None) -> float | None:
    """How long the statements took in the rehearsal, in seconds; None where there was none and rows are copied.

    What copies no row takes milliseconds whatever the size of the database, which is told as 0.0. Nothing is guessed.
    """
    if stage is not None:
        return float(round(stage["apply_ms"] / 1000, 3))
    return None if any(one["copies_rows"] for one in operations if not one["held"]) else 0.0


def safety_warnings(check: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a person should know before it is done."""
    told = [
        f"{phrase(one)} ({one['risk']}): {one['reason']}"
        for one in operations
        if one["held"] or one["risk"] in {"destructive", "manual"}
    ]
    return [*told, *(f"not looked at: {one}" for one in check.get("unsupported", ()))]


def backup_statistics(backups: Sequence[Mapping[str, Any]]) -> Document:
    """Number, sizes in bytes, and the ids of the oldest and the newest."""
    total = sum(int(one["size_bytes"]) for one in backups)
    return {
        "total_backups": len(backups),
        "total_size_bytes": total,
        "total_size_mb": round(total / MEGABYTE, 2),
        "oldest_backup": backups[0]["id"] if backups else None,
        "newest_backup": backups[-1]["id"] if backups else None,
        "average_size_bytes": round(total / len(backups), 2) if backups else 0,
    }


def failures(records: Sequence[Mapping[str, Any]], now: datetime) -> int:
    """How many migrations the journal calls failed in the last 24 hours."""
    return sum(one["event"] == "failed" and now - datetime.fromisoformat(one["at"]) < DAY for one in records)


def migration_statistics(
    history: Mapping[str, Any], records: Sequence[Mapping[str, Any]], durations_ms: Sequence[float]
) -> Document:
    """What has become of all migrations: those in the history, and those that only the journal still knows."""
    present = {one["migration_id"] for one in _migrations(history)}
    told = {one["migration_id"] for one in records if one["event"] == "migrated" and one["migration_id"]}
    failed = sum(one["event"] == "failed" for one in records)
    counts = {
        "completed": len(present),
        "failed": failed,
        "running": 0,  # a migration is in the history or it has not happened
        "rolled_back": len(told - present),
    }
    total, ended = sum(counts.values()), len(present | told) + failed
    return {
        "total_migrations": total,
        "status_counts": counts,
        "average_execution_time_ms": round(sum(durations_ms) / len(durations_ms), 2) if durations_ms else 0,
        "latest_migration": _migrations(history)[-1] if present else None,
        "success_rate": round(100 * (ended - failed) / ended, 2) if ended else 100.0,
    }


def health_of(
    statistics: Mapping[str, Any],
    backups: Mapping[str, Any],
    problems: Sequence[str],
    recent_failures: int,
    look: Mapping[str, Any],
) -> Document:
    """`get_system_health()` without its time.

    `problems` are those of the history; `look` is check's document, or `{"error": ...}` where the models cannot be loaded.
    """
    taken = _taken(statistics, backups, problems, recent_failures, look)
    score = max(0, 100 - sum(points for points, _ in taken))
    return {
        "overall_health": "HEALTHY" if score >= 80 else "WARNING" if score >= 60 else "CRITICAL",
        "health_score": score,
        "migration_statistics": dict(statistics),
        "backup_statistics": backup_statistics(backups["backups"]),
        "recent_failures": recent_failures,
        "recommendations": [text for _, text in taken] or ["System is healthy - no action required"],
    }


def _taken(
    statistics: Mapping[str, Any],
    backups: Mapping[str, Any],
    problems: Sequence[str],
    recent_failures: int,
    look: Mapping[str, Any],
) -> list[tuple[int, str]]:
    """What lowers the score, each with what to do about it."""
    taken = []
    if problems:
        taken.append((HISTORY_BROKEN, f"look into the history: {problems[0]} (driftd history verify)"))
    if "error" in look:
        taken.append((MODELS_UNREADABLE, f"make the models load again: {look['error']}"))
    waiting = [one for one in (look.get("plan") or {}).get("operations", []) if one["held"]]
    if any(one["kind"] not in REMOVALS for one in waiting):
        taken.append((WAITING, f"decide about {phrase(waiting[0])}: {waiting[0]['reason']} (driftd plan)"))
    latest = (statistics.get("latest_migration") or {}).get("backup")
    if latest and latest["id"] not in {one["id"] for one in backups["backups"]}:
        taken.append((NO_BACKUP, f"the last migration's backup {latest['id']} is gone: driftd backup create"))
    if backups["problems"]:
        taken.append((STRAYS, f"look at the backups: {backups['problems'][0]} (driftd backup verify)"))
    if recent_failures:
        taken.append((FAILURE * recent_failures, f"review {recent_failures} recent migration failures"))
    return taken


def _migrations(history: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in history["migrations"] if one["migration_id"]]


def no_status(_code: str, error: str) -> Document:
    """The same keys where nothing could be found out; `error` says why."""
    return {
        "error": error,
        "migration_needed": False,
        "schema_differences": {"missing_tables": [], "extra_tables": [], "table_differences_count": 0},
        "migration_complexity": "UNKNOWN",
        "estimated_downtime_seconds": None,
        "safety_warnings": [],
        "recent_migrations_count": 0,
        "failed_migrations_24h": 0,
        "backup_statistics": backup_statistics([]),
    }


def no_health(code: str, error: str) -> Document:
    """The same keys where nothing could be found out. A database that is broken is CRITICAL, else it is UNKNOWN."""
    broken = code in {"database-corrupt", "database-not-sqlite"}
    return {
        "error": error,
        "overall_health": "CRITICAL" if broken else "UNKNOWN",
        "health_score": 0,
        "migration_statistics": {},
        "backup_statistics": backup_statistics([]),
        "recent_failures": 0,
        "recommendations": [error],
    }


def no_rollback(error: str) -> Document:
    """The keys of a rollback's answer where nothing was done."""
    return {
        "success": False,
        "migration_id": None,
        "migration_name": None,
        "backup_restored": False,
        "error_message": error,
        "error": error,
        "rows_lost": None,
        "safety_backup": None,
        "warnings": [],
    }


def restored_of(document: Mapping[str, Any]) -> Document:
    """The answer of a rollback that has restored a backup, of `api.rollback_to_backup`'s document."""
    migration, safety = document["migration"], document["safety_backup"]
    return {
        "success": True,
        "migration_id": migration["migration_id"],
        "migration_name": f"plan {migration['plan_id']}",
        "backup_restored": True,
        "error_message": None,
        "rows_lost": document["rows_lost"],
        "safety_backup": safety["id"] if safety else None,
        "warnings": [*document["warnings"], _STILL_WANTED],
    }


def undone_of(document: Mapping[str, Any]) -> Document:
    """The answer of a rollback that has undone operations, of `api.rollback`'s document; a success where none is left."""
    undoes, backup = document["undoes"], document["backup"]
    left = left_undone(document["held"], document["blocked"], f"driftd rollback {undoes['migration_id']}")
    done = document["outcome"] in {"migrated", "up_to_date"} and not left
    applied = document["outcome"] == "migrated"
    told = sentence(document["error"]) if document["error"] else "; ".join(left) or "nothing could be undone"
    answer = {
        "success": done,
        "migration_id": undoes["migration_id"],
        "migration_name": f"operations {', '.join(map(str, undoes['operations'])) or 'none'}",
        "backup_restored": False,
        "error_message": None if done else told,
        "rows_lost": 0,
        "safety_backup": backup["id"] if backup and applied else None,
        "warnings": [*document["warnings"], *([_STILL_WANTED] if applied else [])],
    }
    return answer if done else {**answer, "error": told}


def stamp(now: datetime) -> str:
    """A moment as the orchestrator's code reads it: ISO 8601, UTC."""
    return now.astimezone(UTC).isoformat()
