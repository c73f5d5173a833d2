"""A column that goes: whatever else reads it is named, goes by agreement, or stays together with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.identical import assert_identical, assert_identical_but, image

if TYPE_CHECKING:
    from support.hard_cases import Rig

T = 'CREATE TABLE "t d"(id INTEGER PRIMARY KEY, a TEXT CHECK (a <> \'\'), "drop" INT{});'
AFTER = "CREATE TABLE \"t d\"(id INTEGER PRIMARY KEY, a TEXT CHECK (a <> ''));"
ROWS = "INSERT INTO \"t d\"(id, a, \"drop\") VALUES (1, 'x', 7), (2, 'y', NULL), (3, NULL, 9);"
PARENT = "CREATE TABLE p(id INTEGER PRIMARY KEY);"


@pytest.mark.parametrize("rows", [ROWS, ""], ids=["rows", "empty"])
def test_it_waits_with_its_values_and_goes_alone(rig: Rig, rows: str) -> None:
    """Held, with the rows that hold something; approved, nothing else goes: the unnamed CHECK beside it stays."""
    rig.begin(T.format(""), rows)
    (one,) = rig.refused(AFTER, "held")
    assert (one["kind"], one["table"], one["name"], one["risk"]) == (
        "drop_column",
        "t d",
        "drop",
        "destructive",
    )
    assert one["count"] == (2 if rows else 0)
    assert one["rows"] == ([{"key": 1, "value": 7}, {"key": 3, "value": 9}] if rows else [])
    rig.migrated(AFTER, "drop-column", objects=["t d"], columns=["t d.drop"])
    assert "CHECK (a <> '')" in rig.stored("t d")


# What reads the column and is nobody's of the models, and its name.
STANDING = {
    "view": ('CREATE VIEW "v w" AS SELECT "drop" + 1 FROM "t d";', "v w"),
    "view, unquoted": ('CREATE VIEW v AS SELECT t.[drop] FROM "t d" AS t;', "v"),
    "a view on a view": ('CREATE VIEW v AS SELECT id, "drop" FROM "t d"; CREATE VIEW w AS SELECT "drop" FROM v;', "v"),
    "trigger": ('CREATE TRIGGER "g 1" AFTER UPDATE OF "drop" ON "t d" BEGIN SELECT 1; END;', "g 1"),
    "its condition": ('CREATE TRIGGER g AFTER DELETE ON "t d" WHEN old."drop" > 0 BEGIN SELECT 1; END;', "g"),
    "its query": ('CREATE TRIGGER g AFTER DELETE ON "t d" BEGIN SELECT max("drop") FROM "t d"; END;', "g"),
    "unique index": ('CREATE UNIQUE INDEX "u 1" ON "t d"("drop", a);', "u 1"),
    "expression": ('CREATE UNIQUE INDEX u ON "t d"(abs("drop"));', "u"),
    "predicate": ('CREATE UNIQUE INDEX u ON "t d"(a) WHERE "drop" > 3;', "u"),
}  # fmt: skip


@pytest.mark.parametrize("case", STANDING)
def test_what_somebody_built_on_it_keeps_it(rig: Rig, case: str) -> None:
    """An approval of the column breaks no view, trigger or unique index, nor turns its name in them into a string."""
    objects, name = STANDING[case]
    rig.begin(T.format("") + objects, ROWS)
    left = rig.refused(AFTER, "blocked", "drop-column")
    (one,) = [one for one in left if one["kind"] == "drop_column"]
    assert (one["table"], one["name"]) == ("t d", "drop")
    assert (
        f"{name} would no longer work" in one["reason"]
        or f"index {name} of" in one["reason"]
        or f"index '{name}'" in one["reason"]
    )
    if "INDEX" in objects:
        rig.migrated(AFTER, "drop-column", "extra-constraint", objects=["t d", name], columns=["t d.drop"])


@pytest.mark.parametrize(
    "index", ['("drop")', '(a, "drop" DESC)', '(abs("drop"))', '(a) WHERE "drop" IS NOT NULL']
)
def test_a_plain_index_over_it_goes_with_it(rig: Rig, index: str) -> None:
    """It refuses no row, and says so beforehand; it does not stay behind as an index over a word."""
    rig.begin(T.format("") + f'CREATE INDEX "by drop" ON "t d"{index};', ROWS)
    rig.models(AFTER)
    assert "with it goes the index by drop" in rig.plan()["plan"]["operations"][0]["reason"]
    rig.migrated(AFTER, "drop-column", objects=["t d", "by drop"], columns=["t d.drop"])
    assert rig.stored("by drop") == ""


# What of the table itself reads it, and the approvals that it takes.
WITHIN = {
    "check on two": (', CHECK ("drop" > length(a))', "extra-constraint"),
    "check with a name": (
        ', CONSTRAINT "c 1" CHECK (a IS NULL OR "drop" IS NULL OR "drop" > 1)',
        "extra-constraint",
    ),
    "unique of two": (', UNIQUE (a, "drop")', "extra-constraint"),
    "composite foreign key": (', FOREIGN KEY ("drop", a) REFERENCES pp(x, y)', "extra-constraint"),
    "generated": (', twice INT AS ("drop" * 2)', "drop-column"),
    "stored": (', twice INT GENERATED ALWAYS AS ("drop" * 2) STORED', "drop-column"),
}


@pytest.mark.parametrize("case", WITHIN)
def test_a_rule_that_it_shares_goes_by_name_or_not_at_all(rig: Rig, case: str) -> None:
    """The column's approval does not weaken the table: what it shares with others is an operation of its own."""
    clause, code = WITHIN[case]
    pp = "CREATE TABLE pp(x INT, y TEXT, PRIMARY KEY (x, y));"
    rig.begin(pp + T.format(clause), "INSERT INTO pp VALUES (7, 'x');" + ROWS.replace(", (3, NULL, 9)", ""))
    left = rig.refused(pp + AFTER, "held")
    assert len(left) == 2
    (column,) = [one for one in left if one["name"] == "drop"]
    assert "it goes only together with drop_" in column["reason"]
    if code != "drop-column":
        rig.refused(pp + AFTER, "held", "drop-column")
    rig.migrated(pp + AFTER, "drop-column", code, objects=["t d"], columns=["t d.drop", "t d.twice"])
    assert "CHECK (a <> '')" in rig.stored("t d")


