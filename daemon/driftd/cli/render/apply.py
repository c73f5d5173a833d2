"""`apply` for people: the outcome in one line, then what waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from driftd.cli.render.common import approvals, hints, operation_text, waiting_lines
from driftd.cli.render.error import render_error_document
from driftd.cli.text import Look, duration, escape, plural, shell_word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STYLES = {
    "up_to_date": ("Up to date", "green"),
    "migrated": ("Migrated", "green"),
    "held": ("Held", "yellow"),
    "blocked": ("Blocked", "red"),
    "deferred": ("Deferred", "yellow"),
    "failed": ("Failed", "red"),
}


@dataclass(frozen=True, slots=True)
class Doing:
    """What a command does, in words: an apply, and what is carried out like one.

    `typed` is the command to type again; `done` what has happened, `would` what a dry run says, `idle` that there is nothing
    to do, `of` what it was done to. `binds` says that --plan binds it to the plan that was shown, `reasons` that each
    operation is told with its reason.
    """

    typed: str = "driftd apply"
    done: str = "Migrated"
    would: str = "applied"
    idle: str = "the database is in step with its models"
    of: str = ""
    binds: bool = True
    reasons: bool = False


def render_apply(
    document: Mapping[str, Any],
    look: Look,
    *,
    flags: str = "",
    approve: Sequence[str] = (),
    dry_run: bool = False,
    doing: Doing | None = None,
) -> str:
    """Outcome, backup, held and blocked operations with their rows, the error if any, and the next command.

    `flags` and `approve` are what was typed, to be typed again; `doing` says what was done, where it was no apply.
    """
    doing = doing or Doing()
    lines = [_outcome(document, look, doing, dry_run=dry_run)]
    lines += _backup(document.get("backup"), look)
    for one in document.get("applied", ()):
        lines.append(f"  {operation_text(one, look)}")
        if doing.reasons and one.get("reason"):
            lines.append(look.paint(look.wrap(escape(one["reason"]), 6), "dim"))
    operations = _operations(document)
    if document["held"]:
        count = plural(len(document["held"]), "operation waits", "operations wait")
        lines += ["", f"  {look.paint('Held', 'bold', 'yellow')}: {count} for approval:"]
        lines += waiting_lines(document["held"], operations, look)
    if document["blocked"]:
        count = plural(len(document["blocked"]), "operation is", "operations are")
        by = " by rows" if all(one.get("rows") for one in document["blocked"]) else ""
        lines += ["", f"  {look.paint('Blocked', 'bold', 'red')}: {count} stopped{by}:"]
        lines += waiting_lines(document["blocked"], operations, look)
    lines += [look.wrap(f"warning: {escape(text)}", 2, 4) for text in document.get("warnings", ())]
    if document["error"]:
        lines += ["", render_error_document(document["error"], look)]
    given = "".join(f" --approve {shell_word(word)}" for word in approve)
    lines += _next(document, flags, given, look, doing, dry_run=dry_run)
    return "\n".join(lines)


def _outcome(document: Mapping[str, Any], look: Look, doing: Doing, *, dry_run: bool) -> str:
    word, style = _STYLES.get(document["outcome"], (document["outcome"], "bold"))
    word = doing.done if document["outcome"] == "migrated" else word
    head = look.paint(word, "bold", style)
    count = plural(document["operations"], "operation")
    took = duration(document["duration_ms"])
    tail = {
        "up_to_date": f": {doing.idle}",
        "migrated": f": {count}{doing.of} in {took}",
        "held": ": nothing was changed",
        "blocked": ": nothing was changed",
        "deferred": ": nothing was changed, the database was in use until the deadline",
        "failed": ": nothing was changed",
    }.get(document["outcome"], "")
    if dry_run and document["outcome"] == "migrated":
        return f"{look.paint('Dry run', 'bold', style)}: {count}{doing.of} would be {doing.would}; nothing was written"
    if dry_run:
        return f"Dry run: {head}{tail}"
    migration = f"as {escape(document['migration_id'])}" if document.get("migration_id") else ""
    # Two migrations are too much for a line.
    joined = "\n  " if doing.of else ", "
    return f"{head}{tail}{joined}{migration}" if migration else f"{head}{tail}"


def _backup(backup: Mapping[str, Any] | None, look: Look) -> list[str]:
    if not backup:
        return []
    verified = "verified" if backup["verified"] else "NOT verified"
    lines = [f"  backup {escape(backup['id'])} ({verified})"]
    if backup.get("path"):
        lines.append(look.paint(f"    {escape(backup['path'])}", "dim"))
    return lines


def _operations(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The plan's operations by id, where the document carries the plan."""
    plan = document.get("plan")
    return {one["id"]: one for one in plan["operations"]} if plan else {}


def _next(
    document: Mapping[str, Any], flags: str, approved: str, look: Look, doing: Doing, *, dry_run: bool
) -> list[str]:
    lines = []
    # What was applied needs no approval again, and its id names nothing any more.
    again = flags if document["outcome"] == "migrated" and not dry_run else f"{flags}{approved}"
    if dry_run and document["outcome"] == "migrated":
        plan = f" --plan {escape(document['plan_id'])}" if document.get("plan_id") and doing.binds else ""
        lines.append((f"{doing.typed}{again}{plan}", "apply exactly this" if doing.binds else "do it"))
    lines += approvals(document["held"], _operations(document), flags, doing.typed)
    if document["blocked"]:
        rows = all(one.get("rows") for one in document["blocked"])
        purpose = (
            "correct the rows, then see what would happen"
            if rows
            else "put that right, then see what would happen"
        )
        lines.append((f"{doing.typed}{again} --dry-run", purpose))
    if document["outcome"] == "deferred":
        lines.append((f"{doing.typed}{again}", "try again"))
    if document["error"] and document["error"].get("code"):
        lines.append((f"driftd explain {escape(document['error']['code'])}", "learn more"))
    return hints(lines, look)
