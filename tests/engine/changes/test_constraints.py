"""UNIQUE, CHECK, NOT NULL and foreign keys: relaxed at once, tightened when every row agrees, else blocked with the rows."""

from __future__ import annotations

import sqlite3

import pytest

from support.migrations import House, kinds
from support.witness import migrate, refuse

PARENT = "CREATE TABLE p(id INTEGER PRIMARY KEY, code TEXT UNIQUE);"


def table(clause: str, options: str = "") -> str:
    """A table with a text column a, an integer column q, and one clause more."""
    return f'{PARENT} CREATE TABLE "t ""1"""(id INTEGER PRIMARY KEY, a TEXT, q INT{clause}){options};'


ROWS = (
    "INSERT INTO p VALUES (1, 'one'), (2, 'two');"
    "INSERT INTO \"t \"\"1\"\"\"(id, a, q) VALUES (1, 'x', 1), (2, 'Y', 2), (3, 'y', NULL), (4, NULL, 1);"
)

FITTING = [
    (", CHECK (q > 0)", 'UPDATE "t ""1""" SET q = 0 WHERE id = 1'),
    (', CONSTRAINT "it\'s" CHECK ("t ""1""".q IN (1, 2))', 'UPDATE "t ""1""" SET q = 3 WHERE id = 1'),
    (", UNIQUE (a)", 'INSERT INTO "t ""1"""(a) VALUES (\'x\')'),
    (", CONSTRAINT u UNIQUE (q, a) ON CONFLICT FAIL", 'INSERT INTO "t ""1"""(a, q) VALUES (\'x\', 1)'),
    (", FOREIGN KEY (q) REFERENCES p", 'UPDATE "t ""1""" SET q = 9 WHERE id = 1'),
    (", CONSTRAINT f FOREIGN KEY (q) REFERENCES p(id) ON DELETE RESTRICT", "DELETE FROM p WHERE id = 1"),
]


@pytest.mark.parametrize(("clause", "offence"), FITTING)
def test_a_constraint_that_every_row_satisfies_comes_and_is_enforced(
    house: House, clause: str, offence: str
) -> None:
    """The service's next wrong write is refused; nothing in the rows has changed."""
    house.run(table("") + ROWS)
    migrate(house, table(clause), touched=['t "1"'])
    with pytest.raises(sqlite3.IntegrityError):
        house.run(offence)


@pytest.mark.parametrize(("clause", "offence"), FITTING)
def test_a_constraint_that_the_models_drop_goes(house: House, clause: str, offence: str) -> None:
    """Base knows that the models had it, so no approval is needed; what it refused is then taken."""
    house.run(table(clause) + ROWS)
    house.models(table(clause))
    assert house.apply()["outcome"] == "up_to_date"
    document = migrate(house, table(""), touched=['t "1"'])
    assert {one["risk"] for one in document["applied"]} == {"safe"}
    house.run(offence)


@pytest.mark.parametrize(("clause", "offence"), FITTING)
def test_a_constraint_that_the_models_never_had_is_held(house: House, clause: str, offence: str) -> None:
    """Somebody may rely on it: it waits at the first meeting and goes with an approval."""
    house.run(table(clause) + ROWS)
    (one,) = refuse(house, table(""), "held")
    assert one["code"] == "extra-constraint"
    with pytest.raises(sqlite3.IntegrityError):
        house.run(offence)
    migrate(house, table(""), "extra-constraint", touched=['t "1"'])


