"""What a person and a program see when something goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import driftd.cli.command
from command_line import driftd as run_driftd
from driftd.cli.main import run
from driftengine.errors import BusyError, DatabaseError

if TYPE_CHECKING:
    from pathlib import Path


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make the configuration, which every command asks for first, fail in this way."""

    def load(_request: object) -> None:
        raise error

    monkeypatch.setattr(driftd.cli.command, "load", load)


def test_an_error_says_what_why_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors go to stderr in three parts, without a traceback; the exit code is 2."""
    failing(
        monkeypatch,
        DatabaseError("/x/app.db is corrupt", code="database-corrupt", why="page 3\nand 4", fix="restore"),
    )
    assert run(["check"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error[database-corrupt]: /x/app.db is corrupt",
        "  page 3",
        "  and 4",
        "fix: restore",
    ]


def test_with_json_the_error_is_the_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stdout holds exactly one document also when a command fails, and people still read it on stderr."""
    failing(monkeypatch, DatabaseError("it is corrupt", code="database-corrupt", why="a", fix="b"))
    assert run(["check", "--json"]) == 2
    captured = capsys.readouterr()
    error = {"code": "database-corrupt", "what": "it is corrupt", "why": "a", "fix": "b"}
    assert json.loads(captured.out) == {"schema_version": 1, "error": error}
    assert "error[database-corrupt]" in captured.err


def test_apply_answers_in_its_own_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads `apply --json` finds the same keys whether it worked or not."""
    failing(monkeypatch, DatabaseError("no", code="database-missing"))
    assert run(["apply", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["outcome"] == "failed"
    assert document["error"]["code"] == "database-missing"
    assert document.keys() == {
        "schema_version",
        "outcome",
        "operations",
        "duration_ms",
        "migration_id",
        "plan_id",
        "backup",
        "held",
        "blocked",
        "error",
    }


@pytest.mark.parametrize(("command", "code"), [("apply", 1), ("check", 2), ("plan", 2), ("history", 2)])
def test_a_busy_database_is_one_for_apply(
    command: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An apply that was locked out may be tried again, which is exit code 1; a report that could not be made is 2."""
    failing(monkeypatch, BusyError("busy", code="database-busy"))
    assert run([command]) == code
    assert "error[database-busy]: busy" in capsys.readouterr().err


def test_a_bug_is_called_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception that nobody foresaw shows its type, no traceback, and how to get one."""
    failing(monkeypatch, ZeroDivisionError("division by \x1b[31mzero"))
    assert run(["check", "--target", "my web"]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        r"error[internal]: ZeroDivisionError: division by \x1b[31mzero",
        "  this is a bug in driftd, not in your models or your database",
        "fix: run `driftd --debug check --target 'my web'` and report the traceback that it shows",
    ]
    failing(monkeypatch, ZeroDivisionError("again"))
    assert run(["check", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "internal"


@pytest.mark.parametrize("arguments", [["--debug", "check"], ["check", "--debug"]])
def test_debug_shows_the_traceback(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--debug, before or behind the command, lets a bug through and shows where an error was raised."""
    failing(monkeypatch, ZeroDivisionError("here"))
    with pytest.raises(ZeroDivisionError):
        run(arguments)
    failing(monkeypatch, DatabaseError("no", code="database-missing"))
    assert run(arguments) == 2
    assert "Traceback" in capsys.readouterr().err


def test_debug_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """DRIFTD_DEBUG=1 does what --debug does, 0 does not."""
    failing(monkeypatch, ZeroDivisionError("here"))
    monkeypatch.setenv("DRIFTD_DEBUG", "0")
    assert run(["check"]) == 2
    monkeypatch.setenv("DRIFTD_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["check"])


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Control-C ends a command with the shell's number for it, without a traceback."""
    failing(monkeypatch, KeyboardInterrupt())
    assert run(["check"]) == 130
    assert capsys.readouterr().err.split() == ["interrupted"]


def test_a_usage_error_is_a_document_as_well(tmp_path: Path) -> None:
    """A program that passes a wrong option reads that in JSON too."""
    done = run_driftd("check", "--nope", "--json", folder=tmp_path)
    assert done.code == 2
    assert done.document["error"]["code"] == "usage"
    assert "No such option" in done.err


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """`driftd explain | head -1` ends quietly, however much is left to write."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "driftd", "explain"],
            cwd=tmp_path,
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_names_that_the_terminal_cannot_show_do_not_end_a_command(tmp_path: Path) -> None:
    """On an ASCII terminal other letters are escaped instead of raising."""
    config = '[targets.t]\nurl = "データ.db"\nmodels = ["m:B"]\n'
    (tmp_path / "driftd.toml").write_text(config, encoding="utf-8")
    done = run_driftd("config", "show", folder=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.code == 0
    assert r"\u30c7" in done.out


def test_errors_of_a_configuration_are_shown_escaped(tmp_path: Path) -> None:
    """A file from somewhere else cannot move the cursor of whoever reads about its mistakes."""
    (tmp_path / "driftd.toml").write_text('[targets.t]\nurl = "a.db"\nmodels = ["m:B"]\n"x\\u001b[2J" = 1\n')
    done = run_driftd("config", "show", folder=tmp_path)
    assert done.code == 2
    assert "\x1b" not in done.err
    assert r"targets.t.x\x1b[2J is no setting" in done.err
