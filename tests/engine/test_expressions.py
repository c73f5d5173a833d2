"""Canonical expressions: what means the same is the same, what does not is not, and SQLite agrees with both."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftengine.dialects.sqlite.expressions import (
    canonical,
    canonical_statement,
    columns_read,
    in_list,
    without_qualifier,
)
from driftengine.dialects.sqlite.tokens import UnreadableSQL

_COLUMNS = frozenset({"a", "b", "key", "two words", "true", "t"})

_SAME = [
    ["a>0", " a\n> /* x */ 0 -- y", "A > 0", '"a" > 0', "`A` > 0", "[a]>0", "(a > 0)", "((a) > (0))", "t.a > 0", '"T"."A" > 0', "main.t.a > 0"],
    ["a = 1", "a == 1", "a=(1)"],
    ["a <> 1", "a != 1"],
    ["a IS NULL", "a isnull", "(a) is (null)"],
    ["a IS NOT NULL", "a notnull", "a NOT NULL", "a not  null"],
    ["a IS b", "a is not distinct from b"],
    ["a IS NOT b", "a IS DISTINCT FROM b"],
    ["a NOT IN (1, 2)", "NOT a IN (1,2)", "not (a in ((1), 2))"],
    ["a NOT BETWEEN 1 AND 2", "NOT (a BETWEEN 1 AND 2)"],
    ["a NOT LIKE 'x' ESCAPE '!'", "not a like 'x' escape '!'"],
    ["a AND b AND key", "a AND (b AND key)", "(a and b) and [key]", 'a AND b AND "KEY"'],
    ["1 + 2 * 3", "1 + (2 * 3)", "(1)+((2)*3)"],
    ["a || 'x'", 'a || "x"', 'A||("x")'],
    ["lower(a)", "LOWER ( A )", '"lower"(a)'],
    ["'it''s'", '"it\'s"'],
    ["x'ab'", "X'AB'"],
    ["1e5", "1E5"],
    ["a COLLATE NOCASE", 'a collate "nocase"', "(a) COLLATE nocase"],
    ["CASE WHEN a THEN 1 ELSE 2 END", "case when (a) then 1 else (2) end"],
    ["CAST(a AS VARCHAR(10))", "cast ( (a) as varchar ( 10 ) )"],
    ["count(DISTINCT a) FILTER (WHERE b > 1)", "COUNT(distinct (a)) filter(where (b>1))"],
    ["EXISTS (SELECT 1 FROM u)", "exists(select 1 from U)"],
    ["- a", "-a", "-(a)"],
    ["true", '"true"', "[True]"],
    ["RAISE(ABORT, 'x')", "raise ( abort,'x' )"],
]  # fmt: skip

_DIFFERENT = [
    ["(1+2)*3", "1+2*3", "1+(2+3)", "1+2+3"],
    ["'A'", "'a'", "a", '"x"', "x", "'x '"],
    ["a - b - key", "a - (b - key)"],
    ["a OR b AND key", "(a OR b) AND key"],
    ["NOT a = b", "(NOT a) = b"],
    ["NOT a IN (1)", "a IN (1)", "a IN ('1')", "a IN (1, 2)"],
    ["- a COLLATE nocase", "-(a COLLATE nocase)"],
    ["a COLLATE nocase = b", "a = b COLLATE nocase", "a = b"],
    ["a || b COLLATE nocase", "(a || b) COLLATE nocase"],
    ["a BETWEEN 1 AND 2 = 1", "a BETWEEN 1 AND (2 = 1)"],
    ["+a", "a", "-a", "~a"],
    ["a", "other.a", "a.t"],
    ["1", "1.0", "'1'", "x'31'"],
    ["a LIKE b", "a GLOB b", "a LIKE b ESCAPE key"],
    ["f(a)", "f(DISTINCT a)", "f()", "f(*)"],
    ["a -> b", "a ->> b"],
    ["- -1", "1", "-1"],
    ["CURRENT_TIME", "[current_time]", "'current_time'"],
    ["(a, b) = (1, 2)", "a = (1, 2)"],
    ["FALSE", "'FALSE'", "0"],
    ["CASE a WHEN 1 THEN 2 END", "CASE WHEN a = 1 THEN 2 END", "CASE a WHEN 1 THEN 2 ELSE NULL END"],
]


@pytest.mark.parametrize("texts", _SAME, ids=lambda texts: texts[0])
def test_what_means_the_same_is_the_same(texts: list[str]) -> None:
    """Spelling makes no difference to the canonical form, and the form is its own canonical form."""
    forms = {text: canonical(text, columns=_COLUMNS, table="T") for text in texts}
    assert len(set(forms.values())) == 1, forms
    form = forms[texts[0]]
    assert canonical(form, columns=_COLUMNS, table="t") == form


@pytest.mark.parametrize("texts", _DIFFERENT, ids=lambda texts: texts[0])
def test_what_means_something_else_is_different(texts: list[str]) -> None:
    """Each text of a row has a form of its own."""
    forms = {text: canonical(text, columns=_COLUMNS, table="t") for text in texts}
    assert len(set(forms.values())) == len(texts), forms


def test_the_form_reads_well() -> None:
    """Keywords are in upper case, names bare where they can be, and parentheses stand only where they are needed."""
    text = "( T.\"A\" in (1,2) or not(\"two words\" like 'x%')) and coalesce( [key] , 'none' )!=(1+(2*3))"
    assert canonical(text, columns=_COLUMNS, table="t") == (
        "(a IN (1, 2) OR \"two words\" NOT LIKE 'x%') AND coalesce(\"key\", 'none') <> 1 + 2 * 3"
    )


@pytest.mark.parametrize(
    "text",
    ["a b", "a +", "SELECT a", "a NOT b", ")", "a IN", "CASE END", "", "a,b", "(" * 300 + "a" + ")" * 300],
)
def test_what_is_not_understood_is_compared_by_tokens(text: str) -> None:
    """A text outside the grammar keeps all of its tokens, and raises nothing."""
    form = canonical(text, columns=_COLUMNS)
    assert form == canonical(text.replace(" ", " /* x */\n"), columns=_COLUMNS)
    assert form.replace(" ", "").lower() == text.replace(" ", "").lower()


def test_text_that_is_no_sql_at_all_is_unreadable() -> None:
    """An open string is no token: that is an error, told with its place."""
    with pytest.raises(UnreadableSQL, match="offset 4"):
        canonical("a = 'x", columns=_COLUMNS)


_ROW = frozenset({"a", "b", "two words"})
_LEAVES = [
    "1",
    "2",
    "0",
    "-1",
    "2.5",
    "NULL",
    "'a'",
    "'B'",
    "'b'",
    "x'61'",
    "TRUE",
    "0x10",
    "'1'",
    "a",
    "b",
    "A",
    "t.a",
    '"b"',
    '"no"',
    "[two words]",
]
_INFIX = ["OR", "AND", "=", "<>", "<", "<=", ">", ">=", "IS", "IS NOT", "&", "|", "<<", ">>", "+", "-", "*", "/", "%",
          "||", "LIKE", "GLOB", "IS NOT DISTINCT FROM", "IS DISTINCT FROM", "NOT LIKE"]  # fmt: skip
_PREFIX = ["NOT ", "-", "+", "~"]
_SHAPES = ["({0} BETWEEN {1} AND {2})", "({0} NOT BETWEEN {1} AND {2})", "({0} IN ({1}, {2}))", "({0} NOT IN ({1}))",
           "CASE {0} WHEN {1} THEN {2} END", "CASE WHEN {0} THEN {1} ELSE {2} END", "coalesce({0}, {1}, {2})",
           "({0} COLLATE nocase = {1})", "({0} ISNULL)", "({0} NOT NULL)", "CAST({0} AS text)", "({0} LIKE {1} ESCAPE 'b')",
           "(({0}, {1}) = ({2}, {0}))", "({0} COLLATE nocase)"]  # fmt: skip


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(_INFIX), inner),
        st.builds("({}({}))".format, st.sampled_from(_PREFIX), inner),
        st.builds(lambda shape, *parts: shape.format(*parts), st.sampled_from(_SHAPES), inner, inner, inner),
    )


_expressions = st.recursive(st.sampled_from(_LEAVES), _combined, max_leaves=7)
_settings = settings(max_examples=400, deadline=None, derandomize=True)


def _evaluated(text: str) -> object:
    """What it gives in a table whose columns have affinities and a collation, where a stray qualifier is an error."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute('CREATE TABLE t(a TEXT COLLATE NOCASE, b INTEGER, "two words")')
        connection.execute("INSERT INTO t VALUES ('B', 1, '1')")
        try:
            return connection.execute(f"SELECT typeof(v), v FROM (SELECT {text} AS v FROM t)").fetchone()
        except sqlite3.Error as error:
            # A one-character ESCAPE, a row value in the wrong place: refused then, and refused again.
            return str(error)


