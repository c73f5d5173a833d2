"""What a starter tells where nobody answered it: ANSWER and the errors in it, as in docs/window-protocol.md. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]


def whole(answer: Document, window: str, database: str, by: str | None) -> Document:
    """The answer with every member that an ANSWER has; `by` counts where it does not say by whom."""
    return {
        "schema_version": 1,
        "target": "",
        "database": database,
        "outcome": "unknown",
        "operations": 0,
        "duration_ms": 0.0,
        "migration_id": None,
        "plan_id": None,
        "backup": None,
        "applied": [],
        "held": [],
        "blocked": [],
        "dry_run": False,
        "warnings": [],
        "error": None,
        "by": by,
        "stage": None,
        **answer,
        "id": window,
    }


def unavailable(database: str, why: str, path: str) -> dict[str, str]:
    """No lock could be taken, so no window was opened."""
    return {
        "code": "window-unavailable",
        "what": f"no startup window could be opened for {database}",
        "why": why,
        "fix": f"see that this user may write {path}; `driftd apply` migrates without a window",
    }


def queued(database: str, holder: Document) -> dict[str, str]:
    """The time was up while others had their windows: nothing was changed."""
    who = (
        f"pid {holder['pid']} was starting" if isinstance(holder.get("pid"), int) else "others were starting"
    )
    return {
        "code": "window-deadline",
        "what": f"the time was up before it was the turn of this window of {database}",
        "why": f"{who} meanwhile",
        "fix": "nothing was changed; start it again, or give window.timeout more time",
    }


def unknown(database: str, seconds: float) -> dict[str, str]:
    """The daemon was asked and had not answered at the deadline."""
    return {
        "code": "window-unknown",
        "what": f"what became of the startup window of {database} is not known",
        "why": f"the daemon that serves it did not answer within {seconds:.1f} s",
        "fix": "it is migrated whole or not at all: `driftd status` tells, and `driftd history`",
    }


def nobody(database: str) -> dict[str, str]:
    """Nobody serves the database, and who asked could not do it alone."""
    return {
        "code": "no-daemon",
        "what": f"no daemon serves {database}",
        "why": "nobody holds its daemon.lock",
        "fix": "start one with `driftd run`, or migrate with `driftd apply`",
    }


def broken(error: Exception) -> dict[str, str]:
    """A bug of ours, behind which the service starts all the same."""
    return {
        "code": "internal",
        "what": "the startup window failed for a reason that nobody foresaw",
        "why": f"{type(error).__name__}: {error}",
        "fix": "please report it; the database is intact, and `driftd check` tells how it stands",
    }
