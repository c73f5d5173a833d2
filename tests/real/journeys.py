"""From one release of a package to the next: driftd migrates a filled database, and everything is looked at afterwards."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from real import reading
from real.commands import Case, in_release
from real.filling import fill
from real.judgements import AGREED, ANSWERS
from real.lineages import CREATE_ALL
from real.outcomes import OWN_TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from real.judgements import Answer
    from real.lineages import Lineage, Release, Soft

EXACT, HELD, WRONG = "exact", "held", "wrong"
Schema = dict[tuple[str, str], str | None]
Document = dict[str, Any]
Item = dict[str, Any]
Moved = dict[str, str]  # "table.column" to its new name, "" for one that was dropped


@dataclass(frozen=True, slots=True)
class Journey:
    """One pair of releases, and the database that it begins with. `origin` as in lineages, `journal` a journal mode."""

    older: Release
    newer: Release
    origin: str = CREATE_ALL
    journal: str = "wal"
    soft: tuple[Soft, ...] = ()
    agreed: Mapping[tuple[str, str], str] = field(default_factory=dict)
    answer: Answer | None = None

    @property
    def title(self) -> str:
        """How tests and reports call it."""
        return f"{self.older.distribution}-{self.older.version}-to-{self.newer.version}-{self.origin}-{self.journal}"

    def in_mode(self, journal: str) -> Journey:
        """The same in that journal mode."""
        return replace(self, journal=journal)


@dataclass(frozen=True, slots=True)
class Before:
    """All of a database that must be found again."""

    content: dict[str, tuple[list[str], list[reading.Row]]]
    schema: Schema
    shapes: dict[str, reading.Shape]
    sequences: dict[str, int]
    problems: list[reading.Row]


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came of a journey. `waiting` and `left`, behind the answer, are items of apply's; `problems` say what is wrong.

    `left` is None where a person has nothing to answer.
    """

    journey: Journey
    rows: int
    operations: int
    milliseconds: float
    waiting: tuple[Item, ...]
    left: tuple[Item, ...] | None
    problems: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """EXACT, HELD or WRONG, before any answer."""
        return WRONG if self.problems else HELD if self.waiting else EXACT


@dataclass(frozen=True, slots=True)
class Road:
    """A database under way: what is asked of it again and again."""

    case: Case
    journey: Journey
    before: Before
    wanted: Path

    def apply(self, *words: str) -> tuple[Document, tuple[Item, ...]]:
        """`driftd apply`; its answer, and what waits."""
        document = self.case.run("apply", *words).document
        return document, (*document["held"], *document["blocked"])

    def problems(
        self, waiting: tuple[Item, ...], words: tuple[str, ...] = (), moved: Moved | None = None
    ) -> list[str]:
        """What is not as it must be after an apply."""
        database = self.case.database
        # A foreign key to what is no key is the models' own; their create_all makes it too.
        known = self.before.problems + reading.problems(self.wanted)
        return [
            *kept(database, self.before, moved or {}),
            *sound(database, self.journey.journal, known),
            *settled(self.case, waiting, words),
            *([] if waiting else reached(database, self.wanted)),
            *usable(self.journey.newer, database, waiting),
        ]


def name_of(item: dict[str, Any]) -> str:
    """`table.name`, or the table alone."""
    return item["table"] if item["name"] in {"", item["table"]} else f"{item['table']}.{item['name']}"


def travel(journey: Journey, folder: Path) -> Arrival:
    """Make the older release's database, fill it, migrate it to the newer one's models, use it, and take it back.

    Where something waits that a person can answer, that is done as well.
    """
    database, wanted = folder / "service" / "data.db", folder / "wanted.db"
    rows, newer = make(journey, database), journey.newer
    in_release(newer.python(), "release_create.py", CREATE_ALL, wanted, *newer.models.split())
    road = Road(Case(database, newer.python(), newer.models), journey, seen(database), wanted)
    first, waiting = road.apply()
    problems = failed(first) or road.problems(waiting)
    problems += [f"nobody agreed that it waits: {one}" for one in codes(waiting) if one not in journey.agreed]
    made, left = [first["migration_id"]], None
    if waiting and journey.answer and not problems:
        second, left = road.apply(*journey.answer.words)
        made.append(second["migration_id"])
        found = failed(second) or road.problems(left, journey.answer.words, journey.answer.moved)
        problems += [f"after the answer: {problem}" for problem in found]
    if any(made) and not problems:
        problems += taken_back(road, made)
    return Arrival(journey, rows, first["operations"], first["duration_ms"], waiting, left, tuple(problems))


def failed(document: Document) -> list[str]:
    """What an apply that ended with an error says."""
    return [] if document["error"] is None else [f"apply failed: {document['error']}"]


def codes(items: tuple[Item, ...]) -> list[tuple[str, str]]:
    """(code, object) of what waits."""
    return sorted((item["code"], name_of(item)) for item in items)


def make(journey: Journey, database: Path) -> int:
    """A filled database as the older release makes it; returns its number of rows."""
    database.parent.mkdir(parents=True)
    older = journey.older
    printed = in_release(older.python(), "release_create.py", journey.origin, database, *older.models.split())
    rows = fill(database, json.loads(printed.splitlines()[-1]), journey.soft)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA journal_mode={journey.journal}")
    return rows


def seen(database: Path) -> Before:
    """What is there now."""
    return Before(
        reading.content(database),
        stored(database),
        {table: reading.shape(database, table) for table in reading.tables(database)},
        reading.sequences(database),
        reading.problems(database),
    )


