"""`driftd demo`: the whole story in a temporary folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.command import Command

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "demo",
    cls=Command,
    short_help="The whole story, in a temporary folder.",
    epilog="driftd demo\ndriftd demo --keep",
)
@click.option("--keep", is_flag=True, help="Keep the folder, and say where it is.")
@click.pass_obj
def command(state: State, keep: bool) -> int:
    """Run the real daemon and commands on a small task tracker whose models move on while its database holds rows.

    Takes a few seconds. Needs no network and no configuration. Exit code: 0, or 1 when anything went differently than told.
    """
    from driftd.demo import play

    return play(state.tell, keep=keep)
