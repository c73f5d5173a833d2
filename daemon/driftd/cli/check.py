"""`driftd check`: is there drift?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.command import Chosen, Command, json_option, target_options

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "check",
    cls=Command,
    short_help="Is there drift?",
    epilog="driftd check\n"
    "driftd check --target web -v\n"
    "driftd check --url sqlite:///app.db --models app.models:Base\n"
    "driftd check --json | jq .in_sync",
)
@target_options(renames=True)
@click.option("--fresh", is_flag=True, help="Import the models anew, whatever is remembered of them.")
@click.option("-v", "--verbose", is_flag=True, help="List unmanaged objects and timings as well.")
@json_option
@click.pass_obj
def command(state: State, chosen: Chosen, fresh: bool, verbose: bool) -> int:
    """Compare the database with its models and tell every difference.

    Nothing is written. Exit code: 0 in sync, 1 drift, 2 error.
    """
    # Each command imports what it needs when it runs: `--help` and completion stay quick.
    from driftd.cli.render.check import render_check

    target = chosen.target()
    from driftengine import api, remembered

    document = api.check(target, fresh=fresh, memory=remembered.folder(chosen.request.environment))
    state.report(document, lambda look: render_check(document, look, flags=chosen.flags, verbose=verbose))
    return 0 if document["in_sync"] else 1
