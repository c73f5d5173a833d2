"""What was taken back, as the history and the journal tell it. Pure: rows and lines in, facts out.

What was taken back is still wanted by the models; done again at the next start, it would come and go for ever. So it is
remembered by what it was about and what was wanted, until the models want something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from driftengine import history
from driftengine.changes import ADD, RENAME, folded, parts_of
from driftengine.effect import digest_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from driftengine.changes import Difference
    from driftengine.history import Entry
    from driftengine.journal import Record

ROLLBACK = "rollback"  # the kind of a history row that takes another one back
_DONE, _PARTS = 3, 4  # fields of what was done, and bars in an identity
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
    def wishes(self) -> tuple[Wish, ...]:
        """What the models wanted, in two words. Without its hint a rename is a wish for something new."""
        wish = (self.identity, self.digest)
        place, _, _ = self.identity.rsplit("|", 2)
        return (wish, (f"{place}|{ADD}|", self.digest)) if self.old else (wish,)


def done_document(numbered: Iterable[tuple[int, Difference]]) -> list[list[Any]]:
    """For the evidence of a history row: what was done, by the numbers of the operations."""
    return [
        [number, d.identity, digest_of(d.desired), *([d.actual.name] if d.change == RENAME else [])]
        for number, d in numbered
    ]


def wishes_moved(before: Iterable[Difference], after: Iterable[Difference]) -> dict[str, list[list[str]]]:
    """For the evidence of a rollback: what the models want that it leaves unmet, and what it meets, by identity and digest."""
    once, now = ({(d.identity, digest_of(d.desired)) for d in one} for one in (before, after))
    return {"unmet": sorted(map(list, now - once)), "met": sorted(map(list, once - now))}


def done_by(evidence: Mapping[str, Any]) -> tuple[Done, ...]:
    """What a history row, or the journal's line of it, says that was done."""
    told = evidence.get("done")
    rows = [one for one in told if isinstance(one, list)] if isinstance(told, list) else []
    # A newer driftd may say more of each; what says less was altered.
    whole = [one for one in rows if len(one) >= _DONE and isinstance(one[0], int)]
    return tuple(Done(one[0], *map(str, one[1:4])) for one in whole if str(one[1]).count("|") >= _PARTS)


def undoes(entry: Entry) -> tuple[str, frozenset[int]] | None:
    """The migration that a row takes back, and which of its operations; None for any other row."""
    told = entry.evidence.get("undoes")
    if entry.kind != ROLLBACK or not told:
        return None
    return str(told["migration"]), frozenset(map(int, told["operations"]))


def undone(entries: Sequence[Entry]) -> Mapping[str, frozenset[int]]:
    """By migration, the numbers of the operations that have been taken back and were not done again by taking that back."""
    rows = {str(entry.migration_id): entry for entry in entries}
    found: dict[str, frozenset[int]] = {}
    # From the last row on: a rollback that was taken back whole does not count, and in part only by the rest.
    for entry in reversed(entries):
        told = undoes(entry)
        if told is not None and not _wholly(entry, found):
            migration, numbers = told
            again = _done_again(entry, found.get(str(entry.migration_id), frozenset()), rows.get(migration))
            found[migration] = found.get(migration, frozenset()) | (numbers - again)
    return found


def _done_again(entry: Entry, gone: frozenset[int], source: Entry | None) -> frozenset[int]:
    """What of a migration stands again since these operations of its rollback were taken back."""
    if not gone or source is None:
        return frozenset()
    back = [one for one in done_by(entry.evidence) if one.number in gone]
    return _about_the_same(back, done_by(source.evidence))


def _about_the_same(back: Iterable[Done], done: Sequence[Done]) -> frozenset[int]:
    """Which of the operations of a migration these ones of its rollback are about; its renames lie between."""
    former = {
        table: folded(one.old)
        for one in done
        for kind, table, _ in [_place(one)]
        if one.old and kind == "table"
    }
    places = {_place(one) for one in back}
    found = set()
    for one in done:
        kind, table, name = _place(one)
        tables, names = {table, former.get(table, table)}, {name, folded(one.old) or name}
        if kind == "table":
            tables |= names
        if places & {(kind, a, b) for a in tables for b in names}:
            found.add(one.number)
    return frozenset(found)


