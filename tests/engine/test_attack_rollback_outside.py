"""Rollbacks with altered records, dead processes, full disks and busy services around them."""

from __future__ import annotations

import json
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from driftengine import api
from driftengine.errors import HistoryError, PlanError
from support.migrations import House
from support.rolling_back import MANY, ROWS, WITH_X, WITHOUT_N, T, back, begun, codes, migrated, whole

TESTS = Path(__file__).parents[1]


@pytest.fixture(params=["wal", "delete"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> House:
    """An empty house in both journal modes."""
    return House(tmp_path, request.param)


# --- words, histories and backups


@pytest.mark.parametrize("word", ["²", "-1", "0", "", "1.0", "x-1", "None-1"])
def test_a_word_that_is_no_operation_is_refused(house: House, word: str) -> None:
    """With the numbers that there are."""
    begun(house)
    migrated(house, WITH_X)
    with pytest.raises(HistoryError) as caught:
        back(house, operations=[word])
    assert caught.value.code == "operation-unknown"


@pytest.mark.parametrize(
    "change",
    [
        {"evidence": {"done": 5}},
        {"evidence": {"fills": {"column|t|n|change|not_null": "1); DROP TABLE t; --"}}},
        {"undo": {"before": 5}},
        {"plan": 5},
        {"backup": 5},
    ],
)
def test_an_altered_history_is_no_ground_for_a_rollback(house: House, change: dict[str, Any]) -> None:
    """What was done is known from it alone: it is refused, whatever was altered, and nothing happens."""
    begun(house)
    migrated(house, WITHOUT_N)
    with closing(sqlite3.connect(house.database)) as connection:
        where = "WHERE migration_id IS NOT NULL"
        (text,) = connection.execute(f"SELECT document FROM driftd_history {where}").fetchone()
        document = json.loads(text)
        for key, value in change.items():
            document[key] = {**document[key], **value} if isinstance(value, dict) else value
        connection.execute(f"UPDATE driftd_history SET document = ? {where}", [json.dumps(document)])
        connection.commit()
    before = house.everything()
    with pytest.raises(HistoryError) as caught:
        back(house)
    assert caught.value.code == "history-altered"
    assert house.everything() == before


def test_where_there_is_no_database_nothing_is_made(house: House) -> None:
    """Neither a database nor a backup folder, and the message says what is missing."""
    with pytest.raises(HistoryError, match="there is no database"):
        back(house)
    assert list(house.folder.iterdir()) == []


def test_a_backup_that_is_another_one_is_not_used(house: House, tmp_path: Path) -> None:
    """Another database's backup under that name is found out by its hash."""
    begun(house)
    migrated(house, WITHOUT_N)
    (tmp_path / "other").mkdir()
    other = House(tmp_path / "other", house.journal)
    begun(other, T, ROWS.replace("10", "666"))
    migrated(other, WITHOUT_N)
    for mine, theirs in zip(house.backups(), other.backups(), strict=True):
        mine.chmod(0o600)
        mine.write_bytes(theirs.read_bytes())
    document = back(house)
    assert codes(document) == [("add_column", "backup-gone")]
    assert "SHA-256" in document["held"][0]["reason"]


def test_others_who_run_are_told_of_by_the_right_command(house: House) -> None:
    """What they would not survive waits, and the advice is a rollback's."""
    begun(house)
    migrated(house, WITH_X)
    document = back(house, in_use=True)
    assert document["outcome"] == "deferred"
    assert "driftd rollback --approve" in document["error"]["fix"]
    with pytest.raises(PlanError):
        back(house, in_use=True, approve=["drop-table"])


def test_a_dry_run_leaves_every_file_as_it_was(house: House) -> None:
    """Names, sizes and times of all files in the folder."""
    begun(house)
    migrated(house, WITHOUT_N)

    def listed() -> list[tuple[str, int, int]]:
        found = [(path, path.stat()) for path in sorted(house.folder.rglob("*"))]
        return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found]

    before = listed()
    assert back(house, dry_run=True)["outcome"] == "migrated"
    assert listed() == before


# --- processes

ROLL_BACK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from driftengine import api
from driftengine.errors import DriftError
from support.migrations import House
house = House(Path(sys.argv[1]), sys.argv[2])
if int(sys.argv[3]):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
print("ready", flush=True)
try:
    print(api.rollback(house.target())["outcome"])
except DriftError as error:
    print(error.code)
"""


def elsewhere(house: House, limit: int = 0) -> subprocess.Popen[str]:
    """A rollback in a process of its own, which may write no file longer than `limit` bytes."""
    command = [sys.executable, "-c", ROLL_BACK, str(house.folder), house.journal, str(limit), str(TESTS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_rollback_that_is_killed_has_happened_or_has_not(house: House) -> None:
    """At any moment: the old state or the new one, a history that verifies, and the next rollback works."""
    begun(house, T, MANY)
    migrated(house, WITHOUT_N)
    moments = random.Random(5)  # noqa: S311  # any moments will do
    for _ in range(5):
        with elsewhere(house) as process:
            time.sleep(moments.uniform(0.0, 0.3))  # no wait for anything: the moment is what is tried
            process.send_signal(signal.SIGKILL)
        assert house.ask("PRAGMA integrity_check") == [("ok",)]
        assert api.history_verify(house.target())["ok"]
        if len(house.ask("PRAGMA table_info (t)")) == 3:
            assert house.ask("SELECT count(*) FROM t WHERE n = id * 7") == [(20000,)]
            assert house.apply("rolled-back")["outcome"] == "migrated"
    whole(house)
    assert house.ask("SELECT count(*) FROM t WHERE n = id * 7") == [(20000,)]
    left = {path.name for path in house.folder.glob("backups/*/*") if not path.name.startswith("backup_")}
    assert left == {"journal.jsonl"}


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system has no such limit")
@pytest.mark.parametrize("part", [0.05, 0.6, 1.0, 1.02, 1.2])
def test_a_disk_that_is_full_changes_nothing(house: House, part: float) -> None:
    """Wherever it fills up: one of our errors, no file is left, and the next rollback works."""
    begun(house, T, MANY)
    migrated(house, WITHOUT_N)
    before = house.everything()
    files = set(house.folder.rglob("*"))
    limit = int(house.database.stat().st_size * part)
    with elsewhere(house, limit) as process:
        answer, errors = process.communicate(timeout=60)
    assert (answer.strip(), errors) in {
        (code, "") for code in ("database-io", "database-full", "backup-io", "backup-folder")
    }
    assert house.everything() == before
    left = {path for path in set(house.folder.rglob("*")) - files if not path.name.startswith("app.db-")}
    assert left == set()
    whole(house)


def test_a_service_reads_and_writes_meanwhile(house: House) -> None:
    """No statement of it fails, and no row is lost."""
    begun(house, T, MANY)
    migrated(house, WITHOUT_N)
    stop, failed, written = threading.Event(), [], []

    def serve() -> None:
        with closing(sqlite3.connect(house.database, timeout=60, isolation_level=None)) as connection:
            number = 1_000_000
            while not stop.is_set():
                try:
                    connection.execute("INSERT INTO t (id, a) VALUES (?, 'later')", [number])
                    written.append(number)
                    connection.execute("SELECT max(id) FROM t").fetchone()
                except sqlite3.Error as error:
                    failed.append(str(error))
                number += 1
                stop.wait(0.01)

    service = threading.Thread(target=serve)
    service.start()
    try:
        document = back(house)
    finally:
        stop.set()
        service.join()
    assert (document["outcome"], failed) == ("migrated", [])
    assert house.ask("SELECT count(*) FROM t WHERE n = id * 7") == [(20000,)]
    assert house.ask("SELECT count(*) FROM t WHERE id >= 1000000") == [(len(written),)]
