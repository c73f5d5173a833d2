"""The daemon at the socket: does it answer, is it of this installation, does it serve what is configured, is it content?"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

import driftd
import driftengine
from driftd import lock_file, processes
from driftd.cli.text import plural, shell_word
from driftd.client import Client, ClientError
from driftd.doctor.findings import Finding, note, problem, warning
from driftd.doctor.subject import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from driftd.doctor.subject import Document, Subject

ANSWER_S = 3.0


def ask(socket: str, config: str | None) -> Seen:
    """What the daemon at that socket says of itself, or why there is no answer."""
    try:
        with Client(socket, timeout=ANSWER_S) as client:
            status = client.do_status()
    except ClientError as error:
        return Seen(socket, error=error.error, config=config)
    pid = status.get("daemon", {}).get("pid")
    uid, started = _process(pid) if isinstance(pid, int) else (None, None)
    return Seen(socket, status, None, uid, started, config)


def _process(pid: int) -> tuple[int | None, float | None]:
    try:
        process = psutil.Process(pid)
        return process.uids().effective, process.create_time()
    except psutil.Error:
        return None, None


def check_daemon(seen: Seen, installed: str, flags: str) -> list[Finding]:
    """Everything about the daemon that is no matter of one target."""
    if seen.error is not None:
        return [_unanswered(seen, seen.error, flags)]
    found = [*outdated(seen, installed, newest_source()), *_problems(seen)]
    if seen.config and seen.about.get("config") and seen.config != seen.about["config"]:
        found.append(
            warning(
                "the daemon was started with another configuration file",
                code="daemon-configured-otherwise",
                why=f"it reads {seen.about['config']}, and this command {seen.config}",
                fix=f"look at that one: driftd doctor --config {shell_word(str(seen.about['config']))}",
            )
        )
    return found


def _unanswered(seen: Seen, error: Mapping[str, str], flags: str) -> Finding:
    """Why there is no answer. Without a daemon all works, later; a socket without one tells of a crash."""
    told = {"code": error["code"], "why": error["why"], "fix": error["fix"]}
    if error["code"] == "not-allowed":
        return warning(error["what"], **told)
    if error["code"] != "no-daemon":
        return (
            _silent(seen, error["what"], told)
            if error["code"] == "no-answer"
            else problem(error["what"], **told)
        )
    kind = _kind(Path(seen.socket))
    if kind == "socket":
        return problem(
            f"nobody listens at {seen.socket}, though the socket is there",
            code="socket-stale",
            why="a daemon that ends takes its socket away: this one was killed, or crashed",
            fix=f"start it again, it clears the socket away itself: driftd run{flags}",
        )
    if kind:
        return problem(
            f"{seen.socket} is {kind} and no socket",
            code="socket-unusable",
            why="driftd leaves a file alone that it did not make, so the daemon cannot listen there",
            fix=f"see whose it is, and move it away: ls -l {shell_word(seen.socket)}",
        )
    return warning(
        "no daemon runs",
        code="no-daemon",
        why=f"there is no socket {seen.socket}: starting services prepare their migrations themselves, which takes them longer",
        fix=f"start one: driftd run{flags}",
    )


def _silent(seen: Seen, what: str, told: Mapping[str, str]) -> Finding:
    """Who holds the lock of the socket is the daemon that does not answer, and may have been stopped."""
    pid = (lock_file.holder_of(f"{seen.socket}.lock") or {}).get("pid")
    if not isinstance(pid, int):
        return problem(what, **told)
    who = processes.describe(processes.identify(pid))
    if _is_stopped(pid):
        again = {
            "why": f"{who} is stopped: by SIGSTOP, Control-Z or a debugger",
            "fix": f"let it go on: kill -CONT {pid}",
        }
    else:
        again = {"why": f"{who}: {told['why']}", "fix": f"look at that process, ps -fp {pid}, and at its log"}
    return problem(what, **{**told, **again})


def _is_stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}
    except psutil.Error:
        return False


def _kind(path: Path) -> str:
    """`socket`, what else lies there for a sentence, or "" for nothing."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return ""
    if stat.S_ISSOCK(mode):
        return "socket"
    return "a symbolic link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "a file"


