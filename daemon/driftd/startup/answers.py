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


_LISTS = ("applied", "held", "blocked")
_WORDS = ("code", "what", "why", "fix")
_NO_MORE = {"why": "", "fix": ""}  # what an error may leave out


def is_answer(found: Document) -> bool:
    """Can that be read as an ANSWER? What it leaves out counts as nothing; what has another shape is somebody else's."""
    error = found.get("error")
    return (
        isinstance(found.get("outcome"), str)
        and isinstance(found.get("operations", 0), int)
        and isinstance(found.get("duration_ms", 0.0), int | float)
        and isinstance(found.get("warnings", []), list)
        and all(_are_operations(found.get(name, [])) for name in _LISTS)
        and (error is None or _has_texts({**_NO_MORE, **error} if isinstance(error, dict) else error, _WORDS))
    )


def _are_operations(found: object) -> bool:
    return isinstance(found, list) and all(
        _has_texts(one, ("kind",))
        and "name" in one
        and "table" in one
        and isinstance(one.get("count") or 0, int)
        and isinstance(one.get("reason") or "", str)
        for one in found
    )


def _has_texts(found: object, names: tuple[str, ...]) -> bool:
    return isinstance(found, dict) and all(isinstance(found.get(name), str) for name in names)


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


def not_told(path: str) -> str:
    """A sentence for where the lock of that path, by which a service says that it runs, could not be had."""
    return f"others cannot be told that this service runs: {path} could not be locked"


def unknown(database: str, seconds: float, pid: int | None = None, state: str = "") -> dict[str, str]:
    """The daemon was asked and had not answered at the deadline; `pid` is it, `state` what it is in for a sentence."""
    who = "the daemon that serves it" if pid is None else f"pid {pid}, the daemon that serves it,"
    look = "" if pid is None else f"look at that process: ps -fp {pid}; "
    return {
        "code": "window-unknown",
        "what": f"what became of the startup window of {database} is not known",
        "why": f"{who} did not answer within {seconds:.1f} s" + (f": it {state}" if state else ""),
        "fix": f"{look}the database is migrated whole or not at all: `driftd check` tells, and `driftd history`",
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
