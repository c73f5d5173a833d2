"""What an undo gives back: values and rows from a copy of the database as it was before a migration. Pure: schemas in, SQL out.

The copy is attached under the name of `earlier.EARLIER`. A row gets its own value back by key; what was written since stays; and
a query finds the rows for which nobody can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.changes import ADD, CHANGE, REMOVE, Backfill
from driftengine.dialects.sqlite.earlier import EARLIER
from driftengine.dialects.sqlite.guards import lossy, rows_concerned
from driftengine.dialects.sqlite.partner import pair_of
from driftengine.dialects.sqlite.projection import default_value, key_of
from driftengine.dialects.sqlite.tokens import quote
from driftengine.dialects.sqlite.undo_rows import constraints_over, offended, orphans_of
from driftengine.dialects.sqlite.undo_table import former_table, rows_back, sequence_back
from driftengine.dialects.sqlite.undo_value import filled, is_steady, value_of

if TYPE_CHECKING:
    from driftengine.changes import Difference
    from driftengine.dialects.sqlite.partner import Names, Pair
    from driftengine.dialects.sqlite.undo_value import Value
    from driftengine.schema import Schema

SOURCE = "the backup"
_CONSTRAINTS = frozenset({"unique", "check", "foreign_key", "index"})


def came_back(
    difference: Difference,
    now: Schema,
    then: Schema,
    target: Schema,
    names: Names,
    *,
    fill: str | None = None,
    otherwise: str | None = None,
    source: str = SOURCE,
) -> Backfill | None:
    """What a column or a table gets when it comes back, or becomes what it was; None where nothing was lost.

    `now` is the present schema (after the renames of the same plan), `then` that of the copy, `target` what is wanted.
    `names` goes from (table, column) keys of now to those of then where they are others, a table's own name under
    (table, ""). `fill` is the expression with which NULLs were filled when the column became NOT NULL, `otherwise` one
    for rows written since, where the column has no default.
    """
    if difference.object == "table" and difference.change == ADD:
        return rows_back(difference.desired, now, then, target, names, source)
    pair = pair_of(difference.table, now, then, names)
    if difference.aspect == "autoincrement":
        more = () if pair is None else sequence_back(target.tables[difference.table], pair.then, then)
        return Backfill("", source, more=more) if more else None
    value = None if pair is None else _value(difference, pair, target, fill, otherwise)
    return None if value is None else Backfill(value.sql, source, replaces=difference.change == CHANGE)


def undecided(
    difference: Difference,
    now: Schema,
    then: Schema,
    target: Schema,
    names: Names,
    *,
    fill: str | None = None,
    otherwise: str | None = None,
) -> str | None:
    """The query, as (key, value), for rows of which nobody can tell what they should hold; None where each is sure.

    Of a column: rows whose partner is not sure; those written since that have no value for a NOT NULL column; those
    whose own conversion back would lose something; what would offend a constraint that stands. Of a constraint that comes
    back: what would offend it with the values that come back, which its own guard does not see; None where it sees all.
    Of a virtual table: all its rows.
    """
    if difference.object == "table" and difference.change == ADD:
        table = former_table(difference.desired, then, names)
        return None if table is None else orphans_of(table, difference.desired, now, then, names)
    if difference.object == "virtual_table" and difference.change == ADD:
        former = then.virtual_tables.get(names.get((difference.table, ""), (difference.table, ""))[0])
        return None if former is None else f"SELECT NULL, NULL FROM {EARLIER}.{quote(former.name)}"
    pair = pair_of(difference.table, now, then, names)
    wanted = target.tables.get(difference.table)
    if pair is None or wanted is None or difference.desired is None:
        return None
    if difference.object in _CONSTRAINTS:
        if difference.object == "index" and not difference.desired.unique:
            return None
        return offended(difference.desired, wanted, pair, {})
    value = _value(difference, pair, target, fill, otherwise)
    if value is None:
        return None
    column = difference.desired.key
    conditions = _unsure(difference, value, pair, otherwise)
    here = "NULL" if difference.change == ADD else pair.here(quote(difference.actual.name))
    rows = f"SELECT {key_of(pair.now)}, {here} FROM {quote(pair.now.name)}"
    queries = [f"{rows} WHERE {' OR '.join(conditions)}"] if conditions else []
    standing = constraints_over(pair.now, now, column)
    queries += [
        query
        for one in constraints_over(wanted, target, column)
        if one in standing
        and (query := offended(one, wanted, pair, {column: fill} if fill else {})) is not None
    ]
    return " UNION ALL ".join(queries) or None


def _unsure(difference: Difference, value: Value, pair: Pair, otherwise: str | None) -> list[str]:
    """Conditions, each of which makes a row undecided."""
    conditions = [value.match.unsure] if value.match.unsure else []
    column = difference.desired
    lacking = column.not_null and column.default is None and otherwise is None
    if difference.change == ADD and lacking:
        conditions.append(f"NOT {value.taken}")
    elif difference.aspect == "not_null" and lacking:
        conditions.append(f"({pair.here(quote(difference.actual.name))} IS NULL AND NOT {value.taken})")
    elif difference.aspect == "type":
        lost = lossy(pair.here(quote(difference.actual.name)), difference.actual.affinity, column)
        conditions += [f"(({lost}) AND NOT {value.taken})"] if lost else []
    return conditions


def _value(
    difference: Difference, pair: Pair, target: Schema, fill: str | None, otherwise: str | None
) -> Value | None:
    """The value that resolves a difference in a column; None where it has nothing to do with values."""
    wanted = target.tables.get(difference.table)
    if difference.object != "column" or wanted is None or difference.desired is None:
        return None
    column = wanted.column(difference.desired.key)
    value = None if column is None else value_of(column, pair, fill, otherwise)
    if difference.change == ADD or value is None:
        return value
    before, after = difference.actual, difference.desired
    lost = {
        "type": before.affinity != after.affinity,
        "not_null": before.not_null != after.not_null,
        "generated": before.generated is not None,
    }
    return value if lost.get(difference.aspect) else None


def written_since(
    difference: Difference, now: Schema, then: Schema | None, names: Names, *, fill: str | None = None
) -> str | None:
    """The query, as (key, value), for what somebody has written into what is to be removed; None where nobody can.

    Written is what is neither NULL, nor the column's default, nor what `fill` gave the same row. Of a table it is every row.
    """
    if difference.change != REMOVE:
        return None
    if difference.object in {"table", "virtual_table"}:
        # One that cannot be understood has rows all the same.
        return rows_concerned(difference, now) or f"SELECT NULL, NULL FROM {quote(difference.actual.name)}"
    if difference.object != "column" or difference.actual.generated is not None:
        return None
    table, column = now.tables[difference.table], difference.actual
    here = f"{quote(table.name)}.{quote(column.name)}"
    untouched = [f"{here} IS NULL"]
    if column.default is not None and column.default.value is not None:
        untouched.append(f"{here} COLLATE BINARY IS {default_value(column.default)}")
    if fill is not None and is_steady(fill):
        pair = None if then is None else pair_of(table.key, now, then, names)
        untouched.append(filled(pair, here, column, fill))
    return f"SELECT {key_of(table)}, {here} FROM {quote(table.name)} WHERE NOT ({' OR '.join(untouched)})"
