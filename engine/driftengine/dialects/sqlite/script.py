"""From chosen changes to the statements that carry them out, in the order in which they must run. Pure: text in, text out.

Renames come first, and all else is built on the schema that they leave. Drops of indexes, views and triggers follow, then
new tables, then each table's own changes (by ALTER and catalogue edit, or in one rebuild), then drops of tables, then new
indexes, views and triggers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftengine.changes import (
    ADD,
    CATALOG,
    CHANGE,
    NATIVE,
    REBUILD,
    REMOVE,
    RENAME,
    Change,
    Script,
    Step,
    rename_of,
)
from driftengine.dialects.sqlite.edit import bare_definition, edited, table_tree
from driftengine.dialects.sqlite.projection import in_order
from driftengine.dialects.sqlite.rebuild import catalogue_edit, filled_again, hanging_on, rebuild
from driftengine.dialects.sqlite.rename import rename_steps, renamed
from driftengine.dialects.sqlite.strategy import indexes_over
from driftengine.dialects.sqlite.tokens import fold, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from driftengine.changes import Copied
    from driftengine.schema import Schema, Table

# Kinds of difference that are resolved inside one table's own DDL.
_INSIDE = frozenset({"column", "check", "foreign_key", "primary_key", "option", "unique"})


class _Builder:
    """Collects the steps of one script."""

    def __init__(self, desired: Schema, actual: Schema, *, catalogue_edits: bool) -> None:
        self.desired = desired
        self.actual = actual
        self.catalogue_edits = catalogue_edits
        self.steps: list[Step] = []
        self.named: set[str] = set()
        self.copied: list[Copied] = []
        self.keyed: set[str] = set()
        self.gone: set[tuple[str, str]] = set()
        self.defaults: list[tuple[str, str]] = []

    def add(self, sql: str, change: Change, *objects: str, endless: bool = False) -> None:
        """One statement for one change; `objects` are the keys that it names."""
        self.named |= set(objects)
        self.steps.append(Step(sql, (change.number,), frozenset(objects), endless=endless))

    def script(self) -> Script:
        """What has been collected."""
        return Script(
            tuple(self.steps),
            frozenset(self.named),
            tuple(self.copied),
            frozenset(self.keyed),
            tuple(self.defaults),
        )


def build_script(
    desired: Schema, actual: Schema, changes: Sequence[Change], *, catalogue_edits: bool = True
) -> Script:
    """The script that resolves the chosen changes and nothing else.

    With `catalogue_edits=False` (a connection in defensive mode, or a script for another tool) what would be an edit of
    the stored DDL is done by a rebuild.
    """
    renaming = [c for c in changes if c.difference.change == RENAME]
    renames = [rename_of(c.difference) for c in renaming]
    changes = [c for c in changes if c.difference.change != RENAME]
    before, actual = actual, renamed(actual, renames)
    builder = _Builder(desired, actual, catalogue_edits=catalogue_edits)
    if renames:
        builder.steps, named = rename_steps(before, renames, [c.number for c in renaming])
        builder.named |= named
    _drops(builder, changes)
    _indexes_on_dropped(builder, changes)
    _new_tables(builder, changes)
    for key in dict.fromkeys(c.difference.table for c in changes if _is_inside(c, actual)):
        inside = [c for c in changes if c.difference.table == key and _is_inside(c, actual)]
        _inside_table(builder, actual.tables[key], inside)
    for change in changes:
        if change.difference.object in {"table", "virtual_table"} and change.difference.change == REMOVE:
            builder.keyed.add(change.difference.actual.key)
            builder.add(
                f"DROP TABLE {quote(change.difference.actual.name)}",
                change,
                change.difference.actual.key,
                *_dependents(actual, change.difference.actual.key),
                endless=True,
            )
    _creations(builder, changes)
    return builder.script()


def _dependents(schema: Schema, table: str) -> tuple[str, ...]:
    """What goes with a table: its indexes and triggers, the shadow tables of a virtual one."""
    if table in schema.tables:
        return tuple(one.key for one in hanging_on(schema.tables[table], schema))
    return tuple(key for key, virtual in schema.virtual_tables.items() if virtual.shadow_of == table)


def _is_inside(change: Change, actual: Schema) -> bool:
    difference = change.difference
    if difference.object not in _INSIDE or difference.table not in actual.tables:
        return False
    return not (difference.object == "unique" and change.strategy == NATIVE)


def _drops(builder: _Builder, changes: Iterable[Change]) -> None:
    for kind in ("trigger", "view", "index"):
        for change in changes:
            old = change.difference.actual
            if change.difference.object == kind and old is not None:
                hanging = [one.key for one in builder.actual.triggers_of(old.key)] if kind == "view" else []
                if kind == "index" and old.unique:
                    builder.keyed.add(old.table)  # a foreign key may need it
                builder.gone.add((kind, old.key))
                builder.add(f"DROP {kind.upper()} {quote(old.name)}", change, old.key, *hanging)


def _indexes_on_dropped(builder: _Builder, changes: Iterable[Change]) -> None:
    """A plain index goes with the column that it is over: the copy of the table cannot bring it back."""
    for change in changes:
        if change.difference.object == "column" and change.difference.change == REMOVE:
            for index in indexes_over(change.difference, builder.actual):
                builder.gone.add(("index", index.key))
                builder.named.add(index.key)


def _new_tables(builder: _Builder, changes: Iterable[Change]) -> None:
    for change in changes:
        difference = change.difference
        if difference.object in {"table", "virtual_table"} and difference.change == ADD:
            new = difference.desired
            shadows = [k for k, v in builder.desired.virtual_tables.items() if v.shadow_of == new.key]
            builder.add(new.sql, change, new.key, *shadows)
            if change.backfill is not None:
                steps, copied = filled_again(new, change, change.backfill)
                builder.steps += steps
                builder.copied.append(copied)
                builder.keyed.add(new.key)


def _creations(builder: _Builder, changes: Sequence[Change]) -> None:
    for kind in ("index", "unique", "view", "trigger"):
        for change in changes:
            difference = change.difference
            if difference.object != kind or difference.desired is None:
                continue
            if kind != "unique":
                builder.add(difference.desired.sql, change, difference.desired.key)
                _triggers_of_view(builder, change, changes)
            elif change.strategy == NATIVE:
                _unique_index(builder, change)


def _triggers_of_view(builder: _Builder, change: Change, changes: Sequence[Change]) -> None:
    """Dropping a view has dropped its triggers; those that nobody wants otherwise come back as they were."""
    if change.difference.object != "view" or change.difference.actual is None:
        return
    changed = {
        c.difference.actual.key for c in changes if c.difference.object == "trigger" and c.difference.actual
    }
    for trigger in builder.actual.triggers_of(change.difference.actual.key):
        if trigger.key not in changed:
            builder.add(trigger.sql, change, trigger.key)


def _unique_index(builder: _Builder, change: Change) -> None:
    """A UNIQUE constraint as a unique index: it does the same, and the table need not be copied for it."""
    table = builder.desired.tables[change.difference.table]
    wanted = change.difference.desired
    columns = {column.key: column.name for column in table.columns}
    name = wanted.name or f"uq_{table.name}_{'_'.join(columns.get(key, key) for key in wanted.columns)}"
    name = free_name(name, {object_.name for object_ in builder.actual.stored} | builder.named)
    parts = {part.effect: part for part in wanted.parts}
    listed = ", ".join(
        quote(columns.get(key, key))
        + (f" COLLATE {quote(parts[key].collation)}" if parts[key].collation else "")
        for key in wanted.columns
    )
    sql = f"CREATE UNIQUE INDEX {quote(name)} ON {quote(table.name)} ({listed})"
    builder.add(sql, change, fold(name))


def free_name(name: str, taken: Iterable[str]) -> str:
    """The name, or the name with the first number that nobody has taken (SQLite folds case, and so does this)."""
    used = {fold(one) for one in taken}
    if fold(name) not in used:
        return name
    return next(f"{name}_{n}" for n in range(2, len(used) + 3) if fold(f"{name}_{n}") not in used)


def _inside_table(builder: _Builder, table: Table, changes: Sequence[Change]) -> None:
    wanted = builder.desired.tables[table.key]
    builder.named.add(table.key)
    needs_keys = {"foreign_key", "primary_key"}
    if any(c.difference.object in needs_keys or c.strategy == REBUILD for c in changes):
        builder.keyed.add(table.key)
    copying = any(c.strategy == REBUILD for c in changes)
    if copying or (not builder.catalogue_edits and any(c.strategy == CATALOG for c in changes)):
        steps, copied = rebuild(
            table,
            edited(table.sql, wanted.sql, changes),
            changes,
            builder.actual,
            restore_text=builder.catalogue_edits,
            gone=frozenset(builder.gone),
        )
        builder.steps += steps
        builder.named |= {o for step in steps for o in step.objects}
        builder.copied.append(copied)
        return
    _alter(builder, table, wanted, changes)


def _alter(builder: _Builder, table: Table, wanted: Table, changes: Sequence[Change]) -> None:
    """SQLite's own ALTERs first; then, where something is left that ALTER cannot do, one edit of the stored DDL."""
    tree = table_tree(wanted.sql)
    changes = _addable_order(changes)
    dropped = [c for c in changes if c.strategy == NATIVE and c.difference.change == REMOVE]
    for change in changes:
        if change.strategy == NATIVE and change.difference.change == ADD:
            definition = bare_definition(tree, change.difference.desired.key)
            builder.add(f"ALTER TABLE {quote(table.name)} ADD COLUMN {definition}", change, table.key)
    edits = [c for c in changes if c.strategy == CATALOG]
    if edits:
        kept = [c for c in changes if c not in dropped]
        text = edited(table.sql, wanted.sql, kept)
        builder.steps.append(catalogue_edit(table.name, text, tuple(c.number for c in edits)))
        builder.defaults += [
            (table.name, c.difference.actual.name)
            for c in edits
            if c.difference.aspect == "default" and c.difference.change == CHANGE
        ]
    for change in dropped:
        # DROP COLUMN comes last: it writes every row by the text that the edit has left.
        sql = f"ALTER TABLE {quote(table.name)} DROP COLUMN {quote(change.difference.actual.name)}"
        builder.add(sql, change, table.key, endless=True)


def _addable_order(changes: Sequence[Change]) -> list[Change]:
    """ADD COLUMN refuses a generated column that reads one which is not there yet."""
    computed = {
        c.difference.desired: c
        for c in changes
        if c.difference.object == "column" and c.difference.change == ADD and c.difference.desired.generated
    }
    ordered = [computed[column] for column in in_order(tuple(computed))]
    rest = [c for c in changes if c not in ordered]
    return [*rest, *ordered]


def as_text(script: Script, held: Iterable[str] = (), *, careful: bool = False) -> str:
    """A script that the `sqlite3` shell accepts. `held` are lines that say what it leaves out, shown as comments.

    `careful`: a statement may fail over a row that comes in between.
    """
    lines = [f"-- {line}" for line in held]
    # The shell goes on after an error: a failed copy would be followed by the DROP of what it should have copied.
    lines += [".bail on"] if careful or any(step.endless for step in script.steps) else []
    lines += ["PRAGMA foreign_keys = OFF;", "BEGIN IMMEDIATE;"]
    lines += [step.text().rstrip().rstrip(";") + ";" for step in script.steps]
    return "\n".join([*lines, "COMMIT;", ""])
