"""Which row of a table was which row of the same table as it was: told by key, else by rowid and what has stayed the same.

A row that was written since has no partner. Where keys are NULL, or where there is no key, some rows are not sure: a
rowid may move by VACUUM (https://www.sqlite.org/lang_vacuum.html) and be given again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from driftengine.dialects.sqlite.conditions import all_of, any_of, joined
from driftengine.dialects.sqlite.earlier import EARLIER
from driftengine.dialects.sqlite.projection import rowid_name
from driftengine.dialects.sqlite.tokens import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from driftengine.schema import Column, KeyPart, Schema, Table

Names: TypeAlias = "Mapping[tuple[str, str], tuple[str, str]]"


@dataclass(frozen=True, slots=True)
class Pair:
    """One table as it is now and as it was, with what it stands in; `names` as in `undo.came_back`."""

    now: Table
    then: Table
    present: Schema
    former: Schema
    names: Names

    def before(self, key: str) -> Column | None:
        """What the column of that key was then."""
        _, found = self.names.get((self.now.key, key), (self.then.key, key))
        return self.then.column(found)

    @property
    def alias(self) -> str:
        """A name for the table as it was that no table of the statement has."""
        return quote("driftd_then" if self.now.key != "driftd_then" else "driftd_then_")

    @property
    def rows(self) -> str:
        """The table as it was, for FROM."""
        return f"{EARLIER}.{quote(self.then.name)}"

    def here(self, column: str) -> str:
        """A value of the row as it is now."""
        return f"{quote(self.now.name)}.{column}"

    def there(self, column: str) -> str:
        """A value of the row as it was."""
        return f"{self.alias}.{column}"

    def shared(self, *, left_out: str = "") -> tuple[tuple[Column, Column], ...]:
        """The stored columns, now and then, whose values nothing but somebody's writing can have changed."""
        found = [
            (column, old)
            for column in self.now.columns
            if (old := self.before(column.key)) is not None and column.key != left_out and _alike(column, old)
        ]
        return tuple(found)


def pair_of(table: str, now: Schema, then: Schema, names: Names) -> Pair | None:
    """The table with that key of now in both states; None where one lacks it, or where it cannot be understood."""
    key, _ = names.get((table, ""), (table, ""))
    one, other = now.tables.get(table), then.tables.get(key)
    if one is None or other is None or one.problem or other.problem:
        return None
    return Pair(one, other, now, then, names)


def _alike(now: Column, then: Column) -> bool:
    """Stored alike on both sides, and no NULL was filled in between."""
    stored = now.generated is None and then.generated is None
    return stored and now.affinity == then.affinity and not (now.not_null and not then.not_null)


@dataclass(frozen=True, slots=True)
class Match:
    """How the partner of a row is found. `condition` holds for the two of them; `unsure` for rows that have none for sure."""

    condition: str
    unsure: str


def match_of(pair: Pair, column: str) -> Match:
    """The match of a table's rows, to give `column` (its key of now) what it held."""
    for key in _keys(pair):
        condition = " AND ".join(_same(pair, *one) for one in key)
        if pair.now.is_alias(key[0][0]):
            return Match(condition, _given_again(pair, condition, *key[0][:2], column))
        return Match(condition, _without_key(pair, [names for *names, _, _ in key]))
    old, new = rowid_name(pair.then), rowid_name(pair.now)
    if old is None or new is None:
        return Match("0", f"EXISTS (SELECT 1 FROM {pair.rows})")
    return _by_rowid(pair, old, new, column)


# --- by key

Member: TypeAlias = (
    "tuple[Column, Column, str, str]"  # the columns now and then, and the collations of the two keys
)


def _keys(pair: Pair) -> Iterator[list[Member]]:
    """The keys that both states have: the primary key, else a unique one whose columns never hold NULL."""
    for position, parts in enumerate(_unique_parts(pair.now, pair.present)):
        members = [_member(pair, part) for part in parts]
        found = [member for member in members if member is not None]
        if len(found) < len(parts) or not parts:
            continue
        primary = position == 0 and pair.now.primary_key is not None
        if not primary and any(_may_be_null(pair, member) for member in found):
            continue
        for other in _unique_parts(pair.then, pair.former):
            collations = {part.effect: part.collation for part in other}
            if collations.keys() == {old.key for _, old, _, _ in found}:
                yield [
                    (new, old, collation, collations[old.key] or old.collation)
                    for new, old, collation, _ in found
                ]
                break


def _unique_parts(table: Table, schema: Schema) -> list[tuple[KeyPart, ...]]:
    """What the keys of a table are over, the primary key first."""
    keys = [table.primary_key.parts] if table.primary_key else []
    keys += [tuple(sorted(unique.parts, key=lambda part: part.effect)) for unique in table.uniques]
    keys += [index.parts for index in schema.indexes_of(table.key) if index.unique and index.where is None]
    return keys


def _member(pair: Pair, part: KeyPart) -> Member | None:
    column = None if part.is_expression else pair.now.column(part.effect)
    old = None if column is None else pair.before(column.key)
    if column is None or old is None or column.affinity != old.affinity:
        return None
    if column.generated is not None or old.generated is not None:
        return None
    return column, old, part.collation or column.collation, ""


def _may_be_null(pair: Pair, member: Member) -> bool:
    now, then, _, _ = member
    return not (_never_null(pair.now, now) and _never_null(pair.then, then))


