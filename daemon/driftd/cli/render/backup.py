"""`backup` for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftd.cli.render.common import hints
from driftd.cli.render.history import when
from driftd.cli.text import Look, escape, plural, size, table

if TYPE_CHECKING:
    from collections.abc import Mapping


def render_created(document: Mapping[str, Any], look: Look) -> str:
    """What was made and where it is."""
    backup = document["backup"]
    return "\n".join(
        [
            f"{look.paint('Backup made', 'bold', 'green')}: {_line(backup)}",
            look.paint(f"  {escape(backup['path'])}", "dim"),
        ]
    )


def render_list(document: Mapping[str, Any], look: Look, *, flags: str = "") -> str:
    """A table; pinned ones are marked, because a rollback needs them."""
    backups = document["backups"]
    name = look.paint(escape(document["target"]), "bold")
    if not backups:
        return "\n".join(
            [f"{name}: no backups.", *hints([(f"driftd backup create{flags}", "make one")], look)]
        )
    rows = [("BACKUP", "MADE (UTC)", "SIZE", "", "REASON")]
    rows += [
        (
            escape(backup["id"]),
            when(backup["created_at"]),
            size(backup["size_bytes"]),
            ("pinned" if backup["pinned"] else "") if backup["verified"] else "NOT verified",
            escape(backup["reason"] or ""),
        )
        for backup in backups
    ]
    head, *rest = [look.cut(line, look.width) for line in table(rows, right=frozenset({2}))]
    total = sum(backup["size_bytes"] for backup in backups)
    return "\n".join(
        [
            f"{name}  {plural(len(backups), 'backup')}, {size(total)}",
            "",
            look.paint(head, "bold"),
            *rest,
            *hints([(f"driftd backup restore BACKUP{flags}", "put one back")], look),
        ]
    )


def render_verified(document: Mapping[str, Any], look: Look) -> str:
    """Each backup with what is wrong with it."""
    backups = document["backups"]
    if not backups:
        return f"{look.paint(escape(document['target']), 'bold')}: no backups to verify."
    lines = []
    for backup in backups:
        problems = backup["problems"]
        word = look.paint("broken", "bold", "red") if problems else look.paint("sound", "green")
        lines.append(f"{escape(backup['id'])}  {word}")
        lines += [look.wrap(escape(problem), 4, 6) for problem in problems]
    return "\n".join(lines)


def render_restored(document: Mapping[str, Any], look: Look, *, flags: str = "") -> str:
    """What is in the database now, and how to get back what was there."""
    safety = document["safety_backup"]
    lines = [f"{look.paint('Restored', 'bold', 'green')}: {_line(document['restored'])}"]
    if safety:
        lines.append(f"  what was there before: {_line(safety)}")
        lines += hints([(f"driftd backup restore {escape(safety['id'])}{flags}", "undo")], look)
    return "\n".join(lines)


def render_pruned(document: Mapping[str, Any], look: Look) -> str:
    """What went, how much space that gave, and what stayed."""
    removed, kept = document["removed"], document["kept"]
    freed = size(sum(backup["size_bytes"] for backup in removed))
    lines = [f"{plural(len(removed), 'backup')} removed ({freed}), {len(kept)} kept"]
    lines += [look.paint(f"  {escape(backup['id'])}", "dim") for backup in removed]
    return "\n".join(lines)


def _line(backup: Mapping[str, Any]) -> str:
    verified = "verified" if backup["verified"] else "NOT verified"
    return f"{escape(backup['id'])}, {size(backup['size_bytes'])}, {verified}"