@given(text=_expressions)
@_settings
def test_the_form_has_the_same_value(text: str) -> None:
    """SQLite gives the same value, of the same type, for an expression and for its canonical form."""
    form = canonical(text, columns=_ROW, table="t")
    assert _evaluated(form) == _evaluated(text), form
    assert canonical(form, columns=_ROW, table="t") == form


@given(text=_expressions, gap=st.sampled_from([" ", "\n", " /* ) */ ", " -- '\n"]), upper=st.booleans())
@_settings
def test_redundant_parentheses_case_and_space_make_no_difference(text: str, gap: str, upper: bool) -> None:
    """Twice the parentheses, other white space and other keyword case give the same form."""
    noisy = text.replace("(", "(" + gap).replace(")", gap + ")").replace("((", "(((").replace("))", ")))")
    noisy = noisy if noisy.count("(") == noisy.count(")") else text
    for word in ("NOT", "CASE", "BETWEEN", "IS", "and", "LIKE"):
        noisy = noisy.replace(f" {word} ", f"{gap}{word if upper else word.lower()}{gap}")
    assert canonical(f"(({noisy}))", columns=_ROW, table="t") == canonical(text, columns=_ROW, table="t")


@given(text=_expressions)
@_settings
def test_a_bare_text_keeps_sqlites_precedence(text: str) -> None:
    """Without its parentheses an expression means something else, perhaps; its form means the same as it does."""
    bare = _without_groups(text)
    form = canonical(bare, columns=_ROW, table="t")
    assert _evaluated(form) == _evaluated(bare), (bare, form)


