"""What happened to a database, kept in the database: one row per event, each sealed with the hash of the one before.

A row is written in the migration's own transaction, so it is there exactly once or not at all. Nothing here begins or
ends a transaction. The functions that judge (`chain_problems`, `reconcile`, `latest_base`) take values only.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from driftengine import journal
from driftengine.errors import HistoryError
from driftengine.journal import Document, Journal, Record, canonical
from driftengine.packed import DAMAGE, PACKED, Base, Folded, PackedBase, pack, unpack, unreadable
from driftengine.wellformed import HISTORY, parsed, require

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

TABLE = "driftd_history"
CREATE = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} ("
    "id INTEGER PRIMARY KEY, kind TEXT NOT NULL, migration_id TEXT UNIQUE, at TEXT NOT NULL, "
    "document TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL)"
)
COLUMNS = ("id", "kind", "migration_id", "at", "document", "previous", "hash")
SCHEMA_VERSION = 1
REMEMBERED = ("done", "undoes", "wishes")  # of the evidence: what the journal tells too
RESTORES = frozenset({"restoring", "restored"})  # behind either, the chain may go on from any earlier row


class Executes(Protocol):
    """What a row is written through: a connection, or anything that runs one statement."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Runs one statement and returns its cursor."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it is stored."""

    id: int
    kind: str
    migration_id: str | None
    at: str
    document: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Entry:
    """A row as it is meant.

    `kind` is `meeting`, `migration`, `rollback` or `restore`; `at` UTC, ISO 8601; `database_id` a random uuid, made
    with the first row and repeated in each; `plan`, `evidence`, `durations` (milliseconds), `versions`, `undo` and
    `backup` ({id, path, sha256}) are JSON documents. `id`, `previous` and `hash` are set by `append`.
    """

    kind: str
    at: str
    database_id: str
    migration_id: str | None = None
    plan: Document | None = None
    allowed_by: str = ""
    evidence: Document = field(default_factory=dict)
    durations: Document = field(default_factory=dict)
    versions: Document = field(default_factory=dict)
    undo: Any = None
    backup: Document | None = None
    base: Base | PackedBase | None = None
    id: int = 0
    previous: str = ""
    hash: str = ""

    def planned(self) -> dict[str, Any] | None:
        """The plan, read once; None where there was none."""
        if isinstance(self.plan, Folded):
            return self.plan.unfolded()
        return None if self.plan is None else dict(self.plan)


# The entries that somebody holds, by what their rows say: a history only grows, and each look reads all of it.
_known: WeakValueDictionary[bytes, Entry] = WeakValueDictionary()

# What stands in the document as it is; the rest has a column or an encoding of its own.
PLAIN = ("database_id", "plan", "allowed_by", "evidence", "durations", "versions", "undo", "backup")


def new_database_id() -> str:
    """The name that a database carries from its first row on, also into its copies."""
    return str(uuid.uuid4())


def new_migration_id(now: datetime, token: str = "") -> str:
    """`m_YYYYMMDD_HHMMSS_mmm_` and six random hex digits: sortable, and unique also on a stopped clock."""
    return f"m_{now:%Y%m%d_%H%M%S}_{now.microsecond // 1000:03d}_{token or secrets.token_hex(3)}"


# --- rows and entries


def encode(entry: Entry, *, row_id: int, previous: str) -> Row:
    """The row that stores the entry behind the row with the hash `previous` ("" for the first)."""
    fields = {name: getattr(entry, name) for name in PLAIN}
    fields["plan"] = entry.planned()
    document = canonical(
        {**fields, "schema_version": SCHEMA_VERSION, "base": None if entry.base is None else pack(entry.base)}
    )
    row = Row(row_id, entry.kind, entry.migration_id, entry.at, document, previous, "")
    return replace(row, hash=row_hash(row))


def decode(row: Row) -> Entry:
    """The entry in a row. Raises HistoryError (`history-unreadable`, `history-newer`)."""
    sealed = hashlib.sha256(repr(row).encode("utf-8", "surrogatepass")).digest()
    entry = _known.get(sealed)
    if entry is None:
        _known[sealed] = entry = _decoded(row)
    return entry


def fold(entries: Iterable[Entry]) -> None:
    """Makes entries small that are to be kept: a daemon holds all rows of its targets."""
    for entry in entries:
        if isinstance(entry.plan, Folded):
            entry.plan.fold()


def _decoded(row: Row) -> Entry:
    try:
        document = parsed(row.document)
        version = int(document["schema_version"])
        if version <= SCHEMA_VERSION:
            fields = {name: document[name] for name in PLAIN}
            # The hash of a row that somebody wrote may fit: what it says must be what the rest of driftd reads in it.
            require(fields, HISTORY)
            base = document["base"]
            require(base, PACKED)
            if fields["plan"] is not None:
                fields["plan"] = Folded(row.document)
            return Entry(
                row.kind,
                row.at,
                migration_id=row.migration_id,
                base=None if base is None else PackedBase(base, row.id),
                id=row.id,
                previous=row.previous,
                hash=row.hash,
                **fields,
            )
    except DAMAGE as error:
        raise unreadable(row.id, error) from error
    raise HistoryError(
        f"row {row.id} of {TABLE} was written by a newer driftd",
        code="history-newer",
        why=f"its document has version {version}, and this driftd reads {SCHEMA_VERSION}",
        fix="update driftd",
    )


def before(entry: Entry) -> Base | None:
    """The schema from before a migration, as its row holds it; None where it does not. Raises HistoryError."""
    if entry.undo is None or "before" not in entry.undo:
        return None
    try:
        return unpack(entry.undo["before"])
    except DAMAGE as error:
        raise unreadable(entry.id, error) from error


def row_hash(row: Row) -> str:
    """SHA-256 over the hash of the row before, and everything in this one."""
    sealed = [row.previous, row.id, row.kind, row.migration_id, row.at, row.document]
    return hashlib.sha256(canonical(sealed).encode()).hexdigest()


# --- in the database (inside the caller's transaction)


def read_rows(connection: Executes) -> tuple[Row, ...]:
    """All rows in order; none where the table is not there. Raises HistoryError where it is somebody else's."""
    return tuple(_rows(connection))


