"""Commands of driftd's that are carried out in the test's own process: hundreds of them a second's worth of time."""

from __future__ import annotations

import io
import json
import resource
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

from command_line import Finished
from driftd.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


ENOUGH = 3 << 30  # bytes of address space


def typed(folder: Path, *words: str) -> Finished:
    """What the command says in that folder, which is HOME too; the environment configures nothing (see `at_home`)."""
    out, err = io.StringIO(), io.StringIO()
    with little_memory(), redirect_stdout(out), redirect_stderr(err):
        code = run(list(words))
    return Finished(code, out.getvalue(), err.getvalue())


@contextmanager
def little_memory() -> Iterator[None]:
    """What would fill the memory ends in a MemoryError before the machine does."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (ENOUGH, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def at_home(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], folder: Path) -> None:
    """Makes a folder the working directory and the home of this process."""
    for name in [one for one in environment if one.startswith(("DRIFTD_", "XDG_", "MCP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)


def foreseen(finished: Finished, codes: tuple[int, ...] = (0, 1, 2, 3)) -> str:
    """What is wrong with how a command ended, "" for nothing: it knows its errors, and answers in JSON where asked to."""
    document = json.loads(finished.out) if finished.out.startswith("{") else {}
    bug = (document.get("error") or {}).get("code") == "internal"
    if bug or "error[internal]" in finished.err or "Traceback" in finished.err:
        return f"it did not foresee: {finished.err[-400:]}{finished.out[-400:]}"
    return "" if finished.code in codes else f"exit code {finished.code}: {finished.err[-400:]}"
