"""`driftd ignore`: a word goes from the terminal into the configuration, and out of the drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from command_line import Finished, driftd
from support.sidecars import execute, house, make, running
from support.sockets import socket_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODELS = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT);\n"
CONFIGURATION = """\
# the tracker
[targets.app]   # one of ours
url = "sqlite:///app.db"
models = ["models.sql"]

# how long
[targets.app.window]
timeout = 3
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A database whose table has a column, an index and a CHECK that the models do not describe."""
    (tmp_path / "driftd.toml").write_text(CONFIGURATION)
    (tmp_path / "models.sql").write_text(MODELS)
    execute(
        tmp_path / "app.db",
        "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT, note TEXT, CONSTRAINT short CHECK (length(title) < 9))",
        "CREATE UNIQUE INDEX task_note ON task (note)",
        "CREATE TABLE tmp_log (line TEXT)",
    )
    return tmp_path


def ended(done: Finished, code: int) -> Finished:
    """A run that ended so, with nothing on stderr."""
    assert (done.code, done.err) == (code, ""), done
    return done


def test_a_word_goes_into_the_file_and_out_of_the_drift(project: Path) -> None:
    """$ driftd check; ignore; check: comments and layout stay, and what was named is drift no more."""
    assert "column note" in ended(driftd("check", folder=project), 1).out
    told = ended(driftd("ignore", "task.note", folder=project), 0).out
    assert told.startswith("Ignored: app leaves out task.note from now on")
    assert (project / "driftd.toml").read_text() == CONFIGURATION.replace(
        'models = ["models.sql"]\n', 'models = ["models.sql"]\nignore = ["task.note"]\n'
    )
    left = ended(driftd("check", "--json", folder=project), 1).document
    assert [one["object"] for one in left["differences"]] == ["check", "index"]
    document = ended(driftd("ignore", "task.short", "TASK_NOTE", "--json", folder=project), 0).document
    assert document["added"] == ["task.short", "TASK_NOTE"]
    assert document["ignore"] == ["task.note", "task.short", "TASK_NOTE"]
    assert document["file"] == str(project / "driftd.toml")
    assert "app is in sync" in ended(driftd("check", folder=project), 0).out


def test_an_operation_is_ignored_by_its_id(project: Path) -> None:
    """What the plan shows can be pasted; the file gets the name, since an id ends with its plan."""
    operations = driftd("plan", "--json", folder=project).document["plan"]["operations"]
    column = next(one["id"] for one in operations if one["kind"] == "drop_column")
    assert driftd("ignore", column, "--json", folder=project).document["added"] == ["task.note"]


def test_a_word_that_is_there_is_said_to_be_there(project: Path) -> None:
    """Twice the same, in another case, or under a pattern that is there: nothing is written."""
    ended(driftd("ignore", "task", folder=project), 0)
    before = (project / "driftd.toml").read_bytes()
    for word in ("task", "TASK", "task.note"):
        assert f"{word} is ignored already" in ended(driftd("ignore", word, folder=project), 0).out
    assert (project / "driftd.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("task.nota", "the nearest are task.note"),
        ("zzzzz", "what differs is "),
        ("tmp_log", "the table tmp_log is unmanaged, and left alone anyway"),
    ],
)
def test_a_word_that_names_nothing_is_refused(project: Path, word: str, why: str) -> None:
    """The nearest names are shown, or that it is left alone anyway; the file stays as it is, also for the words beside."""
    done = driftd("ignore", "task.note", word, folder=project)
    assert (done.code, done.out) == (2, "")
    assert f"error[word-unknown]: {word} names nothing that differs" in done.err
    assert why in done.err
    assert (project / "driftd.toml").read_text() == CONFIGURATION


def test_where_no_file_counts_it_is_said(project: Path) -> None:
    """By flags alone there is no file, and a variable counts before the file: neither is written anywhere."""
    bare = driftd("ignore", "task", "--url", "sqlite:///app.db", "--models", "models.sql", folder=project)
    assert (bare.code, "error[ignore-no-file]" in bare.err) == (2, True)
    over = driftd("ignore", "task", folder=project, DRIFTD_IGNORE="other")
    assert (over.code, "error[ignore-overridden]" in over.err) == (2, True)
    assert "DRIFTD_IGNORE counts" in over.err
    assert (project / "driftd.toml").read_text() == CONFIGURATION


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path."""
    with socket_folder() as made:
        yield made


def test_a_daemon_that_runs_notices(folder: Path) -> None:
    """$ driftd ignore task.note, beside a daemon that holds the drop of it: without a further word it is in sync."""
    make(folder / "app.db", "CREATE TABLE task (id INTEGER PRIMARY KEY, note TEXT)")
    with running(house(folder, models="CREATE TABLE task (id INTEGER PRIMARY KEY);")) as sidecar:
        sidecar.state("held")
        with sidecar.followed() as follower:
            assert sidecar.command("ignore", "task.note").code == 0
            assert follower.state("in_sync")["differences"] == 0
