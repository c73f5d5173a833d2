"""The `driftd` group: loads a command's file when it is called, and turns every error into a few clear lines."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from driftd.cli.command import Command, version_option
from driftd.cli.render.error import render_bug, render_error
from driftd.cli.state import ReaderGoneError, State, look_of, state_of
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "check": "driftd.cli.check",
    "plan": "driftd.cli.plan",
    "apply": "driftd.cli.apply",
    "rollback": "driftd.cli.rollback",
    "history": "driftd.cli.history",
    "adopt": "driftd.cli.adopt",
    "revert": "driftd.cli.revert",
    "ignore": "driftd.cli.ignore",
    "backup": "driftd.cli.backup",
    "run": "driftd.cli.run",
    "exec": "driftd.cli.exec",
    "gate": "driftd.cli.gate",
    "status": "driftd.cli.status",
    "stage": "driftd.cli.stage",
    "approve": "driftd.cli.approve",
    "pause": "driftd.cli.pause",
    "resume": "driftd.cli.resume",
    "reload": "driftd.cli.reload",
    "init": "driftd.cli.init",
    "config": "driftd.cli.config",
    "service": "driftd.cli.service",
    "doctor": "driftd.cli.doctor",
    "explain": "driftd.cli.explain",
    "demo": "driftd.cli.demo",
}
INTERRUPTED = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE


class LazyGroup(click.Group):
    """A group whose commands stand in files of their own, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The commands in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, out of its file."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(COMMANDS[cmd_name]).command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest command named when there is none of that name."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from driftd.config.mistakes import nearest

            close = nearest(args[0], COMMANDS)
            meant = f" Did you mean {close!r}?" if close else ""
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    # The same epilog as every command: an example that is printed as it stands.
    format_epilog = Command.format_epilog


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="driftd demo\n"
    "driftd check --url sqlite:///app.db --models app.models:Base\n"
    "driftd plan\n"
    "driftd apply",
)
@version_option
@click.option("--debug", is_flag=True, help="Show tracebacks (also DRIFTD_DEBUG=1).")
@click.pass_obj
def cli(state: State, debug: bool) -> None:
    """Keep a database in step with its SQLAlchemy models."""
    state.debug = state.debug or debug


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Nothing but a bug under --debug leaves it as an exception."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding does not have must not end in a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # Told from the raw arguments: a command line that cannot be parsed must still answer in JSON when asked to.
    state = state_of(arguments, os.environ)
    try:
        return _run(arguments, state)
    except ReaderGoneError:
        # Python would complain again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(arguments: Sequence[str], state: State) -> int:
    try:
        result: Any = cli.main(list(arguments), prog_name="driftd", standalone_mode=False, obj=state)
    except (click.Abort, KeyboardInterrupt):
        state.note("interrupted")
        return INTERRUPTED
    except click.ClickException as error:
        return _usage_error(error, state)
    except DriftError as error:
        if state.debug:
            _traceback()
        return _fail(error, state)
    except ReaderGoneError:
        raise
    except Exception as error:
        if state.debug:
            raise
        bug = {"code": "internal", "what": f"{type(error).__name__}: {error}", "why": "", "fix": ""}
        if state.json and not state.answered:
            state.report(state.error_document(bug), str)
        state.note(render_bug(error, arguments, look_of(sys.stderr)))
        return 2
    return result if isinstance(result, int) else 0


def _fail(error: DriftError, state: State) -> int:
    # A command that has already answered must not put a second document on stdout.
    if state.json and not state.answered:
        state.report(state.error_document(error.as_document()), str)
    state.note(render_error(error, look_of(sys.stderr)))
    return state.exit_code_of(error)


def _usage_error(error: click.ClickException, state: State) -> int:
    if state.json:
        told = {"code": "usage", "what": error.format_message(), "why": "", "fix": "see --help"}
        state.report(state.error_document(told), str)
    error.show()
    return error.exit_code


def _traceback() -> None:
    import traceback

    traceback.print_exc()
