"""Who has the database open, who holds its locks, and does a service perhaps open another file than the one that is kept?"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from driftd import processes
from driftd.cli.text import shell_word
from driftd.doctor.findings import Finding, note, problem, warning
from driftd.lock_file import DAEMON, INUSE, STARTUP
from driftd.locks import is_served, state_folder
from driftengine.desired import is_script
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from driftd.doctor.subject import Subject
    from driftd.processes import Holder

GRACE_S = 5.0  # how long after its deadline a window may still be seen: a starter has its own clock
ORCHESTRATOR = "mcp_task_orchestrator"
ORCHESTRATOR_FILE = Path(".task_orchestrator") / "task_orchestrator.db"


@dataclass(frozen=True, slots=True)
class Service:
    """A process that may be the service: who it is, and the files that it has open.

    `sure`: it says itself that it uses this database. Others may serve another one, as a second instance does.
    """

    pid: int
    command: str
    files: tuple[str, ...] = ()
    directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    sure: bool = False


def check_holders(subject: Subject) -> list[Finding]:
    """The window, services that say that they are running, and another daemon."""
    paths = [subject.beside(end) for end in (STARTUP, INUSE, DAEMON)]
    found = [
        one
        for one in processes.holders([path for path in paths if path.exists()])["holders"]
        if one["how"] == "lock"
    ]
    return [*_window(subject, found), *_in_use(subject, found), *_other_daemon(subject)]


def _window(subject: Subject, holders: Iterable[Holder]) -> list[Finding]:
    path = subject.beside(STARTUP)
    who = [one for one in holders if one["path"] == str(path)]
    if not who:
        return []
    # What a starter writes into the file is the last that changes it, so its time is that of the window's beginning.
    age = time.time() - path.stat().st_mtime
    told = " and ".join(map(processes.describe, who))
    if age <= subject.target.window_timeout + GRACE_S:
        return [note("a service is starting right now", code="window-open", why=told)]
    return [
        warning(
            f"a startup window is open for {age:.0f} s",
            code="window-stuck",
            why=f"{told} holds {path}: other services wait for it until their own deadline",
            fix="see what that process does, and end it if it hangs",
        )
    ]


def _in_use(subject: Subject, holders: Iterable[Holder]) -> list[Finding]:
    who = [one for one in holders if one["path"] == str(subject.beside(INUSE))]
    return [note(f"in use by {processes.describe(one)}", code="in-use-by") for one in who]


def _other_daemon(subject: Subject) -> list[Finding]:
    try:
        body = is_served(subject.database, state_folder(subject.environment))
    except ConfigurationError:
        return []  # without a state folder there is nowhere else to look
    if body is None or body.get("pid") == subject.daemon.pid:
        return []
    pid, socket = body.get("pid"), str(body.get("socket") or "")
    who = (
        processes.describe(processes.identify(pid))
        if isinstance(pid, int)
        else "a process that did not say who it is"
    )
    if socket == subject.daemon.socket and subject.daemon.status is None:
        return []  # it is the daemon that was asked, and why it did not answer is told already
    return [
        problem(
            "another daemon serves this database",
            code="target-served",
            why=f"{who} holds {body.get('path')}" + (f" and listens at {socket}" if socket else ""),
            fix=f"ask that one: driftd status --socket {shell_word(str(socket))}"
            if socket
            else "stop one of the two",
        )
    ]


# --- does the service open the file that is kept?


def check_other_file(subject: Subject) -> list[Finding]:
    """Processes of the service that have another file of the same name open, or would open one."""
    specs = [spec for spec in subject.target.models.specs if not is_script(spec)]
    packages = {spec.partition(":")[0].partition(".")[0] for spec in specs}
    found = [one for service in _services(subject, packages) for one in elsewhere(service, subject.database)]
    return found + orchestrator_rule(subject, packages)


def _services(subject: Subject, packages: set[str]) -> list[Service]:
    """The processes that hold in use, and those whose command line names the models' package."""
    holding = processes.holders([subject.beside(INUSE)])["holders"] if subject.beside(INUSE).exists() else []
    pids = {one["pid"] for one in holding}
    skipped = {os.getpid(), os.getppid(), subject.daemon.pid}
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        named = any(_names(word, package) for word in words for package in packages)
        # driftd's own commands name the package as well: `--models package.models:Base`.
        if process.pid in skipped or not (process.pid in pids or (named and not _is_ours(words))):
            continue
        service = _look_at(process, words, sure=process.pid in pids)
        if service is not None:
            found.append(service)
    return found


def _names(word: str, package: str) -> bool:
    """Is the package named in an argument: `-m package.server`, `/srv/package/main.py`, `package-server`?"""
    parts = word.replace("-", "_").replace("/", ".").replace(":", ".").split(".")
    return package in parts


def _is_ours(words: Iterable[str]) -> bool:
    return any(Path(word).name == "driftd" for word in words)


def _look_at(process: psutil.Process, words: list[str], *, sure: bool) -> Service | None:
    try:
        files = tuple(entry.path for entry in process.open_files())
        directory, environment = process.cwd(), process.environ()
    except psutil.Error:
        return None  # it has ended, or belongs to somebody else
    command = " ".join(words)[: processes.COMMAND_LENGTH]
    return Service(process.pid, command, files, directory, environment, sure)


def elsewhere(service: Service, database: Path) -> list[Finding]:
    """Does it have the database open, or another one of the same name?"""
    same = [path for path in service.files if Path(path).name == database.name]
    if any(os.path.realpath(path) == str(database) for path in same):
        return []
    others = set(same)
    if service_path := orchestrator_path(service):
        others.add(service_path)
    tell = problem if service.sure else warning
    return [
        tell(
            "the service works with another database"
            if service.sure
            else "a process of these models uses another database",
            code="other-database",
            why=f"pid {service.pid} ({service.command}) uses {path}, and {database} is kept in step",
            fix="if it is the service: set `url` to that path, or have it use this one",
        )
        for path in sorted(others)
        if os.path.realpath(path) != str(database)
    ]


def orchestrator_path(service: Service) -> str:
    """Where a running MCP Task Orchestrator keeps its tasks, "" for another service.

    Its state lies where MCP_TASK_ORCHESTRATOR_DB_PATH says, else below its working directory:
    MCP_TASK_ORCHESTRATOR_BASE_DIR moves its roles and logs, and not this database.
    """
    if not _names(service.command.replace(" ", "."), ORCHESTRATOR) or not service.directory:
        return ""
    given = service.environment.get("MCP_TASK_ORCHESTRATOR_DB_PATH")
    return os.path.join(service.directory, given or ORCHESTRATOR_FILE)  # noqa: PTH118 - an absolute one stands for itself


def orchestrator_rule(subject: Subject, packages: set[str]) -> list[Finding]:
    """A base folder without a path: the orchestrator's own parts disagree about where the database is."""
    environment = subject.environment
    base = environment.get("MCP_TASK_ORCHESTRATOR_BASE_DIR", "")
    if ORCHESTRATOR not in packages or not base or environment.get("MCP_TASK_ORCHESTRATOR_DB_PATH"):
        return []
    if os.path.realpath(base) == os.path.realpath(subject.directory):
        return []
    return [
        warning(
            "MCP_TASK_ORCHESTRATOR_BASE_DIR alone does not tell where the tasks are",
            code="orchestrator-path",
            why=f"the orchestrator keeps them below its working directory then, and not below {base}",
            fix=f"export MCP_TASK_ORCHESTRATOR_DB_PATH={shell_word(str(subject.database))}",
        )
    ]
