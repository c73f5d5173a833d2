"""The probe: imports the models in the service's own interpreter and tells what `metadata.create_all()` would build.

Self-contained together with `probe_files.py`, which is run before it in the same namespace (Python 3.8 syntax, standard
library only at import), because it runs where driftd is not installed. It reads one JSON request from stdin and writes
two lines to a private descriptor: `HELLO` as soon as it runs, and one JSON answer. Whatever the models print goes to the
stdout and stderr that it was started with.

Request: `{mode: "schema"|"values", specs, directory, pythonpath, timeout, table, column, count}`. Answer: `{status:
"ok", ...}`, or `{status: "error", code, what, why, fix}`, both with `sources` and `reads: {files, missing, folders,
listed, asked, databases, environment, libraries}`. `driftengine.probe_process` is the other end.
"""

from __future__ import annotations

import base64
import difflib
import faulthandler
import importlib
import inspect
import json
import os
import pkgutil
import re
import resource
import signal
import sys
import types
import warnings

TYPE_CHECKING = False  # typing serves nothing here at run time
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, NoReturn, Sequence

    from driftengine.probe_files import (  # noqa: TC004  # what the service's interpreter has by running that file first
        Project,
        Reads,
        compile_project_sources,
    )
    from driftengine.probe_template import (  # noqa: TC004  # there in a template alone, which has run that file
        Begun,
        serve,
    )

HELLO = b"driftd-probe 1\n"
DOTTED_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
NESTING_LIMIT = 5  # lists of callables that return lists: a real project needs two
MESSAGE_LIMIT = 2000  # characters of a foreign error message


class Failure(Exception):  # noqa: N818  # a result that travels, not an error of this file
    """Why there is no schema: told in the words of `driftengine.errors`."""

    def __init__(self, code: str, what: str, why: str, fix: str) -> None:
        super().__init__(what)
        self.document: dict[str, Any] = {"status": "error", "code": code, "what": what}
        self.document.update(why=why, fix=fix)


def message_of(error: BaseException) -> str:
    """`Type: message`, cut to a length that a person reads."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception as broken:  # noqa: BLE001  # the models' own exception class may be broken
        text = f"{type(error).__name__} (its message raised {type(broken).__name__})"
    return text[:MESSAGE_LIMIT]


def unloadable(code: str, spec: str, why: str, fix: str) -> Failure:
    """A spec that gives nothing to build."""
    return Failure(code, f"the models {spec} cannot be loaded", why, fix)


def import_failure(error: BaseException, spec: str, project: Project) -> Failure:
    """What an exception during import, attribute access or a call says to a person."""
    if isinstance(error, SyntaxError) and error.filename and not error.filename.startswith("<"):
        text = (error.text or "").strip()
        why = f"{error.filename}:{error.lineno}: {error.msg}{text and ': ' + text}"
        return unloadable("models-syntax-error", spec, why, "correct that line")
    if isinstance(error, ModuleNotFoundError) and error.name:
        return missing_module(error.name, error, spec, project)
    if isinstance(error, SystemExit):
        why = f"the import called sys.exit({error.code!r}){project.place(error)}"
        return unloadable("models-exited", spec, why, "keep sys.exit behind `if __name__ == '__main__'`")
    why = f"the import raised {message_of(error)}{project.place(error)}"
    return unloadable("models-import-failed", spec, why, f"make that import work in {sys.executable}")


def missing_module(name: str, error: BaseException, spec: str, project: Project) -> Failure:
    """The spec's own module is missing, or something that it imports."""
    why = f"there is no module named {name}"
    module = spec.partition(":")[0]
    if not f"{module}.".startswith(f"{name}."):
        fix = f"install it for {sys.executable}, or set `python` to the interpreter of the service"
        return unloadable("models-module-missing", spec, why + project.place(error), fix)
    parent, _, last = name.rpartition(".")
    package = sys.modules.get(parent)
    fix = f"correct the spec, or name the folder that holds {name} in `pythonpath`"
    if package is not None and hasattr(package, last):
        fix = f"write {parent}:{module[len(parent) + 1 :]}"
    elif package is not None:
        siblings = pkgutil.iter_modules(getattr(package, "__path__", []))
        why += close_matches(last, [found.name for found in siblings])
    return unloadable("models-module-missing", spec, why, fix)


