"""What of a plan cannot be done without what else: tables, columns, keys and names that have to be there first. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from driftengine.changes import ADD, REMOVE, RENAME, rename_of
from driftengine.renames import touches, waits_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from driftengine.changes import Difference
    from driftengine.operations import Operation
    from driftengine.schema import ForeignKey, Schema

NAMED_ALIKE = frozenset({"table", "view", "virtual_table"})  # of which no two have one name


class Near:
    """For each operation those that may matter to it: of its own table, of a parent's, of its name, and renames.

    Each against each would be a million pairs for a thousand tables with a change each.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._renames = [o for o in operations if o.difference.change == RENAME]
        self._by_name: dict[str, list[Operation]] = {}
        for operation in operations:
            for name in _own_names(operation.difference):
                self._by_name.setdefault(name, []).append(operation)

    def to(self, operation: Operation) -> list[Operation]:
        """In the order in which they were given; the operation itself is among them."""
        if operation.difference.change == RENAME:
            return self._renames
        names = _own_names(operation.difference) | {key.parent for key in _brought_keys(operation.difference)}
        found = {o.number: o for name in names for o in self._by_name.get(name, ())}
        return sorted((found | {o.number: o for o in self._renames}).values(), key=lambda o: o.number)


def _own_names(d: Difference) -> set[str]:
    """The key of its table, and its own where it shares its names with tables."""
    own = {one.key for one in (d.desired, d.actual) if one is not None} if d.object in NAMED_ALIKE else set()
    return {d.table, *own}


def needs_of(operation: Operation, operations: Iterable[Operation], actual: Schema) -> frozenset[int]:
    """An operation needs those that make the tables and the columns which it reads.

    A column of the type ANY needs its table to be STRICT: elsewhere ANY is a type that makes numbers of texts.
    """
    d = operation.difference
    if d.change == RENAME:
        return _renames_needed(operation, operations)
    tables, columns = _reads(d)
    needed = set()
    for other in operations:
        made = other.difference
        if other.number == operation.number:
            continue
        if made.change == RENAME:
            needed |= {other.number} if touches(d, rename_of(made)) else set()
            continue
        if d.object == "column" and (made.aspect, made.table) == ("strict", d.table) and _is_any(d):
            needed.add(other.number)
        if made.object == "table" and made.change == ADD and made.desired.key in tables:
            needed.add(other.number)
        if any(place in columns or _mentions(d, *place) for place in _made_columns(made, actual)):
            needed.add(other.number)
        if _refers_to(d, made) or _gives_its_name(d, made) or goes_with(d, made):
            needed.add(other.number)
    return frozenset(needed)


def _renames_needed(operation: Operation, operations: Iterable[Operation]) -> frozenset[int]:
    one = rename_of(operation.difference)
    return frozenset(
        other.number
        for other in operations
        if other.number != operation.number
        and other.difference.change == RENAME
        and waits_for(one, rename_of(other.difference))
    )


def _gives_its_name(d: Difference, gone: Difference) -> bool:
    """True where a table or view of that name has to go first: they share their names."""
    if {d.object, gone.object} - NAMED_ALIKE or (d.change, gone.change) != (ADD, REMOVE):
        return False
    return bool(d.desired.key == gone.actual.key)


def _refers_to(d: Difference, made: Difference) -> bool:
    """True where the first brings a foreign key, and the second the key in its parent that it needs.

    Without that key SQLite refuses each DELETE and UPDATE on the parent, also by programs that never heard of the child:
    https://www.sqlite.org/foreignkeys.html#fk_indexes.
    """
    keys = _brought_keys(d)
    unique = made.object in {"primary_key", "unique"} or (made.object == "index" and made.desired is not None)
    if not keys or made.desired is None or not unique:
        return False
    if made.object == "index":
        if not made.desired.unique or made.desired.where is not None:
            return False
        columns = {part.effect for part in made.desired.parts}
    else:
        columns = set(made.desired.columns)
    return any(key.parent == made.table and set(key.parent_columns) == columns for key in keys)


def _brought_keys(d: Difference) -> Sequence[ForeignKey]:
    """The foreign keys that come with it."""
    if d.object == "table" and d.change == ADD:
        keys: Sequence[ForeignKey] = d.desired.foreign_keys
        return keys
    return (d.desired,) if d.object == "foreign_key" and d.desired is not None else ()


def _made_columns(d: Difference, actual: Schema) -> set[tuple[str, str]]:
    """The columns that are there once this is done; a new alias of the rowid comes with its key."""
    if d.object == "column" and d.change == ADD:
        return {(d.table, d.desired.key)}
    if d.object == "primary_key" and d.desired is not None and d.desired.rowid_alias:
        return {(d.table, key) for key in d.desired.columns if actual.tables[d.table].column(key) is None}
    return set()


def _mentions(d: Difference, table: str, column: str) -> bool:
    """True where an index or a computed column names the column in an expression; rather once too often.

    In SQLite a quoted name that is no column is a string: such an expression would go ahead, and mean something else.
    """
    return d.table == table and d.desired is not None and _named_in(_texts(d.object, d.desired), column)


def _is_any(d: Difference) -> bool:
    return d.desired is not None and d.desired.affinity == "ANY" and (d.change == ADD or d.aspect == "type")


def _reads(d: Difference) -> tuple[set[str], set[tuple[str, str]]]:
    if d.desired is None or d.object in {"view", "table", "virtual_table", "option"}:
        return set(), set()
    tables = {d.table}
    names: set[str] = set()
    if d.object in {"index", "primary_key"}:
        names = {part.effect for part in d.desired.parts if not part.is_expression}
    elif d.object in {"unique", "check", "foreign_key"}:
        names = set(d.desired.columns)
    columns = {(d.table, name) for name in names}
    if d.object == "foreign_key":
        tables.add(d.desired.parent)
        columns |= {(d.desired.parent, name) for name in d.desired.parent_columns}
    return tables, columns


def goes_with(d: Difference, made: Difference) -> bool:
    """True where a column goes, and the second takes away what reads it beside others, or its key: nothing goes unasked."""
    if (d.object, d.change, d.table) != ("column", REMOVE, made.table) or made.actual is None:
        return False
    if made.object in {"primary_key", "unique", "check", "foreign_key"}:
        alone = made.object != "primary_key" and len(made.actual.columns) == 1
        return d.actual.key in made.actual.columns and not alone
    return made.object == "column" and _named_in(_texts(made.object, made.actual), d.actual.key)


def _named_in(texts: Iterable[str], column: str) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(column)}(?!\w)", text) for text in texts)


def _texts(kind: str, record: Any) -> list[str]:
    """The expressions of an index or of a computed column."""
    if kind == "index":
        return [one.effect for one in record.parts if one.is_expression] + (
            [record.where.effect] if record.where else []
        )
    return [record.generated.expression.effect] if kind == "column" and record.generated else []
