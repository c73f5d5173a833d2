"""Declared types: what changes no value is done at once, what converts is done when every value survives."""

from __future__ import annotations

import pytest

from support.migrations import House, kinds
from support.witness import migrate, refuse


def table(kind: str, more: str = "", options: str = "") -> str:
    """A table with one column of that type."""
    return f'CREATE TABLE "T x"(id INTEGER PRIMARY KEY, a {kind}{more}){options};'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("VARCHAR", "TEXT"),
        ("VARCHAR(50)", "VARCHAR(60)"),
        ("CHAR(32)", "VARCHAR(36)"),
        ("CLOB", "NVARCHAR(5)"),
        ("INT", "BIGINT"),
        ("INTEGER", "TINYINT"),
        ("DATETIME", "JSON"),
        ("NUMERIC(10, 2)", "DECIMAL(12,2)"),
        ("FLOAT", "DOUBLE PRECISION"),
        ("BLOB", ""),
        ("", "BLOB"),
        ("BINARY(16)", "BOOLEAN"),
    ],
)
def test_types_of_the_same_affinity_are_an_edit_of_the_text(house: House, old: str, new: str) -> None:
    """No row is read or written, and every value stays what it was, whatever it is."""
    house.run(
        table(old)
        + "INSERT INTO \"T x\" VALUES (1, '007'), (2, 7), (3, 7.5), (4, x'00'), (5, NULL), (6, '12abc');"
    )
    document = migrate(house, table(new), touched=["T x"])
    assert [(one["kind"], one["strategy"], one["risk"]) for one in document["applied"]] == [
        ("change_type", "catalog", "safe")
    ]


@pytest.mark.parametrize(
    ("old", "new", "values", "after"),
    [
        ("TEXT", "INTEGER", "'7', '-12', '0'", ["integer:7", "integer:-12", "integer:0", "null:NULL"]),
        ("TEXT", "REAL", "'1.5', '2.0', '-3'", ["real:1.5", "real:2.0", "real:-3.0", "null:NULL"]),
        ("TEXT", "NUMERIC", "'15', '1.5', '3'", ["integer:15", "real:1.5", "integer:3", "null:NULL"]),
        (
            "TEXT",
            "DATETIME",
            "'2024-01-01 00:00:00', 'now', ''",
            ["text:'2024-01-01 00:00:00'", "text:'now'", "text:''", "null:NULL"],
        ),
        (
            "TEXT",
            "JSON",
            "'{\"a\": 1}', '123', '[]'",
            ["text:'{\"a\": 1}'", "integer:123", "text:'[]'", "null:NULL"],
        ),
        (
            "INTEGER",
            "TEXT",
            "7, -12, 9007199254740993",
            ["text:'7'", "text:'-12'", "text:'9007199254740993'", "null:NULL"],
        ),
        ("INTEGER", "REAL", "7, -12, 1000000", ["real:7.0", "real:-12.0", "real:1000000.0", "null:NULL"]),
        ("REAL", "INTEGER", "7.0, -12.0, 0.0", ["integer:7", "integer:-12", "integer:0", "null:NULL"]),
        ("REAL", "TEXT", "1.5, 0.25, -2.0", ["text:'1.5'", "text:'0.25'", "text:'-2.0'", "null:NULL"]),
        ("BLOB", "TEXT", "'x', x'00ff', 7", ["text:'x'", "blob:X'00FF'", "text:'7'", "null:NULL"]),
        ("TEXT", "BLOB", "'x', x'00ff', 7", ["text:'x'", "blob:X'00FF'", "text:'7'", "null:NULL"]),
    ],
)
def test_a_conversion_that_keeps_every_value_is_done(
    house: House, old: str, new: str, values: str, after: list[str]
) -> None:
    """The values are what the new type makes of them, and none is lost on the way."""
    listed = (
        ", ".join(f"({value.strip()})" for value in values.split(", ") if value)
        if "{" not in values
        else "('{\"a\": 1}'), ('123'), ('[]')"
    )
    house.run(table(old) + f'INSERT INTO "T x"(a) VALUES {listed}, (NULL);')
    migrate(house, table(new), changed=["T x.a"], touched=["T x"])
    found = house.ask("SELECT typeof(a) || ':' || quote(a) FROM \"T x\" ORDER BY id")
    assert [value for (value,) in found] == after


