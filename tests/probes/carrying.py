"""What is done with a probe: a database made by `before`, the way to `after`, and the way back, each looked at closely."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, create_engine

from driftengine.changes import folded
from driftengine.desired import read_desired
from driftengine.dialects.chosen import DIALECT, opened
from driftengine.survey import survey
from probes.words import HEAD, code_of
from support.witness import assert_settled, photograph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from driftengine.changes import Difference
    from probes.record import Probe
    from support.migrations import House
    from support.witness import Photograph

_OWN_TABLES = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'driftd_history'"


def built(text: str) -> str:
    """The script of what `create_all` builds of these models, in the order in which it did."""
    names: dict[str, Any] = {"m": MetaData()}
    # Not inherited: under this file's own future import SQLAlchemy would be given annotations as text.
    exec(compile(HEAD + code_of(text), "models", "exec", dont_inherit=True), names)  # noqa: S102  # the models of these probes
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        names["m"].create_all(connection)
        rows = connection.exec_driver_sql(
            "SELECT sql FROM sqlite_schema AS m WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND NOT EXISTS"
            " (SELECT 1 FROM pragma_table_list AS l WHERE l.name = m.name AND l.type = 'shadow') ORDER BY m.rowid"
        ).fetchall()
    engine.dispose()
    return ";\n".join(row[0] for row in rows) + ";\n"


def carry_there_and_back(house: House, probe: Probe, before: str, after: str) -> None:
    """The change is seen, is done, and loses nothing; so is the change back. `before` and `after` are DDL."""
    ready(house, before, probe.rows)
    for models, expected in ((after, probe.found), (before, probe.back)):
        house.models(models)
        assert sorted(map(told, differences(house))) == sorted(expected)
        seen = house.check()
        assert sorted(map(_shown, seen["differences"])) == sorted(_without_aspect(one) for one in expected)
        carry_out(house, seen)


def ready(house: House, before: str, rows: str) -> None:
    """A database that `before` made, met by driftd without any drift, with rows in each table that takes them."""
    house.run(before)
    house.models(before)
    seen = house.check()
    assert seen["differences"] == []
    assert seen["in_sync"]
    assert seen["unmanaged"] == []
    assert house.apply()["outcome"] == "up_to_date"
    fill(house, rows)


def fill(house: House, rows: str) -> None:
    """For each character a row of it in every column, in every table that lets it in; parents are not asked for."""
    with closing(sqlite3.connect(house.database)) as connection:
        for (table,) in connection.execute(_OWN_TABLES).fetchall():
            columns = connection.execute(
                "SELECT count(*) FROM pragma_table_xinfo(?) WHERE hidden = 0", (table,)
            ).fetchone()[0]
            name = table.replace('"', '""')
            for row in rows:
                connection.execute(f'INSERT OR IGNORE INTO "{name}" VALUES ({", ".join(row * columns)})')
        connection.commit()


def differences(house: House) -> tuple[Difference, ...]:
    """The differences themselves, which say more than their documents."""
    target = house.target()
    with closing(opened(target.url, target.models.directory)) as database:
        found = survey(DIALECT, database, target, read_desired(target.models))
    return found.drift.differences


def told(difference: Difference) -> str:
    """A difference in the words of a probe."""
    place = (
        difference.table or difference.name
        if difference.object in {"table", "view"}
        else f"{difference.table}.{difference.name}"
    )
    return " ".join(
        filter(None, [difference.change, difference.object, place.rstrip("."), difference.aspect])
    )


def _shown(document: dict[str, str]) -> str:
    """A difference as `check --json` shows it, which has no word for the aspect."""
    table = folded(document["table"])  # as it is spelled; a difference has it folded
    alone = document["object"] in {"table", "view"}
    place = table or document["name"] if alone else f"{table}.{document['name']}"
    return f"{document['change']} {document['object']} {place.rstrip('.')}"


_ASPECTS = re.compile(r" (type|not_null|default|collation|generated|autoincrement|without_rowid|strict)$")


def _without_aspect(difference: str) -> str:
    return _ASPECTS.sub("", difference)


def carry_out(house: House, seen: dict[str, Any]) -> None:
    """All of the plan is done, what waits for a person with approval; every value is kept, and a second start does nothing."""
    operations = seen["plan"]["operations"]
    held = sorted({one["code"] for one in operations if one["held"] and not one["waits_for"]})
    moved = differences(house)
    before = photograph(house)
    done = house.apply(*held)
    assert (done["error"], done["held"], done["blocked"]) == (None, [], [])
    assert sorted(one["kind"] for one in done["applied"]) == sorted(one["kind"] for one in operations)
    assert_settled(house)
    assert_values_kept(before, photograph(house), moved)


def assert_values_kept(before: Photograph, after: Photograph, moved: Sequence[Difference]) -> None:
    """Every column that is there before and after holds the same values, but for those that are computed now.

    A value that became a number or a text with its column's type is the same value; an order of rows is not promised.
    """
    computed = {(d.table, d.name.lower()) for d in moved if d.aspect == "generated"}
    for place, values in before.columns.items():
        if place in after.columns and place not in computed and place[1] != "rowid":
            assert Counter(map(_value, after.columns[place])) == Counter(map(_value, values)), place


def _value(witnessed: str) -> str:
    text = witnessed.partition(":")[2].strip("'")
    return str(float(text)) if re.fullmatch(r"-?\d+(\.\d+)?", text) else text
