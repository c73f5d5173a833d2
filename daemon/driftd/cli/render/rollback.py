"""`rollback` for people: an apply's report, of the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftd.cli.render.apply import Doing, render_apply
from driftd.cli.render.common import hints
from driftd.cli.text import Look, escape, shell_word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def render_rollback(
    document: Mapping[str, Any],
    look: Look,
    *,
    flags: str = "",
    operations: Sequence[str] = (),
    approve: Sequence[str] = (),
    dry_run: bool = False,
) -> str:
    """What was taken back of which migration, what is held or blocked with its rows, and how to go on.

    `flags`, `operations` and `approve` are what was typed, to be typed again.
    """
    undoes = document.get("undoes")
    told = render_apply(
        document, look, flags=flags, approve=approve, dry_run=dry_run, doing=doing_of(undoes, operations)
    )
    if not undoes or dry_run or document["outcome"] != "migrated":
        return told
    next_commands = []
    if undoes["left"]:
        typed = f"driftd history {escape(undoes['migration_id'])}{flags}"
        next_commands.append((typed, "see what of it is still done"))
    if document.get("migration_id"):
        typed = f"driftd rollback {escape(document['migration_id'])}{flags}"
        next_commands.append((typed, "take this rollback back"))
    return "\n".join([told, *hints(next_commands, look)])


def doing_of(undoes: Mapping[str, Any] | None, operations: Sequence[str] = ()) -> Doing:
    """An undo in words; `operations` are those that were named."""
    if not undoes:  # refused before anybody knew what was meant
        return Doing(
            "driftd rollback", "Rolled back", "rolled back", "there is nothing to take back", binds=False
        )
    migration = escape(undoes["migration_id"])
    named = "".join(f" --operation {shell_word(one)}" for one in operations)
    return Doing(
        typed=f"driftd rollback {migration}{named}",
        done="Rolled back",
        would="rolled back",
        idle=f"nothing of {migration} is left to take back",
        of=f" of {migration}",
        binds=False,
        reasons=True,
    )
