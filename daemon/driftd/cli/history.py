"""`driftd history`: what was done to this database, and is the record whole?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.command import Chosen, Command, Group, json_option, target_options
from driftd.cli.complete import migrations

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from driftd.cli.state import State


_EXAMPLES = (
    "driftd history\n"
    "driftd history m_20260712_093015_120_a1b2c3\n"
    "driftd history verify\n"
    "driftd history --url sqlite:///app.db --json"
)


class _History(Group):
    """`history` lists, `history ID` shows one, `history verify` checks: the first word decides which."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Sends everything but `verify` on to the hidden command `show`."""
        if not args or args[0] not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)


class _Show(Command):
    """The hidden command, whose help is the help of `history`."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Both ways to call it."""
        path = ctx.command_path.removesuffix(" show")
        formatter.write_usage(path, "[OPTIONS] [MIGRATION]")
        formatter.write_usage(path, "verify [OPTIONS]", prefix="       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of the listing, then the subcommand."""
        super().format_options(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl([("verify", verify.get_short_help_str())])


def _words(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """What a shell offers as the first word: the subcommand, and the migrations that there are."""
    from click.shell_completion import CompletionItem

    check = [CompletionItem("verify", help=verify.get_short_help_str())] if "verify".startswith(typed) else []
    return [*check, *migrations(ctx, parameter, typed)]


@click.group(
    "history",
    cls=_History,
    short_help="What was done to this database?",
    epilog=_EXAMPLES,
    no_args_is_help=False,
)
def command() -> None:
    """List the migrations of a database, or show one in full."""


@command.command("show", cls=_Show, hidden=True, epilog=_EXAMPLES)
@click.argument("migration", required=False, shell_complete=_words)
@target_options(models=False)
@json_option
@click.pass_obj
def show(state: State, chosen: Chosen, migration: str | None) -> int:
    """List the migrations of a database, or show one in full.

    Reads the history that is kept in the database itself. Exit code: 0, or 2 error.
    """
    from driftd.cli.render.history import render_history

    target = chosen.target()
    from driftengine import api

    document = api.history(target, migration)
    # Who has taken operations back is told by the other rows.
    others = api.history(target)["migrations"] if migration is not None and not state.json else []
    state.report(
        document,
        lambda look: render_history(
            document, look, whole=migration is not None, flags=chosen.flags, others=others
        ),
    )
    return 0


@command.command(
    "verify",
    cls=Command,
    short_help="Is the record whole?",
    epilog="driftd history verify\ndriftd history verify --json | jq .ok",
)
@target_options(models=False)
@json_option
@click.pass_obj
def verify(state: State, chosen: Chosen) -> int:
    """Check that no entry of the history was altered, removed or put in another order.

    Exit code: 0 whole, 1 broken, 2 error.
    """
    from driftd.cli.render.history import render_verification

    target = chosen.target()
    from driftengine import api

    document = api.history_verify(target)
    state.report(document, lambda look: render_verification(document, look))
    return 0 if document["ok"] else 1
