"""Whether a database's path still leads to the file that was opened, which SQLite does not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.connect import identity
from driftengine.errors import DatabaseError

if TYPE_CHECKING:
    from driftengine.dialects.sqlite.connect import Location


def require_same_file(location: Location, file: tuple[int, int] | None) -> None:
    """Raises DatabaseError (`database-replaced`) where the path leads to another file than `file`, or to none.

    Asked behind the taking of the write lock, when SQLite has opened the log as well, and behind COMMIT: a file that is
    replaced in between takes no page of ours (https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use).
    """
    try:
        found = identity(location)
    except DatabaseError:
        found = None
    if found != file:
        raise replaced(location)


def replaced(location: Location) -> DatabaseError:
    """The error for a path that leads to something else than what was found there."""
    return DatabaseError(
        f"{location} was replaced",
        code="database-replaced",
        why="another file has its name since it was opened, or none",
        fix="try again: the file that is there now will be opened",
    )
