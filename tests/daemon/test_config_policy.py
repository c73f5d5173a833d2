"""Policies: every code of an operation may be named, and what names nothing is told with the nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from command_line import driftd
from driftd.doctor.policies import unknown
from driftd.explain import operation_codes
from support.sidecars import execute

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = (
    '[targets.app]\nurl = "sqlite:///app.db"\nmodels = ["models.sql"]\n\n[targets.app.policy]\n{}\n'
)


def configured(folder: Path, *lines: str) -> Path:
    """A project whose policy has these lines."""
    (folder / "driftd.toml").write_text(CONFIGURATION.format("\n".join(lines)))
    (folder / "models.sql").write_text("CREATE TABLE task (id INTEGER PRIMARY KEY, a TEXT);\n")
    execute(folder / "app.db", "CREATE TABLE task (id INTEGER PRIMARY KEY)", "CREATE TABLE other (x)")
    return folder


def test_every_code_may_be_named(tmp_path: Path) -> None:
    """Each that an operation of a plan can have; those of errors are none of them."""
    assert {"drop-column", "rolled-back", "changed-in-database", "add-unique"} <= set(operation_codes())
    assert "database-busy" not in operation_codes()
    configured(tmp_path, *(f'"{code}" = "hold"' for code in operation_codes()))
    assert driftd("check", folder=tmp_path).err == ""


@pytest.mark.parametrize(
    ("written", "meant"),
    [("drop-colum", "drop-column"), ("drop_column", "drop-column"), ("Add-Colunm", "add-column")],
)
def test_a_misspelt_code_is_a_mistake(tmp_path: Path, written: str, meant: str) -> None:
    """With its line, and the code that was probably meant."""
    configured(tmp_path, f'"{written}" = "allow"')
    done = driftd("check", folder=tmp_path)
    assert done.code == 2
    assert (
        f'line 6: targets.app.policy.{written} is no code of an operation; did you mean "{meant}"?'
        in done.err
    )


def test_a_wrong_word_is_a_mistake(tmp_path: Path) -> None:
    """A policy is one of three."""
    configured(tmp_path, '"drop-column" = "alow"')
    assert (
        'expected one of hold, allow, ignore; did you mean "allow"?' in driftd("check", folder=tmp_path).err
    )


def test_doctor_tells_of_a_policy_for_nothing(tmp_path: Path) -> None:
    """A table of the models, or one that only the database has, in any case of letters, is something; a misspelt one is not."""
    configured(tmp_path, 'TASK = "hold"', 'other = "ignore"', 'tusk = "hold"')
    findings = driftd("doctor", "--json", folder=tmp_path).document["findings"]
    (finding,) = [one for one in findings if one["code"] == "policy-unknown"]
    assert finding["severity"] == "warning"
    assert finding["what"] == "the policy for tusk speaks of nothing"
    assert finding["why"].endswith("; the nearest is task")


def test_codes_and_tables_are_known_in_any_case() -> None:
    """As the engine takes them."""
    assert unknown(["DROP-COLUMN", "Task", "nothing"], ["task"]) == ["nothing"]
