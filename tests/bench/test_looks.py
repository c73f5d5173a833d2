"""What a look costs in a running process as the schema grows, beside Alembic's compare.

Nothing passes or fails by the clock; what is asserted is that the work was done.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from bench.rivals import ALEMBIC, Rival
from driftengine import api
from driftengine.desired import ModelSource
from driftengine.session import Session
from support.bench_record import record
from support.figures import TABLES, TURNS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

STILL = 20  # looks with nothing changed beside one of Alembic's
HEADING = "A look in a running process"
RIVAL = "Alembic's compare"
SETTLED = 0.06  # seconds; by then a file's times tell every later write from the last one
SOON = "within the tick of the file system's clock in which it was written, a file may change and look the same: it is opened"

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


def target_of(folder: Path, name: str) -> api.Target:
    """The target in a folder."""
    source = ModelSource(
        (f"{name}:metadata",), sys.executable, directory=str(folder), pythonpath=(str(folder),)
    )
    return api.Target("app", f"sqlite:///{folder / 'app.db'}", source, api.BackupSettings(folder / "backups"))


def changed(session: Session, database: Path, number: int) -> float:
    """Seconds of a look after somebody has added a column to one table, or taken it away again."""
    statement = ("ADD COLUMN extra TEXT", "DROP COLUMN extra")[number % 2]
    with closing(sqlite3.connect(database)) as other, other:
        other.execute(f"ALTER TABLE table_{number // 2} {statement}")
    began = time.perf_counter()
    document = session.look()
    probed: float = document["timings_ms"]["probe"] / 1000
    took = time.perf_counter() - began - probed
    assert len(document["differences"]) == (number % 2 == 0)
    return took


def looked(session: Session) -> float:
    """Seconds that a look takes."""
    began = time.perf_counter()
    session.look()
    return time.perf_counter() - began


@pytest.mark.parametrize("tables", [n for n in (15, 50, 200, 500, 1000) if n <= TABLES])
def test_a_look_at_a_schema(tmp_path: Path, tables: int) -> None:
    """Nothing changed, nothing since a commit of this moment, and one table changed in the database; Alembic compares the same, by turns."""
    name, database = f"bench_models_{tables}", tmp_path / "app.db"
    (tmp_path / f"{name}.py").write_text(MODELS.format(tables=tables), encoding="utf-8")
    target = target_of(tmp_path, name)
    began = time.perf_counter()
    api.apply(target, allowed_by="the benchmark")
    made = time.perf_counter() - began
    still: list[float] = []
    soon: list[float] = []
    moved: list[float] = []
    theirs: list[float] = []
    session = Session(target)
    try:
        began = time.perf_counter()
        assert session.look()["in_sync"]
        first = time.perf_counter() - began
        with Rival(ALEMBIC, "alembic_looks.py", tmp_path, name, "metadata", database) as alembic:
            alembic.seconds()  # the first one fills caches
            for turn in range(TURNS if tables > 200 else 2 * TURNS):
                theirs.append(alembic.seconds())
                time.sleep(SETTLED)
                still.extend(looked(session) for _ in range(STILL))
                moved.extend(changed(session, database, number) for number in (4 * turn, 4 * turn + 1))
                moved.extend(changed(session, database, number) for number in (4 * turn + 2, 4 * turn + 3))
                soon.append(looked(session))
    finally:
        session.close()
    size = f"{tables:,} tables, {tables * 10:,} columns"
    record(HEADING, "nothing changed", size, still, rivals={RIVAL: theirs}, budget="look")
    record(HEADING, "nothing changed, a commit just before", size, soon, rivals={RIVAL: theirs}, note=SOON)
    record(HEADING, "one table changed", size, moved, rivals={RIVAL: theirs}, budget="look-changed")
    record(HEADING, "the first look, models loaded", size, [first])
    record(HEADING, "all of it created in an empty file", size, [made], unit="s", times=1)