def _rows(connection: Executes) -> Generator[Row]:
    if _is_there(connection):
        # Closed also where a row is damaged: whoever keeps the error would keep the database's read lock with it.
        with closing(connection.execute(f"SELECT {', '.join(COLUMNS)} FROM {TABLE} ORDER BY id")) as cursor:
            for values in cursor:
                yield _row(*values)


def _row(row_id: Any, kind: Any, migration_id: Any, *texts: Any) -> Row:
    """A row of what SQLite gave. Raises HistoryError where our table cannot have given it."""
    if not isinstance(row_id, int):
        raise _foreign("its ids are no whole numbers")
    # Bytes where text belongs are damage, which the chain tells; they must not keep it from being looked at.
    at, document, previous, sealed = (one if isinstance(one, str) else repr(one) for one in texts)
    named = migration_id if isinstance(migration_id, str | None) else repr(migration_id)
    return Row(row_id, kind if isinstance(kind, str) else repr(kind), named, at, document, previous, sealed)


def _is_there(connection: Executes) -> bool:
    columns = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (TABLE,))}
    if columns and not columns.issuperset(COLUMNS):
        raise _foreign(f"it lacks {', '.join(name for name in COLUMNS if name not in columns)}")
    return bool(columns)


def _foreign(why: str) -> HistoryError:
    return HistoryError(
        f"{TABLE} is not driftd's table",
        code="history-foreign",
        why=why,
        fix=f"rename that table: driftd keeps its history under the name {TABLE}",
    )


def read(connection: Executes) -> tuple[Entry, ...]:
    """All entries in order. Raises HistoryError."""
    # One after the other: all documents of a long history at once would be megabytes at each look.
    with closing(_rows(connection)) as rows:
        return tuple(map(decode, rows))


def append(connection: Executes, entry: Entry) -> Entry:
    """Writes the entry behind the last row and returns it with its `id`, `previous` and `hash`."""
    if not _is_there(connection):
        connection.execute(CREATE)
    last = connection.execute(f"SELECT id, hash FROM {TABLE} ORDER BY id DESC LIMIT 1").fetchone()
    last_id, previous = last or (0, "")
    row = encode(entry, row_id=last_id + 1, previous=previous)
    connection.execute(
        f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (row.id, row.kind, row.migration_id, row.at, row.document, row.previous, row.hash),
    )
    return replace(entry, id=row.id, previous=row.previous, hash=row.hash)


# --- judging


def latest_base(entries: Sequence[Entry]) -> Base | PackedBase | None:
    """The base that driftd left behind last, or None before the first meeting."""
    return next((entry.base for entry in reversed(entries) if entry.base is not None), None)


def of_window(entries: Sequence[Entry], window: str) -> Entry | None:
    """The last migration that was made in the window with that id."""
    return next(
        (
            entry
            for entry in reversed(entries)
            if entry.migration_id is not None and entry.evidence.get("window") == window
        ),
        None,
    )


def chain_problems(rows: Sequence[Row]) -> tuple[str, ...]:
    """One sentence for each row that was altered, moved, or that stands behind a removed one.

    Rows cut off at the end leave a sound chain; only the journal knows of them (`reconcile`).
    """
    owner = {row.hash: row.id for row in rows}
    problems: list[str] = []
    previous, last_id = "", 0
    for row in rows:
        if row_hash(row) != row.hash:
            problems.append(f"row {row.id} ({_called(row)}) was altered")
        if row.previous != previous:
            problems.append(_broken_link(row, last_id, owner))
        previous, last_id = row.hash, row.id
    ids = {_database_id(row) for row in rows} - {None}
    if len(ids) > 1:
        problems.append(f"the rows name {len(ids)} different databases: {', '.join(sorted(map(str, ids)))}")
    return tuple(problems)


def _called(row: Row) -> str:
    return row.migration_id or row.kind