def stored(database: Path) -> Schema:
    """The stored objects but driftd's own."""
    return {key: sql for key, sql in reading.stored(database).items() if key[1] not in OWN_TABLES}


def kept(database: Path, before: Before, moved: Moved) -> list[str]:
    """Every old value is under its rowid with its storage class, no row is new, no sequence went back."""
    problems = []
    for table, (columns, old) in before.content.items():
        names = [moved.get(f"{table}.{column}", column) for column in columns]
        if table not in reading.tables(database):
            problems.append(f"table {table} is gone")
        elif set(filter(None, names)) - set(reading.column_names(database, table)):
            problems.append(f"columns of {table} are gone")
        elif reading.rows(database, table, list(filter(None, names))) != [
            _without(row, names) for row in old
        ]:
            problems.append(f"rows of {table} have changed")
    now = reading.sequences(database)
    return problems + [f"the sequence of {t} moved" for t, n in before.sequences.items() if now.get(t) != n]


def _without(row: reading.Row, names: list[str]) -> reading.Row:
    """A row as `reading.rows` gives it, without the columns that have no name any more."""
    kept_places = [place for place, name in enumerate(names) if name]
    return (row[0], *(row[1 + 2 * place + part] for place in kept_places for part in (0, 1)))


def sound(database: Path, journal: str, known: list[reading.Row]) -> list[str]:
    """SQLite's own checks find nothing but what is `known`, and the journal mode is what it was."""
    found = [f"SQLite reports {row}" for row in reading.problems(database) if row not in known]
    mode = reading.journal_mode(database)
    return found if mode == journal else [*found, f"the journal mode became {mode}"]


def settled(case: Case, waiting: tuple[Item, ...], words: tuple[str, ...]) -> list[str]:
    """What still differs is what waits, and a second apply changes nothing at all."""
    problems = []
    # A hint of a rename stays true; values for old rows and approvals are given once.
    hints = [word for place, word in enumerate(words) if "--rename" in words[max(place - 1, 0) : place + 1]]
    check = case.run("check", *hints).document
    left = {(one["table"], one["name"].lower()) for one in check["differences"]}
    told = {(item["table"], item["name"].lower()) for item in waiting}
    if left != told:
        problems.append(f"check and apply disagree: {sorted(left ^ told)}")
    schema, backups = stored(case.database), case.backups()
    again = case.run("apply", *hints).document
    if (
        again["migration_id"]
        or again["error"]
        or (stored(case.database), case.backups()) != (schema, backups)
    ):
        problems.append(
            f"a second apply did something: {again['outcome']} {again['error'] or again['applied']}"
        )
    return problems


def reached(database: Path, wanted: Path) -> list[str]:
    """Each table that a fresh `create_all` makes is there, equal in effect, and so is each of its indexes."""
    problems = [
        f"table {table} is not what create_all makes"
        for table in reading.tables(wanted)
        if table not in reading.tables(database)
        or reading.shape(database, table) != reading.shape(wanted, table)
    ]
    present = {
        (table, *index) for table in reading.tables(database) for index in reading.indexes(database, table)
    }
    lacking = [
        (table, *index)
        for table in reading.tables(wanted)
        for index in reading.indexes(wanted, table)
        if (table, *index) not in present
    ]
    return problems + [f"an index is missing: {index}" for index in lacking]


def usable(release: Release, database: Path, waiting: tuple[Item, ...]) -> list[str]:
    """The newer release's own code reads every row and writes into every table, unless a column still waits."""
    if any(item["kind"] == "add_column" for item in waiting):
        return []
    copy = reading.copied(database, database.parent / "used" / "data.db")
    try:
        in_release(release.python(), "release_use.py", copy, *release.models.split())
    except AssertionError as error:
        return [f"the newer release cannot use it: {str(error)[-600:]}"]
    finally:
        copy.unlink()
    return []


def taken_back(road: Road, made: list[str | None]) -> list[str]:
    """`driftd rollback` of each migration, the last one first: the state before, row by row and in effect."""
    problems = []
    words = ((), road.journey.answer.back if road.journey.answer else ())
    for migration, back in reversed(list(zip(made, words, strict=False))):
        if migration is None:
            continue
        document = road.case.run("rollback", migration, *back).document
        held = codes((*document["held"], *document["blocked"]))
        problems += failed(document) + ([f"left something: {held}"] if held else [])
    database, before, now = road.case.database, road.before, seen(road.case.database)
    problems += [*kept(database, before, {}), *sound(database, road.journey.journal, before.problems)]
    gone_or_new = _objects(now) ^ _objects(before)
    if gone_or_new:
        problems.append(f"other objects: {sorted(gone_or_new)}")
    changed = [table for table, shape in before.shapes.items() if now.shapes.get(table) != shape]
    return [
        f"rollback: {one}" for one in problems + [f"table {table} is not what it was" for table in changed]
    ]


def journeys(lineage: Lineage) -> list[Journey]:
    """Every consecutive pair of a package, each in the other journal mode than the one before it."""
    return [
        Journey(
            older,
            newer,
            lineage.origin,
            ("wal", "delete")[place % 2],
            lineage.soft,
            AGREED[lineage.name],
            ANSWERS.get((lineage.name, older.version)),
        )
        for place, (older, newer) in enumerate(lineage.pairs())
    ]


def _objects(seen_then: Before) -> set[tuple[str, str]]:
    """What is stored but for unique indexes: a constraint may come back as one, and shapes tell of both."""
    return {
        key
        for key, sql in seen_then.schema.items()
        if not (
            key[0] == "index"
            and sql
            and sql.upper().startswith("CREATE UNIQUE")
            and "WHERE" not in sql.upper()
        )
    }
