"""`plan` for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from driftd.cli.render.common import (
    HELD_RISKS,
    approvals,
    by_hand,
    database_of,
    grouped,
    hints,
    operation_lines,
    sign_of,
    table_heading,
    waiting_lines,
)
from driftd.cli.text import Look, escape, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def render_plan(document: Mapping[str, Any], look: Look, *, flags: str = "", by_hand_flags: str = "") -> str:
    """Operations by table, then what is held and what is blocked, a count line, and the next command.

    `flags` are what was typed, `by_hand_flags` those of them that `driftd adopt` takes.
    """
    plan = document["plan"]
    name = look.paint(escape(document["target"]), "bold")
    if not plan or not plan["operations"]:
        return f"{name}: nothing to do, {database_of(document)} is in step with its models."
    operations = {operation["id"]: operation for operation in plan["operations"]}
    held, blocked = held_of(document), blocked_of(document)
    # Neither held nor blocked operations may be counted as going ahead.
    waiting = {item["operation"] for item in (*held, *blocked)}
    going = [operation for key, operation in operations.items() if key not in waiting]
    lines = [f"{name}  plan {escape(plan['id'])}  {database_of(document)}"]
    for table, group in grouped(going).items():
        lines += ["", table_heading(table, look)]
        for operation in group:
            lines += operation_lines(operation, look)
    if held:
        lines += ["", f"  {look.paint('Held', 'bold', 'yellow')} until somebody approves:"]
        lines += waiting_lines(held, operations, look)
    if blocked:
        lines += ["", f"  {look.paint('Blocked', 'bold', 'red')} by rows that are there now:"]
        lines += waiting_lines(blocked, operations, look)
    lines += ["", look.paint(count_line(going, len(held), len(blocked)), "bold")]
    lines += next_commands(going, held, operations, flags, look, by_hand_flags=by_hand_flags)
    return "\n".join(lines)


def held_of(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What waits for a person: as the document says, else told by risk."""
    plan = document["plan"]
    found = plan.get("held", document.get("held"))
    if found is not None:
        return list(found)
    return [
        {"operation": one["id"], "code": one["code"], "reason": one["reason"]}
        for one in plan["operations"]
        if one.get("held", one["risk"] in HELD_RISKS)
    ]


def blocked_of(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a guard has already found rows against."""
    return list(document["plan"].get("blocked", document.get("blocked")) or [])


def count_line(going: Sequence[Mapping[str, Any]], held: int, blocked: int) -> str:
    """The count line, `Plan: 3 to add, 2 to change, 0 to remove; 1 held.`, counts what goes ahead."""
    counts = Counter(sign_of(operation["kind"]) for operation in going)
    line = f"Plan: {counts['+']} to add, {counts['~']} to change, {counts['-']} to remove"
    line += f"; {held} held" if held else ""
    line += f"; {blocked} blocked" if blocked else ""
    return f"{line}."


def next_commands(
    going: Sequence[Mapping[str, Any]],
    held: Sequence[Mapping[str, Any]],
    operations: Mapping[str, Mapping[str, Any]],
    flags: str,
    look: Look,
    *,
    by_hand_flags: str = "",
) -> list[str]:
    """What to type: apply, and apply with each approval ready to paste."""
    lines = []
    if going:
        rest = ", what is held stays as it is" if held else ""
        lines.append((f"driftd apply{flags}", f"apply {plural(len(going), 'operation')}{rest}"))
    waiting = [operations[item["operation"]] for item in held if item["operation"] in operations]
    return hints([*lines, *approvals(held, operations, flags), *by_hand(waiting, by_hand_flags)], look)