def _broken_link(row: Row, last_id: int, owner: Mapping[str, int]) -> str:
    if row.id > last_id + 1:
        gone = f"row {last_id + 1}" if row.id == last_id + 2 else f"rows {last_id + 1} to {row.id - 1}"
        return f"{gone} before row {row.id} ({_called(row)}) removed"
    if row.previous in owner:
        return (
            f"row {row.id} ({_called(row)}) is out of order: it was written behind row {owner[row.previous]}"
        )
    return f"row {row.id} ({_called(row)}) does not follow row {last_id}: one of them was replaced"


def _database_id(row: Row) -> str | None:
    try:
        return str(parsed(row.document)["database_id"])
    except (ValueError, TypeError, LookupError):
        return None  # told as altered


def journal_record(
    entry: Entry, *, database: str, event: str = "migrated", more: Document | None = None
) -> Record:
    """The journal's line for a history row that has been committed to the database at the real path `database`.

    `more` is what must be remembered through a restore too, beside the row's place in the chain.
    """
    return Record(
        event,
        entry.at,
        entry.database_id,
        {
            **(more or {}),
            **{key: entry.evidence[key] for key in REMEMBERED if entry.evidence.get(key)},
            "allowed_by": entry.allowed_by,
            "database": database,
            "kind": entry.kind,
            "id": entry.id,
            "migration_id": entry.migration_id,
            "previous": entry.previous,
            "hash": entry.hash,
        },
    )


def unrecorded(entries: Sequence[Entry], records: Iterable[Record]) -> tuple[Entry, ...]:
    """The rows that the journal lacks: a crash came between COMMIT and the journal, or the database is a copy.

    `write_journal` writes them.
    """
    known = {record.detail.get("hash") for record in records}
    return tuple(entry for entry in entries if entry.hash not in known)


def write_journal(
    path: Path, entries: Sequence[Entry], *, database: str, more: Document | None = None
) -> int:
    """Writes what the journal at `path` lacks of the rows, the newest last and with `more`; returns how many.

    Two callers at once may both write a row; that is no contradiction.
    Called behind each COMMIT with all rows of the database at the real path `database`, by whoever holds the target's
    lock. Rows before the newest are marked `recovered`: a crash had come between their COMMIT and the journal, or the
    database is a copy. Its folder must be there. Raises HistoryError, BusyError.
    """
    missing = unrecorded(entries, journal.read(path).records)
    for entry in missing:
        newest = entry is entries[-1]
        detail = more if newest else {"recovered": True}
        journal.append(path, journal_record(entry, database=database, more=detail))
    return len(missing)


def reconcile(entries: Sequence[Entry], found: Journal) -> tuple[str, ...]:
    """What the database's rows and the journal beside its backups do not agree on, one sentence each.

    A journal that is longer than the chain is normal after a restore, and so is a fork there; the one last row may be
    missing in the journal (a crash behind COMMIT). Records of another database id do not count.
    """
    problems = [f"journal: {problem}" for problem in found.problems]
    database_id = entries[-1].database_id if entries else None
    records = [
        record
        for record in found.records
        if record.event in RESTORES or database_id is None or record.database_id == database_id
    ]
    rows = [record for record in records if _hash(record)]
    missing = [entry for entry in unrecorded(entries, rows) if entry is not entries[-1]]
    if missing and not rows:
        problems.append(f"the journal is missing: it has none of the {len(entries)} rows of the history")
    elif missing:
        named = ", ".join(entry.migration_id or f"row {entry.id}" for entry in missing)
        problems.append(f"not in the journal: {named}")
    return (*problems, *_forks(records), *_cut_off(entries, records))


def _hash(record: Record) -> str:
    """The hash of the history row that a record tells of, or ""."""
    return "" if record.event in RESTORES else str(record.detail.get("hash") or "")


def _named(record: Record) -> str:
    return str(record.detail.get("migration_id") or f"row {record.detail.get('id')}")


def _forks(records: Sequence[Record]) -> list[str]:
    """Journalled rows that do not follow the one before, with no restore in between."""
    problems: list[str] = []
    head = ""
    restored = False
    seen: set[str] = set()
    for record in records:
        restored = restored or record.event in RESTORES
        found = _hash(record)
        # Two driftd may note the same row: one has committed it, one has found it missing.
        if found and found not in seen:
            seen.add(found)
            follows = not head or restored or record.detail.get("previous") == head
            if not follows and record.detail.get("recovered"):
                continue  # written late: it stands behind rows that came after it
            if not follows:
                problems.append(
                    f"{_named(record)} does not follow the row before it in the journal, and no restore is recorded"
                )
            head, restored = found, False
    return problems


def _cut_off(entries: Sequence[Entry], records: Sequence[Record]) -> list[str]:
    """Rows at the end of the journal that the database lacks, with no restore behind them."""
    present = {entry.hash for entry in entries}
    gone: list[str] = []
    for record in reversed(records):
        if record.event in RESTORES or _hash(record) in present:
            break
        if _hash(record):
            gone.append(_named(record))
    if not gone:
        return []
    return [f"removed from the history, and no restore is recorded: {', '.join(reversed(gone))}"]
