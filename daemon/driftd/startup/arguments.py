"""The command line of `driftd exec` and `driftd gate`, parsed without click: a service that starts pays for imports.

What is understood here is understood alike by click (`cli/exec.py`, `cli/gate.py`), which has the help and the complaints.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_ONE = ("config", "target", "url", "python", "timeout")
_MANY = ("models", "pythonpath")
_SWITCHES = {"exec": ("debug",), "gate": ("debug", "strict", "json")}
_FLAGS = ("url", "models", "python", "pythonpath")  # settings of the target, as the configuration knows them
LONGEST = 3600.0  # seconds; no window lasts longer
_UNITS = (("ms", 0.001), ("s", 1.0), ("m", 60.0))  # "ms" first: it ends in "s"


class Options:
    """What was typed: `flags` are settings of the target, `timeout` is in seconds, `command` has the words to start."""

    __slots__ = ("command", "config", "debug", "flags", "json", "strict", "target", "timeout")

    def __init__(
        self,
        *,
        config: str | None = None,
        target: str | None = None,
        flags: dict[str, Any] | None = None,
        timeout: float | None = None,
        command: Sequence[str] = (),
        strict: bool = False,
        json: bool = False,
        debug: bool = False,
    ) -> None:
        self.config = config
        self.target = target
        self.flags = flags or {}
        self.timeout = timeout
        self.command = list(command)
        self.strict = strict
        self.json = json
        self.debug = debug


def parse(name: str, words: Sequence[str]) -> Options | None:
    """The options of `exec` or `gate`; None for what click is to see: help, the version, and what is wrong."""
    given: dict[str, Any] = {}
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] not in {"-", "--"}:
        option, equals, value = words[at][2:].partition("=")
        at += 1
        if not words[at - 1].startswith("--"):
            return None
        if option in _SWITCHES[name] and not equals:
            given[option] = True
            continue
        if option not in _ONE + _MANY:
            return None
        if not equals:
            if at == len(words):
                return None
            value, at = words[at], at + 1
        given[option] = (*given.get(option, ()), value) if option in _MANY else value
    command = words[at + 1 :] if words[at : at + 1] == ["--"] else words[at:]
    if bool(command) != (name == "exec"):
        return None
    return _options(given, command)


def _options(given: dict[str, Any], command: Sequence[str]) -> Options | None:
    # An empty value is as none at all, which is how a unit file or a script leaves an option out.
    flags = {one: given.pop(one) for one in _FLAGS if one in given}
    timeout = given.pop("timeout", None)
    try:
        span = None if timeout is None else seconds(timeout)
    except ValueError:
        return None
    return Options(
        **{**given, "config": given.get("config") or None, "target": given.get("target") or None},
        flags={one: value for one, value in flags.items() if value},
        timeout=span,
        command=command,
    )


def seconds(text: str) -> float:
    """A duration above 0 as the configuration writes it: `15`, `2.5`, `500ms`, `15s`, `1m`; an hour at most.

    Raises ValueError.
    """
    number, factor = text.strip(), 1.0
    for unit, worth in _UNITS:
        if number.endswith(unit):
            number, factor = number.removesuffix(unit).rstrip(), worth
            break
    # float() takes more than people write: "1e3", "inf", "1_000".
    if not number.replace(".", "", 1).isdecimal() or not number.isascii():
        raise ValueError(f"{text!r} is no duration")
    span = float(number) * factor
    if not span:
        raise ValueError("a duration is above 0")
    return min(span, LONGEST)
