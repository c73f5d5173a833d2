"""SQL over many columns at once, as a tree that stays low: SQLite refuses one of more than 1,000 levels.

A chain of terms is a level for each of them, and a table may have 2,000 columns:
https://www.sqlite.org/limits.html#max_expr_depth. Halved again and again it has eleven.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CHAIN = 8  # terms that may stand in one row: a plan of a person's size reads as it always did


def any_of(terms: Sequence[str]) -> str:
    """True where one of the terms is; "0" where there are none."""
    return _halved(terms, " OR ") if terms else "0"


def all_of(terms: Sequence[str]) -> str:
    """True where all of the terms are; "1" where there are none."""
    return _halved(terms, " AND ") if terms else "1"


def joined(terms: Sequence[str], separator: str) -> str:
    """Texts put together with a separator between them."""
    return _halved(terms, f" || {separator} || ") if terms else "''"


def _halved(terms: Sequence[str], word: str) -> str:
    if len(terms) <= CHAIN:
        return word.join(terms)
    middle = len(terms) // 2
    return f"({_halved(terms[:middle], word)}){word}({_halved(terms[middle:], word)})"
