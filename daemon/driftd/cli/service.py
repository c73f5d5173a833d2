"""`driftd service`: driftd as a service of the machine, under systemd or launchd."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from driftd.cli.command import Chosen, Command, Group, json_option, target_options
from driftd.cli.text import escape, readable

if TYPE_CHECKING:
    from collections.abc import Callable

    from driftd.cli.state import State
    from driftd.service.described import Described
    from driftd.service.manager import Manager

    Function = Callable[..., Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@click.group(
    "service",
    cls=Group,
    short_help="Run the daemon as a service of the machine.",
    epilog="driftd service print\n"
    "driftd service install --user\n"
    "driftd service install --system --config /srv/web/driftd.toml\n"
    "driftd service uninstall",
)
def command() -> None:
    """Make a service of the daemon, under systemd or launchd."""


def _checked(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise click.BadParameter("use letters, digits, '_', '-' and '.'")
    return value


def _place_options(function: Function) -> Function:
    for option in reversed(
        (
            click.option("--system", "scope", flag_value="system", help="For the whole machine (as root)."),
            click.option(
                "--user", "scope", flag_value="user", help="For yourself (the default, but for root)."
            ),
            click.option(
                "--name", default="driftd", show_default=True, callback=_checked, help="What it is called."
            ),
        )
    ):
        function = option(function)
    return function


_socket_option = click.option("--socket", metavar="PATH", help="The socket to listen on.")
_force_option = click.option(
    "--force", is_flag=True, help="Go over a file that somebody else wrote or has changed."
)


@command.command(
    "print",
    cls=Command,
    epilog="driftd service print\ndriftd service print --system --config /srv/web/driftd.toml > web.service",
)
@_place_options
@_socket_option
@target_options()
@json_option
@click.pass_obj
def print_(state: State, chosen: Chosen, scope: str | None, name: str, socket: str | None) -> int:
    """Show the unit that `install` would write, with real paths. Nothing is written. Exit code: 0, or 2 error."""
    manager, described, text = _rendered(chosen, scope, name, socket)
    for note in described.notes:
        state.note(f"note: {escape(note)}")
    state.report({**_document(manager, described), "text": text}, lambda _look: readable(text))
    return 0


@command.command(
    "install",
    cls=Command,
    epilog="driftd service install --user\n"
    "driftd service install --system --config /srv/web/driftd.toml\n"
    "driftd service install --system --target web --name driftd-web",
)
@_place_options
@_socket_option
@_force_option
@target_options()
@json_option
@click.pass_obj
def install(
    state: State, chosen: Chosen, scope: str | None, name: str, socket: str | None, force: bool
) -> int:
    """Write the unit, have it start with the machine, and start it. Exit code: 0, or 2 error.

    It runs as the owner of the databases. Where no service manager runs, in a container for example, the file is written
    and the commands to type are shown.
    """
    from driftd.service.placed import place

    manager, described, text = _rendered(chosen, scope, name, socket)
    made = _make_folders(manager, described)
    changed = place(manager.path(name), text, force=force)
    started = manager.works()
    commands = manager.starting(name)
    if started:
        manager.ask(commands)
    document = {**_document(manager, described), "made": made, "changed": changed, "started": started}
    document["commands"] = [] if started else [" ".join(words) for words in commands]
    state.report(document, lambda _look: "\n".join(map(escape, _told(document, manager))))
    return 0


@command.command(
    "uninstall", cls=Command, epilog="driftd service uninstall\ndriftd service uninstall --name driftd-web"
)
@_place_options
@_force_option
@json_option
@click.pass_obj
def uninstall(state: State, scope: str | None, name: str, force: bool) -> int:
    """Stop the service and remove its unit. Databases, backups and locks stay. Exit code: 0, or 2 error."""
    from driftd.service.placed import remove, require_removable

    manager = _manager(scope)
    path = manager.path(name)
    require_removable(path, force=force)
    works = manager.works()
    if works:
        manager.ask(manager.stopping(name))
    remove(path)
    if works:
        manager.ask(manager.gone())
    document = {"schema_version": 1, "name": name, "manager": manager.kind, "scope": manager.scope}
    document |= {"path": str(path), "stopped": works}
    told = f"removed {path}" if works else f"removed {path}; no {manager.kind} runs here that could be told"
    state.report(document, lambda _look: escape(told))
    return 0


def _manager(scope: str | None) -> Manager:
    from driftd.service.manager import manager_for

    return manager_for(sys.platform, scope or ("system" if os.geteuid() == 0 else "user"), os.environ)


def _rendered(
    chosen: Chosen, scope: str | None, name: str, socket: str | None
) -> tuple[Manager, Described, str]:
    from driftd.config.locate import shipped_text
    from driftd.service import plist, unit
    from driftd.service.described import describe

    manager = _manager(scope)
    described = describe(chosen.request, name=name, scope=manager.scope, socket=socket, platform=sys.platform)
    render = unit.render if manager.kind == "systemd" else plist.render
    return manager, described, render(shipped_text(f"systemd/{manager.template}"), described)


def _make_folders(manager: Manager, described: Described) -> list[str]:
    from driftd.service.folders import make_folders

    logs = [os.path.dirname(described.log)] if manager.kind == "launchd" else []  # noqa: PTH120  # text in, text out
    return make_folders([*described.missing, *logs], described)


def _document(manager: Manager, described: Described) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": described.name,
        "manager": manager.kind,
        "scope": manager.scope,
        "path": str(manager.path(described.name)),
        "user": described.user,
        "group": described.group,
        "socket": described.socket,
        "databases": list(described.databases),
        "writable": list(described.writable),
        "notes": list(described.notes),
    }


def _told(document: dict[str, Any], manager: Manager) -> list[str]:
    """The lines of an installation."""
    wrote = "wrote" if document["changed"] else "as it was:"
    lines = [f"{wrote} {document['path']}"]
    lines += [f"made {folder}" for folder in document["made"]]
    lines += [f"keeps {database}" for database in document["databases"]]
    lines += [f"note: {note}" for note in document["notes"]]
    if document["started"]:
        return [*lines, f"started; its log: {manager.log_command(document['name'])}"]
    return [
        *lines,
        f"no {manager.kind} runs here; where it does, type:",
        *(f"  {one}" for one in document["commands"]),
    ]
