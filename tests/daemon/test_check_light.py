"""What a cold check of a database in sync does not import: its whole time is the start of a process."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import pytest

from command_line import driftd
from settled import settle

if TYPE_CHECKING:
    from pathlib import Path

MODELS = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT);"
# Each takes milliseconds, and is for where there is drift, a mistake, or a terminal.
ASIDE = {
    "difflib", "driftengine.changes", "driftengine.diff", "driftengine.renames", "driftengine.schema",
    "driftengine.survey", "rich", "shutil", "sqlalchemy", "textwrap",
}  # fmt: skip
TARGET = ("--url", "sqlite:///app.db", "--models", "models.sql")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_remembered_answer_imports_no_comparison(tmp_path: Path, form: tuple[str, ...]) -> None:
    """Nothing has moved since the last check: nothing is imported that compares, corrects a typist, or wraps lines."""
    (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")
    # With the variable each time: models may read it, so another value would ask them anew.
    run = partial(driftd, folder=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert run("apply", *TARGET).code == 0
    settle(tmp_path)
    assert run("check", *TARGET).code == 0
    done = run("check", *form, *TARGET)
    assert done.code == 0
    imported = set(re.findall(r"\|\s+([\w.]+)$", done.err, re.MULTILINE))
    assert "driftengine.remembered_answer" in imported
    assert sorted(imported & ASIDE) == []
