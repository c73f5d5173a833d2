"""`driftd apply`: stage and apply now."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from driftd.cli.command import Chosen, Command, json_option, target_options
from driftengine.errors import BusyError

if TYPE_CHECKING:
    from driftd.cli.state import State

SETTLED = {"up_to_date", "migrated"}


@click.command(
    "apply",
    cls=Command,
    short_help="Migrate now: backup, rehearsal, one transaction.",
    epilog="driftd apply\n"
    "driftd apply --plan 8f3a21c0d4e5 --approve 8f3a21c0d4e5-3\n"
    "driftd apply --approve drop-column\n"
    "driftd apply --url sqlite:///app.db --models app.models:Base --dry-run",
)
@target_options(backfill=True)
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
    from driftd.cli.progress import progress
    from driftd.cli.render.apply import render_apply

    target = chosen.target()
    from driftd.exclusive import between_starts
    from driftengine import api
    from driftengine.dialects.chosen import named

    with ExitStack() as around:
        in_use, desired = False, api.load(target)  # a service that starts must not wait for an import
        if not dry_run:
            database = named(target.url, target.models.directory)
            in_use = not around.enter_context(between_starts(database, target.window_timeout))
        document = api.apply(
            target,
            plan_id=plan_id,
            approve=approve,
            dry_run=dry_run,
            allowed_by=whoever(),
            progress=around.enter_context(progress()),
            in_use=in_use,
            desired=desired,
        )
    state.report(
        document,
        lambda look: render_apply(document, look, flags=chosen.flags, approve=approve, dry_run=dry_run),
    )
    return exit_code(document)


def exit_code(document: dict[str, Any]) -> int:
    """0 when nothing is left to do, 1 when something waits, was put off or failed."""
    whole = document["outcome"] in SETTLED and not document["held"] and not document["blocked"]
    return 0 if whole else 1


def failed_document(error: dict[str, str]) -> dict[str, Any]:
    """The document of an apply that never got as far as an outcome of its own."""
    return {
        "schema_version": 1,
        "outcome": "failed",
        "operations": 0,
        "duration_ms": 0,
        "migration_id": None,
        "plan_id": None,
        "backup": None,
        "held": [],
        "blocked": [],
        "error": error,
    }


def whoever() -> str:
    """Who allowed it, for the history: `NAME, by driftd apply`."""
    import getpass

    try:
        return f"{getpass.getuser()}, by driftd apply"
    except (KeyError, OSError):  # a container's user may have neither a name nor an entry in passwd
        import os

        return f"uid {os.getuid()}, by driftd apply"
