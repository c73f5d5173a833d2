"""`driftd gate`: a startup window for scripts. What it does stands in `startup/launch.py`, which runs without click."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from driftd.cli.command import Chosen, Command, json_option, target_options
from driftd.cli.exec import options_of, timeout_option

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "gate",
    cls=Command,
    short_help="Open a startup window and wait for its answer.",
    epilog="driftd gate\ndriftd gate --strict --target web && ./serve\ndriftd gate --json | jq .outcome",
)
@target_options()
@timeout_option
@click.option("--strict", is_flag=True, help="Let the exit code tell whether all was migrated.")
@json_option
@click.pass_obj
def command(state: State, chosen: Chosen, timeout: float | None, strict: bool) -> int:
    """Have the database migrated, by the daemon or without one, and say what came of it.

    For scripts that start a service afterwards. The service does not count as running then, as it does with `driftd exec`.
    Exit code: 0; with --strict 1 when something was left undone, 75 when the time was up. 2 is wrong usage.
    """
    from driftd.startup.launch import run_gate

    given = options_of(chosen, timeout=timeout, strict=strict, json=state.json, debug=state.debug)
    return run_gate(given, time.monotonic())
