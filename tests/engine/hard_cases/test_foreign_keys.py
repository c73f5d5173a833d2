"""Foreign keys of every shape: over several columns, to nobody, in a circle, with orphans from before, and with odd names."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from support.identical import assert_identical, image

if TYPE_CHECKING:
    from support.hard_cases import Rig

PAIR = 'CREATE TABLE "Pa ir"(b INT, a INT, note TEXT, PRIMARY KEY (a, b));'
CHILD = "CREATE TABLE c(id INTEGER PRIMARY KEY, x INT, y INT, v TEXT{});"
ROWS = "INSERT INTO \"Pa ir\"(a, b) VALUES (1, 2), (3, 4); INSERT INTO c VALUES (1, 1, 2, '1'), (2, NULL, 9, '2');"


def test_an_implicit_key_means_the_declared_order(rig: Rig) -> None:
    """`REFERENCES p` takes the primary key as it is declared, not as the columns stand; naming it so is no drift."""
    rig.begin(PAIR + CHILD.format(""), ROWS)
    implicit = PAIR + CHILD.format(', FOREIGN KEY (x, y) REFERENCES "Pa ir"')
    rig.migrated(implicit, objects=["c"])
    rig.models(PAIR + CHILD.format(', FOREIGN KEY (y, x) REFERENCES "pa IR"(B, A)'))
    assert rig.check()["in_sync"]
    with pytest.raises(sqlite3.IntegrityError):
        rig.service("INSERT INTO c VALUES (9, 2, 1, '')")
    other = PAIR + CHILD.format(', FOREIGN KEY (y, x) REFERENCES "Pa ir"')
    (one,) = rig.refused(other, "blocked")
    assert (one["table"], one["count"], one["rows"]) == ("c", 1, [{"key": 1, "value": "2, 1"}])


@pytest.mark.parametrize("rows", [ROWS, ""], ids=["rows", "empty"])
@pytest.mark.parametrize("which", ["Pa ir", "c"])
def test_a_composite_key_survives_a_copy_of_either_side(rig: Rig, which: str, rows: str) -> None:
    """Order, pairs and actions are what they were, and a rowless parent is a parent all the same."""
    ddl = PAIR + CHILD.format(
        ', FOREIGN KEY (y, x) REFERENCES "Pa ir"(b, a) ON UPDATE CASCADE ON DELETE SET NULL'
    )
    rig.begin(ddl, rows)
    old, new, column = ("note TEXT", "note INT", "note") if which == "Pa ir" else ("v TEXT", "v INT", "v")
    rig.migrated(ddl.replace(old, new), objects=[which], columns=[f"{which.lower()}.{column}"])
    if rows:
        rig.service('UPDATE "Pa ir" SET a = 7 WHERE a = 1')
        assert rig.service("SELECT x, y FROM c WHERE id = 1") == [(7, 2)]


@pytest.mark.parametrize(
    "more", ["", "CREATE INDEX i ON p(k);", "CREATE UNIQUE INDEX i ON p(k) WHERE k > 0;"]
)
def test_a_key_to_a_parent_that_has_none_is_not_made(rig: Rig, more: str) -> None:
    """SQLite takes it without a word and then refuses each write: reported, never done, and nothing else held up."""
    ddl = f"CREATE TABLE p(id INTEGER PRIMARY KEY, k INT);{more} CREATE TABLE c(id INTEGER PRIMARY KEY, k INT{{}});"
    rig.begin(ddl.format(""), "INSERT INTO p VALUES (1, 5); INSERT INTO c VALUES (1, 5);")
    (one,) = rig.refused(ddl.format(" REFERENCES p(k)"), "held", "no-parent-key")
    assert (one["kind"], one["table"], one["code"]) == ("add_foreign_key", "c", "no-parent-key")
    rig.service("INSERT INTO c VALUES (2, 77)")


def test_a_mismatch_that_is_there_already_hinders_nothing_else(rig: Rig) -> None:
    """The check of the whole database raises over it; the tables that change are checked one by one."""
    broken = "CREATE TABLE p(id INTEGER PRIMARY KEY, k INT); CREATE TABLE bad(k INT REFERENCES p(k), n REFERENCES nowhere);"
    ddl = (
        broken + "CREATE TABLE q(id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE r(q INT REFERENCES q, v INT);"
    )
    rig.begin(ddl, "INSERT INTO q VALUES (1, '1'); INSERT INTO r VALUES (1, 2), (1, 3);")
    rig.run("PRAGMA foreign_keys = OFF; INSERT INTO p VALUES (1, 1); INSERT INTO bad VALUES (1, 2);")
    with pytest.raises(sqlite3.OperationalError):
        rig.ask("PRAGMA foreign_key_check")
    rig.migrated(
        ddl.replace("a TEXT", "a INTEGER").replace("v INT", "v INT CHECK (v > 1)"),
        objects=["q", "r"], columns=["q.a"],
    )  # fmt: skip
    rig.migrated(
        ddl.replace("a TEXT", "a INTEGER").replace("v INT", "v INT CHECK (v > 1)").replace("k INT);", "k INT, z INT);", 1),
        objects=["p"], columns=["p.z"],
    )  # fmt: skip


ORPHANED = """CREATE TABLE p(id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE "the child"(id INTEGER PRIMARY KEY, p INT{}, a TEXT);"""
ORPHANS = "PRAGMA foreign_keys = OFF; INSERT INTO p VALUES (1, '1'); INSERT INTO \"the child\" VALUES (1, 1, '1'), (2, 8, '2'), (3, 9, '3');"


@pytest.mark.parametrize("table", ["p", "the child"])
def test_orphans_from_before_are_nobodys_fault(rig: Rig, table: str) -> None:
    """They neither stop the copy of the child or of the parent, nor vanish with it."""
    ddl = ORPHANED.format(" REFERENCES p(id) ON DELETE CASCADE")
    rig.begin(ddl, ORPHANS)
    assert len(image(rig.database).violations) == 2
    start = 'CREATE TABLE "the child"' if table == "the child" else "CREATE TABLE p"
    head, tail = ddl.split(start)
    after = head + start + tail.replace("a TEXT", "a INTEGER", 1)
    rig.migrated(after, objects=[table], columns=[f"{table}.a"])
    assert len(image(rig.database).violations) == 2


def test_a_new_key_names_the_orphans(rig: Rig) -> None:
    """Key and value of each row without a parent; mended, it is done, and NULL was never one of them."""
    rig.begin(ORPHANED.format(""), ORPHANS + "INSERT INTO \"the child\" VALUES (4, NULL, '4');")
    after = ORPHANED.format(" REFERENCES p(id)")
    (one,) = rig.refused(after, "blocked")
    assert (one["kind"], one["table"], one["count"]) == ("add_foreign_key", "the child", 2)
    assert one["rows"] == [{"key": 2, "value": 8}, {"key": 3, "value": 9}]
    rig.service('DELETE FROM "the child" WHERE p IN (8, 9)')
    rig.migrated(after, objects=["the child"])
    with pytest.raises(sqlite3.IntegrityError):
        rig.service("INSERT INTO \"the child\" VALUES (9, 9, '')")


@pytest.mark.parametrize(
    ("parent", "child", "column"),
    [
        ('"select"', '"from"', '"where"'),
        ("[a b]", "`c d`", '"e.f"'),
        ('"it\'s"', '"say ""so"""', "[100%]"),
        ('"références"', '"таблица"', '"列"'),
        ('"driftd_new_x"', "x", "y"),
        ("main", "temp", "rowid"),
    ],
)
def test_names_of_every_kind_on_both_sides(rig: Rig, parent: str, child: str, column: str) -> None:
    """Keywords, quotes, brackets, dots and any alphabet, in the parent, the child, the column, the index and the trigger."""
    ddl = f"""CREATE TABLE {parent}({column} INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE {child}(id INTEGER PRIMARY KEY, {column} INT REFERENCES {parent}({column}) ON DELETE CASCADE, v TEXT);
    CREATE INDEX "i {child.strip('`"[]')[:3]}" ON {child}({column});
    CREATE TRIGGER "g" AFTER DELETE ON {child} BEGIN DELETE FROM {parent} WHERE {parent}.{column} = old.{column}; END;"""
    rig.begin(
        ddl,
        f"INSERT INTO {parent} VALUES (1, '1'), (2, '2'); INSERT INTO {child} VALUES (1, 1, '1'), (2, 2, '2');",
    )
    bare = [name[1:-1].replace('""', '"') if name[0] in '"[`' else name for name in (parent, child)]
    rig.migrated(
        ddl.replace("v TEXT", "v INTEGER"), objects=bare, columns=[f"{name.lower()}.v" for name in bare]
    )
    rig.service(f"DELETE FROM {parent} WHERE {column} = 1")
    assert rig.service(f"SELECT count(*) FROM {child}") == [(1,)]


def test_a_database_that_the_service_has_attached_is_left_alone(rig: Rig) -> None:
    """Tables of the same name in a file beside it, and in temp, are neither seen nor touched."""
    ddl = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);"
    rig.begin(ddl, "INSERT INTO t VALUES (1, '1');")
    other = rig.folder / "other.db"
    rig.service(f"ATTACH '{other}' AS other")
    rig.service("CREATE TABLE other.t(id INTEGER PRIMARY KEY, a TEXT)")
    rig.service("INSERT INTO other.t VALUES (1, '007')")
    rig.service("CREATE TEMP TABLE u(x)")
    before = image(other)
    rig.migrated(ddl.replace("a TEXT", "a INTEGER"), objects=["t"], columns=["t.a"])
    assert_identical(before, image(other))
    assert rig.service("SELECT a FROM main.t") == [(1,)]
