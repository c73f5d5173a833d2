"""The files of a project: bounded, and without what is not the project's own."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

LARGEST_TEXT = 1 << 20  # bytes; longer sources are generated, longer settings are no settings
MOST_ENTRIES = 20_000
DEEPEST = 8
SKIPPED = frozenset({
    "__pycache__", "node_modules", "site-packages", "dist-packages", "tests", "test", "testing", "build", "dist",
    "backup", "backups", "docs", "examples", "venv", "env", "virtualenv",
})  # fmt: skip
# Hidden folders are other programs' business; this one is where the MCP Task Orchestrator keeps its database.
SHOWN = frozenset({".task_orchestrator", "instance", "data"})
SETTINGS = (".ini", ".toml", ".cfg", ".yaml", ".yml", ".json")
DATABASES = (".db", ".db3", ".sqlite", ".sqlite3")
MAGIC = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html, section 1.3.1


@dataclass(slots=True)
class Files:
    """What was found, sorted; `whole` is False where the project is too large to be looked through."""

    python: list[Path] = field(default_factory=list)
    scripts: list[Path] = field(default_factory=list)
    settings: list[Path] = field(default_factory=list)
    databases: list[Path] = field(default_factory=list)
    whole: bool = True


def project_files(project: Path) -> Files:
    """The files of a project. Links to folders are not followed; what may not be read is left out."""
    found = Files()
    entries = 0
    for place, folders, names in os.walk(project):
        here = Path(place)
        depth = len(here.relative_to(project).parts)
        folders[:] = sorted(name for name in folders if depth < DEEPEST and _entered(here / name))
        for name in sorted(names):
            entries += 1
            if entries > MOST_ENTRIES:
                found.whole = False
                return found
            _sort_in(here / name, found)
    return found


def _entered(folder: Path) -> bool:
    if folder.name in SHOWN:
        return True
    skipped = folder.name.lower() in SKIPPED or folder.name.startswith(".")
    return not skipped and not (folder / "pyvenv.cfg").exists()


def _sort_in(path: Path, found: Files) -> None:
    suffix = path.suffix.lower()
    if suffix == ".py" and not path.name.startswith(("test_", "conftest")):
        found.python.append(path)
    elif suffix == ".sql":
        found.scripts.append(path)
    elif suffix in SETTINGS or path.name.startswith(".env"):
        found.settings.append(path)
    elif suffix in DATABASES and is_database(path):
        found.databases.append(path)


def is_database(path: Path) -> bool:
    """Has it SQLite's header? Nobody has a lock in this process that reading it this way would drop."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def text_of(path: Path) -> str:
    """The text of a file; "" for one that is too long, or may not be read."""
    try:
        if path.stat().st_size > LARGEST_TEXT:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
