"""The engine beside Alembic: changes on a large table, and what a look costs as the schema grows.

Both do the same work on copies of one database in one run, so that their ratio means something on any machine. Nothing
passes or fails by the clock; what is asserted is that the work was done. `DRIFTD_BENCH_ROWS` (2,000,000) is the size of
the large table.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from statistics import median
from typing import TYPE_CHECKING

import pytest

from driftengine import ahead, api
from driftengine.desired import ModelSource
from driftengine.dialects.chosen import DIALECT, opened
from driftengine.session import Session
from driftengine.window import Window
from real.commands import in_release
from real.environments import environment
from support.figures import show

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

ROWS = int(os.environ.get("DRIFTD_BENCH_ROWS", "2000000"))
LOOKS = 30
ALEMBIC = ("alembic==1.20.1", "sqlalchemy==2.1.9")

OWNER = "CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n"
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
    "rebuild (type)": {"second_id": "second_id TEXT"},
}
TIGHTENS = {"NOT NULL set", "CHECK added", "foreign key added"}


def models(change: str = "") -> str:
    """The DDL, with a change in it."""
    lines = COLUMNS | CHANGES.get(change, {})
    listed = ",\n  ".join(line for line in lines.values() if line)
    return f"{OWNER}CREATE TABLE item (\n  {listed}\n);\nCREATE INDEX ix_item_title ON item (title);\n"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The filled database."""
    path = tmp_path_factory.mktemp("engine") / "large.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(models())
        connection.execute("INSERT INTO owner VALUES (1, 'a'), (2, 'b')")
        rows = ((n, f"title {n}", n % 1000, "x" * 100, n % 2 + 1, 1) for n in range(ROWS))
        connection.executemany("INSERT INTO item VALUES (?, ?, ?, ?, ?, ?)", rows)
    return path


def target_of(folder: Path, spec: str) -> api.Target:
    """The target in a folder."""
    source = ModelSource((spec,), sys.executable, directory=str(folder), pythonpath=(str(folder),))
    return api.Target("app", f"sqlite:///{folder / 'app.db'}", source, api.BackupSettings(folder / "backups"))


def staged(session: Session, target: api.Target) -> float:
    """Stages ahead, as the daemon's child does; returns the seconds."""
    session.look()
    start = time.perf_counter()
    taken = session.begin_stage()
    with closing(opened(target.url, target.models.directory)) as database:
        prepared = ahead.prepare(DIALECT, database, target, session.desired)
    session.keep(prepared, taken)
    return time.perf_counter() - start


def by_driftd(folder: Path, large: Path, change: str, *, guarded: bool) -> tuple[float, float, str]:
    """Seconds of staging, seconds of applying, and with what stage; `guarded`: somebody has committed since."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(large, folder / "app.db")
    target = target_of(folder, str(folder / "models.sql"))
    (folder / "models.sql").write_text(models(), encoding="utf-8")
    api.apply(target, allowed_by="the benchmark")  # the first meeting
    (folder / "models.sql").write_text(models(change), encoding="utf-8")
    session = Session(target)
    try:
        stage_s = staged(session, target)
        if guarded:
            with closing(sqlite3.connect(folder / "app.db")) as other, other:
                other.execute("UPDATE owner SET name = 'c' WHERE id = 1")
        start = time.perf_counter()
        document = session.start(
            Window("w_bench", time.monotonic() + 600, lambda: None, in_use=False), allowed_by="the benchmark"
        )
        apply_s = time.perf_counter() - start
    finally:
        session.close()
    assert document["outcome"] == "migrated", document
    return stage_s, apply_s, str(document["stage"])


def by_alembic(folder: Path, large: Path, change: str) -> float:
    """Seconds of the same change in batch mode, without the start of a process."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(large, folder / "app.db")
    python = environment("alembic", ALEMBIC, None)
    return float(json.loads(in_release(python, "alembic_batch.py", folder / "app.db", change))["seconds"])


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_on_a_large_table(large: Path, tmp_path: Path, change: str) -> None:
    """One change: with an exact stage, with its guard inside the window where it has one, and by Alembic's batch mode."""
    rival = by_alembic(tmp_path / "alembic", large, change)
    stage_s, exact_s, exact = by_driftd(tmp_path / "exact", large, change, guarded=False)
    lines = [
        f"{change}, {ROWS:,} rows ({large.stat().st_size / 1e6:.0f} MB): Alembic batch {rival:.2f} s",
        f"  driftd, {exact} stage: {exact_s * 1000:.1f} ms, {rival / exact_s:.0f}x faster",
        f"  staged ahead in {stage_s:.2f} s (backup, its check, rehearsal with proof)",
    ]
    assert exact == "exact"
    if change in TIGHTENS:
        _, guarded_s, stage = by_driftd(tmp_path / "guarded", large, change, guarded=True)
        lines.append(
            f"  driftd, its guard inside the window ({stage} stage): {guarded_s * 1000:.0f} ms, {rival / guarded_s:.1f}x faster"
        )
    show(*lines)


MODELS = """
from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, MetaData, String, Table, Text, text

metadata = MetaData()
for n in range({tables}):
    Table(
        f"table_{{n}}", metadata,
        Column("id", Integer, primary_key=True),
        Column("name", String(50), nullable=False, index=True),
        Column("state", String(20), server_default=text("'open'")),
        Column("amount", Integer, CheckConstraint("amount >= 0")),
        Column("note", Text),
        Column("parent_id", ForeignKey(f"table_{{max(n - 1, 0)}}.id", ondelete="CASCADE")),
        *[Column(f"more_{{m}}", Text) for m in range(4)],
    )
"""


@pytest.mark.parametrize("tables", [15, 50, 200])
def test_a_look_at_a_schema(tmp_path: Path, tables: int) -> None:
    """In a running process: nothing changed, and one table changed in the database; Alembic compares the same."""
    name = f"bench_models_{tables}"
    (tmp_path / f"{name}.py").write_text(MODELS.format(tables=tables), encoding="utf-8")
    target = target_of(tmp_path, f"{name}:metadata")
    api.apply(target, allowed_by="the benchmark")
    session, still, changed = Session(target), [], []
    try:
        assert session.look()["in_sync"]
        for _ in range(LOOKS):
            start = time.perf_counter()
            session.look()
            still.append(time.perf_counter() - start)
        for n in range(LOOKS):
            change = "ADD" if n % 2 == 0 else "DROP"
            with closing(sqlite3.connect(tmp_path / "app.db")) as other, other:
                other.execute(
                    f"ALTER TABLE table_{n // 2 % tables} {change} COLUMN extra TEXT".removesuffix(
                        "TEXT" * (n % 2)
                    )
                )
            start = time.perf_counter()
            document = session.look()
            changed.append(time.perf_counter() - start - document["timings_ms"]["probe"] / 1000)
            assert len(document["differences"]) == (change == "ADD")
    finally:
        session.close()
    arguments = (name, "metadata", str(tmp_path / "app.db"), "5")
    rival = json.loads(
        in_release(environment("alembic", ALEMBIC, None), "alembic_looks.py", str(tmp_path), *arguments)
    )
    alembic = median(rival["seconds"][1:])
    show(
        f"a look at {tables} tables, medians of {LOOKS}: nothing changed {median(still) * 1000:.3f} ms, "
        f"one table changed {median(changed) * 1000:.1f} ms (first {changed[0] * 1000:.1f}; without asking for the models)",
        f"  Alembic's compare in process {alembic * 1000:.0f} ms: {alembic / median(still):.0f}x and "
        f"{alembic / median(changed):.1f}x",
    )
