"""Probes by models: defaults, NOT NULL, collations and computed values."""

from __future__ import annotations

from probes.record import case
from probes.words import AI, FK, A, P, T


def default(sql: str) -> str:
    """An integer column with a server default."""
    return f"Column('a', Integer, server_default={sql})"


def words(sql: str) -> str:
    """A text column with a server default."""
    return f"Column('a', String, server_default={sql})"


VALUES = [
    case("default added", AI, default("'3'"), "change column t.a default"),
    case("default changed", default("'3'"), default("'4'"), "change column t.a default"),
    case("default of another type", default("'3'"), default("text(\"'three'\")"), "change column t.a default"),
    case("negative default", default("'3'"), default("text('-3')"), "change column t.a default"),
    case("text default changed", words("'x'"), words("'y'"), "change column t.a default"),
    case("case of a text default", words("'x'"), words("'X'"), "change column t.a default"),
    case("white space in a text default", words("'x'"), words("'x '"), "change column t.a default"),
    case("quote in a text default", words("'Brien'"), words("\"O'Brien\""), "change column t.a default"),
    case("empty default added", "Column('a', String)", words("''"), "change column t.a default"),
    case("empty default to NULL", words("''"), words("text('NULL')"), "change column t.a default"),
    case("the text NULL for no default", "Column('a', String)", words("'NULL'"), "change column t.a default"),
    case("the text of an expression for the expression", words("text('(1 + 1)')"), words("'(1 + 1)'"), "change column t.a default"),
    case("the text CURRENT_TIMESTAMP for the moment", words("'CURRENT_TIMESTAMP'"), words("text('CURRENT_TIMESTAMP')"), "change column t.a default"),
    case("default expression changed", default("text('(1 + 1)')"), default("text('(1 + 2)')"), "change column t.a default"),
    case("default function changed", words("func.lower('A')"), words("func.upper('a')"), "change column t.a default"),
    case("another moment as default", words("func.current_timestamp()"), words("func.current_date()"), "change column t.a default"),
    case("random default added", AI, default("text('(random())')"), "change column t.a default"),
    case("JSON default changed", "Column('a', JSON, server_default=text(\"'{}'\"))", "Column('a', JSON, server_default=text(\"'[]'\"))", "change column t.a default"),
    case("blob default added", "Column('a', LargeBinary)", "Column('a', LargeBinary, server_default=text(\"x'00'\"))", "change column t.a default"),
    case("decimal default changed", "Column('a', Numeric(10, 2), server_default='1.50')", "Column('a', Numeric(10, 2), server_default='1.51')", "change column t.a default"),
    case("truth turned", "Column('a', Boolean, server_default=true())", "Column('a', Boolean, server_default=false())", "change column t.a default"),
    case("moment as default dropped", "Column('a', DateTime, server_default=func.now())", "Column('a', DateTime)", "change column t.a default"),
    case("default of a NOT NULL column", "Column('a', Integer, nullable=False)", "Column('a', Integer, nullable=False, server_default='1')", "change column t.a default"),
    case("default under a CHECK", AI + ", CheckConstraint('a > 0')", default("'5'") + ", CheckConstraint('a > 0')", "change column t.a default"),
    case("default of a key", "Table('t', m, Column('k', String, primary_key=True))", "Table('t', m, Column('k', String, primary_key=True, server_default='x'))", "change column t.k default"),
    case("NOT NULL set", AI, "Column('a', Integer, nullable=False)", "change column t.a not_null"),
    case("NOT NULL set under an index", "Column('a', Integer, index=True)", "Column('a', Integer, nullable=False, index=True)", "change column t.a not_null"),
    case("NOT NULL and a default set", AI, "Column('a', Integer, nullable=False, server_default='1')", "change column t.a not_null & change column t.a default"),
    case("NOT NULL set in a foreign key", FK, P + T.format("Column('a', ForeignKey('p.id'), nullable=False)"), "change column t.a not_null"),
    case("NOT NULL ON CONFLICT", "Column('a', Integer, nullable=False)", "Column('a', Integer, nullable=False, sqlite_on_conflict_not_null='IGNORE')", "change column t.a not_null"),
    case("another NOT NULL ON CONFLICT", "Column('a', Integer, nullable=False, sqlite_on_conflict_not_null='FAIL')", "Column('a', Integer, nullable=False, sqlite_on_conflict_not_null='ROLLBACK')", "change column t.a not_null"),
    case("collation added", "Column('a', String)", "Column('a', String(collation='NOCASE'))", "change column t.a collation"),
    case("collation changed", "Column('a', String(collation='NOCASE'))", "Column('a', String(collation='RTRIM'))", "change column t.a collation"),
    case("collation changed under an index", "Column('a', String(collation='NOCASE'), index=True)", "Column('a', String(collation='RTRIM'), index=True)", "change column t.a collation"),
    case("collation changed under UNIQUE", "Column('a', String, unique=True)", "Column('a', String(collation='NOCASE'), unique=True)", "change column t.a collation"),
    case("collation of a key", "Table('t', m, Column('k', String, primary_key=True))", "Table('t', m, Column('k', String(collation='NOCASE'), primary_key=True))", "change column t.k collation"),
    case("computed otherwise", AI + ", Column('b', Integer, Computed('a + 1'))", AI + ", Column('b', Integer, Computed('a + 2'))", "change column t.b generated"),
    case("computed and stored", AI + ", Column('b', Integer, Computed('a + 1'))", AI + ", Column('b', Integer, Computed('a + 1', persisted=True))", "change column t.b generated"),
    case("no longer computed", AI + ", Column('b', Integer, Computed('a + 1'))", AI + ", Column('b', Integer)", "change column t.b generated"),
    case("no longer computed and stored", AI + ", Column('b', Integer, Computed('a + 1', persisted=True))", AI + ", Column('b', Integer)", "change column t.b generated"),
    case("computed by a text in another case", A + ", Column('b', String, Computed(\"a || 'x'\"))", A + ", Column('b', String, Computed(\"a || 'X'\"))", "change column t.b generated"),
]  # fmt: skip
