"""`driftd explain`: every code has its paragraphs, in the docs and on the terminal."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from command_line import driftd
from driftd.explain import explain, explanations, parse
from driftd.states import STATES
from driftengine.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
# Codes as they are written where errors are raised: `code="..."`, and the probe's own failures.
WRITTEN = re.compile(r"""code="([a-z0-9-]+)"|(?:Failure|unloadable)\(\s*"([a-z0-9-]+)\"""")


def raised_codes() -> dict[str, str]:
    """Every code that the sources name, with a file that does."""
    found = {}
    for folder in ("engine", "daemon"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for match in WRITTEN.finditer(path.read_text(encoding="utf-8")):
                found[match[1] or match[2]] = path.name
    return found


def test_every_code_that_is_raised_is_explained() -> None:
    """Nobody meets a code that `driftd explain` does not know."""
    known = {one.code for one in explanations()}
    assert {code: name for code, name in raised_codes().items() if code not in known} == {}


def test_the_scan_of_the_sources_finds_codes() -> None:
    """The test above would hold of nothing, were the pattern wrong."""
    assert {"configuration-invalid", "database-busy", "models-syntax-error"} <= raised_codes().keys()


def test_every_operation_of_a_plan_is_explained() -> None:
    """Operations are named by what they do to which kind of object; each such name has its paragraphs."""
    whole = itertools.product(("create", "change", "drop"), ("index", "view", "trigger", "virtual-table"))
    constraints = itertools.product(("add", "change", "drop"), ("unique", "check", "foreign-key"))
    named = {f"{verb}-{thing}" for verb, thing in (*whole, *constraints)}
    aspects = (
        "default",
        "collation",
        "generated",
        "type",
        "autoincrement",
        "strict",
        "primary-key",
        "storage",
    )
    named |= {f"change-{aspect}" for aspect in aspects}
    named |= {"create-table", "drop-table", "add-column", "drop-column", "set-not-null", "drop-not-null"}
    named -= {"change-unique"}  # another UNIQUE is dropped and added
    assert named - {one.code for one in explanations()} == set()


@pytest.mark.parametrize("one", explanations(), ids=lambda one: one.code)
def test_every_explanation_is_whole(one: object) -> None:
    """Each tells what happened or is done, why, and what to do; and its first sentence stands alone."""
    text = one.text  # type: ignore[attr-defined]  # an Explanation; parametrize is typed as object
    assert re.search(r"^\*\*What\.\*\* ", text)
    assert re.search(r"^\*\*Why[^*]*\.\*\* ", text, re.MULTILINE)
    assert re.search(r"^\*\*What to do\.\*\* ", text, re.MULTILINE)
    assert one.summary.endswith((".", "?"))  # type: ignore[attr-defined]  # as above


def test_codes_stand_once() -> None:
    """No code is explained twice."""
    codes = [one.code for one in explanations()]
    assert len(codes) == len(set(codes))


def test_parsing_goes_by_second_level_headings() -> None:
    """Sections around the codes, and headings that are no codes, belong to none."""
    text = "# Codes\n\nintro\n\n## one-code\n\n**What.** A `b`.\nC.\n\n## Not a code\n\nx\n\n# Next\n\n## two\ntext.\n"
    found = parse(text)
    assert [(one.code, one.text) for one in found] == [("one-code", "**What.** A `b`.\nC."), ("two", "text.")]
    assert [one.summary for one in found] == ["A `b`.", "text."]


def test_a_code_is_explained(tmp_path: Path) -> None:
    """The paragraphs come wrapped, without Markdown's marks."""
    done = driftd("explain", "database-busy", folder=tmp_path)
    assert done.code == 0
    assert done.out.startswith("database-busy\n\nWhat. Another program held a lock")
    assert max(len(line) for line in done.out.splitlines()) <= 80
    assert "**" not in done.out
    document = driftd("explain", "database-busy", "--json", folder=tmp_path).document
    assert (document["code"], document["text"][:9]) == ("database-busy", "**What.**")


def test_without_a_code_all_are_listed(tmp_path: Path) -> None:
    """One line each, whole where stdout is no terminal."""
    done = driftd("explain", folder=tmp_path)
    assert [line.split()[0] for line in done.out.splitlines() if re.match(r"[a-z]+", line)] == [
        one.code for one in explanations()
    ]
    assert not [line for line in done.out.splitlines() if line.endswith("...")]
    assert len(driftd("explain", "--json", folder=tmp_path).document["codes"]) == len(explanations())


def test_states_and_outcomes_are_explained_as_people_write_them() -> None:
    """Every word that `status` or an outcome shows has its paragraphs, with underscores, hyphens or spaces."""
    outcomes = {"up_to_date", "migrated", "held", "blocked", "deferred", "failed", "unknown", "skipped"}
    for word in {*STATES, *outcomes}:
        assert explain(word) == explain(word.replace("_", " ")) == explain(word.replace("_", "-"))
    assert explain("In sync").code == "in_sync"
    # A lock has a code of its own, which says more.
    assert explain("database_busy").code == "database-busy"


def test_an_unknown_code_names_the_nearest(tmp_path: Path) -> None:
    """A misspelt code is an error that says what to type."""
    done = driftd("explain", "database-buzy", folder=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1] == "fix: driftd explain database-busy"
    with pytest.raises(ConfigurationError, match="no code is written like that"):
        explain("zzzzzzzz")
