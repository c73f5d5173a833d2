"""What plain SQLite tells of a database: its rows, its shape, how it behaves, and what is wrong with it."""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from driftengine.dialects.sqlite.tokens import fold, quote
from support.random_schemas import VALUES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.migrations import House

Rows = list[dict[str, tuple[str, Any]]]
#: Operations after which the values of a column may be others, all by leave of a person or of a guard.
REWRITES = {"change_type", "change_generated", "set_not_null", "change_primary_key", "change_storage"}


def compiles(sql: str) -> bool:
    """True when SQLite accepts the script."""
    with closing(sqlite3.connect(":memory:")) as scratch:
        try:
            scratch.executescript(sql)
        except sqlite3.Error:
            return False
    return True


def problems(house: House) -> list[str]:
    """What integrity_check finds, less the NULLs that some releases see wrongly in a WITHOUT ROWID table."""
    found = []
    for (message,) in house.ask("PRAGMA integrity_check"):
        place = re.fullmatch(r"NULL value in (.*)\.(.*?)", message)
        if message == "ok":
            continue
        if message.startswith("non-"):
            continue  # a computed value of another type in a STRICT table: SQLite lets it in, and complains about it
        if place is None or house.ask(
            f"SELECT 1 FROM {quote(place[1])} WHERE typeof({quote(place[2])}) = 'null'"
        ):
            found.append(message)
    return found


def violations(house: House) -> Counter[tuple[Any, ...]]:
    """How many rows of which table point at no row of which parent."""
    found: Counter[tuple[Any, ...]] = Counter()
    for (table,) in house.ask("SELECT name FROM sqlite_schema WHERE type = 'table'"):
        with suppress(sqlite3.OperationalError):  # a parent without a key cannot be checked, before as after
            found.update(house.ask(f'SELECT "table", "parent" FROM pragma_foreign_key_check({quote(table)})'))
    return found


def everything(database: Path) -> dict[str, Rows]:
    """Every row by table, each value with its storage class; computed columns left out."""
    found: dict[str, Rows] = {}
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'"
            " AND name <> 'driftd_history'"
        ).fetchall()
        for (table,) in tables:
            info = connection.execute(f"PRAGMA table_xinfo({quote(table)})").fetchall()
            columns = [row[1] for row in info if row[6] == 0]
            listed = ", ".join(f"typeof({quote(c)}), {quote(c)}" for c in columns)
            rows = connection.execute(f"SELECT {listed} FROM {quote(table)}").fetchall()
            found[fold(table)] = [
                {fold(c): (row[2 * n], row[2 * n + 1]) for n, c in enumerate(columns)} for row in rows
            ]
    return found


def rows_kept(
    before: dict[str, Rows],
    after: dict[str, Rows],
    applied: list[dict[str, Any]],
    *,
    approved: bool,
    undo: bool = False,
) -> None:
    """Every row of every table that is still there, in the columns that no applied operation may rewrite.

    `undo`: whatever an operation names may hold what it held before.
    """
    dropped = {fold(str(o["table"])) for o in applied if o["kind"] == "drop_table"}
    for table, rows in before.items():
        if table in dropped:
            continue
        kept = after[table]
        assert len(kept) == len(rows), f"{table} had {len(rows)} rows and has {len(kept)}"
        if not rows:
            continue
        mine = [o for o in applied if fold(str(o["table"])) == table]
        filled = {fold(o["name"]) for o in mine if o["kind"] in {"set_not_null", "change_generated"}}
        rewritten = {fold(o["name"]) for o in mine if undo or o["kind"] in REWRITES}
        if any(o["kind"] == "change_primary_key" for o in mine):
            continue  # identities were given anew, with approval
        shared = [column for column in rows[0] if column in kept[0] and column not in rewritten]
        assert bag(rows, shared) == bag(kept, shared), (table, shared, rows, kept)
        if undo:
            continue
        surviving = [fold(o["name"]) for o in mine if o["kind"] == "change_type" and not approved]
        for column in set(surviving) & rows[0].keys() & kept[0].keys():
            survived = bag(rows, [column], _as_number) == bag(kept, [column], _as_number)
            assert survived or column in filled, ("converted", table, column, rows, kept)
        gone = {column for column in rows[0] if column not in kept[0]}
        assert gone <= {fold(o["name"]) for o in mine if o["kind"] in {"drop_column", "change_generated"}}, (
            gone
        )


def bag(rows: Rows, columns: list[str], reading: Callable[[Any], Any] = repr) -> Counter[tuple[Any, ...]]:
    """The rows in some columns, each as often as it is there."""
    return Counter(tuple(reading(row[column]) for column in columns) for row in rows)


def _as_number(cell: tuple[str, Any]) -> str:
    """A value as it survives a conversion: 1, 1.0 and '1' are one; '007' is none of them."""
    value = cell[1]
    if isinstance(value, str):
        with suppress(ValueError, OverflowError):
            number = float(value)
            if value in {str(number), f"{number:.0f}"}:
                return str(number)
    return str(float(value)) if isinstance(value, int | float) else repr(value)


