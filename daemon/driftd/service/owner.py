"""Whom databases belong to, and what that user can reach."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a database belongs to."""

    uid: int
    gid: int

    @property
    def user(self) -> str:
        """The name, or the number where it has none."""
        with suppress(KeyError):
            return pwd.getpwuid(self.uid).pw_name
        return str(self.uid)

    @property
    def group(self) -> str:
        """The name, or the number where it has none."""
        with suppress(KeyError):
            return grp.getgrgid(self.gid).gr_name
        return str(self.gid)


def owner_of(database: str) -> Owner:
    """Whom a database belongs to; where it is missing its folder decides, or the nearest one above that is there."""
    path = Path(database)
    for one in (path, *path.parents):
        with suppress(OSError):
            found = one.stat()
            return Owner(found.st_uid, found.st_gid)
    return Owner(os.geteuid(), os.getegid())


def one_owner(owners: Mapping[str, Owner]) -> Owner:
    """The owner of all databases. Raises ConfigurationError where there are several."""
    users: dict[int, Owner] = {}
    for owner in owners.values():
        users.setdefault(owner.uid, owner)
    if len(users) != 1:
        told = ", ".join(f"{name} belongs to {owner.user}" for name, owner in owners.items())
        raise ConfigurationError(
            "one service cannot keep databases of several users" if owners else "there is no target to serve",
            code="service-owners",
            why=f"{told}; what driftd makes beside a database must be its owner's"
            if owners
            else "none is configured",
            fix="install one service for each owner: --target NAME --name driftd-NAME",
        )
    return next(iter(users.values()))


def shut_to(path: str, owner: Owner) -> tuple[str, int] | None:
    """The first folder on the way to a path that its mode shuts to this user, and that mode; None where there is none."""
    if owner.uid == 0:
        return None
    for folder in reversed(Path(path).parents):
        with suppress(OSError):
            found = folder.stat()
            mine, ours = found.st_uid == owner.uid, found.st_gid == owner.gid
            if not found.st_mode & (stat.S_IXUSR if mine else stat.S_IXGRP if ours else stat.S_IXOTH):
                return str(folder), stat.S_IMODE(found.st_mode)
    return None
