"""The history in the database: exactly once or not at all, sealed, and held against the journal."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

import unprivileged
from driftengine import history
from driftengine.dialects.sqlite.connect import Location, connect
from driftengine.errors import HistoryError
from driftengine.history import (
    Entry,
    Row,
    append,
    chain_problems,
    decode,
    encode,
    fold,
    journal_record,
    latest_base,
    new_database_id,
    new_migration_id,
    read,
    read_rows,
    reconcile,
    row_hash,
    unrecorded,
    write_journal,
)
from driftengine.journal import Journal, Record, canonical
from driftengine.journal import append as append_record
from driftengine.journal import read as read_journal
from driftengine.packed import Base, pack
from driftengine.schema import StoredObject

if TYPE_CHECKING:
    from pathlib import Path

AT = "2026-01-31T12:00:00.000Z"
USERS = StoredObject("table", "users", "users", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
INDEX = StoredObject("index", "sqlite_autoindex_x_1", "x", None)
OPERATION = {
    "id": "8f3a-1",
    "kind": "add_column",
    "table": "users",
    "name": "é",
    "code": "add-column",
    "sql": ["ALTER …"],
}


def entry(number: int, **changes: Any) -> Entry:
    return replace(Entry("migration", AT, "db-1", migration_id=f"m_{number}"), **changes)


def chain(length: int, *, previous: str = "", first: int = 1, database_id: str = "db-1") -> list[Row]:
    rows: list[Row] = []
    for number in range(first, first + length):
        rows.append(encode(entry(number, database_id=database_id), row_id=number, previous=previous))
        previous = rows[-1].hash
    return rows


def entries(rows: list[Row]) -> list[Entry]:
    return [decode(row) for row in rows]


def records(rows: list[Row]) -> list[Record]:
    return [journal_record(found, database="/srv/app.db") for found in entries(rows)]


def reconciled(rows: list[Row], *found: Record) -> tuple[str, ...]:
    return reconcile(entries(rows), Journal(found))


@pytest.fixture
def database(tmp_path: Path) -> Location:
    return Location("", tmp_path / "app.db")


# --- rows and entries


def test_an_entry_comes_back_as_it_was(database: Location) -> None:
    """Everything that is recorded is read again, also NULL in the base and bytes that are no UTF-8."""
    odd = StoredObject("table", "caf\udce9", "caf\udce9", "CREATE TABLE [caf\udce9] (x)")
    given = Entry(
        "migration",
        AT,
        new_database_id(),
        migration_id="m_1",
        plan={"id": "8f3a", "operations": [OPERATION]},
        allowed_by="policy",
        evidence={"rows": {"users": 3}},
        durations={"apply_ms": 1.5},
        versions={"sqlite": "3.40.1"},
        undo={"before": pack(Base((USERS,), ()))},
        backup={"id": "backup_1", "path": "/b", "sha256": "00"},
        base=Base((USERS, INDEX, odd), (USERS,)),
    )
    with closing(connect(database, write=True, create=True)) as connection:
        written = append(connection, given)
        assert read(connection) == (written,)
    assert replace(written, id=0, previous="", hash="") == given
    assert (written.id, written.previous, len(written.hash)) == (1, "", 64)


def test_no_table_is_an_empty_history(database: Location) -> None:
    """Reading makes no table."""
    with closing(connect(database, write=True, create=True)) as connection:
        assert read(connection) == ()
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


def test_a_row_is_there_only_with_its_transaction(database: Location) -> None:
    """After ROLLBACK neither row nor table is there, after COMMIT both are: nothing commits in between."""
    with closing(connect(database, write=True, create=True)) as connection:
        for end, count in (("ROLLBACK", 0), ("COMMIT", 2)):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE t (a)")
            append(connection, entry(1))
            append(connection, entry(2))
            assert connection.in_transaction
            connection.execute(end)
            assert len(read(connection)) == count
        assert chain_problems(read_rows(connection)) == ()


def test_a_killed_process_leaves_all_or_nothing(database: Location) -> None:
    """Kill -9 between the row and COMMIT leaves the database without both the change and its row."""
    code = """
