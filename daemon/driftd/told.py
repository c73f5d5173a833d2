"""What the log says of a target, as sentences out of the documents. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Document = Mapping[str, Any]

SHOWN = 5  # operations in a line; a log is read, not counted


def migrated(document: Document) -> str:
    """`migrated, 1 operation in 12 ms: add column state (task) [m_2026...]`, of an apply's document."""
    count, took = document["operations"], document["duration_ms"]
    what = _listed(document["applied"])
    return f"migrated, {_counted(count)} in {took:.0f} ms: {what} [{document['migration_id']}]"


def waiting(held: Sequence[Document], blocked: Sequence[Document]) -> Iterable[str]:
    """A sentence for what waits for a person, and one for what rows stand in the way of."""
    if held:
        yield f"held, {_counted(len(held))}: {_listed(held)}; `driftd status` shows the rows"
    for one in blocked[:SHOWN]:
        yield f"blocked: {_phrase(one)}: {one['reason']}"
    if len(blocked) > SHOWN:
        yield f"blocked: and {len(blocked) - SHOWN} more; `driftd status` shows them"


def reloaded(document: Document) -> str:
    """`reloaded: added web; kept app`, of a reload's document."""
    parts = [f"{word} {', '.join(names)}" for word, names in document.items() if names]
    return f"reloaded: {'; '.join(parts) or 'no targets'}"


def _counted(count: int) -> str:
    return "1 operation" if count == 1 else f"{count} operations"


def _listed(operations: Sequence[Document]) -> str:
    shown = ", ".join(_phrase(one) for one in operations[:SHOWN])
    more = len(operations) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _phrase(operation: Document) -> str:
    """`drop column title (task)`."""
    kind, name, table = operation["kind"].replace("_", " "), operation["name"], operation["table"]
    if table is None or table == name:
        return f"{kind} {name}"
    rows = f", {operation['count']:,} rows" if operation.get("count") else ""
    return f"{kind} {name} ({table}{rows})"
