"""Probes by models: primary keys, storage, CHECK, UNIQUE and foreign keys."""

from __future__ import annotations

from probes.record import case
from probes.words import AB, AI, FK, A, P, Q, T, en, fk

K = "Table('t', m, Column('k', String, primary_key=True){})"
CC = "Table('p', m, Column('a', Integer, primary_key=True), Column('b', Integer, primary_key=True), Column('c', Integer), UniqueConstraint('c', 'a'))\n"


KEYS = [
    case("composite primary key", AI, "Column('a', Integer, primary_key=True)", "change column t.a not_null & change primary_key t.t"),
    case("primary key of another type", "Table('t', m, Column('k', Integer, primary_key=True))", "Table('t', m, Column('k', String, primary_key=True))", "change primary_key t.t"),
    case("primary key of a wider type", K.format(""), "Table('t', m, Column('k', String(9), primary_key=True))", "change column t.k type"),
    case("primary key over another column", "Table('t', m, Column('a', Integer, primary_key=True), Column('b', Integer, nullable=False))", "Table('t', m, Column('a', Integer, nullable=False), Column('b', Integer, primary_key=True))", "change primary_key t.t"),
    case("order of the primary key", "Table('t', m, Column('a', Integer, primary_key=True), Column('b', Integer, primary_key=True))", "Table('t', m, Column('b', Integer, primary_key=True), Column('a', Integer, primary_key=True))", "change primary_key t.t"),
    case("primary key over one column more", "Table('t', m, Column('a', String, primary_key=True), Column('b', String, primary_key=True), Column('c', String, nullable=False))", "Table('t', m, Column('a', String, primary_key=True), Column('b', String, primary_key=True), Column('c', String, primary_key=True))", "change primary_key t.t"),
    case("primary key added to a table without", "Table('t', m, Column('a', String, nullable=False))", "Table('t', m, Column('a', String, primary_key=True))", "change primary_key t.t"),
    case("primary key ON CONFLICT", K.format(""), "Table('t', m, Column('k', String, primary_key=True, sqlite_on_conflict_primary_key='REPLACE'))", "change primary_key t.t"),
    case("composite primary key ON CONFLICT", "Table('t', m, Column('a', Integer), Column('b', Integer), PrimaryKeyConstraint('a', 'b'))", "Table('t', m, Column('a', Integer), Column('b', Integer), PrimaryKeyConstraint('a', 'b', sqlite_on_conflict='IGNORE'))", "change primary_key t.t"),
    case("INT for INTEGER in the key", "Table('t', m, Column('k', Integer, primary_key=True))", "Table('t', m, Column('k', BigInteger, primary_key=True))", "change primary_key t.t"),
    case("AUTOINCREMENT on", AI, AI + ", sqlite_autoincrement=True", "change primary_key t.t autoincrement"),
    case("AUTOINCREMENT on under children", "Table('t', m, Column('id', Integer, primary_key=True))\nTable('c', m, Column('id', Integer, primary_key=True), Column('t', ForeignKey('t.id', ondelete='CASCADE')))", "Table('t', m, Column('id', Integer, primary_key=True), sqlite_autoincrement=True)\nTable('c', m, Column('id', Integer, primary_key=True), Column('t', ForeignKey('t.id', ondelete='CASCADE')))", "change primary_key t.t autoincrement"),
    case("WITHOUT ROWID on", AI, AI + ", sqlite_with_rowid=False", "change option t.t without_rowid"),
    case("WITHOUT ROWID on over a text key", K.format(""), K.format(", sqlite_with_rowid=False"), "change option t.t without_rowid"),
    case("WITHOUT ROWID on over a composite key", "Table('t', m, Column('a', Integer, primary_key=True), Column('b', Integer, primary_key=True))", "Table('t', m, Column('a', Integer, primary_key=True), Column('b', Integer, primary_key=True), sqlite_with_rowid=False)", "change option t.t without_rowid"),
]  # fmt: skip
# STRICT tables came with SQLAlchemy 2.1.
STRICT = [
    case("STRICT on", "Column('a', TEXT)", "Column('a', TEXT), sqlite_strict=True", "change option t.t strict"),
    case("STRICT on beside WITHOUT ROWID", "Column('a', TEXT), sqlite_with_rowid=False", "Column('a', TEXT), sqlite_with_rowid=False, sqlite_strict=True", "change option t.t strict"),
    case("type in a STRICT table", "Column('a', TEXT), sqlite_strict=True", "Column('a', INTEGER), sqlite_strict=True", "change column t.a type"),
    case("column added to a STRICT table", "sqlite_strict=True", "Column('a', REAL), sqlite_strict=True", "add column t.a"),
]  # fmt: skip
CONSTRAINTS = [
    case("enum grows", en("'1', '2'"), en("'1', '2', '3'"), "change check t.e"),
    case("enum changes a value", en("'1', '2', '3', 'x'"), en("'1', '2', '3', 'y'"), "change check t.e"),
    case("enum changes the case of a value", en("'1', 'a'"), en("'1', 'A'"), "change check t.e"),
    case("enum gets a CHECK", en("'1', '2', '3'", "name='e'"), en("'1', '2', '3'"), "add check t.e"),
    case("boolean gets a CHECK", "Column('a', Boolean)", "Column('a', Boolean(create_constraint=True, name='b'))", "add check t.b", rows="1"),
    case("CHECK added", AI, AI + ", CheckConstraint('a > 0')", "add check t.a"),
    case("named CHECK added", AI, AI + ", CheckConstraint('a > 0', name='c')", "add check t.c"),
    case("CHECK in a column added", AI, "Column('a', Integer, CheckConstraint('a > 0'))", "add check t.a"),
    case("CHECK over two columns added", AB, AB + ", CheckConstraint('a <= b', name='c')", "add check t.c"),
    case("CHECK with a subtle change", AI + ", CheckConstraint('a > 0', name='c')", AI + ", CheckConstraint('a >= 0', name='c')", "change check t.c"),
    case("CHECK with another text", A + ", CheckConstraint(\"a <> 'x'\", name='c')", A + ", CheckConstraint(\"a <> 'X'\", name='c')", "change check t.c"),
    case("CHECK grouped otherwise", AB + ", CheckConstraint('a + b * 2 > 0', name='c')", AB + ", CheckConstraint('(a + b) * 2 > 0', name='c')", "change check t.c"),
    case("unnamed CHECK changed", AI + ", CheckConstraint('a > 0')", AI + ", CheckConstraint('a > -1')", "change check t.a"),
    case("second CHECK on the same column", AI + ", CheckConstraint('a > 0', name='c')", AI + ", CheckConstraint('a > 0', name='c'), CheckConstraint('a < 99', name='d')", "add check t.d"),
    case("UNIQUE added to a column", AI, "Column('a', Integer, unique=True)", "add unique t.a", back="remove index t.uq_t_a"),
    case("UNIQUE over two columns added", AB, AB + ", UniqueConstraint('a', 'b')", "add unique t.a, b", back="remove index t.uq_t_a_b"),
    case("named UNIQUE added", AB, AB + ", UniqueConstraint('a', 'b', name='u')", "add unique t.u", back="remove index t.u"),
    case("UNIQUE over one column more", AB + ", UniqueConstraint('a', name='u')", AB + ", UniqueConstraint('a', 'b', name='u')", "add unique t.u & remove unique t.u", back="add unique t.u & remove index t.u"),
    case("UNIQUE over another column", AB + ", UniqueConstraint('a', name='u')", AB + ", UniqueConstraint('b', name='u')", "add unique t.u & remove unique t.u", back="add unique t.u & remove index t.u"),
    case("UNIQUE ON CONFLICT", "Column('a', Integer, unique=True)", "Column('a', Integer, unique=True, sqlite_on_conflict_unique='REPLACE')", "add unique t.a & remove unique t.a"),
    case("another UNIQUE ON CONFLICT", AB + ", UniqueConstraint('a', 'b', sqlite_on_conflict='FAIL')", AB + ", UniqueConstraint('a', 'b', sqlite_on_conflict='IGNORE')", "add unique t.a, b & remove unique t.a, b"),
    case("unique index ends", "Column('a', Integer, unique=True, index=True)", "Column('a', Integer, index=True)", "change index t.ix_t_a"),
]  # fmt: skip
REFERENCES = [
    case("foreign key added", P + T.format(AI), P + T.format("Column('a', Integer, ForeignKey('p.id'))"), "add foreign_key t.a"),
    case("named foreign key added", P + T.format(AI), P + T.format(AI + ", ForeignKeyConstraint(['a'], ['p.id'], name='f')"), "add foreign_key t.f"),
    case("foreign key to another column", P + T.format("Column('a', Integer, ForeignKey('p.id'))"), P + T.format("Column('a', Integer, ForeignKey('p.u'))"), "change foreign_key t.a"),
    case("foreign key to another table", P + Q + T.format("Column('a', Integer, ForeignKey('p.id'))"), P + Q + T.format("Column('a', Integer, ForeignKey('q.id'))"), "change foreign_key t.a"),
    case("ON DELETE added", FK, fk("ondelete='CASCADE'"), "change foreign_key t.a"),
    case("ON DELETE SET NULL for CASCADE", fk("ondelete='CASCADE'"), fk("ondelete='SET NULL'"), "change foreign_key t.a"),
    case("ON DELETE RESTRICT", FK, fk("ondelete='RESTRICT'"), "change foreign_key t.a"),
    case("ON DELETE SET DEFAULT", FK, fk("ondelete='SET DEFAULT'"), "change foreign_key t.a"),
    case("ON UPDATE added", FK, fk("onupdate='CASCADE'"), "change foreign_key t.a"),
    case("ON UPDATE changed", fk("onupdate='CASCADE'"), fk("onupdate='SET NULL'"), "change foreign_key t.a"),
    case("foreign key deferred", FK, fk("deferrable=True, initially='DEFERRED'"), "change foreign_key t.a"),
    case("composite foreign key", CC + T.format(AB), CC + T.format(AB + ", ForeignKeyConstraint(['a', 'b'], ['p.a', 'p.b'])"), "add foreign_key t.a, b"),
    case("composite foreign key the other way round", CC + T.format(AB + ", ForeignKeyConstraint(['a', 'b'], ['p.a', 'p.b'])"), CC + T.format(AB + ", ForeignKeyConstraint(['a', 'b'], ['p.b', 'p.a'])"), "change foreign_key t.a, b"),
    case("composite foreign key to other columns", CC + T.format(AB + ", ForeignKeyConstraint(['a', 'b'], ['p.a', 'p.b'])"), CC + T.format(AB + ", ForeignKeyConstraint(['a', 'b'], ['p.c', 'p.a'])"), "change foreign_key t.a, b"),
    case("foreign key to itself", AI, "Column('a', ForeignKey('t.id'))", "add foreign_key t.a"),
    case("foreign key to itself with an action", "Column('a', ForeignKey('t.id'))", "Column('a', ForeignKey('t.id', ondelete='CASCADE'))", "change foreign_key t.a"),
    case("foreign keys in a circle", T.format(AI) + "Table('p', m, Column('id', Integer, primary_key=True), Column('b', ForeignKey('t.id')))", T.format("Column('a', ForeignKey('p.id', use_alter=True, name='x'))") + "Table('p', m, Column('id', Integer, primary_key=True), Column('b', ForeignKey('t.id')))", "add foreign_key t.x"),
    case("second foreign key on the same column", P + Q + T.format("Column('a', Integer, ForeignKey('p.id'))"), P + Q + T.format("Column('a', Integer, ForeignKey('p.id'), ForeignKey('q.id'))"), "add foreign_key t.a"),
]  # fmt: skip
