"""What has changed from one look at the status to the next: a line each, for logs and for people who wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftd.cli.render.entry import (
    clock,
    going_of,
    operation_rows,
    state_style,
    state_word,
    waits_lines,
    window_text,
)
from driftd.cli.text import Look, escape, plural

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    Entry = Mapping[str, Any]


def change_lines(
    before: Entry | None, after: Entry, look: Look, *, at: object, zone: tzinfo | None = None
) -> list[str]:
    """`12:34:56 app: drifted → staging (plan 3f2a.., 4 operations)`, then a new plan's operations, and what waits.

    Args:
        before: ENTRY as it was last shown, None for a target that was not there.
        after: ENTRY as it is now.
        look: how to write.
        at: the ISO time of the change.
        zone: of the time that is shown; the machine's own by default.

    Returns:
        No line at all when nothing has changed that a person would ask for (progress, for example).
    """
    moved = before is None or before["state"] != after["state"]
    told = _told(before, after)
    if not moved and not told:
        return []
    head = f"{clock(at, zone)} {look.paint(escape(after['target']), 'bold')}: "
    if moved:
        arrow = "" if before is None else f"{state_word(before)} → "
        state = f"{arrow}{look.paint(state_word(after), state_style(after))}"
        lines = [f"{head}{state} ({told})" if told else f"{head}{state}"]
    else:
        lines = [f"{head}{told}"]
    if _plan_id(after) and _plan_id(after) != _plan_id(before):
        lines += operation_rows(going_of(after), look, indent=4, approved=after.get("approved", ()))
    if _waiting(after) != _waiting(before):
        lines += waits_lines(after, look)
    return lines


def event_line(event: Mapping[str, Any], zone: tzinfo | None = None) -> str:
    """An event that speaks of no single target; nothing for one that a newer daemon may have added."""
    told = {
        "reloaded": f"the configuration was read again{_moved(event)}",
        "stopping": "the daemon stops",
        "lost": "some events were lost, looking again",
    }.get(event["event"])
    return f"{clock(event.get('at'), zone)} {told}" if told else ""


def _moved(event: Mapping[str, Any]) -> str:
    """`: added a, b; removed c`."""
    words = [word for word in ("added", "changed", "removed") if event.get(word)]
    told = "; ".join(f"{word} {', '.join(map(escape, event[word]))}" for word in words)
    return f": {told}" if told else ""


def _told(before: Entry | None, after: Entry) -> str:
    """What is new beside the state, in the order of how much it matters."""
    was: Entry = before if before is not None else {}
    parts = []
    problem = after.get("problem")
    if problem and problem != was.get("problem"):
        parts.append(escape(problem["what"]))
    migration = after.get("last_migration")
    if before is not None and migration and migration != was.get("last_migration"):
        count = plural(migration["operations"], "operation")
        parts.append(f"migrated: {escape(migration['migration_id'])}, {count}")
    window = after.get("last_window")
    if before is not None and window and window != was.get("last_window"):
        parts.append(f"a service starts: {window_text(window)}")
    if _plan_id(after) and (_plan_id(after) != _plan_id(before) or _waiting(after) != _waiting(before)):
        parts.append(_plan_text(after))
    if before is not None and after["mode"] != was["mode"]:
        parts.append(f"mode {escape(was['mode'])} → {escape(after['mode'])}")
    return ", ".join(parts)


def _plan_text(entry: Entry) -> str:
    """`plan 3f2a11bb22cc, 4 operations, 1 held`."""
    parts = [f"plan {escape(_plan_id(entry))}", plural(len(going_of(entry)), "operation")]
    parts += [f"{len(entry[word])} {word}" for word in ("held", "blocked") if entry[word]]
    return ", ".join(parts)


def _plan_id(entry: Entry | None) -> str:
    plan = entry.get("plan") if entry else None
    return plan["id"] if plan and plan["operations"] else ""


def _waiting(entry: Entry | None) -> list[tuple[str, Any, Any]]:
    """What is held and blocked, as far as a change of it is worth a line."""
    if entry is None:
        return []
    return [
        (item["operation"], item["reason"], item.get("count"))
        for word in ("held", "blocked")
        for item in entry[word]
    ]
