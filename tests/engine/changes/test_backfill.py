"""Values for rows that are older than their column: given in SQL, or what the models themselves would have written."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from driftengine.desired import ModelSource
from driftengine.errors import PlanError
from probe_project import BASE
from support.migrations import House, kinds
from support.witness import assert_settled, migrate, refuse

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine import api

OLD = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT); INSERT INTO t VALUES (1, 'x', NULL), (2, NULL, 'kept');"


def test_an_expression_is_evaluated_for_each_old_row(house: House) -> None:
    """It reads the old row; a new column and one that becomes NOT NULL are filled, and no default is left behind."""
    house.run(OLD)
    house.settings["backfill"] = {"t.c": "id * 10 + length(coalesce(a, ''))", "T.B": "a || '!'"}
    migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT NOT NULL, c INT NOT NULL);",
        changed=["t.b"],
        touched=["t"],
    )
    assert house.ask("SELECT b, c FROM t") == [("x!", 11), ("kept", 20)]
    assert "DEFAULT" not in house.stored("t").upper()


def test_every_row_is_written_and_none_reads_the_ddl(house: House) -> None:
    """Rows shorter than the table keep their filling when the default of a later release differs."""
    house.run(OLD)
    house.settings["backfill"] = {"t.c": "'filled'"}
    migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT NOT NULL);", touched=["t"])
    house.settings["backfill"] = {}
    migrate(
        house,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT NOT NULL DEFAULT 'new');",
        touched=["t"],
    )
    migrate(house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT);", touched=["t"])
    assert house.ask("SELECT c FROM t") == [("filled",), ("filled",)]


@pytest.mark.parametrize("expression", ["NULL", "b", "(SELECT max(b) FROM t WHERE 0)"])
def test_an_expression_that_gives_null_is_blocked(house: House, expression: str) -> None:
    """The filling is judged like any value: NOT NULL refuses it on the copy, and nothing is done."""
    house.run(OLD)
    house.settings["backfill"] = {"t.c": expression}
    (one,) = refuse(
        house, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT NOT NULL);", "blocked"
    )
    assert (one["kind"], one["name"]) == ("add_column", "c")
    assert "NOT NULL" in one["reason"]


def test_a_filling_under_a_constraint_of_the_same_release(house: House) -> None:
    """CHECK and UNIQUE over the filled column hold for the filling, or are blocked while the column comes."""
    house.run(OLD)
    house.settings["backfill"] = {"t.c": "id", "t.d": "7"}
    house.models(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c INT NOT NULL UNIQUE CHECK (c > 0), d INT NOT NULL UNIQUE);"
    )
    document = house.apply()
    assert sorted(kinds(document)) == ["add_check", "add_column", "add_column", "add_unique"]
    assert [(one["kind"], one["name"]) for one in document["blocked"]] == [("add_unique", "d")]
    assert house.ask("SELECT c, d FROM t") == [(1, 7), (2, 7)]


def test_a_filling_for_a_column_that_nobody_describes_is_refused(house: House) -> None:
    """The nearest names are shown; nothing is done."""
    house.run(OLD)
    house.settings["backfill"] = {"t.cc": "1"}
    house.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT NOT NULL);")
    before = house.everything()
    with pytest.raises(PlanError) as caught:
        house.apply()
    assert caught.value.code == "backfill-unknown"
    assert "t.c" in caught.value.why
    assert house.everything() == before


@dataclass
class PythonHouse(House):
    """A house whose models are a Python module."""

    def target(self, **settings: Any) -> api.Target:
        """The target, with `models:Base`."""
        source = ModelSource(("models:Base",), sys.executable, directory=str(self.folder))
        return replace(super().target(**settings), models=source)

    def models(self, sql: str) -> None:
        """Writes the columns of the table `thing` beside the usual base."""
        text = f"{BASE}import uuid, datetime, decimal, itertools\nfrom sqlalchemy import *\nclass Thing(Base):\n    __tablename__ = 'thing'\n    id = Column(Integer, primary_key=True)\n"
        text += "".join(f"    {line.strip()}\n" for line in sql.splitlines() if line.strip())
        (self.folder / "models.py").write_text(text, encoding="utf-8")


@pytest.fixture
def python_house(tmp_path: Path) -> PythonHouse:
    """A database with three things, and the models that made it."""
    house = PythonHouse(tmp_path)
    house.models("name = Column(String)")
    assert house.apply()["outcome"] == "migrated"
    house.run("INSERT INTO thing VALUES (1, 'a'), (2, NULL), (5, 'c');")
    return house


def test_python_side_values_go_through_the_type(python_house: PythonHouse) -> None:
    """A scalar becomes what the type writes for it: numbers, booleans, dates, JSON; and no default stands in the DDL."""
    migrate(
        python_house,
        """n = Column(Integer, nullable=False, default=7)
        s = Column(String(9), nullable=False, default="it's")
        f = Column(Boolean, nullable=False, default=True)
        j = Column(JSON, nullable=False, default={"k": [1]})
        d = Column(Date, nullable=False, default=datetime.date(2024, 2, 29))
        e = Column(Enum("x", "y", create_constraint=True), nullable=False, default="y")
        name = Column(String, nullable=False, default='unnamed')""",
        changed=["thing.name"], touched=["thing"],
    )  # fmt: skip
    assert python_house.ask("SELECT DISTINCT n, s, f, j, d, e FROM thing") == [
        (7, "it's", 1, '{"k": [1]}', "2024-02-29", "y")
    ]
    assert python_house.ask("SELECT name FROM thing") == [("a",), ("unnamed",), ("c",)]
    assert "DEFAULT" not in python_house.stored("thing").upper()


def test_a_callable_is_called_once_for_each_row(python_house: PythonHouse) -> None:
    """As the application would have written it: another value in every row, in the column's own form, and unique."""
    document = migrate(
        python_house,
        """name = Column(String)
        key = Column(String(32), nullable=False, unique=True, default=lambda: uuid.uuid4().hex)
        at = Column(DateTime, nullable=False, default=datetime.datetime.now)""",
        touched=["thing"],
    )
    found = python_house.ask("SELECT key, typeof(key), length(key), typeof(at), length(at) FROM thing")
    assert len({row[0] for row in found}) == 3
    assert {row[1:] for row in found} == {("text", 32, "text", 26)}
    assert "function" not in python_house.stored("thing")
    assert any("of the models" in one["reason"] for one in document["applied"])