def close_matches(name: str, names: Iterable[str]) -> str:
    """`; did you mean ...?`, or "" when nothing is near."""
    near = difflib.get_close_matches(name, list(names), n=3)
    return "; did you mean {}?".format(" or ".join(near)) if near else ""


def load(spec: str) -> Any:
    """The object that a spec names; a module when it names no attribute. Raises Failure."""
    module_name, _, path = spec.partition(":")
    if not DOTTED_NAME.fullmatch(module_name) or (path and not DOTTED_NAME.fullmatch(path)):
        why = "this is not of the form package.module:attribute"
        fix = "name a module as `import` does, and an attribute behind a colon"
        raise unloadable("models-module-missing", spec, why, fix)
    found: Any = importlib.import_module(module_name)
    for name in path.split(".") if path else ():
        if not hasattr(found, name):
            holder = getattr(found, "__name__", type(found).__name__)
            why = f"{holder} has no attribute {name}{close_matches(name, dir(found))}"
            raise unloadable("models-attribute-missing", spec, why, "correct the spec")
        found = getattr(found, name)
    return found


def metadata_of(found: Any) -> Any:
    """The MetaData that an object is or carries, or None."""
    metadata_class = sys.modules["sqlalchemy"].MetaData
    try:
        carried = found if isinstance(found, metadata_class) else getattr(found, "metadata", None)
    except Exception:  # noqa: BLE001  # proxies (flask.current_app) raise on any access; they carry none
        return None
    return carried if isinstance(carried, metadata_class) else None


def metadatas(found: Any, spec: str, depth: int = 0) -> Iterator[Any]:
    """Every MetaData in what a spec named: itself, of a Base, in a list, or returned by a callable. Raises Failure."""
    carried = metadata_of(found)
    members: Iterable[Any] = ()
    if carried is not None or isinstance(found, types.ModuleType):
        yield the_one_in(found, spec) if carried is None else carried
    elif isinstance(found, (list, tuple, set, frozenset)) and depth < NESTING_LIMIT:
        members = found
    elif callable(found) and depth < NESTING_LIMIT:
        require_no_arguments(found, spec)
        members = [found()]
    else:
        raise not_metadata(spec, f"{type(found).__name__} is no MetaData and has none")
    for member in members:
        yield from metadatas(member, spec, depth + 1)


def require_no_arguments(function: Any, spec: str) -> None:
    """Raises Failure for a callable that needs arguments."""
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise not_metadata(spec, f"it cannot be called without arguments: {error}") from None
    except ValueError:
        pass  # a built-in without a signature: calling it is the only way to know


def the_one_in(module: types.ModuleType, spec: str) -> Any:
    """The one MetaData that a module holds under any name; of several, the one that has tables. Raises Failure."""
    found: dict[int, tuple[str, Any]] = {}
    for name, value in list(vars(module).items()):
        metadata = metadata_of(value)
        if metadata is not None:
            found.setdefault(id(metadata), (name, metadata))
    filled = [metadata for _, metadata in found.values() if metadata.tables]
    if len(filled) == 1:
        return filled[0]
    if len(found) == 1:
        return next(iter(found.values()))[1]
    names = [f"{module.__name__}:{name} ({len(metadata.tables)} tables)" for name, metadata in found.values()]
    why = "several MetaData: " + ", ".join(names) if names else "no MetaData"
    raise not_metadata(spec, f"the module holds {why}")


def not_metadata(spec: str, why: str) -> Failure:
    """A spec that names something else."""
    fix = "name a MetaData, a declarative Base, a list of those, or a function without arguments that returns one"
    return unloadable("models-not-metadata", spec, why, fix)


def new_engine() -> Any:
    """An SQLAlchemy engine on one private in-memory database. Raises Failure."""
    what = f"the models cannot be built in {sys.executable}"
    fix = "install SQLAlchemy 1.4 or newer there, or set `python` to the interpreter of the service"
    try:
        sqlalchemy = importlib.import_module("sqlalchemy")
        version = tuple(int(part) for part in sqlalchemy.__version__.split(".")[:2])
        if version < (1, 4):
            raise Failure("models-sqlalchemy", what, f"its SQLAlchemy is {sqlalchemy.__version__}", fix)
        pool = importlib.import_module("sqlalchemy.pool").StaticPool
        return sqlalchemy.create_engine("sqlite://", poolclass=pool)
    except ImportError as error:
        raise Failure("models-sqlalchemy", what, message_of(error), fix) from error