import os, sys
from pathlib import Path
from driftengine.dialects.sqlite.connect import Location, connect
from driftengine.history import Entry, append
connection = connect(Location("", Path(sys.argv[1])), write=True, create=True)
append(connection, Entry("meeting", "now", "db-1"))
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE t (a)")
append(connection, Entry("migration", "now", "db-1", migration_id="m_1"))
os.kill(os.getpid(), 9)
"""
    environment = {**os.environ, "PYTHONPATH": str(unprivileged.ENGINE)}
    assert (
        subprocess.run(
            [sys.executable, "-c", code, str(database.path)], check=False, env=environment
        ).returncode
        == -9
    )
    with closing(connect(database, write=True)) as connection:
        assert [found.kind for found in read(connection)] == ["meeting"]
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 't'").fetchone() == (0,)


def test_a_migration_is_recorded_once(database: Location) -> None:
    """The same migration id cannot be written twice; rows without one can."""
    with closing(connect(database, write=True, create=True)) as connection:
        append(connection, entry(1, kind="meeting", migration_id=None))
        append(connection, entry(2, kind="meeting", migration_id=None))
        append(connection, entry(3))
        with pytest.raises(sqlite3.IntegrityError):
            append(connection, entry(3))


def test_a_table_of_somebody_else_is_not_touched(database: Location) -> None:
    """A table of that name with other columns is refused with its code, on reading and on writing."""
    with closing(connect(database, write=True, create=True)) as connection:
        connection.execute("CREATE TABLE Driftd_History (id, note)")
        for attempt in (read, lambda given: append(given, entry(1))):
            with pytest.raises(HistoryError) as caught:
                attempt(connection)
            assert caught.value.code == "history-foreign"
        assert connection.execute("SELECT count(*) FROM driftd_history").fetchone() == (0,)


def test_a_damaged_row_keeps_nobody_from_writing(database: Location) -> None:
    """Whoever holds the error of a row in the middle holds no lock on the database."""
    with closing(connect(database, write=True, create=True)) as connection:
        connection.execute("BEGIN")
        for number in range(300):
            append(connection, entry(number, allowed_by="x" * 200))
        connection.execute("COMMIT")
        connection.execute(f"UPDATE {history.TABLE} SET document = '{{' WHERE id = 2")
        with pytest.raises(HistoryError) as held:
            read(connection)
        with closing(connect(database, write=True)) as other:
            other.execute("BEGIN EXCLUSIVE")
            other.execute("COMMIT")
    assert held.value.code == "history-unreadable"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("", "history-unreadable"),
        ("[]", "history-unreadable"),
        ("{}", "history-unreadable"),
        ('{"schema_version": 99}', "history-newer"),
    ],
)
def test_a_document_that_cannot_be_read_is_told(document: str, code: str) -> None:
    """Damage and a newer driftd are told apart."""
    with pytest.raises(HistoryError) as caught:
        decode(replace(chain(1)[0], document=document))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "data", ["", "!!", "eJw=", "eJyrVspPykpNLlGyio7VUUpMLsksAwoaxuooFadmFOUXpwKFjGJrAQwNDHI="]
)
def test_a_damaged_base_is_told(data: str) -> None:
    """A base that is no compressed JSON of objects does not escape as another error."""
    row = encode(entry(1, base=Base((USERS,), ())), row_id=1, previous="")
    packed = pack(Base((USERS,), ()))["data"]
    base = decode(replace(row, document=row.document.replace(packed, data))).base
    assert base is not None
    for asked in ("actual", "desired"):
        with pytest.raises(HistoryError) as caught:
            getattr(base, asked)
        assert caught.value.code == "history-unreadable"


def test_what_is_known_of_a_row_is_not_read_again() -> None:
    """While somebody holds an entry, the same row is that entry, however many rows there are; an altered row is another one."""
    rows = chain(200)
    held = [decode(row) for row in rows]
    assert all(decode(replace(row)) is entry for row, entry in zip(rows, held, strict=True))
    altered = replace(rows[7], document=rows[7].document.replace('"allowed_by":"', '"allowed_by":"not '))
    assert altered != rows[7]
    assert decode(altered).allowed_by == f"not {held[7].allowed_by}"


def test_a_plan_that_was_folded_says_the_same() -> None:
    """Kept small by whoever holds rows for long; the row that it makes is the same to the byte."""
    plan = {"id": "8f3a", "operations": [OPERATION] * 50}
    row = encode(entry(1, plan=plan), row_id=1, previous="")
    kept = decode(row)
    fold([kept, entry(2)])
    assert (kept.plan, kept.planned()) == (plan, plan)
    assert kept == replace(kept, plan=plan)
    assert encode(kept, row_id=1, previous="") == row


def test_a_base_of_a_thousand_tables_stays_small() -> None:
    """A hundred migrations of a large schema do not make the database grow by tens of megabytes."""
    columns = ", ".join(f"column_{number} VARCHAR({number}) NOT NULL" for number in range(12))
    stored = tuple(
        StoredObject("table", f"t{number}", f"t{number}", f"CREATE TABLE t{number} ({columns})")
        for number in range(1000)
    )
    row = encode(entry(1, base=Base(stored, stored)), row_id=1, previous="")
    assert len(row.document) < 100_000
    base = decode(row).base
    assert base == Base(stored, stored)


def test_the_last_base_counts() -> None:
    """Rows without a base leave the one before in force; before the first meeting there is none."""
    first, second = Base((USERS,), ()), Base((USERS,), (USERS,))
    found = [entry(1, base=first), entry(2, base=second), entry(3)]
    assert latest_base(found) == second
    assert latest_base([]) is None
    assert latest_base([entry(1)]) is None


def test_migration_ids_sort_by_time() -> None:
    """Two in one millisecond differ, later ones sort behind."""
    early = new_migration_id(datetime(2026, 1, 31, 12, 0, 0, 7000, UTC))
    assert early.startswith("m_20260131_120000_007_")
    assert len(early) == len("m_20260131_120000_007_abcdef")
    assert early < new_migration_id(datetime(2026, 1, 31, 12, 0, 0, 8000, UTC))
    assert len({new_migration_id(datetime(2026, 1, 31, tzinfo=UTC)) for _ in range(20)}) == 20


# --- the chain


def test_a_sound_chain_has_no_problems() -> None:
    """From no row to many."""
    for length in (0, 1, 5):
        assert chain_problems(chain(length)) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"at": "2020"},
        {"kind": "rollback"},
        {"migration_id": "m_9"},
        {"migration_id": None},
        {"document": canonical({"database_id": "db-1"})},
        {"hash": "0" * 64},
    ],
)
def test_a_changed_column_is_told_with_its_row(change: dict[str, Any]) -> None:
    """Each column is under the seal, and only the row that was altered is named."""
    rows = chain(4)
    rows[1] = replace(rows[1], **change)
    told = chain_problems(rows)
    assert told[0].startswith("row 2 (")
    assert "altered" in told[0]
    assert len(told) == (2 if "hash" in change else 1)


def test_a_row_that_was_altered_and_sealed_again_is_told() -> None:
    """Whoever computes the hash anew breaks the link of the next row."""
    rows = chain(4)
    rows[1] = replace(rows[1], at="2020")
    rows[1] = replace(rows[1], hash=row_hash(rows[1]))
    assert chain_problems(rows) == ("row 3 (m_3) does not follow row 2: one of them was replaced",)


def test_removed_rows_are_told() -> None:
    """One or several, at the front or in the middle, with their numbers."""
    rows = chain(5)
    assert chain_problems(rows[1:]) == ("row 1 before row 2 (m_2) removed",)
    assert chain_problems([rows[0], *rows[3:]]) == ("rows 2 to 3 before row 4 (m_4) removed",)


def test_reordered_rows_are_told() -> None:
    """Rows that have changed places do not follow each other any more."""
    rows = chain(4)
    rows[1], rows[2] = replace(rows[2], id=2), replace(rows[1], id=3)
    told = chain_problems(rows)
    assert any("row 2 (m_3) was altered" in problem for problem in told)
    assert any("out of order" in problem for problem in told)


def test_rows_of_another_database_are_told() -> None:
    """A chain that changes its database id was put together from two."""
    rows = chain(2)
    rows += chain(1, first=3, previous=rows[-1].hash, database_id="db-2")
    assert chain_problems(rows) == ("the rows name 2 different databases: db-1, db-2",)


# --- the journal


RESTORED = Record("restored", AT, "db-1", {"id": "backup_1"})


def test_chain_and_journal_of_a_quiet_life_agree() -> None:
    """Backups and failures in the journal do not matter."""
    rows = chain(3)
    noise = [Record("backup", AT, "db-1", {"id": "b"}), Record("failed", AT, "db-1", {"why": "x"})]
    assert reconciled(rows, *noise, *records(rows), *noise) == ()
    assert reconciled([]) == ()


def test_a_restore_makes_the_journal_longer_than_the_chain() -> None:
    """After a restore, rows at the end may be missing; without one they were removed."""
    rows = chain(4)
    assert reconciled(rows[:2], *records(rows), RESTORED) == ()
    told = reconciled(rows[:2], *records(rows))
    assert told == ("removed from the history, and no restore is recorded: m_3, m_4",)


def test_a_fork_behind_a_restore_is_valid() -> None:
    """The chain goes on from the restored row; the same fork without a restore is told."""
    rows = chain(4)
    fork = chain(2, first=13, previous=rows[1].hash)
    now = [*rows[:2], *fork]
    assert reconciled(now, *records(rows), RESTORED, *records(fork)) == ()
    told = reconciled(now, *records(rows), *records(fork))
    assert len(told) == 1
    assert "m_13 does not follow" in told[0]


def test_a_crash_in_the_middle_of_a_restore_is_no_removal() -> None:
    """The record written before a restore is enough to explain it."""
    rows = chain(4)
    assert reconciled(rows[:1], *records(rows), replace(RESTORED, event="restoring")) == ()


def test_rows_removed_after_a_restore_are_still_told() -> None:
    """A restore long ago excuses nothing that was recorded since."""
    rows = chain(4)
    assert reconciled(rows[:3], *records(rows[:2]), RESTORED, *records(rows[2:])) == (
        "removed from the history, and no restore is recorded: m_4",
    )


def test_the_whole_table_removed_is_told() -> None:
    """Without any row the journal still knows what there was."""
    rows = chain(2)
    assert reconciled([], *records(rows)) == (
        "removed from the history, and no restore is recorded: m_1, m_2",
    )


def test_a_crash_behind_commit_is_normal_and_can_be_caught_up() -> None:
    """The last row alone may be missing in the journal, and `unrecorded` names it."""
    rows = chain(3)
    assert reconciled(rows, *records(rows[:2])) == ()
    assert [found.migration_id for found in unrecorded(entries(rows), records(rows[:2]))] == ["m_3"]
    assert unrecorded(entries(rows), records(rows)) == ()


def test_a_journal_with_gaps_or_none_at_all_is_told() -> None:
    """Missing lines are named; a missing journal is called so."""
    rows = chain(4)
    told = reconciled(rows, *records(rows[:1]), *records(rows[2:]))
    assert "not in the journal: m_2" in told
    assert reconciled(rows) == ("the journal is missing: it has none of the 4 rows of the history",)


def test_records_of_another_database_do_not_count() -> None:
    """A database that was made anew at the same path starts a life of its own."""
    old, new = chain(3), chain(2, database_id="db-2")
    assert reconciled(new, *records(old), *records(new)) == ()


def test_torn_lines_are_passed_on() -> None:
    """What the journal could not read is part of the verdict."""
    assert reconcile([], Journal((), ("line 3 is torn",))) == ("journal: line 3 is torn",)


def test_more_can_be_remembered_through_a_restore() -> None:
    """A record may carry what was rolled back; its place in the chain cannot be overwritten."""
    (found,) = entries(chain(1))
    record = journal_record(found, database="/srv/app.db", more={"rolled_back": ["x"], "hash": "forged"})
    assert record.detail["rolled_back"] == ["x"]
    assert record.detail["hash"] == found.hash


def test_the_journal_is_caught_up_with_the_rows(tmp_path: Path) -> None:
    """Behind each COMMIT one line is written; rows that a crash, or a move, has left out are written before it."""
    path = tmp_path / "journal.jsonl"
    rows = chain(5)
    found = entries(rows)
    assert write_journal(path, found[:1], database="/srv/app.db", more={"note": 1}) == 1
    assert write_journal(path, found[:1], database="/srv/app.db") == 0
    assert write_journal(path, found[:4], database="/srv/app.db", more={"note": 4}) == 3
    details = [record.detail for record in read_journal(path).records]
    assert [(one["id"], one.get("recovered"), one.get("note")) for one in details] == [
        (1, None, 1),
        (2, True, None),
        (3, True, None),
        (4, None, 4),
    ]
    assert reconcile(found[:4], read_journal(path)) == ()


def test_a_gap_that_was_filled_late_is_no_problem(tmp_path: Path) -> None:
    """A recovered line stands behind rows that came after it: that is no fork, and later rows still follow."""
    path = tmp_path / "journal.jsonl"
    rows = chain(5)
    for record in (*records(rows[:1]), *records(rows[2:4])):
        append_record(path, record)
    assert write_journal(path, entries(rows), database="/srv/app.db") == 2
    assert [record.detail["id"] for record in read_journal(path).records] == [1, 3, 4, 2, 5]
    # The jump from 1 to 3 is still told: something was not written when it happened.
    assert reconcile(entries(rows), read_journal(path)) == (
        "m_3 does not follow the row before it in the journal, and no restore is recorded",
    )


def test_bytes_in_place_of_the_document_are_told_as_damage(tmp_path: Path) -> None:
    """Whoever overwrites a row with bytes has altered it; looking for damage does not fail on the damage."""
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as connection:
        history.append(connection, history.Entry("meeting", "2026-01-01T00:00:00.000Z", "id"))
        connection.execute("UPDATE driftd_history SET document = x'ff00'")
        (problem,) = history.chain_problems(history.read_rows(connection))
    assert "altered" in problem