@pytest.mark.parametrize(
    ("clause", "kind", "rows"),
    [
        (", CHECK (q > 1)", "add_check", [{"key": 1, "value": 1}, {"key": 4, "value": 1}]),
        (
            ", CHECK (q < 2 AND a <> 'x')",
            "add_check",
            [{"key": 1, "value": "'x', 1"}, {"key": 2, "value": "'Y', 2"}],
        ),
        (", UNIQUE (q)", "add_unique", [{"key": "1, 4", "value": 1}]),
        (", UNIQUE (a COLLATE NOCASE)", "add_unique", [{"key": "2, 3", "value": "Y"}]),
        (", UNIQUE (q) ON CONFLICT REPLACE", "add_unique", [{"key": "1, 4", "value": 1}]),
        (
            ", FOREIGN KEY (q) REFERENCES q",
            "add_foreign_key",
            [{"key": 1, "value": 1}, {"key": 2, "value": 2}, {"key": 4, "value": 1}],
        ),
        (
            ", FOREIGN KEY (a) REFERENCES p(code)",
            "add_foreign_key",
            [{"key": 1, "value": "x"}, {"key": 2, "value": "Y"}, {"key": 3, "value": "y"}],
        ),
    ],
)
def test_a_constraint_that_rows_violate_is_blocked_with_them(
    house: House, clause: str, kind: str, rows: list[dict[str, object]]
) -> None:
    """Key and value of each row that stands in the way, judged under the constraint's own collation."""
    extra = "CREATE TABLE q(id INTEGER PRIMARY KEY);"
    house.run(extra + table("") + ROWS)
    (one,) = refuse(house, extra + table(clause), "blocked")
    assert (one["kind"], one["table"]) == (kind, 't "1"')
    assert one["count"] == len(rows)
    assert [one["rows"][0]["key"], *[row["key"] for row in one["rows"][1:]]] == [row["key"] for row in rows]
    assert [str(row["value"]).lower() for row in one["rows"]] == [str(row["value"]).lower() for row in rows]


def test_at_most_five_rows_are_shown_and_all_are_counted(house: House) -> None:
    """A thousand offending rows make no long message."""
    house.run(
        "CREATE TABLE t(k TEXT PRIMARY KEY, q INT) WITHOUT ROWID;"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT 'k' || i, -i FROM n;"
    )
    (one,) = refuse(
        house, "CREATE TABLE t(k TEXT PRIMARY KEY, q INT CHECK (q > 0)) WITHOUT ROWID;", "blocked"
    )
    assert (one["count"], len(one["rows"])) == (1000, 5)
    assert all(str(row["key"]).startswith("k") and row["value"] < 0 for row in one["rows"])


def test_the_rest_goes_on_when_one_is_blocked(house: House) -> None:
    """What does not depend on the blocked operation is done; the blocked one is done once the rows are mended."""
    house.run(table("") + ROWS)
    after = table(", z TEXT, UNIQUE (q), CHECK (q < 5)") + "CREATE TABLE fresh(id INTEGER PRIMARY KEY);"
    house.models(after)
    document = house.apply()
    assert sorted(kinds(document)) == ["add_check", "add_column", "create_table"]
    assert kinds(document, "blocked") == ["add_unique"]
    house.run('UPDATE "t ""1""" SET q = 3 WHERE id = 4')
    document = migrate(house, after, touched=['t "1"'])
    assert kinds(document) == ["add_unique"]


def test_what_is_blocked_makes_no_backup_at_the_next_start(house: House) -> None:
    """Waiting costs nothing: the second and third start write nothing at all."""
    house.run(table("") + ROWS)
    refuse(house, table(", UNIQUE (q)"), "blocked")
    backups = house.backups()
    for _ in range(2):
        document = house.apply()
        assert document["outcome"] == "blocked"
        assert document["backup"] is None
    assert house.backups() == backups


