"""Names that are patterns, and advice about what only waits, from the command line and beside a daemon."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from command_line import driftd
from support.sidecars import MODELS, execute, house, make, running
from support.sockets import socket_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIGURATION = '[targets.app]\nurl = "sqlite:///app.db"\nmodels = ["models.sql"]\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A database in step with its models."""
    (tmp_path / "driftd.toml").write_text(CONFIGURATION)
    (tmp_path / "models.sql").write_text(MODELS)
    assert driftd("apply", folder=tmp_path).code == 0
    return tmp_path


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder with a short path."""
    with socket_folder() as folder:
        yield folder


def left(folder: Path) -> set[str]:
    """The names of what differs."""
    return {one["name"] for one in driftd("check", "--json", folder=folder).document["differences"]}


@pytest.mark.parametrize(("name", "fitting"), [("[br]", "b"), ("no*", "note"), ("?", "q")])
def test_a_name_that_is_a_pattern_leaves_out_itself_alone(project: Path, name: str, fitting: str) -> None:
    """$ driftd ignore 'task.[br]' where a column is called so: the column b is still drift."""
    execute(
        project / "app.db",
        f'ALTER TABLE task ADD COLUMN "{name}" TEXT',
        f"ALTER TABLE task ADD COLUMN {fitting} TEXT",
    )
    for _ in range(2):
        assert driftd("ignore", f"task.{name}", folder=project).code == 0
        assert left(project) == {fitting}
    assert driftd("ignore", "task.*", folder=project).code == 0
    assert left(project) == set()


def test_an_operations_id_becomes_its_name_alone(project: Path) -> None:
    """$ driftd ignore ID: the same, where the name stands in the plan."""
    execute(
        project / "app.db", 'ALTER TABLE task ADD COLUMN "[br]" TEXT', "ALTER TABLE task ADD COLUMN b TEXT"
    )
    operations = driftd("plan", "--json", folder=project).document["plan"]["operations"]
    [word] = [one["id"] for one in operations if one["name"] == "[br]"]
    assert driftd("ignore", word, folder=project).code == 0
    assert left(project) == {"b"}


def test_what_only_waits_is_not_to_be_approved(project: Path) -> None:
    """An index over a column that is held: only the column's approval is offered, and it brings both."""
    (project / "driftd.toml").write_text(CONFIGURATION + '[targets.app.policy]\nadd-column = "hold"\n')
    (project / "models.sql").write_text(
        MODELS.replace("title TEXT", "title TEXT, k INT") + "CREATE INDEX task_k ON task (k);\n"
    )
    shown = driftd("plan", folder=project).out
    pasted = [line.split()[1:] for line in shown.splitlines() if "--approve" in line]
    assert len(pasted) == 1, shown
    assert driftd(*pasted[0], "--json", folder=project).document["operations"] == 2


def test_both_sides_rename_beside_a_daemon(sockets: Path) -> None:
    """In dev mode nothing empty is made: it waits for a hint, which is a conflict with what was done by hand; then it is done."""
    make(sockets / "app.db")
    execute(sockets / "app.db", "UPDATE task SET title = 'mine'")
    with running(house(sockets, mode="dev")) as sidecar:
        sidecar.state("in_sync")
        execute(sockets / "app.db", "ALTER TABLE task RENAME COLUMN title TO name")
        sidecar.state("held")
        (sockets / "models.sql").write_text(MODELS.replace("title", "label"))
        entry = sidecar.until(
            lambda one: not one["busy"] and any(held["name"] == "label" for held in one["held"])
        )
        assert {held["name"]: held["code"] for held in entry["held"]} == {
            "label": "rename-suspected",
            "name": "drop-column",
        }
        with (sockets / "driftd.toml").open("a") as file:
            file.write(f'\n[targets.app.renames]\n{json.dumps("task.label")} = "name"\n')
        assert sidecar.command("reload").code == 0
        entry = sidecar.until(
            lambda one: not one["busy"] and [held["code"] for held in one["held"]] == ["conflict"]
        )
        assert sidecar.command("approve", entry["held"][0]["operation"]).code == 0
        sidecar.state("in_sync")
    with closing(sqlite3.connect(sockets / "app.db")) as connection:
        assert connection.execute("SELECT label FROM task").fetchall() == [("mine",)]
