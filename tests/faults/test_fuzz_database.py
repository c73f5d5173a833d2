"""Databases with broken bytes, and other things in their place: a clear code, nothing written, nothing waited for."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_line import driftd
from support.random_bytes import PLACES, altered_bytes, put_in_place
from support.random_depth import depth
from support.sidecars import CONFIGURATION
from support.tries import tried
from support.typed import at_home, foreseen, typed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEEDS = st.integers(0, 2**32 - 1)
MODELS = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT, more TEXT);\nCREATE TABLE log (line TEXT);\n"
WEDGES = (b"\0" * 512, b"\xff" * 100, b"SQLite format 3\0", b"\x01\x02\x03\x04")
READING = ("check --fresh", "plan", "apply --dry-run", "history", "history verify", "doctor", "check --json")
WRITING = ("apply", "apply --json", "backup create")


def household(folder: Path, journal: str = "delete") -> None:
    """A service whose models want a column and a table more; some pages of rows, an index, and with `wal` a log."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "driftd.toml").write_text(CONFIGURATION.format(mode="window"), encoding="utf-8")
    (folder / "models.sql").write_text(MODELS, encoding="utf-8")
    with closing(sqlite3.connect(folder / "app.db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.executescript(
            "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT); CREATE INDEX by_title ON task (title);"
            "WITH RECURSIVE r (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 300)"
            "INSERT INTO task SELECT n, hex(zeroblob(40)) || n FROM r;"
        )
        if journal == "wal":  # what a killed service leaves
            for end in ("", "-wal"):
                shutil.copyfile(folder / f"app.db{end}", folder / f"left{end}")
    if journal == "wal":
        for end in ("", "-wal"):
            (folder / f"left{end}").replace(folder / f"app.db{end}")


def _header(chance: Random, raw: bytes) -> bytes:
    """One of the fields of https://www.sqlite.org/fileformat2.html#the_database_header."""
    place = chance.choice(
        (
            0,
            16,
            18,
            19,
            20,
            21,
            22,
            23,
            24,
            28,
            32,
            36,
            40,
            44,
            47,
            52,
            56,
            59,
            60,
            64,
            68,
            92,
            96,
            100,
            103,
            105,
        )
    )
    return raw[:place] + bytes([chance.randrange(256)]) + raw[place + 1 :]


def _bits(chance: Random, raw: bytes) -> bytes:
    found = bytearray(raw)
    for _ in range(chance.choice((1, 1, 3, 50))):
        found[chance.randrange(len(found))] ^= 1 << chance.randrange(8)
    return bytes(found)


ALTERATIONS: dict[str, Callable[[Random, bytes], bytes]] = {
    "header": _header,
    "bits": _bits,
    "cut off": lambda chance, raw: raw[: chance.randrange(len(raw))],
    "a page of nothing": lambda chance, raw: _page(raw, chance.randrange(len(raw) // 4096), b"\0" * 4096),
    "a page twice": lambda chance, raw: _page(raw, chance.randrange(len(raw) // 4096), raw[:4096]),
    "wedged": lambda chance, raw: altered_bytes(chance, raw, WEDGES),
    "another file": lambda chance, _: chance.choice(
        (b"#!/bin/sh\n", b"\0" * 5000, b"PK\3\4" * 900, b"SQLite format 3\0")
    ),
}


def _page(raw: bytes, number: int, page: bytes) -> bytes:
    return raw[: number * 4096] + page + raw[(number + 1) * 4096 :]


@given(
    kind=st.sampled_from(sorted(ALTERATIONS)),
    end=st.sampled_from(["", "", "", "-wal", "-journal"]),
    seed=SEEDS,
)
@depth(60)
def test_broken_bytes_are_refused_or_survived(
    tmp_path_factory: pytest.TempPathFactory, kind: str, end: str, seed: int
) -> None:
    """Looking writes nothing into what is broken, applying commits nothing that SQLite finds unsound; each says why."""
    chance, folder = Random(seed), tmp_path_factory.getbasetemp() / "broken"  # noqa: S311 - the same tries for the same seed
    shutil.rmtree(folder, ignore_errors=True)
    household(folder, "wal" if end == "-wal" else "delete")
    path = folder / f"app.db{end}"
    source = path if path.exists() else folder / "app.db"
    path.write_bytes(ALTERATIONS[kind](chance, source.read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        at_home(patch, dict(os.environ), folder)
        if not end:
            before = path.read_bytes()
            for words in chance.sample(READING, 2):
                assert not (found := foreseen(typed(folder, *words.split()))), (words, found)
                # Recording the first meeting is the one thing that a look may write, and only into a sound database.
                assert path.read_bytes() == before or _sound(path), words
        healthy = _sound(folder / "app.db")
        before = (folder / "app.db").read_bytes()
        finished = typed(folder, *chance.choice(WRITING).split())
        assert not foreseen(finished)
        if finished.code == 2 and not healthy and not end:
            assert (folder / "app.db").read_bytes() == before, finished.err
        assert _sound(folder / "app.db") or not healthy, finished.err
    tried("databases: broken bytes, then 3 commands")


def _sound(path: Path) -> bool:
    """What plain SQLite says; asked of a copy, since asking may roll a journal back."""
    copy = path.with_name("copy.db")
    for end in ("", "-wal", "-journal"):
        copy.with_name(f"copy.db{end}").unlink(missing_ok=True)
        if path.with_name(f"{path.name}{end}").exists():
            shutil.copyfile(path.with_name(f"{path.name}{end}"), copy.with_name(f"copy.db{end}"))
    try:
        with closing(sqlite3.connect(copy)) as connection:
            return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
    except (sqlite3.Error, UnicodeDecodeError):
        return False


#: What driftd reads or writes, by where it lies, and the commands that come upon it.
LIES: dict[str, tuple[str, ...]] = {
    "app.db": ("check", "apply", "history", "doctor", "backup create", "gate --strict"),
    "app.db-wal": ("check", "apply"),
    "app.db-journal": ("check", "apply"),
    "models.sql": ("check", "apply", "doctor"),
    "JOURNAL": ("history verify", "apply", "rollback"),
    "MANIFEST": ("backup list", "backup verify", "rollback", "backup prune", "doctor"),
    "BACKUP": ("backup verify", "rollback", "backup restore BACKUP"),
    "COPY.partial": ("backup create", "apply", "backup prune"),
    "MARK.partial": ("backup create", "apply", "backup prune"),
    "app.db.startup.lock": ("gate --strict", "apply", "check"),
    "app.db.startup.result": ("gate --strict",),
    "app.db.daemon.lock": ("gate --strict", "status"),
    "app.db.inuse.lock": ("gate --strict", "apply"),
    "d.sock": ("status", "gate --strict", "stage"),
    "backups": ("backup list", "apply", "backup create", "check", "history verify"),
    ".cache": ("check", "apply"),
}
EVERYWHERE = bool(os.environ.get("DRIFTD_FUZZ"))


@pytest.mark.parametrize(
    "kind", [one for one in PLACES if EVERYWHERE or one in {"pipe", "endless", "circle", "holes"}]
)
@pytest.mark.parametrize("place", LIES)
def test_something_else_in_the_place_of_a_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, kind: str
) -> None:
    """Pipes are not waited for, devices not read to their end, links not followed in circles; the rows stay."""
    household(tmp_path)
    at_home(monkeypatch, dict(os.environ), tmp_path)
    assert typed(tmp_path, "apply").code == 0
    (tmp_path / "models.sql").write_text(MODELS.replace("line TEXT", "line TEXT, at TEXT"), encoding="utf-8")
    folder = next((tmp_path / "backups").iterdir())
    manifest = next(folder.glob("backup_*.json"))
    named = {
        "JOURNAL": folder / "journal.jsonl",
        "MANIFEST": manifest,
        "BACKUP": manifest.with_suffix(".db"),
        "COPY.partial": folder / "backup_20200101_000000_000.db.partial",
        "MARK.partial": folder / "backup_20200101_000000_000.json.partial",
    }
    path = named.get(place, tmp_path / place)
    put_in_place(path, kind)
    commands = LIES[place] if EVERYWHERE else (LIES[place][len(f"{place}{kind}") % len(LIES[place])],)
    for words in commands:
        said = words.replace("BACKUP", manifest.stem).split()
        finished = driftd(*said, folder=tmp_path) if words.startswith("gate") else typed(tmp_path, *said)
        assert not (found := foreseen(finished, (0, 1, 2, 3, 75, 77))), (words, found)
        tried("places: something else where a file is, a command")
    if place != "app.db":
        path.unlink(missing_ok=True) if not path.is_dir() or path.is_symlink() else shutil.rmtree(path)
        with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
            assert connection.execute("SELECT count(*) FROM task").fetchone() == (300,)
