"""Every code of an operation has its paragraphs in docs/operations.md, and they say how to go on."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from driftd.explain import explain, explanations

ENGINE = Path(__file__).parents[2] / "engine" / "driftengine"
# Where operations are judged; what stands there in kebab case is a code, or one of the few below.
JUDGING = ("risk.py", "plan.py", "renames.py", "suspicion.py", "operations.py")
NO_CODES = {"plan-stale", "approval-unknown"}  # errors; the test of all errors knows them


def written_codes() -> set[str]:
    """The codes that are written out in the modules that judge."""
    found: set[str] = set()
    for name in JUDGING:
        tree = ast.parse((ENGINE / name).read_text(encoding="utf-8"))
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        found |= {one for one in texts if isinstance(one, str) and re.fullmatch(r"[a-z]+(-[a-z]+)+", one)}
    return found - NO_CODES


def written_kinds() -> set[str]:
    """The kinds of operations that are written out there: a kind without a code of its own is its code."""
    tree = ast.parse((ENGINE / "risk.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    made = [
        node
        for node in calls
        if isinstance(node.func, ast.Name) and node.func.id in {"_safe", "_guarded", "_held"}
    ]
    kinds = {node.args[0].value for node in made if isinstance(node.args[0], ast.Constant)}
    return {str(kind).replace("_", "-") for kind in kinds}


def test_every_code_that_is_written_is_explained() -> None:
    """Holds, conflicts, renames, rollbacks: nobody meets a code without its paragraphs."""
    known = {one.code for one in explanations()}
    assert (written_codes() | written_kinds()) - known == set()


def test_the_scan_finds_codes() -> None:
    """The test above would hold of nothing, were the scan wrong."""
    assert {
        "changed-in-database",
        "extra-constraint",
        "rolled-back",
        "rename-suspected",
    } <= written_codes()
    assert {"drop-column", "change-type", "set-not-null", "add-column"} <= written_kinds()


HELD = (
    "drop-table", "drop-virtual-table", "drop-column", "change-generated", "change-primary-key", "change-storage",
    "extra-constraint", "changed-in-database", "conflict", "rolled-back",
)  # fmt: skip


@pytest.mark.parametrize("code", HELD)
def test_what_is_held_says_how_to_go_on(code: str) -> None:
    """What is risky about it, and the command that approves it."""
    text = " ".join(explain(code).text.split())
    assert "held" in text
    assert "driftd apply --approve ID" in text


@pytest.mark.parametrize("code", ["extra-constraint", "changed-in-database", "conflict"])
def test_what_was_done_by_hand_may_stay_or_go(code: str) -> None:
    """Both ways are named, ready to type."""
    text = " ".join(explain(code).text.split())
    assert "driftd adopt TABLE.NAME" in text
    assert "driftd revert TABLE.NAME" in text
