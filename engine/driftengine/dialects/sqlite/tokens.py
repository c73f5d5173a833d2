"""SQLite's lexical rules: tokens, names, literals and keywords.

The rules are those of https://sqlite.org/lang_keywords.html, https://sqlite.org/lang_comment.html and
https://sqlite.org/lang_expr.html#literal_values_constants_.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from driftengine.changes import folded

#: Every keyword of https://sqlite.org/lang_keywords.html.
KEYWORDS = frozenset(
    """
    ABORT ACTION ADD AFTER ALL ALTER ALWAYS ANALYZE AND AS ASC ATTACH AUTOINCREMENT BEFORE BEGIN BETWEEN BY CASCADE
    CASE CAST CHECK COLLATE COLUMN COMMIT CONFLICT CONSTRAINT CREATE CROSS CURRENT CURRENT_DATE CURRENT_TIME
    CURRENT_TIMESTAMP DATABASE DEFAULT DEFERRABLE DEFERRED DELETE DESC DETACH DISTINCT DO DROP EACH ELSE END ESCAPE
    EXCEPT EXCLUDE EXCLUSIVE EXISTS EXPLAIN FAIL FILTER FIRST FOLLOWING FOR FOREIGN FROM FULL GENERATED GLOB GROUP
    GROUPS HAVING IF IGNORE IMMEDIATE IN INDEX INDEXED INITIALLY INNER INSERT INSTEAD INTERSECT INTO IS ISNULL JOIN
    KEY LAST LEFT LIKE LIMIT MATCH MATERIALIZED NATURAL NO NOT NOTHING NOTNULL NULL NULLS OF OFFSET ON OR ORDER
    OTHERS OUTER OVER PARTITION PLAN PRAGMA PRECEDING PRIMARY QUERY RAISE RANGE RECURSIVE REFERENCES REGEXP REINDEX
    RELEASE RENAME REPLACE RESTRICT RETURNING RIGHT ROLLBACK ROW ROWS SAVEPOINT SELECT SET TABLE TEMP TEMPORARY THEN
    TIES TO TRANSACTION TRIGGER UNBOUNDED UNION UNIQUE UPDATE USING VACUUM VALUES VIEW VIRTUAL WHEN WHERE WINDOW
    WITH WITHIN WITHOUT
    """.split()  # noqa: SIM905  # a table of words, not 147 lines
)

#: The keywords that SQLite never takes for a bare name; all others it does ("fallback" in its grammar).
RESERVED = frozenset(
    """
    ADD ALL ALTER AND AS AUTOINCREMENT BETWEEN CASE CHECK COLLATE COMMIT CONSTRAINT CREATE DEFAULT DEFERRABLE DELETE
    DISTINCT DROP ELSE ESCAPE EXCEPT EXISTS FOREIGN FROM GROUP HAVING IN INDEX INSERT INTERSECT INTO IS ISNULL JOIN
    LIMIT NOT NOTHING NOTNULL NULL ON OR ORDER PRIMARY REFERENCES RETURNING SELECT SET TABLE THEN TO TRANSACTION
    UNION UNIQUE UPDATE USING VALUES WHEN WHERE
    """.split()  # noqa: SIM905  # a table of words, not 147 lines
)

_NAME_CHARACTER = r"A-Za-z0-9_$\x80-\U0010FFFF"

# White space and comments lead each token, so that one match finds one token. A byte order mark counts as white space
# only where a token may begin; a block comment may end with the text. The number is an atomic group: `1.a` must fail
# rather than fall back to `1`.
_SPACE = r"(?: [ \t\n\f\r\ufeff]+ | --[^\n]* | /\*(?=.)(?:.*?\*/|.*) )*+"
_TOKEN = re.compile(
    rf"""
    {_SPACE}
    (?:
        (?P<word>     (?![xX]') [A-Za-z_\x80-\U0010FFFF][{_NAME_CHARACTER}]* )
      | (?P<operator> ->>?|<=|<>|<<|>=|>>|==|!=|\|\||[-+*/%=<>&|~(),;]|\.(?![0-9]) )
      | (?P<quoted>   "[^"]*(?:""[^"]*)*+" | `[^`]*(?:``[^`]*)*+` | \[[^\]]*\] )
      | (?P<string>   '[^']*(?:''[^']*)*+' )
      | (?P<number>   (?> 0[xX][0-9a-fA-F]+(?:_[0-9a-fA-F]+)*
                        | (?: [0-9]+(?:_[0-9]+)* (?:\.(?:[0-9]+(?:_[0-9]+)*)?)? | \.[0-9]+(?:_[0-9]+)* )
                          (?:[eE][+-]?[0-9]+(?:_[0-9]+)*)? ) (?![{_NAME_CHARACTER}]) )
      | (?P<blob>     [xX]'(?:[0-9a-fA-F]{{2}})*' )
      | (?P<variable> \?[0-9]* | [$@\#:][{_NAME_CHARACTER}:]+ )
      | \Z
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_LEADING = re.compile(_SPACE, re.VERBOSE | re.DOTALL)


class UnreadableSQL(ValueError):  # noqa: N818  # named for what it says of the text, like UnicodeError's kin
    """A text that is not understood. `reason` says what was met, `offset` where it stands."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} at offset {offset}")
        self.reason = reason
        self.offset = offset


class Token(NamedTuple):
    """One token: `text` is `sql[start:end]`.

    `kind` is `word` (a bare name or keyword), `quoted` (`"x"`, `` `x` ``, `[x]`), `string` (`'x'`), `number`, `blob`
    (`x'00'`), `operator` (punctuation too) or `variable`.
    """

    kind: str
    text: str
    start: int
    end: int


def tokenize(sql: str) -> tuple[Token, ...]:
    """The tokens of a text, white space and comments left out. Raises UnreadableSQL where there is no token."""
    tokens = []
    position = 0
    for match in _TOKEN.finditer(sql):
        # finditer searches: a gap means that something stands there which is no token.
        if match.start() != position:
            break
        position = match.end()
        kind = match.lastgroup
        if kind is not None:
            tokens.append(Token(kind, match.group(kind), match.start(kind), position))
    if position != len(sql):
        space = _LEADING.match(sql, position)
        raise UnreadableSQL("no SQL token begins", position if space is None else space.end())
    return tuple(tokens)


def unquote(text: str) -> str:
    """The name or string inside the quotes of any style; a bare word is itself."""
    mark = text[:1]
    if mark and mark in "\"'`":
        return text[1:-1].replace(mark * 2, mark)
    return text[1:-1] if mark == "[" else text


fold = folded  # two names are the same for SQLite when this is equal


def quote(name: str) -> str:
    """The name as an SQL identifier, always in double quotes."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def literal(value: str | float | bytes | None) -> str:
    """The value as an SQL literal. Raises ValueError for an integer that SQLite cannot store.

    A string with a NUL character becomes an expression in parentheses: SQL text ends at the first one. NaN is NULL,
    as SQLite stores it.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex().upper()}'"
    if isinstance(value, str):
        escaped = value.replace("'", "''")
        return "('" + escaped.replace("\0", "'||char(0)||'") + "')" if "\0" in value else f"'{escaped}'"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ("9e999" if value > 0 else "-9e999")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{value} does not fit into SQLite's 64 bits")
    return str(int(value))
