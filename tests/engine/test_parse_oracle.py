"""SQLite is the oracle: what it made of a statement must be what the parse tree says."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, reject
from hypothesis import strategies as st

from ddl_texts import ODD_NAMES, MadeTable, create_tables
from driftengine.dialects.sqlite.ddl import Clause, CreateIndex, CreateTable, IndexedColumn, Reference, Span
from driftengine.dialects.sqlite.parse import parse
from driftengine.dialects.sqlite.tokens import (
    KEYWORDS,
    RESERVED,
    UnreadableSQL,
    fold,
    quote,
    tokenize,
    unquote,
)
from support.random_depth import depth

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMENTS = re.compile(r"\s*(/\*.*?\*/|--[^\n]*)\s*")


def _execute(connection: sqlite3.Connection, sql: str) -> None:
    """Run what was generated; a text that SQLite refuses proves nothing and is drawn anew."""
    try:
        connection.execute(sql)
    except sqlite3.OperationalError:
        reject()


def _stored_table(connection: sqlite3.Connection) -> CreateTable:
    (sql,) = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name <> 'sqlite_sequence'"
    ).fetchone()
    tree = parse(sql)
    assert isinstance(tree, CreateTable)
    assert tree.sql == sql
    return tree


def _parts(columns: tuple[IndexedColumn, ...]) -> list[tuple[str, bool, str]]:
    return [(fold(part.column or ""), part.descending, fold(part.collation)) for part in columns]


def _keys(tree: CreateTable) -> Iterator[tuple[str, list[tuple[str, bool, str]]]]:
    """Every key as (origin, [(column, descending, collation)]), with "" for the column's own collation."""
    for column in tree.columns:
        for clause in column.clauses:
            if clause.kind in {"unique", "primary key"}:
                yield ("u" if clause.kind == "unique" else "pk"), [(fold(column.name), clause.descending, "")]
    for clause in tree.constraints:
        if clause.kind in {"unique", "primary key"}:
            yield ("u" if clause.kind == "unique" else "pk"), _parts(clause.columns)


def _primary_key(tree: CreateTable) -> list[str]:
    parts = next((parts for origin, parts in _keys(tree) if origin == "pk"), [])
    return [column for column, _, _ in parts]


def _assert_columns(connection: sqlite3.Connection, tree: CreateTable) -> None:
    rows = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (tree.name,)).fetchall()
    key = _primary_key(tree)
    # https://sqlite.org/withoutrowid.html and https://sqlite.org/stricttables.html: their keys refuse NULL.
    key_is_not_null = tree.without_rowid or (tree.strict and not _is_integer_key(tree))
    assert [row[1] for row in rows] == [column.name for column in tree.columns]
    for (_, _, shown, not_null, default, pk, hidden), column in zip(rows, tree.columns, strict=True):
        # A comment between the type and GENERATED stays in what SQLite shows.
        computed = column.clauses[:1] and column.clauses[0].kind == "generated"
        declared = _COMMENTS.sub("", shown) if computed else shown
        assert declared.upper() == _type_as_shown(column.type).upper()
        assert bool(not_null) == (column.clause("not null") is not None or (pk > 0 and key_is_not_null))
        assert pk == (key.index(fold(column.name)) + 1 if fold(column.name) in key else 0)
        generated = column.clause("generated")
        assert hidden == (0 if generated is None else 3 if generated.stored else 2)
        clause = column.clause("default")
        if generated is None:
            assert default == (None if clause is None else _as_pragma_shows(clause.expression))


def _type_as_shown(written: str) -> str:
    """SQLite drops what stands behind a quoted type, and the quotes; behind brackets mostly the last character alone."""
    if written.startswith("["):
        end = written.index("]") if any(mark in written[1:-1] for mark in "\"'`[") else -1
        return written[1:end]
    return unquote(tokenize(written)[0].text) if written[:1] in {'"', "'", "`"} else written


def _as_pragma_shows(default: str) -> str:
    return default[1:-1].strip() if default[0] == "(" else default


