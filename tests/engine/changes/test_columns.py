"""Columns that come, go, or take other names."""

from __future__ import annotations

import pytest

from support.migrations import House, kinds
from support.witness import assert_settled, migrate, refuse

BARE = "CREATE TABLE t(id INTEGER PRIMARY KEY);"
TWO_ROWS = "INSERT INTO t(id) VALUES (1), (5);"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("a TEXT", "null:NULL"),
        ("a TEXT DEFAULT NULL", "null:NULL"),
        ("a TEXT NOT NULL DEFAULT 'it''s'", "text:'it''s'"),
        ('a TEXT NOT NULL DEFAULT "id"', "text:'id'"),
        ("a TEXT DEFAULT 7", "text:'7'"),
        ("a INT NOT NULL DEFAULT '12'", "integer:12"),
        ("a REAL NOT NULL DEFAULT 1", "real:1.0"),
        ("a BOOLEAN NOT NULL DEFAULT FALSE", "integer:0"),
        ("a INT DEFAULT -5 CHECK (a < 0)", "integer:-5"),
        ("a INT DEFAULT (abs(-5))", "integer:5"),
        ("a BLOB DEFAULT x'00ff'", "blob:X'00FF'"),
        ("a INT DEFAULT +3 REFERENCES t(id) DEFERRABLE", None),
        ("a INT DEFAULT 5 REFERENCES t(id) ON DELETE CASCADE", "integer:5"),
        ("a INT UNIQUE", "null:NULL"),
        ("a TEXT COLLATE NOCASE DEFAULT 'Q' CHECK (a = 'q')", "text:'Q'"),
        ("a INT AS (id * 2)", None),
        ("a INT NOT NULL GENERATED ALWAYS AS (id * 2) STORED", None),
        ("a", "null:NULL"),
    ],
)
def test_a_new_column_gives_old_rows_what_the_models_promise(
    house: House, column: str, value: str | None
) -> None:
    """NULL, the default in the column's own affinity, or the computed value; the stored DDL gets no other default."""
    house.run(BARE + TWO_ROWS)
    if column.startswith("a INT DEFAULT +3"):
        left = refuse_part(house, f"CREATE TABLE t(id INTEGER PRIMARY KEY, {column});")
        assert left == [("add_foreign_key", 2, [{"key": 1, "value": 3}, {"key": 5, "value": 3}])]
        return
    migrate(house, f"CREATE TABLE t(id INTEGER PRIMARY KEY, {column});", touched=["t"])
    found = house.ask("SELECT typeof(a) || ':' || quote(a) FROM t ORDER BY id")
    assert found == ([(value,)] * 2 if value else [("integer:2",), ("integer:10",)])
    house.run("DELETE FROM t WHERE id = 1; INSERT INTO t(id) VALUES (2)")


def refuse_part(house: House, models: str) -> list[tuple[str, int, list[dict[str, object]]]]:
    """What is blocked while the rest is done."""
    house.models(models)
    document = house.apply()
    assert document["outcome"] == "migrated"
    return [(one["kind"], one["count"], one["rows"]) for one in document["blocked"]]


def test_a_moment_is_one_per_migration_and_stays(house: House) -> None:
    """CURRENT_TIMESTAMP fills old rows once; a later read gives the same value."""
    house.run(BARE + TWO_ROWS)
    migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP);",
        touched=["t"],
    )
    first = house.ask("SELECT typeof(at), at FROM t")
    assert [kind for kind, _ in first] == ["text", "text"]
    assert house.ask("SELECT typeof(at), at FROM t") == first
    assert "CURRENT_TIMESTAMP" in house.stored("t")


def test_not_null_without_a_value_waits_for_one(house: House) -> None:
    """Rows that would have nothing to hold: the operation is held, with the rows and the ways to give a value."""
    house.run(BARE + "INSERT INTO t(id) VALUES (1), (2), (3), (4), (5), (6), (7);")
    (one,) = refuse(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL);", "held")
    assert (one["kind"], one["name"], one["code"], one["count"]) == ("add_column", "a", "value-needed", 7)
    assert [row["key"] for row in one["rows"]] == [1, 2, 3, 4, 5]
    assert "--backfill t.a=EXPR" in one["reason"]


