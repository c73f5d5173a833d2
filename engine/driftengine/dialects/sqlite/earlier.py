"""A copy of the database as it was, beside the database as it is: where values that come back are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.connect import Location, file_uri, translated
from driftengine.dialects.sqlite.introspect import understand
from driftengine.schema import StoredObject

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from driftengine.schema import Schema

EARLIER = "earlier"


def attach_earlier(connection: sqlite3.Connection, path: Path) -> None:
    """Attaches a database that nobody writes under the name `EARLIER`. Raises DatabaseError where it cannot be read.

    A database that may only be read takes no part in a commit, so that the transaction stays one of one file
    (https://www.sqlite.org/atomiccommit.html, section 5); an immutable one is neither locked nor looked at for a log
    (https://www.sqlite.org/uri.html).
    """
    with translated(Location(str(path), path)):
        connection.execute(f"ATTACH ? AS {EARLIER}", (f"{file_uri(path, 'ro')}&immutable=1",))


def schema_of_earlier(connection: sqlite3.Connection) -> Schema:
    """The schema of what is attached."""
    rows = connection.execute(
        f"SELECT type, CAST(name AS TEXT), CAST(tbl_name AS TEXT), CAST(sql AS TEXT) FROM {EARLIER}.sqlite_schema"
    )
    return understand(StoredObject(*row) for row in rows)
