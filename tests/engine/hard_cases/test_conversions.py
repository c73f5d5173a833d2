"""Another declared type: a value that would become another one blocks it, with its row; what survives is converted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.identical import image

if TYPE_CHECKING:
    from support.hard_cases import Rig

T = 'CREATE TABLE "t 1"("group" TEXT PRIMARY KEY, v {}, more TEXT);'


def filled(values: list[str]) -> str:
    """A row for each value, with a key that says its number."""
    return "".join(f"INSERT INTO \"t 1\" VALUES ('r{n}', {value}, '');" for n, value in enumerate(values))


LOSSY = {
    "leading zeros": ("TEXT", "INTEGER", ["'7'", "'007'", "'00'"], [1, 2]),
    "exponents": ("VARCHAR(9)", "INT", ["'1000'", "'1e3'", "'1E3'", "'.5e1'"], [1, 2, 3]),
    "signs and spaces": ("TEXT", "INTEGER", ["' 7'", "'7 '", "'+7'", "'-0'", "'-7'"], [0, 1, 2, 3]),
    "what only begins as a number": ("TEXT", "INTEGER", ["'12abc'", "'12'", "'0x10'", "''"], [0, 2, 3]),
    "more digits than an integer has": ("TEXT", "INTEGER", ["'9223372036854775807'", "'9223372036854775808'"], [1]),
    "more digits than a double has": ("INTEGER", "REAL", ["9007199254740992", "9007199254740993"], [1]),
    "big integers as a date": ("TEXT", "DATETIME", ["'2024-01-01'", "'99999999999999999999'", "'20240101'"], [1]),
    "trailing zeros": ("TEXT", "NUMERIC(10, 2)", ["'1.5'", "'1.50'", "'1.0'", "'1'"], [1, 2]),
    "numbers as JSON": ("TEXT", "JSON", ["'123'", "'1.0'", "'[1]'", "'\"1\"'", "'1e2'"], [1, 4]),
    "true as a boolean": ("TEXT", "BOOLEAN", ["'1'", "'true'", "'0'"], [1]),
    "fractions": ("REAL", "INTEGER", ["1.0", "1.5", "-2.25", "1e300"], [1, 2, 3]),
    "bytes as a number": ("BLOB", "INTEGER", ["5", "x'35'"], [1]),
    "words of a STRING": ("TEXT", "STRING", ["'abc'", "'010'", "'10'"], [1]),
}  # fmt: skip


@pytest.mark.parametrize("case", LOSSY)
def test_a_value_that_would_change_blocks_its_column_alone(rig: Rig, case: str) -> None:
    """Key and value of each row that would be another afterwards; nothing is rounded, trimmed or cut."""
    old, new, values, lost = LOSSY[case]
    rig.begin(T.format(old), filled(values))
    (one,) = rig.refused(T.format(new), "blocked")
    assert (one["kind"], one["table"], one["name"], one["code"]) == (
        "change_type",
        "t 1",
        "v",
        "convert-column",
    )
    assert one["count"] == len(lost)
    assert [row["key"] for row in one["rows"]] == [f"r{n}" for n in lost][:5]


@pytest.mark.parametrize("case", LOSSY)
def test_the_same_change_on_an_empty_table_is_done(rig: Rig, case: str) -> None:
    """There is no value that could change."""
    old, new, *_ = LOSSY[case]
    rig.begin(T.format(old))
    rig.migrated(T.format(new), objects=["t 1"])


KEPT: dict[str, tuple[str, str, list[str], list[str]]] = {
    "plain numbers": ("TEXT", "INTEGER", ["'7'", "'-12'", "NULL"], ["integer:7", "integer:-12", "null:NULL"]),
    "numbers as text": ("INTEGER", "TEXT", ["7", "9007199254740993"], ["text:'7'", "text:'9007199254740993'"]),
    "JSON documents": ("TEXT", "JSON", ["'{\"a\": [1]}'", "'null'"], ["text:'{\"a\": [1]}'", "text:'null'"]),
    "dates": ("TEXT", "DATETIME", ["'2024-01-01 00:00:00'"], ["text:'2024-01-01 00:00:00'"]),
    "whole reals": ("REAL", "INTEGER", ["2.0", "-3.0"], ["integer:2", "integer:-3"]),
    "what a BLOB column holds": ("BLOB", "TEXT", ["'x'", "x'00'"], ["text:'x'", "blob:X'00'"]),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_a_conversion_that_loses_nothing_is_done(rig: Rig, case: str) -> None:
    """Value and storage class of every row are what the new type makes of them, and everything else is as before."""
    old, new, values, after = KEPT[case]
    rig.begin(T.format(old), filled(values))
    rig.migrated(T.format(new), objects=["t 1"], columns=["t 1.v"])
    names, rows = image(rig.database).rows["t 1"]
    assert [row[names.index("v")] for row in rows] == after


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [("INSERT INTO \"t 1\" VALUES ('a', 5, ''), ('b', 999999, '');", "blocked"), ("", "migrated")],
    ids=["rows", "empty"],
)
def test_a_check_that_every_row_would_fail_blocks(rig: Rig, rows: str, outcome: str) -> None:
    """`v < 1000000` compares a text with a number as soon as v is TEXT: the CHECK that would flip is named."""
    check = "{} CHECK (v < 1000000)"
    rig.begin(T.format(check.format("INTEGER")), rows)
    if outcome == "migrated":
        rig.migrated(T.format(check.format("TEXT")), objects=["t 1"])
        return
    (one,) = rig.refused(T.format(check.format("TEXT")), outcome)
    assert (one["kind"], one["name"]) == ("change_type", "v")
    assert "v < 1000000" in one["reason"]


def test_an_approval_does_not_turn_a_guard_into_a_loss(rig: Rig) -> None:
    """A code that names the conversion changes no value either: rows in the way are mended by a person, not by driftd."""
    rig.begin(T.format("TEXT"), filled(["'007'", "'7'"]))
    (one,) = rig.refused(T.format("INTEGER"), "blocked")
    assert one["rows"] == [{"key": "r0", "value": "007"}]
    rig.service("UPDATE \"t 1\" SET v = '7' WHERE v = '007'")
    rig.migrated(T.format("INTEGER"), objects=["t 1"], columns=["t 1.v"])


def test_several_conversions_at_once_are_judged_one_by_one(rig: Rig) -> None:
    """In one table two columns convert and two wait; the copy carries those that wait as they are."""
    ddl = "CREATE TABLE t(id INTEGER PRIMARY KEY, a {}, b {}, c {}, d {});"
    rig.begin(
        ddl.format("TEXT", "TEXT", "REAL", "INTEGER"),
        "INSERT INTO t VALUES (1, '1', '01', 1.0, 1), (2, '2', '2', 2.5, 2);",
    )
    before = image(rig.database)
    rig.models(ddl.format("INTEGER", "INTEGER", "INTEGER", "TEXT"))
    document = rig.apply()
    found: dict[str, list[Any]] = {
        part: [one["name"] for one in document[part]] for part in ("applied", "blocked")
    }
    assert found == {"applied": ["a", "d"], "blocked": ["b", "c"]}
    after = image(rig.database)
    for place, name in enumerate(before.rows["t"][0]):
        if name in {"b", "c", "id"}:
            assert [row[place] for row in after.rows["t"][1]] == [row[place] for row in before.rows["t"][1]]
