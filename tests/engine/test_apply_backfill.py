"""Values for old rows: from the models' own callables, drawn once, the same in the rehearsal and in the database."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.apply import Applier
from driftengine.desired import ModelSource
from driftengine.dialects.sqlite import rehearsal
from driftengine.errors import PlanError
from support.migrations import House, kinds

if TYPE_CHECKING:
    from pathlib import Path

MODELS = """
import uuid
from datetime import datetime
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, mapped_column

class Base(DeclarativeBase):
    pass

def token():
    return uuid.uuid4().hex

class Task(Base):
    __tablename__ = "task"
    id = mapped_column(sa.Integer, primary_key=True)
    title = mapped_column(sa.String(50))
    {columns}
"""
BEFORE = "CREATE TABLE task (id INTEGER NOT NULL, title VARCHAR(50), PRIMARY KEY (id));"
NEW = """
    token = mapped_column(sa.String(32), default=token, nullable=False)
    state = mapped_column(sa.String(10), default="open", nullable=False)
    made = mapped_column(sa.DateTime, default=datetime.now, nullable=False)
    note = mapped_column(sa.String(10), nullable=False, info={"backfill": "'n' || id"})
"""
FILL = "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < {}) INSERT INTO task (id, title) SELECT n, 'x' FROM r;"


class Python(House):
    """A house whose models are SQLAlchemy classes."""

    def target(self, **settings: Any) -> api.Target:
        """The target, its models a module of Python."""
        models = ModelSource(("app_models:Base",), sys.executable, directory=str(self.folder))
        return api.Target(
            "app",
            f"sqlite:///{self.database}",
            models,
            api.BackupSettings(self.folder / "backups"),
            **settings,
        )

    def columns(self, text: str) -> None:
        """Writes the models with these columns beside id and title."""
        (self.folder / "app_models.py").write_text(MODELS.format(columns=text.strip()), encoding="utf-8")


@pytest.fixture
def house(tmp_path: Path) -> Python:
    return Python(tmp_path)


def test_the_same_values_are_rehearsed_and_written(house: Python, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random value a row, a scalar, a moment, and SQL out of `info`; the copy had just the same ones."""
    house.run(BEFORE + FILL.format(50))
    house.columns(NEW)
    question = "SELECT id, token, state, made, note FROM task ORDER BY id"
    rehearsed = []
    real = rehearsal.rehearse

    def looking(backup: Path | None, workspace: Path, *arguments: Any, **named: Any) -> Any:
        outcome = real(backup, workspace, *arguments, **named)
        copy = House(workspace)
        (workspace / rehearsal.NAME).rename(copy.database)
        rehearsed.append(copy.ask(question))
        return outcome

    monkeypatch.setattr(rehearsal, "rehearse", looking)
    done = house.apply()
    assert (done["outcome"], done["held"], kinds(done)) == ("migrated", [], ["add_column"] * 4)
    rows = house.ask(question)
    assert rehearsed == [rows]
    assert len({row[1] for row in rows}) == 50
    assert all(
        len(token) == 32 and state == "open" and note == f"n{key}" for key, token, state, _, note in rows
    )
    assert len({row[3] for row in rows}) > 1
    assert "DEFAULT" not in house.stored("task")
    assert house.apply()["outcome"] == "up_to_date"


def test_null_becomes_a_drawn_value_and_the_rest_stays(house: Python) -> None:
    """A column that becomes NOT NULL: only the rows that hold NULL are given a value."""
    house.run(f"{BEFORE} INSERT INTO task VALUES (1, NULL), (2, 'mine'), (3, NULL)")
    house.columns("")
    text = (house.folder / "app_models.py").read_text("utf-8")
    changed = text.replace("sa.String(50))", "sa.String(50), default=token, nullable=False)")
    (house.folder / "app_models.py").write_text(changed, encoding="utf-8")
    done = house.apply()
    assert (done["outcome"], kinds(done)) == ("migrated", ["set_not_null"])
    one, two, three = (row[0] for row in house.ask("SELECT title FROM task ORDER BY id"))
    assert two == "mine"
    assert len(one) == len(three) == 32
    assert one != three


def test_a_second_try_draws_for_the_rows_that_came(house: Python, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is committed behind the drawing: it gets a value of its own too."""
    house.run(BEFORE + FILL.format(5))
    house.columns("token = mapped_column(sa.String(32), default=token, nullable=False)")
    monkeypatch.setattr(
        Applier, "_require_access", lambda *_: house.run("INSERT INTO task VALUES (9, 'late')")
    )
    assert house.apply()["outcome"] == "migrated"
    rows = house.ask("SELECT id, token FROM task")
    assert len({token for _, token in rows}) == len(rows) == 6


def test_beyond_the_limit_it_is_held_and_sql_is_shown(house: Python) -> None:
    """More rows than `backfill_max_rows`: nothing is called, the way in SQL is shown, and works."""
    house.run(BEFORE + FILL.format(21))
    house.columns("token = mapped_column(sa.String(32), default=token, nullable=False)")
    held = house.apply(backfill_max_rows=20)
    assert (held["outcome"], held["backup"]) == ("held", None)
    (one,) = held["held"]
    assert (one["code"], one["count"]) == ("value-needed", 21)
    for words in ("21 rows", "at most 20", "--backfill task.token=EXPR"):
        assert words in one["reason"]
    done = house.apply(backfill_max_rows=20, backfill={"task.token": "lower(hex(randomblob(16)))"})
    assert done["outcome"] == "migrated"
    assert house.ask("SELECT count(DISTINCT token), min(length(token)) FROM task") == [(21, 32)]


def test_the_limit_is_a_hundred_thousand(house: Python) -> None:
    """100,001 rows and a callable, with the settings as they come: held, without one call."""
    house.run(BEFORE + FILL.format(100_001))
    house.columns("token = mapped_column(sa.String(32), default=token, nullable=False)")
    held = house.apply()
    assert (held["outcome"], held["held"][0]["code"]) == ("held", "value-needed")
    assert "100,001 rows" in held["held"][0]["reason"]


def test_a_given_value_goes_before_the_models(house: Python) -> None:
    """Configuration or flag, then `info`, then the model's own default."""
    house.run(BEFORE + FILL.format(2))
    house.columns(
        "state = mapped_column(sa.String(10), default='open', nullable=False, info={'backfill': \"'hint'\"})"
    )
    assert "'hint'" in house.plan()["plan"]["operations"][0]["reason"]
    assert house.apply(backfill={"TASK.State": "'given'"})["outcome"] == "migrated"
    assert house.ask("SELECT DISTINCT state FROM task") == [("given",)]


def test_a_backfill_for_no_column_is_refused(house: Python) -> None:
    """A typing mistake is told with the nearest column."""
    house.run(BEFORE)
    house.columns("")
    with pytest.raises(PlanError, match=r"task\.titel") as caught:
        house.apply(backfill={"task.titel": "1"})
    assert caught.value.code == "backfill-unknown"
    assert "task.title" in caught.value.why
