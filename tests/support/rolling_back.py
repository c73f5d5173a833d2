"""Migrations and their rollbacks through the engine's own door, in few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftengine import api

if TYPE_CHECKING:
    from support.migrations import House

T = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INTEGER)"
ROWS = "INSERT INTO t VALUES (1, 'a', 10), (2, 'b', NULL), (3, 'c', 30)"
WITHOUT_N = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)"
WITH_X = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INTEGER, x TEXT)"
MANY = (
    "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000) "
    "INSERT INTO t SELECT i, 'row ' || i, i * 7 FROM c"
)


def begun(house: House, ddl: str = T, rows: str = ROWS) -> None:
    """The service made its database, and the models agree."""
    house.run(f"{ddl}; {rows}")
    house.models(ddl)
    assert house.apply()["outcome"] == "up_to_date"


def migrated(house: House, models: str, **settings: Any) -> str:
    """The models move on, whatever is held is approved; the migration's id."""
    house.models(models)
    waiting = api.apply(house.target(**settings), dry_run=True)["held"]
    document = house.apply(*{one["code"] for one in waiting}, **settings)
    assert document["outcome"] == "migrated", document
    assert not document["held"], document
    return str(document["migration_id"])


def back(house: House, **how: Any) -> dict[str, Any]:
    """`driftd rollback`."""
    return api.rollback(house.target(), allowed_by="a test", **how)


def whole(house: House, *approve: str, **how: Any) -> dict[str, Any]:
    """A rollback that has to take everything back."""
    document = back(house, approve=approve, **how)
    assert document["outcome"] == "migrated", document
    assert (document["held"], document["blocked"], document["undoes"]["left"]) == ([], [], []), document
    return document


def codes(document: dict[str, Any]) -> list[tuple[str, str]]:
    """The kind and the code of what is held."""
    return [(one["kind"], one["code"]) for one in document["held"]]


def undone(house: House) -> list[list[int]]:
    """What the history says is taken back, of each of its rows that did something."""
    told = api.history(house.target())["migrations"]
    return [one["undone"] for one in told if one["migration_id"]]


def names(house: House) -> set[str]:
    """The names of all stored objects, without driftd's own."""
    return {name for (name,) in house.ask("SELECT name FROM sqlite_schema WHERE tbl_name NOT LIKE 'driftd%'")}
