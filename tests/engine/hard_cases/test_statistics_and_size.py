"""What queries are planned by, and what a replica has to send: kept where it can be kept, small where it can be small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.identical import image

if TYPE_CHECKING:
    from support.hard_cases import Rig

T = """CREATE TABLE "big one"(id INTEGER PRIMARY KEY, k TEXT, n INT, a TEXT, q INT CHECK (q > 0));
CREATE INDEX "by k" ON "big one"(k, n); CREATE INDEX part ON "big one"(n) WHERE n > 5; CREATE TABLE other(k TEXT PRIMARY KEY) WITHOUT ROWID;"""
ROWS = """WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 6000)
INSERT INTO "big one" SELECT i, 'k' || (i % 7), i % 20, '' || i, i FROM s;
INSERT INTO other SELECT DISTINCT k FROM "big one"; ANALYZE;"""


@pytest.mark.parametrize(
    ("old", "new", "strategy"),
    [
        ("a TEXT", "a INTEGER", "rebuild"),
        ("CHECK (q > 0)", "CHECK (q > -1)", "catalog"),
        ("a TEXT", "a TEXT, z INT DEFAULT 1", "native"),
    ],
)
def test_statistics_stay_for_the_plans_of_queries(rig: Rig, old: str, new: str, strategy: str) -> None:
    """What ANALYZE found for the table, its indexes and its neighbours is there afterwards, and ANALYZE is not run again."""
    rig.begin(T, ROWS)
    query = "EXPLAIN QUERY PLAN SELECT * FROM \"big one\" WHERE k = 'k1' AND n = 6"
    before, planned = image(rig.database).statistics, rig.ask(query)
    assert len(before) >= 3
    document = rig.migrated(T.replace(old, new), objects=["big one"], columns=["big one.a", "big one.z"])
    assert [one["strategy"] for one in document["applied"]] == [strategy]
    assert image(rig.database).statistics == before
    assert rig.ask(query) == planned


def test_statistics_of_what_went_are_gone(rig: Rig) -> None:
    """Those of a dropped index are not left to mislead; those of the rest are not lost with them."""
    rig.met(T, ROWS)
    rig.models(T.replace('CREATE INDEX "by k" ON "big one"(k, n);', ""))
    assert rig.apply()["outcome"] == "migrated"
    names = {row[1] for row in image(rig.database).statistics}
    assert "by k" not in names
    assert "part" in names


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("CHECK (q > 0)", "CHECK (q >= 0)"),
        ("k TEXT", "k TEXT NOT NULL"),
        ("a TEXT", "a VARCHAR(30) DEFAULT 'x'"),
        ("a TEXT", "a TEXT, z INT NOT NULL DEFAULT 1"),
    ],
)
def test_what_needs_no_copy_writes_a_handful_of_pages(wal_rig: Rig, old: str, new: str) -> None:
    """Neither the table nor the file is rewritten: a replica that follows the log has next to nothing to send."""
    rig = wal_rig
    rig.met(T, ROWS)
    rig.service("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = rig.service("PRAGMA page_count")[0][0]
    assert pages > 60
    rig.models(T.replace(old, new))
    assert rig.apply()["outcome"] == "migrated"
    frames = rig.database.with_name("app.db-wal").stat().st_size // 4096
    assert 0 < frames < pages / 3
    assert rig.service("PRAGMA page_count")[0][0] < pages + 10


def test_nothing_is_vacuumed_or_reset(rig: Rig) -> None:
    """Free pages, settings of the file and the application's own numbers are what they were, whatever was done."""
    rig.begin(
        T, ROWS + 'PRAGMA user_version = 42; PRAGMA application_id = 7; DELETE FROM "big one" WHERE id % 2;'
    )
    after = T.replace("a TEXT", "a INTEGER").replace("q > 0", "q > -1") + "CREATE TABLE fresh(x);"
    rig.models(after)
    statements = " ".join(str(one["sql"]) for one in rig.plan()["plan"]["operations"]).upper()
    assert not {"VACUUM", "REINDEX", "ANALYZE"} & set(statements.split())
    rig.migrated(after, objects=["big one", "fresh"], columns=["big one.a"])
    assert image(rig.database).settings["user_version"] == 42
