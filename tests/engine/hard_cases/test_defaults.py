"""Defaults: compared by what they store, written as they are, and never another value for rows that are there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from driftengine.desired import ModelSource
from support.identical import image

if TYPE_CHECKING:
    from support.hard_cases import Rig

T = "CREATE TABLE t(id INTEGER PRIMARY KEY, a {});"

# (the declared type, two spellings of one default, a neighbour that stores something else)
ALIKE = [
    ("INT", "DEFAULT (1+1)", "DEFAULT 2", "DEFAULT '1+1'"),
    ("INT", "DEFAULT ((1+2)*3)", "DEFAULT ( ( 1 + 2 ) * 3 )", "DEFAULT (1+2*3)"),
    ("BOOLEAN", "DEFAULT TRUE", "DEFAULT 1", "DEFAULT 'TRUE'"),
    ("BOOLEAN", "DEFAULT false", "DEFAULT '0'", "DEFAULT NULL"),
    ("TEXT", 'DEFAULT "hello"', "DEFAULT 'hello'", "DEFAULT 'Hello'"),
    ("TEXT", "DEFAULT 'O''Brien'", "DEFAULT \"O'Brien\"", "DEFAULT 'OBrien'"),
    ("TEXT", "DEFAULT ''", "DEFAULT ('')", ""),
    ("VARCHAR(5)", "DEFAULT NULL", "", "DEFAULT 'NULL'"),
    ("DATETIME", "DEFAULT CURRENT_TIMESTAMP", "DEFAULT (CURRENT_TIMESTAMP)", "DEFAULT 'CURRENT_TIMESTAMP'"),
    ("REAL", "DEFAULT 1", "DEFAULT 1.0", "DEFAULT 1.5"),
    ("TEXT", "DEFAULT (lower('ABC'))", "DEFAULT 'abc'", "DEFAULT (upper('abc'))"),
    ("INT", "DEFAULT (-5)", "DEFAULT -5", "DEFAULT +5"),
    ("BLOB", "DEFAULT x'4a4B'", "DEFAULT X'4A4b'", "DEFAULT 'JK'"),
    ("TEXT", "DEFAULT (strftime('%Y', 'now'))", "DEFAULT (STRFTIME('%Y', 'now'))", "DEFAULT (strftime('%y', 'now'))"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "one", "same", "other"), ALIKE)
def test_a_default_is_what_it_stores(rig: Rig, kind: str, one: str, same: str, other: str) -> None:
    """Another spelling is no drift; another value is, is done without touching a row, and is what the next row gets."""
    rig.met(T.format(f"{kind} {one}"), "INSERT INTO t VALUES (1, 'kept'), (2, NULL);")
    rig.models(T.format(f"{kind} {same}"))
    assert rig.check()["differences"] == []
    document = rig.migrated(T.format(f"{kind} {other}"), objects=["t"])
    assert [one["kind"] for one in document["applied"]] == ["change_default"]
    rig.run(
        f"CREATE TABLE fresh(id INTEGER PRIMARY KEY, a {kind} {other}); INSERT INTO fresh(id) VALUES (3);"
    )
    rig.service("INSERT INTO t(id) VALUES (3)")
    compared = "SELECT typeof(a), a FROM {} WHERE id = 3"
    assert rig.service(compared.format("t")) == rig.service(compared.format("fresh"))


@pytest.mark.parametrize(
    "default",
    ['"hello"', "((1+2)*3)", "TRUE", "'O''Brien'", "(')')", "/* one */ 1", "CURRENT_DATE", "(x'00' || 'a')"],
)
def test_a_default_survives_a_copy_as_it_was_written(rig: Rig, default: str) -> None:
    """It is neither quoted nor evaluated on the way, and the copy is not refused for it."""
    ddl = f'CREATE TABLE "t\'s"(id INTEGER PRIMARY KEY, d DEFAULT {default}, a TEXT);'
    rig.begin(ddl, "INSERT INTO \"t's\"(id, a) VALUES (1, '1');")
    rig.migrated(ddl.replace("a TEXT", "a INTEGER"), objects=["t's"], columns=["t's.a"])
    assert rig.stored("t''s") == ddl.replace("a TEXT", "a INTEGER").rstrip(";")


OLD = 'CREATE TABLE "T 1"(id INTEGER PRIMARY KEY, b TEXT DEFAULT {}, c INT);'


@pytest.mark.parametrize(
    "column",
    [
        "b TEXT DEFAULT 'new'",
        "b TEXT",
        "b TEXT NOT NULL DEFAULT 'new'",
        "b VARCHAR(3)",
        "b TEXT DEFAULT (hex(1))",
    ],
)
@pytest.mark.parametrize(
    "later", ["", "INSERT INTO \"T 1\" VALUES (9, 'x', 1), (10, NULL, 1);"], ids=["short", "mixed"]
)
def test_a_row_that_is_older_than_its_column_keeps_what_it_reads(rig: Rig, column: str, later: str) -> None:
    """It stores nothing and reads the DDL: with another default in the text it would silently hold another value."""
    if "NOT NULL" in column:
        later = later.replace(", (10, NULL, 1)", "")
    rig.begin(
        'CREATE TABLE "T 1"(id INTEGER PRIMARY KEY);',
        """INSERT INTO "T 1" VALUES (1), (2); ALTER TABLE "T 1" ADD COLUMN b TEXT DEFAULT 'old';
        ALTER TABLE "T 1" ADD COLUMN c INT DEFAULT 7;"""
        + later,
    )
    rig.migrated(f'CREATE TABLE "T 1"(id INTEGER PRIMARY KEY, {column}, c INT DEFAULT 8);', objects=["T 1"])
    assert rig.service('SELECT b, c FROM "T 1" WHERE id < 3') == [("old", 7), ("old", 7)]
    assert "'old'" not in rig.stored("T 1")


def test_a_default_that_no_row_reads_is_edited_in_place(rig: Rig) -> None:
    """Where every row stores its value, or there is none, no row is copied for a default."""
    ddl = OLD.format("'old'") + OLD.format("'old'").replace('"T 1"', "leer")
    rig.met(ddl, 'INSERT INTO "T 1"(id) VALUES (1), (2);')
    document = rig.migrated(ddl.replace("'old'", "'new'"), objects=["T 1", "leer"])
    assert {one["strategy"] for one in document["applied"]} == {"catalog"}
    assert rig.service('SELECT b FROM "T 1"') == [("old",), ("old",)]


def test_a_value_for_old_rows_leaves_no_default_behind(rig: Rig) -> None:
    """A backfill is written into every row: no default that the models do not want stands in the DDL, and no row reads NULL."""
    rig.begin(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT);", "INSERT INTO t VALUES (1, 5), (2, 6), (7, NULL);"
    )
    after = 'CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, code TEXT NOT NULL, "order" INT NOT NULL);'
    rig.settings["backfill"] = {"t.code": "'c' || id", "t.order": "coalesce(n, 0) * 2"}
    rig.migrated(after, objects=["t"], columns=["t.code", "t.order"])
    assert rig.service('SELECT code, "order" FROM t') == [("c1", 10), ("c2", 12), ("c7", 0)]
    assert "DEFAULT" not in rig.stored("t").upper()
    assert rig.service("PRAGMA integrity_check") == [("ok",)]


MODELS = """
from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table
import datetime, uuid
metadata = MetaData()
Table("t", metadata, Column("id", Integer, primary_key=True),
      Column("key", String(36), default=lambda: str(uuid.uuid4()), nullable={nullable}),
      Column("at", DateTime, default=datetime.datetime.utcnow),
      Column("fixed", Integer, default=3, nullable={nullable}))
