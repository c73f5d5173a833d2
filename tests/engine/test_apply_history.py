"""What an apply writes down: the history's row, the backups that stay, and the journal."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api, history, journal
from driftengine.backup_files import folder_for
from driftengine.errors import DatabaseError
from driftengine.packed import unpack
from support.migrations import House

if TYPE_CHECKING:
    from pathlib import Path

V = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT{});"


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.run(V.format(", gone INT") + "INSERT INTO t VALUES (1, 'x', 5)")
    house.models(V.format(" NOT NULL, b TEXT"))
    return house


def entries(house: House) -> tuple[history.Entry, ...]:
    connection = sqlite3.connect(house.database)
    try:
        return history.read(connection)
    finally:
        connection.close()


def steps(house: House, number: int, **settings: Any) -> list[dict[str, Any]]:
    """So many migrations, one after another."""
    done = []
    for step in range(number):
        house.models(V.format(", gone INT" + "".join(f", n{one} INT" for one in range(step + 1))))
        done.append(api.apply(house.target(), **settings))
        assert done[-1]["outcome"] == "migrated"
    return done


def test_the_row_holds_everything(house: House) -> None:
    """Plan, who allowed it, evidence, durations, versions, the undo, base, a database id, the chain, the backup."""
    plan = house.plan()["plan"]
    done = house.apply()
    (entry,) = entries(house)
    assert (entry.kind, entry.migration_id, entry.id) == ("migration", done["migration_id"], 1)
    assert entry.plan == plan
    assert entry.allowed_by == "a test"
    evidence = entry.evidence
    by_kind = {one["kind"]: number for number, one in enumerate(plan["operations"], 1)}
    assert evidence["applied"] == sorted([by_kind["add_column"], by_kind["set_not_null"]])
    assert (evidence["held"], evidence["approved"], evidence["blocked"]) == ([by_kind["drop_column"]], [], {})
    assert list(evidence["guards"].values()) == [0]
    assert evidence["rows_written"] >= 1
    assert any(
        "ADD COLUMN" in statement or "CREATE TABLE" in statement for statement in evidence["statements"]
    )
    assert {"backup", "rehearsal", "apply", "statements"} == entry.durations.keys()
    assert len(entry.durations["statements"]) == len(evidence["statements"])
    assert {"driftd", "driftd_python", "driftd_sqlite"} <= entry.versions.keys()
    assert entry.versions["driftd_sqlite"] == sqlite3.sqlite_version
    before = unpack(entry.undo["before"]).actual
    assert [row.sql for row in before if row.name == "t"] == [V.format(", gone INT").rstrip(";")]
    assert entry.base is not None
    now = house.ask("SELECT name, sql FROM sqlite_schema ORDER BY name")
    assert sorted((row.name, row.sql) for row in entry.base.actual) == now
    assert [row.name for row in entry.base.desired] == ["t"]
    assert len(entry.database_id) == 36
    assert (entry.previous, len(entry.hash)) == ("", 64)
    assert entry.backup == {name: done["backup"][name] for name in ("id", "path", "sha256")}


def test_an_approval_is_written_down(house: House) -> None:
    """Which operations went ahead only because somebody approved them, and the id of the database stays."""
    house.apply()
    done = house.apply("drop-column")
    first, second = entries(house)
    assert second.evidence["approved"] == second.evidence["applied"] == [1]
    assert second.plan["operations"][0]["code"] == "drop-column"  # type: ignore[index]
    assert (second.previous, second.database_id) == (first.hash, first.database_id)
    shown = api.history(house.target(), done["migration_id"])["migrations"][0]
    assert shown["applied"][0]["kind"] == "drop_column"
    assert api.history_verify(house.target())["ok"]


def test_the_journal_has_a_line_for_each_row(house: House) -> None:
    """Beside the backups, with the place of the row in the chain."""
    steps(house, 2)
    found = journal.read(folder_for(house.folder / "backups", house.database) / journal.NAME)
    lines = [record for record in found.records if record.event == "migrated"]
    assert [line.detail["hash"] for line in lines] == [entry.hash for entry in entries(house)]
    assert found.problems == ()


def test_a_row_that_two_have_noted_is_no_fork(house: House) -> None:
    """One driftd committed it, another one found it missing at the same moment: the journal is sound."""
    steps(house, 2)
    path = folder_for(house.folder / "backups", house.database) / journal.NAME
    first = next(record for record in journal.read(path).records if record.event == "migrated")
    journal.append(path, first)
    assert api.history_verify(house.target())["problems"] == []


def test_what_a_migration_left_blocked_is_written_down(house: House) -> None:
    """The reason stands in the evidence, and the rest went ahead."""
    house.run("INSERT INTO t VALUES (2, NULL, 5)")
    house.models(V.format(", gone INT, b INT, UNIQUE (gone)"))
    done = house.apply()
    assert (done["outcome"], done["blocked"][0]["kind"]) == ("migrated", "add_unique")
    (entry,) = entries(house)
    assert list(entry.evidence["blocked"].values()) == [done["blocked"][0]["reason"]]
    assert "not unique" in done["blocked"][0]["reason"]


def test_what_needs_a_blocked_operation_is_reported(house: House) -> None:
    """It is held with the reason, and does not vanish from the answer."""
    house.models(V.format(", gone INT, b INT NOT NULL") + "CREATE INDEX i ON t (b);")
    done = house.apply()
    (column, index) = done["held"]
    assert (column["code"], index["kind"]) == ("value-needed", "create_index")
    assert index["reason"] == "it needs add_column b first"


def test_without_backups_none_is_kept_or_named(house: House) -> None:
    """before_every_migration = false: nothing stays of it, and neither the answer nor the history names one."""
    target = house.target()
    settings = api.BackupSettings(target.backup.directory, before_every_migration=False)
    target = api.Target("app", target.url, target.models, settings)
    done = api.apply(target)
    assert (done["outcome"], done["backup"], house.backups()) == ("migrated", None, [])
    (entry,) = entries(house)
    assert entry.backup is None
    assert api.history_verify(target)["ok"]
    assert api.backup_list(target)["backups"] == []


def test_retention_goes_with_each_apply(house: House) -> None:
    """Only so many backups stay, the newest ones, and that of the last migration always."""
    target = house.target()
    kept = []
    for number, keep in enumerate((2, 2, 2, 2, 0)):
        house.models(V.format(", gone INT" + "".join(f", n{one} INT" for one in range(number + 1))))
        settings = api.BackupSettings(target.backup.directory, keep=keep)
        done = api.apply(api.Target("app", target.url, target.models, settings))
        kept.append(done["backup"]["id"])
        assert house.backups()[-1].stem == done["backup"]["id"]
    assert [path.stem for path in house.backups()] == kept[-1:]
    for settings in (
        api.BackupSettings(target.backup.directory, keep=0, keep_for=0.0),
        api.BackupSettings(target.backup.directory, max_total_size=1),
    ):
        pruned = api.backup_prune(api.Target("app", target.url, target.models, settings))
        assert [one["id"] for one in pruned["kept"]] == kept[-1:]
    verified = api.backup_verify(target)
    assert (verified["ok"], verified["backups"][0]["id"]) == (True, kept[-1])


def test_a_newer_backup_does_not_push_out_that_of_the_last_migration(house: House) -> None:
    """Requested backups come and go; a rollback needs that of the last migration, and whoever lists it says so."""
    done = house.apply()
    for _ in range(3):
        api.backup_create(house.target())
    target = house.target()
    settings = api.BackupSettings(target.backup.directory, keep=1)
    pruned = api.backup_prune(api.Target("app", target.url, target.models, settings))
    stems = [path.stem for path in house.backups()]
    assert done["backup"]["id"] in stems
    assert len(stems) == 2
    for told in (pruned["kept"], api.backup_list(target)["backups"], api.backup_verify(target)["backups"]):
        assert [one["pinned"] for one in told] == [one["id"] == done["backup"]["id"] for one in told]


def test_progress_is_told_by_phase(house: House) -> None:
    """Backup, rehearsal, apply, each up to its total."""
    told: list[tuple[str, int, int]] = []
    api.apply(house.target(), progress=lambda *step: told.append(step))
    phases = [phase for phase, _, _ in told]
    assert sorted(set(phases), key=phases.index) == ["backup", "rehearsal", "apply"]
    for phase in ("backup", "rehearsal", "apply"):
        last = [step for step in told if step[0] == phase][-1]
        assert last[1] == last[2]


def test_a_history_that_cannot_be_read_to_its_end_is_an_error_of_the_database(house: House) -> None:
    """SQLite reads rows when they are asked for: damage behind the first one is told as that, too."""
    steps(house, 4)
    with closing(sqlite3.connect(house.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'driftd_history'"
        ).fetchone()
    content = bytearray(house.database.read_bytes())
    # From each interior page to its last child: https://www.sqlite.org/fileformat.html#b_tree_pages
    while content[(page - 1) * size] == 5:
        start = (page - 1) * size
        page = int.from_bytes(content[start + 8 : start + 12], "big")
    content[(page - 1) * size : page * size] = bytes(size)
    house.database.write_bytes(content)
    with pytest.raises(DatabaseError) as caught:
        api.history(house.target())
    assert caught.value.code == "database-corrupt"
