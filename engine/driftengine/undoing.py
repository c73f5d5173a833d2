"""Taking operations back: planned from the history and the rows, rehearsed and applied like any other plan, and recorded."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from driftengine import accepted, history
from driftengine import backup as backups
from driftengine.apply import Applier
from driftengine.backup_files import folder_for
from driftengine.changes import ADD, CHANGE, REMOVE, RENAME, Backfill, Difference, parts_of, rename_of
from driftengine.desired import Desired
from driftengine.errors import BackupError, HistoryError
from driftengine.plan import Ruling, make_plan, questions
from driftengine.renames import EXCHANGE, facts_of, folded
from driftengine.restoring import backup_of
from driftengine.risk import DESTRUCTIVE, GUARDED, MANUAL, SAFE, Judgement, beside_rename, judge
from driftengine.survey import Survey, drift_of
from driftengine.taken_back import ROLLBACK, done_by, fills_of, wishes_moved
from driftengine.undo import Asked, Goal, asked, evidence, goal, rename_done

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from driftengine.applied import Applied, Request
    from driftengine.changes import Facts
    from driftengine.dialects.base import Database, Dialect
    from driftengine.diff import Drift
    from driftengine.history import Entry
    from driftengine.operations import Operation
    from driftengine.schema import Schema
    from driftengine.stage import Progress
    from driftengine.target import Target


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What came of it. `numbers` are the operations of the migration that are taken back now, `left` those that are not.

    `beside` opens the database with the migration's backup beside it, where the rows of what is held can be queried.
    """

    migration: str
    numbers: tuple[int, ...]
    left: tuple[int, ...]
    applied: Applied
    beside: Callable[[], AbstractContextManager[Database]]


