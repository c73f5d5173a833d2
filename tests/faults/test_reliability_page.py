"""docs/reliability.md names the tests that hold each promise: they are all there, and none is missing on the page."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(test_[\w*]+(?:\.py)?)`", PAGE))


def test_every_test_on_the_page_is_there() -> None:
    """Files, with and without a star, and functions."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py")}
    functions = {name for text in sources.values() for name in re.findall(r"def (test_\w+)\(", text)}
    assert NAMED
    missing = {
        name for name in NAMED if not (list(HERE.glob(name)) if name.endswith(".py") else {name} <= functions)
    }
    assert missing == set()


def test_every_file_of_this_folder_is_on_the_page() -> None:
    """Whoever adds an attack says which promise it is for."""
    held = {path for name in NAMED if name.endswith(".py") for path in HERE.glob(name)}
    assert {path.name for path in set(HERE.glob("test_*.py")) - held} == {Path(__file__).name}
