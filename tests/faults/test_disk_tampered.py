"""Backups that somebody or something has altered: never taken for good, told clearly, and nothing is lost by them."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import api
from driftengine.errors import BackupError, DriftError
from support.crash_points import ALL
from support.disk_faults import codes
from support.migrations import House
from support.rolling_back import WITHOUT_N, back, begun, migrated, whole
from support.stages import session_of, staged

if TYPE_CHECKING:
    from collections.abc import Callable

    Recorded = Callable[[str, object], None]

pytestmark = pytest.mark.timeout(3600 if ALL else 300)
FLIPS = 4000 if ALL else 60
SHAPES = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INTEGER); CREATE INDEX by_a ON t (a)",
    "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 900) "  # noqa: ISC004  # one statement
    "INSERT INTO t SELECT i, 'row ' || i || CASE i % 300 WHEN 0 THEN hex(zeroblob(9000)) ELSE '' END, i FROM c",
)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A database whose last migration dropped a column: only its backup has the values."""
    made = House(tmp_path / "house")
    made.folder.mkdir()
    begun(made, SHAPES[0], f"{SHAPES[1]}; DELETE FROM t WHERE id BETWEEN 400 AND 500")
    migrated(made, WITHOUT_N)
    return made


def only(house: House) -> Path:
    """The one backup."""
    (backup,) = house.backups()
    return backup


def refuses(house: House) -> list[str]:
    """Restore, rollback and verify of the one backup; what of them was not as it must be."""
    before, backup = house.everything(), only(house)
    wrong = []
    verified = api.backup_verify(house.target())
    if verified["ok"]:
        wrong.append("verify finds nothing")
    try:
        api.backup_restore(house.target(), backup.stem)
        wrong.append("restored")
    except DriftError as error:
        if error.code not in codes() or not error.why or not error.fix:
            wrong.append(f"told as {error.as_document()}")
    if house.everything() != before:
        wrong.append("the database is another one")
    return wrong


def test_a_bit_that_has_turned_anywhere_in_the_copy(house: House, record_property: Recorded) -> None:
    """In the header, in pages of every kind, in free pages and in overflow: verify finds it, restore refuses."""
    backup = only(house)
    good = backup.read_bytes()
    places = random.Random(6).sample(range(len(good)), FLIPS)  # noqa: S311  # the same at every run
    wrong = {}
    for place in {*range(0, 100, 1 if ALL else 9), *places}:
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        backup.write_bytes(bad)
        if found := refuses(house):
            wrong[place] = found
    record_property("tries", FLIPS + (100 if ALL else 12))
    assert wrong == {}
    backup.write_bytes(good)
    assert api.backup_verify(house.target())["ok"]
    whole(house)
    assert house.ask("SELECT count(*), sum(n) FROM t WHERE n = id")[0][0] == 799


def test_a_bit_that_has_turned_anywhere_in_the_manifest(house: House, record_property: Recorded) -> None:
    """No letter of it may be another: the backup is then told as one that cannot be trusted, and not used."""
    manifest = only(house).with_suffix(".json")
    good = manifest.read_bytes()
    places = range(0, len(good), 1 if ALL else 17)
    wrong, same = {}, json.loads(good)
    for place in places:
        bad = bytearray(good)
        bad[place] ^= 1 << place % 7
        manifest.write_bytes(bad)
        try:
            if json.loads(bytes(bad)) == same:
                continue  # white space
        except ValueError:
            pass
        if found := refuses(house):
            wrong[place] = found
        if not api.backup_list(house.target())["problems"]:
            wrong[place] = ["list tells nothing"]
    record_property("tries", len(places))
    assert wrong == {}


def shorter(backup: Path) -> None:
    os.truncate(backup, backup.stat().st_size - 4096)


