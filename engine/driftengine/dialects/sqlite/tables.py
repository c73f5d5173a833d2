"""From the parse tree of a CREATE TABLE to a schema record: the rules by which two spellings mean the same."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from driftengine.dialects.sqlite.defaults import default_of
from driftengine.dialects.sqlite.expressions import canonical, columns_read
from driftengine.dialects.sqlite.tokens import UnreadableSQL, fold, quote, tokenize, unquote
from driftengine.schema import (
    Check,
    Column,
    Expression,
    ForeignKey,
    Generated,
    KeyPart,
    PrimaryKey,
    Table,
    Unique,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from driftengine.dialects.sqlite.ddl import Clause, ColumnDefinition, CreateTable, IndexedColumn

Constraint = Check | ForeignKey | Unique
Item = TypeVar("Item")


def declared_type(written: str) -> str:
    """The type that SQLite makes of what was written: of `"INT"`, `'INT'` or `[INT]` it takes the quotes away.

    What stands behind a quoted word is lost; behind brackets only the last character is, unless a quote stands somewhere
    between (sqlite3DequoteToken and sqlite3Dequote in SQLite's util.c).
    """
    mark = written[:1]
    if mark == "[":
        quoted = any(quote_mark in written[1:-1] for quote_mark in "\"'`[")
        return unquote(tokenize(written)[0].text) if quoted else written[1:-1]
    return unquote(tokenize(written)[0].text) if mark and mark in "\"'`" else written


@lru_cache(maxsize=1024)
def type_key(declared: str) -> str:
    """A declared type with its case and white space folded: `varchar ( 10 )` and `VARCHAR(10)` are one type.

    A comment inside says nothing, unless SQLite finds a word in it that changes the affinity.
    """
    words = " ".join(declared.split())
    if "/*" in declared or "--" in declared:
        words = _without_comments(declared, words)
    return re.sub(r"\s*([(),+-])\s*", r"\1", words).upper()


def _without_comments(declared: str, otherwise: str) -> str:
    try:
        words = " ".join(token.text for token in tokenize(declared))
    except UnreadableSQL:
        return otherwise
    return words if affinity_of(words) == affinity_of(declared) else otherwise


@lru_cache(maxsize=1024)
def affinity_of(declared: str, *, strict: bool = False) -> str:
    """The affinity of a declared type, by the rules of https://www.sqlite.org/datatype3.html, section 3.1."""
    name = declared.upper()
    if strict:
        return "INTEGER" if name in {"INT", "INTEGER"} else name
    if "INT" in name:
        return "INTEGER"
    if any(word in name for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in name or not name:
        return "BLOB"
    if any(word in name for word in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return "NUMERIC"


def build_table(tree: CreateTable) -> Table:
    """The record of a parsed CREATE TABLE."""
    primary = primary_key_of(tree)
    implied = (
        set(primary.columns)
        if primary and (primary.rowid_alias or tree.without_rowid or tree.strict)
        else set()
    )
    columns = tuple(_column(d, tree, not_null_implied=fold(d.name) in implied) for d in tree.columns)
    constraints = [constraint for _, constraint in constraints_of(tree)]
    return Table(
        key=fold(tree.name),
        columns=columns,
        primary_key=primary,
        uniques=_distinct(c for c in constraints if isinstance(c, Unique)),
        checks=_distinct(c for c in constraints if isinstance(c, Check)),
        foreign_keys=_distinct(c for c in constraints if isinstance(c, ForeignKey)),
        without_rowid=tree.without_rowid,
        strict=tree.strict,
        name=tree.name,
        sql=tree.sql,
    )


def _distinct(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(dict.fromkeys(items))


def _names(tree: CreateTable) -> frozenset[str]:
    return frozenset(fold(d.name) for d in tree.columns)


def _collations(tree: CreateTable) -> dict[str, str]:
    return {fold(d.name): _collation(d) for d in tree.columns}


def _collation(definition: ColumnDefinition) -> str:
    clause = definition.clause("collate")
    return clause.collation.upper() if clause else "BINARY"


def _column(definition: ColumnDefinition, tree: CreateTable, *, not_null_implied: bool) -> Column:
    not_null = definition.clause("not null")
    generated = definition.clause("generated")
    default = definition.clause("default")
    declared = declared_type(definition.type)
    return Column(
        key=fold(definition.name),
        type_key=type_key(declared),
        affinity=affinity_of(declared, strict=tree.strict),
        not_null=not_null is not None or not_null_implied,
        not_null_conflict=_conflict(not_null.conflict) if not_null else "",
        default=default_of(default.expression, definition.type, strict=tree.strict) if default else None,
        collation=_collation(definition),
        generated=Generated(_expression(generated.expression, _names(tree), tree.name), generated.stored)
        if generated
        else None,
        name=definition.name,
        type=definition.type,
    )


def _conflict(word: str) -> str:
    return "" if word.upper() == "ABORT" else word.upper()


def _expression(sql: str, names: frozenset[str], table: str) -> Expression:
    return Expression(canonical(sql, columns=names, table=table), sql)


def primary_key_of(tree: CreateTable) -> PrimaryKey | None:
    """The primary key, wherever it is declared, with the ON CONFLICT that a UNIQUE over the same columns lends it."""
    key = _declared_key(tree)
    if key is None or key.rowid_alias or key.conflict:
        return key
    return replace(key, conflict=_lent_conflicts(tree).get(_index_behind(key.parts), ""))


def _declared_key(tree: CreateTable) -> PrimaryKey | None:
    """The key as it is written. https://www.sqlite.org/lang_createtable.html#rowid says what an alias is."""
    for definition in tree.columns:
        clause = definition.clause("primary key")
        if clause:
            # `INTEGER PRIMARY KEY DESC` is, by an old quirk, no alias of the rowid; the table constraint with DESC is.
            alias = _integer(definition) and not clause.descending and not tree.without_rowid
            part = KeyPart(fold(definition.name), descending=clause.descending and not alias)
            return PrimaryKey((part,), alias, clause.autoincrement, _conflict(clause.conflict), clause.name)
    for clause in tree.constraints:
        if clause.kind == "primary key":
            return _table_level_key(tree, clause)
    return None


def _integer(definition: ColumnDefinition) -> bool:
    return declared_type(definition.type).upper() == "INTEGER"


def _table_level_key(tree: CreateTable, clause: Clause) -> PrimaryKey:
    parts = key_parts(clause.columns, _names(tree), _collations(tree), tree.name)
    types = {fold(d.name): d for d in tree.columns}
    only = types.get(parts[0].effect) if len(parts) == 1 else None
    alias = only is not None and _integer(only) and not tree.without_rowid
    if alias:
        parts = (KeyPart(parts[0].effect),)
    return PrimaryKey(parts, alias, clause.autoincrement, _conflict(clause.conflict), clause.name)


def key_parts(
    columns: Iterable[IndexedColumn], names: frozenset[str], collations: Mapping[str, str], table: str
) -> tuple[KeyPart, ...]:
    """The members of a key or an index; a collation that the column has anyway is left out."""
    return tuple(_key_part(column, names, collations, table) for column in columns)


def _key_part(
    column: IndexedColumn, names: frozenset[str], collations: Mapping[str, str], table: str
) -> KeyPart:
    plain = fold(column.column) if column.column is not None else None
    is_expression = plain is None or plain not in names
    effect = canonical(column.expression, columns=names, table=table) if is_expression else plain or ""
    own = "BINARY" if is_expression else collations.get(effect, "BINARY")
    collation = column.collation.upper()
    return KeyPart(effect, is_expression, column.descending, "" if collation == own else collation)


def constraints_of(tree: CreateTable) -> Iterator[tuple[Clause, Constraint]]:
    """Every CHECK, UNIQUE and foreign key with the clause that declares it, in a column or on the table.

    Of two UNIQUE over the same columns SQLite makes one index, with the ON CONFLICT of the one that has it (and of a
    primary key likewise): https://www.sqlite.org/lang_createtable.html#uniqueconst. That one comes first.
    """
    written = sorted(_written_constraints(tree), key=lambda one: not one[0].conflict)
    lent = _lent_conflicts(tree)
    key = _declared_key(tree)
    own = _index_behind(key.parts) if key is not None else None
    for clause, constraint in written:
        if isinstance(constraint, Unique):
            index = _unique_index(constraint)
            yield clause, replace(constraint, conflict="" if index == own else lent.get(index, ""))
        else:
            yield clause, constraint


def _written_constraints(tree: CreateTable) -> Iterator[tuple[Clause, Constraint]]:
    for definition in tree.columns:
        for clause in definition.clauses:
            constraint = _constraint(clause, tree, definition)
            if constraint is not None:
                yield clause, constraint
    for clause in tree.constraints:
        constraint = _constraint(clause, tree, None)
        if constraint is not None:
            yield clause, constraint


def _lent_conflicts(tree: CreateTable) -> dict[tuple[KeyPart, ...], str]:
    """What the UNIQUE constraints say of conflicts, by the index that stands behind each."""
    places = [(clause, definition) for definition in tree.columns for clause in definition.clauses]
    lenders = [
        _unique(clause, tree, owner)
        for clause, owner in (*places, *((clause, None) for clause in tree.constraints))
        if clause.kind == "unique" and _conflict(clause.conflict)
    ]
    return {_unique_index(unique): unique.conflict for unique in lenders}


def _unique_index(unique: Unique) -> tuple[KeyPart, ...]:
    collations = {part.effect: part for part in unique.parts}
    return tuple(collations[column] for column in unique.columns)


def _index_behind(parts: Iterable[KeyPart]) -> tuple[KeyPart, ...]:
    """The members of a key without their order, in which two indexes may differ and still be one for SQLite."""
    return tuple(replace(part, descending=False) for part in parts)


def _constraint(clause: Clause, tree: CreateTable, owner: ColumnDefinition | None) -> Constraint | None:
    if clause.kind == "check":
        names = _names(tree)
        return Check(
            _expression(clause.expression, names, tree.name),
            clause.name,
            columns_read(clause.expression, columns=names, table=tree.name),
        )
    if clause.kind == "unique":
        return _unique(clause, tree, owner)
    if clause.kind in {"references", "foreign key"}:
        return _foreign_key(clause, owner)
    return None


def _unique(clause: Clause, tree: CreateTable, owner: ColumnDefinition | None) -> Unique:
    if owner is not None:
        parts: tuple[KeyPart, ...] = (KeyPart(fold(owner.name)),)
    else:
        listed = key_parts(clause.columns, _names(tree), _collations(tree), tree.name)
        parts = tuple(KeyPart(part.effect, part.is_expression, collation=part.collation) for part in listed)
    columns = tuple(part.effect for part in parts)
    return Unique(frozenset(parts), _conflict(clause.conflict), clause.name, columns)


def _foreign_key(clause: Clause, owner: ColumnDefinition | None) -> ForeignKey | None:
    reference = clause.reference
    if reference is None:
        return None
    local = (owner.name,) if owner is not None else clause.local_columns
    columns = tuple(fold(name) for name in local)
    parents = tuple(fold(name) for name in reference.columns)
    # Without a list of columns the parent's primary key is meant; introspect resolves it where the parent is known.
    remote = parents or tuple(f"#{number}" for number in range(len(columns)))
    return ForeignKey(
        frozenset(zip(columns, remote, strict=False)),
        fold(reference.table),
        reference.on_update.upper(),
        reference.on_delete.upper(),
        reference.deferred,
        clause.name,
        columns,
        parents,
        reference.table,
    )


def table_level(clause: Clause, owner: str, sql: str) -> str:
    """The clause's text as a table constraint; `owner` is the column that it stands in, or "" for a table constraint."""
    text = sql[clause.start : clause.end]
    if not owner or clause.kind == "check":
        return text
    prefix = f"CONSTRAINT {quote(clause.name)} " if clause.name else ""
    if clause.kind == "unique":
        conflict = f" ON CONFLICT {clause.conflict}" if clause.conflict else ""
        return f"{prefix}UNIQUE ({quote(owner)}){conflict}"
    start = _word_start(text, "REFERENCES")
    return f"{prefix}FOREIGN KEY({quote(owner)}) {text[start:]}"


def _word_start(text: str, word: str) -> int:
    """Where the keyword stands in the clause; a constraint's name before it may contain the same letters, quoted."""
    return next(t.start for t in tokenize(text) if t.kind == "word" and t.text.upper() == word)
