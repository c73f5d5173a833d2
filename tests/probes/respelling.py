"""DDL spelled otherwise, token by token: quotes, case, gaps, comments and parentheses, with the same meaning."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.tokens import KEYWORDS, Token, fold, tokenize, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

_GAPS = ("\n", " /* ) , ( */ ", "\t", " -- ' it\n  ", "  ")
_BLANKS = ("\n", "\t", "  ")
_NEVER_QUOTED = frozenset({"TRUE", "FALSE"})


def respelled(sql: str, names: frozenset[str], turn: int) -> str:
    """One statement in another spelling. `names` are the folded names of everything in the schema; `turn` tells spellings apart."""
    tokens = tokenize(sql)
    kind = tokens[1].text.upper()
    if kind == "VIRTUAL":  # what stands behind USING is read by the module, each in its own way
        head = tokens[2].end
        return sql[:head].swapcase() + sql[head:]
    doubled = set(_around_checks(tokens))
    gaps, blanks = cycle(_GAPS[turn % 5 :] + _GAPS[: turn % 5]), cycle(_BLANKS)
    styles = cycle([*"q[s`qs["[turn % 7 :], *"bq`"])
    out: list[str] = []
    for at, token in enumerate(tokens):
        before = tokens[at - 1].text.upper() if at else ""
        # SQLite takes GENERATED ALWAYS apart from a type only where white space alone stands between the two words.
        plain = before == "GENERATED" and token.text.upper() == "ALWAYS"
        out.append(next(blanks) if plain else next(gaps))
        if before == "DEFAULT":
            out.append(token.text)  # a bare word is a text there
        else:
            out.append(_spelled(token, names, next(styles), sure=kind not in {"VIEW", "TRIGGER"}))
        if at in doubled:
            out.append(token.text)
    return "".join(out).strip()


def _spelled(token: Token, names: frozenset[str], style: str, *, sure: bool) -> str:
    if token.kind == "quoted" and fold(unquote(token.text)) in names:
        return _quoted(unquote(token.text), style, sure=sure)
    if token.kind != "word":
        return token.text
    word = token.text.upper()
    if fold(token.text) in names and word not in KEYWORDS | _NEVER_QUOTED:
        return _quoted(token.text, style, sure=sure)
    return token.text.lower() if style in "q[" else word if style == "s" else token.text.swapcase()


def _quoted(name: str, style: str, *, sure: bool) -> str:
    """The name in one of SQLite's quotes, its ASCII letters in another case.

    In a query (not `sure`) a word in double quotes may be a text, and so its case counts.
    """
    other = "".join(letter.swapcase() if letter.isascii() else letter for letter in name)
    if style == "[" and "]" not in name:
        return f"[{other}]"
    if style == "`":
        return "`" + other.replace("`", "``") + "`"
    return '"' + (other if sure else name).replace('"', '""') + '"'


def _around_checks(tokens: tuple[Token, ...]) -> Iterator[int]:
    """Where the parentheses of each CHECK open and close: a second pair says nothing."""
    for at, token in enumerate(tokens):
        if token.kind == "word" and token.text.upper() == "CHECK" and tokens[at + 1].text == "(":
            depth = 0
            for end in range(at + 1, len(tokens)):
                depth += {"(": 1, ")": -1}.get(tokens[end].text, 0)
                if not depth:
                    yield from (at + 1, end)
                    break