def _assert_foreign_keys(connection: sqlite3.Connection, tree: CreateTable) -> None:
    expected: list[tuple[tuple[str, ...], Reference | None]] = []
    for column in tree.columns:
        expected += [((column.name,), clause.reference) for clause in column.clauses_of("references")]
    expected += [
        (clause.local_columns, clause.reference)
        for clause in tree.constraints
        if clause.kind == "foreign key"
    ]
    found: dict[int, list[tuple[object, ...]]] = {}
    for number, _, *rest in connection.execute("SELECT * FROM pragma_foreign_key_list(?)", (tree.name,)):
        found.setdefault(number, []).append(tuple(rest))
    assert len(found) == len(expected)
    # SQLite numbers foreign keys from the last to the first.
    for rows, (local, reference) in zip(
        (found[number] for number in sorted(found, reverse=True)), expected, strict=True
    ):
        assert reference is not None
        remote: tuple[str | None, ...] = reference.columns or (None,) * len(local)
        pairs = zip(local, remote, strict=True)
        assert [(row[0], fold(str(row[1])), row[2], row[3], row[4]) for row in rows] == [
            (reference.table, fold(here), there, reference.on_update, reference.on_delete)
            for here, there in pairs
        ]


def _index_parts(connection: sqlite3.Connection, name: str) -> list[tuple[str, bool, str]]:
    rows = connection.execute("SELECT name, desc, coll FROM pragma_index_xinfo(?) WHERE key", (name,))
    return [(fold(column or ""), bool(descending), fold(collation)) for column, descending, collation in rows]


def _assert_keys(connection: sqlite3.Connection, tree: CreateTable) -> None:
    """Each constraint has its index, and each index its constraint; SQLite makes one index for two equal ones."""
    own = {}
    for column in tree.columns:
        clause = column.clause("collate")
        own[fold(column.name)] = fold(clause.collation) if clause else "binary"
    expected = []
    for origin, parts in _keys(tree):
        whole = [(column, descending, collation or own[column]) for column, descending, collation in parts]
        if origin == "pk" and _is_integer_key(tree):
            if not tree.without_rowid:
                continue
            # SQLite makes this key out of the column's name alone: a collation in the constraint is lost.
            whole = [(column, descending, own[column]) for column, descending, _ in parts]
        expected.append((origin, whole))
    found = [
        (origin, _index_parts(connection, name))
        for name, origin in connection.execute(
            "SELECT name, origin FROM pragma_index_list(?) WHERE origin IN ('u', 'pk')", (tree.name,)
        )
    ]
    # Of two keys over the same columns only the first one's index is made, with that one's order.
    assert all(parts in [other for _, other in expected] for _, parts in found), (found, expected)
    assert _without_order(found) <= _without_order(expected)
    assert {parts for _, parts in _without_order(found)} == {parts for _, parts in _without_order(expected)}


def _without_order(
    keys: list[tuple[str, list[tuple[str, bool, str]]]],
) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {(origin, tuple((column, collation) for column, _, collation in parts)) for origin, parts in keys}


def _is_integer_key(tree: CreateTable) -> bool:
    """Whether the primary key is an INTEGER PRIMARY KEY, which it is not when DESC stands in the column."""
    key = _primary_key(tree)
    column = next(column for column in tree.columns if [fold(column.name)] == key) if len(key) == 1 else None
    if column is None:
        return False
    clause = column.clause("primary key")
    return column.type.upper() == "INTEGER" and not (clause and clause.descending)


def _assert_agrees(connection: sqlite3.Connection, tree: CreateTable) -> None:
    _assert_columns(connection, tree)
    _assert_foreign_keys(connection, tree)
    _assert_keys(connection, tree)
    row = connection.execute(
        'SELECT wr, "strict" FROM pragma_table_list WHERE name = ?', (tree.name,)
    ).fetchone()
    assert row == (tree.without_rowid, tree.strict)
    sequence = connection.execute(
        "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_sequence'"
    ).fetchone()[0]
    clauses = [*tree.constraints, *(clause for column in tree.columns for clause in column.clauses)]
    assert any(clause.autoincrement for clause in clauses) == bool(sequence)


