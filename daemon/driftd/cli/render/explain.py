"""`explain` for people: the Markdown of the docs, as plain lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from driftd.cli.text import Look, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from driftd.explain import Explanation

_BOLD = re.compile(r"\*\*([^*]+)\*\*")


def render_explanation(found: Explanation, look: Look) -> str:
    """The code, then its paragraphs wrapped; code blocks and lists keep their lines."""
    blocks = [_block(block, look) for block in re.split(r"\n{2,}", found.text)]
    return "\n\n".join([look.paint(found.code, "bold"), *blocks])


def render_codes(known: Sequence[Explanation], look: Look) -> str:
    """Every code with its first sentence."""
    lines = [look.cut(line, look.width) for line in table([(one.code, one.summary) for one in known])]
    return "\n".join([*lines, "", "  (driftd explain CODE tells all of one)"])


def _block(block: str, look: Look) -> str:
    if block.startswith(("    ", "```")):
        return "\n".join(f"    {line}" for line in block.splitlines() if not line.startswith("```"))
    if block.startswith(("- ", "* ")):
        items = re.split(r"\n(?=[-*] )", block)
        return "\n".join(look.wrap(" ".join(item.split()), 0, 2) for item in items)
    wrapped = look.wrap(_BOLD.sub(r"\1", " ".join(block.split())))
    if label := _BOLD.match(block):
        wrapped = wrapped.replace(label[1], look.paint(label[1], "bold"), 1)
    return wrapped