@dataclass(slots=True)
class Undoing:
    """One rollback of a target's operations, with what all its steps need.

    `migration` None is the last one that is not undone; `words` name operations of it, none of them all.
    """

    dialect: Dialect
    opened: Callable[[], AbstractContextManager[Database]]
    target: Target
    migration: str | None
    words: tuple[str, ...]
    request: Request
    progress: Progress | None = None
    _ask: Asked | None = None
    _goal: Goal | None = None
    _warnings: tuple[str, ...] = ()

    def run(self) -> RolledBack:
        """Rolls back. Raises DriftError for what is refused before anything was tried."""
        with self.opened() as database:
            if database.reader() is None:
                raise HistoryError(
                    "there is no migration to roll back",
                    code="nothing-to-roll-back",
                    why=f"there is no database {database.name}",
                    fix="`driftd backup list` shows what can be restored",
                )
            entries = _entries(database)
            ask = asked(entries, self.migration, self.words)
            path, why = self._backup(ask, database)
        desired = _desired(entries)
        applier = Applier(self.dialect, self._beside(path), self.target, desired, self.request, self.progress)
        applier.look = lambda one: self._look(one, ask.migration, desired, earlier=path is not None, gone=why)
        done = applier.apply()
        found = self._ask or ask
        notes = self._goal.notes if self._goal is not None else ()
        done = replace(done, warnings=(*dict.fromkeys((*notes, *self._warnings, *done.warnings)),))
        numbers = self._taken(done, found)
        every = found.numbers | found.left
        return RolledBack(
            found.migration, numbers, tuple(sorted(every - set(numbers))), done, self._beside(path)
        )

    def _taken(self, done: Applied, ask: Asked) -> tuple[int, ...]:
        if done.plan is None or not done.operations:
            return ()
        skipped = self._goal.skipped if self._goal is not None else ()
        return tuple(evidence({}, ask, done.plan, done.operations, skipped)["undoes"]["operations"])

    def _backup(self, ask: Asked, database: Database) -> tuple[Path | None, str]:
        """The migration's own backup, proved; None, and why, where there is none."""
        if ask.entry.backup is None:
            return None, "it had made none"
        folder = folder_for(self.target.backup.directory, database.name)
        try:
            found = backup_of(ask.entry, folder)
            problems = backups.verify(found, database.files(), database_id=ask.entry.database_id)
        except BackupError as error:
            return None, str(error)
        return (None, "; ".join(problems[:3])) if problems else (found.path, "")

    def _beside(self, path: Path | None) -> Callable[[], AbstractContextManager[Database]]:
        @contextmanager
        def opened() -> Iterator[Database]:
            with self.opened() as database, database.earlier(path):
                yield database

        return opened

    def _look(
        self, database: Database, migration: str, desired: Desired, *, earlier: bool, gone: str
    ) -> Survey:
        """The plan that takes it back, from the database as it is now. Raises DriftError."""
        started = time.perf_counter()
        with database.snapshot():
            actual, entries = database.read(), _entries(database)
            found, ask = goal(self.dialect, entries, actual, asked(entries, migration, self.words))
            facts = facts_of(database, questions(found.drift), found.drift.renames)
            stand = _Stand(
                self.dialect, database, found, ask, actual, facts, self.target, fills_of(entries, ask.entry),
                earlier=earlier, gone=gone,
            )  # fmt: skip
            rulings = stand.rulings()
            plan = make_plan(self.dialect, found.drift, found.wanted, actual, facts, rulings=rulings)
        self._ask, self._goal = ask, found

        # What somebody has changed by hand since the last row must not look as if the models had moved, either.
        def drift(schema: Schema) -> Drift:
            wanted = self.dialect.understand(desired.stored)
            return drift_of(self.dialect, wanted, schema, entries, self.target.ignore)

        known = drift(actual)
        previous = accepted.remembered(known.differences, known)
        return Survey(
            desired, found.wanted, actual, found.drift, plan, entries,
            {"plan": round((time.perf_counter() - started) * 1000, 3)},
            kind=ROLLBACK,
            more=lambda went: {
                **evidence(previous, ask, plan, went, found.skipped, found.later),
                "wishes": wishes_moved(known.differences, self._left(found, actual, went, drift).differences),
            },
        )  # fmt: skip

    def _left(
        self, found: Goal, actual: Schema, went: Sequence[Operation], drift: Callable[[Schema], Drift]
    ) -> Drift:
        """How the models and the database differ when these operations have been carried out."""
        script = self.dialect.script(found.wanted, actual, [one.change for one in went])
        return drift(self.dialect.after(actual, script))


def _entries(database: Database) -> tuple[Entry, ...]:
    """The history. What was altered in it is no ground for changing anything: raises HistoryError."""
    reader = database.reader()
    rows = () if reader is None else history.read_rows(reader)
    altered = [row for row in rows if history.row_hash(row) != row.hash]
    if altered:
        raise HistoryError(
            "nothing can be rolled back by this history",
            code="history-altered",
            why=f"row {altered[0].id} of it was altered by somebody",
            fix="see `driftd history verify`; restore a backup instead: `driftd backup list`, `driftd backup restore ID`",
        )
    return tuple(map(history.decode, rows))


def _desired(entries: Sequence[Entry]) -> Desired:
    """What the models described when base was recorded: taking something back asks no models."""
    base = history.latest_base(entries)
    stored = () if base is None else base.desired
    return Desired(stored, defaults=(), hints=(), sources=(), unsupported=(), versions={})