def without_columns(tables: list[Any]) -> list[str]:
    """Take out the indexes that name no column, which no database can make; a sentence for each.

    Published models have them, where only migrations of their own ever make the tables.
    """
    empty = [(table, index) for table in tables for index in table.indexes if not list(index.expressions)]
    for table, index in empty:
        table.indexes.discard(index)
    return sorted(f"index {i.name} of table {t.name} names no column, so it is left out" for t, i in empty)


def create(metadata: Any, engine: Any, project: Project) -> list[str]:
    """Run the real create_all; returns a sentence for each object that was left out. Raises Failure."""
    tables = list(metadata.tables.values())
    elsewhere = [table for table in tables if table.schema]
    impossible = without_columns(tables)
    try:
        # Listeners see whether a selection was given: none is, unless it must be.
        metadata.create_all(bind=engine, tables=[t for t in tables if not t.schema] if elsewhere else None)
    except BaseException as error:  # listeners are the models' code and may do anything
        what = "the tables of the models cannot be created"
        why = f"create_all raised {message_of(error)}{project.place(error)}"
        fix = "make metadata.create_all() work on an empty in-memory SQLite database"
        raise Failure("models-create-failed", what, why, fix) from error
    why = "a SQLite database has no schemas, so it is left out"
    return [f"table {table.name} is in schema {table.schema}: {why}" for table in elsewhere] + impossible


def driver_connection(engine: Any) -> Any:
    """The sqlite3 connection behind the engine: read past SQLAlchemy, whose listeners belong to the models."""
    raw = engine.raw_connection()
    connection = getattr(raw, "driver_connection", None) or raw.connection
    connection.text_factory, connection.row_factory = str, None
    return connection


def binder(column: Any, engine: Any, connection: Any) -> Callable[[Any], Any]:
    """A function from a Python value to what the database would store: the type's processor, then the driver's."""
    process = column.type.dialect_impl(engine.dialect).bind_processor(engine.dialect)

    def bind(value: Any) -> Any:
        native = process(value) if process else value
        if type(native) in (int, float, str, bytes, type(None)):
            return native
        with warnings.catch_warnings():
            # The driver's date adapters are deprecated, and still what applications use.
            warnings.simplefilter("ignore")
            return connection.execute("SELECT ?", (native,)).fetchone()[0]

    return bind


def literal(value: Any) -> str | None:
    """A native value as an SQL literal; None where SQL has none (NULL is no default, NaN no number)."""
    if value is None or value != value:  # noqa: PLR0124  # NaN is the one value that is not itself
        return None
    if isinstance(value, (int, float)):
        return repr(value).replace("inf", "9e999")
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if "\0" in value:
        return f"CAST(x'{value.encode('utf-8').hex()}' AS TEXT)"
    return "'{}'".format(value.replace("'", "''"))


def rendered(clause: Any, engine: Any) -> str | None:
    """An SQL expression of the models as text for SQLite; None where it needs parameters or reads other tables."""
    try:
        text = str(clause.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True}))
    except Exception:  # noqa: BLE001  # an expression that SQLite's compiler refuses is simply no default for us
        return None
    return None if re.search(r"\bselect\b", text, re.IGNORECASE) else text


def takes_context(function: Any) -> bool:
    """True when SQLAlchemy calls the default with the execution context: it wraps only those that take nothing."""
    return not getattr(function, "__globals__", {}).get("__name__", "").startswith("sqlalchemy.")


def qualified_name(function: Any) -> str:
    """The name of a default's callable, for people: `uuid.uuid4`."""
    original = getattr(function, "__wrapped__", None)  # of an instance the wrapper bears the name
    name = getattr(original, "__qualname__", None) or function.__name__
    module = getattr(original or function, "__module__", None)
    return name if module in (None, "builtins") else f"{module}.{name}"


