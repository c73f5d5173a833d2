"""Edits of a stored CREATE TABLE: the touched span is rewritten, every other byte stays as it was.

An edited text is parsed again and compared with what was wanted before anybody runs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driftengine.changes import ADD, REMOVE
from driftengine.dialects.sqlite import ddl
from driftengine.dialects.sqlite.parse import parse
from driftengine.dialects.sqlite.tables import constraints_of, primary_key_of, table_level
from driftengine.dialects.sqlite.tokens import UnreadableSQL, fold, quote, tokenize
from driftengine.errors import RehearsalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from driftengine.changes import Change

# Which clause of a column carries which aspect of it.
_CLAUSES = {"not_null": "not null", "default": "default", "collation": "collate", "generated": "generated"}


@dataclass(slots=True)
class _Draft:
    """A CREATE TABLE under edit: replacements inside items, items dropped, items added, other options."""

    tree: ddl.CreateTable
    replaced: list[tuple[int, int, str]] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)
    columns: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    options: str | None = None
    leaving: tuple[Any, ...] = ()


def edited(sql: str, wanted_sql: str, changes: Iterable[Change]) -> str:
    """The stored DDL `sql` of a table after the changes; what is new is taken from `wanted_sql` as it is written there.

    Both are CREATE TABLE texts; the changes are those of columns, constraints, the key and the options.
    """
    tree, wanted = table_tree(sql), table_tree(wanted_sql)
    changes = tuple(changes)
    draft = _Draft(tree)
    draft.leaving = tuple(
        c.difference.actual for c in changes if c.difference.object in {"check", "unique", "foreign_key"}
    )
    for change in changes:
        _apply(draft, wanted, change)
    return _proved(_assemble(draft), tree, changes)


def _proved(text: str, before: ddl.CreateTable, changes: Iterable[Change]) -> str:
    """The text, once it has been read back and holds just the columns that it should. Raises RehearsalError."""
    keys = {fold(column.name) for column in before.columns}
    for change in changes:
        if change.difference.object == "column" and change.difference.change == REMOVE:
            keys.discard(change.difference.actual.key)
        elif change.difference.object == "column" and change.difference.change == ADD:
            keys.add(change.difference.desired.key)
    try:
        found = {fold(column.name) for column in table_tree(text).columns}
    except UnreadableSQL as error:
        raise _unusable(before.name, str(error)) from error
    if not keys <= found:
        raise _unusable(before.name, f"{', '.join(sorted(keys - found))} got lost")
    return text


def _unusable(table: str, why: str) -> RehearsalError:
    return RehearsalError(
        f"the definition of {table} could not be edited",
        code="rehearsal-failed",
        why=why,
        fix="nothing was changed; this is worth a report",
    )


def table_tree(sql: str) -> ddl.CreateTable:
    """The parse tree of a CREATE TABLE; raises UnreadableSQL for anything else."""
    tree = parse(sql)
    if not isinstance(tree, ddl.CreateTable):
        raise UnreadableSQL("no CREATE TABLE", 0)
    return tree


def _apply(draft: _Draft, wanted: ddl.CreateTable, change: Change) -> None:
    difference = change.difference
    if difference.object == "column":
        if difference.change == ADD:
            draft.columns.append(bare_definition(wanted, difference.desired.key))
        elif difference.change == REMOVE:
            _drop_column(draft, difference.actual.key)
        else:
            _change_column(draft, wanted, difference.aspect, difference.desired.key)
    elif difference.object == "primary_key":
        _change_key(draft, wanted)
        _sync_implied(draft, wanted)
    elif difference.object == "option":
        draft.options = _options(draft, wanted, difference.aspect)
        _sync_implied(draft, wanted)
    else:
        _change_constraint(draft, wanted, difference.desired, difference.actual)


def bare_definition(wanted: ddl.CreateTable, key: str) -> str:
    """A column's definition without the constraints that are operations of their own: key, UNIQUE, CHECK, REFERENCES."""
    column = _column(wanted, key)
    parts = [quote_like(wanted, column)]
    if column.type_span:
        parts.append(wanted.sql[column.type_span.start : column.type_span.end])
    parts += [
        wanted.sql[clause.start : clause.end]
        for clause in column.clauses
        if clause.kind in {"not null", "null", "default", "collate", "generated"}
    ]
    return " ".join(parts)


