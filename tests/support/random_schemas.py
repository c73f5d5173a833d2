"""Random schemas that SQLite accepts, rows for them, and random edits of them: for tests of detection and migration."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hypothesis import strategies as st

from driftengine.dialects.sqlite.tokens import quote
from support.shapes import (
    STRICT_DEFAULTS,
    STRICT_TYPES,
    Column,
    Index,
    Named,
    Shape,
    Speller,
    Table,
    mended,
    rename_column,
    rename_table,
    sql_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

TABLES = ["t", "Order", "two words", "é", 'say "hi"']
COLUMNS = ["a", "b", "c d", "Group", "it's", "x_1"]
TYPES = [
    "INTEGER", "INT", "TEXT", "VARCHAR(10)", "varchar ( 20 )", "NUMERIC(8, 2)", "REAL", "FLOAT", "BLOB", "DATETIME",
    "BOOLEAN", "JSON", "",
]  # fmt: skip
DEFAULTS = [
    "0", "1", "-1", "'a'", "'1'", "'it''s'", "1.5", "TRUE", "NULL", "''", "(1 + 2)", "('a' || 'b')", "x'00'", "5",
    "CURRENT_TIMESTAMP",
]  # fmt: skip
COLLATIONS = ["", "", "NOCASE", "RTRIM", "BINARY"]
CHECKS = [
    "{c} IS NULL OR length({c}) < 40", "{c} <> 'zz'", "{c} IN ('a', 'b', 1, 2)", "{c} IN ('a', 'b', 1, 2, 3, '007')",
    "typeof({c}) <> 'blob'", "{t}.{c} <> 77", "({c} > -1000) /* it's ) */", "NOT ({c} = 'never')",
]  # fmt: skip
GENERATED = ["{c} || 'x'", "length({c})", "coalesce({c}, 0)", "typeof({c})"]
PARTS = ["{c}", "{c}", "{c} DESC", "{c} COLLATE NOCASE", "lower({c})", "{c} COLLATE BINARY"]
WHERES = ["", "", "{c} IS NOT NULL", "{c} > 0"]
ACTIONS = [
    "", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE CASCADE", "ON DELETE NO ACTION",
    "ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED", "NOT DEFERRABLE",
]  # fmt: skip
TRIGGERS = [
    "AFTER INSERT ON {t} BEGIN UPDATE {t} SET {c} = {c} WHERE 0; END",
    "AFTER UPDATE OF {c} ON {t} WHEN new.{c} IS NOT NULL BEGIN SELECT 1; END",
    "BEFORE DELETE ON {t} FOR EACH ROW BEGIN SELECT raise(ABORT, 'no') WHERE 0; END",
]
VIEWS = [
    "SELECT {c} FROM {t}",
    "SELECT count({c}) AS n FROM {t} WHERE {c} <> 'q'",
    "SELECT x.{c} FROM {t} AS x",
]
VALUES: list[Any] = [
    None, None, 0, 1, 2, 3, -5, 2**40, 1.5, 3.0, "a", "A", "b", "a ", "007", "1", "2", "1e3", "12abc", "", b"\x00", b"a",
    "it's", 0.1,
]  # fmt: skip
GAPS = [" ", " ", "\n  ", "\t", " /* it's, ( */ ", ' -- a "note"\n ']
CONFLICTS = ["", "", "", "", " ON CONFLICT IGNORE", " ON CONFLICT REPLACE"]


class Draw(Protocol):
    """What both a composite strategy and a step of a state machine draw with."""

    def __call__(self, strategy: st.SearchStrategy[T], /) -> T:
        """A value."""


class Maker:
    """Draws schemas and edits."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def pick(self, options: list[Any]) -> Any:
        """One of the options."""
        return self.draw(st.sampled_from(options))

    def maybe(self, chance: int = 3) -> bool:
        """True once in `chance` + 1 times."""
        return self.draw(st.integers(0, chance)) == chance

    def some(self, options: list[Any], least: int, most: int) -> list[Any]:
        """Some of the options, each once, in any order."""
        most = min(most, len(options))
        return self.draw(
            st.lists(st.sampled_from(options), min_size=min(least, most), max_size=most, unique=True)
        )

    def speller(self) -> Speller:
        """How names and gaps are written."""
        styles = self.draw(st.lists(st.sampled_from(["bare", '"', "[", "`"]), min_size=1, max_size=4))
        return Speller(styles, self.draw(st.lists(st.sampled_from(GAPS), min_size=1, max_size=4)))

    def column(self, table: Table | None, name: str, *, strict: bool) -> Column:
        """A column, perhaps computed from one of the table."""
        column = Column(name, self.pick(STRICT_TYPES if strict else TYPES))
        column.not_null = self.maybe()
        column.default = self.pick(STRICT_DEFAULTS if strict else DEFAULTS) if self.maybe() else ""
        column.collation = self.pick(COLLATIONS)
        column.unique = self.pick(CONFLICTS) if self.maybe(8) else None
        column.check = self.pick(CHECKS) if self.maybe(5) else ""
        if table is not None and table.columns and self.maybe(7):
            column.generated = (self.pick(GENERATED), self.pick(table.columns).name, self.maybe(1))
        return column

    def table(self, name: str) -> Table:
        """A table by itself."""
        strict = self.maybe(6)
        table = Table(name, [], strict=strict)
        for column in self.some(COLUMNS, 1, 4):
            table.columns.append(self.column(table, column, strict=strict))
        kind = self.pick(["alias", "alias", "alias", "inline", "table", "none"])
        names = [column.name for column in table.columns]
        if kind == "alias":
            table.columns[0].type = "INTEGER"
            table.columns[0].generated = None
            table.key = ([names[0]], True, self.maybe(2))
        elif kind == "inline":
            table.key = ([names[0]], True, False)
        elif kind == "table":
            table.key = (self.some(names, 1, 2), False, False)
        table.without_rowid = kind in {"inline", "table"} and self.maybe(2)
        if self.maybe():
            table.uniques.append((self.some(names, 1, 2), self.pick(CONFLICTS)))
        if self.maybe():
            self.add_check(Shape([table]))
        return table

    def shape(self) -> Shape:
        """A schema with everything that hangs on its tables."""
        shape = Shape([self.table(name) for name in self.some(TABLES, 1, 3)])
        hanging = [self.add_foreign_key, self.add_index, self.add_view, self.add_trigger]
        for add in self.draw(st.lists(st.sampled_from(hanging), max_size=4)):
            add(shape)
        return mended(shape)

    def edited(self, shape: Shape, most: int = 4) -> Shape:
        """The schema after one to four edits."""
        shape = copy.deepcopy(shape)
        for edit in self.draw(st.lists(st.sampled_from(self.edits()), min_size=1, max_size=most)):
            edit(shape)
            if not shape.tables:
                shape.tables.append(self.table("t"))
            mended(shape)
        return shape

    def renamed(self, shape: Shape) -> tuple[Shape, dict[str, str]]:
        """The schema with a table or a column under another name, and the hint that says so; none where no name is free."""
        shape = copy.deepcopy(shape)
        table = self._table(shape)
        if self.maybe(2):
            free, old = [name for name in TABLES if shape.table(name) is None], table.name
            if not free:
                return shape, {}
            rename_table(shape, old, self.pick(free))
            return shape, {table.name: old}
        free, old = [name for name in COLUMNS if table.column(name) is None], self.pick(table.columns).name
        if not free:
            return shape, {}
        new = self.pick(free)
        rename_column(shape, table, old, new)
        return shape, {f"{table.name}.{new}": old}

    def edits(self) -> list[Callable[[Shape], None]]:
        """Every edit there is."""
        names = [name for name in sorted(vars(type(self))) if name.split("_")[0] in {"add", "drop", "change"}]
        return [getattr(self, name) for name in names]

    def _table(self, shape: Shape) -> Table:
        return self.pick(shape.tables)  # type: ignore[no-any-return]  # pick is for anything

    def _column(self, shape: Shape) -> Column:
        return self.pick(self._table(shape).columns)  # type: ignore[no-any-return]  # as above

    def add_table(self, shape: Shape) -> None:
        """A new table."""
        free = [name for name in TABLES if shape.table(name) is None]
        if free:
            shape.tables.append(self.table(self.pick(free)))

    def drop_table(self, shape: Shape) -> None:
        """A table less."""
        shape.tables.remove(self._table(shape))

    def add_column(self, shape: Shape) -> None:
        """A new column, anywhere."""
        table = self._table(shape)
        free = [name for name in COLUMNS if table.column(name) is None]
        if free:
            column = self.column(table, self.pick(free), strict=table.strict)
            table.columns.insert(self.draw(st.integers(0, len(table.columns))), column)

    def drop_column(self, shape: Shape) -> None:
        """A column less."""
        table = self._table(shape)
        if len(table.columns) > 1:
            table.columns.remove(self.pick(table.columns))

    def change_type(self, shape: Shape) -> None:
        """Another type."""
        table = self._table(shape)
        self.pick(table.columns).type = self.pick(STRICT_TYPES if table.strict else TYPES)

    def change_nullability(self, shape: Shape) -> None:
        """NOT NULL comes or goes."""
        column = self._column(shape)
        column.not_null = not column.not_null

    def change_default(self, shape: Shape) -> None:
        """Another default, or none."""
        table = self._table(shape)
        self.pick(table.columns).default = self.pick(["", *(STRICT_DEFAULTS if table.strict else DEFAULTS)])

    def change_collation(self, shape: Shape) -> None:
        """Another collation."""
        self._column(shape).collation = self.pick(COLLATIONS)

    def change_generated(self, shape: Shape) -> None:
        """A column becomes computed, is computed otherwise, or holds values."""
        table = self._table(shape)
        column = self.pick(table.columns)
        source = self.pick(table.columns).name
        column.generated = None if self.maybe(2) else (self.pick(GENERATED), source, self.maybe(1))

    def change_unique(self, shape: Shape) -> None:
        """UNIQUE comes or goes, in a column or on the table."""
        table = self._table(shape)
        if self.maybe(1):
            column = self.pick(table.columns)
            column.unique = self.pick(CONFLICTS) if column.unique is None else None
        elif table.uniques:
            table.uniques.pop()
        else:
            names = [column.name for column in table.columns]
            table.uniques.append((self.some(names, 1, 2), self.pick(CONFLICTS)))

    def add_check(self, shape: Shape) -> None:
        """A CHECK of the table."""
        table = self._table(shape)
        name = self.pick(["", "", "ck", "c k"])
        table.checks.append((name, self.pick(CHECKS), self.pick(table.columns).name))

    def change_check(self, shape: Shape) -> None:
        """The CHECK of a column comes, goes or reads otherwise; one of the table goes."""
        table = self._table(shape)
        if table.checks and self.maybe(1):
            table.checks.pop()
        else:
            self.pick(table.columns).check = self.pick(["", *CHECKS])

    def add_foreign_key(self, shape: Shape) -> None:
        """A foreign key to anything that has a key; perhaps to the table itself."""
        table = self._table(shape)
        parents = [(parent, key) for parent in shape.tables for key in parent.referable()]
        if not parents:
            return
        parent, key = self.pick(parents)
        actions = self.pick(ACTIONS)
        if len(key) == 1 and self.maybe(1):
            remote = "" if parent.key and key == parent.key[0] and self.maybe(1) else key[0]
            self.pick(table.columns).reference = (parent.name, remote, actions)
        elif len(table.columns) >= len(key):
            local = self.some([column.name for column in table.columns], len(key), len(key))
            table.foreign_keys.append((local, parent.name, key, actions, self.pick(["", "fk"])))

    def change_foreign_key(self, shape: Shape) -> None:
        """A foreign key goes, or does something else on DELETE and UPDATE."""
        table = self._table(shape)
        column = self.pick(table.columns)
        if table.foreign_keys:
            columns, parent, remote, _, name = table.foreign_keys.pop()
            if self.maybe(1):
                table.foreign_keys.append((columns, parent, remote, self.pick(ACTIONS), name))
        elif column.reference:
            parent, remote, _ = column.reference
            column.reference = (parent, remote, self.pick(ACTIONS)) if self.maybe(1) else None

    def change_key(self, shape: Shape) -> None:
        """Another primary key, in another spelling, or none."""
        table = self._table(shape)
        names = [column.name for column in table.columns]
        chosen = self.some(names, 0, 2)
        table.key = (chosen, len(chosen) == 1 and self.maybe(1), False) if chosen else None

    def change_autoincrement(self, shape: Shape) -> None:
        """AUTOINCREMENT comes or goes, where there is an alias of the rowid."""
        table = self._table(shape)
        if table.key:
            table.key = (table.key[0], table.key[1], not table.key[2])

    def change_storage(self, shape: Shape) -> None:
        """WITHOUT ROWID comes or goes."""
        table = self._table(shape)
        table.without_rowid = not table.without_rowid

    def change_strict(self, shape: Shape) -> None:
        """STRICT comes or goes."""
        table = self._table(shape)
        table.strict = not table.strict

    def change_order(self, shape: Shape) -> None:
        """The columns stand in another order."""
        self._table(shape).columns.reverse()

    def add_index(self, shape: Shape) -> None:
        """An index, perhaps partial, perhaps over expressions."""
        table = self._table(shape)
        free = [n for n in ("i1", "i 2", "I3") if not any(i.name == n for i in shape.indexes)]
        if not free:
            return
        names = [column.name for column in table.columns]
        parts = [(self.pick(PARTS), column) for column in self.some(names, 1, 2)]
        where = (self.pick(WHERES), self.pick(names))
        shape.indexes.append(Index(self.pick(free), table.name, parts, unique=self.maybe(2), where=where))

    def drop_index(self, shape: Shape) -> None:
        """An index less."""
        if shape.indexes:
            shape.indexes.remove(self.pick(shape.indexes))

    def change_index(self, shape: Shape) -> None:
        """An index becomes unique or stops being so, or another condition stands behind it."""
        if shape.indexes:
            index = self.pick(shape.indexes)
            if self.maybe(1):
                index.unique = not index.unique
            else:
                index.where = (self.pick(WHERES), index.parts[0][1])

    def _named(self, shape: Shape, names: list[str], templates: list[str], kind: str) -> None:
        table = self._table(shape)
        kept = [one for one in getattr(shape, kind) if one.name not in names]
        made = Named(names[0], self.pick(templates), table.name, self.pick(table.columns).name)
        setattr(shape, kind, [*kept, made])

    def add_view(self, shape: Shape) -> None:
        """A view, in the place of the one that was there."""
        self._named(shape, [self.pick(["v1", "v 2"])], VIEWS, "views")

    def drop_view(self, shape: Shape) -> None:
        """A view less."""
        del shape.views[:1]

    def add_trigger(self, shape: Shape) -> None:
        """A trigger, in the place of the one that was there."""
        self._named(shape, [self.pick(["tr1", "tr 2"])], TRIGGERS, "triggers")

    def drop_trigger(self, shape: Shape) -> None:
        """A trigger less."""
        del shape.triggers[:1]


