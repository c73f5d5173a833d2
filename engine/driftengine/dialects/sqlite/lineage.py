"""What became of each table and column while a script ran, read off its statements: names are all that SQLite keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.tokens import fold, tokenize, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from driftengine.changes import Script
    from driftengine.schema import Column, Schema, Table


@dataclass(frozen=True, slots=True)
class Lineage:
    """By key afterwards, the key before; what is new is not in it.

    `tables` maps tables, `columns` the columns of each table (by its key afterwards). A table that was copied is still
    the same table, one that was dropped and made anew is not. `renames`: SQLite has rewritten what names a renamed thing.
    """

    tables: Mapping[str, str]
    columns: Mapping[str, Mapping[str, str]]
    renames: bool

    def table(self, key: str, before: Schema) -> Table | None:
        """What the table of that key was before."""
        return before.tables.get(self.tables.get(key, ""))

    def column(self, table: str, key: str, before: Table) -> Column | None:
        """What the column of that key was before."""
        return before.column(self.columns.get(table, {}).get(key, ""))

    def after(self, table: str) -> str | None:
        """The key afterwards of the table that had that key; None where it is gone."""
        return next((new for new, old in self.tables.items() if old == table), None)


def lineage(script: Script, before: Schema) -> Lineage:
    """Follows the statements that rename and drop."""
    tables = {key: key for key in before.tables}
    columns = {key: {one.key: one.key for one in table.columns} for key, table in before.tables.items()}
    dropped: dict[str, tuple[str, dict[str, str]]] = {}
    renames = False
    for step in script.steps:
        match words_of(step.sql):
            case ["drop", "table", table] if table in tables:
                dropped[table] = (tables.pop(table), columns.pop(table))
            case ["alter", "table", old, "rename", "to", new]:
                if old in tables:
                    tables[new], columns[new] = tables.pop(old), columns.pop(old)
                    renames = True
                elif new in dropped:  # the copy takes the place of what was copied
                    tables[new], columns[new] = dropped.pop(new)
            case ["alter", "table", table, "rename", "column", old, "to", new] if table in columns:
                if old in columns[table]:
                    columns[table][new] = columns[table].pop(old)
                renames = True
            case ["alter", "table", table, "drop", "column", column] if table in columns:
                columns[table].pop(column, None)
            case _:
                pass
    return Lineage(tables, columns, renames)


def words_of(sql: str) -> list[str]:
    """The statement's words, unquoted and folded, where it alters or drops a table."""
    if sql[:5].upper() not in {"ALTER", "DROP "}:
        return []
    words = [fold(unquote(token.text)) for token in tokenize(sql) if token.text != ";"]
    # The word COLUMN may be left out.
    return [*words[:4], "column", *words[4:]] if len(words) == 7 and words[3] == "rename" else words
