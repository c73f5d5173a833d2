"""Indexes: what they do counts, not what they are called."""

from __future__ import annotations

import pytest

from support.migrations import House, kinds
from support.witness import migrate, photograph, refuse

TABLE = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT);"
ROWS = "INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2);"


def met(house: House, ddl: str) -> None:
    """The database is made, filled, and met with the same models."""
    house.run(ddl + ROWS)
    house.models(ddl)
    assert house.apply()["outcome"] == "up_to_date"


@pytest.mark.parametrize(
    "index",
    [
        "CREATE INDEX i ON t(a)",
        "CREATE INDEX i ON t(a DESC, b)",
        "CREATE UNIQUE INDEX i ON t(a COLLATE NOCASE)",
        "CREATE UNIQUE INDEX i ON t(a) WHERE b > 1",
        "CREATE INDEX i ON t(lower(a), b + 1 DESC)",
        'CREATE INDEX "i ""q""" ON t("a")',
        'CREATE INDEX "select" ON t(b)',
    ],
)
def test_an_index_comes_and_goes_with_the_models(house: House, index: str) -> None:
    """It is made as the models write it, and removed when they had it and drop it."""
    met(house, TABLE)
    migrate(house, f"{TABLE} {index};")
    assert index in {sql for (kind, _), sql in photograph(house).objects.items() if kind == "index"}
    document = migrate(house, TABLE, touched=["i", 'i "q"', "select"])
    assert kinds(document) == ["drop_index"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(a)", "(a DESC)"),
        ("(a)", "(a, b)"),
        ("(a, b)", "(b, a)"),
        ("(b) WHERE b > 1", "(b) WHERE b > 2"),
        ("(b) WHERE b > 1", "(b)"),
        ("(a)", "(lower(a))"),
        ("(a)", "(a COLLATE NOCASE)"),
    ],
)
@pytest.mark.parametrize("unique", ["", "UNIQUE "])
def test_an_index_of_the_same_name_and_another_effect_is_made_anew(
    house: House, old: str, new: str, unique: str
) -> None:
    """Order, columns, predicate, expression and collation are each a difference."""
    met(house, f"{TABLE} CREATE {unique}INDEX i ON t{old};")
    document = migrate(house, f"{TABLE} CREATE {unique}INDEX i ON t{new};", touched=["i"])
    assert kinds(document) == ["change_index"]
    assert house.stored("i") == f"CREATE {unique}INDEX i ON t{new}"


def test_an_index_that_becomes_unique_judges_the_rows(house: House) -> None:
    """Without duplicates it is done; with them the old index stays and the rows are shown."""
    met(house, f"{TABLE} CREATE INDEX i ON t(a); CREATE INDEX j ON t(b);")
    house.run("INSERT INTO t VALUES (3, 'z', 2)")
    house.models(f"{TABLE} CREATE UNIQUE INDEX i ON t(a); CREATE UNIQUE INDEX j ON t(b);")
    document = house.apply()
    assert [one["name"] for one in document["applied"]] == ["i"]
    assert [(one["name"], one["count"], one["rows"]) for one in document["blocked"]] == [
        ("j", 1, [{"key": "2, 3", "value": 2}])
    ]
    assert house.stored("j") == "CREATE INDEX j ON t(b)"


@pytest.mark.parametrize(
    ("index", "value"),
    [
        ("(a)", None),
        ("(a COLLATE NOCASE)", "K"),
        ("(lower(a))", "k"),
        ("(a COLLATE NOCASE, b)", None),
        ("(b) WHERE a > 'J'", 7),
        ("(b) WHERE a > 'L'", None),
        ("(b, a COLLATE RTRIM)", None),
    ],
)
def test_duplicates_are_judged_as_the_index_will_judge_them(
    house: House, index: str, value: str | None
) -> None:
    """Under its collation, over its expression, within its predicate; NULL is never a duplicate."""
    house.run(
        TABLE
        + "INSERT INTO t VALUES (1, 'K', 7), (2, 'k', 8), (3, 'L', 7), (4, NULL, NULL), (5, NULL, NULL);"
    )
    models = f"{TABLE} CREATE UNIQUE INDEX i ON t{index};"
    if value is None:
        migrate(house, models)
        return
    (one,) = refuse(house, models, "blocked")
    assert (one["name"], one["count"], one["rows"][0]["value"]) == ("i", 1, value)


