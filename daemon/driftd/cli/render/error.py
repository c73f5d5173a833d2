"""Errors: what happened, why, and what to do, three or a few lines on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftd.cli.text import Look, escape, shell_word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from driftengine.errors import DriftError


def render_error(error: DriftError, look: Look) -> str:
    """`error[CODE]: what`, then why and what to do, each where it is known."""
    return render_error_document(error.as_document(), look)


def render_error_document(error: dict[str, str], look: Look) -> str:
    """The same from `{code, what, why, fix}`."""
    head = look.paint(f"error[{escape(error['code'])}]", "bold", "red")
    lines = [f"{head}: {look.paint(escape(error['what']), 'bold')}"]
    lines += [f"  {escape(line)}" for line in error.get("why", "").splitlines()]
    if error.get("fix"):
        first, *rest = error["fix"].splitlines()
        lines.append(f"{look.paint('fix', 'green')}: {escape(first)}")
        lines += [f"     {escape(line)}" for line in rest]
    return "\n".join(lines)


def render_bug(error: BaseException, arguments: Sequence[str], look: Look) -> str:
    """An exception that no part of driftd foresaw."""
    head = look.paint("error[internal]", "bold", "red")
    again = " ".join(map(shell_word, ["driftd", "--debug", *arguments]))
    return "\n".join(
        [
            f"{head}: {escape(type(error).__name__)}: {escape(error)}",
            "  this is a bug in driftd, not in your models or your database",
            f"{look.paint('fix', 'green')}: run `{again}` and report the traceback that it shows",
        ]
    )
