"""The rehearsal: what fails on the copy is set aside with its reason, the rest goes ahead, and no folder is left."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from driftengine import api, stage
from driftengine.dialects.sqlite import compare
from driftengine.dialects.sqlite import rehearsal as stand
from driftengine.errors import BackupError, RehearsalError
from support.migrations import House, kinds


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


T = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT)"


def test_only_the_one_at_fault_is_set_aside(house: House) -> None:
    """A trigger elsewhere would break by one of two new columns: that one is blocked, the other one goes ahead."""
    house.run(
        f"{T}; CREATE TABLE src (x INT); INSERT INTO t VALUES (1, 2, 'x');"
        "CREATE TABLE u (id INTEGER PRIMARY KEY);"
        "CREATE TRIGGER g AFTER INSERT ON src BEGIN INSERT INTO t VALUES (new.x, 1, 'y'); END;"
    )
    house.models(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT, c INT); CREATE TABLE u (id INTEGER PRIMARY KEY, d INT);"
    )
    done = house.apply()
    assert (done["outcome"], kinds(done), kinds(done, "blocked")) == (
        "migrated",
        ["add_column"],
        ["add_column"],
    )
    assert (done["applied"][0]["table"], done["blocked"][0]["table"]) == ("u", "t")
    assert "g would no longer work" in done["blocked"][0]["reason"]
    house.run("INSERT INTO src VALUES (7)")
    assert house.ask("SELECT id FROM t WHERE id = 7") == [(7,)]


def test_what_needs_the_one_at_fault_waits_and_is_told(house: House) -> None:
    """An index over the blocked column is held with the reason; a stranger to both goes ahead."""
    house.run(
        f"{T}; CREATE TABLE src (x INT); INSERT INTO t VALUES (1, 2, 'x');"
        "CREATE TRIGGER g AFTER INSERT ON src BEGIN INSERT INTO t VALUES (new.x, 1, 'y'); END;"
    )
    house.models(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT, c INT); CREATE INDEX i ON t (c);"
        "CREATE TABLE u (id INTEGER PRIMARY KEY);"
    )
    done = house.apply()
    assert kinds(done) == ["create_table"]
    assert (kinds(done, "blocked"), kinds(done, "held")) == (["add_column"], ["create_index"])
    assert done["held"][0]["reason"] == "it needs add_column c first"
    again = house.apply()
    assert (again["outcome"], again["backup"], len(house.backups())) == ("blocked", None, 1)


def test_rows_that_still_read_the_old_default_keep_it(house: House) -> None:
    """The default of a column that some rows do not store is changed by copying the table, not by editing its text."""
    house.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2);"
        "ALTER TABLE t ADD COLUMN a TEXT DEFAULT 'old'; INSERT INTO t VALUES (3, 'own');"
    )
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT DEFAULT 'new')")
    done = house.apply()
    assert [(one["kind"], one["strategy"]) for one in done["applied"]] == [("change_default", "rebuild")]
    assert house.ask("SELECT a FROM t ORDER BY id") == [("old",), ("old",), ("own",)]
    house.run("INSERT INTO t (id) VALUES (4)")
    assert house.ask("SELECT a FROM t WHERE id = 4") == [("new",)]


def test_what_no_operation_accounts_for_stops_everything(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof finds lost rows in a table that the plan does not name: an error, and nothing is changed."""
    house.run(f"{T}; INSERT INTO t VALUES (1, 2, 'x')")
    house.models(f"{T.removesuffix(')')}, c INT)")
    monkeypatch.setattr(compare, "lost_rows", lambda *_: [("elsewhere", "2 rows of elsewhere are gone")])
    before = house.everything()
    with pytest.raises(RehearsalError, match="2 rows of elsewhere") as caught:
        house.apply()
    assert caught.value.code == "rehearsal-failed"
    assert (house.everything(), house.backups()) == (before, [])


def test_lost_rows_block_the_operation_of_that_table(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the cause: where the copy lacks rows the operation on that table is not done."""
    house.run(f"{T}; INSERT INTO t VALUES (1, 2, 'x')")
    house.models(f"{T.removesuffix(')')}, c INT)")
    monkeypatch.setattr(compare, "lost_rows", lambda *_: [("t", "1 row of t is gone")])
    done = house.apply()
    assert (done["outcome"], done["blocked"][0]["reason"]) == ("blocked", "1 row of t is gone")
    assert house.backups() == []


def test_a_backup_that_vanished_is_told(tmp_path: Path) -> None:
    """Somebody removed it before it could be copied: an error of ours, that names the folder."""
    with pytest.raises(BackupError, match="could not be copied"), stand._copying(tmp_path / "x" / "y"):
        Path(tmp_path / "gone").read_bytes()


HOLD = """
import sys
import tempfile
from pathlib import Path
from driftengine.stage import workspace
with workspace(Path(sys.argv[1])) as place:
    print(place, flush=True)
    sys.stdin.read()
"""


def test_the_folder_of_a_living_rehearsal_is_left_alone(tmp_path: Path) -> None:
    """While its maker lives nobody sweeps it; killed, it is swept by the next one."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        place = Path(process.stdout.readline().strip())
        stage.sweep_workspaces(tmp_path)
        assert place.is_dir()
        process.kill()
    assert place.is_dir()
    with stage.workspace(tmp_path) as mine:
        assert not place.exists()
        assert mine.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_swept_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its lock another driftd takes it for a dead one's: we make another one."""
    real = tempfile.mkdtemp
    made: list[str] = []

    def mkdtemp(**named: Any) -> str:
        made.append(real(**named))
        if len(made) < 3:
            stage.sweep_workspaces(tmp_path)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with stage.workspace(tmp_path) as place:
        assert (len(made), str(place)) == (3, made[2])
        with closing(sqlite3.connect(place / "x.db")) as connection:
            connection.execute("CREATE TABLE t (a)")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_folder_of_ours_is_not_swept(tmp_path: Path) -> None:
    """A file and a link of that name stay."""
    (tmp_path / "rehearsal-file").write_text("mine", encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "rehearsal-link").symlink_to(elsewhere)
    stage.sweep_workspaces(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"rehearsal-file", "rehearsal-link", "elsewhere"}


def test_a_folder_that_is_taken_away_meanwhile_is_told(house: House) -> None:
    """The backups' folder goes, with the backup and the copies in it: nothing is applied, and it says which folder it was."""
    house.run(f"{T}; INSERT INTO t VALUES (1, 2, 'x')")
    house.models(f"{T.removesuffix(')')}, c INT)")
    before = house.everything()

    def progress(phase: str, _done: int, _total: int) -> None:
        if phase == "rehearsal":
            (house.folder / "backups").rename(house.folder / "elsewhere")

    with pytest.raises(BackupError) as caught:
        api.apply(house.target(), progress=progress)
    assert caught.value.code == "backup-folder"
    assert str(house.folder / "backups") in caught.value.what
    assert house.everything() == before
