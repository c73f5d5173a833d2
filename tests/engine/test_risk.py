"""How risky each kind of difference is, and for whom it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from driftengine.changes import BOTH, DATABASE, Backfill, Difference, Facts
from driftengine.dialects.sqlite.dialect import SqliteDialect
from driftengine.risk import (
    ALLOW,
    HOLD,
    IGNORE,
    Judgement,
    is_ignored,
    judge,
    taken_back_before,
    under_policy,
)
from support.schemas import drift_between

if TYPE_CHECKING:
    from collections.abc import Mapping

DIALECT = SqliteDialect()
FILLED = Facts({"t": 3})
T = "CREATE TABLE t (id INTEGER PRIMARY KEY, {})"
P = "CREATE TABLE p (id INTEGER PRIMARY KEY, k INT UNIQUE);"


def the_difference(before: str, after: str, base: str | None = None) -> Difference:
    (found,) = drift_between(before, after, base).differences
    return found


def judged(
    d: Difference,
    facts: Facts = FILLED,
    backfill: Backfill | None = None,
    policy: Mapping[str, str] | None = None,
) -> Judgement:
    return under_policy(judge(d, facts, backfill, relaxes=DIALECT.relaxes(d)), d, policy or {})


def short(judgement: Judgement) -> tuple[str, str, str, bool]:
    return judgement.kind, judgement.risk, judgement.code, judgement.hold


# before, after, (kind, risk, code, hold); every table has rows, and the models once described what goes.
KINDS = {
    "new table": ("", T.format("a"), ("create_table", "safe", "create-table", False)),
    "table gone": (P + T.format("a"), P, ("drop_table", "destructive", "drop-table", True)),
    "new column": (T.format("a"), T.format("a, b TEXT"), ("add_column", "safe", "add-column", False)),
    "new column with default": (
        T.format("a"), T.format("a, b TEXT NOT NULL DEFAULT 'x'"), ("add_column", "safe", "add-column", False),
    ),
    "new computed column": (
        T.format("a"), T.format("a, b INT AS (a + 1)"), ("add_column", "safe", "add-column", False),
    ),
    "new column without a value": (
        T.format("a"), T.format("a, b TEXT NOT NULL"), ("add_column", "guarded", "value-needed", True),
    ),
    "column gone": (T.format("a, b"), T.format("a"), ("drop_column", "destructive", "drop-column", True)),
    "type of the same affinity": (
        T.format("a VARCHAR(5)"), T.format("a TEXT"), ("change_type", "safe", "change-type", False),
    ),
    "type of another affinity": (
        T.format("a TEXT"), T.format("a INTEGER"), ("change_type", "guarded", "convert-column", False),
    ),
    "NULL allowed": (
        T.format("a NOT NULL"), T.format("a"), ("drop_not_null", "safe", "drop-not-null", False),
    ),
    "NULL refused": (
        T.format("a"), T.format("a NOT NULL"), ("set_not_null", "guarded", "set-not-null", False),
    ),
    "default": (
        T.format("a INT DEFAULT 1"), T.format("a INT DEFAULT 2"), ("change_default", "safe", "change-default", False),
    ),
    "default gone": (
        T.format("a INT DEFAULT 1"), T.format("a INT"), ("change_default", "safe", "change-default", False),
    ),
    "collation": (
        T.format("a TEXT"), T.format("a TEXT COLLATE NOCASE"),
        ("change_collation", "guarded", "change-collation", False),
    ),
    "becomes computed": (
        T.format("a INT, b INT"), T.format("a INT, b INT AS (a)"),
        ("change_generated", "destructive", "change-generated", True),
    ),
    "computed otherwise": (
        T.format("a INT, b INT AS (a)"), T.format("a INT, b INT AS (a + 1)"),
        ("change_generated", "safe", "change-generated", False),
    ),
    "other primary key": (
        "CREATE TABLE t (a INT, b INT, PRIMARY KEY (a))", "CREATE TABLE t (a INT, b INT, PRIMARY KEY (a, b))",
        ("change_primary_key", "destructive", "change-primary-key", True),
    ),
    "WITHOUT ROWID": (
        "CREATE TABLE t (a TEXT PRIMARY KEY)", "CREATE TABLE t (a TEXT PRIMARY KEY) WITHOUT ROWID",
        ("change_storage", "destructive", "change-storage", True),
    ),
    "AUTOINCREMENT": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY)", "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)",
        ("change_autoincrement", "safe", "change-autoincrement", False),
    ),
    "STRICT": (
        T.format("a TEXT"), T.format("a TEXT") + " STRICT", ("change_strict", "guarded", "change-strict", False),
    ),
    "STRICT no longer": (
        T.format("a TEXT") + " STRICT", T.format("a TEXT"), ("change_strict", "guarded", "change-strict", False),
    ),
    "new unique": (
        T.format("a"), T.format("a, UNIQUE (a)"), ("add_unique", "guarded", "add-unique", False),
    ),
    "unique gone": (T.format("a, UNIQUE (a)"), T.format("a"), ("drop_unique", "safe", "drop-unique", False)),
    "new check": (
        T.format("a"), T.format("a, CHECK (a > 0)"), ("add_check", "guarded", "add-check", False),
    ),
    "check gone": (T.format("a, CHECK (a > 0)"), T.format("a"), ("drop_check", "safe", "drop-check", False)),
    "check widened": (
        T.format("a, CONSTRAINT c CHECK (a IN ('x'))"), T.format("a, CONSTRAINT c CHECK (a IN ('x', 'y'))"),
        ("change_check", "safe", "change-check", False),
    ),
    "check narrowed": (
        T.format("a, CONSTRAINT c CHECK (a IN ('x', 'y'))"), T.format("a, CONSTRAINT c CHECK (a IN ('x'))"),
        ("change_check", "guarded", "change-check", False),
    ),
    "new foreign key": (
        P + T.format("a INT"), P + T.format("a INT REFERENCES p (id)"),
        ("add_foreign_key", "guarded", "add-foreign-key", False),
    ),
    "foreign key gone": (
        P + T.format("a INT REFERENCES p (id)"), P + T.format("a INT"),
        ("drop_foreign_key", "safe", "drop-foreign-key", False),
    ),
    "foreign key with another action": (
        P + T.format("a INT REFERENCES p (id)"), P + T.format("a INT REFERENCES p (id) ON DELETE CASCADE"),
        ("change_foreign_key", "safe", "change-foreign-key", False),
    ),
    "new index": (
        T.format("a"), T.format("a") + "; CREATE INDEX i ON t (a)", ("create_index", "safe", "create-index", False),
    ),
    "new unique index": (
        T.format("a"), T.format("a") + "; CREATE UNIQUE INDEX i ON t (a)",
        ("create_index", "guarded", "create-index", False),
    ),
    "index gone": (
        T.format("a") + "; CREATE INDEX i ON t (a)", T.format("a"), ("drop_index", "safe", "drop-index", False),
    ),
    "index changed": (
        T.format("a, b") + "; CREATE INDEX i ON t (a)", T.format("a, b") + "; CREATE INDEX i ON t (b)",
        ("change_index", "safe", "change-index", False),
    ),
    "index becomes unique": (
        T.format("a") + "; CREATE INDEX i ON t (a)", T.format("a") + "; CREATE UNIQUE INDEX i ON t (a)",
        ("change_index", "guarded", "change-index", False),
    ),
    "new view": ("", "CREATE VIEW v AS SELECT 1", ("create_view", "safe", "create-view", False)),
    "view changed": (
        "CREATE VIEW v AS SELECT 1", "CREATE VIEW v AS SELECT 2", ("change_view", "safe", "change-view", False),
    ),
    "view gone": ("CREATE VIEW v AS SELECT 1", "", ("drop_view", "safe", "drop-view", False)),
    "new trigger": (
        T.format("a"), T.format("a") + "; CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END",
        ("create_trigger", "safe", "create-trigger", False),
    ),
    "virtual table changed": (
        "CREATE VIRTUAL TABLE t USING fts5(a)", "CREATE VIRTUAL TABLE t USING fts5(a, b)",
        ("change_virtual_table", "manual", "change-virtual-table", True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_each_kind_of_difference_has_its_judgement(case: str) -> None:
    """Kind, risk, code and hold of every kind of change that a person can make to a schema."""
    before, after, expected = KINDS[case]
    assert short(judged(the_difference(before, after, base=before))) == expected


TAKEN = the_difference("CREATE VIEW t AS SELECT 1 AS id", T.format("a"))

# before, after, (code, hold) where driftd meets the database for the first time
MEETINGS = {
    "extra column": (T.format("a, b"), T.format("a"), ("drop-column", True)),
    "extra unique": (T.format("a, UNIQUE (a)"), T.format("a"), ("extra-constraint", True)),
    "extra check": (T.format("a, CHECK (a > 0)"), T.format("a"), ("extra-constraint", True)),
    "extra foreign key": (
        P + T.format("a REFERENCES p (id)"), P + T.format("a"), ("extra-constraint", True),
    ),
    "extra unique index": (
        T.format("a") + "; CREATE UNIQUE INDEX i ON t (a)", T.format("a"), ("extra-constraint", True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MEETINGS)
def test_at_the_first_meeting_no_removal_goes_ahead(case: str) -> None:
    """Without base nobody knows who put it there, so what is extra inside a described table waits for a person."""
    before, after, expected = MEETINGS[case]
    judgement = judged(the_difference(before, after))
    assert (judgement.code, judgement.hold) == expected
    assert "never described" in judgement.reason


def test_a_name_that_is_taken_is_reported() -> None:
    """A view where the models want a table is not driftd's to remove."""
    judgement = judged(TAKEN)
    assert short(judgement) == ("create_table", "manual", "name-taken", True)


