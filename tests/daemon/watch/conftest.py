"""A project to watch, and a recorder that watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from watching import Project, Recorder, recording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """There is no database yet."""
    root = tmp_path.resolve() / "project"
    package, data = root / "shop", root / "data"
    package.mkdir(parents=True)
    data.mkdir()
    models = package / "models.py"
    models.write_text("first = 1\n")
    return Project(root, package, models, data / "shop.db")


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Closed at the end."""
    with recording() as recorder:
        yield recorder
