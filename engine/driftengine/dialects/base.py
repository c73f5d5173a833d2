"""What the layers above expect of a database. Nothing here is a file, a single writer, or a promise of transactional DDL.

A `Dialect` decides (values in, values out); a `Database` acts on one target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from driftengine.changes import (
        Backfill,
        Change,
        Difference,
        Facts,
        Offending,
        Questions,
        Rename,
        Script,
        SqlValue,
    )
    from driftengine.schema import Schema, StoredObject

Finish = Callable[[Any], object]
StepProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that the proof of an outcome found; `objects` are the keys of what it concerns."""

    text: str
    objects: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How a script went on a copy of the database.

    `expected` is what the database stores about its shape afterwards; `durations` are seconds by statement,
    `commit_seconds` those of COMMIT, `changes` the number of rows written. When a statement failed, `failure` is the message and `failed` the operations that it served.
    `problems` say what the proof of the outcome found; `stale_defaults` are (table, column) names whose stored default
    old rows still read, so that it may not be edited.
    """

    expected: tuple[StoredObject, ...] = ()
    durations: tuple[float, ...] = ()
    commit_seconds: float = 0.0
    changes: int = 0
    failure: str = ""
    failed: tuple[int, ...] = ()
    problems: tuple[Problem, ...] = ()
    stale_defaults: tuple[tuple[str, str], ...] = ()

    @property
    def ok(self) -> bool:
        """True when every statement ran and the outcome was proved."""
        return not (self.failure or self.problems or self.stale_defaults)


@dataclass(frozen=True, slots=True)
class Glance:
    """What has changed in a database since somebody last glanced at it.

    Args:
        kind: `same`, `moved`, `replaced` (another database has its name), `missing` or `created`.
        schema: False where it is certain that at most rows have changed.
        quiet_s: seconds since the last change that was seen.
        open: False while nothing of the database is held.
    """

    kind: str
    schema: bool
    quiet_s: float
    open: bool

    @property
    def rows(self) -> bool:
        """True when anything may have changed."""
        return self.kind != "same"


class Dialect(Protocol):
    """The decisions that depend on the kind of database."""

    @property
    def name(self) -> str:
        """Its name in URLs."""

    def versions(self) -> Mapping[str, str]:
        """What carries the statements out, for the history."""

    def understand(self, stored: Iterable[StoredObject]) -> Schema:
        """The schema that a list of stored objects describes."""

    def strategy(self, difference: Difference, actual: Schema, backfill: Backfill | None) -> str:
        """`native`, `catalog` or `rebuild`."""

    def guard(
        self, difference: Difference, desired: Schema, actual: Schema, backfill: Backfill | None
    ) -> str | None:
        """The query for offending rows, or None where no row is judged."""

    def concerned(self, difference: Difference, actual: Schema) -> str | None:
        """A query for the rows that a held operation would concern, to show them to a person."""

    def renamed(self, schema: Schema, renames: Sequence[Rename]) -> Schema:
        """The schema after the renames, carried out one after the other. Raises RehearsalError (`rename-refused`)."""

    def as_it_is(self, query: str, actual: Schema, renames: Sequence[Rename]) -> str:
        """A guard or another query over the schema after the renames, to be run while none of them has happened."""

    def beside_rename(
        self, rename: Rename, actual: Schema, renames: Sequence[Rename]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Sentences about what breaks by a rename, and about what a person should look at."""

    def goes_with(self, difference: Difference, actual: Schema) -> tuple[str, ...]:
        """The names of what cannot stay when a column is dropped."""

    def relaxes(self, difference: Difference) -> bool:
        """True when a changed constraint admits every row that the old one admitted."""

    def keeps_parent_key(self, difference: Difference, desired: Schema) -> bool:
        """True when the parent of a foreign key has a key over the columns that it refers to."""

    def script(
        self, desired: Schema, actual: Schema, changes: Sequence[Change], *, catalogue_edits: bool = True
    ) -> Script:
        """The statements that carry out the changes."""

    def after(self, actual: Schema, script: Script) -> Schema:
        """The schema that a script leaves, tried without rows. Raises RehearsalError where a statement is refused."""

    def respelled(self, expression: str, names: Mapping[str, str]) -> str | None:
        """An expression over a row with other names for its columns, by key; None where that cannot be told."""

    def came_back(
        self,
        difference: Difference,
        now: Schema,
        then: Schema,
        target: Schema,
        names: Mapping[tuple[str, str], tuple[str, str]],
        *,
        fill: str | None = None,
        otherwise: str | None = None,
        source: str = "the backup",
    ) -> Backfill | None:
        """What a column or table gets from the database as it was `then`; None where nothing was lost.

        `names` goes from (table, column) keys of now to those of then where they are others. `fill` is the expression by
        which NULLs were filled, `otherwise` one for rows written since, where the column has no default.
        """

    def undecided(
        self,
        difference: Difference,
        now: Schema,
        then: Schema,
        target: Schema,
        names: Mapping[tuple[str, str], tuple[str, str]],
        *,
        fill: str | None = None,
        otherwise: str | None = None,
    ) -> str | None:
        """A query for the rows of which nobody can tell what they should get back, or None where each is sure.

        Of a constraint: one for the rows that would offend it with the values that come back, in place of its own guard.
        """

    def written_since(
        self,
        difference: Difference,
        now: Schema,
        then: Schema | None,
        names: Mapping[tuple[str, str], tuple[str, str]],
        *,
        fill: str | None = None,
    ) -> str | None:
        """A query for what somebody has written into what is to be removed, or None where nobody can have."""

    def script_text(self, script: Script, held: Iterable[str], *, careful: bool = False) -> str:
        """A script for the database's own shell; `careful` when a statement of it may fail over the rows."""


