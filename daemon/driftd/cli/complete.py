"""What a shell completes behind a command: migrations and their operations, as the history of the database has them.

Nothing is said where it cannot be told: a person who presses the tabulator wants no error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.shell_completion import CompletionItem

from driftd.cli.text import escape
from driftengine.errors import DriftError

if TYPE_CHECKING:
    import click


def migrations(ctx: click.Context, _parameter: click.Parameter | None, typed: str) -> list[CompletionItem]:
    """The ids of the migrations, the newest first, each with when it was and how much it did."""
    found = [one for one in _history(ctx) if one["migration_id"]]
    return [
        CompletionItem(one["migration_id"], help=f"{one['at'][:16]}, {one['kind']}, {one['operations']}")
        for one in reversed(found)
        if one["migration_id"].startswith(typed)
    ]


def operations_of_migration(
    ctx: click.Context, _parameter: click.Parameter | None, typed: str
) -> list[CompletionItem]:
    """The numbers of the operations of the migration that is named, else of the last one."""
    migration = ctx.params.get("migration")
    if migration is None:
        migration = next((m.value for m in migrations(ctx, None, "")), None)
    entry = next(iter(_history(ctx, migration)), None) if migration else None
    done = set((entry or {}).get("evidence", {}).get("applied", ()))
    operations = ((entry or {}).get("plan") or {}).get("operations", [])
    return [
        # A line break in a name would be a completion of its own: zsh is given lines.
        CompletionItem(str(number), help=escape(f"{one['kind'].replace('_', ' ')} {one['name']}"))
        for number, one in enumerate(operations, 1)
        if number in done and str(number).startswith(typed)
    ]


def _history(ctx: click.Context, migration: str | None = None) -> list[dict[str, Any]]:
    from driftd.config import Request, load
    from driftd.config.target import build_target

    names = ("url", "models", "python", "pythonpath")
    flags = {name: ctx.params[name] for name in names if ctx.params.get(name)}
    request = Request(
        environment=os.environ,
        directory=Path.cwd(),
        config=ctx.params.get("config"),
        target=ctx.params.get("target"),
        flags=flags,
        needs_models=False,
    )
    try:
        from driftengine import api

        found: list[dict[str, Any]] = api.history(build_target(load(request)), migration)["migrations"]
    except (DriftError, OSError):
        return []
    return found
