"""CREATE TABLE texts for property tests: every clause, odd names in every quoting, odd white space and comments."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from driftengine.dialects.sqlite.tokens import KEYWORDS, RESERVED, fold, quote

if TYPE_CHECKING:
    from collections.abc import Iterator

_JOIN_WORDS = {"CROSS", "FULL", "INNER", "LEFT", "NATURAL", "OUTER", "RIGHT"}
_BARE = sorted(
    {"a", "B_2", "x$y", "é", "日本", "rowid2", "stored", "strict", *(KEYWORDS - RESERVED - _JOIN_WORDS)}
    - {"WITHIN"}
)
ODD_NAMES = [
    "two words", 'say "hi"', "it's", "back`tick", "[x", "a]b", "-- no", "/*", "select", "table", "check", "constraint",
    "primary", "ÄÖ", "0x", "a.b", ";", "(", "x,y", "Generated Always", "\t", "\ufeff",
]  # fmt: skip
_GAPS = [" ", "\n", "\t ", "  ", " /* it's */ ", ' -- a "note"\n', "/**/ ", "\r\n", "/* ) */", "\f"]
_TYPES = ["", "INTEGER", "integer", "INT", "TEXT", "VARCHAR(10)", "DECIMAL ( 10 , -2 )", "double precision",
          "unsigned big int", '"quoted type"', "'string type'", "`x y`", "number(+3)", "BLOB", "desc", "Generated"]  # fmt: skip
_STRICT_TYPES = ["INTEGER", "int", "TEXT", "BLOB", "REAL", "any"]
_DEFAULTS = ["1", "-1", "+ 2.5", "- 1e3", "'it''s'", "NULL", "CURRENT_TIMESTAMP", "current_date", "x'0a'", "foo",
             "TRUE", '"dq"', "(1 + 2)", "( 'a' || ')' )", "(random())", "[br]", "0x1F", ".5"]  # fmt: skip
_CONFLICT = ["", " ON CONFLICT IGNORE", " on conflict Replace", " ON CONFLICT ROLLBACK"]
_ACTIONS = ["", " ON DELETE CASCADE", " ON UPDATE SET NULL", " on delete set default ON UPDATE NO ACTION",
            " MATCH FULL ON DELETE RESTRICT", " ON UPDATE CASCADE ON UPDATE RESTRICT"]  # fmt: skip
_DEFERRED = ["", " DEFERRABLE", " NOT DEFERRABLE INITIALLY IMMEDIATE", " DEFERRABLE INITIALLY DEFERRED"]
_COLLATIONS = ["NOCASE", "rtrim", "BINARY", '"nocase"', "'rtrim'"]
_CHECKS = [
    "1",
    "length('a)b') > 0",
    "(1) IN (1, 2)",
    "CASE WHEN 1 THEN 2 END",
    "1 /* ) */ > 0",
    "'-- x' <> ''",
]


class MadeTable(NamedTuple):
    """A generated CREATE TABLE, and what no pragma tells: its CHECK and generated expressions, in order."""

    sql: str
    table: str
    columns: list[str]
    expressions: list[str]


class _Speller:
    """Draws names in their spellings, and joins words with odd gaps, in turn: one draw serves a text."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self._gaps = itertools.cycle(draw(st.lists(st.sampled_from(_GAPS), min_size=1, max_size=5)))
        self._styles = itertools.cycle(draw(st.lists(st.sampled_from("\"`['b"), min_size=1, max_size=5)))

    def name(self, name: str) -> str:
        style = next(self._styles)
        if style == "b" and name in _BARE:
            return name
        if style == "[" and "]" not in name:
            return f"[{name}]"
        if style in "`'":
            return style + name.replace(style, style * 2) + style
        return quote(name)

    def pick(self, options: list[str]) -> str:
        return self.draw(st.sampled_from(options))

    def count(self, most: int) -> int:
        return self.draw(st.integers(0, most))

    def maybe(self, chance: int = 3) -> bool:
        return self.draw(st.integers(0, chance)) == 0

    def join(self, *words: str) -> str:
        text = ""
        for word in words:
            text += word + next(self._gaps)
        return text

    def label(self) -> str:
        return self.join("CONSTRAINT", self.name(self.pick(_BARE + ODD_NAMES))) if self.maybe() else ""


def _reference(spell: _Speller) -> str:
    columns = ""
    if spell.maybe(1):
        columns = spell.join("(", spell.name(spell.pick(_BARE + ODD_NAMES)), ")")
    parent = spell.name(spell.pick(_BARE + ODD_NAMES))
    return spell.join("REFERENCES", parent, columns) + spell.pick(_ACTIONS) + spell.pick(_DEFERRED)


