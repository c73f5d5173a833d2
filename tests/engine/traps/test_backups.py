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
from support.identical import assert_identical, image
from support.processes import HOLDER, WRITER, beside, last_word
from support.traps import Trap

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
def test_nothing_that_we_do_drops_the_locks_of_our_own_process(trap: Trap, call: str) -> None:
    """POSIX locks go with the first close of the file by anybody in the process: the database's file is never opened."""
    trap.met(DDL, ROWS)
    trap.models(AFTER)
    trap.service("BEGIN IMMEDIATE")
    trap.service("INSERT INTO t VALUES (9, '9')")
    assert tried(trap.database) == "database is locked"
    target = trap.target(window_timeout=0.05)
    named: dict[str, Any] = {"allowed_by": "a test"} if call == "apply" else {}
    try:
        getattr(api, call)(target, **named)
    except BusyError:
        assert call == "backup_create"  # under a rollback journal it would keep the writer waiting
    assert tried(trap.database) == "database is locked"
    trap.service("COMMIT")
    assert trap.service("SELECT count(*) FROM t") == [(3,)]


def test_a_backup_has_what_is_still_in_the_log(trap: Trap) -> None:
    """Rows that no checkpoint has moved yet, also those of the last moment, are in it; a plain copy would lack them."""
    trap.begin(DDL, ROWS)
    trap.service("PRAGMA wal_autocheckpoint = 0")
    trap.service("INSERT INTO t VALUES (8, 'late')")
    expected = image(trap.database)
    made = api.backup_create(trap.target())["backup"]
    found = image(trap.folder / made["path"])
    assert found.rows == expected.rows
    assert found.objects == expected.objects
    assert found.sequence == expected.sequence


def test_a_backup_under_a_writer_is_of_one_moment(wal_trap: Trap) -> None:
    """Commits go on all the while: it ends, it is whole, and it holds every row up to one of them."""
    trap = wal_trap
    trap.begin(DDL, ROWS.replace("INSERT INTO log(n) VALUES (1), (2);", ""))
    with beside(WRITER, trap.database) as writer:
        paths = [api.backup_create(trap.target())["backup"]["path"] for _ in range(3)]
        committed = int(last_word(writer))
    for path in paths:
        rows = image(trap.folder / path).rows["log"][1]
        assert [row[-1] for row in rows] == [f"integer:{n}" for n in range(len(rows))]
        assert 20 <= len(rows) <= committed


def test_a_restore_is_what_everybody_sees(trap: Trap) -> None:
    """With a connection open, and its log not yet checkpointed: the old state is there at once, and after every close too."""
    trap.begin(DDL, ROWS)
    before = image(trap.database)
    backup = api.backup_create(trap.target())["backup"]["id"]
    trap.service("PRAGMA wal_autocheckpoint = 0")
    trap.service("DELETE FROM t")
    trap.service("INSERT INTO t VALUES (100, 'since')")
    document = api.backup_restore(trap.target(), backup)
    assert document["safety_backup"]["verified"]
    assert trap.service("SELECT id, a FROM t") == [(1, "1"), (7, "2")]
    assert_identical(before, image(trap.database))
    trap.connections.pop().close()
    assert_identical(before, image(trap.database))
    since = image(trap.folder / document["safety_backup"]["path"])
    assert since.rows["t"][1] == (("integer:100", "integer:100", "text:'since'"),)


def test_a_restore_under_a_writer_that_does_not_end_gives_up(trap: Trap) -> None:
    """At its deadline, with nothing changed, and it says who is in the way."""
    trap.begin(DDL, ROWS)
    backup = api.backup_create(trap.target())["backup"]["id"]
    trap.service("INSERT INTO t VALUES (9, 'since')")
    before = image(trap.database)
    with beside(HOLDER, trap.database, "BEGIN IMMEDIATE"), pytest.raises(BusyError) as raised:
        api.backup_restore(trap.target(window_timeout=0.3), backup)
    assert raised.value.code
    assert_identical(before, image(trap.database))


