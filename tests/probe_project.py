"""A small project on disk, loaded by real probes."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from driftengine.desired import Desired, ModelSource, read_desired
from driftengine.errors import ModelsError

if TYPE_CHECKING:
    from pathlib import Path

BASE = """
from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, event, func
from sqlalchemy.orm import DeclarativeBase, declarative_base
class Base(DeclarativeBase):
    pass
class Task(Base):
    __tablename__ = "task"
    id = Column(Integer, primary_key=True)
"""


class ModelProject:
    """A folder with Python and SQL files, and the ways to load it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        """Write a file, its folders too."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def models(self, text: str) -> Path:
        """Write models.py: `BASE` (a Base and a table `task`) and this text."""
        return self.write("models.py", BASE + textwrap.dedent(text))

    def source(
        self,
        *specs: str,
        python: str = sys.executable,
        pythonpath: tuple[str, ...] = (),
        timeout: float = 60.0,
    ) -> ModelSource:
        """The ModelSource of these specs in this project."""
        return ModelSource(specs, python, pythonpath, str(self.folder), timeout)

    def read(
        self,
        *specs: str,
        python: str = sys.executable,
        pythonpath: tuple[str, ...] = (),
        timeout: float = 60.0,
    ) -> Desired:
        """What these specs want."""
        return read_desired(self.source(*specs, python=python, pythonpath=pythonpath, timeout=timeout))

    def error(
        self,
        *specs: str,
        python: str = sys.executable,
        pythonpath: tuple[str, ...] = (),
        timeout: float = 60.0,
    ) -> ModelsError:
        """The error that reading these specs raises."""
        with pytest.raises(ModelsError) as caught:
            self.read(*specs, python=python, pythonpath=pythonpath, timeout=timeout)
        assert caught.value.what
        assert caught.value.why
        assert caught.value.fix
        return caught.value


def table_names(desired: Desired) -> list[str]:
    """The names of the tables, in the order in which they were made."""
    return [stored.name for stored in desired.stored if stored.type == "table"]
