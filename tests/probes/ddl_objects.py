"""Probes by DDL: indexes, tables, views, triggers and virtual tables."""

from __future__ import annotations

from probes.ddl_words import AB, CHILD, CYCLE, T, g, i
from probes.record import case

V = AB + "CREATE VIEW v AS {};\n"
BODY = "BEGIN INSERT INTO log VALUES ('x'); END"
LOG = "CREATE TABLE log(line TEXT);\n"


INDEXES = [
    case("index", AB, i("INDEX i ON t(a)"), "add index t.i"),
    case("unique index", AB, i("UNIQUE INDEX i ON t(a, b)"), "add index t.i"),
    case("member", i("INDEX i ON t(a)"), i("INDEX i ON t(b)"), "change index t.i"),
    case("order of members", i("INDEX i ON t(a, b)"), i("INDEX i ON t(b, a)"), "change index t.i"),
    case("DESC", i("INDEX i ON t(a)"), i("INDEX i ON t(a DESC)"), "change index t.i"),
    case("collation", i("INDEX i ON t(b)"), i("INDEX i ON t(b COLLATE NOCASE)"), "change index t.i"),
    case("BINARY over a column with a collation", i("INDEX i ON t(b)", T.format("b TEXT COLLATE NOCASE")), i("INDEX i ON t(b COLLATE BINARY)", T.format("b TEXT COLLATE NOCASE")), "change index t.i"),
    case("expression", i("INDEX i ON t(lower(b))"), i("INDEX i ON t(upper(b))"), "change index t.i"),
    case("collation of an expression", i("INDEX i ON t(lower(b))"), i("INDEX i ON t(lower(b) COLLATE NOCASE)"), "change index t.i"),
    case("text in an expression", i("INDEX i ON t(b || 'x')"), i("INDEX i ON t(b || 'X')"), "change index t.i"),
    case("predicate", i("INDEX i ON t(a)"), i("INDEX i ON t(a) WHERE b IS NOT NULL"), "change index t.i"),
    case("number in a predicate", i("UNIQUE INDEX i ON t(a) WHERE a > 0"), i("UNIQUE INDEX i ON t(a) WHERE a > 1"), "change index t.i"),
    case("unique partial to whole", i("UNIQUE INDEX i ON t(a) WHERE a > 0"), i("UNIQUE INDEX i ON t(a)"), "change index t.i"),
    case("another table of the same name", i("INDEX i ON t(a)", AB + CHILD), i("INDEX i ON c(t)", AB + CHILD), "remove index t.i & add index c.i"),
    case("index over the key", AB, i("INDEX i ON t(id)"), "add index t.i"),
    case("unique index over the key", "CREATE TABLE t(k TEXT PRIMARY KEY);", "CREATE TABLE t(k TEXT PRIMARY KEY); CREATE UNIQUE INDEX i ON t(k);", "add index t.i"),
    case("index in a WITHOUT ROWID table", "CREATE TABLE t(k TEXT PRIMARY KEY, a) WITHOUT ROWID;", "CREATE TABLE t(k TEXT PRIMARY KEY, a) WITHOUT ROWID; CREATE INDEX i ON t(a);", "add index t.i"),
    case("index over a JSON path", AB, i("INDEX i ON t(json_extract('{}', '$.x'), a)"), "add index t.i"),
]  # fmt: skip
OBJECTS = [
    case("table", AB, AB + LOG, "add table log"),
    case("STRICT WITHOUT ROWID table", AB, AB + "CREATE TABLE s(a TEXT PRIMARY KEY, b ANY) STRICT, WITHOUT ROWID;", "add table s"),
    case("table with AUTOINCREMENT", AB, AB + "CREATE TABLE s(a INTEGER PRIMARY KEY AUTOINCREMENT);", "add table s"),
    case("two tables in a circle", AB, AB + CYCLE.format(" REFERENCES y(id)"), "add table x & add table y"),
    case("table of the name of a view", AB + "CREATE VIEW w AS SELECT a FROM t;", AB + "CREATE TABLE w(a INT);", "add table w & remove view w"),
    case("view", AB, V.format("SELECT a FROM t"), "add view v"),
    case("view's query", V.format("SELECT a FROM t"), V.format("SELECT a FROM t WHERE a > 0"), "change view v"),
    case("view's columns", AB + "CREATE VIEW v(x) AS SELECT a FROM t;", AB + "CREATE VIEW v(y) AS SELECT a FROM t;", "change view v"),
    case("text in a view", V.format("SELECT 'x' AS c FROM t"), V.format("SELECT 'X' AS c FROM t"), "change view v"),
    case("parentheses in a view", V.format("SELECT a + 1 * 2 AS c FROM t"), V.format("SELECT (a + 1) * 2 AS c FROM t"), "change view v"),
    case("view with a common table expression", AB, V.format("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3) SELECT x FROM n"), "add view v"),
    case("view under a view", V.format("SELECT a FROM t") + "CREATE VIEW w AS SELECT a FROM v;", V.format("SELECT a, b FROM t") + "CREATE VIEW w AS SELECT a FROM v;", "change view v"),
    case("trigger", g("g AFTER INSERT ON t " + BODY, LOG).replace("CREATE TRIGGER g AFTER INSERT ON t " + BODY + ";", ""), g("g AFTER INSERT ON t " + BODY, LOG), "add trigger t.g"),
    case("trigger's event", g("g AFTER INSERT ON t " + BODY, LOG), g("g AFTER DELETE ON t " + BODY, LOG), "change trigger t.g"),
    case("trigger's time", g("g AFTER INSERT ON t " + BODY, LOG), g("g INSERT ON t " + BODY, LOG), "change trigger t.g"),
    case("trigger's columns", g("g AFTER UPDATE ON t " + BODY, LOG), g("g AFTER UPDATE OF a ON t " + BODY, LOG), "change trigger t.g"),
    case("trigger's condition", g("g AFTER UPDATE ON t " + BODY, LOG), g("g AFTER UPDATE ON t WHEN old.a <> new.a " + BODY, LOG), "change trigger t.g"),
    case("text in a trigger", g("g AFTER INSERT ON t " + BODY, LOG), g("g AFTER INSERT ON t " + BODY.replace("'x'", "'X'"), LOG), "change trigger t.g"),
    case("statement in a trigger", g("g AFTER INSERT ON t " + BODY, LOG), g("g AFTER INSERT ON t BEGIN INSERT INTO log VALUES ('x'); DELETE FROM log WHERE 0; END", LOG), "change trigger t.g"),
    case("trigger's table", g("g AFTER INSERT ON t " + BODY, LOG + CHILD), g("g AFTER INSERT ON c " + BODY, LOG + CHILD), "change trigger c.g", back="change trigger t.g"),
    case("trigger on a view", V.format("SELECT a FROM t"), V.format("SELECT a FROM t") + "CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN INSERT INTO t(a) VALUES (new.a); END;", "add trigger v.g"),
    case("full text search", AB, AB + "CREATE VIRTUAL TABLE f USING fts5(x);", "add virtual_table f.f"),
    case("full text search over a table", AB, AB + "CREATE VIRTUAL TABLE f USING fts5(b, content='t', content_rowid='id');", "add virtual_table f.f"),
    case("r-tree", AB, AB + "CREATE VIRTUAL TABLE f USING rtree(i, x0, x1);", "add virtual_table f.f"),
]  # fmt: skip
