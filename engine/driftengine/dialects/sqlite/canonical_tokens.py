"""The canonical spelling of single tokens, and of sequences of them that no grammar is applied to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.tokens import KEYWORDS, Token, fold, quote, unquote

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN_NAME = re.compile(r"[a-z_\x80-\U0010FFFF][a-z0-9_$\x80-\U0010FFFF]*")
_NAME_FOLLOWS = frozenset({"FROM", "JOIN", "INTO", "UPDATE"})
#: What stands behind a trigger's table; ON alone may begin a join's condition.
_TRIGGER_TABLE_ENDS = frozenset({"BEGIN", "FOR", "WHEN"})
#: Words that mean something else, or may, when they stand bare.
_NEVER_BARE = KEYWORDS | {"TRUE", "FALSE"}
#: Keywords that are functions too: https://sqlite.org/lang_corefunc.html.
_FUNCTIONS = frozenset({"GLOB", "IF", "LIKE", "MATCH", "REGEXP", "REPLACE"})


def canonical_name(name: Token | str, *, is_function: bool = False) -> str:
    """The folded name; quoted only where it could not stand bare. A function's name may be any word."""
    folded = fold(unquote(name.text) if isinstance(name, Token) else name)
    word = folded.upper()
    if _PLAIN_NAME.fullmatch(folded) and (word not in _NEVER_BARE or (is_function and word in _FUNCTIONS)):
        return folded
    return quote(folded)


def canonical_number(text: str) -> str:
    """The number in lower case, without digit separators."""
    return text.lower().replace("_", "")


def canonical_string(value: str) -> str:
    """The value as a string literal."""
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


def resolves_to_string(token: Token, columns: frozenset[str]) -> bool:
    """True for a word in double quotes that is no column: SQLite then takes it for a string.

    https://sqlite.org/quirks.html#double_quoted_string_literals_are_accepted. Other quotes never do that.
    """
    return token.text[0] == '"' and fold(unquote(token.text)) not in columns


def canonical_text(tokens: Sequence[Token], columns: frozenset[str] | None = None) -> str:
    """The tokens in canonical spelling, one space between them; every parenthesis stays.

    With `columns`, a double-quoted word that is none of them is a string. Without, nobody can tell: a word in double
    quotes keeps its case unless its place says that it is a name, so that no two different strings look the same.
    """
    words = []
    for at, token in enumerate(tokens):
        match token.kind:
            case "word":
                word = token.text.upper()
                words.append(word if word in KEYWORDS else fold(token.text))
            case "quoted":
                named = _is_surely_name(tokens, at)
                words.append(_canonical_quoted(token, columns, named=named))
            case "number":
                words.append(canonical_number(token.text))
            case "blob":
                words.append(token.text.upper())
            case "operator":
                words.append({"==": "=", "!=": "<>"}.get(token.text, token.text))
            case _:
                words.append(token.text)
    return " ".join(words)


def _canonical_quoted(token: Token, columns: frozenset[str] | None, *, named: bool) -> str:
    if not named:
        if columns is None and token.text[0] == '"' and unquote(token.text) != fold(unquote(token.text)):
            return token.text
        if columns is not None and resolves_to_string(token, columns):
            return canonical_string(unquote(token.text))
    return canonical_name(token)


def _is_surely_name(tokens: Sequence[Token], at: int) -> bool:
    """True beside a dot, before a parenthesis, and where a table's name stands."""
    before = tokens[at - 1].text.upper() if at else ""
    after = tokens[at + 1].text if at + 1 < len(tokens) else ""
    return (
        before == "."
        or before in _NAME_FOLLOWS
        or after in {".", "("}
        or (before == "ON" and after.upper() in _TRIGGER_TABLE_ENDS)
    )
