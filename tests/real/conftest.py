"""Databases made once in a session by each release's own code; tests take copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from real.commands import Case, in_release
from real.packages import OPTUNA_MODELS, ORCHESTRATOR_MODELS, release
from real.reading import copied

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`made("optuna-3.6.2")` is a filled database made by that release; treat it as read-only."""
    known: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in known:
            known[name] = tmp_path_factory.mktemp(name) / "made.db"
            script = "optuna_create.py" if name.startswith("optuna") else "orchestrator_create.py"
            in_release(release(name), script, known[name])
        return known[name]

    return make


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`described("optuna-3.6.2")` is an empty database just as `create_all` of that release builds it."""
    known: dict[str, Path] = {}

    def describe(name: str) -> Path:
        if name not in known:
            known[name] = tmp_path_factory.mktemp(f"described-{name}") / "described.db"
            in_release(release(name), "create_all.py", *models_of(name).split(":"), known[name])
        return known[name]

    return describe


@pytest.fixture
def case(made: Callable[[str], Path], tmp_path: Path) -> Callable[[str, str], Case]:
    """`case("optuna-2.10.1", "optuna-3.6.2")`: a copy of the one's database that should follow the other's models."""

    def build(older: str, newer: str) -> Case:
        return Case(copied(made(older), tmp_path / "service" / "data.db"), release(newer), models_of(newer))

    return build


def models_of(name: str) -> str:
    """The models spec of that release."""
    return OPTUNA_MODELS if name.startswith("optuna") else ORCHESTRATOR_MODELS
