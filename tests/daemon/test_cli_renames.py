"""Renames from the command line, the environment and the configuration."""

from __future__ import annotations

import json
import shlex
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from command_line import driftd

if TYPE_CHECKING:
    from pathlib import Path

BARE = ("--url", "sqlite:///app.db", "--models", "schema.sql")
GIVEN = ("--rename", "remark=note", "--rename", "remark.text=body")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A database under the old names, and models under the new ones."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
        connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        connection.execute("INSERT INTO note VALUES (1, 'x')")
    (tmp_path / "schema.sql").write_text("CREATE TABLE remark (id INTEGER PRIMARY KEY, text TEXT);\n")
    return tmp_path


def rows(folder: Path) -> list[tuple[object, ...]]:
    """What stands under the new names."""
    with closing(sqlite3.connect(folder / "app.db")) as connection:
        return connection.execute("SELECT id, text FROM remark").fetchall()


def test_flags_on_check_plan_and_apply(folder: Path) -> None:
    """Each shows the renames; apply carries them out, and with the same flags there is nothing left to do."""
    check = driftd("check", *BARE, *GIVEN, "--json", folder=folder)
    assert [(d["change"], d["detail"]) for d in check.document["differences"]] == [
        ("rename", "note → remark"),
        ("rename", "body → text"),
    ]
    plan = driftd("plan", *BARE, *GIVEN, "--sql", folder=folder)
    assert 'ALTER TABLE "note" RENAME TO "remark";' in plan.out
    done = driftd("apply", *BARE, *GIVEN, folder=folder)
    assert (done.code, done.err) == (0, "")
    assert "note → remark" in done.out
    assert rows(folder) == [(1, "x")]
    assert driftd("check", *BARE, *GIVEN, folder=folder).code == 0


def test_the_way_on_keeps_the_flags(folder: Path) -> None:
    """The command to type next is the one that was typed."""
    shown = driftd(
        "check", *BARE, "--rename", "remark.text=the body", "--rename", "remark=note", folder=folder
    )
    assert f"--rename {shlex.quote('remark.text=the body')} --rename remark=note" in shown.out + shown.err


@pytest.mark.parametrize("where", ["file", "environment"])
def test_the_configuration(folder: Path, where: str) -> None:
    """`renames` of a target, or DRIFTD_RENAMES, say it for good."""
    text = '[targets.app]\nurl = "sqlite:///app.db"\nmodels = ["schema.sql"]\n'
    if where == "file":
        text += '[targets.app.renames]\nremark = "note"\nremark.text = "body"\n'.replace(
            "remark.text", '"remark.text"'
        )
    (folder / "driftd.toml").write_text(text)
    environment = {"DRIFTD_RENAMES": "remark=note; remark.text=body"} if where == "environment" else {}
    assert driftd("apply", folder=folder, **environment).code == 0
    assert rows(folder) == [(1, "x")]


def test_a_wrong_one_is_told(folder: Path) -> None:
    """By its new name, with the nearest; a flag without a name says what was expected."""
    done = driftd("check", *BARE, "--rename", "remarks=note", "--json", folder=folder)
    assert (done.code, json.loads(done.out)["error"]["code"]) == (2, "rename-unknown")
    assert "the nearest names are remark" in json.loads(done.out)["error"]["why"]
    wrong = driftd("check", *BARE, "--rename", "remark", folder=folder)
    assert '--rename is "remark": expected NAME=VALUE' in wrong.err


def test_the_hint_is_shown(folder: Path) -> None:
    """Without a hint the new table waits, and the hint stands there to be pasted."""
    (folder / "schema.sql").write_text("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT);\n")
    done = driftd("apply", *BARE, folder=folder)
    assert done.code == 1
    assert "--rename note.text=body" in " ".join(done.out.split())


def test_what_may_be_a_rename_is_shown_as_a_command(folder: Path) -> None:
    """The command under what waits can be pasted as it stands, also with a name that a shell would split."""
    with closing(sqlite3.connect(folder / "app.db")) as connection, connection:
        connection.execute('ALTER TABLE note RENAME COLUMN body TO "the body, old"')
    (folder / "schema.sql").write_text("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT);\n")
    waiting = driftd("apply", *BARE, folder=folder).out.splitlines()
    typed = waiting[waiting.index("  if it is a rename, keep the values:") + 1]
    assert driftd(*shlex.split(typed)[1:], folder=folder).code == 0
    with closing(sqlite3.connect(folder / "app.db")) as connection:
        assert connection.execute("SELECT text FROM note").fetchall() == [("x",)]
