"""Which files are the project's, and what loading the models depends on. Part of the probe.

`probe_process` runs this file before `probe.py` in the service's interpreter, both in one namespace: Python 3.8 syntax,
standard library only, nothing of ours.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import os
import sys
import time
import traceback

# pathlib would be one more import for each probe, and its resolve() follows links that are to stay as they are.
# ruff: noqa: PTH100, PTH110, PTH118, PTH119, PTH120, PTH123, PTH204

TYPE_CHECKING = False  # typing serves nothing here at run time
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Callable, Iterable, Iterator

INSTALLED = tuple(os.sep + name + os.sep for name in ("site-packages", "dist-packages"))
OURS = os.path.join(os.path.dirname(__file__), "probe")  # how the names of both files begin
# https://docs.python.org/3/library/audit_events.html: what each tells of. The import system's own reads are among them.
AUDITED = {"open": "files", "os.listdir": "folders", "os.scandir": "folders", "sqlite3.connect": "databases"}
WRITING = os.O_WRONLY | os.O_RDWR
STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
# Who lists a folder here looks for modules or distributions, of which other rules tell.
IMPORTING = ("<frozen importlib", STANDARD_LIBRARY + "importlib" + os.sep, STANDARD_LIBRARY + "pkgutil.py")
SYSTEM = ("/dev/", "/proc/", "/sys/")  # what is read there is the machine's state, not a file
UNTOLD = (
    ".pyc",
    f"python{sys.version_info[0]}{sys.version_info[1]}.zip",
)  # follows from the source, from the interpreter


class Project:
    """Tells the project's own files from the standard library and from installed distributions.

    Args:
        roots: folders that are the project's even inside a library's: the working directory and `pythonpath`.

    `packages` are the top-level packages that specs name; their files are sources wherever they are installed.
    """

    def __init__(self, roots: Iterable[str]) -> None:
        self._given = list(roots)
        self._standard_library = _folder(os.path.dirname(os.__file__))
        self.packages: frozenset[str] = frozenset()
        self.look_anew()

    def look_anew(self) -> None:
        """Follows all links again."""
        self._roots = [_folder(root) for root in self._given]
        self._answers: dict[str, bool] = {}

    def owns(self, path: str) -> bool:
        """True for a source file of the project: the deepest folder that holds it is not a library's."""
        if path.startswith(("<", OURS)):
            return False
        folder = os.path.dirname(os.path.abspath(path))
        if folder not in self._answers:
            self._answers[folder] = self._is_ours(_folder(folder))
        return self._answers[folder]

    def _is_ours(self, folder: str) -> bool:
        libraries = [folder.rfind(name) + len(name) for name in INSTALLED if name in folder]
        libraries += [len(root) for root in (self._standard_library,) if folder.startswith(root)]
        ours = [len(root) for root in self._roots if folder.startswith(root)]
        return not libraries or max(ours, default=0) > max(libraries)

    def sources(self) -> set[str]:
        """The files of all modules that are the project's, absolute. Symbolic links stay as they are."""
        found = set()
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and (self.owns(path) or name.partition(".")[0] in self.packages):
                found.add(os.path.abspath(path))
        return set(filter(os.path.isfile, found))

    def place(self, error: BaseException) -> str:
        """Where an exception came from, ` (file:line)`: in the project, else in what the specs name, else anywhere."""
        ours = ("<", OURS, importlib.__file__)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)]
        named = [f for f in frames if any(os.sep + name + os.sep in f.filename for name in self.packages)]
        best = [f for f in frames if self.owns(f.filename)] or named or frames
        return f" ({os.path.abspath(best[-1].filename)}:{best[-1].lineno})" if best else ""


def _folder(path: str) -> str:
    """The real path of a folder, with a separator at its end."""
    return os.path.realpath(path).rstrip(os.sep) + os.sep


