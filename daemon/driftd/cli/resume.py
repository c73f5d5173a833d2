"""`driftd resume`: let the daemon go on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from driftd.cli.command import Command, json_option
from driftd.cli.talk import FOR_EVER, Line, daemon_options

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "resume",
    cls=Command,
    short_help="Let the daemon go on with what was paused.",
    epilog="driftd resume\ndriftd resume --target web",
)
@daemon_options()
@json_option
def command(state: State, line: Line) -> int:
    """Let the daemon go on with a target, or with all that were paused; waits until it has looked.

    Exit code: 0 done, 1 refused, 2 error, 3 no daemon, 77 not allowed.
    """
    from driftd.cli.render.status import render_entries

    document = line.ask("resume", patience=FOR_EVER)
    state.report(
        {"schema_version": 1, **document},
        lambda look: render_entries(
            document, look, flags=line.flags(document.get("daemon")), now=datetime.now(UTC)
        ),
    )
    return 0