def _never_null(table: Table, column: Column) -> bool:
    key = table.primary_key
    in_key = key is not None and column.key in key.columns
    return column.not_null or table.is_alias(column) or (in_key and (table.without_rowid or table.strict))


def _same(pair: Pair, now: Column, then: Column, collation: str, former: str) -> str:
    """The same key. Where the collations differ, two that one of them keeps apart are two rows."""
    here, there = pair.here(quote(now.name)), pair.there(quote(then.name))
    equal = f"{there} COLLATE {quote(former)} = {here}"
    return equal if collation == former else f"{equal} AND {there} COLLATE BINARY = {here}"


def _without_key(pair: Pair, members: Iterable[Iterable[Column]]) -> str:
    """Rows with NULL in their key, where the table as it was has such too."""
    here, there = [], []
    for now, then in members:
        if not (_never_null(pair.now, now) and _never_null(pair.then, then)):
            here.append(f"{pair.here(quote(now.name))} IS NULL")
            there.append(f"{quote(then.name)} IS NULL")
    if not here:
        return ""
    return f"({' OR '.join(here)}) AND EXISTS (SELECT 1 FROM {pair.rows} WHERE {' OR '.join(there)})"


def _given_again(pair: Pair, condition: str, key: Column, old: Column, column: str) -> str:
    """Rows whose INTEGER PRIMARY KEY may have been another row's, which was deleted since.

    Without AUTOINCREMENT a new row gets the highest key plus one (https://www.sqlite.org/autoinc.html): only keys above the
    last row that is as it was can have been given again. There a row is taken for the same one when some value in it is as
    it was that no other row had then; NULL, 0, 1, '' and the column's default say nothing.
    """
    shared = pair.shared(left_out=column)
    others = [(now, then) for now, then in shared if now.key != key.key]
    if not others or (pair.now.primary_key and pair.now.primary_key.autoincrement):
        return ""
    number, above = quote(key.name), '"driftd_last"'
    same = [_identical(f"{above}.{quote(now.name)}", pair.there(quote(then.name))) for now, then in others]
    last = (
        f"SELECT {above}.{number} FROM {quote(pair.now.name)} AS {above}"
        f" JOIN {pair.rows} AS {pair.alias} ON {pair.there(quote(old.name))} = {above}.{number}"
        f" WHERE {all_of(same)} ORDER BY {above}.{number} DESC LIMIT 1"
    )
    tell = [f"({_tells(pair, now, then)})" for now, then in others]
    return (
        f"({pair.here(number)} > coalesce(({last}), {-(2**63)}) AND EXISTS"
        f" (SELECT 1 FROM {pair.rows} AS {pair.alias} WHERE {condition} AND NOT ({any_of(tell)})))"
    )


def _tells(pair: Pair, now: Column, then: Column) -> str:
    """The same value, of which the column has no other one: what several rows share, a later row may have as well.

    The query for such values names no outer column, so SQLite evaluates it once, and only where the rest holds.
    """
    here, name = pair.here(quote(now.name)), quote(then.name)
    defaults = {one.default.value for one in (now, then) if one.default and one.default.value}
    little = ", ".join(["0", "1", "''", *sorted(value.partition(":")[2] for value in defaults)])
    single = (
        f"SELECT +{name} COLLATE BINARY FROM {pair.rows} GROUP BY +{name} COLLATE BINARY HAVING count(*) = 1"
    )
    return (
        f"{here} IS NOT NULL AND +{here} COLLATE BINARY NOT IN ({little})"
        f" AND {_identical(here, pair.there(name))} AND +{here} COLLATE BINARY IN ({single})"
    )


def _identical(here: str, there: str) -> str:
    """The same value in the same storage class; the plus takes the columns' affinities away."""
    return f"typeof({there}) = typeof({here}) AND +{there} COLLATE BINARY IS +{here}"


# --- by rowid


def _by_rowid(pair: Pair, old: str, new: str, column: str) -> Match:
    """The same rowid, and the same in all that both states share.

    Not sure are rows that have a rowid which was another's, and those that look like a row that was and is not under
    its rowid any more: it may have moved.
    """
    shared = pair.shared(left_out=column)
    same = [_identical(pair.here(quote(now.name)), pair.there(quote(then.name))) for now, then in shared]
    condition = all_of([f"{pair.there(old)} = {pair.here(new)}", *same])
    looks = _signature(pair.here(quote(now.name)) for now, _ in shared)
    looked = _signature(quote(then.name) for _, then in shared)
    looks_now = _signature(quote(now.name) for now, _ in shared)
    moved = (
        f"SELECT s FROM (SELECT {old} AS r, {looked} AS s FROM {pair.rows}"
        f" EXCEPT SELECT {new}, {looks_now} FROM {quote(pair.now.name)})"
    )
    no_partner = f"NOT EXISTS (SELECT 1 FROM {pair.rows} AS {pair.alias} WHERE {condition})"
    taken = f"EXISTS (SELECT 1 FROM {pair.rows} AS {pair.alias} WHERE {pair.there(old)} = {pair.here(new)})"
    return Match(condition, f"(({no_partner} AND {taken}) OR {looks} IN ({moved}))")


def _signature(values: Iterable[str]) -> str:
    """The values of a row as one text, equal for none but equal ones; quote() would end a text at a NUL character."""
    parts = [f"iif(typeof({one}) = 'text', 't' || hex({one}), quote({one}))" for one in values]
    return joined(parts, "','")
