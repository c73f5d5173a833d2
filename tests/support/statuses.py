"""Documents as the daemon answers `status` with: entries to be varied, and the whole around them."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]
PLAN_ID = "8f3a21c0d4e5"


def operation(number: int, kind: str, table: str, name: str, **more: object) -> Document:
    """An operation as it stands in PLAN."""
    return {
        "id": f"{PLAN_ID}-{number}",
        "kind": kind,
        "table": table,
        "name": name,
        "risk": "safe",
        "code": kind.replace("_", "-"),
        "strategy": "native",
        "sql": ["SELECT 1"],
        "guard": None,
        "undo": "",
        "reason": "",
        "detail": "",
        "origin": "models",
        "held": False,
        **more,
    }


def waiting(of: Document, reason: str, rows: list[Document] | None = None, count: int = 0) -> Document:
    """An item of `held` or `blocked`."""
    names = ("kind", "table", "name", "code", "risk", "strategy", "detail")
    shared = {name: of[name] for name in names}
    return {**shared, "operation": of["id"], "reason": reason, "rows": rows or [], "count": count}


def plan(*operations: Document, plan_id: str = PLAN_ID) -> Document:
    """PLAN."""
    return {"id": plan_id, "risk": "safe", "operations": list(operations)}


def stage(**more: object) -> Document:
    """The stage of an entry."""
    return {
        "plan_id": PLAN_ID,
        "made_at": "2026-07-12T11:59:48Z",
        "age_s": 12.3,
        "freshness": "exact",
        "operations": 3,
        "backup": {"id": "backup_20260712_115948_120", "path": "/srv/b.db", "size_bytes": 64000},
        "stage_ms": 211.0,
        "apply_ms": 9.2,
        "fits_window": True,
        "window_s": 15,
        **more,
    }


def entry(name: str = "app", state: str = "in_sync", **more: object) -> Document:
    """ENTRY of a target that is in this state since 11:57:00 UTC."""
    return {
        "target": name,
        "database": f"/srv/{name}.db",
        "mode": "window",
        "state": state,
        "since": "2026-07-12T11:57:00.000Z",
        "looked_at": "2026-07-12T11:59:50.000Z",
        "busy": "",
        "progress": None,
        "in_sync": state == "in_sync",
        "differences": 0,
        "plan": None,
        "held": [],
        "blocked": [],
        "approved": [],
        "stage": None,
        "last_migration": None,
        "last_window": None,
        "unmanaged": 0,
        "unsupported": [],
        "watching": {"files": 14, "folders": 3, "polled": []},
        "problem": None,
        "warnings": [],
        **more,
    }


def status(*entries: Document, verdict: str = "healthy", **daemon: object) -> Document:
    """The whole document."""
    return {
        "schema_version": 1,
        "verdict": verdict,
        "daemon": {
            "pid": 4711,
            "version": "0.1.0",
            "protocol": 1,
            "started_at": "2026-07-12T08:00:00.000Z",
            "uptime_s": 14400.0,
            "config": "/etc/driftd/config.toml",
            "socket": "/run/driftd/driftd.sock",
            "memory": {"rss_bytes": 38_200_000},
            "cpu_s": 1.23,
            "threads": 4,
            "open_files": 17,
            "problems": [],
            **daemon,
        },
        "targets": list(entries),
    }
