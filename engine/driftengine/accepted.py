"""What the history remembers of differences beside base: who had moved, and what a person has agreed upon. Pure.

Base says how both sides stood when a row was written. What differed then and was left so looks from there as if nobody
had moved; so each row that records base also notes of what it left who had moved, and which version it was before. What a
person has accepted is noted as it stood on both sides: once either moves, it is a difference again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from driftengine.changes import BOTH, CHANGE, DATABASE, MODELS, REMOVE, RENAME, removal
from driftengine.diff.tables import aspect_of
from driftengine.effect import digest_of
from driftengine.schema import Column

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from driftengine.changes import Difference
    from driftengine.diff import Drift

Digests = tuple[str, str]
Key = tuple[str, str, str]  # the identity of a difference, and both its digests
_MOVED = {
    MODELS: frozenset({MODELS}),
    DATABASE: frozenset({DATABASE}),
    BOTH: frozenset({MODELS, DATABASE}),
}


def digests_of(d: Difference) -> Digests:
    """Both sides of a difference as short hashes: what the models want, what the database has; "" for nothing.

    Of a column of which one aspect differs only that aspect counts: another one may change, and this stays as it is.
    """
    return digest_of(_side(d, d.desired)), digest_of(_side(d, d.actual))


def key_of(d: Difference) -> Key:
    """What tells a difference from all others, as it stands now."""
    return (d.identity, *digests_of(d))


def _side(d: Difference, record: Any) -> Any:
    return (
        aspect_of(record, d.aspect)
        if d.change == CHANGE and d.aspect and isinstance(record, Column)
        else record
    )


def recalled(drift: Drift, evidence: Mapping[str, Any], disputed: Collection[Key] = ()) -> Drift:
    """The drift with what the row that recorded base remembers: who moved, and what is accepted since.

    What a person accepted is set apart while both sides are as they were then; of what is `disputed` it does not hold any
    more.
    """
    moved = evidence.get("moved", {})
    known = {(identity, *pair) for identity, pairs in evidence.get("accepted", {}).items() for pair in pairs}
    told = [_with_memory(d, moved.get(d.identity)) for d in drift.differences]
    agreed = [key_of(d) in known and key_of(d) not in disputed for d in told]
    return replace(
        drift,
        differences=tuple(d for d, accepted in zip(told, agreed, strict=True) if not accepted),
        accepted=tuple(d for d, accepted in zip(told, agreed, strict=True) if accepted),
        ignored=tuple(_with_memory(d, moved.get(d.identity)) for d in drift.ignored),
    )


def _with_memory(d: Difference, note: Any) -> Difference:
    """Who moved before base was recorded, and who has moved since: both count, and the first version is the base.

    Where nobody has moved since, `origin` says the models; that they wanted something else then tells that they did.
    """
    if note is None:
        return d
    before, wanted, was = (note, None, "") if isinstance(note, str) else note
    movers = set(_MOVED[before])
    if d.origin != MODELS:
        movers |= _MOVED[d.origin]
    if wanted is not None and wanted != digests_of(d)[0]:
        movers.add(MODELS)
    origin = next(name for name, who in _MOVED.items() if who == movers)
    return replace(d, origin=origin, versions=(*d.versions[:2], was or d.versions[2]))


def remembered(
    left: Iterable[Difference], drift: Drift, adopted: Iterable[Difference] = ()
) -> dict[str, Any]:
    """For the evidence of a row that records base: what base alone would forget of what was left as it is.

    `left` is what waits, or is not done by this row; beside it stands what the drift has set apart. `adopted` is what a
    person accepts with this row.
    """
    agreed = [*drift.accepted, *adopted]
    chosen = {id(d) for d in agreed}
    waiting = [d for d in (*left, *drift.ignored) if id(d) not in chosen]
    # A table under its old name is another one with every change of the models: that does not carry the new name forward.
    names = [d for d in agreed if d.change == RENAME]
    return {
        "waiting": sorted({_removal(d) for d in (*waiting, *agreed) if _once_described(d)}),
        "moved": {
            d.identity: [d.origin, digests_of(d)[0], d.versions[2]]
            for d in sorted([*waiting, *names], key=lambda d: d.identity)
        },
        "accepted": _accepted(agreed),
    }


def _once_described(d: Difference) -> bool:
    """True where the models had what is there, and describe it no longer, or otherwise.

    Base keeps nothing of that; without it the next look would take it for somebody else's.
    """
    return d.known and (d.change == REMOVE or (d.change == CHANGE and d.object == "index"))


def _removal(d: Difference) -> str:
    return removal(d.object, d.table, d.actual.name if d.object == "index" else d.name)


def _accepted(agreed: Iterable[Difference]) -> dict[str, list[list[str]]]:
    """Several by one identity: two unnamed CHECKs over one column are called alike."""
    found: dict[str, list[list[str]]] = {}
    for d in sorted(agreed, key=lambda d: d.identity):
        found.setdefault(d.identity, []).append(list(digests_of(d)))
    return found