def test_not_null_without_a_value_on_an_empty_table(house: House) -> None:
    """Nobody needs a value, so the column comes as it is."""
    house.run(BARE)
    migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL, b INT NOT NULL CHECK (b > 0) UNIQUE);",
        touched=["t"],
    )
    assert "DEFAULT" not in house.stored("t").upper()


def test_many_kinds_of_column_at_once(house: House) -> None:
    """One migration adds plain, computed, unique, checked and referring columns to two tables, with an index and a view."""
    house.run(
        BARE
        + TWO_ROWS
        + 'CREATE TABLE "order"(k TEXT PRIMARY KEY) WITHOUT ROWID; INSERT INTO "order" VALUES (\'x\');'
    )
    migrate(
        house,
        """CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT DEFAULT 'Q', b INT AS (length(a) + c), c INT NOT NULL DEFAULT 2,
          d INT CONSTRAINT d_fk REFERENCES t(id) ON DELETE SET NULL CHECK (d > 0) UNIQUE, UNIQUE (c, d));
        CREATE TABLE "order"(k TEXT PRIMARY KEY, "group" INT DEFAULT 1 REFERENCES t(id), "ключ" REAL NOT NULL DEFAULT 0) WITHOUT ROWID;
        CREATE INDEX i ON t(lower(a), b); CREATE UNIQUE INDEX "i 2" ON t(a, d) WHERE b > 5;
        CREATE VIEW v AS SELECT a, "group" FROM t JOIN "order" ON "group" = id;""",
        touched=["t", "order"],
    )
    assert house.ask("SELECT id, a, b, c, d FROM t") == [(1, "Q", 3, 2, None), (5, "Q", 3, 2, None)]
    assert house.ask("SELECT * FROM v") == [("Q", 1)]


def test_a_new_column_stands_where_alter_puts_it_and_is_not_drift(house: House) -> None:
    """The models have it in the middle, the database at the end."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY, z TEXT);")
    migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, m TEXT, z TEXT);", touched=["t"])
    assert [row[1] for row in house.ask("PRAGMA table_info(t)")] == ["id", "z", "m"]


@pytest.mark.parametrize("base", [False, True])
def test_a_column_that_the_models_do_not_want_is_held_with_its_values(house: House, base: bool) -> None:
    """Whether the models once had it or never: dropping loses values, so it waits and shows whose."""
    before = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT);"
    house.run(before + "INSERT INTO t VALUES (1, 'x', NULL), (2, NULL, 3);")
    if base:
        house.models(before)
        house.apply()
    after = "CREATE TABLE t(id INTEGER PRIMARY KEY, b INT);"
    (one,) = refuse(house, after, "held")
    assert (one["kind"], one["name"], one["code"], one["risk"]) == (
        "drop_column",
        "a",
        "drop-column",
        "destructive",
    )
    assert (one["count"], one["rows"]) == (1, [{"key": 1, "value": "x"}])
    backups = house.backups()
    assert house.apply()["backup"] is None
    assert house.backups() == backups
    migrate(house, after, "drop-column", changed=["t.a"], touched=["t"])
    assert house.ask("SELECT * FROM t") == [(1, None), (2, 3)]


def test_a_rename_is_never_guessed_into_a_loss(house: House) -> None:
    """The new name waits, for it may be the old one's; approved, it is added, and the old column stays with its values."""
    house.run("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y');")
    left = refuse(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT);", "held")
    assert [(one["name"], one["code"], one["count"]) for one in left] == [
        ("b", "rename-suspected", 2),
        ("a", "drop-column", 2),
    ]
    document = house.apply("rename-suspected")
    assert kinds(document) == ["add_column"]
    assert [(one["name"], one["count"]) for one in document["held"]] == [("a", 2)]
    assert house.ask("SELECT id, a, b FROM t") == [(1, "x", None), (2, "y", None)]


