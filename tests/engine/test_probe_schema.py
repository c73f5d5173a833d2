"""What the probe reports: what create_all builds, Python-side defaults, hints, and values that a default gives."""

from __future__ import annotations

import json
import sqlite3
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from driftengine.desired import ColumnDefault, Hint, draw_values
from driftengine.errors import ModelsError
from probe_project import ModelProject, table_names

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine.desired import Desired

DEFAULTS = """
import datetime, decimal, enum, functools, uuid
from sqlalchemy import Boolean, Date, DateTime, Enum, Float, JSON, Numeric, Sequence, TypeDecorator, select, text
class Colour(enum.Enum):
    RED = "red"
class Level(int, enum.Enum):
    HIGH = 3
class Shout(TypeDecorator):
    impl = String
    cache_ok = True
    def process_bind_param(self, value, dialect):
        return value.upper()
class Wrapped(TypeDecorator):
    impl = String
    cache_ok = True
    def bind_expression(self, value):
        return func.lower(value)
def stamp():
    return datetime.datetime(2024, 5, 6, 7, 8, 9)
def with_context(context):
    return "never"
class Callable:
    def __call__(self):
        return "called"
def column(type_, default, **more):
    return Column(type_, default=default, nullable=False, **more)
class Defaults(Base):
    __tablename__ = "defaults"
    id = Column(Integer, primary_key=True)
    integer = column(Integer, 3)
    truth = column(Integer, True)
    real = column(Float, 0.1)
    infinite = column(Float, float("-inf"))
    quoted = column(String, "O'Brien")
    nul = column(String, "a\\0b")
    blob = column(LargeBinary, b"\\x00\\xff")
    boolean = column(Boolean, False)
    day = column(Date, datetime.date(2024, 1, 2))
    moment = column(DateTime, datetime.datetime(2024, 1, 2, 3, 4, 5))
    colour = column(Enum(Colour), Colour.RED)
    level = column(Integer, Level.HIGH)
    json = column(JSON, {"a": 1})
    number = column(Numeric(10, 2), decimal.Decimal("1.50"))
    shout = column(Shout, "quiet")
    wrapped = column(Wrapped, "LOUD")
    now = column(DateTime, func.now())
    raw = column(Integer, text("1 + 1"))
    from_table = column(Integer, select(func.count()).select_from(Base.metadata.tables["task"]).scalar_subquery())
    key = column(String, lambda: str(uuid.uuid4()))
    stamp = column(DateTime, stamp)
    listed = column(JSON, list)
    partial = column(String, functools.partial(str, 5))
    instance = column(String, Callable())
    bytes_value = column(LargeBinary, lambda: b"\\x00\\x01")
    broken = column(String, lambda: 1 / 0)
    context = column(String, with_context)
    sequence = Column(Integer, Sequence("numbers"), nullable=False)
    server = column(String, "python", server_default="server")
    nullable = Column(String, default="x")
    refused = column(Date, "no date")
"""


@pytest.fixture
def project(tmp_path: Path) -> ModelProject:
    """An empty project."""
    return ModelProject(tmp_path)


@pytest.fixture(scope="module")
def defaults(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelProject, Desired]:
    """A project with a default of every sort, loaded once."""
    project = ModelProject(tmp_path_factory.mktemp("defaults"))
    project.models(DEFAULTS)
    return project, project.read("models:Base")


def test_the_schema_is_what_create_all_builds(project: ModelProject) -> None:
    """Tables come in create_all's order with the text that SQLite stored, then their indexes; SQLite's own are left out."""
    project.models("""
        class Step(Base):
            __tablename__ = "Step"
            id = Column(String(20), primary_key=True)
            task = Column(ForeignKey("task.id", ondelete="CASCADE"), index=True)
            number = Column(Integer, unique=True)
            __table_args__ = (Index("big", func.lower(id), sqlite_where=number > 5), {"sqlite_autoincrement": False})
        class Counter(Base):
            __tablename__ = "counter"
            id = Column(Integer, primary_key=True)
            __table_args__ = {"sqlite_autoincrement": True}
    """)
    desired = project.read("models:Base")
    found = [(stored.type, stored.name, stored.table) for stored in desired.stored]
    assert sorted(found[:1] + found[1:2]) == [("table", "counter", "counter"), ("table", "task", "task")]
    assert sorted(found[2:]) == [
        ("index", "big", "Step"),
        ("index", "ix_Step_task", "Step"),
        ("table", "Step", "Step"),
    ]
    by_name = {stored.name: stored.sql for stored in desired.stored}
    assert by_name["big"] == 'CREATE INDEX big ON "Step" (lower(id)) WHERE number > 5'
    assert "AUTOINCREMENT" in str(by_name["counter"])


