"""`driftd run`: what it hands to the daemon, and how it ends when the configuration is wrong."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from command_line import driftd
from driftd.cli.main import run
from driftd.config import Request, load
from driftengine.errors import ConfigurationError, DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

TWO = """\
[daemon]
socket = "d.sock"
[targets.app]
url = "a.db"
models = ["m:B"]
[targets.web]
url = "w.db"
models = ["m:B"]
mode = "dev"
"""
BARE = ["--url", "sqlite:///a.db", "--models", "m:B"]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What the daemon is asked to serve, in a folder with two targets; the daemon itself stays away."""
    requests: list[Any] = []

    def serve(request: Request, *, debug: bool = False) -> int:
        requests.append((request, debug))
        load(request)
        return 0

    (tmp_path / "driftd.toml").write_text(TWO)
    monkeypatch.chdir(tmp_path)
    for name in ("DRIFTD_CONFIG", "DRIFTD_TARGET", "DRIFTD_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "driftd.daemon", SimpleNamespace(serve=serve))
    return requests


def test_flags_of_the_daemon_speak_of_every_target(served: list[Any], tmp_path: Path) -> None:
    """--mode holds for all targets, also for those that a reload adds; --socket is relative to the working directory."""
    assert run(["run", "--mode", "observe", "--socket", "x/y.sock", "--log", "json"]) == 0
    (request, debug), *_ = served
    assert debug is False
    configuration = load(request)
    assert {name: one.get("mode") for name, one in configuration.targets.items()} == {
        "app": "observe",
        "web": "observe",
    }
    assert configuration.daemon.get("socket") == str(tmp_path / "x/y.sock")
    assert configuration.daemon.get("log") == "json"
    assert configuration.daemon.values["log"].place == "--log"
    (tmp_path / "driftd.toml").write_text(TWO.replace("[targets.web]", "[targets.third]"))
    assert load(request).targets["third"].get("mode") == "observe"


def test_without_flags_the_file_decides(served: list[Any]) -> None:
    """Each target keeps its own mode, and the socket is relative to the file."""
    assert run(["run", "--debug"]) == 0
    (request, debug), *_ = served
    assert debug is True
    configuration = load(request)
    assert [one.get("mode") for one in configuration.targets.values()] == ["window", "dev"]


def test_flags_of_a_target_need_to_know_which(served: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """With several targets --backfill would be read by none of them; it is refused instead."""
    assert run(["run", "--backfill", "t.c=1"]) == 78
    assert "error[target-ambiguous]" in capsys.readouterr().err
    assert served == []
    assert run(["run", "--backfill", "t.c=1", "--target", "web"]) == 0
    assert run(["run", *BARE, "--mode", "dev"]) == 0
    assert load(served[-1][0]).targets["a"].get("mode") == "dev"


@pytest.mark.parametrize("arguments", [["--config", "missing.toml"], ["--target", "wbe"]])
def test_a_bad_configuration_is_78(
    arguments: list[str], served: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The number that tells a supervisor not to start it again until somebody has corrected it."""
    assert run(["run", *arguments]) == 78
    assert served
    assert capsys.readouterr().err.startswith("error[")


def test_other_errors_are_2(
    monkeypatch: pytest.MonkeyPatch, served: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """What may be different the next time is worth another start; a usage error is the caller's."""

    def serve(_request: Request, *, debug: bool) -> int:
        assert not debug
        raise DatabaseError("in use", code="database-busy")

    monkeypatch.setitem(sys.modules, "driftd.daemon", SimpleNamespace(serve=serve))
    assert run(["run"]) == 2
    assert run(["run", "--mode", "sometimes"]) == 2
    assert "error[database-busy]" in capsys.readouterr().err
    assert served == []


def test_wrong_flags_are_named_as_flags(tmp_path: Path) -> None:
    """A value that is given everywhere is reported once, by the flag that gave it."""
    (tmp_path / "driftd.toml").write_text(TWO)
    request = Request(environment={}, directory=tmp_path, everywhere={"mode": "obzerve"})
    with pytest.raises(ConfigurationError, match=r'^.*a mistake.*\n?.*--mode is "obzerve"') as raised:
        load(request)
    assert raised.value.why.count("obzerve") == 1


def test_running_loads_neither_rich_nor_the_other_commands(tmp_path: Path) -> None:
    """What the process of the daemon carries for ever is what it needs."""
    program = (
        "import sys; from driftd.cli import run, main;"
        "print([name for name in ('rich', 'sqlalchemy', 'driftd.cli.status', 'driftd.cli.render.status')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_a_broken_file_is_78(tmp_path: Path) -> None:
    """The whole way, in a process of its own."""
    (tmp_path / "driftd.toml").write_text("[daemon\n")
    done = driftd("run", folder=tmp_path)
    assert (done.code, done.out) == (78, "")
    assert "error[configuration-syntax]" in done.err