@pytest.mark.parametrize(
    "clause",
    [" UNIQUE", ' CHECK ("drop" > 0)', " REFERENCES p(id)", ' CONSTRAINT n CHECK ("drop" <> 8) UNIQUE'],
)
def test_what_is_its_own_goes_with_it(rig: Rig, clause: str) -> None:
    """A constraint on the column alone says nothing without it, and needs no approval of its own."""
    rig.begin(PARENT + T.format(clause), "INSERT INTO p VALUES (7), (9);" + ROWS)
    before = image(rig.database)
    rig.models(PARENT + AFTER)
    document = rig.apply("drop-column")
    assert [one["kind"] for one in document["applied"]] == ["drop_column"]
    assert_identical_but(before, image(rig.database), objects=["t d"], columns=["t d.drop"])
    rig.assert_settled()


def test_the_key_that_children_point_at_is_not_dropped(rig: Rig) -> None:
    """A foreign key of another table needs it: blocked, approved or not, and the child still works."""
    child = 'CREATE TABLE c(id INTEGER PRIMARY KEY, d INT REFERENCES "t d"("drop"));'
    rig.begin(T.format(" UNIQUE") + child, ROWS + "INSERT INTO c VALUES (1, 7);")
    before = image(rig.database)
    rig.models(AFTER + child)
    document = rig.apply("drop-column", "extra-constraint")
    assert (document["outcome"], document["applied"]) == ("blocked", [])
    assert_identical(before, image(rig.database))
    rig.service("INSERT INTO c VALUES (2, 9)")


def test_the_primary_key_is_not_dropped_with_a_column(rig: Rig) -> None:
    """What tells the rows apart goes by approval of the key; the rows keep their rowids."""
    rig.begin("CREATE TABLE t(k TEXT PRIMARY KEY, a TEXT);", "INSERT INTO t VALUES ('x', '1'), ('y', '2');")
    left = rig.refused("CREATE TABLE t(a TEXT);", "held", "drop-column")
    assert {one["kind"] for one in left} == {"drop_column", "change_primary_key"}
    rig.migrated(
        "CREATE TABLE t(a TEXT);", "drop-column", "change-primary-key", objects=["t"], columns=["t.k"]
    )


def test_the_last_columns_are_exchanged_and_never_all_dropped(rig: Rig) -> None:
    """Every column of the database is another than the models': what comes is there before what was goes."""
    rig.begin("CREATE TABLE t(a TEXT, b INT);", "INSERT INTO t VALUES ('x', 1), ('y', 2);")
    rig.models("CREATE TABLE t(c REAL);")
    document = rig.apply()
    assert [one["kind"] for one in document["applied"]] == ["add_column"]
    rig.migrated("CREATE TABLE t(c REAL);", "drop-column", objects=["t"], columns=["t.a", "t.b"])
    assert rig.service("SELECT rowid, c FROM t") == [(1, None), (2, None)]
