"""SQL expressions as SQLite understands them: what they mean, what they read, and how to point them elsewhere.

Two texts that mean the same have the same canonical form; the form is SQL again, and means what the text means.
"""

from __future__ import annotations

from functools import lru_cache

from driftengine.dialects.sqlite.canonical_tokens import canonical_text
from driftengine.dialects.sqlite.cursor import Cursor
from driftengine.dialects.sqlite.expression_parser import ExpressionParser, Piece
from driftengine.dialects.sqlite.tokens import UnreadableSQL, fold, tokenize, unquote

_NAMES = frozenset({"word", "quoted", "string"})


@lru_cache(maxsize=16384)
def canonical(sql: str, *, columns: frozenset[str], table: str = "") -> str:
    """The canonical form of an expression.

    White space, comments, the case of keywords and names, quoting, redundant parentheses, the two spellings of = and
    <>, and a qualifier that names `table` itself make no difference. `columns` are folded names; a double-quoted word
    that is none of them is a string. What the grammar does not cover is compared token by token. Raises UnreadableSQL
    only for text that is no sequence of tokens.
    """
    piece = _parsed(sql, columns, table)
    return canonical_text(tokenize(sql), columns) if piece is None else piece.text


@lru_cache(maxsize=4096)
def canonical_statement(text: str) -> str:
    """The canonical form of a view's or trigger's text, token by token. Raises UnreadableSQL.

    Keywords are in upper case and names folded; a quoted name that could be a keyword keeps its quotes.
    """
    tokens = tokenize(text)
    while tokens and tokens[-1].text == ";":
        tokens = tokens[:-1]
    return canonical_text(tokens)


def canonical_condition(text: str) -> str:
    """The canonical form of a trigger's condition. Raises UnreadableSQL.

    Nobody knows the columns that its queries read, and a word in double quotes may then be a name or a string: such a
    condition is compared token by token.
    """
    tokens = tokenize(text)
    unclear = any(
        token.text.upper() in {"SELECT", "VALUES", "WITH"}
        or (token.text[0] == '"' and not (at and tokens[at - 1].text == "."))
        for at, token in enumerate(tokens)
    )
    return canonical_text(tokens) if unclear else canonical(text, columns=frozenset())


def columns_read(
    sql: str,
    *,
    columns: frozenset[str],
    table: str = "",  # noqa: ARG001  # called as its siblings are; an alias may hide `table`, so none is left out
) -> frozenset[str]:
    """Which of `columns` (folded) the expression may read; rather one too many than one missed.

    A name before a parenthesis is a function, one before a dot a qualifier; a name counts
    whatever qualifies it. Raises UnreadableSQL for text that is no sequence of tokens.
    """
    tokens = tokenize(sql)
    found = set()
    for at, token in enumerate(tokens):
        after = tokens[at + 1].text if at + 1 < len(tokens) else ""
        qualified = at > 0 and tokens[at - 1].text == "."
        is_name = token.kind in {"word", "quoted"} or (token.kind == "string" and qualified)
        if is_name and after not in {"(", "."}:
            found.add(fold(unquote(token.text)))
    return columns & found


def in_list(sql: str, *, columns: frozenset[str], table: str = "") -> tuple[str, frozenset[str]] | None:
    """For `operand IN (literal, ...)`: the canonical operand and the canonical literals; None for all else.

    A list with NULL in it is None too: a CHECK with one refuses nothing.
    """
    piece = _parsed(sql, columns, table)
    if piece is None or piece.members is None or "NULL" in piece.members:
        return None
    return piece.operand, piece.members


def without_qualifier(sql: str, table: str) -> str:
    """The text with `table.` (or `schema.table.`) gone from every name that it qualifies; else byte for byte the same.

    Raises UnreadableSQL for text that is no sequence of tokens.
    """
    tokens = tokenize(sql)
    dots = [token.text == "." for token in tokens] + [False] * 4
    pieces = []
    copied = 0
    for at, token in enumerate(tokens):
        # In `a.b.c`, only b is a table; a is the name of a schema, and nothing without b.
        is_qualifier = dots[at + 1] and not dots[at + 3] and at + 2 < len(tokens)
        if is_qualifier and token.kind in _NAMES and fold(unquote(token.text)) == fold(table):
            start = tokens[at - 2] if at > 1 and dots[at - 1] else token
            pieces.append(sql[copied : start.start])
            copied = tokens[at + 2].start
    return "".join([*pieces, sql[copied:]])


@lru_cache(maxsize=16384)
def _parsed(sql: str, columns: frozenset[str], table: str) -> Piece | None:
    cursor = Cursor(sql)
    try:
        return ExpressionParser(cursor, columns, fold(table)).whole()
    except UnreadableSQL:
        return None
