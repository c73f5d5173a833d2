"""apply on what cannot be used, and on what is not there yet: the reason says which, and nothing is written."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import unprivileged
from driftengine import api
from driftengine.errors import ConfigurationError, DatabaseError, DriftError
from support.migrations import House, kinds
from support.processes import ended, start_apply

DDL = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT);"
MODELS = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT);"


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path / "house", journal="delete")
    house.folder.mkdir()
    house.models(MODELS)
    return house


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file under a folder with its time and its bytes, every folder with its time."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (path.stat().st_mtime_ns, content)
    return found


def refused(house: House, error: type[DriftError] = DatabaseError) -> str:
    """The code of the refusal; nothing in the folder has changed."""
    before = tree(house.folder)
    with pytest.raises(error) as caught:
        house.apply()
    assert tree(house.folder) == before
    assert caught.value.why
    assert caught.value.fix
    return caught.value.code


def test_a_directory_is_refused(house: House) -> None:
    """The URL names a folder."""
    house.database.mkdir()
    assert refused(house, ConfigurationError) == "database-is-directory"


def test_a_text_file_is_refused(house: House) -> None:
    """It is no database, and stays what it is."""
    house.database.write_text("these are my notes, do not touch them\n" * 100, encoding="utf-8")
    assert refused(house) == "database-not-sqlite"


def test_a_corrupt_schema_is_refused(house: House) -> None:
    """The first page of the schema is garbage: nothing can be read, nothing is written."""
    house.run(DDL)
    with house.database.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    assert refused(house) == "database-corrupt"


def test_corrupt_rows_are_refused_before_anything_is_done(house: House) -> None:
    """The schema can be read and a table's pages cannot be trusted: no backup of it is believed, no plan is run."""
    house.run(f"{DDL} CREATE INDEX i ON t (a)")
    with closing(sqlite3.connect(house.database, isolation_level=None)) as connection:
        connection.execute(
            "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 500)"
            "INSERT INTO t SELECT n, hex(randomblob(20)) FROM r"
        )
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    with house.database.open("r+b") as file:
        file.seek((pages - 2) * 4096)
        file.write(b"\xee" * 4096)
    content = house.database.read_bytes()
    house.models(f"{MODELS} CREATE INDEX i ON t (a);")
    with pytest.raises(DriftError) as caught:
        house.apply()
    assert caught.value.code in {"backup-not-verified", "database-corrupt"}
    assert (house.database.read_bytes(), house.backups()) == (content, [])


def test_a_url_that_says_read_only_is_obeyed(house: House) -> None:
    """mode=ro: looking works, and a migration is refused with the reason before a backup is made."""
    house.run(DDL)
    url = f"sqlite:///file:{house.database}?mode=ro&uri=true"
    target = api.Target("app", url, house.target().models, house.target().backup)
    assert not api.check(target)["in_sync"]
    before = tree(house.folder)
    with pytest.raises(DatabaseError, match="may only be read") as caught:
        api.apply(target)
    assert caught.value.code == "database-read-only"
    assert tree(house.folder) == before


