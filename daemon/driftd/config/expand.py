"""`${NAME}` and `${NAME:-default}` in strings. Pure: the environment is an argument."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEEPEST = 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand(text: str, environment: Mapping[str, str]) -> str:
    """The text with its references replaced.

    A default counts when the variable is unset or empty, may hold further references, and is looked at only then.
    `$$` is a dollar; a dollar before anything else stands for itself. Raises ValueError with a sentence for people.
    """
    parts: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) != -1:
        parts.append(text[at:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "{":
            end = _closing(text, dollar)
            parts.append(_resolve(text[dollar + 2 : end], environment))
            at = end + 1
        else:
            parts.append("$")
            at = dollar + (2 if following == "$" else 1)
    parts.append(text[at:])
    return "".join(parts)


def _closing(text: str, start: int) -> int:
    """The offset of the brace that closes the reference which begins at `start`."""
    depth, at = 0, start
    while at < len(text):
        if text.startswith("$$", at):
            at += 2
        elif text.startswith("${", at):
            depth, at = depth + 1, at + 2
            if depth > _DEEPEST:
                raise ValueError(f"references stand in more than {_DEEPEST} others")
        elif text[at] == "}" and depth == 1:
            return at
        else:
            depth, at = depth - (text[at] == "}"), at + 1
    raise ValueError(f"{text[start:]!r} is never closed: a '}}' is missing")


def _resolve(reference: str, environment: Mapping[str, str]) -> str:
    match = _NAME.match(reference)
    name = match.group() if match else ""
    rest = reference[len(name) :]
    if not name or (rest and not rest.startswith(":-")):
        raise ValueError(f"${{{reference}}} is not understood; write ${{NAME}} or ${{NAME:-default}}")
    value = environment.get(name, "")
    # Without a default, set but empty is a value; with one it counts as unset, as in a shell's ":-".
    if not rest:
        if name not in environment:
            raise ValueError(f"the environment variable {name} is not set, and ${{{name}}} has no default")
        return value
    return value or expand(rest[2:], environment)