def test_listeners_run_as_in_the_service(project: ModelProject) -> None:
    """Listeners may query, inspect, create and seed; what they create belongs to the schema, what they insert does not."""
    project.models("""
        import sqlite3
        from sqlalchemy import DDL, inspect
        from sqlalchemy.engine import Engine
        @event.listens_for(Engine, "connect")
        def pragmas(connection, record):
            connection.execute("PRAGMA foreign_keys = ON")
            connection.row_factory = sqlite3.Row
        @event.listens_for(Engine, "before_cursor_execute", retval=True)
        def comment(connection, cursor, statement, parameters, context, many):
            return statement + " -- traced", parameters
        @event.listens_for(Task.__table__, "after_create")
        def seed(table, connection, **more):
            assert connection.engine.url.get_backend_name() == "sqlite"
            assert inspect(connection).has_table("task")
            connection.execute(table.insert().values(id=1))
            assert connection.execute(table.select()).scalar() == 1
        event.listen(Base.metadata, "after_create", DDL("CREATE VIEW open_task AS SELECT id FROM task"))
        event.listen(Base.metadata, "after_create", DDL(
            "CREATE TRIGGER seen AFTER INSERT ON task BEGIN DELETE FROM task; SELECT 1; END"))
    """)
    found = [(stored.type, stored.name) for stored in project.read("models:Base").stored]
    assert found == [("table", "task"), ("view", "open_task"), ("trigger", "seen")]


def test_tables_in_a_schema_are_reported_and_left_out(project: ModelProject) -> None:
    """A table with schema= is named in `unsupported`; the others are built, also one that refers to it."""
    project.models("""
        class Away(Base):
            __tablename__ = "away"
            __table_args__ = {"schema": "other"}
            id = Column(Integer, primary_key=True, default=5)
        class Child(Base):
            __tablename__ = "child"
            id = Column(Integer, primary_key=True)
            away = Column(ForeignKey("other.away.id"))
    """)
    desired = project.read("models:Base")
    assert sorted(table_names(desired)) == ["child", "task"]
    assert [sentence.split(":")[0] for sentence in desired.unsupported] == ["table away is in schema other"]
    assert desired.defaults == ()


def test_an_index_without_columns_is_reported_and_left_out(project: ModelProject) -> None:
    """`Index("name")` alone in `__table_args__`, which no database can make, does not keep the rest from being built."""
    project.models("""
        class Tag(Base):
            __tablename__ = "tag"
            id = Column(Integer, primary_key=True)
            key = Column(Integer)
            __table_args__ = (Index("nothing"), Index("something", "key"))
    """)
    desired = project.read("models:Base")
    assert sorted(table_names(desired)) == ["tag", "task"]
    assert [one.name for one in desired.stored if one.type == "index"] == ["something"]
    assert desired.unsupported == ("index nothing of table tag names no column, so it is left out",)


def test_models_of_an_async_service_load(project: ModelProject) -> None:
    """The engine of the service, here an asynchronous URL whose driver is not installed, plays no part."""
    project.models("""
        URL = "sqlite+aiosqlite:///somewhere.db"
        async def start():
            from sqlalchemy.ext.asyncio import create_async_engine
            return create_async_engine(URL)
    """)
    assert table_names(project.read("models:Base")) == ["task"]


@pytest.mark.parametrize(
    ("column", "stored"),
    [
        ("integer", 3),
        ("truth", 1),
        ("real", 0.1),
        ("infinite", float("-inf")),
        ("quoted", "O'Brien"),
        ("nul", "a\0b"),
        ("blob", b"\x00\xff"),
        ("boolean", 0),
        ("day", "2024-01-02"),
        ("moment", "2024-01-02 03:04:05.000000"),
        ("colour", "RED"),
        ("level", 3),
        ("json", '{"a": 1}'),
        ("number", 1.5),
        ("shout", "QUIET"),
        ("wrapped", "loud"),
        ("raw", 2),
    ],
)
def test_a_scalar_default_is_what_the_application_would_store(
    defaults: tuple[ModelProject, Desired], column: str, stored: Any
) -> None:
    """A scalar passes through its type and is told as SQL that gives the stored value, its storage class included."""
    sql = next(default.sql for default in defaults[1].defaults if default.column == column)
    connection = sqlite3.connect(":memory:")
    value = connection.execute(f"SELECT {sql}").fetchone()[0]
    connection.close()
    assert (type(value), value) == (type(stored), stored)


