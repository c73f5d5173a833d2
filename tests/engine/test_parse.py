"""The tree of what SQLite stores: what it holds, and what is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from driftengine.dialects.sqlite.ddl import (
    CreateIndex,
    CreateTable,
    CreateTrigger,
    CreateView,
    CreateVirtualTable,
    IndexedColumn,
    Reference,
    Span,
)
from driftengine.dialects.sqlite.parse import parse
from driftengine.dialects.sqlite.tokens import UnreadableSQL


def _stored(*statements: str, name: str) -> str:
    """What SQLite stores for the object of that name after these statements."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in statements:
            connection.execute(statement)
        text: str = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]
        return text


def _table(sql: str) -> CreateTable:
    tree = parse(sql)
    assert isinstance(tree, CreateTable)
    return tree


_EVERYTHING = """CREATE TEMP TABLE IF NOT EXISTS "it"(
  id INTEGER CONSTRAINT pk PRIMARY KEY ON CONFLICT REPLACE AUTOINCREMENT, -- the key, with a ) in it
  'name' VARCHAR (10) NOT NULL ON CONFLICT IGNORE DEFAULT 'a,b' COLLATE "nocase",
  [parent] INT CONSTRAINT fk REFERENCES it(id) ON DELETE CASCADE MATCH FULL NOT DEFERRABLE INITIALLY DEFERRED,
  `total` AS (id * 2) STORED CONSTRAINT positive CHECK (total > 0) CONSTRAINT lonely,
  UNIQUE ("name" COLLATE rtrim DESC, parent) ON CONFLICT FAIL
  CONSTRAINT fk2 FOREIGN KEY (parent, "name") REFERENCES "other one"(x, 'y') DEFERRABLE INITIALLY DEFERRED
  CHECK (id > 0) CONSTRAINT end_of_it
)"""


def test_everything_that_a_table_can_hold() -> None:
    """Each clause has its kind, name and particulars; commas between table constraints are not needed."""
    tree = _table(_stored(_EVERYTHING.replace("TEMP ", ""), name="it"))
    key, name, parent, total = tree.columns
    assert [(column.name, column.type) for column in tree.columns] == [
        ("id", "INTEGER"), ("name", "VARCHAR (10)"), ("parent", "INT"), ("total", ""),
    ]  # fmt: skip
    primary = key.clause("primary key")
    assert primary is not None
    assert (primary.name, primary.conflict, primary.autoincrement, primary.descending) == (
        "pk",
        "REPLACE",
        True,
        False,
    )
    assert [clause.kind for clause in name.clauses] == ["not null", "default", "collate"]
    assert (name.clauses[0].conflict, name.clauses[1].expression, name.clauses[2].collation) == (
        "IGNORE",
        "'a,b'",
        "nocase",
    )
    (reference,) = parent.clauses
    assert (reference.kind, reference.name) == ("references", "fk")
    where = tree.sql.index("REFERENCES it") + len("REFERENCES ")
    assert reference.reference == Reference(
        "it", ("id",), "NO ACTION", "CASCADE", deferred=False, table_span=Span(where, where + 2)
    )
    assert [(clause.kind, clause.name, clause.expression) for clause in total.clauses] == [
        ("generated", "", "id * 2"), ("check", "positive", "total > 0"), ("name only", "lonely", ""),
    ]  # fmt: skip
    assert total.clauses[0].stored
    unique, foreign, check, lonely = tree.constraints
    assert unique.columns == (
        IndexedColumn('"name"', "name", "rtrim", descending=True), IndexedColumn("parent", "parent", "", descending=False),
    )  # fmt: skip
    assert (unique.conflict, foreign.name, foreign.local_columns) == ("FAIL", "fk2", ("parent", "name"))
    assert foreign.reference is not None
    assert (foreign.reference.table, foreign.reference.columns, foreign.reference.deferred) == (
        "other one",
        ("x", "y"),
        True,
    )
    assert (check.expression, lonely.kind, lonely.name) == ("id > 0", "name only", "end_of_it")


