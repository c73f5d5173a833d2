"""May the users who matter do what they must: this one, the database's owner, the daemon's user?"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftd.cli.text import shell_word
from driftd.doctor.findings import Finding, note, problem
from driftd.doctor.subject import SQLITE_ENDS
from driftd.lock_file import LOCKS
from driftd.peers import groups_of
from driftengine.backup_files import folder_for

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from driftd.doctor.subject import Subject

READ, WRITE, ENTER = 4, 2, 1


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who must be able to use the files. `role` is how a sentence names them."""

    uid: int
    groups: Collection[int]
    role: str


def grants(found: os.stat_result, user: User, wanted: int) -> bool:
    """Do the mode bits give the user all of `wanted` (bits of READ, WRITE, ENTER)? Access lists are not looked at."""
    if user.uid == 0:
        return True
    shift = 6 if found.st_uid == user.uid else 3 if found.st_gid in user.groups else 0
    return (found.st_mode >> shift) & wanted == wanted


def check_rights(subject: Subject) -> list[Finding]:
    """The database, its folder, the files beside it and the backup folder."""
    found = _own_rights(subject)
    for user in _others(subject):
        found += _rights_of(user, subject)
    return found + _lock_files(subject)


def _own_rights(subject: Subject) -> list[Finding]:
    """What this user may do, asked of the system itself: it knows access lists and read-only mounts."""
    database, folder = subject.database, subject.database.parent
    if not folder.exists():
        above = _nearest(folder)
        if not os.access(above, os.W_OK | os.X_OK):
            return [_shut(above, "this user", f"it is needed to make {folder}")]
        return [note(f"the folder {folder} does not exist yet", code="database-absent", why=_FIRST)]
    found = []
    if not os.access(folder, os.W_OK | os.X_OK):
        found.append(_shut(folder, "this user", "SQLite makes its journal there, and driftd its locks"))
    if not database.exists():
        found.append(note(f"the database {database} does not exist yet", code="database-absent", why=_FIRST))
    paths = [database, *(subject.beside(end) for end in SQLITE_ENDS)]
    found += [
        _shut(path, "this user", "")
        for path in paths
        if path.exists() and not os.access(path, os.R_OK | os.W_OK)
    ]
    backups = _nearest(folder_for(subject.target.backup.directory, subject.database))
    if not os.access(backups, os.W_OK | os.X_OK):
        found.append(_shut(backups, "this user", "backups go there, and nothing is migrated without one"))
    return found


def _others(subject: Subject) -> list[User]:
    """The database's owner, who is taken for the service's user, and the daemon's user."""
    known: dict[int, str] = {}
    if subject.database.exists():
        known[subject.database.stat().st_uid] = "the database's owner"
    if subject.daemon.uid is not None:
        known.setdefault(subject.daemon.uid, "the daemon's user")
    known.pop(os.geteuid(), None)  # asked of the system already
    return [User(uid, groups_of(uid), f"{role} ({_name(uid)})") for uid, role in known.items()]


def _rights_of(user: User, subject: Subject) -> list[Finding]:
    wanted = [(subject.database, READ | WRITE), (subject.database.parent, WRITE | ENTER)]
    wanted += [(subject.beside(end), READ | WRITE) for end in SQLITE_ENDS]
    if user.uid == subject.daemon.uid:
        wanted.append(
            (_nearest(folder_for(subject.target.backup.directory, subject.database)), WRITE | ENTER)
        )
    found = []
    for path, bits in wanted:
        shut = next((above for above in _above(path) if not grants(above.stat(), user, ENTER)), None)
        if shut is not None:
            found.append(_shut(shut, user.role, f"the way to {path} leads through it"))
        elif path.exists() and not grants(path.stat(), user, bits):
            found.append(_shut(path, user.role, "it was perhaps made by another user's program"))
    return found


def _lock_files(subject: Subject) -> list[Finding]:
    """Nothing is locked but an ordinary file with one name."""
    found = []
    for path in (subject.beside(end) for end in LOCKS):
        try:
            status = path.lstat()
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            found.append(
                problem(
                    f"{path} cannot be used as a lock",
                    code="lock-unusable",
                    why="it is no plain file, or one with several names",
                    fix=f"see what it is, and move it away: ls -l {shell_word(str(path))}",
                )
            )
    return found


_FIRST = "the service, or the first `driftd apply`, makes it"


def _shut(path: Path, who: str, why: str) -> Finding:
    owner = f"it belongs to {_name(path.stat().st_uid)}, mode {stat.S_IMODE(path.stat().st_mode):04o}"
    needed = "make files in" if path.is_dir() else "read and write"
    return problem(
        f"{who} may not {needed} {path}",
        code="permission-missing",
        why="; ".join(part for part in (owner, why) if part),
        fix=f"see `ls -ld {shell_word(str(path))}`, and give the right with chown, chgrp or chmod",
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(one for one in (path, *path.parents) if one.exists())


def _above(path: Path) -> list[Path]:
    """The folders that lead to a path, from the root down; those that exist."""
    return [one for one in reversed(path.parents) if one.exists()]
