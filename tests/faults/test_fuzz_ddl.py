"""DDL that nobody wrote: read as SQLite reads it, or reported as unreadable; never a crash, a hang or a wrong table."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from driftengine import api
from driftengine.dialects.sqlite.introspect import read_schema
from driftengine.dialects.sqlite.parse import parse
from driftengine.dialects.sqlite.tokens import KEYWORDS, UnreadableSQL, fold, quote, tokenize
from driftengine.errors import DriftError
from probes.corpus import BY_DDL
from support.migrations import House
from support.random_depth import depth
from support.tries import tried

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

SEEDS = st.integers(0, 2**32 - 1)
#: Put where a token may stand.
WEDGES = (
    "(", "((((", "(" * 3_000, ")", '"', "'", "`", "[", "]", "/*", "*/", "--", "\0", "\ufeff", "é", "\u202e", "x'0", "0x", "1e",
    "1e999", "9" * 5_000, f"'{'x' * 100_000}'", ",", ".", ";", "::", "?1", "@a", "$", "#", "\\", "NULL", "CHECK", "CHECK()",
    "DEFAULT", "DEFAULT ()", "AS", "AS (", "GENERATED ALWAYS AS (1)", "REFERENCES", "COLLATE", "COLLATE nope", "PRIMARY KEY",
    "UNIQUE", "ON CONFLICT", "WITHOUT ROWID", "STRICT", "NOT " * 2_000, "-" * 5_000 + "1", "a." * 500, "CASE WHEN 1 THEN " * 300 + "1",
    "SELECT", "BEGIN", "END", "IN (SELECT 1)", "OVER (PARTITION BY 1)", "FILTER (WHERE 1)", "->>", "IS NOT DISTINCT FROM",
    "BETWEEN 1 AND", "LIKE", "ESCAPE", "CONSTRAINT", "CONSTRAINT x", "DEFERRABLE", "MATCH FULL", "||" * 100, "~" * 900,
    "1 ISNULL" * 300, "+" * 2_000, "EXISTS (",
)  # fmt: skip
SCRIPTS_PUT = ('"', "'", "(", ")", "\0", " ", "/*", "--", "é", "\x01", "\ud800")
#: Written over a row of sqlite_schema, by column.
ROWS_PUT: dict[str, tuple[Any, ...]] = {
    "sql": (None, 1, "", "CREATE", "CREATE INDEX x ON zz(a)", "CREATE UNIQUE INDEX zi ON zz(b)", "CREATE VIEW v AS SELECT 1",
            "CREATE TRIGGER t AFTER INSERT ON zz BEGIN SELECT 1; END", "CREATE VIRTUAL TABLE v USING nope(1)",
            "CREATE TABLE zz(a, b, c)", "CREATE TABLE zz(a INT PRIMARY KEY, b)", "CREATE TABLE zz AS SELECT 1"),
    "name": ("", "x", "zz", "\0", "sqlite_x", None, 5, b"\xff", "é"),
    "tbl_name": ("", "x", "zz", None, b"\xff"),
    "type": ("table", "index", "trigger", "view", "", None, 5),
    "rootpage": (0, -1, 2, 3, 99, None),
}  # fmt: skip


@cache
def statements() -> tuple[str, ...]:
    """What SQLite has stored of all the probes' schemas."""
    found: set[str] = set()
    for probe in itertools.chain.from_iterable(BY_DDL.values()):
        for script in (probe.before, probe.after):
            with closing(sqlite3.connect(":memory:")) as scratch, suppress(sqlite3.Error):
                scratch.executescript(script)
                found |= {sql for (sql,) in scratch.execute("SELECT sql FROM sqlite_schema") if sql}
    return tuple(sorted(found))


def altered(chance: Random, sql: str) -> str:
    """A statement after one to three of: a token gone, twice, elsewhere, another one; a wedge; a piece of another one."""
    for _ in range(chance.randrange(1, 4)):
        try:
            tokens = [token.text for token in tokenize(sql)]
        except UnreadableSQL:
            tokens = sql.split(" ")
        sql = _altered_once(chance, sql, tokens or [""])
    return sql


def _altered_once(chance: Random, sql: str, tokens: list[str]) -> str:
    kind, place, other = chance.random(), chance.randrange(len(tokens)), chance.randrange(len(tokens))
    if kind < 0.2:
        del tokens[place]
    elif kind < 0.35:
        tokens.insert(place, tokens[other])
    elif kind < 0.5:
        tokens[place], tokens[other] = tokens[other], tokens[place]
    elif kind < 0.65:
        tokens.insert(place, chance.choice(WEDGES))
    elif kind < 0.75:
        tokens[place] = chance.choice(sorted(KEYWORDS))
    elif kind < 0.85:
        at = chance.randrange(len(sql) + 1)
        return sql[:at] + chance.choice(SCRIPTS_PUT) + sql[at + chance.randrange(2) :]
    elif kind < 0.95:
        words = chance.choice(statements()).split(" ")
        tokens[place:place] = words[chance.randrange(len(words)) :][: chance.randrange(1, 8)]
    else:
        return sql[: chance.randrange(len(sql) + 1)]
    return " ".join(tokens)