def quote_like(tree: ddl.CreateTable, column: ddl.ColumnDefinition) -> str:
    """The column's name as it is written."""
    return tree.sql[column.name_span.start : column.name_span.end]


def _column(tree: ddl.CreateTable, key: str) -> ddl.ColumnDefinition:
    found = next((column for column in tree.columns if fold(column.name) == key), None)
    if found is None:
        raise _unusable(tree.name, f"it has no column {key}")
    return found


def _drop_column(draft: _Draft, key: str) -> None:
    column = _column(draft.tree, key)
    draft.dropped.add(column.start)
    for clause, constraint in constraints_of(draft.tree):
        inline = column.start <= clause.start < column.end
        if set(constraint.columns) == {key}:
            # A constraint on nothing but the column goes with it, wherever it is written.
            draft.dropped |= set() if inline else {clause.start}
        elif inline and not any(same_constraint(constraint, one) for one in draft.leaving):
            # One that says something about other columns is a removal of its own, and is not lost on the way.
            draft.constraints.append(table_level(clause, column.name, draft.tree.sql))


def _change_column(draft: _Draft, wanted: ddl.CreateTable, aspect: str, key: str) -> None:
    before, after = _column(draft.tree, key), _column(wanted, key)
    if aspect == "type":
        _change_type(draft, wanted, before, after)
        return
    kind = _CLAUSES[aspect]
    new = after.clause(kind)
    text = wanted.sql[new.start : new.end] if new else ""
    old = before.clauses_of(kind)
    for clause in old[:-1]:
        draft.replaced.append(_removal(draft.tree.sql, clause))
    if old:
        last = old[-1]
        draft.replaced.append((last.start, last.end, text) if text else _removal(draft.tree.sql, last))
    elif text:
        end = _after_type(before)
        draft.replaced.append((end, end, f" {text}"))


def _after_type(column: ddl.ColumnDefinition) -> int:
    return column.type_span.end if column.type_span else column.name_span.end


def _change_type(
    draft: _Draft, wanted: ddl.CreateTable, before: ddl.ColumnDefinition, after: ddl.ColumnDefinition
) -> None:
    text = wanted.sql[after.type_span.start : after.type_span.end] if after.type_span else ""
    if before.type_span:
        start = before.type_span.start if text else before.name_span.end
        draft.replaced.append((start, before.type_span.end, text))
    else:
        # In front of the clauses that are inserted at the same place: a type comes first.
        draft.replaced.insert(0, (before.name_span.end, before.name_span.end, f" {text}"))


def _removal(sql: str, clause: ddl.Clause) -> tuple[int, int, str]:
    """Cuts a clause out together with the white space before it, but for the newline that ends a comment there."""
    start = clause.start
    while start > 0 and sql[start - 1].isspace():
        start -= 1
    line = sql[sql.rfind("\n", 0, start) + 1 : start]
    return start, clause.end, "\n" if "--" in line else ""


def _change_constraint(draft: _Draft, wanted: ddl.CreateTable, new: Any, old: Any) -> None:
    if old is not None:
        _remove_constraint(draft, old)
    if new is not None:
        draft.constraints.append(constraint_text(wanted, new))


def _remove_constraint(draft: _Draft, old: Any) -> None:
    """Every clause that says the same goes: two spellings of one constraint would leave it standing."""
    top_level = {clause.start for clause in draft.tree.constraints}
    for clause, constraint in constraints_of(draft.tree):
        if not same_constraint(constraint, old):
            continue
        if clause.start in top_level:
            draft.dropped.add(clause.start)
        else:
            draft.replaced.append(_removal(draft.tree.sql, clause))


def same_constraint(one: Any, other: Any) -> bool:
    """Equal in effect; a foreign key with an implied parent key equals itself with the key written out."""
    if one == other:
        return True
    if type(one) is not type(other) or not hasattr(one, "parent_columns") or one.parent_columns:
        return False
    rest = ("parent", "on_update", "on_delete", "deferred", "columns")
    return all(getattr(one, name) == getattr(other, name) for name in rest)


