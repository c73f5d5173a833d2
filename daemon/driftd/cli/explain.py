"""`driftd explain CODE`: what a code means, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from driftd.cli.command import Command, json_option

if TYPE_CHECKING:
    from driftd.cli.state import State


@click.command(
    "explain",
    cls=Command,
    short_help="What does a code mean?",
    epilog="driftd explain database-busy\ndriftd explain\ndriftd explain configuration-invalid --json",
)
@click.argument("code", required=False)
@json_option
@click.pass_obj
def command(state: State, code: str | None) -> int:
    """Explain the CODE of an operation or an error; without one, list them all.

    Exit code: 0, or 2 for a code that does not exist.
    """
    from driftd.cli.render.explain import render_codes, render_explanation
    from driftd.explain import explain, explanations

    if code is None:
        known = explanations()
        listed = {"schema_version": 1, "codes": [{"code": one.code, "summary": one.summary} for one in known]}
        state.report(listed, lambda look: render_codes(known, look))
        return 0
    found = explain(code)
    document = {"schema_version": 1, "code": found.code, "text": found.text}
    state.report(document, lambda look: render_explanation(found, look))
    return 0