@pytest.mark.parametrize(
    "clause",
    ["", "DEFERRABLE", "NOT DEFERRABLE", "DEFERRABLE INITIALLY IMMEDIATE", "DEFERRABLE INITIALLY DEFERRED",
     "NOT DEFERRABLE INITIALLY DEFERRED", "ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED"],
)  # fmt: skip
def test_deferred_is_what_sqlite_defers(clause: str) -> None:
    """A foreign key is deferred in the tree when SQLite lets a violation stand until COMMIT."""
    sql = f"CREATE TABLE t(a REFERENCES t(b) {clause}, b PRIMARY KEY)"
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(sql)
        connection.execute("BEGIN")
        try:
            connection.execute("INSERT INTO t VALUES (1, 2)")
        except sqlite3.IntegrityError:
            deferred = False
        else:
            deferred = True
    found = _table(sql).columns[0].clauses[0].reference
    assert found is not None
    assert found.deferred == deferred


@pytest.mark.parametrize("members", ["id AUTOINCREMENT", "id ASC AUTOINCREMENT", "'id' autoincrement"])
def test_autoincrement_in_a_table_constraint(members: str) -> None:
    """PRIMARY KEY(id AUTOINCREMENT) is the same as AUTOINCREMENT in the column."""
    tree = _table(_stored(f"CREATE TABLE t(id INTEGER, PRIMARY KEY({members}))", name="t"))
    (clause,) = tree.constraints
    assert clause.autoincrement
    assert [part.column for part in clause.columns] == ["id"]


def test_options_in_any_order() -> None:
    """WITHOUT ROWID and STRICT stand alone or together, in any order and case."""
    found = {
        options: (_table(f"CREATE TABLE t(a INT PRIMARY KEY){options}").without_rowid, _table(f"CREATE TABLE t(a INT PRIMARY KEY){options}").strict)
        for options in ("", " strict", "WITHOUT Rowid", " STRICT, WITHOUT ROWID", " without rowid ,/**/strict -- x")
    }  # fmt: skip
    assert list(found.values()) == [(False, False), (False, True), (True, False), (True, True), (True, True)]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("[x y]", "[x y]"), ("a /* c */ b", "a /* c */ b"), ("numeric(+1,-2)", "numeric(+1,-2)"), ("generated always", ""), ("INT generated\nalways", "INT")],
)  # fmt: skip
def test_a_type_is_kept_as_written(typed: str, expected: str) -> None:
    """Whatever stands between the name and the constraints is the type, but for GENERATED ALWAYS."""
    (_, column) = _table(f"CREATE TABLE t(b, a {typed} AS (1))").columns
    assert (column.type, [clause.kind for clause in column.clauses]) == (expected, ["generated"])


def test_a_table_made_by_a_query_and_then_altered() -> None:
    """What SQLite writes itself, for CREATE TABLE AS and for ALTER TABLE, is parsed like what people write."""
    text = _stored(
        'CREATE TABLE old AS SELECT 1 AS a, \'x\' AS "b c", 2.5 AS "select"',
        'ALTER TABLE old RENAME COLUMN "b c" TO [d e]',
        "ALTER TABLE old ADD COLUMN f TEXT DEFAULT '' -- why\n NOT NULL",
        "ALTER TABLE old RENAME TO 'new one'",
        name="new one",
    )
    tree = _table(text)
    assert (tree.name, [column.name for column in tree.columns]) == ("new one", ["a", "d e", "select", "f"])


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ("a", [("a", "", False)]),
        ("'a' desc, \"B\" COLLATE 'nocase' ASC", [("a", "", True), ("B", "nocase", False)]),
        ("((a) COLLATE rtrim)", [("a", "rtrim", False)]),
        ("(a COLLATE rtrim) COLLATE nocase DESC", [("a", "nocase", True)]),
        ("lower(a) COLLATE nocase", [("lower(a)", "nocase", False)]),
        ("(lower(a) COLLATE nocase)", [("lower(a)", "nocase", False)]),
        ("a || b COLLATE nocase", [("a || b COLLATE nocase", "", False)]),
        ("(a || b) COLLATE nocase", [("(a || b)", "nocase", False)]),
        ("-a COLLATE nocase", [("-a", "nocase", False)]),
        ("NOT a COLLATE nocase", [("NOT a COLLATE nocase", "", False)]),
        (
            "CASE a WHEN 1 THEN b || 'x' END COLLATE nocase",
            [("CASE a WHEN 1 THEN b || 'x' END", "nocase", False)],
        ),
        ("desc", [("desc", "", False)]),
    ],
)
def test_the_members_of_an_index(members: str, expected: list[tuple[str, str, bool]]) -> None:
    """COLLATE belongs to the whole member only where SQLite binds it so; parentheses around a column are nothing."""
    sql = _stored(
        "CREATE TABLE t(a, b, desc)", f"CREATE UNIQUE INDEX i ON t({members}) WHERE a > 0 -- end", name="i"
    )
    tree = parse(sql)
    assert isinstance(tree, CreateIndex)
    assert [
        (part.column or part.expression, part.collation, part.descending) for part in tree.columns
    ] == expected
    assert (tree.name, tree.table, tree.unique, tree.where) == ("i", "t", True, "a > 0")