def _place(one: Done) -> tuple[str, str, str]:
    parts = parts_of(one.identity)
    return parts.object, parts.table, parts.name


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
        self.seen: set[str] = set()
        self.found: dict[Wish, str] = {}

    def happened(self, record: Record) -> None:
        """A row of the history: a migration, or a rollback."""
        detail = record.detail
        if detail["hash"] in self.seen:
            return  # two driftd may both have written it down
        self.seen.add(detail["hash"])
        self.rows[str(detail.get("migration_id"))] = record
        told = _undoes(detail)
        if told is None:
            self._forget(wish for one in done_by(detail) for wish in one.wishes)
            return
        by = f"{told['migration']} was rolled back by {detail.get('allowed_by') or 'somebody'} at {record.at}"
        source, numbers, taken = self._taken(told)
        concerned = [] if source is None else _of(source, numbers)
        if taken:
            self.found |= dict.fromkeys(concerned, by)
        else:
            self._forget(concerned)
        # Beyond what was done then: what the models want by now, later migrations of the same column in it.
        moved: Mapping[str, Sequence[Sequence[str]]] = detail.get("wishes", {})
        self._forget((identity, digest) for identity, digest in moved.get("met", ()))
        unmet = ((identity, digest) for identity, digest in moved.get("unmet", ()))
        self.found |= dict.fromkeys(unmet, by)

    def _forget(self, wishes: Iterable[Wish]) -> None:
        for wish in wishes:
            self.found.pop(wish, None)

    def _taken(self, told: Mapping[str, Any]) -> tuple[Record | None, frozenset[int], bool]:
        """Which operations of which migration a rollback is about; False where it does again what another had taken back."""
        source, numbers = self.rows.get(str(told["migration"])), frozenset(map(int, told["operations"]))
        again = None if source is None else _undoes(source.detail)
        if source is None or again is None:
            return source, numbers, source is not None
        first, known, taken = self._taken(again)
        done = done_by(source.detail)
        if first is not None and not {one.number for one in done} <= numbers:
            known &= _about_the_same([one for one in done if one.number in numbers], done_by(first.detail))
        return first, known, not taken

    def restored(self, record: Record) -> None:
        """A restore that was meant as a rollback takes back all that the database has forgotten by it."""
        if not record.detail.get("takes_back"):
            return
        told = f"{record.detail['takes_back']} was rolled back by restoring {record.detail.get('id')} at {record.at}"
        # Its own backup was made right before it: it is gone, and what came behind it.
        names = list(self.rows)
        first = names.index(record.detail["takes_back"]) if record.detail["takes_back"] in names else 0
        done = [
            one
            for row in list(self.rows.values())[first:]
            if row.detail["hash"] not in self.present and _undoes(row.detail) is None
            for one in done_by(row.detail)
        ]
        digests: dict[tuple[str, str, str], set[str]] = {}
        for one in done:
            digests.setdefault(_place(one), set()).add(one.digest)
        # One may have made it, and another one changed it: what is wanted then is its making, with all changes.
        self.found |= {
            (identity, digest): told
            for one in done
            for identity, _ in one.wishes
            for digest in digests[_place(one)]
        }


def _undoes(detail: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a row takes back; None for any other, and for one whose line was altered."""
    told = detail.get("undoes")
    if not isinstance(told, dict) or not {"migration", "operations"} <= told.keys():
        return None
    return told if isinstance(told["operations"], list) else None


def _of(record: Record, numbers: Iterable[int]) -> list[Wish]:
    wanted = frozenset(map(int, numbers))
    return [wish for one in done_by(record.detail) if one.number in wanted for wish in one.wishes]


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
