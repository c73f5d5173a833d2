"""A place in a sequence of tokens, and the moves that both parsers make on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from driftengine.dialects.sqlite.tokens import RESERVED, Token, UnreadableSQL, tokenize

if TYPE_CHECKING:
    from collections.abc import Iterator


class Cursor:
    """The tokens of `sql` and a position `at` among them.

    `words` runs beside `tokens`: a bare word in upper case, an operator as it is, and "" for every other kind, so that
    a quoted name is never taken for a keyword. It ends with one "" more, which is what stands behind the text.
    """

    __slots__ = ("at", "sql", "tokens", "words")

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.tokens = tokenize(sql)
        self.words = [
            token.text.upper() if token.kind == "word" else token.text if token.kind == "operator" else ""
            for token in self.tokens
        ]
        self.words.append("")
        self.at = 0

    @property
    def word(self) -> str:
        """The current entry of `words`."""
        return self.words[self.at]

    @property
    def ended(self) -> bool:
        """True behind the last token."""
        return self.at == len(self.tokens)

    @property
    def start(self) -> int:
        """The offset at which the current token begins, or the text ends."""
        return len(self.sql) if self.ended else self.tokens[self.at].start

    @property
    def previous_end(self) -> int:
        """The offset behind the token before the current one."""
        return self.tokens[self.at - 1].end

    def fail(self, expected: str) -> NoReturn:
        """Raise UnreadableSQL: something other than `expected` stands here."""
        found = "the text ends" if self.ended else f"{self.tokens[self.at].text!r} stands"
        raise UnreadableSQL(f"{found} where {expected} should be", self.start)

    def take(self) -> Token:
        """The current token; moves behind it."""
        if self.ended:
            self.fail("something more")
        self.at += 1
        return self.tokens[self.at - 1]

    def accept(self, *words: str) -> bool:
        """Move behind these words when all of them stand here, one after the other."""
        end = self.at + len(words)
        if self.words[self.at] != words[0] or (len(words) > 1 and self.words[self.at : end] != list(words)):
            return False
        self.at = end
        return True

    def expect(self, *words: str) -> None:
        """Move behind these words; fail when they do not stand here."""
        if not self.accept(*words):
            self.fail(" ".join(words))

    def is_name(self, at: int) -> bool:
        """True when the token can be a name: quoted in any style, or a word that is not reserved."""
        if at >= len(self.tokens):
            return False
        kind = self.tokens[at].kind
        return kind in {"quoted", "string"} or (kind == "word" and self.words[at] not in RESERVED)

    def name(self) -> Token:
        """The name that stands here; moves behind it."""
        if not self.is_name(self.at):
            self.fail("a name")
        return self.take()

    def closing(self, opening: int) -> int:
        """The index of the parenthesis that closes the one at index `opening`."""
        depth = 0
        for at in range(opening, len(self.tokens)):
            if self.words[at] == "(":
                depth += 1
            elif self.words[at] == ")":
                depth -= 1
                if depth == 0:
                    return at
        raise UnreadableSQL("a parenthesis is not closed", self.tokens[opening].start)

    def parenthesised(self) -> tuple[int, int]:
        """Move behind `( ... )`; the index range of the tokens inside, at least one."""
        first = self.at + 1
        self.expect("(")
        last = self.closing(first - 1)
        if first == last:
            self.fail("an expression")
        self.at = last + 1
        return first, last

    def listed(self) -> Iterator[tuple[int, int]]:
        """Move behind `( ... , ... )`; the index range of each member."""
        first, last = self.parenthesised()
        depth = 0
        for at in range(first, last):
            word = self.words[at]
            if word == "(":
                depth += 1
            elif word == ")":
                depth -= 1
            elif word == "," and depth == 0:
                yield first, at
                first = at + 1
        yield first, last

    def text(self, first: int, last: int) -> str:
        """The text of the tokens `first` up to and without `last`."""
        if first >= last:
            return ""
        return self.sql[self.tokens[first].start : self.tokens[last - 1].end]
