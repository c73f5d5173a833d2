"""SQLite's lexical rules, held against SQLite."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftengine.dialects.sqlite.tokens import UnreadableSQL, fold, literal, quote, tokenize, unquote

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def _value(sql: str) -> object:
    with closing(sqlite3.connect(":memory:")) as connection:
        return connection.execute(f"SELECT {sql}").fetchone()[0]


def _kinds(sql: str) -> list[tuple[str, str]]:
    return [(token.kind, token.text) for token in tokenize(sql)]


def test_every_kind_of_token() -> None:
    """Words, quoted names, strings, numbers, blobs, operators and variables are told apart."""
    assert _kinds("a_$1 \"b\"\"c\" `d``e` [f g] 'it''s' 0x1F .5 1.5e-3 2. x'0aFF' ->> == ?1 :name é") == [
        ("word", "a_$1"), ("quoted", '"b""c"'), ("quoted", "`d``e`"), ("quoted", "[f g]"), ("string", "'it''s'"),
        ("number", "0x1F"), ("number", ".5"), ("number", "1.5e-3"), ("number", "2."), ("blob", "x'0aFF'"),
        ("operator", "->>"), ("operator", "=="), ("variable", "?1"), ("variable", ":name"), ("word", "é"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "sql",
    ["a -- it's\nb", "a/**/b", "a /* -- ' */ b", "a\t\n\f\r b", "\ufeffa\ufeff b", "a b /* open", "a b --"],
)
def test_white_space_and_comments_are_skipped(sql: str) -> None:
    """Both comment styles, an unclosed block comment at the end, and a byte order mark stand between tokens."""
    assert [token.text.strip("\ufeff") for token in tokenize(sql)] == ["a", "b"]


def test_neighbours_are_separate_tokens() -> None:
    """Operators are as long as SQLite makes them, and a dot before a digit begins a number."""
    assert [token.text for token in tokenize("a.b<=-1-->2\n>>c||d->e<>f=.5*/")] == [
        "a", ".", "b", "<=", "-", "1", ">>", "c", "||", "d", "->", "e", "<>", "f", "=", ".5", "*", "/",
    ]  # fmt: skip


def test_offsets_are_exact() -> None:
    """Each token's text is the slice that its offsets name."""
    sql = "  CREATE /* é */ TABLE [日本 x](a INT, -- c\n b 'x''y')  "
    assert all(sql[token.start : token.end] == token.text for token in tokenize(sql))
    assert len(tokenize(sql)) == 10


@pytest.mark.parametrize(
    ("sql", "offset"),
    [("a 'open", 2), ('"open', 0), ("[open", 0), ("a ! b", 2), ("x'0'", 0), ("x'zz'", 0), ("12ab", 0), ("1.a", 0), ("1e", 0), ("a /* c */ \\", 10), ("@", 0), ("\x0b", 0)],
)  # fmt: skip
def test_what_is_no_token_is_unreadable(sql: str, offset: int) -> None:
    """Text that SQLite refuses as "unrecognized token" raises, with the offset behind white space and comments."""
    with pytest.raises(UnreadableSQL) as caught:
        tokenize(sql)
    assert caught.value.offset == offset
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(sqlite3.Error, match=r"unrecognized|syntax"),
    ):
        connection.execute(sql)


@given(name=_texts.filter(lambda text: "\0" not in text))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_quoted_name_names_the_same_in_sqlite(name: str) -> None:
    """Whatever quote() gives is one token, unquote() undoes it, and SQLite reads the same name."""
    (token,) = tokenize(quote(name))
    assert (token.kind, unquote(token.text)) == ("quoted", name)
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute(f"SELECT 1 AS {quote(name)}").description[0][0] == name


@pytest.mark.parametrize(
    ("text", "name"),
    [('"a""b"', 'a"b'), ("`a``b`", "a`b"), ('[a"b]', 'a"b'), ("'it''s'", "it's"), ("bare", "bare"), ('""', ""), ("", "")],
)  # fmt: skip
def test_unquote_knows_every_style(text: str, name: str) -> None:
    """Double quotes, backticks, brackets and single quotes come off; a doubled quote is one."""
    assert unquote(text) == name


def test_fold_is_ascii_only() -> None:
    """SQLite compares names without case for A to Z alone: Ä and ä are two columns."""
    assert (fold("ÄbC_İ"), fold("ABC")) == ("Äbc_İ", "abc")
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t(Ä, ä)")
        with pytest.raises(sqlite3.OperationalError, match="duplicate"):
            connection.execute("CREATE TABLE u(A, a)")


@given(
    value=st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, width=32)
    | _texts
    | st.binary(max_size=8)
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_literal_gives_the_value(value: str | float | bytes | None) -> None:
    """SQLite evaluates a literal to the very value, of the very type, in a DEFAULT too."""
    found = _value(literal(value))
    assert (type(found), found) == (type(value), value)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE t(a DEFAULT {literal(value)}, b)")
        connection.execute("INSERT INTO t(b) VALUES (1)")
        assert connection.execute("SELECT a FROM t").fetchone() == (value,)


def test_literals_at_the_edge() -> None:
    """True is 1, NaN is NULL, text may hold NUL, and an integer beyond 64 bits is refused."""
    assert (literal(value=True), literal(math.nan), _value(literal("a\0b"))) == ("1", "NULL", "a\0b")
    assert _value(literal(-math.inf)) == -math.inf
    with pytest.raises(ValueError, match="64 bits"):
        literal(2**63)