def test_what_judges_rows_is_free_on_an_empty_table() -> None:
    """Without rows a NOT NULL column, another key and another storage are guarded, and not held."""
    empty = Facts({"t": 0})
    for case in ("new column without a value", "other primary key", "WITHOUT ROWID"):
        before, after, _ = KINDS[case]
        judgement = judged(the_difference(before, after), empty)
        assert (judgement.risk, judgement.hold) == ("guarded", False), case


def test_null_that_is_there_needs_a_value() -> None:
    """A column that becomes NOT NULL over NULL is held with the ways to give a value, and goes ahead with one."""
    before, after, _ = KINDS["NULL refused"]
    nulls = Facts({"t": 3}, {("t", "a"): 2})
    d = the_difference(before, after)
    without = judged(d, nulls)
    assert short(without) == ("set_not_null", "guarded", "value-needed", True)
    for way in ("server default", "info={'backfill'", "[targets.NAME.backfill]", "--backfill t.a=EXPR"):
        assert way in without.reason
    assert short(judged(d, nulls, Backfill("('x')", "given"))) == (
        "set_not_null", "safe", "set-not-null", False,
    )  # fmt: skip


def test_a_callable_is_called_for_so_many_rows_and_no_more() -> None:
    """Beyond the limit the operation is held, and the reason shows how to say it in SQL; at the limit it goes ahead."""
    before, after, _ = KINDS["new column without a value"]
    d = the_difference(before, after)
    drawn = Backfill("driftd_value_1()", "uuid.uuid4() of the models", "t.b")
    at_the_limit = judge(d, Facts({"t": 100_000}), drawn, max_calls=100_000)
    assert short(at_the_limit) == ("add_column", "safe", "add-column", False)
    beyond = judge(d, Facts({"t": 100_001}), drawn, max_calls=100_000)
    assert short(beyond) == ("add_column", "guarded", "value-needed", True)
    for words in ("100,001 rows", "uuid.uuid4()", "100,000", "--backfill t.b=EXPR"):
        assert words in beyond.reason
    by_sql = judge(d, Facts({"t": 100_001}), Backfill("(1)", "given"), max_calls=100_000)
    assert not by_sql.hold
    few_nulls = Facts({"t": 9_000_000}, {("t", "a"): 5})
    nullable = the_difference(*KINDS["NULL refused"][:2])
    assert not judge(nullable, few_nulls, drawn, max_calls=100_000).hold


