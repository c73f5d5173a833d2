"""`driftd exec`: a startup window, then a service. What it does stands in `startup/launch.py`, which runs without click."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from driftd.cli.command import Chosen, Command, target_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from driftd.cli.state import State
    from driftd.startup.arguments import Options


class ExecCommand(Command):
    """Its usage ends in the command to start: all that follows the first word is that command's own."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """`[OPTIONS] [--] CMD [ARGS]...`."""
        return [*super().collect_usage_pieces(ctx)[:1], "[--]", "CMD", "[ARGS]..."]


def timeout_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --timeout, in seconds."""
    return click.option(
        "--timeout",
        metavar="S",
        callback=_seconds,
        help="How long to wait at most, such as 15, 2.5 or 500ms; window.timeout by default.",
    )(function)


def options_of(chosen: Chosen, **given: Any) -> Options:
    """What was typed, as `startup/launch.py` takes it."""
    from driftd.startup.arguments import Options

    request = chosen.request
    return Options(config=request.config, target=request.target, flags=dict(request.flags), **given)


def _seconds(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    from driftd.startup.arguments import seconds

    if text is None:
        return None
    try:
        return seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(
    "exec",
    cls=ExecCommand,
    short_help="Start a service behind a startup window.",
    context_settings={"allow_interspersed_args": False},
    epilog="driftd exec -- gunicorn app:web\n"
    "driftd exec --target web --timeout 30 -- ./serve --port 8080\n"
    "driftd exec --url sqlite:///app.db --models app.models:Base -- python -m app",
)
@target_options()
@timeout_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(state: State, chosen: Chosen, timeout: float | None, words: tuple[str, ...]) -> int:
    """Have the database migrated, by the daemon or without one, then become CMD.

    CMD starts whatever comes of it, at the latest when --timeout is over. Nothing is written on stdout; stderr is silent
    when there was nothing to do. Exit code: that of CMD; 126 it cannot be run, 127 there is none, 2 wrong usage.
    """
    if not words:
        raise click.UsageError("Missing the command to start: driftd exec [OPTIONS] -- CMD [ARGS]...")
    from driftd.startup.launch import run_exec

    return run_exec(options_of(chosen, timeout=timeout, command=words, debug=state.debug), time.monotonic())
