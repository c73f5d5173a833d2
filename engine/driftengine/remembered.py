"""The last desired schema on disk: a new process whose models have not moved need not load them again.

One file for each source of models. It holds the schema and the footprint of what it was made of, and counts only while a
new look at all of that gives the same key. Never imports SQLAlchemy; starts no process where it remembers.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftengine import memory
from driftengine.desired import ColumnDefault, Desired, Hint, ModelSource, read_desired
from driftengine.footprint import Footprint, Inputs, Seen, Stat, find_interpreter, measure, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from driftengine.schema import StoredObject

FORMAT = 1
# What the schema is made by: with other code it may be another one.
MAKERS = (
    "footprint.py",
    "probe_files.py",
    "probe_template.py",
    "probe.py",
    "desired.py",
    "remembered.py",
    "dialects/sqlite/scratch.py",
)


def folder(environment: Mapping[str, str]) -> Path | None:
    """Where desired schemas are remembered for this user; None where no place is known."""
    bases = Path(environment.get("XDG_CACHE_HOME", "")), Path(environment.get("HOME", ""), ".cache")
    # A relative path is to be ignored (https://specifications.freedesktop.org/basedir-spec/latest/).
    return next((base / "driftd" / "desired" for base in bases if base.is_absolute()), None)


def load(source: ModelSource, folder: Path | None, *, cancelled: Callable[[], bool] | None = None) -> Desired:
    """Load the models, and remember them in the folder; `cancelled` as in `read_desired`. Raises ModelsError."""
    since = time.time_ns()
    desired = read_desired(source, cancelled=cancelled)
    if folder is not None:
        footprint = measure(desired.inputs)
        if settled(footprint, since):
            remember(folder, source, desired, footprint)
    return desired


def recall(folder: Path, source: ModelSource) -> Desired | None:
    """The remembered schema; None when there is none that can be trusted and still holds."""
    document = recall_document(folder, source)
    return None if document is None else desired_of(document)


_WHOLE = frozenset({"stored", "defaults", "hints", "sources", "unsupported", "versions"})


def recall_document(folder: Path, source: ModelSource) -> dict[str, Any] | None:
    """The same, as it was written: `desired` is its `desired_document`."""
    document: dict[str, Any] | None = memory.read(folder / _name(source))
    try:
        if document is None or document["format"] != FORMAT or document["maker"] != _maker():
            return None
        footprint = _footprint(document["footprint"])
        holds = (
            measure(footprint.inputs, footprint).key == footprint.key and document["desired"].keys() >= _WHOLE
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # not as we would have written it
    return document if holds else None


def desired_of(document: Mapping[str, Any]) -> Desired:
    """The schema in a remembered document."""
    return _desired(document["desired"], _footprint(document["footprint"]).inputs)


def remember(folder: Path, source: ModelSource, desired: Desired, footprint: Footprint) -> bool:
    """Keep a schema. False when it cannot be kept: the next process will load the models again, no more.

    The footprint must be `settled` since before the models were loaded.
    """
    document = {
        "format": FORMAT,
        "maker": _maker(),
        "specs": source.specs,
        "footprint": _footprint_document(footprint),
        "desired": desired_document(desired),
    }
    return memory.write(folder / _name(source), document)


def _name(source: ModelSource) -> str:
    """The file's name: everything that chooses the models. A timeout does not."""
    here = [str(Path(path).absolute()) for path in (source.directory, *source.pythonpath)]
    found = find_interpreter(source.python)
    chosen = [source.specs, source.python, found and [found, os.path.realpath(found)], here]
    return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:40] + ".json"


def _maker() -> str:
    """A hash of the code that makes the schema, and of the SQLite that builds .sql files."""
    found = hashlib.sha256(sqlite3.sqlite_version.encode())
    for name in MAKERS:
        found.update((Path(__file__).parent / name).read_bytes())
    return found.hexdigest()


def _footprint_document(footprint: Footprint) -> dict[str, Any]:
    inputs = footprint.inputs
    return {
        "inputs": {name: getattr(inputs, name) for name in Inputs.__slots__},
        "taken_at": footprint.taken_at,
        "newest": footprint.newest,
        "environment": footprint.environment,
        "seen": [
            [one.kind, one.path, one.stat and _row(one.stat), one.content, one.newest, one.inside]
            for one in footprint.seen
        ],
    }


def _footprint(document: Mapping[str, Any]) -> Footprint:
    inputs: dict[str, Any] = {
        name: one if name == "python" else tuple(one) for name, one in document["inputs"].items()
    }
    seen = [
        Seen(
            kind, path, found and Stat(*found), content, newest, tuple((name, what) for name, what in inside)
        )
        for kind, path, found, content, newest, inside in document["seen"]
    ]
    return Footprint(
        Inputs(**inputs), document["taken_at"], document["newest"], document["environment"], tuple(seen)
    )


def desired_document(desired: Desired) -> dict[str, Any]:
    """A desired schema, ready for JSON; without its inputs."""
    return {
        "stored": [_row(one) for one in desired.stored],
        "defaults": [_row(one) for one in desired.defaults],
        "hints": [_row(one) for one in desired.hints],
        "sources": desired.sources,
        "unsupported": desired.unsupported,
        "versions": dict(desired.versions),
    }


def _desired(document: Mapping[str, Any], inputs: Inputs) -> Desired:
    from driftengine.schema import StoredObject

    return Desired(
        stored=tuple(StoredObject(*row) for row in document["stored"]),
        defaults=tuple(ColumnDefault(*row) for row in document["defaults"]),
        hints=tuple(
            Hint(table, column, tuple(former), backfill)
            for table, column, former, backfill in document["hints"]
        ),
        sources=tuple(document["sources"]),
        unsupported=tuple(document["unsupported"]),
        versions=document["versions"],
        inputs=inputs,
    )


def _row(record: StoredObject | ColumnDefault | Hint | Stat) -> list[Any]:
    """The fields of a record, in order."""
    return [getattr(record, name) for name in record.__slots__]
