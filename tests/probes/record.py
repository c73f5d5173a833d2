"""What a probe is: a schema before and after one change, and the differences that are to be found, both ways."""

from __future__ import annotations

from dataclasses import dataclass

_OPPOSITE = {"add": "remove", "remove": "add"}


@dataclass(frozen=True)
class Probe:
    """One change. `before` and `after` are models, or DDL.

    `found` are the differences of a database made by `before` from what `after` wants, each as `change object table.name
    aspect`; `back` are those of the way back. `rows` are the values of the rows that the tables hold meanwhile: each is
    the value of every column of one row.
    """

    name: str
    before: str
    after: str
    found: tuple[str, ...]
    back: tuple[str, ...]
    rows: str = "123"


def case(name: str, before: str, after: str, found: str, *, back: str = "", rows: str = "123") -> Probe:
    """A probe; on the way back what came goes, and what changed changes again, unless `back` says otherwise."""
    there = tuple(found.split(" & "))
    return Probe(
        name, before, after, there, tuple(back.split(" & ")) if back else tuple(map(opposite, there)), rows
    )


def opposite(difference: str) -> str:
    """The difference that is found on the way back."""
    change, _, rest = difference.partition(" ")
    return f"{_OPPOSITE.get(change, change)} {rest}"
