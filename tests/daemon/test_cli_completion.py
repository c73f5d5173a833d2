"""The shell completes commands, and the migrations and operations that the database's history has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from command_line import driftd
from support.sidecars import execute

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = '[targets.app]\nurl = "sqlite:///app.db"\nmodels = ["models.sql"]\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A database with a migration of two operations."""
    (tmp_path / "driftd.toml").write_text(CONFIGURATION)
    (tmp_path / "models.sql").write_text("CREATE TABLE task (id INTEGER PRIMARY KEY, a TEXT, b INTEGER);\n")
    execute(tmp_path / "app.db", "CREATE TABLE task (id INTEGER PRIMARY KEY)")
    assert driftd("apply", folder=tmp_path).code == 0
    return tmp_path


def completed(folder: Path, line: str, **environment: str) -> list[str]:
    """What bash would offer behind this line; a space at its end begins a new word."""
    words = line.split(" ")
    done = driftd(
        folder=folder,
        _DRIFTD_COMPLETE="bash_complete",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        **environment,
    )
    assert done.err == ""
    return [one.partition(",")[2] for one in done.out.splitlines() if one]


def migration(folder: Path) -> str:
    (found,) = [
        one["migration_id"] for one in driftd("history", "--json", folder=folder).document["migrations"]
    ]
    return str(found)


def test_commands_and_options_are_completed(project: Path) -> None:
    """By their beginning."""
    assert completed(project, "driftd ro") == ["rollback"]
    assert completed(project, "driftd rollback --op") == ["--operation"]


def test_migrations_are_completed(project: Path) -> None:
    """Behind `rollback` and `history`, also of the target that a variable names; one that does not fit is not offered."""
    known = migration(project)
    assert completed(project, "driftd rollback ") == [known]
    assert completed(project, f"driftd rollback {known[:6]}") == [known]
    assert completed(project, "driftd rollback x") == []
    assert known in completed(project, "driftd history ")
    assert "verify" in completed(project, "driftd history ")


def test_operations_are_completed(project: Path) -> None:
    """The numbers of the migration that is named, else of the last one."""
    assert completed(project, f"driftd rollback {migration(project)} --operation ") == ["1", "2"]
    assert completed(project, "driftd rollback --operation ") == ["1", "2"]


def test_where_nothing_can_be_told_nothing_is_said(tmp_path: Path) -> None:
    """No configuration of one's own, a broken one, no database: an empty list, and no error in the middle of a line."""
    assert completed(tmp_path, "driftd rollback ") == []
    (tmp_path / "driftd.toml").write_text("[targets")
    assert completed(tmp_path, "driftd rollback ") == []
    (tmp_path / "driftd.toml").write_text(CONFIGURATION)
    assert completed(tmp_path, "driftd rollback --operation ") == []
