"""Equal in effect: each rule in both directions, a spelling that is no drift and a neighbour that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.witness import assert_settled

if TYPE_CHECKING:
    from support.migrations import House

P = "CREATE TABLE p(id INTEGER PRIMARY KEY, k TEXT UNIQUE);"
MORE = "CREATE TABLE pair(b INT, a INT, PRIMARY KEY (a, b));"

# (what the rule is, the database's spelling, another spelling of the same, something that differs)
RULES = [
    (
        "quoting",
        'a TEXT, b, CHECK ("a" <> [b])',
        "`a` TEXT, [b], CHECK (a <> b)",
        "a TEXT, b, CHECK (a <> 'b')",
    ),
    ("case", "a text not null", "A TEXT NOT NULL", "a text"),
    (
        "white space and comments",
        "a  TEXT -- c\n NOT /* x */ NULL",
        "a TEXT NOT NULL",
        "a TEXT /* NOT NULL */",
    ),
    ("parentheses", "a INT CHECK (((a)) > (0))", "a INT CHECK (a > 0)", "a INT CHECK (a > 0 AND (a < 9))"),
    (
        "parentheses that matter",
        "a INT CHECK ((a + 1) * 2 > 4)",
        "a INT CHECK (((a + 1) * (2)) > 4)",
        "a INT CHECK (a + 1 * 2 > 4)",
    ),
    ("check inline or not", "a INT CHECK (a > 0)", "a INT, CHECK (a > 0)", "a INT, CHECK (a >= 0)"),
    ("unique inline or not", "a INT UNIQUE", "a INT, UNIQUE (a)", "a INT"),
    (
        "reference inline or not",
        "a INT REFERENCES p(id)",
        "a INT, FOREIGN KEY (a) REFERENCES p(id)",
        "a TEXT REFERENCES p(k)",
    ),
    ("column order", "a INT, b TEXT", "b TEXT, a INT", "b INT, a TEXT"),
    (
        "order within UNIQUE",
        "a INT, b INT, UNIQUE (a, b)",
        "a INT, b INT, UNIQUE (b, a)",
        "a INT, b INT, UNIQUE (a), UNIQUE (b)",
    ),
    (
        "constraint names",
        "a INT CONSTRAINT x CHECK (a > 0)",
        "a INT, CONSTRAINT y CHECK (a > 0)",
        "a INT, CONSTRAINT x CHECK (a > 1)",
    ),
    (
        "twice the same",
        "a INT UNIQUE CHECK (a > 0), UNIQUE (a), CHECK (a > 0)",
        "a INT UNIQUE CHECK (a > 0)",
        "a INT CHECK (a > 0)",
    ),
    ("COLLATE BINARY", "a TEXT COLLATE BINARY", "a TEXT", "a TEXT COLLATE NOCASE"),
    (
        "collation in a key",
        "a TEXT COLLATE NOCASE, UNIQUE (a COLLATE nocase)",
        "a TEXT COLLATE NOCASE UNIQUE",
        "a TEXT COLLATE NOCASE, UNIQUE (a COLLATE BINARY)",
    ),
    (
        "NO ACTION",
        "a INT REFERENCES p(id) ON DELETE NO ACTION",
        "a INT REFERENCES p(id)",
        "a INT REFERENCES p(id) ON DELETE RESTRICT",
    ),
    (
        "NOT DEFERRABLE",
        "a INT REFERENCES p(id) NOT DEFERRABLE",
        "a INT REFERENCES p(id) DEFERRABLE",
        "a INT REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED",
    ),
    (
        "INITIALLY IMMEDIATE",
        "a INT REFERENCES p(id) DEFERRABLE INITIALLY IMMEDIATE",
        "a INT REFERENCES p(id)",
        "a INT REFERENCES p(id) ON UPDATE CASCADE",
    ),
    ("the parent's key named", "a INT REFERENCES p", "a INT REFERENCES P(ID)", "a INT REFERENCES p(k)"),
    (
        "a composite parent key named",
        "a INT, b INT, FOREIGN KEY (a, b) REFERENCES pair",
        "a INT, b INT, FOREIGN KEY (b, a) REFERENCES pair(b, a)",
        "a INT, b INT, FOREIGN KEY (a, b) REFERENCES pair(b, a)",
    ),
    ("MATCH", "a INT REFERENCES p(id) MATCH FULL", "a INT REFERENCES p(id)", "a INT"),
    ("DEFAULT NULL", "a TEXT DEFAULT NULL", "a TEXT", "a TEXT DEFAULT 'NULL'"),
    ("NULL written out", "a TEXT NULL", "a TEXT", "a TEXT NOT NULL"),
    ("number or text in INTEGER", "a INTEGER DEFAULT 1", "a INTEGER DEFAULT '1'", "a INTEGER DEFAULT '1.5'"),
    ("number or text in TEXT", "a TEXT DEFAULT 1", "a TEXT DEFAULT '1'", "a TEXT DEFAULT '1.0'"),
    ("number in REAL", "a REAL DEFAULT 1", "a REAL DEFAULT 1.0", "a REAL DEFAULT 1.1"),
    ("FALSE", "a BOOLEAN DEFAULT FALSE", "a BOOLEAN DEFAULT 0", "a BOOLEAN DEFAULT TRUE"),
    ("a computed default", "a INT DEFAULT (1 + 1)", "a INT DEFAULT 2", "a INT DEFAULT '1+1'"),
    ("a sign", "a INT DEFAULT -1", "a INT DEFAULT (-1)", "a INT DEFAULT +1"),
    ("a double-quoted default", 'a TEXT DEFAULT "it\'s"', "a TEXT DEFAULT 'it''s'", "a TEXT DEFAULT 'its'"),
    ("an empty text", "a TEXT DEFAULT ''", "a TEXT DEFAULT ('')", "a TEXT DEFAULT ' '"),
    ("a blob", "a BLOB DEFAULT x'4a'", "a BLOB DEFAULT X'4A'", "a BLOB DEFAULT 'J'"),
    (
        "a moment",
        "a TEXT DEFAULT CURRENT_TIMESTAMP",
        "a TEXT DEFAULT (current_timestamp)",
        "a TEXT DEFAULT 'CURRENT_TIMESTAMP'",
    ),
    (
        "a function",
        "a TEXT DEFAULT (datetime('now'))",
        "a TEXT DEFAULT ( DATETIME ( 'now' ) )",
        "a TEXT DEFAULT (datetime('NOW '))",
    ),
    ("white space in a type", "a VARCHAR ( 10 )", "a varchar(10)", "a VARCHAR(11)"),
    ("a type of two words", "a double   precision", "a DOUBLE PRECISION", "a DOUBLE"),
    ("another word of the same affinity", "a VARCHAR(5)", "a Varchar(5)", "a TEXT"),
    (
        "GENERATED ALWAYS and VIRTUAL",
        "a INT, g INT GENERATED ALWAYS AS (a + 1) VIRTUAL",
        "a INT, g INT AS ((a) + 1)",
        "a INT, g INT AS (a + 2)",
    ),
    (
        "STORED",
        "a INT, g INT AS (a + 1) STORED",
        "a INT, g INT GENERATED ALWAYS AS (a+1) STORED",
        "a INT, g INT AS (a + 1)",
    ),
    (
        "ON CONFLICT ABORT",
        "a INT NOT NULL ON CONFLICT ABORT UNIQUE ON CONFLICT ABORT",
        "a INT NOT NULL UNIQUE",
        "a INT NOT NULL UNIQUE ON CONFLICT IGNORE",
    ),
    (
        "= and ==",
        "a INT CHECK (a = 1 OR a <> 3)",
        "a INT CHECK (a == 1 OR a != 3)",
        "a INT CHECK (a = 1 AND a <> 3)",
    ),
    ("a qualified name", "a INT CHECK (t.a > 0)", 'a INT CHECK ("T"."A" > 0)', "a INT CHECK (t.a > 1)"),
]


@pytest.mark.parametrize(
    ("database", "same", "other"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES]
)
def test_a_rule_of_equality_in_both_directions(
    wal_house: House, database: str, same: str, other: str
) -> None:
    """Neither spelling drifts from the other, and what really differs is seen from both sides."""

    def ddl(columns: str) -> str:
        return P + MORE + f"CREATE TABLE t(id INTEGER PRIMARY KEY, {columns}\n);"

    house = wal_house
    house.run(ddl(database))
    house.models(ddl(same))
    assert house.check()["differences"] == []
    document = house.apply()
    assert document["outcome"] == "up_to_date"
    assert document["backup"] is None
    house.models(ddl(other))
    assert house.check()["differences"]
    house.run("DROP TABLE t; DROP TABLE p; DROP TABLE pair; DROP TABLE IF EXISTS driftd_history")
    house.run(ddl(same))
    house.models(ddl(database))
    assert house.check()["differences"] == []
    house.models(ddl(other))
    assert house.check()["differences"]


OBJECTS = [
    ("ASC", "CREATE INDEX i ON t(a ASC)", "create index I on T(A)", "CREATE INDEX i ON t(a DESC)"),
    ("index names", "CREATE INDEX one ON t(a)", "CREATE INDEX two ON t(a)", "CREATE INDEX one ON t(b)"),
    (
        "index collation",
        "CREATE INDEX i ON t(a COLLATE BINARY)",
        "CREATE INDEX i ON t(a)",
        "CREATE INDEX i ON t(a COLLATE RTRIM)",
    ),
    (
        "predicate",
        "CREATE INDEX i ON t(a) WHERE (b > 1)",
        'CREATE INDEX i ON t(a) where "b">1',
        "CREATE INDEX i ON t(a) WHERE b > 2",
    ),
    (
        "expression",
        "CREATE INDEX i ON t(lower(a))",
        "CREATE INDEX i ON t(LOWER( [a] ))",
        "CREATE INDEX i ON t(upper(a))",
    ),
    (
        "view",
        "CREATE VIEW v AS SELECT a, b FROM t",
        'create view V as\n select "a" , b /* c */ from T',
        "CREATE VIEW v AS SELECT b, a FROM t",
    ),
    (
        "view's columns",
        "CREATE VIEW v(x) AS SELECT a FROM t",
        "CREATE VIEW v( X ) AS SELECT A FROM t",
        "CREATE VIEW v(y) AS SELECT a FROM t",
    ),
    (
        "trigger",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = 'X'; END",
        "create trigger G after insert on T begin update t set A='X' ; end",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = 'x'; END",
    ),
]


@pytest.mark.parametrize(
    ("database", "same", "other"), [rule[1:] for rule in OBJECTS], ids=[rule[0] for rule in OBJECTS]
)
def test_objects_that_say_the_same(wal_house: House, database: str, same: str, other: str) -> None:
    """Indexes, views and triggers are compared by what they do."""
    house, table = wal_house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT);"
    house.run(table + database)
    for text in (database, same):
        house.models(f"{table} {text};")
        assert house.check()["differences"] == []
    house.models(f"{table} {other};")
    assert house.check()["differences"]


@pytest.mark.parametrize(
    ("database", "same", "other"),
    [
        (
            "id INTEGER PRIMARY KEY",
            "id INTEGER NOT NULL, PRIMARY KEY (id)",
            "id INTEGER PRIMARY KEY AUTOINCREMENT",
        ),
        (
            "id INTEGER, PRIMARY KEY (id DESC)",
            "ID INTEGER PRIMARY KEY ASC NOT NULL UNIQUE",
            "id INT PRIMARY KEY",
        ),
        ("id INTEGER PRIMARY KEY DESC", "id INTEGER PRIMARY KEY DESC", "id INTEGER PRIMARY KEY"),
        ("id TEXT PRIMARY KEY", "id TEXT CONSTRAINT pk PRIMARY KEY UNIQUE", "id TEXT PRIMARY KEY NOT NULL"),
        (
            "id INT, b INT, PRIMARY KEY (id, b)",
            "b INT, id INT, CONSTRAINT x PRIMARY KEY (id ASC, b)",
            "id INT, b INT, PRIMARY KEY (b, id)",
        ),
        (
            "id INT, b INT, PRIMARY KEY (id, b)",
            "id INT, b INT, PRIMARY KEY (id, b)",
            "id INT, b INT, PRIMARY KEY (id)",
        ),
    ],
)
def test_primary_keys_that_mean_the_same(wal_house: House, database: str, same: str, other: str) -> None:
    """NOT NULL on an alias of the rowid, ASC, UNIQUE over the key and where it is written say nothing new."""
    wal_house.run(f"CREATE TABLE t({database});")
    wal_house.models(f"CREATE TABLE t({same});")
    assert wal_house.check()["differences"] == []
    wal_house.models(f"CREATE TABLE t({other});")
    assert wal_house.check()["differences"]


def test_a_unique_index_for_a_constraint_and_the_other_way_round(wal_house: House) -> None:
    """Over the same columns either satisfies; a partial, wider or differently collated one does not."""
    house, constraint = wal_house, "CREATE TABLE t(a TEXT, b INT, UNIQUE (a, b));"
    plain = "CREATE TABLE t(a TEXT, b INT);"
    house.run(constraint)
    house.models(plain + "CREATE UNIQUE INDEX u ON t(b, a);")
    assert house.check()["in_sync"] is True
    for other in ("t(a)", "t(a, b) WHERE b > 0", "t(a COLLATE NOCASE, b)", "t(lower(a), b)"):
        house.models(f"{plain} CREATE UNIQUE INDEX u ON {other};")
        assert house.check()["in_sync"] is False
    house.run("DROP TABLE t;" + plain + "CREATE UNIQUE INDEX whatever ON t(b, a);")
    house.models(constraint)
    assert house.check()["in_sync"] is True
    house.models("CREATE TABLE t(a TEXT, b INT, UNIQUE (a, b) ON CONFLICT REPLACE);")
    assert house.check()["in_sync"] is False


def test_a_whole_table_in_another_dress(house: House) -> None:
    """Every rule at once: nothing to do, no backup, and the rows are not looked at."""
    house.run(
        """CREATE TABLE q(k VARCHAR(3) primary key);
        CREATE TABLE "t" (
            id INTEGER NOT NULL,
            a VARCHAR(50) DEFAULT 'x' NOT NULL,
            b BOOLEAN DEFAULT FALSE, c VARCHAR(3) COLLATE BINARY DEFAULT NULL,
            PRIMARY KEY (id),
            CONSTRAINT ck CHECK (a in ('p', 'q')),
            FOREIGN KEY(c) REFERENCES q (k) ON DELETE NO ACTION NOT DEFERRABLE
        ); INSERT INTO t(id, a) VALUES (1, 'p');"""
    )
    house.models(
        """create table T(Id integer primary key not null, A varchar( 50 ) not null default ('x') check(((a) IN ('p','q'))),
        b boolean default 0, c varchar(3) references q, unique(id)); create table q (k varchar (3), primary key(k asc));"""
    )
    assert_settled(house)
    assert house.backups() == []
