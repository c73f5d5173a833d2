"""`driftd status`: how are the targets that the daemon keeps?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from driftd.cli.command import Command, json_option
from driftd.cli.talk import Line, daemon_options

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "status",
    cls=Command,
    short_help="How are the targets that the daemon keeps?",
    epilog="driftd status\n"
    "driftd status -v\n"
    "driftd status --watch\n"
    "driftd status --watch --json | jq -c .event\n"
    "driftd status --socket /run/driftd/driftd.sock",
)
@click.option("--watch", is_flag=True, help="Go on, and show each change as it happens.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Show all targets in full, the daemon, and who has a database open."
)
@daemon_options()
@json_option
def command(state: State, line: Line, watch: bool, verbose: bool) -> int:
    """Ask the daemon where each target stands; the answer never waits for a migration.

    Exit code: 0 healthy, 1 needs attention, 2 error, 3 no daemon, 77 not allowed.
    """
    from driftd.cli.render.status import render_status

    if watch:
        from driftd.cli.follow import follow

        return follow(state, line, verbose=verbose)
    document = line.status(verbose=verbose)
    flags = line.flags(document["daemon"])
    state.report(
        document,
        lambda look: render_status(document, look, flags=flags, now=datetime.now(UTC), verbose=verbose),
    )
    return 0 if document["verdict"] == "healthy" else 1
