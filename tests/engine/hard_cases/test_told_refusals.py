"""What a person reads where nothing may be done: the object, at most five of the rows, how many there are, and a way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from command_line import driftd
from support.identical import assert_identical, image

if TYPE_CHECKING:
    from support.hard_cases import Rig


@dataclass(frozen=True)
class Refusal:
    """A database, models of which nothing may be done, and what has to be told: the object, a key, a value."""

    ddl: str
    rows: str
    models: str
    outcome: str
    place: str
    told: tuple[str, ...]
    count: int = 1


T = 'CREATE TABLE "t t"(id INTEGER PRIMARY KEY, a {});'
CASES = {
    "NULL": Refusal(
        T.format("TEXT"), "INSERT INTO \"t t\" VALUES (41, 'x'), (42, NULL);", T.format("TEXT NOT NULL"),
        "held", "t t.a", ("42", "NULL"),
    ),
    "duplicates": Refusal(
        T.format("TEXT"), "INSERT INTO \"t t\" VALUES (41, 'Dup'), (42, 'Dup');", T.format("TEXT UNIQUE"),
        "blocked", "t t", ("41, 42", "Dup"),
    ),
    "a CHECK": Refusal(
        T.format("INT"), 'INSERT INTO "t t" VALUES (41, 1), (42, -77);', T.format("INT CHECK (a > 0)"),
        "blocked", "t t", ("42", "-77"),
    ),
    "orphans": Refusal(
        "CREATE TABLE p(id INTEGER PRIMARY KEY);" + T.format("INT"), 'INSERT INTO "t t" VALUES (42, 77);',
        "CREATE TABLE p(id INTEGER PRIMARY KEY);" + T.format("INT REFERENCES p(id)"),
        "blocked", "t t", ("42", "77"),
    ),
    "a conversion": Refusal(
        T.format("TEXT"), "INSERT INTO \"t t\" VALUES (41, '7'), (42, '007');", T.format("INTEGER"),
        "blocked", "t t.a", ("42", "007"),
    ),
    "a dropped column": Refusal(
        T.format("TEXT"), "INSERT INTO \"t t\" VALUES (42, 'kept');", 'CREATE TABLE "t t"(id INTEGER PRIMARY KEY);',
        "held", "t t.a", ("42", "kept", "--approve"),
    ),
    "STRICT": Refusal(
        T.format("INTEGER"), "INSERT INTO \"t t\" VALUES (42, 'word');", T.format("INTEGER").replace(");", ") STRICT;"),
        "blocked", "t t", ("42", "word"),
    ),
    "a key": Refusal(
        "CREATE TABLE k(id INT PRIMARY KEY, a TEXT);", "INSERT INTO k VALUES (42, 'x');",
        "CREATE TABLE k(id INTEGER PRIMARY KEY, a TEXT);", "held", "k", ("42", "--approve"),
    ),
    "a view": Refusal(
        T.format("TEXT, b INT") + 'CREATE VIEW "v v" AS SELECT b FROM "t t" UNION ALL SELECT * FROM one;'
        "CREATE TABLE one(x);", "INSERT INTO \"t t\" VALUES (1, 'x', 2);",
        T.format("TEXT, b INT") + "CREATE TABLE one(x, y INT);", "blocked", "one.y", ("v v would no longer work",), 0,
    ),
    "many": Refusal(
        T.format("TEXT"),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4321) INSERT INTO \"t t\" SELECT i, '' FROM n;",
        T.format("TEXT CHECK (length(a) > 1000)"), "blocked", "t t", ("4,321", "5"), 4321,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_command_tells_a_person_what_stands_in_the_way(wal_rig: Rig, case: str) -> None:
    """`driftd apply`, as text and as JSON: exit 1, the same rows in both, and the database as it was to the last row."""
    one = CASES[case]
    wal_rig.begin(one.ddl, one.rows)
    wal_rig.models(one.models)
    before = image(wal_rig.database)
    how = ("--url", f"sqlite:///{wal_rig.database}", "--models", "models.sql")
    told = driftd("apply", *how, folder=wal_rig.folder)
    answered = driftd("apply", *how, "--json", folder=wal_rig.folder)
    assert (told.code, answered.code) == (1, 1), told.err
    document = answered.document
    assert (document["outcome"], document["applied"]) == (one.outcome, [])
    left = document["held"] + document["blocked"]
    place = one.place.rpartition(".") if "." in one.place else (one.place, "", "")
    (found,) = [
        this for this in left if this["table"] == place[0] and (not place[2] or this["name"] == place[2])
    ]
    assert found["count"] == one.count
    assert len(found["rows"]) <= 5
    assert place[0] in told.out + told.err
    for word in one.told:
        assert word in told.out + told.err
    for row in found["rows"]:
        assert str(row["key"]) in told.out + told.err
    assert_identical(before, image(wal_rig.database))


@pytest.mark.parametrize("case", CASES)
def test_the_plan_says_so_before_anybody_applies(wal_rig: Rig, case: str) -> None:
    """`driftd check` and `driftd plan` name the object and write nothing; `plan --sql` leaves it out, and says that it does."""
    one = CASES[case]
    wal_rig.begin(one.ddl, one.rows)
    wal_rig.models(one.models)
    before = image(wal_rig.database)
    found = wal_rig.check()
    assert found["differences"]
    name = one.place.partition(".")[0]
    assert any(name in {this["table"], this["name"]} for this in found["differences"])
    assert any(name == this["table"] for this in wal_rig.plan()["plan"]["operations"])
    script = wal_rig.script()
    if one.count:
        assert "-- left out: " in script
        assert name in script
    assert_identical(before, image(wal_rig.database))
    assert wal_rig.stored("driftd_history") == ""