@pytest.mark.parametrize(
    ("old", "new", "values", "lossy"),
    [
        ("TEXT", "INTEGER", "'007', '7', '12abc', '1e3', ' 5', '5 ', '', '+4'", [1, 3, 4, 5, 6, 7, 8]),
        ("TEXT", "NUMERIC", "'1.0', '1.5', '01', '1e3', '99999999999999999999'", [1, 3, 4, 5]),
        ("TEXT", "DATETIME", "'2024', '007', '2024-01-01'", [2]),
        ("TEXT", "JSON", "'123', '1.0', '1e5', '{}'", [2, 3]),
        ("INTEGER", "REAL", "1, 9007199254740993", [2]),
        ("REAL", "INTEGER", "1.0, 3.5, 1e300", [2, 3]),
        ("TEXT", "FLOAT", "'1.5', '1.50', 'NaN'", [2, 3]),
        ("TEXT", "BOOLEAN", "'1', '0', 'true'", [3]),
        ("BLOB", "INTEGER", "x'00', '5', 5", [1]),
    ],
)
def test_a_conversion_that_would_change_a_value_is_blocked(
    house: House, old: str, new: str, values: str, lossy: list[int]
) -> None:
    """Leading zeros, exponents, big integers, fractions and words: each row is shown, and no row is touched."""
    listed = ", ".join(f"({value})" for value in values.split(", "))
    house.run(table(old) + f'INSERT INTO "T x"(a) VALUES {listed};')
    (one,) = refuse(house, table(new), "blocked")
    assert (one["kind"], one["table"], one["name"], one["code"]) == (
        "change_type",
        "T x",
        "a",
        "convert-column",
    )
    assert one["count"] == len(lossy)
    assert [row["key"] for row in one["rows"]] == lossy[:5]


def test_a_check_that_would_flip_blocks_the_conversion(house: House) -> None:
    """`qty < 1000000` holds for the number 5 and not for the text: the message names the CHECK."""
    house.run(table("INTEGER", " CHECK (a < 1000000)") + 'INSERT INTO "T x" VALUES (1, 5);')
    (one,) = refuse(house, table("TEXT", " CHECK (a < 1000000)"), "blocked")
    assert one["kind"] == "change_type"
    assert "a < 1000000" in one["reason"]


def test_a_check_that_comes_with_the_conversion_judges_the_converted_value(house: House) -> None:
    """'5' is larger than 20 as a text, and smaller as a number; the number counts."""
    house.run(table("TEXT") + "INSERT INTO \"T x\" VALUES (1, '5'), (2, '40');")
    house.models(table("INTEGER", " CHECK (a < 20)"))
    document = house.apply()
    assert kinds(document) == ["change_type"]
    assert [(one["kind"], one["rows"]) for one in document["blocked"]] == [
        ("add_check", [{"key": 2, "value": 40}])
    ]


def test_generated_columns_follow_the_converted_one(house: House) -> None:
    """What is computed from the column is computed from its new values, also over two steps."""
    more = ", g AS (a + 1), h TEXT AS (typeof(a) || g) STORED"
    house.run(table("TEXT", more) + "INSERT INTO \"T x\"(id, a) VALUES (1, '5'), (2, '40');")
    migrate(house, table("INTEGER", more), changed=["T x.a", "T x.h"], touched=["T x"])
    assert house.ask('SELECT g, h FROM "T x"') == [(6, "integer6"), (41, "integer41")]


