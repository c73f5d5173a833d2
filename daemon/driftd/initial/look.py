"""Looks at a project, and proves what it finds: models are loaded by the real probe, databases are read."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from driftd.initial.databases import Database, best_first, databases, others_in
from driftd.initial.sources import Candidate, candidates, read_module, script_candidates
from driftd.initial.walk import Files, project_files, text_of
from driftengine.desired import ModelSource, read_desired
from driftengine.errors import ModelsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ORCHESTRATOR = "mcp_task_orchestrator.db.models:Base"
PROBE_S = 30.0
MOST_TRIED = 6  # candidates that are loaded: each may take seconds
_ASKS = "import importlib.util as u, sys; sys.exit(not all(u.find_spec(name) for name in sys.argv[1:]))"


@dataclass(frozen=True, slots=True)
class Models:
    """Models that were loaded.

    Args:
        specs: of the configuration; files of DDL are absolute.
        root: the folder that must be on the import path, None where no folder must.
        tables: the names of their tables.
        error: why they cannot be loaded; None where they can.
    """

    specs: tuple[str, ...]
    root: Path | None
    tables: tuple[str, ...] = ()
    error: ModelsError | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """All that was found, the best first.

    Args:
        project: the folder that was looked at.
        python: the interpreter that the models were loaded with.
        models: those that have tables.
        broken: those that cannot be loaded.
        databases: SQLite databases.
        others: kinds of other databases that the project names.
        whole: False where the project was too large to be looked through.
    """

    project: Path
    python: str
    models: tuple[Models, ...] = ()
    broken: tuple[Models, ...] = ()
    databases: tuple[Database, ...] = ()
    others: tuple[str, ...] = ()
    whole: bool = True

    @property
    def orchestrator(self) -> bool:
        """Are the best models those of the installed MCP Task Orchestrator?"""
        return bool(self.models) and self.models[0].specs == (ORCHESTRATOR,)


def look_at(project: Path, environment: Mapping[str, str]) -> Found:
    """Everything in the project that may be meant."""
    files = project_files(project)
    python = interpreter(project, environment)
    tried = list(_tried(project, files, python))
    loaded = [one for one in tried if one.tables]
    loaded.sort(key=lambda one: (one.specs[0].endswith(".sql"), -len(one.tables)))
    if not loaded and _has(python, "mcp_task_orchestrator"):
        loaded = [one for one in [load((ORCHESTRATOR,), None, python, project)] if one.tables]
    wanted = loaded[0].tables if loaded else ()
    texts = {path: text_of(path) for path in (*files.settings, *files.python)}
    named = databases(texts, files.databases, project)
    return Found(
        project,
        python,
        tuple(loaded),
        tuple(one for one in tried if one.error),
        tuple(best_first(named, wanted)),
        tuple(sorted({kind for text in texts.values() for kind in others_in(text)})),
        files.whole,
    )


def _tried(project: Path, files: Files, python: str) -> Iterator[Models]:
    modules = [read_module(path, text_of(path), project) for path in files.python]
    for candidate in candidates([one for one in modules if one is not None])[:MOST_TRIED]:
        yield from _load_candidate(candidate, python, project)
    for path in script_candidates({path: text_of(path) for path in files.scripts})[:MOST_TRIED]:
        yield load((str(path),), None, python, project)


def _load_candidate(candidate: Candidate, python: str, project: Path) -> Iterator[Models]:
    """The candidate as few specs as give all its tables; nothing where it has none."""
    root = None if candidate.root == project else candidate.root
    one = load(candidate.specs, root, python, project)
    if candidate.wider and candidate.wider != candidate.specs and len(one.tables) < candidate.expected:
        wider = load(candidate.wider, root, python, project)
        if len(wider.tables) > len(one.tables):
            one = wider
    if one.tables or one.error:
        yield one


def load(specs: tuple[str, ...], root: Path | None, python: str, project: Path) -> Models:
    """Loads models by the real probe."""
    pythonpath = () if root is None else (str(root),)
    try:
        desired = read_desired(ModelSource(specs, python, pythonpath, str(project), PROBE_S))
    except ModelsError as error:
        return Models(specs, root, error=error)
    return Models(specs, root, tuple(stored.name for stored in desired.stored if stored.type == "table"))


# --- the interpreter


def interpreter(project: Path, environment: Mapping[str, str]) -> str:
    """The project's own interpreter that has SQLAlchemy; the one that runs this where there is none."""
    places = [project / name / "bin" / "python" for name in (".venv", "venv", "env")]
    if active := environment.get("VIRTUAL_ENV"):
        places.append(Path(active) / "bin" / "python")
    places += _poetry(project, environment)
    there = [str(place) for place in places if place.exists()]
    return next((one for one in there if _has(one, "sqlalchemy")), sys.executable)


def _poetry(project: Path, environment: Mapping[str, str]) -> list[Path]:
    """Where poetry keeps an environment that does not lie in the project."""
    home = environment.get("HOME", "")
    if not home or not (project / "poetry.lock").exists():
        return []
    cache = Path(environment.get("XDG_CACHE_HOME") or Path(home) / ".cache")
    return sorted((cache / "pypoetry" / "virtualenvs").glob(f"{project.name.lower()}-*-py3.*/bin/python"))


def _has(python: str, *modules: str) -> bool:
    """Are these modules installed there? They are not imported. In `/`, so that no folder of the project counts."""
    command = [python, "-B", "-c", _ASKS, *modules]
    try:
        done = subprocess.run(  # noqa: S603  # an interpreter of the user's own project
            command, cwd="/", check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=PROBE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
