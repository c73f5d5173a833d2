"""The value that one column of a row gets back, as SQL over the row as it is now and its partner as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftengine.dialects.sqlite.defaults import is_constant
from driftengine.dialects.sqlite.oracle import functions_called
from driftengine.dialects.sqlite.partner import match_of
from driftengine.dialects.sqlite.projection import default_value, rowid_name
from driftengine.dialects.sqlite.tokens import UnreadableSQL, fold, quote, tokenize, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from driftengine.dialects.sqlite.partner import Match, Pair
    from driftengine.schema import Column

_FILL = '"driftd_fill"'
_OF_THE_MOMENT = frozenset(
    {"random", "randomblob", "changes", "total_changes", "last_insert_rowid"}
    | {"current_time", "current_date", "current_timestamp"}
    # Without an argument, or with 'now' in any disguise, these tell the time.
    | {"date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff"}
)


@dataclass(frozen=True, slots=True)
class Value:
    """What a row gets back. `sql` is the value, `taken` the condition under which it is the earlier one."""

    sql: str
    taken: str
    match: Match


def value_of(
    column: Column, pair: Pair, fill: str | None = None, otherwise: str | None = None
) -> Value | None:
    """The value of a column of the target, made of what the row holds and what it held; None where it just stays.

    `fill` is the expression by which its NULLs were filled, `otherwise` one for rows without a partner where the column
    has no default.
    """
    old, present = pair.before(column.key), pair.now.column(column.key)
    if old is None or column.generated is not None:
        return None
    match = match_of(pair, column.key)
    there = pair.there(quote(old.name))
    other = f"({otherwise})" if otherwise is not None else "NULL"
    other = default_value(column.default) if column.default is not None else other
    if present is None:
        return _either(pair, pair.rows, match, match.condition, there, other)
    if present.generated is not None:
        return _either(pair, pair.rows, match, match.condition, there, pair.here(quote(present.name)))
    known = fill if fill is not None and present.not_null and is_steady(fill) else None
    if column.not_null and not present.not_null and old.not_null:
        return _refilled(column, present, old, pair, match, other)
    return _unconverted(column, present, old, pair, match, known)


def _refilled(column: Column, present: Column, old: Column, pair: Pair, match: Match, other: str) -> Value:
    """The earlier value where NULL stands now, which is not allowed again; and what a conversion has made of others."""
    here, there = pair.here(quote(present.name)), pair.there(quote(old.name))
    made = [f"{here} IS NULL"]
    if _is_converted(column, present, old):
        made.append(f"+{here} COLLATE BINARY IS {as_stored(there, present.affinity)}")
    kept = here if other == "NULL" else f"coalesce({here}, {other})"
    return _either(pair, pair.rows, match, f"{match.condition} AND ({' OR '.join(made)})", there, kept)


def _unconverted(
    column: Column, present: Column, old: Column, pair: Pair, match: Match, fill: str | None
) -> Value | None:
    """The earlier value where the present one is still what the migration had made of it; else the present one."""
    converted = _is_converted(column, present, old)
    emptied = fill is not None and not column.not_null and not old.not_null
    if not converted and not emptied:
        return None
    here, there = pair.here(quote(present.name)), pair.there(quote(old.name))
    rows, before = pair.rows, there
    if fill is not None:
        rows, before = with_fill(pair, fill), f"coalesce({there}, {pair.there(_FILL)})"
    # What fills is an expression, and has no affinity of its own.
    bare = fill is None and present.affinity == old.affinity
    made = before if bare else as_stored(before, present.affinity)
    conditions = [match.condition, f"+{here} COLLATE BINARY IS {made}"]
    if column.not_null:
        conditions.append(f"{there} IS NOT NULL")
    elif not converted:
        conditions.append(f"{there} IS NULL")
    return _either(pair, rows, match, " AND ".join(conditions), there if converted else "NULL", here)


def _is_converted(column: Column, present: Column, old: Column) -> bool:
    return present.affinity != old.affinity and old.affinity == column.affinity


def _either(pair: Pair, rows: str, match: Match, condition: str, value: str, otherwise: str) -> Value:
    """The value of the partner where there is one that meets the condition, else another one.

    Two lookups by key: coalesce would take a NULL that comes back for no partner at all.
    """
    source = rows if rows != pair.rows else f"{rows} AS {pair.alias}"
    taken = f"EXISTS (SELECT 1 FROM {source} WHERE {condition})"
    found = "NULL" if value == "NULL" else f"(SELECT {value} FROM {source} WHERE {condition})"
    if otherwise == "NULL":
        return Value(found, taken, match)
    return Value(f"CASE WHEN {taken} THEN {found} ELSE {otherwise} END", taken, match)


def filled(pair: Pair | None, here: str, column: Column, fill: str) -> str:
    """A condition on rows that hold in `column` (its SQL is `here`) just what they, or the row they were, got by `fill`."""
    here = f"+{here} COLLATE BINARY"
    if pair is None or is_constant(fill):
        return f"{here} IS {as_stored(f'({fill})', column.affinity)}"
    condition = match_of(pair, column.key).condition
    given = as_stored(pair.there(_FILL), column.affinity)
    return f"EXISTS (SELECT 1 FROM {with_fill(pair, fill)} WHERE {condition} AND {here} IS {given})"


def with_fill(pair: Pair, fill: str) -> str:
    """The table as it was, for FROM, with what each row was filled with.

    The expression was evaluated over the table's own columns, under the names of then or of now, and may say which table
    they are of. SQLite flattens both subqueries, so that a partner is still found by its key
    (https://www.sqlite.org/optoverview.html#flattening).
    """
    rowid = rowid_name(pair.then)
    # Without AS its name would be that of the column which is another name of it.
    columns = [*([f"{rowid} AS {rowid}"] if rowid else []), "*"]
    for now in pair.now.columns:
        old = pair.before(now.key)
        if old is not None and old.key != now.key:
            columns.append(f"{quote(old.name)} AS {quote(now.name)}")
    inner = f"(SELECT {', '.join(columns)} FROM {pair.rows}) AS {quote(pair.now.name)}"
    return f"(SELECT *, ({fill}) AS {_FILL} FROM {inner}) AS {pair.alias}"


def respelled(expression: str, names: Mapping[str, str]) -> str | None:
    """An expression with other names, by key; None where it asks more than its own row, so that a name may be another's."""
    try:
        tokens = tokenize(expression)
    except UnreadableSQL:
        return None
    written, end = [], 0
    for place, token in enumerate(tokens):
        name = names.get(fold(unquote(token.text))) if token.kind in {"word", "quoted"} else None
        calls = place + 1 < len(tokens) and tokens[place + 1].text == "("
        if name is not None and not (calls and token.kind == "word"):
            written += [expression[end : token.start], quote(name)]
            end = token.end
    if written and any(token.kind == "word" and token.text.upper() == "SELECT" for token in tokens):
        return None
    return "".join([*written, expression[end:]])


def as_stored(value: str, affinity: str) -> str:
    """What a column of that affinity stores of the value. https://www.sqlite.org/datatype3.html, section 3."""
    if affinity in {"BLOB", "ANY"}:
        return value
    if affinity == "TEXT":
        return f"iif(typeof({value}) IN ('integer', 'real'), CAST({value} AS TEXT), {value})"
    number = f"CAST({value} AS {'REAL' if affinity == 'REAL' else 'NUMERIC'})"
    # NUMERIC affinity is applied to the text on the right: equal are just the texts that look like a number.
    looks = f"typeof({value}) = 'text' AND CAST({value} AS NUMERIC) = CAST({value} AS TEXT)"
    return f"iif(typeof({value}) IN ('integer', 'real') OR ({looks}), {number}, {value})"


def is_steady(expression: str) -> bool:
    """True when an expression gives the same for the same row at any time."""
    try:
        words = {token.text.lower() for token in tokenize(expression) if token.kind == "word"}
        called = functions_called(expression)
    except UnreadableSQL:
        return False
    # Values that were drawn from the models' callables cannot be drawn again.
    return not words & _OF_THE_MOMENT and not any(name.startswith("driftd_") for name in called)
