"""Changes on a large table beside Alembic's batch mode and sqlite-utils, and one of them taken back.

All do the same work on copies of one database, by turns. Nothing passes or fails by the clock; what is asserted is that the
work was done.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from bench.rivals import ALEMBIC, SQLITE_UTILS, Rival
from driftengine import ahead, api
from driftengine.desired import ModelSource
from driftengine.dialects.chosen import DIALECT, opened
from driftengine.session import Session
from driftengine.window import Window
from support.bench_record import record
from support.figures import ROWS, TURNS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

OWNER = "CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n"
TITLE = "CREATE INDEX ix_item_title ON item (title);\n"
COLUMNS = {
    "id": "id INTEGER NOT NULL PRIMARY KEY",
    "title": "title TEXT NOT NULL",
    "amount": "amount INTEGER DEFAULT 3",
    "note": "note TEXT",
    "owner_id": "owner_id INTEGER",
    "second_id": "second_id INTEGER",
    "ck": "CONSTRAINT ck_amount CHECK (amount < 1000000)",
    "fk": "CONSTRAINT fk_owner FOREIGN KEY(owner_id) REFERENCES owner (id)",
}
CHANGES: dict[str, dict[str, str | None]] = {
    "default changed": {"amount": "amount INTEGER DEFAULT 7"},
    "CHECK dropped": {"ck": None},
    "foreign key dropped": {"fk": None},
    "NOT NULL dropped": {"title": "title TEXT"},
    "NOT NULL set": {"note": "note TEXT NOT NULL"},
    "CHECK added": {"more": "CONSTRAINT ck_note CHECK (length(note) < 1000)"},
    "foreign key added": {"more": "CONSTRAINT fk_second FOREIGN KEY(second_id) REFERENCES owner (id)"},
    "type changed (copy)": {"second_id": "second_id TEXT"},
    "column added": {"second_id": "second_id INTEGER, extra TEXT"},
    "column renamed": {"note": "remark TEXT"},
    "index created": {},
}
TIGHTENS = {"NOT NULL set", "CHECK added", "foreign key added"}
PLAIN = {"column added", "column renamed", "index created"}  # SQLite can do it by itself: nothing is promised
WITHOUT_A_CALL = {"CHECK dropped", "CHECK added"}  # in sqlite-utils
RENAMES = {"column renamed": {"item.note": "remark"}}


def models(change: str = "") -> str:
    """The DDL, with a change in it."""
    lines = COLUMNS | CHANGES.get(change, {})
    # Columns before constraints, whatever was changed.
    listed = ",\n  ".join(sorted(filter(None, lines.values()), key=lambda one: one.startswith("CONSTRAINT")))
    more = "CREATE INDEX ix_item_amount ON item (amount);\n" if change == "index created" else ""
    return f"{OWNER}CREATE TABLE item (\n  {listed}\n);\n{TITLE}{more}"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The filled database."""
    path = tmp_path_factory.mktemp("large") / "large.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(models())
        connection.execute("INSERT INTO owner VALUES (1, 'a'), (2, 'b')")
        rows = ((n, f"title {n}", n % 1000, "x" * 100, n % 2 + 1, 1) for n in range(ROWS))
        connection.executemany("INSERT INTO item VALUES (?, ?, ?, ?, ?, ?)", rows)
    return path


def size_of(large: Path) -> str:
    """How large it is."""
    return f"{ROWS:,} rows, {large.stat().st_size / 1e6:.0f} MB"


def copied(folder: Path, large: Path) -> Path:
    """A folder of its own with a copy of the database in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(large, folder / "app.db")
    return folder / "app.db"


def target_of(folder: Path, change: str = "") -> api.Target:
    """The target in a folder."""
    source = ModelSource((str(folder / "models.sql"),), sys.executable, directory=str(folder))
    renames = {"item.remark": "note"} if change == "column renamed" else {}
    backup = api.BackupSettings(folder / "backups")
    return api.Target("app", f"sqlite:///{folder / 'app.db'}", source, backup, renames=renames)


def staged(session: Session, target: api.Target) -> float:
    """Stages ahead, as the daemon's child does; returns the seconds."""
    session.look()
    began = time.perf_counter()
    taken = session.begin_stage()
    with closing(opened(target.url, target.models.directory)) as database:
        prepared = ahead.prepare(DIALECT, database, target, session.desired)
    session.keep(prepared, taken)
    return time.perf_counter() - began


def met(folder: Path, large: Path, change: str) -> api.Target:
    """A copy that driftd has met, and models that have changed since."""
    copied(folder, large)
    (folder / "models.sql").write_text(models(), encoding="utf-8")
    api.apply(target_of(folder), allowed_by="the benchmark")  # the first meeting
    (folder / "models.sql").write_text(models(change), encoding="utf-8")
    return target_of(folder, change)


