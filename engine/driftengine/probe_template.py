"""The template: stays in the service's interpreter with SQLAlchemy imported, and forks a process for each probe.

Part of the probe: run between `probe_files.py` and `probe.py` in their namespace (Python 3.8 syntax, standard library
only), on Linux alone. It goes the way of every probe up to the import of SQLAlchemy, and further to modules that the
models asked for last time, and stops there. A child of it goes on: to the same answer that a probe of its own would
give, or to `unfit`, where it cannot be sure of that. Nothing of the models is ever imported in the template itself.

Spoken over a socket, strictly in turn: one line of JSON each way, `{directory, pythonpath, preload}` and `{reads}` or
`{unfit}`; then `f` with three descriptors (stdin, stdout, answer) → the child's pid or why not, `p` → its status as
`Popen.returncode` has it, null while it runs, `r` → null when it is reaped. At the end of the socket, whoever
closed it, the child's group is killed and the template gone. The daemon's `template` is the other end.
"""

from __future__ import annotations

# Nothing here may import a module of which the project could have its own: the models would get this one.
import _socket
import importlib
import importlib.machinery
import json
import os
import signal
import sys
import warnings

# ruff: noqa: PTH208, PTH109, PTH116

TYPE_CHECKING = False  # typing serves nothing here at run time
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, NoReturn

    from driftengine.probe import begin, message_of, new_engine  # noqa: TC004  # run behind this file, before `serve`
    from driftengine.probe_files import Project, Reads, told_by  # noqa: TC004  # run before this file

WORD = 4  # bytes of a descriptor in a message
OURS_OPEN = 5  # descriptors: the three of every process, the socket, and the one that lists them
FAMILY = "sqlalchemy"
# Libraries that replace what other code is made of (gevent) do it here.
REPLACED = ("builtins", "os", "select", "socket", "ssl", "subprocess", "threading", "_thread", "time")


class Roots:
    """The modules that are imported ahead, in a chain: each imports the one before it. Withheld until they are asked for.

    A finder in front of all others: so it sees whether the models ask at all, and whether they have changed something by
    then that would have mattered to the import.
    """

    def __init__(self, names: list[str], begun: Begun) -> None:
        self.unasked = list(names)
        self._begun = begun
        self._modules = {name: sys.modules.pop(name) for name in names}
        self._specs = {name: module.__spec__ for name, module in self._modules.items()}
        for name in names:
            parent, _, last = name.rpartition(".")
            if parent:
                delattr(sys.modules[parent], last)
        if names:
            sys.meta_path.insert(1, self)  # behind the one that notes what is looked for

    def find_spec(self, name: str, *_: Any) -> Any:
        """For one of the modules, a spec that gives it; for all others nothing."""
        if name not in self.unasked:
            return None
        self._begun.require_unchanged(f"before they import {name}")
        loader: Any = self
        return importlib.machinery.ModuleSpec(name, loader, is_package=True)

    def create_module(self, spec: Any) -> ModuleType:
        """The module, with all that it has imported itself."""
        while True:
            name = self.unasked.pop(0)
            if name == spec.name:
                return self._modules[name]
            parent, _, last = name.rpartition(".")
            sys.modules[name] = self._modules[name]
            if parent:
                setattr(sys.modules[parent], last, self._modules[name])

    def exec_module(self, module: ModuleType) -> None:
        """It has run already; it keeps the spec that it was loaded by."""
        module.__spec__ = self._specs[module.__name__]


class Begun:
    """How far the template has gone for all probes: the project's folders on the path, and SQLAlchemy imported.

    Raises whatever that raises. `reads` is what it depended on, as in an answer.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._directory = order["directory"]
        self._project, self._reads = begin([*order["pythonpath"], self._directory])
        new_engine()
        before = self._told()
        for name in order["preload"]:
            importlib.import_module(name)
        self.reads = self._told()
        self._quiet = self.reads == before
        self._notes = self._reads.notes()
        self._roots = Roots(order["preload"], self)
        self.modules = {name: module for name, module in sys.modules.items() if name != "__main__"}
        self._stats = {path: stat_of(path) for path in map(file_of, self.modules.values()) if path}
        self._parts = [m for n, m in self.modules.items() if n in REPLACED or n.partition(".")[0] == FAMILY]
        self._bindings: list[tuple[ModuleType, dict[str, Any]]] = []
        self._surroundings: tuple[Any, ...] = ()
        self._descriptor = -1
        self.why = self.kind = ""

    def _told(self) -> dict[str, list[str]]:
        """What has been read so far. To ask for it reads files too, and that is taken back."""
        notes = self._reads.notes()
        found = self._reads.document(self._project)
        self._reads.put_back(notes)
        return found

    def unsound(self, given: int = 0) -> str:
        """Why no child can be forked as things are; "" when one can. `given` descriptors are open for it."""
        if len(os.listdir("/proc/self/task")) != 1:
            return "it has several threads"
        if len(os.listdir("/proc/self/fd")) != OURS_OPEN + given:
            return "it has files open"
        if self._project.sources():
            return "it has imported files of the project"
        moved = [path for path, before in self._stats.items() if stat_of(path) != before]
        return f"{moved[0]} has changed" if moved else ""

    def newest(self) -> int:
        """When the last change happened to a file that was imported, in nanoseconds since the epoch."""
        return max(found[1] for found in self._stats.values() if found)

    def taken_over(self, descriptor: int) -> None:
        """In the child, before it says that it runs. Raises OSError where the project's folder cannot be used."""
        self._descriptor = descriptor
        os.chdir(self._directory)

    def resumed(self) -> tuple[Project, Reads]:
        """What `begin` returns, as if it had begun just now."""
        self._project.look_anew()
        finders: list[Any] = list(sys.path_importer_cache.values())
        for finder in finders:
            if hasattr(finder, "invalidate_caches"):
                finder.invalidate_caches()  # it would trust its list of a folder that changed within a tick
        # As they are here: `threading` makes some of its parts anew behind a fork.
        self._bindings = [(module, dict(vars(module))) for module in self._parts]
        self._surroundings = surroundings()
        self._reads.put_back(self._notes)
        return self._project, self._reads

    def require_unchanged(self, when: str) -> None:
        """Ends the child as unfit where the models have changed what an import of theirs would have seen."""
        if surroundings() != self._surroundings:
            self._leave(f"the models change the environment, paths or warnings {when}")
        if any(sys.modules.get(name) is not module for name, module in self.modules.items()):
            self._leave(f"the models replace modules {when}")
        for module, names in self._bindings:
            now = vars(module)
            if any(now.get(name) is not value for name, value in names.items()):
                self._leave(f"the models replace parts of {module.__name__} {when}")

    def _leave(self, why: str) -> NoReturn:
        os.write(
            self._descriptor, json.dumps({"status": "unfit", "why": why, "kind": ""}).encode("ascii") + b"\n"
        )
        os._exit(0)

    def fits(self, found: dict[str, Any]) -> bool:
        """False where the answer may depend on what was imported ahead and the models have not asked for."""
        unasked = self._roots.unasked
        if unasked and not (self._quiet and found.get("code") == "models-syntax-error"):
            self.why = f"the models do not import {unasked[0]}"
            self.kind = "unused" if found["status"] == "ok" else "broken"
        return not self.why


