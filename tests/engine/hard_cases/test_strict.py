"""STRICT comes and goes: type names that it forbids, values that it refuses, and what was loose before."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from support.identical import assert_identical_but, image

if TYPE_CHECKING:
    from support.hard_cases import Rig

LOOSE = 'CREATE TABLE "t t"(id INTEGER PRIMARY KEY, n INT, name VARCHAR(9), born DATETIME, doc JSON, ok BOOLEAN, f FLOAT, b BLOB);'
TIGHT = 'CREATE TABLE "t t"(id INTEGER PRIMARY KEY, n INT, name TEXT, born TEXT, doc TEXT, ok INTEGER, f REAL, b BLOB) STRICT;'


@pytest.mark.parametrize(
    "rows",
    ["INSERT INTO \"t t\" VALUES (2, 7, 'x', '2024-01-01', '{}', 1, 1.5, x'00'), (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL);", ""],
    ids=["rows", "empty"],
)  # fmt: skip
def test_types_that_strict_does_not_know_are_changed_with_it(rig: Rig, rows: str) -> None:
    """VARCHAR, DATETIME, JSON, BOOLEAN and FLOAT become what STRICT takes, in the same copy, and no value is another."""
    rig.begin(LOOSE, rows)
    rig.migrated(TIGHT, objects=["t t"])
    with pytest.raises(sqlite3.IntegrityError):
        rig.service("INSERT INTO \"t t\"(n) VALUES ('seven')")


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("n", "'seven'", "seven"),
        ("n", "1.5", 1.5),
        ("name", "x'6e6f'", "x'6e6f'"),
        ("born", "x'00'", "x'00'"),
        ("doc", "x'7b7d'", "x'7b7d'"),
        ("b", "'text'", "text"),
        ("b", "5", 5),
    ],
)
def test_a_value_that_strict_refuses_is_shown(rig: Rig, column: str, value: str, shown: object) -> None:
    """Of three rows the one with the wrong kind of value is named; the rest of the release goes on, and no value moves."""
    rig.begin(
        LOOSE,
        f'INSERT INTO "t t"(id, {column}) VALUES (1, NULL), (2, {value}); INSERT INTO "t t"(id) VALUES (3);',
    )
    before = image(rig.database)
    rig.models(TIGHT)
    document = rig.apply()
    assert_identical_but(before, image(rig.database), objects=["t t"])
    assert "STRICT" not in rig.stored("t t")
    (one,) = document["blocked"]
    assert (one["kind"], one["table"]) == ("change_strict", "t t")
    assert (one["count"], one["rows"]) == (1, [{"key": 2, "value": shown}])


@pytest.mark.parametrize(
    ("column", "value", "kinds"),
    [("ok", "'yes'", ["change_strict", "change_type"]), ("f", "'1,5'", ["change_strict"])],
)
def test_a_value_that_is_no_number_is_not_made_one(
    rig: Rig, column: str, value: str, kinds: list[str]
) -> None:
    """Neither by the conversion nor by STRICT: both are told, with the row."""
    rig.begin(LOOSE, f'INSERT INTO "t t"(id, {column}) VALUES (2, {value});')
    before = image(rig.database)
    rig.models(TIGHT)
    document = rig.apply()
    assert_identical_but(before, image(rig.database), objects=["t t"])
    assert sorted(one["kind"] for one in document["blocked"]) == kinds
    assert all(one["rows"] == [{"key": 2, "value": value.strip("'")}] for one in document["blocked"])


def test_a_key_that_may_be_null_is_not_strict(rig: Rig) -> None:
    """Outside STRICT a key may be NULL, inside it may not: the row is named by its rowid."""
    ddl = "CREATE TABLE t(k TEXT PRIMARY KEY, v INT){};"
    rig.begin(ddl.format(""), "INSERT INTO t VALUES ('a', 1), (NULL, 2);")
    (one,) = rig.refused(ddl.format(" STRICT"), "blocked")
    assert (one["kind"], one["count"]) == ("change_strict", 1)
    assert one["rows"] == [{"key": "rowid 2", "value": None}]


def test_strict_that_goes_keeps_every_value(rig: Rig) -> None:
    """What was strict becomes loose with names of its own, and takes what it refused."""
    rig.met(TIGHT, "INSERT INTO \"t t\" VALUES (2, 7, 'x', '2024-01-01', '{}', 1, 1.5, x'00');")
    rig.migrated(TIGHT.replace(" STRICT", "").replace("name TEXT", "name VARCHAR(9)"), objects=["t t"])
    rig.service("INSERT INTO \"t t\"(n) VALUES ('seven')")


def test_any_in_a_strict_table_keeps_a_text_that_looks_like_a_number(rig: Rig) -> None:
    """ANY stores what it is given under STRICT, and makes numbers of texts elsewhere: '007' stays '007' either way."""
    rig.met(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v ANY) STRICT;",
        "INSERT INTO t VALUES (1, '007'), (2, 7), (3, x'00'), (4, '1e3');",
    )
    (one,) = rig.refused("CREATE TABLE t(id INTEGER PRIMARY KEY, v ANY);", "blocked")
    assert (one["kind"], one["count"]) == ("change_strict", 2)
    assert one["rows"] == [{"key": 1, "value": "007"}, {"key": 4, "value": "1e3"}]
    rig.migrated("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);", objects=["t"])
