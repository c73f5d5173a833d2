"""`driftd rollback`: a migration, or some of its operations, taken back from the terminal, with later rows kept."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from command_line import Finished, driftd
from support.sidecars import execute
from support.starters import in_use, starting

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT NOT NULL, code TEXT);\n"
AFTER = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT NOT NULL, due DATE, prio INTEGER NOT NULL DEFAULT 3);\n"
BARE = ("--url", "sqlite:///app.db", "--models", "schema.sql")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A migration has added two columns and dropped a third, which held values; a row was written since."""
    (tmp_path / "schema.sql").write_text(BEFORE)
    assert driftd("apply", *BARE, folder=tmp_path).code == 0
    execute(tmp_path / "app.db", "INSERT INTO task (title, code) VALUES ('one', 'a'), ('two', NULL)")
    (tmp_path / "schema.sql").write_text(AFTER)
    assert driftd("apply", *BARE, "--approve", "drop-column", folder=tmp_path).code == 0
    execute(tmp_path / "app.db", "INSERT INTO task (title) VALUES ('three')")
    return tmp_path


def ended(done: Finished, code: int) -> Finished:
    """A run that ended so, with nothing on stderr."""
    assert (done.code, done.err) == (code, ""), done
    return done


def typed(told: Finished, part: str) -> list[str]:
    """The command in the output that has this part, without `driftd`."""
    return shlex.split(next(line for line in told.out.splitlines() if part in line))[1:]


def rows(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(folder / "app.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM task ORDER BY id")]


def migrations(folder: Path) -> list[dict[str, Any]]:
    found = driftd("history", *BARE, "--json", folder=folder).document["migrations"]
    return [one for one in found if one["migration_id"]]


def test_a_dry_run_shows_it_and_what_it_advises_does_it(folder: Path) -> None:
    """$ driftd rollback --dry-run: nothing moves; the command that it ends with does what was shown, with values and rows."""
    before = (folder / "app.db").read_bytes()
    shown = ended(driftd("rollback", *BARE, "--dry-run", folder=folder), 0)
    assert shown.out.startswith("Dry run: 3 operations of m_")
    assert "its values come back from the backup of m_" in shown.out
    assert (folder / "app.db").read_bytes() == before
    told = ended(driftd(*typed(shown, "driftd rollback"), folder=folder), 0)
    assert told.out.startswith("Rolled back: 3 operations of m_")
    assert rows(folder) == [
        {"id": 1, "title": "one", "code": "a"},
        {"id": 2, "title": "two", "code": None},
        {"id": 3, "title": "three", "code": None},
    ]


def test_one_operation_is_taken_back_by_its_number(folder: Path) -> None:
    """$ driftd history ID; rollback ID --operation N: the number that is shown is the one that goes; the rest stays."""
    migration = migrations(folder)[-1]["migration_id"]
    shown = ended(driftd("history", migration, *BARE, folder=folder), 0)
    line = next(line for line in shown.out.splitlines() if "drop column code" in line)
    number = line.split()[0]
    done = ended(
        driftd("rollback", migration, "--operation", number, *BARE, "--json", folder=folder), 0
    ).document
    assert (done["outcome"], done["operations"]) == ("migrated", 1)
    undoes = done["undoes"]
    assert (undoes["migration_id"], undoes["operations"]) == (migration, [int(number)])
    assert sorted([*undoes["left"], int(number)]) == [1, 2, 3]
    assert rows(folder)[0] == {"id": 1, "title": "one", "due": None, "prio": 3, "code": "a"}
    listed = ended(driftd("history", *BARE, folder=folder), 0).out
    assert "1/3 undone" in listed
    assert " rollback " in listed
    again = ended(driftd("history", migration, *BARE, folder=folder), 0).out
    assert f"taken back by {done['migration_id']}" in again
    assert again.count("taken back by") == 1
    refused = driftd("rollback", migration, "--operation", number, *BARE, folder=folder)
    assert (refused.code, "error[already-rolled-back]" in refused.err) == (2, True)