def _column_clauses(spell: _Speller, expressions: list[str], *, plain: bool) -> Iterator[str]:
    """Constraints of one column. `plain`: it must not be computed, nor a primary key."""
    for _ in range(spell.count(3)):
        kind = spell.pick(
            ["null", "unique", "check", "default", "collate", "references", "lone", "null word"]
        )
        label = spell.label()
        if kind == "null":
            yield label + spell.join("not", "Null") + spell.pick(_CONFLICT)
        elif kind == "unique":
            yield label + "UNIQUE" + spell.pick(_CONFLICT)
        elif kind == "check":
            expressions.append(spell.pick(_CHECKS))
            yield label + spell.join("CHECK", "(") + spell.join(expressions[-1], ")")
        elif kind == "default":
            yield label + spell.join("DEFAULT", spell.pick(_DEFAULTS))
        elif kind == "collate":
            yield label + spell.join("COLLATE", spell.pick(_COLLATIONS))
        elif kind == "references":
            yield label + _reference(spell)
        elif kind == "lone":
            yield spell.join("CONSTRAINT", spell.name("alone"))
        else:
            yield "NULL"
    if not plain and spell.maybe(5):
        expressions.append("1 + (2)")
        head = spell.pick(["GENERATED ALWAYS AS", "generated\n always AS", "as"])
        yield spell.join(head, "(", "1 + (2)", ")", spell.pick(["", "STORED", "virtual"]))


def _key(spell: _Speller, columns: list[str]) -> str:
    """The members of a key: some of the columns, in any order, spelled in many ways."""
    chosen = spell.draw(st.lists(st.sampled_from(columns), min_size=1, max_size=3, unique=True))
    members = []
    for column in chosen:
        member = spell.name(column)
        if spell.maybe():
            member = f"({member})"
        if spell.maybe():
            member = spell.join(member, "COLLATE", spell.pick(_COLLATIONS))
        members.append(spell.join(member, spell.pick(["", "", "ASC", "desc"])))
    return "(" + ",".join(members)


def _constraints(spell: _Speller, columns: list[str], expressions: list[str], *, key: bool) -> Iterator[str]:
    if key:
        yield (
            spell.label() + spell.join("PRIMARY", "KEY") + _key(spell, columns) + ")" + spell.pick(_CONFLICT)
        )
    for _ in range(spell.count(2)):
        kind = spell.pick(["unique", "check", "foreign", "lone"])
        if kind == "unique":
            yield spell.label() + "UNIQUE" + _key(spell, columns) + ")" + spell.pick(_CONFLICT)
        elif kind == "check":
            expressions.append(spell.pick(_CHECKS))
            yield spell.label() + spell.join("CHECK", "(", expressions[-1], ")") + spell.pick(_CONFLICT)
        elif kind == "foreign":
            local = spell.name(spell.pick(columns))
            yield spell.label() + spell.join("FOREIGN", "KEY", "(", local, ")") + _reference(spell)
        else:
            yield spell.join("CONSTRAINT", spell.name("alone"))


@st.composite
def create_tables(draw: st.DrawFn) -> MadeTable:
    """A CREATE TABLE that SQLite nearly always accepts."""
    spell = _Speller(draw)
    names = draw(st.lists(st.sampled_from(_BARE + ODD_NAMES), min_size=1, max_size=4, unique_by=fold))
    table = spell.pick(_BARE + ODD_NAMES)
    strict = spell.maybe(4)
    inline_key, table_key = draw(st.sampled_from([(True, False), (False, True), (False, False)]))
    without_rowid = (inline_key or table_key) and spell.maybe()
    expressions: list[str] = []
    items = []
    for number, name in enumerate(names):
        words = [spell.name(name), spell.pick(_STRICT_TYPES if strict else _TYPES)]
        if number == 0 and inline_key:
            words.append(
                spell.label()
                + spell.join("PRIMARY", "KEY", spell.pick(["", "ASC", "DESC"]))
                + spell.pick(_CONFLICT)
                + (" AUTOINCREMENT" if words[1].upper() == "INTEGER" and spell.maybe(2) else "")
            )
        words += _column_clauses(spell, expressions, plain=number == 0 or table_key)
        items.append(spell.join(*words))
    body = ",".join(items)
    for number, constraint in enumerate(_constraints(spell, names, expressions, key=table_key)):
        # SQLite asks for a comma before the first table constraint only.
        comma = "," if number == 0 or spell.maybe(1) else ""
        body += comma + spell.join("", constraint)
    options = [option for option, wanted in (("WITHOUT  Rowid", without_rowid), ("strict", strict)) if wanted]
    if spell.maybe(1):
        options.reverse()
    head = spell.join("CREATE TABLE", spell.name(table), "(")
    return MadeTable(f"{head}{body}){spell.join('', ', '.join(options))}", table, names, expressions)
