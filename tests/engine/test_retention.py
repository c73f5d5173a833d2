"""Which backups may go: a decision over values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from driftengine import journal
from driftengine.manifest import Backup, choose_prunable

NOW = datetime(2026, 1, 31, 12, 0, 0, 7000, UTC)


def kept(number: int, **changes: Any) -> Backup:
    fields: dict[str, Any] = {
        "id": f"b{number}",
        "path": Path(f"/b/b{number}.db"),
        "database": "/srv/app.db",
        "database_id": "db-1",
        "created_at": journal.timestamp(NOW - timedelta(days=100 - number)),
        "size_bytes": 10,
        "sha256": "",
        "page_size": 4096,
        "row_counts": {},
        "schema_sha256": "",
        "reason": "migration",
        "migration_id": None,
        "pinned": False,
        "verified": True,
    }
    return Backup(**{**fields, **changes})


def chosen(backups: list[Backup], **limits: Any) -> list[str]:
    given: dict[str, Any] = {
        "keep": 100,
        "keep_for": 1e9,
        "max_total_size": 10**9,
        "now": NOW,
        "database": "/srv/app.db",
        "database_id": "db-1",
    }
    return [found.id for found in choose_prunable(backups, **{**given, **limits})]


def test_each_limit_takes_the_oldest() -> None:
    """Count, age and total size, each alone; in any order of the list."""
    five = [kept(number) for number in (3, 1, 5, 2, 4)]
    assert chosen(five) == []
    assert chosen(five, keep=2) == ["b1", "b2", "b3"]
    assert chosen(five, keep_for=97.5 * 86400) == ["b1", "b2"]
    assert chosen(five, max_total_size=35) == ["b1", "b2"]
    assert chosen(five, keep=4, max_total_size=30) == ["b1", "b2"]


def test_the_newest_is_never_pruned() -> None:
    """However tight the limits are, one backup stays."""
    assert chosen([kept(1), kept(2)], keep=0, keep_for=0, max_total_size=0) == ["b1"]
    assert chosen([kept(1)], keep=0, keep_for=0, max_total_size=0) == []
    assert chosen([kept(1), kept(2, pinned=True)], keep=0, keep_for=0, max_total_size=0) == ["b1"]


def test_a_pinned_backup_is_never_pruned() -> None:
    """Pinned by its manifest or by the caller; it counts like any other, and stays."""
    backups = [kept(1, pinned=True), kept(2), kept(3), kept(4)]
    assert chosen(backups, keep=2) == ["b2"]
    assert chosen(backups, keep=2, pinned={"b2"}) == []
    assert chosen(backups, max_total_size=25) == ["b2", "b3"]


def test_backups_of_another_database_are_never_pruned() -> None:
    """Neither of another path (a copied database carries its original's id), nor of another id at the same path."""
    backups = [
        kept(1, database="/srv/other.db"),
        kept(2, database_id="db-2"),
        kept(3, database_id=""),
        kept(4),
    ]
    assert chosen(backups, keep=0) == ["b3"]
    assert chosen(backups, keep=0, database_id="") == []
