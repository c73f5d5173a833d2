"""The process that runs the engine for a starting service without a daemon. `alone.py` is its other end, and has the lines.

`python -P -m driftd.startup.child`: a job on stdin, answers on stdout. It ends with its parent, which may have been killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftd.startup.answers import whole
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

    from driftd.config import Configuration
    from driftengine.api import Target
    from driftengine.errors import BusyError

ALLOWED_BY = "startup window, no daemon"

UNWANTED = (
    1.0  # seconds to roll back, to end the probe and to remove what is half made, once nobody wants an answer
)


class Parent:
    """The two pipes to the starter, out of the reach of whatever reads or prints in this process and its children."""

    def __init__(self, requests: BinaryIO, answers: int) -> None:
        self._requests, self._answers = requests, answers

    @classmethod
    def taken(cls) -> Parent:
        """Takes stdin and stdout away from everybody else: they are /dev/null and stderr from now on."""
        requests, answers = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        try:
            os.dup2(2, 1)
        except OSError:  # a service may run without a stderr
            os.dup2(null, 1)
        os.close(null)
        return cls(os.fdopen(requests, "rb"), answers)

    def says(self, name: str) -> dict[str, Any] | None:
        """The next thing that it says, by its name; None when it has gone, or needs nothing more."""
        line = self._requests.readline()
        if not line:
            return None
        found: dict[str, Any] = json.loads(line)[name]
        return found

    def tell(self, **document: object) -> None:
        """Tells it something."""
        line = json.dumps(document).encode() + b"\n"
        while line:
            line = line[os.write(self._answers, line) :]

    def end_with_it(self) -> None:
        """From now on this process ends when the parent does, or when it says that it waits no longer."""
        # A thread of the service may have blocked it, and a mask is inherited.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        threading.Thread(target=self._watch, name="parent", daemon=True).start()

    def _watch(self) -> None:
        while os.read(self._requests.fileno(), 4096):
            pass  # it has nothing more to say
        # As Control-C: the transaction is rolled back, and the probe, which has a session of its own, is ended.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(UNWANTED)
        os._exit(1)  # the main thread is held up in a library: the kernel frees what it holds


def main() -> int:
    """One job; the exit code tells nobody anything."""
    parent = Parent.taken()
    try:
        _serve(parent)
    except (BrokenPipeError, KeyboardInterrupt):
        return 1  # nobody waits any more
    return 0


def _serve(parent: Parent) -> None:
    request = parent.says("request")
    if request is None:
        return
    try:
        from driftd.config.target import build_target

        configuration = _configuration_of(request)
        target = build_target(configuration)
        database = _database_of(target)
        if configuration.source.how == "shipped":
            _require_meant(target, database)
        where = {"target": target.name, "database": database, "timeout_s": target.window_timeout}
    except Exception as error:  # noqa: BLE001  # whatever it is, the service is to start, and to say why
        parent.tell(error=error_document(error))
        return
    parent.tell(where=where)
    # While the parent waits for its turn.
    from driftd.startup import startup_locks  # noqa: F401
    from driftengine import api  # noqa: F401

    go = parent.says("go")
    if go is None:
        return
    try:
        parent.end_with_it()
        found = start(target, go, allowed_by=request.get("allowed_by", ALLOWED_BY), tell=parent.tell)
    except Exception as error:  # noqa: BLE001  # as above
        found = {"outcome": "failed", "error": error_document(error)}
    parent.tell(answer=whole({"target": target.name, **found}, go["id"], go["database"], "alone"))


def target_of(request: Mapping[str, Any]) -> Target:
    """The target that a request speaks of, as `Alone` describes it. Raises ConfigurationError."""
    from driftd.config.target import build_target

    return build_target(_configuration_of(request))


def _configuration_of(request: Mapping[str, Any]) -> Configuration:
    from driftd.config import Request, load

    given = Request(
        environment=os.environ,
        directory=Path(request["directory"]),
        config=request.get("config"),
        target=request.get("target"),
        flags=_settings(request.get("flags")),
        everywhere=_settings(request.get("everywhere")),
    )
    return load(given)


def _settings(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Flags as the command line gives them: JSON has lists for its tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in (given or {}).items()}


def _database_of(target: Target) -> str:
    # Not by way of the dialects, which take ten times as long to import: the parent waits for this.
    from driftengine.dialects.sqlite.connect import parse_url

    return str(parse_url(target.url, directory=Path(target.models.directory)).path)


def _require_meant(target: Target, database: str) -> None:
    """Raises ModelsError where nothing of what the shipped configuration describes is here: this may be any folder.

    A database that is there, or that a daemon has ever served, is meant; else the models tell, as far as this very
    interpreter would load them. What it might find in any way counts as there.
    """
    from driftd.lock_file import DAEMON

    if target.models.python != sys.executable or any(map(os.path.lexists, (database, database + DAEMON))):
        return
    from importlib.util import find_spec

    from driftengine.desired import is_script
    from driftengine.errors import ModelsError

    # `-P` has left the working directory out, where the probe looks as well.
    sys.path[:0] = folders = [*target.models.pythonpath, target.models.directory]
    packages = [one.partition(":")[0].partition(".")[0] for one in target.models.specs if not is_script(one)]
    missing = [name for name in packages if name and find_spec(name) is None]
    del sys.path[: len(folders)]
    if not missing:
        return
    raise ModelsError(
        f"there is neither {database} nor a module {missing[0]} for {target.models.python}",
        code="models-module-missing",
        why="the database and the models are those of the shipped configuration",
        fix="install driftd into the service's environment, or name that interpreter in DRIFTD_PYTHON",
    )


def start(
    target: Target, go: Mapping[str, Any], *, allowed_by: str, tell: Callable[..., None]
) -> dict[str, Any]:
    """What is done in a window, as an ANSWER without what `whole` adds. `go` is `{"id", "database", "deadline_at"}`, the last on `time.monotonic()`. Raises DriftError."""
    from driftd.startup.startup_locks import StartupLocks, use_alone
    from driftengine import api, remembered
    from driftengine.window import Window

    memory = remembered.folder(os.environ)
    if target.mode == "observe":
        return _observed(target, memory)
    locks = StartupLocks()

    def require_open() -> None:
        if locks.starting(go["database"]) is None or not locks.still_open(go["database"], go["id"]):
            raise _closed()
        # From here on nobody but this process knows what came of it.
        tell(committing=True)

    with use_alone(go["database"]) as use:
        window = Window(go["id"], go["deadline_at"], require_open, in_use=not use)
        document = api.start(target, window, memory=memory, allowed_by=allowed_by)
    warnings = [*document["warnings"], *([use.warning] if use.warning else [])]
    return {**document, "warnings": warnings}


def _observed(target: Target, memory: Path | None) -> dict[str, Any]:
    """Is there anything that would have been done?"""
    from driftengine import api

    if api.check(target, memory=memory)["in_sync"]:
        return {"outcome": "up_to_date"}
    from driftd.windows import observed

    return {"outcome": "deferred", "error": observed(target.name).as_document()}


def _closed() -> BusyError:
    from driftd.windows import closed

    return closed()


def error_document(error: Exception) -> dict[str, str]:
    """An error as `{code, what, why, fix}`; one that nobody foresaw is `internal`."""
    if isinstance(error, DriftError):
        return error.as_document()
    return {
        "code": "internal",
        "what": f"{type(error).__name__}: {error}",
        "why": "driftd came upon something that it did not foresee",
        "fix": "see whether `driftd --debug check` comes upon it too, and report the traceback",
    }


if __name__ == "__main__":
    sys.exit(main())
