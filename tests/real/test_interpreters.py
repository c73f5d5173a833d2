"""The probe in other people's interpreters: Python 3.8 and 3.9 with SQLAlchemy 1.4, the newest Python, SQLModel."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from driftengine.desired import ColumnDefault, Hint, draw_values
from driftengine.probe_process import PARTS
from probe_project import ModelProject, table_names
from real.environments import environment, interpreter

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real

OLDEST = ("3.8", "3.9")
NEWEST = ("3.15", "3.14", "3.13", "3.12", "3.11")
MODELS = """
import datetime, uuid
from sqlalchemy import Column, DateTime, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, event, func
from sqlalchemy.orm import declarative_base
print("chatter")
Base = declarative_base()
class Task(Base):
    __tablename__ = "task"
    id = Column(Integer, primary_key=True)
    key = Column(String, nullable=False, default=lambda: str(uuid.uuid4()))
    made = Column(DateTime, nullable=False, default=datetime.datetime(2024, 1, 2))
    now = Column(DateTime, nullable=False, default=func.now())
    context = Column(String, nullable=False, default=lambda context: "x")
    title = Column(String(50), index=True, info={"renamed_from": "name", "backfill": "'untitled'"})
class Away(Base):
    __tablename__ = "away"
    __table_args__ = {"schema": "other"}
    id = Column(Integer, primary_key=True)
"""
SQLMODEL = """
import uuid
from typing import Optional
from sqlmodel import Field, SQLModel
class Hero(SQLModel, table=True):
    id: Optional[int] = Field(default=None, primary_key=True)
    name: str = Field(index=True)
    key: uuid.UUID = Field(default_factory=uuid.uuid4)
    age: int = 7
    nick: Optional[str] = Field(default=None, sa_column_kwargs={"info": {"renamed_from": "alias"}})
"""


@pytest.fixture
def project(tmp_path: Path) -> ModelProject:
    """An empty project."""
    return ModelProject(tmp_path)


def old_interpreter(version: str) -> str:
    """The interpreter of that version, or a skip where this machine has none."""
    found = interpreter(version)
    if not found:
        pytest.skip(f"no Python {version} runs on this machine")
    return found


def newest_interpreter() -> str:
    """The newest Python that runs here."""
    return next(found for found in map(interpreter, NEWEST) if found)


@pytest.mark.parametrize("version", OLDEST)
def test_the_probe_compiles_in_an_old_python(version: str) -> None:
    """A real Python of that version compiles the probe's files."""
    program = "import sys; [compile(open(part, 'rb').read(), part, 'exec') for part in sys.argv[1:]]"
    subprocess.run(
        [old_interpreter(version), "-B", "-W", "error", "-c", program, *map(str, PARTS)], check=True
    )


@pytest.mark.parametrize(
    ("version", "sqlalchemy"),
    [("3.8", "1.4.0"), ("3.8", "2.0.36"), ("3.9", "1.4.54"), ("newest", "2.0.36"), ("newest", "2.1.9")],
)
def test_models_load_in_the_service_s_python(project: ModelProject, version: str, sqlalchemy: str) -> None:
    """Schema, defaults, hints, values and failures are the same from Python 3.8 and SQLAlchemy 1.4 to the newest."""
    base = newest_interpreter() if version == "newest" else old_interpreter(version)
    python = str(environment(f"sqlalchemy-{sqlalchemy}", [f"sqlalchemy=={sqlalchemy}"], base))
    project.write("models.py", MODELS)
    desired = project.read("models:Base", python=python)
    assert [(stored.type, stored.name) for stored in desired.stored] == [
        ("table", "task"),
        ("index", "ix_task_title"),
    ]
    assert desired.defaults == (
        ColumnDefault("task", "key", callable="models.Task.<lambda>"),
        ColumnDefault("task", "made", sql="'2024-01-02 00:00:00.000000'"),
        ColumnDefault("task", "now", sql="CURRENT_TIMESTAMP"),
    )
    assert desired.hints == (Hint("task", "title", ("name",), "'untitled'"),)
    assert len(desired.unsupported) == 1
    assert desired.sources == (str(project.folder / "models.py"),)
    assert desired.versions["sqlalchemy"] == sqlalchemy
    values = draw_values(project.source("models:Base", python=python), "task", "key", 3)
    assert len(set(values)) == 3
    assert "did you mean Base" in project.error("models:Bse", python=python).why
    project.write("models.py", "import ctypes\nctypes.string_at(0)\n")
    assert project.error("models:Base", python=python).why.endswith(f"{project.folder / 'models.py'}:2")


@pytest.mark.parametrize("spec", ["models:SQLModel", "models:Hero", "models"])
def test_sqlmodel_classes_load(project: ModelProject, spec: str) -> None:
    """SQLModel itself, one of its classes, or only the module: the tables, defaults and hints of all models."""
    python = str(
        environment("sqlmodel-0.0.24", ["sqlmodel==0.0.24", "sqlalchemy==2.0.36"], newest_interpreter())
    )
    project.write("models.py", SQLMODEL)
    desired = project.read(spec, python=python)
    assert table_names(desired) == ["hero"]
    assert desired.defaults == (
        ColumnDefault("hero", "key", callable="uuid.uuid4"),
        ColumnDefault("hero", "age", sql="7"),
    )
    assert desired.hints == (Hint("hero", "nick", ("alias",)),)
    assert desired.versions["sqlmodel"] == "0.0.24"
