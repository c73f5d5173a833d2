"""`driftd pause`: let the daemon leave targets alone until they are resumed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from driftd.cli.command import Command, json_option
from driftd.cli.talk import FOR_EVER, Line, daemon_options

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "pause",
    cls=Command,
    short_help="Let the daemon leave targets alone.",
    epilog="driftd pause\ndriftd pause --target web",
)
@daemon_options()
@json_option
def command(state: State, line: Line) -> int:
    """Let the daemon leave a target, or all of them, alone: nothing is staged and nothing applied until `driftd resume`.

    A migration that is under way is ended first. Exit code: 0 done, 1 refused, 2 error, 3 no daemon, 77 not allowed.
    """
    from driftd.cli.render.status import render_entries

    document = line.ask("pause", patience=FOR_EVER)
    state.report(
        {"schema_version": 1, **document},
        lambda look: render_entries(
            document, look, flags=line.flags(document.get("daemon")), now=datetime.now(UTC)
        ),
    )
    return 0
