"""`driftd plan`: what would be done?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.command import Chosen, Command, json_option, target_options
from driftd.cli.text import readable

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "plan",
    cls=Command,
    short_help="What would be done, why, and at what risk?",
    epilog="driftd plan\n"
    "driftd plan --backfill \"task.state='open'\"\n"
    "driftd plan --sql > migration.sql\n"
    "driftd plan --url sqlite:///app.db --models app.models:Base --json",
)
@target_options(backfill=True, renames=True)
@click.option("--sql", "as_sql", is_flag=True, help="Print the statements instead.")
@json_option
@click.pass_obj
def command(state: State, chosen: Chosen, as_sql: bool) -> int:
    """Show what `apply` would do: each operation, its risk, and what waits for approval.

    Nothing is written. Exit code: 0 nothing to do, 1 changes, 2 error.
    """
    from driftd.cli.render.plan import render_plan

    if as_sql and state.json:
        raise click.UsageError(
            "--sql and --json exclude each other: the document holds the statements already."
        )
    # Before the engine is imported: a wrong configuration is told at once.
    target = chosen.target()
    from driftengine import api

    if as_sql:
        script = api.plan_script(target)
        state.report({}, lambda _look: readable(script))
        return 1 if says_something(script) else 0
    document = api.plan(target)
    by_hand_flags = chosen.flags_without("backfill")
    state.report(
        document,
        lambda look: render_plan(document, look, flags=chosen.flags, by_hand_flags=by_hand_flags),
    )
    found = document["plan"]
    return 1 if found and found["operations"] else 0


def says_something(script: str) -> bool:
    """False for a script that is one remark, that there is nothing to do; what is held is a remark for each."""
    lines = [line for line in script.splitlines() if line.strip()]
    return len(lines) > 1 or any(not line.startswith("--") for line in lines)
