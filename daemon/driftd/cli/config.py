"""`driftd config show`: what is configured, and who said so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.command import Chosen, Command, Group, json_option, target_options

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.group(
    "config",
    cls=Group,
    short_help="What is configured, and who said so?",
    epilog="driftd config show\ndriftd config show --origin\ndriftd config show --shipped > driftd.toml",
)
def command() -> None:
    """Show the configuration."""


@command.command(
    "show",
    cls=Command,
    epilog="driftd config show\n"
    "driftd config show --origin\n"
    "driftd config show --target web --json\n"
    "driftd config show --shipped > driftd.toml",
)
@click.option("--origin", is_flag=True, help="Show where each value came from.")
@click.option(
    "--shipped", is_flag=True, help="Print the default configuration file instead, ready to be edited."
)
@target_options(models=False)
@json_option
@click.pass_obj
def show(state: State, chosen: Chosen, origin: bool, shipped: bool) -> int:
    """Show every setting as it is in force, with paths made absolute. Exit code: 0, or 2 error."""
    from driftd.cli.render.config import configuration_document, render_configuration
    from driftd.config import shipped_text

    if shipped:
        text = shipped_text("config.toml")
        state.report({"schema_version": 1, "text": text}, lambda _look: text.rstrip("\n"))
        return 0
    document = configuration_document(chosen.configuration(), only=chosen.request.target)
    state.report(document, lambda look: render_configuration(document, look, origin=origin))
    return 0
