"""How a command talks to the daemon: which socket, one request, and every failure as one error with its exit code."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from driftd.cli.render.error import render_error
from driftd.cli.render.status import Flags
from driftd.cli.state import look_of
from driftd.cli.text import shell_word
from driftengine.errors import ConfigurationError, DriftError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from driftd.cli.state import State

    Function = Callable[..., Any]
    Document = dict[str, Any]

# `status` is a snapshot: a daemon that takes longer to tell it hangs. Work takes as long as it takes.
ANSWER_S = 10.0
FOR_EVER = None


class NoDaemonError(DriftError):
    """Nobody answers at the socket, or no longer."""


class NotAllowedError(DriftError):
    """This user may not ask the daemon for this."""


class RefusedError(DriftError):
    """The daemon answered with an error."""


EXIT_CODES: Mapping[type[DriftError], int] = {NoDaemonError: 3, NotAllowedError: 77, RefusedError: 1}


@dataclass(frozen=True, slots=True)
class Line:
    """The line to the daemon, as the options of a command describe it.

    Args:
        config: --config.
        target: --target, else DRIFTD_TARGET.
        socket: --socket.
        environment: the environment variables.
        directory: the working directory, absolute.
        note: tells a person something beside the answer, once.
    """

    config: str | None = None
    target: str | None = None
    socket: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path = field(default_factory=Path.cwd)
    note: Callable[[DriftError], None] = lambda _error: None

    def path(self, *, changes: bool = False) -> str:
        """The socket's path: --socket, DRIFTD_SOCKET, else what the configuration says.

        Where that cannot be loaded, a daemon that has read it before still answers: its socket is taken out of the file's
        text, and `note` is given the error. One that has read another file is asked for nothing that `changes` something.
        Raises ConfigurationError where nobody answers there.
        """
        # Where the socket is named, a configuration that is broken must not keep anybody from asking the daemon.
        if given := self._named():
            return str(self.directory / Path(given).expanduser())
        from driftd.config import Request, load

        # The daemon knows its targets; this file may have been edited since, and is only asked for the socket.
        environment = {name: text for name, text in self.environment.items() if name != "DRIFTD_TARGET"}
        request = Request(environment=environment, directory=self.directory, config=self.config)
        try:
            return str(load(request).daemon.get("socket"))
        except ConfigurationError as error:
            guessed = self._answering(changes=changes)
            if guessed is None:
                # A daemon that runs already goes on with what it has read before.
                error.fix = f"{error.fix}\na daemon that is running still answers: --socket PATH"
                raise
            self.note(error)
            return guessed

    def _answering(self, *, changes: bool) -> str | None:
        """The socket that the configuration's text names, else the default, where a daemon answers that may be meant."""
        from driftd.client import Client, ClientError, NoDaemon
        from driftd.startup.finding import config_file, socket_path

        try:
            written = config_file(self.config, self.environment, str(self.directory))
        except OSError:
            return None  # a file that was asked for by name, and is not there
        path = socket_path(self.environment, str(self.directory), written)
        try:
            with Client(path, timeout=ANSWER_S) as client:
                read = client.call("status")["daemon"].get("config")
        except NoDaemon:
            return None
        except ClientError:
            return path  # it answers, and says itself what this user may not ask it
        own = os.path.realpath(self._file() or "") == os.path.realpath(read or "")
        return path if own or not changes else None

    def ask(self, command: str, *, patience: float | None = ANSWER_S, **arguments: object) -> Document:
        """The daemon's result; arguments that are None or False are left out.

        Raises ConfigurationError, NoDaemonError, NotAllowedError or RefusedError.
        """
        path = self.path(changes=command != "status")
        given = {name: value for name, value in arguments.items() if value is not None and value is not False}
        if self.target and command != "reload":
            given["target"] = self.target
        with self.failures():
            from driftd.client import Client

            with Client(path, timeout=patience) as client:
                return client.call(command, **given)

    def status(self, *, verbose: bool) -> Document:
        """The status document; `verbose` also asks who has the databases open, where this user may know that.

        Raises as `ask`.
        """
        try:
            return self.ask("status", holders=verbose)
        except NotAllowedError:
            if not verbose:
                raise
            return self.ask("status")

    @contextmanager
    def followed(self) -> Iterator[Iterator[Document]]:
        """Every event from now on; what is raised in the block counts as the daemon's. Raises as `ask`."""
        path = self.path()
        with self.failures():
            from driftd.client import Client

            with Client(path, timeout=ANSWER_S) as client:
                yield client.do_events(self.target)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turns what the client raises into errors that say what to do."""
        from driftd import client

        try:
            yield
        except client.NoAnswer as error:
            raise _told(NoDaemonError, error.error) from error
        except client.NoDaemon as error:
            # The client does not know which flags were typed.
            fix = f"start one: driftd run{self.started_with}\nif it listens elsewhere: --socket PATH"
            raise _told(NoDaemonError, {**error.error, "fix": fix}) from error
        except client.NotAllowed as error:
            raise _told(NotAllowedError, error.error) from error
        except client.Refused as error:
            raise _told(RefusedError, error.error) from error

    @property
    def started_with(self) -> str:
        """The flags of a `driftd run` that would listen there."""
        return _flags(config=self.config, socket=self.socket)

    def flags(self, daemon: Mapping[str, Any] | None = None) -> Flags:
        """The flags of commands to type next.

        Args:
            daemon: what the daemon says of itself in `status`, where it was asked.
        """
        asks, target = _flags(config=self.config, socket=self.socket), _flags(target=self.target)
        if daemon is None:
            # The file that names the socket is the daemon's own; of a socket that was given nobody knows that.
            return Flags(None if self._named() else _flags(config=self.config), asks, target)
        if not daemon.get("config"):
            return Flags(None, asks, target)
        # From another folder another file would be read, and another database be looked at.
        config = self.config if self._file() == daemon["config"] else daemon["config"]
        return Flags(_flags(config=config), asks, target)

    def _named(self) -> str:
        """The socket as it was given, empty where it was not."""
        return self.socket or self.environment.get("DRIFTD_SOCKET", "")

    def _file(self) -> str | None:
        """The configuration file that a command with the same --config would read."""
        from driftd.config.locate import locate

        try:
            return str(locate(self.config, self.environment, self.directory).path)
        except ConfigurationError:
            return None


def daemon_options(*, target: bool = True) -> Callable[[Function], Function]:
    """Adds the options that say which daemon is meant; the function is given `line: Line`.

    Args:
        target: False where the command concerns the daemon as a whole.
    """

    def decorate(function: Function) -> Function:
        @click.pass_obj
        def called(state: State, *args: Any, **options: Any) -> Any:
            state.exit_codes = EXIT_CODES
            named = options.pop("target", None) or (os.environ.get("DRIFTD_TARGET") if target else None)
            noted: set[str] = set()

            def note(error: DriftError) -> None:
                # A command may ask several times.
                if error.what not in noted:
                    state.note(render_error(error, look_of(sys.stderr)))
                    state.note("note: a daemon that runs answers all the same, by what it has read before")
                noted.add(error.what)

            line = Line(
                config=options.pop("config"),
                target=named,
                socket=options.pop("socket"),
                environment=os.environ,
                directory=Path.cwd(),
                note=note,
            )
            return function(state, *args, line=line, **options)

        wrapped: Function = update_wrapper(called, function)
        added: list[Callable[[Function], Function]] = [
            click.option("--config", metavar="PATH", help="The configuration file, which names the socket."),
            click.option("--target", metavar="NAME", help="Only this target; all of them by default."),
            click.option(
                "--socket", metavar="PATH", help="The daemon's socket; no configuration is needed then."
            ),
        ]
        for option in reversed([one for one in added if target or one is not added[1]]):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _told(kind: type[DriftError], error: Mapping[str, Any]) -> DriftError:
    """The daemon's error document as an error; what it lacks is empty."""
    texts = {name: str(error.get(name) or "") for name in ("code", "why", "fix")}
    # A code of a newer daemon's is shown as it came.
    return kind(str(error.get("what") or "the daemon refused"), **texts)


def _flags(**given: str | None) -> str:
    return "".join(f" --{name} {shell_word(value)}" for name, value in given.items() if value)
