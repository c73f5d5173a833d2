"""The answer to a check of a database that was in sync, remembered: while nothing of it has moved, it is the same.

Where there are no differences, the answer follows from the desired schema, from what the database's catalogue and
driftd's history in it hold, and from the code that compares them; rows do not matter. Reading those and comparing a hash
takes a tenth of understanding them. Where there are differences, rows decide too, and nothing is remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftengine import memory
from driftengine.dialects.sqlite.connect import Location, connect, parse_url
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from driftengine.target import Target

HISTORY = "driftd_history"  # as `history` has it, whose import would cost as much as all of this
KEYS = ("state", "in_sync", "differences", "accepted", "ignored", "plan", "unmanaged", "unsupported")


@dataclass(frozen=True, slots=True)
class Question:
    """What a check asks: of the database at `path`, everything that the answer follows from as one hash.

    `last` is the last row of the history, as text.
    """

    path: str
    content: str
    last: str = field(default="", compare=False)


def ask(target: Target, desired: Mapping[str, Any]) -> Question | None:
    """The question of a check now, of a `remembered.desired_document`; None where the database cannot be read at once."""
    try:
        location = parse_url(target.url, directory=Path(target.models.directory))
        found = _read(location)
    except (DriftError, sqlite3.Error):
        return None  # the check itself waits, and says what is wrong
    tables = [dict(target.backfill), dict(target.policy), dict(target.renames)]
    settings = [target.ignore, *tables, target.backfill_max_rows]
    rows, history = found[1], found[2]
    asked = [KEYS, _code(), sqlite3.sqlite_version, desired, settings, [found[0], *rows, *history]]
    content = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return Question(str(location), content, history[-1] if history else "")


def recall(folder: Path, question: Question) -> dict[str, Any] | None:
    """What a check answered to the same question: the `KEYS` of its document."""
    document = memory.read(folder / _name(question))
    if not isinstance(document, dict) or document.get("question") != question.content:
        return None
    answer = document.get("answer")
    return answer if isinstance(answer, dict) and answer.keys() >= {*KEYS} else None


def recorded(folder: Path, question: Question) -> bool:
    """True when the same question was answered before, and base was recorded then: there is nothing to write down."""
    document = memory.read(folder / _name(question))
    same = isinstance(document, dict) and document.get("question") == question.content
    return same and document is not None and document.get("recorded") is True


def remember(folder: Path, question: Question, document: Mapping[str, Any], *, recorded: bool) -> None:
    """Keep the answer of a check that found the database in sync, where the question is the same before and after.

    `recorded`: the history holds what the models describe now.
    """
    answer = {key: document[key] for key in KEYS}
    memory.write(
        folder / _name(question), {"question": question.content, "answer": answer, "recorded": recorded}
    )


def _name(question: Question) -> str:
    return f"in-sync-{hashlib.sha256(os.fsencode(question.path)).hexdigest()[:40]}.json"


def _read(location: Location) -> tuple[Any, list[str], list[str]]:
    """The version, the catalogue and the history, of one moment. Raises DriftError, sqlite3.Error."""
    with closing(connect(location, write=False, timeout=0.0)) as connection:
        connection.execute("BEGIN")
        version = connection.execute("PRAGMA schema_version").fetchall()
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
        history: list[Any] = []
        if any(row[1] == HISTORY for row in rows):
            history = connection.execute(f"SELECT * FROM {HISTORY} ORDER BY id").fetchall()
        return version, [repr(row) for row in rows], [repr(row) for row in history]


def _code() -> list[tuple[str, int, int]]:
    """The engine's files as they were installed. By `stat`: reading them all would take longer than the rest."""
    engine = Path(__file__).parent
    found = []
    for folder in (engine, engine / "diff", engine / "dialects", engine / "dialects" / "sqlite"):
        with os.scandir(folder) as entries:
            sources = [(entry.path, entry.stat()) for entry in entries if entry.name.endswith(".py")]
        found += [(path, its.st_mtime_ns, its.st_size) for path, its in sources]
    return sorted(found)
