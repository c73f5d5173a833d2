"""`driftd backup`: make, list, verify, restore and prune backups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.command import Chosen, Command, Group, json_option, target_options

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.group(
    "backup",
    cls=Group,
    short_help="Make, list, verify, restore and prune backups.",
    epilog="driftd backup create\n"
    "driftd backup list\n"
    "driftd backup verify\n"
    "driftd backup restore backup_20260712_093015_120",
)
def command() -> None:
    """Make, list, verify, restore and prune the backups of a database."""


@command.command(
    "create",
    cls=Command,
    epilog='driftd backup create\ndriftd backup create --reason "before the import"',
)
@click.option("--reason", default="requested", show_default=True, help="Why it is made; listed with it.")
@target_options(models=False)
@json_option
@click.pass_obj
def create(state: State, chosen: Chosen, reason: str) -> int:
    """Copy the database while it is in use, and verify the copy. Exit code: 0, or 2 error."""
    from driftd.cli.progress import progress
    from driftd.cli.render.backup import render_created

    target = chosen.target()
    from driftengine import api

    with progress() as told:
        document = api.backup_create(target, reason=reason, progress=told)
    state.report(document, lambda look: render_created(document, look))
    return 0


@command.command("list", cls=Command, epilog="driftd backup list\ndriftd backup list --json")
@target_options(models=False)
@json_option
@click.pass_obj
def list_(state: State, chosen: Chosen) -> int:
    """List the backups of a database, the oldest first. Exit code: 0, or 2 error."""
    from driftd.cli.render.backup import render_list

    target = chosen.target()
    from driftengine import api

    document = api.backup_list(target)
    state.report(document, lambda look: render_list(document, look, flags=chosen.flags))
    return 0


@command.command(
    "verify",
    cls=Command,
    epilog="driftd backup verify\ndriftd backup verify backup_20260712_093015_120",
)
@click.argument("backup", required=False)
@target_options(models=False)
@json_option
@click.pass_obj
def verify(state: State, chosen: Chosen, backup: str | None) -> int:
    """Check one backup, or all: hash, manifest, integrity. Exit code: 0 sound, 1 broken, 2 error."""
    from driftd.cli.render.backup import render_verified

    target = chosen.target()
    from driftengine import api

    document = api.backup_verify(target, backup)
    state.report(document, lambda look: render_verified(document, look))
    return 0 if document["ok"] else 1


@command.command("restore", cls=Command, epilog="driftd backup restore backup_20260712_093015_120")
@click.argument("backup")
@target_options(models=False)
@json_option
@click.pass_obj
def restore(state: State, chosen: Chosen, backup: str) -> int:
    """Put a backup back into the live database, after a safety backup of what is there now.

    Rows written since that backup are then in the safety backup only. Exit code: 0, or 2 error.
    """
    from driftd.cli.progress import progress
    from driftd.cli.render.backup import render_restored

    target = chosen.target()
    from driftd.exclusive import between_starts
    from driftengine import api
    from driftengine.dialects.chosen import named

    database = named(target.url, target.models.directory)
    with between_starts(database, target.window_timeout) as use, progress() as told:
        if not use:
            state.note(
                "a service runs on this database: it goes on over what is brought back, and its code may not fit that schema"
            )
        document = api.backup_restore(target, backup, progress=told)
    state.report(document, lambda look: render_restored(document, look, flags=chosen.flags))
    return 0


@command.command("prune", cls=Command, epilog="driftd backup prune\ndriftd backup prune --json | jq .removed")
@target_options(models=False)
@json_option
@click.pass_obj
def prune(state: State, chosen: Chosen) -> int:
    """Remove backups beyond what the configuration keeps; what a rollback needs stays. Exit code: 0, or 2 error."""
    from driftd.cli.render.backup import render_pruned

    target = chosen.target()
    from driftengine import api

    document = api.backup_prune(target)
    state.report(document, lambda look: render_pruned(document, look))
    return 0