@dataclass
class Story:
    """A database and what is to become of it."""

    before: str
    after: str
    rows: list[tuple[str, tuple[Any, ...]]]
    journal: str
    met: bool
    by_hand: tuple[str, ...] = ()


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """A schema, rows, edits; `met` says that driftd has seen the first schema as models before.

    `by_hand` is what somebody does to the database beside the models, where SQLite lets it happen.
    """
    maker = Maker(draw)
    shape = maker.shape()
    after = maker.edited(shape)
    rows = list(rows_for(maker, shape))
    journal = maker.pick(["wal", "delete"])
    met = not maker.maybe(2)
    respelled = maker.speller() if maker.maybe(1) else None
    speller = maker.speller()
    before = sql_of(shape, copy.deepcopy(speller))
    by_hand = tuple(changes_by_hand(maker, shape)) if maker.maybe(1) else ()
    return Story(before, sql_of(after, respelled or speller), rows, journal, met, by_hand)


def changes_by_hand(maker: Maker, shape: Shape) -> Iterator[str]:
    """What somebody does to the database beside the models; not all of it can be done."""
    table = maker.pick(shape.tables)
    # In double quotes the name of a column that is gone would be a string.
    name, column = quote(table.name), f"[{maker.pick(table.columns).name}]"
    offered = [
        f"CREATE INDEX hand_index ON {name}({column})",
        f"CREATE VIEW hand_view AS SELECT {column} FROM {name}",
        f"CREATE TRIGGER hand_trigger AFTER INSERT ON {name} BEGIN SELECT new.{column}; END",
        "CREATE TABLE hand_table(a INTEGER PRIMARY KEY AUTOINCREMENT, b)",
        f"CREATE TABLE hand_child(a REFERENCES {name} ON DELETE CASCADE)",
    ]
    offered += [
        f"ALTER TABLE {name} ADD COLUMN hand_column DEFAULT 'hand'",
        f"ALTER TABLE {name} DROP COLUMN {column}",
        f"ALTER TABLE {name} RENAME COLUMN {column} TO hand_name",
        f"CREATE UNIQUE INDEX hand_unique ON {name}({column})",
    ]
    names = {
        "INDEX": [one.name for one in shape.indexes],
        "VIEW": [one.name for one in shape.views],
        "TRIGGER": [one.name for one in shape.triggers],
        "TABLE": [one.name for one in shape.tables],
    }
    offered += [f"DROP {kind} {quote(one)}" for kind, some in names.items() for one in some]
    yield from maker.some(offered, 1, 3)


def rows_for(maker: Maker, shape: Shape) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Rows for every table, and changes of rows that may be there; what the schema refuses is the service's own fault."""
    for table in shape.tables:
        columns = [column for column in table.columns if not column.generated]
        listed = ", ".join(quote(column.name) for column in columns)
        marks = ", ".join("?" for _ in columns)
        for number in range(maker.draw(st.integers(0, 4))):
            values = tuple(
                number + 1
                if table.key and column.name == table.key[0][0] and maker.maybe(1)
                else maker.pick(VALUES)
                for column in columns
            )
            yield f"INSERT OR IGNORE INTO {quote(table.name)} ({listed}) VALUES ({marks})", values


def changes_of_rows(maker: Maker, shape: Shape) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Updates and deletes of rows that may be there."""
    table = maker.pick(shape.tables)
    name, column = quote(table.name), quote(maker.pick(table.columns).name)
    for _ in range(maker.draw(st.integers(0, 2))):
        if maker.maybe():
            yield f"DELETE FROM {name} WHERE {column} IS ?", (maker.pick(VALUES),)
        else:
            yield (
                f"UPDATE OR IGNORE {name} SET {column} = ? WHERE {column} IS ?",
                (maker.pick(VALUES), maker.pick(VALUES)),
            )
