"""`driftd init`: finds models and database, and writes a driftd.toml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from driftd.cli.command import Command, json_option

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "init",
    cls=Command,
    short_help="Find models and database, and write a driftd.toml.",
    epilog="driftd init\ndriftd init --force\ndriftd init --output /etc/driftd/config.toml",
)
@click.option(
    "--force", is_flag=True, help="Replace a file that is there, and write one where something was not found."
)
@click.option(
    "--output", metavar="PATH", default="driftd.toml", help="The file to write; driftd.toml by default."
)
@json_option
@click.pass_obj
def command(state: State, force: bool, output: str) -> int:
    """Look for models and a database in this folder, load what was found, and write a driftd.toml for them.

    Exit code: 0 written, 1 not enough was found, 2 error.
    """
    from driftd.cli.render.init import render_init
    from driftd.initial.look import look_at
    from driftd.initial.report import init_document
    from driftd.initial.write import configuration, exists, save
    from driftd.unfinished import sweep

    project = Path.cwd()
    path = project / Path(output).expanduser()
    # Before anything is loaded: that takes seconds.
    sweep(path)
    if not force and os.path.lexists(path):
        raise exists(path)
    found = look_at(project, os.environ)
    complete = bool(found.models) and (bool(found.databases) or found.orchestrator)
    text = configuration(found, path)
    if complete or force:
        save(text, path, force=force)
    document = init_document(found, path if complete or force else None, text)
    state.report(document, lambda look: render_init(document, look))
    return 0 if complete else 1