def half(backup: Path) -> None:
    os.truncate(backup, backup.stat().st_size // 2)


def empty(backup: Path) -> None:
    os.truncate(backup, 0)


def longer(backup: Path) -> None:
    with backup.open("ab") as file:
        file.write(bytes(4096))


def a_folder(backup: Path) -> None:
    backup.unlink()
    backup.mkdir()


def gone(backup: Path) -> None:
    backup.unlink()


def another_database(backup: Path) -> None:
    """Same size, sound, with the very same tables, and other rows."""
    copy = sqlite3.connect(backup)
    copy.execute("UPDATE t SET n = n + 1")
    copy.commit()
    copy.close()


def a_link_into_nowhere(backup: Path) -> None:
    backup.unlink()
    backup.symlink_to("nowhere.db")


def no_database(backup: Path) -> None:
    backup.write_bytes(random.Random(1).randbytes(backup.stat().st_size))  # noqa: S311  # the same at every run


@pytest.mark.parametrize(
    "tamper",
    [shorter, half, empty, longer, a_folder, gone, another_database, a_link_into_nowhere, no_database],
)
def test_another_file_in_its_place(house: House, tamper: Callable[[Path], None]) -> None:
    """Whatever lies there under its name, it is refused, and a rollback says what it cannot bring back."""
    backup = only(house)
    tamper(backup)
    before = house.everything()
    listed = api.backup_list(house.target())
    assert [one["id"] for one in listed["backups"]] or listed["problems"]
    with pytest.raises(BackupError) as caught:
        api.backup_restore(house.target(), backup.stem)
    assert caught.value.code in {"backup-not-verified", "backup-folder"}
    assert not api.backup_verify(house.target())["ok"]
    done = back(house)
    assert done["outcome"] in {"held", "migrated"}, done
    assert not [row for row in house.ask("PRAGMA table_info(t)") if row[1] == "n"] or done["warnings"], done
    if done["outcome"] == "held":
        assert house.everything() == before
    api.backup_prune(house.target())


def test_two_backups_that_have_changed_places(house: House) -> None:
    """Copies or manifests exchanged between two backups of the same database are told of both."""
    first = only(house)
    api.backup_create(house.target())
    (second,) = (path for path in house.backups() if path != first)
    for end in (".db", ".json"):
        aside, one, other = house.folder / "aside", first.with_suffix(end), second.with_suffix(end)
        for source, to in ((one, aside), (other, one), (aside, other)):
            source.rename(to)
        verified = api.backup_verify(house.target())
        assert not verified["ok"]
        told = sum(bool(one["problems"]) for one in verified["backups"]) + len(verified["problems"])
        assert told == 2
        for backup in (first, second):
            with pytest.raises(BackupError):
                api.backup_restore(house.target(), backup.stem)
        for source, to in ((one, aside), (other, one), (aside, other)):
            source.rename(to)
    assert api.backup_verify(house.target())["ok"]


def test_another_database_s_backup_with_its_own_manifest(house: House, tmp_path: Path) -> None:
    """A whole and sealed backup of somebody else's database lies in our folder: listed, never restored, never pruned."""
    other = House(tmp_path / "other")
    other.folder.mkdir()
    begun(other)
    foreign = Path(api.backup_create(other.target())["backup"]["path"])
    folder = only(house).parent
    for end in (".db", ".json"):
        shutil.copy2(foreign.with_suffix(end), folder)
    before = house.everything()
    with pytest.raises(BackupError) as caught:
        api.backup_restore(house.target(), foreign.stem)
    assert caught.value.code == "backup-not-verified"
    assert "not of" in caught.value.why
    assert house.everything() == before
    kept_one = replace(house.target().backup, keep=1, keep_for=0.0)
    api.backup_prune(replace(house.target(), backup=kept_one))
    assert (folder / foreign.name).exists()


@pytest.mark.parametrize("tamper", [another_database, no_database, gone, half])
def test_a_stage_whose_backup_was_altered_is_not_used(tmp_path: Path, tamper: Callable[[Path], None]) -> None:
    """A migration must not rely on a backup that somebody wrote to since: it makes another one, and that one is whole."""
    house = House(tmp_path / "house")
    house.folder.mkdir()
    begun(house, SHAPES[0], SHAPES[1])
    house.models(WITHOUT_N)
    with session_of(house) as session:
        session.look()
        session.approve(["drop-column", "drop-index"], by="a test")
        kept = staged(session)
        assert kept["outcome"] == "ready", kept
        bad = only(house)
        tamper(bad)
        done: dict[str, Any] = session.apply(allowed_by="a test")
    assert done["outcome"] == "migrated", done
    assert done["backup"]["id"] != bad.stem
    verified = {one["id"]: one["problems"] for one in api.backup_verify(house.target())["backups"]}
    assert verified[done["backup"]["id"]] == []
    whole(house)
    assert house.ask("SELECT count(*) FROM t WHERE n = id") == [(900,)]
