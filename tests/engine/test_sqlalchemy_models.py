"""SQLAlchemy's own schemas: in step right after `create_all`, and one change of a model is seen and carried out."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from sqlalchemy import MetaData, create_engine

from driftengine import api
from driftengine.desired import ModelSource
from support.migrations import House

if TYPE_CHECKING:
    from pathlib import Path

# STRICT tables came with SQLAlchemy 2.1.
HAS_STRICT = tuple(int(part) for part in sqlalchemy.__version__.split(".")[:2]) >= (2, 1)
HEAD = "from sqlalchemy import *\nfrom sqlalchemy.orm import *\nfrom sqlalchemy.types import NullType\nimport enum, datetime, uuid\n"

EVERYTHING = """
STRICT = {strict}
class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"
CONVENTION = {{
    "ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s", "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}}
class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=CONVENTION)
class Stamped:
    created_at = mapped_column(DateTime(timezone=True), server_default=func.now(), nullable=False)
    updated_at = mapped_column(DateTime, server_default=text("CURRENT_TIMESTAMP"), onupdate=func.now())
class EveryType(Stamped, Base):
    __tablename__ = "every type"
    __table_args__ = {{"comment": "a comment that SQLite has no place for"}}
    id: Mapped[int] = mapped_column(Identity(start=5), primary_key=True)
    sequence = Column(Integer, Sequence("some_seq"))
    small = Column(SmallInteger, server_default="0")
    integer = Column(Integer, server_default=text("-1"), comment="a comment")
    big = Column(BigInteger, server_default=text("(1 + 2)"))
    real = Column(REAL)
    float_ = Column("float", Float(53))
    double = Column(Double)
    numeric = Column(Numeric(10, 2), server_default="1.50")
    decimal = Column(DECIMAL(8))
    string = Column(String)
    sized = Column(String(30), server_default="it's")
    unicode_ = Column(Unicode(10), server_default="")
    unicode_text = Column(UnicodeText)
    text_ = Column("text", Text)
    char = Column(CHAR(3))
    nchar = Column(NCHAR(3))
    nvarchar = Column(NVARCHAR(9))
    clob = Column(CLOB)
    collated = Column(String(20, collation="NOCASE"), index=True)
    trimmed = Column(Text(collation="RTRIM"), unique=True)
    boolean = Column(Boolean, server_default=true())
    checked = Column(Boolean(create_constraint=True, name="checked_boolean"), server_default=false())
    colour = Column(Enum(Colour), server_default="RED")
    checked_colour = Column(Enum(Colour, create_constraint=True, name="checked colour"))
    words = Column(Enum("a", "b'c", "d,e", create_constraint=True, name="words"), nullable=False)
    length = Column(Enum("x", "yy", length=40, native_enum=False))
    day = Column(Date, server_default=func.current_date())
    hour = Column(Time)
    moment = Column(DateTime)
    stamp = Column(TIMESTAMP(timezone=True))
    interval = Column(Interval)
    binary = Column(LargeBinary)
    sized_binary = Column(LargeBinary(16))
    bytes_ = Column("bytes", BLOB)
    varbinary = Column(VARBINARY(8))
    json = Column(JSON, server_default=text("'{{}}'"))
    json_null = Column(JSON(none_as_null=True))
    pickled = Column(PickleType)
    identifier = Column(Uuid)
    text_identifier = Column(Uuid(as_uuid=False, native_uuid=False))
    computed = Column(Integer, Computed("small + 1"))
    stored = Column(String, Computed("lower(string) || ':)'", persisted=True))
    length_of = Column(Integer, Computed('length("text")', persisted=False))
    quoted = Column("Say \\"hi\\"", Integer)
    reserved = Column("order", Integer, server_default=func.abs(-3))
    percent = Column("100%", Integer, quote=True)
    nil = Column(NullType().with_variant(Integer, "sqlite"))
    variant = Column(String(5).with_variant(Text(), "sqlite"))
    default_only = Column(Integer, default=lambda: 3, nullable=False)
class Author(Base):
    __tablename__ = "Author"
    first = Column(String(20), primary_key=True)
    last = Column(String(20), primary_key=True)
    best_book = Column(ForeignKey("book.id", use_alter=True, name="fk_best"))
    CheckConstraint("length(first) > 0", name="first")
class Book(Base):
    __tablename__ = "book"
    __table_args__ = (
        ForeignKeyConstraint(["first", "last"], ["Author.first", "Author.last"], onupdate="CASCADE", ondelete="SET NULL",
                             deferrable=True, initially="DEFERRED"),
        UniqueConstraint("first", "title", sqlite_on_conflict="IGNORE"),
        CheckConstraint("title <> '' AND price >= 0", name="sane"),
        CheckConstraint("kind IN ('a', 'b)', '--')", name="kind"),
        Index("ix expression", text("lower(title) DESC"), "price"),
        Index("ix_partial", "kind", unique=True, sqlite_where=text("price > 5 AND kind IS NOT NULL")),
        {{"sqlite_autoincrement": True}},
    )
    id = Column(Integer, primary_key=True)
    first = Column(String(20))
    last = Column(String(20))
    title = Column(String, nullable=False, index=True, sqlite_on_conflict_not_null="FAIL")
    price = Column(Integer, unique=True, sqlite_on_conflict_unique="ABORT")
    kind = Column(String(3))
    sequel_id = Column(Integer, ForeignKey("book.id", ondelete="CASCADE"), index=True)
Index("ix_function", func.coalesce(Book.kind, "none"), Book.price.desc(), sqlite_where=Book.price.is_not(None))
tags = Table(
    "book_tags", Base.metadata,
    Column("book", ForeignKey("book.id", ondelete="RESTRICT"), primary_key=True),
    Column("tag", String(collation="NOCASE"), primary_key=True),
    sqlite_with_rowid=False,
)
strict = Table(
    "strict", Base.metadata,
    Column("id", Integer, primary_key=True), Column("a", TEXT, nullable=False), Column("b", REAL), Column("c", BLOB),
    **STRICT,
)
Table("no key", Base.metadata, Column("value", JSON), Column("other", Integer, quote=True))
for statement in (
    "CREATE VIEW cheap AS SELECT id, title FROM book WHERE price < 5",
    "CREATE TABLE IF NOT EXISTS by_hand (id INTEGER PRIMARY KEY, note TEXT DEFAULT 'x' CHECK (note <> ';'))",
    "CREATE TRIGGER book_added AFTER INSERT ON book BEGIN INSERT INTO by_hand(note) VALUES (new.title); UPDATE book SET kind = kind WHERE 0; END",
    "CREATE TRIGGER cheap_gone INSTEAD OF DELETE ON cheap BEGIN DELETE FROM book WHERE id = old.id; END",
    "CREATE VIRTUAL TABLE book_search USING fts5(title, content='book', content_rowid='id', tokenize = 'porter ascii')",
    "CREATE TRIGGER book_indexed AFTER INSERT ON book BEGIN INSERT INTO book_search(rowid, title) VALUES (new.id, new.title); END",
):
    event.listen(Base.metadata, "after_create", DDL(statement.replace("%", "%%")))
""".format(strict={"sqlite_strict": True} if HAS_STRICT else {})


def service_creates(folder: Path) -> None:
    """The service makes its database itself, in a process of its own."""
    code = (
        "from models import Base; from sqlalchemy import create_engine;"
        "e = create_engine('sqlite:///app.db'); Base.metadata.create_all(e); e.dispose()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=60)


def python_target(folder: Path, spec: str) -> api.Target:
    """The target of a folder with models.py and app.db."""
    models = ModelSource((spec,), sys.executable, directory=str(folder))
    return api.Target("app", f"sqlite:///{folder / 'app.db'}", models, api.BackupSettings(folder / "backups"))


def test_every_type_and_option_is_in_step_right_after_create_all(tmp_path: Path) -> None:
    """No phantom drift: whatever SQLAlchemy can say, the database that it just made says the same."""
    (tmp_path / "models.py").write_text(HEAD + EVERYTHING, encoding="utf-8")
    service_creates(tmp_path)
    target = python_target(tmp_path, "models:Base")
    checked = api.check(target)
    assert checked["differences"] == []
    assert checked["in_sync"]
    assert checked["unmanaged"] == []
    applied = api.apply(target)
    assert (applied["outcome"], applied["backup"]) == ("up_to_date", None)
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        columns = connection.execute("SELECT count(*) FROM pragma_table_xinfo('every type')").fetchone()[0]
    assert columns >= 48


# name, the table before, the table after, kinds of the operations. A text with `Table(` stands for itself; all else are
# arguments of a table `t` behind its key `id`.
T = "Table('t', m, Column('id', Integer, primary_key=True), {})\n"
P = "Table('p', m, Column('id', Integer, primary_key=True), Column('u', Integer, unique=True), Column('v', Integer), UniqueConstraint('u', 'v'))\n"
VIEW = "event.listen(m, 'after_create', DDL(\"CREATE VIEW v AS SELECT {} FROM t\"))\n"
TRIGGER = "event.listen(m, 'after_create', DDL(\"CREATE TRIGGER tr AFTER {} ON t BEGIN SELECT 1; END\"))\n"
A, AI = "Column('a', String(5))", "Column('a', Integer)"
CHANGES: list[tuple[str, str, str, str]] = [
    ("column added", "", A, "add_column"),
    ("column added with a default", "", "Column('a', String, server_default='x')", "add_column"),
    ("NOT NULL column added with a default", "", "Column('a', Integer, nullable=False, server_default='0')", "add_column"),
    ("column added with a moment as default", "", "Column('a', DateTime, server_default=func.now())", "add_column"),
    ("column added with all it can have", P, P + T.format("Column('a', Boolean(create_constraint=True, name='b'), ForeignKey('p.id'), unique=True, index=True)"), "create_index create_table"),
    ("boolean with its CHECK added", "", "Column('a', Boolean(create_constraint=True, name='b'))", "add_check add_column"),
    ("column with a key added", P + T.format(""), P + T.format("Column('a', ForeignKey('p.id'))"), "add_column add_foreign_key"),
    ("unique column added", "", "Column('a', Integer, unique=True)", "add_column add_unique"),
    ("indexed column added", "", "Column('a', Integer, index=True)", "add_column create_index"),
    ("column dropped", A, "", "drop_column"),
    ("indexed column dropped", "Column('a', Integer, index=True)", "", "drop_column drop_index"),
    ("longer string", A, "Column('a', String(10))", "change_type"),
    ("string without a length", A, "Column('a', String)", "change_type"),
    ("string to text", A, "Column('a', Text)", "change_type"),
    ("integer to big integer", AI, "Column('a', BigInteger)", "change_type"),
    ("integer to string", AI, A, "change_type"),
    ("string to integer", A, AI, "change_type"),
    ("float to numeric", "Column('a', Float)", "Column('a', Numeric(10, 2))", "change_type"),
    ("scale of a numeric", "Column('a', Numeric(10, 2))", "Column('a', Numeric(12, 4))", "change_type"),
    ("moment to day", "Column('a', DateTime)", "Column('a', Date)", "change_type"),
    ("JSON to text", "Column('a', JSON)", "Column('a', Text)", "change_type"),
    ("UUID to string", "Column('a', Uuid)", "Column('a', String(36))", "change_type"),
    ("binary to text", "Column('a', LargeBinary)", "Column('a', Text)", "change_type"),
    ("interval to integer", "Column('a', Interval)", AI, "change_type"),
    ("boolean to integer", "Column('a', Boolean)", AI, "change_type"),
    ("NOT NULL set", AI, "Column('a', Integer, nullable=False)", "set_not_null"),
    ("NOT NULL dropped", "Column('a', Integer, nullable=False)", AI, "drop_not_null"),
    ("NOT NULL ON CONFLICT", "Column('a', Integer, nullable=False)", "Column('a', Integer, nullable=False, sqlite_on_conflict_not_null='IGNORE')", "set_not_null"),
    ("default added", AI, "Column('a', Integer, server_default='3')", "change_default"),
    ("default changed", "Column('a', Integer, server_default='3')", "Column('a', Integer, server_default='4')", "change_default"),
    ("default dropped", "Column('a', Integer, server_default='3')", AI, "change_default"),
    ("default expression changed", "Column('a', Integer, server_default=text('(1 + 1)'))", "Column('a', Integer, server_default=text('(1 + 2)'))", "change_default"),
    ("moment as default dropped", "Column('a', DateTime, server_default=func.now())", "Column('a', DateTime)", "change_default"),
    ("truth turned", "Column('a', Boolean, server_default=true())", "Column('a', Boolean, server_default=false())", "change_default"),
    ("collation added", "Column('a', String)", "Column('a', String(collation='NOCASE'))", "change_collation"),
    ("collation changed under an index", "Column('a', String(collation='NOCASE'), index=True)", "Column('a', String(collation='RTRIM'), index=True)", "change_collation"),
    ("computed column added", AI, AI + ", Column('b', Integer, Computed('a + 1'))", "add_column"),
    ("stored computed column added", AI, AI + ", Column('b', Integer, Computed('a + 1', persisted=True))", "add_column"),
    ("computed otherwise", AI + ", Column('b', Integer, Computed('a + 1'))", AI + ", Column('b', Integer, Computed('a + 2'))", "change_generated"),
    ("computed and stored", AI + ", Column('b', Integer, Computed('a + 1'))", AI + ", Column('b', Integer, Computed('a + 1', persisted=True))", "change_generated"),
    ("no longer computed", AI + ", Column('b', Integer, Computed('a + 1'))", AI + ", Column('b', Integer)", "change_generated"),
    ("enum grows", "Column('a', Enum('x', 'y', create_constraint=True, name='e'))", "Column('a', Enum('x', 'y', 'z', create_constraint=True, name='e'))", "change_check"),
    ("enum grows longer", "Column('a', Enum('x', 'y'))", "Column('a', Enum('x', 'long one'))", "change_type"),
    ("enum shrinks", "Column('a', Enum('x', 'y', create_constraint=True, name='e'))", "Column('a', Enum('x', create_constraint=True, name='e'))", "change_check"),
    ("enum gets a CHECK", "Column('a', Enum('1', '2', name='e'))", "Column('a', Enum('1', '2', create_constraint=True, name='e'))", "add_check"),
    ("boolean loses its CHECK", "Column('a', Boolean(create_constraint=True, name='b'))", "Column('a', Boolean)", "drop_check"),
    ("CHECK added", AI, AI + ", CheckConstraint('a > 0')", "add_check"),
    ("CHECK changed", AI + ", CheckConstraint('a > 0', name='c')", AI + ", CheckConstraint('a >= 0', name='c')", "change_check"),
    ("CHECK dropped", AI + ", CheckConstraint('a > 0', name='c')", AI, "drop_check"),
    ("UNIQUE added", AI + ", Column('b', Integer)", AI + ", Column('b', Integer), UniqueConstraint('a', 'b')", "add_unique"),
    ("UNIQUE dropped", "Column('a', Integer, unique=True)", AI, "drop_unique"),
    ("UNIQUE over other columns", AI + ", Column('b', Integer), UniqueConstraint('a', name='u')", AI + ", Column('b', Integer), UniqueConstraint('a', 'b', name='u')", "add_unique drop_unique"),
    ("UNIQUE ON CONFLICT", "Column('a', Integer, unique=True)", "Column('a', Integer, unique=True, sqlite_on_conflict_unique='REPLACE')", "add_unique drop_unique"),
    ("foreign key added", P + T.format(AI), P + T.format("Column('a', Integer, ForeignKey('p.id'))"), "add_foreign_key"),
    ("foreign key dropped", P + T.format("Column('a', Integer, ForeignKey('p.id'))"), P + T.format(AI), "drop_foreign_key"),
    ("foreign key to another column", P + T.format("Column('a', Integer, ForeignKey('p.id'))"), P + T.format("Column('a', Integer, ForeignKey('p.u'))"), "change_foreign_key"),
    ("ON DELETE changed", P + T.format("Column('a', ForeignKey('p.id'))"), P + T.format("Column('a', ForeignKey('p.id', ondelete='CASCADE'))"), "change_foreign_key"),
    ("ON UPDATE changed", P + T.format("Column('a', ForeignKey('p.id', onupdate='CASCADE'))"), P + T.format("Column('a', ForeignKey('p.id', onupdate='SET NULL'))"), "change_foreign_key"),
    ("foreign key deferred", P + T.format("Column('a', ForeignKey('p.id'))"), P + T.format("Column('a', ForeignKey('p.id', deferrable=True, initially='DEFERRED'))"), "change_foreign_key"),
    ("composite foreign key", P + T.format(AI + ", Column('b', Integer)"), P + T.format(AI + ", Column('b', Integer), ForeignKeyConstraint(['a', 'b'], ['p.u', 'p.v'])"), "add_foreign_key"),
    ("foreign key to itself", AI, "Column('a', ForeignKey('t.id'))", "add_foreign_key"),
    ("foreign keys in a circle", T.format(AI) + "Table('p', m, Column('id', Integer, primary_key=True), Column('b', Integer))", T.format("Column('a', ForeignKey('p.id', use_alter=True, name='x'))") + "Table('p', m, Column('id', Integer, primary_key=True), Column('b', ForeignKey('t.id')))", "add_foreign_key add_foreign_key"),
    ("composite primary key", AI, "Column('a', Integer, primary_key=True)", "change_primary_key set_not_null"),
    ("primary key of another type", "Table('t', m, Column('k', Integer, primary_key=True))", "Table('t', m, Column('k', String, primary_key=True))", "change_primary_key"),
    ("AUTOINCREMENT on", AI, AI + ", sqlite_autoincrement=True", "change_autoincrement"),
    ("AUTOINCREMENT off", AI + ", sqlite_autoincrement=True", AI, "change_autoincrement"),
    ("WITHOUT ROWID on", AI, AI + ", sqlite_with_rowid=False", "change_storage"),
    ("WITHOUT ROWID off", "Table('t', m, Column('k', String, primary_key=True), sqlite_with_rowid=False)", "Table('t', m, Column('k', String, primary_key=True))", "change_storage"),
    ("index added", AI, "Column('a', Integer, index=True)", "create_index"),
    ("index dropped", "Column('a', Integer, index=True)", AI, "drop_index"),
    ("index becomes unique", "Column('a', Integer, index=True)", "Column('a', Integer, index=True, unique=True)", "change_index"),
    ("index over more columns", AI + ", Index('i', 'a')", AI + ", Index('i', 'a', 'id')", "change_index"),
    ("index descends", AI + ", Index('i', 'a')", AI + ", Index('i', desc('a'))", "change_index"),
    ("index over an expression", A + ", Index('i', 'a')", A + ", Index('i', text('lower(a)'))", "change_index"),
    ("index becomes partial", AI + ", Index('i', 'a')", AI + ", Index('i', 'a', sqlite_where=text('a > 5'))", "change_index"),
    ("index under another condition", AI + ", Index('i', 'a', sqlite_where=text('a > 5'))", AI + ", Index('i', 'a', sqlite_where=text('a > 6'))", "change_index"),
    ("index with a collation", A + ", Index('i', 'a')", A + ", Index('i', collate(text('a'), 'NOCASE'))", "change_index"),
    ("table added", T.format(AI), T.format(AI) + P, "create_table"),
    ("table dropped", T.format(AI) + P, T.format(AI), "drop_table"),
    ("view added", T.format(AI), T.format(AI) + VIEW.format("a"), "create_view"),
    ("view changed", T.format(AI) + VIEW.format("a"), T.format(AI) + VIEW.format("a, id"), "change_view"),
    ("view dropped", T.format(AI) + VIEW.format("a"), T.format(AI), "drop_view"),
    ("trigger added", T.format(AI), T.format(AI) + TRIGGER.format("INSERT"), "create_trigger"),
    ("trigger changed", T.format(AI) + TRIGGER.format("INSERT"), T.format(AI) + TRIGGER.format("UPDATE"), "change_trigger"),
    ("trigger dropped", T.format(AI) + TRIGGER.format("INSERT"), T.format(AI), "drop_trigger"),
    ("full text search added", T.format(AI), T.format(AI) + "event.listen(m, 'after_create', DDL('CREATE VIRTUAL TABLE f USING fts5(x)'))", "create_virtual_table"),
]  # fmt: skip
if HAS_STRICT:
    CHANGES += [
        ("STRICT on", "Column('a', TEXT)", "Column('a', TEXT), sqlite_strict=True", "change_strict"),
        ("STRICT off", "Column('a', TEXT), sqlite_strict=True", "Column('a', TEXT)", "change_strict"),
    ]

# name, before, after: nothing to do.
ALIKE: list[tuple[str, str, str]] = [
    ("order of the columns", A + ", Column('b', Integer)", "Column('b', Integer), " + A),
    ("names of constraints", "Column('a', Integer, CheckConstraint('a > 0')), UniqueConstraint('a')", AI + ", CheckConstraint('(a) > 0', name='c'), UniqueConstraint('a', name='u')"),
    ("name of an index", AI + ", Index('i', 'a')", AI + ", Index('j', 'a')"),
    ("unique index for a unique constraint", "Column('a', Integer, unique=True)", "Column('a', Integer, unique=True, index=True)"),
    ("quoting", AI, "Column(quoted_name('a', True), Integer)"),
    ("case of a name", AI, "Column('A', Integer)"),
    ("comments", AI, "Column('a', Integer, comment='x'), comment='y'"),
    ("Python-side default", AI, "Column('a', Integer, default=3)"),
    ("Identity and Sequence", AI, "Column('a', Integer, Sequence('s'))"),
    ("enum without a CHECK", "Column('a', Enum('x', 'y'))", "Column('a', Enum('y', 'x', 'z'))"),
    ("spelling of a default", "Column('a', Integer, server_default='1')", "Column('a', Integer, server_default=text('1'))"),
    ("truth and one", "Column('a', Boolean, server_default=true())", "Column('a', Boolean, server_default='1')"),
    ("NULL as default", AI, "Column('a', Integer, server_default=text('NULL'))"),
    ("default actions", P + T.format("Column('a', ForeignKey('p.id'))"), P + T.format("Column('a', ForeignKey('p.id', ondelete='NO ACTION', deferrable=False))")),
    ("order of an enum", "Column('a', Enum('x', 'y', create_constraint=True, name='e'))", "Column('a', Enum('y', 'x', create_constraint=True, name='e'))"),
]  # fmt: skip


def code_of(text: str) -> str:
    """Statements that fill the MetaData `m`."""
    return text if "Table(" in text else T.format(text)


def built(text: str) -> str:
    """The script of what `create_all` builds, in the order in which it did."""
    metadata = MetaData()
    names: dict[str, Any] = {"m": metadata}
    exec(HEAD + code_of(text), names)  # noqa: S102  # the models of this file
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        rows = connection.exec_driver_sql(
            "SELECT sql FROM sqlite_schema AS m WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND NOT EXISTS"
            " (SELECT 1 FROM pragma_table_list AS l WHERE l.name = m.name AND l.type = 'shadow') ORDER BY m.rowid"
        ).fetchall()
    engine.dispose()
    return ";\n".join(row[0] for row in rows) + ";\n"


def fill(house: House) -> None:
    """One row of ones in every table that lets it in."""
    with closing(sqlite3.connect(house.database)) as connection:
        for (table,) in house.ask(
            "SELECT name FROM pragma_table_list WHERE type = 'table' AND name IN ('p', 't')"
        ):
            count = len(house.ask(f"SELECT 1 FROM pragma_table_xinfo('{table}') WHERE hidden = 0"))
            connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('1' * count)})")
        connection.commit()


def ready(house: House, before: str) -> None:
    """A database that the models `before` made, met by driftd, with a row in each table."""
    script = built(before)
    house.run(script)
    house.models(script)
    assert house.apply()["outcome"] == "up_to_date"
    fill(house)


def carry_out(target: api.Target, kinds: str) -> None:
    """The change is seen, waits for nothing but approval, and is gone afterwards."""
    seen = api.check(target)
    assert not seen["in_sync"]
    operations = seen["plan"]["operations"]
    assert sorted(o["kind"] for o in operations) == sorted(kinds.split()), seen["differences"]
    approvals = sorted({o["code"] for o in operations if o["held"] and not o["waits_for"]})
    done = api.apply(target, approve=approvals)
    assert (done["error"], done["held"], done["blocked"]) == (None, [], [])
    assert sorted(o["kind"] for o in done["applied"]) == sorted(kinds.split())
    assert api.check(target)["differences"] == []
    again = api.apply(target)
    assert (again["outcome"], again["backup"]) == ("up_to_date", None)


@pytest.mark.parametrize(("name", "before", "after", "kinds"), CHANGES, ids=[case[0] for case in CHANGES])
def test_one_change_of_a_model_is_seen_and_carried_out(
    tmp_path: Path, name: str, before: str, after: str, kinds: str
) -> None:
    """Each change that SQLAlchemy can express on SQLite is one difference (or the few it consists of), and goes."""
    house = House(tmp_path)
    ready(house, before)
    house.models(built(after))
    carry_out(house.target(), kinds)


@pytest.mark.parametrize(("name", "before", "after"), ALIKE, ids=[case[0] for case in ALIKE])
def test_what_is_equal_in_effect_is_no_drift(tmp_path: Path, name: str, before: str, after: str) -> None:
    """Two ways to write the same model: nothing to see, nothing to do, no backup."""
    house = House(tmp_path)
    ready(house, before)
    house.models(built(after))
    checked = house.check()
    assert (checked["differences"], checked["in_sync"]) == ([], True)
    assert house.apply()["backup"] is None


@pytest.mark.parametrize("name", ["column added", "enum grows", "view changed", "foreign keys in a circle"])
def test_a_change_goes_the_whole_way_through_the_probe(tmp_path: Path, name: str) -> None:
    """The same cases by Python models: the probe builds them, and tells what the file of DDL told."""
    _, before, after, kinds = next(case for case in CHANGES if case[0] == name)
    text = HEAD + f"old, new = MetaData(), MetaData()\nm = old\n{code_of(before)}\nm = new\n{code_of(after)}"
    (tmp_path / "models.py").write_text(text, encoding="utf-8")
    House(tmp_path).run(built(before))
    assert api.apply(python_target(tmp_path, "models:old"))["outcome"] == "up_to_date"
    carry_out(python_target(tmp_path, "models:new"), kinds)


def test_old_rows_get_what_the_model_itself_would_have_written(tmp_path: Path) -> None:
    """A NOT NULL column with a Python-side default, scalar or callable, is filled for the rows that are there."""
    added = "Column('a', Integer, default=7, nullable=False), Column('b', Uuid, default=uuid.uuid4, nullable=False)"
    text = HEAD + f"old, new = MetaData(), MetaData()\nm = old\n{T.format('')}\nm = new\n{T.format(added)}"
    (tmp_path / "models.py").write_text(text, encoding="utf-8")
    house = House(tmp_path)
    house.run(built("") + "INSERT INTO t VALUES (1), (2)")
    assert api.apply(python_target(tmp_path, "models:old"))["outcome"] == "up_to_date"
    carry_out(python_target(tmp_path, "models:new"), "add_column add_column")
    rows = house.ask("SELECT a, length(b), count(DISTINCT b) FROM t GROUP BY a")
    assert rows == [(7, 32, 2)]