def test_a_callable_that_needs_an_argument_is_not_guessed(python_house: PythonHouse) -> None:
    """Without the application's context it cannot be called: the operation is held, with the ways to give a value."""
    before = python_house.everything()
    python_house.models(
        "name = Column(String)\nkey = Column(String, nullable=False, default=lambda context: 'x')"
    )
    document = python_house.apply()
    assert document["outcome"] == "held", document
    assert [(one["name"], one["code"], one["count"]) for one in document["held"]] == [
        ("key", "value-needed", 3)
    ]
    assert python_house.everything() == before


def test_nullable_columns_get_no_python_side_value(python_house: PythonHouse) -> None:
    """Old rows hold NULL, as the models allow; the callable is not asked."""
    migrate(
        python_house, "name = Column(String)\nx = Column(String, default=lambda: 1 / 0)", touched=["thing"]
    )
    assert python_house.ask("SELECT DISTINCT x FROM thing") == [(None,)]


def test_the_server_default_goes_before_what_python_would_write(python_house: PythonHouse) -> None:
    """And it stays in the DDL, since the models want it there."""
    migrate(
        python_house,
        "name = Column(String)\nx = Column(String, nullable=False, default='python', server_default='server')",
        touched=["thing"],
    )
    assert python_house.ask("SELECT DISTINCT x FROM thing") == [("server",)]


def test_a_hint_in_the_models_goes_before_their_default(python_house: PythonHouse) -> None:
    """`info={'backfill': ...}` is SQL over the old row."""
    migrate(
        python_house,
        """name = Column(String)
        x = Column(String, nullable=False, default='python', info={"backfill": "coalesce(name, 'row ' || id)"})""",
        touched=["thing"],
    )
    assert python_house.ask("SELECT x FROM thing") == [("a",), ("row 2",), ("c",)]
    assert_settled(python_house)
