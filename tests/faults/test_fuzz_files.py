"""Every file and row that driftd reads back, altered: no command fails unforeseen, nothing is lost, no false "in sync"."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftengine import approvals, journal, memory
from driftengine.backup_files import folder_for
from driftengine.history import COLUMNS, TABLE, Row, row_hash
from driftengine.manifest import _seal
from settled import settle
from support.random_bytes import VALUES, altered_bytes, altered_json, altered_text
from support.random_depth import depth
from support.sidecars import CONFIGURATION
from support.tries import tried
from support.typed import at_home, foreseen, typed

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = """\
CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT, state TEXT DEFAULT 'open');
CREATE TABLE note (id INTEGER PRIMARY KEY, task INTEGER REFERENCES task (id), body TEXT);
"""
OLD = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT); INSERT INTO task VALUES (1, 'a'), (2, 'b');"
ROWS = [(1, "a"), (2, "b")]
COMMANDS = (
    "check", "check --json", "check --fresh", "plan", "status", "history", "history --json", "history verify", "backup list",
    "backup list --json", "backup verify", "doctor", "apply --dry-run", "apply", "rollback --dry-run", "rollback",
    "backup prune", "backup create", "adopt task.title", "revert --dry-run", "revert",
)  # fmt: skip
SEEDS = st.integers(0, 2**32 - 1)


class Kept:
    """A service that driftd has migrated once, with all that it has written since."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "app.db"

    @property
    def backups(self) -> Path:
        """Where its backups and its journal are."""
        return folder_for(self.folder / "backups", os.path.realpath(self.database))

    @property
    def manifest(self) -> Path:
        """The manifest of its one backup."""
        return next(self.backups.glob("backup_*.json"))

    @property
    def remembered(self) -> list[Path]:
        """The files in which processes remember for each other."""
        return sorted((self.folder / ".cache" / "driftd" / "desired").glob("*.json"))

    def holds_its_rows(self) -> None:
        """What the service wrote is there, and the file is sound."""
        with closing(sqlite3.connect(self.database)) as connection:
            assert connection.execute("SELECT id, title FROM task ORDER BY id").fetchall() == ROWS
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    def in_step(self) -> bool:
        """What plain SQLite says of it."""
        with closing(sqlite3.connect(self.database)) as connection:
            columns = {row[1] for row in connection.execute("PRAGMA table_info(task)")}
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        return columns == {"id", "title", "state"} and "note" in tables


@pytest.fixture(scope="module")
def origin() -> Iterator[Path]:
    """The folder as it is before anybody alters it; copies take its place, so that absolute paths in files stay true."""
    place = Path(tempfile.mkdtemp(prefix="driftd-fuzz-"))
    home = place / "home"
    home.mkdir()
    (home / "driftd.toml").write_text(CONFIGURATION.format(mode="window"), encoding="utf-8")
    (home / "models.sql").write_text(MODELS, encoding="utf-8")
    with closing(sqlite3.connect(home / "app.db")) as connection:
        connection.executescript(OLD)
    with pytest.MonkeyPatch.context() as patch:
        at_home(patch, dict(os.environ), home)
        assert typed(home, "apply").code == 0
        settle(home)  # an answer over files that are too young is not remembered
        assert typed(home, "check").code == 0
        home.rename(place / "origin")
        yield place / "origin"
    shutil.rmtree(place)


def attacked(origin: Path, what: str, alter: str, seed: int) -> None:
    """One try: a fresh copy, one file altered, some commands, and what must be true then."""
    chance, home = Random(seed), origin.with_name("home")  # noqa: S311 - the same tries for the same seed
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(origin, home)
    with pytest.MonkeyPatch.context() as patch:
        at_home(patch, dict(os.environ), home)
        kept = Kept(home)
        ALTERATIONS[alter](chance, kept)
        for words in chance.sample(COMMANDS, 4):
            finished = typed(home, *words.split())
            assert not (found := foreseen(finished)), (words, found)
            kept.holds_its_rows()
            if words.startswith("check") and finished.code == 0:
                assert kept.in_step(), (words, finished.out)
    tried(what)


def _manifest(chance: Random, kept: Kept) -> None:
    path = kept.manifest
    if chance.random() < 0.6:  # by somebody who knows how it is sealed
        document = altered_json(chance, json.loads(path.read_text()))
        if isinstance(document, dict):
            document.pop("seal", None)
            document["seal"] = _seal(document)
        path.write_text(json.dumps(document))
    else:
        altered_text(chance, path, path.read_bytes())


