"""SQLite's expression grammar: a precedence parser that writes the canonical text while it reads.

The operators, and which binds tighter, are those of https://sqlite.org/lang_expr.html#operators_and_parse_affecting_attributes.
What is read is never built as a tree: each operand is kept as its canonical text and the level at which it binds, and
whoever takes it as an operand puts parentheses around it only where they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from driftengine.dialects.sqlite.canonical_tokens import (
    canonical_name,
    canonical_number,
    canonical_string,
    canonical_text,
    resolves_to_string,
)
from driftengine.dialects.sqlite.tokens import RESERVED, fold, unquote

if TYPE_CHECKING:
    from collections.abc import Callable

    from driftengine.dialects.sqlite.cursor import Cursor

_OR, _AND, _NOT, _EQUAL, _COMPARE, _COLLATE, _UNARY, _PRIMARY = 1, 2, 3, 4, 5, 11, 12, 13

_BINARY: dict[str, tuple[int, str]] = {
    "OR": (_OR, "OR"),
    "AND": (_AND, "AND"),
    "=": (_EQUAL, "="),
    "==": (_EQUAL, "="),
    "<>": (_EQUAL, "<>"),
    "!=": (_EQUAL, "<>"),
    **dict.fromkeys(("<", "<=", ">", ">="), (_COMPARE, "")),
    **dict.fromkeys(("&", "|", "<<", ">>"), (7, "")),
    **dict.fromkeys(("+", "-"), (8, "")),
    **dict.fromkeys(("*", "/", "%"), (9, "")),
    **dict.fromkeys(("||", "->", "->>"), (10, "")),
}
_LIKE = frozenset({"LIKE", "GLOB", "REGEXP", "MATCH"})
_CURRENT = frozenset({"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP"})
_QUERIES = frozenset({"SELECT", "VALUES", "WITH"})

#: Deeper nesting is left to the token form, long before Python's own stack ends.
_MAX_DEPTH = 100


class Piece(NamedTuple):
    """A canonical operand: its text, and the level at which it binds (a higher one binds tighter).

    `negated` is the text with its own NOT (`a NOT IN (1)`), where there is such a form; SQLite reads `NOT a IN (1)`
    as the same. `operand` and `members` are those of `operand IN (members)`, the members only where all are literals.
    """

    text: str
    level: int = _PRIMARY
    negated: str = ""
    operand: str = ""
    members: frozenset[str] | None = None
    literal: bool = False


class ExpressionParser:
    """Reads the tokens under a cursor as one expression. `columns` are folded names, `table` too."""

    def __init__(self, cursor: Cursor, columns: frozenset[str], table: str) -> None:
        self._cursor = cursor
        self._columns = columns
        self._table = table
        self._depth = 0
        self._words: dict[str, Callable[[], Piece]] = {
            "(": self._group,
            "NOT": self._not,
            "CASE": self._case,
            "EXISTS": self._exists,
            "NULL": self._keyword,
            "+": self._sign,
            "-": self._sign,
            "~": self._sign,
        }

    def whole(self) -> Piece:
        """The expression that all tokens make. Raises UnreadableSQL."""
        piece = self._expression(_OR)
        if not self._cursor.ended:
            self._cursor.fail("the end of the expression")
        return piece

    def _expression(self, lowest: int) -> Piece:
        """An operand and every operator behind it that binds at `lowest` or tighter."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._cursor.fail("an expression nested less deeply")
        left = self._primary()
        while (more := self._continued(left, lowest)) is not None:
            left = more
        self._depth -= 1
        return left

    def _continued(self, left: Piece, lowest: int) -> Piece | None:
        """`left` with one more operator and its operand, or None where none follows."""
        cursor = self._cursor
        word = cursor.word
        if word in _BINARY:
            level, spelling = _BINARY[word]
            return self._binary(left, level, spelling or word) if level >= lowest else None
        if word == "COLLATE" and lowest <= _COLLATE:
            cursor.at += 1
            return Piece(f"{_at(left, _COLLATE)} COLLATE {canonical_name(cursor.name())}", _COLLATE)
        if lowest > _EQUAL:
            return None
        if word == "NOT":
            return self._negated(left)
        if cursor.accept("ISNULL"):
            return _null_test(left, "IS")
        if cursor.accept("NOTNULL"):
            return _null_test(left, "IS NOT")
        return self._is(left) if cursor.accept("IS") else self._positive(left)

    def _binary(self, left: Piece, level: int, operator: str) -> Piece:
        self._cursor.at += 1
        right = self._expression(level + 1)
        # AND and OR give the same whichever pair is taken first; every other operator goes from left to right.
        needed = level if level <= _AND else level + 1
        return Piece(f"{_at(left, level)} {operator} {_at(right, needed)}", level)

    def _positive(self, left: Piece) -> Piece | None:
        """BETWEEN, IN, LIKE and its kin."""
        cursor = self._cursor
        if cursor.accept("BETWEEN"):
            return self._between(left)
        if cursor.accept("IN"):
            return self._in(left)
        return self._like(left) if cursor.word in _LIKE else None

    def _negated(self, left: Piece) -> Piece | None:
        cursor = self._cursor
        start = cursor.at
        cursor.at += 1
        if cursor.accept("NULL"):
            return _null_test(left, "IS NOT")
        positive = self._positive(left)
        if positive is None:
            cursor.at = start
            return None
        return Piece(positive.negated, _EQUAL)

    def _is(self, left: Piece) -> Piece:
        cursor = self._cursor
        negative = cursor.accept("NOT")
        if cursor.accept("DISTINCT", "FROM"):
            negative = not negative
        right = self._expression(_COMPARE)
        operator = "IS NOT" if negative else "IS"
        return Piece(f"{_at(left, _EQUAL)} {operator} {_at(right, _COMPARE)}", _EQUAL)

    def _between(self, left: Piece) -> Piece:
        low = self._expression(_NOT)
        self._cursor.expect("AND")
        high = self._expression(_COMPARE)
        return _negatable(left, f"BETWEEN {_at(low, _COMPARE)} AND {_at(high, _COMPARE)}")

    def _like(self, left: Piece) -> Piece:
        operator = self._cursor.take().text.upper()
        right = _at(self._expression(_COMPARE), _COMPARE)
        if self._cursor.accept("ESCAPE"):
            escape = self._expression(_COMPARE)
            right = f"{right} ESCAPE {_at(escape, _COMPARE)}"
        return _negatable(left, f"{operator} {right}")

    def _in(self, left: Piece) -> Piece:
        cursor = self._cursor
        if cursor.word != "(":
            return _negatable(left, f"IN {self._table_name()}")
        if cursor.words[cursor.at + 1] in _QUERIES:
            return _negatable(left, f"IN {self._raw_group()}")
        cursor.at += 1
        members = [] if cursor.word == ")" else self._list()
        cursor.expect(")")
        literals = frozenset(member.text for member in members) if all(m.literal for m in members) else None
        if literals is not None:  # their order has no effect, and neither has one that stands there twice
            members = sorted({member.text: member for member in members}.values(), key=lambda m: m.text)
        piece = _negatable(left, f"IN ({_joined(members)})")
        return piece._replace(operand=left.text, members=literals)

    def _table_name(self) -> str:
        cursor = self._cursor
        name = canonical_name(cursor.name())
        while cursor.accept("."):
            name = f"{name}.{canonical_name(cursor.name())}"
        return f"{name}({_joined(self._arguments())})" if cursor.accept("(") else name

    def _primary(self) -> Piece:
        cursor = self._cursor
        handler = self._words.get(cursor.word)
        if handler is not None:
            return handler()
        token = cursor.take()
        if cursor.word in {"(", "."} and token.kind in {"word", "quoted", "string"}:
            cursor.at -= 1
            return self._function() if cursor.words[cursor.at + 1] == "(" else self._qualified()
        match token.kind:
            case "number":
                return Piece(canonical_number(token.text), literal=True)
            case "string":
                return Piece(token.text, literal=True)
            case "blob":
                return Piece(token.text.upper(), literal=True)
            case "variable":
                return Piece(token.text)
        cursor.at -= 1
        return self._bare()

    def _bare(self) -> Piece:
        """A name without qualifier, or a keyword that is a value."""
        cursor = self._cursor
        if cursor.word in _CURRENT:
            return self._keyword()
        if cursor.word in {"TRUE", "FALSE"} and fold(cursor.word) not in self._columns:
            return self._keyword()
        token = cursor.name()
        if resolves_to_string(token, self._columns):
            return Piece(canonical_string(unquote(token.text)), literal=True)
        return Piece(canonical_name(token))

    def _keyword(self) -> Piece:
        # CURRENT_TIME and its kin are no literals: what they give depends on the moment.
        text = self._cursor.take().text.upper()
        return Piece(text, literal=text not in _CURRENT)

    def _qualified(self) -> Piece:
        cursor = self._cursor
        names = [canonical_name(cursor.name())]
        while cursor.accept("."):
            names.append(canonical_name(cursor.name()))
        if self._table and len(names) > 1 and names[-2] == canonical_name(self._table):
            del names[:-1]
        return Piece(".".join(names))

    def _function(self) -> Piece:
        cursor = self._cursor
        if cursor.word in {"CAST", "RAISE"}:
            return self._cast() if cursor.word == "CAST" else self._raise()
        if cursor.word in RESERVED:
            cursor.fail("an operand")
        text = f"{canonical_name(cursor.name(), is_function=True)}("
        cursor.at += 1
        if cursor.accept("*"):
            cursor.expect(")")
            text += "*)"
        else:
            text += "DISTINCT " if cursor.accept("DISTINCT") else ""
            text += f"{_joined(self._arguments())})"
        return Piece(text + self._over())

    def _arguments(self) -> list[Piece]:
        """The arguments of a function, with the cursor behind the closing parenthesis."""
        cursor = self._cursor
        arguments = [] if cursor.word == ")" else self._list()
        cursor.expect(")")
        return arguments

    def _over(self) -> str:
        """FILTER and OVER behind a function; a window's definition stays a sequence of tokens."""
        cursor = self._cursor
        text = ""
        if cursor.words[cursor.at : cursor.at + 3] == ["FILTER", "(", "WHERE"]:
            cursor.at += 3
            text = f" FILTER (WHERE {self._expression(_OR).text})"
            cursor.expect(")")
        if cursor.word == "OVER" and cursor.words[cursor.at + 1] == "(":
            cursor.at += 1
            text += f" OVER {self._raw_group()}"
        elif cursor.word == "OVER" and cursor.is_name(cursor.at + 1):
            cursor.at += 1
            text += f" OVER {canonical_name(cursor.name())}"
        return text

    def _cast(self) -> Piece:
        cursor = self._cursor
        cursor.at += 2
        operand = self._expression(_OR)
        cursor.expect("AS")
        first = cursor.at
        while cursor.word != ")":
            if cursor.word == "(":
                cursor.parenthesised()
            else:
                cursor.take()
        declared = " ".join(token.text for token in cursor.tokens[first : cursor.at]).upper()
        cursor.expect(")")
        return Piece(f"CAST({operand.text} AS {declared})")

    def _raise(self) -> Piece:
        self._cursor.at += 1
        return Piece(f"RAISE{self._raw_group()}")

    def _group(self) -> Piece:
        """Parentheses: a subselect, a row value, or an expression, which is then the same without them."""
        cursor = self._cursor
        if cursor.words[cursor.at + 1] in _QUERIES:
            return Piece(self._raw_group())
        cursor.at += 1
        members = self._list()
        cursor.expect(")")
        return members[0] if len(members) == 1 else Piece(f"({_joined(members)})")

    def _list(self) -> list[Piece]:
        members = [self._expression(_OR)]
        while self._cursor.accept(","):
            members.append(self._expression(_OR))
        return members

    def _raw_group(self) -> str:
        """Parentheses whose inside (a query, a window) stays a sequence of tokens."""
        cursor = self._cursor
        first, last = cursor.parenthesised()
        return f"({canonical_text(cursor.tokens[first:last], self._columns)})"

    def _exists(self) -> Piece:
        self._cursor.at += 1
        return Piece(f"EXISTS {self._raw_group()}")

    def _not(self) -> Piece:
        self._cursor.at += 1
        operand = self._expression(_NOT)
        if operand.negated:
            return Piece(operand.negated, _EQUAL)
        return Piece(f"NOT {_at(operand, _NOT)}", _NOT)

    def _sign(self) -> Piece:
        operator = self._cursor.take().text
        operand = self._expression(_UNARY)
        text = _at(operand, _UNARY)
        signed = operand.literal and operator != "~" and text[0] in "0123456789."
        # Two minus signs side by side would begin a comment.
        space = " " if text.startswith(operator) else ""
        return Piece(f"{operator}{space}{text}", _UNARY, literal=signed)

    def _case(self) -> Piece:
        cursor = self._cursor
        cursor.at += 1
        words = ["CASE"]
        if cursor.word != "WHEN":
            words.append(self._expression(_OR).text)
        while cursor.accept("WHEN"):
            words += ["WHEN", self._expression(_OR).text]
            cursor.expect("THEN")
            words += ["THEN", self._expression(_OR).text]
        if cursor.accept("ELSE"):
            words += ["ELSE", self._expression(_OR).text]
        if len(words) < 4:
            cursor.fail("WHEN")
        cursor.expect("END")
        return Piece(" ".join([*words, "END"]))


def _at(piece: Piece, level: int) -> str:
    """The text as an operand that must bind at `level` or tighter."""
    return piece.text if piece.level >= level else f"({piece.text})"


def _joined(pieces: list[Piece]) -> str:
    return ", ".join(piece.text for piece in pieces)


def _null_test(left: Piece, operator: str) -> Piece:
    return Piece(f"{_at(left, _EQUAL)} {operator} NULL", _EQUAL)


def _negatable(left: Piece, rest: str) -> Piece:
    operand = _at(left, _EQUAL)
    return Piece(f"{operand} {rest}", _EQUAL, negated=f"{operand} NOT {rest}")