AS_NOBODY = """
import json, sys
from pathlib import Path
from driftengine import api
from driftengine.desired import ModelSource
from driftengine.errors import DriftError
models = ModelSource((sys.argv[3],), sys.executable, directory="/")
target = api.Target("app", f"sqlite:///{sys.argv[1]}", models, api.BackupSettings(Path(sys.argv[2])))
try:
    print(json.dumps(api.apply(target)))
except DriftError as error:
    print(json.dumps({"error": error.as_document()}))
"""


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "code"),
    [
        (0o444, 0o777, "database-read-only"),
        (0o666, 0o555, "database-read-only"),
        (0o666, 0o000, "database-permission"),
        (0o000, 0o777, "database-permission"),
    ],
)
def test_without_the_rights_nothing_is_written(
    file_mode: int, folder_mode: int, code: str, journal: str
) -> None:
    """A read-only file, a folder that takes no journal, and what may not be seen at all: each says which it is."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        outer = Path(name)
        outer.chmod(0o755)
        house = House(outer / "house", journal=journal)
        house.folder.mkdir()
        house.run(DDL)
        (outer / "models.sql").write_text(MODELS, encoding="utf-8")
        elsewhere = outer / "backups"
        elsewhere.mkdir()
        elsewhere.chmod(0o777)
        house.database.chmod(file_mode)
        content = house.database.read_bytes()
        house.folder.chmod(folder_mode)
        try:
            told = json.loads(unprivileged.run(AS_NOBODY, house.database, elsewhere, outer / "models.sql"))
        finally:
            house.folder.chmod(0o755)
        # In WAL mode even reading makes a file beside the database.
        unreadable = journal == "wal" and folder_mode == 0o555
        assert told["error"]["code"] == ("database-permission" if unreadable else code)
        assert house.database.read_bytes() == content
        assert list(elsewhere.iterdir()) == []


def made(house: House) -> dict[str, Any]:
    done = house.apply()
    assert (done["outcome"], kinds(done), done["backup"]) == ("migrated", ["create_table"], None)
    assert [row[1] for row in house.ask("PRAGMA table_info(t)")] == ["id", "a", "b"]
    assert house.backups() == []
    assert house.apply()["outcome"] == "up_to_date"
    assert api.history_verify(house.target())["ok"]
    return done


def test_a_missing_database_is_made_with_its_folder(tmp_path: Path) -> None:
    """The first apply creates file and folder; there is nothing to back up."""
    house = House(tmp_path / "house")
    house.folder.mkdir()
    house.models(MODELS)
    target = house.target()
    deep = api.Target("app", f"sqlite:///{house.folder}/a/b/app.db", target.models, target.backup)
    done = api.apply(deep)
    assert (done["outcome"], done["backup"]) == ("migrated", None)
    assert (house.folder / "a" / "b" / "app.db").is_file()
    assert api.apply(deep)["outcome"] == "up_to_date"
    assert api.history_verify(deep)["ok"]


def test_a_file_of_no_bytes_is_an_empty_database(house: House) -> None:
    """0 bytes: filled by the first apply, without a backup."""
    house.database.touch()
    made(house)


def test_a_database_that_is_only_empty_is_filled(house: House) -> None:
    """It has pages and no table: filled, its settings kept, without a backup."""
    with closing(sqlite3.connect(house.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 7")
        connection.execute("PRAGMA application_id = 99")
    made(house)
    assert house.ask("PRAGMA user_version") == [(7,)]
    assert house.ask("PRAGMA application_id") == [(99,)]


def test_a_dry_run_makes_no_database(tmp_path: Path) -> None:
    """Of a missing database it says what would be made, and makes neither file nor folder."""
    house = House(tmp_path / "house")
    house.folder.mkdir()
    house.models(MODELS)
    before = tree(house.folder)
    told = api.apply(house.target(), dry_run=True)
    assert (told["outcome"], kinds(told), told["dry_run"]) == ("migrated", ["create_table"], True)
    assert tree(house.folder) == before


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("met", [False, True])
def test_a_dry_run_writes_nothing_at_all(tmp_path: Path, journal: str, met: bool) -> None:
    """Neither database nor backups nor journal: the whole tree is the same, byte for byte and in its times."""
    house = House(tmp_path / "house", journal=journal)
    house.folder.mkdir()
    house.run(f"{DDL} INSERT INTO t VALUES (1, 'x')")
    house.models(DDL)
    if met:
        house.apply()
    house.models(MODELS)
    before = tree(house.folder)
    told = api.apply(house.target(), dry_run=True)
    assert (told["outcome"], kinds(told), told["migration_id"]) == ("migrated", ["add_column"], None)
    after = tree(house.folder)
    if journal == "wal":  # reading makes the -wal and -shm files, and takes them away again
        before.pop(".")
        after.pop(".")
    assert after == before


def test_a_dry_run_rehearses(house: House) -> None:
    """What the rehearsal would stop is told as blocked, though no guard speaks of it."""
    house.run(
        f"{DDL} CREATE TABLE src (x); INSERT INTO t VALUES (1, 'x');"
        "CREATE TRIGGER g AFTER INSERT ON src BEGIN INSERT INTO t VALUES (new.x, 'a'); END;"
    )
    told = api.apply(house.target(), dry_run=True)
    real = house.apply()
    assert told["outcome"] == real["outcome"] == "blocked"
    assert told["blocked"][0]["reason"] == real["blocked"][0]["reason"]
    assert house.backups() == []


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_second_apply_does_nothing(tmp_path: Path, journal: str) -> None:
    """Up to date: no backup, and not one byte of the database or of the backups' folder is another."""
    house = House(tmp_path / "house", journal=journal)
    house.folder.mkdir()
    house.run(f"{DDL} INSERT INTO t VALUES (1, 'x')")
    house.models(MODELS)
    assert ended(start_apply(house))[1]["outcome"] == "migrated"
    before = tree(house.folder)
    code, document = ended(start_apply(house))
    assert (code, document["outcome"], document["backup"], document["operations"]) == (
        0,
        "up_to_date",
        None,
        0,
    )
    after = tree(house.folder)
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in before.items()
    }
    assert after["app.db"] == before["app.db"]
    assert house.apply()["warnings"] == []
