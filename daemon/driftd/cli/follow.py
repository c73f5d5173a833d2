"""`driftd status --watch`: the status, then each change as it happens."""

from __future__ import annotations

import json
import re
import shutil
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from driftd.cli.render.changes import change_lines, event_line
from driftd.cli.render.status import render_status
from driftd.cli.state import look_of
from driftd.cli.text import cells
from driftd.entry import needs_attention

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from driftd.cli.state import State
    from driftd.cli.talk import Line

    Document = dict[str, Any]

_SGR = re.compile(r"\x1b\[[0-9;]*m")
_CLEAR, _HOME, _TO_LINE_END, _TO_SCREEN_END = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"


def follow(state: State, line: Line, *, verbose: bool) -> int:
    """Shows the status and follows it until the daemon stops, or the person does; both are exit code 0.

    Raises NoDaemonError when the daemon has vanished without a word, and whatever the first question raises.
    """
    shown = _way_to_show(state, line, verbose=verbose)
    try:
        # Events first: what changes between the two questions is then seen twice, not never.
        with line.followed() as events:
            shown.status(line.status(verbose=verbose))
            return _follow(line, events, shown, verbose=verbose)
    except KeyboardInterrupt:
        return 0


def _follow(line: Line, events: Iterator[Document], shown: _Shown, *, verbose: bool) -> int:
    for event in events:
        shown.event(event)
        if event["event"] == "stopping":
            return 0
        if event["event"] in {"reloaded", "lost"}:
            shown.status(line.status(verbose=verbose))
    return 0


def with_event(document: Document, event: Document) -> Document:
    """The status document as it is after an event of kind `target`."""
    entry = event["target"]
    entries = {one["target"]: one for one in document["targets"]}
    known = entries.get(entry["target"])
    # What was under way when the status was asked for is older than the status.
    if known is None or str(known["since"]) <= str(entry["since"]):
        entries[entry["target"]] = entry
    unwell = document["daemon"].get("problems") or any(map(needs_attention, entries.values()))
    return {**document, "targets": list(entries.values()), "verdict": "attention" if unwell else "healthy"}


class _Shown(Protocol):
    """A way to show what is followed."""

    def status(self, document: Document) -> None:
        """All of it, asked for anew."""

    def event(self, event: Document) -> None:
        """One thing that happened."""


def _way_to_show(state: State, line: Line, *, verbose: bool) -> _Shown:
    if state.json:
        return _Json(state)
    return (_Screen if sys.stdout.isatty() else _Log)(state, line, verbose=verbose)


class _Json:
    """A document a line: the status, then events; another status after one that says that more has changed."""

    def __init__(self, state: State) -> None:
        self._state = state

    def status(self, document: Document) -> None:
        self._state.answered = True
        self._state.tell(json.dumps(document))

    event = status


class _Log:
    """The status once, then a line a change: for a file, a pipe or a supervisor's log."""

    def __init__(self, state: State, line: Line, *, verbose: bool) -> None:
        self._state, self._line, self._verbose = state, line, verbose
        self._document: Document | None = None

    def status(self, document: Document) -> None:
        before, self._document = self._document, document
        if before is None:
            flags = self._line.flags(document["daemon"])
            now = datetime.now(UTC)
            look = look_of(sys.stdout)
            self._tell([render_status(document, look, flags=flags, now=now, verbose=self._verbose)])
            return
        for entry in document["targets"]:
            self._changed(before, entry, now_text())

    def event(self, event: Document) -> None:
        assert self._document is not None  # noqa: S101  # the status comes first
        if event["event"] != "target":
            self._tell([event_line(event)])
            return
        before, self._document = self._document, with_event(self._document, event)
        name = event["target"]["target"]
        entry = next(one for one in self._document["targets"] if one["target"] == name)
        self._changed(before, entry, event["at"])

    def _changed(self, before: Document, entry: Document, at: str) -> None:
        known = next((one for one in before["targets"] if one["target"] == entry["target"]), None)
        self._tell(change_lines(known, entry, look_of(sys.stdout), at=at))

    def _tell(self, lines: Sequence[str]) -> None:
        if text := "\n".join(lines).strip("\n"):
            self._state.tell(text)


class _Screen:
    """The status, drawn again in place with every change. Nothing is hidden, so nothing is left to put back."""

    def __init__(self, state: State, line: Line, *, verbose: bool) -> None:
        self._state, self._line, self._verbose = state, line, verbose
        self._document: Document | None = None

    def status(self, document: Document) -> None:
        start = "" if self._document else _CLEAR
        self._document = document
        self._draw(document, start)

    def event(self, event: Document) -> None:
        assert self._document is not None  # noqa: S101  # the status comes first
        if event["event"] == "target":
            self._document = with_event(self._document, event)
            self._draw(self._document)
        elif told := event_line(event):
            self._state.tell(told)

    def _draw(self, document: Document, start: str = "") -> None:
        flags = self._line.flags(document["daemon"])
        # Times instead of ages: nobody draws anew while nothing happens.
        text = render_status(document, look_of(sys.stdout), flags=flags, now=None, verbose=self._verbose)
        columns, rows = shutil.get_terminal_size((80, 24))
        lines = fit(text.split("\n"), columns, rows - 1)
        self._state.tell(start + _HOME + "\n".join(line + _TO_LINE_END for line in lines) + _TO_SCREEN_END)


def fit(lines: Sequence[str], columns: int, rows: int) -> list[str]:
    """As many of the lines as the screen has rows for, the first ones: the verdict must not scroll away."""
    taken, kept = 0, []
    needed = [max(1, -(-cells(_SGR.sub("", line)) // columns)) for line in lines]
    if sum(needed) <= rows:
        return list(lines)
    for line, height in zip(lines, needed, strict=True):
        if taken + height > rows - 1:
            break
        kept.append(line)
        taken += height
    return [*kept, "… more than fits here: driftd status"]


def now_text() -> str:
    """This moment as events tell it."""
    return datetime.now(UTC).isoformat()
