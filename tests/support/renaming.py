"""Renames in tests: everything that plain SQLite sees must be there afterwards, under the new names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from support.witness import Photograph, assert_settled, photograph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.migrations import House


def carry_out(house: House, models: str, renames: Mapping[str, str], *approve: str) -> dict[str, Any]:
    """Applies models under these renames ("table.column" or "table" by the new name, to the old one).

    It asserts that all of it was done, that every value, rowid, sequence and statistic is there under its new name, and that
    nothing is left to do.
    """
    before = photograph(house)
    house.models(models)
    house.settings["renames"] = dict(renames)
    document = house.apply(*approve)
    assert document["outcome"] == "migrated", document
    assert not document["held"], document
    assert not document["blocked"], document
    assert_carried(before, photograph(house), renames)
    assert_settled(house)
    return document


def assert_carried(before: Photograph, after: Photograph, renames: Mapping[str, str]) -> None:
    """What stood under the old names stands under the new ones."""
    expected = under_new_names(before, renames)
    for place, values in expected.columns.items():
        assert after.columns.get(place) == values, place
    assert after.sequence == expected.sequence
    assert after.statistics == expected.statistics
    assert after.orphans == expected.orphans


def under_new_names(before: Photograph, renames: Mapping[str, str]) -> Photograph:
    """The photograph as it would be if only names had changed."""
    tables = {old: new for new, old in renames.items() if "." not in new}
    folded = {old.lower(): new.lower() for old, new in tables.items()}
    columns = {
        (place.partition(".")[0].lower(), old.lower()): place.partition(".")[2].lower()
        for place, old in renames.items()
        if "." in place
    }

    def moved(place: tuple[str, str]) -> tuple[str, str]:
        table = folded.get(place[0], place[0])
        return table, columns.get((table, place[1]), place[1])

    def indexed(table: str, name: str | None) -> str | None:
        new = tables.get(table, table)
        if name == table:
            return new
        prefix = f"sqlite_autoindex_{table}_"
        return f"sqlite_autoindex_{new}_{name[len(prefix) :]}" if name and name.startswith(prefix) else name

    return replace(
        before,
        columns={moved(place): values for place, values in before.columns.items()},
        sequence={tables.get(table, table): seq for table, seq in before.sequence.items()},
        statistics=frozenset((tables.get(t, t), indexed(t, i), s) for t, i, s in before.statistics),
        orphans=frozenset((tables.get(t, t), rowid, tables.get(p, p)) for t, rowid, p in before.orphans),
    )