def constraint_text(tree: ddl.CreateTable, wanted: Any) -> str:
    """The text of a constraint, as a table constraint, from the table that declares it."""
    for clause, constraint in constraints_of(tree):
        if same_constraint(constraint, wanted):
            owner = next((c.name for c in tree.columns if c.start <= clause.start < c.end), "")
            return table_level(clause, owner, tree.sql)
    # A unique index of the models, wanted as a constraint: only where an index cannot serve.
    columns = ", ".join(quote(name) for name in wanted.columns)
    return f"UNIQUE ({columns})"


def _change_key(draft: _Draft, wanted: ddl.CreateTable) -> None:
    """The key is written where the models write it; a column that becomes the rowid's alias takes its type along."""
    for column in draft.tree.columns:
        for clause in column.clauses_of("primary key"):
            draft.replaced.append(_removal(draft.tree.sql, clause))
    draft.dropped |= {c.start for c in draft.tree.constraints if c.kind == "primary key"}
    _remove_lenders(draft)
    for column in wanted.columns:
        for clause in column.clauses_of("primary key"):
            _key_in_column(draft, wanted, column, clause)
    for clause in wanted.constraints:
        if clause.kind == "primary key":
            draft.constraints.insert(0, _key_text(wanted, clause))
            for member in clause.columns:
                _take_type(draft, wanted, fold(member.column or ""))
            _add_alias(draft, wanted, [fold(member.column or "") for member in clause.columns])


def _remove_lenders(draft: _Draft) -> None:
    """A UNIQUE over the key that says what becomes of a conflict says it of the key: it goes with the key's clause."""
    key = primary_key_of(draft.tree)
    top_level = {clause.start for clause in draft.tree.constraints}
    for clause, constraint in constraints_of(draft.tree):
        if clause.kind != "unique" or not clause.conflict or key is None or constraint.columns != key.columns:
            continue
        if clause.start in top_level:
            draft.dropped.add(clause.start)
        else:
            draft.replaced.append(_removal(draft.tree.sql, clause))


def _key_text(wanted: ddl.CreateTable, clause: ddl.Clause) -> str:
    """The key's clause, with the ON CONFLICT that a UNIQUE over the same columns lends it."""
    key = primary_key_of(wanted)
    lent = key.conflict if key is not None and not clause.conflict else ""
    return wanted.sql[clause.start : clause.end] + (f" ON CONFLICT {lent}" if lent else "")


def _key_in_column(
    draft: _Draft, wanted: ddl.CreateTable, column: ddl.ColumnDefinition, clause: ddl.Clause
) -> None:
    present = next((c for c in draft.tree.columns if fold(c.name) == fold(column.name)), None)
    if present is None:
        _new_key_column(draft, wanted, column, clause)
        return
    _take_type(draft, wanted, fold(column.name))
    end = present.end
    draft.replaced.append((end, end, f" {_key_text(wanted, clause)}"))


def _add_alias(draft: _Draft, wanted: ddl.CreateTable, members: Sequence[str]) -> None:
    """The one member of a table-level key that is new and an alias of the rowid comes with the key."""
    present = {fold(c.name) for c in draft.tree.columns}
    if len(members) == 1 and members[0] not in present and members[0] in _alias(wanted):
        draft.columns.append(bare_definition(wanted, members[0]))


def _new_key_column(
    draft: _Draft, wanted: ddl.CreateTable, column: ddl.ColumnDefinition, clause: ddl.Clause
) -> None:
    """A key column that is added on its own stands in the draft already; an alias of the rowid comes with its key."""
    if fold(column.name) in _alias(wanted):
        text = wanted.sql[clause.start : clause.end]
        draft.columns.append(f"{bare_definition(wanted, fold(column.name))} {text}")
        return
    label = f"CONSTRAINT {quote(clause.name)} " if clause.name else ""
    order = " DESC" if clause.descending else ""
    conflict = f" ON CONFLICT {clause.conflict}" if clause.conflict else ""
    draft.constraints.insert(0, f"{label}PRIMARY KEY ({quote(column.name)}{order}){conflict}")


def _take_type(draft: _Draft, wanted: ddl.CreateTable, key: str) -> None:
    present = next((c for c in draft.tree.columns if fold(c.name) == key), None)
    if present is None:
        return
    after = _column(wanted, key)
    if present.type.upper() != after.type.upper():
        _change_type(draft, wanted, present, after)
    if (present.clause("not null") is None) != (after.clause("not null") is None):
        _change_column(draft, wanted, "not_null", key)


