"""What the DDL says beside the one thing that changes: each CHECK, action, index and computed column is still there."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.hard_cases import Rig

# Clauses of a table, and what each of them refuses.
CLAUSES = """
CREATE TABLE p(id INTEGER PRIMARY KEY, code TEXT UNIQUE ON CONFLICT FAIL COLLATE NOCASE);
CREATE TABLE "t t"(
  id integer primary key, a TEXT, -- this one changes
  qty int check(qty>=0), "per cent" REAL CONSTRAINT "0..1" CHECK ("per cent" BETWEEN 0 AND 1),
  pid int references p(id) on delete set null deferrable initially deferred,
  code TEXT COLLATE RTRIM REFERENCES p(code) ON UPDATE CASCADE /* two words */ ON DELETE RESTRICT,
  kind VARCHAR(5) NOT NULL DEFAULT ('x' || 'y') CHECK (kind IN ('xy', 'it''s', ')')),
  twice AS (qty * 2), half REAL GENERATED ALWAYS AS (qty / 2.0) STORED CHECK (half < 100),
  UNIQUE (kind, qty) ON CONFLICT ROLLBACK, CHECK ("t t".qty <> 13 AND a IS NOT 'no'));
CREATE INDEX "by lower" ON "t t"(lower(kind) DESC, twice) WHERE qty > 5;
CREATE UNIQUE INDEX trimmed ON "t t"(code COLLATE RTRIM DESC) WHERE pid IS NULL;
CREATE TRIGGER own AFTER DELETE ON "t t" BEGIN DELETE FROM p WHERE id = old.pid; END;
"""
ROWS = """
INSERT INTO p VALUES (1, 'One'), (2, 'Two'), (3, 'Three');
INSERT INTO "t t"(id, a, qty, "per cent", pid, code) VALUES (1, '1', 6, 0.5, 1, 'one'), (4, '2', 7, 0, NULL, 'two'), (9, '3', 8, 1, NULL, NULL);
"""
OFFENCES = [
    'UPDATE "t t" SET qty = -1 WHERE id = 1',
    'UPDATE "t t" SET qty = 13 WHERE id = 1',
    'UPDATE "t t" SET qty = 7 WHERE id = 1',
    'UPDATE "t t" SET "per cent" = 2 WHERE id = 1',
    'UPDATE "t t" SET pid = 77 WHERE id = 1',
    "UPDATE \"t t\" SET kind = 'z' WHERE id = 1",
    'UPDATE "t t" SET kind = NULL WHERE id = 1',
    'UPDATE "t t" SET qty = 500 WHERE id = 1',
    "UPDATE \"t t\" SET code = 'TWO' WHERE id = 9; UPDATE \"t t\" SET code = 'TWO  ' WHERE id = 4",
    "DELETE FROM p WHERE id = 2",
    "INSERT INTO p VALUES (5, 'ONE')",
]
CHANGES = {
    "rebuild": ("a TEXT", "a INTEGER"),
    "catalog": ("a TEXT", "a VARCHAR(9) DEFAULT 'new'"),
    "native": ("a TEXT, -- this one changes", "a TEXT, -- this one changes\n b INT DEFAULT 4,"),
}


def written(rig: Rig, statements: str) -> None:
    """What the service writes, one statement after the other."""
    for statement in statements.split("; "):
        rig.service(statement)


@pytest.mark.parametrize("rows", [ROWS, ""], ids=["rows", "empty"])
@pytest.mark.parametrize("strategy", CHANGES)
def test_a_change_of_one_column_weakens_nothing_else(rig: Rig, strategy: str, rows: str) -> None:
    """By ALTER, by an edit of the text or by a copy: what the table refused it refuses, what followed still follows."""
    rig.begin(CLAUSES, rows)
    old, new = CHANGES[strategy]
    document = rig.migrated(CLAUSES.replace(old, new), objects=["t t"], columns=["t t.a", "t t.b"])
    assert {one["strategy"] for one in document["applied"]} == {strategy}
    if strategy != "native":
        assert (
            rig.stored("t t")
            == CLAUSES.replace(old, new)
            .partition("1;")[0][CLAUSES.index('CREATE TABLE "t t"') :]
            .partition(";")[0]
        )
    if rows:
        for offence in OFFENCES:
            with pytest.raises(sqlite3.IntegrityError):
                written(rig, offence)
        rig.service("UPDATE p SET code = 'Uno' WHERE id = 1")
        assert rig.service('SELECT code, twice, half FROM "t t" WHERE id = 1') == [("Uno", 12, 3.0)]


@pytest.mark.parametrize(
    ("clause", "other"),
    [
        ("REFERENCES p(id) ON DELETE SET NULL", "REFERENCES p(id) ON DELETE CASCADE"),
        ("REFERENCES p(id) ON DELETE SET NULL", "REFERENCES p(id)"),
        ("REFERENCES p(id)", "REFERENCES p(id) ON UPDATE SET DEFAULT"),
        ("REFERENCES p(id)", "REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED"),
    ],
)
def test_another_action_is_drift_and_is_reported(rig: Rig, clause: str, other: str) -> None:
    """What a foreign key does to its rows is part of it: the difference is shown, made, and in force."""
    ddl = "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p INT {});"
    rig.begin(ddl.format(clause), "INSERT INTO p VALUES (1); INSERT INTO c VALUES (1, 1);")
    rig.models(ddl.format(other))
    (found,) = rig.check()["differences"]
    assert (found["object"], found["table"], found["change"]) == ("foreign_key", "c", "change")
    document = rig.migrated(ddl.format(other), objects=["c"])
    assert [(one["kind"], one["risk"]) for one in document["applied"]] == [("change_foreign_key", "safe")]
    assert other.removeprefix("REFERENCES p(id)") in rig.stored("c")


def test_an_enum_of_the_models_that_grows_takes_the_new_value(rig: Rig) -> None:
    """The IN list is compared as a set: more is safe and in force at once, another order is nothing, less judges the rows."""
    ddl = "CREATE TABLE t(id INTEGER PRIMARY KEY, s VARCHAR(6), ok BOOLEAN, CONSTRAINT s CHECK (s IN ({})), CHECK (ok IN (0, 1)));"
    rig.met(
        ddl.format("'open', 'closed'"),
        "INSERT INTO t VALUES (1, 'open', 1), (2, 'closed', 0), (3, NULL, NULL);",
    )
    document = rig.migrated(ddl.format("'closed', 'it''s', 'open'"), objects=["t"])
    assert [(one["kind"], one["risk"], one["strategy"]) for one in document["applied"]] == [
        ("change_check", "safe", "catalog")
    ]
    rig.service("INSERT INTO t VALUES (4, 'it''s', 1)")
    rig.models(ddl.format("'it''s','open', 'closed'"))
    assert rig.check()["in_sync"]
    (one,) = rig.refused(ddl.format("'open'"), "blocked")
    assert (one["kind"], one["table"], one["count"]) == ("change_check", "t", 2)
    assert one["rows"] == [{"key": 2, "value": "closed"}, {"key": 4, "value": "it's"}]
    with pytest.raises(sqlite3.IntegrityError):
        rig.service("INSERT INTO t VALUES (5, 'x', 1)")


def test_an_enum_that_narrows_without_such_rows_is_done(rig: Rig) -> None:
    """No row holds what is no longer allowed; also when there is no row at all."""
    ddl = "CREATE TABLE {}(id INTEGER PRIMARY KEY, s TEXT CHECK (s IN ({})));"
    rig.met(
        ddl.format("t", "'a', 'b'") + ddl.format("empty", "'a', 'b'"),
        "INSERT INTO t VALUES (1, 'a'), (2, NULL);",
    )
    after = ddl.format("t", "'a', 'c'") + ddl.format("empty", "'c'")
    document = rig.migrated(after, objects=["t", "empty"])
    assert {one["risk"] for one in document["applied"]} == {"guarded"}


@pytest.mark.parametrize("kind", ["BINARY(16)", "VARBINARY(8)", "BLOB"])
def test_binary_of_a_length_is_no_drift_and_keeps_its_bytes(rig: Rig, kind: str) -> None:
    """BINARY(n) is NUMERIC to SQLite: in step right after it was made, and its bytes stay bytes through a copy."""
    ddl = f"CREATE TABLE t(id INTEGER PRIMARY KEY, b {kind}, a TEXT);"
    rig.met(ddl, "INSERT INTO t VALUES (1, x'00ff', '1'), (2, x'3132', '2');")
    rig.assert_settled()
    rig.migrated(ddl.replace("a TEXT", "a INTEGER"), objects=["t"], columns=["t.a"])