@given(made=create_tables())
@depth(250)
def test_a_table_is_what_sqlite_says_it_is(made: MadeTable) -> None:
    """Columns, types, defaults, keys, foreign keys and options of the tree are those that SQLite's pragmas report."""
    with closing(sqlite3.connect(":memory:")) as connection:
        _execute(connection, made.sql)
        tree = _stored_table(connection)
        _assert_agrees(connection, tree)
    clauses = [clause for column in tree.columns for clause in column.clauses] + list(tree.constraints)
    written = [clause.expression for clause in clauses if clause.kind in {"check", "generated"}]
    assert written == made.expressions


@given(made=create_tables(), data=st.data())
@depth(250)
def test_an_altered_table_is_still_what_sqlite_says(made: MadeTable, data: st.DataObject) -> None:
    """What SQLite writes when it adds, renames or drops a column, or renames the table, is parsed as well."""
    new_table, new_column = data.draw(
        st.lists(st.sampled_from(ODD_NAMES), min_size=2, max_size=2, unique=True)
    )
    table = quote(made.table)
    alters = [
        f"ALTER TABLE {table} ADD COLUMN {quote(new_column + '!')} VARCHAR(3) DEFAULT ('x') -- why\n CHECK (1)",
        f"ALTER TABLE {table} RENAME COLUMN {quote(made.columns[0])} TO {quote(new_column + '?')}",
        f"ALTER TABLE {table} DROP COLUMN {quote(made.columns[-1])}",
        f"ALTER TABLE {table} RENAME TO {quote(new_table + '!')}",
    ]
    with closing(sqlite3.connect(":memory:")) as connection:
        _execute(connection, made.sql)
        for alter in alters:
            # SQLite refuses to drop a key's column, for example: then the table simply stays as it is.
            with suppress(sqlite3.OperationalError):
                connection.execute(alter)
            _assert_agrees(connection, _stored_table(connection))


@given(made=create_tables(), data=st.data())
@depth(250)
def test_a_damaged_text_gives_no_wrong_tree(made: MadeTable, data: st.DataObject) -> None:
    """With a token missing, doubled or moved, the tree is still what SQLite makes of the text, or there is none."""
    tokens = [token.text for token in tokenize(made.sql)]
    at = data.draw(st.integers(2, len(tokens) - 1))
    tokens[at : at + 1] = data.draw(st.sampled_from([[], [tokens[at]] * 2]))
    tokens.insert(
        data.draw(st.integers(2, len(tokens))), tokens.pop(data.draw(st.integers(2, len(tokens) - 1)))
    )
    sql = " ".join(tokens)
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute(sql)
        except sqlite3.Error:
            # What SQLite refuses for its meaning may well have a tree; nothing but UnreadableSQL comes out of it.
            with suppress(UnreadableSQL):
                parse(sql)
            return
        with suppress(UnreadableSQL):
            _assert_agrees(connection, _stored_table(connection))


def _moved(clause: Clause, by: int) -> Clause:
    span = clause.expression_span
    reference = clause.reference
    return replace(
        clause,
        start=clause.start + by,
        end=clause.end + by,
        expression_span=span and Span(span.start + by, span.end + by),
        reference=reference
        and replace(
            reference, table_span=Span(reference.table_span.start + by, reference.table_span.end + by)
        ),
    )


