"""A database through many releases: models that move on, rows that come, migrations, undos; and what must hold of each step.

Everything is told by plain SQLite. A life is a list of steps in plain values, so that whatever goes wrong can be lived again:
`live(folder, journal, steps)`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from driftengine import api
from driftengine.dialects.sqlite.tokens import fold
from driftengine.errors import HistoryError
from support.migrations import House
from support.random_checks import (
    assert_same_behaviour,
    assert_same_shape,
    everything,
    problems,
    rows_kept,
    stored_shapes,
    violations,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from support.random_checks import Rows

Step = tuple[Any, ...]
Document = dict[str, Any]
#: What a person may approve; the rest of what is held waits for something else.
APPROVABLE = {
    "drop-column", "drop-table", "extra-constraint", "change-generated", "change-primary-key", "change-storage",
    "convert-column", "changed-in-database", "conflict", "drop-virtual-table", "rename-suspected", "rolled-back",
    "rename-exchange", "rename-not-followed",
}  # fmt: skip
OURS = {"apply", "rollback", "restore", "adopt"}
BY_HAND = ("hand_index", "hand_view", "hand_trigger", "hand_table", "hand_child")


@dataclass
class Past:
    """A migration that has happened: its id, the database before it, and whether anybody has written since."""

    id: str
    before: Path
    operations: int
    backup: bool
    models: str
    back: bool  # it is a rollback itself
    written: bool = False
    undone: bool = False


@dataclass
class Life:
    """One database and its models; each method is a step, and asserts what must hold of it."""

    folder: Path
    journal: str
    steps: list[Step] = field(default_factory=list)
    past: list[Past] = field(default_factory=list)
    by_hand: bool = False  # something stands in the database that the models never described
    met: bool = False

    def __post_init__(self) -> None:
        home = self.folder / "home"
        home.mkdir(parents=True)
        self.house = House(home, self.journal)
        self.house.models("")

    def take(self, step: Step) -> None:
        """Does one step, and looks whether all is well behind it."""
        self.steps.append(step)
        known = set(problems(self.house)) if step[0] in OURS else None
        getattr(self, step[0])(*step[1:])
        self.assert_sound(known)

    # --- what others do

    def make(self, sql: str) -> None:
        """The service makes its own tables, before driftd has met them."""
        self.house.run(sql)

    def write(self, rows: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        """The service writes, with foreign keys enforced; what the schema refuses it does not write."""
        with closing(sqlite3.connect(self.house.database, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            before = connection.total_changes
            for sql, values in rows:
                with suppress(sqlite3.DatabaseError, OverflowError):
                    connection.execute(sql, values)
            if connection.total_changes != before:
                for one in self.past:
                    one.written = True

    def change_by_hand(self, statements: Iterable[str]) -> None:
        """Somebody changes the schema beside the models, where SQLite lets it happen."""
        for statement in statements:
            with suppress(sqlite3.DatabaseError):
                self.house.run(statement)
                self.by_hand = True
        for one in self.past:
            one.written = True

    def models(self, sql: str, renames: dict[str, str] | None = None) -> None:
        """A release: other models, with hints for what is called otherwise now."""
        self.house.models(sql)
        self.house.settings["renames"] = dict(renames or {})

    # --- what driftd does

    def apply(self, approve: bool = False) -> None:
        """`driftd apply`, and once more: what is done is done, and what waits makes no noise."""
        before, violated, by_hand = (
            everything(self.house.database),
            violations(self.house),
            self._made_by_hand(),
        )
        photograph, agreed = self._photograph(), self._agreed()
        done = self.house.apply(*(self._approvals() if approve else ()))
        self._assert_done(done, before, violated, by_hand)
        if done["outcome"] == "migrated":
            self._assert_migrated(done, photograph)
        self.met = True
        left = self._assert_quiet(done, agreed)
        if left["in_sync"] and not left["accepted"]:
            self._assert_as_the_models_want()

    def rollback(self, back: int, numbers: tuple[int, ...] = (), approve: bool = False) -> None:
        """`driftd rollback` of a migration, counted from the last one, or of some of its operations."""
        if not self.past:
            return
        target = self.past[-1 - back % len(self.past)]
        words = [str(number) for number in numbers]
        before, violated, by_hand = (
            everything(self.house.database),
            violations(self.house),
            self._made_by_hand(),
        )
        kept, entries = self.house.everything(), self._entries()
        photograph = self._photograph()
        try:
            would = api.rollback(self.house.target(), migration=target.id, operations=words, dry_run=True)
            assert (self.house.everything(), self._entries()) == (kept, entries), "a dry run writes nothing"
            agreed = (
                [one["operation"] for one in would["held"] if one["code"] in APPROVABLE] if approve else []
            )
            done = api.rollback(self.house.target(), migration=target.id, operations=words, approve=agreed)
        except HistoryError as error:
            # Later migrations, or somebody by hand, may have renamed or dropped what it is about.
            beside = ["undo-unknown"] if self.by_hand or target is not self.past[-1] else []
            _require(error, "already-rolled-back", "operation-unknown", "nothing-to-roll-back", *beside)
            return
        self._assert_done(done, before, violated, by_hand, undo=True)
        if done["outcome"] != "migrated":
            assert self.house.everything() == kept
            return
        self._assert_migrated(done, photograph)
        whole = not numbers and not done["held"] and not done["blocked"] and not done["undoes"]["left"]
        if whole and not target.undone and target is self.past[-2] and not target.written:
            self._assert_as_it_was(target)
        target.undone = True
        if target.models == self._wanted() and not target.back:
            self._assert_stays_undone(done)

    def restore(self) -> None:
        """The whole database as it was before the last migration that has not been taken back whole."""
        told = api.history(self.house.target())["migrations"] if self.met else []
        standing = [
            one["migration_id"]
            for one in told
            if one["kind"] == "migration" and len(one["undone"]) < one["operations"]
        ]
        place = next((n for n, one in enumerate(self.past) if standing and one.id == standing[-1]), None)
        if place is None or not self.past[place].backup:
            return
        target = self.past[place]
        del self.past[place:]
        api.rollback_to_backup(self.house.target(), allowed_by="a test")
        assert everything(self.house.database) == everything(target.before)
        assert stored_shapes(self.house.database) == stored_shapes(target.before)

    def adopt(self) -> None:
        """`driftd adopt`: what somebody changed by hand is agreed upon; nothing but the history is written."""
        if not self.met:
            return
        before = self.house.everything()
        done = api.adopt(self.house.target(), allowed_by="a test")
        assert done["outcome"] in {"adopted", "up_to_date"}, done
        assert self.house.everything() == before
        agreed = {(one["object"], one["table"], one["name"], one["change"]) for one in done["adopted"]}
        left = {
            (d["object"], d["table"], d["name"], d["change"], d["origin"])
            for d in self.house.check()["differences"]
        }
        assert not {one for one in left if one[:4] in agreed and one[4] != "models"}, (agreed, left)

    # --- what must hold

    def assert_sound(self, known: set[str] | None) -> None:
        """Whatever happens: the file is whole, the history's chain is, and nothing is left lying about.

        `known` is what integrity_check found before; None where others wrote: SQLite lets in some of what it complains about.
        """
        assert known is None or set(problems(self.house)) <= known, problems(self.house)
        verified = api.history_verify(self.house.target())
        assert verified["ok"], verified["problems"]
        litter = [
            path.name
            for path in self.house.folder.rglob("*")
            if path.name.endswith((".partial", "-journal", ".tmp")) or path.name.startswith("rehearsal-")
        ]
        assert litter == []

    def _assert_done(
        self, done: Document, before: dict[str, Rows], violated: Any, by_hand: set[str], *, undo: bool = False
    ) -> None:
        assert done["error"] is None, done["error"]
        assert violations(self.house) <= violated, "a foreign key is violated"
        self._assert_by_hand_kept(by_hand, {o["kind"] for o in done["applied"]})
        approved = any(o["code"] == "convert-column" for o in done["applied"])
        rows_kept(
            self._renamed(before, done),
            everything(self.house.database),
            done["applied"],
            approved=approved,
            undo=undo,
        )

    def _assert_by_hand_kept(self, before: set[str], kinds: set[str]) -> None:
        """What somebody made beside the models is there byte for byte."""
        if kinds & {"drop_table", "rename_table", "rename_column"}:
            return  # it may go with its table, and SQLite rewrites what names something that is called otherwise
        gone = before - self._made_by_hand()
        if "drop_column" in kinds:
            gone = {sql for sql in gone if not sql.startswith("CREATE INDEX")}  # and an index with its column
        assert not gone, gone

    def _assert_migrated(self, done: Document, photograph: Path) -> None:
        assert done["applied"]
        assert done["migration_id"]
        self.past.append(
            Past(
                done["migration_id"],
                photograph,
                len(done["applied"]),
                done["backup"] is not None,
                self._wanted(),
                "undoes" in done,
            )
        )

    def _assert_quiet(self, done: Document, agreed: set[tuple[str, str]]) -> Document:
        """What is left is what waits, and a second apply does nothing at all.

        What was agreed upon is a difference again when the migration has changed it.
        """
        left = self.house.check()
        waiting = {(one["kind"], one["table"], one["name"]) for one in (*done["held"], *done["blocked"])}
        seen = {
            (o["kind"], o["table"], o["name"])
            for o in _operations(left)
            if (fold(o["table"] or ""), fold(o["name"])) not in agreed
        }
        assert seen <= waiting, (seen - waiting, done["applied"], left["differences"])
        if any(one["code"] == "rename-refused" for one in done["held"]):
            return left  # SQLite may carry it out when what stood in its way has gone
        entries, backups = self._entries(), self.house.backups()
        again = self.house.apply()
        assert again["applied"] == [], again["applied"]
        assert (again["backup"], self._entries(), self.house.backups()) == (None, entries, backups)
        assert self.house.check()["differences"] == left["differences"]
        return left

    def _assert_as_the_models_want(self) -> None:
        models = self._models()
        known = not self.by_hand
        assert_same_shape(self.house.database, models, known=known)
        if known:
            assert_same_behaviour(self.house, models)

    def _assert_as_it_was(self, target: Past) -> None:
        """The whole of the last migration taken back, and nobody has written since: every row and the schema in effect."""
        assert stored_shapes(self.house.database) == stored_shapes(target.before)
        now, then = everything(self.house.database), everything(target.before)
        assert now.keys() == then.keys()
        for table, rows in then.items():
            assert sorted(map(_text, rows)) == sorted(map(_text, now[table])), table

    def _assert_stays_undone(self, done: Document) -> None:
        """The models want it as they wanted it then; an apply that nobody agrees to must not bring it back."""
        undone = {(o["table"], o["name"]) for o in done["applied"]}
        would = api.apply(self.house.target(), dry_run=True)
        again = {(o["table"], o["name"]) for o in would["applied"]} & undone
        assert not again, (again, would)

    # --- looking

    def _approvals(self) -> list[str]:
        return [o["id"] for o in _operations(self.house.plan()) if o["code"] in APPROVABLE]

    def _agreed(self) -> set[tuple[str, str]]:
        return {(fold(d["table"] or ""), fold(d["name"])) for d in self.house.check()["accepted"]}

    def _models(self) -> str:
        return (self.house.folder / "models.sql").read_text(encoding="utf-8")

    def _wanted(self) -> str:
        """The models and their hints."""
        return f"{self._models()}{self.house.settings.get('renames')}"

    def _entries(self) -> int:
        if not self.house.ask("SELECT 1 FROM sqlite_schema WHERE name = 'driftd_history'"):
            return 0
        return int(self.house.ask("SELECT count(*) FROM driftd_history")[0][0])

    def _made_by_hand(self) -> set[str]:
        names = ", ".join(f"'{name}'" for name in BY_HAND)
        return {sql for (sql,) in self.house.ask(f"SELECT sql FROM sqlite_schema WHERE name IN ({names})")}

    def _photograph(self) -> Path:
        """A copy of the database as it is."""
        path = self.folder / f"before-{len(self.past)}.db"
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.house.database)) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)
        return path

    def _renamed(self, rows: dict[str, Rows], done: Document) -> dict[str, Rows]:
        """The rows under the names that a migration has given to tables and columns."""
        found = dict(rows)
        renames = [o for o in done["applied"] if o["kind"] in {"rename_table", "rename_column"}]
        for one in sorted(renames, key=lambda o: str(o["kind"]), reverse=True):  # tables first
            old, _, new = (fold(part.strip()) for part in one["detail"].partition("→"))
            if one["kind"] == "rename_table":
                found[new] = found.pop(old)
            else:
                table = fold(one["table"])
                found[table] = [{new if k == old else k: v for k, v in row.items()} for row in found[table]]
        return found


def _require(error: HistoryError, *codes: str) -> None:
    """Goes on with what a person would be refused as well."""
    if error.code not in codes:
        raise error


def _text(row: dict[str, tuple[str, Any]]) -> str:
    return repr(sorted(row.items()))


def _operations(document: Document) -> list[Document]:
    return list(document["plan"]["operations"]) if document["plan"] else []


def live(folder: Path, journal: str, steps: Iterable[Step]) -> Life:
    """A life again, step by step."""
    life = Life(folder, journal)
    for step in steps:
        life.take(step)
    return life
