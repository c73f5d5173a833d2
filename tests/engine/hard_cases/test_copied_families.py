"""A table that has to be copied stands among parents, children and grandchildren: not one of their rows moves."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from driftengine.errors import DatabaseError
from support.identical import assert_identical, image

if TYPE_CHECKING:
    from support.hard_cases import Rig

FAMILY = """
CREATE TABLE "Große Mutter"(id INTEGER PRIMARY KEY, "select" TEXT DEFAULT 'a', note TEXT);
CREATE TABLE "child's table"(
  id INTEGER PRIMARY KEY, "of" INTEGER DEFAULT 1 REFERENCES "Große Mutter" ON DELETE {action} ON UPDATE CASCADE, note TEXT);
CREATE TABLE grandchild(
  id INTEGER PRIMARY KEY, "of" INTEGER REFERENCES "child's table"(id) ON DELETE CASCADE, note TEXT);
CREATE TABLE great(a INT, b INT REFERENCES grandchild ON DELETE CASCADE, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE cousin("of" INTEGER REFERENCES "Große Mutter"(id) ON DELETE CASCADE);
"""
ROWS = """
INSERT INTO "Große Mutter" VALUES (1, 'x', '1'), (2, 'y', '2'), (5, 'z', '5');
INSERT INTO "child's table" VALUES (1, 1, '10'), (2, 2, '20'), (3, NULL, '30');
INSERT INTO grandchild VALUES (1, 1, '7'), (2, 2, '8'), (9, 2, '9');
INSERT INTO great VALUES (1, 1), (1, 9); INSERT INTO cousin VALUES (5), (5), (NULL);
"""
ACTIONS = ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT"]


@pytest.mark.parametrize("rows", [ROWS, ""], ids=["rows", "empty"])
@pytest.mark.parametrize("action", ACTIONS)
def test_no_child_is_lost_with_a_parent_that_is_copied(rig: Rig, action: str, rows: str) -> None:
    """Dropping the old parent fires no action two, three and four generations down, and its children's DDL stays."""
    ddl = FAMILY.format(action=action)
    rig.begin(ddl, rows)
    document = rig.migrated(
        ddl.replace("note TEXT);\nCREATE TABLE \"child's", "note INTEGER);\nCREATE TABLE \"child's"),
        objects=["Große Mutter"], columns=["große mutter.note"],
    )  # fmt: skip
    assert [one["strategy"] for one in document["applied"]] == ["rebuild"]
    assert image(rig.database).violations == ()


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
def test_three_generations_are_copied_at_once(rig: Rig, action: str) -> None:
    """All of them change together, with a constraint and a default more, and each child still finds its parent."""
    ddl = FAMILY.format(action=action)
    rig.begin(ddl, ROWS)
    after = ddl.replace("note TEXT", "note INTEGER CHECK (note > 0)").replace("DEFAULT 'a'", "DEFAULT 'b'")
    names = ["Große Mutter", "child's table", "grandchild"]
    document = rig.migrated(after, objects=names, columns=[f"{name.lower()}.note" for name in names])
    assert (
        sorted(one["kind"] for one in document["applied"])
        == ["add_check"] * 3 + ["change_default"] + ["change_type"] * 3
    )


def test_the_service_goes_on_with_the_same_rules(rig: Rig) -> None:
    """On the connection that was open all the while, actions fire and a missing parent is refused, as before."""
    ddl = FAMILY.format(action="SET NULL")
    rig.begin(ddl, ROWS)
    rig.migrated(
        ddl.replace("note TEXT", "note INTEGER", 1), objects=["Große Mutter"], columns=["große mutter.note"]
    )
    rig.service('DELETE FROM "Große Mutter" WHERE id IN (1, 5)')
    assert rig.service('SELECT "of" FROM "child\'s table" WHERE id = 1') == [(None,)]
    assert rig.service("SELECT count(*) FROM cousin") == [(1,)]
    with pytest.raises(sqlite3.IntegrityError):
        rig.service("INSERT INTO \"child's table\" VALUES (8, 77, '')")
    rig.service('DELETE FROM "child\'s table"')
    assert rig.service("SELECT count(*) FROM great") == [(0,)]


class Stubborn(sqlite3.Connection):
    """A connection on which foreign keys cannot be switched off: the host forbids it."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """As always, but for that pragma."""
        return super().execute(
            "PRAGMA foreign_keys = ON" if sql == "PRAGMA foreign_keys = OFF" else sql, *parameters
        )


class Forgetful(sqlite3.Connection):
    """A connection on which foreign keys are on again once somebody has read that they are off."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """As always, but behind that question."""
        found = super().execute(sql, *parameters)
        if sql == "PRAGMA foreign_keys":
            answer = super().execute("SELECT ?", found.fetchone())
            super().execute("PRAGMA foreign_keys = ON")
            return answer
        return found


@pytest.mark.parametrize("kind", [Stubborn, Forgetful])
def test_where_foreign_keys_stay_on_nothing_is_begun(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, kind: type[sqlite3.Connection]
) -> None:
    """The pragma is read back, on opening and right before BEGIN: with it on no table is copied, and no child is lost."""
    ddl = FAMILY.format(action="CASCADE")
    rig.begin(ddl, ROWS)
    before = image(rig.database)
    rig.models(ddl.replace("note TEXT", "note INTEGER", 1))
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **{"factory": kind} | k))
    with pytest.raises(DatabaseError) as raised:
        rig.apply()
    monkeypatch.undo()
    assert raised.value.code == "foreign-keys-on"
    assert raised.value.why
    assert rig.backups() == []
    assert_identical(before, image(rig.database))


def test_one_of_a_pair_that_refer_to_each_other_is_copied(rig: Rig) -> None:
    """The circle stays closed, by name and by row, whichever of the two is copied."""
    ddl = """CREATE TABLE "a b"(id INTEGER PRIMARY KEY, o INT REFERENCES "c d"(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, v TEXT);
    CREATE TABLE "c d"(id INTEGER PRIMARY KEY, o INT REFERENCES "a b"(id) ON DELETE CASCADE, v TEXT);"""
    rig.begin(
        ddl,
        "BEGIN; INSERT INTO \"a b\" VALUES (1, 2, '1'); INSERT INTO \"c d\" VALUES (2, 1, '2'); COMMIT;",
    )
    once = ddl.replace("DEFERRED, v TEXT", "DEFERRED, v INTEGER")
    rig.migrated(once, objects=["a b"], columns=["a b.v"])
    rig.migrated(once.replace("v TEXT", "v INTEGER"), objects=["c d"], columns=["c d.v"])
    rig.service('DELETE FROM "c d"')
    assert rig.service('SELECT count(*) FROM "a b"') == [(0,)]


@pytest.mark.parametrize("reference", ["REFERENCES node(id)", 'REFERENCES "node"', "REFERENCES NODE(ID)"])
def test_a_tree_within_one_table_is_copied(rig: Rig, reference: str) -> None:
    """A key into the own table points at the table's own name afterwards, never at the copy's, and cascades."""
    ddl = f"CREATE TABLE node(id INTEGER PRIMARY KEY, up INT {reference} ON DELETE CASCADE, v TEXT, CHECK (node.id <> up));"
    rig.begin(ddl, "INSERT INTO node VALUES (1, NULL, '1'), (2, 1, '2'), (3, 2, '3'), (4, 3, '4');")
    rig.migrated(ddl.replace("v TEXT", "v INTEGER"), objects=["node"], columns=["node.v"])
    assert rig.stored("node") == ddl.replace("v TEXT", "v INTEGER").rstrip(";")
    rig.service("DELETE FROM node WHERE id = 2")
    assert rig.service("SELECT id FROM node") == [(1,)]