@given(seed=SEEDS)
@depth(600)
def test_any_text_is_parsed_or_unreadable(seed: int) -> None:
    """No other error, and no more than its length deserves: brackets thousands deep, literals of 100,000 letters."""
    chance = Random(seed)  # noqa: S311 - the same tries for the same seed
    sql, began = altered(chance, chance.choice(statements())), time.process_time()
    with suppress(UnreadableSQL):
        parse(sql)
    assert time.process_time() - began < 5
    tried("DDL: a text parsed, or unreadable")


@given(seed=SEEDS)
@depth(400)
def test_what_sqlite_accepts_is_read_as_sqlite_reads_it(seed: int) -> None:
    """Tables that are relied on have SQLite's own columns, NOT NULLs, keys and references; of others it is said why not."""
    chance = Random(seed)  # noqa: S311 - the same tries for the same seed
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE zz (a INTEGER PRIMARY KEY, b REFERENCES zz)")
        for sql in (
            *chance.sample(statements(), 2),
            *(altered(chance, one) for one in chance.sample(statements(), 6)),
        ):
            with suppress(sqlite3.Error, UnicodeEncodeError, ValueError):
                connection.execute(sql)
        try:
            schema = read_schema(connection)
        except DriftError:
            return
        for table in schema.tables.values():
            if table.problem:
                continue
            rows = connection.execute(f"PRAGMA table_xinfo({quote(table.name)})").fetchall()
            assert [column.key for column in table.columns] == [fold(row[1]) for row in rows], table.sql
            assert [fold(row[1]) for row in sorted(rows, key=lambda row: row[5]) if row[5]] == [
                *(table.primary_key.columns if table.primary_key else ())
            ], table.sql
            parents = {
                fold(row[2]) for row in connection.execute(f"PRAGMA foreign_key_list({quote(table.name)})")
            }
            assert {key.parent for key in table.foreign_keys} == parents, table.sql
            tried("DDL: a table read as SQLite reads it")


@given(seed=SEEDS)
@depth(40)
def test_an_edited_catalogue_is_refused_or_reported(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """sqlite_schema was written by hand: each command answers or says why not, and the rows stay as they were."""
    chance, folder = Random(seed), tmp_path_factory.getbasetemp() / "edited"  # noqa: S311 - the same tries for the same seed
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    house = House(folder, journal="delete")
    with closing(sqlite3.connect(house.database, isolation_level=None)) as connection:
        connection.executescript(
            "CREATE TABLE zz (a INTEGER PRIMARY KEY, b REFERENCES zz); CREATE INDEX zi ON zz (b);"
            "CREATE VIEW zv AS SELECT a FROM zz; INSERT INTO zz VALUES (1, 1), (2, NULL);"
        )
        for sql in chance.sample(statements(), 3):
            with suppress(sqlite3.Error):
                connection.execute(sql)
        house.models(
            "CREATE TABLE zz (a INTEGER PRIMARY KEY, b REFERENCES zz, more TEXT); CREATE INDEX zi ON zz (b);"
        )
        connection.execute("PRAGMA writable_schema = ON")
        (row,) = chance.choice(connection.execute("SELECT rowid FROM sqlite_schema").fetchall())
        column = chance.choice(["sql", "sql", *ROWS_PUT])
        value = (
            altered(chance, chance.choice(statements()))
            if chance.random() < 0.4
            else chance.choice(ROWS_PUT[column])
        )
        with suppress(sqlite3.Error, UnicodeEncodeError):
            connection.execute(f"UPDATE sqlite_schema SET {column} = ? WHERE rowid = ?", (value, row))
    before = _rows(house)
    for call in _calls(house):
        with suppress(DriftError):
            assert (call().get("error") or {}).get("code") != "internal"
        assert _rows(house) == before
    tried("DDL: an edited catalogue, then 5 commands")


def test_a_byte_that_is_no_letter_costs_its_own_table_alone(tmp_path: Path) -> None:
    """The table is reported and left as it is; what the models want of another one is done."""
    house = House(tmp_path, journal="delete")
    with closing(sqlite3.connect(house.database, isolation_level=None)) as connection:
        connection.executescript(
            "CREATE TABLE odd (id INTEGER DEFAULT 'x'); CREATE TABLE task (a); INSERT INTO task VALUES (1);"
        )
        raw = b"CREATE TABLE odd (id INTE\xae DEFAULT 'x')"
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = CAST(? AS TEXT) WHERE name = 'odd'", (raw,))
    house.models("CREATE TABLE task (a, more TEXT); CREATE TABLE odd (id INTEGER DEFAULT 'x');")
    assert [one["kind"] for one in house.apply()["applied"]] == ["add_column"]
    assert house.ask("SELECT CAST(sql AS BLOB) FROM sqlite_schema WHERE name = 'odd'") == [(raw,)]


def _calls(house: House) -> list[Callable[[], dict[str, Any]]]:
    return [
        house.check,
        house.plan,
        house.apply,
        house.check,
        lambda: api.rollback(house.target(), allowed_by="a test"),
    ]


def _rows(house: House) -> object:
    """What plain SQLite reads of them, or that it cannot."""
    try:
        return house.ask("SELECT a, b FROM zz ORDER BY 1")
    except (sqlite3.Error, UnicodeDecodeError):
        return None
