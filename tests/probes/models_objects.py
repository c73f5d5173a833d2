"""Probes by models: indexes, tables, views, triggers and virtual tables."""

from __future__ import annotations

from probes.record import case
from probes.words import AB, AI, TRIGGER, VIEW, A, P, T, ddl

INDEXES = [
    case("index added", AI, "Column('a', Integer, index=True)", "add index t.ix_t_a"),
    case("index over two columns added", AB, AB + ", Index('i', 'a', 'b')", "add index t.i"),
    case("index over other columns", AB + ", Index('i', 'a')", AB + ", Index('i', 'b')", "change index t.i"),
    case("order of an index", AB + ", Index('i', 'a', 'b')", AB + ", Index('i', 'b', 'a')", "change index t.i"),
    case("index over one column more", AB + ", Index('i', 'a')", AB + ", Index('i', 'a', 'b')", "change index t.i"),
    case("index becomes unique", AI + ", Index('i', 'a')", AI + ", Index('i', 'a', unique=True)", "change index t.i"),
    case("unique index added", AI, AI + ", Index('i', 'a', unique=True)", "add index t.i"),
    case("index descends", AI + ", Index('i', 'a')", AI + ", Index('i', desc('a'))", "change index t.i"),
    case("second member of an index descends", AB + ", Index('i', 'a', 'b')", AB + ", Index('i', 'a', desc('b'))", "change index t.i"),
    case("index over an expression added", A, A + ", Index('i', text('lower(a)'))", "add index t.i"),
    case("index over an expression for a column", A + ", Index('i', 'a')", A + ", Index('i', text('lower(a)'))", "change index t.i"),
    case("index over another expression", A + ", Index('i', text('lower(a)'))", A + ", Index('i', text('upper(a)'))", "change index t.i"),
    case("unique index over an expression", A + ", Index('i', text('lower(a)'))", A + ", Index('i', text('lower(a)'), unique=True)", "change index t.i"),
    case("index becomes partial", AI + ", Index('i', 'a')", AI + ", Index('i', 'a', sqlite_where=text('a > 5'))", "change index t.i"),
    case("unique index becomes partial", AI + ", Index('i', 'a', unique=True)", AI + ", Index('i', 'a', unique=True, sqlite_where=text('a > 5'))", "change index t.i"),
    case("index under another condition", AI + ", Index('i', 'a', sqlite_where=text('a > 5'))", AI + ", Index('i', 'a', sqlite_where=text('a > 6'))", "change index t.i"),
    case("index with a collation", A + ", Index('i', 'a')", A + ", Index('i', collate(text('a'), 'NOCASE'))", "change index t.i"),
    case("second index over the same column", AI + ", Index('i', 'a')", AI + ", Index('i', 'a'), Index('j', desc('a'))", "add index t.j"),
    case("index of a name that needs quotes", AI, AI + ", Index('an \"index\"', 'a')", 'add index t.an "index"'),
    case("index on a computed column", AI + ", Column('b', Integer, Computed('a + 1'))", AI + ", Column('b', Integer, Computed('a + 1'), index=True)", "add index t.ix_t_b"),
]  # fmt: skip
OBJECTS = [
    case("table added", T.format(AI), T.format(AI) + P, "add table p"),
    case("table with everything added", P, P + T.format("Column('a', Boolean(create_constraint=True, name='b'), ForeignKey('p.id'), unique=True, index=True)"), "add table t & add index t.ix_t_a", back="remove table t"),
    case("table of an odd name added", T.format(AI), T.format(AI) + "Table('Größe [m] \"x\"', m, Column('id', Integer, primary_key=True))", 'add table größe [m] "x"'),
    case("table without a key added", T.format(AI), T.format(AI) + "Table('log', m, Column('a', Text))", "add table log"),
    case("view added", T.format(AI), T.format(AI) + VIEW.format("a"), "add view v"),
    case("view changed", T.format(AI) + VIEW.format("a"), T.format(AI) + VIEW.format("a, id"), "change view v"),
    case("view over a text in another case", T.format(A) + ddl("CREATE VIEW v AS SELECT id FROM t WHERE a = 'x'"), T.format(A) + ddl("CREATE VIEW v AS SELECT id FROM t WHERE a = 'X'"), "change view v"),
    case("view on a view added", T.format(AI) + VIEW.format("a"), T.format(AI) + VIEW.format("a") + ddl("CREATE VIEW w AS SELECT * FROM v"), "add view w"),
    case("trigger added", T.format(AI), T.format(AI) + TRIGGER.format("INSERT"), "add trigger t.tr"),
    case("trigger changed", T.format(AI) + TRIGGER.format("INSERT"), T.format(AI) + TRIGGER.format("UPDATE"), "change trigger t.tr"),
    case("trigger at another time", T.format(AI) + ddl("CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END"), T.format(AI) + ddl("CREATE TRIGGER tr BEFORE INSERT ON t BEGIN SELECT 1; END"), "change trigger t.tr"),
    case("trigger of another column", T.format(AB) + ddl("CREATE TRIGGER tr AFTER UPDATE OF a ON t BEGIN SELECT 1; END"), T.format(AB) + ddl("CREATE TRIGGER tr AFTER UPDATE OF b ON t BEGIN SELECT 1; END"), "change trigger t.tr"),
    case("trigger under another condition", T.format(AI) + ddl("CREATE TRIGGER tr AFTER INSERT ON t WHEN new.a > 1 BEGIN SELECT 1; END"), T.format(AI) + ddl("CREATE TRIGGER tr AFTER INSERT ON t WHEN new.a > 2 BEGIN SELECT 1; END"), "change trigger t.tr"),
    case("trigger on another table", T.format(AI) + P + ddl("CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END"), T.format(AI) + P + ddl("CREATE TRIGGER tr AFTER INSERT ON p BEGIN SELECT 1; END"), "change trigger p.tr", back="change trigger t.tr"),
    case("trigger on a view added", T.format(AI) + VIEW.format("a"), T.format(AI) + VIEW.format("a") + ddl("CREATE TRIGGER tr INSTEAD OF INSERT ON v BEGIN INSERT INTO t(a) VALUES (new.a); END"), "add trigger v.tr"),
    case("full text search added", T.format(AI), T.format(AI) + ddl("CREATE VIRTUAL TABLE f USING fts5(x)"), "add virtual_table f.f"),
]  # fmt: skip
