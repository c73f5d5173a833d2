"""Generated rows for any database: they respect keys, uniques, NOT NULL, foreign keys and lists of allowed words.

The same schema always gets the same rows. Values sit at the edges of their types: empty and longest texts, quotes,
the ends of the integers, gaps between the keys, NULL wherever it may stand.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

ROWS = 50  # wanted of each table; fewer where its keys have not so many values
TRIES = 12  # for one row
WORDS = (
    "",
    "plain",
    "it's",
    'say "hi"',
    "ünïcode ✓",
    "line\nbreak",
    "100%",
    "NULL",
    "007",
    "1e3",
    " x ",
    "a;b--c",
)
INTEGERS = (0, 1, -1, 7, 255, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63))
FLOATS = (0.0, 1.5, -2.25, 1e300, 5e-324, 0.1, -1e-9, 123456789.125)
OBJECTS: tuple[Any, ...] = ({}, {"a": [1, None, True]}, {"deep": {"er": "x" * 30}})
LISTS: tuple[Any, ...] = ([], ["it's", "ü"], ["x" * 30, "NULL"])

Kinds = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """What a value must respect. `kind` as scripts/release_create.py tells, `words` those of a CHECK."""

    name: str
    type: str
    required: bool
    generated: bool
    key: int  # place in the primary key, 0 outside
    kind: Any
    words: tuple[Any, ...]
    keyed: bool  # part of something unique

    @property
    def length(self) -> int:
        """How long a text may be."""
        found = re.search(r"\((\d+)", self.type)
        return int(found[1]) if found else 200


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key: columns here, and the same number of columns there."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A table as far as rows have to respect it."""

    name: str
    columns: tuple[Column, ...]
    references: tuple[Reference, ...]


