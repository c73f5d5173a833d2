"""A database through many releases, drawn at random: whatever comes, rows stay, and what is done can be undone."""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from support.random_checks import compiles
from support.random_depth import depth
from support.random_life import Life, live
from support.random_schemas import Maker, changes_by_hand, changes_of_rows, rows_for
from support.shapes import Speller, sql_of

if TYPE_CHECKING:
    from support.shapes import Shape

EXAMPLES, STEPS = 60, 10

#: Lives that found a fault once, made small.
FOUND: dict[str, list[tuple[Any, ...]]] = {
    "a trigger of a table whose drop waits": [
        ("models", "CREATE TABLE t (a); CREATE TRIGGER g BEFORE DELETE ON t BEGIN SELECT 1; END;"),
        ("apply",),
        ("write", [("INSERT INTO t VALUES (?)", (1,))]),
        ("change_by_hand", ("CREATE TRIGGER hand_trigger AFTER INSERT ON t BEGIN SELECT new.a; END",)),
        ("rollback", 0),
    ],
    "a table goes while another, that somebody has changed, waits": [
        ("models", "CREATE TABLE t (a UNIQUE); CREATE TABLE u (b); CREATE VIEW v AS SELECT b FROM u;"),
        ("apply",),
        ("change_by_hand", ("ALTER TABLE u RENAME COLUMN b TO hand_name",)),
        ("rollback", 0, (), True),
    ],
    "a parent comes back to the child of somebody": [
        ("models", "CREATE TABLE t (a INTEGER PRIMARY KEY);"),
        ("apply",),
        ("rollback", 0, (1,), True),
        ("change_by_hand", ("CREATE TABLE hand_child(a REFERENCES t ON DELETE CASCADE)",)),
        ("rollback", 0),
    ],
    "a rename that SQLite refuses while a constraint is said twice": [
        ("models", "CREATE TABLE t (a INTEGER, PRIMARY KEY (a), UNIQUE (a)) WITHOUT ROWID;"),
        ("apply",),
        ("models", "CREATE TABLE t (b INTEGER, PRIMARY KEY (b), UNIQUE (b)) WITHOUT ROWID;", {"t.b": "a"}),
        ("apply",),
        ("apply",),
    ],
    "a rollback of a rollback of a rollback": [
        ("models", "CREATE TABLE t (a); CREATE INDEX i ON t (a); CREATE VIEW v AS SELECT a FROM t;"),
        ("apply",),
        ("rollback", 0, (3,), True),
        ("rollback", 0, (1,)),
        ("rollback", 0, (1,)),
    ],
    "a part of a rollback is taken back": [
        ("models", "CREATE TABLE t (a); CREATE TABLE u (a);"),
        ("apply",),
        ("rollback", 0, (), True),
        ("rollback", 0, (2,)),
        ("apply",),
        ("apply", True),
    ],
    "somebody has renamed what is to be taken back": [
        ("make", "CREATE TABLE t (a INTEGER PRIMARY KEY COLLATE NOCASE);"),
        ("models", "CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT);"),
        ("apply",),
        ("change_by_hand", ("ALTER TABLE t RENAME COLUMN a TO hand_name",)),
        ("rollback", 0),
    ],
    "a rename of a name with capitals is taken back": [
        ("make", 'CREATE TABLE t (id INTEGER PRIMARY KEY, "c d" INT NOT NULL);'),
        ("models", 'CREATE TABLE t (id INTEGER PRIMARY KEY, "Group" INT NOT NULL);', {"t.Group": "c d"}),
        ("apply",),
        ("rollback", 0),
    ],
    "a table is renamed and gets a key, and both are taken back": [
        ("models", "CREATE TABLE a (c INTEGER, CONSTRAINT ck CHECK (c IN (1, 2)));"),
        ("apply",),
        (
            "models",
            "CREATE TABLE b (c INTEGER, PRIMARY KEY (c), CONSTRAINT ck CHECK (c IN (1, 2)));",
            {"b": "a"},
        ),
        ("apply",),
        ("rollback", 0),
    ],
    "a column is renamed while what it is computed from is dropped": [
        (
            "make",
            "CREATE TABLE t (b INTEGER PRIMARY KEY, x AS (coalesce(b, 0)) STORED, CHECK (typeof(b) <> 'blob'));",
        ),
        ("apply",),
        ("models", "CREATE TABLE t (y);", {"t.y": "x"}),
        ("adopt",),
        ("apply",),
        ("apply", True),
    ],
    "a column goes that is the whole key": [
        ("make", "CREATE TABLE t (a, PRIMARY KEY (a));"),
        ("models", "CREATE TABLE t (b, PRIMARY KEY (b));"),
        ("apply", True),
        ("apply", True),
    ],
    "the index of somebody on a column that is renamed": [
        ("models", "CREATE TABLE t (a PRIMARY KEY);"),
        ("apply",),
        ("change_by_hand", ("CREATE INDEX hand_index ON t (a)",)),
        ("models", "CREATE TABLE t (b PRIMARY KEY, CHECK (b IN (1, 2)));", {"t.b": "a"}),
        ("apply", True),
    ],
}