def assert_same_behaviour(house: House, models: str) -> None:
    """Both schemas let in the same rows, and make the same of them."""
    stored = house.ask(
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name <> 'driftd_history'"
        " AND name <> 'sqlite_sequence' AND name NOT LIKE 'hand_%'"
        " ORDER BY type = 'table' DESC"
    )
    script = ";\n".join(sql for (sql,) in stored) + ";"
    if "ON CONFLICT" in models + script:
        return  # which of two broken constraints has its way depends on the order in which they were written
    tables = sorted(table.lower() for table in tables_of(models))
    wanted, actual = _answers(models, tables), _answers(script, tables)
    assert wanted == actual, next((w, a) for w, a in zip(wanted, actual, strict=True) if w != a)


def tables_of(script: str) -> list[str]:
    """The tables that a script makes."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        found = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        return [name for (name,) in found]


def _answers(script: str, tables: list[str]) -> list[Any]:
    """What becomes of the same rows in a database that the script makes."""
    chance = random.Random(0)  # noqa: S311  # the same rows for both sides
    answers: list[Any] = []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(script)
        for table in tables:
            columns = connection.execute(
                f"SELECT name FROM pragma_table_xinfo({quote(table)}) WHERE hidden = 0 ORDER BY lower(name)"
            ).fetchall()
            for _ in range(12):
                chosen = [quote(name) for (name,) in columns if chance.random() < 0.7]
                values = [chance.choice(VALUES) for _ in chosen]
                listed = f"({', '.join(chosen)}) VALUES ({', '.join('?' for _ in chosen)})"
                answers.append(_answer(connection, table, listed if chosen else "DEFAULT VALUES", values))
            every = connection.execute(
                f"SELECT name FROM pragma_table_xinfo({quote(table)}) ORDER BY lower(name)"
            ).fetchall()
            read = ", ".join(f"typeof({quote(c)}), {quote(c)}" for (c,) in every)
            rows = connection.execute(f"SELECT {read} FROM {quote(table)}").fetchall()
            answers.append(
                (fold(table), sorted(re.sub(r"\d{4}-\d\d-\d\d [\d:]+", "now", repr(r)) for r in rows))
            )
    return answers


def _answer(connection: sqlite3.Connection, table: str, rest: str, values: list[Any]) -> tuple[str, str, str]:
    try:
        connection.execute(f"INSERT INTO {quote(table)} {rest}", values)
    except sqlite3.DatabaseError:
        return fold(table), repr(values), "refused"
    return fold(table), repr(values), "let in"


def assert_same_shape(database: Path, models: str, *, known: bool) -> None:
    """Holds the database against one that was made by the models, by SQLite's pragmas and not by our reader.

    `known` says that nothing in the database is there without the models' having described it.
    """
    with closing(sqlite3.connect(":memory:")) as wanted, closing(sqlite3.connect(database)) as actual:
        wanted.executescript(models)
        for table in tables_of(models):
            told, expected = shape(actual, table), shape(wanted, table)
            for aspect, what in expected.items():
                assert what <= told[aspect], (table, aspect, told[aspect], what)
                assert not known or told[aspect] <= what, (table, aspect, told[aspect], what)


def _type(declared: str) -> str:
    """SQLite keeps a comment behind the type of a computed column as a part of it."""
    return "".join(re.sub(r"/\*.*?\*/|--[^\n]*", "", declared).upper().split())


def shape(connection: sqlite3.Connection, table: str) -> dict[str, set[Any]]:
    """What the pragmas tell, in an order that does not depend on how the table was written."""
    name = quote(table)
    columns = {
        (fold(r[1]), _type(r[2]), r[3] if not r[5] else 0, r[5], r[6])
        for r in connection.execute(f"PRAGMA table_xinfo({name})")
    }
    keys: dict[int, list[tuple[Any, ...]]] = {}
    for row in connection.execute(f"PRAGMA foreign_key_list({name})"):
        keys.setdefault(row[0], []).append((fold(row[2]), fold(row[3]), row[5], row[6]))
    indexes = set()
    alias = [column[0] for column in columns if column[3]]
    alias = [] if len(alias) > 1 else alias
    for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({name})").fetchall():
        parts = connection.execute(f"PRAGMA index_xinfo({quote(index)})").fetchall()
        listed = [(fold(p[2]) if p[2] else None, p[3], p[4]) for p in parts if p[5]]
        if unique and not partial and [part[0] for part in listed] == alias:
            continue  # UNIQUE on the rowid itself refuses nothing
        # The order of a unique key's columns has no effect on what is unique.
        indexes.add((unique, partial, frozenset((a, c) for a, _, c in listed) if unique else tuple(listed)))
    kind = connection.execute("SELECT wr, strict FROM pragma_table_list WHERE name = ?", (table,)).fetchall()
    triggers = connection.execute(
        "SELECT lower(name) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE",
        (table,),
    ).fetchall()
    return {
        "columns": columns, "foreign keys": {frozenset(v) for v in keys.values()}, "indexes": indexes,
        "kind": set(kind), "triggers": set(triggers),
    }  # fmt: skip


def stored_shapes(database: Path) -> dict[str, Any]:
    """The shape of every table, and the names of the views; driftd's own table left out."""
    with closing(sqlite3.connect(database)) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'driftd_history'"
        ).fetchall()
        views = connection.execute("SELECT lower(name) FROM sqlite_schema WHERE type = 'view'").fetchall()
        return {"views": sorted(views), **{fold(name): shape(connection, name) for (name,) in names}}
