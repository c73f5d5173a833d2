"""What was taken back, as the history and the journal tell it. Pure: rows and lines in, facts out.

What was taken back is still wanted by the models; done again at the next start, it would come and go for ever. So it is
remembered by what it was about and what was wanted, until the models want something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from driftengine import history
from driftengine.changes import RENAME
from driftengine.effect import digest_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from driftengine.changes import Difference
    from driftengine.history import Entry
    from driftengine.journal import Record

ROLLBACK = "rollback"  # the kind of a history row that takes another one back
Wish: TypeAlias = "tuple[str, str]"  # the identity of a difference, and the digest of what was wanted


@dataclass(frozen=True, slots=True)
class Done:
    """One operation that a migration has carried out.

    `number` is its place in the plan, `identity` that of its difference, `digest` that of what was wanted ("" for a
    removal); `old` is the former name where something was renamed.
    """

    number: int
    identity: str
    digest: str
    old: str = ""

    @property
    def wish(self) -> Wish:
        """What the models wanted, in two words."""
        return self.identity, self.digest


def done_document(numbered: Iterable[tuple[int, Difference]]) -> list[list[Any]]:
    """For the evidence of a history row: what was done, by the numbers of the operations."""
    return [
        [number, d.identity, digest_of(d.desired), *([d.actual.name] if d.change == RENAME else [])]
        for number, d in numbered
    ]


def done_by(evidence: Mapping[str, Any]) -> tuple[Done, ...]:
    """What a history row, or the journal's line of it, says that was done."""
    return tuple(Done(*one) for one in evidence.get("done", ()))


def undoes(entry: Entry) -> tuple[str, frozenset[int]] | None:
    """The migration that a row takes back, and which of its operations; None for any other row."""
    told = entry.evidence.get("undoes")
    if entry.kind != ROLLBACK or not told:
        return None
    return str(told["migration"]), frozenset(map(int, told["operations"]))


def undone(entries: Sequence[Entry]) -> Mapping[str, frozenset[int]]:
    """By migration, the numbers of the operations that have been taken back and were not done again by taking that back."""
    found: dict[str, frozenset[int]] = {}
    # From the last row on: a rollback that was taken back whole does not count.
    for entry in reversed(entries):
        told = undoes(entry)
        if told is not None and not _wholly(entry, found):
            migration, numbers = told
            found[migration] = found.get(migration, frozenset()) | numbers
    return found


def _wholly(entry: Entry, found: Mapping[str, frozenset[int]]) -> bool:
    done = {one.number for one in done_by(entry.evidence)}
    return bool(done) and done <= found.get(str(entry.migration_id), frozenset())


def wishes(entries: Sequence[Entry], records: Sequence[Record]) -> Mapping[Wish, str]:
    """What the models wanted and was taken back, each with who did it and when; not what was done again since.

    The journal tells it in order, also of rows that a restore has made the database forget; rows that it lacks come last.
    """
    ids = {entry.database_id for entry in entries}
    # Behind a restore to the state before the first row the database is met anew, and gets another id.
    ids |= {
        r.database_id for r in records if ids and r.event in history.RESTORES and r.detail.get("takes_back")
    }
    known = {record.detail.get("hash") for record in records}
    late = [history.journal_record(entry, database="") for entry in entries if entry.hash not in known]
    memory = _Memory({entry.hash for entry in entries})
    for record in (*records, *late):
        if record.event in history.RESTORES:
            memory.restored(record)
        elif record.detail.get("hash") and (not ids or record.database_id in ids):
            memory.happened(record)
    return memory.found


class _Memory:
    """What is known while the lines of a journal are gone through."""

    def __init__(self, present: Collection[str]) -> None:
        self.present = present
        self.rows: dict[str, Record] = {}
        self.found: dict[Wish, str] = {}

    def happened(self, record: Record) -> None:
        """A row of the history: a migration, or a rollback."""
        detail = record.detail
        self.rows[str(detail.get("migration_id"))] = record
        told = detail.get("undoes")
        if told is None:
            for one in done_by(detail):
                self.found.pop(one.wish, None)
            return
        by = f"{told['migration']} was rolled back by {detail.get('allowed_by') or 'somebody'} at {record.at}"
        concerned, taken = self._taken(told)
        if taken:
            self.found |= dict.fromkeys(concerned, by)
        else:
            for wish in concerned:
                self.found.pop(wish, None)

    def _taken(self, told: Mapping[str, Any]) -> tuple[list[Wish], bool]:
        """What a rollback is about; False where it takes a rollback back, so that what that had undone is done again."""
        source = self.rows.get(str(told["migration"]))
        if source is None:
            return [], False
        again = source.detail.get("undoes")
        if again is None:
            return _of(source, told["operations"]), True
        wishes_, taken = self._taken(again)
        numbers = frozenset(map(int, told["operations"]))
        places = {place for one in done_by(source.detail) if one.number in numbers for place in _places(one)}
        return [wish for wish in wishes_ if tuple(wish[0].split("|")[:3:2]) in places] or wishes_, not taken

    def restored(self, record: Record) -> None:
        """A restore that was meant as a rollback takes back all that the database has forgotten by it."""
        if not record.detail.get("takes_back"):
            return
        told = f"{record.detail['takes_back']} was rolled back by restoring {record.detail.get('id')} at {record.at}"
        for row in self.rows.values():
            if row.detail["hash"] not in self.present and row.detail.get("undoes") is None:
                self.found |= dict.fromkeys((one.wish for one in done_by(row.detail)), told)


def _of(record: Record, numbers: Iterable[int]) -> list[Wish]:
    wanted = frozenset(map(int, numbers))
    return [one.wish for one in done_by(record.detail) if one.number in wanted]


def _places(one: Done) -> set[tuple[str, ...]]:
    """The kind and the names, this one and the former, of what an operation is about."""
    kind, _, name, *_ = one.identity.split("|")
    return {(kind, name), (kind, one.old.lower() or name)}


def fills_of(entries: Sequence[Entry], entry: Entry) -> Mapping[str, str]:
    """The expressions, by identity, with which a migration had filled what it was about.

    A rollback gives values of a backup, which no expression tells. One that takes a rollback back does again what the
    migration behind that had done.
    """
    rows = {str(one.migration_id): one for one in entries}
    found: Entry | None = entry
    while found is not None and found.kind == ROLLBACK:
        for _ in range(2):
            told = None if found is None else undoes(found)
            found = None if told is None else rows.get(told[0])
    fills: Mapping[str, str] = {} if found is None else found.evidence.get("fills", {})
    return fills


def last_to_take_back(entries: Sequence[Entry]) -> Entry | None:
    """The last migration that has not been taken back whole; rollbacks are passed over."""
    gone = undone(entries)
    for entry in reversed(entries):
        if entry.migration_id is None or entry.kind == ROLLBACK:
            continue
        applied = frozenset(map(int, entry.evidence.get("applied", ())))
        if not applied <= gone.get(entry.migration_id, frozenset()):
            return entry
    return None


def needed_backups(entries: Sequence[Entry]) -> tuple[str, ...]:
    """The ids of the backups that a rollback needs: the last one, and those that hold what a migration has lost."""
    gone = undone(entries)
    kept: list[str] = []
    newest = next((e for e in reversed(entries) if e.backup), None)
    for entry in entries:
        if not entry.backup:
            continue
        left = frozenset(map(int, entry.evidence.get("lost", ()))) - gone.get(
            str(entry.migration_id), frozenset()
        )
        if left or entry is newest:
            kept.append(str(entry.backup["id"]))
    return tuple(kept)
