"""Probes by DDL: columns come and go, and change their types."""

from __future__ import annotations

from probes.ddl_words import CHILD, T, p
from probes.record import case

COLUMNS = [
    case("column added", T.format("a INT"), T.format("a INT, b TEXT"), "add column t.b"),
    case("column added in front", T.format("a INT"), "CREATE TABLE t(b TEXT, id INTEGER PRIMARY KEY, a INT);", "add column t.b"),
    case("column without a type added", T.format("a INT"), T.format("a INT, b"), "add column t.b"),
    case("column with a literal default added", T.format("a INT"), T.format("a INT, b TEXT NOT NULL DEFAULT 'it''s'"), "add column t.b"),
    case("column with a negative default added", T.format("a INT"), T.format("a INT, b REAL DEFAULT -1.5e3"), "add column t.b"),
    case("column with a blob as default added", T.format("a INT"), T.format("a INT, b BLOB DEFAULT x'00ff'"), "add column t.b"),
    case("column with a hexadecimal default added", T.format("a INT"), T.format("a INT, b INT DEFAULT 0x10"), "add column t.b"),
    case("column with TRUE as default added", T.format("a INT"), T.format("a INT, b BOOLEAN NOT NULL DEFAULT TRUE"), "add column t.b"),
    case("column with an expression as default added", T.format("a INT"), T.format("a INT, b TEXT DEFAULT (lower('X') || 'y')"), "add column t.b"),
    case("column with the moment as default added", T.format("a INT"), T.format("a INT, b TEXT DEFAULT CURRENT_DATE"), "add column t.b"),
    case("column with a random default added", T.format("a INT"), T.format("a INT, b BLOB DEFAULT (randomblob(8))"), "add column t.b"),
    case("generated column added", T.format("a INT"), T.format("a INT, b INT AS (a * 2)"), "add column t.b"),
    case("stored generated column added", T.format("a INT"), T.format("a INT, b TEXT GENERATED ALWAYS AS (a || 'x') STORED NOT NULL"), "add column t.b"),
    case("column with a CHECK of its own added", T.format("a INT"), T.format("a INT, b INT DEFAULT 1 CHECK (b > 0)"), "add column t.b & add check t.b"),
    case("column with a collation added", T.format("a INT"), T.format("a INT, b TEXT COLLATE NOCASE"), "add column t.b"),
    case("column with a reference and a default added", p("a INT"), p("a INT, b INT DEFAULT 1 REFERENCES p(id)"), "add column t.b & add foreign_key t.b"),
    case("unique column added", T.format("a INT"), T.format("a INT, b INT UNIQUE"), "add column t.b & add unique t.b", back="remove column t.b & remove index t.uq_t_b"),
    case("column with everything added", p("a INT"), p("a INT, b INT NOT NULL DEFAULT 1 CHECK (b > 0) REFERENCES p(id) ON DELETE SET DEFAULT"), "add column t.b & add check t.b & add foreign_key t.b"),
    case("column in quotes added", T.format("a INT"), T.format('a INT, "b c" INT'), "add column t.b c"),
    case("column called like a keyword added", T.format("a INT"), T.format("a INT, [group] INT"), "add column t.group"),
    case("column called rowid added", T.format("a INT"), T.format("a INT, rowid INT"), "add column t.rowid"),
    case("column in a table of an odd name", 'CREATE TABLE "Ünïcode t\'able""s"(id INTEGER PRIMARY KEY)', 'CREATE TABLE "Ünïcode t\'able""s"(id INTEGER PRIMARY KEY, a INT)', "add column Ünïcode t'able\"s.a"),
    case("column in a WITHOUT ROWID table", "CREATE TABLE t(k TEXT PRIMARY KEY) WITHOUT ROWID", "CREATE TABLE t(k TEXT PRIMARY KEY, a INT) WITHOUT ROWID", "add column t.a"),
    case("column in a STRICT table", "CREATE TABLE t(k INTEGER PRIMARY KEY) STRICT", "CREATE TABLE t(k INTEGER PRIMARY KEY, a ANY) STRICT", "add column t.a"),
    case("column in a table that children cascade from", T.format("a INT") + CHILD, T.format("a INT, b INT NOT NULL DEFAULT 1 CHECK (b > 0)") + CHILD, "add column t.b & add check t.b"),
    case("middle column gone", T.format("a INT, b INT, c INT"), T.format("a INT, c INT"), "remove column t.b"),
    case("column under an unnamed CHECK of another gone", T.format("a INT CHECK (a > 0), b INT"), T.format("a INT CHECK (a > 0)"), "remove column t.b"),
]  # fmt: skip
TYPES = [
    case("length", T.format("a VARCHAR(10)"), T.format("a VARCHAR(20)"), "change column t.a type"),
    case("VARCHAR and TEXT", T.format("a VARCHAR"), T.format("a TEXT"), "change column t.a type"),
    case("INT and INTEGER", T.format("a INT"), T.format("a INTEGER"), "change column t.a type"),
    case("INTEGER and TEXT", T.format("a INTEGER"), T.format("a TEXT"), "change column t.a type"),
    case("INTEGER and REAL", T.format("a INTEGER"), T.format("a REAL"), "change column t.a type"),
    case("INTEGER and BLOB", T.format("a INTEGER"), T.format("a BLOB"), "change column t.a type"),
    case("INTEGER and NUMERIC", T.format("a INTEGER"), T.format("a NUMERIC"), "change column t.a type"),
    case("TEXT and no type", T.format("a TEXT"), T.format("a"), "change column t.a type"),
    case("no type and ANY", T.format("a"), T.format("a ANY"), "change column t.a type"),
    case("two words", T.format("a DOUBLE PRECISION"), T.format("a DOUBLE"), "change column t.a type"),
    case("a type in quotes", T.format('a "INT"'), T.format('a "TEXT"'), "change column t.a type"),
    case("a type in brackets", T.format("a [nvarchar]"), T.format("a [text]"), "change column t.a type"),
    case("sign of a scale", T.format("a DECIMAL(10, -2)"), T.format("a DECIMAL(10, 2)"), "change column t.a type"),
    case("type in a STRICT table", "CREATE TABLE t(k INTEGER PRIMARY KEY, a TEXT) STRICT", "CREATE TABLE t(k INTEGER PRIMARY KEY, a ANY) STRICT", "change column t.a type"),
    case("INT and INTEGER in a STRICT table", "CREATE TABLE t(k TEXT PRIMARY KEY, a INT) STRICT", "CREATE TABLE t(k TEXT PRIMARY KEY, a INTEGER) STRICT", "change column t.a type"),
    case("type of a WITHOUT ROWID key", "CREATE TABLE t(k VARCHAR(5) PRIMARY KEY) WITHOUT ROWID", "CREATE TABLE t(k VARCHAR(9) PRIMARY KEY) WITHOUT ROWID", "change column t.k type"),
    case("type of a generated column", T.format("a INT, b INT AS (a + 1)"), T.format("a INT, b TEXT AS (a + 1)"), "change column t.b type"),
    case("type under a trigger and a view", T.format("a INT") + "CREATE VIEW v AS SELECT a FROM t; CREATE TRIGGER g AFTER UPDATE OF a ON t BEGIN SELECT new.a; END;", T.format("a REAL") + "CREATE VIEW v AS SELECT a FROM t; CREATE TRIGGER g AFTER UPDATE OF a ON t BEGIN SELECT new.a; END;", "change column t.a type"),
]  # fmt: skip