def test_what_was_written_since_is_held_with_its_rows(folder: Path) -> None:
    """A value in a column that would go: shown with its key; the approval that is advised can be pasted."""
    execute(folder / "app.db", "UPDATE task SET due = '2026-01-01' WHERE id = 2")
    told = ended(driftd("rollback", *BARE, folder=folder), 1)
    assert told.out.startswith("Rolled back: 2 operations of m_")
    assert "- drop column due (task)  [drop-column]" in told.out
    assert "2: '2026-01-01'" in told.out
    assert [one["due"] for one in rows(folder)] == [None, "2026-01-01", None]
    ended(driftd(*typed(told, "--approve"), folder=folder), 0)
    assert list(rows(folder)[0]) == ["id", "title", "code"]


def test_it_is_not_done_again_until_somebody_says_so(folder: Path) -> None:
    """Check and apply say that it was rolled back, and by whom; nothing is done; the approval that is shown does it."""
    ended(driftd("rollback", *BARE, folder=folder), 0)
    assert "drifted: 3 differences, held" in ended(driftd("check", *BARE, folder=folder), 1).out
    held = ended(driftd("apply", *BARE, folder=folder), 1)
    assert "[rolled-back]" in held.out
    assert "by driftd rollback" in held.out
    assert "do it again: add column due (task)" in held.out
    assert list(rows(folder)[0]) == ["id", "title", "code"]
    ended(driftd("apply", *BARE, "--approve", "rolled-back", folder=folder), 0)
    assert {"due", "prio"} <= rows(folder)[0].keys()


def test_a_rollback_is_rolled_back(folder: Path) -> None:
    """$ driftd rollback; and the command that it ends with: what was undone is done, and nothing waits."""
    told = ended(driftd("rollback", *BARE, folder=folder), 0)
    ended(driftd(*typed(told, "driftd rollback"), "--approve", "drop-column", folder=folder), 0)
    assert list(rows(folder)[0]) == ["id", "title", "due", "prio"]
    assert "app is in sync" in ended(driftd("check", *BARE, folder=folder), 0).out
    assert ended(driftd("history", "verify", *BARE, folder=folder), 0)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("m_none",), "migration-unknown"),
        (("--operation", "9"), "operation-unknown"),
        (("--approve", "no-such-code"), "approval-unknown"),
    ],
)
def test_what_is_not_there_is_refused(folder: Path, words: tuple[str, ...], code: str) -> None:
    """Exit code 2, the reason, in JSON as well, and the database is as it was."""
    before = rows(folder)
    done = driftd("rollback", *words, *BARE, folder=folder)
    assert (done.code, done.out, f"error[{code}]" in done.err) == (2, "", True), done
    document = driftd("rollback", *words, *BARE, "--json", folder=folder).document
    assert (document["outcome"], document["error"]["code"]) == ("failed", code)
    assert rows(folder) == before


def test_without_a_migration_there_is_nothing_to_take_back(tmp_path: Path) -> None:
    """A database that driftd has never changed."""
    (tmp_path / "schema.sql").write_text(BEFORE)
    execute(tmp_path / "app.db", BEFORE)
    done = driftd("rollback", *BARE, folder=tmp_path)
    assert (done.code, "error[nothing-to-roll-back]" in done.err) == (2, True)


def test_it_never_comes_between_a_service_and_its_start(folder: Path) -> None:
    """While one starts it waits for the window's time, then gives up with exit code 1."""
    with starting(folder / "app.db"):
        done = driftd("rollback", *BARE, folder=folder, DRIFTD_WINDOW_TIMEOUT="300ms")
    assert (done.code, done.out) == (1, "")
    assert "error[service-starting]" in done.err


def test_beside_a_service_that_runs_only_what_its_code_survives_is_done(folder: Path) -> None:
    """A column that its code reads is not taken away under it, unless this very command approves that."""
    with in_use(folder / "app.db"):
        told = ended(driftd("rollback", *BARE, folder=folder), 1)
        assert "[in-use]" in told.out
        assert {"due", "prio"} <= rows(folder)[0].keys()
    ended(driftd("rollback", *BARE, folder=folder), 0)
    assert not {"due", "prio"} & rows(folder)[0].keys()