def test_databases_that_share_a_folder_do_not_share_backups(tmp_path: Path) -> None:
    """Each lists, restores and prunes its own alone, also where both files have one name."""
    traps = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        trap = Trap(tmp_path / name)
        trap.begin(DDL, f"INSERT INTO t VALUES (1, '{name}');")
        traps.append(trap)
    shared = api.BackupSettings(tmp_path / "shared", keep=1)
    targets = [replace(trap.target(), backup=shared) for trap in traps]
    ids = [api.backup_create(target)["backup"]["id"] for target in targets]
    listed = [[one["id"] for one in api.backup_list(target)["backups"]] for target in targets]
    assert listed == [[ids[0]], [ids[1]]] or ids[0] == ids[1]
    with pytest.raises(BackupError):
        api.backup_restore(targets[0], f"{ids[1]}x")
    traps[0].service("UPDATE t SET a = 'changed'")
    api.backup_restore(targets[0], ids[0])
    assert [trap.service("SELECT a FROM t") for trap in traps] == [[("one",)], [("two",)]]
    api.backup_prune(targets[0])
    assert [one["id"] for one in api.backup_list(targets[1])["backups"]] == [ids[1]]
    for trap in traps:
        trap.close()


def test_what_is_waited_for_or_equal_makes_no_backup_however_often_it_starts(trap: Trap) -> None:
    """A column too many, VARCHAR for TEXT, an index by another name: the first start does what it can, the others nothing."""
    trap.begin(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a VARCHAR, extra INT); CREATE INDEX theirs ON t(a);",
        "INSERT INTO t VALUES (1, 'x', 5);",
    )
    trap.models("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX ours ON T(A ASC);")
    first = trap.apply()
    assert [(one["kind"], one["strategy"]) for one in first["applied"]] == [("change_type", "catalog")]
    assert [one["name"] for one in first["held"]] == ["extra"]
    backups, rows = trap.backups(), trap.ask("SELECT count(*) FROM driftd_history")
    for _ in range(3):
        again = trap.apply()
        assert (again["outcome"], again["applied"], again["backup"]) == ("held", [], None)
    assert (trap.backups(), trap.ask("SELECT count(*) FROM driftd_history")) == (backups, rows)
    assert len(backups) == 1


def test_every_answer_says_which_file_it_is_about(trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative URL and a link lead to one absolute path, and it stands in every document: no other file is migrated."""
    trap.met(DDL, ROWS)
    (trap.folder / "link.db").symlink_to(trap.database)
    monkeypatch.chdir(trap.folder)
    for url in (
        "sqlite:///link.db",
        "sqlite:///./app.db",
        f"sqlite:///{trap.folder}/../{trap.folder.name}/app.db",
    ):
        target = replace(trap.target(), url=url)
        for document in (
            api.check(target),
            api.plan(target),
            api.apply(target, allowed_by="a test"),
            api.backup_list(target),
        ):
            assert document["database"] == str(trap.database.resolve())
    with closing(sqlite3.connect(trap.database)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_many_changes_are_measured_and_not_guessed(trap: Trap) -> None:
    """Sixty columns and twelve tables go ahead in a window that any sum of guesses for them would exceed."""
    ddl = "".join(f'CREATE TABLE "t {n}"(id INTEGER PRIMARY KEY, a TEXT);' for n in range(12))
    trap.met(ddl, "".join(f"INSERT INTO \"t {n}\" VALUES (1, '{n}');" for n in range(12)))
    more = ddl.replace("a TEXT", "a TEXT, " + ", ".join(f"c{n} INT DEFAULT {n}" for n in range(5)))
    trap.models(more + ddl.replace('"t ', '"u '))
    document = trap.started(timeout=10)
    assert document["outcome"] == "migrated"
    assert document["operations"] == 72
    trap.assert_settled()
