"""`driftd run`: the daemon, in the foreground."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from driftd.cli.command import Chosen, Command, target_options
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from driftd.cli.state import State

EX_CONFIG = (
    78  # sysexits.h: a supervisor must not start it again until somebody has corrected the configuration
)


@click.command(
    "run",
    cls=Command,
    short_help="The daemon, in the foreground.",
    epilog="driftd run\n"
    "driftd run --config /etc/driftd/config.toml --log json\n"
    "driftd run --mode observe\n"
    "driftd run --url sqlite:///app.db --models app.models:Base --mode dev",
)
@target_options(backfill=True, renames=True)
@click.option("--socket", metavar="PATH", help="The socket to listen on.")
@click.option(
    "--mode",
    type=click.Choice(["observe", "window", "dev"]),
    help="What it does by itself, for every target: never write, stage ahead, or apply on save.",
)
@click.option(
    "--log",
    type=click.Choice(["auto", "plain", "journal", "json"]),
    help="How log lines look.",
)
@click.pass_obj
def command(state: State, chosen: Chosen, socket: str | None, mode: str | None, log: str | None) -> int:
    """Keep all targets of the configuration, or the one that is chosen, until SIGTERM or Control-C.

    SIGHUP reads the configuration again. Log lines go to stderr. Exit code: 0 when stopped, 2 error, 78 bad configuration.
    """
    state.exit_codes = {ConfigurationError: EX_CONFIG}
    given = {"socket": socket, "mode": mode, "log": log}
    request = replace(chosen.request, everywhere={name: text for name, text in given.items() if text})
    if request.flags:
        # These speak of one target, and the daemon keeps several: refused, instead of being read by none.
        replace(chosen, request=request).configuration().target()
    from driftd.daemon import serve

    return serve(request, debug=state.debug)
