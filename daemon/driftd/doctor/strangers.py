"""Who else could write what decides: the configuration and the models, which are run; the database and its backups.

docs/security.md says why each of them is trusted.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from driftd.cli.text import shell_word
from driftd.doctor.findings import Finding, warning
from driftengine.backup_files import folder_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from driftd.doctor.subject import Subject

_RUN = "driftd runs what it says, as the user that driftd runs as"
_CODE = "models are imported from there, as the user that driftd runs as"
_ROWS = "who may write there can change or replace the database, whatever driftd is told"
_APPROVED = "approvals that stand there are not believed, and backups could be exchanged"


def check_strangers(subject: Subject) -> list[Finding]:
    """A warning for each of these that everybody on this machine may write."""
    found = {}
    for path, why in _deciding(subject):
        if path not in found and open_to_all(path):
            found[path] = warning(
                f"everybody may write {path}",
                code="writable-by-all",
                why=why,
                fix=f"chmod o-w {shell_word(str(path))}",
            )
    return list(found.values())


def open_to_all(path: Path) -> bool:
    """Is it a file that everybody may write, or a folder in which everybody may exchange what belongs to others?"""
    try:
        found = path.stat()
    except OSError:
        return False  # what is not there, or not to be seen, is told elsewhere
    # As in /tmp: who may add files there may not touch those of others.
    kept = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    return bool(found.st_mode & stat.S_IWOTH) and not kept


def _deciding(subject: Subject) -> Iterator[tuple[Path, str]]:
    """What decides, each file with its folder, and what a stranger could do there."""
    if subject.daemon.config:
        yield from ((path, _RUN) for path in _with_folder(Path(subject.daemon.config)))
    models = subject.target.models
    for spec in models.specs:
        if spec.endswith(".sql"):
            yield from ((path, _CODE) for path in _with_folder(Path(models.directory, spec)))
    yield from ((Path(models.directory, one), _CODE) for one in ("", *models.pythonpath))
    yield from ((path, _ROWS) for path in _with_folder(subject.database))
    backups = folder_for(subject.target.backup.directory, subject.database)
    yield from ((path, _APPROVED) for path in (backups, backups.parent))


def _with_folder(path: Path) -> tuple[Path, Path]:
    real = Path(os.path.realpath(path))
    return real, real.parent