def default_of(column: Any, engine: Any, connection: Any) -> dict[str, str]:
    """The Python-side default of a column: {"sql"} or {"callable"}, or {} when there is none that can be told."""
    default = column.default
    wraps_in_sql = getattr(column.type, "_has_bind_expression", False)
    if default.is_sequence:
        return {}
    if default.is_callable:
        known = not wraps_in_sql and not takes_context(default.arg)
        return {"callable": qualified_name(default.arg)} if known else {}
    if default.is_clause_element:
        sql = rendered(default.arg, engine)
        return {"sql": sql} if sql else {}
    try:
        sql = literal(binder(column, engine, connection)(default.arg))
    except Exception as error:  # noqa: BLE001  # a default that its own type refuses would fail in the service too
        sys.stderr.write(f"driftd: the default of {column} cannot be bound: {message_of(error)}\n")
        return {}
    if sql and wraps_in_sql:
        sql = rendered(column.type.bind_expression(sys.modules["sqlalchemy"].literal_column(sql)), engine)
    return {"sql": sql} if sql else {}


def defaults_of(table: Any, engine: Any, connection: Any) -> Iterator[dict[str, str]]:
    """What the Python side would write into the NOT NULL columns that have no server default."""
    for column in table.columns:
        if not column.nullable and column.server_default is None and column.default is not None:
            default = default_of(column, engine, connection)
            if default:
                yield dict(default, table=table.name, column=column.name)


def hints_of(table: Any, engine: Any) -> Iterator[dict[str, Any]]:
    """The hints in `info` of a table and its columns. Raises Failure for one that is of another type."""
    for name, info in [("", table.info)] + [(column.name, column.info) for column in table.columns]:
        renamed, backfill = info.get("renamed_from") or (), info.get("backfill")
        renamed = (renamed,) if isinstance(renamed, str) else renamed
        if hasattr(backfill, "compile"):
            backfill = rendered(backfill, engine)
        names = isinstance(renamed, (list, tuple)) and all(isinstance(old, str) for old in renamed)
        if not names or not isinstance(backfill, (str, type(None))):
            what = f"a hint in info of {'.'.join(filter(None, (table.name, name)))} cannot be read"
            why = "renamed_from is a name or a list of names, backfill one SQL expression as text"
            raise Failure("models-hint-invalid", what, why, "correct the info of that table or column")
        if renamed or backfill:
            yield {"table": table.name, "column": name, "renamed_from": list(renamed), "backfill": backfill}


def versions() -> dict[str, str]:
    """What the answer depends on: python, sqlalchemy, sqlite, and sqlmodel where it is used."""
    found = {"python": sys.version.split()[0], "sqlite": sys.modules["sqlite3"].sqlite_version}
    used = [name for name in ("sqlalchemy", "sqlmodel") if name in sys.modules]
    return dict(found, **{name: str(getattr(sys.modules[name], "__version__", "")) for name in used})


def loaded(request: dict[str, Any], project: Project) -> list[Any]:
    """The MetaData of all specs, each once, in order. Raises Failure."""
    found = [metadata for spec in request["specs"] for metadata in named(spec, project)]
    return list({id(metadata): metadata for metadata in found}.values())


def named(spec: str, project: Project) -> list[Any]:
    """Every MetaData that a spec names. Raises Failure, whatever went wrong on the way."""
    try:
        return list(metadatas(load(spec), spec))
    except Failure:
        raise
    except BaseException as error:  # sys.exit too; imports, lazy attributes and callables may do anything
        raise import_failure(error, spec, project) from error


def schema(request: dict[str, Any], project: Project) -> dict[str, Any]:
    """Mode `schema`: what create_all builds, with defaults, hints and sources. Raises Failure."""
    engine = new_engine()
    found = loaded(request, project)
    unsupported = [sentence for metadata in found for sentence in create(metadata, engine, project)]
    connection = driver_connection(engine)
    tables = [table for metadata in found for table in metadata.tables.values() if not table.schema]
    # In the order of their making, without SQLite's own; sqlite_master is what every version calls sqlite_schema.
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid")
    return {
        "stored": [row for row in rows if not row[1].startswith("sqlite_")],
        "defaults": [default for table in tables for default in defaults_of(table, engine, connection)],
        "hints": [hint for table in tables for hint in hints_of(table, engine)],
        "unsupported": unsupported,
        "versions": versions(),
    }


