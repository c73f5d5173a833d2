"""What a service of this machine is made of: the command, whose it is, what it may write; found from a configuration."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from driftd.config.noting import Noting
from driftd.service.owner import one_owner, owner_of, shut_to
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from driftd.config import Configuration, Request
    from driftd.service.owner import Owner

RUNTIME_ROOT = "/run"
DEFAULTED = frozenset({"default", "shipped"})  # nobody has chosen
TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108  # what PrivateTmp hides
# What a service gets from its manager, or is told by its command line instead.
_NOT_PASSED = {
    "HOME",
    "PATH",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "DRIFTD_CONFIG",
    "DRIFTD_TARGET",
    "DRIFTD_DEBUG",
}


@dataclass(frozen=True, slots=True)
class Described:
    """One service.

    Args:
        name: of the unit, without `.service`.
        scope: `system` or `user`.
        command: what is run, the program's absolute path first.
        directory: its working directory: relative paths mean what they mean where `driftd service` was called.
        owner: whom the databases belong to.
        groups: further groups that it needs.
        databases: their real paths.
        writable: folders that it writes to, none of them below another.
        socket: where it listens.
        runtime: the socket's folder below /run or $XDG_RUNTIME_DIR, which the manager makes; "" where it lies elsewhere.
        environment: the variables that the configuration reads, as they are now.
        private_tmp: False where something of it lies below /tmp.
        log: the file that launchd sends its log to.
        notes: what will not work as it stands, a sentence each.
    """

    name: str
    scope: str
    command: tuple[str, ...]
    directory: str
    owner: Owner
    groups: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    socket: str = ""
    runtime: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    private_tmp: bool = True
    log: str = ""
    notes: tuple[str, ...] = ()

    @property
    def user(self) -> str:
        """As whom it runs."""
        return self.owner.user

    @property
    def group(self) -> str:
        """With which group."""
        return self.owner.group

    @property
    def missing(self) -> tuple[str, ...]:
        """Folders that it writes to and that are not there yet."""
        return tuple(path for path in self.writable if not Path(path).is_dir())


def _passed(noting: Noting) -> dict[str, str]:
    """What a service must be given to read the same configuration."""
    return {name: noting[name] for name in sorted(set(noting.asked) - _NOT_PASSED) if noting.get(name)}


def describe(
    request: Request, *, name: str, scope: str, socket: str | None = None, platform: str = sys.platform
) -> Described:
    """The service for what this request chooses. Raises ConfigurationError (also `service-owners`, `service-socket`)."""
    from driftd.config import load

    session = session_folder(scope, platform, request.environment)
    environment = Noting({**request.environment, "XDG_RUNTIME_DIR": session})
    configuration = load(replace(request, environment=environment))
    names = [configuration.selected] if configuration.selected else list(configuration.targets)
    databases = [database_of(configuration, one) for one in names]
    owner = one_owner({one: owner_of(path) for one, path in zip(names, databases, strict=True)})
    listens = _socket(
        configuration, socket, None if platform == "darwin" else f"{session or RUNTIME_ROOT}/{name}"
    )
    root = session or ("" if platform == "darwin" else RUNTIME_ROOT)
    below = runtime_below(listens, root)
    backups = [str(configuration.targets[one].get("backup.directory")) for one in names]
    folders = [str(Path(path).parent) for path in databases] + backups
    if scope == "system" and not below:
        folders.append(str(Path(listens).parent))
    needed = _needed(configuration, names)
    log = _log_file(name, scope, request.environment)
    described = Described(
        name=name,
        scope=scope,
        command=_command(request, configuration, listens if _said_apart(configuration, listens) else ""),
        directory=str(configuration.directory),
        owner=owner,
        groups=tuple(group for group in [configuration.daemon.get("group")] if group),
        databases=tuple(databases),
        writable=outermost(map(os.path.realpath, folders)),
        socket=listens,
        runtime=below,
        environment={**_passed(environment), **_places(scope, request.environment)},
        private_tmp=not any(is_below(path, TEMPORARY) for path in (*needed, *folders)),
        log=log,
    )
    return replace(described, notes=tuple(_notes(described, configuration, needed)))


def database_of(configuration: Configuration, name: str) -> str:
    """The real path of a target's database. Raises ConfigurationError."""
    from driftd.config.target import build_target
    from driftengine.dialects.chosen import named

    target = build_target(configuration, name)
    return named(target.url, target.models.directory)


def runtime_below(socket: str, root: str) -> str:
    """The socket's folder as the manager takes it, below its own folder for what runs; "" where it lies elsewhere."""
    folder, base = os.path.realpath(Path(socket).parent), os.path.realpath(root) if root else ""
    return os.path.relpath(folder, base) if base and is_below(folder, [base]) and folder != base else ""


