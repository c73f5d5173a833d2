"""Schemas that are larger than anybody's: many tables, wide ones, long DDL. All of it works, and grows as its size does."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from driftengine import api
from driftengine.changes import Script, Step
from driftengine.dialects.sqlite import rehearsal
from driftengine.dialects.sqlite.conditions import all_of, any_of
from support.migrations import House
from support.sidecars import house, running
from support.wide_schemas import indexed, tables, verbose, wide

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

TABLES = 300
PAGE = 60  # lines that a person reads
WIDEST = 1_998  # columns beside the key and one that comes: SQLite allows 2,000

pytestmark = pytest.mark.timeout(400)


def rolled_back(home: House) -> dict[str, Any]:
    """`driftd rollback`."""
    return api.rollback(home.target(), allowed_by="a test")


def stored(home: House) -> list[tuple[Any, ...]]:
    """What the catalogue holds, driftd's own table left out. `House.everything` cannot read a table of 500 columns."""
    return home.ask("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE '%driftd%' ORDER BY name")


def test_three_hundred_tables_by_hand(tmp_path: Path) -> None:
    """check, plan, apply and rollback are right, and say it in lines that a person reads."""
    sidecar = house(tmp_path, models=tables(TABLES))
    assert sidecar.command("apply").code == 0
    assert sidecar.command("check").code == 0
    (tmp_path / "models.sql").write_text(tables(TABLES, "more TEXT", every=10), encoding="utf-8")
    for words in (["check"], ["plan"], ["apply"], ["check"], ["history"], ["rollback"]):
        done = sidecar.command(*words)
        assert done.code == (1 if words in (["check"], ["plan"]) and "more" in done.out else 0), (words, done)
        lines = done.out.splitlines()
        assert len(lines) <= 4 * TABLES, (words, len(lines))
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        left = connection.execute(
            "SELECT count(*) FROM sqlite_schema WHERE sql LIKE '%more TEXT%'"
        ).fetchone()
    assert left == (0,)


def test_three_hundred_tables_in_the_daemon(tmp_path: Path) -> None:
    """A change of one is staged and of all; status stays a page."""
    sidecar = house(tmp_path, models=tables(TABLES))
    assert sidecar.command("apply").code == 0
    with running(sidecar):
        sidecar.state("in_sync")
        (tmp_path / "models.sql").write_text(tables(TABLES, "more TEXT", every=3), encoding="utf-8")
        assert len(sidecar.state("ready")["plan"]["operations"]) == TABLES // 3
        status = sidecar.command("status")
        assert len(status.out.splitlines()) <= PAGE, status.out
        assert "operations" in status.out


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (wide(WIDEST - 1), wide(WIDEST, "INTEGER")),
        (wide(700), wide(700, "INTEGER")),
        (indexed(999), indexed(1_000)),
        (verbose(1_000_000), verbose(1_000_000, "b")),
    ],
    ids=["1,998 columns", "700 columns", "1,000 indexes", "1 MB of DDL"],
)
def test_a_table_at_the_limits(tmp_path: Path, before: str, after: str) -> None:
    """It is made, found in step, changed with its rows, and taken back."""
    home = House(tmp_path)
    home.models(before)
    assert home.apply()["outcome"] == "migrated"
    assert home.check()["in_sync"]
    name = before.partition(" (")[0].removeprefix("CREATE TABLE ")
    home.run(f"INSERT INTO {name} (id) VALUES (1), (2), (7)")
    as_it_was = stored(home)
    home.models(after)
    done = home.apply()
    assert (done["outcome"], done["held"]) == ("migrated", []), done["error"]
    assert home.check()["in_sync"]
    assert home.ask(f"SELECT id FROM {name}") == [(1,), (2,), (7,)]
    done = rolled_back(home)
    assert (done["outcome"], done["held"]) == ("migrated", []), done["error"]
    assert stored(home) == as_it_was


@pytest.mark.parametrize("columns", [700, 1_500])
def test_a_lost_value_in_a_wide_table_is_found(tmp_path: Path, columns: int) -> None:
    """The rehearsal's proof sees one value of many that is another one, and says so; and that nothing else is."""
    with closing(sqlite3.connect(tmp_path / "backup.db", isolation_level=None)) as connection:
        connection.execute(wide(columns))
        connection.execute("INSERT INTO wide (id, c0) VALUES (1, 'x'), (2, 'y')")
    for statement, found in (
        (
            f"UPDATE wide SET c{columns - 1} = '' WHERE id = 2",
            ["1 rows of wide hold other values after the change"],
        ),
        ("UPDATE wide SET c0 = c0", []),
    ):
        script = Script((Step(statement, (1, 2), frozenset({"wide"})),), frozenset({"wide"}))
        outcome = rehearsal.rehearse(
            tmp_path / "backup.db", tmp_path, script, journal_mode="delete", finish=lambda _: None, values={}
        )
        assert (outcome.failure, [one.text for one in outcome.problems]) == ("", found)


@pytest.mark.parametrize("terms", [0, 1, 2, 8, 9, 17, 500, 1_999])
def test_conditions_over_many_columns(terms: int) -> None:
    """As a chain of them would be, in a tree that SQLite takes."""
    throws = random.Random(terms)  # noqa: S311  # the same tries each time
    with closing(sqlite3.connect(":memory:")) as connection:
        for _ in range(5):
            values = [throws.choice("01") for _ in range(terms)]
            (found,) = connection.execute(f"SELECT {any_of(values)}, {all_of(values)}").fetchall()
            assert found == ("1" in values, "0" not in values)


def test_a_plan_grows_with_its_operations(tmp_path: Path) -> None:
    """Four times the tables, each with several changes that look at each other, are nowhere near sixteen times the work."""

    def planned(count: int) -> tuple[float, int]:
        folder = tmp_path / str(count)
        folder.mkdir()
        home = House(folder)
        home.models(tables(count))
        home.apply()
        changed = tables(count, "more TEXT").replace("VARCHAR(40) NOT NULL", "VARCHAR(50)")
        home.models(changed.replace("(c0, c1)", "(c0, more)"))
        return _processor_s(home.plan)

    small, operations = planned(60)
    large, more = planned(240)
    assert more == 4 * operations
    assert large <= 10 * small


def _processor_s(work: Callable[[], dict[str, Any]]) -> tuple[float, int]:
    """Seconds of the processor, the best of three, and how many operations came out."""
    spent = []
    for _ in range(3):
        since = time.process_time()
        document = work()
        spent.append(time.process_time() - since)
    return min(spent), len(document["plan"]["operations"])
