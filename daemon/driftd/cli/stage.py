"""`driftd stage`: let the daemon prepare the migration now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from driftd.cli.command import Command, json_option
from driftd.cli.talk import FOR_EVER, Line, daemon_options

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "stage",
    cls=Command,
    short_help="Let the daemon prepare the migration now.",
    epilog="driftd stage\ndriftd stage --target web\ndriftd stage --json | jq .targets[].stage",
)
@daemon_options()
@json_option
def command(state: State, line: Line) -> int:
    """Have the daemon look again, make a backup and rehearse; waits until it has ended.

    Exit code: 0 staged or nothing to do, 1 needs attention or refused, 2 error, 3 no daemon, 77 not allowed.
    """
    from driftd.cli.render.status import render_entries
    from driftd.entry import needs_attention

    document = line.ask("stage", patience=FOR_EVER)
    state.report(
        {"schema_version": 1, **document},
        lambda look: render_entries(
            document, look, flags=line.flags(document.get("daemon")), now=datetime.now(UTC)
        ),
    )
    return 1 if any(needs_attention(entry) for entry in document["targets"]) else 0
