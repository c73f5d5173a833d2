"""SQLite's decisions behind the `Dialect` protocol."""

from __future__ import annotations

import platform
import sqlite3
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.former import as_it_is, left_behind
from driftengine.dialects.sqlite.guards import guard_of, rows_concerned
from driftengine.dialects.sqlite.introspect import understand
from driftengine.dialects.sqlite.outcome import after
from driftengine.dialects.sqlite.rename import renamed, told_of
from driftengine.dialects.sqlite.script import as_text, build_script
from driftengine.dialects.sqlite.strategy import indexes_over, is_relaxation, strategy_of
from driftengine.dialects.sqlite.undo import SOURCE, came_back, undecided, written_since
from driftengine.dialects.sqlite.undo_value import respelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from driftengine.changes import Backfill, Change, Difference, Rename, Script
    from driftengine.schema import Schema, StoredObject


class SqliteDialect:
    """What is decided otherwise for SQLite than for other databases."""

    name = "sqlite"

    def versions(self) -> dict[str, str]:
        """Not those of the models' interpreter, which may have a SQLite of its own."""
        return {"driftd_python": platform.python_version(), "driftd_sqlite": sqlite3.sqlite_version}

    def understand(self, stored: Iterable[StoredObject]) -> Schema:
        """See `introspect.understand`."""
        return understand(stored)

    def strategy(self, difference: Difference, actual: Schema, backfill: Backfill | None) -> str:
        """See `strategy.strategy_of`."""
        return strategy_of(difference, actual, backfill)

    def guard(
        self, difference: Difference, desired: Schema, actual: Schema, backfill: Backfill | None
    ) -> str | None:
        """See `guards.guard_of`."""
        return guard_of(difference, desired, actual, backfill)

    def concerned(self, difference: Difference, actual: Schema) -> str | None:
        """See `guards.rows_concerned`."""
        return rows_concerned(difference, actual)

    def renamed(self, schema: Schema, renames: Sequence[Rename]) -> Schema:
        """See `rename.renamed`."""
        return renamed(schema, renames)

    def as_it_is(self, query: str, actual: Schema, renames: Sequence[Rename]) -> str:
        """See `former.as_it_is`."""
        return as_it_is(query, actual, renames)

    def beside_rename(
        self, rename: Rename, actual: Schema, renames: Sequence[Rename]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """See `former.left_behind`; what SQLite itself says while the rename is tried comes along."""
        broken, told = left_behind(rename, actual, renames)
        return broken, (*told, *told_of(actual, renames, rename))

    def goes_with(self, difference: Difference, actual: Schema) -> tuple[str, ...]:
        """See `strategy.indexes_over`."""
        return tuple(index.name for index in indexes_over(difference, actual))

    def relaxes(self, difference: Difference) -> bool:
        """See `strategy.is_relaxation`."""
        return is_relaxation(difference)

    def keeps_parent_key(self, difference: Difference, desired: Schema) -> bool:
        """SQLite takes any FOREIGN KEY clause, and fails at the first row when the parent has no such key.

        https://www.sqlite.org/foreignkeys.html#fk_indexes: the primary key, or a unique index over just these columns
        without a WHERE and with the columns' own collations.
        """
        key = difference.desired
        parent = desired.tables.get(key.parent)
        if parent is None:
            return True  # the parent is outside the models; the rehearsal will tell
        wanted = frozenset(key.parent_columns)
        if parent.primary_key is not None and frozenset(parent.primary_key.columns) == wanted:
            return True
        uniques = [frozenset(unique.columns) for unique in parent.uniques]
        uniques += [
            frozenset(part.effect for part in index.parts)
            for index in desired.indexes_of(parent.key)
            if index.unique
            and index.where is None
            and not any(p.is_expression or p.collation for p in index.parts)
        ]
        return wanted in uniques

    def script(
        self, desired: Schema, actual: Schema, changes: Sequence[Change], *, catalogue_edits: bool = True
    ) -> Script:
        """See `script.build_script`."""
        return build_script(desired, actual, changes, catalogue_edits=catalogue_edits)

    def after(self, actual: Schema, script: Script) -> Schema:
        """See `outcome.after`."""
        return after(actual, script)

    def respelled(self, expression: str, names: Mapping[str, str]) -> str | None:
        """See `undo_value.respelled`."""
        return respelled(expression, names)

    def came_back(
        self,
        difference: Difference,
        now: Schema,
        then: Schema,
        target: Schema,
        names: Mapping[tuple[str, str], tuple[str, str]],
        *,
        fill: str | None = None,
        otherwise: str | None = None,
        source: str = SOURCE,
    ) -> Backfill | None:
        """See `undo.came_back`."""
        return came_back(difference, now, then, target, names, fill=fill, otherwise=otherwise, source=source)

    def undecided(
        self,
        difference: Difference,
        now: Schema,
        then: Schema,
        target: Schema,
        names: Mapping[tuple[str, str], tuple[str, str]],
        *,
        fill: str | None = None,
        otherwise: str | None = None,
    ) -> str | None:
        """See `undo.undecided`."""
        return undecided(difference, now, then, target, names, fill=fill, otherwise=otherwise)

    def written_since(
        self,
        difference: Difference,
        now: Schema,
        then: Schema | None,
        names: Mapping[tuple[str, str], tuple[str, str]],
        *,
        fill: str | None = None,
    ) -> str | None:
        """See `undo.written_since`."""
        return written_since(difference, now, then, names, fill=fill)

    def script_text(self, script: Script, held: Iterable[str], *, careful: bool = False) -> str:
        """See `script.as_text`."""
        return as_text(script, held, careful=careful)
