"""The published releases that the tests meet, with exact versions: the one table of pins.

Direct requirements are pinned, what those pull in floats. Versions are what the releases themselves allow: the
orchestrator leaves the major version of `mcp` open and does not run on 2; optuna 2.10 was written for SQLAlchemy 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from real.environments import environment, interpreter

if TYPE_CHECKING:
    from pathlib import Path

ORCHESTRATOR_MODELS = "mcp_task_orchestrator.db.models:Base"
OPTUNA_MODELS = "optuna.storages._rdb.models:BaseModel"

_ORCHESTRATOR = (
    "aiofiles==25.1.0",
    "alembic==1.20.1",
    "filelock==4.2.11",
    "jinja2==3.1.6",
    "mcp==1.30.0",
    "psutil==7.2.2",
    "pydantic==2.14.3",
    "pyyaml==6.0.3",
    "rich==15.0.0",
    "sqlalchemy==2.1.9",
    "typer==0.29.2",
)
_DRIFTD = ("click==8.5.1", "tomli==2.5.0", "watchdog==7.1.0")  # what driftd needs besides

_OPTUNA = (
    "alembic==1.20.1",
    "colorlog==6.12.0",
    "numpy==2.4.6",
    "packaging==26.3",
    "pyyaml==6.0.3",
    "tqdm==4.70.1",
)

PINS: dict[str, tuple[str, ...]] = {
    "mcp-task-orchestrator-1.5.1": ("mcp-task-orchestrator==1.5.1", *_ORCHESTRATOR),
    "mcp-task-orchestrator-1.7.0": ("mcp-task-orchestrator==1.7.0", *_ORCHESTRATOR),
    "mcp-task-orchestrator-1.8.0": ("mcp-task-orchestrator==1.8.0", *_ORCHESTRATOR),
    # A service that has driftd in its own environment; driftd itself is put on top of this one.
    "mcp-task-orchestrator-1.8.0-beside-driftd": ("mcp-task-orchestrator==1.8.0", *_ORCHESTRATOR, *_DRIFTD),
    "optuna-2.10.1": (
        "optuna==2.10.1",
        "alembic==1.16.5",
        "cliff==4.9.1",
        "cmaes==0.13.1",
        "colorlog==6.12.0",
        "numpy==1.26.4",
        "packaging==26.3",
        "pyyaml==6.0.3",
        "scipy==1.13.1",
        "sqlalchemy==1.4.54",
        "tqdm==4.70.1",
    ),
    "optuna-3.6.2": ("optuna==3.6.2", "sqlalchemy==2.0.41", *_OPTUNA),
    "optuna-5.0.0": ("optuna==5.0.0", "sqlalchemy==2.1.9", *_OPTUNA),
}

# The Pythons that a release has wheels for, best first; others run on the tests' own.
PYTHONS: dict[str, tuple[str, ...]] = {"optuna-2.10.1": ("3.9", "3.10", "3.11", "3.12")}


def release(name: str) -> Path:
    """The Python of the environment that holds this release.

    Raises:
        LookupError: no interpreter here that the release runs on.
    """
    versions = PYTHONS.get(name)
    python = next(filter(None, map(interpreter, versions)), None) if versions else None
    if versions and python is None:
        raise LookupError(f"{name} needs one of Python {', '.join(versions)}, and none of them runs here")
    return environment(name, PINS[name], python)
