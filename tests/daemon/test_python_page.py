"""docs/python.md: its examples compile, and it names every argument, field and key that there is."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import driftd
from driftd.auto_migration_health import no_health, no_rollback, no_status

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(\w+)[`(]", PAGE))


def test_its_examples_are_python() -> None:
    """Each block compiles, and what it uses of driftd is there."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        used = [
            node.attr
            for node in ast.walk(ast.parse(block))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "driftd"
        ]
        assert set(used) <= set(driftd.__all__)


@pytest.mark.parametrize("record", [driftd.Answer, driftd.MigrationResult, driftd.BackupInfo])
def test_every_field_is_explained(record: type) -> None:
    """Of the answer, of a result and of a backup."""
    assert {one.name for one in dataclasses.fields(record)} <= NAMED


def test_every_key_is_explained() -> None:
    """Of status, health and rollback, those of an error among them."""
    for document in (no_status("", ""), no_health("", ""), no_rollback("")):
        assert set(document) <= NAMED


@pytest.mark.parametrize("door", [driftd.startup_window, driftd.async_startup_window])
def test_both_doors_take_the_arguments_that_it_lists(door: object) -> None:
    """With the defaults that it shows."""
    assert callable(door)
    parameters = inspect.signature(door).parameters
    shown = ", ".join(f"{one.name}={one.default!r}" for one in parameters.values())
    assert f"({shown.replace('url=None, ', 'url=None, *, ')})" in PAGE
    assert set(parameters) <= NAMED
