"""One model with all that SQLAlchemy can say to SQLite: every type, option, constraint, index and DDL event."""

from __future__ import annotations

from probes.corpus import HAS_STRICT

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
