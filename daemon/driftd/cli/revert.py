"""`driftd revert`: undo what somebody changed in the database by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.changing import beside_services, exit_code, failed_document, whoever
from driftd.cli.command import Chosen, Command, json_option, target_options
from driftengine.errors import BusyError

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "revert",
    cls=Command,
    short_help="Undo what was changed by hand.",
    epilog="driftd revert --dry-run\ndriftd revert task.note\ndriftd revert task.note --approve drop-column",
)
@click.argument("words", metavar="[WORD]...", nargs=-1)
@target_options(backfill=True, renames=True)
@click.option(
    "--approve",
    metavar="ID|CODE",
    multiple=True,
    help="Approve what would lose data, or all of a code. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Rehearse on a copy; write nothing at all.")
@json_option
@click.pass_obj
def command(
    state: State, chosen: Chosen, words: tuple[str, ...], approve: tuple[str, ...], dry_run: bool
) -> int:
    """Bring back what the models describe: all that was changed in the database by hand, or what WORD names.

    A WORD is a table, table.name (a column, constraint or index) or an operation's id. It is done like an apply of these operations
    alone; what would lose data still waits for --approve. Exit code: 0 done whole, 1 something was held, blocked, deferred
    or failed, 2 error.
    """
    state.error_document = failed_document
    state.exit_codes = {BusyError: 1}
    from driftd.cli.render.moved import render_reverted

    target = chosen.target()
    from driftengine import api

    desired = api.load(target)  # a service that starts must not wait for an import
    with beside_services(target, dry_run=dry_run) as beside:
        document = api.revert(
            target,
            words,
            approve=approve,
            dry_run=dry_run,
            allowed_by=whoever("revert"),
            in_use=beside.in_use,
            desired=desired,
            progress=beside.progress,
        )
    state.report(
        document,
        lambda look: render_reverted(
            document,
            look,
            flags=chosen.flags,
            words=words,
            approve=approve,
            dry_run=dry_run,
            rollback_flags=chosen.flags_without("renames"),
        ),
    )
    return exit_code(document)