def test_callables_are_named_and_the_rest_is_silent(defaults: tuple[ModelProject, Desired]) -> None:
    """Callables without arguments are named; what cannot be called or rendered alone is not reported."""
    found = {default.column: default for default in defaults[1].defaults}
    callables = {name: default.callable for name, default in found.items() if default.callable}
    assert callables == {
        "key": "models.Defaults.<lambda>",
        "stamp": "models.stamp",
        "listed": "list",
        "partial": "functools.partial",
        "instance": "models.Callable",
        "bytes_value": "models.Defaults.<lambda>",
        "broken": "models.Defaults.<lambda>",
    }
    assert found["now"] == ColumnDefault("defaults", "now", sql="CURRENT_TIMESTAMP")
    silent = {"context", "sequence", "server", "nullable", "refused", "from_table", "id"}
    assert not silent & found.keys()


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("stamp", ("2024-05-06 07:08:09.000000",) * 2),
        ("listed", ("[]",) * 2),
        ("partial", ("5",) * 2),
        ("instance", ("called",) * 2),
        ("bytes_value", (b"\x00\x01",) * 2),
    ],
)
def test_values_are_what_the_callable_gives(
    defaults: tuple[ModelProject, Desired], column: str, values: tuple[object, ...]
) -> None:
    """A default is called once for each value, and each passes through the type's bind processor."""
    assert draw_values(defaults[0].source("models:Base"), "defaults", column, 2) == values


def test_values_are_drawn_anew_for_each_row(defaults: tuple[ModelProject, Desired]) -> None:
    """Ten thousand keys are ten thousand different ones; names are found whatever their case."""
    values = draw_values(defaults[0].source("models:Base"), "DEFAULTS", "Key", 10_000)
    assert len(set(values)) == 10_000
    assert all(str(uuid.UUID(str(value))) == value for value in values)


def test_values_of_a_callable_that_fails(defaults: tuple[ModelProject, Desired]) -> None:
    """An exception in the callable is told with its place, and with the other way to give a value."""
    with pytest.raises(ModelsError) as caught:
        draw_values(defaults[0].source("models:Base"), "defaults", "broken", 1)
    assert caught.value.code == "models-default-failed"
    assert "ZeroDivisionError: division by zero" in caught.value.why
    assert str(defaults[0].folder / "models.py") in caught.value.why
    assert "--backfill" in caught.value.fix


@pytest.mark.parametrize("column", ["context", "integer", "gone"])
def test_values_of_a_column_without_such_a_default(
    defaults: tuple[ModelProject, Desired], column: str
) -> None:
    """A column that has no callable default (any more) is refused."""
    with pytest.raises(ModelsError) as caught:
        draw_values(defaults[0].source("models:Base"), "defaults", column, 1)
    assert caught.value.code == "models-default-missing"
    assert f"defaults.{column}" in caught.value.what


def test_hints_stand_in_info(project: ModelProject) -> None:
    """`renamed_from` takes one name or several, on tables and columns; `backfill` takes text or an SQL expression."""
    project.models("""
        class Step(Base):
            __tablename__ = "step"
            __table_args__ = {"info": {"renamed_from": ["stage", "phase"], "other": object()}}
            id = Column(Integer, primary_key=True, info={"unrelated": 1})
            title = Column("heading", String, info={"renamed_from": "title", "backfill": "upper(title)"})
            made = Column(String, info={"backfill": func.now()})
    """)
    assert project.read("models:Base").hints == (
        Hint("step", "", renamed_from=("stage", "phase")),
        Hint("step", "heading", renamed_from=("title",), backfill="upper(title)"),
        Hint("step", "made", backfill="CURRENT_TIMESTAMP"),
    )


@pytest.mark.parametrize("info", ['{"renamed_from": 5}', '{"renamed_from": [1]}', '{"backfill": 0.5}'])
def test_a_hint_of_another_type_is_refused(project: ModelProject, info: str) -> None:
    """A hint that cannot be read is an error, never passed over."""
    project.models(f'Task.__table__.append_column(Column("title", String, info={info}))')
    error = project.error("models:Base")
    assert error.code == "models-hint-invalid"
    assert "task.title" in error.what


def test_the_answer_may_be_megabytes(project: ModelProject) -> None:
    """A thousand tables of twenty columns come back whole, whatever a pipe holds."""
    project.models("""
        for number in range(1000):
            columns = [Column(f"a_column_with_a_long_name_{n}", String(100), nullable=False, default="x" * 50)
                       for n in range(20)]
            Table(f"table_{number:04}", Base.metadata, Column("id", Integer, primary_key=True), *columns)
    """)
    desired = project.read("models:Base")
    assert len(table_names(desired)) == 1001
    assert len(desired.defaults) == 20_000
    assert len(json.dumps([stored.sql for stored in desired.stored])) > 1_000_000