@pytest.mark.parametrize(
    ("old", "new", "strategy"),
    [
        ("CHECK (q IN (1, 2))", "CHECK (q IN (1, 2, 3))", "catalog"),
        (
            "CONSTRAINT e CHECK (a IN ('x', 'y', 'Y'))",
            "CONSTRAINT e CHECK (a IN ('new', 'Y', 'y', 'x'))",
            "catalog",
        ),
        ("CHECK (q > 0)", "CHECK (q >= 0)", "catalog"),
        ("FOREIGN KEY (q) REFERENCES p(id)", "FOREIGN KEY (q) REFERENCES p(id) ON DELETE CASCADE", "catalog"),
        (
            "FOREIGN KEY (q) REFERENCES p(id) ON UPDATE CASCADE",
            "FOREIGN KEY (q) REFERENCES p DEFERRABLE INITIALLY DEFERRED",
            "catalog",
        ),
    ],
)
@pytest.mark.parametrize("inline", [False, True])
def test_a_changed_constraint_is_edited_in_place(
    house: House, old: str, new: str, strategy: str, inline: bool
) -> None:
    """No table is copied for it, whether it stands in its column or behind the columns."""

    def ddl(clause: str) -> str:
        if not inline:
            return table(f", {clause}")
        return table(" " + clause.replace("FOREIGN KEY (q) ", ""))

    house.run(ddl(old) + ROWS.replace("(4, NULL, 1)", "(4, NULL, 2)"))
    document = migrate(house, ddl(new), touched=['t "1"'])
    assert [one["strategy"] for one in document["applied"]] == [strategy]


def test_an_enum_that_grows_is_safe_and_one_that_shrinks_is_judged(house: House) -> None:
    """Widening an IN list asks no row; narrowing shows those that would be left outside."""
    house.run(table(", CHECK (a IN ('x', 'y', 'Y'))") + ROWS)
    document = migrate(house, table(", CHECK (a IN ('x', 'Y', 'y', 'z'))"), touched=['t "1"'])
    assert [one["risk"] for one in document["applied"]] == ["safe"]
    (one,) = refuse(house, table(", CHECK (a IN ('x', 'z'))"), "blocked")
    assert [(row["key"], row["value"]) for row in one["rows"]] == [(2, "Y"), (3, "y")]


def test_removing_not_null_where_a_comment_stands_before_it(house: House) -> None:
    """The comment keeps its line, so it swallows nothing of what follows."""
    before = """CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT -- the a, it's needed
      NOT NULL,
      b INT -- the b
      CHECK (b > 0), -- behind
      c INT /* the c */ NOT NULL DEFAULT 1 -- end
    );"""
    house.run(before + "INSERT INTO t VALUES (1, 'x', 1, 2);")
    house.models(before)
    house.apply()
    migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT, c INT);", touched=["t"])
    house.run("INSERT INTO t(b) VALUES (-1)")
    assert "-- the a, it's needed" in house.stored("t")


def test_clauses_written_without_white_space_between_them(house: House) -> None:
    """Taking one out or putting one in leaves its neighbours apart."""
    before = (
        'CREATE TABLE t(id INTEGER PRIMARY KEY,a INT DEFAULT 1 CHECK(a>0)UNIQUE,"b"CHECK("b">0)NOT NULL,c)'
    )
    house.run(before + "; INSERT INTO t VALUES (1, 1, 1, 'c');")
    house.models(before + ";")
    house.apply()
    migrate(
        house,
        'CREATE TABLE t(id INTEGER PRIMARY KEY, a INT DEFAULT 1 UNIQUE, "b" DEFAULT 4 CHECK("b" > 0), c TEXT NOT NULL DEFAULT \'q\' COLLATE NOCASE);',
        touched=["t"],
    )
    assert house.ask("SELECT a, b, typeof(b), c FROM t") == [(1, 1, "integer", "c")]


