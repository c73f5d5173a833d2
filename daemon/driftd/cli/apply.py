"""`driftd apply`: stage and apply now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.changing import beside_services, exit_code, failed_document, whoever
from driftd.cli.command import Chosen, Command, json_option, target_options
from driftengine.errors import BusyError

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "apply",
    cls=Command,
    short_help="Migrate now: backup, rehearsal, one transaction.",
    epilog="driftd apply\n"
    "driftd apply --plan 8f3a21c0d4e5 --approve 8f3a21c0d4e5-3\n"
    "driftd apply --approve drop-column\n"
    "driftd apply --url sqlite:///app.db --models app.models:Base --dry-run",
)
@target_options(backfill=True, renames=True)
@click.option(
    "--plan", "plan_id", metavar="ID", help="Apply this plan or nothing: refused when it no longer fits."
)
@click.option(
    "--approve",
    metavar="ID|CODE",
    multiple=True,
    help="Approve a held operation, or all of a code. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Rehearse on a copy; write nothing at all.")
@json_option
@click.pass_obj
def command(
    state: State, chosen: Chosen, plan_id: str | None, approve: tuple[str, ...], dry_run: bool
) -> int:
    """Bring the database in step with its models, in one transaction, after a backup and a rehearsal on a copy.

    What could lose data waits for --approve. Exit code: 0 up to date or migrated whole, 1 something was held, blocked,
    deferred or failed, 2 error.
    """
    # Set before anything can fail, so that also a wrong configuration answers in apply's own document.
    state.error_document = failed_document
    state.exit_codes = {BusyError: 1}
    from driftd.cli.render.apply import render_apply

    target = chosen.target()
    from driftengine import api

    desired = api.load(target)  # a service that starts must not wait for an import
    with beside_services(target, dry_run=dry_run) as beside:
        document = api.apply(
            target,
            plan_id=plan_id,
            approve=approve,
            dry_run=dry_run,
            allowed_by=whoever("apply"),
            progress=beside.progress,
            in_use=beside.in_use,
            desired=desired,
        )
    state.report(
        document,
        lambda look: render_apply(document, look, flags=chosen.flags, approve=approve, dry_run=dry_run),
    )
    return exit_code(document)
