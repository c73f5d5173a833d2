"""The words that the probes by models are written in.

A text with `Table(` fills the MetaData `m`; all else are arguments of a table `t` behind its key `id`.
"""

from __future__ import annotations

HEAD = "from sqlalchemy import *\nfrom sqlalchemy.orm import *\nfrom sqlalchemy.types import NullType\nimport enum, datetime, uuid\n"

T = "Table('t', m, Column('id', Integer, primary_key=True), {})\n"
P = "Table('p', m, Column('id', Integer, primary_key=True), Column('u', Integer, unique=True), Column('v', Integer), UniqueConstraint('u', 'v'))\n"
Q = P.replace("'p'", "'q'")
A, AI = "Column('a', String(5))", "Column('a', Integer)"
AB = AI + ", Column('b', Integer)"
FK = P + T.format("Column('a', ForeignKey('p.id'))")


def code_of(text: str) -> str:
    """Statements that fill the MetaData `m`."""
    return text if "Table(" in text else T.format(text)


def fk(more: str) -> str:
    """The tables p and t, with a foreign key from the one to the other and what else it says."""
    return P + T.format(f"Column('a', ForeignKey('p.id', {more}))")


def en(values: str, more: str = "create_constraint=True, name='e'") -> str:
    """A column of an Enum."""
    return f"Column('a', Enum({values}, {more}))"


def ddl(text: str) -> str:
    """A statement that follows `create_all`."""
    return f"event.listen(m, 'after_create', DDL({text!r}))\n"


VIEW = ddl("CREATE VIEW v AS SELECT {} FROM t")
TRIGGER = ddl("CREATE TRIGGER tr AFTER {} ON t BEGIN SELECT 1; END")
