"""Runs every check on a thread of its own: one that hangs, or fails, is a finding and stops no other."""

from __future__ import annotations

import os
import queue
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from driftd.cli.text import shell_word
from driftd.config import load
from driftd.config.target import build_target
from driftd.doctor import (
    daemon,
    database,
    holders,
    models,
    place,
    records,
    rights,
    strangers,
    units,
    watching,
)
from driftd.doctor.findings import Finding, from_error, note, ordered, warning
from driftd.doctor.subject import Seen, Subject
from driftengine.dialects.sqlite.connect import parse_url
from driftengine.errors import ConfigurationError, DriftError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from driftd.config import Configuration, Request

    Document = dict[str, Any]

Kind = TypeVar("Kind")
PATIENCE_S = 8.0  # seconds that a check may take; loading the models has a limit of its own
# What was asked for by name and is not there leaves nothing to look at: the command fails, and finds nothing.
_NOTHING_TO_LOOK_AT = frozenset({"configuration-missing", "target-unknown"})


class TooSlowError(Exception):
    """What was asked for did not come in its time; the text says what it was."""


def bounded(name: str, function: Callable[[], Kind], patience: float = PATIENCE_S) -> Kind:
    """What the function returns or raises. Raises TooSlowError where that takes too long: a file system may hang."""
    answers: queue.SimpleQueue[tuple[Kind | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((function(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            answers.put((None, error))

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        value, raised = answers.get(timeout=patience)
    except queue.Empty:
        raise TooSlowError(name) from None
    if raised is not None:
        raise raised
    return cast("Kind", value)


@dataclass(slots=True)
class Check:
    """A check under way: what it looks at, and what it has found by now."""

    name: str
    look: Callable[[], Sequence[Finding]]
    target: str | None = None
    patience: float = PATIENCE_S
    found: list[Finding] = field(default_factory=list)
    thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins. A thread that never ends must not keep the process from ending, so it is a daemon thread."""
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.found = list(self.look())
        except DriftError as error:
            self.found = [from_error(error)]
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in one check is told, and the others go on
            self.found = [_failed(self.name, error)]

    def result(self, since: float) -> list[Finding]:
        """What it has found; where its time is over, that."""
        thread = self.thread
        if thread is None:
            return []
        thread.join(max(0.0, since + self.patience - time.monotonic()))
        found = [_hangs(self.name, self.patience)] if thread.is_alive() else self.found
        return [one.of(self.target) for one in found] if self.target else found


def examine(request: Request, *, socket: str | None = None, installed: str = "", flags: str = "") -> Document:
    """Looks at everything; `{schema_version, verdict, findings, targets, daemon, checked, duration_ms}`.

    Args:
        request: which configuration and targets are meant.
        socket: the daemon's socket; that of the configuration where it is None.
        installed: the version of driftd that this is.
        flags: the flags that were typed to choose them, with a space in front.

    Raises ConfigurationError for a file or a target that was asked for by name and is not there. Any other mistake in
    the configuration is a finding.
    """
    began = time.monotonic()
    configuration, found = _configured(request)
    path = (
        socket
        or request.environment.get("DRIFTD_SOCKET")
        or (str(configuration.daemon.get("socket")) if configuration else "")
    )
    seen = daemon.ask(str(request.directory / path), _file_of(configuration)) if path else Seen("")
    checks = _machine_checks(request, seen, installed, flags)
    names: list[str] = []
    if configuration is not None:
        names = [configuration.selected] if configuration.selected else list(configuration.targets)
        for name in names:
            made, told = _target_checks(request, configuration, name, seen, flags)
            checks, found = [*checks, *made], [*found, *told]
    since = time.monotonic()
    for check in checks:
        check.start()
    for check in checks:
        found += check.result(since)
    return _document(found, names, seen, [check.name for check in checks], began)


def _document(
    found: list[Finding], names: list[str], seen: Seen, checked: list[str], began: float
) -> Document:
    findings = ordered(found)
    about = seen.about
    running = {name: about.get(name) for name in ("version", "pid", "socket")} if about else None
    return {
        "schema_version": 1,
        "verdict": "problems" if any(one.severity == "problem" for one in findings) else "well",
        "findings": [one.as_document() for one in findings],
        "targets": names,
        "daemon": running,
        "checked": list(dict.fromkeys(checked)),
        "duration_ms": round((time.monotonic() - began) * 1000, 1),
    }


def _configured(request: Request) -> tuple[Configuration | None, list[Finding]]:
    """The configuration, where it can be read, and what is to be said of it."""
    try:
        configuration = bounded("configuration", lambda: load(request))
    except TooSlowError:
        return None, [_hangs("configuration", PATIENCE_S)]
    except ConfigurationError as error:
        if error.code in _NOTHING_TO_LOOK_AT:
            raise
        return None, [from_error(error)]
    found = []
    if configuration.source.how == "shipped":
        found.append(
            warning(
                "there is no driftd.toml here",
                code="configuration-shipped",
                why="the configuration that ships with driftd is used, which describes the MCP Task Orchestrator",
                fix="make one for this project: driftd init",
            )
        )
    if configuration.selected is None and len(configuration.targets) > 1:
        names = list(configuration.targets)
        found.append(
            warning(
                f"there are {len(names)} targets, and `driftd exec` opens no window until one is named",
                code="targets-several",
                why=f"which database a service opens is never guessed; they are {', '.join(names)}",
                fix=f"name it for each service: driftd exec --target {shell_word(names[0])}, or set DRIFTD_TARGET",
            )
        )
    found += [
        note(f"{name} means nothing to driftd", code="environment-unread", why="no setting has that name")
        for name in configuration.unread
    ]
    return configuration, found


def _file_of(configuration: Configuration | None) -> str | None:
    if configuration is None or configuration.source.path is None:
        return None
    return os.path.realpath(configuration.source.path)


def _machine_checks(request: Request, seen: Seen, installed: str, flags: str) -> list[Check]:
    found = [
        Check("watching", lambda: watching.check_watching(seen)),
        Check("units", lambda: units.check_units(request.environment)),
    ]
    if seen.socket:
        found.insert(0, Check("daemon", lambda: daemon.check_daemon(seen, installed, flags)))
    return found


def _target_checks(
    request: Request, configuration: Configuration, name: str, seen: Seen, flags: str
) -> tuple[list[Check], list[Finding]]:
    """The checks of a target; where its url names no database, the models are looked at all the same."""
    target = build_target(configuration, name)
    # What was typed chooses it already, unless there are several.
    chosen = flags if configuration.selected else f"{flags} --target {shell_word(name)}"
    found: list[Finding] = []
    path = Path()
    try:
        path = bounded("database", lambda: parse_url(target.url, directory=configuration.home).path)
    except TooSlowError:
        found.append(_hangs("database", PATIENCE_S).of(name))
    except DriftError as error:
        found.append(from_error(error).of(name))
    subject = Subject(name, target, path, seen, request.directory, request.environment, chosen)
    looks: list[tuple[str, Callable[[Subject], list[Finding]]]] = [("models", models.check_models)]
    if not found:
        looks += [
            ("rights", rights.check_rights),
            ("strangers", strangers.check_strangers),
            ("file-system", place.check_file_system),
            ("space", place.check_space),
            ("clock", place.check_clock),
            ("database", database.check_database),
            ("sqlite", database.check_sqlite),
            ("served", daemon.check_served),
            ("locks", holders.check_holders),
            ("other-file", holders.check_other_file),
            ("records", records.check_records),
        ]
    made = [Check(title, _bound(look, subject), name) for title, look in looks]
    made[0].patience = models.limit_of(subject) + models.MARGIN_S
    return made, found


def _bound(look: Callable[[Subject], list[Finding]], subject: Subject) -> Callable[[], list[Finding]]:
    return lambda: look(subject)


def _hangs(name: str, patience: float) -> Finding:
    return warning(
        f"looking at the {name} took longer than {patience:g} s",
        code="check-hangs",
        why="a file system or a program does not answer",
        fix="see whether the paths of the configuration can be listed: ls",
    )


def _failed(name: str, error: Exception) -> Finding:
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    return warning(
        f"looking at the {name} failed",
        code="check-failed",
        why=f"{type(error).__name__}: {told}{where}",
        fix="report it as a bug, unless the cause is known",
    )