def _journal(chance: Random, kept: Kept) -> None:
    path = kept.backups / journal.NAME
    lines = path.read_text().splitlines()
    place = chance.randrange(len(lines))
    if chance.random() < 0.3:
        path.write_bytes(altered_bytes(chance, path.read_bytes()))
        return
    line = altered_json(chance, json.loads(lines[place]))
    if isinstance(line, dict) and chance.random() < 0.5:
        events = (
            "approved",
            "withdrawn",
            "restoring",
            "restored",
            "migrated",
            "failed",
            "pruned",
            "unheard of",
        )
        line["event"] = chance.choice(events)
    lines[place : place + chance.randrange(2)] = [json.dumps(line)]
    path.write_text("\n".join(lines) + "\n")


def _remembered(chance: Random, kept: Kept) -> None:
    path = chance.choice(kept.remembered)
    if chance.random() < 0.5:
        path.write_bytes(altered_bytes(chance, path.read_bytes()))
    elif chance.random() < 0.5:
        first, second = kept.remembered  # each is sound, and in the other one's place
        raw = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(raw)
    else:
        document = memory.read(path)
        del document[chance.choice(sorted(document))]
        memory.write(path, document)


def _history(chance: Random, kept: Kept) -> None:
    with closing(sqlite3.connect(kept.database, isolation_level=None)) as connection:
        kind = chance.random()
        if kind < 0.6:
            (document,) = connection.execute(f"SELECT document FROM {TABLE}").fetchone()
            text = json.dumps(altered_json(chance, json.loads(document)))
            connection.execute(f"UPDATE {TABLE} SET document = ?", (text,))
        elif kind < 0.8:
            column = chance.choice(COLUMNS)
            value = chance.choice([b"\xff\0", "", 0, -5, 1e999, "\0", "[" * 100_000, "x" * 100_000, None])
            with suppress(sqlite3.Error):
                connection.execute(f"UPDATE {TABLE} SET {column} = ?", (value,))
        else:
            with suppress(sqlite3.Error):
                connection.executescript(chance.choice(OTHER_TABLES))
                return
        if chance.random() < 0.5:  # by somebody who knows how it is sealed
            row = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM {TABLE}").fetchone()
            with suppress(TypeError, ValueError):
                connection.execute(f"UPDATE {TABLE} SET hash = ?", (row_hash(Row(*row)),))


#: What stands where the history was.
OTHER_TABLES = (
    f"UPDATE {TABLE} SET id = -9223372036854775808",
    f"INSERT INTO {TABLE} SELECT id + 5, kind, NULL, at, document, previous, hash FROM {TABLE}",
    f"DELETE FROM {TABLE}",
    f"DROP TABLE {TABLE}",
    f"DROP TABLE {TABLE}; CREATE VIEW {TABLE} AS SELECT 1 AS id",
    f"DROP TABLE {TABLE}; CREATE TABLE {TABLE} ({', '.join(COLUMNS)}); INSERT INTO {TABLE} (id) VALUES (NULL)",
    f"ALTER TABLE {TABLE} DROP COLUMN document",
)
ALTERATIONS = {"manifest": _manifest, "journal": _journal, "memory": _remembered, "history": _history}


@given(alter=st.sampled_from(sorted(ALTERATIONS)), seed=SEEDS)
@depth(70)
def test_what_is_read_back_may_hold_anything(origin: Path, alter: str, seed: int) -> None:
    """Altered with their seals or without: every command ends foreseen, the service's rows stay, no false "in sync"."""
    attacked(origin, "files read back: altered, then 4 commands", alter, seed)


@pytest.mark.parametrize("value", [one for one in VALUES if not isinstance(one, dict)], ids=repr)
def test_an_approval_of_any_shape_approves_nothing(tmp_path: Path, value: object) -> None:
    """A line of the journal whose members are of another kind is passed over, and ends what was approved before it."""
    path = tmp_path / journal.NAME
    detail = {"plan_id": "p", "operations": ["p-1"], "by": "a person", "counts": {"p-1": 1}}
    line = json.loads(journal.encode(journal.Record("approved", "2026-01-31T12:00:00.000Z", detail=detail)))
    path.write_text(json.dumps(line) + "\n")
    assert set(approvals.given(tmp_path)["p"]) == {"p-1"}
    line["detail"] = {"plans": value}
    path.write_text(f"{path.read_text()}{json.dumps({**line, 'event': 'withdrawn'})}\n")
    found = journal.read(path)
    assert (len(found.records), found.breaks) == ((2, ()) if value == [] else (1, (1,)))
    assert bool(approvals.given(tmp_path)) == (value == [])
