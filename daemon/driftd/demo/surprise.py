"""What ends the demo early: something went differently than told."""

from __future__ import annotations


class Surprise(Exception):  # noqa: N818  # the story's own word
    """Something went differently than told."""


def expect(found: object, told: object, what: str) -> None:
    """Raises Surprise where what was found is not what was told."""
    if found != told:
        raise Surprise(f"{what}: {told!r} was told, {found!r} was found"[:400])
