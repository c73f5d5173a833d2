"""`driftd doctor`: is everything as it should be, and what puts it right where it is not?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.command import Chosen, Command, json_option, target_options

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "doctor",
    cls=Command,
    short_help="Is everything as it should be?",
    epilog="driftd doctor\ndriftd doctor -v\ndriftd doctor --config /etc/driftd/config.toml --json",
)
@click.option("-v", "--verbose", is_flag=True, help="Show notes as well, of which nobody need do anything.")
@click.option("--socket", metavar="PATH", help="The daemon's socket.")
@target_options()
@json_option
@click.pass_obj
def command(state: State, chosen: Chosen, socket: str | None, verbose: bool) -> int:
    """Look for what is wrong with the set-up, and say what puts it right. Nothing is changed.

    Exit code: 0 no problem, 1 problems, 2 error.
    """
    from importlib.metadata import version

    from driftd.cli.render.doctor import render_doctor
    from driftd.doctor.examine import examine

    document = examine(chosen.request, socket=socket, installed=version("driftd"), flags=chosen.flags)
    state.report(document, lambda look: render_doctor(document, look, verbose=verbose))
    return 0 if document["verdict"] == "well" else 1