def compile_project_sources(project: Project) -> None:
    """Make imports compile the project's files instead of reading their .pyc.

    A .pyc is trusted by mtime (whole seconds) and size: two saves of the same size within one second give the old
    models. `-B` only keeps Python from writing one; the service may have written it before. What is installed keeps
    its .pyc, because compiling SQLAlchemy would cost seconds.
    """
    loader = importlib.machinery.SourceFileLoader
    from_cache = loader.get_code

    def get_code(self: Any, fullname: str) -> Any:
        path = self.get_filename(fullname)
        if not project.owns(path):
            return from_cache(self, fullname)
        return self.source_to_code(self.get_data(path), path)

    loader.get_code = get_code  # type: ignore[method-assign]  # every finder shares this class


class Asking:
    """Stands for `os.stat`, in which `os.path.exists` and pathlib's end; the import system has one of its own.

    An object and no function: classes keep `os.stat` as an attribute, and a function would become a method there.
    """

    def __init__(self, stat: Callable[..., os.stat_result], paths: set[str]) -> None:
        self._stat = stat
        self._paths = paths

    def __call__(self, path: Any, **options: Any) -> os.stat_result:
        """What it would say."""
        if options.get("dir_fd") is None and not isinstance(path, int):
            with contextlib.suppress(
                OSError, TypeError, ValueError
            ):  # as in `Reads`; what is meant will fail too
                self._paths.add(os.path.abspath(os.fsdecode(path)))
        return self._stat(path, **options)


class Reads:
    """Notes, from its making on, what loading the models depends on beside their modules.

    Told by audit events, which see every `open` and every listed folder, and by listeners in the class of `os.environ`,
    in `os.stat` and in front of all finders. What C libraries open by themselves nothing tells.
    """

    def __init__(self) -> None:
        kinds = ("files", "written", "folders", "databases", "environment", "asked", "modules")
        self._noted: dict[str, set[str]] = {kind: set() for kind in kinds}
        self._listed: set[tuple[str, str]] = set()
        self._since = time.time()
        self._listen_to_environment(self._noted["environment"])
        listening = Asking(os.stat, self._noted["asked"])
        for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if os.stat in able:  # where the standard library looks what it may be asked
                able.add(listening)
        os.stat = listening
        self._listen_to_imports(self._noted["modules"])
        sys.addaudithook(self._note)

    def notes(self) -> tuple[dict[str, set[str]], set[tuple[str, str]]]:
        """A copy of all that was noted."""
        return {kind: set(noted) for kind, noted in self._noted.items()}, set(self._listed)

    def put_back(self, notes: tuple[dict[str, set[str]], set[tuple[str, str]]]) -> None:
        """Nothing more than these was ever noted, and the models begin now."""
        noted, listed = notes
        for kind, those in self._noted.items():
            those.clear()  # the listeners have these very sets
            those.update(noted[kind])
        self._listed.clear()
        self._listed.update(listed)
        self._since = time.time()

    @staticmethod
    def _listen_to_environment(names: set[str]) -> None:
        """`get`, `in`, `getenv` and copies all end in these two methods."""
        environment: Any = type(os.environ)
        value_of, names_of = environment.__getitem__, environment.__iter__

        def getitem(environ: Any, name: Any) -> Any:
            if isinstance(name, (str, bytes)):
                names.add(os.fsdecode(name))
            return value_of(environ, name)

        def iterate(environ: Any) -> Iterator[Any]:
            names.add("*")
            found: Iterator[Any] = names_of(environ)
            return found

        environment.__getitem__, environment.__iter__ = getitem, iterate

    @staticmethod
    def _listen_to_imports(names: set[str]) -> None:
        """The names of all modules that were looked for, found or not."""

        class Listening:
            @staticmethod
            def find_spec(name: str, *_: Any) -> None:
                names.add(name)

        sys.meta_path.insert(0, Listening)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook. It must not raise: what the models are doing would fail."""
        kind = AUDITED.get(event)
        if kind is None or not arguments or isinstance(arguments[0], int):  # a descriptor: opened before
            return
        if kind == "files" and isinstance(arguments[-1], int) and arguments[-1] & WRITING:
            kind = "written"
        try:
            path = os.fsdecode("." if arguments[0] is None else arguments[0])
            absolute = os.path.abspath(path)
        except (OSError, TypeError, ValueError):
            return  # the working directory is gone, or it is no path: what is meant will fail, or is no file
        if "\0" in absolute:  # no file is called so
            return
        self._noted[kind].add(absolute)
        if kind == "folders":
            self._listed.add((absolute, asker(sys._getframe(1))))  # noqa: SLF001  # the documented way

    def document(self, project: Project) -> dict[str, list[str]]:
        """The project's part of it, sorted; "*" stands for the whole environment. What was written is no input."""
        asked_about = self._noted["asked"] | set(map(os.path.abspath, self._unfound()))
        written = {path for path in self._noted["written"] if self._touched(path)}
        read = (self._noted["files"] | self._noted["written"]) - written
        told = (path for path in read if not path.startswith(SYSTEM) and not path.endswith(UNTOLD))
        asked = set(filter(project.owns, told))
        files = set(filter(os.path.isfile, asked))
        databases = set(filter(is_database, files)).union(map(database_path, self._noted["databases"]))
        # A finder that the interpreter made before us has its folder already listed.
        folders = self._noted["folders"].union(map(os.path.abspath, sys.path_importer_cache))
        libraries = [path for path in sys.path if any(name in path + os.sep for name in INSTALLED)]
        return {
            "files": sorted(files - databases),
            "missing": sorted(path for path in asked if not os.path.exists(path)),
            "folders": sorted(
                path
                for path in folders
                if project.owns(os.path.join(path, "*")) and not path.endswith(UNTOLD)
            ),
            "listed": sorted(
                {path for path, by in self._listed if by and project.owns(by) and followed(path, project)}
            ),
            "asked": sorted(
                path
                for path in asked_about - files
                if "\0" not in path
                and project.owns(path)
                and not path.startswith(SYSTEM)
                and not os.path.dirname(path).endswith(UNTOLD)
            ),
            "databases": sorted(databases - {""}),
            "environment": sorted(self._noted["environment"]),
            "libraries": sorted(set(filter(os.path.isdir, libraries))),
        }

    def _touched(self, path: str) -> bool:
        """False for a file that was opened for writing and never written, as who locks a file does before reading it."""
        try:
            return os.path.getmtime(path) >= self._since
        except OSError:
            return True

    def _unfound(self) -> Iterator[str]:
        """Folders that would be a package without an `__init__.py`, or a further part of one, if they were there."""
        for name in self._noted["modules"]:
            parent, _, last = name.rpartition(".")
            found = sys.modules.get(name)
            if found is None or ("__path__" in told_by(found) and told_by(found).get("__file__") is None):
                around = told_by(sys.modules.get(parent)).get("__path__", ()) if parent else sys.path
                for folder in around:
                    yield os.path.join(folder, last)


