"""What the log says of a target, as sentences out of the documents. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftd.startup.told import SHOWN, counted, listed, phrase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Document = Mapping[str, Any]


def migrated(document: Document) -> str:
    """`migrated, 1 operation in 12 ms: add column state (task) [m_2026...]`, of an apply's document."""
    count, took = document["operations"], document["duration_ms"]
    what = listed(document["applied"])
    return f"migrated, {counted(count)} in {took:.0f} ms: {what} [{document['migration_id']}]"


def window(last: Document | None) -> str:
    """`a service starts: up to date, after 0.4 ms`, of what is known of the last window."""
    if last is None:
        return "a service starts"
    why = f": {last['error']['what']}: {last['error']['why']}" if last["error"] else ""
    return f"a service starts: {last['outcome'].replace('_', ' ')}, after {last['duration_ms']:.1f} ms{why}"


def waiting(held: Sequence[Document], blocked: Sequence[Document]) -> Iterable[str]:
    """A sentence for what waits for a person, and one for what rows stand in the way of."""
    if held:
        yield f"held, {counted(len(held))}: {listed(held)}; `driftd status` shows the rows"
    for one in blocked[:SHOWN]:
        yield f"blocked: {phrase(one)}: {one['reason']}"
    if len(blocked) > SHOWN:
        yield f"blocked: and {len(blocked) - SHOWN} more; `driftd status` shows them"


def reloaded(document: Document) -> str:
    """`reloaded: added web; kept app`, of a reload's document."""
    parts = [f"{word} {', '.join(names)}" for word, names in document.items() if names]
    return f"reloaded: {'; '.join(parts) or 'no targets'}"