def test_not_null_over_rows_without_null(house: House) -> None:
    """Done without copying the table, and enforced for a connection that was open before."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x'), (2, '');")
    document = migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL);", touched=["t"])
    assert [one["strategy"] for one in document["applied"]] == ["catalog"]
    with pytest.raises(sqlite3.IntegrityError):
        house.run("INSERT INTO t VALUES (3, NULL)")
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);")
    house.apply()
    house.run("INSERT INTO t VALUES (3, NULL)")


def test_not_null_over_rows_with_null_shows_them(house: House) -> None:
    """Nothing is filled in silently."""
    house.run("CREATE TABLE t(k TEXT PRIMARY KEY, a TEXT); INSERT INTO t VALUES ('one', 'x'), ('two', NULL);")
    (one,) = refuse(house, "CREATE TABLE t(k TEXT PRIMARY KEY, a TEXT NOT NULL);", "held")
    assert (one["code"], one["count"], one["rows"]) == ("value-needed", 1, [{"key": "two", "value": None}])


def test_a_filled_null_is_judged_by_what_it_becomes(house: House) -> None:
    """NULL becomes the default: a CHECK or UNIQUE of the same release sees that value."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b INT); INSERT INTO t VALUES (1, NULL, NULL), (2, 5, NULL), (3, 6, 1);"
    )
    house.models(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT NOT NULL DEFAULT 7 CHECK (a < 6), b INT NOT NULL DEFAULT '2' UNIQUE);"
    )
    document = house.apply()
    assert {one["kind"]: one["rows"] for one in document["blocked"]} == {
        "add_check": [{"key": 1, "value": 7}, {"key": 3, "value": 6}],
        "add_unique": [{"key": "1, 2", "value": 2}],
    }
    assert house.ask("SELECT a, typeof(b), b FROM t") == [
        (7, "integer", 2),
        (5, "integer", 2),
        (6, "integer", 1),
    ]


def test_a_foreign_key_to_columns_without_a_key_is_manual(house: House) -> None:
    """SQLite would take it and fail at the first row; it is reported and never made, approved or not."""
    house.run("CREATE TABLE p(id INTEGER PRIMARY KEY, k INT); CREATE TABLE c(id INTEGER PRIMARY KEY, k INT);")
    after = "CREATE TABLE p(id INTEGER PRIMARY KEY, k INT); CREATE TABLE c(id INTEGER PRIMARY KEY, k INT REFERENCES p(k));"
    (one,) = refuse(house, after, "held")
    assert (one["code"], one["risk"]) == ("no-parent-key", "manual")
    assert house.apply("no-parent-key")["applied"] == []


def test_a_foreign_key_to_a_column_that_comes_with_it(house: House) -> None:
    """The parent's new column, its key and the child's reference come together; rows are judged by what will be there."""
    house.run(
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, k INT); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1, NULL);"
    )
    after = "CREATE TABLE p(id INTEGER PRIMARY KEY, code INT DEFAULT 4 UNIQUE); CREATE TABLE c(id INTEGER PRIMARY KEY, k INT REFERENCES p(code));"
    migrate(house, after, touched=["p", "c"])
    house.run("INSERT INTO c VALUES (2, 4)")
    with pytest.raises(sqlite3.IntegrityError):
        house.run("INSERT INTO c VALUES (3, 5)")


def test_the_key_that_children_need_is_not_dropped(house: House) -> None:
    """Dropping the UNIQUE that a foreign key refers to would break every write to the child."""
    child = "CREATE TABLE c(id INTEGER PRIMARY KEY, code TEXT REFERENCES p(code));"
    house.run(PARENT + child + "INSERT INTO p VALUES (1, 'a'); INSERT INTO c VALUES (1, 'a');")
    house.models(PARENT + child)
    house.apply()
    (one,) = refuse(house, PARENT.replace(" UNIQUE", "") + child, "blocked")
    assert one["kind"] == "drop_unique"
    assert "foreign key" in one["reason"]