def by_driftd(folder: Path, large: Path, change: str, *, guarded: bool) -> tuple[float, float, str]:
    """Seconds of staging, seconds of applying, and with what stage; `guarded`: somebody has committed since."""
    target = met(folder, large, change)
    session = Session(target)
    try:
        stage_s = staged(session, target)
        if guarded:
            with closing(sqlite3.connect(folder / "app.db")) as other, other:
                other.execute("UPDATE owner SET name = 'c' WHERE id = 1")
        window = Window("w_bench", time.monotonic() + 600, lambda: None, in_use=False)
        began = time.perf_counter()
        document = session.start(window, allowed_by="the benchmark")
        apply_s = time.perf_counter() - began
    finally:
        session.close()
    assert document["outcome"] == "migrated", document
    assert not document["held"], document
    return stage_s, apply_s, str(document["stage"])


def by_rival(rival: Rival, folder: Path, large: Path, change: str) -> float:
    """Seconds of the same by somebody else."""
    database = copied(folder, large)
    before = stored(database)
    seconds = rival.seconds(database=str(database), change=change)
    assert stored(database) != before
    shutil.rmtree(folder)
    return seconds


def stored(database: Path) -> list[tuple[str]]:
    """Its DDL."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT sql FROM sqlite_schema ORDER BY name").fetchall()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_on_a_large_table(large: Path, tmp_path: Path, change: str) -> None:
    """One change by turns: with an exact stage, with its guard inside the window where it has one, and by both rivals."""
    exact: list[float] = []
    guarded: list[float] = []
    stages: list[float] = []
    rivals: dict[str, list[float]] = {}
    with ExitStack() as stack:
        asked = {"Alembic batch": stack.enter_context(Rival(ALEMBIC, "alembic_changes.py"))}
        if change not in WITHOUT_A_CALL:
            asked["sqlite-utils"] = stack.enter_context(Rival(SQLITE_UTILS, "sqlite_utils_changes.py"))
        for _ in range(TURNS):
            for name, rival in asked.items():
                rivals.setdefault(name, []).append(by_rival(rival, tmp_path / "rival", large, change))
            stage_s, exact_s, stage = by_driftd(tmp_path / "exact", large, change, guarded=False)
            assert stage == "exact"
            stages.append(stage_s)
            exact.append(exact_s)
            if change in TIGHTENS:
                _, guarded_s, _ = by_driftd(tmp_path / "guarded", large, change, guarded=True)
                guarded.append(guarded_s)
    heading, budget = "One change on a large table", "rebuild" if "copy" in change else "exact"
    record(
        heading,
        f"{change}, exact stage",
        size_of(large),
        exact,
        rivals=rivals,
        budget="" if change in PLAIN else budget,
    )
    if guarded:
        what = f"{change}, guard in the window"
        record(heading, what, size_of(large), guarded, rivals=rivals, budget="guarded")
    record(
        "Staging ahead, while nobody waits", f"{change}: backup, its check, rehearsal, proof", size_of(large),
        stages, unit="s", times=1, rivals=rivals,
    )  # fmt: skip


def test_a_rollback_of_a_column(large: Path, tmp_path: Path) -> None:
    """A column with its values comes back from the backup while the rows that came since stay; whole, with its own backup."""
    taken, restored = [], []
    for _ in range(TURNS):
        folder = tmp_path / "rollback"
        target = met(folder, large, "")
        (folder / "models.sql").write_text(models().replace("  note TEXT,\n", ""), encoding="utf-8")
        dropped = api.apply(target, allowed_by="the benchmark", approve=("drop-column",))
        assert dropped["outcome"] == "migrated", dropped
        with closing(sqlite3.connect(folder / "app.db")) as other, other:
            other.execute("INSERT INTO item (title) VALUES ('since')")
        began = time.perf_counter()
        document = api.rollback(target, allowed_by="the benchmark")
        taken.append(time.perf_counter() - began)
        assert document["outcome"] == "migrated", document
        with closing(sqlite3.connect(folder / "app.db")) as reading:
            counts = reading.execute("SELECT count(*), count(note) FROM item").fetchone()
        assert counts == (ROWS + 1, ROWS)
        began = time.perf_counter()
        shutil.copyfile(large, folder / "restored")
        restored.append(time.perf_counter() - began)
    record(
        "Taking back",
        "a dropped column, rows since kept",
        size_of(large),
        taken,
        unit="s",
        times=1,
        rivals={"a copy of the file": restored},
        rates=False,
        note="with a backup of its own, a rehearsal on a copy and the proof of every row; a plain copy would lose the rows since",
    )
