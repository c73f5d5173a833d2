"""Schemas as small trees of records: an edit can change one thing and the rest stays as it was.

Texts are spelled in many ways: quotes, gaps and comments go round in cycles, so one draw serves a whole text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.tokens import fold, quote

if TYPE_CHECKING:
    from collections.abc import Callable

STRICT_TYPES = ["INTEGER", "INT", "TEXT", "BLOB", "REAL", "ANY"]
STRICT_DEFAULTS = ["NULL", "1", "'1'"]


@dataclass
class Column:
    """One column; a generated one holds (template, what it reads, STORED)."""

    name: str
    type: str
    not_null: bool = False
    default: str = ""
    collation: str = ""
    unique: str | None = None
    check: str = ""
    reference: tuple[str, str, str] | None = None
    generated: tuple[str, str, bool] | None = None


@dataclass
class Table:
    """One table; `key` is (its columns, written in the column, AUTOINCREMENT)."""

    name: str
    columns: list[Column]
    key: tuple[list[str], bool, bool] | None = None
    uniques: list[tuple[list[str], str]] = field(default_factory=list)
    checks: list[tuple[str, str, str]] = field(default_factory=list)
    foreign_keys: list[tuple[list[str], str, list[str], str, str]] = field(default_factory=list)
    without_rowid: bool = False
    strict: bool = False

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((c for c in self.columns if fold(c.name) == fold(name)), None)

    def referable(self) -> list[list[str]]:
        """What a foreign key may refer to."""
        found = [self.key[0]] if self.key else []
        found += [[c.name] for c in self.columns if c.unique is not None and not c.collation]
        return found + [columns for columns, _ in self.uniques]


@dataclass
class Index:
    """An index: (template of a part, column) pairs, and (template, column) of its predicate."""

    name: str
    table: str
    parts: list[tuple[str, str]]
    unique: bool = False
    where: tuple[str, str] = ("", "")


@dataclass
class Named:
    """A view or a trigger: what it says, of which table and column."""

    name: str
    template: str
    table: str
    column: str


@dataclass
class Shape:
    """A whole schema."""

    tables: list[Table] = field(default_factory=list)
    indexes: list[Index] = field(default_factory=list)
    views: list[Named] = field(default_factory=list)
    triggers: list[Named] = field(default_factory=list)

    def table(self, name: str) -> Table | None:
        """The table of that name."""
        return next((t for t in self.tables if fold(t.name) == fold(name)), None)


class Speller:
    """Writes names and gaps in turn in many ways."""

    def __init__(self, styles: list[str], gaps: list[str]) -> None:
        self.styles = styles
        self._gaps = gaps
        self._turns = [
            0,
            0,
        ]  # places, and no iterators: a speller is copied, and those cannot be from Python 3.14 on

    def _next(self, which: int, choices: list[str]) -> str:
        self._turns[which] += 1
        return choices[(self._turns[which] - 1) % len(choices)]

    def name(self, name: str) -> str:
        """The name in the next style that it allows."""
        style = self._next(0, self.styles)
        if style == "bare" and name in {"t", "a", "b", "x_1", "é"}:
            return name
        if style == "[":
            return f"[{name}]"
        if style == "`":
            return f"`{name}`"
        return quote(name)

    def join(self, *words: str) -> str:
        """The words that say something, with gaps between them."""
        text = ""
        for word in filter(None, words):
            text += (self._next(1, self._gaps) if text else "") + word
        return text


def sql_of(shape: Shape, speller: Speller) -> str:
    """The whole schema as a script; parents need not come first."""
    statements = [_table_sql(table, speller) for table in shape.tables]
    statements += [_index_sql(index, speller) for index in shape.indexes]
    for kind, named in (("VIEW", shape.views), ("TRIGGER", shape.triggers)):
        for one in named:
            body = one.template.format(t=quote(one.table), c=quote(one.column))
            statements.append(
                speller.join("CREATE", kind, speller.name(one.name), "AS" if kind == "VIEW" else "", body)
            )
    return ";\n".join(statements) + ";\n"


def _table_sql(table: Table, s: Speller) -> str:
    items = [_column_sql(table, column, s) for column in table.columns]
    if table.key and not table.key[1]:
        items.append(s.join("PRIMARY KEY", _list(table.key[0], s)))
    items += [s.join("UNIQUE", _list(columns, s)) + conflict for columns, conflict in table.uniques]
    for name, template, column in table.checks:
        label = s.join("CONSTRAINT", s.name(name)) if name else ""
        text = template.format(c=s.name(column), t=quote(table.name))
        items.append(s.join(label, "CHECK", f"({text})"))
    for columns, parent, remote, actions, name in table.foreign_keys:
        label = s.join("CONSTRAINT", s.name(name)) if name else ""
        target = s.join("REFERENCES", s.name(parent), _list(remote, s), actions)
        items.append(s.join(label, "FOREIGN KEY", _list(columns, s), target))
    options = ", ".join(
        text for text, wanted in (("WITHOUT ROWID", table.without_rowid), ("STRICT", table.strict)) if wanted
    )
    return s.join("CREATE TABLE", s.name(table.name), "(" + s.join("", ",\n ".join(items)) + ")", options)


def _list(columns: list[str], s: Speller) -> str:
    return "(" + ", ".join(s.name(column) for column in columns) + ")"


def _column_sql(table: Table, column: Column, s: Speller) -> str:
    words = [s.name(column.name), column.type]
    if table.key and table.key[1] and fold(table.key[0][0]) == fold(column.name):
        words += ["PRIMARY KEY", "AUTOINCREMENT" if table.key[2] else ""]
    if column.not_null:
        words.append("NOT NULL")
    if column.generated:
        template, read, stored = column.generated
        words += ["GENERATED ALWAYS AS", f"({template.format(c=s.name(read))})", "STORED" if stored else ""]
    elif column.default:
        words += ["DEFAULT", column.default]
    if column.collation:
        words += ["COLLATE", column.collation]
    if column.unique is not None:
        words.append(f"UNIQUE{column.unique}")
    if column.check:
        words += ["CHECK", f"({column.check.format(c=s.name(column.name), t=quote(table.name))})"]
    if column.reference:
        parent, remote, actions = column.reference
        words += ["REFERENCES", s.name(parent), _list([remote], s) if remote else "", actions]
    return s.join(*words)


def _index_sql(index: Index, s: Speller) -> str:
    parts = ", ".join(template.format(c=quote(column)) for template, column in index.parts)
    where = index.where[0].format(c=quote(index.where[1])) if index.where[0] else ""
    return s.join(
        "CREATE", "UNIQUE" if index.unique else "", "INDEX", s.name(index.name), "ON", s.name(index.table),
        f"({parts})", s.join("WHERE", where) if where else "",
    )  # fmt: skip


def mended(shape: Shape) -> Shape:
    """The schema less what its other parts no longer allow: columns that are gone, keys that nobody has."""
    for table in shape.tables:
        _mend_columns(table)
    for _ in shape.tables:
        for table in shape.tables:
            _mend_foreign_keys(shape, table)
    shape.indexes = [index for index in shape.indexes if _index_stands(shape, index)]
    for kind in ("views", "triggers"):
        setattr(shape, kind, [one for one in getattr(shape, kind) if _stands(shape, one.table, one.column)])
    return shape


def _mend_columns(table: Table) -> None:
    members = {fold(name) for name in table.key[0]} if table.key else set()
    if not all(table.column(name) for name in members) or not members:
        table.key, members = None, set()
    for column in table.columns:
        if table.strict and column.type not in STRICT_TYPES:
            column.type = "ANY"
        if table.strict and column.default not in STRICT_DEFAULTS:
            column.default = ""
        source = table.column(column.generated[1]) if column.generated else None
        if fold(column.name) in members or source is None or source.generated or source is column:
            column.generated = None
    if not any(column.generated is None for column in table.columns):
        table.columns[0].generated = None
    if table.key:
        columns, inline, increments = table.key
        only = table.column(columns[0])
        alone = len(columns) == 1 and only is not None and only.type == "INTEGER" and not table.without_rowid
        table.key = (columns, inline and len(columns) == 1, bool(increments and inline and alone))
    table.without_rowid = table.without_rowid and table.key is not None
    table.uniques = [one for one in table.uniques if all(table.column(name) for name in one[0])]
    table.checks = [one for one in table.checks if table.column(one[2])]


def _mend_foreign_keys(shape: Shape, table: Table) -> None:
    for column in table.columns:
        if column.reference:
            parent = shape.table(column.reference[0])
            remote = [column.reference[1]] if column.reference[1] else []
            if parent is None or column.generated or not _refers(parent, remote or None, 1):
                column.reference = None
    table.foreign_keys = [
        one
        for one in table.foreign_keys
        if all((c := table.column(name)) and not c.generated for name in one[0])
        and (parent := shape.table(one[1])) is not None
        and _refers(parent, one[2], len(one[0]))
    ]


def _refers(parent: Table, remote: list[str] | None, count: int) -> bool:
    if remote is None:
        return parent.key is not None and len(parent.key[0]) == count
    wanted = {fold(name) for name in remote}
    return any({fold(name) for name in key} == wanted for key in parent.referable())


def _stands(shape: Shape, table: str, column: str) -> bool:
    found = shape.table(table)
    return found is not None and found.column(column) is not None


def _index_stands(shape: Shape, index: Index) -> bool:
    columns = [column for _, column in index.parts] + ([index.where[1]] if index.where[0] else [])
    return all(_stands(shape, index.table, column) for column in columns)


def rename_table(shape: Shape, old: str, new: str) -> None:
    """Another name for a table, also wherever it is named."""

    def named(name: str) -> str:
        return new if fold(name) == fold(old) else name

    for table in shape.tables:
        table.name = named(table.name)
        table.foreign_keys = [
            (local, named(parent), far, actions, name)
            for local, parent, far, actions, name in table.foreign_keys
        ]
        for column in table.columns:
            if column.reference:
                column.reference = (named(column.reference[0]), *column.reference[1:])
    for index in shape.indexes:
        index.table = named(index.table)
    for one in (*shape.views, *shape.triggers):
        one.table = named(one.table)


def rename_column(shape: Shape, table: Table, old: str, new: str) -> None:
    """Another name for a column, also wherever it is named."""

    def named(name: str) -> str:
        return new if fold(name) == fold(old) else name

    def listed(names: list[str]) -> list[str]:
        return [named(name) for name in names]

    if table.key:
        table.key = (listed(table.key[0]), *table.key[1:])
    table.uniques = [(listed(columns), conflict) for columns, conflict in table.uniques]
    table.checks = [(name, template, named(column)) for name, template, column in table.checks]
    for column in table.columns:
        column.name = named(column.name)
        if column.generated:
            template, read, stored = column.generated
            column.generated = (template, named(read), stored)
    for child in shape.tables:
        _point_anew(child, table, named)
    for index in shape.indexes:
        if fold(index.table) == fold(table.name):
            index.parts = [(template, named(column)) for template, column in index.parts]
            index.where = (index.where[0], named(index.where[1]))
    for one in (*shape.views, *shape.triggers):
        if fold(one.table) == fold(table.name):
            one.column = named(one.column)


def _point_anew(child: Table, parent: Table, named: Callable[[str], str]) -> None:
    """The foreign keys of a child of the table, or of the table itself, one of whose columns has another name."""
    keys = child.foreign_keys
    child.foreign_keys = []
    for local, name, far, actions, label in keys:
        ours = [named(column) for column in local] if child is parent else local
        theirs = [named(column) for column in far] if fold(name) == fold(parent.name) else far
        child.foreign_keys.append((ours, name, theirs, actions, label))
    for column in child.columns:
        if column.reference and fold(column.reference[0]) == fold(parent.name):
            column.reference = (column.reference[0], named(column.reference[1]), column.reference[2])
