"""A new UNIQUE: duplicates are looked for as the key will see them, and no row is deleted to make it fit."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.hard_cases import Rig

T = 'CREATE TABLE "t u"(id INTEGER PRIMARY KEY, a TEXT{}, b INT, note TEXT{});{}'
ROWS = "INSERT INTO \"t u\" VALUES (1, 'A', 1, 'x'), (2, 'a', 1, 'y'), (3, 'a ', 2, 'z'), (4, NULL, 1, ''), (5, NULL, 1, '');"

# (the column's collation, the constraint, an index), what collides: keys, and how many groups
COLLIDING = {
    "the key's collation": ("", ", UNIQUE (a COLLATE NOCASE)", "", "1, 2"),
    "the column's collation": (" COLLATE NOCASE", ", UNIQUE (a)", "", "1, 2"),
    "trailing spaces": ("", ', CONSTRAINT "r t" UNIQUE (a COLLATE RTRIM)', "", "2, 3"),
    "an index": ("", "", 'CREATE UNIQUE INDEX i ON "t u"(a COLLATE NOCASE);', "1, 2"),
    "an expression": ("", "", 'CREATE UNIQUE INDEX i ON "t u"(trim(a), b + 0) WHERE id > 1;', None),
    "a lowered text": ("", "", 'CREATE UNIQUE INDEX i ON "t u"(lower(a), b);', "1, 2"),
    "some of the rows": ("", "", "CREATE UNIQUE INDEX i ON \"t u\"(b) WHERE note <> '';", "1, 2"),
    "numbers": ("", ", UNIQUE (b)", "", "1, ..., 5"),
}


@pytest.mark.parametrize("case", COLLIDING)
def test_rows_that_are_equal_to_the_key_are_shown(rig: Rig, case: str) -> None:
    """Under its collation, over its expression, within its predicate; what is different to it is no duplicate."""
    collation, constraint, index, keys = COLLIDING[case]
    rig.begin(T.format(collation, "", ""), ROWS)
    after = T.format(collation, constraint, index)
    if keys is None:
        rig.migrated(after, objects=["i", "t u"])
        return
    (one,) = rig.refused(after, "blocked")
    assert (one["kind"], one["table"]) == ("create_index" if index else "add_unique", "t u")
    assert (one["count"], one["rows"][0]["key"]) == (1, keys)


@pytest.mark.parametrize("case", COLLIDING)
def test_without_rows_the_same_key_is_made(rig: Rig, case: str) -> None:
    """And it refuses from then on what it calls equal."""
    collation, constraint, index, keys = COLLIDING[case]
    rig.begin(T.format(collation, "", ""))
    rig.migrated(
        T.format(collation, constraint, index),
        objects=["t u", "i", "r t", "uq_t u_a", "uq_t u_b"],
    )  # fmt: skip
    if keys is not None:
        with pytest.raises(sqlite3.IntegrityError):
            rig.service(ROWS)


@pytest.mark.parametrize("action", ["REPLACE", "IGNORE", "FAIL", "ABORT", "ROLLBACK"])
@pytest.mark.parametrize("place", ["table", "column"])
def test_a_key_that_resolves_conflicts_deletes_no_row(rig: Rig, action: str, place: str) -> None:
    """`ON CONFLICT` is for the application's writes: duplicates block it, whatever it would do with them."""
    clause = f"UNIQUE ON CONFLICT {action}"
    after = (
        T.format(f" {clause}", "", "")
        if place == "column"
        else T.format("", f", UNIQUE (a) ON CONFLICT {action}", "")
    )
    rig.begin(T.format("", "", ""), ROWS.replace("'a '", "'A'"))
    (one,) = rig.refused(after, "blocked")
    assert (one["kind"], one["rows"]) == ("add_unique", [{"key": "1, 3", "value": "A"}])
    assert rig.service('SELECT count(*) FROM "t u"') == [(5,)]


@pytest.mark.parametrize("action", ["REPLACE", "IGNORE"])
def test_a_copy_of_a_table_that_resolves_conflicts_deletes_no_row(rig: Rig, action: str) -> None:
    """Rows that a conversion makes equal would be dropped by the table's own rule on the way: the copy overrides it."""
    ddl = f'CREATE TABLE "t u"(id INTEGER PRIMARY KEY, a TEXT UNIQUE ON CONFLICT {action}, z TEXT);'
    rig.begin(ddl, "INSERT INTO \"t u\" VALUES (1, '1', 'x'), (2, '1.0', 'y'), (3, '2', 'z');")
    left = rig.refused(ddl.replace("a TEXT", "a REAL"), "blocked")
    assert [one["kind"] for one in left] == ["change_type"]
    assert "UNIQUE constraint failed" in left[0]["reason"]
    assert rig.service('SELECT count(*) FROM "t u"') == [(3,)]


def test_a_conflict_clause_alone_is_drift_and_counts_every_row(rig: Rig) -> None:
    """From ABORT to REPLACE and back: the rule changes, the rows stay as many as they were."""
    ddl = "CREATE TABLE \"t u\"(id INTEGER PRIMARY KEY, a TEXT UNIQUE{}, z TEXT NOT NULL{} DEFAULT '');"
    rig.met(ddl.format("", ""), "INSERT INTO \"t u\" VALUES (1, 'x', ''), (2, 'y', ''), (3, NULL, '');")
    after = ddl.format(" ON CONFLICT REPLACE", " ON CONFLICT IGNORE")
    rig.migrated(after, objects=["t u"])
    rig.service("INSERT INTO \"t u\" VALUES (9, 'x', 'replaced')")
    assert rig.service('SELECT id, a FROM "t u" ORDER BY id') == [(2, "y"), (3, None), (9, "x")]
    rig.migrated(ddl.format("", ""), objects=["t u", "uq_t u_a"])
    with pytest.raises(sqlite3.IntegrityError):
        rig.service("INSERT INTO \"t u\" VALUES (10, 'x', '')")


def test_more_duplicates_than_are_shown_are_counted(rig: Rig) -> None:
    """At most five values are shown, and the number of all of them."""
    rig.begin(
        T.format("", "", ""),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)"
        " INSERT INTO \"t u\"(a, b) SELECT 'v' || (i % 20), i FROM n;",
    )
    (one,) = rig.refused(T.format(" UNIQUE", "", ""), "blocked")
    assert (one["count"], len(one["rows"])) == (20, 5)
    assert "20 values of t u are not unique" in one["reason"]
