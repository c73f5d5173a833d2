"""`driftd approve`: tell the daemon that a held operation may go ahead."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from driftd.cli.command import Command, json_option
from driftd.cli.talk import FOR_EVER, Line, daemon_options

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "approve",
    cls=Command,
    short_help="Approve what the daemon holds.",
    epilog="driftd approve 8f3a21c0d4e5-3\n"
    "driftd approve drop-column --target web\n"
    "driftd approve drop-column --plan 8f3a21c0d4e5",
)
@click.argument("operations", metavar="ID|CODE...", nargs=-1, required=True)
@click.option("--plan", "plan_id", metavar="ID", help="Approve for this plan or not at all.")
@daemon_options()
@json_option
def command(state: State, line: Line, operations: tuple[str, ...], plan_id: str | None) -> int:
    """Approve held operations by their ids, or all of a code; the daemon then stages them as well.

    An approval holds for the plan that is there now. Exit code: 0 approved, 1 refused, 2 error, 3 no daemon,
    77 not allowed.
    """
    from driftd.cli.render.status import render_entries

    document = line.ask("approve", patience=FOR_EVER, operations=list(operations), plan=plan_id)
    state.report(
        {"schema_version": 1, **document},
        lambda look: render_entries(
            document, look, flags=line.flags(document.get("daemon")), now=datetime.now(UTC), done="Approved"
        ),
    )
    return 0
