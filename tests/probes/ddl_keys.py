"""Probes by DDL: primary keys, storage, CHECK, UNIQUE and foreign keys."""

from __future__ import annotations

from probes.ddl_words import AB, CYCLE, OTHER, PARENT, T, p
from probes.record import case

R = p("a INT REFERENCES p(id){}")


KEYS = [
    case("INT for INTEGER", "CREATE TABLE t(k INTEGER PRIMARY KEY, a)", "CREATE TABLE t(k INT PRIMARY KEY, a)", "change primary_key t.t"),
    case("DESC takes the alias away", "CREATE TABLE t(k INTEGER PRIMARY KEY, a)", "CREATE TABLE t(k INTEGER PRIMARY KEY DESC, a)", "change primary_key t.t"),
    case("DESC in a text key", "CREATE TABLE t(k TEXT PRIMARY KEY)", "CREATE TABLE t(k TEXT PRIMARY KEY DESC)", "change primary_key t.t"),
    case("DESC in a composite key", "CREATE TABLE t(a, b, PRIMARY KEY (a, b))", "CREATE TABLE t(a, b, PRIMARY KEY (a, b DESC))", "change primary_key t.t"),
    case("DESC in a WITHOUT ROWID key", "CREATE TABLE t(a, b, PRIMARY KEY (a, b)) WITHOUT ROWID", "CREATE TABLE t(a, b, PRIMARY KEY (a, b DESC)) WITHOUT ROWID", "change primary_key t.t"),
    case("collation in the key's list", "CREATE TABLE t(a TEXT, b, PRIMARY KEY (a))", "CREATE TABLE t(a TEXT, b, PRIMARY KEY (a COLLATE NOCASE))", "change primary_key t.t"),
    case("collation in a WITHOUT ROWID key", "CREATE TABLE t(a TEXT, b, PRIMARY KEY (a)) WITHOUT ROWID", "CREATE TABLE t(a TEXT, b, PRIMARY KEY (a COLLATE NOCASE)) WITHOUT ROWID", "change primary_key t.t"),
    case("order", "CREATE TABLE t(a, b, PRIMARY KEY (a, b))", "CREATE TABLE t(a, b, PRIMARY KEY (b, a))", "change primary_key t.t"),
    case("order in a WITHOUT ROWID table", "CREATE TABLE t(a, b, PRIMARY KEY (a, b)) WITHOUT ROWID", "CREATE TABLE t(a, b, PRIMARY KEY (b, a)) WITHOUT ROWID", "change primary_key t.t"),
    case("set", "CREATE TABLE t(a, b, c, PRIMARY KEY (a, b))", "CREATE TABLE t(a, b, c, PRIMARY KEY (a, c))", "change primary_key t.t"),
    case("none before", "CREATE TABLE t(a TEXT, b)", "CREATE TABLE t(a TEXT PRIMARY KEY, b)", "change primary_key t.t"),
    case("alias for none", "CREATE TABLE t(a TEXT)", "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)", "change primary_key t.t", back="remove column t.id & change primary_key t.t"),
    case("ON CONFLICT", "CREATE TABLE t(k TEXT PRIMARY KEY)", "CREATE TABLE t(k TEXT PRIMARY KEY ON CONFLICT IGNORE)", "change primary_key t.t"),
    case("ON CONFLICT of an alias", "CREATE TABLE t(k INTEGER PRIMARY KEY)", "CREATE TABLE t(k INTEGER PRIMARY KEY ON CONFLICT REPLACE)", "change primary_key t.t"),
    case("AUTOINCREMENT", "CREATE TABLE t(k INTEGER PRIMARY KEY, a)", "CREATE TABLE t(k INTEGER PRIMARY KEY AUTOINCREMENT, a)", "change primary_key t.t autoincrement"),
    case("AUTOINCREMENT in a list", "CREATE TABLE t(k INTEGER, a, PRIMARY KEY (k))", "CREATE TABLE t(k INTEGER, a, PRIMARY KEY (k AUTOINCREMENT))", "change primary_key t.t autoincrement"),
    case("WITHOUT ROWID", "CREATE TABLE t(k TEXT PRIMARY KEY, a)", "CREATE TABLE t(k TEXT PRIMARY KEY, a) WITHOUT ROWID", "change option t.t without_rowid"),
    case("WITHOUT ROWID over an alias", "CREATE TABLE t(k INTEGER PRIMARY KEY, a)", "CREATE TABLE t(k INTEGER PRIMARY KEY, a) WITHOUT ROWID", "change option t.t without_rowid"),
    case("STRICT", "CREATE TABLE t(k INTEGER PRIMARY KEY, a TEXT)", "CREATE TABLE t(k INTEGER PRIMARY KEY, a TEXT) STRICT", "change option t.t strict"),
    case("STRICT with a text key", "CREATE TABLE t(k TEXT PRIMARY KEY, a INT)", "CREATE TABLE t(k TEXT PRIMARY KEY, a INT) STRICT", "change option t.t strict"),
    case("STRICT and WITHOUT ROWID", "CREATE TABLE t(k TEXT PRIMARY KEY) STRICT", "CREATE TABLE t(k TEXT PRIMARY KEY) STRICT, WITHOUT ROWID", "change option t.t without_rowid"),
    case("the key of a parent", "CREATE TABLE t(k INTEGER PRIMARY KEY, u INT NOT NULL UNIQUE); CREATE TABLE c(id INTEGER PRIMARY KEY, u INT REFERENCES t(u))", "CREATE TABLE t(k INTEGER NOT NULL UNIQUE, u INT PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, u INT REFERENCES t(u))", "change column t.u not_null & change primary_key t.t & add unique t.k", back="change column t.u not_null & change primary_key t.t & remove index t.uq_t_k"),
]  # fmt: skip
CONSTRAINTS = [
    case("UNIQUE", AB, T.format("a INT UNIQUE, b TEXT"), "add unique t.a", back="remove index t.uq_t_a"),
    case("UNIQUE over two", AB, T.format("a INT, b TEXT, UNIQUE (a, b)"), "add unique t.a, b", back="remove index t.uq_t_a_b"),
    case("UNIQUE with a collation", T.format("b TEXT, UNIQUE (b)"), T.format("b TEXT, UNIQUE (b COLLATE NOCASE)"), "add unique t.b & remove unique t.b", back="add unique t.b & remove index t.uq_t_b"),
    case("UNIQUE ON CONFLICT in a column", T.format("a INT UNIQUE"), T.format("a INT UNIQUE ON CONFLICT IGNORE"), "add unique t.a & remove unique t.a"),
    case("UNIQUE ON CONFLICT on the table", T.format("a INT, b INT, UNIQUE (a, b)"), T.format("a INT, b INT, UNIQUE (a, b) ON CONFLICT REPLACE"), "add unique t.a, b & remove unique t.a, b"),
    case("second UNIQUE", T.format("a INT UNIQUE, b INT"), T.format("a INT UNIQUE, b INT UNIQUE"), "add unique t.b", back="remove index t.uq_t_b"),
    case("UNIQUE over the key with ON CONFLICT", "CREATE TABLE t(k TEXT PRIMARY KEY)", "CREATE TABLE t(k TEXT PRIMARY KEY UNIQUE ON CONFLICT IGNORE)", "change primary_key t.t"),
    case("UNIQUE ON CONFLICT said by the second", T.format("a INT UNIQUE"), T.format("a INT UNIQUE, UNIQUE (a) ON CONFLICT IGNORE"), "add unique t.a & remove unique t.a"),
    case("unnamed CHECK", AB, T.format("a INT CHECK (a > 0), b TEXT"), "add check t.a"),
    case("CHECK on the table", AB, T.format("a INT, b TEXT, CHECK (a > 0 AND length(b) < 99)"), "add check t.a, b"),
    case("CHECK that reads no column", AB, T.format("a INT, b TEXT, CHECK (1 < 2)"), "add check t"),
    case("one of two equal-looking CHECKs", T.format("a INT CHECK (a > 0), b INT CHECK (b > 0)"), T.format("a INT CHECK (a > 0), b INT"), "remove check t.b"),
    case("operator in a CHECK", T.format("a INT CHECK (a > 0)"), T.format("a INT CHECK (a >= 0)"), "change check t.a"),
    case("text in a CHECK", T.format("b TEXT CHECK (b <> 'x')"), T.format("b TEXT CHECK (b <> 'X')"), "change check t.b"),
    case("double-quoted text in a CHECK", T.format('b TEXT CHECK (b <> "x")'), T.format('b TEXT CHECK (b <> "X")'), "change check t.b"),
    case("IS NOT for <>", T.format("a INT CHECK (a <> 9)"), T.format("a INT CHECK (a IS NOT 9)"), "change check t.a"),
    case("NOT of a CHECK", T.format("a INT CHECK (a IN (1, 2, 3))"), T.format("a INT CHECK (a NOT IN (7, 8, 9))"), "change check t.a"),
    case("list in a CHECK", T.format("a INT CHECK (a IN (1, 2, 3))"), T.format("a INT CHECK (a IN (1, 2, 3, 4))"), "change check t.a"),
    case("BETWEEN in a CHECK", T.format("a INT CHECK (a BETWEEN 1 AND 9)"), T.format("a INT CHECK (a BETWEEN 0 AND 9)"), "change check t.a"),
    case("LIKE and GLOB in a CHECK", T.format("b TEXT CHECK (b LIKE '%')"), T.format("b TEXT CHECK (b GLOB '*')"), "change check t.b"),
    case("collation in a CHECK", T.format("b TEXT CHECK (b <> 'X')"), T.format("b TEXT CHECK (b <> 'X' COLLATE NOCASE)"), "change check t.b"),
    case("cast in a CHECK", T.format("a INT CHECK (CAST(a AS TEXT) <> 'x')"), T.format("a INT CHECK (CAST(a AS REAL) <> 'x')"), "change check t.a"),
    case("precedence in a CHECK", T.format("a INT, b INT, CHECK (a > 0 OR b > 0 AND a > 1)"), T.format("a INT, b INT, CHECK ((a > 0 OR b > 0) AND a > 1 OR 1)"), "change check t.a, b"),
    case("JSON operator in a CHECK", T.format("b TEXT CHECK (coalesce('{\"x\":1}' -> 'x', 1))"), T.format("b TEXT CHECK (coalesce('{\"x\":1}' ->> 'x', 1))"), "add check t & remove check t"),
    case("CHECK of the table by its name", T.format("a INT CHECK (t.a > 0)"), T.format("a INT CHECK (t.a > -1)"), "change check t.a"),
]  # fmt: skip
REFERENCES = [
    case("reference", p("a INT"), R.format(""), "add foreign_key t.a"),
    case("reference on the table", p("a INT"), p("a INT, CONSTRAINT f FOREIGN KEY (a) REFERENCES p(id)"), "add foreign_key t.f"),
    case("other column of the parent", R.format(""), p("a INT REFERENCES p(u)"), "change foreign_key t.a"),
    case("other parent", OTHER + R.format(""), PARENT + OTHER + T.format("a INT REFERENCES q(id)"), "change foreign_key t.a"),
    case("implied key for another", p("a INT REFERENCES p"), p("a INT REFERENCES p(u)"), "change foreign_key t.a"),
    case("ON DELETE CASCADE", R.format(""), R.format(" ON DELETE CASCADE"), "change foreign_key t.a"),
    case("ON DELETE SET NULL", R.format(" ON DELETE RESTRICT"), R.format(" ON DELETE SET NULL"), "change foreign_key t.a"),
    case("ON DELETE SET DEFAULT", R.format(" ON DELETE NO ACTION"), R.format(" ON DELETE SET DEFAULT"), "change foreign_key t.a"),
    case("ON UPDATE CASCADE", R.format(" ON DELETE CASCADE"), R.format(" ON DELETE CASCADE ON UPDATE CASCADE"), "change foreign_key t.a"),
    case("deferred", R.format(""), R.format(" DEFERRABLE INITIALLY DEFERRED"), "change foreign_key t.a"),
    case("composite", p("a INT, b INT"), p("a INT, b INT, FOREIGN KEY (a, b) REFERENCES p(v, u)"), "add foreign_key t.a, b"),
    case("composite with crossed columns", p("a INT, b INT, FOREIGN KEY (a, b) REFERENCES p(v, u)"), p("a INT, b INT, FOREIGN KEY (a, b) REFERENCES p(u, v)"), "change foreign_key t.a, b"),
    case("composite implied key", "CREATE TABLE p(x, y, PRIMARY KEY (y, x));" + T.format("a, b, FOREIGN KEY (a, b) REFERENCES p"), "CREATE TABLE p(x, y, PRIMARY KEY (y, x));" + T.format("a, b, FOREIGN KEY (b, a) REFERENCES p"), "change foreign_key t.a, b"),
    case("self reference", T.format("a INT"), T.format("a INT REFERENCES t"), "add foreign_key t.a"),
    case("action of a self reference", T.format("a INT REFERENCES t(id)"), T.format("a INT REFERENCES t(id) ON DELETE CASCADE"), "change foreign_key t.a"),
    case("circle", CYCLE.format(""), CYCLE.format(" REFERENCES y(id)"), "add foreign_key x.y"),
    case("to a parent that is not there", T.format("a INT"), T.format("a INT REFERENCES elsewhere(id)"), "add foreign_key t.a", rows=""),
    case("of a child in a WITHOUT ROWID table", PARENT + "CREATE TABLE t(k TEXT PRIMARY KEY, a INT) WITHOUT ROWID;", PARENT + "CREATE TABLE t(k TEXT PRIMARY KEY, a INT REFERENCES p(id)) WITHOUT ROWID;", "add foreign_key t.a"),
]  # fmt: skip