def test_other_names_for_the_same_index_are_not_drift(house: House) -> None:
    """An index of the same effect satisfies, whatever its name; so does a unique index for a constraint."""
    house.run(f"{TABLE} CREATE INDEX theirs ON t(a ASC); CREATE UNIQUE INDEX also_theirs ON t(b);")
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT UNIQUE); CREATE INDEX ours ON T(A);")
    assert house.check()["in_sync"]
    assert house.apply()["outcome"] == "up_to_date"


def test_a_plain_index_of_somebody_else_is_unmanaged(house: House) -> None:
    """It refuses no row, so it stays and is only listed; through a copy of its table too."""
    house.run(
        TABLE + "CREATE INDEX somebodys ON t(b, lower(a));" + ROWS.replace("'x'", "'4'").replace("'y'", "'5'")
    )
    document = migrate(house, TABLE.replace("a TEXT", "a INTEGER"), changed=["t.a"], touched=["t"])
    assert kinds(document) == ["change_type"]
    assert {"type": "index", "name": "somebodys"} in house.check()["unmanaged"]


def test_a_unique_index_of_somebody_else_is_held(house: House) -> None:
    """It refuses rows that new code may write; it waits for a person, and waits still at the next start."""
    house.run(TABLE + "CREATE UNIQUE INDEX somebodys ON t(b);" + ROWS)
    (one,) = refuse(house, TABLE, "held")
    assert (one["kind"], one["name"], one["code"]) == ("drop_index", "somebodys", "extra-constraint")
    (again,) = refuse(house, TABLE, "held")
    assert again["code"] == "extra-constraint"
    migrate(house, TABLE, "extra-constraint", touched=["somebodys"])


def test_the_name_of_an_index_is_taken_by_another_table(house: House) -> None:
    """Index names are global to the file: the plan says that the name is taken, and the rest goes on."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE u(id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX i ON u(a);"
    )
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT); CREATE INDEX i ON t(a);")
    document = house.apply()
    assert kinds(document) == ["add_column"]
    (one,) = document["blocked"] + document["held"]
    assert one["name"] == "i"
    assert "i already exists" in one["reason"] or "taken" in one["reason"] or "name" in one["reason"]
    assert house.stored("i") == "CREATE INDEX i ON u(a)"


def test_the_index_that_a_foreign_key_needs_is_not_dropped(house: House) -> None:
    """Without it every write to the child would fail; the plan blocks it and says why."""
    ddl = "CREATE TABLE p(id INTEGER PRIMARY KEY, k INT); CREATE TABLE c(k INT REFERENCES p(k));"
    full = ddl + "CREATE UNIQUE INDEX uk ON p(k);"
    house.run(full + "INSERT INTO p VALUES (1, 5); INSERT INTO c VALUES (5);")
    house.models(full)
    house.apply()
    (one,) = refuse(house, ddl, "blocked")
    assert (one["kind"], one["name"]) == ("drop_index", "uk")
    assert "foreign key" in one["reason"]
    house.run("INSERT INTO c VALUES (5)")


def test_a_unique_index_over_columns_that_only_come_now(house: House) -> None:
    """New and computed columns are judged by the values that they will have."""
    house.run("CREATE TABLE t(a INT); INSERT INTO t VALUES (2), (-2), (3);")
    house.models(
        "CREATE TABLE t(a INT, b INT DEFAULT 4, g INT AS (abs(a)), h INT AS (g + b));"
        "CREATE UNIQUE INDEX by_default ON t(b); CREATE UNIQUE INDEX by_g ON t(g);"
        "CREATE UNIQUE INDEX by_h ON t(h, b); CREATE UNIQUE INDEX fine ON t(a, b, g);"
    )
    document = house.apply()
    assert [one["name"] for one in document["applied"] if one["kind"] == "create_index"] == ["fine"]
    assert {one["name"]: one["rows"] for one in document["blocked"]} == {
        "by_default": [{"key": "1, ..., 3", "value": 4}],
        "by_g": [{"key": "1, 2", "value": 2}],
        "by_h": [{"key": "1, 2", "value": "6, 4"}],
    }


def test_an_index_over_a_string_is_not_left_stale(house: House) -> None:
    """A quoted name without a column is a string to SQLite; a column of that name would make the index wrong."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y')")
    house.run('CREATE INDEX i ON t("a", b)')
    before = house.everything()
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT, a TEXT DEFAULT 'z')")
    document = house.apply()
    assert (document["outcome"], kinds(document, "blocked")) == ("blocked", ["add_column"])
    assert "would not be sound" in document["blocked"][0]["reason"]
    assert house.everything() == before
    assert house.ask("PRAGMA integrity_check") == [("ok",)]
