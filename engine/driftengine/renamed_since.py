"""What the things of a migration are called by now: by its own renames, and by those of later migrations. Decides only.

The renames of one migration happen at once: two names that it exchanges are no chain. Those of several follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from driftengine.changes import Rename, folded
from driftengine.errors import HistoryError
from driftengine.renames import inverse, ordered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from driftengine.dialects.base import Dialect
    from driftengine.schema import Schema

Place: TypeAlias = "tuple[str, str]"  # the key of a table, and that of a column or "" for the table itself
Names: TypeAlias = "dict[Place, Place]"
NOWHERE = ""  # the key of no column and no table


@dataclass(frozen=True, slots=True)
class Later:
    """What one later migration has renamed."""

    migration: str
    renames: tuple[Rename, ...]

    def after(self, place: Place) -> Place | None:
        """What something is called then; None where its name has become another's, so that it was gone by then."""
        table, column = place
        found = _followed(table, self.renames, "")
        if found is None or not column:
            return None if found is None else (found, "")
        inside = _followed(column, self.renames, found)
        return None if inside is None else (found, inside)


def _followed(key: str, renames: Iterable[Rename], table: str) -> str | None:
    """The key of a column after the renames, or that of a table where `table` is empty."""
    by_old = {
        folded(one.old): one.column or one.table
        for one in renames
        if (one.column and one.table == table) or not (one.column or table)
    }
    return by_old.get(key, None if key in by_old.values() else key)


@dataclass(frozen=True, slots=True)
class Called:
    """The names of what a migration was about.

    `own` are its renames by the numbers of the operations, `asked` the numbers that are taken back: what they renamed has
    its former name then. `after` is the schema that it left, `later` what followed, in order.
    """

    own: Mapping[int, Rename]
    asked: frozenset[int]
    after: Schema
    later: tuple[Later, ...]

    def moved(self, dialect: Dialect, schema: Schema, done: frozenset[int]) -> Schema:
        """A schema on the migration's way, for which `done` of its operations have happened, under the names of now.

        Raises HistoryError (`undo-unknown`), RehearsalError.
        """
        found = []
        for (table, column), now in self._places(schema, done).items():
            was = schema.tables[table]
            if now is not None and column and now[1] != column:
                inside = was.column(column)
                found.append(Rename(*now, column if inside is None else inside.name, now[1]))
            elif now is not None and not column and now[0] != table:
                found.append(Rename(now[0], "", was.name, now[0]))
        return dialect.renamed(schema, ordered(found))

    def names(self, then: Schema) -> Names:
        """From (table, column) keys of now to those of `then`, the schema before the migration, where they are others.

        What has a name by now that something else had then leads nowhere. Raises HistoryError (`undo-unknown`).
        """
        found = {was: now for was, now in self._places(then, frozenset()).items() if now is not None}
        known = {now: was for was, now in found.items()}
        for was, now in found.items():
            if now[1] != was[1]:
                known.setdefault((now[0], was[1]), (was[0], NOWHERE))
            elif not now[1] and now != was:
                known.setdefault(was, (NOWHERE, NOWHERE))
        return {now: was for now, was in known.items() if now != was}

    def back(self) -> tuple[Rename, ...]:
        """The renames that take back what is asked for, in the tables as they are called by now."""
        asked = [one for number, one in self.own.items() if number in self.asked]
        former = {folded(one.old) for one in asked if not one.column}

        def here(table: str) -> str:
            now = None if table in former else self._now((table, ""))[0]
            return table if now is None else now[0]

        return tuple(replace(one, table=here(one.table)) for one in inverse(asked))

    def _now(self, place: Place) -> tuple[Place | None, str]:
        """What something that the migration left is called by now, and which one renamed it last."""
        now: Place | None = place
        by = ""
        for one in self.later:
            before, now = now, None if now is None else one.after(now)
            if now != before:
                by = one.migration
        return now, by

    def _places(self, schema: Schema, done: frozenset[int]) -> dict[Place, Place | None]:
        return dict(self._found(schema, done))

    def _found(self, schema: Schema, done: frozenset[int]) -> Iterator[tuple[Place, Place | None]]:
        missing = {
            (one.table if one.column else "", folded(one.old)): (number in self.asked, one)
            for number, one in self.own.items()
            if number not in done
        }
        for key, table in schema.tables.items():
            taken, own = missing.get(("", key), (False, None))
            there = key if own is None else own.table
            home = self._one((key, ""), (there, ""), own, taken=taken)
            yield (key, ""), home
            for column in table.columns:
                taken, own = missing.get((there, column.key), (False, None))
                inside = column.key if own is None else own.column
                now = self._one((there, column.key), (there, inside), own, taken=taken)
                yield (key, column.key), None if home is None or now is None else (home[0], now[1])

    def _one(self, was: Place, place: Place, own: Rename | None, *, taken: bool) -> Place | None:
        """What something is called: `was` on the migration's way, `place` when it was done."""
        table = self.after.tables.get(place[0])
        if table is None or (place[1] and table.column(place[1]) is None):
            return was
        now, by = self._now(place)
        if own is None or not taken:
            return now
        at = 1 if place[1] else 0
        # A rollback in part, of which something waits, has given the former name back already.
        if now is None or now[at] not in {place[at], was[at]}:
            raise _renamed_on(own, now[at] if now is not None else "", by)
        return was


def _renamed_on(own: Rename, now: str, by: str) -> HistoryError:
    return HistoryError(
        f"the name {own.old} cannot come back",
        code="undo-unknown",
        why=f"{own.new} was renamed again by {by}" + (f": it is called {now} now" if now else ""),
        fix=f"roll {by} back first",
    )
