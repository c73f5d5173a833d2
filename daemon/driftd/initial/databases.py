"""Databases that a project names or has. Pure, but for looking into the files that were found."""

from __future__ import annotations

import os
import re
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.connect import connect, parse_url, translated
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

# A URL as it stands in quotes, or behind the `=` of a settings file. With a brace or a percent sign it is a template.
_URL = re.compile(r"""(?<![A-Za-z0-9_+])sqlite(?:\+\w+)?:///(?P<path>[^"'\s<>(){}%#;,`]*)(?P<next>.?)""")
_OTHER = re.compile(r"\b(postgresql|postgres|mysql|mariadb|oracle|mssql)(?:\+\w+)?://")
_TEMPLATE = frozenset("{}%(")


@dataclass(frozen=True, slots=True)
class Database:
    """A database that may be meant.

    Args:
        path: of its file, absolute.
        named_in: the file that names it, None where only the file itself was found.
        tables: the names of its tables, in lower case; None where there is no file yet, or it cannot be read now.
        exists: there is a file.
    """

    path: Path
    named_in: Path | None = None
    tables: frozenset[str] | None = None
    exists: bool = False

    def shared(self, wanted: Collection[str]) -> int:
        """How many of these tables it has."""
        return len({name.lower() for name in wanted} & (self.tables or frozenset()))


def urls_in(text: str) -> Iterator[str]:
    """The paths of the SQLite URLs in a text, each as it is written; templates and databases in memory left out."""
    for match in _URL.finditer(text):
        path = match["path"].partition("?")[0]
        if (
            path
            and ":memory:" not in path
            and not path.startswith("file:")
            and match["next"] not in _TEMPLATE
        ):
            yield path


def others_in(text: str) -> Iterator[str]:
    """The kinds of other databases that a text names; never the rest of their URLs, which may hold a password."""
    for match in _OTHER.finditer(text):
        yield match[1]


def databases(texts: Mapping[Path, str], files: Collection[Path], project: Path) -> list[Database]:
    """All that are named, or are there, each once."""
    named: dict[Path, Path] = {}
    for where, text in texts.items():
        for written in urls_in(text):
            named.setdefault((project / written).resolve(), where)
    paths = dict.fromkeys([*named, *(path.resolve() for path in files)])
    # Path.exists raises where a folder may not be looked into.
    return [Database(path, named.get(path), tables_of(path), os.path.exists(path)) for path in paths]  # noqa: PTH110


def tables_of(path: Path) -> frozenset[str] | None:
    """The names of its tables, in lower case; None where it is missing or cannot be read."""
    try:
        location = parse_url(f"sqlite:///{path}")
        with closing(connect(location, write=False, timeout=1.0)) as connection, translated(location):
            rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    except DriftError:
        return None
    return frozenset(str(row[0]).lower() for row in rows)


def best_first(found: Collection[Database], wanted: Collection[str]) -> list[Database]:
    """The one with the most of the wanted tables first, then one that the project names, then the shorter path."""
    return sorted(
        found, key=lambda one: (-one.shared(wanted), one.named_in is None, len(one.path.parts), str(one.path))
    )