def test_composite_and_implicit_keys_keep_their_order(house: House) -> None:
    """`REFERENCES p` means the primary key in its declared order, not the order of the columns."""
    parent = "CREATE TABLE p(b INT, a INT, PRIMARY KEY (a, b));"
    house.run(
        parent
        + "CREATE TABLE c(x INT, y INT); INSERT INTO p(a, b) VALUES (1, 2); INSERT INTO c VALUES (1, 2), (1, NULL);"
    )
    migrate(house, parent + "CREATE TABLE c(x INT, y INT, FOREIGN KEY (x, y) REFERENCES p);", touched=["c"])
    with pytest.raises(sqlite3.IntegrityError):
        house.run("INSERT INTO c VALUES (2, 1)")
    house.models(parent + "CREATE TABLE c(x INT, y INT, FOREIGN KEY (y, x) REFERENCES p(b, a));")
    assert house.check()["in_sync"]
    (one,) = refuse(
        house, parent + "CREATE TABLE c(x INT, y INT, FOREIGN KEY (y, x) REFERENCES p);", "blocked"
    )
    assert (one["count"], one["rows"][0]["value"]) == (1, "2, 1")


def test_children_are_compared_as_their_parent_stores_them(house: House) -> None:
    """The number 2 is no child of the text '02', and 'a' is one of 'A' under the parent's NOCASE."""
    before = "CREATE TABLE p(k TEXT PRIMARY KEY); CREATE TABLE n(k TEXT COLLATE NOCASE PRIMARY KEY); CREATE TABLE c(k INT); CREATE TABLE d(k TEXT);"
    house.run(
        before
        + "INSERT INTO p VALUES ('1'), ('02'); INSERT INTO c VALUES (1), (2); INSERT INTO n VALUES ('A'); INSERT INTO d VALUES ('a');"
    )
    house.models(
        before.replace("c(k INT)", "c(k INT REFERENCES p)").replace("d(k TEXT)", "d(k TEXT REFERENCES n(k))")
    )
    document = house.apply()
    assert [one["table"] for one in document["applied"]] == ["d"]
    assert [(one["table"], one["rows"]) for one in document["blocked"]] == [("c", [{"key": 2, "value": 2}])]


def test_a_unique_with_on_conflict_deletes_nothing(house: House) -> None:
    """ON CONFLICT REPLACE would silently delete rows during a copy; without duplicates it comes, and works from then on."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'A'), (2, 'a'), (3, NULL), (4, NULL);"
    )
    migrate(
        house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE ON CONFLICT REPLACE);", touched=["t"]
    )
    house.run("INSERT INTO t VALUES (9, 'A')")
    assert house.ask("SELECT id FROM t ORDER BY id") == [(2,), (3,), (4,), (9,)]


def test_constraints_that_follow_each_other_without_commas(house: House) -> None:
    """SQLite allows it; taking some out leaves the others, each with its own text."""
    before = """CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, -- about a
      b INT CONSTRAINT ck1 CHECK (a > 0) CONSTRAINT ck2 CHECK (b > 0), UNIQUE (a) CHECK (a <> b) /* both */ UNIQUE (b) -- end
      );"""
    house.run(before + "INSERT INTO t VALUES (1, 1, 2);")
    house.models(before)
    house.apply()
    migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b INT CHECK (b > 0), UNIQUE (b));",
        touched=["t"],
    )
    house.run("INSERT INTO t VALUES (2, -1, 3), (3, -1, 4)")
    with pytest.raises(sqlite3.IntegrityError):
        house.run("INSERT INTO t VALUES (4, 1, 4)")
    assert "-- about a" in house.stored("t")


@pytest.mark.parametrize("spelled", ["", "(id)"])
def test_a_key_whose_parent_is_only_coming_is_no_difference(house: House, spelled: str) -> None:
    """REFERENCES without a column means the parent's primary key, also while only the models have the parent."""
    house.run("CREATE TABLE c (a REFERENCES p ON DELETE CASCADE)")
    house.models(
        f"CREATE TABLE c (a REFERENCES p{spelled} ON DELETE CASCADE); CREATE TABLE p (id INTEGER PRIMARY KEY)"
    )
    assert kinds(house.apply()) == ["create_table"]
    assert house.check()["in_sync"]
