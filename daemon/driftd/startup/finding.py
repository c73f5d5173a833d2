"""Which database does this service open? Asked of the daemon where it is sure to know, else read by a child process.

The daemon has read the configuration in its own environment and folder. It is believed only where nothing that the url was
expanded from is another thing here.
"""
# ruff: noqa: PTH109, PTH111, PTH113, PTH118, PTH120, PTH123 - a service that starts pays for the import of pathlib

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from driftd.startup.alone import Alone
    from driftd.startup.arguments import Options

TIMEOUT = 15.0  # seconds that a start may take where nobody has said yet: the default of window.timeout
_PATIENCE, _PATIENCE_SHARE = (
    2.0,
    0.25,
)  # how long the daemon may think about a question that it answers at once


class Unfound(Exception):  # noqa: N818  # the name says what is the case
    """Which database it is cannot be told; `error` is a document `{code, what, why, fix}`."""

    def __init__(self, error: dict[str, str]) -> None:
        super().__init__(error["what"])
        self.error = error


class Helper:
    """The child process, started when it is first needed."""

    def __init__(self, options: Options, allowed_by: str) -> None:
        self._request = {
            "config": options.config,
            "target": options.target,
            "flags": options.flags,
            "allowed_by": allowed_by,
        }
        self._alone: Alone | None = None

    def child(self) -> Alone:
        """The child."""
        if self._alone is None:
            from driftd.startup.alone import Alone

            self._alone = Alone(self._request)
        return self._alone

    def where(self, until: float) -> dict[str, Any]:
        """As `Alone.where`. Raises Unfound."""
        from driftd.startup.alone import AloneError

        try:
            return self.child().where(until)
        except AloneError as error:
            raise Unfound(error.error) from None

    def close(self) -> None:
        """No child is left."""
        if self._alone is not None:
            self._alone.close()


def find(options: Options, helper: Helper, began: float) -> tuple[dict[str, Any], str]:
    """`{"target", "database", "timeout_s"}`, and a line for people where daemon and service have two databases, else "".

    `began` is when the start began, on `time.monotonic()`. Raises Unfound.
    """
    try:
        directory = os.getcwd()
    except OSError as error:
        raise Unfound(_nowhere(error)) from None
    until = began + (options.timeout or TIMEOUT)
    told = None if options.flags else ask(options, os.environ, directory, until)
    if told is not None and not differs(told, os.environ, directory):
        return told, ""
    found = helper.where(until)
    if told is not None and os.path.realpath(told["database"]) != found["database"]:
        return found, f"the daemon serves {told['database']}, this service opens {found['database']}"
    return found, ""


def _nowhere(error: OSError) -> dict[str, str]:
    return {
        "code": "window-unavailable",
        "what": "no startup window could be opened",
        "why": f"the working directory cannot be told: {error.strerror}",
        "fix": "start the service in a folder that is there",
    }


def ask(
    options: Options, environment: Mapping[str, str], directory: str, until: float
) -> dict[str, Any] | None:
    """The daemon's answer to `where`; None where there is no daemon, or it serves another configuration."""
    try:
        config = config_file(options.config, environment, directory)
    except OSError:
        return None  # the child says what is wrong with it
    from driftd.client import Client, ClientError

    patience = min(_PATIENCE, _PATIENCE_SHARE * max(0.0, until - time.monotonic()))
    target = options.target or environment.get("DRIFTD_TARGET") or None
    try:
        with Client(socket_path(environment, directory, config), timeout=patience) as client:
            # "" for the shipped one: without a file the daemon would take it that any will do.
            told = client.do_where(target=target, config=config or "")
    except ClientError:
        # No daemon, or one that refuses. What is wrong with target and configuration, the child says as well.
        return None
    return told if _fits(told) else None


def differs(told: Mapping[str, Any], environment: Mapping[str, str], directory: str) -> bool:
    """May this service open another database than the daemon?

    True where a variable or the folder of its url is another, or a link on the way has been turned since the daemon looked.
    """
    variables = told.get("variables") or {}
    if any(environment.get(name) != value for name, value in variables.items()):
        return True
    path = told.get("path")
    if path and os.path.realpath(path) != told.get("database"):
        return True
    there = told.get("directory")
    return there is not None and os.path.realpath(there) != os.path.realpath(directory)


def _fits(told: Mapping[str, Any]) -> bool:
    kinds = (
        ("target", str),
        ("database", str),
        ("timeout_s", int | float),
        ("variables", dict | None),
        ("directory", str | None),
        ("path", str | None),
    )
    # JSON as Python reads it has NaN, at which no clock ever arrives.
    return all(isinstance(told.get(name), kind) for name, kind in kinds) and told["timeout_s"] > 0


def socket_path(environment: Mapping[str, str], directory: str, config: str | None) -> str:
    """Where the daemon listens: DRIFTD_SOCKET, else what the configuration file says, else the default.

    A guess is enough: a daemon that has not read that file says so, and where nobody listens the child reads the whole file.
    """
    if named := environment.get("DRIFTD_SOCKET"):
        return os.path.join(directory, os.path.expanduser(named))
    if config is not None and (written := _written_socket(config)):
        return os.path.join(os.path.dirname(config), os.path.expanduser(written))
    return f"{environment.get('XDG_RUNTIME_DIR') or '/run'}/driftd/driftd.sock"


def _written_socket(config: str) -> str:
    """The plain text of `socket` under `[daemon]`; "" where there is none, or one that has references in it."""
    import re  # json, which asks the daemon, needs it as well

    try:
        with open(config, encoding="utf-8", errors="replace") as file:
            daemon = re.search(
                r"^[ \t]*\[[ \t]*daemon[ \t]*\](.*?)(?=^[ \t]*\[|\Z)", file.read(), re.MULTILINE | re.DOTALL
            )
    except OSError:
        return ""
    found = daemon and re.search(
        r"""^[ \t]*socket[ \t]*=[ \t]*(?:"([^"\\$]+)"|'([^'$]+)')""", daemon[1], re.MULTILINE
    )
    return (found[1] or found[2]) if found else ""


def config_file(flag: str | None, environment: Mapping[str, str], directory: str) -> str | None:
    """The configuration file that would be read here, by the rules of `config/locate.py`; None for the shipped one.

    Raises FileNotFoundError where one was asked for and is not there.
    """
    if asked := flag or environment.get("DRIFTD_CONFIG"):
        path = os.path.join(directory, os.path.expanduser(asked))
        if not os.path.isfile(path):
            raise FileNotFoundError(path)
        return path
    if os.path.isfile(path := os.path.join(directory, "driftd.toml")):
        return path
    if os.path.isfile(path := os.path.join(directory, "config.toml")) and _is_ours(path):
        return path
    home = environment.get("HOME", "")
    places = [environment.get("XDG_CONFIG_HOME") or (home and f"{home}/.config"), "/etc"]
    paths = [os.path.join(directory, place, "driftd", "config.toml") for place in places if place]
    return next(filter(os.path.isfile, paths), None)


def is_shipped(options: Options, environment: Mapping[str, str], directory: str) -> bool:
    """Is it the shipped configuration's database and models that would be used here, because nobody has said otherwise?"""
    flags, variables = options.flags, ("DRIFTD_URL", "DRIFTD_MODELS")
    if "url" in flags or "models" in flags or all(map(environment.get, variables)):
        return False
    try:
        return config_file(options.config, environment, directory) is None
    except OSError:
        return False


def _is_ours(path: str) -> bool:
    import re

    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return re.search(r"^\s*\[?\s*targets\b", file.read(), re.MULTILINE) is not None
    except OSError:
        return False