def told_by(module: Any) -> dict[str, Any]:
    """The attributes of a module, without its `__getattr__`, which is the models' and may do anything."""
    return vars(module) if isinstance(module, type(sys)) else {}


def asker(frame: FrameType | None) -> str:
    """The file of the code that wants to know what is in a folder; "" for the import system."""
    if frame is not None and frame.f_code.co_filename.startswith(IMPORTING):
        return ""
    while frame is not None and frame.f_code.co_filename.startswith(("<frozen", STANDARD_LIBRARY)):
        if any(name in frame.f_code.co_filename for name in INSTALLED):
            break
        frame = frame.f_back
    return frame.f_code.co_filename if frame is not None else ""


def followed(folder: str, project: Project) -> bool:
    """True for a folder of the project whose names may count; those in a repository's own move with each command."""
    return project.owns(os.path.join(folder, "*")) and os.sep + ".git" not in folder


def is_database(path: str) -> bool:
    """True for a SQLite file, which nobody who has it open may open another way."""
    try:
        with open(path, "rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError:
        return False


def database_path(noted: str) -> str:
    """The file of a connection; "" when it is none. A URI was taken for a relative path by then."""
    before, uri, path = noted.partition(os.sep + "file:")
    path = os.path.abspath(path.partition("?")[0]) if uri else before
    return "" if os.path.basename(path) == ":memory:" else path
