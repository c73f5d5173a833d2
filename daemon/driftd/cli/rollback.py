"""`driftd rollback`: take a migration back, or some of its operations, with the rows written since kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.changing import beside_services, exit_code, failed_document, whoever
from driftd.cli.command import Chosen, Command, json_option, target_options
from driftd.cli.complete import migrations, operations_of_migration
from driftengine.errors import BusyError

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "rollback",
    cls=Command,
    short_help="Undo a migration, or some of its operations.",
    epilog="driftd rollback --dry-run\n"
    "driftd rollback m_20260712_093015_120_a1b2c3\n"
    "driftd rollback m_20260712_093015_120_a1b2c3 --operation 2 --operation 5\n"
    "driftd rollback --approve drop-column",
)
@click.argument("migration", required=False, shell_complete=migrations)
@target_options(backfill=True, models=False)
@click.option(
    "--operation",
    "operations",
    metavar="N",
    multiple=True,
    shell_complete=operations_of_migration,
    help="Only this operation, by its number in `driftd history MIGRATION` or its id. May be repeated.",
)
@click.option(
    "--approve",
    metavar="ID|CODE",
    multiple=True,
    help="Approve a held operation of the way back, or all of a code. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Rehearse on a copy; write nothing at all.")
@json_option
@click.pass_obj
def command(
    state: State,
    chosen: Chosen,
    migration: str | None,
    operations: tuple[str, ...],
    approve: tuple[str, ...],
    dry_run: bool,
) -> int:
    """Take back the last migration that is not undone yet, or MIGRATION; all of it, or some operations.

    Rows written since are kept; what was dropped comes back from the migration's own backup. Rehearsed and recorded like any
    plan. Exit code: 0 undone whole, 1 something was held, blocked, deferred or failed, 2 error.
    """
    state.error_document = failed_document
    state.exit_codes = {BusyError: 1}
    from driftd.cli.render.rollback import render_rollback

    target = chosen.target()
    from driftengine import api

    with beside_services(target, dry_run=dry_run) as beside:
        document = api.rollback(
            target,
            migration=migration,
            operations=operations,
            approve=approve,
            dry_run=dry_run,
            allowed_by=whoever("rollback"),
            in_use=beside.in_use,
            progress=beside.progress,
        )
    state.report(
        document,
        lambda look: render_rollback(
            document, look, flags=chosen.flags, operations=operations, approve=approve, dry_run=dry_run
        ),
    )
    return exit_code(document)
