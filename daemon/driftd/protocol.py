"""What goes over the socket: one JSON object a line, each way. Pure functions; docs/socket.md is the contract.

A request is `{"command": NAME, "id"?: any scalar, ...arguments}`, a reply `{"ok": true, "id"?, "result": {...}}` or
`{"ok": false, "id"?, "error": {code, what, why, fix}}`. The first reply of a connection also has `"driftd"`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Goes up when an old client would misread a new daemon. New commands, arguments, fields and events leave it alone.
PROTOCOL = 1

Document = dict[str, Any]


class Limits(NamedTuple):
    """What one client may ask of the daemon; tests make them small."""

    request_bytes: int = 64 * 1024  # a request's line, without its newline
    discard_bytes: int = 16 * 1024 * 1024  # how much of a line that is too long is read to find its end
    read_s: float = 30.0  # from a line's first byte to its newline
    write_s: float = 5.0  # until the client has taken a reply
    per_user: int = 64  # connections
    in_all: int = 256


LIMITS = Limits()


class Argument(NamedTuple):
    """One argument of a command; `kind` is `text`, `texts` (a list of at least one text) or `flag`."""

    kind: str
    required: bool = False


class Command(NamedTuple):
    """What a command takes and whom it needs.

    `writes`: only who may write may ask; `writes_with`: the same, when one of these flags is set.
    """

    arguments: Mapping[str, Argument]
    writes: bool = False
    writes_with: frozenset[str] = frozenset()

    def needs_writing(self, arguments: Mapping[str, Any]) -> bool:
        """True when these arguments are only for who may write."""
        return self.writes or any(arguments.get(name) for name in self.writes_with)


_TARGET = Argument("text")
COMMANDS: dict[str, Command] = {
    "status": Command({"target": _TARGET, "holders": Argument("flag")}, writes_with=frozenset({"holders"})),
    "check": Command({"target": _TARGET, "fresh": Argument("flag")}, writes_with=frozenset({"fresh"})),
    "plan": Command({"target": _TARGET}),
    "history": Command({"target": _TARGET, "migration": Argument("text")}),
    "stage": Command({"target": _TARGET}, writes=True),
    "approve": Command(
        {
            "operations": Argument("texts", required=True),
            "target": _TARGET,
            "plan": Argument("text"),
        },
        writes=True,
    ),
    "rollback": Command(
        {
            "migration": Argument("text"),
            "operations": Argument("texts"),
            "approve": Argument("texts"),
            "dry_run": Argument("flag"),
            "target": _TARGET,
        },
        writes=True,
    ),
    "revert": Command(
        {
            "words": Argument("texts"),
            "approve": Argument("texts"),
            "dry_run": Argument("flag"),
            "target": _TARGET,
        },
        writes=True,
    ),
    "adopt": Command({"words": Argument("texts"), "target": _TARGET}, writes=True),
    "pause": Command({"target": _TARGET}, writes=True),
    "resume": Command({"target": _TARGET}, writes=True),
    "reload": Command({}, writes=True),
    "where": Command({"target": _TARGET, "config": Argument("text")}),
    "window": Command(
        {"window": Argument("text", required=True), "database": Argument("text"), "target": _TARGET},
        writes=True,
    ),
    "events": Command({"target": _TARGET}),
    "version": Command({}),
}

_EXPECTED = {"text": "a string", "texts": "a list of strings, not empty", "flag": "true or false"}


def encode(document: Mapping[str, Any]) -> bytes:
    """One line. ASCII alone: a file name that is no valid UTF-8 still travels, as an escaped surrogate.

    Raises TypeError or ValueError for what JSON cannot say, NaN included.
    """
    return json.dumps(document, allow_nan=False, separators=(", ", ": ")).encode("ascii") + b"\n"


def decode(line: bytes) -> Document:
    """The object in a request's line; raises DriftError `bad-request`."""
    try:
        document = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise _bad(f"byte {error.start + 1} of the line is not UTF-8") from None
    except RecursionError:
        raise _bad("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _bad(f"it is not JSON: {error.msg} (column {error.colno})") from None
    except ValueError as error:
        # A number of thousands of digits, or one of the constants below.
        raise _bad(f"it is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _bad("it is JSON, but no object")
    return document


def id_of(document: Mapping[str, Any]) -> Document:
    """`{"id": ...}` as a reply echoes it, empty where the request has none; raises DriftError `bad-request`."""
    if "id" not in document:
        return {}
    echo = {"id": document["id"]}
    if isinstance(document["id"], dict | list):
        raise _bad("its id is a list or an object: a string or a number can be echoed")
    try:
        encode(echo)
    except ValueError:
        raise _bad("its id is a number that JSON cannot write") from None
    return echo


def command_of(document: Mapping[str, Any], known: Iterable[str]) -> str:
    """The command's name; raises DriftError `bad-request` or `unknown-command`, which names the nearest one."""
    if "command" not in document:
        raise _bad("it names no command")
    name = document["command"]
    if not isinstance(name, str):
        raise _bad("its command is not a string")
    names = sorted(known)
    if name in names:
        return name
    near = nearest(name, names)
    raise DriftError(
        f"there is no command {shown(name)}",
        code="unknown-command",
        why=f"the nearest is {shown(near)}" if near else f"the commands are {', '.join(names)}",
        fix="the first reply of a connection lists the commands of this daemon under driftd.capabilities",
    )


def arguments_of(document: Mapping[str, Any], command: str, declared: Mapping[str, Argument]) -> Document:
    """The arguments that were given; one that is null counts as not given. Raises DriftError `bad-arguments`."""
    given = {
        name: value for name, value in document.items() if name not in {"command", "id"} and value is not None
    }
    mistakes = [_unknown(name, declared) for name in given if name not in declared]
    mistakes += [
        f"{name} must be {_EXPECTED[declared[name].kind]}"
        for name, value in given.items()
        if name in declared and not _fits(value, declared[name].kind)
    ]
    mistakes += [f"{name} is missing" for name, one in declared.items() if one.required and name not in given]
    if mistakes:
        takes = ", ".join(name if one.required else f"{name}?" for name, one in declared.items())
        raise DriftError(
            f"the arguments of {command} are wrong",
            code="bad-arguments",
            why="; ".join(mistakes),
            fix=f"{command} takes {takes or 'no arguments'}",
        )
    return given


def success(result: Mapping[str, Any], echo: Mapping[str, Any]) -> Document:
    """A reply with a result."""
    return {"ok": True, **echo, "result": result}


def failure(error: Mapping[str, str], echo: Mapping[str, Any]) -> Document:
    """A reply with an error document."""
    return {"ok": False, **echo, "error": error}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, or None."""
    import difflib

    # The likeness of long words is slow to tell, and a stranger may have sent this one.
    close = difflib.get_close_matches(word[:40].lower(), list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def shown(text: str) -> str:
    """A foreign text in a message: quoted, escaped, at most 60 characters of it."""
    return json.dumps(text if len(text) <= 60 else text[:59] + "…")


def _fits(value: Any, kind: str) -> bool:
    if kind == "texts":
        return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)
    return isinstance(value, bool if kind == "flag" else str)


def _unknown(name: str, declared: Iterable[str]) -> str:
    near = nearest(name, declared)
    return f"{shown(name)} is unknown" + (f" (the nearest is {near})" if near else "")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _bad(why: str) -> DriftError:
    return DriftError(
        "the request cannot be read",
        code="bad-request",
        why=why,
        fix='send one JSON object on one line, {"command": "status"} for example',
    )