def test_a_view() -> None:
    """A view's definition is all that stands behind its name."""
    tree = parse(
        _stored(
            "CREATE VIEW IF NOT EXISTS main.[v w] (a, b) AS WITH x AS (SELECT 1) SELECT 1, (2) ;", name="v w"
        )
    )
    assert isinstance(tree, CreateView)
    assert (tree.name, tree.definition) == ("v w", "(a, b) AS WITH x AS (SELECT 1) SELECT 1, (2)")


@pytest.mark.parametrize(
    ("head", "time", "event", "columns"),
    [
        ("BEFORE INSERT ON", "BEFORE", "INSERT", ()),
        ("after update OF a, 'b' ON", "AFTER", "UPDATE", ("a", "b")),
        ("DELETE ON", "BEFORE", "DELETE", ()),
        ("INSTEAD OF DELETE ON", "INSTEAD OF", "DELETE", ()),
        ("AFTER INSERT ON main .", "AFTER", "INSERT", ()),
    ],
)
@pytest.mark.parametrize("each", ["", " FOR EACH ROW"])
@pytest.mark.parametrize("when", ["", "(1)", 'new."begin" > CASE WHEN new.begin THEN (SELECT 1) END'])
def test_a_trigger(head: str, time: str, event: str, columns: tuple[str, ...], each: str, when: str) -> None:
    """Every event and time, BEFORE where none is said; the table is the one behind ON, without its schema's name."""
    body = "BEGIN SELECT CASE WHEN 1 THEN 2 END; END"
    condition = f" WHEN {when}" if when else ""
    tree = parse(f'CREATE TRIGGER x {head} "the t"{each}{condition} {body}')
    assert isinstance(tree, CreateTrigger)
    assert (tree.name, tree.table, tree.body) == ("x", "the t", body)
    assert (tree.time, tree.event, tree.columns, tree.when) == (time, event, columns, when)


def test_a_virtual_table() -> None:
    """The module's arguments are free text; only their parentheses must close."""
    sql = "CREATE VIRTUAL TABLE docs USING fts5(title, body, tokenize = 'porter unicode61')"
    tree = parse(_stored(sql, name="docs"))
    assert isinstance(tree, CreateVirtualTable)
    assert (tree.name, tree.module) == ("docs", "fts5")
    assert tree.definition == "USING fts5(title, body, tokenize = 'porter unicode61')"
    assert parse("CREATE VIRTUAL TABLE x USING m()") != parse("CREATE VIRTUAL TABLE x USING m")