def is_below(path: str, roots: Iterable[str]) -> bool:
    """True when a path is one of the roots or below it."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def outermost(folders: Iterable[str]) -> tuple[str, ...]:
    """The folders without those that are below another."""
    found = sorted(set(folders))
    return tuple(one for one in found if not any(one != other and is_below(one, [other]) for other in found))


def session_folder(scope: str, platform: str, environment: Mapping[str, str]) -> str:
    """The XDG_RUNTIME_DIR that the service will have; "" for none.

    A service of the system has no session, and its sockets are below /run, whatever this shell's are. A user's service manager
    has one, also where this shell came from `su` (https://www.freedesktop.org/software/systemd/man/user@.service.html).
    """
    if scope == "system":
        return ""
    return environment.get("XDG_RUNTIME_DIR", "") or (
        "" if platform == "darwin" else f"/run/user/{os.getuid()}"
    )


def _socket(configuration: Configuration, given: str | None, folder: str | None) -> str:
    if given:
        return str(configuration.directory / Path(given).expanduser())
    configured = str(configuration.daemon.get("socket"))
    if configuration.daemon.values["socket"].origin not in DEFAULTED:
        return configured
    if folder is None:
        raise ConfigurationError(
            "the daemon's socket has no place",
            code="service-socket",
            why=f"macOS has no folder for it, and {configured} is only what is taken elsewhere",
            fix='set `socket` under [daemon], to "~/Library/Caches/driftd.sock" for example, or give --socket',
        )
    # By the service's name: two services beside each other need a socket each.
    return f"{folder}/driftd.sock"


def _places(scope: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Where a user keeps what is remembered: commands and daemon must look into the same folders."""
    names = ("XDG_CACHE_HOME", "XDG_STATE_HOME") if scope == "user" else ()
    return {name: environment[name] for name in names if environment.get(name)}


def _said_apart(configuration: Configuration, socket: str) -> bool:
    return socket != str(configuration.daemon.get("socket"))


def _command(request: Request, configuration: Configuration, socket: str) -> tuple[str, ...]:
    # -P: with -m alone a file of the service's own called click.py would be taken for the package.
    words = [sys.executable, "-P", "-m", "driftd", "run"]
    source = configuration.source
    if source.path is not None and source.how != "shipped":
        words += ["--config", str(configuration.directory / source.path)]
    target = request.target or ("" if request.bare else request.environment.get("DRIFTD_TARGET", ""))
    words += ["--target", target] if target else []
    for flag, given in request.flags.items():
        for one in given if isinstance(given, tuple) else (given,):
            words += [f"--{flag}", str(one)]
    return (*words, *(["--socket", socket] if socket else []))


def _needed(configuration: Configuration, names: Sequence[str]) -> list[str]:
    """What the service must be able to reach, beside its databases."""
    # A virtual environment is full of links; and where driftd was installed editable, its code is elsewhere.
    interpreter = [sys.executable, os.path.realpath(sys.executable), str(Path(__file__).resolve().parents[1])]
    found = [*interpreter, str(configuration.directory), str(configuration.home)]
    if configuration.source.path is not None:
        found.append(str(configuration.source.path))
    for name in names:
        section = configuration.targets[name]
        found += [str(path) for path in (section.get("pythonpath") or ())]
        if python := section.get("python"):
            found.append(str(python))
    return [path for path in dict.fromkeys(found) if Path(path).is_absolute()]


def _notes(described: Described, configuration: Configuration, needed: Iterable[str]) -> Iterator[str]:
    if configuration.source.how == "shipped":
        yield "no configuration file was found: it will serve the shipped one, which is for the MCP Task Orchestrator"
    owner = described.owner
    if described.scope == "user" and owner.uid != os.geteuid():
        yield f"the databases belong to {owner.user}, and a service of your own runs as you: use --system"
    for path in (*needed, *described.writable):
        if (found := shut_to(path, owner)) is not None:
            yield f"{owner.user} cannot reach {path}: {found[0]} is shut (mode {found[1]:04o})"
    by_default = configuration.daemon.values["socket"].origin in DEFAULTED
    if _said_apart(configuration, described.socket) or (by_default and described.scope == "system"):
        # A session has a place of its own for sockets, and commands look there.
        yield f"it listens on {described.socket}: set `socket` under [daemon] to that, and every command finds it"


def _log_file(name: str, scope: str, environment: Mapping[str, str]) -> str:
    """The log: launchd opens it as the service's user, so that a folder of its own is needed where all users share one."""
    return (
        f"/Library/Logs/{name}/{name}.log"
        if scope == "system"
        else f"{environment.get('HOME', '')}/Library/Logs/{name}.log"
    )
