"""`driftd reload`: let the daemon read its configuration again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.command import Command, json_option
from driftd.cli.talk import FOR_EVER, Line, daemon_options

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "reload",
    cls=Command,
    short_help="Let the daemon read its configuration again.",
    epilog="driftd reload\ndriftd reload --socket /run/driftd/driftd.sock --json",
)
@daemon_options(target=False)
@json_option
def command(state: State, line: Line) -> int:
    """Have the daemon read its configuration again; one that is wrong changes nothing.

    Exit code: 0 done, 1 refused, 2 error, 3 no daemon, 77 not allowed.
    """
    from driftd.cli.render.status import render_reloaded

    document = line.ask("reload", patience=FOR_EVER)
    state.report({"schema_version": 1, **document}, lambda look: render_reloaded(document, look))
    return 0