_TRIPLES = [
    ("1", "2", "3"),
    ("-1", "0", "'1x'"),
    ("a", "'b'", "b"),
    ("5", "NULL", "0"),
    ("'a'", "a", "x'62'"),
    ("2", "7", "2"),
]


@pytest.mark.parametrize("first", _INFIX)
def test_every_pair_of_operators_binds_as_in_sqlite(first: str) -> None:
    """Of `x first y second z`, the canonical form shows the grouping that gives SQLite's own values."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t(a TEXT COLLATE NOCASE, b INTEGER)")
        connection.execute("INSERT INTO t VALUES ('B', 1)")

        def values(shape: str) -> list[object]:
            texts = [shape.format(*triple) for triple in _TRIPLES]
            forms = [canonical(text, columns=_ROW, table="t") for text in texts]
            rows = [
                connection.execute(f"SELECT {', '.join(column)} FROM t").fetchone()
                for column in (texts, forms)
            ]
            assert rows[0] == rows[1], forms
            return list(rows[0])

        for second in _INFIX:
            left, right, bare = (
                f"({{}} {first} {{}}) {second} {{}}",
                f"{{}} {first} ({{}} {second} {{}})",
                f"{{}} {first} {{}} {second} {{}}",
            )
            found = {shape: values(shape) for shape in (left, right, bare)}
            form = canonical(bare.format("x", "y", "z"), columns=frozenset())
            grouped = {
                canonical(shape.format("x", "y", "z"), columns=frozenset()): found[shape]
                for shape in (right, left)
            }
            assert grouped[form] == found[bare]


_PIECES = [*_LEAVES, *_INFIX, "(", ")", ",", ".", "NOT", "IN", "CASE", "WHEN", "THEN", "END", "CAST", "AS", "EXISTS",
           "SELECT", "BETWEEN", "f", "*", "DISTINCT", "FILTER", "WHERE", "OVER", "RAISE", "COLLATE", "ISNULL", "?1"]  # fmt: skip


@given(pieces=st.lists(st.sampled_from(_PIECES), max_size=9))
@_settings
def test_any_tokens_have_a_form(pieces: list[str]) -> None:
    """No sequence of tokens raises, and where SQLite finds a value, the form has the same one."""
    text = " ".join(pieces)
    form = canonical(text, columns=_ROW, table="t")
    in_list(text, columns=_ROW, table="t")
    found = _evaluated(text)
    assert isinstance(found, str) or _evaluated(form) == found, form


def _without_groups(text: str) -> str:
    """The text without the parentheses that only group: those behind a name or IN, or around a comma, stay."""
    opened: list[tuple[int, bool]] = []
    dropped: set[int] = set()
    for at, character in enumerate(text):
        if character == "(":
            before = text[:at].rstrip()
            called = (text[at - 1 : at].isalpha() and before == text[:at]) or before.endswith(" IN")
            opened.append((at, not called))
        elif character == ")":
            start, grouping = opened.pop()
            if grouping and "," not in text[start:at]:
                dropped |= {start, at}
    kept = (" " if at in dropped else character for at, character in enumerate(text))
    return "".join(kept)


def test_columns_read_are_never_missed() -> None:
    """Names in every spelling count; functions, qualifiers and strings do not."""
    text = 'lower(A) || "KEY" || t.b || [two words] || \'true\' || "nothing"'
    assert columns_read(text, columns=_COLUMNS) == {"a", "key", "b", "two words"}
    assert columns_read("a (b)", columns=_COLUMNS) == {"b"}
    assert columns_read("x IN (SELECT u.a FROM u)", columns=_COLUMNS, table="t") == {"a"}
    assert columns_read("1 = '1'", columns=_COLUMNS) == frozenset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status IN ('a', \"B\", -1, 2.5, x'00')", ("status", {"'a'", "'B'", "-1", "2.5", "X'00'"})),
        ("((\"STATUS\") in ('a'))", ("status", {"'a'"})),
        ("lower(t.status) IN ('a')", ("lower(status)", {"'a'"})),
        ("status IN ()", ("status", set())),
        ("status IN ('a', NULL)", None),
        ("status IN ('a', other)", None),
        ("status IN ('a', 1 + 1)", None),
        ("status IN (CURRENT_DATE)", None),
        ("status NOT IN ('a')", None),
        ("status IN ('a') OR 1", None),
        ("status IN (SELECT 1)", None),
        ("status = 'a'", None),
        ("status status", None),
    ],
)
def test_a_list_of_literals_is_a_set(text: str, expected: tuple[str, set[str]] | None) -> None:
    """`operand IN (literals)` gives operand and set; whatever else it is, or may be, gives None."""
    found = in_list(text, columns=frozenset({"status"}), table="t")
    assert found == (expected and (expected[0], frozenset(expected[1])))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t.a > 0 AND a < 5", "a > 0 AND a < 5"),
        ('"T" . a -- t.a\n > `t`./* t.b */b', "a -- t.a\n > b"),
        ("main.t.a + t.t", "a + t"),
        ("t.t.a", "a"),
        ("t.u.a", "t.u.a"),
        ("'t.a' || tt.a || t || t(1)", "'t.a' || tt.a || t || t(1)"),
        ("'t'.a", "a"),
        ("t.", "t."),
    ],
)
def test_a_qualifier_is_taken_off_and_nothing_else(text: str, expected: str) -> None:
    """Every reference qualified by the table loses that, its schema too; each other byte stays."""
    assert without_qualifier(text, "T") == expected


def test_a_check_without_qualifier_works_under_another_name() -> None:
    """A CHECK that named its own table is accepted, and enforced, under the new name of that table."""
    check = without_qualifier('t.a > 0 AND main."t"."b" IS NOT NULL', "t")
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f'CREATE TABLE "new t"(a, b, CHECK({check}))')
        connection.execute('INSERT INTO "new t" VALUES (1, 1)')
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute('INSERT INTO "new t" VALUES (0, 1)')


@pytest.mark.parametrize(
    "text",
    [
        "as\n select A , b from T -- x\n where a==1;",
        'AS SELECT "a", [B] FROM "T" WHERE `A` = 1',
    ],
)
def test_statements_that_differ_in_spelling_are_the_same(text: str) -> None:
    """A view's text compares by its tokens, with names folded and bare where they can be."""
    assert canonical_statement(text) == canonical_statement("AS SELECT a, b FROM t WHERE a = 1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT 'a'", "SELECT 'A'"),
        ('SELECT a = "Active" FROM t', 'SELECT a = "active" FROM t'),
        ("SELECT * FROM t LEFT JOIN u", 'SELECT * FROM t "left" JOIN u'),
        ("SELECT (1 + 2) * 3", "SELECT 1 + 2 * 3"),
        ("SELECT a FROM t", "SELECT a FROM t2"),
    ],
)
def test_statements_that_mean_something_else_differ(one: str, other: str) -> None:
    """Strings keep their case, also in double quotes; a quoted keyword is a name; parentheses stay."""
    assert canonical_statement(one) != canonical_statement(other)
