"""Backups: whole or not at all, proved, kept apart by database, pruned with care, and brought back."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import unprivileged
from driftengine import backup, backup_files, journal
from driftengine.backup import Backup, create, find, folder_for, list_backups, verify
from driftengine.dialects.sqlite.connect import parse_url
from driftengine.dialects.sqlite.database_files import DatabaseFiles
from driftengine.errors import BackupError, DatabaseError, DeadlineError, HistoryError
from driftengine.manifest import manifest_text, parse_manifest
from small_database import execute, make, names

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 1, 31, 12, 0, 0, 7000, UTC)
STEM = "backup_20260131_120000_007"


def events(folder: Path) -> list[str]:
    found = journal.read(backup.journal_of(folder))
    assert found.problems == ()
    return [record.event for record in found.records]


@pytest.fixture
def database(tmp_path: Path) -> DatabaseFiles:
    return make(tmp_path / "service" / "app.db")


@pytest.fixture
def folder(tmp_path: Path, database: DatabaseFiles) -> Path:
    return folder_for(tmp_path / "backups", database.path)


# --- making


def test_a_backup_is_a_copy_with_a_manifest(database: DatabaseFiles, folder: Path) -> None:
    """What `create` returns is what is on disk, what is listed, and what verifies; the journal knows of it."""
    execute(database.path, "PRAGMA user_version = 7")
    made = create(
        database, folder, reason="migration", database_id="db-1", migration_id="m_1", pinned=True, now=NOW
    )
    assert names(folder) == [f"{STEM}.db", f"{STEM}.json", "journal.jsonl"]
    assert list_backups(folder) == (made,)
    assert find(folder, STEM) == made
    assert verify(made, database) == ()
    assert (made.id, made.database, made.migration_id) == (STEM, str(database.path), "m_1")
    assert made.created_at == "2026-01-31T12:00:00.007Z"
    assert made.size_bytes == made.path.stat().st_size
    assert made.row_counts == {"a": 100}
    assert made.pinned
    assert made.verified
    assert execute(made.path, "PRAGMA user_version") == [(7,)]
    assert events(folder) == ["backup"]


def test_progress_names_its_phase(database: DatabaseFiles, folder: Path) -> None:
    """A renderer is told the phase, the pages done, and those in all."""
    told: list[tuple[str, int, int]] = []
    create(database, folder, progress=lambda *step: told.append(step))
    phase, done, total = told[-1]
    assert phase == "backup"
    assert done == total > 10


def test_two_backups_in_one_millisecond_have_two_names(database: DatabaseFiles, folder: Path) -> None:
    """The second gets -2, the third -3, and they are listed in that order."""
    made = [create(database, folder, now=NOW).id for _ in range(3)]
    assert made == [STEM, f"{STEM}-2", f"{STEM}-3"]
    assert [found.id for found in list_backups(folder)] == made


def test_rights_are_those_of_the_database_and_never_wider(database: DatabaseFiles, folder: Path) -> None:
    """Copy and manifest have the database's mode, whatever the umask; folders that we make are private."""
    database.path.chmod(0o640)
    before = os.umask(0o077)
    try:
        made = create(database, folder)
    finally:
        os.umask(before)
    assert made.path.stat().st_mode & 0o777 == 0o640
    assert made.manifest.stat().st_mode & 0o777 == 0o640
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_root_leaves_backups_to_the_database_s_owner(database: DatabaseFiles, folder: Path) -> None:
    """What the command line has made as root can be pruned by the service's user."""
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(database.path, 12345, 12345)
    create(database, folder)
    assert {path.stat().st_uid for path in (folder.parent, folder, *folder.iterdir())} == {12345}


@pytest.mark.parametrize("empty", [True, False])
def test_there_is_nothing_to_back_up(tmp_path: Path, empty: bool) -> None:
    """A missing or empty database makes no backup, and no folder."""
    path = tmp_path / "app.db"
    if empty:
        path.touch()
    with pytest.raises(BackupError) as caught:
        create(DatabaseFiles(parse_url(str(path))), tmp_path / "backups")
    assert caught.value.code == "backup-nothing"
    assert not (tmp_path / "backups").exists()