def values(request: dict[str, Any], project: Project) -> dict[str, Any]:
    """Mode `values`: what the column's default callable returns, called `count` times. Raises Failure."""
    engine = new_engine()
    column = wanted_column(request, loaded(request, project))
    what = f"the models give no values for {request['table']}.{request['column']}"
    default = getattr(column, "default", None)
    if default is None or not default.is_callable or takes_context(default.arg):
        why = "the column has no default that can be called without arguments"
        raise Failure("models-default-missing", what, why, "make a new plan: the models have changed since")
    bind = binder(column, engine, driver_connection(engine))
    try:
        return {"values": [encoded(bind(default.arg(None))) for _ in range(request["count"])]}
    except BaseException as error:  # the callable is the models' code and may do anything
        why = f"{qualified_name(default.arg)} raised {message_of(error)}{project.place(error)}"
        fix = "give the values for old rows as an SQL expression with --backfill TABLE.COLUMN=EXPR"
        raise Failure("models-default-failed", what, why, fix) from error


def wanted_column(request: dict[str, Any], found: Sequence[Any]) -> Any:
    """The column that a request for values names, or None. SQLite's names know no case."""
    wanted = (request["table"].lower(), request["column"].lower())
    tables = (table for metadata in found for table in metadata.tables.values() if not table.schema)
    columns = (column for table in tables for column in table.columns)
    return next((c for c in columns if (c.table.name.lower(), c.name.lower()) == wanted), None)


def encoded(value: Any) -> Any:
    """A native value in JSON: bytes as {"base64": text}, the rest as it is (1 and 1.0 stay apart)."""
    return {"base64": base64.b64encode(value).decode("ascii")} if isinstance(value, bytes) else value


def begin(folders: list[str]) -> tuple[Project, Reads]:
    """What comes before anything is imported: the project's folders on the path, and whoever notes what is read."""
    sys.path[:0] = folders
    project = Project(folders)
    compile_project_sources(project)
    return project, Reads()


def answer(request: dict[str, Any], begun: Begun | None) -> dict[str, Any]:
    """The answer to a request, whatever the models do short of ending the process."""
    project, reads = begun.resumed() if begun else begin([*request["pythonpath"], request["directory"]])
    project.packages = frozenset(re.split("[.:]", spec)[0] for spec in request["specs"])
    broken = set()
    try:
        document = schema(request, project) if request["mode"] == "schema" else values(request, project)
        document["status"] = "ok"
    except Exception as error:  # noqa: BLE001  # what no step expected is told like the rest
        what, why = "the models cannot be described", f"{message_of(error)}{project.place(error)}"
        unexpected = Failure("models-create-failed", what, why, f"see what is special in {request['specs']}")
        document = (error if isinstance(error, Failure) else unexpected).document
        if isinstance(error.__cause__, SyntaxError) and error.__cause__.filename:
            broken.add(error.__cause__.filename)  # in no module yet, and the next that will be saved
    return dict(document, sources=sorted(project.sources() | broken), reads=reads.document(project))


def main(descriptor: int) -> NoReturn:
    """Read the request, answer it, and leave without running what the models registered for the end."""
    # In a template (`probe_template`) this returns once for each probe, in a process of its own. Here and not around it,
    # so that the models run as deep in the stack as in any other probe.
    descriptor, begun = serve(descriptor) if "serve" in globals() else (descriptor, None)
    # A child of the models must not hold our pipe open.
    os.set_inheritable(descriptor, False)  # noqa: FBT003  # it takes it by position only
    os.write(descriptor, HELLO)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    request = json.loads(sys.stdin.buffer.readline())
    # Ends us where the process that waits for us was killed. Models may use the one alarm there is themselves.
    signal.alarm(int(request["timeout"]) + 10)
    faulthandler.dump_traceback_later(request["timeout"] + 10, exit=True)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # models that read stdin find its end
    sys.argv = ["driftd-probe"]
    found = answer(request, begun)
    if begun is not None and not begun.fits(found):
        found = {"status": "unfit", "why": begun.why, "kind": begun.kind}
    document = memoryview(json.dumps(found).encode("ascii") + b"\n")
    while document:
        document = document[os.write(descriptor, document) :]
    os._exit(0)  # threads that the models started, and their atexit handlers, have nothing to add


if __name__ == "__main__":
    main(int(sys.argv[-1]))