def test_two_columns_exchange_their_types(house: House) -> None:
    """Both conversions go into one copy."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INTEGER); INSERT INTO t VALUES (1, '5', 6);")
    migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT);",
        changed=["t.a", "t.b"],
        touched=["t"],
    )
    assert house.ask("SELECT typeof(a), typeof(b) FROM t") == [("integer", "text")]


def test_the_key_and_what_refers_to_it_change_their_type(house: House) -> None:
    """CHAR(32) to VARCHAR(36) in parent and child at once: keys are no catalog edit, and no child is lost."""
    house.run(
        "CREATE TABLE t(id CHAR(32) PRIMARY KEY, a INT); CREATE TABLE c(id INTEGER PRIMARY KEY, t CHAR(32) REFERENCES t(id) ON DELETE CASCADE);"
        "INSERT INTO t VALUES ('x', 4), ('y', 5); INSERT INTO c VALUES (1, 'x'), (2, 'y'), (3, NULL);"
    )
    document = migrate(
        house,
        "CREATE TABLE t(id VARCHAR(36) PRIMARY KEY NOT NULL, a INT); CREATE TABLE c(id INTEGER PRIMARY KEY, t VARCHAR(36) REFERENCES t(id) ON DELETE CASCADE);",
        touched=["t", "c"],
    )
    assert {one["table"]: one["strategy"] for one in document["applied"]} == {"t": "rebuild", "c": "catalog"}


def test_an_undecided_conversion_keeps_its_column_and_lets_the_rest_go(house: House) -> None:
    """Of four conversions two lose nothing: these are done."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b TEXT, c INT, d REAL);"
        "INSERT INTO t VALUES (1, 'x', '1.5', 3, 2.0), (2, x'00', '2.25', 9007199254740993, 3.5);"
    )
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b REAL, c REAL, d INTEGER);")
    document = house.apply()
    assert [one["name"] for one in document["applied"]] == ["a", "b"]
    assert [(one["name"], one["rows"]) for one in document["blocked"]] == [
        ("c", [{"key": 2, "value": 9007199254740993}]),
        ("d", [{"key": 2, "value": 3.5}]),
    ]
    assert house.ask("SELECT typeof(a), typeof(b), typeof(c), typeof(d) FROM t") == [
        ("text", "real", "integer", "real"),
        ("blob", "real", "integer", "real"),
    ]


@pytest.mark.parametrize("index", ["", "CREATE INDEX i ON t(a);", "CREATE INDEX i ON t(b) WHERE a > 'k';"])
def test_a_collation_changes_with_every_index_that_sorts_by_it(house: House, index: str) -> None:
    """Values stay; an index over the column is sorted anew."""
    house.run(
        f"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT); {index} INSERT INTO t VALUES (1, 'b', 1), (2, 'A', 2), (3, 'a', 3);"
    )
    document = migrate(
        house, f"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b INT); {index}", touched=["t"]
    )
    assert [one["strategy"] for one in document["applied"]] == ["rebuild" if index else "catalog"]
    assert house.ask("SELECT id FROM t WHERE a = 'A' ORDER BY id") == [(2,), (3,)]


@pytest.mark.parametrize("keys", ["UNIQUE (b, a), UNIQUE (a)", "UNIQUE (a)", "PRIMARY KEY (a)"])
def test_a_coarser_collation_may_make_keys_equal(house: House, keys: str) -> None:
    """Every unique key over the column is looked at, and the values are shown."""
    house.run(
        f"CREATE TABLE t(a TEXT NOT NULL, b TEXT, {keys}); INSERT INTO t VALUES ('A', 'x'), ('a', 'y');"
    )
    (one,) = refuse(house, f"CREATE TABLE t(a TEXT NOT NULL COLLATE NOCASE, b TEXT, {keys});", "blocked")
    assert (one["kind"], one["count"]) == ("change_collation", 1)
    assert str(one["rows"][0]["value"]).lower() == "a"