def _sync_implied(draft: _Draft, wanted: ddl.CreateTable) -> None:
    """What comes and goes with key and storage is no operation of its own: an alias's type, and NOT NULL."""
    for key in _alias(draft.tree) ^ _alias(wanted):
        before, after = _find(draft.tree, key), _find(wanted, key)
        if before and after and before.type.upper() != after.type.upper():
            _change_type(draft, wanted, before, after)
    for key in _never_null(draft.tree) ^ _never_null(wanted):
        before, after = _find(draft.tree, key), _find(wanted, key)
        if before and after and (before.clause("not null") is None) != (after.clause("not null") is None):
            _change_column(draft, wanted, "not_null", key)


def _find(tree: ddl.CreateTable, key: str) -> ddl.ColumnDefinition | None:
    return next((column for column in tree.columns if fold(column.name) == key), None)


def _alias(tree: ddl.CreateTable) -> set[str]:
    key = primary_key_of(tree)
    return set(key.columns) if key is not None and key.rowid_alias else set()


def _never_null(tree: ddl.CreateTable) -> set[str]:
    """The columns that are NOT NULL without saying so."""
    key = primary_key_of(tree)
    return set(key.columns) if key is not None and (tree.without_rowid or tree.strict) else _alias(tree)


def _options(draft: _Draft, wanted: ddl.CreateTable, aspect: str) -> str:
    flags = {"without_rowid": draft.tree.without_rowid, "strict": draft.tree.strict}
    if draft.options is not None:
        flags = {"without_rowid": "WITHOUT ROWID" in draft.options, "strict": "STRICT" in draft.options}
    flags[aspect] = getattr(wanted, aspect)
    names = [text for flag, text in (("without_rowid", "WITHOUT ROWID"), ("strict", "STRICT")) if flags[flag]]
    return " " + ", ".join(names) if names else ""


def _assemble(draft: _Draft) -> str:
    """Items are kept with the separator that stood before them; new ones follow the last of their kind."""
    tree, sql = draft.tree, draft.tree.sql
    items: list[tuple[int, int]] = [(c.start, c.end) for c in tree.columns]
    last_column = len(items) - 1
    items += [(c.start, c.end) for c in tree.constraints]
    separator = _separator(sql, items)
    out: list[str] = []
    for position, (start, end) in enumerate(items):
        if start not in draft.dropped:
            before = sql[items[position - 1][1] : start] if position else ""
            # Constraints may follow each other without a comma, but not once the first of them is gone.
            if not any(token.text == "," for token in tokenize(before)):
                before = separator
            out.append((before if out else "") + _with_replacements(sql, start, end, draft.replaced))
        if position == last_column:
            for text in draft.columns:
                out.append((separator if out else "") + text)
    out += [separator + text for text in draft.constraints]
    head, tail = sql[: items[0][0]], sql[items[-1][1] : tree.body.end]
    options = sql[tree.body.end :] if draft.options is None else f"){draft.options}"
    return head + "".join(out) + tail + options


def _separator(sql: str, items: Sequence[tuple[int, int]]) -> str:
    """The white space between the first two items, so that a new line looks like its neighbours."""
    if len(items) > 1:
        between = sql[items[0][1] : items[1][0]]
        if not between.replace(",", "", 1).strip():
            return between if "," in between else ", "
    return ", "


def _with_replacements(sql: str, start: int, end: int, replaced: Iterable[tuple[int, int, str]]) -> str:
    pieces: list[str] = []
    position = start
    for first, last, new in sorted(dict.fromkeys(replaced), key=lambda one: one[:2]):
        if first >= start and last <= end:
            pieces += [sql[position:first], new]
            position = max(position, last)
    return _joined([*pieces, sql[position:end]])


def _joined(pieces: Iterable[str]) -> str:
    """The pieces in one text; a space keeps words apart that came to stand side by side (`1` and `UNIQUE`)."""
    text = ""
    for piece in pieces:
        touching = text and piece and _in_word(text[-1]) and _in_word(piece[0])
        text += f" {piece}" if touching else piece
    return text


def _in_word(character: str) -> bool:
    return character.isalnum() or character in "_$"
