"""Backups of a database that lives: whole, of one moment, its own, and restored so that everybody sees it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.errors import BackupError, BusyError
from support.hard_cases import Rig
from support.identical import assert_identical, image
from support.processes import HOLDER, WRITER, beside, last_word

if TYPE_CHECKING:
    from pathlib import Path

DDL = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE log(id INTEGER PRIMARY KEY AUTOINCREMENT, n INT);"
ROWS = "INSERT INTO t VALUES (1, '1'), (7, '2'); INSERT INTO log(n) VALUES (1), (2);"
AFTER = DDL.replace("a TEXT", "a INTEGER")

# Tries for the write lock of a database from another process, and says what came of it.
TRIES = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
try:
    connection.execute("BEGIN IMMEDIATE")
    print("got it")
except sqlite3.OperationalError as error:
    print(error)
connection.close()
"""


def tried(database: Path) -> str:
    """What another process is told that wants to write."""
    done = subprocess.run(
        [sys.executable, "-c", TRIES, str(database)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("call", ["check", "plan", "apply", "backup_create", "backup_list", "history"])
def test_nothing_that_we_do_drops_the_locks_of_our_own_process(rig: Rig, call: str) -> None:
    """POSIX locks go with the first close of the file by anybody in the process: the database's file is never opened."""
    rig.met(DDL, ROWS)
    rig.models(AFTER)
    rig.service("BEGIN IMMEDIATE")
    rig.service("INSERT INTO t VALUES (9, '9')")
    assert tried(rig.database) == "database is locked"
    target = rig.target(window_timeout=0.05)
    named: dict[str, Any] = {"allowed_by": "a test"} if call == "apply" else {}
    try:
        getattr(api, call)(target, **named)
    except BusyError:
        assert call == "backup_create"  # under a rollback journal it would keep the writer waiting
    assert tried(rig.database) == "database is locked"
    rig.service("COMMIT")
    assert rig.service("SELECT count(*) FROM t") == [(3,)]


def test_a_backup_has_what_is_still_in_the_log(rig: Rig) -> None:
    """Rows that no checkpoint has moved yet, also those of the last moment, are in it; a plain copy would lack them."""
    rig.begin(DDL, ROWS)
    rig.service("PRAGMA wal_autocheckpoint = 0")
    rig.service("INSERT INTO t VALUES (8, 'late')")
    expected = image(rig.database)
    made = api.backup_create(rig.target())["backup"]
    found = image(rig.folder / made["path"])
    assert found.rows == expected.rows
    assert found.objects == expected.objects
    assert found.sequence == expected.sequence


def test_a_backup_under_a_writer_is_of_one_moment(wal_rig: Rig) -> None:
    """Commits go on all the while: it ends, it is whole, and it holds every row up to one of them."""
    rig = wal_rig
    rig.begin(DDL, ROWS.replace("INSERT INTO log(n) VALUES (1), (2);", ""))
    with beside(WRITER, rig.database) as writer:
        paths = [api.backup_create(rig.target())["backup"]["path"] for _ in range(3)]
        committed = int(last_word(writer))
    for path in paths:
        rows = image(rig.folder / path).rows["log"][1]
        assert [row[-1] for row in rows] == [f"integer:{n}" for n in range(len(rows))]
        assert 20 <= len(rows) <= committed


def test_a_restore_is_what_everybody_sees(rig: Rig) -> None:
    """With a connection open, and its log not yet checkpointed: the old state is there at once, and after every close too."""
    rig.begin(DDL, ROWS)
    before = image(rig.database)
    backup = api.backup_create(rig.target())["backup"]["id"]
    rig.service("PRAGMA wal_autocheckpoint = 0")
    rig.service("DELETE FROM t")
    rig.service("INSERT INTO t VALUES (100, 'since')")
    document = api.backup_restore(rig.target(), backup)
    assert document["safety_backup"]["verified"]
    assert rig.service("SELECT id, a FROM t") == [(1, "1"), (7, "2")]
    assert_identical(before, image(rig.database))
    rig.connections.pop().close()
    assert_identical(before, image(rig.database))
    since = image(rig.folder / document["safety_backup"]["path"])
    assert since.rows["t"][1] == (("integer:100", "integer:100", "text:'since'"),)


def test_a_restore_under_a_writer_that_does_not_end_gives_up(rig: Rig) -> None:
    """At its deadline, with nothing changed, and it says who is in the way."""
    rig.begin(DDL, ROWS)
    backup = api.backup_create(rig.target())["backup"]["id"]
    rig.service("INSERT INTO t VALUES (9, 'since')")
    before = image(rig.database)
    with beside(HOLDER, rig.database, "BEGIN IMMEDIATE"), pytest.raises(BusyError) as raised:
        api.backup_restore(rig.target(window_timeout=0.3), backup)
    assert raised.value.code
    assert_identical(before, image(rig.database))


def test_databases_that_share_a_folder_do_not_share_backups(tmp_path: Path) -> None:
    """Each lists, restores and prunes its own alone, also where both files have one name."""
    rigs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rig = Rig(tmp_path / name)
        rig.begin(DDL, f"INSERT INTO t VALUES (1, '{name}');")
        rigs.append(rig)
    shared = api.BackupSettings(tmp_path / "shared", keep=1)
    targets = [replace(rig.target(), backup=shared) for rig in rigs]
    ids = [api.backup_create(target)["backup"]["id"] for target in targets]
    listed = [[one["id"] for one in api.backup_list(target)["backups"]] for target in targets]
    assert listed == [[ids[0]], [ids[1]]] or ids[0] == ids[1]
    with pytest.raises(BackupError):
        api.backup_restore(targets[0], f"{ids[1]}x")
    rigs[0].service("UPDATE t SET a = 'changed'")
    api.backup_restore(targets[0], ids[0])
    assert [rig.service("SELECT a FROM t") for rig in rigs] == [[("one",)], [("two",)]]
    api.backup_prune(targets[0])
    assert [one["id"] for one in api.backup_list(targets[1])["backups"]] == [ids[1]]
    for rig in rigs:
        rig.close()


def test_what_is_waited_for_or_equal_makes_no_backup_however_often_it_starts(rig: Rig) -> None:
    """A column too many, VARCHAR for TEXT, an index by another name: the first start does what it can, the others nothing."""
    rig.begin(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a VARCHAR, extra INT); CREATE INDEX theirs ON t(a);",
        "INSERT INTO t VALUES (1, 'x', 5);",
    )
    rig.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX ours ON T(A ASC);")
    first = rig.apply()
    assert [(one["kind"], one["strategy"]) for one in first["applied"]] == [("change_type", "catalog")]
    assert [one["name"] for one in first["held"]] == ["extra"]
    backups, rows = rig.backups(), rig.ask("SELECT count(*) FROM driftd_history")
    for _ in range(3):
        again = rig.apply()
        assert (again["outcome"], again["applied"], again["backup"]) == ("held", [], None)
    assert (rig.backups(), rig.ask("SELECT count(*) FROM driftd_history")) == (backups, rows)
    assert len(backups) == 1


def test_every_answer_says_which_file_it_is_about(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative URL and a link lead to one absolute path, and it stands in every document: no other file is migrated."""
    rig.met(DDL, ROWS)
    (rig.folder / "link.db").symlink_to(rig.database)
    monkeypatch.chdir(rig.folder)
    for url in (
        "sqlite:///link.db",
        "sqlite:///./app.db",
        f"sqlite:///{rig.folder}/../{rig.folder.name}/app.db",
    ):
        target = replace(rig.target(), url=url)
        for document in (
            api.check(target),
            api.plan(target),
            api.apply(target, allowed_by="a test"),
            api.backup_list(target),
        ):
            assert document["database"] == str(rig.database.resolve())
    with closing(sqlite3.connect(rig.database)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_many_changes_are_measured_and_not_guessed(rig: Rig) -> None:
    """Sixty columns and twelve tables go ahead in a window that any sum of guesses for them would exceed."""
    ddl = "".join(f'CREATE TABLE "t {n}"(id INTEGER PRIMARY KEY, a TEXT);' for n in range(12))
    rig.met(ddl, "".join(f"INSERT INTO \"t {n}\" VALUES (1, '{n}');" for n in range(12)))
    more = ddl.replace("a TEXT", "a TEXT, " + ", ".join(f"c{n} INT DEFAULT {n}" for n in range(5)))
    rig.models(more + ddl.replace('"t ', '"u '))
    document = rig.started(timeout=10)
    assert document["outcome"] == "migrated"
    assert document["operations"] == 72
    rig.assert_settled()
