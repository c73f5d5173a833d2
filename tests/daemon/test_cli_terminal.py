"""What appears on a terminal, and only there: colour and progress."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from driftd.cli.progress import progress

if TYPE_CHECKING:
    from pathlib import Path

MODELS = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT);\n"


def on_a_terminal(*arguments: str, folder: Path, which: str) -> tuple[int, bytes, bytes]:
    """Run driftd with one stream on a terminal: exit code, what the terminal got, what the other stream got."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, which: theirs}
    child = subprocess.Popen(
        [sys.executable, "-m", "driftd", *arguments],
        cwd=folder,
        env={**kept, "TERM": "xterm", "HOME": str(folder)},
        **streams,  # type: ignore[call-overload]  # the two streams by name
    )
    os.close(theirs)
    shown: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(ours, shown))
    reader.start()
    out, err = child.communicate(timeout=100)
    reader.join()
    os.close(ours)
    return child.returncode, b"".join(shown), out if which == "stderr" else err


def _drain(descriptor: int, shown: list[bytes]) -> None:
    """Read until the other end is closed, which Linux tells as an error."""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:
            return
        if not chunk:
            return
        shown.append(chunk)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with models in DDL and no database yet."""
    (tmp_path / "schema.sql").write_text(MODELS)
    return tmp_path


BARE = ("--url", "sqlite:///app.db", "--models", "schema.sql")


def test_a_terminal_gets_colour(folder: Path) -> None:
    """The verdict is coloured on a terminal; the same words come without colour through a pipe."""
    code, shown, errors = on_a_terminal("check", *BARE, folder=folder, which="stdout")
    assert (code, errors) == (1, b"")
    assert b"\x1b[1;33mdrifted\x1b[0m" in shown


def test_json_on_a_terminal_is_still_json(folder: Path) -> None:
    """No colour and no progress gets into a document."""
    code, shown, _ = on_a_terminal("apply", *BARE, "--json", folder=folder, which="stdout")
    assert code == 0
    assert json.loads(shown)["outcome"] == "migrated"


def test_progress_goes_to_stderr_and_leaves_stdout_alone(folder: Path) -> None:
    """With stderr on a terminal a backup shows how far it is; stdout has the document and nothing else."""
    assert on_a_terminal("apply", *BARE, folder=folder, which="stdout")[0] == 0
    code, shown, document = on_a_terminal(
        "backup", "create", "--url", "sqlite:///app.db", "--json", folder=folder, which="stderr"
    )
    assert code == 0
    assert b"making a backup" in shown
    assert json.loads(document)["backup"]["verified"] is True


def test_nobody_is_told_where_nobody_looks() -> None:
    """Without a terminal the engine is given nothing to call, and rich is not loaded."""
    with progress() as told:
        assert told is None