@pytest.mark.parametrize(
    "sql",
    [
        "", "SELECT 1", "DROP TABLE t", "CREATE TABLE", "CREATE TABLE t", "CREATE TABLE t()", "CREATE TABLE t(a",
        "CREATE TABLE t(a,)", "CREATE TABLE t(a,,b)", "CREATE TABLE t(a) x", "CREATE TABLE t(a) STRICT,", "CREATE TABLE t(a INT PRIMARY KEY) WITHOUT ROWID STRICT",
        'CREATE TABLE t(a) "strict"', "CREATE TABLE t(a) WITHOUT", "CREATE TABLE t(select)", "CREATE TABLE t(CHECK (1))",
        "CREATE TABLE t(a CHECK ())", "CREATE TABLE t(a INT(x))", "CREATE TABLE t(a DEFAULT)", "CREATE TABLE t(a DEFAULT -b)",
        "CREATE TABLE t(a DEFAULT select)", "CREATE TABLE t(a NOT)", "CREATE TABLE t(a, CHECK (1), b)",
        "CREATE TABLE t(a, PRIMARY KEY a)", "CREATE TABLE t(a, UNIQUE (a + 1))", "CREATE TABLE t(a, UNIQUE ())",
        "CREATE TABLE t(a REFERENCES p ON DELETE x)", "CREATE TABLE t(a REFERENCES p ON x)", "CREATE TABLE t(a UNIQUE ON CONFLICT x)",
        "CREATE TABLE t(a CONSTRAINT)", "CREATE TABLE t(a, FOREIGN KEY (a) p)", "CREATE TABLE t(a 'open)",
        "CREATE INDEX i ON t", "CREATE INDEX i ON t()", "CREATE INDEX i ON t(a,)", "CREATE INDEX i ON t(a) WHERE", "CREATE INDEX i ON t(a) b",
        "CREATE INDEX i ON t(a NULLS FIRST)", "CREATE VIEW v", "CREATE VIEW v AS x", "CREATE VIEW v AS SELECT (1", "CREATE VIEW v AS SELECT 1)",
        "CREATE TRIGGER x AFTER ON t BEGIN SELECT 1; END", "CREATE TRIGGER x AFTER DELETE ON t BEGIN SELECT 1;", "CREATE TRIGGER x DELETE ON t",
        "CREATE VIRTUAL TABLE v", "CREATE VIRTUAL TABLE v USING m(a", "CREATE VIRTUAL TABLE v USING m(a) b",
    ],
)  # fmt: skip
def test_what_sqlite_refuses_is_refused(sql: str) -> None:
    """No half-right tree: a text that SQLite cannot prepare raises UnreadableSQL."""
    with closing(sqlite3.connect(":memory:")) as connection:
        if sql.startswith(("CREATE INDEX", "CREATE TRIGGER")):
            connection.execute("CREATE TABLE t(a)")
        if sql not in {"", "SELECT 1"}:
            with pytest.raises(sqlite3.Error):
                connection.execute(sql)
    with pytest.raises(UnreadableSQL):
        parse(sql)


@pytest.mark.parametrize(
    "columns",
    ["a REFERENCES p NOT NULL DEFERRABLE INITIALLY DEFERRED", "a REFERENCES p, b DEFERRABLE", "b, a INT GENERATED /* x */ ALWAYS AS (1)", "a INTEGER GENERATED ALWAYS ALWAYS", "a A_LONG_TYPE_ALWAYS"],
)  # fmt: skip
def test_what_the_tree_cannot_hold_is_refused(columns: str) -> None:
    """SQLite accepts a DEFERRABLE apart from its REFERENCES, and cuts ALWAYS off other types: not we."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE t({columns})")
    with pytest.raises(UnreadableSQL, match="at offset"):
        parse(f"CREATE TABLE t({columns})")


def test_the_last_clause_counts() -> None:
    """Of two defaults or collations in one column SQLite obeys the last; so does `clause`."""
    sql = "CREATE TABLE t(a DEFAULT 1 COLLATE nocase DEFAULT 2 COLLATE rtrim)"
    (column,) = _table(sql).columns
    default, collate = column.clause("default"), column.clause("collate")
    assert default is not None
    assert collate is not None
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(sql)
        connection.execute("CREATE INDEX i ON t(a)")
        stored = connection.execute("SELECT dflt_value FROM pragma_table_info('t')").fetchone()[0]
        collation = connection.execute("SELECT coll FROM pragma_index_xinfo('i') WHERE key").fetchone()[0]
    assert (default.expression, collate.collation) == (stored, collation)
