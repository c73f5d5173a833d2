"""From driftd's documents to the orchestrator's words: what is a success, what was needed, and how healthy it is. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftd.auto_migration_health import backup_statistics, failures, health_of, migration_statistics
from driftd.auto_migration_result import backup_info, made_at, result_of
from driftd.startup.answers import whole

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ERROR = {"code": "x", "what": "it went wrong", "why": "of a reason", "fix": "do this"}


def operation(kind: str, *, code: str = "", risk: str = "destructive") -> dict[str, Any]:
    return {
        "operation": "p-1",
        "kind": kind,
        "table": "task",
        "name": "title",
        "code": code or kind,
        "risk": risk,
        "reason": "a reason",
    }


def answered(outcome: str, **more: Any) -> Any:
    return result_of(
        whole({"outcome": outcome, **more}, "w", "/srv/app.db", None), waited_ms=12.6, backup=None
    )


@pytest.mark.parametrize(
    ("outcome", "held", "blocked", "success"),
    [
        ("up_to_date", [], [], True),
        ("migrated", [], [], True),
        ("migrated", ["drop_column", "drop_table"], [], True),
        ("held", ["drop_view"], [], True),
        ("migrated", ["add_column"], [], False),
        ("migrated", ["drop_column"], ["add_check"], False),
        ("held", ["drop_column", "drop_unique"], [], False),
        ("held", ["drop_not_null"], [], False),
        ("blocked", [], ["add_unique"], False),
        ("deferred", ["drop_column"], [], False),
        ("failed", [], [], False),
        ("unknown", [], [], False),
        ("skipped", [], [], False),
    ],
)
def test_success_means_that_the_models_need_nothing_more(
    outcome: str, held: list[str], blocked: list[str], success: bool
) -> None:
    """Only removals may be left; whatever ended without knowing is no success, and each that waits is a warning."""
    result = answered(outcome, held=[*map(operation, held)], blocked=[*map(operation, blocked)])
    assert result.success is success
    assert bool(result.error_message) is not success
    assert len(result.warnings) == len(held) + len(blocked)
    assert result.execution_time_ms == 13


@pytest.mark.parametrize(
    ("outcome", "more", "needed"),
    [
        ("up_to_date", {}, False),
        ("held", {"plan_id": "p", "held": [operation("drop_column")]}, False),
        ("held", {"plan_id": "p", "held": [operation("add_column")]}, True),
        ("deferred", {"plan_id": "p"}, True),
        ("deferred", {"error": ERROR}, False),
        ("failed", {"plan_id": "p", "error": ERROR}, True),
        ("unknown", {"error": ERROR}, False),
    ],
)
def test_what_was_not_found_out_was_not_needed(outcome: str, more: dict[str, Any], needed: bool) -> None:
    """A migration is needed where operations that the models need were done or found."""
    assert answered(outcome, **more).migration_needed is needed


def test_operations_that_were_not_done_are_not_counted() -> None:
    """A deferred answer may know how many there would be."""
    assert answered("deferred", operations=7).operations_executed == 0
    assert answered("migrated", operations=7).operations_executed == 7


def test_an_error_is_told_whole() -> None:
    """What, why, and what to do, in one text."""
    assert answered("failed", error=ERROR).error_message == "it went wrong: of a reason (do this)"


@pytest.mark.parametrize(
    ("one", "way"),
    [
        (operation("drop_column"), "driftd apply --approve p-1"),
        (operation("add_column", code="value-needed", risk="guarded"), "driftd plan shows it"),
        (operation("add_check", code="in-use", risk="guarded"), "when no other service runs on this schema"),
    ],
)
def test_a_warning_says_what_to_type(one: dict[str, Any], way: str) -> None:
    """Nobody is sent to approve what no approval can help."""
    assert way in answered("held", held=[one]).warnings[0]


def test_a_backup_is_told_without_its_manifest() -> None:
    """A daemon's backup folder may be closed to us: its id tells when it was made, and nothing tells its size."""
    backup = {"id": "backup_20260301_115900_250", "path": "/b/x.db", "sha256": "ab", "verified": True}
    info = backup_info({"backup": backup, "database": "/srv/app.db", "migration_id": "m"}, {})
    assert info is not None
    assert info.created_at == datetime(2026, 3, 1, 11, 59, 0, 250_000, tzinfo=UTC)
    assert (info.size_bytes, info.checksum, info.migration_batch_id) == (0, "ab", "m")
    assert backup_info({"backup": None}, {}) is None
    assert made_at("elsewhere").tzinfo is UTC


def test_statistics_of_no_backups_have_every_key() -> None:
    """As those of some."""
    some = backup_statistics([{"id": "a", "size_bytes": 1}, {"id": "b", "size_bytes": 2}])
    assert (some["oldest_backup"], some["newest_backup"], some["average_size_bytes"]) == ("a", "b", 1.5)
    assert backup_statistics([]).keys() == some.keys()


def test_failures_are_counted_for_a_day() -> None:
    """Older ones are in the statistics alone."""
    records = [
        {"event": event, "at": (NOW - timedelta(hours=hours)).isoformat(), "migration_id": None}
        for event, hours in (("failed", 1), ("failed", 25), ("backup", 1))
    ]
    assert failures(records, NOW) == 1
    found = migration_statistics({"migrations": []}, records, [])
    assert (found["status_counts"]["failed"], found["success_rate"]) == (2, 0.0)


def test_the_score_falls_with_what_is_wrong() -> None:
    """Each thing takes its points and has its recommendation; nothing falls below 0."""
    backups = {"backups": [], "problems": ["x.db has no manifest"]}
    statistics = {"latest_migration": {"backup": {"id": "b"}}}
    look = {"error": "they do not import"}
    found = health_of(statistics, backups, ["row 1 was altered"], 3, look)
    assert (found["health_score"], found["overall_health"]) == (0, "CRITICAL")
    assert len(found["recommendations"]) == 5
