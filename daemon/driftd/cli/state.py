"""What all commands of one run share: how output looks, and where it goes."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from driftd.cli.text import Look

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from driftengine.errors import DriftError

Document = dict[str, Any]


class ReaderGoneError(Exception):
    """Whoever read our stdout went away (`driftd plan | head`). No OSError, because click handles those its own way."""


def error_document(error: dict[str, str]) -> Document:
    """The document of a command that failed: `{schema_version, error: {code, what, why, fix}}`."""
    return {"schema_version": 1, "error": error}


@dataclass(slots=True)
class State:
    """One run of the command line.

    Args:
        json: stdout carries one JSON document and nothing else.
        debug: show tracebacks.
        error_document: the document that stands for a failed command; `error_document` of this module by default.
        exit_codes: the exit code of a command for each kind of error that is not 2.
    """

    json: bool = False
    debug: bool = False
    error_document: Callable[[dict[str, str]], Document] = error_document
    exit_codes: Mapping[type[DriftError], int] = field(default_factory=dict)
    answered: bool = field(default=False, init=False)

    def exit_code_of(self, error: DriftError) -> int:
        """The exit code of a command that failed: its own for this kind of error, else 2."""
        return next((code for kind, code in self.exit_codes.items() if isinstance(error, kind)), 2)

    def report(self, document: Mapping[str, Any], render: Callable[[Look], str]) -> None:
        """Put a document on stdout: as JSON, or rendered for people."""
        text = json.dumps(document, indent=2) if self.json else render(look_of(sys.stdout))
        self.answered = True
        self.tell(text)

    def tell(self, text: str) -> None:
        """Lines on stdout, there before what a child process writes next. Raises ReaderGoneError."""
        try:
            # Flushed here, so that a reader who went away is noticed where it can still be told apart.
            print(text, flush=True)  # noqa: T201  # the one place that writes to stdout
        except BrokenPipeError as error:
            raise ReaderGoneError from error

    def note(self, text: str) -> None:
        """Tell a person something beside the report: on stderr."""
        print(text, file=sys.stderr)  # noqa: T201  # the one place beside errors that writes there


def state_of(arguments: Sequence[str], environment: Mapping[str, str]) -> State:
    """The state of a run, told by its arguments before they are parsed: a usage error is JSON as well."""
    return State(json="--json" in arguments, debug=environment.get("DRIFTD_DEBUG", "") not in {"", "0"})


def look_of(stream: TextIO) -> Look:
    """How to write on a stream: colour on a terminal only, NO_COLOR and FORCE_COLOR obeyed (no-color.org)."""
    terminal = stream.isatty()
    # A pipe has no width of its own: sentences are wrapped at 80 columns, so that logs and tests are always the same, and
    # no line of a table is cut, since whatever reads it wants the rest.
    colour = terminal and os.environ.get("TERM") != "dumb"
    if forced := os.environ.get("FORCE_COLOR"):
        colour = forced != "0"
    if os.environ.get("NO_COLOR"):
        colour = False
    width = 80
    if terminal:
        import shutil

        width = shutil.get_terminal_size((80, 24)).columns
    return Look(colour=colour, width=max(60, min(width, 100)), whole=not terminal)