@pytest.mark.parametrize(("origin", "code"), [(DATABASE, "changed-in-database"), (BOTH, "conflict")])
def test_what_was_changed_by_hand_waits(origin: str, code: str) -> None:
    """Even what is safe is not reverted silently when somebody made it so in the database."""
    before, after = "CREATE TABLE t (a INT)", "CREATE TABLE t (a INT DEFAULT 1)"
    d = the_difference(before, after)
    moved = Difference(d.object, d.table, d.name, d.change, origin, d.detail, d.aspect, d.desired, d.actual)
    judgement = judged(moved)
    assert (judgement.code, judgement.risk, judgement.hold) == (code, "safe", True)


COLUMN_GONE = KINDS["column gone"][:2]
INDEX_GONE = (T.format("a") + "; CREATE INDEX i ON t (a)", T.format("a"))


def dropped_column() -> Difference:
    """A column that the models described once."""
    return the_difference(*COLUMN_GONE, base=COLUMN_GONE[0])


# the policy, and whether an added column, and a dropped one that the models once had, wait under it
POLICIES = {
    "none": ({}, False, True),
    "code held": ({"add-column": HOLD, "drop-column": HOLD}, True, True),
    "table held": ({"t": HOLD}, True, True),
    "code allowed": ({"add-column": ALLOW, "drop-column": ALLOW}, False, False),
    "table allowed": ({"t": ALLOW}, False, False),
    "another table, another code": ({"u": HOLD, "drop-table": ALLOW}, False, True),
    "code held, table allowed": ({"t": ALLOW, "add-column": HOLD, "drop-column": HOLD}, True, True),
    "code allowed, table held": ({"t": HOLD, "add-column": ALLOW, "drop-column": ALLOW}, True, True),
}