def test_only_the_case_of_names_differs(house: House) -> None:
    """Names that differ in case alone are the same to SQLite, also of tables, and nothing is done."""
    house.run(
        'CREATE TABLE "Ticket"(Id INTEGER PRIMARY KEY, "userName" TEXT); CREATE INDEX IX ON Ticket(USERNAME);'
    )
    house.models(
        "CREATE TABLE ticket(ID INTEGER PRIMARY KEY, username TEXT); CREATE INDEX ix ON ticket(userName);"
    )
    assert house.check()["in_sync"]
    assert house.apply()["outcome"] == "up_to_date"


BLOCKERS = {
    "view": ("", "CREATE VIEW v AS SELECT b FROM t;"),
    "trigger": (
        "",
        "CREATE TRIGGER g AFTER UPDATE OF b ON t BEGIN UPDATE t SET a = new.b WHERE id = new.id; END;",
    ),
    "foreign trigger": (
        "",
        "CREATE TABLE s(x); CREATE TRIGGER g AFTER DELETE ON s BEGIN INSERT INTO t(b) VALUES (old.x); END;",
    ),
    "tight trigger": ("", "CREATE TABLE s(x); CREATE TRIGGER g DELETE ON[s]BEGIN UPDATE t SET b = 1; END;"),
    "view's trigger": (
        "",
        "CREATE VIEW v AS SELECT id FROM t; CREATE TRIGGER g INSTEAD OF UPDATE ON v BEGIN UPDATE t SET b = new.id; END;",
    ),
}


@pytest.mark.parametrize("blocker", BLOCKERS)
def test_what_an_unmanaged_object_reads_is_not_dropped(house: House, blocker: str) -> None:
    """An approved drop is blocked, naming the view or trigger that would no longer work; nothing is changed."""
    _, objects = BLOCKERS[blocker]
    extra = "CREATE TABLE s(x);" if "CREATE TABLE s" in objects else ""
    house.run(
        f"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT); {objects} INSERT INTO t VALUES (1, 'x', 2);"
    )
    before = house.everything()
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);" + extra)
    document = house.apply("drop-column")
    assert document["outcome"] == "blocked", document
    (one,) = document["blocked"]
    assert (one["kind"], one["name"]) == ("drop_column", "b")
    assert f"{'v' if blocker == 'view' else 'g'} would no longer work" in one["reason"]
    assert house.everything() == before


@pytest.mark.parametrize(
    ("ddl", "approved"),
    [
        ("b INT", ["drop-column"]),
        ("b INT CHECK (b > 0)", ["drop-column", "extra-constraint"]),
        ("b INT UNIQUE", ["drop-column", "extra-constraint"]),
        ("b INT REFERENCES t(id)", ["drop-column", "extra-constraint"]),
        (
            "b INT, UNIQUE (a, b), CHECK (a <> b), FOREIGN KEY (b) REFERENCES t",
            ["drop-column", "extra-constraint"],
        ),
        ("b INT AS (id + 1)", ["drop-column"]),
    ],
)
def test_an_approved_drop_takes_its_constraints_along_and_no_other(
    house: House, ddl: str, approved: list[str]
) -> None:
    """What reads the column goes by name and with approval; the unnamed CHECK on another column stays."""
    house.run(
        f"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT CHECK (a <> ''), {ddl}); INSERT INTO t(id, a) VALUES (1, 'x');"
    )
    after = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT CHECK (a <> ''));"
    assert all(one["rows"] or one["count"] == 0 for one in refuse(house, after, "held"))
    migrate(house, after, *approved, changed=["t.b"], touched=["t"])
    assert "CHECK (a <> '')" in house.stored("t")


