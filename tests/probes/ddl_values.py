"""Probes by DDL: defaults, NOT NULL, collations and computed values."""

from __future__ import annotations

from probes.ddl_words import AB, CHILD, T
from probes.record import case

VALUES = [
    case("number added", AB, T.format("a INT DEFAULT 5, b TEXT"), "change column t.a default"),
    case("number for text", T.format("a DEFAULT 5"), T.format("a DEFAULT '5'"), "change column t.a default"),
    case("real for integer", T.format("a DEFAULT 5"), T.format("a DEFAULT 5.0"), "change column t.a default"),
    case("beyond 64 bits", T.format("a DEFAULT 9223372036854775807"), T.format("a DEFAULT 9223372036854775808"), "change column t.a default"),
    case("negative", T.format("a INT DEFAULT 5"), T.format("a INT DEFAULT -5"), "change column t.a default"),
    case("blob for text", T.format("a DEFAULT 'J'"), T.format("a DEFAULT x'4a'"), "change column t.a default"),
    case("text of a keyword for the keyword", T.format("a TEXT DEFAULT 'TRUE'"), T.format("a TEXT DEFAULT TRUE"), "change column t.a default"),
    case("text CURRENT_TIMESTAMP for the moment", T.format("a TEXT DEFAULT 'CURRENT_TIMESTAMP'"), T.format("a TEXT DEFAULT CURRENT_TIMESTAMP"), "change column t.a default"),
    case("one moment for another", T.format("a TEXT DEFAULT CURRENT_TIMESTAMP"), T.format("a TEXT DEFAULT CURRENT_TIME"), "change column t.a default"),
    case("function's argument", T.format("a TEXT DEFAULT (strftime('%Y', 'now'))"), T.format("a TEXT DEFAULT (strftime('%y', 'now'))"), "change column t.a default"),
    case("unquoted word", T.format("a TEXT DEFAULT yes"), T.format("a TEXT DEFAULT Yes"), "change column t.a default"),
    case("double-quoted text", T.format('a TEXT DEFAULT "x"'), T.format('a TEXT DEFAULT "y"'), "change column t.a default"),
    case("new line in a text", T.format("a TEXT DEFAULT 'x\ny'"), T.format("a TEXT DEFAULT 'x y'"), "change column t.a default"),
    case("empty text gone", T.format("a TEXT DEFAULT ''"), T.format("a TEXT"), "change column t.a default"),
    case("semicolon and comment in a text", T.format("a TEXT DEFAULT '; --x'"), T.format("a TEXT DEFAULT '; /*x*/'"), "change column t.a default"),
    case("cast", T.format("a DEFAULT (CAST('1' AS INTEGER))"), T.format("a DEFAULT (CAST('1' AS TEXT))"), "change column t.a default"),
    case("case", T.format("a DEFAULT (CASE WHEN 1 THEN 'x' ELSE 'y' END)"), T.format("a DEFAULT (CASE WHEN 0 THEN 'x' ELSE 'y' END)"), "change column t.a default"),
    case("default in a STRICT table", "CREATE TABLE t(k INTEGER PRIMARY KEY, a TEXT DEFAULT 'x') STRICT", "CREATE TABLE t(k INTEGER PRIMARY KEY, a TEXT DEFAULT 'y') STRICT", "change column t.a default"),
    case("default of a column with a NOT NULL behind it", T.format("a INT DEFAULT 1 NOT NULL"), T.format("a INT DEFAULT 2 NOT NULL"), "change column t.a default"),
    case("default of a parent's column", T.format("a INT DEFAULT 1") + CHILD, T.format("a INT DEFAULT 2") + CHILD, "change column t.a default"),
    case("NOT NULL", AB, T.format("a INT NOT NULL, b TEXT"), "change column t.a not_null"),
    case("NOT NULL ON CONFLICT", T.format("a INT NOT NULL"), T.format("a INT NOT NULL ON CONFLICT REPLACE"), "change column t.a not_null"),
    case("NOT NULL in a composite key", "CREATE TABLE t(a INT, b INT, PRIMARY KEY (a, b))", "CREATE TABLE t(a INT NOT NULL, b INT, PRIMARY KEY (a, b))", "change column t.a not_null"),
    case("NOT NULL in a text key", "CREATE TABLE t(a TEXT PRIMARY KEY)", "CREATE TABLE t(a TEXT PRIMARY KEY NOT NULL)", "change column t.a not_null"),
    case("named NOT NULL", AB, T.format("a INT CONSTRAINT needed NOT NULL, b TEXT"), "change column t.a not_null"),
    case("collation", AB, T.format("a INT, b TEXT COLLATE NOCASE"), "change column t.b collation"),
    case("collation under a partial index", T.format("b TEXT") + "CREATE INDEX i ON t(id) WHERE b > 'x';", T.format("b TEXT COLLATE NOCASE") + "CREATE INDEX i ON t(id) WHERE b > 'x';", "change column t.b collation"),
    case("collation under an index of its own collation", T.format("b TEXT") + "CREATE INDEX i ON t(b COLLATE RTRIM);", T.format("b TEXT COLLATE NOCASE") + "CREATE INDEX i ON t(b COLLATE RTRIM);", "change column t.b collation"),
    case("collation under a CHECK", T.format("b TEXT CHECK (b <> 'X')"), T.format("b TEXT COLLATE NOCASE CHECK (b <> 'X')"), "change column t.b collation"),
    case("expression of a generated column", T.format("a INT, b INT AS (a + 1)"), T.format("a INT, b INT AS (a + 2)"), "change column t.b generated"),
    case("generated column from virtual to stored", T.format("a INT, b INT AS (a + 1)"), T.format("a INT, b INT AS (a + 1) STORED"), "change column t.b generated"),
    case("expression of a stored generated column", T.format("a INT, b INT AS (a + 1) STORED"), T.format("a INT, b INT AS (a - 1) STORED"), "change column t.b generated"),
    case("generated column under an index", T.format("a INT, b INT AS (a + 1)") + "CREATE INDEX i ON t(b);", T.format("a INT, b INT AS (a + 2)") + "CREATE INDEX i ON t(b);", "change column t.b generated"),
    case("ordinary to generated", T.format("a INT, b INT"), T.format("a INT, b INT AS (a + 1)"), "change column t.b generated"),
    case("NOT NULL on a generated column", T.format("a INT, b INT AS (a + 1)"), T.format("a INT, b INT AS (a + 1) NOT NULL"), "change column t.b not_null"),
]  # fmt: skip