def newest_source() -> float:
    """When a source file of this installation was changed last, in Unix time."""
    folders = [Path(os.path.dirname(str(package.__file__))) for package in (driftd, driftengine)]  # noqa: PTH120
    return max(path.stat().st_mtime for folder in folders for path in folder.rglob("*.py"))


def outdated(seen: Seen, installed: str, changed: float) -> list[Finding]:
    """Does it run what is installed? Sources that a developer edits in place are worth a note only."""
    running = str(seen.about.get("version") or "")
    fix = "restart the daemon: systemctl restart driftd, or end it and `driftd run`"
    if running != installed:
        return [
            warning(
                f"the daemon runs driftd {running}, and {installed} is installed",
                code="daemon-outdated",
                why="it was started before the installation changed",
                fix=fix,
            )
        ]
    if seen.started is None or changed <= seen.started:
        return []
    tell = warning if "-packages" in str(driftd.__file__) else note
    return [
        tell(
            "the daemon was started before driftd's files changed",
            code="daemon-outdated",
            why="it goes on with what it loaded at its start",
            fix=fix,
        )
    ]


def _problems(seen: Seen) -> list[Finding]:
    """What it complains of itself: a configuration that it could not read again, for example."""
    return [_told(one) for one in seen.about.get("problems") or []]


def _told(error: Mapping[str, Any]) -> Finding:
    texts = {name: str(error.get(name) or "") for name in ("why", "fix")}
    return problem(
        str(error.get("what") or "the daemon has a problem"),
        code=str(error.get("code") or "internal"),
        **texts,
    )


def check_served(subject: Subject) -> list[Finding]:
    """Does the daemon serve this very database, and what does it say of it?"""
    if subject.daemon.status is None:
        return []
    entry = subject.daemon.entry(subject.name)
    if entry is None:
        return [_otherwise("it does not serve this target")]
    differing = differences(entry, {"database": str(subject.database), "mode": subject.target.mode})
    found = [_otherwise("; ".join(differing))] if differing else []
    return found + judged(entry, subject.flags)


def differences(entry: Document, configured: Mapping[str, str]) -> list[str]:
    """What the daemon has otherwise than the configuration."""
    return [
        f"its {name} is {entry.get(name)}, and {value} is configured"
        for name, value in configured.items()
        if entry.get(name) != value
    ]


def _otherwise(why: str) -> Finding:
    return warning(
        "the daemon works with another configuration than this command",
        code="daemon-configured-otherwise",
        why=f"{why}; the environment or the working directory may differ as well",
        fix="have it read its file again: driftd reload; "
        "where a flag of `driftd run` says otherwise than the file, start it without",
    )


def judged(entry: Document, flags: str) -> list[Finding]:
    """What its entry in `status` says that a person should know."""
    found = [_told(entry["problem"])] if entry.get("problem") else []
    waiting = [*(entry.get("held") or []), *(entry.get("blocked") or [])]
    if waiting:
        one = len(waiting) == 1
        found.append(
            warning(
                f"{len(waiting)} {'operation waits' if one else 'operations wait'} for a person",
                code="operations-wait",
                why=", ".join(sorted({str(item.get("code")) for item in waiting})),
                fix=f"see which, and what may be done: driftd plan{flags}",
            )
        )
    if entry.get("state") == "paused":
        found.append(
            warning(
                "the target is paused", code="target-paused", why="somebody asked for it", fix=_resume(entry)
            )
        )
    found += [note(str(told), code="daemon-warns") for told in entry.get("warnings") or []]
    return found + _polled((entry.get("watching") or {}).get("polled") or [])


def _resume(entry: Document) -> str:
    return f"driftd resume --target {shell_word(str(entry.get('target')))}"


def _polled(folders: Sequence[object]) -> list[Finding]:
    if not folders:
        return []
    return [
        note(
            f"{plural(len(folders), 'folder')} can only be looked at from time to time",
            code="watching-polled",
            why=", ".join(map(str, folders[:3])),
        )
    ]