@dataclass(frozen=True, slots=True)
class _Stand:
    """Where each difference of an undo is judged by the rows."""

    dialect: Dialect
    database: Database
    goal: Goal
    ask: Asked
    actual: Schema
    facts: Facts
    target: Target
    fills: Mapping[str, str]
    earlier: bool
    gone: str

    def rulings(self) -> dict[str, Ruling]:
        """What is settled about each difference, by its identity."""
        now = self.dialect.renamed(self.actual, self.goal.drift.renames)
        found: dict[str, Ruling] = {}
        for d in self.goal.drift.differences:
            ruling = self._ruling(d, now)
            if d.identity in self.goal.moved:
                ruling = self._moved(d, ruling)
            if ruling is None and d.change == REMOVE:
                judgement = judge(d, self.facts, None, relaxes=self.dialect.relaxes(d))
                ruling = Ruling(replace(judgement, reason=f"it came by {self.ask.migration}"))
            if ruling is not None:
                found[d.identity] = ruling
        return found

    def _ruling(self, d: Difference, now: Schema) -> Ruling | None:
        if d.change == RENAME:
            return self._exchange(d) if d.aspect == EXCHANGE else None
        if d.aspect == "autoincrement":
            return self._sequence(d, now)
        if d.object == "virtual_table" and d.change == ADD:
            return self._virtual(d, now)
        if d.change == REMOVE and d.object in {"column", "table", "virtual_table"}:
            return self._removal(d, now)
        if d.change in {ADD, CHANGE} and d.object in {"column", "table"}:
            return self._return(d, now)
        if d.object in {"primary_key", "option"} and d.aspect != "strict":
            return self._identity(d, now)
        return self._constraint(d, now) if self.earlier else None

    def _identity(self, d: Difference, now: Schema) -> Ruling | None:
        """A former key, or a former way of storing the table: a guard tells whether every row can be under it again."""
        judgement = judge(d, self.facts, None)
        guard = self.dialect.guard(d, self.goal.wanted, now, None) if judgement.hold else None
        if guard is None:
            return None
        reason = "done when every row has a key of its own under it, as before"
        judgement = replace(judgement, risk=GUARDED, hold=False, reason=reason)
        return Ruling(judgement, guard=self.dialect.as_it_is(guard, self.actual, self.goal.drift.renames))

    def _constraint(self, d: Difference, now: Schema) -> Ruling | None:
        """What refuses rows is judged by the values that come back, which its own guard does not see."""
        query = self.dialect.undecided(d, now, self.goal.then, self.goal.wanted, self.goal.names)
        if query is None:
            return None
        judgement = judge(d, self.facts, None, relaxes=self.dialect.relaxes(d))
        return Ruling(judgement, guard=self.dialect.as_it_is(query, self.actual, self.goal.drift.renames))

    def _moved(self, d: Difference, ruling: Ruling | None) -> Ruling:
        """What somebody has changed since is not taken back without being asked."""
        before = ruling.judgement if ruling is not None else judge(d, self.facts, None, relaxes=False)
        reason = (
            f"it was changed again since {self.ask.migration}; approved, it becomes what it was before that"
        )
        judgement = replace(before, code="changed-since", reason=reason, hold=True)
        return replace(ruling, judgement=judgement) if ruling is not None else Ruling(judgement)

    def _fill(self, d: Difference) -> str | None:
        """The expression with which the migration had filled the column, where it is known, by the names from before."""
        here = (d.table, folded(d.name))
        then = self.goal.names.get(here, here)
        table, columns = self._called(then[0])
        made = (table, columns.get(then[1], then[1]))
        told = [(parts_of(one), fill) for one, fill in self.fills.items()]
        fills = {(one.table, one.name): fill for one, fill in told if one.object == "column"}
        found = next((fills[place] for place in (made, then, here) if place in fills), None)
        if found is None or not (columns or table != then[0]):
            return found
        return self.dialect.respelled(found, {table: d.table} | {new: old for old, new in columns.items()})

    def _called(self, table: str) -> tuple[str, Mapping[str, str]]:
        """What the migration called a table of then, and by their keys of then the columns that it renamed in it."""
        if self.ask.entry.kind == ROLLBACK:  # what it fills, another migration has spelled
            return table, {}
        renames = [rename_done(one) for one in done_by(self.ask.entry.evidence) if one.old]
        called = next((one.table for one in renames if not one.column and folded(one.old) == table), table)
        return called, {folded(one.old): one.column for one in renames if one.column and one.table == called}

    def _removal(self, d: Difference, now: Schema) -> Ruling:
        """What the migration had made goes again, unless somebody has written into it."""
        users = self._users(d) if d.object == "table" else ()
        if users:
            reason = f"{', '.join(users)} refers to it, made since: roll that back first"
            return Ruling(Judgement("drop_table", MANUAL, "no-parent-key", reason, hold=True))
        ruling = self._emptied(d, now)
        made = self.dialect.goes_with(d, now) if d.object == "column" else ()
        # An index that this way back changes as well is made again without the column.
        own = [one for one in self.goal.drift.differences if one.object == "index" and one.change != ADD]
        mine = {(one.table, folded(one.name)) for one in own}
        others = [name for name in made if (d.table, folded(name)) not in mine]
        if not others:
            return ruling
        reason = f"{ruling.judgement.reason}; with it goes the index {', '.join(others)}, made since"
        code = ruling.judgement.code if ruling.judgement.hold else "changed-since"
        return replace(ruling, judgement=replace(ruling.judgement, code=code, reason=reason, hold=True))

    def _users(self, d: Difference) -> tuple[str, ...]:
        """The tables that stay and refer to one that goes; not those that did so when it was not there, either."""
        then = self.goal.then.tables
        return tuple(
            table.name
            for key, table in self.goal.wanted.tables.items()
            if d.table in {one.parent for one in table.foreign_keys}
            and (key not in then or d.table not in {one.parent for one in then[key].foreign_keys})
        )

    def _emptied(self, d: Difference, now: Schema) -> Ruling:
        then = self.goal.then if self.earlier else None
        query = self.dialect.written_since(d, now, then, self.goal.names, fill=self._fill(d))
        kind = f"drop_{d.object}"
        code = kind.replace("_", "-")
        if query is None:
            return Ruling(Judgement(kind, SAFE, code, "nothing is stored in it"))
        guard = self.dialect.as_it_is(query, self.actual, self.goal.drift.renames)
        count = self.database.offending(guard).count
        if not count:
            reason = f"nothing has been written into it since {self.ask.migration}"
            return Ruling(Judgement(kind, GUARDED, code, reason), guard=guard)
        unit = "row" if d.object != "column" else "value"
        # It came back with them, or the models' callables gave them: nobody can tell them from what was written since.
        made = d.actual if d.object == "column" else None
        drawn = made is not None and made.not_null and made.default is None and self._fill(d) is None
        was = f"{count} {unit} was" if count == 1 else f"{count} {unit}s were"
        since = f"{was} written into it since {self.ask.migration}"
        if self.ask.entry.kind == ROLLBACK or drawn:
            since = f"it holds {count} {unit}" if count == 1 else f"it holds {count} {unit}s"
        reason = f"{since}; approved, only the backup of this rollback has {'it' if count == 1 else 'them'}"
        return Ruling(Judgement(kind, DESTRUCTIVE, code, reason, hold=True), rows=query)

    def _return(self, d: Difference, now: Schema) -> Ruling | None:
        """What the migration had dropped, narrowed or converted comes back with what the backup has of it."""
        lost = d.change == ADD or d.aspect in {"type", "generated", "not_null"}
        if not lost or (d.object == "column" and d.desired.generated is not None):
            return None
        if not self.earlier:
            return self._without_backup(d)
        goal_, fill = self.goal, self._fill(d)
        source = f"the backup of {self.ask.migration}"
        given = self._given(d)
        back = self.dialect.came_back(
            d, now, goal_.then, goal_.wanted, goal_.names, fill=fill, otherwise=given, source=source
        )
        if back is None:
            return None
        query = self.dialect.undecided(
            d, now, goal_.then, goal_.wanted, goal_.names, fill=fill, otherwise=given
        )
        if query is None:
            return Ruling(self._safe(d, back), back)
        guard = self.dialect.as_it_is(query, self.actual, goal_.drift.renames)
        count = self.database.offending(guard).count
        if not count:
            return Ruling(replace(self._safe(d, back), risk=GUARDED), back, guard=guard)
        return self._unsettled(d, back, query, count)

    def _safe(self, d: Difference, back: Backfill) -> Judgement:
        judgement = judge(d, self.facts, back)
        what = "its rows come" if d.object == "table" else "its values come"
        since = "" if d.object == "table" else "; rows written since keep theirs"
        return replace(
            judgement,
            risk=SAFE,
            hold=False,
            reason=f"{what} back from the backup of {self.ask.migration}{since}",
        )

    def _unsettled(self, d: Difference, back: Backfill, query: str, count: int) -> Ruling:
        """Rows for which the backup does not say what they should hold."""
        rows = "1 row" if count == 1 else f"{count} rows"
        kind = judge(d, self.facts, back).kind
        filling = d.object == "column" and (d.change == ADD or d.aspect == "not_null")
        needed = filling and d.desired.not_null and d.desired.default is None
        if needed and self._given(d) is None:
            place = f"{d.table}.{d.name}"
            reason = f"{rows} written since {self.ask.migration} would have no value; give one by --backfill '{place}=EXPR'"
            return Ruling(Judgement(kind, GUARDED, "value-needed", reason, hold=True), back, rows=query)
        reason = (
            f"it cannot be decided what {rows} should hold; approved, they keep what they have, or take what the backup "
            "has under the same key"
        )
        return Ruling(Judgement(kind, DESTRUCTIVE, "undo-undecided", reason, hold=True), back, rows=query)

    def _was_filled(self, d: Difference) -> bool:
        """True where the migration had written a value over NULL."""
        lost = frozenset(map(int, self.ask.entry.evidence.get("lost", ())))
        return any(
            one.number in lost and one.identity == d.identity for one in done_by(self.ask.entry.evidence)
        )

    def _exchange(self, d: Difference) -> Ruling:
        """The history tells that two names were exchanged, and that this takes it back."""
        judgement = judge(replace(d, aspect=""), self.facts, None)
        told = self.dialect.beside_rename(rename_of(d), self.actual, self.goal.drift.renames)
        return Ruling(beside_rename(judgement, *told))

    def _sequence(self, d: Difference, now: Schema) -> Ruling | None:
        """AUTOINCREMENT comes back with the highest id that was ever given."""
        if not self.earlier:
            return None
        goal_ = self.goal
        back = self.dialect.came_back(d, now, goal_.then, goal_.wanted, goal_.names)
        return None if back is None else Ruling(judge(d, self.facts, None), back)

    def _virtual(self, d: Difference, now: Schema) -> Ruling | None:
        """Its rows are its module's own affair: they stay in the backup."""
        if not self.earlier:
            return self._without_backup(d)
        query = self.dialect.undecided(d, now, self.goal.then, self.goal.wanted, self.goal.names)
        count = 0 if query is None else self.database.offending(query).count
        if not count:
            return None
        rows = "1 row" if count == 1 else f"{count} rows"
        reason = f"it comes back empty: its {rows} stay in the backup of {self.ask.migration}, for its module alone knows them"
        return Ruling(
            Judgement("create_virtual_table", DESTRUCTIVE, "comes-back-empty", reason, hold=True), rows=query
        )

    def _given(self, d: Difference) -> str | None:
        """The value that a person gave for the rows that the backup does not have."""
        place = folded(f"{d.table}.{d.name}")
        return next((e for name, e in self.target.backfill.items() if folded(name) == place), None)

    def _without_backup(self, d: Difference) -> Ruling | None:
        """Nothing can come back; approved, the object does, without what it held."""
        if d.aspect == "not_null" and not self._was_filled(d):
            return None
        if d.aspect == "generated" and d.actual.generated is None:
            return None
        kind = judge(d, self.facts, None).kind
        reason = f"what it held cannot come back, for the backup of {self.ask.migration} is gone: {self.gone}"
        return Ruling(Judgement(kind, DESTRUCTIVE, "backup-gone", reason, hold=True))
