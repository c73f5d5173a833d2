"""The desired schema: what `create_all` would build, told by the probe, joined with files of DDL.

Never imports SQLAlchemy: models are loaded by probe.py, in a process of the service's own interpreter.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftengine.dialects.sqlite import scratch
from driftengine.errors import ModelsError
from driftengine.probe_process import ask
from driftengine.schema import StoredObject

if TYPE_CHECKING:
    from collections.abc import Mapping

SqlValue = int | float | str | bytes | None


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where the models of a target are.

    Args:
        specs: `package.module:attribute`, or paths that end in `.sql` (relative ones lie in `directory`).
        python: the interpreter of the service: a path, or a name on PATH.
        pythonpath: folders put before `directory` on the interpreter's path.
        directory: the working directory of the probe.
        timeout: seconds that loading may take.
    """

    specs: tuple[str, ...]
    python: str
    pythonpath: tuple[str, ...] = ()
    directory: str = "."
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class ColumnDefault:
    """What the Python side would write into a NOT NULL column that has no server default.

    Args:
        table: the table's name.
        column: the column's name.
        sql: an SQL expression: a scalar as a literal, through the type's bind processor, or what the models gave as SQL.
        callable: the qualified name of a callable without arguments, for people; `draw_values` calls it.
    """

    table: str
    column: str
    sql: str | None = None
    callable: str | None = None


@dataclass(frozen=True, slots=True)
class Hint:
    """What `info` of a table (`column` is "") or of a column says: its former names, and a value for old rows."""

    table: str
    column: str
    renamed_from: tuple[str, ...] = ()
    backfill: str | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """The desired schema and what belongs to it.

    Args:
        stored: the rows of sqlite_schema after create_all and all .sql files, in order.
        defaults: Python-side defaults.
        hints: what `info` says.
        sources: absolute paths of the project's source files and of .sql files, sorted.
        unsupported: one sentence for each table that a SQLite database cannot have.
        versions: `python`, `sqlalchemy`, `sqlite` (and `sqlmodel`) of the interpreter; empty when none was asked.
    """

    stored: tuple[StoredObject, ...]
    defaults: tuple[ColumnDefault, ...]
    hints: tuple[Hint, ...]
    sources: tuple[str, ...]
    unsupported: tuple[str, ...]
    versions: Mapping[str, str]


def read_desired(source: ModelSource) -> Desired:
    """Load the models, build the .sql files, and return both as one schema. Raises ModelsError."""
    scripts = [_script_path(source, spec) for spec in source.specs if is_script(spec)]
    specs = [spec for spec in source.specs if not is_script(spec)]
    texts = [(str(path), _read_script(path)) for path in scripts]
    document = ask(source.python, _request(source, specs, mode="schema")) if specs else {}
    stored = tuple(StoredObject(*row) for row in document.get("stored", ()))
    # Without a script the rows stay as they are: they may need functions that only the service's SQLite has.
    return Desired(
        stored=scratch.build(stored, texts, timeout=source.timeout) if texts else stored,
        defaults=tuple(ColumnDefault(**default) for default in document.get("defaults", ())),
        hints=tuple(_hint(**hint) for hint in document.get("hints", ())),
        sources=tuple(sorted({*document.get("sources", ()), *(str(path) for path in scripts)})),
        unsupported=tuple(document.get("unsupported", ())),
        versions=document.get("versions", {}),
    )


def draw_values(source: ModelSource, table: str, column: str, count: int) -> tuple[SqlValue, ...]:
    """Call the callable that is the column's default `count` times; what it returns, as the database would store it.

    Raises ModelsError: the models cannot be loaded, the column has no such default (any more), or the callable failed.
    """
    specs = [spec for spec in source.specs if not is_script(spec)]
    request = _request(source, specs, mode="values", table=table, column=column, count=count)
    return tuple(_decoded(value) for value in ask(source.python, request)["values"])


def is_script(spec: str) -> bool:
    """True for a spec that is a file of DDL."""
    return spec.lower().endswith(".sql")


def _request(source: ModelSource, specs: list[str], **more: Any) -> dict[str, Any]:
    """The probe's request. Paths become absolute: the probe runs in `directory`."""
    return {
        "specs": specs,
        "directory": str(Path(source.directory).absolute()),
        "pythonpath": [str(Path(folder).absolute()) for folder in source.pythonpath],
        "timeout": source.timeout,
        **more,
    }


def _hint(table: str, column: str, renamed_from: list[str], backfill: str | None) -> Hint:
    return Hint(table, column, tuple(renamed_from), backfill)


def _decoded(value: Any) -> SqlValue:
    """The other end of the probe's `encoded`."""
    decoded: SqlValue = base64.b64decode(value["base64"]) if isinstance(value, dict) else value
    return decoded


def _script_path(source: ModelSource, spec: str) -> Path:
    return (Path(source.directory) / spec).absolute()


def _read_script(path: Path) -> str:
    """The text of a .sql file. Raises ModelsError when it is missing or is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ModelsError(
            f"the models {path} cannot be read",
            code="models-file-missing",
            why=str(error.strerror),
            fix="correct the path in `models`, or create the file",
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ModelsError(
            f"the models {path} cannot be read",
            code="models-sql-error",
            why=f"{path}:{line}: this is not UTF-8 text",
            fix="save the file as UTF-8",
        ) from error