@pytest.mark.parametrize("case", POLICIES)
def test_policy_goes_by_code_and_by_table(case: str) -> None:
    """`hold` stops what is safe, `allow` lets go ahead what is held; of two words the more careful one counts."""
    policy, adding, dropping = POLICIES[case]
    add, drop = (
        judged(the_difference(*KINDS["new column"][:2]), policy=policy),
        judged(dropped_column(), policy=policy),
    )
    assert (add.hold, drop.hold) == (adding, dropping)
    assert ("held by the configuration" in add.reason) == adding
    assert (drop.allowed, "allowed by the configuration" in drop.reason) == (not dropping, not dropping)


# what is not done in the database yet, or done by hand; the difference, and the policies that let it go ahead, and that do not
CAREFUL = {
    "default by hand": (
        (T.format("a INT DEFAULT 2"), T.format("a INT DEFAULT 1"), T.format("a INT DEFAULT 1")),
        [{"changed-in-database": ALLOW}],
        [{"t": ALLOW}, {"change-default": ALLOW}, {"changed-in-database": ALLOW, "change-default": HOLD}],
    ),
    "conflict": (
        (T.format("a INT DEFAULT 2"), T.format("a INT DEFAULT 3"), T.format("a INT DEFAULT 1")),
        [{"conflict": ALLOW}],
        [{"t": ALLOW}, {"changed-in-database": ALLOW}, {"conflict": ALLOW, "t": HOLD}],
    ),
    "column by hand": (
        (T.format("a, b"), T.format("a"), T.format("a")),
        [{"drop-column": ALLOW, "extra-constraint": ALLOW, "changed-in-database": ALLOW}],
        [{"drop-column": ALLOW}, {"t": ALLOW}, {"drop-column": ALLOW, "changed-in-database": ALLOW}],
    ),
    "column that was never theirs": (
        (T.format("a, b"), T.format("a"), None),
        [{"drop-column": ALLOW, "extra-constraint": ALLOW}, {"t": ALLOW, "extra-constraint": ALLOW}],
        [{"drop-column": ALLOW}, {"t": ALLOW}],
    ),
    "unique index by hand": (
        (T.format("a") + "; CREATE UNIQUE INDEX i ON t (a)", T.format("a"), T.format("a")),
        [{"extra-constraint": ALLOW, "changed-in-database": ALLOW}],
        [{"extra-constraint": ALLOW}, {"t": ALLOW}, {"drop-index": ALLOW}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CAREFUL)
def test_what_was_done_by_hand_is_allowed_by_its_own_name_alone(case: str) -> None:
    """A word for the table, or for the kind of change, was meant for what the models do."""
    (actual, models, base), enough, too_little = CAREFUL[case]
    (d,) = drift_between(actual, models, base).differences
    assert d.by_hand
    assert judged(d).hold
    for policy in enough:
        assert not judged(d, policy=policy).hold, policy
    for policy in too_little:
        assert judged(d, policy=policy).hold, policy


def test_policy_allows_nothing_that_cannot_be_done() -> None:
    """What is manual, and what lacks a value, stays held whatever the configuration says."""
    needs_value = the_difference(*KINDS["new column without a value"][:2])
    assert judged(TAKEN, policy={"name-taken": ALLOW, "t": ALLOW}).hold
    assert judged(needs_value, policy={"value-needed": ALLOW, "t": ALLOW}).hold


def test_what_was_rolled_back_is_allowed_by_that_name() -> None:
    """And what would be lost when it is done again needs its own word as well."""
    again = taken_back_before(judged(the_difference(*KINDS["new column"][:2])), "somebody rolled it back")
    lost = taken_back_before(judged(dropped_column()), "somebody rolled it back")
    assert (again.code, again.rule, again.hold) == ("rolled-back", "add-column", True)
    d = dropped_column()
    assert not under_policy(again, d, {"rolled-back": ALLOW}).hold
    assert under_policy(again, d, {"t": ALLOW, "add-column": ALLOW}).hold
    assert under_policy(lost, d, {"rolled-back": ALLOW}).hold
    assert not under_policy(lost, d, {"rolled-back": ALLOW, "drop-column": ALLOW}).hold


def test_policy_ignores_by_code_and_by_table() -> None:
    """`ignore` for the code or the table leaves the difference alone, whatever else is said of it."""
    d = dropped_column()
    judgement = judged(d)
    assert is_ignored(judgement, d, {"drop-column": IGNORE})
    assert is_ignored(judgement, d, {"t": IGNORE})
    assert is_ignored(judgement, d, {"t": IGNORE, "drop-column": HOLD})
    assert not is_ignored(judgement, d, {"drop-column": HOLD, "u": IGNORE})
    by_hand = the_difference(INDEX_GONE[1], INDEX_GONE[0], base=INDEX_GONE[0])
    assert is_ignored(judged(by_hand), by_hand, {"changed-in-database": IGNORE})
    assert is_ignored(judged(by_hand), by_hand, {"create-index": IGNORE})