def surroundings() -> tuple[Any, ...]:
    """What any import may depend on, beside files. Nothing of it is noted as read."""
    environment: Any = os.environ
    try:
        here = os.getcwd()
    except OSError:
        here = ""
    finders = [*map(id, sys.meta_path), *map(id, sys.path_hooks)]
    return dict(environment._data), list(sys.path), here, finders, list(warnings.filters)  # noqa: SLF001  # see above


def file_of(module: Any) -> str:
    """The file that a module was loaded from, or ""."""
    path = told_by(module).get("__file__")
    return path if isinstance(path, str) else ""


def stat_of(path: str) -> tuple[int, int, int, int] | None:
    """What tells cheaply that a file is what it was."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def serve(descriptor: int) -> tuple[int, Begun]:
    """Forks a child for each probe that is asked for. Returns in the child alone: its answer's descriptor."""
    os.set_inheritable(descriptor, False)  # noqa: FBT003  # it takes it by position only
    control = _socket.socket(fileno=descriptor)
    sys.argv = ["driftd-probe"]
    line = b""
    while not line.endswith(b"\n"):
        piece = control.recv(1 << 16)
        if not piece:
            os._exit(0)
        line += piece
    try:
        begun = Begun(json.loads(line))
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()  # what was said must be seen, and never once more by a child
    except BaseException as error:  # noqa: BLE001  # whatever it is, a probe of its own will find it too
        tell(control, {"unfit": message_of(error)})
        os._exit(0)
    os.chdir("/")  # nobody's file system stays in use because of a process that waits
    why = begun.unsound()
    tell(control, {"unfit": why} if why else {"reads": begun.reads, "newest": begun.newest()})
    return attend(control, begun)


def attend(control: Any, begun: Begun) -> tuple[int, Begun]:
    """Answers until the socket ends. Returns in a child alone."""
    child = 0
    while True:
        word, ancillary, _, _ = control.recvmsg(1, _socket.CMSG_SPACE(3 * WORD), _socket.MSG_CMSG_CLOEXEC)
        if word == b"f":
            given = descriptors(ancillary)
            why = begun.unsound(len(given))
            if not why:
                child = forked()
                if child == 0:
                    control.close()
                    return become_probe(given, begun), begun
            for descriptor in given:
                os.close(descriptor)
            tell(control, why or child)
        elif word == b"p":
            tell(control, status_of(child))
        elif word == b"r":
            os.waitpid(child, 0)
            child = 0
            tell(control, None)
        else:
            if child:
                os.killpg(child, signal.SIGKILL)  # it cannot fail: nobody but us can reap the leader
            os._exit(0)


def descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """What came along with a message: each is an int of C."""
    data = b"".join(piece for _, kind, piece in ancillary if kind == _socket.SCM_RIGHTS)
    return [int.from_bytes(data[at : at + WORD], sys.byteorder) for at in range(0, len(data), WORD)]


def forked() -> int:
    """0 in the child; in the template its pid, as soon as it has a session of its own, to be killed as a whole."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(ours)
        os.close(theirs)
        return 0
    os.close(theirs)
    os.read(ours, 1)  # its end, whatever becomes of the child
    os.close(ours)
    return child


def become_probe(given: list[int], begun: Begun) -> int:
    """Puts stdin and stdout where every probe has them; the descriptor of the answer. The process ends where it cannot."""
    stdin, stdout, answer = given
    for descriptor, number in ((stdin, 0), (stdout, 1), (stdout, 2)):
        os.dup2(descriptor, number)
    os.close(stdin)
    os.close(stdout)
    try:
        begun.taken_over(answer)
    except OSError:
        os._exit(1)  # before it has said that it runs: a probe of its own says why
    return answer


def status_of(child: int) -> int | None:
    """How the child has ended, as `Popen.returncode` has it; None while it runs. It is not reaped: its pid stays ours."""
    found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def tell(control: Any, what: Any) -> None:
    """One line of JSON."""
    control.sendall(json.dumps(what).encode("ascii") + b"\n")