@given(made=create_tables())
@depth(250)
def test_spans_are_exact(made: MadeTable) -> None:
    """The text of a clause's span, alone in another table, parses to the same clause; so does that of a column."""
    with closing(sqlite3.connect(":memory:")) as connection:
        _execute(connection, made.sql)
        tree = _stored_table(connection)
    sql = tree.sql
    assert unquote(sql[tree.name_span.start : tree.name_span.end]) == tree.name
    assert (sql[tree.body.start - 1], sql[tree.body.end], tree.options.start) == ("(", ")", tree.body.end + 1)
    for column in tree.columns:
        assert unquote(sql[column.name_span.start : column.name_span.end]) == column.name
        _assert_same_alone("CREATE TABLE t(a NULL ", sql, column.clauses)
        again = parse(f"CREATE TABLE t({sql[column.start : column.end]})")
        assert isinstance(again, CreateTable)
        by = column.start - len("CREATE TABLE t(")
        assert tuple(_moved(clause, by) for clause in again.columns[0].clauses) == column.clauses
        assert again.columns[0].type == column.type
    _assert_same_alone("CREATE TABLE t(a, ", sql, tree.constraints)


def _assert_same_alone(head: str, sql: str, clauses: tuple[Clause, ...]) -> None:
    for clause in clauses:
        again = parse(f"{head}{sql[clause.start : clause.end]})")
        assert isinstance(again, CreateTable)
        alone = again.constraints or again.columns[0].clauses[1:]
        assert [_moved(other, clause.start - len(head)) for other in alone] == [clause]
        if clause.expression_span is not None:
            assert sql[clause.expression_span.start : clause.expression_span.end] == clause.expression


_MEMBERS = [
    "{}",
    "({})",
    "lower({})",
    "{} || 'x'",
    "-{}",
    "(1 + {})",
    "abs({}) + 1",
    "CASE WHEN {} THEN 1 ELSE 2 END",
]


@given(made=create_tables(), data=st.data())
@depth(250)
def test_an_index_is_what_sqlite_says_it_is(made: MadeTable, data: st.DataObject) -> None:
    """Columns, expressions, order, collation, uniqueness and predicate are those that SQLite reports."""
    members = []
    for _ in range(data.draw(st.integers(1, 3))):
        column = quote(data.draw(st.sampled_from(made.columns)))
        member = data.draw(st.sampled_from(_MEMBERS)).format(column)
        collate = data.draw(st.sampled_from(["", "", " COLLATE nocase", " /* x */ COLLATE 'RTRIM' "]))
        if data.draw(st.booleans()):
            member, collate = f"({member}{collate})", ""
        members.append(member + collate + data.draw(st.sampled_from(["", " ASC", " desc"])))
    unique = data.draw(st.sampled_from(["", "UNIQUE "]))
    where = data.draw(st.sampled_from(["", f" WHERE {quote(made.columns[0])} > 0 AND (1)"]))
    with closing(sqlite3.connect(":memory:")) as connection:
        _execute(connection, made.sql)
        _execute(
            connection, f"CREATE {unique}INDEX [my index] ON {quote(made.table)} ({','.join(members)}){where}"
        )
        (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'my index'").fetchone()
        tree = parse(sql)
        assert isinstance(tree, CreateIndex)
        listed = connection.execute(
            'SELECT "unique", partial FROM pragma_index_list(?) WHERE name = ?', (made.table, tree.name)
        ).fetchone()
        found = _index_parts(connection, tree.name)
        table = _stored_table(connection)
    own = {fold(c.name): c.clause("collate") for c in table.columns}
    expected = []
    for part in tree.columns:
        clause = own.get(fold(part.column)) if part.column is not None else None
        collation = part.collation or (clause.collation if clause else "BINARY")
        expected.append((fold(part.column or ""), part.descending, fold(collation)))
    assert found == expected
    assert listed == (tree.unique, bool(tree.where))
    assert (tree.table, tree.where) == (made.table, where.removeprefix(" WHERE "))


def test_the_reserved_words_are_sqlites_own() -> None:
    """A keyword is refused as a bare name exactly where SQLite refuses it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for word in sorted(KEYWORDS):
            try:
                connection.execute(f"CREATE TABLE t({word} TEXT)")
            except sqlite3.OperationalError:
                assert word in RESERVED, word
            else:
                assert word not in RESERVED, word
                connection.execute("DROP TABLE t")
