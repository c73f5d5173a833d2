"""What every command is made of: its class, and the options that many share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from driftd.cli.text import shell_word
from driftd.config import Configuration, Request, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from driftengine.api import Target

    Function = Callable[..., Any]


def _debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.obj.debug = True


class Command(click.Command):
    """A command whose epilog is its examples, printed as they stand; --debug may stand behind it as well."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(["--debug"], is_flag=True, hidden=True, expose_value=False, callback=_debug)
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Writes the examples under a heading of their own, never re-wrapped."""
        if self.epilog:
            formatter.write_paragraph()
            formatter.write("Examples:\n")
            for line in self.epilog.splitlines():
                formatter.write(f"  {line}\n" if line else "\n")


class Group(click.Group):
    """A command with subcommands, and examples like the others."""

    format_epilog = Command.format_epilog


@dataclass(frozen=True, slots=True)
class Chosen:
    """The options that say which target is meant."""

    request: Request

    @property
    def flags(self) -> str:
        """The same choice as flags, with a space in front, for the command to type next."""
        return self.flags_without()

    def flags_without(self, *names: str) -> str:
        """`flags` for a command that does not take all of them."""
        request = self.request
        words = [("--config", request.config), ("--target", request.target)]
        for name, given in request.flags.items():
            if name in names:
                continue
            words += [
                (f"--{_SPELLED.get(name, name)}", one)
                for one in (given if isinstance(given, tuple) else (given,))
            ]
        return "".join(f" {flag} {shell_word(str(word))}" for flag, word in words if word)

    def configuration(self) -> Configuration:
        """The configuration; raises ConfigurationError."""
        return load(self.request)

    def target(self) -> Target:
        """The engine's target; raises ConfigurationError."""
        from driftd.config.target import build_target

        configuration = self.configuration()
        if configuration.source.how == "shipped":
            click.echo(
                "no driftd.toml here: using the shipped configuration, which describes the MCP Task Orchestrator\n"
                "  (yours: `driftd init` writes a driftd.toml for it; or give --url and --models, or --config FILE)",
                err=True,
            )
        return build_target(configuration)


_TARGET_OPTIONS = (
    click.option("--config", metavar="PATH", help="The configuration file."),
    click.option("--target", metavar="NAME", help="Which of its targets."),
    click.option("--url", metavar="URL", help="The database; with --models no configuration is needed."),
    click.option(
        "--models",
        metavar="SPEC",
        multiple=True,
        help="package.module:attribute, or a file of DDL (.sql). May be repeated.",
    ),
    click.option("--python", metavar="EXE", help="The interpreter that imports the models."),
    click.option(
        "--pythonpath", metavar="DIR", multiple=True, help="A folder for its import path. May be repeated."
    ),
)
_BACKFILL = click.option(
    "--backfill",
    metavar="TABLE.COLUMN=EXPR",
    multiple=True,
    help="A value for old rows of a new NOT NULL column. May be repeated.",
)
_RENAME = click.option(
    "--rename",
    "renames",
    metavar="TABLE.COLUMN=OLD",
    multiple=True,
    help="What a column (or, as TABLE=OLD, a table) was called before. May be repeated.",
)
_FLAGS = ("url", "models", "python", "pythonpath", "backfill", "renames")
_SPELLED = {"renames": "rename"}  # as it is typed, one at a time


def target_options(
    *, backfill: bool = False, renames: bool = False, models: bool = True
) -> Callable[[Function], Function]:
    """Adds the options that choose a target; the function is given `chosen: Chosen`.

    Args:
        backfill: add --backfill as well.
        renames: add --rename as well.
        models: False where the command works without models.
    """

    def decorate(function: Function) -> Function:
        def called(*args: Any, config: str | None, target: str | None, **options: Any) -> Any:
            flags = {name: options.pop(name) for name in _FLAGS if name in options}
            # click gives () or None for what was not typed; only what was typed may override the configuration.
            request = Request(
                environment=os.environ,
                directory=Path.cwd(),
                config=config,
                target=target,
                flags={name: value for name, value in flags.items() if value},
                needs_models=models,
            )
            return function(*args, chosen=Chosen(request), **options)

        # click has noted the function's own options on it; the wrapper must carry them on.
        wrapped = update_wrapper(called, function)
        more = [_BACKFILL] * backfill + [_RENAME] * renames
        for option in reversed((*_TARGET_OPTIONS, *more)):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def json_option(function: Function) -> Function:
    """Adds --json. The state knows it from the arguments, so that errors before the command obey it as well."""
    return click.option(
        "--json", is_flag=True, expose_value=False, help="Print one JSON document on stdout."
    )(function)


def version_option(function: Function) -> Function:
    """Adds --version, which looks the version up only when it is asked for."""

    def show(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value:
            from importlib.metadata import version

            click.echo(f"driftd {version('driftd')}")
            ctx.exit()

    return click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show the version and exit.",
    )(function)