class Releases(RuleBasedStateMachine):
    """Draws what happens next; `Life` does it and says what must hold."""

    journal = "wal"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="driftd-life-"))
        self.life = Life(self.folder, self.journal)
        self.shape: Shape
        self.speller: Speller
        self.renames: dict[str, str] = {}
        self.wanted = ""

    def teardown(self) -> None:
        """Prints the life, to be lived again, and removes it."""
        note(
            f"journal = {self.journal!r}\nsteps = [\n"
            + "".join(f"    {step!r},\n" for step in self.life.steps)
            + "]"
        )
        shutil.rmtree(self.folder, ignore_errors=True)

    def _release(self, shape: Shape, renames: dict[str, str]) -> None:
        models = sql_of(shape, copy.deepcopy(self.speller))
        assume(compiles(models))
        self.shape, self.wanted = shape, models
        # A hint stays until the database has its name.
        self.renames = hints(self.renames, renames, shape)
        self.life.take(("models", models, self.renames))

    @initialize(data=st.data(), existing=st.booleans())
    def begin(self, data: st.DataObject, *, existing: bool) -> None:
        """A first release; the database is there already, or driftd makes it."""
        maker = Maker(data.draw)
        self.speller = Speller(maker.speller().styles, [" "])
        shape = maker.shape()
        models = sql_of(shape, copy.deepcopy(self.speller))
        assume(compiles(models))
        if existing:
            self.life.take(("make", models))
            self._write(maker, shape)
        self._release(shape, {})
        self.life.take(("apply",))
        if not existing:
            self._write(maker, shape)

    def _write(self, maker: Maker, shape: Shape) -> None:
        self.life.take(("write", [*rows_for(maker, shape), *changes_of_rows(maker, shape)]))

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """Rows come, change and go."""
        self._write(Maker(data.draw), self.shape)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """The models move on."""
        self._release(Maker(data.draw).edited(self.shape, most=2), {})

    @rule(data=st.data())
    def rename(self, data: st.DataObject) -> None:
        """The models call something otherwise, and say so."""
        self._release(*Maker(data.draw).renamed(self.shape))

    @rule(approve=st.booleans())
    def apply(self, *, approve: bool) -> None:
        """What the models want happens, or waits."""
        self.life.take(("apply", approve))
        if self.life.house.check()["in_sync"]:
            self.renames = {}
            self.life.take(("models", self.wanted, {}))

    @precondition(lambda self: self.life.past)
    @rule(back=st.sampled_from([0, 0, 0, 1, 2]), some=st.booleans(), approve=st.booleans(), data=st.data())
    def rollback(self, data: st.DataObject, back: int, *, some: bool, approve: bool) -> None:
        """A migration is taken back, or a part of it."""
        number = self.life.past[-1 - back % len(self.life.past)].operations
        numbers = tuple(data.draw(st.sets(st.integers(1, number), min_size=1, max_size=2))) if some else ()
        self.life.take(("rollback", back, numbers, approve))

    @precondition(lambda self: self.life.past)
    @rule()
    def restore(self) -> None:
        """The last migration is taken back with its backup."""
        self.life.take(("restore",))

    @precondition(lambda self: self.life.met)
    @rule(data=st.data(), adopt=st.booleans())
    def change_by_hand(self, data: st.DataObject, *, adopt: bool) -> None:
        """Somebody changes the database, and perhaps it is agreed upon."""
        self.life.take(("change_by_hand", tuple(changes_by_hand(Maker(data.draw), self.shape))))
        if adopt:
            self.life.take(("adopt",))


def hints(before: dict[str, str], new: dict[str, str], shape: Shape) -> dict[str, str]:
    """What the models say of former names: a name that changes twice was called what it was called first."""
    found = dict(before)
    for place, old in new.items():
        table, _, column = place.partition(".")
        if column:
            found[place] = found.pop(f"{table}.{old}", old)
        else:
            found = {
                (place + key.removeprefix(old) if key.startswith(f"{old}.") else key): o
                for key, o in found.items()
            }
            found[place] = found.pop(old, old)
    return {
        place: old
        for place, old in found.items()
        if _described(place, shape) and place.rpartition(".")[2] != old
    }


def _described(place: str, shape: Shape) -> bool:
    name, _, column = place.partition(".")
    table = shape.table(name)
    return table is not None and (not column or table.column(column) is not None)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_database_through_many_releases(journal: str) -> None:
    """Rows kept, schema as the models want it or held, nothing twice, everything undone as it was, the chain whole."""
    machine = type(f"Releases_{journal}", (Releases,), {"journal": journal})
    run_state_machine_as_test(machine, settings=depth(EXAMPLES, stateful_step_count=STEPS))


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("name", FOUND)
def test_a_life_that_once_went_wrong(tmp_path: Path, name: str, journal: str) -> None:
    """Every invariant holds for the smallest form of what the random lives have found."""
    live(tmp_path, journal, FOUND[name])
