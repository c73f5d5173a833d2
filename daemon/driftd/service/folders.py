"""The folders that a service writes to: made before it starts, because it may make none outside of them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from driftd.service.described import Described


def make_folders(folders: Iterable[str], described: Described) -> list[str]:
    """Makes what is missing, down to these folders, as the owner's; answers with what was made.

    A database's folder may be looked into by others, as its service would make it; one for backups may not. Raises DriftError
    (`service-folder`).
    """
    shared = {str(Path(database).parent) for database in described.databases}
    made: list[str] = []
    for folder in folders:
        for one in reversed([Path(folder), *Path(folder).parents]):
            try:
                if _make(one, 0o755 if str(one) in shared or str(one) != folder else 0o700, described):
                    made.append(str(one))
            except OSError as error:
                raise DriftError(
                    f"{one} cannot be made",
                    code="service-folder",
                    why=error.strerror or str(error),
                    fix=f"make it yourself, as {described.user}'s",
                ) from error
    return made


def _make(folder: Path, mode: int, described: Described) -> bool:
    if folder.is_dir():
        return False
    with suppress(FileExistsError):  # somebody was quicker: it is theirs
        folder.mkdir(0o700)
        if os.geteuid() != described.owner.uid:
            # Never through a link that somebody may have put there meanwhile.
            os.chown(folder, described.owner.uid, described.owner.gid, follow_symlinks=False)
        folder.chmod(mode)
        return True
    return False
