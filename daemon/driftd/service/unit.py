"""A unit of systemd, out of the shipped one: what differs from machine to machine is put into its place. Pure.

How words are quoted: https://www.freedesktop.org/software/systemd/man/systemd.service.html#Command%20lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from driftd.service.described import Described

_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@")


def render(template: str, described: Described) -> str:
    """The unit, without the shipped one's introduction. Raises ConfigurationError (`service-inexpressible`)."""
    body = template[template.index("[Unit]\n") :]
    return replaced(body, settings_of(described))


def settings_of(described: Described) -> dict[str, list[str]]:
    """The lines that stand in place of the shipped ones, by their key."""
    settings = {
        "ExecStart": [f"ExecStart={command_line(described.command)}"],
        "WorkingDirectory": [f"WorkingDirectory={bare(described.directory)}"],
    }
    variables = [f"Environment={quoted(f'{name}={value}')}" for name, value in described.environment.items()]
    if described.scope == "user":
        settings["UMask"] = ["UMask=0077", *variables]
        if described.runtime:
            settings["RuntimeDirectory"] = [f"RuntimeDirectory={quoted(described.runtime)}"]
        return settings
    groups = [f"SupplementaryGroups={group}" for group in described.groups]
    settings["User"] = [f"User={described.user}"]
    settings["Group"] = [f"Group={described.group}", *groups]
    settings["Environment"] = ["Environment=XDG_CACHE_HOME=%C/%N", *variables]
    # A folder that is away for a moment must not keep the service from starting: driftd itself says that it is missing.
    settings["ReadWritePaths"] = [f"ReadWritePaths={quoted('-' + path)}" for path in described.writable]
    if described.runtime:
        settings["RuntimeDirectory"] = [f"RuntimeDirectory={quoted(described.runtime)}"]
    if not described.private_tmp:
        settings["PrivateTmp"] = [
            "# Off, because something that driftd needs lies below /tmp or /var/tmp.",
            "PrivateTmp=false",
        ]
    return settings


def replaced(body: str, settings: Mapping[str, Sequence[str]]) -> str:
    """The text with the lines of these keys exchanged; each key must stand in it once."""
    left = dict(settings)
    lines: list[str] = []
    for line in body.splitlines():
        lines += left.pop(line.partition("=")[0], [line])
    if left:
        raise AssertionError(f"the shipped unit has no {', '.join(left)}")
    return "\n".join(lines) + "\n"


def command_line(words: Sequence[str]) -> str:
    """ExecStart: variables are expanded in all words but the first."""
    program, *arguments = words
    return " ".join([quoted(program), *(quoted(word.replace("$", "$$")) for word in arguments)])


def quoted(word: str) -> str:
    """One word of a list, in quotes where it needs them, with no specifier in it."""
    _check(word)
    escaped = "".join(_ESCAPED.get(character, character) for character in word).replace("%", "%%")
    return escaped if word and set(word) <= _PLAIN else f'"{escaped}"'


def bare(path: str) -> str:
    """A path that takes the rest of its line: no quotes are taken off there, and nothing is unescaped."""
    _check(path)
    if path != path.strip() or path.endswith("\\") or set(path) & {"\n", "\r"}:
        raise inexpressible(path)
    return path.replace("%", "%%")


def _check(text: str) -> None:
    if any(ord(one) < 32 and one not in _ESCAPED for one in text) or _undecodable(text):
        raise inexpressible(text)


def _undecodable(text: str) -> bool:
    """True for what is not UTF-8: systemd drops such a line."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def inexpressible(text: str) -> ConfigurationError:
    """A path or a value that a unit file cannot say."""
    return ConfigurationError(
        f"{text!r} cannot be written into a unit",
        code="service-inexpressible",
        why="systemd reads a unit line by line as UTF-8, and takes white space and backslashes at the ends of a line away",
        fix="rename it, or make a symbolic link with another name and configure that",
    )
