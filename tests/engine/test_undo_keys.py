"""Keys that may have been given again since a migration: which rows are the same, and which nobody can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.taking_back import Taken

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["wal", "delete"])
def taken(request: pytest.FixtureRequest, tmp_path: Path) -> Taken:
    """A database in each journal mode."""
    return Taken(tmp_path, journal=str(request.param))


def test_a_highest_key_may_have_been_given_again(taken: Taken) -> None:
    """Without AUTOINCREMENT the key of the last row, once deleted, is the next one's: what looks like another row is shown."""
    taken.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, born TEXT, v TEXT)",
        "INSERT INTO t VALUES (1, 'Ann', '1990', 'a'), (2, 'Bob', '1991', 'b'), (3, 'Cid', '1992', 'c')",
    )
    taken.migrate("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, born TEXT)")
    taken.run(
        "UPDATE t SET name = 'Anna', born = '1989' WHERE id = 1", "UPDATE t SET name = 'Cider' WHERE id = 3"
    )
    assert taken.unsure("v").count == 0
    taken.run("DELETE FROM t WHERE id = 3", "INSERT INTO t VALUES (3, 'Dan', '2001')")
    found = taken.unsure("v")
    assert [key for key, _ in found.rows] == [3]


NOTE = "CREATE TABLE note (id INTEGER PRIMARY KEY, title TEXT, owner INTEGER, day TEXT, state TEXT DEFAULT 'open'"


@pytest.fixture
def notes(taken: Taken) -> Taken:
    """Notes of two owners and two days, whose secret is gone."""
    taken.run(
        f"{NOTE}, secret TEXT)",
        "INSERT INTO note VALUES (1, 'a', 7, 'mon', 'done', 's1'), (2, 'b', 7, 'tue', 'open', 's2'),"
        " (3, 'c', 8, 'tue', 'open', 's3'), (4, 'd', 8, 'mon', 'open', 's4')",
    )
    taken.migrate(f"{NOTE})")
    return taken


def test_what_several_rows_share_does_not_make_a_row_the_same(notes: Taken) -> None:
    """A later row of the same owner, day and default under the key of another one does not get its secret."""
    notes.run(
        "DELETE FROM note WHERE id = 4", "INSERT INTO note (title, owner, day) VALUES ('new', 8, 'mon')"
    )
    assert [key for key, _ in notes.unsure("secret").rows] == [4]


def test_a_default_does_not_make_a_row_the_same(taken: Taken) -> None:
    """A value that a later row has of itself says nothing, also where only one row had it."""
    models = "CREATE TABLE t (id INTEGER PRIMARY KEY, title TEXT, state TEXT DEFAULT 'open')"
    taken.run(
        models.replace(")", ", v TEXT)"),
        "INSERT INTO t VALUES (1, 'a', 'done', 'x'), (2, 'b', 'open', 'y')",
    )
    taken.migrate(models)
    taken.run("DELETE FROM t WHERE id = 2", "INSERT INTO t (title) VALUES ('new')")
    assert [key for key, _ in taken.unsure("v").rows] == [2]


@pytest.mark.parametrize(
    "change", ["owner = 9", "day = 'wed'", "state = 'done'", "owner = 9, day = 'wed', state = 'done'"]
)
def test_a_row_that_keeps_what_only_it_had_is_the_same(notes: Taken, change: str) -> None:
    """However much of the rest has changed: its title was no other row's."""
    notes.run(f"UPDATE note SET {change}")  # a text of this test
    assert notes.unsure("secret").count == 0
    assert notes.back().ok
    assert notes.ask("SELECT secret FROM note ORDER BY id") == [("s1",), ("s2",), ("s3",), ("s4",)]


def test_rows_below_one_that_is_as_it_was_are_in_no_question(notes: Taken) -> None:
    """A key below one that is still there was not given again, whatever has become of the row."""
    notes.run("UPDATE note SET title = 'new', owner = 8, day = 'mon' WHERE id < 4")
    assert notes.unsure("secret").count == 0
