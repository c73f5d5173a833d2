"""docs/socket.md is the contract: its examples are replayed, its tables held against the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from driftd import protocol
from driftd.protocol import COMMANDS, LIMITS
from driftd.server import Handler
from driftd.socket_file import LONGEST_PATH
from driftd.windows import closed
from driftengine.errors import HistoryError
from support.sidecars import house, make, running
from support.socket_examples import PAGE, differs, examples, replay
from support.sockets import DAEMON, Wire, answering, serving, silent, socket_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from driftd.server import Request
    from support.socket_examples import Example

TEXT = PAGE.read_text(encoding="utf-8")
LINE = re.compile(r"^\$ (printf .* \| nc .*)$", re.MULTILINE)

HELD = {
    "operation": "7a049a67eacf-2",
    "kind": "drop_column",
    "table": "task",
    "name": "legacy",
    "code": "drop-column",
    "risk": "destructive",
    "strategy": "native",
    "detail": "text",
    "reason": "its values would be lost",
    "rows": [{"key": "1", "value": "'a'"}],
    "count": 1,
}
OPERATION = {
    "id": "7a049a67eacf-1",
    "kind": "add_column",
    "table": "task",
    "name": "due",
    "risk": "safe",
    "code": "add-column",
    "strategy": "native",
    "sql": ['ALTER TABLE "task" ADD COLUMN due text'],
    "guard": None,
    "undo": "drop the column due again",
    "reason": "old rows hold NULL",
    "held": False,
}
PLAN = {"id": "7a049a67eacf", "risk": "destructive", "operations": [OPERATION]}
ENTRY = {
    "target": "app",
    "database": "/srv/app/app.db",
    "mode": "window",
    "state": "ready",
    "since": "2026-03-01T09:00:00.000Z",
    "looked_at": "2026-03-01T09:00:00.000Z",
    "busy": "",
    "progress": None,
    "in_sync": False,
    "differences": 2,
    "plan": PLAN,
    "held": [HELD],
    "blocked": [],
    "approved": [],
    "stage": None,
    "last_migration": None,
    "last_window": None,
    "accepted": 0,
    "unmanaged": 0,
    "unsupported": [],
    "watching": {"files": 1, "folders": 1, "polled": []},
    "problem": None,
    "warnings": [],
}
DAEMON_FIGURES = {
    "pid": 4711,
    "version": "1.2.3",
    "protocol": 1,
    "started_at": "2026-03-01T09:00:00.000Z",
    "uptime_s": 1.5,
    "config": None,
    "socket": "/run/driftd/driftd.sock",
    "memory": {"rss_bytes": 40_000_000},
    "cpu_s": 0.2,
    "threads": 3,
    "open_files": 12,
    "templates": [],
    "problems": [],
}
HEAD = {"schema_version": 1, "target": "app", "database": "/srv/app/app.db"}
VERSION = {"version": "1", "protocol": 1, "capabilities": [], "python": "3.13", "sqlite": "3.50", "pid": 4711}
RECORDED: dict[str, dict[str, Any]] = {
    "status": {"schema_version": 1, "verdict": "attention", "daemon": DAEMON_FIGURES, "targets": [ENTRY]},
    "check": {
        **HEAD,
        "state": "drifted",
        "in_sync": False,
        "differences": [{}],
        "plan": PLAN,
        "unmanaged": [],
        "timings_ms": {},
    },
    "plan": {**HEAD, "plan": PLAN},
    "history": {**HEAD, "migrations": []},
    "stage": {"targets": [ENTRY], "daemon": DAEMON_FIGURES},
    "approve": {"targets": [ENTRY], "daemon": DAEMON_FIGURES},
    "pause": {"targets": [{**ENTRY, "state": "paused"}], "daemon": DAEMON_FIGURES},
    "resume": {"targets": [ENTRY], "daemon": DAEMON_FIGURES},
    "reload": {"added": [], "removed": [], "changed": [], "kept": ["app"]},
    "where": {
        "target": "app",
        "database": "/srv/app/app.db",
        "path": "/srv/app/app.db",
        "timeout_s": 15.0,
        "config": "/srv/app/driftd.toml",
        "directory": None,
        "variables": {"DRIFTD_TARGETS_APP_URL": None, "DRIFTD_URL": None},
    },
    "version": VERSION,
    "adopt": {
        **HEAD,
        "outcome": "adopted",
        "adopted": [{"object": "column", "table": "task", "name": "legacy", "change": "remove"}],
        "left": [],
        "warnings": [],
    },
    "revert": {
        **HEAD,
        "outcome": "up_to_date",
        "operations": 0,
        "applied": [],
        "held": [],
        "blocked": [],
        "dry_run": True,
        "migration_id": None,
        "error": None,
    },
}


@pytest.fixture
def path() -> Iterator[Path]:
    with socket_folder() as folder:
        yield folder / "d.sock"


def recorded() -> dict[str, Handler]:
    """A handler for each command that answers as a daemon has."""
    handlers = {name: Handler(answering(result)) for name, result in RECORDED.items()}
    return {
        **handlers,
        "events": Handler(silent, stream=True),
        "window": Handler(nobody_starts),
        "rollback": Handler(nothing_done_yet),
    }


async def nothing_done_yet(_request: Request) -> dict[str, Any]:
    """What a daemon answers whose target has never been migrated."""
    raise HistoryError("there is no migration to roll back", code="nothing-to-roll-back", why="it names none")


async def nobody_starts(_request: Request) -> dict[str, Any]:
    """What a daemon answers about a window that nobody has open."""
    raise closed()


@pytest.mark.parametrize("example", list(examples(TEXT)), ids=lambda example: f"line {example.line}")
def test_every_example_is_what_happens(path: Path, example: Example) -> None:
    """What the page shows is what comes, but for what it says may vary."""
    with serving(path, recorded()):
        replay(path, example)


def test_the_real_daemon_answers_as_the_page_says(path: Path) -> None:
    """Every example in the order of the page, with the target that the page describes; no member is missing."""
    before = "CREATE TABLE task (id INTEGER PRIMARY KEY, legacy TEXT);"
    make(path.parent / "app.db", before)
    with running(house(path.parent, models=before.replace("legacy", "due"))) as sidecar:
        assert list(sidecar.state("ready")) == list(ENTRY)
        for example in examples(TEXT):
            replay(path, example)
        assert sidecar.stop() == 0


def test_the_examples_show_every_command() -> None:
    """Nobody has to guess what a command's answer looks like."""
    sent = b"".join(request for example in examples(TEXT) for request in example.requests)
    assert [name for name in COMMANDS if f'"command": "{name}"'.encode() not in sent] == []


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("...", None, True),
        ({"a": "..."}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1, "...": "..."}, {"a": 1, "b": 2}, True),
        ({"a": 1, "...": "..."}, {"b": 2}, False),
        ([1, "..."], [1, 2, 3], True),
        ([1, "..."], [1], True),
        ([1, "..."], [], False),
        ([], [1], False),
        ([{"a": 1}], [{"a": 2}], False),
        (1, True, False),
        (1, 2, False),
    ],
)
def test_a_pattern_says_what_may_vary_and_nothing_else(pattern: object, value: object, fits: bool) -> None:
    """The replay would hold of anything, were the comparison too kind."""
    assert (differs(pattern, value) == "") is fits


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the table whose first heading this is."""
    table = TEXT[TEXT.index(f"| {heading} |") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")[2:]]


def test_the_table_of_commands_is_that_of_the_code() -> None:
    """Names, arguments and who may ask."""
    told = {row[0].strip("`"): (row[1], row[2]) for row in rows_of("command")}
    assert told.keys() == COMMANDS.keys()
    for name, command in COMMANDS.items():
        arguments = ", ".join(
            f"`{key}`" if one.required else f"`{key}?`" for key, one in command.arguments.items()
        )
        needs = "write" if command.writes else "read"
        needs += "".join(f"; with `{flag}` write" for flag in command.writes_with)
        assert told[name] == (arguments, needs)


def test_the_members_of_an_entry_are_all_told() -> None:
    """What `status` shows of a target stands in the table, in its order."""
    told = [name for row in rows_of("member") for name in re.findall(r"`(\w+)`", row[0])]
    assert told == list(ENTRY)


def test_the_errors_of_the_socket_are_all_told() -> None:
    """Each code that server, protocol and connection raise to a client has its row, and no other."""
    sources = [(DAEMON / "driftd" / name).read_text(encoding="utf-8") for name in SOURCES]
    raised = {code for source in sources for code in re.findall(r'code="([a-z-]+)"', source)}
    told = {code for row in rows_of("code") for code in re.findall(r"`([a-z-]+)`", row[0])}
    assert told == raised


SOURCES = ("server.py", "protocol.py", "connection.py")


def test_the_limits_are_those_of_the_code() -> None:
    """Numbers in prose grow old; these do not."""
    told = " ".join(" ".join(row) for row in rows_of("what"))
    strangers = LIMITS.in_all - LIMITS.per_user
    for number, unit in (
        (LIMITS.request_bytes // 1024, "KiB"),
        (int(LIMITS.read_s), "s of"),
        (int(LIMITS.write_s), "s"),
        (LIMITS.per_user, "for each user"),
        (LIMITS.in_all, "in all"),
        (strangers, ""),
        (LONGEST_PATH, "bytes"),
    ):
        assert f"{number} {unit}".strip() in told
    assert f"`protocol` is {protocol.PROTOCOL}." in TEXT


def test_the_line_for_nc_works_as_printed(path: Path) -> None:
    """With a real `nc`; where there is none of OpenBSD's, with the bytes that it would send."""
    (line,) = LINE.findall(TEXT)
    with serving(path, recorded()):
        if netcat := openbsd_netcat():
            command = line.replace("nc ", f"{netcat} ", 1) if netcat != "nc" else line
            environment = {**os.environ, "DRIFTD_SOCKET": str(path)}
            done = subprocess.run(
                ["/bin/sh", "-c", command], check=True, capture_output=True, env=environment, timeout=30
            )
            assert done.stdout.startswith(b'{"ok": true, "result": {"version": ')
            assert done.stdout.count(b"\n") == 1
            return
        with Wire(path) as wire:
            sent = re.search(r"'(\{.*?\})'", line)
            assert sent
            wire.send(sent[1].encode() + b"\n")
            wire.finish()
            assert wire.line()["result"] == VERSION
            assert wire.ended()


def openbsd_netcat() -> str | None:
    """The one that knows -N and -U; the others of that name do not."""
    for name in ("nc", "nc.openbsd"):
        if found := shutil.which(name):
            said = subprocess.run([found, "-h"], check=False, capture_output=True, text=True)
            if "OpenBSD" in said.stdout + said.stderr:
                return name
    return None


def test_the_python_example_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As printed, but for the path: with a daemon that stops, and then without one."""

    async def stops(_request: Request) -> AsyncIterator[dict[str, Any]]:
        yield {"event": "stopping", "at": "2026-03-01T09:00:00.000Z"}

    (source,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    code = compile(source.replace("/run/user/1000/driftd/driftd.sock", str(path)), "socket.md", "exec")
    with serving(path, {**recorded(), "events": Handler(stops, stream=True)}):
        exec(code, {})  # noqa: S102 - the example on our own page
    assert capsys.readouterr().out == "attention 1.2.3\n2026-03-01T09:00:00.000Z stopping\n"
    exec(code, {})  # noqa: S102 - as above
    assert capsys.readouterr().out.startswith(f"no daemon listens at {path}")