def fill(
    database: Path, kinds: Kinds, soft: Sequence[tuple[str, str, str, str]] = (), rows: int = ROWS
) -> int:
    """Put rows into every empty table, parents first; returns how many rows there are then.

    `soft` are references that the schema does not know: table, column, parent, its column.

    Raises:
        AssertionError: a table stayed empty, or what was written violates a foreign key.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("BEGIN")
        names = _tables(connection)
        layouts = [_layout(connection, name, kinds.get(name, {}), soft) for name in names]
        for layout in _parents_first(layouts):
            if not _count(connection, layout.name):
                _fill_table(connection, layout, rows)
        connection.execute("COMMIT")
        counts = {layout.name: _count(connection, layout.name) for layout in layouts}
        assert all(counts.values()), (
            f"no row could be made for {[n for n, count in counts.items() if not count]}"
        )
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return sum(counts.values())


def _tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name"
    )
    return [name for (name,) in rows]


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])


def _layout(
    connection: sqlite3.Connection,
    table: str,
    kinds: Mapping[str, Any],
    soft: Sequence[tuple[str, str, str, str]],
) -> Layout:
    sql = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
    keyed = set(
        connection.execute(
            'SELECT c.name FROM pragma_index_list(?) AS i, pragma_index_info(i.name) AS c WHERE i."unique"',
            (table,),
        )
    )
    columns = tuple(
        Column(
            name,
            kind.upper(),
            bool(needed),
            hidden > 1,
            key,
            kinds.get(name),
            _words(sql, name),
            (name,) in keyed,
        )
        for _, name, kind, needed, _, key, hidden in connection.execute(f'PRAGMA table_xinfo("{table}")')
    )
    found: dict[int, list[tuple[str, str, str | None]]] = {}
    for number, _, parent, here, there, *_ in connection.execute(f'PRAGMA foreign_key_list("{table}")'):
        found.setdefault(number, []).append((parent, here, there))
    references = [_reference(connection, pairs) for _, pairs in sorted(found.items())]
    known = {column for reference in references for column in reference.columns}
    references += [
        Reference((here,), parent, (there,))
        for owner, here, parent, there in soft
        if owner == table and here not in known
    ]
    # The widest first: what a composite key decides, a narrower one over the same column has to follow.
    return Layout(table, columns, tuple(sorted(references, key=lambda one: -len(one.columns))))


def _reference(connection: sqlite3.Connection, pairs: list[tuple[str, str, str | None]]) -> Reference:
    parent = pairs[0][0]
    key = connection.execute(
        "SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (parent,)
    ).fetchall()
    there = tuple(column or key[place][0] for place, (_, _, column) in enumerate(pairs))
    return Reference(tuple(here for _, here, _ in pairs), parent, there)


def _words(sql: str, column: str) -> tuple[Any, ...]:
    """What CHECK (column IN (...)) or CHECK (column = ...) allows; () without such a check."""
    named = rf'CHECK\s*\(\s*"?\b{re.escape(column)}\b"?\s*'
    found = re.search(rf"{named}(?:IN\s*\(([^)]*)\)|=\s*([^)]*)\))", sql, re.IGNORECASE)
    if not found:
        return ()
    pieces = re.findall(r"'((?:[^']|'')*)'|(-?\d+)", found[1] or found[2])
    return tuple(int(number) if number else text.replace("''", "'") for text, number in pieces)


def _parents_first(layouts: list[Layout]) -> Iterator[Layout]:
    """Each table behind those that it refers to; in a circle behind those that it cannot do without."""
    waiting = {layout.name: layout for layout in layouts}
    while waiting:
        free = [layout for layout in waiting.values() if not _awaited(layout, waiting, needed_only=False)]
        able = [layout for layout in waiting.values() if not _awaited(layout, waiting, needed_only=True)]
        for layout in free or able[:1] or [next(iter(waiting.values()))]:
            del waiting[layout.name]
            yield layout


def _awaited(layout: Layout, waiting: Mapping[str, Layout], *, needed_only: bool) -> bool:
    """True while a table that this one refers to has no rows yet."""
    needed = {column.name for column in layout.columns if column.required or column.key}
    return any(
        one.parent in waiting and one.parent != layout.name
        for one in layout.references
        if not needed_only or needed.issuperset(one.columns)
    )


def _fill_table(connection: sqlite3.Connection, layout: Layout, rows: int) -> None:
    chance = random.Random(layout.name)  # noqa: S311  # the same rows each time is what is wanted
    for number in range(1, rows + 1):
        for _ in range(TRIES):
            row = _row(connection, layout, number, chance)
            if row is not None and _inserted(connection, layout.name, row):
                break
    # A gap at the end of the keys: whoever counts rows instead of reading them hands out a number twice.
    _delete_last(connection, layout)


def _delete_last(connection: sqlite3.Connection, layout: Layout) -> None:
    if _count(connection, layout.name) > 2 and not any(
        one.parent == layout.name for one in layout.references
    ):
        connection.execute(
            f'DELETE FROM "{layout.name}" WHERE rowid = (SELECT max(rowid) FROM "{layout.name}")'
        )


def _inserted(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> bool:
    names = ", ".join(f'"{name}"' for name in row)
    places = ", ".join("?" * len(row))
    try:
        connection.execute(f'INSERT INTO "{table}" ({names}) VALUES ({places})', list(row.values()))
    except sqlite3.IntegrityError:
        return False
    return True


def _row(
    connection: sqlite3.Connection, layout: Layout, number: int, chance: random.Random
) -> dict[str, Any] | None:
    """Values by column; None when a foreign key cannot be met with what the others have decided."""
    columns = {column.name: column for column in layout.columns if not column.generated}
    row: dict[str, Any] = {}
    for reference in layout.references:
        if not _refer(connection, reference, columns, row, chance):
            return None
    for column in columns.values():
        if column.name not in row:
            row[column.name] = _value(column, number, chance)
    return row


def _refer(
    connection: sqlite3.Connection,
    reference: Reference,
    columns: Mapping[str, Column],
    row: dict[str, Any],
    chance: random.Random,
) -> bool:
    """Decide the columns of one foreign key; False when no parent fits what stands in the row already."""
    pairs = list(zip(reference.columns, reference.parent_columns, strict=True))
    optional = [here for here, _ in pairs if not columns[here].required and not columns[here].key]
    if any(row.get(here, 0) is None for here in optional):
        return True
    fixed = [(there, row[here]) for here, there in pairs if here in row]
    listed = ", ".join(f'"{there}"' for _, there in pairs)
    where = " AND ".join(
        [f'"{there}" IS NOT NULL' for _, there in pairs] + [f'"{there}" = ?' for there, _ in fixed]
    )
    found = connection.execute(
        f'SELECT {listed} FROM "{reference.parent}" WHERE {where} ORDER BY {listed}',
        [value for _, value in fixed],
    ).fetchall()
    open_ones = [here for here in optional if here not in row]
    if open_ones and (not found or chance.random() < 0.2):
        row[open_ones[0]] = None
        return True
    if not found:
        return False
    row.update(zip((here for here, _ in pairs), chance.choice(found), strict=True))
    return True


def _value(column: Column, number: int, chance: random.Random) -> Any:
    """One value of a column."""
    unique = bool(column.key) or column.keyed
    if not column.required and not column.key and chance.random() < (0.1 if unique else 0.25):
        return None
    words = column.kind if isinstance(column.kind, list) else column.words
    if words:
        return chance.choice(words)
    kind = column.kind or _kind(column.type)
    if kind == "integer":
        # A unique integer counts up with gaps, the last ones far out.
        return number * 3 + (number > 45) * 2**40 if unique else chance.choice(INTEGERS)
    return {
        "boolean": lambda: chance.randrange(2),
        "float": lambda: number + 0.5 if unique else chance.choice(FLOATS),
        "numeric": lambda: chance.choice((0, 1.25, -3.5, 1000)),
        "json": lambda: json.dumps(chance.choice(OBJECTS)),
        "secret": lambda: None,  # only the application can make one
        "json-list": lambda: json.dumps(chance.choice(LISTS)),
        "datetime": lambda: (
            f"20{number % 100:02d}-02-{1 + number % 28:02d} 23:59:{number % 60:02d}.{number:06d}"
        ),
        "date": lambda: f"20{number % 100:02d}-02-{1 + number % 28:02d}",
        "binary": lambda: bytes([0, 255, number % 256]) * (number % 7) + number.to_bytes(2, "big"),
        "text": lambda: _text(column, number, chance, unique=unique),
    }[kind]()


def _kind(declared: str) -> str:
    """What a declared type means where the models say nothing of the column."""
    word = declared.split("(", 1)[0].strip()
    known = {
        "BOOLEAN": "boolean",
        "DATETIME": "datetime",
        "TIMESTAMP": "datetime",
        "DATE": "date",
        "JSON": "json",
    }
    if word in known:
        return known[word]
    if "INT" in word:
        return "integer"
    if word in {"FLOAT", "REAL", "DOUBLE"}:
        return "float"
    if word in {"NUMERIC", "DECIMAL"}:
        return "numeric"
    return "binary" if word in {"BLOB", "BINARY", "VARBINARY"} else "text"


def _text(column: Column, number: int, chance: random.Random, *, unique: bool) -> str:
    if unique:
        return f"{number}-{chance.choice(WORDS)}"[: column.length]
    if chance.random() < 0.1:
        return "ß" * min(column.length, 3000)
    return chance.choice(WORDS)[: column.length]