def test_the_column_alone_may_not_take_a_constraint_that_is_still_held(house: House) -> None:
    """Approving the column but not the key over it leaves both: no constraint disappears unasked."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT, UNIQUE (a, b)); INSERT INTO t VALUES (1, 'x', 2);"
    )
    before = house.everything()
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);")
    document = house.apply("drop-column")
    assert document["applied"] == [], document
    assert {one["kind"] for one in document["held"] + document["blocked"]} == {"drop_column", "drop_unique"}
    assert house.everything() == before


@pytest.mark.parametrize("ddl", ["b INT UNIQUE CHECK (b > 0)", "b INT, UNIQUE (b), CHECK (b > 0)"])
def test_a_constraint_on_the_dropped_column_alone_goes_with_it(house: House, ddl: str) -> None:
    """It says nothing without its column, however it is written."""
    house.run(
        f"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, {ddl}, CHECK (a <> 'z')); INSERT INTO t VALUES (1, 'x', 2);"
    )
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, CHECK (a <> 'z'));")
    assert kinds(house.apply("drop-column")) == ["drop_column"]
    assert house.ask("SELECT * FROM t") == [(1, "x")]
    assert_settled(house)


@pytest.mark.parametrize("ddl", ["b INT CHECK (b > length(a))", "b INT, CHECK (b > length(a))"])
def test_a_constraint_on_other_columns_too_is_not_lost_on_the_way(house: House, ddl: str) -> None:
    """However it is written, a CHECK that reads another column needs an approval of its own."""
    house.run(f"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, {ddl}); INSERT INTO t VALUES (1, 'x', 2);")
    before = house.everything()
    after = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);"
    house.models(after)
    assert house.apply("drop-column")["applied"] == []
    assert house.everything() == before
    migrate(house, after, "drop-column", "extra-constraint", changed=["t.b"], touched=["t"])


def test_an_index_over_a_dropped_column_goes_only_when_the_models_had_it(house: House) -> None:
    """The models' own index is removed before its column; a second start finds nothing."""
    before = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT); CREATE INDEX i ON t(b, a);"
    house.run(before + "INSERT INTO t VALUES (1, 'x', 2);")
    house.models(before)
    assert house.apply()["outcome"] == "up_to_date"
    after = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);"
    migrate(house, after, "drop-column", changed=["t.b"], touched=["t", "i"])
    assert_settled(house)


def test_an_unmanaged_unique_index_over_a_dropped_column_blocks_it(house: House) -> None:
    """A plain index goes with its column, which the plan says; one that refuses rows is somebody's rule, and stays."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT); CREATE UNIQUE INDEX somebodys ON t(b, a);"
        "INSERT INTO t VALUES (1, 'x', 2);"
    )
    before = house.everything()
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);")
    document = house.apply("drop-column")
    assert document["outcome"] == "blocked", document
    assert "somebodys" in document["blocked"][0]["reason"]
    assert house.everything() == before


@pytest.mark.parametrize("more", ["CREATE TABLE src(x INT);", ""])
def test_a_positional_insert_in_a_trigger_blocks_a_new_column(house: House, more: str) -> None:
    """A trigger that lists values without columns would fail at run time, so the column is not added."""
    house.run(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT); CREATE TABLE src(x INT);"
        "CREATE TRIGGER tr /* INSERT */ AFTER UPDATE ON src BEGIN INSERT INTO t VALUES (new.x, 1); END;"
    )
    (one,) = refuse(
        house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b INT DEFAULT 3);" + more, "blocked"
    )
    assert (one["kind"], one["name"]) == ("add_column", "b")
    assert "tr would no longer work" in one["reason"]


def test_a_star_view_is_left_alone_when_a_column_comes(house: House) -> None:
    """Its shape changes with the table, its text does not."""
    house.run(BARE + TWO_ROWS + "CREATE VIEW v AS SELECT * FROM t;")
    migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT DEFAULT 'n');", touched=["t"])
    assert house.ask("SELECT * FROM v") == [(1, "n"), (5, "n")]
