"""`driftd adopt`: agree to what somebody changed in the database by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.changing import beside_services, whoever
from driftd.cli.command import Chosen, Command, json_option, target_options
from driftengine.errors import BusyError

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "adopt",
    cls=Command,
    short_help="Agree to what was changed by hand.",
    epilog="driftd adopt\ndriftd adopt task.note\ndriftd adopt 8f3a21c0d4e5-3\ndriftd adopt --json | jq .adopted",
)
@click.argument("words", metavar="[WORD]...", nargs=-1)
@target_options(renames=True)
@json_option
@click.pass_obj
def command(state: State, chosen: Chosen, words: tuple[str, ...]) -> int:
    """Agree to differences as they are: all that was changed in the database by hand, or what WORD names.

    A WORD is a table, table.name (a column, constraint or index) or an operation's id. Until the models or the database move it
    again, it is no drift. Only the history is written. Exit code: 0, 1 locked out until the deadline, 2 error.
    """
    state.exit_codes = {BusyError: 1}
    from driftd.cli.render.moved import render_adopted

    target = chosen.target()
    from driftengine import api

    desired = api.load(target)  # a service that starts must not wait for an import
    with beside_services(target):
        document = api.adopt(target, words, allowed_by=whoever("adopt"), desired=desired)
    state.report(document, lambda look: render_adopted(document, look, flags=chosen.flags))
    return 0
