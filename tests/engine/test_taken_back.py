"""What was taken back is remembered by the history and the journal, until the models want something else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from driftengine import history
from driftengine.history import Entry
from driftengine.journal import Record
from driftengine.taken_back import last_to_take_back, needed_backups, undone, wishes

if TYPE_CHECKING:
    from collections.abc import Sequence

ADDED = [[1, "column|task|state|add|", "aaaa"], [2, "column|task|note|add|", "bbbb"]]
STATE, NOTE = ("column|task|state|add|", "aaaa"), ("column|task|note|add|", "bbbb")


def migration(name: str, done: Sequence[list[Any]] = ADDED, **more: Any) -> Entry:
    """A migration that has carried out these operations."""
    evidence = {"applied": [one[0] for one in done], "done": list(done)}
    return Entry("migration", "2026-01-01T00:00:00.000Z", "db", name, evidence=evidence, **more)


def rollback(name: str, of: str, numbers: list[int]) -> Entry:
    """A rollback of operations of a migration."""
    done = [[n, "column|task|x|remove|", ""] for n in range(1, len(numbers) + 1)]
    evidence = {
        "applied": [one[0] for one in done],
        "done": done,
        "undoes": {"migration": of, "operations": numbers},
    }
    return Entry("rollback", "2026-01-02T00:00:00.000Z", "db", name, evidence=evidence, allowed_by="ann")


def chain(*entries: Entry) -> tuple[Entry, ...]:
    """The entries with ids and hashes, as if they stood in a database."""
    return tuple(replace(entry, id=n, hash=f"h{n}") for n, entry in enumerate(entries, 1))


def journalled(entries: Sequence[Entry]) -> list[Record]:
    """The journal's lines of them."""
    return [history.journal_record(entry, database="app.db") for entry in entries]


def restored(takes_back: str = "") -> Record:
    """A restore; one that is meant as a rollback names the migration."""
    return Record("restored", "2026-01-03T00:00:00.000Z", "db", {"id": "backup_1", "takes_back": takes_back})


def test_what_a_rollback_took_back_is_remembered() -> None:
    """Of the operations that it names, and of no other."""
    entries = chain(migration("m1"), rollback("r1", "m1", [2]))
    assert set(wishes(entries, journalled(entries))) == {NOTE}
    assert "m1 was rolled back by ann" in wishes(entries, ())[NOTE]


def test_what_was_done_again_is_not_remembered() -> None:
    """A person has approved it since."""
    entries = chain(migration("m1"), rollback("r1", "m1", [1, 2]), migration("m2", ADDED[:1]))
    assert set(wishes(entries, journalled(entries))) == {NOTE}


def test_a_rollback_that_was_taken_back_is_forgotten() -> None:
    """What it had undone is done again, and the rollback's own operations are nobody's wish."""
    entries = chain(migration("m1"), rollback("r1", "m1", [1, 2]), rollback("r2", "r1", [1, 2]))
    assert wishes(entries, journalled(entries)) == {}
    assert undone(entries) == {"r1": frozenset({1, 2})}


def test_a_rollback_by_restore_is_told_by_the_journal() -> None:
    """The database has forgotten the migration; its journal has not."""
    lines = [*journalled(chain(migration("m1"))), restored("m1")]
    assert set(wishes((), lines)) == {STATE, NOTE}


def test_a_restore_of_lost_rows_is_no_rollback() -> None:
    """Whoever brings yesterday's rows back wants the schema of today at the next start."""
    assert wishes((), [*journalled(chain(migration("m1"))), restored()]) == {}


def test_a_rollback_is_remembered_through_a_restore() -> None:
    """The backup is older than both the migration and its rollback, and the models still want it."""
    lines = [*journalled(chain(migration("m1"), rollback("r1", "m1", [1]))), restored()]
    assert set(wishes((), lines)) == {STATE}


def test_another_database_in_the_same_folder_does_not_count() -> None:
    """A copy has a journal of its own, and an id of its own behind its first row."""
    entries = chain(replace(migration("m9", []), database_id="other"))
    assert wishes(entries, journalled(chain(migration("m1"), rollback("r1", "m1", [1])))) == {}


def test_a_database_that_is_met_anew_behind_a_rollback_is_the_same() -> None:
    """Restored to the state before its first row, it has a new id at the next meeting."""
    entries = (replace(migration("m9", []), database_id="other", hash="another"),)
    lines = [*journalled(chain(migration("m1"))), restored("m1"), *journalled(entries)]
    assert set(wishes(entries, lines)) == {STATE, NOTE}


def test_the_last_migration_is_the_last_that_is_not_undone() -> None:
    """Rolled back twice means two migrations back; rollbacks themselves are passed over."""
    entries = chain(migration("m1"), migration("m2"), rollback("r1", "m2", [1, 2]))
    found = last_to_take_back(entries)
    assert found is not None
    assert found.migration_id == "m1"
    partly = chain(migration("m1"), migration("m2"), rollback("r1", "m2", [1]))
    found = last_to_take_back(partly)
    assert found is not None
    assert found.migration_id == "m2"
    assert last_to_take_back(chain(migration("m1"), rollback("r1", "m1", [1, 2]))) is None


def test_backups_that_hold_what_was_lost_are_needed() -> None:
    """And the newest one; not those of migrations that lost nothing, or that were taken back."""
    lossy = migration("m1", backup={"id": "b1", "path": "", "sha256": ""})
    lossy.evidence["lost"] = [1]
    plain = migration("m2", backup={"id": "b2", "path": "", "sha256": ""})
    newest = migration("m3", backup={"id": "b3", "path": "", "sha256": ""})
    assert needed_backups(chain(lossy, plain, newest)) == ("b1", "b3")
    assert needed_backups(chain(lossy, rollback("r1", "m1", [1]), plain, newest)) == ("b3",)


def test_an_altered_line_of_the_journal_stops_nobody() -> None:
    """What a newer driftd says more, and what somebody has cut off, is passed over."""
    line = Record(
        "migrated", "2026-01-01T00:00:00.000Z", "db",
        {"hash": "x", "kind": "migration", "migration_id": "m9", "done": [[1], "odd", [2, "column|t|a|add|", "c", "", 5]]},
    )  # fmt: skip
    odd = Record("migrated", "2026-01-01T00:00:01.000Z", "db", {"hash": "y", "undoes": {}})
    assert wishes((), [line, odd, restored("m9")]) == {
        ("column|t|a|add|", "c"): wishes((), [line, restored("m9")])["column|t|a|add|", "c"]
    }


def test_a_restore_takes_back_what_came_behind_its_backup_alone() -> None:
    """A later restore to an older state does not make an older migration one that was rolled back."""
    first = migration("m1", ADDED[:1])
    second = migration("m2", [[1, "column|task|note|add|", "bbbb"]])
    lines = [*journalled(chain(first, second)), restored("m2"), restored()]
    assert set(wishes((), lines)) == {NOTE}