"""


@pytest.mark.parametrize("rows", ["INSERT INTO t VALUES (1), (2);", ""], ids=["rows", "empty"])
@pytest.mark.parametrize("nullable", [True, False])
def test_a_default_of_python_never_stands_in_the_ddl(wal_rig: Rig, nullable: bool, rows: str) -> None:
    """A callable is called for the rows that need a value, and rendered nowhere: neither in the plan nor in the table."""
    rig = wal_rig
    rig.begin("CREATE TABLE t(id INTEGER PRIMARY KEY);", rows)
    (rig.folder / "python_defaults.py").write_text(MODELS.format(nullable=nullable), encoding="utf-8")
    rig.settings["models"] = ModelSource(
        ("python_defaults:metadata",),
        sys.executable,
        directory=str(rig.folder),
        pythonpath=(str(rig.folder),),
    )
    statements = str([one["sql"] for one in rig.plan()["plan"]["operations"]])
    assert "<function" not in statements
    document = rig.apply()
    assert (document["outcome"], document["held"], document["blocked"]) == ("migrated", [], [])
    assert "DEFAULT" not in rig.stored("t").upper()
    keys = rig.service("SELECT key, fixed FROM t")
    if nullable:
        assert keys == [(None, None)] * len(keys)
    else:
        assert len({key for key, _ in keys}) == len(keys)
        assert all(len(key) == 36 and fixed == 3 for key, fixed in keys)
    assert image(rig.database).violations == ()
    rig.assert_settled()