class WriteTransaction(Protocol):
    """An open write transaction; what is not committed is rolled back."""

    def run(
        self,
        script: Script,
        *,
        endless_seconds: Mapping[int, float] | None = None,
        progress: StepProgress | None = None,
    ) -> int:
        """Runs the script and returns how many rows were written."""

    def prove(self, expected: Sequence[StoredObject]) -> None:
        """Raises ProofError unless nothing but the plan has happened."""

    def exact(self, mark: object) -> bool:
        """True when nothing was committed since the mark was taken, by anybody."""

    def hand_out(self, values: Mapping[str, Sequence[SqlValue]]) -> None:
        """Makes values that were drawn from the models' callables available to the script."""

    @property
    def durations(self) -> tuple[float, ...]:
        """Seconds, by statement that has run."""

    def writer(self) -> Any:
        """What `history.append` writes through."""

    def commit(self, *, before: Callable[[], None] | None = None, seconds: float = 0.0) -> None:
        """Makes it last. `before` may refuse each try by raising; `seconds` is how long it took in the rehearsal."""


class Database(Protocol):
    """One target, open for reading; closed by `close`."""

    @property
    def name(self) -> str:
        """What people and backups know it by."""

    def state(self) -> str:
        """`missing`, `empty` or `present`."""

    def read(self) -> Schema:
        """The actual schema."""

    def reader(self) -> Any:
        """What `history.read` reads through, or None while the database is missing."""

    def snapshot(self) -> AbstractContextManager[None]:
        """While it is open, all reading sees one state of the database. It may be opened within itself."""

    def until(self, deadline_at: float | None) -> AbstractContextManager[None]:
        """While it is open, reading ends in DeadlineError once `time.monotonic()` has reached that; None: no limit."""

    def facts(self, questions: Questions) -> Facts:
        """Answers about the rows."""

    def offending(self, guard: str) -> Offending:
        """What a guard query finds now."""

    def files(self) -> Any:
        """What a backup needs of it."""

    def earlier(self, path: Path | None) -> AbstractContextManager[None]:
        """While it is open, queries, rehearsals and transactions can read a copy of the database as it was."""

    def mark(self) -> object:
        """A token that is equal to a later one only when nothing was committed in between, also through a rest."""

    def shape(self) -> object:
        """A token like `mark`, for the schema alone, as of the last use."""

    def glance(self) -> Glance:
        """What has changed since the last glance, cheaply, and without waiting for anybody's lock."""

    def rest(self) -> None:
        """Lets go of all that is held, so that others have the database to themselves until the next use."""

    def wake(self) -> None:
        """Takes hold of what is there now, also where it was replaced or made since."""

    def catalogue_edits(self) -> bool:
        """True when stored DDL can be edited here."""

    def rehearse(
        self,
        backup: Path | None,
        workspace: Path,
        script: Script,
        *,
        finish: Finish,
        values: Mapping[str, Sequence[SqlValue]],
        progress: StepProgress | None = None,
        deadline_at: float | None = None,
    ) -> Rehearsed:
        """Runs the script on a copy of `backup` (None: on an empty database) inside the folder `workspace`.

        Raises DeadlineError once `time.monotonic()` has reached `deadline_at`.
        """

    def transaction(
        self, *, deadline_at: float | None, lock_wait: float, values: Mapping[str, Sequence[SqlValue]]
    ) -> AbstractContextManager[WriteTransaction]:
        """A write transaction on the live database, waiting `lock_wait` seconds for it. Creates a missing one."""

    def space_needed(self, script: Script) -> int:
        """Bytes that backup, copy, growth and log may take while the script is staged and applied."""

    def close(self) -> None:
        """Ends the reading connection."""
