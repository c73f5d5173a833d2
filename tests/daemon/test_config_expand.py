"""References to environment variables in the strings of a configuration."""

from __future__ import annotations

import pytest

from driftd.config.expand import expand


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${SET}", "value"),
        ("a${SET}b${SET}c", "avaluebvaluec"),
        ("${SET:-other}", "value"),
        ("${UNSET:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}", ""),
        ("${UNSET:-}", ""),
        ("${UNSET:-${SET}/x}", "value/x"),
        ("${UNSET:-${ALSO:-.}/y}/z", "./y/z"),
        ("${SET:-${NEVER}}", "value"),
        ("$$SET and $${SET}", "$SET and ${SET}"),
        ("5$ or $x", "5$ or $x"),
        ("${UNSET:-a}b}", "ab}"),
    ],
)
def test_references_are_replaced(text: str, expected: str) -> None:
    """A reference gives the variable, its default, or a literal dollar; defaults nest and are looked at only in need."""
    assert expand(text, {"SET": "value", "EMPTY": ""}) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("${UNSET}", "UNSET is not set"),
        ("x${UNSET:-${DEEPER}}", "DEEPER is not set"),
        ("${OPEN", "never closed"),
        ("${OPEN:-${INNER}", "never closed"),
        ("${}", "is not understood"),
        ("${1X}", "is not understood"),
        ("${SET-old}", "is not understood"),
    ],
)
def test_wrong_references_say_what_is_wrong(text: str, told: str) -> None:
    """An undefined variable without a default, and what is no reference at all, are errors that name the culprit."""
    with pytest.raises(ValueError, match=told):
        expand(text, {"SET": "value"})