def test_space_is_looked_for_first(
    database: DatabaseFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little is told in bytes, needed and free, and nothing is begun."""
    usage = shutil.disk_usage(database.path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4096))
    with pytest.raises(BackupError) as caught:
        create(database, folder)
    assert caught.value.code == "disk-full"
    assert "4,096 are free" in caught.value.why
    assert names(folder) == []


def test_a_damaged_database_gives_no_backup(database: DatabaseFiles, folder: Path) -> None:
    """A copy that is as damaged as its source is not kept: a backup can be relied on."""
    raw = bytearray(database.path.read_bytes())
    raw[4096 * 5 + 1 : 4096 * 5 + 9] = b"\xff" * 8
    database.path.write_bytes(raw)
    with pytest.raises(BackupError) as caught:
        create(database, folder)
    assert caught.value.code == "backup-not-verified"
    assert names(folder) == []


def test_a_backup_that_is_late_leaves_nothing(database: DatabaseFiles, folder: Path) -> None:
    """At the deadline the unfinished files go."""
    with pytest.raises(DeadlineError):
        create(database, folder, deadline_at=0.0)
    assert names(folder) == []


def test_who_may_not_write_is_told(tmp_path: Path) -> None:
    """A backup folder without the right to write has its code, and so has one that cannot be made."""
    shared = Path(tempfile.mkdtemp(prefix="driftd-backup-"))
    try:
        shared.chmod(0o755)
        make(shared / "app.db")
        (shared / "app.db").chmod(0o644)
        (shared / "backups").mkdir(mode=0o555)
        shared.chmod(0o555)
        code = (
            "import sys; from pathlib import Path; from driftengine.backup import create\n"
            "from driftengine.dialects.sqlite.connect import parse_url\n"
            "from driftengine.dialects.sqlite.database_files import DatabaseFiles\n"
            "from driftengine.errors import DriftError; folder = Path(sys.argv[1])\n"
            "database = DatabaseFiles(parse_url(str(folder / 'app.db')))\n"
            "for name in ('backups', 'other/deep'):\n"
            "    try: create(database, folder / name)\n"
            "    except DriftError as error: print(error.code)\n"
        )
        assert unprivileged.run(code, shared).split() == ["backup-folder", "backup-folder"]
    finally:
        shared.chmod(0o755)
        shutil.rmtree(shared)


def test_a_finished_copy_without_a_manifest_is_told_and_kept(database: DatabaseFiles, folder: Path) -> None:
    """A lost manifest makes no backup of a file, but no reason to delete it either."""
    made = create(database, folder)
    made.manifest.unlink()
    create(database, folder)
    assert made.path.exists()
    assert len(list_backups(folder)) == 1
    (told,) = backup.strays(folder)
    assert str(made.path) in told


# --- proving


def test_every_kind_of_damage_is_told(database: DatabaseFiles, folder: Path) -> None:
    """A flipped bit, a cut file, a missing file, an edited or missing manifest: each has its sentence."""
    made = create(database, folder)
    raw = made.path.read_bytes()
    manifest = made.manifest.read_text()

    made.path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert "a bit has changed" in " ".join(verify(made, database))
    made.path.write_bytes(raw[:-1])
    assert "bytes, the manifest says" in " ".join(verify(made, database))
    made.path.unlink()
    assert "is missing" in " ".join(verify(made, database))
    made.path.write_bytes(raw)

    made.manifest.write_text(manifest.replace('"a": 100', '"a": 101'))
    assert "does not fit its seal" in " ".join(verify(made, database))
    made.manifest.write_text(manifest[:-20])
    assert "cannot be trusted" in " ".join(verify(made, database))
    made.manifest.unlink()
    assert "no manifest" in " ".join(verify(made, database))
    made.manifest.write_text(manifest)
    assert verify(made, database) == ()


def test_a_copy_that_was_exchanged_with_its_hash_is_told(database: DatabaseFiles, folder: Path) -> None:
    """Whoever seals another file with a new manifest still has other rows than that manifest says."""
    made = create(database, folder)
    execute(made.path, "DELETE FROM a WHERE n > 50")
    fields = json.loads(made.manifest.read_text())
    forged = parse_manifest(made.manifest.read_text(), made.path)
    forged = Backup(
        **{
            **{name: getattr(forged, name) for name in forged.__slots__},
            "sha256": backup_files.file_sha256(made.path),
            "size_bytes": made.path.stat().st_size,
        }
    )
    made.manifest.write_text(manifest_text(forged))
    assert fields["sha256"] != forged.sha256
    assert verify(forged, database) == ("its schema or its row counts are not those in the manifest",)


def test_a_manifest_belongs_to_its_own_file(database: DatabaseFiles, folder: Path) -> None:
    """One that was copied to another name, or that a newer driftd wrote, is refused."""
    made = create(database, folder)
    text = made.manifest.read_text()
    with pytest.raises(BackupError, match="it is that of"):
        parse_manifest(text, folder / "backup_20200101_000000_000.db")
    for broken in ("", "[]", "{}", '{"seal": ""}'):
        with pytest.raises(BackupError) as caught:
            parse_manifest(broken, made.path)
        assert caught.value.code == "backup-manifest"


def test_an_unknown_backup_is_answered_with_the_nearest(database: DatabaseFiles, folder: Path) -> None:
    """A mistyped id shows what may be meant; an id that leaves the folder is never opened."""
    with pytest.raises(BackupError, match="holds no backups"):
        find(folder, STEM)
    create(database, folder, now=NOW)
    for wrong in ("backup_20260131_120000_008", "backup_20260131", "../../etc/passwd", ""):
        with pytest.raises(BackupError) as caught:
            find(folder, wrong)
        assert caught.value.code == "backup-unknown"
        assert STEM in caught.value.why


def test_two_databases_never_share_a_folder(tmp_path: Path) -> None:
    """Also with one name in two places, and with names that are no good names for folders."""
    folders = {folder_for(tmp_path, path) for path in ("/a/app.db", "/b/app.db", "/a/app.sqlite", "/a/app")}
    assert len(folders) == 4
    for path in ("/a/../..db", "/a/.db", "/a/" + "x" * 300 + ".db", "/a/日本 #?.db"):
        assert folder_for(tmp_path, path).parent == tmp_path
        assert len(folder_for(tmp_path, path).name) <= 51


# --- keeping and letting go


def test_pruning_removes_files_and_says_so(database: DatabaseFiles, folder: Path) -> None:
    """What is chosen is gone, what is kept verifies, and the journal names each."""
    made = [create(database, folder, now=NOW + timedelta(hours=hours)) for hours in range(4)]
    backup.pin(made[0], pinned=True)
    done = backup.prune(
        folder,
        keep=1,
        keep_for=1e9,
        max_total_size=10**12,
        database=str(database.path),
        now=NOW + timedelta(days=1),
    )
    assert [found.id for found in done.removed] == [made[1].id, made[2].id]
    assert [found.id for found in done.kept] == [made[0].id, made[3].id]
    assert [found.id for found in list_backups(folder)] == [made[0].id, made[3].id]
    assert len(names(folder)) == 5
    assert events(folder) == ["backup"] * 4 + ["pruned"] * 2


def test_a_pin_is_kept_in_the_manifest(database: DatabaseFiles, folder: Path) -> None:
    """It can be set and taken back, and the backup verifies in both states."""
    made = create(database, folder)
    for pinned in (True, False):
        changed = backup.pin(made, pinned=pinned)
        assert find(folder, made.id) == changed
        assert changed.pinned is pinned
        assert verify(changed, database) == verify(made, database) == ()
    assert len(names(folder)) == 3


# --- bringing back


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_restore_brings_back_the_rows_and_keeps_what_was_there(tmp_path: Path, mode: str) -> None:
    """After a restore the old rows are there, and the safety backup holds the newer ones."""
    database = make(tmp_path / "app.db", mode=mode)
    folder = folder_for(tmp_path / "backups", database.path)
    made = create(database, folder)
    execute(database.path, "DELETE FROM a WHERE n < 90")
    done = backup.restore(database, folder, made)
    assert execute(database.path, "SELECT count(*) FROM a") == [(100,)]
    assert execute(database.path, "PRAGMA journal_mode") == [(mode,)]
    assert done.safety_backup is not None
    assert done.safety_backup.reason == "restore"
    assert done.safety_backup.row_counts == {"a": 10}
    assert events(folder) == ["backup", "backup", "restoring", "restored"]
    backup.restore(database, folder, done.safety_backup)
    assert execute(database.path, "SELECT count(*) FROM a") == [(10,)]


def test_a_missing_database_is_restored_without_a_safety_backup(
    database: DatabaseFiles, folder: Path
) -> None:
    """There is nothing to keep then."""
    made = create(database, folder)
    database.path.unlink()
    done = backup.restore(database, folder, made)
    assert done.safety_backup is None
    assert execute(database.path, "SELECT count(*) FROM a") == [(100,)]


def test_a_backup_of_another_database_is_not_restored(
    tmp_path: Path, database: DatabaseFiles, folder: Path
) -> None:
    """Also when somebody has copied it into this folder; a moved database with the same id may have it."""
    other = make(tmp_path / "other" / "app.db", rows=3)
    foreign = create(other, folder_for(tmp_path / "backups", other.path), database_id="db-1")
    folder.mkdir(parents=True)
    for path in (foreign.path, foreign.manifest):
        shutil.copy(path, folder)
    found = find(folder, foreign.id)
    with pytest.raises(BackupError) as caught:
        backup.restore(database, folder, found, database_id="db-2")
    assert caught.value.code == "backup-not-verified"
    assert "it is a backup of" in caught.value.why
    assert execute(database.path, "SELECT count(*) FROM a") == [(100,)]
    backup.restore(database, folder, found, database_id="db-1")
    assert execute(database.path, "SELECT count(*) FROM a") == [(3,)]


def test_a_damaged_backup_is_not_restored(database: DatabaseFiles, folder: Path) -> None:
    """The database stays as it is, and no safety backup is made for nothing."""
    made = create(database, folder)
    raw = made.path.read_bytes()
    made.path.write_bytes(raw[:5000] + b"\xff" + raw[5001:])
    execute(database.path, "DELETE FROM a")
    with pytest.raises(BackupError) as caught:
        backup.restore(database, folder, made)
    assert caught.value.code == "backup-not-verified"
    assert execute(database.path, "SELECT count(*) FROM a") == [(0,)]
    assert len(list_backups(folder)) == 1


def test_a_damaged_database_is_not_overwritten(database: DatabaseFiles, folder: Path) -> None:
    """What cannot be backed up is not destroyed: it is to be set aside by hand, and then the restore goes through."""
    made = create(database, folder)
    damaged = b"no database at all" + database.path.read_bytes()[18:]
    database.path.write_bytes(damaged)
    with pytest.raises(BackupError) as caught:
        backup.restore(database, folder, made)
    assert caught.value.code == "restore-over-damaged"
    assert database.path.read_bytes() == damaged
    database.path.rename(database.path.with_suffix(".aside"))
    backup.restore(database, folder, made)
    assert execute(database.path, "SELECT count(*) FROM a") == [(100,)]


def test_a_restore_that_cannot_be_noted_is_told_apart(
    database: DatabaseFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that fails before leaves everything as it was; one that fails behind says that the restore is done."""
    made = create(database, folder)
    execute(database.path, "DELETE FROM a")
    append = journal.append

    @contextmanager
    def failing_at(event: str) -> Iterator[None]:
        def fail(path: Path, record: journal.Record) -> None:
            if record.event == event:
                raise HistoryError("the journal is full", code="journal-unwritable")
            append(path, record)

        with monkeypatch.context() as patch:
            patch.setattr(journal, "append", fail)
            yield

    with failing_at("restoring"), pytest.raises(HistoryError) as caught:
        backup.restore(database, folder, made)
    assert caught.value.code == "journal-unwritable"
    assert execute(database.path, "SELECT count(*) FROM a") == [(0,)]
    with failing_at("restored"), pytest.raises(HistoryError) as caught:
        backup.restore(database, folder, made)
    assert caught.value.code == "restore-not-noted"
    assert execute(database.path, "SELECT count(*) FROM a") == [(100,)]


def test_a_database_that_cannot_be_read_is_not_backed_up(tmp_path: Path) -> None:
    """The error of the database comes through, and the folder holds nothing."""
    path = tmp_path / "app.db"
    path.write_text("these are notes " * 100)
    with pytest.raises(DatabaseError) as caught:
        create(DatabaseFiles(parse_url(str(path))), tmp_path / "backups")
    assert caught.value.code == "database-not-sqlite"
    assert names(tmp_path / "backups") == []
