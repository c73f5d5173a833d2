"""`driftd adopt` and `driftd revert`: what was changed by hand is told, agreed to, or undone."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from command_line import Finished, driftd
from support.sidecars import execute
from support.starters import starting

if TYPE_CHECKING:
    from pathlib import Path

MODELS = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT);\n"
BARE = ("--url", "sqlite:///app.db", "--models", "schema.sql")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A database that driftd made; since then somebody has added a column, with a value, and a unique index."""
    (tmp_path / "schema.sql").write_text(MODELS)
    assert driftd("apply", *BARE, folder=tmp_path).code == 0
    execute(
        tmp_path / "app.db",
        "ALTER TABLE task ADD COLUMN note TEXT",
        "INSERT INTO task (title, note) VALUES ('one', 'mine')",
        "CREATE UNIQUE INDEX task_title ON task (title)",
    )
    return tmp_path


def ended(done: Finished, code: int) -> Finished:
    """A run that ended so, with nothing on stderr."""
    assert (done.code, done.err) == (code, ""), done
    return done


def names(folder: Path) -> set[str]:
    """The columns of the task, and its indexes."""
    with closing(sqlite3.connect(folder / "app.db")) as connection:
        found = {row[1] for row in connection.execute("PRAGMA table_info(task)")}
        return found | {row[1] for row in connection.execute("PRAGMA index_list(task)")}


def test_a_check_says_who_moved_and_what_to_type(folder: Path) -> None:
    """$ driftd check: each difference with its origin, and both ways to go on; the second can be pasted."""
    told = ended(driftd("check", *BARE, folder=folder), 1).out
    assert "- column note  (changed in: database)" in told
    assert f"driftd adopt {' '.join(BARE)}" in told
    pasted = next(line for line in told.splitlines() if "driftd revert" in line)
    shown = driftd(*shlex.split(pasted)[1:], folder=folder)
    assert shown.out.startswith("Dry run: 1 operation would be reverted; nothing was written")
    assert {"note", "task_title"} <= names(folder)


def test_what_is_adopted_is_no_drift_until_it_moves_again(folder: Path) -> None:
    """$ driftd adopt task.note; adopt; check; and a hand that moves it again is seen again."""
    told = ended(driftd("adopt", *BARE, "task.note", folder=folder), 0).out
    assert told.startswith("Adopted: 1 difference of app is no drift any more")
    assert "1 other difference made by hand: task.task_title" in told
    document = ended(driftd("adopt", *BARE, "--json", folder=folder), 0).document
    assert (document["outcome"], document["in_sync"]) == ("adopted", True)
    assert [one["names"][0] for one in document["adopted"]] == ["task.task_title"]
    assert "nothing new to adopt, 2 differences" in ended(driftd("adopt", *BARE, folder=folder), 0).out
    checked = ended(driftd("check", *BARE, folder=folder), 0).out
    assert "app is in sync" in checked
    assert "Accepted as it is: 2 differences (-v lists them)" in checked
    assert "- column note" in driftd("check", *BARE, "-v", folder=folder).out
    assert "adopt" in driftd("history", *BARE, folder=folder).out
    execute(
        folder / "app.db", "DROP INDEX task_title", "CREATE UNIQUE INDEX task_title ON task (title, note)"
    )
    again = ended(driftd("check", *BARE, "--json", folder=folder), 1).document
    assert [(one["object"], one["origin"]) for one in again["differences"]] == [("index", "database")]
    assert [one["name"] for one in again["accepted"]] == ["note"]


def test_what_is_reverted_goes_and_what_holds_values_waits(folder: Path) -> None:
    """$ driftd revert: the index goes, the column is held with its row; its approval can be pasted, and rollback undoes it."""
    told = ended(driftd("revert", *BARE, folder=folder), 1).out
    assert told.startswith("Reverted: 1 operation in ")
    assert "1: 'mine'" in told
    assert names(folder) == {"id", "title", "note"}
    pasted = next(line for line in told.splitlines() if "--approve" in line)
    assert pasted.split()[:2] == ["driftd", "revert"]
    document = ended(driftd(*shlex.split(pasted)[1:], "--json", folder=folder), 0).document
    assert (document["outcome"], document["operations"]) == ("migrated", 1)
    assert names(folder) == {"id", "title"}
    assert "nobody has changed the database by hand" in ended(driftd("revert", *BARE, folder=folder), 0).out


@pytest.mark.parametrize("command", ["adopt", "revert"])
def test_a_word_that_names_nothing_is_refused(folder: Path, command: str) -> None:
    """The nearest is shown, and nothing is written, in JSON as well."""
    done = driftd(command, *BARE, "task.nota", folder=folder)
    assert (done.code, done.out) == (2, "")
    assert "error[word-unknown]" in done.err
    assert "task.note" in done.err
    assert (
        driftd(command, *BARE, "task.nota", "--json", folder=folder).document["error"]["code"]
        == "word-unknown"
    )
    assert {"note", "task_title"} <= names(folder)


@pytest.mark.parametrize("command", ["adopt", "revert"])
def test_neither_comes_between_a_service_and_its_start(folder: Path, command: str) -> None:
    """While a service starts it waits for the window's time, and then gives up with exit code 1."""
    with starting(folder / "app.db"):
        done = driftd(command, *BARE, folder=folder, DRIFTD_WINDOW_TIMEOUT="300ms")
    assert (done.code, done.out) == (1, "")
    assert "error[service-starting]" in done.err


def test_a_plan_shows_both_ways_as_well(folder: Path) -> None:
    """$ driftd plan --backfill: what was changed by hand is agreed to, or undone, by a command that can be pasted."""
    told = ended(driftd("plan", *BARE, "--backfill", "task.title='x'", folder=folder), 1).out
    adopt, revert = (
        next(line for line in told.splitlines() if f"driftd {word}" in line) for word in ("adopt", "revert")
    )
    assert driftd(*shlex.split(revert)[1:], folder=folder).out.startswith("Dry run: 1 operation would be")
    ended(driftd(*shlex.split(adopt)[1:], folder=folder), 0)


def test_a_revert_can_be_taken_back_as_shown(folder: Path) -> None:
    """$ driftd revert --rename: the command under the report is one that driftd rollback takes."""
    execute(folder / "app.db", "DROP INDEX task_title", "ALTER TABLE task RENAME COLUMN title TO heading")
    typed = ("revert", *BARE, "--rename", "task.title=heading", "task.title")
    told = ended(driftd(*typed, folder=folder), 0).out
    assert "title" in names(folder)
    pasted = told.splitlines()[-1]
    ended(driftd(*shlex.split(pasted)[1:], folder=folder), 0)
    assert "heading" in names(folder)
