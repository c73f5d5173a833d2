"""What tells one row from another, rowids, keys and the ids that were given, is never rewritten unasked."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from support.identical import image

if TYPE_CHECKING:
    from support.hard_cases import Rig

COUNTED = """CREATE TABLE "Auf trag"(id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT);
CREATE TABLE posten(nr INTEGER PRIMARY KEY AUTOINCREMENT, auftrag INT REFERENCES "Auf trag"(id) ON DELETE CASCADE, a TEXT);
CREATE TABLE other(id INTEGER PRIMARY KEY AUTOINCREMENT);"""


@pytest.mark.parametrize("left", [True, False], ids=["rows", "empty"])
def test_a_deleted_id_is_not_given_again(rig: Rig, left: bool) -> None:
    """The highest id was deleted, in one table every row: after two copies at once the next ids are new all the same."""
    rig.begin(
        COUNTED,
        """INSERT INTO "Auf trag"(a) VALUES ('1'), ('2'), ('3'); INSERT INTO posten VALUES (40, 1, '1'), (41, 3, '2');
        DELETE FROM "Auf trag" WHERE id = 3; INSERT INTO other VALUES (9);"""
        + ("" if left else 'DELETE FROM posten; DELETE FROM "Auf trag"'),
    )
    assert image(rig.database).sequence == {"Auf trag": 3, "posten": 41, "other": 9}
    rig.migrated(
        COUNTED.replace("a TEXT", "a INTEGER"),
        objects=["Auf trag", "posten"], columns=["auf trag.a", "posten.a"],
    )  # fmt: skip
    assert image(rig.database).sequence == {"Auf trag": 3, "posten": 41, "other": 9}
    assert rig.service('INSERT INTO "Auf trag"(a) VALUES (7) RETURNING id') == [(4,)]
    assert rig.service("INSERT INTO posten(a) VALUES (7) RETURNING nr") == [(42,)]


def test_a_sequence_that_was_set_by_hand_is_carried_over(rig: Rig) -> None:
    """It may be far above every row, or missing; neither is made up anew."""
    rig.begin(
        COUNTED,
        """INSERT INTO "Auf trag"(id, a) VALUES (1, '1'); UPDATE sqlite_sequence SET seq = 1000 WHERE name = 'Auf trag';
        INSERT INTO posten(a) VALUES ('5'); DELETE FROM sqlite_sequence WHERE name = 'posten';""",
    )
    rig.models(COUNTED.replace("a TEXT", "a INTEGER"))
    assert rig.apply()["outcome"] == "migrated"
    assert rig.service('INSERT INTO "Auf trag"(a) VALUES (7) RETURNING id') == [(1001,)]
    assert rig.service("INSERT INTO posten(a) VALUES (7) RETURNING nr") == [(2,)]


KEYS = [
    ("id INT PRIMARY KEY", "id INTEGER PRIMARY KEY"),
    ("id BIGINT PRIMARY KEY", "id INTEGER PRIMARY KEY"),
    ("id INTEGER PRIMARY KEY", "id BIGINT PRIMARY KEY"),
    ("id INTEGER PRIMARY KEY DESC", "id INTEGER PRIMARY KEY"),
]


@pytest.mark.parametrize(("old", "new"), KEYS)
def test_another_kind_of_number_as_key_is_a_question_of_identity(rig: Rig, old: str, new: str) -> None:
    """INT and INTEGER PRIMARY KEY are two things: reported as the key, held with the rows, and done where there are none."""
    ddl = 'CREATE TABLE "k 1"({}, a TEXT); CREATE TABLE leer({}, a TEXT);'
    rig.begin(ddl.format(old, new), "INSERT INTO \"k 1\" VALUES (3, 'x'), (1, 'y');")
    rig.models(ddl.format(new, new))
    assert ("primary_key", "k 1") in {(one["object"], one["table"]) for one in rig.check()["differences"]}
    left = rig.refused(ddl.format(new, new), "held")
    (key,) = [one for one in left if one["kind"] == "change_primary_key"]
    assert (key["table"], key["code"], key["count"]) == ("k 1", "change-primary-key", 2)
    assert sorted(row["key"] for row in key["rows"]) == [1, 3]
    rig.service('DELETE FROM "k 1"')
    rig.migrated(ddl.format(new, new), objects=["k 1"])


@pytest.mark.parametrize(
    ("value", "shown"), [("NULL", None), ("'abc'", "abc"), ("1.5", 1.5), ("x'01'", "x'01'")]
)
def test_a_key_that_cannot_be_a_rowid_blocks_with_its_row(rig: Rig, value: str, shown: object) -> None:
    """Approved, it is neither renumbered nor refused as a whole: the row that is no integer is named."""
    rig.begin(
        "CREATE TABLE t(id INT PRIMARY KEY, a TEXT);",
        f"INSERT INTO t VALUES (4, 'x'), ({value}, 'y'), (9, 'z');",
    )
    (one,) = rig.refused("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);", "blocked", "change-primary-key")
    assert (one["kind"], one["table"], one["count"]) == ("change_primary_key", "t", 1)
    key = "rowid 2" if shown is None else shown
    assert one["rows"] == [{"key": key, "value": shown}]


def test_duplicates_of_a_wider_key_block_the_narrower_one(rig: Rig) -> None:
    """Approved, two rows that would have one key are shown, and both stay."""
    rig.begin(
        "CREATE TABLE t(a INT, b TEXT, PRIMARY KEY (a, b));",
        "INSERT INTO t VALUES (1, 'x'), (1, 'y'), (2, 'x');",
    )
    (one,) = rig.refused("CREATE TABLE t(a INT, b TEXT, PRIMARY KEY (a));", "blocked", "change-primary-key")
    assert (one["kind"], one["count"]) == ("change_primary_key", 1)
    assert one["rows"][0]["value"] == 1


ROWID_ONLY = [
    "v TEXT, a TEXT",
    "v TEXT PRIMARY KEY, a TEXT",
    "id INT PRIMARY KEY, v TEXT, a TEXT",
    "rowid TEXT, a TEXT, v TEXT",
    "oid INT, _rowid_ INT, v TEXT, a TEXT",
]


@pytest.mark.parametrize("columns", ROWID_ONLY)
def test_rowids_stay_where_nothing_else_names_a_row(rig: Rig, columns: str) -> None:
    """Gaps stay gaps through a copy, also where a column hides one of the names of the rowid."""
    ddl = f'CREATE TABLE "no id"({columns});'
    rig.begin(
        ddl,
        "".join(f"INSERT INTO \"no id\"(v, a) VALUES ('{n}', '{n}');" for n in range(1, 6))
        + "DELETE FROM \"no id\" WHERE v IN ('2', '3');",
    )
    name = "oid" if columns.startswith("rowid") else "rowid"
    before = rig.ask(f'SELECT {name}, v FROM "no id" ORDER BY 1')
    assert [row[0] for row in before] == [1, 4, 5]
    rig.migrated(ddl.replace("a TEXT", "a INTEGER"), objects=["no id"], columns=["no id.a"])
    assert rig.ask(f'SELECT {name}, v FROM "no id" ORDER BY 1') == before


@pytest.mark.parametrize("approve", [(), ("change-storage",)], ids=["held", "approved"])
def test_rows_without_a_key_do_not_fit_without_rowid(rig: Rig, approve: tuple[str, ...]) -> None:
    """A rowid table takes NULL as its key, the other does not: the row is shown before anything is tried."""
    ddl = "CREATE TABLE t(k TEXT, l INT, v TEXT, PRIMARY KEY (k, l)){};"
    rig.begin(ddl.format(""), "INSERT INTO t VALUES ('a', 1, 'x'), (NULL, 2, 'y'), ('b', NULL, 'z');")
    (one,) = rig.refused(ddl.format(" WITHOUT ROWID"), "blocked" if approve else "held", *approve)
    assert (one["kind"], one["table"], one["code"]) == ("change_storage", "t", "change-storage")
    assert one["count"] == (2 if approve else 3)
    assert one["rows"]


def test_orphans_in_a_table_without_rowids_are_compared_by_number(rig: Rig) -> None:
    """SQLite names no row there: those that were there before stay, and do not hide one that would come."""
    ddl = """CREATE TABLE p(id INTEGER PRIMARY KEY);
    CREATE TABLE c(k TEXT PRIMARY KEY, p INT REFERENCES p, a TEXT) WITHOUT ROWID;"""
    rig.begin(
        ddl,
        "PRAGMA foreign_keys = OFF; INSERT INTO p VALUES (1); INSERT INTO c VALUES ('x', 9, '1'), ('y', 8, '2'), ('z', 1, '3');",
    )
    rig.migrated(ddl.replace("a TEXT", "a INTEGER"), objects=["c"], columns=["c.a"])
    assert len(image(rig.database).violations) == 2


def test_storage_that_an_approval_changes_keeps_every_row(rig: Rig) -> None:
    """Into WITHOUT ROWID and back: rows, children and indexes stay, and the child's key still finds its parent."""
    ddl = """CREATE TABLE t(k TEXT NOT NULL PRIMARY KEY, v INT){}; CREATE INDEX i ON t(v);
    CREATE TABLE c(id INTEGER PRIMARY KEY, k TEXT REFERENCES t(k) ON DELETE CASCADE);"""
    rig.begin(
        ddl.format(""),
        "INSERT INTO t VALUES ('b', 2), ('a', 1); INSERT INTO c VALUES (1, 'a'), (2, 'b');",
    )
    for storage in (" WITHOUT ROWID", ""):
        rig.migrated(ddl.format(storage), "change-storage", objects=["t"], columns=["t.*"])
        assert rig.ask("SELECT k, v FROM t ORDER BY k") == [("a", 1), ("b", 2)]
    rig.service("DELETE FROM t WHERE k = 'a'")
    assert rig.service("SELECT id FROM c") == [(2,)]
    with pytest.raises(sqlite3.IntegrityError):
        rig.service("INSERT INTO c VALUES (3, 'nobody')")
