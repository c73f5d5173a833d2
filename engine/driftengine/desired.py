"""The desired schema: what `create_all` would build, told by the probe, joined with files of DDL.

Never imports SQLAlchemy: models are loaded by probe.py, in a process of the service's own interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftengine import plain_file
from driftengine.errors import ModelsError
from driftengine.footprint import Inputs, find_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from driftengine.schema import StoredObject

    Ask = Callable[..., dict[str, Any]]

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
        unsupported: one sentence for each table or index that a SQLite database cannot have.
        versions: `python`, `sqlalchemy`, `sqlite` (and `sqlmodel`) of the interpreter; empty when none was asked.
        inputs: all that the schema was made of; a footprint of it tells whether it still holds.
    """

    stored: tuple[StoredObject, ...]
    defaults: tuple[ColumnDefault, ...]
    hints: tuple[Hint, ...]
    sources: tuple[str, ...]
    unsupported: tuple[str, ...]
    versions: Mapping[str, str]
    inputs: Inputs = field(default_factory=Inputs)


def read_desired(
    source: ModelSource, *, cancelled: Callable[[], bool] | None = None, ask: Ask | None = None
) -> Desired:
    """Load the models, build the .sql files, and return both as one schema.

    `cancelled` is asked about ten times a second while the models load; when it says True, they are given up. `ask` is
    called in place of `probe_process.ask`, with the same arguments.

    Raises:
        ModelsError: the models cannot be loaded, or loading was given up (`models-cancelled`). `inputs_after` tells
            what to watch then.
    """
    # Here and below, because a check whose models are remembered gets by without schemas, processes and scripts.
    from driftengine.schema import StoredObject

    scripts = [_script_path(source, spec) for spec in source.specs if is_script(spec)]
    specs = [spec for spec in source.specs if not is_script(spec)]
    texts = [(str(path), _read_script(path)) for path in scripts]
    document: Mapping[str, Any] = {}
    if specs:
        from driftengine import probe_process

        document = (ask or probe_process.ask)(
            source.python, _request(source, specs, mode="schema"), cancelled=cancelled
        )
    stored = tuple(StoredObject(*row) for row in document.get("stored", ()))
    if texts:
        from driftengine.dialects.sqlite import scratch

        # Without a script the rows stay as they are: they may need functions that only the service's SQLite has.
        stored = scratch.build(stored, texts, timeout=source.timeout)
    inputs = _inputs(source, document.get("sources", ()), document.get("reads", {}))
    return Desired(
        stored=stored,
        defaults=tuple(ColumnDefault(**default) for default in document.get("defaults", ())),
        hints=tuple(_hint(**hint) for hint in document.get("hints", ())),
        sources=tuple(sorted({*document.get("sources", ()), *map(str, scripts)})),
        unsupported=(*document.get("unsupported", ()), *_reserved(stored)),
        versions=document.get("versions", {}),
        inputs=inputs,
    )


def _reserved(stored: Iterable[StoredObject]) -> Iterator[str]:
    """One sentence for a table of the models that bears the name of driftd's own, and so is left out on both sides."""
    for row in stored:
        if row.type == "table" and row.name.lower() == "driftd_history":
            yield f"table {row.name}: driftd keeps its history under that name, so the models' table is left alone; rename it"


def inputs_after(source: ModelSource, error: ModelsError) -> Inputs:
    """What loading that failed had depended on: when it moves, another attempt may succeed.

    Where the probe could not answer (a crash, a hang), the modules that the specs name are all that is known.
    """
    inputs = _inputs(source, error.sources, error.reads or {})
    if error.reads is not None:
        return inputs
    found = [file for spec in source.specs if not is_script(spec) for file in _module_files(source, spec)]
    here = [path for path in found if Path(path).is_file()]
    return inputs.joined(
        Inputs(files=tuple(here), missing=tuple(sorted({*found} - {*here})), folders=tuple(_roots(source)))
    )


def _inputs(source: ModelSource, sources: Iterable[str], reads: Mapping[str, Sequence[str]]) -> Inputs:
    scripts = [str(_script_path(source, spec)) for spec in source.specs if is_script(spec)]
    files = {*sources, *reads.get("files", ()), *scripts}
    asked = len(scripts) < len(source.specs)
    return Inputs(
        files=tuple(sorted(files)),
        folders=tuple(reads.get("folders", ())),
        listed=tuple(reads.get("listed", ())),
        asked=tuple(reads.get("asked", ())),
        environment=tuple(reads.get("environment", ())),
        libraries=tuple(reads.get("libraries", ())),
        python=(find_interpreter(source.python) or source.python) if asked else "",
        missing=tuple(reads.get("missing", ())),
        databases=tuple(reads.get("databases", ())),
    )


def _module_files(source: ModelSource, spec: str) -> list[str]:
    """Where the module of a spec and its packages would lie."""
    names = spec.partition(":")[0].split(".")
    stems = [Path(root, *names[:depth]) for root in _roots(source) for depth in range(1, len(names) + 1)]
    return sorted(
        {str(file) for stem in stems for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")}
    )


def _roots(source: ModelSource) -> list[str]:
    """The folders that the probe puts on the interpreter's path, as it has them."""
    return sorted({str(Path(folder).absolute()) for folder in (*source.pythonpath, source.directory)})


def draw_values(
    source: ModelSource, table: str, column: str, count: int, *, cancelled: Callable[[], bool] | None = None
) -> tuple[SqlValue, ...]:
    """Call the callable that is the column's default `count` times; what it returns, as the database would store it.

    `cancelled` as in `read_desired`. Raises ModelsError: the models cannot be loaded, the column has no such default (any more), or the callable failed.
    """
    import base64

    from driftengine.probe_process import ask

    specs = [spec for spec in source.specs if not is_script(spec)]
    request = _request(source, specs, mode="values", table=table, column=column, count=count)
    values = ask(source.python, request, cancelled=cancelled)["values"]
    # The other end of the probe's `encoded`.
    return tuple(base64.b64decode(one["base64"]) if isinstance(one, dict) else one for one in values)


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


def _script_path(source: ModelSource, spec: str) -> Path:
    return (Path(source.directory) / spec).absolute()


def _read_script(path: Path) -> str:
    """The text of a .sql file. Raises ModelsError when it is missing or is not UTF-8."""
    try:
        return plain_file.content(path).decode("utf-8-sig")
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
