"""Random schemas, rows and edits: whatever is asked, rows stay, the database stays sound, and what is done is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given

from support.random_checks import compiles
from support.random_depth import depth
from support.random_schemas import Story, stories
from support.random_stories import tell

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = 100

#: (before, rows, after): each found a fault once.
FOUND = {
    "a dropped index does not come back with a copy": (
        """CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX i ON t(a);
        CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END;""",
        ["INSERT INTO t VALUES (1, '1')"],
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER);",
    ),
    "an index changes while its table is copied": (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX i ON t(a);",
        ["INSERT INTO t VALUES (1, '1')"],
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER); CREATE INDEX i ON t(a DESC);",
    ),
    "NOT NULL of a column that is the key no longer": (
        "CREATE TABLE t(b INTEGER PRIMARY KEY NOT NULL, a INTEGER);",
        [],
        "CREATE TABLE t(b INTEGER, a INTEGER PRIMARY KEY);",
    ),
    "the type of a column that is the rowid no longer": (
        "CREATE TABLE t(a INTEGER PRIMARY KEY);",
        [],
        "CREATE TABLE t(a INT, b TEXT PRIMARY KEY);",
    ),
    "UNIQUE over a key that moves on": (
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b INTEGER, UNIQUE(a));",
        [],
        "CREATE TABLE t(a INTEGER, b INTEGER PRIMARY KEY);",
    ),
    "UNIQUE stays while the key goes": (
        "CREATE TABLE t(a TEXT PRIMARY KEY, b INTEGER, UNIQUE(a));",
        ["INSERT INTO t VALUES ('x', 1)"],
        "CREATE TABLE t(a TEXT UNIQUE, b INTEGER);",
    ),
    "ANY is a number's type where the table is not STRICT": (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a VARCHAR(9), b INT);",
        ["INSERT INTO t VALUES (1, '007', 'x')"],
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a ANY, b INT) STRICT;",
    ),
    "no column is left but the new one": (
        "CREATE TABLE t(a INTEGER PRIMARY KEY);",
        ["INSERT INTO t VALUES (1)"],
        "CREATE TABLE t(b DATETIME UNIQUE);",
    ),
    "old rows read TRUE as a number": (
        "CREATE TABLE t(a TEXT PRIMARY KEY);",
        ["INSERT INTO t VALUES ('x')"],
        "CREATE TABLE t(a TEXT PRIMARY KEY, b TEXT DEFAULT TRUE, c TEXT DEFAULT .5);",
    ),
    "a key column and another come in place of all that was there": (
        "CREATE TABLE t(a INTEGER PRIMARY KEY);",
        ["INSERT INTO t VALUES (1)"],
        "CREATE TABLE t(b INTEGER PRIMARY KEY, c TEXT) WITHOUT ROWID;",
    ),
    "a CHECK of a column that comes with the held key": (
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);",
        ["INSERT INTO t VALUES (1, 'x')"],
        'CREATE TABLE t("Group" INTEGER PRIMARY KEY, b TEXT, CHECK ("Group" <> 77));',
    ),
    "an expression over a column that waits": (
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);",
        ["INSERT INTO t VALUES (1, 'x')"],
        """CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, "Group" TEXT NOT NULL, d AS ("Group" || 'x'));
        CREATE INDEX i ON t(lower("Group"), b); CREATE INDEX j ON t(b) WHERE "Group" > 0;""",
    ),
    "a new key column with all that can be said of it": (
        "CREATE TABLE t(a TEXT);",
        [],
        "CREATE TABLE t(a TEXT, b TEXT CONSTRAINT k PRIMARY KEY DESC ON CONFLICT IGNORE);",
    ),
    "a computed value of another type in a table that becomes STRICT": (
        "CREATE TABLE t(a TEXT PRIMARY KEY, b REAL AS (typeof(a)));",
        ["INSERT INTO t VALUES ('x')"],
        "CREATE TABLE t(a TEXT PRIMARY KEY, b REAL AS (typeof(a))) STRICT;",
    ),
    "a rowid comes with a table's storage": (
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b) WITHOUT ROWID; CREATE TABLE u(a INTEGER PRIMARY KEY, b);",
        ["INSERT INTO t VALUES (7, 'x')", "INSERT INTO u VALUES (8, 'x')"],
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE TABLE u(a INTEGER PRIMARY KEY, b) WITHOUT ROWID;",
    ),
    "the order of an IN list": (
        "CREATE TABLE t(a TEXT CHECK (a IN ('x', 'y')));",
        ["INSERT INTO t VALUES ('x')"],
        "CREATE TABLE t(a TEXT CHECK (a IN ('y', 'x', 'x')));",
    ),
}


def test_an_index_made_by_hand_stays_when_the_models_drop_one_of_the_same_effect(tmp_path: Path) -> None:
    """It is unmanaged: the models never described it, though they described its like."""
    before = "CREATE TABLE t(a PRIMARY KEY, b); CREATE INDEX i ON t(b);"
    story = Story(
        before,
        "CREATE TABLE t(a PRIMARY KEY, b);",
        [],
        "wal",
        met=True,
        by_hand=("CREATE INDEX hand_index ON t(b)",),
    )
    tell(story, tmp_path)


@pytest.mark.parametrize("met", [True, False], ids=["met before", "first meeting"])
@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("name", FOUND)
def test_a_story_that_once_failed(tmp_path: Path, name: str, journal: str, *, met: bool) -> None:
    """Every invariant holds for the smallest form of what the random stories have found."""
    before, rows, after = FOUND[name]
    tell(Story(before, after, [(row, ()) for row in rows], journal, met), tmp_path)


# The same stories on every run. A story is plain text, so a failure prints all that there is.
@depth(EXAMPLES)
@given(story=stories())
def test_random_changes_keep_rows_and_end_where_the_models_want(
    tmp_path_factory: pytest.TempPathFactory, story: Story
) -> None:
    """Applied without and then with approvals: rows kept, integrity kept, held or done, and nothing twice."""
    assume(compiles(story.before) and compiles(story.after))
    tell(story, tmp_path_factory.mktemp("story"))
