"""What is known of a target, and how `status` shows it: values in, a document out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from driftd.states import Standing
    from driftengine.footprint import Inputs
    from driftengine.target import Target

Document = dict[str, Any]
BY_WINDOW = "driftd run, startup window"  # who allowed a migration, in the history
_WELL = frozenset({"in_sync", "ready", "staging", "applying", "starting", "drifted"})


@dataclass(slots=True)
class Found:
    """What the last looks, stages and applies have told of a target. `since` is when its state began."""

    since: str
    database: str = ""
    looked_at: str | None = None
    look: Document | None = None
    held: list[Document] = field(default_factory=list)
    blocked: list[Document] = field(default_factory=list)
    stage: Document | None = None
    approved: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    staged_for: object = None
    lost: str = ""
    progress: Document | None = None
    problem: Document | None = None
    last_window: Document | None = None

    def looked(self, document: Document) -> None:
        """Takes over what a look has found."""
        self.looked_at = now_text()
        if self.look is not None and self.look["last_migration"] and not document["last_migration"]:
            self.lost = (
                f"the history that was in {document['database']} is gone: the file was removed, or another one put in its "
                "place; if that is not meant, look at `driftd backup list` before anything is applied"
            )
        elif document["last_migration"]:
            self.lost = ""
        self.look = document
        self.database = document["database"]
        self.approved = tuple(document["approved"])
        self.stage, self.warnings = document["stage"], document["warnings"]
        if self.staged_for != _wish(document):
            # Which rows stand in the way, and what waits for these, is only asked while staging.
            self.held, self.blocked, self.staged_for = document["held"], [], None

    def staged(self, document: Document) -> None:
        """Takes over what a stage has found."""
        if document["outcome"] == "stale":
            return
        self.held, self.blocked = document["held"], document["blocked"]
        self.stage, self.warnings = document["stage"], document["warnings"]
        self.staged_for = None if self.look is None else _wish(self.look)

    def applied(self, document: Document) -> None:
        """Takes over what an apply left waiting."""
        self.held, self.blocked = document["held"], document["blocked"]
        self.stage, self.warnings, self.staged_for = None, document["warnings"], None
        self.problem = document["error"]

    def answered(self, document: Document, took_s: float) -> None:
        """Takes over the answer that a starting service was given; what is left is looked at when it has settled."""
        self.last_window = {
            "at": now_text(),
            "outcome": document["outcome"],
            "duration_ms": round(took_s * 1000, 3),
            "migration_id": document["migration_id"],
            "error": document["error"],
        }
        done = document["outcome"] == "up_to_date" or (
            document["outcome"] == "migrated" and not document["held"] and not document["blocked"]
        )
        if done and self.look is not None and not self.look["in_sync"]:
            self.look = {**self.look, "in_sync": True, "state": "in_sync", "differences": [], "plan": None}
        elif document["applied"] and self.look is not None and self.look["plan"] is not None:
            # Until the next look: what has just been done must not be shown as still to do.
            done_ids = {one["operation"] for one in document["applied"]}
            left = [one for one in self.look["plan"]["operations"] if one["id"] not in done_ids]
            self.look = {**self.look, "plan": {**self.look["plan"], "operations": left}}
        if document["migration_id"] and self.look is not None:
            migration = {
                "migration_id": document["migration_id"],
                "at": self.last_window["at"],
                "operations": document["operations"],
                "allowed_by": BY_WINDOW,
            }
            self.look = {**self.look, "last_migration": migration}


def _wish(look: Document) -> object:
    """What a stage is made for: a plan, and what of it is approved."""
    return look["plan_id"], tuple(look["approved"])


def entry_of(
    target: Target, standing: Standing, found: Found, inputs: Inputs, polled: Sequence[str]
) -> Document:
    """ENTRY of docs/socket.md."""
    look = found.look or {}
    return {
        "target": target.name,
        "database": found.database,
        "mode": target.mode,
        "state": standing.state,
        "since": found.since,
        "looked_at": found.looked_at,
        "busy": standing.work,
        "progress": found.progress,
        "in_sync": look.get("in_sync"),
        "differences": len(look.get("differences", ())),
        "plan": look.get("plan"),
        "held": found.held,
        "blocked": found.blocked,
        "approved": list(found.approved),
        "stage": _aged(found.stage),
        "last_migration": look.get("last_migration"),
        "last_window": found.last_window,
        "accepted": len(look.get("accepted", ())),
        "unmanaged": len(look.get("unmanaged", ())),
        "unsupported": look.get("unsupported", []),
        "watching": {
            "files": len(inputs.files),
            "folders": len(inputs.folders),
            "polled": list(polled),
        },
        "problem": found.problem,
        "warnings": [*filter(None, [found.lost]), *found.warnings],
    }


def _aged(stage: Document | None) -> Document | None:
    """The stage with its age now: a snapshot must not say how old it was when it was taken."""
    if stage is None:
        return None
    made_at = datetime.fromisoformat(stage["made_at"])
    return {**stage, "age_s": round((datetime.now(UTC) - made_at).total_seconds(), 1)}


def freshness(stage: Document | None) -> tuple[str, str] | None:
    """What may change about a stage that is kept, but for its age."""
    return None if stage is None else (stage["made_at"], stage["freshness"])


def needs_attention(entry: Mapping[str, Any]) -> bool:
    """True where a person should look: something waits, cannot be read, or was stopped; also in a state of tomorrow.

    The daemon's verdict and what the command line shows go by this one rule. A client may meet an older daemon's entry.
    """
    waits = entry.get("held") or entry.get("blocked") or entry.get("problem")
    return bool(waits) or entry["state"] not in _WELL


def without_rows(document: Mapping[str, Any]) -> Document:
    """A document with `held` and `blocked`, for whoever may not see what is in the database."""
    waiting = {name: [{**one, "rows": []} for one in document[name]] for name in ("held", "blocked")}
    return {**document, **waiting}


def now_text() -> str:
    """UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
